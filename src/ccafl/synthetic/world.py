"""The synthetic world: who walks past which camera, and the pictures taken there.

Every random choice has its own generator, numbered by purpose, so that a picture depends only on the seed, its person,
its camera and its index in the walk: not on how many others there are, nor on the order of rendering.
"""

import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import cos, pi, radians, sin

import numpy as np
import numpy.typing as npt
from PIL import Image

from ccafl.synthetic.body import Floats, build
from ccafl.synthetic.camera import FRAME_HEIGHT, FRAME_WIDTH, Camera, develop, expose, random_camera
from ccafl.synthetic.caption import describe
from ccafl.synthetic.person import Person, random_person
from ccafl.synthetic.render import View, Window, extent, render, shadow
from ccafl.synthetic.variety import vary
from ccafl.synthetic.visits import PATTERNS

# the generators' purposes
PERSON, CAMERA, VISIT, WALK, IMAGE, LABELS, CAPTION, CAPTIONED, HEADING, TIME, VARIETY = range(11)
ROUTE, PASSAGE, TRANSIT, START, GRAIN = range(11, 16)  # of footage
PRETRAINING_SEED = 2**31  # seeds from here on are reserved for pretraining: no other world shares its persons
VIEWS = (0.0, 180.0, 90.0, -90.0)  # degrees: towards the camera, away, to its right, to its left
STRAIN = 1.85  # how far cameras depart from a faithful picture, and so from each other
PRETRAINING_STRAIN = 1.0  # milder, for the cameras that clip-synth learns from
USUAL_VIEW_CHANCE = 0.75  # that a walk follows the camera's usual direction
WALK_LENGTHS = (2 / 3, 5 / 3)  # shortest (and most frequent) and longest walk, relative to the mean number of pictures
FIRST_MORNING, OPENING_HOURS = datetime(2026, 5, 4, 8, tzinfo=UTC), 10
CAMERA_SECONDS = (30, 180)  # a person's time from one camera to the next
PHASE_STEP = 0.95  # radians of the walking cycle between pictures
STEP = 0.35  # metres between pictures
OVERSAMPLING = 2  # pictures are drawn this much larger, for antialiasing
CACHED_CAMERAS = 8  # drawn cameras kept in memory


@dataclass(frozen=True, slots=True)
class Walk:
    """A person's walk past a camera."""

    heading: float  # degrees at the first picture: 0 towards the camera, 90 to its right
    turn: float  # degrees from one picture to the next
    phase: float  # radians of the walking cycle at the first picture
    across: float  # position at the first picture, -1..1 from left to right of the visible path
    away: float  # metres beyond the middle of the path at the first picture
    length: float  # number of pictures relative to the mean


@dataclass(frozen=True)
class World:
    """Persons 0..persons-1 and cameras 0..cameras-1 made from a seed; persons and cameras >= 2, seed >= 0.

    ``strain`` is how far cameras depart from a faithful picture; ``visits`` names the pattern (`PATTERNS`) by which
    persons pass cameras. A ``varied`` world has more kinds of clothes, people and scenes, and worse boxes; clip-synth
    learned from such.
    """

    seed: int
    persons: int
    cameras: int
    strain: float = STRAIN
    visits: str = "usual"
    varied: bool = False

    def random(self, *key: int) -> np.random.Generator:
        """The generator for one purpose and its indices."""
        return np.random.default_rng([self.seed, *key])

    def person(self, index: int) -> Person:
        person = random_person(self.random(PERSON, index))
        return vary(person, self.random(VARIETY, index)) if self.varied else person

    def camera(self, index: int) -> Camera:
        return _camera(self.seed, index, self.strain, self.varied)

    def cameras_of(self, person: int) -> tuple[int, ...]:
        """The cameras that a person passes, in ascending order."""
        return PATTERNS[self.visits](self.random(VISIT, person), self.cameras)

    def usual_heading(self, camera: int) -> float:
        """The direction in which most persons pass a camera, degrees; consecutive cameras see different sides."""
        return VIEWS[camera % len(VIEWS)] + float(self.random(HEADING, camera).uniform(-20, 20))

    def walk(self, person: int, camera: int) -> Walk:
        """How a person passes a camera."""
        rng = self.random(WALK, person, camera)
        other = VIEWS[int(rng.integers(len(VIEWS)))]
        usual = rng.random() < USUAL_VIEW_CHANCE
        shortest, longest = WALK_LENGTHS
        return Walk(
            heading=(self.usual_heading(camera) if usual else other) + float(rng.uniform(-25, 25)),
            turn=float(rng.uniform(-5, 5)),
            phase=float(rng.uniform(0, 2 * pi)),
            across=float(rng.uniform(-1, 1)),
            away=float(rng.uniform(-0.7, 0.7)),
            length=float(rng.triangular(shortest, shortest, longest)),
        )

    def count(self, person: int, camera: int, images: int) -> int:
        """How many pictures a walk yields if the mean is ``images``; at least two unless every walk is to yield one."""
        return 1 if images == 1 else max(2, round(self.walk(person, camera).length * images))

    def time(self, person: int, camera: int, index: int) -> datetime:
        """When a picture is taken: persons arrive throughout the day and pass the cameras one after another."""
        random = self.random(TIME, person)
        arrival, pause = random.uniform(0, OPENING_HOURS * 3600), random.uniform(*CAMERA_SECONDS)
        return FIRST_MORNING + timedelta(seconds=round(float(arrival) + camera * float(pause) + index))

    def heading(self, person: int, camera: int, index: int) -> float:
        """The person's walking direction in a picture, degrees: 0 towards the camera, 90 to its right."""
        walk = self.walk(person, camera)
        return walk.heading + index * walk.turn

    def caption(self, person: int, camera: int, index: int, wording: int = 0) -> str:
        """A sentence describing a picture, true to the person's attributes and visible side."""
        rng = self.random(CAPTION, person, camera, index, wording)
        return describe(self.person(person), self.heading(person, camera, index), rng)

    def picture(self, person: int, camera: int, index: int, size: tuple[int, int] = (128, 64)) -> Image.Image:
        """Picture ``index`` of a person's walk past a camera, RGB of (height, width), as decoded from the JPEG."""
        return Image.open(io.BytesIO(self.jpeg(person, camera, index, size))).convert("RGB")

    def jpeg(self, person: int, camera: int, index: int, size: tuple[int, int] = (128, 64)) -> bytes:
        """The JPEG file of that picture."""
        eye, walk, who = self.camera(camera), self.walk(person, camera), self.person(person)
        rng = self.random(IMAGE, person, camera, index)
        heading = radians(self.heading(person, camera, index))
        place = np.array([walk.across * eye.reach, eye.distance + walk.away, 0.0])
        place[:2] += (index * STEP % 2 - 1) * np.array([sin(heading), -cos(heading)])
        parts = build(who, walk.phase + index * PHASE_STEP)
        view = seen_from_body(eye, place, heading)
        window = _window(eye, extent(parts, view), size, rng)
        light, mask = render(who, parts, view, window)
        canvas = _shaded_background(eye, window, view)
        canvas[mask] = expose(eye, light[mask])
        shown = Image.composite(
            _cut(eye.frame, eye, window), Image.fromarray(canvas), _cut(eye.foreground, eye, window)
        )
        developed = develop(eye, shown.reduce(OVERSAMPLING), float(rng.uniform(0.9, 1.1)), rng)
        file = io.BytesIO()
        developed.save(file, "jpeg", quality=eye.quality)
        return file.getvalue()


