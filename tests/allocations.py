"""Work whose memory is known, for processes that are started to measure it: they import this and nothing else."""

from functools import partial

import numpy as np
import numpy.typing as npt


def allocate(mebibytes: int) -> npt.NDArray[np.float32]:
    return np.ones(mebibytes << 18, np.float32)


def allocating(mebibytes: int):
    return partial(allocate, mebibytes)


def big_enough(found: npt.NDArray[np.float32]) -> bool:
    return len(found) == 256 << 18
