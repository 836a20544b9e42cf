"""All vectors of a gallery in memory: exact search in milliseconds, for a service on one machine."""

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ccafl.gallery.filters import FILTERS, Filters
from ccafl.gallery.standardising import CameraStatistics
from ccafl.gallery.vectors import FEATURES, IMAGE_TEXT, Row

STANDARDISED = "standardised"
"""The field of features standardised by camera, which is not stored."""

Name = tuple[str, ...]
"""Of a group: equal for its pictures. A track's: camera, label, ""; a picture's without a label: camera, "", key."""

Naming = Callable[[Name], Name]
"""The name of a picture's track -> the name of its group."""

_AT_ONCE = 1 << 24  # cosines held at a time
_BLOCK = 64  # cosines per block maximum


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A text for each of n pictures, ``values[codes]``.

    Attributes:
        codes: (n,) int64.
        values: the different texts.
    """

    codes: NDArray[np.int64]
    values: tuple[str, ...]

    def where(self, condition: Callable[[str], bool]) -> NDArray[np.bool_]:
        """Which pictures' texts meet a condition, which is evaluated once per different text: (n,)."""
        met = np.fromiter(map(condition, self.values), np.bool_, len(self.values))
        return met[self.codes]


@dataclass(frozen=True)
class InMemory:
    """n pictures as columns.

    Attributes:
        rows: in the gallery's order, without their vectors.
        vectors: by field, (D, n) float32: a product with them takes half as long as with (n, D). Features standardised
            by camera are added when first searched.
        columns: what filters test, each a `TextColumn`; only ``time`` is (n,) float64, milliseconds since 1970 or NaN.
    """

    rows: list[Row]
    vectors: dict[str, NDArray[np.float32]]
    columns: dict[str, TextColumn | NDArray[np.float64]]

    @classmethod
    def of(cls, pages: Iterable[list[Row]]) -> "InMemory":
        """From pages of rows that hold their vectors, which are taken out of the rows."""
        rows: list[Row] = []
        parts: dict[str, list[NDArray[np.float32]]] = {FEATURES: [], IMAGE_TEXT: []}
        for page in pages:
            for field, held in parts.items():
                if field in page[0]:
                    held.append(np.stack([row.pop(field) for row in page], axis=1))
            rows += page
        vectors = {field: np.concatenate(held, axis=1) for field, held in parts.items() if held}
        return cls(rows, vectors, {name: _column(rows, name) for name in {own.column for own in FILTERS.values()}})

    def with_pictures(self, page: list[Row]) -> "InMemory":
        """Also with these rows, which hold their vectors and take the places of those with the same keys."""
        places = {row["key"]: place for place, row in enumerate(self.rows)}
        known = [row for row in page if row["key"] in places]
        more = InMemory.of([[row for row in page if row["key"] not in places]] if len(known) < len(page) else [])
        rows = self.rows + more.rows
        vectors = {
            field: np.concatenate([held, more.vectors[field]], axis=1) if more.rows else held.copy()
            for field, held in self.vectors.items()
            if field != STANDARDISED
        }
        for row in known:
            place = places[row["key"]]
            for field, held in vectors.items():
                held[:, place] = row.pop(field)
            rows[place] = row
        columns = {name: _column(rows, name) for name in self.columns}
        return InMemory(rows, vectors or more.vectors, columns)

    def standardise(self, statistics: CameraStatistics) -> None:
        """Make the field `STANDARDISED`, if it is not there yet."""
        if STANDARDISED not in self.vectors and self.rows:
            cameras = [row["camera"] for row in self.rows]
            self.vectors[STANDARDISED] = statistics.standardised(self.vectors[FEATURES].T, cameras).T

    def nearest(
        self, queries: NDArray[np.float32], count: int, filters: Sequence[Filters], *, field: str, vectors: bool = False
    ) -> list[list[Row]]:
        """As `Gallery.nearest`, all queries in one product whatever their filters; ties keep gallery order."""
        candidates = {own: np.flatnonzero(self._passing(own)) for own in set(filters)}
        if not self.rows:
            return [[] for _ in queries]
        step = max(1, _AT_ONCE // len(self.rows))
        found = []
        for start in range(0, len(queries), step):
            scores = queries[start : start + step] @ self.vectors[field]
            own = (candidates[filter_] for filter_ in filters[start : start + step])
            of_field = self.vectors[field] if vectors else None
            found += [self._best(*pair, count, of_field) for pair in zip(scores, own, strict=True)]
        return found

    def scored(self, queries: NDArray[np.float32], filters: Filters, naming: Naming | None, *, field: str) -> "_Scored":
        """The pictures that pass, scored by the nearest of the queries, and their groups; without a naming, tracks."""
        passing = np.flatnonzero(self._passing(filters))
        tracks = self._tracks
        groups, names = tracks.codes[passing], tracks.names
        if naming is not None:
            numbers: dict[Name, int] = {}
            renamed = [numbers.setdefault(naming(name), len(numbers)) for name in names]
            groups, names = np.array(renamed, np.int64)[groups], list(numbers)
        scores = (queries @ self.vectors[field]).max(0)[passing]
        return _Scored(tracks.keys[passing], scores, groups, names)

    @cached_property
    def _tracks(self) -> "_Tracks":
        return _Tracks.of(self.rows)

    def _best(
        self,
        scores: NDArray[np.float32],
        candidates: NDArray[np.int64],
        count: int,
        of_field: NDArray[np.float32] | None,
    ) -> list[Row]:
        considered = scores if len(candidates) == len(scores) else scores[candidates]
        places = _largest(considered, count)
        chosen = candidates[places[np.argsort(-considered[places], kind="stable")][:count]]
        found = [self.rows[number] | {"score": float(scores[number])} for number in chosen]
        if of_field is not None:
            for row, features in zip(found, of_field[:, chosen].T, strict=True):
                row[FEATURES] = features
        return found

    def _passing(self, filters: Filters) -> NDArray[np.bool_]:
        passing = np.ones(len(self.rows), np.bool_)
        for filter_, value in filters.active():
            passing &= filter_.mask(self.columns[filter_.column], value)
        return passing


def best_of(
    parts: Iterable[InMemory],
    queries: NDArray[np.float32],
    count: int,
    filters: Sequence[Filters],
    *,
    field: str,
    vectors: bool = False,
) -> list[list[Row]]:
    """As `InMemory.nearest`, of all parts of a gallery, each held only while it is searched."""
    best: list[list[Row]] = [[] for _ in queries]
    for part in parts:
        found = part.nearest(queries, count, filters, field=field, vectors=vectors)
        both = (before + new for before, new in zip(best, found, strict=True))
        best = [heapq.nlargest(count, rows, key=lambda row: row["score"]) for rows in both]
    return best


@dataclass(frozen=True, slots=True)
class KeyGroup:
    """A group found: keys of its best pictures with their scores, best first, and how many pictures of it passed."""

    best: list[tuple[str, float]]
    pictures: int


def best_groups(
    parts: Iterable[InMemory],
    queries: NDArray[np.float32],
    filters: Filters,
    naming: Naming | None,
    *,
    count: int,
    offset: int,
    each: int,
    field: str,
) -> tuple[list[KeyGroup], int]:
    """The groups with the best pictures, of all pictures that pass, and the number of all groups.

    Args:
        parts: of a gallery, each held only while it is scored.
        queries: (Q, D); a picture's score is that of the nearest.
        filters: which pictures count.
        naming: of the groups; tracks without one.
        count: how many groups are wanted.
        offset: how many of the best are skipped.
        each: how many pictures of a group are wanted at most.
        field: the vectors compared with the queries.
    """
    scored = [part.scored(queries, filters, naming, field=field) for part in parts if part.rows]
    if not scored:
        return [], 0
    keys, scores = (np.concatenate(own) for own in zip(*((one.keys, one.scores) for one in scored), strict=True))
    groups, number = _numbered_together(scored)
    pictures = np.bincount(groups, minlength=number)
    best = np.full(number, -np.inf, np.float32)
    np.maximum.at(best, groups, scores)
    there = np.flatnonzero(pictures)
    chosen = there[np.argsort(-best[there], kind="stable")][offset : offset + count]
    place = np.full(number, -1)
    place[chosen] = np.arange(len(chosen))
    own = np.flatnonzero(place[groups] >= 0)
    own = own[np.lexsort((-scores[own], place[groups[own]]))]
    ends = np.cumsum(pictures[chosen])
    return [
        KeyGroup([(keys[n], float(scores[n])) for n in own[end - size : end][:each]], size)
        for end, size in zip(ends.tolist(), pictures[chosen].tolist(), strict=True)
    ], len(there)


def passing(rows: Sequence[Row], filters: Filters) -> NDArray[np.bool_]:
    """Which rows pass the filters: (n,)."""
    met = np.ones(len(rows), np.bool_)
    for filter_, value in filters.active():
        met &= filter_.mask(_column(rows, filter_.column), value)
    return met


def _column(rows: Sequence[Row], name: str) -> TextColumn | NDArray[np.float64]:
    if name == "time":
        return np.array([row["time"] for row in rows], np.float64)  # None becomes NaN
    values, codes = np.unique(np.array([row[name] for row in rows], object), return_inverse=True)
    return TextColumn(codes.astype(np.int64), tuple(values.tolist()))


def _largest(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Indices of the ``count`` largest scores, and possibly of a few more, ascending.

    The ``count``-th largest of all block maxima is at most the ``count``-th largest score, and is found sooner.
    """
    if len(scores) <= count:
        return np.arange(len(scores))
    whole = len(scores) // _BLOCK * _BLOCK
    largest = scores[:whole].reshape(-1, _BLOCK).max(1) if whole >= _BLOCK * count else scores
    return np.flatnonzero(scores >= np.partition(largest, -count)[-count])


@dataclass(frozen=True, slots=True)
class _Tracks:
    """Of n pictures: the keys (n,), and the track of each: its number (n,), and the names of all tracks."""

    keys: NDArray[np.object_]
    codes: NDArray[np.int64]
    names: list[Name]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "_Tracks":
        numbers: dict[Name, int] = {}
        codes = [numbers.setdefault(track_of(row), len(numbers)) for row in rows]
        return cls(np.array([row["key"] for row in rows], object), np.array(codes, np.int64), list(numbers))


@dataclass(frozen=True, slots=True)
class _Scored:
    """Of m pictures: keys (m,), scores (m,) and numbers of their groups (m,); and the names of the groups."""

    keys: NDArray[np.object_]
    scores: NDArray[np.float32]
    groups: NDArray[np.int64]
    names: list[Name]


def track_of(row: Row) -> Name:
    """The name of the picture's track; a picture without a label stands alone."""
    return (row["camera"], row["label"], "" if row["label"] else row["key"])


def _numbered_together(scored: Sequence[_Scored]) -> tuple[NDArray[np.int64], int]:
    """The groups of all parts, numbered as one, and how many they are."""
    if len(scored) == 1:
        return scored[0].groups, len(scored[0].names)
    numbers: dict[Name, int] = {}
    renumbered = [[numbers.setdefault(name, len(numbers)) for name in one.names] for one in scored]
    both = zip(renumbered, scored, strict=True)
    return np.concatenate([np.array(own, np.int64)[one.groups] for own, one in both]), len(numbers)
