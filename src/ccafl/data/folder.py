"""Images that a user has labelled camera by camera: ``<root>/<camera>/<label>/<image>``.

``query/`` and ``gallery/`` in the root, if present, have the same shape; there, a label is the same person in every
camera (-1 is junk, 0 a distractor). Hidden files and symbolic links are left out.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ccafl.data.listing import folders_in, images_below, images_in
from ccafl.data.official import names_part
from ccafl.data.records import Record, Source
from ccafl.errors import InputError
from ccafl.words import counted


class MisplacedError(InputError):
    """Images are not where a camera's and a label's folder would be; ``rest`` are the others."""

    def __init__(self, images: Sequence[Path], rest: Source) -> None:
        others = f", nor {counted(len(images) - 1, 'other')}" if len(images) > 1 else ""
        where = "it into the folder of its camera and label" if len(images) == 1 else "them into such folders"
        super().__init__(f"{images[0]}: is not in <camera>/<label>/{others}; move {where}")
        self.rest = rest


KIND = "folder"
QUERY, GALLERY = "query", "gallery"


def recognises(path: Path) -> bool:
    """Whether ``path`` holds a folder or an image; true of so much that this kind is tried last."""
    return path.is_dir() and bool(folders_in(path, links=False) or images_in(path, links=False))


def read(root: Path) -> Source:
    """Read all cameras; the true persons of the training images are unknown.

    Raises:
        MisplacedError: images lie above or below ``<camera>/<label>/``; it has the others.
        InputError: a camera is named like a part of a data set.
    """
    misplaced = list(images_in(root, links=False))
    cameras = [folder for folder in folders_in(root, links=False) if folder.name not in (QUERY, GALLERY)]
    for camera in cameras:
        if names_part(camera.name):
            raise InputError(
                f"{camera}: is named like a part of a data set, not like a camera; give the folder whose persons are "
                "to train, or rename this one"
            )
    source = Source(
        KIND,
        train=[record for camera in cameras for record in _camera(camera, misplaced, known=False)],
        query=_testing(root / QUERY, misplaced),
        gallery=_testing(root / GALLERY, misplaced),
    )
    if misplaced:
        raise MisplacedError(misplaced, source)
    return source


def _testing(root: Path, misplaced: list[Path]) -> list[Record]:
    if not root.is_dir() or root.is_symlink():
        return []
    misplaced += images_in(root, links=False)
    return [record for camera in folders_in(root, links=False) for record in _camera(camera, misplaced, known=True)]


def _camera(camera: Path, misplaced: list[Path], *, known: bool) -> Iterator[Record]:
    """The images of a camera; if ``known``, the labels are the persons. Those in other places are ``misplaced``."""
    misplaced += images_in(camera, links=False)
    for label in folders_in(camera, links=False):
        misplaced += (image for inner in folders_in(label, links=False) for image in images_below(inner))
        name = label.name.strip()  # as in tables, where blanks around a name are not seen
        person = name if known else None
        yield from (Record(path, camera.name.strip(), name, person) for path in images_in(label, links=False))
