"""Small videos of people made of coloured blocks, with the truth about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

RATE = 10  # frames a second
HEIGHT, WIDTH = 160, 240
TALL, BROAD = 80, 28  # a person, pixels


@dataclass(frozen=True)
class Walk:
    """A person who crosses the view: looks, the first frame's left edge, pixels a frame, and the upper edge."""

    looks: int
    left: int
    speed: float
    top: int = 50


def scene(walks: Sequence[Walk], frame: int) -> NDArray[np.uint8]:
    """(HEIGHT, WIDTH, 3): the persons before a background, `frame` counted from 0."""
    image = np.random.default_rng(0).integers(90, 110, (HEIGHT, WIDTH, 3), np.uint8)
    for walk in walks:
        left, top, right, bottom = edges(walk, frame)
        blocks = np.random.default_rng(walk.looks).integers(0, 255, (TALL // 8, BROAD // 7, 3), np.uint8)
        person = blocks.repeat(8, 0).repeat(7, 1)
        person[TALL // 2 :, (BROAD // 4) * (frame // 3 % 4) :][:, : BROAD // 4] = 30  # legs, so that poses differ
        seen = slice(max(0, left), max(0, min(WIDTH, right)))
        image[top:bottom, seen] = person[:, seen.start - left : max(seen.start - left, seen.stop - left)]
    return image


def edges(walk: Walk, frame: int) -> tuple[int, int, int, int]:
    left = round(walk.left + walk.speed * frame)
    return left, walk.top, left + BROAD, walk.top + TALL


def write_video(path: Path, images: Sequence[NDArray[np.uint8]], milliseconds: Sequence[int] = ()) -> Path:
    """An H.264 video, `RATE` frames a second unless their times are given."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "16", "g": "10", "bf": "0"}
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = milliseconds[number] if milliseconds else number * 1000 // RATE
            frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_truth(path: Path, walks: Sequence[Walk], frames: int, *, tracks: bool = True) -> Path:
    """The walks in MOTChallenge's form; only those that are in view."""
    lines = []
    for frame in range(frames):
        for number, walk in enumerate(walks, start=1):
            left, top, right, _ = edges(walk, frame)
            if right > 0 and left < WIDTH:
                lines.append(f"{frame + 1},{number if tracks else -1},{left},{top},{BROAD},{TALL},1,1,1\n")
    path.write_text("".join(lines))
    return path


@dataclass(frozen=True)
class Filmed:
    """A video and its truth."""

    video: Path
    tracks: Path
    detections: Path
    walks: tuple[Walk, ...]
    frames: int


@pytest.fixture(scope="session")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Filmed:
    """Two persons who cross the view one after the other, and one far off; tests do not change it."""
    folder = tmp_path_factory.mktemp("filmed")
    walks = (Walk(1, -20, 5), Walk(2, 230, -4), Walk(3, -250, 5, top=60))
    frames = 90
    images = [scene(walks, frame) for frame in range(frames)]
    return Filmed(
        write_video(folder / "hall.mp4", images),
        write_truth(folder / "tracks.txt", walks, frames),
        write_truth(folder / "detections.txt", walks, frames, tracks=False),
        walks,
        frames,
    )
