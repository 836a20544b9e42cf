"""Pictures made to take long or much memory: small files, each of a form that a decoder meets."""

import io
import re
import struct
import zlib
from collections.abc import Iterable

from PIL import Image

_SCAN = re.compile(rb"\xff\xda.*?(?=\xff[^\x00\xd0-\xd7\xff])", re.DOTALL)


def progressive(size: tuple[int, int], mode: str = "L") -> bytes:
    """An honest progressive JPEG of one colour."""
    file = io.BytesIO()
    Image.new(mode, size, "grey").save(file, "JPEG", progressive=True)
    return file.getvalue()


def repeated_scans(size: tuple[int, int], times: int) -> bytes:
    """A progressive JPEG whose last scan comes ``times`` more often; it decodes to the same picture."""
    whole = progressive(size)
    last = list(_SCAN.finditer(whole))[-1]
    return whole[: last.end()] + last[0] * times + whole[last.end() :]


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    """A small JPEG with these segments (marker, content) at its beginning."""
    whole = progressive((64, 128))
    inserted = b"".join(struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for marker, content in segments)
    return whole[:2] + inserted + whole[2:]


def exif_of_one_block(entries: int, block: int) -> bytes:
    """EXIF data whose ``entries`` all name the same ``block`` bytes."""
    start = 8 + 2 + 12 * entries + 4
    table = b"".join(struct.pack("<HHLL", 0x8000 + n, 7, block, start) for n in range(entries))
    return b"II*\0" + struct.pack("<LH", 8, entries) + table + bytes(4 + block)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with(*before: bytes, size: tuple[int, int] = (64, 128), parts: int = 1) -> bytes:
    """A black PNG with these chunks before its pixels, which are in ``parts`` chunks."""
    width, height = size
    packer = zlib.compressobj(9)
    lines = b"".join(packer.compress(bytes(1 + width)) for _ in range(height)) + packer.flush()
    step = -(-len(lines) // parts)
    pixels = (png_chunk(b"IDAT", lines[start : start + step]) for start in range(0, len(lines), step))
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"".join((b"\x89PNG\r\n\x1a\n", head, *before, *pixels, png_chunk(b"IEND", b"")))


def gif_with(before: bytes) -> bytes:
    """A small GIF with these bytes before its picture."""
    file = io.BytesIO()
    Image.new("L", (64, 128)).save(file, "GIF")
    whole = file.getvalue()
    start = 13 + (3 << (whole[10] & 7) + 1 if whole[10] & 128 else 0)
    return whole[:start] + before + whole[start:]


def bmp_of_runs(size: tuple[int, int], runs: bytes) -> bytes:
    """A run-length coded BMP with 8 bits a pixel."""
    width, height = size
    start = 14 + 40 + 4 * 256
    head = b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    return head + info + bytes(n for grey in range(256) for n in (grey, grey, grey, 0)) + runs


def tiff(entries: Iterable[tuple[int, int, int, bytes]], data: bytes = b"") -> bytes:
    """A TIFF of one directory; entries are tag, type, count and value (what has more than 4 bytes goes behind).

    ``data`` begins at byte 8.
    """
    entries = sorted(entries)
    where = 8 + len(data)
    behind = where + 2 + 12 * len(entries) + 4
    table, after = b"", b""
    for tag, kind, count, value in entries:
        if len(value) > 4:
            value, after = struct.pack("<L", behind + len(after)), after + value
        table += struct.pack("<HHL", tag, kind, count) + value.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<L", where) + data + struct.pack("<H", len(entries)) + table + bytes(4) + after


def grey_tiff(size: tuple[int, int], *more: tuple[int, int, int, bytes]) -> list:
    """The entries of an uncompressed grey TIFF."""
    short = lambda tag, value: (tag, 4, 1, struct.pack("<L", value))  # noqa: E731
    return [short(256, size[0]), short(257, size[1]), short(258, 8), short(259, 1), short(262, 1), *more]


def tiff_of_one_block(entries: int, block: int) -> bytes:
    """A TIFF with ``entries`` private tags that all name the same ``block`` bytes."""
    data = bytes(block)
    where = struct.pack("<L", 8)
    private = [(0x8000 + n, 7, block, where) for n in range(entries)]
    strips = [(273, 4, 1, where), (278, 4, 1, struct.pack("<L", 64)), (279, 4, 1, struct.pack("<L", 64 * 64))]
    return tiff(grey_tiff((64, 64), *strips, *private), data)


def tiff_of_strips(strips: int) -> bytes:
    """A TIFF of one row a strip, with far more strips than rows, all of them the same bytes."""
    offsets = struct.pack("<L", 8) * strips
    more = [
        (273, 4, strips, offsets),
        (278, 4, 1, struct.pack("<L", 1)),
        (279, 4, strips, struct.pack("<L", 64) * strips),
    ]
    return tiff(grey_tiff((64, 64), *more), bytes(64))


def animated_webp(size: tuple[int, int], frames: int) -> bytes:
    """A WebP of many frames."""
    file = io.BytesIO()
    pictures = [Image.new("RGB", size, (n % 256, n // 256, 0)) for n in range(frames)]
    pictures[0].save(file, "WEBP", save_all=True, append_images=pictures[1:], lossless=True)
    return file.getvalue()


def tiff_of_a_jpeg(jpeg: bytes, size: tuple[int, int]) -> bytes:
    """A grey TIFF whose only strip is this JPEG."""
    long = [(273, 8), (278, size[1]), (279, len(jpeg))]
    strips = [(tag, 4, 1, struct.pack("<L", value)) for tag, value in long]
    entries = [entry for entry in grey_tiff(size) if entry[0] != 259]
    return tiff([*entries, (259, 3, 1, struct.pack("<H", 7)), *strips], jpeg)
