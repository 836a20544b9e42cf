"""Joining the detections of successive frames into tracks, by the library norfair-enough."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ccafl.footage.detections import Detections
from ccafl.footage.extra import needs_video_extra
from ccafl.footage.frames import Frame

LOST_SECONDS = 2.0
"""A person who is not seen for longer begins a new track."""

_FARTHEST = 0.75  # 1 - IoU of a detection and where its track is expected, at most
_PROVEN = 2  # detections in a row, more than these, that a track begins with


class Tracker(Protocol):
    """Gives each detection its track; called with a camera's frames in order."""

    def update(self, frame: Frame, detections: Detections) -> NDArray[np.int64]:
        """The track of each of n detections, -1 for none."""

    def over(self, track: int, last_seen: float, frame: Frame) -> bool:
        """Whether a track last seen at that second cannot go on after ``frame``."""


class OverlapTracker:
    """A Kalman filter for each track, matched by overlap; a `Tracker`. It goes by places, not by looks.

    Tracks are numbered from 1.

    Args:
        rate: frames a second, on average. The frames' own times count: a gap passes as so many frames without anybody.
    """

    def __init__(self, rate: float) -> None:
        with needs_video_extra():
            import norfair
        self._rate = rate
        self._detection: Any = norfair.Detection
        self._patience = max(_PROVEN + 1, round(LOST_SECONDS * rate))
        self._tracker: Any = norfair.Tracker(
            "iou",
            _FARTHEST,
            hit_counter_max=self._patience,
            initialization_delay=_PROVEN,
            past_detections_length=0,
        )
        self._tracker.distance_function = norfair.VectorizedDistance(_differences)  # of centres and sizes, not corners
        self._last: float | None = None

    def update(self, frame: Frame, detections: Detections) -> NDArray[np.int64]:
        """As `Tracker.update`; detections that have tracks keep them."""
        if detections.tracks is not None:
            return detections.tracks
        missed = 0 if self._last is None else round((frame.seconds - self._last) * self._rate) - 1
        for _ in range(min(missed, self._patience + 1)):
            self._tracker.update()
        self._last = frame.seconds
        corners = detections.boxes.astype(np.float64)
        centres, sizes = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
        given = [
            self._detection(points, data=(frame.number, index))
            for index, points in enumerate(np.stack([centres, sizes], axis=1))
        ]
        tracks = np.full(len(given), -1, np.int64)
        for followed in self._tracker.update(given):
            number, index = followed.last_detection.data
            if number == frame.number:
                tracks[index] = followed.id
        return tracks

    def over(self, track: int, last_seen: float, frame: Frame) -> bool:
        """As `Tracker.over`."""
        return frame.seconds - last_seen > LOST_SECONDS + 0.5


def _differences(detections: NDArray[np.float64], tracks: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 - IoU of each detection (n, 4) with where each track (k, 4) is expected: (n, k)."""
    (low, high, areas), (lows, highs, others) = _corners(detections), _corners(tracks)
    shared = np.maximum(np.minimum(high[:, None], highs) - np.maximum(low[:, None], lows), 0).prod(axis=2)
    found: NDArray[np.float64] = 1 - shared / (areas[:, None] + others - shared)
    return found


def _corners(boxes: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(n, 4) centres and sizes -> the upper left and lower right corners (n, 2), and the areas (n,)."""
    centres, sizes = boxes[:, :2], np.maximum(boxes[:, 2:], 1)  # a filter may expect a size below nothing
    return centres - sizes / 2, centres + sizes / 2, sizes.prod(axis=1)
