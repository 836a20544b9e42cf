"""The pictures and folders in a folder, in the order of their names, hidden ones left out."""

import os
from collections.abc import Iterator
from pathlib import Path

from ccafl.errors import InputError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".jp2", ".avif"}
    | {".heic", ".heif", ".hif", ".ppm", ".pgm"}
)


def images_in(folder: Path, *, links: bool = True) -> list[Path]:
    """The pictures directly in ``folder``; symbolic links among them unless ``links`` is false."""
    with os.scandir(folder) as entries:
        return sorted(Path(e.path) for e in entries if _is_image_name(e.name) and e.is_file(follow_symlinks=links))


def folders_in(folder: Path, *, links: bool = True) -> list[Path]:
    """The folders directly in ``folder``; symbolic links among them unless ``links`` is false."""
    with os.scandir(folder) as entries:
        return sorted(Path(e.path) for e in entries if not e.name.startswith(".") and e.is_dir(follow_symlinks=links))


def images_below(folder: Path) -> Iterator[Path]:
    """The pictures in ``folder``, then those in each folder below it; linked folders are not entered."""
    waiting = [folder]
    while waiting:  # no recursion: folders may be nested deeper than Python's stack
        current = waiting.pop()
        yield from images_in(current)
        waiting += reversed(folders_in(current, links=False))


def pictures_below(folder: Path) -> list[Path]:
    """What `images_below` gives, and at least one.

    Raises:
        InputError: there is no such folder, or no picture in it.
    """
    pictures = list(images_below(folder)) if folder.is_dir() else []
    if not pictures:
        raise InputError(f"{folder}: holds no pictures ({', '.join(sorted(IMAGE_SUFFIXES))}); give a folder that does")
    return pictures


def _is_image_name(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
