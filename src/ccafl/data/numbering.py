"""Records as numbers: cameras, labels, accumulated identities and persons, in tensors.

Training sees `LabelledImages` (image, camera, label within the camera) and never a person; testing sees
`EvaluationImages`; `persons_of` is the truth about a training set, for measuring only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import torch
from torch import Tensor

from ccafl.data.records import DISTRACTOR, JUNK, Record, camera_numbers, tested_person


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """What training sees of n images: N accumulated identities in C cameras (docs/method.md, 1)."""

    paths: tuple[Path, ...]
    cameras: Tensor  # (n,) int64 in 0..C-1
    labels: Tensor  # (n,) int64 in 0..N_c-1, within the image's camera
    identities: Tensor  # (n,) int64 in 0..N-1: offset of the camera + label
    camera_names: tuple[str, ...]  # C
    identity_cameras: Tensor  # (N,) int64, ascending
    identity_labels: tuple[str, ...]  # (N,) the user's own label within the camera
    times: Tensor | None = None  # (n,) float64, seconds since 1970 in UTC, NaN where unknown; None if all are
    tracks: Tensor | None = None  # (T, 3) float64, identity, begin and end of every track; None if no label is a track

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """Camera and label of every accumulated identity."""
        cameras = (self.camera_names[camera] for camera in self.identity_cameras.tolist())
        return tuple(zip(cameras, self.identity_labels, strict=True))


@dataclass(frozen=True, slots=True)
class EvaluationImages:
    """What testing sees of n images: persons (`JUNK`, `DISTRACTOR` or positive) and cameras, both (n,) int64."""

    paths: tuple[Path, ...]
    persons: Tensor
    cameras: Tensor
    camera_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)


def accumulate(records: Sequence[Record]) -> LabelledImages:
    """Number cameras, labels within each camera and accumulated identities: a = offset_c + y.

    Cameras and labels are numbered in the order of their names; images stay in the order given.
    """
    camera_names = tuple(sorted({record.camera for record in records}))
    pairs = sorted({(record.camera, record.label) for record in records})
    camera_index = {name: index for index, name in enumerate(camera_names)}
    identity_index = {pair: index for index, pair in enumerate(pairs)}
    cameras = torch.tensor([camera_index[record.camera] for record in records], dtype=torch.int64)
    identities = torch.tensor([identity_index[record.camera, record.label] for record in records], dtype=torch.int64)
    identity_cameras = torch.tensor([camera_index[camera] for camera, _ in pairs], dtype=torch.int64)
    offsets = torch.searchsorted(identity_cameras, torch.arange(len(camera_names)))
    return LabelledImages(
        paths=tuple(record.path for record in records),
        cameras=cameras,
        labels=identities - offsets[cameras],
        identities=identities,
        camera_names=camera_names,
        identity_cameras=identity_cameras,
        identity_labels=tuple(label for _, label in pairs),
        times=seconds_of([record.time for record in records]),
        tracks=_tracks_of(records, identity_index),
    )


def _tracks_of(records: Sequence[Record], identity_index: Mapping[tuple[str, str], int]) -> Tensor | None:
    return tracks_of({identity_index[record.camera, record.label]: record.track for record in records if record.track})


def tracks_of(spans: Mapping[int, tuple[datetime, datetime]]) -> Tensor | None:
    """Identity, begin and end of every track, (T, 3) float64, from begin and end by identity; None without tracks."""
    rows = [(identity, begin.timestamp(), end.timestamp()) for identity, (begin, end) in sorted(spans.items())]
    return torch.tensor(rows, dtype=torch.float64) if rows else None


def seconds_of(times: Sequence[datetime | None]) -> Tensor | None:
    """Seconds since 1970 in UTC, (n,) float64, NaN for None; None if no time is known."""
    if not any(times):
        return None
    return torch.tensor([time.timestamp() if time else math.nan for time in times], dtype=torch.float64)


def persons_of(records: Sequence[Record]) -> Tensor | None:
    """The true person of every accumulated identity of ``accumulate(records)``, (N,) int64; None if any is unknown.

    Only for evaluation, the association's quality figures and the supervised reference.
    """
    person = {(record.camera, record.label): record.person for record in records if record.person is not None}
    if any(record.person is None for record in records):
        return None
    index = {name: number for number, name in enumerate(sorted(set(person.values())))}
    return torch.tensor([index[person[pair]] for pair in sorted(person)], dtype=torch.int64)


def evaluation_images(query: Sequence[Record], gallery: Sequence[Record]) -> tuple[EvaluationImages, EvaluationImages]:
    """Number the persons and cameras of query and gallery together; persons "-1" and "0" stay junk and distractors."""
    both = [*query, *gallery]
    camera_names = tuple(sorted({record.camera for record in both}))
    camera_index = {name: index for index, name in enumerate(camera_names)}
    reserved = {str(JUNK): JUNK, str(DISTRACTOR): DISTRACTOR}
    names = sorted({tested_person(record) for record in both} - reserved.keys())
    person_index = reserved | {name: index for index, name in enumerate(names, start=1)}

    def numbered(records: Sequence[Record]) -> EvaluationImages:
        return EvaluationImages(
            paths=tuple(record.path for record in records),
            persons=torch.tensor([person_index[tested_person(record)] for record in records], dtype=torch.int64),
            cameras=torch.tensor([camera_index[record.camera] for record in records], dtype=torch.int64),
            camera_names=camera_names,
        )

    return numbered(query), numbered(gallery)


def known_cameras(images: LabelledImages | EvaluationImages, known: Sequence[str]) -> Tensor:
    """The cameras (n,) of ``images`` as `camera_numbers` gives them."""
    return torch.tensor(list(camera_numbers(images.camera_names, known)))[images.cameras]


def unmatched_queries(query: EvaluationImages, gallery: EvaluationImages) -> list[int]:
    """Indices of the queries whose person is in no gallery image from another camera."""
    cameras_of: dict[int, set[int]] = {}
    for person, camera in zip(gallery.persons.tolist(), gallery.cameras.tolist(), strict=True):
        if person not in (JUNK, DISTRACTOR):
            cameras_of.setdefault(person, set()).add(camera)
    visits = zip(query.persons.tolist(), query.cameras.tolist(), strict=True)
    return [index for index, (person, camera) in enumerate(visits) if not cameras_of.get(person, set()) - {camera}]
