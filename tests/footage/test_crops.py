"""Which pictures of a track are kept."""

from pathlib import Path

import numpy as np
import pytest

from ccafl.footage.crops import CROPS, TrackCrops, overlaps
from ccafl.footage.frames import Frame

BOX = np.array([80, 40, 120, 140], np.float32)


def image(looks: int, *, sharp: bool = True) -> np.ndarray:
    """A picture of its own for each number; blurred ones have no edges."""
    blocks = np.random.default_rng(looks).integers(0, 255, (20, 24, 3), np.uint8)
    if not sharp:
        return np.tile(np.linspace(40, 200, 240).astype(np.uint8)[None, :, None], (200, 1, 3))
    return blocks.repeat(10, 0).repeat(10, 1)


def see(track: TrackCrops, number: int, looks: int, box=BOX, overlap: float = 0.0, sharp: bool = True) -> None:
    frame = Frame(number, float(number), image(looks, sharp=sharp), Path("a.mp4"), number)
    track.see(frame, np.asarray(box, np.float32), 1.0, overlap)


def numbers(track: TrackCrops) -> list[int]:
    return [crop.number for crop in track.best()]


def test_near_copies_are_kept_once():
    track = TrackCrops()
    for number in range(1, 40):
        see(track, number, looks=number % 3)
    looks = {number % 3 for number in numbers(track)}
    assert len(numbers(track)) == len(looks) == 3


def test_the_most_different_are_kept_and_spread_over_the_time():
    track = TrackCrops()
    for number in range(1, 101):
        see(track, number, looks=number)
    kept = numbers(track)
    assert len(kept) == CROPS
    assert kept[0] <= 25
    assert kept[-1] >= 75


@pytest.mark.parametrize(
    "worse",
    [
        {"box": [0, 40, 40, 140]},  # cut off by the frame's edge
        {"box": [80, 40, 92, 70]},  # small
        {"overlap": 0.45},  # behind somebody, or before
        {"sharp": False},
    ],
)
def test_whole_large_free_and_sharp_pictures_are_kept_before_others(worse):
    track = TrackCrops()
    see(track, 1, looks=1, **worse)
    see(track, 2, looks=2)
    assert numbers(track) == [2]


def test_a_cut_picture_is_better_than_none():
    track = TrackCrops()
    see(track, 1, looks=1, box=[0, 40, 40, 140])
    assert numbers(track) == [1]


def test_a_track_holds_few_candidates_however_long_it_is():
    track = TrackCrops(crops=2)
    for number in range(1, 300):
        see(track, number, looks=number)
    assert len(track._held) <= 3 * 2 + 1


def test_the_share_of_each_box_within_another():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 25, 10], [100, 0, 110, 10]], np.float32)
    assert overlaps(boxes).tolist() == [0.5, 0.25, 0]
