"""The synthetic world as footage: a video a camera, and what is true about it."""

import csv
import json
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from ccafl.errors import InputError
from ccafl.files import disk_errors, folder_written_whole
from ccafl.synthetic.camera import QUALITIES, Camera
from ccafl.synthetic.footage import Bytes, film_camera, frames
from ccafl.synthetic.routes import route, starts
from ccafl.synthetic.visits import check_visits
from ccafl.synthetic.world import FIRST_MORNING, PRETRAINING_SEED, World
from ccafl.synthetic.write import person_name

SIZE = (480, 640)  # height and width of the videos, pixels
SMALLEST_SIZE, LARGEST_SIZE = 64, 2160  # pixels
PERSONS = 5  # for each camera and minute, unless their number is given; two or three are then seen at once
ROUTE_MINUTES = 2  # about as long is a person on the way
FASTEST = 120  # frames a second
COARSENESS = (40, 34)  # of the videos (VP9's rate factor), for the worst and the best JPEG quality of a camera
KEYFRAME_SECONDS = 5  # so that a player reaches any moment quickly
REPORTED = 10  # frames from one report of progress to the next
PERSON_COLUMNS = ("camera", "track", "person", "first", "last")
CAMERA_COLUMNS = ("camera", "start", "fps")
Track = tuple[str, int, str, int, int]  # a row of persons.csv


@dataclass(frozen=True, slots=True)
class Settings:
    """What is filmed."""

    seed: int
    minutes: float
    cameras: int
    persons: int
    fps: int
    size: tuple[int, int]
    visits: str

    @property
    def frames(self) -> int:
        """Of each video."""
        return max(1, round(self.minutes * 60 * self.fps))

    @property
    def world(self) -> World:
        return World(self.seed, self.persons, self.cameras, visits=self.visits)


def settings_for(
    *,
    seed: int = 0,
    minutes: float = 2,
    cameras: int = 4,
    persons: int | None = None,
    fps: int = 10,
    size: tuple[int, int] = SIZE,
    visits: str = "usual",
) -> Settings:
    """Checked settings.

    Args:
        seed: 0 or more; the same persons as in the pictures of a world of this seed.
        minutes: length of each video, more than 0.
        cameras: 2 or more.
        persons: 1 or more, over the whole time; by default so many that two or three are seen at once.
        fps: frames a second, 1 to 120.
        size: height and width in pixels, even numbers.
        visits: the pattern by which persons pass cameras (`ccafl.synthetic.visits`).

    Raises:
        InputError: a number is out of range, or ``visits`` is unknown or does not suit the cameras.
    """
    if not 0 < minutes < 24 * 60:
        raise InputError(f"minutes {minutes:g}: out of range; give more than 0 and less than {24 * 60}")
    if persons is None:
        persons = round(PERSONS * cameras * (minutes + ROUTE_MINUTES))
    for name, value, least, most in (
        ("seed", seed, 0, PRETRAINING_SEED - 1),
        ("persons", persons, 1, None),
        ("cameras", cameras, 2, None),
        ("fps", fps, 1, FASTEST),
    ):
        if value < least or (most is not None and value > most):
            raise InputError(f"{name} {value}: out of range; give {least} {f'to {most}' if most else 'or more'}")
    if any(side % 2 or not SMALLEST_SIZE <= side <= LARGEST_SIZE for side in size):
        shown = f"size {size[1]}x{size[0]}"
        raise InputError(f"{shown}: cannot be filmed; give even numbers from {SMALLEST_SIZE} to {LARGEST_SIZE}")
    check_visits(visits, cameras)
    return Settings(seed, minutes, cameras, persons, fps, size, visits)


def film(out: Path, settings: Settings, *, processes: int = 1, advance: Callable[[int], None] | None = None) -> Path:
    """Write a video of each camera and what is true about it; all or nothing.

    ``out/<camera>.mp4``; ``out/<camera>.txt``, who is where in each frame, in MOTChallenge's form; ``out/persons.csv``,
    which track is whom; ``out/cameras.csv``, when each video begins; ``out/world.json``, the settings.

    Args:
        out: new or empty folder.
        settings: of `settings_for`.
        processes: number of processes that draw, one camera each at a time; the videos do not depend on it.
        advance: called with the number of frames just drawn.

    Returns:
        ``out``.

    Raises:
        InputError: ``out`` is not empty or cannot be written, or the extra ``video`` is not installed.
    """
    _av()
    with folder_written_whole(out) as folder:
        job = partial(film_one, settings, folder, out)
        tracks = _side_by_side(job, settings.cameras, processes, advance or (lambda frames: None))
        begins = starts(settings.world)
        with disk_errors(out):
            _write_table(folder / "persons.csv", PERSON_COLUMNS, [row for camera in tracks for row in camera])
            rows = [(camera_name(index), _clock(begin), settings.fps) for index, begin in enumerate(begins)]
            _write_table(folder / "cameras.csv", CAMERA_COLUMNS, rows)
            (folder / "world.json").write_text(json.dumps(asdict(settings)) + "\n")
    return out


