"""The service's log: what happens again and again is counted, not repeated, so that no client can fill the disk."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_EVERY = 60.0  # seconds between two lines of the same kind
_KINDS = 256  # that are remembered


class SeldomFilter(logging.Filter):
    """Passes the first record of a kind in a minute; the next one that passes says how many did not.

    Records are of one kind if they come from the same line of code, whatever they say.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._last: dict[tuple[str, int], tuple[float, int]] = {}  # when one passed, and how many did not since

    def filter(self, record: logging.LogRecord) -> bool:
        kind, now = (record.pathname, record.lineno), self._clock()
        then, missed = self._last.get(kind, (-_EVERY, 0))
        if now - then < _EVERY:
            self._last[kind] = (then, missed + 1)
            return False
        if missed:
            record.msg, record.args = f"{record.getMessage()} ({missed} more like it since the last one)", None
        if kind not in self._last and len(self._last) >= _KINDS:
            self._last.clear()
        self._last[kind] = (now, 0)
        return True


class LineFormatter(logging.Formatter):
    """Escapes control characters in messages: a client's text can neither end a line nor command the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        message = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in record.getMessage())
        escaped = logging.makeLogRecord(record.__dict__ | {"msg": message, "args": None})
        return super().format(escaped)


@contextmanager
def logging_to_stderr() -> Iterator[None]:
    """Warnings and errors go to stderr, each kind once a minute."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(SeldomFilter())
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
