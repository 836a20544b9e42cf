"""Losses, mAP, association and camera measures by epoch, from the events of one run or several."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ccafl.report.drawing import (
    COLOURS,
    MARKS,
    SOFT,
    legend_below,
    percent,
    picture,
    plain_label,
    plain_log,
    small_axes,
    themed,
)
from ccafl.report.page import Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Events = Sequence[Mapping[str, Any]]

_ESTIMATED = "estimated precision"
_LOG_RATIO = 10  # largest over smallest mean loss from which the scale is logarithmic


@dataclass(frozen=True, slots=True)
class Line:
    """A measure by epoch, as (epoch, value) points, and what it means; ``dotted`` for the chance level."""

    name: str
    points: list[tuple[float, float]]
    meaning: str = ""
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


def loss_lines(events: Events) -> dict[tuple[int, str], list[tuple[float, float]]]:
    """(epoch, mean loss) points of every (stage, loss), in order of first appearance."""
    found: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for event in sorted(events, key=lambda event: int(event["stage"])):
        for name, value in event.get("losses", {}).items():
            found.setdefault((int(event["stage"]), name), []).append((int(event["epoch"]), float(value)))
    return found


def loss_charts(runs: Mapping[str, Events]) -> list[Chart]:
    """A chart for every loss of the runs, by stage, with phases marked."""
    lines = {name: loss_lines(events) for name, events in runs.items()}
    keys = dict.fromkeys(key for found in lines.values() for key in found)
    charts = []
    for stage, loss in sorted(keys, key=lambda key: key[0]):
        of_runs = [Line(name, found[stage, loss]) for name, found in lines.items() if (stage, loss) in found]
        title = f"Stage {stage}: {loss.replace('_', ' ')}"
        drawn = _loss_figure(of_runs, list(runs.values()) if stage == 2 else [], names=len(runs) > 1)
        rows = [(line.name, epoch, value) for line in of_runs for epoch, value in line.points]
        what = f"Line chart: mean {loss.replace('_', ' ')} loss of stage {stage} by epoch"
        charts.append(Chart(title, what, "", picture(drawn), ("run", "epoch", "mean loss"), rows))
    return charts


@themed
def _loss_figure(lines: Sequence[Line], marked: Sequence[Events], *, names: bool) -> "Figure":
    figure, axes = small_axes()
    _draw(axes, lines, names=names)
    values = [value for line in lines for _, value in line.points if math.isfinite(value)]
    if values and min(values) > 0 and max(values) >= _LOG_RATIO * min(values):
        axes.set_yscale("log")
        plain_log(axes.yaxis)
    axes.set_ylabel("mean loss")
    _epochs(axes)
    if marked:
        _mark_phases(axes, marked)
    legend_below(figure, axes)
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
            "Ranking of query and gallery",
            [
                Line(
                    "mAP",
                    after("ranking", "mAP"),
                    "mAP: mean over queries of how early all pictures of the person come.",
                ),
                Line("rank-1", after("ranking", "rank1"), "Rank-1: queries whose first result shows the person."),
            ],
        ),
        Plot(
            "Association of the cameras' labels",
            [
                Line(
                    name,
                    at_start("association", key) + after("final_association", key),
                    meaning,
                    dotted=name == _ESTIMATED,
                )
                for name, key, meaning in (
                    ("precision", "precision", "Precision: joined pairs of labels that are one person."),
                    (  # in precision's colour
                        _ESTIMATED,
                        "estimated_precision",
                        "Estimated precision: the same, estimated without knowing the persons.",
                    ),
                    ("recall", "recall", "Recall: pairs of labels of one person that are joined."),
                    ("F1", "f1", "F1: the harmonic mean of precision and recall."),
                )
            ],
        ),
        Plot(
            "How well features reveal the camera",
            [
                Line(
                    "camera probe",
                    after("ranking", "camera_probe"),
                    "Probe: how often a linear probe recognises the camera from a feature; the closer to chance, the "
                    "better.",
                ),
                Line("probe by chance", after("ranking", "camera_chance"), dotted=True),
                Line(
                    "own camera among nearest",
                    after("ranking", "own_camera_neighbours"),
                    "Own camera: what share of a query's nearest pictures of other persons its own camera took; the "
                    "closer to chance, the better.",
                ),
                Line("own camera by chance", after("ranking", "own_camera_chance"), dotted=True),
            ],
        ),
        Plot(
            "Classifier: same person in other cameras",
            [
                Line(
                    "mean probability",
                    mass,
                    "Mean probability that the global ID classifier gives to the same person's identities in other "
                    "cameras.",
                )
            ],
        ),
    ]
    kept = [Plot(plot.title, [line for line in plot.lines if line.points]) for plot in plots]
    return [plot for plot in kept if plot.lines]


def _known(points: Iterable[tuple[float, float | None]]) -> list[tuple[float, float]]:
    return [(epoch, value) for epoch, value in points if value is not None and not math.isnan(value)]


def quality_charts(runs: Mapping[str, Events]) -> list[Chart]:
    """A chart for every plot of one run, or for every measure of several runs."""
    plots = [plot for events in runs.values() for plot in quality_plots(events)]
    if len(runs) > 1:
        plots = _by_measure({name: quality_plots(events) for name, events in runs.items()})
    charts = []
    for plot in plots:
        drawn = _quality_figure(plot, list(runs.values()))
        rows = [(line.name, epoch, value) for line in plot.lines for epoch, value in line.points]
        what = f"Line chart by epoch: {plot.title}"
        caption = " ".join(dict.fromkeys(line.meaning for line in plot.lines if line.meaning))
        charts.append(Chart(plot.title, what, caption, picture(drawn), ("line", "epoch", "share"), rows))
    return charts


def _by_measure(plots: Mapping[str, Sequence[Plot]]) -> list[Plot]:
    """A plot for every measure, with a line for every run; chance levels are left out."""
    found: dict[tuple[str, str], list[Line]] = {}
    for run, of_run in plots.items():
        for plot in of_run:
            for line in plot.lines:
                if not line.dotted or line.name == _ESTIMATED:
                    of_measure = found.setdefault((plot.title, line.name), [])
                    of_measure.append(Line(run, line.points, line.meaning))
    return [Plot(f"{title}: {name}", lines) for (title, name), lines in found.items()]


@themed
def _quality_figure(plot: Plot, runs: Sequence[Events]) -> "Figure":
    """From 0 to 100 %, or to the largest value if all are small."""
    figure, axes = small_axes()
    _draw(axes, plot.lines)
    largest = max(value for line in plot.lines for _, value in line.points)
    axes.set_ylim(0, 1.02 if largest > 0.25 else 1.15 * largest + 1e-3)
    percent(axes.yaxis)
    _epochs(axes)
    _mark_phases(axes, runs)
    legend_below(figure, axes)
    return figure


def _draw(axes: "Axes", lines: Sequence[Line], *, names: bool = True) -> None:
    number = -1
    for line in lines:
        number += not line.dotted  # a dotted line has the colour of the line before it
        number = max(number, 0)
        look: dict[str, Any] = {"linestyle": ":"} if line.dotted else {"marker": MARKS[number % 8], "markersize": 4}
        name = plain_label(line.name) if names else None
        axes.plot(*zip(*line.points, strict=True), label=name, color=COLOURS[number % 8], **look)


def _epochs(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.grid(True)


def _mark_phases(axes: "Axes", runs: Sequence[Events]) -> None:
    """Give all plots the same epoch range; mark the start of each stage 2 phase if it is the same in all runs."""
    last = max(int(event["epoch"]) for events in runs for event in events if event["stage"] == 2) + 1
    axes.set_xlim(-0.03 * last, 1.03 * last)
    if any(phases(events) != phases(runs[0]) for events in runs):
        return
    for epoch, _ in phases(runs[0]):
        axes.axvline(epoch, color=SOFT, linewidth=0.8, linestyle="--", zorder=0)
