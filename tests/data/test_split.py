"""The split protocol, and the manifest that records a split."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccafl.data import manifest
from ccafl.data.records import Record, Source
from ccafl.data.split import split
from ccafl.errors import InputError

PICTURES = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 3)), min_size=3, max_size=60).filter(
    lambda pictures: len({person for person, _ in pictures}) > 2
)


def records_of(pictures: list[tuple[int, int]]) -> list[Record]:
    """Records whose file names do not come in the order of the list."""
    names = [f"{(number * 37) % 61:02d}.jpg" for number in range(len(pictures))]
    return [
        Record(Path("images", name), f"c{camera}", f"{person:04d}", str(person))
        for name, (person, camera) in zip(names, pictures, strict=True)
    ]


def trained_of(persons: list[str], seed: int) -> set[str]:
    """The training persons, computed as the protocol is worded; ``persons`` are sorted."""
    random.Random(seed).shuffle(persons)
    return set(persons[: len(persons) * 2 // 3])


@given(PICTURES, st.integers(0, 5))
def test_the_protocol(pictures: list[tuple[int, int]], seed: int) -> None:
    records = records_of(pictures)
    made = split(records, seed)
    assert sorted(map(str, [*made.train, *made.query, *made.gallery])) == sorted(map(str, records))
    persons = [str(person) for person in sorted({person for person, _ in pictures})]
    assert {record.person for record in made.train} == trained_of(persons, seed)
    tested = [*made.query, *made.gallery]
    assert not {record.person for record in made.train} & {record.person for record in tested}
    for person, camera in {(record.person, record.camera) for record in tested}:
        queries = [record for record in made.query if (record.person, record.camera) == (person, camera)]
        others = [record for record in made.gallery if (record.person, record.camera) == (person, camera)]
        assert len(queries) == 1
        assert all(queries[0].path.name < other.path.name for other in others)


def test_the_order_of_the_records_does_not_change_the_split() -> None:
    records = records_of([(person, camera) for person in range(1, 12) for camera in (1, 2) for _ in range(2)])
    one, other = split(records, 3), split(records[::-1], 3)
    assert (one.kind, set(one.train), set(one.query)) == ("split", set(other.train), set(other.query))


def test_persons_of_equal_value_are_told_apart_by_spelling() -> None:
    records = [Record(Path(f"{name}.jpg"), "c1", name, name) for name in ("1", "01", "001", "0001", "2", "02")]
    assert split(records, 0) == split(records, 0)
    assert {record.person for record in split(records, 1).train} == trained_of(["0001", "001", "01", "1", "02", "2"], 1)


def test_names_can_be_persons_too() -> None:
    records = [Record(Path(f"{name}.jpg"), "c1", name, name) for name in ("anna", "bert", "7", "-1")]
    made = split(records, 0)
    assert len(made.train) == 2
    assert len(made.query) == 2


def test_an_unknown_person_is_refused() -> None:
    records = [*records_of([(1, 1), (2, 1), (3, 1)]), Record(Path("images/who.jpg"), "c1", "1")]
    with pytest.raises(InputError, match=r"^images/who.jpg: its true person is unknown"):
        split(records, 0)


@pytest.mark.parametrize("persons", [0, 1, 2])
def test_too_few_persons_are_refused(persons: int) -> None:
    with pytest.raises(InputError, match=f"{persons} persons"):
        split(records_of([(person, 1) for person in range(persons) for _ in range(4)]), 0)


@pytest.mark.parametrize("name", ["split.csv", "split.parquet", "deeper/split.csv"])
def test_a_manifest_keeps_the_source(tmp_path: Path, name: str) -> None:
    source = Source(
        "split",
        train=[
            Record(tmp_path / 'a, "b"\n.jpg', "c,1", "007", "7"),
            Record(Path("/elsewhere/c.jpg"), "c2", "é", None),
        ],
        query=[Record(tmp_path / "q.jpg", "c1", "-1", "-1")],
        gallery=[Record(tmp_path / "below" / "g.jpg", "c1", "0000", "0")],
    )
    manifest.write(tmp_path / name, source)
    read = manifest.read(tmp_path / name)
    assert (read.train, read.query, read.gallery) == (source.train, source.query, source.gallery)


def test_images_below_the_manifest_are_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    records = [Record(Path("data/x/1.jpg"), "c1", "1"), Record(Path("other/2.jpg"), "c1", "1")]
    manifest.write(Path("data/manifest.csv"), Source("split", records, [], []))
    lines = Path("data/manifest.csv").read_text().splitlines()
    assert lines[0] == "image,camera,label,split,person"
    assert lines[1:] == ["x/1.jpg,c1,1,train,", f"{tmp_path}/other/2.jpg,c1,1,train,"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_name_that_is_not_utf8_is_refused_and_nothing_written(tmp_path: Path, suffix: str) -> None:
    source = Source("split", [Record(tmp_path / "\udcff.jpg", "c1", "1")], [], [])
    with pytest.raises(InputError, match="not UTF-8"):
        manifest.write(tmp_path / f"manifest{suffix}", source)
    assert not list(tmp_path.iterdir())
