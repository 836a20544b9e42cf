"""Two implementations of the same work, side by side: first their results, then their time and memory."""

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
    """Our implementation against another.

    Attributes:
        work: what is done.
        opponent: name of the other implementation.
        ours, theirs: do the work and return the result.
        equal: whether two results are equal.
        bar: how many times as long the other must take, at least.
        rounds: how often both are timed, alternately.
        times: how often one timing repeats the work; reported seconds are for once.
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
    """Work with a limit on time and memory, done in its own process.

    Attributes:
        work: what is done.
        prepare: makes the inputs and returns the work; must be importable, as it runs in a fresh process.
        correct: whether a result is correct.
        seconds: time limit.
        gib: memory limit, including inputs and libraries.
    """

    work: str
    prepare: Callable[[], Callable[[], Any]]
    correct: Callable[[Any], bool]
    seconds: float
    gib: float


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table; ``ratio`` is the other's cost (or the limit) divided by ours.

    ``parts`` are the seconds of ours, where it says so itself.
    """

    work: str
    ours_s: float
    opponent: str
    opponent_s: float
    ratio: float
    bar: float
    met: bool
    equal: bool
    unit: str = "s"
    parts: dict[str, float] | None = None


def compare(comparison: Comparison) -> Row:
    """Compare both results, then time both alternately.

    The ratio is the median of the rounds' ratios, because a machine's speed drifts from round to round.
    """
    equal = comparison.equal(comparison.ours(), comparison.theirs())
    rounds = [(timed(comparison.ours)[0], timed(comparison.theirs)[0]) for _ in range(comparison.rounds)]
    ours, theirs = (statistics.median(taken) / comparison.times for taken in zip(*rounds, strict=True))
    ratio = statistics.median(theirs / ours for ours, theirs in rounds)
    met = equal and ratio >= comparison.bar
    return Row(comparison.work, ours, comparison.opponent, theirs, ratio, comparison.bar, met, equal)


def check_limit(limit: Limit) -> list[Row]:
    """One row for time and one for memory."""
    seconds, gib, correct = in_own_process(_work_once, limit.prepare, limit.correct)
    rows = []
    for taken, most, unit in ((seconds, limit.seconds, "s"), (gib, limit.gib, "GiB")):
        met = correct and taken <= most
        rows.append(Row(limit.work, taken, "limit", most, most / taken, 1.0, met, correct, unit))
    return rows


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that ``work`` took, and its result."""
    gc.collect()
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def in_own_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """Run ``work`` in a fresh process and return its result, so that its memory can be measured on its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def peak_of(prepare: Callable[[], Callable[[], Any]]) -> float:
    """Peak GiB that the work needs in addition to its inputs; must be called in its own process."""
    work = prepare()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = peak_gib()
    work()
    return peak_gib() - before


def _work_once(prepare: Callable[[], Callable[[], Any]], correct: Callable[[Any], bool]) -> tuple[float, float, bool]:
    seconds, result = timed(prepare())
    peak = peak_gib()
    return seconds, peak, correct(result)


def peak_gib() -> float:
    """Peak memory of this process in GiB; Linux only."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / GIB
