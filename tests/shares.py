"""Several processes that share work, played by threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import torch

from ccafl.method.share import Share


def by_processes(count: int, work: Callable[[Share], Any]) -> list[Any]:
    """What ``work`` returns in each of ``count`` processes, told its share."""
    given: list[torch.Tensor | None] = [None] * count
    barrier = Barrier(count, timeout=60)

    def done_by(number: int) -> Any:
        def gathered(values: torch.Tensor) -> torch.Tensor:
            given[number] = values
            barrier.wait()
            assert len({part.shape for part in given}) == 1, "a collective takes tensors of one shape"
            together = torch.cat(given)
            barrier.wait()
            return together

        return work(Share(number, count, gathered))

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(done_by, range(count)))
