"""Losses, mAP, association and camera measures by epoch, from a run's events."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Events = Sequence[Mapping[str, Any]]

_COLOURS = ("#0b5cad", "#c4500c", "#2d7d46", "#7a3fa0")
_MARKS = ("o", "s", "^", "D")
_ESTIMATED = "estimated precision"
_LOG_RATIO = 10  # largest over smallest mean loss from which the scale is logarithmic


@dataclass(frozen=True, slots=True)
class Line:
    """A measure by epoch, as (epoch, value) points; ``dotted`` for the chance level."""

    name: str
    points: list[tuple[float, float]]
    dotted: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines that share a plot; all values are shares."""

    title: str
    lines: list[Line]


def phases(events: Events) -> list[tuple[int, str]]:
    """(epoch, name) of every phase of stage 2, at its first epoch."""
    found: list[tuple[int, str]] = []
    for event in events:
        if event["stage"] == 2:
            name = str(event.get("phase", "")).replace("adversarial", "ICAL")
            if not found or found[-1][1] != name:
                found.append((int(event["epoch"]), name))
    return found


def loss_lines(events: Events) -> dict[tuple[int, str], list[tuple[int, float]]]:
    """(epoch, mean loss) points of every (stage, loss), in order of first appearance."""
    found: dict[tuple[int, str], list[tuple[int, float]]] = {}
    for event in sorted(events, key=lambda event: int(event["stage"])):
        for name, value in event.get("losses", {}).items():
            found.setdefault((int(event["stage"]), name), []).append((int(event["epoch"]), float(value)))
    return found


def loss_curves(events: Events) -> "Figure":
    """One small plot per loss, by stage, with phases marked; the events must hold at least one loss."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    lines = loss_lines(events)
    columns = 3
    rows = -(-len(lines) // columns)
    figure = Figure(figsize=(10, 2.4 * rows), layout="constrained")
    for place, ((stage, name), points) in enumerate(lines.items(), start=1):
        axes = figure.add_subplot(rows, columns, place)
        values = [value for _, value in points]
        axes.plot(*zip(*points, strict=True), color=_COLOURS[0], marker=".", markersize=4)
        if min(values) > 0 and max(values) >= _LOG_RATIO * min(values):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(LogFormatter())
            axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))
        axes.set_title(f"stage {stage}: {name.replace('_', ' ')}", fontsize=9)
        axes.set_ylabel("mean loss", fontsize=8)
        _epochs(axes)
        if stage == 2:
            _mark_phases(axes, events)
    return figure


def quality_plots(events: Events) -> list[Plot]:
    """Plots of whatever was measured: ranking, association, camera measures, the classifier's same-person mass.

    Association and mass are measured at the start of each epoch and once more at the end; ranking and camera measures
    after an epoch.
    """
    stage2 = [event for event in events if event["stage"] == 2]

    def at_start(key: str, name: str) -> list[tuple[float, float]]:
        return _known((event["epoch"], (event.get(key) or {}).get(name)) for event in stage2)

    def after(key: str, name: str) -> list[tuple[float, float]]:
        return _known((event["epoch"] + 1, (event.get(key) or {}).get(name)) for event in stage2)

    mass = _known((event["epoch"], event.get("same_person_mass")) for event in stage2)
    mass += _known((event["epoch"] + 1, event.get("final_same_person_mass")) for event in stage2)
    plots = [
        Plot(
            "ranking of query and gallery",
            [Line("mAP", after("ranking", "mAP")), Line("rank-1", after("ranking", "rank1"))],
        ),
        Plot(
            "association of the cameras' labels",
            [
                Line(name, at_start("association", key) + after("final_association", key), dotted=name == _ESTIMATED)
                for name, key in (
                    ("precision", "precision"),
                    (_ESTIMATED, "estimated_precision"),  # in precision's colour
                    ("recall", "recall"),
                    ("F1", "f1"),
                )
            ],
        ),
        Plot(
            "how well features reveal the camera",
            [
                Line("camera probe", after("ranking", "camera_probe")),
                Line("camera probe by chance", after("ranking", "camera_chance"), dotted=True),
                Line("nearest other persons from the own camera", after("ranking", "own_camera_neighbours")),
                Line("the same by chance", after("ranking", "own_camera_chance"), dotted=True),
            ],
        ),
        Plot("classifier: same person in other cameras", [Line("mean probability", mass)]),
    ]
    kept = [Plot(plot.title, [line for line in plot.lines if line.points]) for plot in plots]
    return [plot for plot in kept if plot.lines]


def _known(points: Iterable[tuple[float, float | None]]) -> list[tuple[float, float]]:
    return [(epoch, value) for epoch, value in points if value is not None and not math.isnan(value)]


def quality_curves(plots: Sequence[Plot], events: Events) -> "Figure":
    """Two plots per row, phases marked; from 0 to 1, or to the largest value if all are small."""
    from matplotlib.figure import Figure

    rows = -(-len(plots) // 2)
    figure = Figure(figsize=(10, 3.5 * rows), layout="constrained")
    for place, plot in enumerate(plots, start=1):
        axes = figure.add_subplot(rows, 2, place)
        number = -1
        for line in plot.lines:
            number += not line.dotted  # the chance level has the colour of the line before it
            look: dict[str, Any] = {"linestyle": ":"} if line.dotted else {"marker": _MARKS[number], "markersize": 4}
            axes.plot(*zip(*line.points, strict=True), label=line.name, color=_COLOURS[number], **look)
        largest = max(value for line in plot.lines for _, value in line.points)
        axes.set_ylim(0, 1.02 if largest > 0.25 else 1.15 * largest + 1e-3)
        axes.set_title(plot.title, fontsize=10)
        axes.set_ylabel("share", fontsize=8)
        _epochs(axes)
        _mark_phases(axes, events)
        axes.legend(fontsize=8, loc="best", framealpha=0.85)
    return figure


def _epochs(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.tick_params(which="both", labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _mark_phases(axes: "Axes", events: Events) -> None:
    """Mark the start of each stage 2 phase with a light, named line; give all plots the same epoch range."""
    last = max(int(event["epoch"]) for event in events if event["stage"] == 2) + 1
    axes.set_xlim(-0.03 * last, 1.03 * last)
    for epoch, name in phases(events):
        axes.axvline(epoch, color="#888888", linewidth=0.8, linestyle="--", zorder=0)
        place: dict[str, Any] = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points"}
        look: dict[str, Any] = {"fontsize": 7, "color": "#555555", "rotation": 90, "va": "top", "zorder": 0}
        axes.annotate(name, (epoch, 1), (2, -2), **place, **look)
