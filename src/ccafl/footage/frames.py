"""A camera's footage, frame by frame: video files through PyAV, and folders of pictures.

Memory does not grow with the length: one frame is held at a time.
"""

import configparser
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ccafl.data.images import load_image
from ccafl.data.listing import images_in
from ccafl.errors import InputError
from ccafl.footage.extra import needs_video_extra

_EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)  # writers without a clock say 1904 or 1970
FASTEST = 1000  # frames a second
_PLAYLISTS = ("hls", "concat", "dash", "imf")  # which would read files that nobody gave
_FINGERPRINTED = 1 << 20  # bytes at each end of a file


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame of a camera.

    Attributes:
        number: of the frame in the camera, from 1; those that cannot be decoded or are not sampled count.
        seconds: since the camera's first file begins.
        image: (H, W, 3) uint8, RGB, upright.
        source: its file, or its folder.
        source_number: of the frame in ``source``, from 1.
    """

    number: int
    seconds: float
    image: NDArray[np.uint8]
    source: Path
    source_number: int


@dataclass(slots=True)
class Damage:
    """What could not be decoded: the number of frames, and the sources that end before they should."""

    frames: int = 0
    cut_short: int = 0


class Source(Protocol):
    """A video file or a folder of frames.

    Attributes:
        path: where it is.
        rate: frames a second, on average.
        seconds: how long it is, about; 0 if unknown.
        created: when it begins, by its own metadata; None if unknown.
        fingerprint: equal for equal content, as good as certainly.
    """

    path: Path
    rate: float
    seconds: float
    created: datetime | None
    fingerprint: str

    def frames(self, every: float, damage: Damage) -> Iterator[tuple[int, float, NDArray[np.uint8] | None]]:
        """Number (from 1), second and image of each frame, one at least ``every`` seconds apart; None for the rest."""


class VideoFile:
    """A video file; a `Source`. Times are the file's own, so that variable frame rates are right.

    Raises:
        InputError: it cannot be opened, or has no video stream.
    """

    def __init__(self, path: Path) -> None:
        with _opened(path) as container:
            stream = _video_stream(path, container)
            self.path = path
            self.rate = float(stream.average_rate or stream.guessed_rate or 25)
            self.seconds = _seconds_of(container, stream)
            self.created = _created(container.metadata) or _created(stream.metadata)
        self.fingerprint = _fingerprint(path)

    def frames(self, every: float, damage: Damage) -> Iterator[tuple[int, float, NDArray[np.uint8] | None]]:
        """As `Source.frames`; damaged frames are left out and counted.

        Raises:
            InputError: no frame can be decoded.
        """
        from av.video.reformatter import VideoReformatter

        number, first, last, due = 0, 0.0, -1.0, 0.0
        reformatter = VideoReformatter()  # one for all: it keeps its tables as long as the frames are alike
        with _opened(self.path) as container:
            for frame, lost in _decoded(container, _video_stream(self.path, container)):
                if frame is None:  # the end
                    damage.frames += lost
                    break
                if number:
                    damage.frames += lost
                    number += lost
                else:
                    first = frame.time or 0.0
                number += 1
                seconds = last + 1 / self.rate if frame.time is None else frame.time - first
                if seconds <= last:  # recorders that restart their clock
                    seconds = last + 1 / self.rate
                last = seconds
                if seconds + 1e-6 < due:
                    yield number, seconds, None
                else:
                    due = max(due + every, seconds)
                    yield number, seconds, _upright(frame, reformatter)
        if last < 0:
            raise InputError(f"{self.path}: no frame can be decoded; replace the file or leave it out")
        damage.cut_short += last + max(1.0, 0.02 * self.seconds) < self.seconds


class FrameFolder:
    """A folder of pictures, in the order of their names; a `Source`.

    Args:
        path: the folder; or a MOTChallenge sequence, with ``img1`` and ``seqinfo.ini`` in it.
        rate: frames a second; by default what ``seqinfo.ini`` says.

    Raises:
        InputError: there are no pictures, or nothing says the rate, or not in numbers.
    """

    created: datetime | None = None

    def __init__(self, path: Path, rate: float | None = None) -> None:
        pictures = pictures_of(path)
        if not pictures:
            raise InputError(f"{path}: holds no pictures and no videos; give a video, or a folder of frames")
        rate = rate or _rate_said(path)
        if not rate:
            raise InputError(
                f"{path}: nothing says how many frames a second these pictures are; give a table with columns camera "
                "and fps with --cameras"
            )
        self.path, self.rate, self._pictures = path, rate, pictures
        self.seconds = len(pictures) / rate
        listed = "\n".join(f"{picture.name} {picture.stat().st_size}" for picture in pictures)
        self.fingerprint = hashlib.sha256(listed.encode() + pictures[0].read_bytes()).hexdigest()

    def frames(self, every: float, damage: Damage) -> Iterator[tuple[int, float, NDArray[np.uint8] | None]]:
        """As `Source.frames`; damaged pictures are left out and counted."""
        due = 0.0
        for index, picture in enumerate(self._pictures):
            seconds = index / self.rate
            if seconds + 1e-6 < due:
                yield index + 1, seconds, None
                continue
            try:
                image = np.asarray(load_image(picture))
            except InputError:
                damage.frames += 1
                continue
            due = max(due + every, seconds)
            yield index + 1, seconds, image


@dataclass(frozen=True, slots=True)
class Footage:
    """A camera's sources, in order, and when each begins."""

    camera: str
    sources: Sequence[Source]
    begins: Sequence[datetime]

    @property
    def start(self) -> datetime:
        """When the camera's first source begins."""
        return self.begins[0]

    @property
    def expected_frames(self) -> int:
        """How many frames there are, about."""
        return sum(round(source.seconds * source.rate) for source in self.sources)

    def time_at(self, seconds: float) -> datetime:
        """The time of a second since the camera's first source begins."""
        return self.start + timedelta(seconds=seconds)

    def frames(self, *, fps: float | None, damage: Damage) -> Iterator[Frame | None]:
        """The frames; None for each that is not sampled.

        Args:
            fps: frames a second to sample; all if None.
            damage: counts what cannot be decoded.

        Raises:
            InputError: a source has no frame that can be decoded.
        """
        before, ended = 0, 0.0
        for source, begins in zip(self.sources, self.begins, strict=True):
            offset = max((begins - self.start).total_seconds(), ended)  # recorders' files may overlap by a second
            number, seconds = 0, 0.0
            for number, seconds, image in source.frames(1 / fps if fps else 0.0, damage):
                if image is None:
                    yield None
                else:
                    yield Frame(before + number, offset + seconds, image, source.path, number)
            before, ended = before + number, offset + seconds + 1 / source.rate


