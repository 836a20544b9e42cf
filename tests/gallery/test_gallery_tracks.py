"""The gallery knows tracks: where pictures were cut out of footage, and searches by tracks and for them."""

import csv
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccafl.data.records import Origin
from ccafl.encoders.encoder import Encoded
from ccafl.errors import InputError
from ccafl.gallery import Entry, Filters, Gallery, add_pictures, listed, search
from ccafl.gallery.commands import rejoin, track_named
from ccafl.gallery.query import CANDIDATES, MOST_OF_TRACK, Grouping, some_of_track
from colour_people import draw
from random_vectors import Numbers, unit

COUNT, DIM, PAGE = 400, 8, 64


VECTORS = unit(0, COUNT, DIM)
ENTRIES = [
    Entry(f"{n:064x}", f"c{n % 3}", None, f"/pictures/{n}.jpg", "" if n % 11 == 0 else f"t{n // 9}", "")
    for n in range(COUNT)
]
IDENTITIES = {(f"c{camera}", f"t{track}"): str(track % 5) for camera in range(3) for track in range(0, 30, 2)}


@pytest.fixture(scope="module", params=["file", "memory", "Milvus server"])
def filled(request, tmp_path_factory):
    """A gallery of random vectors in tracks, some joined; in its file several pages are searched."""
    uri = request.getfixturevalue("milvus_server") if request.param == "Milvus server" else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ccafl.gallery.vectors._PAGE", PAGE)
        with Gallery.create(tmp_path_factory.mktemp("tracks") / "gallery.db", Numbers(DIM), uri=uri) as gallery:
            gallery.put(ENTRIES, Encoded(VECTORS, None), {})
            gallery.join(IDENTITIES)
            if request.param == "memory":
                gallery.load()
            yield gallery


def group_name(entry: Entry, group: Grouping) -> tuple[str, ...]:
    if group == "camera":
        return (entry.camera,)
    track = (entry.camera, entry.label, "" if entry.label else entry.key)
    identity = IDENTITIES.get((entry.camera, entry.label))
    return (identity,) if group == "person" and identity else track


@given(
    st.integers(0, 99), st.sampled_from(["track", "camera", "person"]), st.booleans(), st.sampled_from(["mean", "max"])
)
def test_groups_are_ranked_over_all_pictures(filled, seed, group, filtered, fusion):
    asked = unit(seed, 2, DIM)
    filters = Filters(exclude_cameras=("c1",)) if filtered else Filters()
    wanted = asked if fusion == "max" else asked.mean(0, keepdims=True) / np.linalg.norm(asked.mean(0))
    scores = (VECTORS @ wanted.T).max(1)
    expected: dict[tuple[str, ...], list[str]] = {}
    for n in np.argsort(-scores):
        if not filtered or ENTRIES[n].camera != "c1":
            expected.setdefault(group_name(ENTRIES[n], group), []).append(ENTRIES[n].key)
    found = search(filled, asked, filters=filters, fusion=fusion, group=group, limit=10, offset=1, each=4)
    names = [group_name(one.hits[0].entry, group) for one in found.groups]
    assert names == list(expected)[1:11]
    assert found.more == (len(expected) > 11)
    for name, own in zip(names, found.groups, strict=True):
        assert [hit.entry.key for hit in own.hits] == expected[name][:4]
        assert (own.pictures, own.score) == (len(expected[name]), own.hits[0].score)
    assert found.hits == tuple(hit for own in found.groups for hit in own.hits)


def test_reranked_pictures_are_grouped_too(filled):
    asked = unit(3, 1, DIM)
    whole = search(filled, asked, rerank=True, limit=CANDIDATES)
    found = search(filled, asked, rerank=True, group="track", limit=5)
    order = dict.fromkeys(group_name(hit.entry, "track") for hit in whole.hits)
    assert [group_name(one.hits[0].entry, "track") for one in found.groups] == list(order)[:5]
    assert found.hits[0] == whole.hits[0]


def test_a_long_track_is_searched_with_by_some_of_its_pictures():
    some = some_of_track(ENTRIES)
    assert (len(some), some[0], some[-1]) == (MOST_OF_TRACK, ENTRIES[0], ENTRIES[-1])
    assert some_of_track(ENTRIES[:3]) == ENTRIES[:3]


# --- Footage ----------------------------------------------------------------------------------------------------------


def site(folder: Path, footage: Path, *, frame: int = 3) -> Path:
    """A folder as ``ccafl ingest`` writes it: two tracks in each of two cameras, the same persons."""
    rows = [("image", "camera", "label", "time", "frame", "box", "confidence", "source")]
    for camera in ("hall", "yard/back"):
        for person in range(2):
            for shot in range(3):
                image = folder / camera.replace("/", "-") / str(person) / f"{shot}.png"
                image.parent.mkdir(parents=True, exist_ok=True)
                draw(person, shot + 4 * (camera != "hall")).save(image)
                time = f"2026-05-04T08:00:0{shot}Z"
                rows.append(
                    (str(image), camera, str(person), time, str(frame + shot), "1,2,30,60", "0.9", str(footage))
                )
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


@pytest.fixture
def filmed_gallery(tmp_path, encoder):
    (tmp_path / "site").mkdir()
    folder = site(tmp_path / "site", tmp_path / "site" / "hall.mp4")
    with Gallery.create(tmp_path / "gallery.db", encoder) as gallery:
        add_pictures(gallery, encoder, listed(folder))
        yield gallery


