"""What a gallery holds and a search finds."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture in the gallery.

    Attributes:
        key: SHA-256 of the file's bytes, 64 hexadecimal digits: the same content is the same entry.
        camera: its name, empty if unknown.
        time: when it was taken, in UTC, if known.
        source: the path or name it came from.
        label: the person's label within its camera, empty if none.
        identity: the person's identity across cameras, empty if none.
    """

    key: str
    camera: str
    time: datetime | None
    source: str
    label: str
    identity: str


@dataclass(frozen=True, slots=True)
class Hit:
    """A picture found, and its score: the cosine, or 1 minus the distance after re-ranking."""

    entry: Entry
    score: float


@dataclass(frozen=True, slots=True)
class Found:
    """Pictures found, best first, and whether more follow."""

    hits: tuple[Hit, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Group:
    """The hits of one identity (empty if unknown), best first, and the best score."""

    identity: str
    score: float
    hits: tuple[Hit, ...]
