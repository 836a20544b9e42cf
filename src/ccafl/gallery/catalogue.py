"""What a gallery can be browsed by: its pictures from the latest to the earliest, its cameras, and its persons."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ccafl.gallery.ledger import Tracklet
from ccafl.gallery.vectors import Row


@dataclass(frozen=True, slots=True)
class Person:
    """A person, or a label that is not joined with others.

    Attributes:
        identity: empty for a label that is not joined.
        labels: the latest first.
        pictures: their number.
        first: when the earliest was taken, in milliseconds since 1970; None if no time is known.
        last: when the latest was taken.
        keys: of the latest picture of each camera, the latest first.
    """

    identity: str
    labels: tuple[Tracklet, ...]
    pictures: int
    first: int | None
    last: int | None
    keys: tuple[str, ...]

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras that saw the person, the latest first."""
        return tuple(dict.fromkeys(camera for camera, _ in self.labels))


@dataclass(slots=True)
class LabelPictures:
    """The pictures of a camera's label.

    Attributes:
        keys: the latest first, those without a time last.
        first: when the earliest was taken, in milliseconds since 1970; None if no time is known.
        last: when the latest was taken.
    """

    keys: list[str]
    first: int | None
    last: int | None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A gallery's pictures in the order in which people look through them: the latest first, those without a time last.

    Attributes:
        keys: of all pictures.
        of_camera: of each camera's pictures.
        of_label: each label's pictures; the labels in the order of their latest.
    """

    keys: list[str]
    of_camera: dict[str, list[str]]
    of_label: dict[Tracklet, LabelPictures]

    @classmethod
    def of(cls, pages: Iterable[list[Row]]) -> "Catalogue":
        """From pages of rows."""
        rows = [row for page in pages for row in page]
        times = np.array([-1 << 60 if row["time"] is None else row["time"] for row in rows], np.int64)
        keys: list[str] = []
        of_camera: dict[str, list[str]] = defaultdict(list)
        of_label: dict[Tracklet, LabelPictures] = {}
        for place in np.argsort(-times, kind="stable").tolist():
            row = rows[place]
            key, time, label = row["key"], row["time"], (row["camera"], row["label"])
            keys.append(key)
            of_camera[label[0]].append(key)
            if own := of_label.get(label):
                own.keys.append(key)
                own.first = own.first if time is None else time
            elif label[1]:
                of_label[label] = LabelPictures([key], time, time)
        return cls(keys, dict(of_camera), of_label)

    def persons(self, identities: Mapping[Tracklet, str]) -> list[Person]:
        """All persons, and the labels that are not joined: those whom most cameras saw first, of these the latest."""
        labels: dict[str | Tracklet, list[Tracklet]] = defaultdict(list)
        for label in self.of_label:
            labels[identities.get(label) or label].append(label)
        found = [self._person(own if isinstance(own, str) else "", some) for own, some in labels.items()]
        return sorted(found, key=lambda person: (-len(person.cameras), person.last is None, -(person.last or 0)))

    def _person(self, identity: str, labels: list[Tracklet]) -> Person:
        own = [self.of_label[label] for label in labels]
        latest: dict[str, str] = {}
        for (camera, _), pictures in zip(labels, own, strict=True):
            latest.setdefault(camera, pictures.keys[0])
        return Person(
            identity,
            tuple(labels),
            sum(len(pictures.keys) for pictures in own),
            min((pictures.first for pictures in own if pictures.first is not None), default=None),
            own[0].last,
            tuple(latest.values()),
        )
