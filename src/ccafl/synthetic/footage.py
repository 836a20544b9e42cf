"""What one camera films: frames with the persons who walk through its view, and the truth about them.

A frame is the empty scene with the persons' shadows, and the persons drawn into it from the farthest to the nearest;
what stands in front of the path hides them, too. The sensor comes last: slowly changing light, and noise.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, hypot, pi, sin

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from ccafl.synthetic.body import build
from ccafl.synthetic.camera import SHARPEST, TALL, Camera, expose, random_camera
from ccafl.synthetic.person import Person
from ccafl.synthetic.render import Window, extent, render, shadow
from ccafl.synthetic.routes import Passage, Pose
from ccafl.synthetic.world import CAMERA, GRAIN, World, seen_from_body

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
PICTURE = 128  # pixels; the height of the pictures that a camera's blur is meant for
SHADED = 1.4  # metres to each side of a person within which their shadow is drawn
COARSE = 4  # shadows are drawn this much smaller
DRIFT, DRIFT_SECONDS = 0.06, (60, 240)  # how far the light changes, and how long one change takes
SEEN = 0.1  # share of a person's pixels that must be inside the frame for them to count as seen
GRAINS, ROOM = 4, 32  # fields of noise, and by how many pixels each is larger than a frame


@dataclass(frozen=True, slots=True)
class Figure:
    """A person drawn for one frame, partly beyond its edges perhaps; h x w pixels."""

    left: int  # pixels from the frame's left and upper edge
    top: int
    colour: Bytes  # (h, w, 3), multiplied with the cover
    cover: Bytes  # (h, w): how much of each pixel the person covers, blurred by the lens
    body: Mask  # (h, w): pixels that belong to the person
    depth: float  # metres along the camera's axis


@dataclass(frozen=True, slots=True)
class Seen:
    """One person in one frame: the box in pixels from the frame's upper left corner, cut at its edges."""

    passage: int  # number of the passage among the camera's
    left: int
    top: int
    width: int
    height: int
    visibility: float  # share of the person's pixels that are inside the frame with nothing in front of them


def film_camera(world: World, index: int, size: tuple[int, int]) -> Camera:
    """Camera number ``index`` of the world, as it takes videos of ``size`` (height, width) pixels."""
    return random_camera(world.random(CAMERA, index), index, world.strain, footage=size)


def frames(
    world: World, camera: Camera, index: int, passages: Sequence[Passage], times: Sequence[float]
) -> Iterator[tuple[Bytes, list[Seen]]]:
    """The frames at these times, (H, W, 3) RGB, and who is to be seen in each.

    Args:
        world: gives the persons.
        camera: camera number ``index`` (`film_camera`).
        index: its number.
        passages: all through its view.
        times: of the frames, ascending, seconds on the world's clock.
    """
    scene, sensor = lens(camera, camera.frame), Sensor(world.random(GRAIN, index), camera)
    waiting = sorted(range(len(passages)), key=lambda number: passages[number].begin, reverse=True)
    persons: dict[int, Person] = {}
    standing: dict[int, Figure | None] = {}  # who stands still is drawn once
    for time in times:
        while waiting and passages[waiting[-1]].begin <= time:
            number = waiting.pop()
            persons[number] = world.person(passages[number].person)
        poses: list[Pose] = []
        figures: dict[int, Figure] = {}
        for number, person in list(persons.items()):
            pose = passages[number].at(time)
            if pose is None:
                del persons[number]
                continue
            figure = standing[number] if number in standing and not pose.pace else draw(camera, person, pose)
            standing.pop(number, None)
            if not pose.pace:
                standing[number] = figure
            poses.append(pose)
            if figure is not None:
                figures[number] = figure
        order = sorted(figures, key=lambda number: figures[number].depth)
        frame = shaded(camera, scene, poses)
        compose(camera, frame, [figures[number] for number in reversed(order)])
        seen = look(camera, [(number, figures[number]) for number in order])
        yield sensor.develop(frame, time), seen


def draw(camera: Camera, person: Person, pose: Pose) -> Figure | None:
    """A person in a pose, as the camera's lens shows them; None if no part of them is inside the frame."""
    moving = replace(person, stride=person.stride * pose.pace, arm_swing=person.arm_swing * pose.pace)
    parts = build(moving, pose.phase)
    view = seen_from_body(camera, pose.place, pose.heading)
    boxes, sigma = extent(parts, view) * camera.focal, hypot(SHARPEST, _sigma(camera))
    room = ceil(3 * sigma) + 1
    middle = np.array([camera.frame.width / 2, camera.frame.height / 2])
    left, top = np.floor(boxes[:, :2].min(0) + middle).astype(int) - room
    right, bottom = np.ceil(boxes[:, 2:].max(0) + middle).astype(int) + room
    if right <= 0 or bottom <= 0 or left >= camera.frame.width or top >= camera.frame.height:
        return None
    window = Window(
        (left - middle[0]) / camera.focal,
        (top - middle[1]) / camera.focal,
        1 / camera.focal,
        int(bottom - top),
        int(right - left),
    )
    light, body = render(person, parts, view, window)
    sharp = np.zeros((*body.shape, 4), np.uint8)
    sharp[body, :3] = expose(camera, light[body])
    sharp[body, 3] = 255
    blurred = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(sigma)))
    depth = float(((pose.place - camera.eye) * camera.axes[2]).sum())
    return Figure(int(left), int(top), blurred[..., :3], blurred[..., 3], body, depth)


