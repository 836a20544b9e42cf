"""People by what moves before a fixed camera: no weights, no network, no GPU."""

from collections import deque
from collections.abc import Iterable
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
_CLEAR, _CLEAREST = 2.0, 3.0  # difference from the background, in the frame's median difference, and in grey levels
_STRONG, _STRONG_PIXELS = 2.5, 12  # of a clear difference; and pixels with it that a part has at least
_OUTLINED = 1.15  # edges at a part's outline, in those that the background has there
_LASTING = 0.6  # share of the time that what belongs to the background was there
_WITHIN = (9, 25)  # pixels across, and up and down, in which a dark pixel of a person has others of it
_SPECK = 20  # pixels; less is noise
_MOST = 40  # parts that are looked at
_UPRIGHT = 0.2  # of the height of a part's highest column
_LEAST_HEIGHT, _LEAST_AREA = 0.06, 0.0008  # of the frame's
_SLIMMEST, _WIDEST = 0.15, 1.1  # width by height
_FILLED, _SOLID = 0.2, 0.4  # share of a box that moves: at least, and of persons from whom heights are learned
_ENOUGH, _REMEMBERED = 50, 500  # persons from whom heights are learned
_LOWEST, _JOINED = 0.5, 1.25  # of the height that a person has there: kept, and joined of parts
_ONE = (0.52, 1.2)  # width and height of one person, of the height that a person has there, at most
_SIZES = (0.88, 1.0, 1.12)  # of persons in a group, of the height that a person has there
_BODY, _WHOLE = 0.3, 0.5  # width of a person's middle, and of all of a person, of the height
_EMPTY = 0.8  # what a pixel of the background costs where a person is supposed, beside what one that moves is worth
_WORTH = 0.3  # pixels that move less that cost, of the middle's: the least to suppose a person
_AS_GOOD = 0.95  # of the best place for a person: then the place farther to the left, beside which there is more room
_PERSONS = 12  # in a group, at most
_FAR = 0.35  # of a person's height: what is farther from the middle belongs to nobody
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

    def with_(self, other: "_Part") -> "_Part":
        """Both as one."""
        low = min(self.left, other.left), min(self.top, other.top)
        return _Part(*low, max(self.right, other.right), max(self.bottom, other.bottom), self.area + other.area)


