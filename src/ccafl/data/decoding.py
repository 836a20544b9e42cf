"""What a picture may cost to decode: small files can be made that take hours or all memory; these are refused first.

Decoders are slow where a file has far more parts than pictures need: scans that repeat, segments, chunks and blocks of
a few bytes. So the parts are bounded, by the file's size, and with them the time.
"""

import io
import re
import struct
from collections import Counter
from collections.abc import Iterator
from typing import IO

from PIL import ImageFile

MOST_PASSES = 24  # over all pixels of the largest picture: a progressive CMYK JPEG as libjpeg writes it
MOST_SCANS = 500  # of a JPEG; libjpeg writes 10 to 18, and libjpeg-turbo advises 500 against hostile files
_MOST_SEGMENTS = 5_000  # of a JPEG; cameras write some dozens, an ICC profile up to 255
_MOST_TAGS = 1_000  # of a TIFF; others have some dozens
_MOST_STRIPS = 20_000  # of a TIFF, or tiles: Pillow decodes them one by one
_REPEATED = 16  # EXIF and Photoshop segments of a JPEG: Pillow joins the former by copying all of them each time
_TOO_MANY = "has far more parts than a picture needs"
_READS, _READS_PER_BYTE = 50_000, 1 / 256  # Pillow reads a few times for each part
_REREAD = 4  # times the file's size, besides a megabyte

_JPEG, _SCAN = b"\xff\xd8\xff", b"\xff\xda"
_START_OF_SCAN, _END_OF_IMAGE, _APP1, _PHOTOSHOP = 0xDA, 0xD9, 0xE1, 0xED
_TIFFS = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}  # and their byte order
_STRIPS, _TILES = 273, 324  # tags of a TIFF
# A byte 0xFF in the pixels' code is followed by 0; restart markers and 0x01 have no content.
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
# Passes of a JPEG that take as long as decoding, by format; for JPEG 2000 as long as a hostile one.
_SLOW = {"JPEG2000": 100, "AVIF": 20, "HEIF": 20, "WEBP": 20}
_RUN_LENGTH_CODED = 400  # BMP; decoded by Pillow in Python


class CostlyPictureError(Exception):
    """A picture that would take too long or too much memory; the message is the reason."""


class PictureFile:
    """A picture's bytes, for Pillow to open; read more often than pictures need, it raises `CostlyPictureError`.

    A JPEG is held in memory.

    Args:
        file: opened, seekable.

    Raises:
        CostlyPictureError: a JPEG or TIFF of too many parts.
    """

    def __init__(self, file: IO[bytes]) -> None:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        self._jpeg = b""
        head = file.read(16)
        if head.startswith(_JPEG):
            self._jpeg = head + file.read()
            _check_segments(self._jpeg)
            file = io.BytesIO(self._jpeg)
        elif head[:4] in _TIFFS:
            _check_directory(file, head)
        file.seek(0)
        self._file = file
        self._reads = _READS + int(size * _READS_PER_BYTE)
        self._bytes = (1 << 20) + _REREAD * size

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._reads -= 1
        self._bytes -= len(content)
        if self._reads < 0 or self._bytes < 0:
            raise CostlyPictureError(_TOO_MANY)
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def passes(self, picture: ImageFile.ImageFile, most_pixels: int) -> int:
        """How often decoding goes over the opened picture's pixels, roughly.

        Raises:
            CostlyPictureError: more often than `MOST_PASSES` allows for a picture of ``most_pixels``.
        """
        most = MOST_PASSES * most_pixels // (picture.width * picture.height)
        if self._jpeg:
            passes = _passes_of_jpeg(self._jpeg, most)
        elif picture.format == "TIFF" and picture.info.get("compression") == "jpeg":
            passes = self._passes_of_tiff(picture)
        elif picture.tile and picture.tile[0][0] == "bmp_rle":
            passes = _RUN_LENGTH_CODED
        else:
            passes = _SLOW.get(picture.format or "", 1)
        if passes > most:
            raise CostlyPictureError("would take too long to decode: goes over its pixels too often")
        return passes

    def _passes_of_tiff(self, picture: ImageFile.ImageFile) -> int:
        """Of the part with the most scans, at most; each strip or tile is a JPEG of its own."""
        tags = picture.getexif()
        parts = tags.get(_STRIPS) or tags.get(_TILES) or ()
        here = self._file.tell()
        self._file.seek(0)
        scans = self._file.read().count(_SCAN)
        self._file.seek(here)
        return max(1, scans - (len(parts) if isinstance(parts, tuple) else 1) + 1)


def _segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Each marker of a JPEG, and where its content starts (with two bytes of length), as libjpeg finds them."""
    at = len(_JPEG) - 1
    while found := _MARKER.search(content, at):
        marker, at = found[0][1], found.end()
        if marker == _END_OF_IMAGE:
            return
        yield marker, at
        at += max(2, int.from_bytes(content[at : at + 2]))


def _check_segments(content: bytes) -> None:
    """Refuse a JPEG with too many segments before its first scan."""
    seen: Counter[int] = Counter()
    for marker, at in _segments(content):
        if marker == _START_OF_SCAN:
            return
        if marker == _PHOTOSHOP or (marker == _APP1 and content.startswith(b"Exif", at + 2)):
            seen[marker] += 1
        seen[0] += 1
        if seen[0] > _MOST_SEGMENTS or max(seen[_APP1], seen[_PHOTOSHOP]) > _REPEATED:
            raise CostlyPictureError(_TOO_MANY)


def _check_directory(file: IO[bytes], head: bytes) -> None:
    """Refuse a TIFF whose first directory has too many entries, or names too many strips or tiles."""
    order, big = _TIFFS[head[:4]], b"+" in head[:4]
    start, count, entry = ("8xQ", "Q", "HHQ8x") if big else ("4xL", "H", "HHL4x")
    try:
        file.seek(struct.unpack_from(order + start, head)[0])
        (entries,) = struct.unpack(order + count, file.read(struct.calcsize(order + count)))
        size = struct.calcsize(order + entry)
        table = file.read(size * min(entries, _MOST_TAGS + 1))
    except (struct.error, OverflowError, ValueError, OSError):  # Pillow refuses it too
        return
    if entries > _MOST_TAGS:
        raise CostlyPictureError(_TOO_MANY)
    for tag, _, values in struct.iter_unpack(order + entry, table[: len(table) // size * size]):
        if tag in (_STRIPS, _TILES) and values > _MOST_STRIPS:
            raise CostlyPictureError(_TOO_MANY)


def _passes_of_jpeg(content: bytes, most: int) -> int:
    """Over the pixels of one component, in all scans; what is more than ``most`` is not counted exactly."""
    scans = content.count(_SCAN)  # or more, since a thumbnail has some too
    if scans <= MOST_SCANS and 4 * scans <= most:
        return scans
    scans = passes = 0
    for number, (marker, at) in enumerate(_segments(content)):
        if marker == _START_OF_SCAN:
            scans += 1
            passes += content[at + 2] if at + 2 < len(content) else 1  # its components
        if passes > most or scans > MOST_SCANS or number > _MOST_SEGMENTS:
            return max(passes, most + 1)
    return passes
