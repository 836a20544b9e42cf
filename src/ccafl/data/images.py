"""Picture files: reading one, and finding those that cannot be read."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, cast

from PIL import Image, ImageOps, UnidentifiedImageError

from ccafl.data.decoding import CostlyPictureError, PictureFile
from ccafl.errors import InputError

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")  # by content; others (EPS, ...) would run external programs
SMALLEST_SIDE = 4  # pixels; a smaller picture shows nobody
MOST_PIXELS = 64_000_000
# Pillow warns of each damaged entry, which a hostile file has by the ten thousand; what cannot be read is an error.
warnings.filterwarnings("ignore", module=r"PIL\.")
_LONG = 128_000_000  # pixels times passes over them


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
        with path.open("rb") as file, Image.open(cast(IO[bytes], PictureFile(file)), formats=FORMATS) as picture:
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
        raise _refusal(error) from error


def takes_long(file: IO[bytes], most_pixels: int = MOST_PIXELS) -> bool:
    """Whether decoding the picture takes long or much memory: more than about a quarter of a second, or 64 MB.

    Raises:
        TooLargeError, InputError: as for `read_image`, as far as it can be told without decoding.
    """
    try:
        with _opened(file, most_pixels) as (picture, passes):
            return picture.width * picture.height * max(8, passes) > _LONG
    except Exception as error:  # as in load_image
        raise _refusal(error) from error


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


@contextmanager
def _opened(file: Path | IO[bytes], most_pixels: int) -> Iterator[tuple[Image.Image, int]]:
    """A picture whose header was read and accepted, and how often decoding goes over its pixels."""
    with file.open("rb") if isinstance(file, Path) else nullcontext(file) as content:
        source = PictureFile(content)
        with Image.open(cast(IO[bytes], source), formats=FORMATS) as picture:
            size = f"{picture.width}x{picture.height} pixels"
            if min(picture.size) < SMALLEST_SIDE:
                raise _UselessError(f"too small to show a person ({size})")
            if picture.width * picture.height > most_pixels:
                raise _TooManyPixelsError(f"too large ({size})")
            yield picture, source.passes(picture, most_pixels)


def _decoded(file: Path | IO[bytes], most_pixels: int) -> Image.Image:
    with _opened(file, most_pixels) as (picture, _):
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
    if picture.mode.startswith("I;16"):  # 16-bit greys, which `convert` would clip at 255
        picture = picture.convert("I").point(lambda grey: grey * (1 / 256)).convert("L")
    upright = picture if picture.mode == "RGB" else picture.convert("RGB")
    upright.info.pop("comment", None)  # Pillow would write it into every copy
    return upright


def _refusal(error: Exception) -> InputError:
    large = isinstance(error, (_TooManyPixelsError, Image.DecompressionBombError))
    return (TooLargeError if large else InputError)(_reason(error))


def _reason(error: Exception) -> str:
    if isinstance(error, (_UselessError, CostlyPictureError)):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "not a picture, whatever its name says"
    if isinstance(error, Image.DecompressionBombError):
        return "too large (a decompression bomb?)"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror})"
    return f"damaged ({' '.join(str(error).split()) or type(error).__name__})"
