"""Joining detections into tracks."""

from pathlib import Path

import numpy as np

from ccafl.footage.detections import Detections
from ccafl.footage.frames import Frame
from ccafl.footage.tracking import LOST_SECONDS, OverlapTracker

RATE = 10.0


def frame(number: int, seconds: float) -> Frame:
    return Frame(number, seconds, np.zeros((1, 1, 3), np.uint8), Path(), number)


def box(left: float) -> list[float]:
    return [left, 50.0, left + 30, 130.0]


def test_two_who_walk_past_each_other_in_step_keep_their_tracks():
    tracker = OverlapTracker(RATE)
    tracks = np.array(
        [
            tracker.update(frame(number, number / RATE), Detections.of([box(4 * number), box(300 - 4 * number)]))
            for number in range(1, 75)
        ]
    )
    settled = tracks[4:]
    assert (settled == settled[0]).all()
    assert settled[0, 0] != settled[0, 1]


def test_how_long_somebody_is_lost_is_measured_in_seconds_not_in_frames():
    """A few frames far apart, as where the rate varies: the track goes on only if the time between is short."""
    tracker = OverlapTracker(RATE)
    for number in range(1, 10):
        (first,) = tracker.update(frame(number, number / RATE), Detections.of([box(100)]))
    (kept,) = tracker.update(frame(10, 0.9 + LOST_SECONDS / 2), Detections.of([box(100)]))
    assert kept == first
    for number in range(11, 20):
        (other,) = tracker.update(frame(number, 60 + number / RATE), Detections.of([box(100)]))
    assert other not in (first, -1)


def test_detections_that_have_tracks_keep_them():
    found = Detections.of([box(0), box(90)], tracks=[12, -1])
    assert OverlapTracker(RATE).update(frame(1, 0.0), found).tolist() == [12, -1]
