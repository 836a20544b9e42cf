"""Pictures into a gallery: found, read once, encoded in batches; a run that was cut off goes on where it was."""

import hashlib
import io
import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from PIL import Image

from ccafl.data.images import load_image
from ccafl.data.listing import IMAGE_SUFFIXES, pictures_below
from ccafl.errors import InputError
from ccafl.search.encoder import PictureEncoder
from ccafl.search.gallery import Gallery, source_of
from ccafl.search.records import Entry
from ccafl.search.vectors import milliseconds

BATCH = 128
_READERS = max(2, min(8, os.cpu_count() or 1))  # threads
_PIXELS = 1 << 26  # of pictures open at a time, beside those being opened
THUMBNAIL = (256, 256)  # pixels at most, width and height
_TAKEN, _OFFSET, _EXIF = 0x9003, 0x9011, 0x8769  # EXIF: DateTimeOriginal, OffsetTimeOriginal, the folder of both

_Name = TypeVar("_Name", bound=Hashable)
_What = TypeVar("_What", str, Image.Image)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to add: its file, and what its source says of it (empty or None where it says nothing)."""

    path: Path
    camera: str = ""
    label: str = ""
    time: datetime | None = None


@dataclass(slots=True)
class Added:
    """What became of the pictures.

    Attributes:
        added: written, or written anew because their camera, label or time had changed.
        known: there already, with all that their source says.
        again: the same content as another of the pictures.
        skipped: unreadable ones, with the reason.
    """

    added: int
    known: int
    again: int
    skipped: dict[Path, str]


def listed(path: Path, *, camera: str | None = None, kind: str | None = None) -> list[Picture]:
    """The pictures of ``path``: one picture, a folder, a manifest or a data set.

    Args:
        path: where they lie.
        camera: that took all of them; the data say it if not given.
        kind: of data source; recognised if not given.

    Raises:
        InputError: nothing there, or data that do not say the camera.
    """
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        return [Picture(path, camera or "")]
    if camera is not None:
        return [Picture(picture, camera) for picture in pictures_below(path)]
    from ccafl.data.records import DISTRACTOR, JUNK, tested_person
    from ccafl.data.source import read_source

    try:
        source = read_source(path, kind)
    except InputError as error:
        raise InputError(f"{error}; or name the camera of all pictures with --camera") from error
    nobody = {str(JUNK), str(DISTRACTOR)}
    tested = (
        replace(record, label="") if tested_person(record) in nobody else record
        for record in (*source.query, *source.gallery)
    )
    return [Picture(record.path, record.camera, record.label, record.time) for record in (*source.train, *tested)]


def add_pictures(
    gallery: Gallery,
    encoder: PictureEncoder,
    pictures: Sequence[Picture],
    *,
    skip_unreadable: bool = False,
    advance: Callable[[int], None] | None = None,
) -> Added:
    """Write the pictures that the gallery does not have; content decides, not the file's name.

    Every batch is written for good before the next is read, so that what was cut off at any moment can be repeated.

    Args:
        gallery: open, of the model of ``encoder``.
        encoder: makes the features.
        pictures: to add.
        skip_unreadable: leave pictures out that cannot be read.
        advance: told how many more pictures are done.

    Raises:
        InputError: another model, or an unreadable picture; those before it are in the gallery.
    """
    gallery.check_model(encoder)
    done = Added(0, 0, 0, {})
    seen: set[str] = set()
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(pictures), BATCH):
            some = pictures[start : start + BATCH]
            keyed = _read(pool, _key, {picture.path: picture for picture in some}, done, skip_unreadable)
            fresh: dict[str, Picture] = {}
            for picture in some:
                key = keyed.get(picture.path)
                if key in seen:
                    done.again += 1
                elif key is not None:
                    seen.add(key)
                    fresh[key] = picture
            there = {entry.key: entry for entry in gallery.get(list(fresh))}
            new = {key: told for key, p in fresh.items() if (told := _told(p, there.get(key))) is not None}
            done.known += len(fresh) - len(new)
            for images in _opened_together(pool, new, done, skip_unreadable):
                entries = [_entry(key, new[key], image) for key, image in images.items()]
                encoded = encoder.encode(list(images.values()), [entry.camera for entry in entries])
                gallery.put(entries, encoded, dict(zip(images, pool.map(thumbnail, images.values()), strict=True)))
                done.added += len(images)
            if advance is not None:
                advance(len(some))
    return done


def thumbnail(image: Image.Image) -> bytes:
    """JPEG of at most `THUMBNAIL` pixels."""
    small = image.copy()
    small.thumbnail(THUMBNAIL)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    return file.getvalue()


def _read(
    pool: Executor,
    read: Callable[[Picture], _What | InputError],
    pictures: Mapping[_Name, Picture],
    done: Added,
    skip: bool,
) -> dict[_Name, _What]:
    """What ``read`` makes of each picture; the unreadable ones are noted, or the first of them refused."""
    found: dict[_Name, _What] = {}
    for (name, picture), what in zip(pictures.items(), pool.map(read, pictures.values()), strict=True):
        if isinstance(what, InputError):
            if not skip:
                raise InputError(f"{what}, or skip such pictures with --skip-unreadable") from what
            done.skipped[picture.path] = str(what)
        else:
            found[name] = what
    return found


def _opened_together(
    pool: Executor, pictures: Mapping[str, Picture], done: Added, skip: bool
) -> Iterator[dict[str, Image.Image]]:
    """The pictures opened, by key, as many together as memory should hold."""
    images: dict[str, Image.Image] = {}
    keys = list(pictures)
    for start in range(0, len(keys), _READERS):
        images |= _read(pool, _opened, {key: pictures[key] for key in keys[start : start + _READERS]}, done, skip)
        if sum(image.width * image.height for image in images.values()) > _PIXELS:
            yield images
            images = {}
    if images:
        yield images


def _key(picture: Picture) -> str | InputError:
    try:
        with picture.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return InputError(f"{picture.path}: cannot be read ({error.strerror}); replace or remove it")


def _opened(picture: Picture) -> Image.Image | InputError:
    try:
        return load_image(picture.path)
    except InputError as error:
        return error


def _told(picture: Picture, there: Entry | None) -> Picture | None:
    """What is to be written of the picture; None if the gallery says it already. What it does not say stays."""
    if there is None:
        return picture
    camera, label = picture.camera or there.camera, picture.label or there.label
    same_time = picture.time is None or (there.time and milliseconds(picture.time) == milliseconds(there.time))
    if (camera, label) == (there.camera, there.label) and same_time:
        return None
    return replace(picture, camera=camera, label=label, time=picture.time or there.time)


def _entry(key: str, picture: Picture, image: Image.Image) -> Entry:
    return Entry(key, picture.camera, picture.time or _taken(image), source_of(picture.path), picture.label, "")


def _taken(image: Image.Image) -> datetime | None:
    """When the camera says that the picture was taken, in UTC if it does not name an offset."""
    try:
        exif = image.getexif().get_ifd(_EXIF)
        taken = datetime.strptime(f"{exif[_TAKEN]} {exif.get(_OFFSET) or '+00:00'}", "%Y:%m:%d %H:%M:%S %z")
        return taken.astimezone(UTC)
    except Exception:  # on damaged data Pillow raises anything from SyntaxError to struct.error
        return None