def film_one(settings: Settings, folder: Path, out: Path, index: int, advance: Callable[[int], None]) -> list[Track]:
    """Write the video of camera number ``index`` and its ground truth; returns its rows of ``persons.csv``."""
    world, name = settings.world, camera_name(index)
    cameras = [film_camera(world, camera, settings.size) for camera in range(settings.cameras)]
    seconds = settings.frames / settings.fps
    passages = [
        passage
        for person in range(settings.persons)
        for passage in route(world, cameras, person, seconds)
        if passage.camera == index
    ]
    times = starts(world)[index] + np.arange(settings.frames) / settings.fps
    tracks: dict[int, int] = {}  # passage -> track
    first: dict[int, int] = {}  # track -> frame
    last: dict[int, int] = {}
    with (
        disk_errors(out),
        (folder / f"{name}.txt").open("w") as truth,
        _video(folder / f"{name}.mp4", settings, _coarseness(cameras[index])) as add,
    ):
        for number, (frame, seen) in enumerate(frames(world, cameras[index], index, passages, times.tolist()), 1):
            add(frame)
            for one in sorted(seen, key=lambda one: one.passage):
                tracks.setdefault(one.passage, len(tracks) + 1)
            for track, one in sorted((tracks[one.passage], one) for one in seen):
                first.setdefault(track, number)
                last[track] = number
                box = f"{one.left},{one.top},{one.width},{one.height}"
                truth.write(f"{number},{track},{box},1,1,{one.visibility:.3f}\n")
            if number % REPORTED == 0 or number == settings.frames:
                advance((number - 1) % REPORTED + 1)
    return [
        (name, track, person_name(passages[passage].person), first[track], last[track])
        for passage, track in tracks.items()
    ]


def camera_name(index: int) -> str:
    """The name of camera number ``index``."""
    return f"c{index + 1}"


def _side_by_side(
    job: Callable[[int, Callable[[int], None]], list[Track]],
    count: int,
    processes: int,
    advance: Callable[[int], None],
) -> list[list[Track]]:
    """The job's result for each number below ``count``, the work divided among processes; all end if one fails."""
    if min(processes, count) < 2:
        return [job(number, advance) for number in range(count)]
    context = multiprocessing.get_context("spawn")
    waiting, running, results = list(range(count)), dict[Connection, tuple[int, Any]](), dict[int, list[Track]]()
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                number = waiting.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_report, args=(job, number, theirs), daemon=True)
                process.start()
                theirs.close()
                running[ours] = number, process
            ready = wait(list(running))
            for pipe in [pipe for pipe in running if pipe in ready]:
                number, process = running[pipe]
                try:
                    message = pipe.recv()
                except EOFError:
                    process.join()
                    ended = f"the process that draws {camera_name(number)} was ended (exit code {process.exitcode})"
                    raise InputError(f"{ended}, perhaps for want of memory; free some and draw again") from None
                if isinstance(message, Exception):
                    raise message
                if isinstance(message, int):
                    advance(message)
                else:
                    results[number] = message
                    running.pop(pipe)
                    process.join()
    finally:
        for _, process in running.values():
            process.terminate()
            process.join()
    return [results[number] for number in range(count)]


def _report(job: Callable[[int, Callable[[int], None]], list[Track]], number: int, pipe: Connection) -> None:
    """Do the job in a process of its own: send its progress, and its result or its error at the end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process, which ends this one
    try:
        pipe.send(job(number, pipe.send))
    except Exception as error:
        pipe.send(error)


@contextmanager
def _video(path: Path, settings: Settings, quality: int) -> Iterator[Callable[[Bytes], None]]:
    """Give a function that adds a frame (H, W, 3) RGB to a new video; the same frames give the same file.

    VP9, since every browser plays it and its encoder's licence is permissive.
    """
    av = _av()
    with av.open(str(path), "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        options = {"crf": str(quality), "b": "0", "deadline": "realtime", "cpu-used": "8"}
        stream = container.add_stream("libvpx-vp9", rate=settings.fps, options=options)
        stream.height, stream.width = settings.size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = KEYFRAME_SECONDS * settings.fps
        stream.codec_context.thread_count = 1

        def add(frame: Bytes) -> None:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))

        yield add
        container.mux(stream.encode(None))


def _coarseness(camera: Camera) -> int:
    """The video's rate factor that goes with the JPEG quality of a camera's pictures."""
    worst, best = QUALITIES
    return round(float(np.interp(camera.quality, (worst, best), COARSENESS)))


def _av() -> Any:
    """PyAV.

    Raises:
        InputError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise InputError('footage needs PyAV; install it with: pip install "ccafl[video]"') from error
    return av


def _clock(seconds: float) -> str:
    """A time of the world's clock as ISO 8601."""
    return (FIRST_MORNING + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