@lru_cache(maxsize=CACHED_CAMERAS)
def _camera(seed: int, index: int, strain: float, varied: bool) -> Camera:
    return random_camera(World(seed, 2, 2).random(CAMERA, index), index, strain, varied=varied)


def seen_from_body(camera: Camera, place: Floats, heading: float) -> View:
    """The camera in the coordinates of a body standing at ``place`` and walking in direction ``heading`` (radians)."""
    forward = np.array([sin(heading), -cos(heading), 0.0])
    turned = np.stack([np.array([-forward[1], forward[0], 0.0]), forward, np.array([0.0, 0.0, 1.0])])

    def to_body(vector: Floats) -> Floats:
        seen: Floats = (turned * vector).sum(-1)
        return seen

    right, down, ahead = (to_body(axis) for axis in camera.axes)
    return View(to_body(camera.eye - place), right, down, ahead, to_body(camera.sun), camera.sunshine, camera.sky)


def _window(camera: Camera, parts: Floats, size: tuple[int, int], rng: np.random.Generator) -> Window:
    """A detector's slightly imprecise box around a person whose parts extend over ``parts`` (P, 4), in tangents."""
    left, top, right, bottom = parts[:, 0].min(), parts[:, 1].min(), parts[:, 2].max(), parts[:, 3].max()
    height, width = size[0] * OVERSAMPLING, size[1] * OVERSAMPLING
    pixel = (bottom - top) * camera.scale * float(rng.uniform(0.95, 1.07)) / height
    across, along = rng.uniform(-0.05, 0.05), rng.uniform(-0.025, 0.025)
    middle = (left + right) / 2 + (camera.shift[0] + across) * width * pixel
    centre = (top + bottom) / 2 + (camera.shift[1] + along) * height * pixel
    return Window(middle - width * pixel / 2, centre - height * pixel / 2, pixel, height, width)


def _cut(frame: Image.Image, camera: Camera, window: Window) -> Image.Image:
    """Crop a window from an image as large as the camera's frame; a window beyond the edge is moved inside."""
    scale = camera.focal
    x, y = window.left * scale + FRAME_WIDTH / 2, window.top * scale + FRAME_HEIGHT / 2
    broad, tall = window.width * window.pixel * scale, window.height * window.pixel * scale
    x, y = min(max(x, 0), FRAME_WIDTH - broad), min(max(y, 0), FRAME_HEIGHT - tall)
    size = (window.width, window.height)
    if broad > FRAME_WIDTH or tall > FRAME_HEIGHT:
        return frame.resize(size, Image.Resampling.BILINEAR)
    return frame.resize(size, Image.Resampling.BILINEAR, box=(x, y, x + broad, y + tall))


def _shaded_background(camera: Camera, window: Window, view: View) -> npt.NDArray[np.uint8]:
    """A window of the empty scene with the person's shadow on the ground; (H, W, 3) uint8."""
    small = Window(
        window.left,
        window.top,
        window.pixel * OVERSAMPLING,
        window.height // OVERSAMPLING,
        window.width // OVERSAMPLING,
    )
    kept = (shadow(view, small, 0.3) * 255).astype(np.uint8)
    cover = Image.fromarray(kept).resize((window.width, window.height), Image.Resampling.BILINEAR)
    ground = np.asarray(_cut(camera.frame, camera, window)).astype(np.uint16)
    shaded: npt.NDArray[np.uint8] = (ground * np.asarray(cover)[..., None] // 255).astype(np.uint8)
    return shaded
