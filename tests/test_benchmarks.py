"""The benchmarks' own arithmetic: only equal results can meet a bar, and growth is extrapolated correctly."""

import operator
from dataclasses import replace
from functools import partial

import pytest
import torch
from benchmarks import measure
from benchmarks.measure import Comparison, Limit, check_limit, compare, in_own_process, peak_of
from benchmarks.method import _same_partition
from benchmarks.opponents import Opponents
from benchmarks.scaling import Growth
from benchmarks.world import colour_histogram
from PIL import Image


def ours() -> str:
    return "the same"


def theirs() -> str:
    return "the same"


def test_a_faster_implementation_meets_its_bar_only_with_equal_results(monkeypatch):
    seconds = {ours: 1.0, theirs: 3.0}
    monkeypatch.setattr(measure, "timed", lambda work: (seconds[work], None))
    comparison = Comparison("work", "other", ours, theirs, operator.eq, bar=2.5, rounds=3)
    row = compare(comparison)
    assert (row.ours_s, row.opponent_s, row.ratio, row.met) == (1.0, 3.0, 3.0, True)
    assert not compare(replace(comparison, bar=3.5)).met
    unequal = compare(replace(comparison, equal=operator.ne))
    assert not unequal.met
    assert not unequal.equal


def allocate(mebibytes: int) -> torch.Tensor:
    return torch.ones(mebibytes << 18)


def allocating(mebibytes: int):
    return partial(allocate, mebibytes)


def big_enough(found: torch.Tensor) -> bool:
    return len(found) == 256 << 18


def test_memory_is_measured_for_the_work_alone():
    assert 0.24 < in_own_process(peak_of, partial(allocating, 256)) < 0.35


def test_a_limit_needs_time_memory_and_a_correct_result():
    limit = Limit("work", partial(allocating, 256), big_enough, seconds=600, gib=64)
    assert [(row.unit, row.met) for row in check_limit(limit)] == [("s", True), ("GiB", True)]
    assert [row.met for row in check_limit(replace(limit, gib=0.1))] == [True, False]
    assert [row.met for row in check_limit(replace(limit, prepare=partial(allocating, 128)))] == [False, False]


def test_growth_is_extrapolated_by_its_slope():
    growth = Growth("work", [1000, 2000], [1.0, 4.0], slope=2.0)
    assert growth.predicted(4000) == pytest.approx(16.0)


def test_partitions_are_compared_regardless_of_their_numbers():
    ours = torch.tensor([0, 0, 1, -1])
    assert _same_partition(ours, torch.tensor([5, 5, 2, -1]))
    for theirs in ([0, 1, 1, -1], [0, 0, 0, -1], [0, 0, 1, 2]):
        assert not _same_partition(ours, torch.tensor(theirs))


def test_missing_opponents_are_skipped(tmp_path):
    for opponents in (Opponents(None), Opponents(tmp_path)):
        assert not opponents.has("CLIP-ICS")
        assert opponents.ranking() == {}


def test_a_colour_histogram_finds_matching_colours(tmp_path):
    lines = ["image,camera,label,split,person"]
    for camera in ("a", "b"):
        for split in ("train", "query", "gallery"):
            for colour in ("red", "blue"):
                Image.new("RGB", (16, 32), colour).save(tmp_path / f"{camera}{split}{colour}.png")
                person = colour if split != "train" else f"{colour} {split}"
                lines.append(f"{camera}{split}{colour}.png,{camera},{person},{split},{person}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    assert colour_histogram(tmp_path) == (1.0, 1.0)
