"""Intervals of means over queries, by drawing the queries again with replacement."""

import torch
from torch import Tensor

DRAWS = 1000
LEVEL = 0.95
_BLOCK_ELEMENTS = 1 << 22  # drawn values held at a time


def drawn_means(values: Tensor, *, seed: int = 0, draws: int = DRAWS) -> Tensor:
    """Means over queries drawn with replacement: (Q, K) -> (draws, K) float64.

    The same seed draws the same queries, so that the difference of two runs on the same queries is that of their draws.

    Args:
        values: (Q, K), K figures for each query.
        seed: of the draws.
        draws: how often Q queries are drawn.
    """
    random = torch.Generator().manual_seed(seed)
    values = values.double()
    rows = max(1, _BLOCK_ELEMENTS // max(values.numel(), 1))
    means = []
    for start in range(0, draws, rows):
        chosen = torch.randint(len(values), (min(rows, draws - start), len(values)), generator=random)
        means.append(values[chosen].mean(1))
    return torch.cat(means)


def interval(means: Tensor, level: float = LEVEL) -> Tensor:
    """What holds the middle ``level`` of the draws (draws, K): (K, 2), lower and upper end."""
    outside = (1 - level) / 2
    ends = torch.tensor([outside, 1 - outside], dtype=means.dtype)
    return means.quantile(ends, dim=0).T
