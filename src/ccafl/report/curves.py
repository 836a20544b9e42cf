"""Losses, mAP and association by epoch, from a run's events."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Events = Sequence[Mapping[str, Any]]

_COLOURS = ("#0b5cad", "#c4500c", "#2d7d46", "#7a3fa0")
_MARKS = ("o", "s", "^", "D")


def loss_curves(events: Events) -> "Figure":
    """One small plot a loss, stage by stage, phases marked."""
    from matplotlib.figure import Figure

    named = [(stage, name) for stage in (1, 2) for name in _loss_names(events, stage)]
    columns = 3
    rows = -(-len(named) // columns)
    drawn = Figure(figsize=(10, 2.3 * rows), layout="constrained")
    for place, (stage, name) in enumerate(named):
        axes = drawn.add_subplot(rows, columns, place + 1)
        own = [event for event in events if event["stage"] == stage and name in event["losses"]]
        axes.plot([event["epoch"] for event in own], [event["losses"][name] for event in own], color=_COLOURS[0])
        axes.set_title(f"stage {stage}: {name.replace('_', ' ')}", fontsize=9)
        _plain(axes)
        if stage == 2:
            _mark_phases(axes, events, names=False)
    return drawn


def _loss_names(events: Events, stage: int) -> list[str]:
    names: dict[str, None] = {}
    for event in events:
        if event["stage"] == stage:
            names |= dict.fromkeys(event["losses"])
    return list(names)


def quality_curves(events: Events) -> "Figure":
    """Left: mAP, rank-1 and the camera probe where they were taken; right: the association at every epoch's start."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(10, 3.6), layout="constrained")
    ranked = [event for event in events if event.get("ranking")]
    ranking = {
        name: [(event["epoch"] + 1, event["ranking"].get(key)) for event in ranked]
        for name, key in (("mAP", "mAP"), ("rank-1", "rank1"), ("camera probe", "camera_probe"))
    }
    joined = [event for event in events if event["stage"] == 2 and event.get("association")]
    association = {
        name: [(event["epoch"], event["association"][name]) for event in joined]
        for name in ("precision", "recall", "f1")
    }
    chance = next((event["ranking"]["camera_chance"] for event in ranked if "camera_chance" in event["ranking"]), None)
    for place, (title, lines) in enumerate((("ranking and camera", ranking), ("association", association)), start=1):
        axes = drawn.add_subplot(1, 2, place)
        for number, (name, points) in enumerate(lines.items()):
            known = [(epoch, value) for epoch, value in points if value is not None]
            if known:
                axes.plot(
                    *zip(*known, strict=True), label=name, color=_COLOURS[number], marker=_MARKS[number], markersize=4
                )
        if place == 1 and chance is not None:
            axes.axhline(chance, color=_COLOURS[2], linestyle=":", label="camera probe, chance")
        axes.set_title(title, fontsize=10)
        axes.set_ylim(0, 1)
        _plain(axes)
        _mark_phases(axes, events, names=True)
        if axes.lines and axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8, loc="lower right")
    return drawn


def _plain(axes: "Axes") -> None:
    axes.set_xlabel("epoch", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _mark_phases(axes: "Axes", events: Events, *, names: bool) -> None:
    """A light line where a phase of stage 2 begins."""
    before = None
    for event in events:
        if event["stage"] == 2 and event["phase"] != before:
            axes.axvline(event["epoch"], color="#888888", linewidth=0.8, linestyle="--")
            if names:
                place = {"x": event["epoch"], "y": 1.0, "transform": axes.get_xaxis_transform(), "va": "top"}
                axes.text(s=f" {event['phase']}", fontsize=7, rotation=90, alpha=0.7, **place)
            before = event["phase"]
