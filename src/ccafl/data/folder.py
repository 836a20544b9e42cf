"""Images that a user has labelled camera by camera: ``<root>/<camera>/<label>/<image>``.

``query/`` and ``gallery/`` in the root, if present, have the same shape; there, a label is the same person in every
camera (-1 is junk, 0 a distractor). Hidden files and symbolic links are left out.
"""

from collections.abc import Iterator
from pathlib import Path

from ccafl.data.listing import folders_in, images_below, images_in
from ccafl.data.official import names_part
from ccafl.data.records import Record, Source
from ccafl.errors import InputError

KIND = "folder"
QUERY, GALLERY = "query", "gallery"


def recognises(path: Path) -> bool:
    """Whether ``path`` holds a folder or an image; true of so much that this kind is tried last."""
    return path.is_dir() and bool(folders_in(path, links=False) or images_in(path, links=False))


def read(root: Path) -> Source:
    """Read all cameras; the true persons of the training images are unknown.

    Raises:
        InputError: an image lies above or below ``<camera>/<label>/``, or a camera is named like a part of a data set.
    """
    _refuse_images_in(root)
    cameras = [folder for folder in folders_in(root, links=False) if folder.name not in (QUERY, GALLERY)]
    for camera in cameras:
        if names_part(camera.name):
            raise InputError(
                f"{camera}: is named like a part of a data set, not like a camera; give the folder whose persons are "
                "to train, or rename this one"
            )
    return Source(
        KIND,
        train=[record for camera in cameras for record in _camera(camera, known=False)],
        query=_testing(root / QUERY),
        gallery=_testing(root / GALLERY),
    )


def _testing(root: Path) -> list[Record]:
    if not root.is_dir() or root.is_symlink():
        return []
    _refuse_images_in(root)
    return [record for camera in folders_in(root, links=False) for record in _camera(camera, known=True)]


def _camera(camera: Path, *, known: bool) -> Iterator[Record]:
    """The images of a camera; if ``known``, the labels are the persons."""
    _refuse_images_in(camera)
    for label in folders_in(camera, links=False):
        _refuse(image for inner in folders_in(label, links=False) for image in images_below(inner))
        name = label.name.strip()  # as in tables, where blanks around a name are not seen
        person = name if known else None
        yield from (Record(path, camera.name.strip(), name, person) for path in images_in(label, links=False))


def _refuse_images_in(folder: Path) -> None:
    _refuse(iter(images_in(folder, links=False)))


def _refuse(images: Iterator[Path]) -> None:
    for image in images:
        raise InputError(f"{image}: is not in <camera>/<label>/; move it into the folder of its camera and label")
