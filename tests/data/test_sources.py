"""Every kind of source, recognised and read; what is refused, and with which message."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ccafl.data.manifest import write
from ccafl.data.records import Record
from ccafl.data.source import KINDS, read_source
from ccafl.data.trusted import trust
from ccafl.errors import InputError

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes empty files at the given paths (no source reads pictures) and returns the folder."""

    def made(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path

    return made


def seen(records: list[Record]) -> list[tuple[str, str, str | None]]:
    return [(record.camera, record.label, record.person) for record in records]


MARKET = [
    "bounding_box_train/0002_c1s1_000451_03.jpg",
    "bounding_box_train/0002_c2s1_000451_03.JPG",
    "bounding_box_train/0010_c1s3_000451_03.jpg",
    "bounding_box_train/-1_c1s1_000451_03.jpg",
    "bounding_box_train/0000_c1s1_000451_03.jpg",
    "bounding_box_train/Thumbs.db",
    "query/0001_c1s1_001051_00.jpg",
    "bounding_box_test/0001_c3s1_001051_00.jpg",
    "bounding_box_test/0000_c1s1_000151_01.jpg",
    "bounding_box_test/-1_c1s1_000401_03.jpg",
    "bounding_box_test/._0001_c3s1_001051_00.jpg",
    "readme.txt",
]


@pytest.mark.parametrize("prefix", ["", "Market-1501-v15.09.15/"])
def test_market1501(make: Make, prefix: str) -> None:
    source = read_source(make(*(prefix + name for name in MARKET)))
    assert source.kind == "market1501"
    assert seen(source.train) == [("c1", "0002", "2"), ("c2", "0002", "2"), ("c1", "0010", "10")]
    assert seen(source.query) == [("c1", "0001", "1")]
    assert seen(source.gallery) == [("c1", "-1", "-1"), ("c1", "0000", "0"), ("c3", "0001", "1")]


def test_files_named_like_market1501_are_found_anywhere_and_train(make: Make) -> None:
    root = make("train/0002/0002_c1s1_000451_03.jpg", "val/0002/0002_c2s1_000451_03.jpg", "val/0000_c2s1_000451_03.jpg")
    source = read_source(root)
    assert (source.kind, source.query, source.gallery) == ("market1501", [], [])
    assert seen(source.train) == [("c1", "0002", "2"), ("c2", "0002", "2")]


def test_dukemtmc(make: Make) -> None:
    source = read_source(
        make(
            "bounding_box_train/0001_c2_f0046182.jpg",
            "query/0005_c8_f0000001.jpg",
            "bounding_box_test/0005_c1_f0000001.jpg",
        )
    )
    assert source.kind == "dukemtmc"
    assert seen([*source.train, *source.query, *source.gallery]) == [
        ("c2", "0001", "1"),
        ("c8", "0005", "5"),
        ("c1", "0005", "5"),
    ]


def test_msmt17_renamed_has_a_person_with_id_0(make: Make) -> None:
    source = read_source(
        make("bounding_box_train/0000_c1_0000.jpg", "query/0000_c15_0001.jpg", "bounding_box_test/0000_c2_0002.jpg")
    )
    assert source.kind == "msmt17"
    assert seen([*source.train, *source.query, *source.gallery]) == [
        ("c1", "0000", "1"),
        ("c15", "0000", "1"),
        ("c2", "0000", "1"),
    ]


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("mask_train_v2", "mask_test_v2")])
@pytest.mark.parametrize("home", [".", "MSMT17_V1"])
def test_msmt17_lists(tmp_path: Path, train: str, test: str, home: str) -> None:
    root = tmp_path / home
    for folder in (train, test):
        (root / folder).mkdir(parents=True)
    (root / "list_train.txt").write_text("0000/0000_000_01_0303morning_0008_0.jpg 0\n")
    (root / "list_val.txt").write_text("0000/0000_009_15_0303morning_0008_0_ex.jpg 0\n")
    (root / "list_query.txt").write_text("0000/0000_000_02_0303morning_0008_0.jpg 0\n")
    (root / "list_gallery.txt").write_text("0001/0001_000_02_0303morning_0008_0.jpg 1\n\n")
    source = read_source(tmp_path)
    assert source.kind == "msmt17"
    assert seen(source.train) == [("c1", "0000", "1"), ("c15", "0000", "1")]
    assert seen(source.query) == [("c2", "0000", "1")]
    assert seen(source.gallery) == [("c2", "0001", "2")]
    assert source.gallery[0].path == root / test / "0001/0001_000_02_0303morning_0008_0.jpg"


