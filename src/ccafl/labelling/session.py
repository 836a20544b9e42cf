"""What to ask about the tracks of each camera, and the answers, which are written at once.

An answer is a must-link or a cannot-link in a table that training reads as ``data.links``. What follows from the
answers is not asked; after each, the tracks are joined anew with all of them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ccafl.data.identity_links import numbered
from ccafl.data.links import CANNOT_LINK, MUST_LINK, Link, read_links, write_links
from ccafl.data.numbering import LabelledImages
from ccafl.errors import InputError
from ccafl.method.association import centre_by_camera, together_by
from ccafl.method.tracks import JoinedTracks, join_tracks, tracks_of_two_persons

Answer = Literal["yes", "no", "skip"]


@dataclass(frozen=True, slots=True)
class Question:
    """Whether two labels of a camera are one person.

    Attributes:
        one, other: their numbers.
        probability: that they are, as estimated; None for a question that is asked again.
        worth: pairs of labels that an answer puts right, on average.
    """

    one: int
    other: int
    probability: float | None = None
    worth: float = 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a camera is.

    Attributes:
        answered: questions, in all sessions.
        left: questions worth asking.
        labels: of the camera.
        persons: that they are joined to, by the answers and by what is probable.
    """

    answered: int
    left: int
    labels: int
    persons: int


class LabellingSession:
    """Questions and answers about the tracks of some cameras; not thread-safe.

    Args:
        images: of tracks; each label's in the order of time.
        features: (n, D), L2-normalised.
        table: of the answers. It is read if it is there, and other lines in it are kept.

    Raises:
        InputError: the labels are no tracks, or the table cannot be used.
    """

    def __init__(self, images: LabelledImages, features: Tensor, table: Path) -> None:
        if images.tracks is None:
            raise InputError(
                "the labels are no tracks: there are no columns begin and end; give a folder made by ccafl ingest"
            )
        self.images, self.table = images, table
        self._tracks = images.tracks
        self._features = centre_by_camera(features, images.cameras)
        self._number = {name: number for number, name in enumerate(images.names)}
        self._links = read_links(table) if table.is_file() else []
        self._skipped: list[tuple[int, int]] = []
        self._history: list[Link | tuple[int, int]] = [link for link in self._links if self._is_answer(link)]
        self._again: tuple[int, int] | None = None
        self._join()

    def question(self, camera: int) -> Question | None:
        """What to ask next about a camera; None if nothing is worth it."""
        if self._again is not None and self.images.identity_cameras[self._again[0]] == camera:
            return Question(*self._again)
        left = self._left(camera)
        if not len(left):
            return None
        set_aside = {self._persons(pair) for pair in self._skipped}
        skipped = torch.tensor([self._persons(pair) in set_aside for pair in self._joined.pairs[left].tolist()])
        worth = self._joined.worth[left].masked_fill(skipped, -1.0)
        best = left[worth.argmax()]
        one, other = self._joined.pairs[best].tolist()
        return Question(one, other, float(self._joined.probability[best]), float(self._joined.worth[best]))

    def answer(self, one: int, other: int, answer: Answer) -> None:
        """Take an answer, and write it.

        Raises:
            InputError: the labels are of two cameras, earlier answers decide the question, or the table cannot be
                written.
        """
        if self.images.identity_cameras[one] != self.images.identity_cameras[other] or one == other:
            raise InputError("these are not two tracks of one camera")
        if self._decided(one, other):
            raise InputError("earlier answers decide this already")
        if answer == "skip":
            self._skipped.append((one, other))
            self._history.append((one, other))
        else:
            names = self.images.names
            link = Link(MUST_LINK if answer == "yes" else CANNOT_LINK, names[one], names[other], "")
            self._write([*self._links, link])
            self._history.append(link)
            self._join()
        self._again = None

    def undo(self) -> int | None:
        """Take the last answer back, of an earlier session too, and ask again; returns its camera, None without any.

        Raises:
            InputError: the table cannot be written.
        """
        if not self._history:
            return None
        last = self._history[-1]
        if isinstance(last, Link):
            kept = self._links[::-1]
            kept.remove(last)
            self._write(kept[::-1])
            self._again = self._number[last.one], self._number[last.other]
            self._join()
        else:
            self._skipped.remove(last)
            self._again = last
        self._history.pop()
        return int(self.images.identity_cameras[self._again[0]])

    def progress(self, camera: int) -> Progress:
        """How far a camera is."""
        own = self.images.identity_cameras == camera
        name = self.images.camera_names[camera]
        answered = sum(self._is_answer(link) and link.one[0] == name for link in self._links)
        groups = self._joined.groups[own].unique()
        return Progress(answered, len(self._left(camera)), int(own.sum()), len(groups))

    @property
    def can_undo(self) -> bool:
        """Whether there is an answer to take back."""
        return bool(self._history)

    @property
    def groups(self) -> Tensor:
        """(N,) int64, the labels as they are joined now."""
        return self._joined.groups

    @property
    def doubtful(self) -> list[tuple[str, str]]:
        """Camera and label of the tracks that probably show two persons, one after the other."""
        found = tracks_of_two_persons(self._features, self.images.identities, self._tracks, self._joined.log_ratio)
        return [self.images.names[label] for label in found.tolist()]

    def _join(self) -> None:
        links = numbered([link for link in self._links if self._is_answer(link)], self.images.names)
        self._person = together_by(links.must, links.cannot, len(self.images.names))
        self._apart = {tuple(sorted(pair)) for pair in self._person[links.cannot].tolist()}
        self._joined: JoinedTracks = join_tracks(
            self._features,
            self.images.identities,
            self.images.identity_cameras,
            self._tracks,
            links.must,
            links.cannot,
        )

    def _left(self, camera: int) -> Tensor:
        """Which questions of a camera are worth asking."""
        return (self.images.identity_cameras[self._joined.pairs[:, 0]] == camera).nonzero().squeeze(1)

    def _persons(self, pair: tuple[int, int] | list[int]) -> tuple[int, ...]:
        return tuple(sorted(self._person[list(pair)].tolist()))

    def _decided(self, one: int, other: int) -> bool:
        persons = self._persons((one, other))
        return persons[0] == persons[1] or persons in self._apart

    def _is_answer(self, link: Link) -> bool:
        return link.one[0] == link.other[0] and link.one in self._number and link.other in self._number

    def _write(self, links: list[Link]) -> None:
        write_links(self.table, links)
        self._links = links
