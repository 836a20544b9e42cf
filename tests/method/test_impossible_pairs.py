"""Nearest times of labels and impossible pairs, against plain loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccafl.method import topology as module
from ccafl.method.topology import CameraTopology, nearest_gaps, sightings

TIMES = st.none() | st.integers(0, 12)
LABELS = st.lists(st.lists(TIMES, max_size=5), min_size=1, max_size=6)
"""The times of every label's images; None for an image without a time, which a label without images has none of."""


def seen_at(labels: list[list[int | None]], seed: int = 0):
    """The images in a random order."""
    images = [(math.nan if time is None else float(time), label) for label, some in enumerate(labels) for time in some]
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).tolist()
    times = torch.tensor([images[place][0] for place in order], dtype=torch.float64)
    return sightings(times, torch.tensor([images[place][1] for place in order], dtype=torch.int64), len(labels))


def gap(one: list[int | None], other: list[int | None]) -> float:
    return min((abs(a - b) for a in one for b in other if a is not None and b is not None), default=math.nan)


def all_pairs(count: int):
    return torch.arange(count)[:, None], torch.arange(count)[None]


@given(LABELS, st.integers(0, 5))
def test_gaps_are_those_of_the_nearest_images(labels: list[list[int | None]], seed: int) -> None:
    found = nearest_gaps(seen_at(labels, seed), *all_pairs(len(labels)))
    expected = torch.tensor([[gap(one, other) for other in labels] for one in labels], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


@given(LABELS)
def test_intervals_are_first_and_last_times(labels: list[list[int | None]]) -> None:
    seen = seen_at(labels)
    for label, times in enumerate(labels):
        known = [time for time in times if time is not None]
        assert seen.complete[label] == (len(known) == len(times))
        expected = [min(known), max(known)] if known else [math.nan, math.nan]
        assert str(seen.intervals[label].tolist()) == str([float(time) for time in expected])


@given(LABELS)
def test_pairs_need_not_be_a_block(labels: list[list[int | None]]) -> None:
    seen = seen_at(labels)
    first, second = torch.cartesian_prod(torch.arange(len(labels)), torch.arange(len(labels))).T
    block = nearest_gaps(seen, *all_pairs(len(labels)))
    torch.testing.assert_close(nearest_gaps(seen, first, second), block.flatten(), equal_nan=True)


@pytest.mark.parametrize("held", [1 << 22, 7])
def test_long_visits_are_searched_image_by_image_in_parts(monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    monkeypatch.setattr(module, "_SEARCHES", held)
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 20, (100,), generator=random)
    begins = torch.rand(20, generator=random, dtype=torch.float64)
    times = begins[labels] + torch.rand(100, generator=random, dtype=torch.float64)
    found = nearest_gaps(sightings(times, labels, 20), *all_pairs(20))
    of = [times[labels == label] for label in range(20)]
    expected = [[(one[:, None] - other).abs().min() for other in of] for one in of]
    assert found.tolist() == [[gap.item() for gap in gaps] for gaps in expected]


def cameras_of(labels: int, cameras: int, seed: int) -> CameraTopology:
    """A random topology without times."""
    random = torch.Generator().manual_seed(seed)
    upper = torch.randint(-1, 2, (cameras, cameras), generator=random, dtype=torch.int8).triu(1)
    least = torch.randint(0, 4, (cameras, cameras), generator=random).double().triu(1)
    most = torch.randint(0, 6, (cameras, cameras), generator=random).double().triu(1)
    least, most = least + least.T, most + most.T + least + least.T
    most[most > 6] = torch.inf
    return CameraTopology(
        torch.randint(0, cameras, (labels,), generator=random), upper + upper.T, least, most, seen=None
    )


@given(LABELS, st.integers(0, 50))
def test_impossible_pairs_are_those_of_the_rule(labels: list[list[int | None]], seed: int) -> None:
    known = cameras_of(len(labels), 3, seed)
    timed = CameraTopology(known.cameras, known.shared, known.least, known.most, seen_at(labels))

    def impossible(a: int, b: int, times: bool) -> bool:
        cameras = known.cameras[a], known.cameras[b]
        gaps = [(s, t) for s in labels[a] for t in labels[b]] if times else []
        distances = [abs(s - t) for s, t in gaps if s is not None and t is not None]
        all_known = distances and None not in (*labels[a], *labels[b])
        return bool(
            known.shared[cameras] == -1
            or any(distance < known.least[cameras] for distance in distances)
            or (all_known and all(distance > known.most[cameras] for distance in distances))
        )

    for topology in (known, timed):
        found = topology.impossible(*all_pairs(len(labels))).tolist()
        for a in range(len(labels)):
            assert found[a] == [impossible(a, b, topology is timed) for b in range(len(labels))]


def two_labels(one: list[float], other: list[float], *, least: float = 0, most: float = math.inf) -> bool:
    """Whether labels of two cameras, seen at these times, are impossible as one person."""
    seen = sightings(torch.tensor([*one, *other]).double(), torch.tensor([0] * len(one) + [1] * len(other)), 2)
    shared = torch.tensor([[0, 1], [1, 0]], dtype=torch.int8)
    limits = (torch.full((2, 2), limit, dtype=torch.float64) for limit in (least, most))
    found = CameraTopology(torch.tensor([0, 1]), shared, *limits, seen).impossible(torch.tensor(0), torch.tensor(1))
    return bool(found)


def test_a_person_may_return_to_a_camera() -> None:
    """Seen at one camera at 10:00 and 15:00 and at the other at 12:00: the intervals overlap, the images do not."""
    assert not two_labels([36_000, 54_000], [43_200], least=600)
    assert two_labels([36_000, 54_000, 43_100], [43_200], least=600)
    assert not two_labels([36_000, 43_100], [43_200, 60_000], most=600)
    assert two_labels([36_000, 54_000], [43_200], most=600)


def test_the_limits_themselves_are_possible() -> None:
    assert not two_labels([0], [30], least=30, most=30)
    assert two_labels([0], [29.5], least=30)
    assert two_labels([0], [30.5], most=30)


def test_two_places_at_once_need_a_least_time() -> None:
    assert not two_labels([100], [100])
    assert two_labels([100], [100], least=1)


def test_a_label_with_an_untimed_image_may_be_near() -> None:
    assert two_labels([0], [100], most=30)
    assert not two_labels([0, math.nan], [100], most=30)
    assert two_labels([0, math.nan], [10], least=30)
