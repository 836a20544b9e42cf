"""What a gallery can be browsed by: its pictures from the latest to the earliest, its cameras, and its persons."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A gallery's pictures in the order in which people look through them: the latest first, those without a time last.

    Attributes:
        keys: of all pictures.
        of_camera: of each camera's pictures.
        of_label: of each label's pictures.
        times: in milliseconds since 1970, by key; only of pictures that have one.
    """

    keys: list[str]
    of_camera: dict[str, list[str]]
    of_label: dict[Tracklet, list[str]]
    times: dict[str, int]

    @classmethod
    def of(cls, pages: Iterable[list[Row]]) -> "Catalogue":
        """From pages of rows."""
        rows = [(row["time"], row["source"], row["key"], row["camera"], row["label"]) for page in pages for row in page]
        rows.sort(key=lambda row: (row[0] is None, -(row[0] or 0), row[1]))
        of_camera, of_label = defaultdict[str, list[str]](list), defaultdict[Tracklet, list[str]](list)
        for _, _, key, camera, label in rows:
            of_camera[camera].append(key)
            if label:
                of_label[camera, label].append(key)
        times = {row[2]: row[0] for row in rows if row[0] is not None}
        return cls([row[2] for row in rows], dict(of_camera), dict(of_label), times)

    def persons(self, identities: Mapping[Tracklet, str]) -> list[Person]:
        """All persons, and the labels that are not joined: those whom most cameras saw first, of these the latest."""
        labels: dict[tuple[str, Tracklet | None], list[Tracklet]] = defaultdict(list)
        for label in self.of_label:  # the latest first
            identity = identities.get(label, "")
            labels[identity, None if identity else label].append(label)
        found = [self._person(identity, own) for (identity, _), own in labels.items()]
        return sorted(found, key=lambda person: (-len(person.cameras), person.last is None, -(person.last or 0)))

    def _person(self, identity: str, labels: list[Tracklet]) -> Person:
        latest = {camera: self.of_label[camera, label][0] for camera, label in reversed(labels)}
        times = [time for label in labels for key in self.of_label[label] if (time := self.times.get(key)) is not None]
        pictures = sum(len(self.of_label[label]) for label in labels)
        keys = tuple(latest[camera] for camera in dict.fromkeys(camera for camera, _ in labels))
        first, last = min(times, default=None), max(times, default=None)
        return Person(identity, tuple(labels), pictures, first, last, keys)