def test_msmt17_lists_are_refused_with_their_line(make: Make) -> None:
    root = make("list_query.txt", "list_val.txt", "list_gallery.txt", "train/x", "test/x")
    (root / "list_train.txt").write_text("0000/0000_000_01_0303morning_0008_0.jpg 0\n0000/0000_000_01_a_0.jpg\n")
    with pytest.raises(InputError, match=r"list_train.txt, line 2: is not an image"):
        read_source(root)
    (root / "list_train.txt").write_text("0000/0000_000_01_0303morning_0008_0.jpg 0\n" * 2)
    with pytest.raises(InputError, match="is the same image as"):
        read_source(root)
    (root / "list_val.txt").unlink()
    with pytest.raises(InputError, match=r"list_val\.txt: cannot be read"):
        read_source(root)
    (root / "train/x").unlink()
    (root / "train").rmdir()
    with pytest.raises(InputError, match="no folder train or mask_train_v2"):
        read_source(root)


@pytest.mark.parametrize("by_person", [False, True])
@pytest.mark.parametrize(
    ("kind", "name", "train", "query", "gallery"),
    [
        ("market1501", "{}_c{}s1_000451_03.jpg", "train", "query", "test"),
        ("market1501", "{}_c{}s1_000451_03.jpg", "train_all", "query", "gallery"),
        ("market1501", "{}_c{}s1_000451_03.jpg", "Bounding_Box_Train", "Query", "Bounding_Box_Test"),
        ("dukemtmc", "{}_c{}_f0046182.jpg", "image_train", "image_query", "image_test"),
        ("veri", "{}_c00{}_00016450_0.jpg", "image_train", "image_query", "image_test"),
        ("mars", "{}C{}T0001F001.jpg", "bbox_train", "query", "bbox_test"),
        ("msmt17", "{}_000_0{}_0303morning_0008_0.jpg", "train", "query", "test"),
        ("msmt17", "{}_c{}_0001.jpg", "train", "probe", "gallery"),
    ],
)
def test_persons_in_folders_for_testing_never_train(
    make: Make, kind: str, name: str, train: str, query: str, gallery: str, by_person: bool
) -> None:
    below = "0001/" if by_person else ""
    made = [f"{part}/{below}{name.format('0001', camera)}" for camera in (1, 2) for part in (train, query, gallery)]
    source = read_source(make(*(f"set/{path}" for path in made)))
    assert source.kind == kind
    for records, part in ((source.train, train), (source.query, query), (source.gallery, gallery)):
        assert {record.path.parts[-3 if by_person else -2] for record in records} == {part}
        assert [record.camera for record in records] == ["c1", "c2"]


def test_a_copy_of_the_training_images_in_two_parts_trains_once(make: Make) -> None:
    parts = ["train_all", "train", "val", "query", "gallery", "multi-query"]
    root = make(*(f"{part}/0002/0002_c{part.count('a') + 1}s1_000451_03.jpg" for part in parts))
    assert [record.path.parts[-3] for record in read_source(root).train] == ["train_all"]


@pytest.mark.parametrize("part", ["query", "bounding_box_test", "bbox_test", "test"])
def test_a_folder_for_testing_given_alone_does_not_train(make: Make, part: str) -> None:
    source = read_source(make(f"{part}/0002_c1s1_000451_03.jpg") / part)
    assert (len(source.train), len(source.records)) == (0, 1)


@pytest.mark.parametrize("part", ["bounding_box_default", "bounding_box_val", "persons"])
def test_a_folder_of_unknown_purpose_is_refused(make: Make, part: str) -> None:
    root = make(f"{part}/1_c1s1_000451_03.jpg", "query/1_c2s1_000451_03.jpg", "bounding_box_train/2_c1s1_000451_03.jpg")
    with pytest.raises(InputError, match=rf"{part}: not clear .* rename it bounding_box_train"):
        read_source(root)


