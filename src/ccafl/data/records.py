"""Images with their camera, label and time, as every source gives them: by name, without torch.

`ccafl.data.numbering` turns the names into numbers, in tensors.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ccafl.errors import InputError

JUNK, DISTRACTOR = -1, 0
UNKNOWN_CAMERA = -1
"""The number of a camera that training did not see."""


def parse_time(text: str) -> datetime:
    """A time in ISO 8601. A date alone is its midnight; a time without an offset is in UTC.

    Raises:
        ValueError: it is not a time.
    """
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def parse_time_at(text: str, where: str) -> datetime:
    """As `parse_time`, of a text that stands at ``where``.

    Raises:
        InputError: it is not a time.
    """
    try:
        return parse_time(text)
    except ValueError as error:
        raise InputError(f"{where}: {text!r} is not a time; write it like 2026-05-01T14:03:00Z") from error


@dataclass(frozen=True, slots=True)
class Origin:
    """Where in a camera's footage an image was cut out.

    Attributes:
        footage: absolute path of the video, or of the folder of frames.
        frame: number of the frame in it, from 1.
        box: x, y, width, height in pixels of the upright frame.
    """

    footage: str
    frame: int
    box: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Record:
    """One image of a source.

    Attributes:
        path: its file.
        camera: the camera's name.
        label: the label within the camera.
        person: the true person, if known.
        time: when it was taken, with its offset from UTC, if known.
        track: from when to when the label was followed, if it is a track: a person may make several in a camera.
        origin: the footage it was cut out of, if known.
    """

    path: Path
    camera: str
    label: str
    person: str | None = None
    time: datetime | None = None
    track: tuple[datetime, datetime] | None = None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A data set as read: its kind (``market1501``, ``folder``, ...) and its three lists; the last two may be empty."""

    kind: str
    train: list[Record]
    query: list[Record]
    gallery: list[Record]

    @property
    def records(self) -> list[Record]:
        """All of them: the three lists one after another."""
        return [*self.train, *self.query, *self.gallery]


def camera_numbers(names: Iterable[str], known: Sequence[str]) -> Iterator[int]:
    """The index of each name in ``known``, a run's camera names; `UNKNOWN_CAMERA` for a name that is not in it."""
    numbers = {name: number for number, name in enumerate(known)}
    return (numbers.get(name, UNKNOWN_CAMERA) for name in names)


def tested_person(record: Record) -> str:
    """The person a query or gallery image counts for: its label if no person is given, since those are shared."""
    return record.label if record.person is None else record.person
