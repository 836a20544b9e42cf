"""What a gallery stores and returns, in its own file or on a Milvus server: names, missing values, erasing."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccafl.encoders.encoder import Encoded
from ccafl.errors import InputError
from ccafl.gallery.entries import Entry
from ccafl.gallery.filters import Filters
from ccafl.gallery.gallery import Gallery
from ccafl.gallery.ledger import GalleryError, Ledger
from ccafl.gallery.milvus import MilvusStore
from ccafl.gallery.query import search
from ccafl.gallery.values import LONGEST_NAME
from ccafl.gallery.vectors import MOST_FOUND
from colour_people import FIRST, JOINED, FakeEncoder, draw

MANY = 17_000  # more than Milvus returns at once
DIM = 4


class Numbers(FakeEncoder):
    """An encoder of short features, for galleries that are written to directly."""

    def __init__(self) -> None:
        super().__init__(describes=False)
        self.dim = DIM


def key(number: int) -> str:
    return f"{number:064x}"


def entry(number: int, camera: str = "c1", time: datetime | None = FIRST, label: str = "p1") -> Entry:
    return Entry(key(number), camera, time, f"/pictures/{number}.jpg", label, "")


def features(count: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def put(gallery: Gallery, entries: list[Entry], vectors: np.ndarray | None = None) -> None:
    vectors = features(len(entries)) if vectors is None else vectors
    gallery.put(entries, Encoded(vectors, None), {e.key: b"JPEG of " + e.key.encode() for e in entries})


def keys_found(gallery: Gallery, filters: Filters) -> set[str]:
    """Keys of all pictures that a search with these filters finds; Milvus and the search in memory must agree."""
    found = {hit.entry.key for hit in search(gallery, features(1), filters=filters, limit=1_000).hits}
    gallery.load()
    assert {hit.entry.key for hit in search(gallery, features(1), filters=filters, limit=1_000).hits} == found
    return found


def files_with(folder: Path, needle: bytes) -> list[Path]:
    """Files that hold these bytes."""
    return [path for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes()]


@pytest.fixture(params=["local", "server"])
def uri(request):
    """Where vectors are stored: None for the gallery's own file."""
    return request.getfixturevalue("milvus_server") if request.param == "server" else None


