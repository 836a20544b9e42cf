"""Two processes have the same losses as one with the same global batch, and go on where it stopped."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from losses_of_processes import SETTINGS, main

from ccafl.model.image_encoder import ImageEncoder
from ccafl.training.checkpoint import load_checkpoint
from ccafl.training.encoder_stage import EncoderEpoch
from small_runs import as_options

PROGRAM = Path(__file__).with_name("losses_of_processes.py")


WITHIN = {"centre", "hard_instance", "triplet_centres", "triplet_batch", "text"}
LOSSES = {"global_id", "prototype", "triplet", "text", "adversarial", "total"} | {f"alone_{name}" for name in WITHIN}


def test_two_processes_go_on_as_one_does_and_one_with_what_they_saved(world, tmp_path, monkeypatch):
    """Within one epoch: between epochs, a near-tie may tip the association either way."""
    for patched, name in ((ImageEncoder, "train"), (EncoderEpoch, "steps")):
        monkeypatch.setattr(patched, name, getattr(patched, name))  # undone after the test
    one, two = tmp_path / "one", tmp_path / "two"
    main(world, one, "1")
    shutil.copytree(one, two)
    (two / "losses.json").unlink()
    (two / "checkpoints" / "previous.pt").replace(two / "checkpoints" / "last.pt")  # as after its first epoch
    command = [sys.executable, str(PROGRAM), str(world), str(two), "2"]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr

    of_one, of_two = (json.loads((run / "losses.json").read_text()) for run in (one, two))
    assert len(of_one["losses"]) == 20
    assert len(of_two["losses"]) == 10
    for step_of_one, step_of_two in zip(of_one["losses"][10:], of_two["losses"], strict=True):
        assert set(step_of_one) == LOSSES
        assert step_of_two == pytest.approx(step_of_one, rel=1e-4, abs=1e-4)
    assert of_two["joined"] == of_one["joined"]
    assert max(of_one["joined"]) > 0

    states = [load_checkpoint(run / "checkpoints" / "last.pt") for run in (one, two)]
    (features, made), (same, made_by_two) = (state["bank"] for state in states)
    assert (features * same).sum(1).min() > 0.99
    assert torch.equal(made, made_by_two)
    assert (made == 1).any()  # in steps of the last epoch
    ours, theirs = ([state["classifier"], *state["classifier_optimizer"]["state"].values()] for state in states)
    for some, others in zip(ours, theirs, strict=True):
        assert some.keys() == others.keys()
        for name, values in some.items():
            assert (others[name] - values).norm() <= 1e-3 * values.norm()
    main(world, two, "1")  # which has finished


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
