"""The terminal: progress on stderr (what runs, how far, the losses, how long still), results on stdout."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

console = Console(stderr=True)
output = Console()


class Bar:
    """One bar: advance it, say numbers beside it."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, steps: int = 1) -> None:
        """Go on by ``steps``."""
        self._progress.advance(self._task, steps)

    def say(self, numbers: Mapping[str, float]) -> None:
        """Show these beside the bar."""
        self._progress.update(self._task, numbers="  ".join(f"{name} {value:.3g}" for name, value in numbers.items()))


@contextmanager
def bar(title: str, total: int, *, shown: bool = True) -> Iterator[Bar]:
    """A progress bar on stderr with an estimate of the time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
    )
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal), transient=True) as progress:
        yield Bar(progress, progress.add_task(title, total=total, numbers=""))


def say(text: str) -> None:
    """One line on stdout."""
    output.print(text, markup=False, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """Lines on stderr, as they are."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def remark(text: str) -> None:
    """A line on stderr for who looks on, as progress bars are: nothing in a log."""
    if console.is_terminal:
        note(text)


def show(renderable: RenderableType) -> None:
    """Anything of Rich's, on stdout."""
    output.print(renderable)


def show_results(results: Mapping[str, Any], written_to: Path) -> None:
    """A table of a command's results, and where a script finds them."""
    table = Table(show_header=False)
    for name, value in results.items():
        if isinstance(value, Mapping):
            for inner, number in value.items():
                table.add_row(f"{name} {inner}", Text(_number(inner, number)))
        else:
            table.add_row(name, Text(_number(name, value)))
    show(table)
    say(f"written to {written_to}")


def show_markdown(text: str, written_to: Path) -> None:
    """A document as it is written, however wide its tables, and where it lies."""
    output.print(text, markup=False, highlight=False, soft_wrap=True)
    say(f"written to {written_to}")


def show_comparison(runs: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """One column a run: what joining the cameras is worth."""
    table = Table("", *runs)
    for name in ("mAP", "rank1"):
        table.add_row(name, *(_number(name, results[name]) for results in runs.values()))
    for name in ("precision", "recall"):
        quality = (results["association"] if results["mode"] != "intra" else None for results in runs.values())
        table.add_row(f"association {name}", *("-" if own is None else _number(name, own[name]) for own in quality))
    table.add_row("steps", *(str(results["steps"]) for results in runs.values()))
    table.add_row("seconds", *(str(results["seconds"]) for results in runs.values()))
    show(table)
    say(f"written to {folder / 'results.json'}")


def _number(name: str, value: Any) -> str:
    """Shares as percentages, the rest as it is."""
    share = name == "mAP" or name.startswith(("rank", "camera_", "own_camera", "same_person"))
    share = share or name in ("precision", "recall", "f1")
    return f"{100 * value:.1f} %" if share and isinstance(value, float) else str(value)
