"""A run's results, or those of several side by side: each measure with its meaning, interval and difference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ccafl.evaluation.bootstrap import interval
from ccafl.report import page
from ccafl.report.page import Row
from ccafl.run_folder import flattened

RANKED = ("mAP", "rank1", "rank5", "rank10")
"""The measures that are means over queries, in the order of `Column.draws`."""
_FIRST = "queries that show the person among their first {} results"
_MEANINGS = {
    "mAP": ("mAP", "mean over queries of the average precision: how early all pictures of the person come"),
    "rank1": ("rank-1", "queries whose first result shows the person"),
    "rank5": ("rank-5", _FIRST.format("five")),
    "rank10": ("rank-10", _FIRST.format("ten")),
    "unmatched": ("queries without a match", "no other camera saw the person; left out of every mean"),
    "association precision": ("association: precision", "pairs of labels that were joined and are one person"),
    "association estimated_precision": (
        "association: estimated precision",
        "the same, estimated from the features alone, without knowing the persons",
    ),
    "association recall": ("association: recall", "pairs of labels of one person that were joined"),
    "association f1": ("association: F1", "harmonic mean of precision and recall"),
    "association joined": ("association: persons found", "persons that labels of several cameras were joined into"),
    "joins labels": ("labels", "persons as labelled camera by camera"),
    "joins joined": ("labels joined", "labels that were joined to another"),
    "joins persons": ("persons joined", "persons that these labels were joined into"),
    "camera_probe": ("camera probe", "how often a linear probe recognises the camera from a feature; lower is better"),
    "camera_chance": ("camera probe by chance", "what features that reveal nothing would give"),
    "own_camera_neighbours": (
        "own camera among nearest",
        "a query's ten nearest pictures of other persons that its own camera took; close to chance is better",
    ),
    "own_camera_chance": ("own camera by chance", "the same among all pictures of other persons"),
    "same_person_mass_before": (
        "same-person probability before ICAL",
        "what the classifier gives to the same person in other cameras, before ICAL began",
    ),
    "same_person_mass": ("same-person probability", "what the classifier gives to the same person in other cameras"),
}
_COUNTS = ("unmatched", "association joined", "joins labels", "joins joined", "joins persons")
NOTE = (
    "Intervals hold 95 % of 1,000 repetitions with queries drawn anew. They say how much the choice of queries "
    "matters, not how much another training would differ; queries of one person are alike, so the truth is wider."
)


@dataclass(frozen=True, slots=True)
class Column:
    """What is shown of a run.

    Attributes:
        name: of the run.
        results: as in its results.json.
        draws: (draws, 4) means of the measures in `RANKED` over queries drawn anew; None where they do not belong to
            these results or the images are not there.
        queries: what the draws are drawn from; equal for runs whose draws may be subtracted.
    """

    name: str
    results: Mapping[str, Any]
    draws: Tensor | None = None
    queries: object = None


def measures_table(columns: Sequence[Column], caption: str) -> str:
    """One row per measure; with several columns, each but the first with its difference from the first."""
    flat = [flattened(column.results, " ") for column in columns]
    names = [name for name in _MEANINGS if any(values.get(name) is not None for values in flat)]
    header = ["measure", columns[0].name]
    for column in columns[1:]:
        header += [column.name, f"difference from {columns[0].name}" if len(columns) > 2 else "difference"]
    rows, data = [], []
    for name in names:
        first = flat[0].get(name)
        shown = [_value(name, first) + _between(columns[0], name)]
        for column, values in zip(columns[1:], flat[1:], strict=True):
            value = values.get(name)
            shown += [_value(name, value) + _between(column, name), _difference(name, first, value, columns[0], column)]
        label, meaning = _MEANINGS[name]
        rows.append(Row(label, shown, meaning))
        data.append([label, *(text.replace("\n", " ") for text in shown)])
    note = page.paragraph(NOTE) if any(column.draws is not None for column in columns) else ""
    return page.table(caption, rows, header) + f"<p>{page.download('results', header, data)}</p>" + note


def facts_table(columns: Sequence[Column]) -> str:
    """Everything else that the results hold and that says something by itself, one column per run."""
    kept = [{key: value for key, value in c.results.items() if key not in ("intra", "calibration")} for c in columns]
    flat = [flattened(results, " ") for results in kept]
    names = dict.fromkeys(name for values in flat for name in values if name not in _MEANINGS)
    rows = [
        Row(name.replace("_", " "), [_plain(values.get(name)) for values in flat])
        for name in names
        if not any(isinstance(values.get(name), list | dict) for values in flat)
    ]
    header = ["", *(column.name for column in columns)] if len(columns) > 1 else ()
    return page.table("What was trained", rows, header)


def share(value: float) -> str:
    """A share as a percentage; small ones keep two digits that say something."""
    return f"{100 * value:.1f} %" if abs(value) >= 0.0095 or not value else f"{100 * value:.2g} %"


def _value(name: str, value: Any) -> str:
    if value is None:
        return "not measured"
    return f"{value:,.0f}" if name in _COUNTS else share(value)


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _between(column: Column, name: str) -> str:
    if column.draws is None or name not in RANKED:
        return ""
    low, high = (100 * interval(column.draws))[RANKED.index(name)].tolist()
    return f"\n({low:.1f} to {high:.1f})"


def _difference(name: str, first: Any, value: Any, base: Column, column: Column) -> str:
    if first is None or value is None:
        return "-"
    if name in _COUNTS:
        return _signed(f"{value - first:+,.0f}")
    shown = _signed(f"{100 * (value - first):+.1f}") + " points"
    if base.draws is None or column.draws is None or base.queries != column.queries or name not in RANKED:
        return shown
    low, high = (100 * interval(column.draws - base.draws))[RANKED.index(name)].tolist()
    return f"{shown}\n({_signed(f'{low:+.1f}')} to {_signed(f'{high:+.1f}')})"


def _signed(number: str) -> str:
    """A difference as it is written, but nothing without a sign, and minus as a minus sign."""
    return number.replace("-", "\u2212") if number.strip("+-0.") else number.lstrip("+-")
