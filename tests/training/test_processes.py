"""Two processes have the same losses as one with the same global batch, and go on where it stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from losses_of_processes import SETTINGS, main

from ccafl.model.image_encoder import ImageEncoder
from ccafl.training.checkpoint import load_checkpoint
from ccafl.training.encoder_stage import EncoderEpoch
from small_runs import as_options

PROGRAM = Path(__file__).with_name("losses_of_processes.py")


INTRA = {"global_id", "centre", "hard_instance", "triplet_centres", "triplet_batch", "text", "total"}
INTER = {"global_id", "prototype", "triplet", "text", "adversarial", "total"}


@pytest.fixture
def unpatched(monkeypatch):
    for patched, name in ((ImageEncoder, "train"), (EncoderEpoch, "steps")):
        monkeypatch.setattr(patched, name, getattr(patched, name))  # undone after the test


@pytest.mark.usefixtures("unpatched")
def test_two_processes_equal_one(world, tmp_path):
    """Within one epoch: between epochs, a near-tie may tip the association either way. It is one without a rate."""
    one, two = tmp_path / "one", tmp_path / "two"
    train_by_two(world, two, "intra")
    main(world, one, "1", "intra")
    assert_same_losses(losses_of(one), losses_of(two), INTRA)
    for measured in ("association", "final_association"):
        found = [json.loads((run / "events.jsonl").read_text().splitlines()[-1])[measured] for run in (one, two)]
        assert found[1] == pytest.approx(found[0], rel=1e-4)
        assert "estimated_precision" in found[0]


@pytest.mark.usefixtures("unpatched")
def test_two_processes_go_on_with_what_one_saved_and_one_with_what_two_saved(world, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    main(world, one, "1", "inter")
    shutil.copytree(one, two)
    (two / "losses.json").unlink()
    (two / "checkpoints" / "previous.pt").replace(two / "checkpoints" / "last.pt")  # as after its first epoch
    train_by_two(world, two, "inter")
    assert_same_losses(losses_of(one)[10:], losses_of(two), INTER)
    states = [load_checkpoint(run / "checkpoints" / "last.pt") for run in (one, two)]
    of_one, of_two = ([s["classifier"], *s["classifier_optimizer"]["state"].values()] for s in states)
    for some, others in zip(of_one, of_two, strict=True):
        assert some.keys() == others.keys()
        for name, values in some.items():
            assert (others[name] - values).norm() <= 1e-3 * values.norm()
    main(world, two, "1", "inter")  # which has finished


@pytest.mark.faults
def test_a_killed_process_ends_the_run_with_a_line_and_it_resumes_on_another_number_of_processes(world, tmp_path):
    out = tmp_path / "run"
    command = [str(Path(sys.executable).with_name("ccafl")), "train", "market-split", "--data", str(world)]
    command += ["--out", str(out), *as_options(SETTINGS), "--set", "stage2.epochs=4"]
    with subprocess.Popen([*command, "--set", "runtime.devices=2"], stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("stage 2, epoch 1 "):
                break
        (other,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(other), signal.SIGKILL)
        said = process.stderr.read()
    assert process.returncode != 0
    assert "Traceback" not in said
    assert "another process of this run has ended" in said
    subprocess.run([*command, "--resume"], check=True, timeout=300)
    assert json.loads((out / "results.json").read_text())["epochs"] == 4


def train_by_two(world: Path, out: Path, phase: str) -> None:
    command = [sys.executable, str(PROGRAM), str(world), str(out), "2", phase]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr


def losses_of(run: Path) -> list[dict[str, float]]:
    return json.loads((run / "losses.json").read_text())


def assert_same_losses(one: list[dict[str, float]], two: list[dict[str, float]], names: set[str]) -> None:
    assert len(one) == len(two) == 10
    for step_of_one, step_of_two in zip(one, two, strict=True):
        assert set(step_of_one) == names
        assert step_of_two == pytest.approx(step_of_one, rel=1e-4, abs=1e-4)