def test_ids_of_any_length_and_junk_without_a_sequence(make: Make) -> None:
    names = ["7_c1s1_000451_00.jpg", "12345_c2s1_000451_00.jpg", "-1_c3_000451.jpg", "-1_c1s1_000451_00.jpg"]
    source = read_source(make(*(f"bounding_box_test/{name}" for name in names), "bounding_box_train/x.txt"))
    found = {(record.camera, record.label, record.person) for record in source.gallery}
    assert found == {("c1", "0007", "7"), ("c2", "12345", "12345"), ("c3", "-1", "-1"), ("c1", "-1", "-1")}


def test_junk_of_mars_is_junk(make: Make) -> None:
    source = read_source(make("bbox_train/0001/0001C1T0001F001.jpg", "bbox_test/00-1/00-1C2T0001F001.jpg"))
    assert seen(source.gallery) == [("c2", "-1", "-1")]


@pytest.mark.parametrize("camera", ["train", "test", "bbox_train", "image_query", "bounding_box_mine", "Val"])
def test_parts_of_data_sets_are_no_cameras(make: Make, camera: str) -> None:
    root = make("door/1/a.jpg", f"{camera}/1/a.jpg")
    for kind in (None, "folder"):
        with pytest.raises(InputError, match=f"{camera}: is named like a part of a data set"):
            read_source(root, kind)


def test_blanks_around_names_make_no_other_camera(make: Make, tmp_path: Path) -> None:
    source = read_source(make("pictures/c1/1/a.jpg", "pictures/c1 /1 /b.jpg") / "pictures")
    assert seen(source.train) == [("c1", "1", None)] * 2
    (tmp_path / "m.csv").write_text(" Image , Camera,label \n a.jpg,c1 , 1\nb.jpg, c1,1\n")
    assert seen(read_source(tmp_path / "m.csv").train) == [("c1", "1", None)] * 2


def test_folder(make: Make) -> None:
    source = read_source(
        make(
            "hall/ann/1.jpg",
            "hall/ann/2.PNG",
            "hall/notes.txt",
            "door/007/1.webp",
            ".hidden/x/1.jpg",
            "hall/.old/1.jpg",
            "query/hall/7/1.bmp",
            "gallery/door/7/1.jpeg",
            "gallery/door/-1/1.jpeg",
        )
    )
    assert source.kind == "folder"
    assert seen(source.train) == [("door", "007", None), ("hall", "ann", None), ("hall", "ann", None)]
    assert seen(source.query) == [("hall", "7", "7")]
    assert seen(source.gallery) == [("door", "-1", "-1"), ("door", "7", "7")]


def test_symbolic_links_in_a_folder_are_left_out(make: Make) -> None:
    root = make("a/1/x.jpg")
    (root / "a/1/y.jpg").symlink_to(root / "a/1/x.jpg")
    (root / "b").symlink_to(root / "a")
    (root / "a/2").symlink_to(root / "a/1")
    assert [record.path.name for record in read_source(root).train] == ["x.jpg"]


@pytest.mark.parametrize("stray", ["x.jpg", "hall/x.jpg", "hall/ann/deep/x.jpg", "query/x.jpg", "gallery/hall/x.jpg"])
def test_an_image_without_camera_and_label_is_named(make: Make, stray: str) -> None:
    root = make("hall/ann/1.jpg", stray)
    with pytest.raises(InputError, match=rf"^{root / stray}: is not in <camera>/<label>/"):
        read_source(root)


def test_folders_for_testing_are_not_searched_for_training_files(make: Make) -> None:
    names = "{}/0002/0002_c1s1_000451_03.jpg", "{}/c2/0003/0003_c2s1_000451_03.jpg"
    source = read_source(make(names[0].format("c1"), names[1].format("query"), names[1].format("gallery")))
    assert source.kind == "folder"
    assert len(source.train) == len(source.query) == len(source.gallery) == 1


def test_official_folders_far_below_are_refused(make: Make) -> None:
    root = make("a/b/query/0002_c1s1_000451_03.jpg", "a/b/bounding_box_train/0003_c1s1_000451_03.jpg")
    with pytest.raises(InputError, match="below a folder for testing"):
        read_source(root)


def test_an_official_image_without_camera_is_named(make: Make) -> None:
    root = make(*MARKET, "bounding_box_test/holiday.jpg")
    with pytest.raises(InputError, match=r"bounding_box_test/holiday.jpg: no camera in its name"):
        read_source(root)


