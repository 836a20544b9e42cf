"""The figures of runs as tables for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ccafl.terminal import printable
from ccafl.words import counted

_SHARES = ("mAP", "precision", "recall", "f1", "estimated_precision")
_SHARE_PREFIXES = ("rank", "camera_", "own_camera", "same_person")


def results_table(results: Mapping[str, Any]) -> Table:
    """A command's results, one row per figure; figures of a nested mapping are shown after its name.

    What was not measured (None) and lists are left out.
    """
    table = Table(show_header=False)
    for name, value in results.items():
        inside = {f"{name} {inner}": number for inner, number in value.items()} if isinstance(value, Mapping) else None
        for shown, number in ({name: value} if inside is None else inside).items():
            if number is not None and not isinstance(number, list):
                table.add_row(Text(shown), Text(_figure(shown.rpartition(" ")[2], number)))
    return table


def trained_table(results: Mapping[str, Any]) -> RenderableType:
    """What a run came to: its figures and joins, then the joins that people should look at first."""
    joins = results.get("joins") or {}
    shown = {name: value for name, value in results.items() if name not in ("calibration", "joins")}
    if joins:
        shown.pop("identities", None)  # the labels again
        labels, persons = counted(joins["labels"], "label"), counted(joins["persons"], "person")
        quality = dict(shown.get("association") or {})
        right = quality.pop("estimated_precision", None)
        of_joins = {"joined": f"{joins['joined']:,} of {labels}, into {persons}"}
        if right is not None:
            of_joins["joins probably right"] = _figure("estimated_precision", right)
        shown = of_joins | shown | {"association": quality}
    uncertain = joins.get("least_certain") or []
    if not uncertain:
        return results_table(shown)
    table = Table("probability", "one label", "and another", title="least certain joins", title_justify="left")
    for join in uncertain:
        ends = (f"{camera}/{label}" for camera, label in (join["one"], join["other"]))
        table.add_row(f"{100 * join['probability']:.0f} %", *(Text(printable(end), overflow="fold") for end in ends))
    return Group(results_table(shown), table)


def comparison_table(runs: Mapping[str, Mapping[str, Any]]) -> Table:
    """Runs side by side, one column per run, to show what joining the cameras is worth."""
    table = Table("", *runs)
    for name in ("mAP", "rank1"):
        table.add_row(name, *(_figure(name, results[name]) for results in runs.values()))
    for name in ("precision", "recall"):
        quality = (results["association"] if results["mode"] != "intra" else None for results in runs.values())
        table.add_row(f"association {name}", *("-" if own is None else _figure(name, own[name]) for own in quality))
    for name in ("steps", "seconds"):
        table.add_row(name, *(str(results[name]) for results in runs.values()))
    return table


def _figure(name: str, value: Any) -> str:
    """A share as a percentage, anything else unchanged."""
    share = name in _SHARES or name.startswith(_SHARE_PREFIXES)
    return f"{100 * value:.1f} %" if share and isinstance(value, float) else str(value)
