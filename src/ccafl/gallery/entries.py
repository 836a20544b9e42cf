"""What a gallery holds and a search finds."""

from dataclasses import dataclass
from datetime import datetime

from ccafl.data.records import Origin


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
        origin: the footage that it was cut out of, if known.
        name: of the person, empty if nobody gave one.
    """

    key: str
    camera: str
    time: datetime | None
    source: str
    label: str
    identity: str
    origin: Origin | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """A picture found.

    Attributes:
        entry: the picture.
        score: the cosine, or 1 minus the distance after re-ranking.
        probability: of showing the person searched for; None where the model is not calibrated, and where the score is
            no cosine of pictures: with re-ranking, standardised cameras, or by text.
    """

    entry: Entry
    score: float
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Hits that belong together: of one person, track or camera.

    Attributes:
        identity: of the best hit, empty if unknown.
        score: of the best hit.
        hits: best first.
        pictures: how many pictures of the group the search looked at, those that are not among ``hits`` too.
        entries: all its pictures in the gallery, in the order of time; empty where nobody asked.
    """

    identity: str
    score: float
    hits: tuple[Hit, ...]
    pictures: int
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Attributes:
        hits: best first; of a grouped search group by group.
        more: whether more pictures, or groups, follow.
        groups: of a grouped search, best first.
        nobody: whether even the best picture of the gallery is unlikely to show the person; False if unknown.
    """

    hits: tuple[Hit, ...]
    more: bool
    groups: tuple[Group, ...] = ()
    nobody: bool = False
