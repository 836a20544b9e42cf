"""Ctrl-C and SIGTERM: the first ends a command in good order, the second at once."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_AGAIN = 0.05  # seconds after which an interruption that was swallowed is raised again


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
    if threading.current_thread() is not threading.main_thread():  # no signals arrive here
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop(number: int, _: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)
        raise Stopped(number)

    def swallowed(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, Stopped):
            hook(unraisable)
            return
        number = unraisable.exc_value.number
        signal.signal(number, stop)
        threading.Timer(_AGAIN, os.kill, (os.getpid(), number)).start()

    before = {number: signal.signal(number, stop) for number in numbers}
    hook, sys.unraisablehook = sys.unraisablehook, swallowed
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)
