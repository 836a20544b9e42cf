"""People by what moves before a fixed camera: no weights, no network, no GPU."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ccafl.footage.detections import Detections
from ccafl.footage.extra import needs_video_extra
from ccafl.footage.frames import Frame

_HEIGHT = 288  # rows in which motion is looked for
_MOVES = 255  # what the library calls a pixel that is neither background nor shadow
_MEMORY = 600.0  # seconds of the background; who stands still for about a tenth of it belongs to it
_THRESHOLD = 2.5  # squared distance from the background, in its variances: low, since single pixels do not count
_VARIANCE, _LEAST_VARIANCE = 4.0, 1.0  # of a pixel, at first and at least
_SHADOW = 0.5  # brightness of a shadow, of the background's, at least
_RELIT = 0.02  # share of a frame by which the light is followed
_CLEAR, _CLEAREST = 2.0, 3.0  # difference from the background, in the frame's median difference, and in grey levels
_OUTLINED = 1.15  # edges at a part's outline, in those that the background has there
_LASTING = 0.6  # share of the time that what belongs to the background was there
_SPECK = 20  # pixels; less is noise
_MOST = 40  # parts that are looked at
_UPRIGHT = 0.18  # of the height of a part's highest column
_LEAST_HEIGHT, _LEAST_AREA = 0.06, 0.0008  # of the frame's
_SLIMMEST, _WIDEST = 0.15, 1.1  # width by height
_FILLED, _SOLID = 0.2, 0.4  # share of a box that moves: at least, and of persons from whom heights are learned
_ENOUGH, _REMEMBERED = 50, 500  # persons from whom heights are learned
_LOWEST, _JOINED, _TALLEST = 0.5, 1.25, 1.8  # of the height that a person has there: kept, joined of parts, and kept
_FLOODED = 0.5  # share of the frame that moves when the light or the camera changes
_MARGIN = (0.05, 0.02)  # of width and height: hands, feet and blurred edges differ too little from the background


class _Part(NamedTuple):
    """A part of what moves: its box in pixels, and how many of them move."""

    left: int
    top: int
    right: int
    bottom: int
    area: int

    @property
    def width(self) -> int:
        return self.right - self.left

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def share(self) -> float:
        """The share of the box that moves."""
        return self.area / (self.width * self.height)

    @property
    def filled(self) -> bool:
        """Whether enough of the box moves for one person, rather than two far from each other."""
        return self.share >= _FILLED

    def moved(self, right: int, down: int) -> "_Part":
        """The same elsewhere."""
        return _Part(self.left + right, self.top + down, self.right + right, self.bottom + down, self.area)

    def with_(self, other: "_Part") -> "_Part":
        """Both as one."""
        low = min(self.left, other.left), min(self.top, other.top)
        return _Part(*low, max(self.right, other.right), max(self.bottom, other.bottom), self.area + other.area)


class _Heights:
    """How high a person is who stands at a row of the frame, learned from those who walked there: a straight line."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        self._line: tuple[float, float] | None = None
        self._count = 0

    def see(self, parts: Iterable[_Part], width: int) -> None:
        """Learn from parts in a frame of this width that are slim, and whole as far as can be told."""
        for part in parts:
            slim = 0.2 <= part.width / part.height <= 0.6
            if part.left > 0 and part.right < width and slim and part.share >= _SOLID:
                self._seen.append((part.bottom, part.height))
                self._count += 1
                if self._count % _ENOUGH == 0:
                    self._fit()

    def at(self, row: int) -> float | None:
        """The height in pixels; None while too little is known."""
        if self._line is None:
            return None
        return max(1.0, self._line[0] * row + self._line[1])

    def _fit(self) -> None:
        rows, heights = np.array(self._seen, float).T
        kept = np.ones(len(rows), bool)
        for _ in range(3):
            spread = np.ptp(rows[kept]) > 20
            slope, base = np.polyfit(rows[kept], heights[kept], 1) if spread else (0.0, float(np.median(heights[kept])))
            off = np.abs(heights - slope * rows - base)
            kept = off <= np.median(off) * 1.5 + 1
        self._line = float(slope), float(base)