class _Heights:
    """How high a person is who stands at a row of the frame, learned from those who walked there: a straight line."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        self._line: tuple[float, float] | None = None
        self._highest = 0.0
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

    @property
    def known(self) -> bool:
        """Whether enough persons were seen."""
        return self._line is not None

    def at(self, rows: Any) -> Any:
        """The height in pixels of who stands at a row, or at each of several, once it is known.

        Above the rows where nearly all stood, it is as in the highest of them: nobody stands in the sky.
        """
        assert self._line is not None
        return np.maximum(1.0, self._line[0] * np.maximum(rows, self._highest) + self._line[1])

    def _fit(self) -> None:
        rows, heights = np.array(self._seen, float).T
        kept = np.ones(len(rows), bool)
        for _ in range(3):
            spread = np.ptp(rows[kept]) > 20
            slope, base = np.polyfit(rows[kept], heights[kept], 1) if spread else (0.0, float(np.median(heights[kept])))
            off = np.abs(heights - slope * rows - base)
            kept = off <= np.median(off) * 1.5 + 1
        self._line = float(slope), float(base)
        self._highest = float(np.percentile(rows[kept], 1))


class MotionDetector:
    """Background subtraction (MOG2 of OpenCV), cut and joined to boxes of a person's shape, for a fixed camera.

    How high a person is at each row of the frame is learned from those who walk alone; then groups are parted into as
    many persons of that height as explain what moves.

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
        self._behind: Any = None  # the background, as the frame before left it
        self._background.setVarMin(_LEAST_VARIANCE)
        self._background.setVarInit(_VARIANCE)
        self._background.setShadowThreshold(_SHADOW)
        self._background.setBackgroundRatio(_LASTING)
        self._near = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 9))
        self._rim = np.ones((5, 5), np.uint8)
        across, down = _WITHIN
        self._below = np.concatenate([np.zeros((down, across), np.uint8), np.ones((down + 1, across), np.uint8)])

    def __call__(self, frame: Frame) -> Detections:
        """The boxes of what moves like persons; the score says how much like one person."""
        height, width = frame.image.shape[:2]
        scale = min(1.0, _HEIGHT / height)
        small = frame.image
        if scale < 1:
            small = self._cv2.resize(small, (round(width * scale), _HEIGHT), interpolation=self._cv2.INTER_AREA)
        moving = self._moving(small)
        if moving.mean() > _FLOODED:
            return Detections.of([])
        persons = self._persons(moving)
        boxes = np.array([part[:4] for part in persons], np.float32).reshape(-1, 4)
        scores = [_likeness(part, self._heights.at(part.bottom) if self._heights.known else None) for part in persons]
        margin = (boxes[:, 2:] - boxes[:, :2]) * np.array(_MARGIN, np.float32)
        boxes = np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], axis=1)
        frame_box = np.array([small.shape[1], small.shape[0]] * 2, np.float32)
        return Detections.of(np.clip(boxes, 0, frame_box) / np.float32(scale), scores)

    def _moving(self, image: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """(h, w): where something moves; shadows and specks left out, gaps closed.

        A pixel's own variance does not cover what compression does to a whole frame now and then: a difference must
        also be clear beside the frame's median one, and a part must have pixels where it is strong.
        """
        even = self._cv2.GaussianBlur(self._evenly_lit(image), (5, 5), 0)
        found = self._background.apply(even)
        background: Any = self._background.getBackgroundImage()
        self._behind = background
        red, green, blue = self._cv2.split(self._cv2.absdiff(even, background))
        apart = self._cv2.max(self._cv2.max(red, green), blue)
        clear = max(_CLEAREST, _CLEAR * float(np.median(apart[::2, ::2])))
        sure, dark = (
            self._cv2.medianBlur((kind & (apart >= clear)).view(np.uint8), 5) for kind in (found == _MOVES, found > 0)
        )
        mask = self._cv2.morphologyEx(sure | dark & self._between(sure), self._cv2.MORPH_CLOSE, self._near)
        count, parts = self._cv2.connectedComponents(mask, connectivity=8)
        shown = np.bincount(parts[apart >= _STRONG * clear], minlength=count) >= _STRONG_PIXELS
        shown &= self._outlined(mask, parts, count, even, background)
        shown[0] = False
        moving: NDArray[np.bool_] = shown[parts]
        return moving

    def _outlined(
        self,
        mask: NDArray[np.uint8],
        parts: NDArray[np.int32],
        count: int,
        image: NDArray[np.uint8],
        background: NDArray[np.uint8],
    ) -> NDArray[np.bool_]:
        """Which of the mask's parts have an outline that the background does not show as well as the image does.

        Somebody has edges that the background lacks. Where somebody left whom the background still holds, it is the
        other way round, and where compression changed a texture, both are alike. What the background holds of
        somebody for a part of the time is a cloud of single pixels, which the median leaves out.
        """
        inner, outer = self._cv2.erode(mask, self._rim), self._cv2.dilate(mask, self._rim)
        outline = (outer > 0) & (inner == 0)
        part = self._cv2.dilate(parts.astype(np.float32), self._rim)[outline].astype(np.int64)
        here, behind = (
            np.bincount(part, self._steepness(self._cv2.medianBlur(each, 5))[outline], minlength=count)
            for each in (image, background)
        )
        outlined: NDArray[np.bool_] = here >= _OUTLINED * behind
        return outlined

    def _steepness(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(h, w): the length of each pixel's gradient of brightness."""
        grey = self._cv2.cvtColor(image, self._cv2.COLOR_RGB2GRAY)
        across, down = (self._cv2.Sobel(grey, self._cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
        length: NDArray[np.float32] = self._cv2.magnitude(across, down)
        return length

    def _between(self, sure: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Where what surely moves is both above and below: someone in dark clothes, rather than a shadow."""
        between: NDArray[np.uint8] = self._cv2.dilate(sure, self._below) & self._cv2.dilate(sure, self._below[::-1])
        return between

    def _evenly_lit(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image as bright as the background: exposure and daylight change slowly."""
        gain = 1.0
        if self._behind is not None:
            here, behind = (part[::4, ::4].mean(axis=2, dtype=np.float32) + 1 for part in (image, self._behind))
            gain = float(np.median(behind / here))
        even: NDArray[np.uint8] = self._cv2.convertScaleAbs(image, alpha=gain)
        return even

    def _persons(self, moving: NDArray[np.bool_]) -> list[_Part]:
        """Who makes up what moves, as far as heights are known; those who walk alone teach them."""
        parts = self._cv2.connectedComponentsWithStats(moving.view(np.uint8), connectivity=8)[2][1:]
        large = sorted((part for part in parts.tolist() if part[4] >= _SPECK), key=lambda part: -part[4])[:_MOST]
        found = [_Part(left, top, left + width, top + height, area) for left, top, width, height, area in large]
        known = self._heights.known
        alone, persons = [], []
        for group in _joined(found, self._heights):
            one = _upright(moving, group)
            if known and not _no_larger_than_one(one, self._heights):
                persons += _parted(moving, group, self._heights)
            elif _like_a_person(one, moving):
                alone.append(one)
        persons += [one for one in alone if not known or one.height >= _LOWEST * self._heights.at(one.bottom)]
        self._heights.see(alone, moving.shape[1])
        return persons


def _upright(moving: NDArray[np.bool_], part: _Part) -> _Part:
    """What of a part stands upright: the columns at the sides with little in them are a deep shadow's."""
    rows, columns = np.nonzero(moving[part.top : part.bottom, part.left : part.right])
    return _box(columns + part.left, rows + part.top)


def _box(columns: NDArray[np.int64], rows: NDArray[np.int64]) -> _Part:
    """The box of pixels (n,), (n,), without the columns at the sides that have little in them."""
    heights = np.bincount(columns - columns.min())
    high = np.flatnonzero(heights >= _UPRIGHT * heights.max()) + columns.min()
    left, right = int(high[0]), int(high[-1]) + 1
    rows = rows[(columns >= left) & (columns < right)]
    return _Part(left, int(rows.min()), right, int(rows.max()) + 1, len(rows))


def _parted(moving: NDArray[np.bool_], group: _Part, heights: _Heights) -> list[_Part]:
    """The persons of a group: first the middles of as many as explain it, then to each the pixels next to it."""
    middles = _middles(moving, group, heights)
    rows, columns = np.nonzero(moving[group.top : group.bottom, group.left : group.right])
    rows, columns = rows + group.top, columns + group.left
    across = np.abs(columns[:, None] - (middles[:, 0] + middles[:, 2]) / 2)
    beyond = np.maximum(np.maximum(middles[:, 1] - rows[:, None], rows[:, None] - middles[:, 3]), 0)
    high = middles[:, 3] - middles[:, 1]
    distances = (across + 2 * beyond) / high
    nearest = np.where(distances.min(axis=1, initial=_FAR) < _FAR, distances.argmin(axis=1) if len(high) else -1, -1)
    persons = []
    for number, height in enumerate(high):
        own = nearest == number
        if own.sum() >= 0.1 * _WHOLE * height**2:
            person = _box(columns[own], rows[own])
            if person.height >= _LOWEST * height:
                persons.append(person)
    return persons


def _middles(moving: NDArray[np.bool_], group: _Part, heights: _Heights) -> NDArray[np.float64]:
    """(k, 4) boxes as high as persons are there that explain a group's pixels: the best one first, then the best for
    what is left, while one is worth more than it costs.
    """
    left, top = max(group.left - 8, 0), max(group.top - 8, 0)
    pixels = moving[top : group.bottom + 4, left : group.right + 8].astype(np.float32)
    rows, columns = np.arange(8, pixels.shape[0] + 1, 2), np.arange(0, pixels.shape[1], 2)
    high = np.multiply.outer(np.maximum(8, heights.at(rows + top)), _SIZES).ravel()[:, None]
    feet = np.repeat(rows, len(_SIZES))[:, None]
    sides = [columns + side * _BODY / 2 * high for side in (-1, 1)]
    low, right = (np.clip(np.rint(side), 0, pixels.shape[1]).astype(int) for side in sides)
    head = np.clip(np.rint(feet - high), 0, None).astype(int)

    def inside(values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The sum of values in each box, by summed areas."""
        sums = np.pad(values.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
        found: NDArray[np.float32] = sums[feet, right] - sums[head, right] - sums[feet, low] + sums[head, low]
        return found

    area = _BODY * high**2
    cost = _EMPTY * (area - inside(pixels))
    found: list[tuple[float, float, float, float]] = []
    while len(found) < _PERSONS:
        worth = (inside(pixels) - cost) / area
        row = int(worth.max(axis=1).argmax())
        if worth[row].max() < _WORTH:
            break
        column = int((worth[row] >= _AS_GOOD * worth[row].max()).argmax())
        height, foot, middle = float(high[row, 0]), int(feet[row, 0]), int(columns[column])
        half = _WHOLE / 2 * height
        pixels[head[row, 0] : foot, max(0, round(middle - half)) : round(middle + half) + 1] = 0
        found.append((left + middle - half, top + foot - height, left + middle + half, float(top + foot)))
    return np.array(found, np.float64).reshape(-1, 4)


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
    if heights.known:
        height = heights.at(both.bottom)
        small = min(one.height, other.height) < 0.7 * height
        return bool(small and both.height <= _JOINED * height and both.width <= _JOINED / 2 * height)
    beside = one.width + other.width - both.width  # columns that both have
    gap = both.height - one.height - other.height
    return (
        beside >= 0.3 * min(one.width, other.width)
        and gap <= max(0.5 * max(one.height, other.height), 12)
        and 0.3 * both.height <= both.width <= 0.9 * both.height
    )


def _no_larger_than_one(part: _Part, heights: _Heights) -> bool:
    """Whether a part is no larger than one person is there."""
    width, height = _ONE
    person = heights.at(part.bottom)
    return bool(part.width <= width * person and part.height <= height * person)


def _likeness(part: _Part, height: float | None) -> float:
    """0..1: how near a part comes to the height that a person has there, to a person's breadth, and to filling it."""
    breadth = part.width / part.height
    off = 0.4 if height is None else abs(part.height / height - 1)
    unlike = 1.5 * off + 2 * max(0.0, breadth - 0.6) + 2 * max(0.0, 0.3 - breadth) + max(0.0, 0.6 - part.share)
    return float(np.clip(1 - unlike, 0, 1))


def _like_a_person(part: _Part, moving: NDArray[np.bool_]) -> bool:
    return (
        part.height >= _LEAST_HEIGHT * moving.shape[0]
        and part.area >= _LEAST_AREA * moving.size
        and _SLIMMEST <= part.width / part.height <= _WIDEST
        and part.filled
    )
