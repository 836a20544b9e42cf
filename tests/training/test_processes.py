"""Two processes have the same losses as one with the same global batch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("losses_of_processes.py")


@pytest.mark.parametrize(
    ("phase", "losses"),
    [
        ("intra", {"global_id", "centre", "hard_instance", "triplet_centres", "triplet_batch", "text", "total"}),
        ("inter", {"global_id", "prototype", "triplet", "text", "adversarial", "total"}),
    ],
)
def test_two_processes_equal_one(world, tmp_path, phase, losses):
    """Within one epoch of each phase: between epochs, a near-tie may tip the association either way."""
    one, two = (steps_of(world, tmp_path / str(processes), processes, phase) for processes in (1, 2))
    assert len(one) == len(two) == 20
    for step_of_one, step_of_two in zip(one, two, strict=True):
        assert set(step_of_one) == losses
        assert step_of_two == pytest.approx(step_of_one, rel=1e-4, abs=1e-4)


def steps_of(world: Path, out: Path, processes: int, phase: str) -> list[dict[str, float]]:
    command = [sys.executable, str(PROGRAM), str(world), str(out), str(processes), phase]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    return json.loads((out / "losses.json").read_text())
