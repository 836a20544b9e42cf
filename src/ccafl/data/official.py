"""Data sets whose file names give person and camera (``0002_c1s1_000451_03.jpg``), in their official folders.

Copies of them have other folders, or sort the images by person. What a folder is for follows from its name (`part_of`);
where that is not clear, nothing is read.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from pathlib import Path

from ccafl.data.listing import folders_in, images_below
from ccafl.data.records import DISTRACTOR, JUNK, Record, Source
from ccafl.errors import InputError

NOT_TRAINED = (str(JUNK), str(DISTRACTOR))  # they are only for testing
LOOKED_AT = 20  # files whose names are looked at to recognise a data set


class Part(Enum):
    """What the images in a folder are for; OTHER are copies, hand-drawn boxes, or more pictures of the queries."""

    TRAIN = "train"
    QUERY = "query"
    GALLERY = "gallery"
    OTHER = "other"


_ALL_TRAIN = "train_all"  # holds the images of train and val once more
_SPLIT_BY_ALL = ("train", "val")
_NAMED = {
    **dict.fromkeys(
        ("bounding_box_train", "image_train", "bbox_train", "mask_train_v2", "train", "training", "trainval"),
        Part.TRAIN,
    ),
    **dict.fromkeys((_ALL_TRAIN, "val", "valid", "validation"), Part.TRAIN),
    **dict.fromkeys(("query", "image_query", "probe"), Part.QUERY),
    **dict.fromkeys(("bounding_box_test", "image_test", "bbox_test", "mask_test_v2", "gallery"), Part.GALLERY),
    **dict.fromkeys(("test", "testing"), Part.GALLERY),
    **dict.fromkeys(("gt_bbox", "gt_query", "multi-query", "multi_query"), Part.OTHER),
}
_ALSO_OF_OWN_FOLDERS = ("query", "gallery")  # `ccafl.data.folder` has them, too
_PREFIX = "bounding_box_"  # exporters write bounding_box_<any subset>


def part_of(name: str) -> Part | None:
    """What a folder of this name is for in a data set; None for any other name."""
    return _NAMED.get(name.lower())


def names_part(name: str) -> bool:
    """Whether a folder of this name is a part of a data set, and no camera."""
    return part_of(name) is not None or name.lower().startswith(_PREFIX)


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
        written, camera = match.groups()
        identity = JUNK if written.endswith(str(JUNK)) else int(written)
        person = JUNK if identity == JUNK else identity - self.first_id + 1
        return Record(path, f"c{int(camera)}", f"{identity:04d}" if identity >= 0 else str(JUNK), str(person))


def recognises(root: Path, naming: Naming) -> bool:
    """Whether one of the first images that `read` would find has such a name, junk apart."""
    if not root.is_dir():
        return False
    home = home_of(root, _has_parts)
    if home is not None:
        images = [image for folder in _folders_for_images(home) for image in islice(images_below(folder), LOOKED_AT)]
    elif any(folder.name in _ALSO_OF_OWN_FOLDERS for folder in folders_in(root)):
        return False
    else:
        images = list(islice(images_below(root), LOOKED_AT))
    found = map(naming.record, images)
    return any(record is not None and record.person != str(JUNK) for record in found)


def read(root: Path, naming: Naming) -> Source:
    """Read the folders for training and testing in ``root`` or in a folder in it; without any, all files below with
    such names train.

    Distractors and junk are never trained on, nor is ``root`` if it is itself a folder for testing.

    Raises:
        InputError: an image in a folder for training or testing has no camera in its name, it is not clear what a
            folder is for, or the files below ``root`` include a folder for testing or the same file name twice.
    """
    home = home_of(root, _has_parts)
    if home is not None:
        return _read_parts(home, naming)
    own = part_of(root.resolve().name)
    if own in (Part.QUERY, Part.GALLERY):
        tested = list(_found_below(root, naming))
        return Source(naming.kind, [], *((tested, []) if own is Part.QUERY else ([], tested)))
    return Source(naming.kind, _trained(_found_below(root, naming)), [], [])


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


def _has_parts(folder: Path) -> bool:
    return any(names_part(inner.name) and inner.name not in _ALSO_OF_OWN_FOLDERS for inner in folders_in(folder))


def _folders_for_images(home: Path) -> list[Path]:
    """The folders that are read, and those of which it is not clear."""
    return [folder for folder in folders_in(home) if part_of(folder.name) is not Part.OTHER]


def _read_parts(home: Path, naming: Naming) -> Source:
    images: dict[Part, list[Record]] = {part: [] for part in Part}
    folders = _folders_for_images(home)
    whole = any(folder.name.lower() == _ALL_TRAIN for folder in folders)
    for folder in folders:
        part = part_of(folder.name)
        if part is None:
            _refuse_unclear(folder, naming)
        elif not (whole and folder.name.lower() in _SPLIT_BY_ALL):
            images[part] += _images_of_part(folder, naming)
    return Source(naming.kind, _trained(images[Part.TRAIN]), images[Part.QUERY], images[Part.GALLERY])


def _refuse_unclear(folder: Path, naming: Naming) -> None:
    if names_part(folder.name) or any(map(naming.record, islice(images_below(folder), LOOKED_AT))):
        raise InputError(
            f"{folder}: not clear whether its images are for training; rename it bounding_box_train if they are, "
            "bounding_box_test if not, or move it away"
        )


def _images_of_part(folder: Path, naming: Naming) -> Iterator[Record]:
    for path in images_below(folder):
        record = naming.record(path)
        if record is None:
            raise InputError(
                f"{path}: no camera in its name (a {naming.kind} name is like {naming.example}); rename or remove it"
            )
        yield record


def _found_below(root: Path, naming: Naming) -> Iterator[Record]:
    seen: dict[str, Path] = {}
    for path in images_below(root):
        record = naming.record(path)
        if record is None:
            continue
        for name in path.relative_to(root).parts[:-1]:
            if names_part(name) and part_of(name) is not Part.TRAIN:
                raise InputError(f"{path}: is below a folder for testing ({name}); give the folder that holds {name}")
        if path.name in seen:
            raise InputError(f"{path}: has the same name as {seen[path.name]}; remove one of them")
        seen[path.name] = path
        yield record


def _trained(records: Iterable[Record]) -> list[Record]:
    return [record for record in records if record.person not in NOT_TRAINED]
