"""Two ways of doing the same work, side by side in one run: first that they agree, then how long and how large."""

import ctypes
import gc
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GIB = 1024.0**3


@dataclass(frozen=True, slots=True)
class Comparison:
    """Our way against another's.

    Attributes:
        work: what is done.
        opponent: whose way is the other.
        ours, theirs: do it and return what they found.
        equal: whether both found the same.
        bar: how many times as long the other must take, at least.
        rounds: how often both are timed, in turn.
        times: how often one timing does the work; the seconds told are of once.
    """

    work: str
    opponent: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    equal: Callable[[Any, Any], bool]
    bar: float
    rounds: int = 5
    times: int = 1


@dataclass(frozen=True, slots=True)
class Limit:
    """Work that must stay within so many seconds and GiB, in a process of its own.

    Attributes:
        work: what is done.
        prepare: makes the inputs and returns the work; importable, as it runs in a fresh process.
        right: whether what it found is right.
        seconds: at most.
        gib: at most, the inputs and the libraries with it.
    """

    work: str
    prepare: Callable[[], Callable[[], Any]]
    right: Callable[[Any], bool]
    seconds: float
    gib: float


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table; ``ratio`` is what the other takes (or the limit) by what ours takes."""

    work: str
    ours_s: float
    opponent: str
    opponent_s: float
    ratio: float
    bar: float
    met: bool
    equal: bool
    unit: str = "s"


def compared(comparison: Comparison) -> Row:
    """Both results compared, then both timed in turn; the ratio is the median of the rounds' ratios, as a machine's
    speed drifts from round to round.
    """
    equal = comparison.equal(comparison.ours(), comparison.theirs())
    rounds = [(timed(comparison.ours)[0], timed(comparison.theirs)[0]) for _ in range(comparison.rounds)]
    ours, theirs = (statistics.median(taken) / comparison.times for taken in zip(*rounds, strict=True))
    ratio = statistics.median(theirs / ours for ours, theirs in rounds)
    met = equal and ratio >= comparison.bar
    return Row(comparison.work, ours, comparison.opponent, theirs, ratio, comparison.bar, met, equal)


def limited(limit: Limit) -> list[Row]:
    """A row for the time and one for the memory."""
    seconds, gib, right = in_own_process(_work_once, limit.prepare, limit.right)
    rows = []
    for taken, most, unit in ((seconds, limit.seconds, "s"), (gib, limit.gib, "GiB")):
        met = right and taken <= most
        rows.append(Row(limit.work, taken, "limit", most, most / taken, 1.0, met, right, unit))
    return rows


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds it took, and what it returned."""
    gc.collect()
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def in_own_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """What ``work`` returns in a fresh process: its memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def peak_of(prepare: Callable[[], Callable[[], Any]]) -> float:
    """GiB that the work needs at most beside its inputs; to be called in a process of its own."""
    work = prepare()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    before = _highest()
    work()
    return _highest() - before


def _work_once(prepare: Callable[[], Callable[[], Any]], right: Callable[[Any], bool]) -> tuple[float, float, bool]:
    seconds, result = timed(prepare())
    highest = _highest()
    return seconds, highest, right(result)


def _highest() -> float:
    """The most memory this process has held, GiB; Linux tells it."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / GIB
