"""Adding pictures: by content, with what their source says about them, and after any interruption."""

import hashlib
import multiprocessing
import os
import random
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ccafl.data.images import load_image
from ccafl.errors import InputError
from ccafl.gallery import adding
from ccafl.gallery.adding import THUMBNAIL, Picture, add_pictures, listed
from ccafl.gallery.gallery import Gallery
from ccafl.gallery.query import search
from colour_people import CAMERAS, FIRST, FakeEncoder, draw, key_of

KILLS = int(os.environ.get("CCAFL_TEST_KILLS", "3"))
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["colour_people"])


@pytest.fixture
def empty(tmp_path, encoder):
    with Gallery.create(tmp_path / "gallery.db", encoder) as gallery:
        yield gallery


def entries_of(gallery: Gallery) -> list:
    return [entry for entries, _ in gallery.all() for entry in entries]


def numbers(done) -> tuple[int, int, int, int]:
    return done.added, done.known, done.duplicates, len(done.skipped)


# --- What is written --------------------------------------------------------------------------------------------------


def test_pictures_are_stored_as_their_source_describes_them(empty, encoder, people, monkeypatch):
    monkeypatch.setattr(adding, "BATCH", 5)
    monkeypatch.setattr(adding, "_PIXELS", 1)
    steps = []
    assert numbers(add_pictures(empty, encoder, people, advance=steps.append)) == (len(people), 0, 0, 0)
    assert sum(steps) == len(people)
    by_key = {entry.key: entry for entry in entries_of(empty)}
    assert len(by_key) == len(people)
    for picture in people:
        entry = by_key[key_of(picture.path)]
        assert (entry.camera, entry.label, entry.time) == (picture.camera, picture.label, picture.time)
        assert entry.source == str(picture.path)
        encoded = encoder.encode([Image.open(picture.path)])
        np.testing.assert_array_equal(empty.vectors([entry.key]), encoded.features)
        np.testing.assert_array_equal(empty.vectors([entry.key], text=True), encoded.image_text)
        with Image.open(picture.path) as whole:
            assert empty.thumbnail(entry.key) == adding.thumbnail(whole)


def test_the_same_content_is_the_same_picture(empty, encoder, people, tmp_path):
    assert numbers(add_pictures(empty, encoder, people[:6])) == (6, 0, 0, 0)
    before = entries_of(empty)
    moved = tmp_path / "moved.png"
    moved.write_bytes(people[0].path.read_bytes())
    twice = [*people[:8], people[0], Picture(moved, people[0].camera, people[0].label)]
    assert numbers(add_pictures(empty, encoder, twice)) == (2, 6, 2, 0)
    assert numbers(add_pictures(empty, encoder, [Picture(moved)])) == (0, 1, 0, 0)
    assert [entry for entry in entries_of(empty) if entry in before] == before
    assert len(empty) == 8


def test_changed_properties_are_updated_and_the_rest_stays(empty, encoder, people):
    first = people[0]
    add_pictures(empty, encoder, [first])
    (entry,) = entries_of(empty)
    later = first.time + timedelta(microseconds=400)  # the same millisecond
    assert numbers(add_pictures(empty, encoder, [Picture(first.path, time=later)])) == (0, 1, 0, 0)
    for change in ({"label": "other"}, {"camera": "yard"}, {"time": first.time + timedelta(hours=1)}):
        said = Picture(first.path, **change)
        assert numbers(add_pictures(empty, encoder, [said])) == (1, 0, 0, 0)
        entry = replace(entry, **change)
        assert entries_of(empty) == [entry]
        assert numbers(add_pictures(empty, encoder, [said])) == (0, 1, 0, 0)


def test_the_encoder_gets_the_cameras(empty, people):
    class Listening(FakeEncoder):
        heard: tuple[str, ...] = ()

        def encode(self, pictures, cameras=None):
            self.heard += tuple(cameras)
            return super().encode(pictures, cameras)

    encoder = Listening()
    add_pictures(empty, encoder, people)
    assert encoder.heard == tuple(picture.camera for picture in people)


