"""The table of corrections: what it may hold, and the links it becomes."""

from pathlib import Path

import pytest

from ccafl.data.identity_links import links_between, numbered
from ccafl.data.links import read_links
from ccafl.data.numbering import accumulate
from ccafl.data.records import Record
from ccafl.errors import InputError

HEADER = "kind,camera_a,label_a,camera_b,label_b"


def table(folder: Path, *lines: str) -> Path:
    path = folder / "corrections.csv"
    path.write_text("\n".join((HEADER, *lines)) + "\n", encoding="utf-8")
    return path


def images(*labels: str):
    """One image of each "camera/label"."""
    return accumulate([Record(Path(f"{label}.jpg"), *label.split("/")) for label in labels])


def test_rows_become_pairs_of_identities_once_and_in_order(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "cannot_link,hall,2,door,1",
        "must_link,hall,1,door,1",
        "must_link,door,1,hall,1",
        "",
        'must_link,"gate, north",007,door,2',
        "must_link,hall,1,hall,3",
    )
    found = links_between(path, images("door/1", "door/2", "gate, north/007", "hall/1", "hall/2", "hall/3"))
    assert found.must.tolist() == [[0, 3], [1, 2], [3, 5]]
    assert found.cannot.tolist() == [[0, 4]]
    assert (found.left_out, len(found)) == (0, 4)


def test_further_columns_and_the_order_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "corrections.csv"
    path.write_text("label_b,camera_b,who,label_a,camera_a,kind\n1,hall,Ann,2,door,cannot_link\n")
    (link,) = read_links(path)
    assert (link.kind, link.one, link.other, link.place) == ("cannot_link", ("door", "2"), ("hall", "1"), "line 2")


def test_rows_of_other_labels_are_left_out_and_counted(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "must_link,door,1,hall,1",
        "must_link,door,1,hall,9",
        "cannot_link,roof,1,hall,1",
        "cannot_link,hall,1,door,2",
    )
    found = links_between(path, images("door/1", "door/2", "hall/1"))
    assert (found.must.tolist(), found.cannot.tolist(), found.left_out) == ([[0, 2]], [[1, 2]], 2)


def test_a_table_of_other_data_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, "must_link,door,1,hall,9", "must_link,door,1,roof,1")
    refused = r"corrections.csv: no line links two labels of these images.*label 9 of camera hall"
    with pytest.raises(InputError, match=refused):
        links_between(path, images("door/1", "hall/1"))


def test_a_table_without_rows_says_nothing(tmp_path: Path) -> None:
    found = links_between(table(tmp_path), images("door/1", "hall/1"))
    assert (tuple(found.must.shape), tuple(found.cannot.shape), len(found)) == ((0, 2), (0, 2), 0)


def test_other_places_can_be_numbered(tmp_path: Path) -> None:
    links = read_links(table(tmp_path, "cannot_link,a,1,b,1"))
    assert numbered(links, [("b", "1"), ("c", "1"), ("a", "1")]).cannot.tolist() == [[0, 2]]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["must_link,a,1,b,1", "same,a,1,b,2"], "line 3: unknown kind 'same'; use must_link or cannot_link"),
        (["must_link,a,,b,1"], "line 2: label_a is empty"),
        (["must_link,a,1, ,1"], "line 2: camera_b is empty"),
        (["cannot_link,a,1,a,2", "must_link,a,1,a,1"], "line 3: links label 1 of camera a with itself"),
        (["must_link,a,1,b"], "line 2: 4 values for 5 columns"),
        (['must_link,a,"1,b,1'], "cannot be read as CSV"),
        (
            ["cannot_link,b,1,a,1", "must_link,a,1,b,1"],
            "line 2: says that label 1 of camera b and label 1 of camera a are two persons, "
            "but line 3 that they are one",
        ),
        (
            ["must_link,a,1,b,1", "must_link,x,1,y,1", "must_link,c,1,b,1", "must_link,c,1,d,1", "cannot_link,a,1,d,1"],
            "line 6: says that label 1 of camera a and label 1 of camera d are two persons, "
            "but line 5, line 4, line 2 that they are one",
        ),
    ],
)
def test_errors_name_their_line(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(InputError) as error:
        read_links(table(tmp_path, *lines))
    assert str(error.value).startswith(str(tmp_path / "corrections.csv"))
    assert message in str(error.value)


def test_a_file_that_is_not_such_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.csv: no such file"):
        read_links(tmp_path / "nowhere.csv")
    other = tmp_path / "association.csv"
    other.write_text("camera,label,identity\na,1,0\n")
    with pytest.raises(InputError, match=r"association.csv: no column kind, camera_a, label_a, camera_b, label_b"):
        read_links(other)
    other.write_bytes(b"kind,camera_a,label_a,camera_b,label_b\nmust_link,\xff,1,b,1\n")
    with pytest.raises(InputError, match="is not UTF-8"):
        read_links(other)
