"""Data sets whose file names give person and camera (``0002_c1s1_000451_03.jpg``), in their official folders."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ccafl.data.listing import folders_in, images_below, images_in
from ccafl.data.records import Record, Source
from ccafl.errors import InputError

TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"
TESTING = frozenset({QUERY, GALLERY, "gallery"})
NOT_TRAINED = ("-1", "0")  # junk and distractors are only for testing
LOOKED_AT = 20  # files whose names are looked at to recognise a data set


@dataclass(frozen=True, slots=True)
class Naming:
    """How a data set names its files.

    Attributes:
        kind: of the data set.
        example: a file name, for error messages.
        pattern: matches the beginning of a name; its groups are the official id and the camera's number.
        first_id: the lowest id of a person; distractors and junk lie below it.
    """

    kind: str
    example: str
    pattern: re.Pattern[str]
    first_id: int = 1

    def record(self, path: Path) -> Record | None:
        """The image's record, persons numbered from 1; None if its name is of another kind."""
        match = self.pattern.match(path.name)
        if match is None:
            return None
        label, camera = match.groups()
        return Record(path, f"c{int(camera)}", label, str(int(label) - self.first_id + 1))


def recognises(root: Path, naming: Naming) -> bool:
    """Whether one of the first images that `read` would find has such a name."""
    if not root.is_dir():
        return False
    home = home_of(root, _has_official_folders)
    if home is not None:
        folders = [home / name for name in (TRAIN, GALLERY) if (home / name).is_dir()]
        images = [image for folder in folders for image in images_in(folder)[:LOOKED_AT]]
    elif any((root / name).is_dir() for name in TESTING):
        return False
    else:
        images = list(islice(images_below(root), LOOKED_AT))
    return any(naming.pattern.match(image.name) for image in images)


def read(root: Path, naming: Naming) -> Source:
    """Read the official folders in ``root`` or in a folder in it; without any, all files below with such names train.

    Distractors and junk are never trained on.

    Raises:
        InputError: an image in an official folder has no camera in its name, or the files below ``root`` include a
            folder for testing or the same file name twice.
    """
    home = home_of(root, _has_official_folders)
    if home is None:
        return Source(naming.kind, _trained(_found_below(root, naming)), [], [])
    train, query, gallery = (_official(home / name, naming) for name in (TRAIN, QUERY, GALLERY))
    return Source(naming.kind, _trained(train), query, gallery)


def home_of(root: Path, holds: Callable[[Path], bool]) -> Path | None:
    """``root``, or the one folder directly in it, for which ``holds`` is true; None if there is none.

    Raises:
        InputError: it is true for several folders.
    """
    if holds(root):
        return root
    homes = [folder for folder in folders_in(root) if holds(folder)]
    if len(homes) > 1:
        names = ", ".join(home.name for home in homes)
        raise InputError(f"{root}: holds several data sets ({names}); give the path of one of them")
    return homes[0] if homes else None


def _has_official_folders(folder: Path) -> bool:
    return (folder / TRAIN).is_dir() or (folder / GALLERY).is_dir()


def _official(folder: Path, naming: Naming) -> list[Record]:
    records = []
    for path in images_in(folder) if folder.is_dir() else ():
        record = naming.record(path)
        if record is None:
            raise InputError(
                f"{path}: no camera in its name (a {naming.kind} name is like {naming.example}); rename or remove it"
            )
        records.append(record)
    return records


def _found_below(root: Path, naming: Naming) -> Iterator[Record]:
    seen: dict[str, Path] = {}
    for path in images_below(root):
        record = naming.record(path)
        if record is None:
            continue
        testing = TESTING.intersection(path.relative_to(root).parts[:-1])
        if testing:
            raise InputError(f"{path}: is below a folder for testing ({min(testing)}); give the folder that holds it")
        if path.name in seen:
            raise InputError(f"{path}: has the same name as {seen[path.name]}; remove one of them")
        seen[path.name] = path
        yield record


def _trained(records: Iterable[Record]) -> list[Record]:
    return [record for record in records if record.person not in NOT_TRAINED]
