"""Where the time of a run goes."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

_Item = TypeVar("_Item")


class Clock:
    """Adds up the seconds of named parts. A part within another counts for itself alone, so that all add up.

    What is outside of all parts counts for ``start``. Work for a GPU is only handed over, so its time shows in the part
    that first waits for a result.
    """

    def __init__(self) -> None:
        self._parts = ["start"]  # those in progress, the innermost last
        self._since = time.monotonic()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """The time spent within counts for ``name``."""
        self._book()
        self._parts.append(name)
        try:
            yield
        finally:
            self._book()
            self._parts.pop()

    def waiting(self, name: str, items: Iterable[_Item]) -> Iterator[_Item]:
        """``items``; the time that each takes to come counts for ``name``."""
        iterator = iter(items)
        while True:
            with self.part(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def taken(self) -> dict[str, float]:
        """Seconds of every part since the last call, to the millisecond."""
        self._book()
        seconds, self._seconds = self._seconds, {}
        return {name: round(value, 3) for name, value in seconds.items()}

    def _book(self) -> None:
        now, part = time.monotonic(), self._parts[-1]
        self._seconds[part] = self._seconds.get(part, 0.0) + now - self._since
        self._since = now
