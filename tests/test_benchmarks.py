"""The benchmarks' own arithmetic: only equal results can meet a bar, and growth is extrapolated correctly."""

import json
import math
import operator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from benchmarks import gpu, identities, measure, other_cameras, runs
from benchmarks.measure import Comparison, Limit, check_limit, compare, in_own_process, peak_of
from benchmarks.method import _same_partition
from benchmarks.opponents import Opponents
from benchmarks.other_cameras import WORLDS, Facts, draw, facts_of, line
from benchmarks.scaling import Growth
from benchmarks.world import colour_histogram
from PIL import Image

from allocations import allocating, big_enough
from ccafl.ablation import rows_of
from ccafl.config import load_config
from ccafl.data.records import Record
from ccafl.synthetic.write import count_images


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


def test_memory_is_measured_for_the_work_alone():
    assert 0.24 < in_own_process(peak_of, partial(allocating, 256)) < 0.35


def test_a_limit_needs_time_memory_and_a_correct_result():
    limit = Limit("work", partial(allocating, 256), big_enough, seconds=600, gib=64)
    assert [(row.unit, row.met) for row in check_limit(limit)] == [("s", True), ("GiB", True)]
    assert [row.met for row in check_limit(replace(limit, gib=0.1))] == [True, False]
    assert [row.met for row in check_limit(replace(limit, prepare=partial(allocating, 128)))] == [False, False]


def test_the_steps_with_very_many_identities_train(capsys):
    identities.main(identities=40, processes=1, instances=2, steps=1, cameras=4)
    found = json.loads(capsys.readouterr().out)
    assert [step["phase"] for step in found["steps"]] == list(identities.PHASES)
    assert all(math.isfinite(loss) for step in found["steps"] for loss in step["losses"].values())
    assert found["classifier_gib"] == [40 * found["dim"] * 16 / measure.GIB]


def test_growth_is_extrapolated_by_its_slope():
    growth = Growth("work", [1000, 2000], [1.0, 4.0], slope=2.0)
    assert growth.predicted(4000) == pytest.approx(16.0)


def test_the_parts_of_a_run_add_up_to_its_time():
    epochs = [{"start": 2.0, "forward": 3.0, "backward": 5.0}, {"forward": 1.0, "losses": 1.0}]
    assert runs.parts_of(20.0, 6.0, epochs) == {"backbone": 6.0, "start": 10.0, "losses": 4.0}
    assert sum(runs.parts_of(20.0, 6.0, epochs).values()) == 20


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


def test_other_cameras_settings_are_valid_and_as_large_as_their_training_can_be_in_minutes():
    assert list(WORLDS) == ["usual", "pairs", "chain", "apart", "twenty", "uneven", "one_image", "ten_labels", "half"]
    for settings in WORLDS.values():
        assert count_images(**settings) < 5000
    assert len({settings["seed"] for settings in WORLDS.values()}) == len(WORLDS)
    assert {"icdl", "text", "ccafl"} <= rows_of(load_config("demo")).keys()


def records(*labels):
    """Two images of each label, given as camera, label and person."""
    return [Record(Path(name), *label) for label in labels for name in ("1.jpg", "2.jpg")]


def test_a_worlds_facts_count_labels_and_pairs_across_cameras_once():
    training = records(("a", "1", "x"), ("a", "2", "y"), ("a", "3", "z"), ("b", "1", "y"), ("c", "1", "y"))
    assert facts_of(training, 4) == Facts(cameras=3, labels=(1, 3), persons=3, queries=4, links=3 / 7)


def test_a_worlds_line_has_a_dash_for_what_is_not_known():
    facts = Facts(cameras=10, labels=(51, 70), persons=300, queries=296, links=0.0018)
    association = {"precision": 0.6, "recall": 0.4, "f1": 0.48, "joined": 9}
    rows = {"icdl": {"mAP": 0.25, "association": None}, "ccafl": {"mAP": 0.3, "association": association}}
    assert line("pairs", facts, rows) == (
        "| pairs | 10 | 51 to 70 | 300 | 296 | 0.18 | 25.0 | - | 30.0 | 48.0 | 60.0 | 40.0 | - |"
    )
    rows["ccafl"]["association"] = association | {"estimated_precision": 0.555}
    assert line("pairs", facts, rows).endswith("| 55.5 |")
    assert line("pairs", facts, {}).count(" - ") == 7


def test_the_table_of_other_cameras_has_the_finished_worlds_and_draws_each_once(tmp_path, monkeypatch):
    small = {"seed": 0, "persons": 12, "cameras": 4, "images": 2, "visits": "pairs"}
    monkeypatch.setattr(other_cameras, "WORLDS", {"pairs": small, "chain": small | {"visits": "chain"}})
    manifest = draw("pairs", tmp_path / "worlds" / "pairs") / "manifest.csv"
    written = manifest.stat().st_mtime_ns
    draw("pairs", tmp_path / "worlds" / "pairs")
    assert manifest.stat().st_mtime_ns == written
    run = tmp_path / "pairs" / "seed-0" / "icdl"
    run.mkdir(parents=True)
    (run / "results.json").write_text(json.dumps({"mAP": 0.125, "mode": "intra", "association": None}))
    head, rule, *lines = other_cameras.table(tmp_path / "worlds", tmp_path).splitlines()
    assert head.count("|") == rule.count("|")
    assert [one.split(" | ")[0] for one in lines] == ["| pairs"]
    assert "| 12.5 | - | - |" in lines[0]
    assert lines[0].count("|") == head.count("|")


def test_the_gpu_benchmark_runs_on_a_cpu_in_its_small_form(tmp_path):
    gpu.main(None, tmp_path / "gpu.json", networks="", compiled=False, small=True)
    figures = json.loads((tmp_path / "gpu.json").read_text())["figures"]
    rates = {figure["work"]: figure["value"] for figure in figures if figure["unit"] == "images/s"}
    assert {"clip-synth, intra-camera", "clip-synth, inter-camera with ICAL"} < set(rates)
    assert all(rate > 0 for rate in rates.values())
    assert [figure["value"] for figure in figures if figure["unit"] == "relative"] == [0, 0]  # a CPU against itself


def test_a_bar_is_for_a_ratio_or_for_the_most_that_is_allowed():
    assert gpu.Figure("step", 90, "images/s", "backbone", 100, 0.85).verdict == "met"
    assert gpu.Figure("step", 80, "images/s", "backbone", 100, 0.85).verdict == "MISSED"
    assert gpu.Figure("waits", 0, "times", bar=0).verdict == "met"
    assert gpu.Figure("waits", 1, "times", bar=0).verdict == "MISSED"
    assert gpu.Figure("seconds", 1, "s").verdict == ""
