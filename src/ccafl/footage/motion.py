"""People by what moves before a fixed camera: no weights, no network, no GPU."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ccafl.footage.detections import Detections
from ccafl.footage.extra import needs_video_extra
from ccafl.footage.frames import Frame

_HEIGHT = 288  # rows in which motion is looked for
_MEMORY = 60.0  # seconds after which what stands still belongs to the background
_LEAST_HEIGHT, _LEAST_AREA = 0.06, 0.0008  # of the frame's
_SLIMMEST, _WIDEST = 0.15, 1.0  # width by height
_FLOODED = 0.5  # share of the frame that moves when the light or the camera changes


class MotionDetector:
    """Background subtraction (MOG2 of OpenCV), joined to boxes of a person's shape; a `Detector` for a fixed camera.

    Args:
        rate: frames a second that it is called with.
    """

    def __init__(self, rate: float) -> None:
        with needs_video_extra():
            import cv2
        self._cv2: Any = cv2
        self._background = cv2.createBackgroundSubtractorMOG2(
            history=max(20, round(_MEMORY * rate)), varThreshold=25, detectShadows=True
        )
        self._open = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
        self._close = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 11))

    def __call__(self, frame: Frame) -> Detections:
        """The boxes of what moves, as whole as they can be had; the score says how much they look like one person."""
        height, width = frame.image.shape[:2]
        scale = min(1.0, _HEIGHT / height)
        small = frame.image
        if scale < 1:
            small = self._cv2.resize(small, (round(width * scale), _HEIGHT), interpolation=self._cv2.INTER_AREA)
        moving = self._moving(small)
        if moving.mean() > 255 * _FLOODED:
            return Detections.of([])
        count, _, parts, _ = self._cv2.connectedComponentsWithStats(moving, connectivity=8)
        left, top, wide, high, area = parts[1:count].astype(np.float32).T
        shape, rows = wide / np.maximum(high, 1), small.shape[0]
        real = (
            (high >= _LEAST_HEIGHT * rows)
            & (area >= _LEAST_AREA * moving.size)
            & (shape >= _SLIMMEST)
            & (shape <= _WIDEST)
        )
        boxes = np.stack([left, top, left + wide, top + high], axis=1)[real] / scale
        filled = (area / np.maximum(wide * high, 1))[real]
        return Detections(boxes.astype(np.float32), np.clip(0.4 + 0.6 * filled, 0, 1).astype(np.float32))

    def _moving(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(h, w) uint8: 255 where something moves; shadows left out, specks removed, gaps closed."""
        found = self._background.apply(self._cv2.GaussianBlur(image, (3, 3), 0))
        _, moving = self._cv2.threshold(found, 200, 255, self._cv2.THRESH_BINARY)
        moving = self._cv2.morphologyEx(moving, self._cv2.MORPH_OPEN, self._open)
        mask: NDArray[np.uint8] = self._cv2.morphologyEx(moving, self._cv2.MORPH_CLOSE, self._close)
        return mask
