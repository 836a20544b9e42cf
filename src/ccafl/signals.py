"""Ctrl-C and SIGTERM for work that stops between two steps, never within one."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_between_steps() -> Iterator[Callable[[], None]]:
    """Give a function to call between steps; once the process has been told to stop, it raises SystemExit.

    The exit code is 130 after Ctrl-C and 143 after SIGTERM. Until that call the first signal is only remembered, so
    that no library can swallow it; a second one stops the process at once. In other threads than the main one, which
    cannot handle signals, the function does nothing.
    """
    asked: list[int] = []

    def remember(number: int, _: object) -> None:
        asked.append(number)
        for each in STOPS:
            signal.signal(each, signal.SIG_DFL)

    def check() -> None:
        if asked:
            raise SystemExit(128 + asked[0])

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    before = {number: signal.signal(number, remember) for number in STOPS}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