def test_frame_box_and_footage_are_kept_and_erased(filmed_gallery, encoder, tmp_path):
    gallery, video = filmed_gallery, str(tmp_path / "site" / "hall.mp4")
    entries = gallery.of_track("hall", "1")
    assert [entry.origin for entry in entries] == [Origin(video, frame, (1, 2, 30, 60)) for frame in (3, 4, 5)]
    assert gallery.info().tracks == 4
    assert add_pictures(gallery, encoder, listed(tmp_path / "site")).known == 12
    moved = site(tmp_path / "site", tmp_path / "site" / "hall.mp4", frame=6)
    assert add_pictures(gallery, encoder, listed(moved)).added == 12, "what the manifest says now is kept"
    assert [entry.origin.frame for entry in gallery.get([entry.key for entry in entries])] == [6, 7, 8]
    gallery.erase([entry.key for entry in entries])
    assert gallery.ledger.origins([entry.key for entry in entries]) == {}
    assert gallery.info().tracks == 3


def test_footage_elsewhere_is_kept_only_from_a_manifest_of_this_users_ingest(tmp_path, capsys, monkeypatch):
    from ccafl.data.trusted import trust

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("site", "link"):
        (tmp_path / name).mkdir()
    folder = site(tmp_path / "site", tmp_path / "private.mp4")
    assert {picture.origin for picture in listed(folder)} == {None}
    assert "--allow-outside" in capsys.readouterr().err
    assert {picture.origin.footage for picture in listed(folder, outside=True)} == {str(tmp_path / "private.mp4")}
    trust(folder / "manifest.csv")
    assert {picture.origin.footage for picture in listed(folder)} == {str(tmp_path / "private.mp4")}
    (tmp_path / "private.mp4").touch()
    (tmp_path / "link" / "hall.mp4").symlink_to(tmp_path / "private.mp4")
    linked = site(tmp_path / "link", tmp_path / "link" / "hall.mp4")
    assert {picture.origin for picture in listed(linked)} == {None}, "a link leads out of the folder"


def test_a_gallery_of_an_earlier_version_gets_its_table_when_it_is_opened_to_be_changed(filmed_gallery, tmp_path):
    folder, key = tmp_path / "gallery.db", filmed_gallery.of_track("hall", "0")[0].key
    filmed_gallery.ledger.write([("drop table origins", ())])
    filmed_gallery.close()
    with Gallery.open(folder, read_only=True) as gallery:
        assert (gallery.get([key])[0].origin, gallery.info().tracks) == (None, 0)
    with Gallery.open(folder) as gallery:
        entry = replace(gallery.get([key])[0], origin=Origin("/a.mp4", 1, (0, 0, 9, 9)))
        gallery.put([entry], Encoded(gallery.vectors([key]), gallery.vectors([key], text=True)), {})
        assert gallery.get([key]) == [entry]


def test_a_damaged_origin_is_noticed(filmed_gallery):
    filmed_gallery.ledger.write([("update origins set footage = '/etc/passwd'", ())])
    with pytest.raises(InputError, match=r"what is stored of the footage of the picture .* is damaged"):
        filmed_gallery.of_track("hall", "0")


def test_tracks_are_found_and_searched_with_on_the_command_line(filmed_gallery, encoder, tmp_path, monkeypatch, capsys):
    from ccafl.cli import main

    filmed_gallery.close()
    monkeypatch.setattr("ccafl.gallery.commands.model_of", lambda *_: encoder)
    table = tmp_path / "found.json"
    arguments = ["search", "--db", str(tmp_path / "gallery.db"), "--track", "yard/back/1", "--by-track"]
    with pytest.raises(SystemExit, match=r"^0$"):
        main([*arguments, "--exclude-camera", "yard/back", "--json", str(table)])
    assert "hall/1" in capsys.readouterr().out
    found = json.loads(table.read_text())
    assert [(one["camera"], one["track"]) for one in found["tracks"]] == [("hall", "1"), ("hall", "0")]
    assert [picture["frame"] for picture in found["tracks"][0]["pictures"]] == [3, 4, 5]
    with pytest.raises(SystemExit, match=r"^2$"):
        main([*arguments, "--track", "hall/7"])
    said = " ".join(capsys.readouterr().err.split())
    assert "--track hall/7: no such track" in said
    assert "did you mean hall/" in said


def test_a_track_is_named_by_camera_and_label(filmed_gallery):
    assert {(entry.camera, entry.label) for entry in track_named(filmed_gallery, "yard/back/0")} == {("yard/back", "0")}
    for name in ("hall", "hall/", "/0", "yard/back"):
        with pytest.raises(InputError, match="no such track"):
            track_named(filmed_gallery, name)


def test_tracks_of_one_camera_are_joined_unless_they_overlap(tmp_path):
    """A person's tracks look alike; in c1 each person is lost and found again, and two who look alike meet there."""
    persons, moments = unit(3, 20, 64), np.random.default_rng(0)
    twins = {18: 17}  # two persons nobody could tell apart, seen at the same time
    entries, vectors = [], []
    for person in range(20):
        for track, begin in enumerate((0, 30) if person % 2 else (0,)):
            for second in range(6):
                time = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=begin + second)
                key = f"{len(entries):064x}"
                origin = Origin("/a.mp4", len(entries), (0, 0, 9, 9))
                entries.append(Entry(key, "c1", time, f"/{key}.jpg", f"{person}-{track}", "", origin))
                noise = moments.normal(scale=0.02, size=64)
                vectors.append(persons[twins.get(person, person)] + noise)
    vectors = np.array(vectors, np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    db = tmp_path / "gallery.db"
    with Gallery.create(db, Numbers(64)) as gallery:
        gallery.put(entries, Encoded(vectors, None), {})
    rejoin(db)
    with Gallery.open(db, read_only=True) as gallery:
        joined = gallery.ledger.identities()
    for person in range(1, 20, 2):
        assert joined["c1", f"{person}-0"] == joined["c1", f"{person}-1"], person
    assert joined.get(("c1", "18-0")) != joined["c1", "17-0"], "they were there at the same time"
