"""Picture files: reading one, and finding those that cannot be read."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from PIL import Image, ImageOps, UnidentifiedImageError

from ccafl.errors import InputError

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")  # by content; others (EPS, ...) would run external programs
SMALLEST_SIDE = 4  # pixels; a smaller picture shows nobody
MOST_PIXELS = 64_000_000


def load_image(path: Path) -> Image.Image:
    """The whole picture in RGB, turned upright by its EXIF orientation; the first frame of an animation.

    Raises:
        InputError: it is missing, not a picture, truncated or damaged, too small (a side below `SMALLEST_SIDE` pixels)
            or too large (more than `MOST_PIXELS`).
    """
    try:
        return _decoded(path, MOST_PIXELS)
    except Exception as error:  # damaged data make Pillow's decoders raise anything from SyntaxError to struct.error
        raise InputError(f"{path}: {_reason(error)}; replace or remove it") from error


def picture_size(path: Path) -> tuple[int, int] | None:
    """Height and width as the file's header gives them; None if it cannot be read."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            return picture.height, picture.width
    except Exception:  # as in load_image
        return None


class TooLargeError(InputError):
    """A picture with more pixels than allowed."""


def read_image(file: IO[bytes], most_pixels: int = MOST_PIXELS) -> Image.Image:
    """As `load_image`, from an open file.

    Raises:
        TooLargeError: its header says more than ``most_pixels``; nothing was decoded.
        InputError: as for `load_image`, with only the reason.
    """
    try:
        return _decoded(file, most_pixels)
    except Exception as error:  # as in load_image
        large = isinstance(error, (_TooManyPixelsError, Image.DecompressionBombError))
        raise (TooLargeError if large else InputError)(_reason(error)) from error


def unreadable(paths: Sequence[Path], advance: Callable[[], None] | None = None) -> dict[Path, str]:
    """Read every picture, in threads; return those that `load_image` refuses, in the order given, with the reasons.

    ``advance`` is called once per picture, in the caller's thread.
    """
    found: dict[Path, str] = {}
    with ThreadPoolExecutor() as pool:
        for path, reason in zip(paths, pool.map(_problem, paths), strict=True):
            if reason is not None:
                found[path] = reason
            if advance is not None:
                advance()
    return found


def _problem(path: Path) -> str | None:
    try:
        _decoded(path, MOST_PIXELS)
    except Exception as error:  # as in load_image
        return _reason(error)
    return None


class _UselessError(Exception):
    """A picture that could be read but cannot be used; the message is the reason."""


class _TooManyPixelsError(_UselessError):
    """A picture too large to be decoded."""


def _decoded(file: Path | IO[bytes], most_pixels: int) -> Image.Image:
    with Image.open(file, formats=FORMATS) as picture:
        size = f"{picture.width}x{picture.height} pixels"
        if min(picture.size) < SMALLEST_SIDE:
            raise _UselessError(f"too small to show a person ({size})")
        if picture.width * picture.height > most_pixels:
            raise _TooManyPixelsError(f"too large ({size})")
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
    if picture.mode.startswith("I;16"):  # 16-bit greys, which `convert` would clip at 255
        return picture.convert("I").point(lambda grey: grey * (1 / 256)).convert("L").convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, _UselessError):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "not a picture, whatever its name says"
    if isinstance(error, Image.DecompressionBombError):
        return "too large (a decompression bomb?)"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror})"
    return f"damaged ({' '.join(str(error).split()) or type(error).__name__})"