@pytest.fixture
def empty(tmp_path, uri):
    with Gallery.create(tmp_path / "gallery.db", Numbers(), uri=uri) as gallery:
        yield gallery


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A gallery that every example of a property fills anew."""
    with Gallery.create(tmp_path_factory.mktemp("shared") / "gallery.db", Numbers()) as gallery:
        yield gallery


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """More pictures than Milvus returns at once; only every third has a time."""
    with Gallery.create(tmp_path_factory.mktemp("many") / "gallery.db", Numbers()) as gallery:
        vectors = features(MANY)
        for start in range(0, MANY, 1_000):
            numbers = range(start, start + 1_000)
            entries = [entry(n, f"c{n % 5}", None if n % 3 else FIRST + timedelta(seconds=n)) for n in numbers]
            put(gallery, entries, vectors[start : start + 1_000])
        yield gallery


# --- Names, times and many rows ---------------------------------------------------------------------------------------

names = st.text(st.characters(exclude_categories=["Cs"], min_codepoint=32), max_size=40)


@given(st.lists(names, min_size=2, max_size=6, unique=True))
def test_a_name_is_only_a_name(shared, cameras):
    entries = [entry(number, camera, label=camera[::-1]) for number, camera in enumerate(cameras)]
    put(shared, entries)
    for number in range(len(cameras), 6):
        put(shared, [entry(number, "x" * 50)])
    assert shared.get([e.key for e in entries]) == entries
    for number, camera in enumerate(cameras):
        assert keys_found(shared, Filters(cameras=(camera,))) == {key(number)}
        assert key(number) not in keys_found(shared, Filters(exclude_cameras=(camera,)))
        assert shared.keys_where(camera=camera) == [key(number)]
        shared.ledger.join({(camera, camera[::-1]): "7"})
        assert [e.key for e in shared.of_identity("7")] == [key(number)]
    assert keys_found(shared, Filters(cameras=tuple(cameras))) == {e.key for e in entries}


@pytest.mark.parametrize(
    "name",
    [
        '"',
        "\\",
        '\\"',
        "' or 1 == 1 or '",
        '"] or true or camera in ["',
        "%",
        "{x}",
        "null",
        "\u2028",
        "é",
        "e\u0301",
        "🚪",
    ],
)
def test_a_malicious_name_matches_only_itself(empty, name):
    put(empty, [entry(1, name, label=name), entry(2, "other"), entry(3, "")])
    assert keys_found(empty, Filters(cameras=(name,))) == {key(1)}
    assert keys_found(empty, Filters(exclude_cameras=(name,))) == {key(2), key(3)}
    empty.ledger.join({(name, name): "1"})
    assert [e.key for e in empty.of_identity("1")] == [key(1)]


@pytest.mark.parametrize(
    "name", ["line\nbreak", "tab\t", "\x00", "\ud800", "x" * (LONGEST_NAME + 1), "é" * LONGEST_NAME]
)
def test_names_that_cannot_be_stored_are_refused_before_anything_is_written(empty, name):
    for unkept in (entry(1, name), entry(1, label=name)):
        with pytest.raises(InputError, match="name"):
            put(empty, [entry(2), unkept])
    assert len(empty) == 0
    assert empty.ledger.thumbnail_keys() == set()
    with pytest.raises(InputError, match="name"):
        search(empty, features(1), filters=Filters(cameras=(name,)))


def test_the_longest_names_and_sources_are_stored(empty):
    long = Entry(key(1), "é" * (LONGEST_NAME // 2), None, "/" + "s" * 16_383, "l" * LONGEST_NAME, "")
    put(empty, [long])
    assert empty.get([long.key]) == [long]


def test_a_picture_replaces_itself(empty):
    put(empty, [entry(1), entry(2)], features(2))
    empty.load()
    put(empty, [entry(1, "c9", None, "")], features(1, seed=1))
    assert len(empty) == 2
    assert empty.get([key(1)]) == [entry(1, "c9", None, "")]
    np.testing.assert_array_equal(empty.vectors([key(1)]), features(1, seed=1))
    assert keys_found(empty, Filters(cameras=("c9",))) == {key(1)}


def test_filters_by_time_leave_out_pictures_without_one(empty):
    times = [
        FIRST,
        FIRST + timedelta(milliseconds=1),
        FIRST + timedelta(hours=1),
        None,
        datetime(1912, 5, 1, tzinfo=UTC),
    ]
    put(empty, [entry(number, time=time) for number, time in enumerate(times)])
    assert keys_found(empty, Filters(since=FIRST)) == {key(0), key(1), key(2)}
    assert keys_found(empty, Filters(until=FIRST)) == {key(4)}
    assert keys_found(empty, Filters(since=FIRST, until=FIRST + timedelta(hours=1))) == {key(0), key(1)}
    assert keys_found(empty, Filters(until=FIRST + timedelta(days=1))) == {key(0), key(1), key(2), key(4)}
    assert keys_found(empty, Filters(("c1",), (), FIRST, FIRST + timedelta(milliseconds=1))) == {key(0)}
    assert [e.time for e in empty.get([key(n) for n in range(5)])] == times
    assert sorted(empty.keys_where(before=FIRST)) == [key(4)]


def test_what_is_written_is_found_at_once(empty):
    for number in range(30):
        put(empty, [entry(number)], features(1, seed=number))
        assert len(empty) == number + 1
        (hit,) = search(empty, features(1, seed=number), limit=1).hits
        assert hit.entry.key == key(number)


def test_each_of_many_pictures_is_listed_once(many):
    assert len(many) == MANY
    pages = list(many.all())
    assert len(pages) > 1
    assert [e.key for entries, _ in pages for e in entries] == [key(number) for number in range(MANY)]
    np.testing.assert_array_equal(np.concatenate([encoded.features for _, encoded in pages]), features(MANY))
    info = many.info()
    assert info.pictures == MANY
    assert info.cameras == {f"c{number}": MANY // 5 for number in range(5)}
    assert (info.first, info.last) == (FIRST, FIRST + timedelta(seconds=MANY - MANY % 3 - (0 if MANY % 3 else 3)))
    assert len(many.keys_where(before=FIRST + timedelta(days=9))) == -(-MANY // 3)


def test_a_search_finds_as_many_as_milvus_allows(many):
    asked = features(1, seed=5)
    best = np.argsort(-(features(MANY) @ asked[0]), kind="stable")[:MOST_FOUND]
    found = search(many, asked, limit=MOST_FOUND)
    assert len({hit.entry.key for hit in found.hits}) == MOST_FOUND
    assert {hit.entry.key for hit in found.hits} == {key(number) for number in best}
    for refused in ({"limit": MOST_FOUND + 1}, {"limit": 1, "offset": MOST_FOUND}, {"limit": 0}, {"offset": -1}):
        with pytest.raises(InputError, match="the best 1 to 16,384"):
            search(many, asked, **refused)


def test_erasing_many_leaves_the_rest(many):  # the last test that uses `many`
    gone = [key(number) for number in range(0, MANY, 2)]
    assert many.erase([*gone, key(MANY + 1)]) == len(gone)
    assert len(many) == MANY - len(gone)
    assert [e.key for entries, _ in many.all() for e in entries] == [key(number) for number in range(1, MANY, 2)]
    assert many.get(gone[:10]) == []
    assert many.ledger.thumbnail_keys() == {key(number) for number in range(1, MANY, 2)}
    assert many.erase(gone) == 0


# --- Erasing ----------------------------------------------------------------------------------------------------------


def test_nothing_of_an_erased_picture_stays_on_the_disk(gallery, people, tmp_path):
    folder = tmp_path / "gallery.db"
    entries = gallery.of_identity("1")
    traces = [part for e in entries for part in (gallery.vectors([e.key]).tobytes(), gallery.thumbnail(e.key))]
    traces += [gallery.vectors([e.key], text=True).tobytes() for e in entries]
    traces += [name.encode() for e in entries for name in (e.key, Path(e.source).name)]
    gallery.close()
    assert all(files_with(folder, trace) for trace in traces), "the search for traces finds them before"
    with Gallery.open(folder) as again:
        assert again.forget("1") == len(entries)
        assert not [trace for trace in traces if files_with(folder, trace)]
        assert len(again) == len(people) - len(entries)
        assert not again.ledger.tracklets_of("1")
        assert set(again.ledger.identities()) == {t for t, identity in JOINED.items() if identity != "1"}
    assert not [trace for trace in traces if files_with(folder, trace)]
    with Gallery.open(folder) as again:
        assert len(again) == len(people) - len(entries)


def test_no_trace_stays_however_often_pictures_come_and_go(tmp_path):
    chance, stored = np.random.default_rng(0), {}
    with Gallery.create(tmp_path / "gallery.db", Numbers()) as gallery:
        for step in range(8):
            entries = [
                Entry(chance.bytes(32).hex(), f"c{n % 5}", None, f"/pictures/{step}/{n}.jpg", f"{step}-{n}", "")
                for n in range(300)
            ]
            rows = chance.normal(size=(300, DIM)).astype(np.float32)
            jpegs = {e.key: chance.bytes(chance.integers(50, 5_000)) for e in entries}
            gallery.put(entries, Encoded(rows, None), jpegs)
            stored |= {
                e.key: (e.key.encode(), row.tobytes(), jpegs[e.key][:32], e.source.encode())
                for e, row in zip(entries, rows, strict=True)
            }
            gone = chance.choice(list(stored), 250, replace=False).tolist()
            gallery.erase(gone)
            held = (tmp_path / "gallery.db" / "gallery.sqlite").read_bytes()
            for key_ in gone:
                assert not [trace for trace in stored.pop(key_) if trace in held]
        assert {e.key for some, _ in gallery.all() for e in some} == gallery.ledger.thumbnail_keys() == set(stored)


@pytest.mark.parametrize("moment", ["erase", "rewrite"])
def test_an_interrupted_erasure_is_undone_or_completed(gallery, people, tmp_path, monkeypatch, moment):
    folder, entries = tmp_path / "gallery.db", gallery.of_identity("2")
    traces = [part for e in entries for part in (gallery.vectors([e.key]).tobytes(), gallery.thumbnail(e.key))]

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, moment, stop)
        with pytest.raises(KeyboardInterrupt):
            gallery.erase([e.key for e in entries])
    gallery.close()
    with Gallery.open(folder) as again:
        kept = moment == "erase"
        assert len(again) == len(people) - (0 if kept else len(entries))
        assert bool(again.ledger.tracklets_of("2")) == kept
        assert again.ledger.thumbnail_keys() == {e.key for some, _ in again.all() for e in some}
        assert all(bool(files_with(folder, trace)) == kept for trace in traces)
        again.erase([e.key for e in entries])
    assert not [trace for trace in traces if files_with(folder, trace)]


@pytest.mark.parametrize("moment", ["begin", "_delete", "end"])
def test_an_erasure_interrupted_on_a_server_is_completed_at_the_next_opening(
    tmp_path, milvus_server, monkeypatch, moment
):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with Gallery.create(tmp_path / "gallery.db", Numbers(), uri=milvus_server) as gallery:
        put(gallery, [entry(number) for number in range(4)])
        with monkeypatch.context() as patch:
            patch.setattr(MilvusStore if hasattr(MilvusStore, moment) else Ledger, moment, stop)
            with pytest.raises(KeyboardInterrupt):
                gallery.erase([key(1), key(2)])
    with Gallery.open(tmp_path / "gallery.db") as again:
        left = {key(number) for number in (range(4) if moment == "begin" else (0, 3))}
        assert {e.key for some, _ in again.all() for e in some} == left == again.ledger.thumbnail_keys()
        assert not again.ledger.unfinished()


def test_an_addition_interrupted_on_a_server_leaves_nothing(tmp_path, encoder, milvus_server, monkeypatch):
    text = np.eye(2, encoder.text_dim, dtype=np.float32)
    both = Encoded(np.eye(2, encoder.dim, dtype=np.float32), text)

    def whole(gallery: Gallery, keys: set[str]) -> None:
        assert {e.key for some, _ in gallery.all() for e in some} == keys == gallery.ledger.thumbnail_keys()
        assert {hit.entry.key for hit in search(gallery, text[:1], by_text=True, limit=9).hits} == keys

    with Gallery.create(tmp_path / "gallery.db", encoder, uri=milvus_server) as gallery:
        put_ = gallery._vectors._client.upsert

        def stop(collection, rows):
            if collection.endswith("features"):
                raise KeyboardInterrupt
            put_(collection, rows)

        gallery.put([entry(1), entry(2)], both, {key(1): b"1", key(2): b"2"})
        monkeypatch.setattr(gallery._vectors._client, "upsert", stop)
        with pytest.raises(KeyboardInterrupt):
            gallery.put([entry(2), entry(3)], both, {key(2): b"2", key(3): b"3"})
    with Gallery.open(tmp_path / "gallery.db") as again:
        whole(again, {key(1), key(2)})
        again.put([entry(3), entry(4)], both, {key(3): b"3", key(4): b"4"})
        whole(again, {key(number) for number in range(1, 5)})
        np.testing.assert_array_equal(again.vectors([key(4), key(3)], text=True), text[::-1])
        assert np.concatenate([encoded.image_text for _, encoded in again.all()]).shape == (4, encoder.text_dim)


def test_a_collection_that_vanished_is_named(tmp_path, milvus_server):
    with Gallery.create(tmp_path / "gallery.db", Numbers(), uri=milvus_server) as gallery:
        put(gallery, [entry(1)])
        gallery._vectors._client.drop_collection(gallery._vectors._collections["features"])
        for use in (lambda: search(gallery, features(1)), gallery.info, lambda: put(gallery, [entry(2)])):
            with pytest.raises(GalleryError, match=r"Milvus has no collection ccafl_.*_features \(was it dropped"):
                use()
    with pytest.raises(GalleryError, match="Milvus has no collection"):
        Gallery.open(tmp_path / "gallery.db")


def test_a_label_keeps_its_identity_and_corrections_until_its_last_picture_goes(gallery):
    gallery.ledger.correct({}, {(("entrance", "e0"), ("yard", "y0")): "must_link"})
    first, last = (e.key for e in gallery.of_identity("0") if e.camera == "entrance")
    gallery.erase([first])
    assert ("entrance", "e0") in gallery.ledger.tracklets_of("0")
    assert len(gallery.ledger.corrections()) == 1
    gallery.erase([last])
    assert ("entrance", "e0") not in gallery.ledger.tracklets_of("0")
    assert gallery.ledger.corrections() == []


# --- Opening ----------------------------------------------------------------------------------------------------------


def test_a_reopened_gallery_is_unchanged(gallery, encoder, people, tmp_path):
    before = {e.key: e for some, _ in gallery.all() for e in some}
    gallery.close()
    gallery.close()
    with Gallery.open(tmp_path / "gallery.db") as again:
        assert {e.key: e for some, _ in again.all() for e in some} == before
        assert len(before) == len(people)
        assert (again.fingerprint, again.model_name, again.model_place) == ("f" * 64, encoder.name, encoder.place)
        assert (again.dim, again.text_dim) == (encoder.dim, encoder.text_dim)
        assert all(again.thumbnail(k).startswith(b"\xff\xd8") for k in before)
        assert again.thumbnail(key(1)) is None


def test_one_process_at_a_time_changes_a_gallery_and_others_read_it(gallery, encoder, tmp_path):
    with pytest.raises(InputError, match="is in use by another ccafl"):
        Gallery.open(tmp_path / "gallery.db")
    with Gallery.open(tmp_path / "gallery.db", read_only=True) as reader:
        before = len(reader)
        features_ = encoder.encode([draw(1, 60)])
        gallery.put([Entry(key(1), "yard", None, "/new.jpg", "", "")], features_, {})
        assert len(reader) == before + 1
        assert search(reader, features_.features, limit=1).hits[0].entry.source == "/new.jpg"
        search(reader, features_.features, standardise=True)
        for change in (lambda: reader.erase([key(1)]), lambda: reader.join({}), lambda: put(reader, [entry(2)])):
            with pytest.raises(InputError):
                change()
        gallery.erase([key(1)])
        assert len(reader) == before


def test_another_model_is_refused(gallery):
    with pytest.raises(InputError, match=r"holds features of colours .* not of colours .*; use that model"):
        gallery.check_model(FakeEncoder(fingerprint="0" * 64))


def test_other_folders_are_refused_and_left_alone(tmp_path, encoder):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "mine", tmp_path / "file"):
        with pytest.raises(InputError, match="exists and is not a gallery"):
            Gallery.create(folder, encoder)
        with pytest.raises(InputError, match="is not a gallery; make one"):
            Gallery.open(folder)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "letter.txt", "mine"]


def test_an_interrupted_creation_can_be_repeated(tmp_path, encoder, monkeypatch):
    folder = tmp_path / "gallery.db"

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "write_facts", stop)
        with pytest.raises(KeyboardInterrupt):
            Gallery.create(folder, encoder)
    assert not folder.exists()
    folder.mkdir()
    (folder / ".gallery.sqlite.killed.sqlite").write_bytes(b"half")  # what a SIGKILL leaves behind
    with Gallery.create(folder, encoder) as gallery:
        assert len(gallery) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["gallery.sqlite", "lock"]


def test_a_damaged_gallery_is_refused_in_one_line(gallery, tmp_path):
    folder = tmp_path / "gallery.db"
    gallery.ledger.write_facts({"format": "99"})
    gallery.close()
    with pytest.raises(InputError, match="is damaged, or from another version of ccafl"):
        Gallery.open(folder)
    file = sqlite3.connect(folder / "gallery.sqlite")
    file.executescript("update facts set value = '1' where name = 'format'")
    with pytest.raises(InputError, match=r"made by an earlier ccafl.*; add the pictures to a new gallery"):
        Gallery.open(folder)
    file.executescript("update facts set value = '2' where name = 'format'; drop table thumbnails")
    file.close()
    with Gallery.open(folder) as again, pytest.raises(GalleryError, match=r"cannot be read.*no such table"):
        again.thumbnail(key(1))
    (folder / "gallery.sqlite").write_bytes(b"not a database " * 100)
    with pytest.raises(InputError, match="cannot be used as a gallery's file"):
        Gallery.open(folder)


def test_a_server_that_does_not_answer_is_reported_in_one_line(tmp_path, encoder):
    with pytest.raises(InputError, match=r"http://127.0.0.1:9: Milvus does not answer .*; check the address"):
        Gallery.create(tmp_path / "gallery.db", encoder, uri="http://127.0.0.1:9")
    with Gallery.create(tmp_path / "gallery.db", encoder) as gallery:  # whatever the failed creation left
        assert len(gallery) == 0


# --- Identities -------------------------------------------------------------------------------------------------------


def test_an_identity_is_listed_in_order_of_time(gallery):
    entries = gallery.of_identity("1")
    assert [e.time for e in entries] == sorted(e.time for e in entries)
    assert {(e.camera, e.label) for e in entries} == {("entrance", "e1"), ("corridor", "c1"), ("yard", "y1")}
    assert {e.identity for e in entries} == {"1"}
    gallery.load()
    assert gallery.of_identity("1") == entries
    assert gallery.of_identity("99") == []


def test_identities_are_current(gallery):
    gallery.load()
    some = gallery.of_identity("0")[0]
    gallery.join({(some.camera, some.label): "5"})
    assert [e.identity for e in gallery.get([some.key])] == ["5"]
    assert gallery.of_identity("0") == []
    assert gallery.info().identities == 1
