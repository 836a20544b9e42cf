"""Which footage belongs to which camera and when it begins, as the command line says it."""

import glob
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ccafl.data.listing import images_in
from ccafl.data.records import parse_time_at
from ccafl.data.tables import rows_of_csv
from ccafl.errors import InputError
from ccafl.footage.frames import FASTEST, Footage, FrameFolder, Source, VideoFile

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".dav", ".flv", ".h264", ".h265", ".hevc", ".m2ts", ".m4v", ".mjpeg", ".mjpg"}
    | {".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv"}
)
_RESERVED = ("query", "gallery")  # folders with a meaning of their own beside cameras (ccafl.data.folder)


def by_camera(given: Sequence[str], what: str) -> dict[str, str]:
    """``CAMERA=VALUE`` -> the value of each camera.

    Args:
        given: as written.
        what: the value is, for messages.

    Raises:
        InputError: no camera, no value, a name that cannot be a folder's, or a camera that is named twice.
    """
    values: dict[str, str] = {}
    for text in given:
        camera, _, value = text.partition("=")
        if not value or not camera:
            raise InputError(f"{text}: names no camera; write CAMERA={what}")
        if camera.startswith(".") or "/" in camera or "\\" in camera or camera in _RESERVED:
            raise InputError(f"{text}: {camera!r} cannot be a camera's name; choose one that can be a folder's")
        if camera in values:
            raise InputError(
                f"{text}: camera {camera} is named twice; give all its files at once, as a folder or as "
                f"'{camera}=*.mp4', or name the cameras apart"
            )
        values[camera] = value
    return values


def read_camera_table(path: Path) -> tuple[dict[str, datetime], dict[str, float]]:
    """A table with columns camera and start or fps or both -> starts, and frames a second.

    Raises:
        InputError: it is not such a table, a camera is in it twice, or a value is not a time or a number.
    """
    starts: dict[str, datetime] = {}
    rates: dict[str, float] = {}
    seen: set[str] = set()
    for place, row in rows_of_csv(path, ("camera",), ("start", "fps")):
        camera = row["camera"]
        if camera in seen:
            raise InputError(f"{path}, {place}: camera {camera} is named twice; remove one line")
        seen.add(camera)
        if row.get("start"):
            starts[camera] = parse_time_at(row["start"], f"{path}, {place}")
        if row.get("fps"):
            rates[camera] = _rate(row["fps"], f"{path}, {place}")
    return starts, rates


def open_cameras(
    paths: Mapping[str, str], starts: Mapping[str, datetime], rates: Mapping[str, float]
) -> tuple[list[Footage], list[str]]:
    """Look into every file, so that nothing begins with one that cannot be used.

    Args:
        paths: of each camera: a video, a folder of frames or of videos, or a pattern of either.
        starts: when a camera's first file begins; the others follow without a gap. By default each file says it, else
            its date, which is when its writing ended.
        rates: frames a second of folders of frames.

    Returns:
        the footage, and lines that say where the times are from.

    Raises:
        InputError: a file cannot be used, or is there twice.
    """
    footage, lines = [], []
    seen: dict[str, Path] = {}
    for camera, text in paths.items():
        sources = [_source(path, rates.get(camera)) for path in _listed(camera, text)]
        for source in sources:
            if source.fingerprint in seen:
                raise InputError(
                    f"{source.path}: is the same footage as {seen[source.fingerprint]}; give it once (one camera's "
                    "people would be in two)"
                )
            seen[source.fingerprint] = source.path
        begins, said = _begins(sources, starts.get(camera))
        order = sorted(range(len(sources)), key=lambda index: begins[index])
        footage.append(Footage(camera, [sources[index] for index in order], [begins[index] for index in order]))
        lines.append(f"{camera}: begins {begins[order[0]].isoformat(timespec='seconds')} ({said})")
    return footage, lines


def _listed(camera: str, text: str) -> list[Path]:
    """The videos and folders of frames that a path or a pattern stands for, by name."""
    path = Path(text)
    found = [path] if path.exists() else [Path(name) for name in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207 (absolute patterns too)
    if not found:
        raise InputError(f"{camera}={text}: no such file or folder; correct the path")
    return [inner for outer in found for inner in _videos_in(outer)]


def _videos_in(path: Path) -> list[Path]:
    """The videos directly in a folder; the path itself if it is a file or a folder of frames."""
    if not path.is_dir():
        return [path]
    videos = [inner for inner in sorted(path.iterdir()) if inner.suffix.lower() in VIDEO_SUFFIXES and inner.is_file()]
    if videos and images_in(path):
        raise InputError(f"{path}: holds both videos and pictures; give one of the two")
    return videos or [path]


def _source(path: Path, rate: float | None) -> Source:
    return FrameFolder(path, rate) if path.is_dir() else VideoFile(path)


def _begins(sources: Sequence[Source], start: datetime | None) -> tuple[list[datetime], str]:
    """When each source begins, and how that is known, in words."""
    if start is not None:
        begins = [start]
        for source in sources[:-1]:
            begins.append(begins[-1] + timedelta(seconds=source.seconds))
        return begins, "as given"
    created = [source.created for source in sources]
    if all(created):
        return [time for time in created if time], "by the file's own metadata"
    return [
        _by_date(source) for source in sources
    ], "by the file's date, less its length; give --start if that is wrong"


def _by_date(source: Source) -> datetime:
    ended = datetime.fromtimestamp(source.path.stat().st_mtime, UTC)
    return ended - timedelta(seconds=source.seconds)


def _rate(text: str, where: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < FASTEST:
        raise InputError(f"{where}: fps is {text!r}; write the frames a second, such as 25")
    return rate
