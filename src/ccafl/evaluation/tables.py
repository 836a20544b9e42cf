"""The figures of runs as tables for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

_SHARES = ("mAP", "precision", "recall", "f1", "estimated_precision")
_SHARE_PREFIXES = ("rank", "camera_", "own_camera", "same_person")


def results_table(results: Mapping[str, Any]) -> Table:
    """A command's results, one row per figure; figures of a nested mapping are shown after its name."""
    table = Table(show_header=False)
    for name, value in results.items():
        if isinstance(value, Mapping):
            for inner, number in value.items():
                table.add_row(Text(f"{name} {inner}"), Text(_figure(inner, number)))
        else:
            table.add_row(Text(name), Text(_figure(name, value)))
    return table


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
