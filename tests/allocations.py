"""Work whose memory is known, for processes that are started to measure it: they import this and nothing else."""

from functools import partial

import torch


def allocate(mebibytes: int) -> torch.Tensor:
    return torch.ones(mebibytes << 18)


def allocating(mebibytes: int):
    return partial(allocate, mebibytes)


def big_enough(found: torch.Tensor) -> bool:
    return len(found) == 256 << 18
