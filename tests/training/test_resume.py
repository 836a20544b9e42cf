"""A run stopped anywhere and resumed ends as one never stopped, bit for bit."""

import json
import multiprocessing
import signal
import time

import pytest
import torch

from ccafl.config import changed
from ccafl.errors import InputError
from ccafl.pipeline import train_run
from ccafl.training import run as run_module
from ccafl.training.checkpoint import load_checkpoint
from ccafl.training.encoder_stage import EncoderEpoch
from ccafl.training.learning import InterLearning

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["ccafl.pipeline", "ccafl.training.run"])


class Killed(BaseException):
    """Stands in for a SIGKILL: nothing in the program may catch it."""


@pytest.fixture(scope="module")
def whole(world, small, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    train_run(small, world, out)
    return out


def killed_at(monkeypatch, owner, name: str, call: int, *, after: bool) -> None:
    original = getattr(owner, name)
    calls = iter(range(1, 10**6))

    def killing(*args, **kwargs):
        now = next(calls) == call
        if now and not after:
            raise Killed
        result = original(*args, **kwargs)
        if now:
            raise Killed
        return result

    monkeypatch.setattr(owner, name, killing)


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(
            same(one[key], other[key]) for key in one if key not in ("seconds", "seconds_by_part")
        )
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def ends_as(whole, out) -> bool:
    checkpoints = [load_checkpoint(folder / "checkpoints" / "last.pt") for folder in (whole, out)]
    events = [
        [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()] for folder in (whole, out)
    ]
    results = [json.loads((folder / "results.json").read_text()) for folder in (whole, out)]
    for checkpoint in checkpoints:
        del checkpoint["seconds"]
    tables = [(folder / "association.csv").read_text() for folder in (whole, out)]
    return same(*checkpoints) and same(*events) and same(*results) and tables[0] == tables[1]


@pytest.mark.parametrize(
    ("owner", "name", "call", "after"),
    [
        (run_module, "embed_store", 1, False),  # before anything
        (run_module, "save_checkpoint", 1, False),  # stage 1, an epoch in the events but not in a checkpoint
        (run_module, "save_checkpoint", 2, True),  # between the stages
        (EncoderEpoch, "step", 2, True),  # within the intra-camera phase
        (InterLearning, "update", 2, False),  # within the inter-camera phase, after the optimiser's step
        (run_module, "save_checkpoint", 5, False),  # around the best and the last checkpoint
        (run_module, "save_checkpoint", 5, True),
        (run_module, "save_checkpoint", 6, True),
    ],
)
def test_stopped_and_resumed_equals_never_stopped(world, small, whole, tmp_path, owner, name, call, after):
    with pytest.MonkeyPatch.context() as patch:
        killed_at(patch, owner, name, call, after=after)
        with pytest.raises(Killed):
            train_run(small, world, tmp_path / "run")
    train_run(small, world, tmp_path / "run", resume=True)
    assert ends_as(whole, tmp_path / "run")


def test_features_taken_from_steps_survive_a_stop(world, small, tmp_path):
    aged = changed(small, {"stage2": {"feature_age": 2}})
    train_run(aged, world, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        killed_at(patch, InterLearning, "update", 1, after=False)
        with pytest.raises(Killed):
            train_run(aged, world, tmp_path / "run")
    train_run(aged, world, tmp_path / "run", resume=True)
    assert ends_as(tmp_path / "whole", tmp_path / "run")


def test_sigkill(world, small, whole, tmp_path):
    out = tmp_path / "run"
    process = PROCESSES.Process(target=train_run, args=(small, world, out))
    process.start()
    deadline = time.monotonic() + 120
    while not (out / "checkpoints" / "last.pt").is_file():
        assert process.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    train_run(small, world, out, resume=True)
    assert ends_as(whole, out)


def test_resuming_a_finished_run_trains_nothing(world, small, whole):
    before = (whole / "checkpoints" / "last.pt").stat().st_mtime_ns
    (whole / "checkpoints" / ".last.pt.killed.pt").touch()
    results = train_run(small, world, whole, resume=True)
    assert (whole / "checkpoints" / "last.pt").stat().st_mtime_ns == before
    assert results == json.loads((whole / "results.json").read_text())
    assert sorted(file.name for file in (whole / "checkpoints").iterdir()) == [
        "before_adversarial.pt",
        "best.pt",
        "last.pt",
        "previous.pt",
    ]


def test_another_seed_gives_another_run(world, small, whole, tmp_path):
    train_run(small.model_copy(update={"seed": 1}), world, tmp_path / "run")
    assert not ends_as(whole, tmp_path / "run")


def test_resuming_with_other_settings_is_refused(world, small, whole):
    with pytest.raises(InputError, match="seed: 0, now 1"):
        train_run(small.model_copy(update={"seed": 1}), world, whole, resume=True)
