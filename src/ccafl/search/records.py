"""What a gallery holds and a search finds."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Entry:
    """A picture of the gallery.

    Attributes:
        key: SHA-256 of the file's bytes, 64 hexadecimal digits: the same content is the same entry.
        camera: its name, empty if unknown.
        time: when it was taken, in UTC, if known.
        source: the path or name it came from.
        label: the person's label within its camera, empty if none.
        identity: the identity joined across cameras, empty if none.
    """

    key: str
    camera: str
    time: datetime | None
    source: str
    label: str
    identity: str


@dataclass(frozen=True, slots=True)
class Filters:
    """Which pictures a search is about.

    Attributes:
        cameras: only these; all if empty.
        exclude_cameras: not these.
        since: taken then or later; pictures without a time are left out.
        until: taken before then; likewise.
    """

    cameras: tuple[str, ...] = ()
    exclude_cameras: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A picture found, and how well it fits: its cosine, or 1 minus the distance after re-ranking."""

    entry: Entry
    score: float


@dataclass(frozen=True, slots=True)
class Found:
    """Pictures found, the best first, and whether there are more after them."""

    hits: tuple[Hit, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Group:
    """What was found of one identity (empty: of nobody known), its best score, and its hits, the best first."""

    identity: str
    score: float
    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Features of n pictures.

    Attributes:
        features: (n, D) float32, L2-normalised: for pictures of the same person.
        image_text: (n, E) float32, L2-normalised, comparable with a sentence's; None without a text tower.
    """

    features: NDArray[np.float32]
    image_text: NDArray[np.float32] | None