def lens(camera: Camera, picture: Image.Image) -> Bytes:
    """A picture as large as the frame, as the lens blurs it."""
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(_sigma(camera))))


def shaded(camera: Camera, scene: Bytes, poses: Sequence[Pose]) -> Bytes:
    """A copy of the empty scene with the shadows of persons on the ground."""
    frame = scene.copy()
    high, broad = frame.shape[:2]
    for pose in poses:
        ground = pose.place + np.array([[x, y, 0] for x in (-SHADED, SHADED) for y in (-SHADED, SHADED)]) - camera.eye
        right, down, ahead = ((ground * axis).sum(1) for axis in camera.axes)
        ahead = np.maximum(ahead, 0.1)
        across, along = right / ahead * camera.focal + broad / 2, down / ahead * camera.focal + high / 2
        left, top = max(int(across.min()), 0), max(int(along.min()), 0)
        width, height = min(ceil(across.max()), broad) - left, min(ceil(along.max()), high) - top
        if width <= 0 or height <= 0:
            continue
        window = Window(
            (left - broad / 2) / camera.focal,
            (top - high / 2) / camera.focal,
            COARSE / camera.focal,
            ceil(height / COARSE),
            ceil(width / COARSE),
        )
        kept = (shadow(seen_from_body(camera, pose.place, pose.heading), window, 0.3) * 255).astype(np.uint8)
        size = (window.width * COARSE, window.height * COARSE)
        smooth = np.array(Image.fromarray(kept).resize(size, Image.Resampling.BILINEAR))[:height, :width]
        here = np.s_[top : top + height, left : left + width]
        smooth[np.isfinite(camera.barrier[here])] = 255
        frame[here] = frame[here].astype(np.uint16) * smooth[..., None] // 255
    return frame


def compose(camera: Camera, frame: Bytes, figures: Sequence[Figure]) -> None:
    """Draw figures into a frame, in their order: the farthest comes first."""
    for figure in figures:
        here, part = _overlap(frame, figure)
        open_to = camera.barrier[here] > figure.depth
        cover = figure.cover[part] * open_to
        behind = frame[here].astype(np.uint16) * (255 - cover.astype(np.uint16))[..., None] // 255
        frame[here] = np.minimum(behind + figure.colour[part] * open_to[..., None], 255)


def look(camera: Camera, figures: Sequence[tuple[int, Figure]]) -> list[Seen]:
    """What is to be seen of figures, each with its passage's number, the nearest first; those of whom less than `SEEN`
    is inside the frame are left out.
    """
    taken = np.zeros(camera.barrier.shape, bool)
    seen = []
    for number, figure in figures:
        here, part = _overlap(taken, figure)
        body = figure.body[part]
        free = body & ~taken[here] & (camera.barrier[here] > figure.depth)
        taken[here] |= body
        if body.sum() < SEEN * figure.body.sum():
            continue
        rows, columns = np.flatnonzero(body.any(1)), np.flatnonzero(body.any(0))
        left, top = here[1].start + int(columns[0]), here[0].start + int(rows[0])
        width, height = int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1
        seen.append(Seen(number, left, top, width, height, float(free.sum() / figure.body.sum())))
    return seen


class Sensor:
    """How a camera's light changes slowly, and its noise from frame to frame."""

    def __init__(self, rng: np.random.Generator, camera: Camera) -> None:
        size = (GRAINS, camera.frame.height + ROOM, camera.frame.width + ROOM, 3)
        self._grains = (rng.standard_normal(size, np.float32) * np.float32(camera.noise)).round().astype(np.int16)
        self._turn, self._seconds = float(rng.uniform(0, 2 * pi)), float(rng.uniform(*DRIFT_SECONDS))
        self._rng = rng

    def develop(self, frame: Bytes, time: float) -> Bytes:
        """The pixels that the sensor gives for a frame, at a time in seconds; each call has noise of its own."""
        exposure = 1 + DRIFT * sin(self._turn + 2 * pi * time / self._seconds)
        grain, down, right = self._rng.integers((GRAINS, ROOM, ROOM)).tolist()
        high, broad = frame.shape[:2]
        developed = (np.arange(256) * exposure).astype(np.int16)[frame]
        developed += self._grains[grain, down : down + high, right : right + broad]
        return developed.clip(0, 255, out=developed).astype(np.uint8)


def _sigma(camera: Camera) -> float:
    """The lens's blur in pixels of the frame."""
    return camera.blur * camera.focal * TALL / camera.distance / PICTURE


def _overlap(frame: npt.NDArray[np.generic], figure: Figure) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a figure lies in the frame, and that part in the figure's own pixels; both empty if it lies outside."""
    high, broad = frame.shape[:2]
    tall, wide = figure.body.shape
    top, bottom = np.clip([figure.top, figure.top + tall], 0, high).tolist()
    left, right = np.clip([figure.left, figure.left + wide], 0, broad).tolist()
    here = np.s_[top:bottom, left:right]
    return here, np.s_[top - figure.top : bottom - figure.top, left - figure.left : right - figure.left]
