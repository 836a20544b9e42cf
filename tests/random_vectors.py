"""Random unit vectors, and an encoder that stands for them in a gallery."""

import numpy as np

from colour_people import FakeEncoder


class Numbers(FakeEncoder):
    """Of features of ``dim`` numbers; describes nothing."""

    def __init__(self, dim: int) -> None:
        super().__init__(describes=False)
        self.dim = dim


def unit(seed: int, *shape: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
