"""`ccafl pretrain` from an empty folder to weights, and what it refuses."""

import json
from pathlib import Path

import pytest

from ccafl.model.clip import load_clip
from ccafl.pretraining import clip_synth
from small_runs import refusal, run

SMALL = ["--persons", "8", "--cameras", "3", "--views", "2", "--epochs", "1", "--batch", "8"]


def test_weights_are_written_and_tested_on_unseen_persons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_synth, "UNSEEN_PERSONS", 5)
    monkeypatch.setattr(clip_synth, "UNSEEN_CAMERAS", 4)
    out = tmp_path / "out"
    run("pretrain", out, *SMALL)
    results = json.loads((out / "results.json").read_text())
    assert results["unseen_images"] == 20
    assert 0 <= results["caption_recall_at_10"] <= 1
    assert 0 <= results["upper_colour_accuracy"] <= 1
    load_clip("clip-synth", str(out / "clip-synth.safetensors"))
    assert "another world" in refusal(capsys, "pretrain", out, *SMALL, "--cameras", "4")
    assert "other settings" in refusal(capsys, "pretrain", out, *SMALL, "--seed", "5")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--persons", "1"], "persons 1: too small"),
        (["--views", "1"], "views 1: too small"),
        (["--cameras", "1"], "cameras 1: too small"),
        (["--precision", "half"], "runtime.precision is 'half'"),
        (["--batch", "800"], "batch 800: more than the 16 pictures"),
        (["--batch", "6"], "batch 6: give a multiple of 4"),
    ],
)
def test_impossible_numbers_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert message in refusal(capsys, "pretrain", tmp_path / "out", *SMALL, *options)
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert "exists already" in refusal(capsys, "pretrain", tmp_path, *SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
