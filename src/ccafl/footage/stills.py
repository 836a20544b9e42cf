"""Single frames of recorded footage, for a service: from regular files only, decoded within bounds.

FFmpeg reads nothing but the opened file: no link is followed, and formats that name other files are not read.
"""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ccafl.data.images import TooLargeError, read_image
from ccafl.errors import InputError
from ccafl.footage.extra import needs_video_extra
from ccafl.footage.frames import pictures_of

# Formats that hold the video themselves. FFmpeg's playlists (hls, dash, concat, ...) name other files.
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,h264,hevc,mjpeg"
_TYPES = {"mov": "video/mp4", "mp4": "video/mp4", "webm": "video/webm", "matroska": "video/x-matroska"}
_MOST_DECODED = 2_000  # frames from a key frame to the one asked for
_PATIENCE = 20.0  # seconds


class GoneError(InputError):
    """The footage is not where it was."""


def open_regular(path: str) -> IO[bytes]:
    """Open a regular file to which no link leads.

    Raises:
        GoneError: there is no such file.
        InputError: it is something else than a regular file, or links lead there.
    """
    try:
        linked = os.path.realpath(path) != path
        no_link = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | no_link))  # noqa: SIM115
    except FileNotFoundError as error:
        raise GoneError(f"{path}: is no longer there; put it back, or ingest the footage again") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason}); check the file and its permissions") from error
    if linked or not stat.S_ISREG(os.fstat(file.fileno()).st_mode) or os.path.realpath(path) != path:
        file.close()
        raise InputError(f"{path}: is not the regular file that was recorded; put that back")
    return file


def media_type(file: IO[bytes]) -> str:
    """The media type of a video file, ``application/octet-stream`` for one that browsers do not know.

    Raises:
        InputError: it is no video.
    """
    with _video(file) as (container, _):
        names = container.format.name.split(",")
        return next((_TYPES[name] for name in names if name in _TYPES), "application/octet-stream")


def still(footage: str, number: int, most_pixels: int) -> tuple[Image.Image, float | None]:
    """The frame of a video, upright, with its second in it; or of a folder of frames, without one.

    Args:
        footage: absolute path of the video or folder.
        number: of the frame, from 1.
        most_pixels: that it may have.

    Raises:
        GoneError: the file is not there.
        TooLargeError: the frame has more pixels.
        InputError: it is no video, or has no such frame.
    """
    if os.path.realpath(footage) == footage and Path(footage).is_dir():
        pictures = pictures_of(Path(footage))
        if number > len(pictures):
            raise GoneError(f"{footage}: has no frame {number} any more")
        with open_regular(str(pictures[number - 1])) as file:
            return read_image(file, most_pixels), None
    with open_regular(footage) as file, _video(file) as (container, stream):
        times, first = _times(container, stream, time.monotonic() + _PATIENCE)
        if number > len(times):
            raise GoneError(f"{footage}: has no frame {number} any more")
        wanted = int(times[number - 1])
        image = _decoded_at(footage, container, stream, wanted, most_pixels)
        return image, float((wanted - first) * stream.time_base)


@contextmanager
def _video(file: IO[bytes]) -> Iterator[tuple[Any, Any]]:
    with needs_video_extra():
        import av
    name = getattr(file, "name", "the file")
    file.seek(0)
    try:
        options = {"format_whitelist": _FORMATS, "protocol_whitelist": "none"}
        container = av.open(file, options=options, metadata_errors="ignore")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{name}: cannot be read as a video; put back the one that was recorded") from error
    with container:
        attached = av.stream.Disposition.attached_pic
        stream = next((one for one in container.streams.video if not one.disposition & attached), None)
        if stream is None:
            raise InputError(f"{name}: has no video stream; put back the one that was recorded")
        yield container, stream


def _times(container: Any, stream: Any, deadline: float) -> tuple[NDArray[np.int64], int]:
    """The frames' times in order, in the stream's units, and the first of them; without decoding."""
    import av

    times: list[int] = []
    with suppress(av.error.FFmpegError):  # a damaged end: what came before is known
        for packet in container.demux(stream):
            if packet.pts is not None and not packet.is_discard:
                times.append(packet.pts)
            if time.monotonic() > deadline:
                raise InputError("the video is too long to find a frame in; cut it into shorter files")
    ordered = np.sort(np.array(times, np.int64))
    return ordered, int(ordered[0]) if len(ordered) else 0


def _decoded_at(footage: str, container: Any, stream: Any, wanted: int, most_pixels: int) -> Image.Image:
    import av

    stream.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(most_pixels)}
    _check_size(footage, stream.codec_context, most_pixels)
    deadline = time.monotonic() + _PATIENCE
    with suppress(av.error.FFmpegError):
        container.seek(wanted, stream=stream)
        for decoded, frame in enumerate(container.decode(stream)):
            _check_size(footage, frame, most_pixels)
            if frame.pts is not None and frame.pts >= wanted:
                image: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
                return Image.fromarray(np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90) % 4)))
            if decoded > _MOST_DECODED or time.monotonic() > deadline:
                break
    raise InputError(f"{footage}: the frame cannot be decoded; is the file damaged?")


def _check_size(footage: str, sized: Any, most_pixels: int) -> None:
    if sized.width * sized.height > most_pixels:
        raise TooLargeError(f"{footage}: its frames have {sized.width}x{sized.height} pixels")
