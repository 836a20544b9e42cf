"""Ctrl-C and SIGTERM: the first ends a command in good order, the second at once."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_AGAIN = 0.05  # seconds after which an interruption that was swallowed is raised again

_Handler = Callable[[int, FrameType | None], None]


class Stopped(BaseException):
    """The command was told to stop; ``number`` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise `Stopped` in the block, in the main thread, at the first Ctrl-C or SIGTERM; the second kills the process.

    Python swallows what is raised while an object is destroyed; then it is raised again a moment later.
    """

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(number)

    def swallowed(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, Stopped):
            hook(unraisable)
            return
        number = unraisable.exc_value.number
        signal.signal(number, _once(stop))
        threading.Timer(_AGAIN, os.kill, (os.getpid(), number)).start()

    hook = sys.unraisablehook
    with _handled(stop):
        sys.unraisablehook = swallowed
        try:
            yield
        finally:
            sys.unraisablehook = hook


@contextmanager
def stop_between_steps() -> Iterator[Callable[[], None]]:
    """Give a function to call between steps, which raises `Stopped` once the process has been told to stop.

    Until that call the first signal is only remembered, so that no step is left half done; a second one kills the
    process. In other threads than the main one, where no signals arrive, the function does nothing.
    """
    asked: list[int] = []

    def check() -> None:
        if asked:
            raise Stopped(asked[0])

    with _handled(lambda number, _: asked.append(number)):
        yield check


@contextmanager
def _handled(handler: _Handler) -> Iterator[None]:
    """Handle the first of the signals, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _once(handler)) for number in SIGNALS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _once(handler: _Handler) -> _Handler:
    def first(number: int, frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        handler(number, frame)

    return first