def exif(taken: str | None, offset: str | None = None) -> Image.Exif:
    tags = Image.Exif()
    inner = tags.get_ifd(0x8769)
    if taken is not None:
        inner[0x9003] = taken
    if offset is not None:
        inner[0x9011] = offset
    return tags


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize(
    ("tags", "time"),
    [
        (exif("2026:05:04 14:00:00", "+02:00"), FIRST),
        (exif("2026:05:04 12:00:00"), FIRST),
        (exif("0001:01:01 00:00:00", "+14:00"), None),
        (exif("yesterday"), None),
        (exif(None, "+02:00"), None),
        (b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x87i\x00\x04\x00\x00\x00\x01\xff\xff\xff\xf0", None),
    ],
)
def test_the_time_comes_from_the_source_or_else_from_exif(empty, encoder, tmp_path, tags, time):
    draw(0).save(tmp_path / "a.jpg", exif=tags)
    add_pictures(empty, encoder, [Picture(tmp_path / "a.jpg")])
    assert [entry.time for entry in entries_of(empty)] == [time]
    given = datetime(2020, 1, 1, tzinfo=UTC)
    add_pictures(empty, encoder, [Picture(tmp_path / "a.jpg", time=given)])
    assert [entry.time for entry in entries_of(empty)] == [given]


def test_a_large_picture_has_a_small_thumbnail(empty, encoder, tmp_path):
    draw(0, size=(800, 1600)).save(tmp_path / "a.png")
    add_pictures(empty, encoder, [Picture(tmp_path / "a.png")])
    with Image.open(tmp_path / "a.png") as whole:
        small = adding.thumbnail(whole)
    assert empty.thumbnail(key_of(tmp_path / "a.png")) == small
    (tmp_path / "small.jpg").write_bytes(small)
    assert Image.open(tmp_path / "small.jpg").size == (128, 256) <= THUMBNAIL


@pytest.mark.parametrize("bad", ["damaged", "missing", "text"])
def test_unreadable_pictures_are_refused_or_skipped(empty, encoder, people, tmp_path, bad):
    path = tmp_path / "bad.png"
    if bad != "missing":
        path.write_bytes(people[0].path.read_bytes()[:-40] if bad == "damaged" else b"a letter")
    pictures = [people[0], Picture(path, "yard"), people[1]]
    with pytest.raises(InputError, match=r"bad.png: .*, or skip such pictures with --skip-unreadable") as refused:
        add_pictures(empty, encoder, pictures)
    assert "\n" not in str(refused.value)
    done = add_pictures(empty, encoder, pictures, skip_unreadable=True)
    assert (done.added + done.known, list(done.skipped)) == (2, [path])
    assert {entry.key for entry in entries_of(empty)} == {key_of(p.path) for p in people[:2]}
    assert empty.ledger.thumbnail_keys() == {key_of(p.path) for p in people[:2]}


def test_a_moved_picture_is_known_at_its_new_place(empty, encoder, people, tmp_path):
    first, second, copied = (tmp_path / name for name in ("a.png", "b.png", "copy.png"))
    first.write_bytes(people[0].path.read_bytes())
    add_pictures(empty, encoder, [Picture(first, "yard", "7", FIRST)])
    copied.write_bytes(first.read_bytes())
    assert numbers(add_pictures(empty, encoder, [Picture(copied)])) == (0, 1, 0, 0)
    assert [entry.source for entry in entries_of(empty)] == [str(first)], "a copy is no move"
    copied.unlink()
    first.rename(second)
    assert numbers(add_pictures(empty, encoder, [Picture(second)])) == (1, 0, 0, 0)
    (entry,) = entries_of(empty)
    assert (entry.source, entry.camera, entry.label, entry.time) == (str(second), "yard", "7", FIRST)
    assert empty.keys_where(under=second) == [entry.key]


def test_a_thumbnail_is_nothing_but_the_picture(tmp_path):
    tags = exif("2026:05:04 12:00:00")
    tags[0x010E] = "a description"
    draw(0).save(tmp_path / "a.jpg", exif=tags, comment=b"a comment", xmp=b"<x:xmpmeta>", icc_profile=b"a profile")
    small = adding.thumbnail(load_image(tmp_path / "a.jpg"))
    assert not [trace for trace in (b"description", b"comment", b"xmpmeta", b"profile", b"Exif") if trace in small]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_features_that_are_not_finite_are_refused(empty, encoder, people, value):
    class Diverged(FakeEncoder):
        def encode(self, pictures, cameras=None):
            encoded = super().encode(pictures, cameras)
            encoded.features[1, 3] = value
            return encoded

    with pytest.raises(InputError, match=f"{people[1].path}: the model gives features that are not finite"):
        add_pictures(empty, Diverged(), people[:3])
    assert len(empty) == 0
    add_pictures(empty, encoder, people[:3])
    with pytest.raises(InputError, match="the model gives features that are not finite"):
        search(empty, Diverged().encode([draw(0), draw(1)]).features)


def test_another_model_adds_nothing(empty, people):
    with pytest.raises(InputError, match="use that model, or add the pictures to a new gallery"):
        add_pictures(empty, FakeEncoder(fingerprint="0" * 64), people)
    assert len(empty) == 0


# --- Where pictures are found -----------------------------------------------------------------------------------------


def test_pictures_are_found_with_what_the_data_say(people, tmp_path):
    for picture in people[:4]:
        place = tmp_path / "data" / picture.camera / picture.label
        place.mkdir(parents=True, exist_ok=True)
        (place / picture.path.name).write_bytes(picture.path.read_bytes())
    (tmp_path / "data" / "query" / "yard" / "-1").mkdir(parents=True)
    (tmp_path / "data" / "query" / "yard" / "anna").mkdir()
    for label in ("-1", "anna"):
        draw(0, 90).save(tmp_path / "data" / "query" / "yard" / label / "q.png")
    found = listed(tmp_path / "data")
    assert {(p.camera, p.label) for p in found} == {
        ("entrance", "e0"),
        ("entrance", "e1"),
        ("yard", ""),
        ("yard", "anna"),
    }
    assert len(found) == 6
    named = listed(tmp_path / "data" / "entrance", camera="door")
    assert len(named) == 4
    assert {(p.camera, p.label, p.time) for p in named} == {("door", "", None)}
    one = people[0].path
    assert listed(one) == [Picture(one)]
    assert listed(one, camera="door") == [Picture(one, "door")]
    manifest = tmp_path / "list.csv"
    manifest.write_text(f"image,camera,label,time\n{one},yard,7,2026-05-04T14:00:00+02:00\n")
    assert listed(manifest, outside=True) == [Picture(one, "yard", "7", FIRST)]


def test_a_place_without_pictures_is_refused_in_one_line(tmp_path, people):
    with pytest.raises(InputError, match=r"no such file or folder.*or give the camera of all pictures with --camera"):
        listed(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no pictures"):
        listed(tmp_path / "nowhere", camera="yard")
    draw(0).save(tmp_path / "loose.png")
    with pytest.raises(InputError, match=r"loose.png: is not in <camera>/<label>/.*--camera"):
        listed(tmp_path)
    assert listed(tmp_path, camera="yard") == [Picture(tmp_path / "loose.png", "yard")]


# --- Interruptions ----------------------------------------------------------------------------------------------------


class Slow(FakeEncoder):
    """A slow encoder, so that adding can be interrupted."""

    def encode(self, pictures, cameras=None):
        time.sleep(0.01)
        return super().encode(pictures, cameras)


def add_slowly(folder: Path, pictures: list[Picture], started) -> None:
    """Add pictures in a process of its own, in small batches."""
    adding.BATCH = 7
    started.set()
    exists = (folder / "gallery.sqlite").is_file()
    with Gallery.open(folder) if exists else Gallery.create(folder, Slow()) as gallery:
        add_pictures(gallery, Slow(), pictures)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory) -> list[Picture]:
    """More pictures than a batch; some are listed twice, some have the same content in two files."""
    folder = tmp_path_factory.mktemp("crowd")
    pictures = []
    for number in range(120):
        path = folder / f"{number}.png"
        draw(number % 4, number if number % 10 else number // 20).save(path)
        pictures.append(Picture(path, CAMERAS[number % 3], f"p{number % 8}", FIRST + timedelta(seconds=number)))
    return [*pictures, *pictures[:5]]


def started_process(folder: Path, pictures: list[Picture]) -> multiprocessing.process.BaseProcess:
    """A process that adds the pictures and has started."""
    started = PROCESSES.Event()
    process = PROCESSES.Process(target=add_slowly, args=(folder, pictures, started))
    process.start()
    assert started.wait(120)
    return process


def seconds(folder: Path, pictures: list[Picture]) -> float:
    """How long adding the pictures takes."""
    process, began = started_process(folder, pictures), time.monotonic()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - began


@pytest.mark.faults
def test_a_killed_addition_resumes_without_loss_or_duplicates(crowd, tmp_path):
    lasts = min(seconds(tmp_path / name, crowd) for name in ("whole.db", "again.db"))
    chance, killed = random.Random(0), 0
    folders = (tmp_path / f"gallery-{number}.db" for number in count())
    folder = next(folders)
    counts = [0]
    while killed < KILLS:
        process = started_process(folder, crowd)
        process.join(chance.uniform(0, lasts))
        process.kill()
        process.join()
        if process.exitcode == 0:  # everything was added before the kill; use a new gallery
            folder, counts = next(folders), [0]
            continue
        killed += 1
        if (folder / "gallery.sqlite").is_file():
            with Gallery.open(folder) as gallery:
                keys = [entry.key for entry in entries_of(gallery)]
                assert len(gallery) == len(set(keys)) == len(keys)
                assert set(keys) == gallery.ledger.thumbnail_keys()
                counts.append(len(keys))
    assert counts == sorted(counts), "nothing added was lost"
    seconds(folder, crowd)
    with Gallery.open(folder) as gallery, Gallery.open(tmp_path / "whole.db") as expected:
        assert entries_of(gallery) == entries_of(expected)
        keys = [entry.key for entry in entries_of(expected)]
        assert len(gallery) == len(keys) == len({hashlib.sha256(p.path.read_bytes()).digest() for p in crowd})
        for text in (False, True):
            np.testing.assert_array_equal(gallery.vectors(keys, text=text), expected.vectors(keys, text=text))
        assert gallery.ledger.thumbnail_keys() == set(keys)
        assert all(gallery.thumbnail(key) == expected.thumbnail(key) for key in keys)


def test_ctrl_c_keeps_what_was_added(empty, encoder, people, monkeypatch):
    monkeypatch.setattr(adding, "BATCH", 4)

    def stop(_: int) -> None:
        if len(empty) == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_pictures(empty, encoder, people, advance=stop)
    assert len(empty) == 8
    assert numbers(add_pictures(empty, encoder, people)) == (len(people) - 8, 8, 0, 0)
