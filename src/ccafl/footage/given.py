"""Detections and tracks from files: MOTChallenge's text, CVAT for video 1.1, COCO with tracks, and Label Studio."""

import csv
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from ccafl.errors import InputError
from ccafl.footage.coco import coco_rows
from ccafl.footage.detections import PERSON_NAMES, Detections, Row
from ccafl.footage.frames import Frame
from ccafl.footage.label_studio import label_studio_rows

_PERSONS = {-1, 1, 2, 7}  # MOTChallenge's classes: unsaid, pedestrian, person on a vehicle, static person
_CVAT = ("frame", "xtl", "ytl", "xbr", "ybr")  # attributes of a box
_TOO_LARGE = 1e9


class GivenDetections:
    """The detections of a file; a `ccafl.footage.detections.Detector`.

    Scores beyond 0..1, as some detectors have them, are scaled to that range.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        table = np.array(sorted(rows), np.float64).reshape(-1, 7)
        self._frames = table[:, 0].astype(np.int64)
        self._tracks = table[:, 1].astype(np.int64)
        self._boxes, scores = table[:, 2:6].astype(np.float32), table[:, 6].astype(np.float32)
        if len(scores) and (scores.min() < 0 or scores.max() > 1):
            scores = (scores - scores.min()) / max(float(np.ptp(scores)), 1e-6)
        self._scores = scores

    @property
    def last_frame(self) -> int:
        """The last frame that has a detection; 0 if none has."""
        return int(self._frames[-1]) if len(self._frames) else 0

    def __call__(self, frame: Frame) -> Detections:
        """The detections that the file has for the frame's number."""
        rows = self._rows(frame)
        return Detections(self._boxes[rows], self._scores[rows])

    def _rows(self, frame: Frame) -> slice:
        return slice(*np.searchsorted(self._frames, (frame.number, frame.number + 1)))


class GivenTracks(GivenDetections):
    """The tracks of a file: both a `ccafl.footage.detections.Detector` and a `ccafl.footage.tracking.Tracker`.

    If ``relative``, boxes are in shares of the frame's width and height.
    """

    def __init__(self, rows: Iterable[Row], *, relative: bool = False) -> None:
        super().__init__(rows)
        self._relative = relative
        self._last = dict(zip(self._tracks.tolist(), self._frames.tolist(), strict=True))

    def __call__(self, frame: Frame) -> Detections:
        """What the file has for the frame's number, with the tracks."""
        rows = self._rows(frame)
        height, width = frame.image.shape[:2]
        scale = np.array([width, height] * 2 if self._relative else [1] * 4, np.float32)
        return Detections(self._boxes[rows] * scale, self._scores[rows], self._tracks[rows])

    def update(self, frame: Frame, detections: Detections) -> NDArray[np.int64]:
        """The tracks of the detections."""
        return np.full(len(detections), -1) if detections.tracks is None else detections.tracks

    def over(self, track: int, last_seen: float, frame: Frame) -> bool:
        """Whether no later frame has the track."""
        return bool(frame.number >= self._last[track])


def read_detections(path: Path) -> GivenDetections:
    """Detections in MOTChallenge's form: frame, -1, left, top, width, height, score.

    Raises:
        InputError: the file cannot be read, or a line is not of that form.
    """
    return GivenDetections(_mot_rows(path, tracks=False))


def read_tracks(path: Path) -> GivenTracks:
    """Tracks of persons: MOTChallenge's ``gt.txt`` or results, CVAT for video 1.1 (``.xml``), COCO or Label
    Studio's (``.json``).

    Rows that MOTChallenge marks as to be ignored, and other classes than persons, are left out.

    Raises:
        InputError: the file cannot be read, is not of that form, or has one track twice in a frame.
    """
    suffix, relative = path.suffix.lower(), False
    if suffix == ".json":
        rows, relative = _json_rows(path)
    else:
        rows = _cvat_rows(path) if suffix == ".xml" else _mot_rows(path, tracks=True)
    seen: set[tuple[int, int]] = set()
    for frame, track, *_ in rows:
        if (frame, track) in seen:
            raise InputError(f"{path}: has track {track} twice in frame {frame}; correct it")
        seen.add((frame, track))
    return GivenTracks(rows, relative=relative)


def _mot_rows(path: Path, *, tracks: bool) -> list[Row]:
    rows = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for line, values in enumerate(csv.reader(file), start=1):
                if values:
                    rows += _mot_row(f"{path}, line {line}", values, tracks=tracks)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}); give a file in MOTChallenge's form") from error
    return rows


def _mot_row(where: str, values: list[str], *, tracks: bool) -> list[Row]:
    try:
        frame, track, left, top, width, height, *rest = _numbers(values[:8])
    except ValueError:
        frame = 0
    if frame < 1:
        raise InputError(f"{where}: is not frame (from 1), track, left, top, width, height, ...; correct it")
    if tracks and track < 0:
        raise InputError(f"{where}: has no track; give detections without tracks with --detections")
    score, kind = rest[0] if rest else 1.0, int(rest[1]) if len(rest) > 1 else -1
    if tracks and (score == 0 or kind not in _PERSONS):
        return []
    score = 1.0 if tracks or score == -1 else score
    return [(int(frame), int(track), left, top, left + width, top + height, score)]


def _numbers(texts: Iterable[str]) -> list[float]:
    """As numbers; ValueError for one that is no frame's, track's, side's or score's."""
    numbers = [float(text) for text in texts]
    if not all(abs(number) < _TOO_LARGE for number in numbers):  # NaN neither
        raise ValueError("a number is too large, or none")
    return numbers


def _cvat_rows(path: Path) -> list[Row]:
    try:
        found = [
            (element.get("label", ""), element.get("id", "-1"), box)
            for _, element in ElementTree.iterparse(path)
            if element.tag == "track"
            for box in element.iter("box")
        ]
        names = {label for label, *_ in found}
        persons = {name for name in names if name.lower() in PERSON_NAMES} or names
        return [
            _cvat_row(track, box.attrib)
            for label, track, box in found
            if label in persons and box.get("outside") != "1"
        ]
    except (OSError, ElementTree.ParseError, LookupError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as CVAT for video 1.1 ({error}); export it again") from error


def _cvat_row(track: str, box: Mapping[str, str]) -> Row:
    number, frame, left, top, right, bottom = _numbers((track, *map(box.__getitem__, _CVAT)))
    return int(frame) + 1, int(number), left, top, right, bottom, 1.0


def _json_rows(path: Path) -> tuple[list[Row], bool]:
    """The rows of COCO or Label Studio, and whether boxes are in shares of the frame."""
    try:
        content = json.loads(path.read_bytes())
        relative = isinstance(content, list)
        rows = label_studio_rows(content) if relative else coco_rows(content)
        if not (np.abs(np.array(rows, np.float64)) < _TOO_LARGE).all():  # NaN neither
            raise ValueError("a number is too large, or none")
        return rows, relative
    except (OSError, KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{path}: cannot be read as tracks of COCO or Label Studio ({error}); export it again"
        ) from error
