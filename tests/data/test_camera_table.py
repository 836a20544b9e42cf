"""The table of cameras: what it may hold, and the matrices it becomes."""

import math
from itertools import combinations
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ccafl.data.topology import Topology, read_topology
from ccafl.errors import InputError

CAMERAS = ("door", "hall", "roof", "007")
HEADER = "camera_a,camera_b,shared,least_seconds,most_seconds"


def table(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "cameras.csv"
    path.write_text("\n".join((header, *lines)) + "\n", encoding="utf-8")
    return path


def said(topology: Topology) -> dict[frozenset[str], tuple[int, float, float]]:
    """What is known of each pair of cameras of which something is."""
    matrices = (topology.shared, topology.least_seconds, topology.most_seconds)
    assert all(torch.equal(matrix, matrix.T) for matrix in matrices)
    assert [matrix.diagonal().unique().tolist() for matrix in matrices] == [[0], [0], [math.inf]]
    pairs = combinations(range(len(CAMERAS)), 2)
    found = {frozenset({CAMERAS[a], CAMERAS[b]}): tuple(matrix[a, b].item() for matrix in matrices) for a, b in pairs}
    return {pair: values for pair, values in found.items() if values != (0, 0, math.inf)}


def pair(one: str, other: str) -> frozenset[str]:
    return frozenset({one, other})


def test_rows_become_symmetric_matrices(tmp_path: Path) -> None:
    topology = read_topology(
        table(
            tmp_path, "hall,door,yes,20,600", "door,hall,yes,20.0,6e2", "", "roof, 007 ,never,,", "door,roof,yes,,90"
        ),
        CAMERAS,
    )
    assert said(topology) == {
        pair("door", "hall"): (1, 20, 600),
        pair("roof", "007"): (-1, 0, math.inf),
        pair("door", "roof"): (1, 0, 90),
    }
    assert topology.timed
    assert topology.shared.dtype == torch.int8
    assert topology.least_seconds.dtype == topology.most_seconds.dtype == torch.float64


def test_seconds_may_be_left_out(tmp_path: Path) -> None:
    topology = read_topology(table(tmp_path, "hall,door,yes", header="camera_a,camera_b,shared"), CAMERAS)
    assert said(topology) == {pair("door", "hall"): (1, 0, math.inf)}
    assert not topology.timed


def test_a_table_without_rows_says_nothing(tmp_path: Path) -> None:
    assert said(read_topology(table(tmp_path), CAMERAS)) == {}
    empty = tmp_path / "cameras.yaml"
    for text in ("", "[]", "# nothing yet\n"):
        empty.write_text(text)
        assert said(read_topology(empty, CAMERAS)) == {}


@pytest.mark.parametrize("order", [1, -1])
def test_a_line_that_names_more_cameras_outranks_one_that_names_fewer(tmp_path: Path, order: int) -> None:
    lines = ["*,*,never,,", "*,hall,yes,5,", "hall,roof,never,,", "door,007,yes,,9"]
    assert said(read_topology(table(tmp_path, *lines[::order]), CAMERAS)) == {
        pair("door", "roof"): (-1, 0, math.inf),
        pair("roof", "007"): (-1, 0, math.inf),
        pair("door", "hall"): (1, 5, math.inf),
        pair("hall", "007"): (1, 5, math.inf),
        pair("hall", "roof"): (-1, 0, math.inf),
        pair("door", "007"): (1, 0, 9),
    }


SECONDS = st.none() | st.integers(0, 1000)
ROWS = st.dictionaries(
    st.sampled_from(list(combinations(CAMERAS, 2))),
    st.just(("never", None, None)) | st.tuples(st.just("yes"), st.integers(0, 99) | st.none(), SECONDS),
)


@given(ROWS, st.randoms())
def test_csv_and_yaml_say_the_same(tmp_path_factory: pytest.TempPathFactory, rows, random) -> None:
    expected, csv, entries = {}, [], []
    for cameras, (word, least, more) in rows.items():
        most = None if more is None else (least or 0) + more
        one, other = random.sample(cameras, 2)
        entries.append(dict(zip(HEADER.split(","), (one, other, word, least, most), strict=True)))
        csv.append(",".join("" if value is None else str(value) for value in entries[-1].values()))
        values = (1 if word == "yes" else -1, least or 0, math.inf if most is None else most)
        expected[frozenset(cameras)] = values
    folder = tmp_path_factory.mktemp("tables")
    listed = folder / "cameras.yml"
    listed.write_text(yaml.safe_dump(entries))
    assert said(read_topology(table(folder, *csv), CAMERAS)) == expected
    assert said(read_topology(listed, CAMERAS)) == expected


def test_yaml_values_are_taken_as_written(tmp_path: Path) -> None:
    """YAML would read ``yes`` as true and ``007`` as 7."""
    path = tmp_path / "cameras.yaml"
    path.write_text("- {camera_a: 007, camera_b: door, shared: yes, least_seconds: 1e1, most_seconds: ~}\n")
    assert said(read_topology(path, CAMERAS)) == {pair("007", "door"): (1, 10, math.inf)}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["door,hall,yes,,", "door,hal,never,,"], "line 3: the images have no camera hal; correct it (hall) or"),
        (["door,zz,never,,"], "line 2: the images have no camera zz; correct it (door, hall, roof, 007) or remove"),
        (["door,door,yes,,"], "line 2: pairs camera door with itself"),
        (["door,,yes,,"], "line 2: camera_b is empty"),
        (["door,hall, ,,"], "line 2: shared is empty"),
        (["door,hall,no,,"], "line 2: shared is 'no'; write yes or never"),
        (["door,hall,yes,soon,"], "line 2: least_seconds is 'soon'; write a number of seconds"),
        (["door,hall,yes,-1,"], "line 2: least_seconds is '-1'"),
        (["door,hall,yes,,inf"], "line 2: most_seconds is 'inf'"),
        (["door,hall,yes,nan,"], "line 2: least_seconds is 'nan'"),
        (["door,hall,yes,60,30"], "line 2: least_seconds 60 is above most_seconds 30"),
        (["door,hall,never,60,"], "line 2: has seconds for cameras that never share a person"),
        (["door,hall,yes"], "line 2: 3 values for 5 columns"),
        (
            ["door,hall,yes,,", "hall,roof,yes,,", "hall,door,never,,"],
            "line 4: contradicts line 2 on cameras door and hall; remove one",
        ),
        (["door,hall,yes,,", "hall,door,yes,5,"], "line 3: contradicts line 2 on cameras door and hall"),
        (["*,*,never,,", "*,*,yes,,"], "line 3: contradicts line 2 on cameras 007 and door"),
        (
            ["door,*,never,,", "*,hall,yes,,"],
            "line 3: contradicts line 2 on cameras door and hall; name them in a line of their own",
        ),
    ],
)
def test_errors_name_their_line(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(InputError) as error:
        read_topology(table(tmp_path, *lines), CAMERAS)
    assert str(error.value).startswith(str(tmp_path / "cameras.csv"))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {camera_a: door, camera_b: hall, shared: yes}\n- {camera_a: door, camera_b: hal}\n", "line 2: shared is"),
        ("- {camera_a: door, camera_b: hall, shared: yes, least: 3}", "line 1: unknown column 'least'; use camera_a,"),
        ("camera_a: door\ncamera_b: hall\nshared: yes\n", "line 1: is not an entry of the list"),
        ("\n- door\n", "line 2: is not an entry of the list"),
        ("- {camera_a: [door], camera_b: hall, shared: yes}", "line 1: is not an entry of the list"),
        ("- {camera_a: door, camera_a: hall, shared: yes}", "line 1: is not an entry of the list"),
        ("- {}", "line 1: is not an entry of the list"),
        ("- &a [*a]", "line 1: is not an entry of the list"),
        ("- {camera_a: door", "cannot be read as YAML"),
        ("a: 1\n---\nb: 2\n", "cannot be read as YAML"),
        ("[" * 10_000, "cannot be read as YAML"),
    ],
)
def test_a_yaml_file_of_another_form_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "cameras.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_topology(path, CAMERAS)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_such_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.yaml: no such file; give a table of cameras"):
        read_topology(tmp_path / "nowhere.yaml", CAMERAS)
    with pytest.raises(InputError, match=r"cameras.csv: no column shared among camera_a, camera_b"):
        read_topology(table(tmp_path, "door,hall", header="camera_a,camera_b"), CAMERAS)
    with pytest.raises(InputError, match=r"cameras.csv, line 2: unknown column 'least'; use camera_a"):
        read_topology(table(tmp_path, "door,hall,yes,5", header="camera_a,camera_b,shared,least"), CAMERAS)
    bytes_of = tmp_path / "cameras.yaml"
    bytes_of.write_bytes(b"- {camera_a: \xff}")
    with pytest.raises(InputError, match=r"cameras.yaml: cannot be read as YAML"):
        read_topology(bytes_of, CAMERAS)
