"""What the check of a data set counts and reports as problems."""

import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from ccafl.data.check import CameraReport, Report, check, render
from ccafl.data.records import Record, Source
from ccafl.data.source import read_source


def source_of(folder: Path, train: list[str], query: list[str], gallery: list[str]) -> Source:
    """Images from words ``camera/label/person`` (person ``?``: unknown), drawn in ``folder``."""

    def drawn(name: str, words: list[str]) -> list[Record]:
        records = []
        for number, word in enumerate(words):
            path = folder / f"{name}{number}.png"
            Image.new("RGB", (8, 16)).save(path)
            camera, label, person = word.split("/")
            records.append(Record(path, camera, label, None if person == "?" else person))
        return records

    return Source("folder", drawn("train", train), drawn("query", query), drawn("gallery", gallery))


def shown(report: Report) -> str:
    text = io.StringIO()
    Console(file=text, width=300).print(render(report))
    return text.getvalue()


def test_a_sound_source_has_figures_and_no_problems(tmp_path: Path) -> None:
    train = ["c1/a/1", "c1/a/1", "[c2]/b/1", "[c2]/b/1", "[c2]/b/1", "[c2]/c/2", "[c2]/c/2"]
    report = check(source_of(tmp_path, train, ["c1/3/3"], ["[c2]/3/3", "c1/3/3"]), tmp_path)
    assert (report.kind, report.query, report.gallery) == ("folder", 1, 2)
    assert report.cameras == [CameraReport("[c2]", 5, 2, (2, 2.5, 3)), CameraReport("c1", 2, 1, (2, 2, 2))]
    assert (report.unreadable, report.problems) == ({}, [])
    assert "no problem found" in shown(report)
    assert "[c2]" in shown(report)


def test_times_are_counted(tmp_path: Path) -> None:
    source = source_of(tmp_path, ["c1/a/1", "c1/a/1", "c2/b/1"], [], [])
    assert "time known" not in shown(check(source, tmp_path))
    source.train[1] = replace(source.train[1], time=datetime(2026, 5, 1, tzinfo=UTC))
    assert "time known of 1 of 3 training images" in shown(check(source, tmp_path))


@pytest.mark.parametrize(
    ("train", "query", "gallery", "problem"),
    [
        (["c1/a/?", "c1/a/?"], [], [], "only one camera (c1)"),
        (["c1/a/1", "c1/a/1", "c2/a/2", "c2/a/2"], [], [], "no person is seen by two cameras"),
        ([f"c1/{n}/?" for n in range(7)], [], [], "7 labels have only one image (0 in c1, 1 in c1, 2 in c1)"),
        (["c1/a/?", "c2/a/?"], ["c1/1/1"], [], "query without gallery"),
        ([], ["c1/1/1"], ["c2/1/1"], "no training images"),
        (["c1/a/?"], ["c1/1/1", "c1/2/?"], ["c1/1/1", "c2/2/?"], "1 query has no image of the person"),
        (["c1/a/?"], ["c1/0/0"], ["c2/0/0"], "1 query has no image of the person"),
    ],
)
def test_problems_are_reported(
    tmp_path: Path, train: list[str], query: list[str], gallery: list[str], problem: str
) -> None:
    report = check(source_of(tmp_path, train, query, gallery), tmp_path)
    assert any(problem in line for line in report.problems), report.problems
    assert problem in shown(report)


def test_data_without_a_test_set_have_no_problem(tmp_path: Path) -> None:
    report = check(source_of(tmp_path, ["c1/a/?", "c1/a/?", "c2/a/?", "c2/a/?"], [], []), tmp_path)
    assert report.problems == []
    assert "note: no query and gallery: only evaluation needs them" in shown(report)


def test_unreadable_images_of_all_lists_are_named(tmp_path: Path) -> None:
    source = source_of(tmp_path, ["c1/a/1", "c2/a/1"], ["c1/1/1"], ["c2/1/1"])
    (tmp_path / "gallery0.png").write_text("no picture")
    steps: list[int] = []
    report = check(source, tmp_path, lambda: steps.append(1))
    assert list(report.unreadable) == [tmp_path / "gallery0.png"]
    assert len(steps) == 4
    assert "1 of 4 images cannot be read" in report.problems[-1]
    assert shown(report).count(str(tmp_path / "gallery0.png")) == 1


def test_an_example_of_each_camera_shows_how_its_paths_were_read(tmp_path: Path) -> None:
    report = check(source_of(tmp_path, ["door/a/?", "hall/b/?", "door/c/?"], [], []), tmp_path)
    assert "camera door: train0.png is label a" in shown(report)
    assert "camera hall: train1.png is label b" in shown(report)


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    for name in ("door/1/a.jpg", "door/1/b.jpg", "hall/1/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 16)).save(tmp_path / name)
    for name in ("door/1/c.CR2", "door/1/d.cr2", "hall/.thumbs/a.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "hall/2").symlink_to(tmp_path / "hall/1")
    (tmp_path / "door/1/e.jpg").symlink_to(tmp_path / "door/1/a.jpg")
    text = shown(check(read_source(tmp_path), tmp_path))
    for line in (
        "left out: 2 files ending in .cr2 (such as door/1/c.CR2)",
        "left out: 2 links (such as door/1/e.jpg)",
        "left out: 1 hidden (such as hall/.thumbs)",
        "left out: 1 file ending in .txt (such as notes.txt)",
    ):
        assert line in text


def test_many_images_unreadable_for_one_reason_are_one_line(tmp_path: Path) -> None:
    source = source_of(tmp_path, ["c1/a/1", "c2/a/1", "c2/a/1", "c2/a/1", "c2/a/1"], [], [])
    for record in source.train:
        record.path.unlink()
    lines = [line for line in shown(check(source, tmp_path)).splitlines() if line.startswith("unreadable")]
    assert len(lines) == 1
    assert "5 images: cannot be read (No such file or directory)" in lines[0]


@pytest.mark.parametrize(
    ("train", "problem"),
    [
        (["c1/a/?", "C1/b/?"], "cameras 'C1', 'c1' look alike"),
        (["caf\u00e9/a/?", "cafe\u0301/b/?"], "look alike"),  # one letter, or a letter and its accent
        (["c1/anna/?", "c1/Anna/?", "c2/b/?"], "labels look alike ('Anna', 'anna' in c1)"),
        ([f"{person}/c{camera}/?" for person in range(25) for camera in (1, 2)], "are camera and label swapped?"),
    ],
)
def test_names_that_are_probably_mistakes_are_reported(tmp_path: Path, train: list[str], problem: str) -> None:
    assert any(problem in line for line in check(source_of(tmp_path, train, [], []), tmp_path).problems)