def test_one_file_name_in_two_places_is_refused(make: Make) -> None:
    root = make("a/0002_c1s1_000451_03.jpg", "b/0002_c1s1_000451_03.jpg")
    with pytest.raises(InputError, match=r"b/0002_c1s1_000451_03.jpg: has the same name as .*a/0002"):
        read_source(root)


def test_two_data_sets_in_one_folder_are_refused(make: Make) -> None:
    root = make("m/bounding_box_train/0002_c1s1_000451_03.jpg", "d/bounding_box_train/0001_c2_f0046182.jpg")
    with pytest.raises(InputError, match=r"several data sets \(d, m\)"):
        read_source(root)
    assert read_source(root / "m").kind == "market1501"


def test_files_of_two_data_sets_mixed_are_ambiguous_until_the_kind_is_named(make: Make) -> None:
    root = make("x/0002_c1s1_000451_03.jpg", "x/0001_c2_f0046182.jpg")
    with pytest.raises(InputError, match="may be market1501 or dukemtmc"):
        read_source(root)
    assert seen(read_source(root, "dukemtmc").train) == [("c2", "0001", "1")]


@pytest.mark.parametrize("named", ["../secret.jpg", "{folder}/secret.jpg", "link.jpg"])
def test_a_manifest_names_nothing_outside_of_its_folder_unasked(
    make: Make, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    root = make("secret.jpg", "data/a.jpg")
    monkeypatch.setenv("XDG_STATE_HOME", str(root / "state"))
    (root / "data/link.jpg").symlink_to(root / "secret.jpg")
    table = root / "data/manifest.csv"
    table.write_text(f"image,camera,label\na.jpg,c1,1\n{named.format(folder=root)},c1,1\n")
    for place in (table, root / "data"):
        with pytest.raises(InputError, match=r"secret|link.*not in the table's folder; add --allow-outside"):
            read_source(place)
        assert len(read_source(place, outside=True).train) == 2
    trust(table)  # as ccafl data split does with what it writes
    assert len(read_source(table).train) == 2
    assert (root / "state/ccafl/manifests").stat().st_mode & 0o077 == 0
    table.write_text(table.read_text() + "b.jpg,c1,1\n")
    with pytest.raises(InputError, match="--allow-outside"):
        read_source(table)


CSV = """image,camera,label,split,person
x/1.jpg,c1,007,,7
x/2.jpg,c2,01,train,

x/3.jpg,c1,5,query,5
/far/4.jpg,c2,5,gallery,5
"""


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_manifest(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"manifest.{kind}"
    if kind == "csv":
        path.write_text("\ufeff" + CSV)
    else:
        rows = [line.split(",") for line in CSV.splitlines() if line]
        columns = list(zip(*rows[1:], strict=True))
        table = pa.table({name: pa.array(values) for name, values in zip(rows[0], columns, strict=True)})
        pq.write_table(table.set_column(2, "label", table["label"].dictionary_encode()), path)
    source = read_source(tmp_path, outside=True)
    assert source == read_source(path, outside=True)
    assert source.kind == "manifest"
    assert seen(source.train) == [("c1", "007", "7"), ("c2", "01", None)]
    assert source.train[0].path == tmp_path / "x/1.jpg"
    assert source.gallery == [Record(Path("/far/4.jpg"), "c2", "5", "5")]
    assert len(source.query) == 1


def test_a_manifest_needs_only_three_columns(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text('label,extra,camera,image\n1,x,"c,1",a.jpg\n')
    assert read_source(tmp_path / "mine.csv").train == [Record(tmp_path / "a.jpg", "c,1", "1")]


def test_times_are_read_with_their_offset_and_written_again(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(
        "image,camera,label,time\na.jpg,c1,1,2026-05-01T14:03:00+02:00\nb.jpg,c1,1,2026-05-01 12:03:00\nc.jpg,c1,1,\n"
    )
    source = read_source(tmp_path / "mine.csv")
    noon = datetime(2026, 5, 1, 12, 3, tzinfo=UTC)  # without an offset it is UTC
    assert [record.time for record in source.train] == [noon, noon, None]
    for name in ("again.csv", "again.parquet"):
        write(tmp_path / name, source)
        assert read_source(tmp_path / name) == source


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("said", [False, True])
def test_csv_as_spreadsheets_write_it(tmp_path: Path, separator: str, encoding: str, said: bool) -> None:
    lines = ["image,camera,label,split,,", 'a.jpg,"caf\u00e9 | 1, 2; 3",007,train,,', ",,,,,", "b.jpg,c2,1,,,"]
    text = "\r\n".join(lines).replace(",", separator).replace("1" + separator + " 2", "1, 2")
    (tmp_path / "m.csv").write_text(f"sep={separator}\r\n" * said + text, encoding=encoding)
    found = seen(read_source(tmp_path / "m.csv").train)
    assert found == [("caf\u00e9 | 1, 2; 3", "007", None), ("c2", "1", None)]


def test_paths_written_on_windows(tmp_path: Path) -> None:
    table = tmp_path / "m.csv"
    table.write_text("image,camera,label\nx\\c1\\a.jpg,c1,1\n")
    assert [record.path for record in read_source(table).train] == [tmp_path / "x/c1/a.jpg"]
    (tmp_path / "x\\c1\\a.jpg").touch()
    assert [record.path for record in read_source(table).train] == [tmp_path / "x\\c1\\a.jpg"]
    table.write_text("image,camera,label\nC:\\x\\a.jpg,c1,1\n")
    with pytest.raises(InputError, match=r"line 2: C:\\x\\a.jpg is a path on a Windows drive"):
        read_source(table)


def test_types_of_columns_that_parquet_may_have(tmp_path: Path) -> None:
    noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    columns = {
        "Image": pa.array(["a.jpg", "b.jpg"], pa.string_view()),
        "camera": pa.array(["c1", "c2"]).dictionary_encode(),
        "label": pa.array([7, 8], pa.int16()),
        "person": pa.array([7.0, None]),
        "time": pa.array([noon.replace(tzinfo=None), None], pa.timestamp("us")),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    source = read_source(tmp_path / "t.parquet")
    assert seen(source.train) == [("c1", "7", "7"), ("c2", "8", None)]
    assert [record.time for record in source.train] == [noon, None]
    for strange in (pa.array([True, False]), pa.array([b"1", b"2"]), pa.array([[1], [2]])):
        pq.write_table(pa.table(columns | {"label": strange}), tmp_path / "t.parquet")
        with pytest.raises(InputError, match=r"column label is of type .* store it as text"):
            read_source(tmp_path / "t.parquet")


def test_whole_numbers_and_nulls_in_parquet(tmp_path: Path) -> None:
    table = pa.table({"image": ["a.jpg"], "camera": [3], "label": [12], "person": pa.nulls(1), "other": [0.5]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert seen(read_source(tmp_path / "t.parquet").train) == [("3", "12", None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column image, camera, label"),
        ("image,label\na.jpg,1\n", "no column camera among image, label"),
        ("image camera label\n", "no column image, camera, label"),
        ("image,camera,label,label\n", "column label appears twice"),
        ("image,camera,label\na.jpg,c1,1\nb.jpg,c1,\n", "line 3: label is empty"),
        ("image,camera,label\n\na.jpg, ,1\n", "line 3: camera is empty"),
        ("image,camera,label\n,c1,1\n", "line 2: image is empty"),
        ("image,camera,label\na.jpg,c1\n", "line 2: 2 values for 3 columns"),
        ("image,camera,label,split\na.jpg,c1,1,test\n", "line 2: unknown split 'test'; use train, query, gallery"),
        ("image,camera,label\na.jpg,c1,1\nb/../a.jpg,c2,1\n", "b/../a.jpg is in line 2 already"),
        (
            "image,camera,label,person\na.jpg,c1,1,4\nb.jpg,c1,1,5\n",
            "line 3: label 1 of camera c1 is person 5 here and 4",
        ),
        (
            "image,camera,label,time\na.jpg,c1,1,noon\n",
            "line 2: 'noon' is not a time; write it like 2026-05-01T14:03:00Z",
        ),
        ("image,camera,label\n", "holds no images of kind manifest"),
        ('image,camera,label\n"a.jpg,c1,1\n', "cannot be read as CSV"),
    ],
)
def test_a_bad_manifest_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_source(tmp_path)
    assert str(caught.value).startswith(str(tmp_path if "holds" in message else path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_bad_manifests(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("image,camera,label\né.jpg,c1,1\n".encode("latin-1"))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    pq.write_table(pa.table({"image": ["a"], "camera": ["c"], "label": [1.5]}), tmp_path / "float.parquet")
    pq.write_table(pa.table({"image": ["a"], "camera": ["c"], "label": [""]}), tmp_path / "empty.parquet")
    for name, message in (
        ("latin.csv", "UTF-8"),
        ("broken.parquet", "cannot be read as Parquet"),
        ("float.parquet", "column label is of type double"),
        ("empty.parquet", "row 1: label is empty"),
    ):
        with pytest.raises(InputError, match=message):
            read_source(tmp_path / name)


def test_two_manifests_in_one_folder_are_refused(make: Make) -> None:
    with pytest.raises(InputError, match=r"both manifest.csv and manifest.parquet"):
        read_source(make("manifest.csv", "manifest.parquet"))


def test_a_set_for_evaluation_only_is_fine(make: Make) -> None:
    source = read_source(make("query/c1/1/a.jpg", "gallery/c2/1/b.jpg"))
    assert (len(source.train), len(source.query), len(source.gallery)) == (0, 1, 1)


def test_what_is_not_a_source_is_refused(make: Make, tmp_path: Path) -> None:
    for path, kind, message in (
        (tmp_path / "none", None, "no such file or folder"),
        (tmp_path, None, "is empty"),
        (tmp_path, "imagenet", f"imagenet: no such kind of source; choose one of {', '.join(KINDS)}"),
    ):
        with pytest.raises(InputError, match=message):
            read_source(path, kind)
    file = make("notes.txt") / "notes.txt"
    for path, kind, message in (
        (tmp_path, None, "no images or manifest there"),
        (tmp_path, "market1501", "holds no images of kind market1501"),
        (tmp_path, "manifest", "neither manifest.csv nor manifest.parquet"),
        *((file, kind, f"is a file, but a source of kind {kind} is a folder") for kind in KINDS if kind != "manifest"),
        (file, "manifest", "is not named like a manifest"),
        (file, None, "no images or manifest there"),
    ):
        with pytest.raises(InputError, match=message):
            read_source(path, kind)


def test_sources_and_corrections_are_read_without_torch(make: Make) -> None:
    (make("links.csv") / "links.csv").write_text("kind,camera_a,label_a,camera_b,label_b\nmust_link,a,1,b,1\n")
    root = make("world/manifest.csv") / "world"
    (root / "manifest.csv").write_text("image,camera,label,time\na.jpg,c1,1,2026-05-01\n")
    program = (
        "import sys; from pathlib import Path; sys.modules['torch'] = None\n"
        "from ccafl.data.links import read_links; from ccafl.data.source import read_source\n"
        f"assert len(read_source(Path({str(root)!r})).train) == 1\n"
        f"assert len(read_links(Path({str(root.parent / 'links.csv')!r}))) == 1\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_records_come_in_the_order_of_their_paths(make: Make) -> None:
    names = ["b/1/2.jpg", "b/1/10.jpg", "a/2/1.jpg", "b-/1/1.jpg"]
    paths = [str(record.path) for record in read_source(make(*names)).train]
    assert paths == sorted(paths)
    assert len(paths) == 4


def test_names_that_results_cannot_hold_are_refused_before_any_work(make: Make, tmp_path: Path) -> None:
    make("pictures/door/" + os.fsdecode(b"caf\xe9") + "/a.jpg")
    with pytest.raises(InputError, match=r"caf\\udce9/a\.jpg': is not named in UTF-8; rename it"):
        read_source(tmp_path / "pictures")
    (tmp_path / "null.csv").write_text("image,camera,label\na\0.jpg,c1,1\n")
    with pytest.raises(InputError, match="null"):
        read_source(tmp_path / "null.csv")
    label = pa.array([b"\xff\xfe"]).view(pa.string())
    pq.write_table(pa.table({"image": ["a.jpg"], "camera": ["c1"], "label": label}), tmp_path / "text.parquet")
    with pytest.raises(InputError, match=r"text\.parquet: cannot be read as Parquet"):
        read_source(tmp_path / "text.parquet")


def test_folders_nested_deeper_than_a_stack_are_read(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1_500):  # longer than a path may be
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    with pytest.raises(InputError, match=r"deep|holds no images"):
        read_source(tmp_path)
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)
