"""The pictures of a track that are worth keeping: the best and most different, chosen as the frames pass.

A track holds at most a few candidates at any time, each as a compressed picture, however long it lasts.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccafl.footage.extra import needs_video_extra
from ccafl.footage.frames import Frame

CROPS = 8
"""Pictures kept of a track, at most."""

LEAST_HEIGHT = 32
"""Pixels; a smaller picture does not show who it is."""

_PAUSE = 0.2  # seconds between a track's candidates: nearer frames are near-copies
_SPARE = 3  # candidates held per picture kept
_EDGE = 2.0  # pixels from the frame's edge: a box so near is cut off
_CUT = 0.25  # what a picture of a part of a person is worth beside a whole one
_MOST_OVERLAP = 0.5  # of a box with another: beyond, it may show the other person
_NEAR_COPY = 0.05  # root mean square difference of two pictures, 0..1: below, one says no more than the other
_SHARP = 100.0  # variance of the Laplacian of a picture that is half as sharp as can be told
_LOOK = (16, 32)  # pixels in which pictures are compared, width and height
_WORTH = 0.5  # of the best picture's quality: the least that a picture is kept with
_QUALITY = 95  # of the JPEGs


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A picture of a track.

    Attributes:
        number, seconds, source, source_number: of its `ccafl.footage.frames.Frame`.
        box: left, top, right, bottom in pixels, within the frame.
        score: the detection's.
        quality: 0..1.
        look: the picture, small, for comparing; (h, w, 3) float32 in 0..1.
        jpeg: the picture.
    """

    number: int
    seconds: float
    source: str
    source_number: int
    box: tuple[int, int, int, int]
    score: float
    quality: float
    look: NDArray[np.float32]
    jpeg: bytes


@dataclass(slots=True)
class TrackCrops:
    """A track as it passes.

    Attributes:
        crops: how many pictures to keep of it at most.
        detections: how many there were.
        first, last: seconds of the first and the last of them.
        score: their sum.
        height: of the largest box, in pixels.
    """

    crops: int = CROPS
    detections: int = 0
    first: float = 0.0
    last: float = 0.0
    score: float = 0.0
    height: float = 0.0
    _due: float = -np.inf
    _held: list[Crop] = field(default_factory=list)

    def see(self, frame: Frame, box: NDArray[np.float32], score: float, overlap: float) -> None:
        """Take note of the track's detection in a frame, and hold its picture if it is worth it.

        Args:
            frame: with its image.
            box: (4,) left, top, right, bottom.
            score: 0..1.
            overlap: share of the box that lies within another person's.
        """
        if not self.detections:
            self.first = frame.seconds
        self.detections += 1
        self.last = frame.seconds
        self.score += score
        self.height = max(self.height, float(box[3] - box[1]))
        if frame.seconds < self._due or overlap > _MOST_OVERLAP:
            return
        crop = _crop(frame, box, score, overlap)
        if crop is not None:
            self._due = frame.seconds + _PAUSE
            self._hold(crop)

    def best(self) -> list[Crop]:
        """The pictures to keep, in the order of time: good ones that differ; none twice, not even nearly."""
        worth = max((crop.quality for crop in self._held), default=0.0) * _WORTH
        left = sorted((crop for crop in self._held if crop.quality >= worth), key=lambda crop: -crop.quality)
        chosen = left[:1]
        left = left[1:]
        while left and len(chosen) < self.crops:
            differences = np.array([[self._difference(crop, other) for other in chosen] for crop in left])
            nearest = differences.min(axis=1)
            values = nearest * np.array([crop.quality for crop in left])
            values[[any(_alike(crop, other) for other in chosen) for crop in left]] = -1
            best = int(values.argmax())
            if values[best] < 0:
                break
            chosen.append(left.pop(best))
        return sorted(chosen, key=lambda crop: crop.number)

    def _hold(self, crop: Crop) -> None:
        """Hold one more; if that is too many, leave out the worse of the two that are most alike."""
        self._held.append(crop)
        if len(self._held) <= _SPARE * self.crops:
            return
        looks = np.stack([held.look for held in self._held]).reshape(len(self._held), -1)
        squares = (looks**2).sum(axis=1)
        distances = np.sqrt(np.maximum(squares[:, None] + squares - 2 * looks @ looks.T, 0) / looks.shape[1])
        times = np.array([held.seconds for held in self._held])
        distances += _apart(np.abs(times[:, None] - times), self.last - self.first)
        np.fill_diagonal(distances, np.inf)
        pair = np.unravel_index(int(distances.argmin()), distances.shape)
        del self._held[min(pair, key=lambda index: (self._held[index].quality, -index))]

    def _difference(self, crop: Crop, other: Crop) -> float:
        return _look_distance(crop, other) + float(_apart(abs(crop.seconds - other.seconds), self.last - self.first))


def overlaps(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 4) boxes -> (n,) share of each that lies within another of them, at most."""
    if len(boxes) < 2:
        return np.zeros(len(boxes), np.float32)
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    np.fill_diagonal(shared, 0)
    areas = np.maximum((boxes[:, 2:] - boxes[:, :2]).prod(axis=1), 1e-6)
    share: NDArray[np.float32] = shared.max(axis=1) / areas
    return share


def _crop(frame: Frame, box: NDArray[np.float32], score: float, overlap: float) -> Crop | None:
    """The picture in the box; None if there is next to nothing in the frame."""
    with needs_video_extra():
        import cv2
    height, width = frame.image.shape[:2]
    left, top = (int(max(0, np.floor(side))) for side in box[:2])
    right, bottom = int(min(width, np.ceil(box[2]))), int(min(height, np.ceil(box[3])))
    if right - left < LEAST_HEIGHT // 4 or bottom - top < LEAST_HEIGHT // 2:
        return None
    picture = frame.image[top:bottom, left:right]
    grey = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (64, 128), interpolation=cv2.INTER_AREA)
    sharp = float(cv2.Laplacian(grey, cv2.CV_32F).var())
    whole = box[0] > _EDGE and box[1] > _EDGE and box[2] < width - _EDGE and box[3] < height - _EDGE
    size = min(1.0, (bottom - top) / 128)
    quality = (sharp / (sharp + _SHARP)) ** 0.5 * size * (1 - overlap) ** 2 * score * (1.0 if whole else _CUT)
    look = np.asarray(cv2.resize(picture, _LOOK, interpolation=cv2.INTER_AREA), np.float32) / np.float32(255)
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    place = (left, top, right, bottom)
    return Crop(
        frame.number, frame.seconds, str(frame.source), frame.source_number, place, score, quality, look, jpeg.tobytes()
    )


def _look_distance(crop: Crop, other: Crop) -> float:
    return float(np.sqrt(np.mean((crop.look - other.look) ** 2)))


def _alike(crop: Crop, other: Crop) -> bool:
    return _look_distance(crop, other) < _NEAR_COPY


def _apart(seconds: Any, span: float) -> Any:
    """What a distance in time counts beside a difference of looks: as much as two different poses, at most."""
    return 0.15 * np.minimum(seconds / max(span, 1e-6), 1)
