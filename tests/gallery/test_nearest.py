"""The search in memory equals exhaustive search: the same pictures in the same order, however queries are combined."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccafl.gallery.filters import Filters
from ccafl.gallery.nearest import InMemory
from ccafl.gallery.values import milliseconds
from ccafl.gallery.vectors import FEATURES
from colour_people import FIRST

DIM = 6
ALL = Filters()


def rows_of(vectors: np.ndarray) -> list[dict]:
    """One picture per second, from three cameras in turn; one in nine has no time."""
    return [
        {
            "key": f"{n:064x}",
            "camera": f"c{n % 3}",
            "time": None if n % 9 == 4 else milliseconds(FIRST + timedelta(seconds=n)),
            FEATURES: vector,
        }
        for n, vector in enumerate(vectors)
    ]


def held(vectors: np.ndarray) -> InMemory:
    rows = rows_of(vectors)
    return InMemory.of(rows[start : start + 100] for start in range(0, len(rows), 100))


def exhaustive(vectors: np.ndarray, query: np.ndarray, count: int, filters: Filters) -> list[int]:
    """The numbers of the best pictures, found by sorting all of them."""
    since, until = (None if time is None else milliseconds(time) for time in (filters.since, filters.until))
    met = [
        n
        for n, row in enumerate(rows_of(vectors))
        if (not filters.cameras or row["camera"] in filters.cameras)
        and row["camera"] not in filters.exclude_cameras
        and (since is None or (row["time"] is not None and row["time"] >= since))
        and (until is None or (row["time"] is not None and row["time"] < until))
    ]
    scores = query @ vectors.T
    return sorted(met, key=lambda n: (-scores[n], n))[:count]


@pytest.mark.parametrize("size", [1, 63, 64, 500, 7_000])
@pytest.mark.parametrize("count", [1, 5, 100])
@pytest.mark.parametrize("ties", [False, True])
def test_it_equals_exhaustive_search(size, count, ties):
    rng = np.random.default_rng(size + count)
    shape = (size, DIM)
    # whole numbers, so that ties are exact whatever the order of summation
    vectors = rng.integers(-2, 3, shape) if ties else rng.integers(-1_000, 1_001, shape)
    queries = rng.integers(-2, 3, (6, DIM)).astype(np.float32)
    filters = [
        ALL,
        Filters(cameras=("c1",)),
        Filters(exclude_cameras=("c0", "c1")),
        Filters(since=FIRST + timedelta(seconds=20), until=FIRST + timedelta(seconds=300)),
        Filters(cameras=("nobody",)),
        ALL,
    ]
    found = held(vectors.astype(np.float32)).nearest(queries, count, filters, field=FEATURES)
    for query, own, rows in zip(queries, filters, found, strict=True):
        numbers = [int(row["key"], 16) for row in rows]
        assert numbers == exhaustive(vectors, query, count, own)
        assert [row["score"] for row in rows] == [float(query @ vectors[n]) for n in numbers]


def test_vectors_are_given_on_demand():
    vectors = np.random.default_rng(0).standard_normal((200, DIM)).astype(np.float32)
    for wanted in (False, True):
        (rows,) = held(vectors).nearest(vectors[:1], 5, [ALL], field=FEATURES, vectors=wanted)
        assert all((FEATURES in row) == wanted for row in rows)
    np.testing.assert_array_equal([row[FEATURES] for row in rows], vectors[[int(row["key"], 16) for row in rows]])


def test_an_empty_gallery_has_nothing():
    assert InMemory.of([]).nearest(np.ones((2, DIM), np.float32), 5, [ALL, ALL], field=FEATURES) == [[], []]


@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 9))
def test_many_queries_are_processed_in_blocks(monkeypatch_at_once, queries, size, seed):
    monkeypatch_at_once(size * 3)
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-9, 10, (size, DIM)).astype(np.float32)
    asked = rng.integers(-9, 10, (queries, DIM)).astype(np.float32)
    found = held(vectors).nearest(asked, 4, [ALL] * queries, field=FEATURES)
    assert [[int(row["key"], 16) for row in rows] for rows in found] == [exhaustive(vectors, q, 4, ALL) for q in asked]


@pytest.fixture(scope="module")
def monkeypatch_at_once():
    with pytest.MonkeyPatch.context() as patch:
        yield lambda size: patch.setattr("ccafl.gallery.nearest._AT_ONCE", size)
