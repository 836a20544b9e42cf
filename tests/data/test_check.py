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
    report = check(source_of(tmp_path, train, ["c1/3/3"], ["[c2]/3/3", "c1/3/3"]))
    assert (report.kind, report.query, report.gallery) == ("folder", 1, 2)
    assert report.cameras == [CameraReport("[c2]", 5, 2, (2, 2.5, 3)), CameraReport("c1", 2, 1, (2, 2, 2))]
    assert (report.unreadable, report.problems) == ({}, [])
    assert "no problem found" in shown(report)
    assert "[c2]" in shown(report)


def test_times_are_counted(tmp_path: Path) -> None:
    source = source_of(tmp_path, ["c1/a/1", "c1/a/1", "c2/b/1"], [], [])
    assert "time known" not in shown(check(source))
    source.train[1] = replace(source.train[1], time=datetime(2026, 5, 1, tzinfo=UTC))
    assert "time known of 1 of 3 training images" in shown(check(source))


@pytest.mark.parametrize(
    ("train", "query", "gallery", "problem"),
    [
        (["c1/a/?", "c1/a/?"], [], [], "only one camera (c1)"),
        (["c1/a/1", "c1/a/1", "c2/a/2", "c2/a/2"], [], [], "no person is seen by two cameras"),
        ([f"c1/{n}/?" for n in range(7)], [], [], "7 labels have only one image (0 in c1, 1 in c1, 2 in c1)"),
        (["c1/a/?", "c2/a/?"], [], [], "no query and gallery"),
        (["c1/a/?", "c2/a/?"], ["c1/1/1"], [], "no query and gallery"),
        ([], ["c1/1/1"], ["c2/1/1"], "no training images"),
        (["c1/a/?"], ["c1/1/1", "c1/2/?"], ["c1/1/1", "c2/2/?"], "1 queries have no image of their person"),
        (["c1/a/?"], ["c1/0/0"], ["c2/0/0"], "1 queries have no image of their person"),
    ],
)
def test_problems_are_reported(
    tmp_path: Path, train: list[str], query: list[str], gallery: list[str], problem: str
) -> None:
    report = check(source_of(tmp_path, train, query, gallery))
    assert any(problem in line for line in report.problems), report.problems
    assert problem in shown(report)


def test_unreadable_images_of_all_lists_are_named(tmp_path: Path) -> None:
    source = source_of(tmp_path, ["c1/a/1", "c2/a/1"], ["c1/1/1"], ["c2/1/1"])
    (tmp_path / "gallery0.png").write_text("no picture")
    steps: list[int] = []
    report = check(source, lambda: steps.append(1))
    assert list(report.unreadable) == [tmp_path / "gallery0.png"]
    assert len(steps) == 4
    assert "1 of 4 images cannot be read" in report.problems[-1]
    assert shown(report).count(str(tmp_path / "gallery0.png")) == 1
