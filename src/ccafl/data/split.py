"""The split protocol for data without an official test set."""

import random
from collections.abc import Sequence

from ccafl.data.records import Record, Source
from ccafl.errors import InputError


def split(records: Sequence[Record], seed: int) -> Source:
    """Two thirds of the persons train; of the rest, the first image of each person and camera is a query.

    The persons are sorted and shuffled with ``random.Random(seed)``; the first two thirds train. The first image is the
    first by file name; the others are the gallery.

    Raises:
        InputError: a record's person is unknown, or there are fewer than three persons.
    """
    for record in records:
        if record.person is None:
            raise InputError(
                f"{record.path}: its true person is unknown, so no test set can be made; give a manifest with persons"
            )
    names = sorted({record.person for record in records if record.person is not None}, key=_natural)
    if len(names) < 3:
        raise InputError(f"{len(names)} persons are too few to split; give at least three")
    random.Random(seed).shuffle(names)
    trained = set(names[: len(names) * 2 // 3])
    train = [record for record in records if record.person in trained]
    query: list[Record] = []
    gallery: list[Record] = []
    seen = set()
    for record in sorted(records, key=lambda record: (record.path.name, record.path)):
        if record.person in trained:
            continue
        visit = (record.person, record.camera)
        (gallery if visit in seen else query).append(record)
        seen.add(visit)
    return Source("split", train, query, gallery)


def _natural(name: str) -> tuple[bool, int, str]:
    """A sort key: numbers by value, then the rest by spelling; different names have different keys."""
    return (False, int(name), name) if name.isdecimal() else (True, 0, name)