def pictures_of(folder: Path) -> list[Path]:
    """The frames of a folder in their order; MOTChallenge's are in its ``img1``."""
    return list(images_in(folder / "img1" if (folder / "img1").is_dir() else folder))


def _rate_said(path: Path) -> float:
    """What MOTChallenge's ``seqinfo.ini`` says beside the frames, or above them; 0 without one.

    Raises:
        InputError: it says no rate.
    """
    for file in (path / "seqinfo.ini", path.parent / "seqinfo.ini"):
        if file.is_file():
            about = configparser.ConfigParser(interpolation=None)
            try:
                about.read(file, encoding="utf-8")
                rate = about.getfloat("Sequence", "frameRate")
            except (OSError, ValueError, configparser.Error):
                rate = 0.0
            if not 0 < rate < FASTEST:
                raise InputError(f"{file}: says no frameRate in [Sequence]; correct it, or give fps with --cameras")
            return rate
    return 0.0


def _opened(path: Path) -> Any:
    with needs_video_extra():
        import av
    if not path.is_file():  # a pipe would be waited for
        raise InputError(f"{path}: is not a regular file; give a video file")
    try:
        opened = av.open(str(path), metadata_errors="ignore", container_options={"protocol_whitelist": "file"})
    except (av.error.FFmpegError, OSError) as error:
        reason = str(getattr(error, "strerror", None) or error)
        raise InputError(
            f"{path}: cannot be read as a video ({reason.lower()}); if it is still being written, wait until it is "
            "finished, else replace it"
        ) from error
    if opened.format.name in _PLAYLISTS:
        opened.close()
        raise InputError(f"{path}: is a list of other files ({opened.format.name}), not a video; give the video itself")
    return opened


def _video_stream(path: Path, container: Any) -> Any:
    import av

    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        held = " (only sound)" if container.streams.audio else ""
        raise InputError(f"{path}: has no video stream{held}; give a video file")
    return streams[0]


def _decoded(container: Any, stream: Any) -> Iterator[tuple[Any, int]]:
    """The frames that can be decoded, each with the number of those lost before it; at the end None and the same.

    Decoders leave damaged frames out with or without an error. But what is compressed comes as one packet a frame, with
    the frame's time: packets whose times have passed without their frames are lost.
    """
    import av

    stream.thread_type = "AUTO"
    packets, times = container.demux(stream), list[int]()
    ended = False
    while not ended:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:  # the container is damaged: what follows cannot be found
            packet = None
        ended = packet is None or packet.size == 0
        if packet is not None and packet.pts is not None and not packet.is_discard:
            heappush(times, packet.pts)
        with suppress(av.error.FFmpegError):
            for frame in stream.decode(packet):  # without a packet: those still in the decoder
                if not frame.is_corrupt:
                    yield frame, max(0, _passed(times, frame.pts) - 1)
    yield None, len(times)


def _passed(times: list[int], time: int | None) -> int:
    """Remove all up to ``time`` from the heap; returns how many they were."""
    count = 0
    while time is not None and times and times[0] <= time:
        heappop(times)
        count += 1
    return count


def _upright(frame: Any, reformatter: Any) -> NDArray[np.uint8]:
    image: NDArray[np.uint8] = reformatter.reformat(frame, format="rgb24").to_ndarray()
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _seconds_of(container: Any, stream: Any) -> float:
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else 0.0


def _created(metadata: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(metadata["creation_time"])
    except (KeyError, ValueError):
        return None
    time = time if time.tzinfo else time.replace(tzinfo=UTC)
    return time if time > _EARLIEST else None


def _fingerprint(path: Path) -> str:
    """Of the file's size, first and last mebibyte."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.sha256(f"{size}\n".encode() + file.read(_FINGERPRINTED))
        file.seek(max(0, size - _FINGERPRINTED))
        digest.update(file.read())
    return digest.hexdigest()
