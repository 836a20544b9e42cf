"""All vectors of a gallery in memory: exact search that a service on one machine can repeat in milliseconds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ccafl.search.records import Filters
from ccafl.search.vectors import FEATURES, IMAGE_TEXT, Row, milliseconds

_NEVER = np.iinfo(np.int64).min
_AT_ONCE = 1 << 24  # cosines held at a time
_BLOCK = 64  # cosines


@dataclass(frozen=True, slots=True)
class InMemory:
    """n pictures as columns.

    Attributes:
        rows: each without its vectors, by key.
        vectors: by field, (D, n) float32: a product with them takes half as long as with rows.
        cameras: (n,) number of the picture's camera.
        camera_names: by number.
        times: (n,) milliseconds since 1970; the least number there is where unknown.
    """

    rows: list[Row]
    vectors: dict[str, NDArray[np.float32]]
    cameras: NDArray[np.int64]
    camera_names: tuple[str, ...]
    times: NDArray[np.int64]

    @classmethod
    def of(cls, pages: Iterable[list[Row]]) -> "InMemory":
        """The columns of rows that hold their vectors, page by page; those are taken out of the rows."""
        rows: list[Row] = []
        parts: dict[str, list[NDArray[np.float32]]] = {FEATURES: [], IMAGE_TEXT: []}
        for page in pages:
            for field, held in parts.items():
                if field in page[0]:
                    held.append(np.stack([row.pop(field) for row in page], axis=1))
            rows += page
        vectors = {field: np.concatenate(held, axis=1) for field, held in parts.items() if held}
        names, cameras = np.unique(np.array([row["camera"] for row in rows], object), return_inverse=True)
        times = [_NEVER if row["time"] is None else row["time"] for row in rows]
        return cls(rows, vectors, cameras.astype(np.int64), tuple(names.tolist()), np.array(times, np.int64))

    def nearest(
        self, queries: NDArray[np.float32], count: int, filters: Sequence[Filters], *, field: str, vectors: bool = False
    ) -> list[list[Row]]:
        """As `Gallery.nearest`, all queries in one product whatever their filters; equal scores in the rows' order."""
        candidates = {one: np.flatnonzero(self._meet(one)) for one in set(filters)}
        if not self.rows:
            return [[] for _ in queries]
        step = max(1, _AT_ONCE // len(self.rows))
        found = []
        for start in range(0, len(queries), step):
            scores = queries[start : start + step] @ self.vectors[field]
            own = (candidates[one] for one in filters[start : start + step])
            found += [self._best(*pair, count, vectors) for pair in zip(scores, own, strict=True)]
        return found

    def _best(self, scores: NDArray[np.float32], candidates: NDArray[np.int64], count: int, vectors: bool) -> list[Row]:
        some = scores if len(candidates) == len(scores) else scores[candidates]
        places = _largest(some, count)
        chosen = candidates[places[np.argsort(-some[places], kind="stable")][:count]]
        found = [self.rows[number] | {"score": float(scores[number])} for number in chosen]
        if vectors:
            for row, features in zip(found, self.vectors[FEATURES][:, chosen].T, strict=True):
                row[FEATURES] = features
        return found

    def _meet(self, filters: Filters) -> NDArray[np.bool_]:
        met = np.ones(len(self.rows), np.bool_)
        if filters.cameras:
            met &= np.isin(self.cameras, self._numbers(filters.cameras))
        if filters.exclude_cameras:
            met &= ~np.isin(self.cameras, self._numbers(filters.exclude_cameras))
        if filters.since is not None:
            met &= self.times >= milliseconds(filters.since)
        if filters.until is not None:
            met &= (self.times < milliseconds(filters.until)) & (self.times != _NEVER)
        return met

    def _numbers(self, names: Sequence[str]) -> list[int]:
        return [number for number, name in enumerate(self.camera_names) if name in names]


def _largest(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Places of the ``count`` largest and perhaps of some more, ascending.

    The ``count``-th largest of the largest of each block is not above the one of all, and is found sooner.
    """
    if len(scores) <= count:
        return np.arange(len(scores))
    whole = len(scores) // _BLOCK * _BLOCK
    largest = scores[:whole].reshape(-1, _BLOCK).max(1) if whole >= _BLOCK * count else scores
    return np.flatnonzero(scores >= np.partition(largest, -count)[-count])
