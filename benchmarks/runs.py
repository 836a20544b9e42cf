"""Whole runs: how much of a training's time its bare backbone takes, and where the rest goes.

The backbone's time is that of its forward and backward pass on as many images as the steps of stage 2 see. Stage 1
trains no backbone, so its time is part of the rest.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from benchmarks.measure import Row, timed
from benchmarks.steps import backbone
from ccafl.config import Config
from ccafl.model.network import build_network
from ccafl.run_folder import RunFolder
from ccafl.synthetic.write import synthesize
from ccafl.training.schedule import phase_of

BACKBONE = "backbone"
_PASSES = ("forward", "backward")
_ONCE = ("start", "images")  # the same however long the schedule is


@dataclass(frozen=True, slots=True)
class Run:
    """A training to be measured.

    Attributes:
        name: in the table.
        config: as for `ccafl train`.
        world: arguments of `synthesize`.
        bar: share of the time that the backbone must have at least.
        settings: ``key=value``.
        times: how often the backbone is timed.
        started: whether starting counts; not where the schedule is much shorter than a real one.
    """

    name: str
    config: str
    world: dict[str, int]
    bar: float
    settings: Sequence[str] = ()
    times: int = 10
    started: bool = True


# As with Market-1501, RN50's steps of an epoch see twice as many images as there are.
RUNS = (
    Run("demo", "demo", {"persons": 150, "cameras": 6}, 0.70),
    Run("own", "own", {"persons": 120, "cameras": 3, "images": 4}, 0.70),
    Run(
        "market1501, RN50 from random weights, 2 epochs of 4 steps of 16 images, without its start",
        "market1501",
        {"persons": 16, "cameras": 3, "images": 2},
        0.90,
        (
            "model.weights=null",
            "stage1.epochs=1",
            "stage2.epochs=2",
            "stage2.steps_per_epoch=4",
            "stage2.identities=4",
            "stage2.images=4",
            "stage2.intra_camera.epochs=1",
            "stage2.inter_camera.text_from=1",
            "stage2.adversarial.first_epoch=1",
            "stage2.adversarial.last_epoch=2",
            "runtime.evaluate_every=0",
        ),
        times=2,
        started=False,
    ),
)


def runs() -> Iterator[Row]:
    """A row for each of the runs."""
    for run in RUNS:
        with tempfile.TemporaryDirectory() as folder:
            yield measured(run, Path(folder))


def measured(run: Run, folder: Path) -> Row:
    """Train it once, by the command, and time its backbone before and after."""
    world, out = folder / "world", folder / "run"
    synthesize(world, seed=0, processes=2, **run.world)
    program = Path(sys.executable).with_name("ccafl")
    command = [str(program), "train", run.config, "--data", str(world), "--out", str(out)]
    for setting in run.settings:
        command += ["--set", setting]
    wall, _ = timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))
    folder_of_run = RunFolder(out)
    config, results = folder_of_run.read_config(), json.loads(folder_of_run.results.read_text())
    bare = backbone_seconds(config, results["identities"], results["cameras"], run.times)
    events = [json.loads(line) for line in folder_of_run.events.read_text().splitlines()]
    parts = parts_of(wall, bare, [event["seconds_by_part"] for event in events])
    counted = wall if run.started else wall - sum(parts.get(part, 0) for part in _ONCE)
    ratio = bare / counted
    return Row(
        f"whole run: {run.name}",
        counted,
        "its backbone",
        bare,
        ratio,
        run.bar,
        ratio >= run.bar,
        equal=True,
        parts=parts,
    )


def backbone_seconds(config: Config, identities: int, cameras: int, times: int) -> float:
    """Of the bare backbone's forward and backward pass in all steps of stage 2, from the median of a few steps."""
    network = build_network(config.model, identities, cameras, seed=0)
    encoder, stage2 = network.encoder.train(), config.stage2
    pixels = torch.randn(stage2.identities * stage2.images, 3, *config.model.image_size)
    drawn_from = stage2.intra_camera.batch_cameras or cameras
    of_images = torch.arange(len(pixels)) % min(drawn_from, cameras)
    seconds = 0.0
    phases = [phase_of(config, epoch) for epoch in range(stage2.epochs)]
    for phase in {phase.text: phase for phase in phases}.values():
        step = partial(backbone, encoder, phase, pixels, of_images, 1)
        step()
        each = statistics.median(timed(step)[0] for _ in range(times))
        seconds += each * stage2.steps_per_epoch * sum(other.text == phase.text for other in phases)
    return seconds


def parts_of(wall: float, bare: float, epochs: Sequence[dict[str, float]]) -> dict[str, float]:
    """Seconds of a run by part; what no event tells is the start of the program and its end."""
    parts: Counter[str] = Counter()
    for epoch in epochs:
        parts.update(epoch)
    parts["start"] += wall - parts.total()
    passes = sum(parts.pop(name, 0) for name in _PASSES)
    parts["losses"] += max(passes - bare, 0)  # of which the passes through them are the larger part
    return {BACKBONE: bare} | {name: round(seconds, 3) for name, seconds in parts.most_common()}


def plot(rows: Sequence[Row], path: Path) -> None:
    """A bar for every run, of the shares of its parts."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    shown = [row for row in rows if row.parts]
    names = list(dict.fromkeys([BACKBONE, *(name for row in shown for name in row.parts or {})]))
    figure = Figure(figsize=(9, 1.2 + 0.8 * len(shown)), layout="constrained")
    axes = figure.add_subplot()
    left = [0.0] * len(shown)
    for number, name in enumerate(names):
        shares = [100 * (row.parts or {}).get(name, 0) / sum((row.parts or {}).values()) for row in shown]
        colour = "0.35" if name == BACKBONE else colormaps["tab20"](number % 20)
        axes.barh(range(len(shown)), shares, left=left, label=name, color=colour, height=0.6)
        left = [before + share for before, share in zip(left, shares, strict=True)]
    titles = [row.work.removeprefix("whole run: ").partition(",")[0] for row in shown]
    axes.set_yticks(range(len(shown)), titles)
    axes.invert_yaxis()
    axes.set(xlabel="share of the run's time in %", xlim=(0, 100))
    figure.legend(loc="outside lower center", ncols=6, fontsize=8)
    figure.savefig(path, dpi=120)
