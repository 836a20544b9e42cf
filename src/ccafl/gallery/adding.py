"""Add pictures to a gallery: each is read once and encoded in batches; an interrupted addition resumes."""

import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from PIL import Image

from ccafl.data.images import as_jpeg, load_image
from ccafl.data.listing import IMAGE_SUFFIXES, pictures_below
from ccafl.data.records import Origin, Record
from ccafl.encoders.encoder import Encoded, PictureEncoder
from ccafl.errors import InputError
from ccafl.files import digest_of
from ccafl.gallery.entries import Entry
from ccafl.gallery.gallery import Gallery, source_of
from ccafl.gallery.values import milliseconds
from ccafl.terminal import note

BATCH = 128
_READERS = max(2, min(8, os.cpu_count() or 1))  # threads
_PIXELS = 1 << 26  # in all open pictures, besides those being opened
THUMBNAIL = (256, 256)  # pixels at most, width and height
_TAKEN, _OFFSET, _EXIF = (
    0x9003,
    0x9011,
    0x8769,
)  # EXIF: DateTimeOriginal, OffsetTimeOriginal, the directory of both

K = TypeVar("K", bound=Hashable)
T = TypeVar("T", str, Image.Image)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture to add: its file, and what its source says about it (empty or None if unknown)."""

    path: Path
    camera: str = ""
    label: str = ""
    time: datetime | None = None
    origin: Origin | None = None


@dataclass(slots=True)
class Added:
    """What happened to the pictures.

    Attributes:
        added: written, or rewritten because their camera, label, time or place changed.
        known: already in the gallery, unchanged.
        duplicates: with the same content as another of the pictures.
        skipped: unreadable, with the reason.
    """

    added: int
    known: int
    duplicates: int
    skipped: dict[Path, str]


def listed(path: Path, *, camera: str | None = None, kind: str | None = None, outside: bool = False) -> list[Picture]:
    """The pictures of ``path``: one picture, a folder, a manifest or a data set.

    Args:
        path: where they are.
        camera: the one that took all of them; by default as the data say.
        kind: of data source; recognised by default.
        outside: let a manifest name pictures and footage outside of its folder.

    Raises:
        InputError: there are no pictures, or the data do not say the camera.
    """
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        return [Picture(path, camera or "")]
    if camera is not None:
        return [Picture(picture, camera) for picture in pictures_below(path)]
    from ccafl.data.records import DISTRACTOR, JUNK, tested_person
    from ccafl.data.source import read_source

    try:
        source = read_source(path, kind, outside=outside)
    except InputError as error:
        raise InputError(f"{error}; or give the camera of all pictures with --camera") from error
    nobody = {str(JUNK), str(DISTRACTOR)}
    tested = (
        replace(record, label="") if tested_person(record) in nobody else record
        for record in (*source.query, *source.gallery)
    )
    records = [*source.train, *tested]
    if not outside and source.kind == "manifest":
        records = _with_own_footage(path, records)
    return [Picture(one.path, one.camera, one.label, one.time, _at_its_place(one.origin)) for one in records]


def _at_its_place(origin: Origin | None) -> Origin | None:
    """The origin with links followed: a link that is put there later leads to no other file."""
    return origin and replace(origin, footage=source_of(Path(os.path.realpath(origin.footage))))


def _with_own_footage(path: Path, records: list[Record]) -> list[Record]:
    """The records, without footage outside of the manifest's folder unless ``ccafl ingest`` wrote the manifest here.

    A manifest from somewhere else could name any video of its reader, and the service would show it.
    """
    from ccafl.data.manifest import table_of
    from ccafl.data.trusted import trusted

    table = table_of(path)
    folder = os.path.realpath(table.parent)
    filmed = ((one.path, os.path.realpath(one.origin.footage)) for one in records if one.origin is not None)
    far = {picture for picture, footage in filmed if not Path(footage).is_relative_to(folder)}
    if not far or trusted(table):
        return records
    note(
        f"{table}: names footage outside of its folder and is not as ccafl ingest wrote it here, so frames and videos "
        "will not be shown; add --allow-outside if you trust it"
    )
    return [replace(one, origin=None) if one.path in far else one for one in records]


def add_pictures(
    gallery: Gallery,
    encoder: PictureEncoder,
    pictures: Sequence[Picture],
    *,
    skip_unreadable: bool = False,
    advance: Callable[[int], None] | None = None,
) -> Added:
    """Write the pictures that the gallery does not have, judged by content, not by file name.

    Every batch is committed before the next is read, so that the same call resumes after any interruption.

    Args:
        gallery: open, with features of the encoder's model.
        encoder: computes the features.
        pictures: to add.
        skip_unreadable: leave out pictures that cannot be read.
        advance: called with the number of pictures finished since the last call.

    Raises:
        InputError: another model, or an unreadable picture; the batches before it are in the gallery.
    """
    gallery.check_model(encoder)
    done = Added(0, 0, 0, {})
    seen: set[str] = set()
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(pictures), BATCH):
            batch = pictures[start : start + BATCH]
            keyed = _read(pool, _key, {picture.path: picture for picture in batch}, done, skip_unreadable)
            fresh: dict[str, Picture] = {}
            for picture in batch:
                key = keyed.get(picture.path)
                if key in seen:
                    done.duplicates += 1
                elif key is not None:
                    seen.add(key)
                    fresh[key] = picture
            existing = {entry.key: entry for entry in gallery.get(list(fresh))}
            updated = {key: _updated(picture, existing.get(key)) for key, picture in fresh.items()}
            new = {key: picture for key, picture in updated.items() if picture is not None}
            done.known += len(fresh) - len(new)
            for images in _opened_together(pool, new, done, skip_unreadable):
                entries = [_entry(key, new[key], image) for key, image in images.items()]
                encoded = encoder.encode(list(images.values()), [entry.camera for entry in entries])
                gallery.put(entries, encoded, dict(zip(images, pool.map(thumbnail, images.values()), strict=True)))
                done.added += len(images)
            if advance is not None:
                advance(len(batch))
    return done


def put_opened(
    gallery: Gallery, pictures: Mapping[str, Picture], images: Mapping[str, Image.Image], encoded: Encoded
) -> int:
    """Write opened pictures by key, with their features (in their order), as `add_pictures` would.

    Returns:
        how many were new.

    Raises:
        InputError: as `Gallery.put`.
    """
    existing = {entry.key: entry for entry in gallery.get(list(pictures))}
    updated = {key: _updated(picture, existing.get(key)) for key, picture in pictures.items()}
    chosen = [number for number, picture in enumerate(updated.values()) if picture is not None]
    entries = [
        replace(_entry(key, picture, images[key]), source=str(picture.path))
        for key, picture in updated.items()
        if picture is not None
    ]
    text = None if encoded.image_text is None else encoded.image_text[chosen]
    thumbnails = {entry.key: thumbnail(images[entry.key]) for entry in entries}
    gallery.put(entries, Encoded(encoded.features[chosen], text), thumbnails)
    return len(pictures) - len(existing)


def thumbnail(image: Image.Image) -> bytes:
    """A JPEG no larger than `THUMBNAIL`."""
    return as_jpeg(image, THUMBNAIL)


def _read(
    pool: Executor,
    read: Callable[[Picture], T | InputError],
    pictures: Mapping[K, Picture],
    done: Added,
    skip: bool,
) -> dict[K, T]:
    """What ``read`` gives for each picture; unreadable ones are recorded in ``done``, or the first is raised."""
    results: dict[K, T] = {}
    for (key, picture), result in zip(pictures.items(), pool.map(read, pictures.values()), strict=True):
        if isinstance(result, InputError):
            if not skip:
                raise InputError(f"{result}, or skip such pictures with --skip-unreadable") from result
            done.skipped[picture.path] = str(result)
        else:
            results[key] = result
    return results


def _opened_together(
    pool: Executor, pictures: Mapping[str, Picture], done: Added, skip: bool
) -> Iterator[dict[str, Image.Image]]:
    """The opened pictures by key, as many at a time as should be held in memory."""
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
        if picture.path.exists() and not picture.path.is_file():
            return InputError(f"{picture.path}: not a regular file; replace or remove it")
        return digest_of(picture.path)
    except OSError as error:
        return InputError(f"{picture.path}: cannot be read ({error.strerror}); replace or remove it")


def _opened(picture: Picture) -> Image.Image | InputError:
    try:
        return load_image(picture.path)
    except InputError as error:
        return error


def _updated(picture: Picture, existing: Entry | None) -> Picture | None:
    """The picture to write, with unknown properties from the existing entry; None if that is up to date."""
    if existing is None:
        return picture
    camera, label = picture.camera or existing.camera, picture.label or existing.label
    same_time = picture.time is None or (existing.time and milliseconds(picture.time) == milliseconds(existing.time))
    origin = picture.origin or existing.origin
    same = (camera, label, origin) == (existing.camera, existing.label, existing.origin)
    if same and same_time and not _moved(picture, existing):
        return None
    return replace(picture, camera=camera, label=label, time=picture.time or existing.time, origin=origin)


def _moved(picture: Picture, existing: Entry) -> bool:
    """Whether the picture is elsewhere now; a copy beside the file that the gallery knows is not."""
    return source_of(picture.path) != existing.source and not Path(existing.source).exists()


def _entry(key: str, picture: Picture, image: Image.Image) -> Entry:
    time = picture.time or _taken(image)
    return Entry(key, picture.camera, time, source_of(picture.path), picture.label, "", picture.origin)


def _taken(image: Image.Image) -> datetime | None:
    """The EXIF time of the picture; UTC if it has no offset."""
    try:
        exif = image.getexif().get_ifd(_EXIF)
        taken = datetime.strptime(f"{exif[_TAKEN]} {exif.get(_OFFSET) or '+00:00'}", "%Y:%m:%d %H:%M:%S %z")
        return taken.astimezone(UTC)
    except Exception:  # Pillow raises anything from SyntaxError to struct.error on damaged data
        return None
