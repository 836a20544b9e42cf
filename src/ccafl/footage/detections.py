"""What a detector gives for a frame, and what it is called with."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ccafl.footage.frames import Frame

PERSON = 0
"""The class of persons in detections of models of COCO with 80 classes."""

PERSON_NAMES = frozenset({"person", "people", "pedestrian", "human"})
"""What annotators call persons, in lower case."""
Row = tuple[int, int, float, float, float, float, float]
"""Frame from 1, track, left, top, right, bottom in pixels, score."""


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The persons found in a frame.

    Attributes:
        boxes: (n, 4) float32: left, top, right, bottom in pixels; may reach beyond the frame.
        scores: (n,) float32 in 0..1.
        tracks: (n,) int64, the track of each, -1 for none; None if they are still to be tracked.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    tracks: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, boxes: Any, scores: Any = None, tracks: Any = None) -> "Detections":
        """From anything that NumPy can read; scores are 1 if not given."""
        corners = np.asarray(boxes, np.float32).reshape(-1, 4)
        each = np.ones(len(corners), np.float32) if scores is None else np.asarray(scores, np.float32)
        return cls(corners, each, None if tracks is None else np.asarray(tracks, np.int64))

    def __len__(self) -> int:
        return len(self.boxes)

    def where(self, chosen: NDArray[np.bool_]) -> "Detections":
        """Those that ``chosen`` (n,) marks."""
        tracks = None if self.tracks is None else self.tracks[chosen]
        return Detections(self.boxes[chosen], self.scores[chosen], tracks)


class Detector(Protocol):
    """Finds the persons in a camera's frames, which it is given in order."""

    def __call__(self, frame: Frame, /) -> Detections:
        """The persons in ``frame``."""


def from_supervision(detections: Any, person: int | None = PERSON) -> Detections:
    """Detections of any model that speaks ``supervision.Detections``, and their tracks, if they have any.

    Args:
        detections: a ``supervision.Detections``.
        person: the class to keep; None keeps all. Detections without classes are all kept.
    """
    found = Detections.of(detections.xyxy, detections.confidence, detections.tracker_id)
    if person is None or detections.class_id is None:
        return found
    return found.where(np.asarray(detections.class_id) == person)
