"""Each camera's mean and deviation of a gallery's features, to compare pictures without what their camera adds.

`ccafl.evaluation.camera_standardisation` on stored features: without torch, so for exported encoders too.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

POOLED_IMAGES, LEAST_DEVIATION = 32, 1e-6  # as in ccafl.evaluation.camera_standardisation, which needs torch
_BLOCK = 1 << 22  # numbers standardised at a time


@dataclass(frozen=True)
class CameraStatistics:
    """Sums over the pictures of each of C cameras.

    Attributes:
        cameras: their names; the empty one is that of pictures whose camera is unknown.
        counts: (C,) float64, numbers of pictures.
        sums, squares: (C, D) float64, of the features and of their squares.
    """

    cameras: tuple[str, ...]
    counts: NDArray[np.float64]
    sums: NDArray[np.float64]
    squares: NDArray[np.float64]

    @classmethod
    def of(cls, pages: Iterable[tuple[Sequence[str], NDArray[np.float32]]], dim: int) -> "CameraStatistics":
        """From pages of n pictures' cameras and their features (n, D)."""
        found: dict[str, NDArray[np.float64]] = {}
        for cameras, features in pages:
            names, places = np.unique(np.array(cameras, object), return_inverse=True)
            members = (np.arange(len(names))[:, None] == places).astype(np.float64)
            values = features.astype(np.float64)
            parts = np.stack(
                [
                    np.broadcast_to(members.sum(1)[:, None], (len(names), dim)),
                    members @ values,
                    members @ np.square(values),
                ],
                axis=1,
            )
            for name, part in zip(names.tolist(), parts, strict=True):
                found[name] = found.get(name, 0) + part
        whole = np.array([found[name] for name in sorted(found)]).reshape(-1, 3, dim)
        return cls(tuple(sorted(found)), whole[:, 0, 0], whole[:, 1], whole[:, 2])

    def standardised(self, features: NDArray[np.float32], cameras: Sequence[str]) -> NDArray[np.float32]:
        """(n, D) of pictures by the statistics of their cameras (n names), L2-normalised.

        A picture of an unknown camera takes the statistics of all pictures together.
        """
        means, deviations = self._moments
        places = {name: place for place, name in enumerate(self.cameras) if name}
        chosen = np.array([places.get(name, -1) for name in cameras], np.int64)  # the last row is of all pictures
        found = np.empty(features.shape, np.float32)
        step = max(1, _BLOCK // features.shape[1])
        for start in range(0, len(features), step):
            block = slice(start, start + step)
            values = (features[block] - means[chosen[block]]) / deviations[chosen[block]]
            found[block] = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
        return found

    @cached_property
    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Means and deviations: (C + 1, D) each, the last of all pictures together."""
        total = max(self.counts.sum(), 1.0)
        weights = np.append(self.counts + POOLED_IMAGES, 1)[:, None]

        def mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
            pooled = sums.sum(0) / total
            with_pooled: NDArray[np.float64] = np.vstack([sums + POOLED_IMAGES * pooled, pooled]) / weights
            return with_pooled

        means = mean(self.sums)
        deviations = np.sqrt(np.maximum(mean(self.squares) - np.square(means), 0))
        deviations[deviations < LEAST_DEVIATION] = 1
        return means, deviations
