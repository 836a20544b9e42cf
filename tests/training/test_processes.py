"""Two processes have the same losses as one with the same global batch."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from losses_of_processes import SETTINGS, main

from ccafl.model.image_encoder import ImageEncoder
from ccafl.training.encoder_stage import EncoderEpoch
from small_runs import as_options

PROGRAM = Path(__file__).with_name("losses_of_processes.py")


@pytest.mark.parametrize(
    ("phase", "losses"),
    [
        ("intra", {"global_id", "centre", "hard_instance", "triplet_centres", "triplet_batch", "text", "total"}),
        ("inter", {"global_id", "prototype", "triplet", "text", "adversarial", "total"}),
    ],
)
def test_two_processes_equal_one(world, tmp_path, monkeypatch, phase, losses):
    """Within one epoch of each phase: between epochs, a near-tie may tip the association either way."""
    two = steps_of_two(world, tmp_path / "two", phase)
    for patched, name in ((ImageEncoder, "train"), (EncoderEpoch, "steps")):
        monkeypatch.setattr(patched, name, getattr(patched, name))  # undone after the test
    main(world, tmp_path / "one", "1", phase)
    one = json.loads((tmp_path / "one" / "losses.json").read_text())
    assert len(one) == len(two) == 20
    for step_of_one, step_of_two in zip(one, two, strict=True):
        assert set(step_of_one) == losses
        assert step_of_two == pytest.approx(step_of_one, rel=1e-4, abs=1e-4)


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


def steps_of_two(world: Path, out: Path, phase: str) -> list[dict[str, float]]:
    command = [sys.executable, str(PROGRAM), str(world), str(out), "2", phase]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    return json.loads((out / "losses.json").read_text())
