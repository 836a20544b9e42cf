"""The terminal: progress on stderr (task, steps done, losses, time left), results on stdout."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

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

console = Console(stderr=True)
output = Console()


class Bar:
    """One progress bar, with numbers beside it."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, steps: int = 1) -> None:
        """Move on by ``steps``."""
        self._progress.advance(self._task, steps)

    def say(self, numbers: Mapping[str, float]) -> None:
        """Show these numbers beside the bar."""
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
    """Lines on stderr, without markup."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def remark(text: str) -> None:
    """A line on stderr for someone watching, like a progress bar: left out if stderr is not a terminal."""
    if console.is_terminal:
        note(text)


def show(renderable: RenderableType) -> None:
    """Anything that Rich renders, on stdout."""
    output.print(renderable)
