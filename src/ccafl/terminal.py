"""The terminal: progress on stderr (task, steps done, losses, time left), results on stdout.

Where stderr is a file or a pipe, lines take the place of progress bars.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.table import Column
from rich.text import Text

console = Console(stderr=True)
output = Console()


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

_UNLIMITED = 10_000  # characters in a line

_NARROW = 60  # columns of a terminal, below which a bar is shorter, without the time so far and the numbers

_PAUSE = 30.0  # seconds between the lines of a bar in a log; a tenth of the time so far, once that is longer


class Bar:
    """One progress bar, with numbers beside it.

    Args:
        progress, task: Rich's.
        lines: print a line now and then instead.
    """

    def __init__(self, progress: Progress, task: TaskID, *, lines: bool) -> None:
        self._progress, self._task = progress, task
        self._began = time.monotonic()
        self._next = self._began + _PAUSE if lines else None

    def advance(self, steps: int = 1) -> None:
        """Move on by ``steps``."""
        self._progress.advance(self._task, steps)
        now = time.monotonic()
        if self._next is not None and now >= self._next:
            elapsed = now - self._began
            task = self._progress.tasks[0]
            done, total = int(task.completed), int(task.total or 0)
            left = elapsed * (total - done) / done if done else 0.0
            note(f"{task.description}: {done:,} of {total:,}, {duration(elapsed)}, about {duration(left)} left")
            self._next = now + max(_PAUSE, elapsed / 10)

    def say(self, numbers: Mapping[str, float]) -> None:
        """Show these numbers beside the bar."""
        self._progress.update(self._task, numbers=in_words(numbers))


class _Words(ProgressColumn):
    """Text of a task, which is cut where a terminal is too narrow for all columns."""

    def __init__(self, words: Callable[[Task], str]) -> None:
        super().__init__()
        self._words = words

    def render(self, task: Task) -> Text:
        return Text(self._words(task), no_wrap=True, overflow="ellipsis")


def _whole() -> Column:
    """A column that keeps its width."""
    return Column(no_wrap=True)


@contextmanager
def bar(title: str, total: int, *, shown: bool = True, lines: bool = True) -> Iterator[Bar]:
    """A progress bar on stderr with an estimate of the time left.

    Args:
        title, total: of the task.
        shown: whether this process shows anything.
        lines: whether a log gets lines in its place; not if the task writes its own with `log`.
    """
    narrow = console.width < _NARROW
    columns = (
        _Words(lambda task: task.description),
        BarColumn(bar_width=8 if narrow else 20, table_column=_whole()),
        MofNCompleteColumn(table_column=_whole()),
        *(() if narrow else (TimeElapsedColumn(table_column=_whole()),)),
        TimeRemainingColumn(table_column=_whole()),
        *(() if narrow else (_Words(lambda task: task.fields["numbers"]),)),
    )
    seen = shown and console.is_terminal
    with Progress(*columns, console=console, disable=not seen, transient=True) as progress:
        task = progress.add_task(title, total=total, numbers="")
        yield Bar(progress, task, lines=shown and lines and not seen)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say at a terminal what the next seconds are for; nothing of it stays."""
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


def in_words(numbers: Mapping[str, float]) -> str:
    """``name value  name value ...``, to three digits."""
    return "  ".join(f"{name} {value:.3g}" for name, value in numbers.items())


def duration(seconds: float) -> str:
    """A time in its two largest units: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def printable(text: str) -> str:
    """The text with control characters escaped: a stranger's names shall not move the cursor or turn lines around.

    Tabs and line ends stay.
    """
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def say(text: str) -> None:
    """One line on stdout."""
    output.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def note(*lines: str) -> None:
    """Lines on stderr, without markup; the end of a line within one, as a file's name may hold it, is written out."""
    for line in lines:
        console.print(printable(line).replace("\n", "\\n"), markup=False, highlight=False, soft_wrap=True)


def remark(text: str) -> None:
    """A line on stderr for someone watching, like a progress bar: left out if stderr is not a terminal."""
    if console.is_terminal:
        note(text)


def log(text: str) -> None:
    """A line on stderr for someone reading a log: left out at a terminal, where a progress bar says as much."""
    if not console.is_terminal:
        note(text)


def show(renderable: RenderableType) -> None:
    """Anything that Rich renders, on stdout, with control characters in its text escaped.

    In a file or a pipe, no line is wrapped to a terminal's width.
    """
    (output if output.is_terminal else Console(width=_UNLIMITED)).print(_Printable(renderable))


class _Printable:
    def __init__(self, renderable: RenderableType) -> None:
        self._renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for text, style, control in console.render(self._renderable, options):
            yield Segment(printable(text), style, control)
