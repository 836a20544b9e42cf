"""Picture files: reading one, and finding those that cannot be read. A picture is the same however it is given."""

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from threading import Condition
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError, features

from ccafl.data.decoding import CostlyPictureError, PictureFile
from ccafl.errors import InputError

with suppress(ImportError):  # an extra: ccafl[heic]
    from pi_heif import register_heif_opener

    register_heif_opener()

READS_HEIC = "HEIF" in Image.OPEN
# By content; others (EPS, ...) would run external programs.
FORMATS = (
    *("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "JPEG2000", "PPM"),
    *(("AVIF",) if features.check("avif") else ()),
    *(("HEIF",) if READS_HEIC else ()),
)
SMALLEST_SIDE = 4  # pixels; a smaller picture shows nobody
MOST_PIXELS = 64_000_000
# Pillow warns of each damaged entry, which a hostile file has by the ten thousand; what cannot be read is an error.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())  # nothing on stderr where nobody set up logging
_LONG = 128_000_000  # pixels times passes over them


Pixels = NDArray[Any]
Picture = str | Path | Image.Image | Pixels
"""A picture's file, an opened picture, or its pixels: (H, W, 3) RGB or (H, W) grey, uint8."""


def as_image(picture: Picture) -> Image.Image:
    """The picture as `load_image` gives it, whichever way it is given.

    Raises:
        InputError: as `load_image`, or pixels of another shape or type.
    """
    if isinstance(picture, str | Path):
        return load_image(Path(picture))
    if isinstance(picture, Image.Image):
        return upright_rgb(picture)
    if not isinstance(picture, np.ndarray):
        raise InputError(
            f"{type(picture).__name__}: is no picture; give paths, PIL images or arrays of pixels, one or a list"
        )
    shape = picture.shape
    if picture.dtype != np.uint8 or not (picture.ndim == 2 or (picture.ndim == 3 and shape[2] == 3)) or not min(shape):
        raise InputError(
            f"an array of shape {shape} and type {picture.dtype}: is no picture; give (H, W, 3) RGB or (H, W) grey in "
            "uint8 (OpenCV's pixels are BGR: turn them round)"
        )
    return Image.fromarray(picture).convert("RGB")


def as_list(pictures: Picture | Sequence[Picture]) -> Sequence[Picture]:
    """One picture as a list of it; a list as it is."""
    return [pictures] if isinstance(pictures, str | Path | Image.Image | np.ndarray) else pictures


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
        with _regular(path) as file, Image.open(cast(IO[bytes], PictureFile(file)), formats=FORMATS) as picture:
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


def as_jpeg(image: Image.Image, most: tuple[int, int], quality: int = 85) -> bytes:
    """The picture as JPEG, reduced to ``most`` pixels (width, height), without what else the file said."""
    small = image.convert("RGB")
    small.thumbnail(most)
    small.info.clear()  # comments and other metadata, which Pillow would write too
    file = io.BytesIO()
    small.save(file, "JPEG", quality=quality)
    return file.getvalue()


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


_HEIC = 'a HEIC picture, which is read after pip install "ccafl[heic]"; or convert it to JPEG'
_OTHER_FORMS = (
    *((8, brand, _HEIC) for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")),
    (8, b"avif", "an AVIF picture, which Pillow 11.3 and later reads; or convert it to JPEG"),
    (4, b"ftyp", "a video, not a picture"),
    (0, b"\xff\x0a", "a JPEG XL picture, which is not read; convert it to JPEG"),
    (4, b"JXL ", "a JPEG XL picture, which is not read; convert it to JPEG"),
    (0, b"8BPS", "a Photoshop file, which is not read; convert it to JPEG or PNG"),
    (0, b"%PDF", "a PDF, not a picture"),
    (0, b"<", "text such as SVG or HTML, not a picture"),
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the picture; fetch it with git lfs pull"),
)
"""Place, bytes there, and what a file is that has them."""


class _UselessError(Exception):
    """A picture that could be read but cannot be used; the message is the reason."""


class _TooManyPixelsError(_UselessError):
    """A picture too large to be decoded."""


def _regular(path: Path) -> IO[bytes]:
    """The file, opened; never a pipe or a device, which would be waited for."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise _UselessError("not a regular file")
    return path.open("rb")


class _Room:
    """Room for pictures being decoded, so that threads hold no more than this many pixels together, or one picture."""

    def __init__(self, pixels: int) -> None:
        self._pixels, self._taken, self._changed = pixels, 0, Condition()

    @contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        """Wait until a picture fits, and keep its place."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + pixels <= self._pixels)
            self._taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()


_DECODING = _Room(2 * MOST_PIXELS)


@contextmanager
def _opened(file: Path | IO[bytes], most_pixels: int) -> Iterator[tuple[Image.Image, int]]:
    """A picture whose header was read and accepted, and how often decoding goes over its pixels."""
    with _regular(file) if isinstance(file, Path) else nullcontext(file) as content:
        source = PictureFile(content)
        try:
            opened = Image.open(cast(IO[bytes], source), formats=FORMATS)
        except UnidentifiedImageError as error:
            raise _UselessError(_form(content)) from error
        with opened as picture:
            size = f"{picture.width}x{picture.height} pixels"
            if min(picture.size) < SMALLEST_SIDE:
                raise _UselessError(f"too small to show a person ({size})")
            if picture.width * picture.height > most_pixels:
                raise _TooManyPixelsError(f"too large ({size})")
            yield picture, source.passes(picture, most_pixels)


def _decoded(file: Path | IO[bytes], most_pixels: int) -> Image.Image:
    with _opened(file, most_pixels) as (picture, _), _DECODING.take(picture.width * picture.height):
        picture.load()
        return upright_rgb(picture)


def _form(file: IO[bytes]) -> str:
    """What a file is that Pillow does not recognise."""
    file.seek(0)
    head = file.read(32)
    if not head:
        return "an empty file"
    for place, mark, form in _OTHER_FORMS:
        if head[place:].startswith(mark):
            return form
    return "not a picture, whatever its name says"


def upright_rgb(picture: Image.Image) -> Image.Image:
    """An opened picture in RGB, turned upright by its EXIF orientation."""
    if picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # `exif_transpose` copies in any case
        picture = ImageOps.exif_transpose(picture)
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
    if isinstance(error, Image.DecompressionBombError):
        return "too large (a decompression bomb?)"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror})"
    return f"damaged ({' '.join(str(error).split()) or type(error).__name__})"
