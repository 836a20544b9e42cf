"""How costs grow with size: measured at several sizes, with a line fitted in log-log scale."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.measure import timed
from benchmarks.method import association_world
from ccafl.evaluation.ranking import rank
from ccafl.method.association import associate
from ccafl.method.memory import HybridMemory


@dataclass(frozen=True, slots=True)
class Growth:
    """Seconds by size, and the exponent of their growth.

    Attributes:
        work: what is done, and what size means.
        sizes, seconds: the measurements.
        slope: of the log-log line through the three largest sizes.
    """

    work: str
    sizes: list[int]
    seconds: list[float]
    slope: float

    def predicted(self, size: int) -> float:
        """Seconds predicted by the line."""
        return float(self.seconds[-1] * (size / self.sizes[-1]) ** self.slope)


def growths() -> list[Growth]:
    """Growth of the costs that could be quadratic."""
    return [
        _growth("association, by identities (D=512)", _association, (2500, 5000, 10_000, 20_000, 40_000)),
        _growth("ranking, by gallery images (500 queries, D=512)", _ranking, (5000, 10_000, 20_000, 40_000, 80_000)),
        _growth("hybrid memory's step, by identities (D=512)", _memory, (500, 1000, 2000, 4000, 8000)),
    ]


def _growth(work: str, prepare: Callable[[int], Callable[[], Any]], sizes: tuple[int, ...]) -> Growth:
    seconds = []
    for size in sizes:
        job = prepare(size)
        seconds.append(min(timed(job)[0] for _ in range(2)))
    slope = float(np.polyfit(np.log(sizes[-3:]), np.log(seconds[-3:]), 1)[0])
    return Growth(work, list(sizes), seconds, slope)


def _association(size: int) -> Callable[[], Any]:
    return partial(associate, *association_world(size, 50, 512), 1.7)


def _ranking(size: int) -> Callable[[], Any]:
    random = torch.Generator().manual_seed(0)
    query, gallery = (torch.randn(count, 512, generator=random) for count in (500, size))
    persons, others = (torch.randint(size // 20, (count,), generator=random) for count in (500, size))
    cameras, other_cameras = (torch.randint(6, (count,), generator=random) for count in (500, size))
    return partial(rank, query, gallery, persons, cameras, others, other_cameras)


def _memory(size: int) -> Callable[[], Any]:
    random = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(size, 512, generator=random))
    instances = F.normalize(torch.randn(8, size, 512, generator=random), dim=2)
    memory = HybridMemory(centres, instances)
    features = torch.randn(128, 512, generator=random).requires_grad_()
    labels = torch.randint(size, (16,), generator=random).repeat_interleave(8)

    def step() -> None:
        sum(memory.losses(features, labels)).backward()  # type: ignore[union-attr]
        memory.update(features.detach(), labels)

    return step


def plot(growths: list[Growth], path: Path) -> None:
    """Log-log plot with one line for each cost, labelled with its slope."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for growth in growths:
        (line,) = axes.loglog(growth.sizes, growth.seconds, "o", markersize=4)
        fitted = [growth.predicted(size) for size in growth.sizes]
        label = f"{growth.work}: slope {growth.slope:.2f}"
        axes.loglog(growth.sizes, fitted, color=line.get_color(), linewidth=1, label=label)
    axes.set(xlabel="size", ylabel="seconds")
    axes.grid(visible=True, which="both", linewidth=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