class MotionDetector:
    """Background subtraction (MOG2 of OpenCV), cut and joined to boxes of a person's shape, for a fixed camera.

    A `ccafl.footage.detections.Detector`.

    Args:
        rate: frames a second that it is called with.
    """

    def __init__(self, rate: float) -> None:
        with needs_video_extra():
            import cv2
        self._cv2: Any = cv2
        self._background = cv2.createBackgroundSubtractorMOG2(
            history=max(20, round(_MEMORY * rate)), varThreshold=_THRESHOLD, detectShadows=True
        )
        self._heights = _Heights()
        self._lit: NDArray[np.float32] | None = None
        self._background.setVarMin(_LEAST_VARIANCE)
        self._background.setVarInit(_VARIANCE)
        self._background.setShadowThreshold(_SHADOW)
        self._background.setBackgroundRatio(_LASTING)
        self._near = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 9))
        self._rim = np.ones((5, 5), np.uint8)

    def __call__(self, frame: Frame) -> Detections:
        """The boxes of what moves like persons; the score says how much like one person."""
        height, width = frame.image.shape[:2]
        scale = min(1.0, _HEIGHT / height)
        small = frame.image
        if scale < 1:
            small = self._cv2.resize(small, (round(width * scale), _HEIGHT), interpolation=self._cv2.INTER_AREA)
        moving = self._moving(small)
        if moving.mean() > 255 * _FLOODED:
            return Detections.of([])
        largest = sorted(self._parts(moving), key=lambda part: part.area, reverse=True)[:_MOST]
        joined = _joined(largest, self._heights)
        persons = [part for part in joined if _like_a_person(part, moving)]
        self._heights.see(persons, moving.shape[1])
        persons = [part for part in persons if _as_high(part, self._heights, most=_TALLEST, least=_LOWEST)]
        boxes = np.array([part[:4] for part in persons], np.float32).reshape(-1, 4)
        scores = [_likeness(part, self._heights.at(part.bottom)) for part in persons]
        margin = (boxes[:, 2:] - boxes[:, :2]) * np.array(_MARGIN, np.float32)
        boxes = np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], axis=1)
        frame_box = np.array([small.shape[1], small.shape[0]] * 2, np.float32)
        return Detections.of(np.clip(boxes, 0, frame_box) / np.float32(scale), scores)

    def _moving(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(h, w) uint8: 255 where something moves; shadows and specks left out, gaps closed.

        A pixel's own variance does not cover what compression does to a whole frame now and then: a difference must
        also be clear beside the frame's median one.
        """
        even = self._cv2.GaussianBlur(self._evenly_lit(image), (5, 5), 0)
        found = self._background.apply(even)
        background: Any = self._background.getBackgroundImage()
        apart = self._cv2.absdiff(even, background).max(axis=2)
        least = max(_CLEAREST, _CLEAR * float(np.median(apart[::2, ::2])))
        moving = np.where((found == _MOVES) & (apart >= least), np.uint8(255), np.uint8(0))
        mask: NDArray[np.uint8] = self._cv2.morphologyEx(
            self._cv2.medianBlur(moving, 5), self._cv2.MORPH_CLOSE, self._near
        )
        return self._outlined(mask, even, background)

    def _outlined(
        self, mask: NDArray[np.uint8], image: NDArray[np.uint8], background: NDArray[np.uint8]
    ) -> NDArray[np.uint8]:
        """The mask without parts whose outline the background shows as well as the image does.

        Somebody has edges that the background lacks. Where somebody left whom the background still holds, it is the
        other way round, and where compression changed a texture, both are alike.
        """
        count, parts = self._cv2.connectedComponents(mask, connectivity=8)
        inner, outer = self._cv2.erode(mask, self._rim), self._cv2.dilate(mask, self._rim)
        outline = (outer > 0) & (inner == 0)
        part = self._cv2.dilate(parts.astype(np.float32), self._rim)[outline].astype(np.int64)
        here, behind = (
            np.bincount(part, self._steepness(each)[outline], minlength=count) for each in (image, background)
        )
        shown = here >= _OUTLINED * behind
        shown[0] = True
        mask[~shown[parts]] = 0
        return mask

    def _steepness(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(h, w): the length of each pixel's gradient of brightness."""
        grey = self._cv2.cvtColor(image, self._cv2.COLOR_RGB2GRAY)
        across, down = (self._cv2.Sobel(grey, self._cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
        length: NDArray[np.float32] = self._cv2.magnitude(across, down)
        return length

    def _evenly_lit(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image with the light that the scene had at first: exposure and daylight change slowly."""
        grey = image[::4, ::4].mean(axis=2, dtype=np.float32) + 1
        if self._lit is None:
            self._lit = grey
        gain = 1 / float(np.median(grey / self._lit))
        self._lit += _RELIT * (grey * np.float32(gain) - self._lit)
        even: NDArray[np.uint8] = self._cv2.convertScaleAbs(image, alpha=gain)
        return even

    def _parts(self, moving: NDArray[np.uint8]) -> Iterator[_Part]:
        """The connected parts, those of several heads cut between them, without what lies low beside them."""
        _, numbers, parts, _ = self._cv2.connectedComponentsWithStats(moving, connectivity=8)
        for number, (left, top, width, height, area) in enumerate(parts[1:].tolist(), start=1):
            if area >= _SPECK:
                part = numbers[top : top + height, left : left + width] == number
                for inner in _cut(part):
                    pixels = part[inner.top : inner.bottom, inner.left : inner.right]
                    yield _upright(pixels).moved(left + inner.left, top + inner.top)


def _upright(part: NDArray[np.bool_]) -> _Part:
    """What of (h, w) pixels stands upright: the columns at the sides with little in them are a deep shadow's."""
    columns = part.sum(axis=0)
    high = np.flatnonzero(columns >= _UPRIGHT * columns.max())
    left, right = int(high[0]), int(high[-1]) + 1
    rows = np.flatnonzero(part[:, left:right].any(axis=1))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    return _Part(left, top, right, bottom, int(part[top:bottom, left:right].sum()))


def _cut(part: NDArray[np.bool_]) -> list[_Part]:
    """Cut (h, w) pixels that are too broad for one person at the lowest place of their outline between two heads."""
    height, width = part.shape
    whole = [_Part(0, 0, width, height, int(part.sum()))]
    edge = max(6, width // 5)
    if width < 0.55 * height or width <= 2 * edge:
        return whole
    outline = np.where(part.any(axis=0), height - part.argmax(axis=0), 0).astype(np.float32)
    smooth = np.convolve(outline, np.full(max(3, width // 10), 1 / max(3, width // 10)), mode="same")
    heads = np.minimum(np.maximum.accumulate(smooth), np.maximum.accumulate(smooth[::-1])[::-1])
    at = edge + int((heads - smooth)[edge : width - edge].argmax())
    if heads[at] - smooth[at] < 0.18 * height or heads[at] < 0.5 * height:
        return whole
    return [
        inner.moved(side, 0) for side, half in ((0, part[:, :at]), (at, part[:, at:])) for inner in _cut_within(half)
    ]


def _cut_within(part: NDArray[np.bool_]) -> list[_Part]:
    """As `_cut`, of pixels with empty edges."""
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    return [inner.moved(left, top) for inner in _cut(part[top : rows[-1] + 1, left : columns[-1] + 1])]


def _joined(parts: list[_Part], heights: _Heights) -> list[_Part]:
    """Join what lies one above the other, as of somebody dressed like the background; the nearest first."""
    while True:
        gaps = [
            (_distance(one, other), i, j)
            for (i, one), (j, other) in combinations(enumerate(parts), 2)
            if _belong_together(one, other, heights)
        ]
        if not gaps:
            return parts
        _, i, j = min(gaps)
        parts = [part for index, part in enumerate(parts) if index not in (i, j)] + [parts[i].with_(parts[j])]


def _distance(one: _Part, other: _Part) -> int:
    across = max(one.left, other.left) - min(one.right, other.right)
    down = max(one.top, other.top) - min(one.bottom, other.bottom)
    return max(across, 0) + max(down, 0)


def _belong_together(one: _Part, other: _Part, heights: _Heights) -> bool:
    """Whether two parts are one person's: together no larger than a person is there, and one of them much smaller."""
    both = one.with_(other)
    if not both.filled:
        return False
    height = heights.at(both.bottom)
    if height is not None:
        small = min(one.height, other.height) < 0.7 * height
        return small and both.height <= _JOINED * height and both.width <= _JOINED / 2 * height
    beside = one.width + other.width - both.width  # columns that both have
    gap = both.height - one.height - other.height
    return (
        beside >= 0.3 * min(one.width, other.width)
        and gap <= max(0.5 * max(one.height, other.height), 12)
        and 0.3 * both.height <= both.width <= 0.9 * both.height
    )


def _as_high(part: _Part, heights: _Heights, *, most: float, least: float = 0.0) -> bool:
    """Whether a part is as high as persons are there, as far as that is known."""
    height = heights.at(part.bottom)
    return height is None or least * height <= part.height <= most * height


def _likeness(part: _Part, height: float | None) -> float:
    """0..1: how near a part comes to the height that a person has there, and to a person's breadth."""
    too_broad = max(0.0, part.width / part.height - 0.6)
    off = 0.4 if height is None else abs(part.height / height - 1)
    return float(np.clip(1 - 1.5 * off - 2 * too_broad, 0, 1))


def _like_a_person(part: _Part, moving: NDArray[np.uint8]) -> bool:
    return (
        part.height >= _LEAST_HEIGHT * moving.shape[0]
        and part.area >= _LEAST_AREA * moving.size
        and _SLIMMEST <= part.width / part.height <= _WIDEST
        and part.filled
    )
