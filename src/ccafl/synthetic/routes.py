"""Who walks through which camera's view in footage, when, and along which path.

A person passes the cameras of the world's pattern in an order of their own, some of them again, and needs a walk's time
from one camera to the next. A passage begins and ends outside of the frame. As in pictures, most persons pass a camera
in the same direction.
"""

from dataclasses import dataclass, replace
from math import pi, sin

import numpy as np

from ccafl.synthetic.body import ANKLE, HIP, LONGEST_STRIDE_IN_SKIRT, Floats
from ccafl.synthetic.camera import Camera
from ccafl.synthetic.person import Person
from ccafl.synthetic.world import PASSAGE, ROUTE, START, TRANSIT, USUAL_VIEW_CHANCE, World

TRANSIT_SECONDS = (8, 40)  # from one camera's view to another's, for a person of usual pace
HURRY = 0.15  # by how much persons differ in it
RETURNS = 3  # times that a person comes back to one of their cameras, at most
START_SECONDS = (2, 10)  # from the first camera's start to another one's
TICK = 0.05  # seconds from one sample of a passage to the next
CADENCE = (0.85, 1.0)  # double steps a second
PAUSE_CHANCE, PAUSE_SECONDS = 0.25, (3, 10)  # that a person stands a while, and for how long
SLOWING = 0.6  # seconds from walking to standing
MARGIN = 1.2  # metres from the frame's edge to where a passage begins
VEER = 0.25  # how far the ends of a passage across the view differ in depth, relative to that of the scene


@dataclass(frozen=True, slots=True)
class Pose:
    """A person at one moment of a passage."""

    place: Floats  # (3,) metres, in the camera's scene
    heading: float  # radians: 0 towards the camera, pi / 2 to its right
    phase: float  # radians of the walking cycle
    pace: float  # 1 walking, 0 standing


@dataclass(frozen=True, slots=True)
class Passage:
    """A person's way through a camera's view, from outside of it to outside of it."""

    person: int
    camera: int
    begin: float  # seconds on the world's clock
    samples: Floats  # (T, 5): x, y, heading, phase and pace, one every `TICK` seconds

    @property
    def end(self) -> float:
        return self.begin + (len(self.samples) - 1) * TICK

    def at(self, time: float) -> Pose | None:
        """The person at a time on the world's clock; None before and after the passage."""
        if not self.begin <= time <= self.end:
            return None
        position = (time - self.begin) / TICK
        before = min(int(position), len(self.samples) - 2)
        share = position - before
        x, y, heading, phase, pace = ((1 - share) * self.samples[before] + share * self.samples[before + 1]).tolist()
        return Pose(np.array([x, y, 0.0]), heading, phase, pace)


def starts(world: World) -> list[float]:
    """When each camera's video begins, seconds on the world's clock; the first begins at 0."""
    drawn = [round(float(world.random(START, camera).uniform(*START_SECONDS)), 2) for camera in range(world.cameras)]
    return [0.0, *drawn[1:]]


def transit(world: World, one: int, other: int) -> float:
    """Seconds that a person of usual pace walks, out of sight, between two cameras."""
    return float(world.random(TRANSIT, min(one, other), max(one, other)).uniform(*TRANSIT_SECONDS))


def route(world: World, cameras: list[Camera], person: int, seconds: float) -> list[Passage]:
    """A person's passages, in order.

    Args:
        world: gives the person, and the cameras that they pass.
        cameras: all of the world's.
        person: its number.
        seconds: length of the footage; some of the route lies within it.
    """
    rng, who = world.random(ROUTE, person), world.person(person)
    order = rng.permutation(world.cameras_of(person)).tolist()
    for _ in range(int(rng.integers(RETURNS + 1))):
        order.append(int(rng.choice([camera for camera in order if camera != order[-1]] or order)))
    hurry, passages = float(rng.uniform(1 - HURRY, 1 + HURRY)), list[Passage]()
    for number, camera in enumerate(order):
        begin = passages[-1].end + hurry * transit(world, passages[-1].camera, camera) if passages else 0.0
        passages.append(_passage(world, cameras[camera], who, person, camera, number, begin))
    arrival = float(rng.uniform(-passages[-1].end, seconds))
    return [replace(passage, begin=arrival + passage.begin) for passage in passages]


def _passage(world: World, camera: Camera, who: Person, person: int, index: int, number: int, begin: float) -> Passage:
    """Passage ``number`` of a person's route, through camera number ``index``."""
    rng = world.random(PASSAGE, person, number)
    way = index if rng.random() < USUAL_VIEW_CHANCE else int(rng.integers(4))
    points = _path(camera, way % 4, rng)
    steps = np.diff(points, axis=0)
    walked = np.concatenate([[0], np.hypot(*steps.T).cumsum()])
    heading = np.unwrap(np.arctan2(steps[:, 0], -steps[:, 1]))
    stride = min(who.stride, LONGEST_STRIDE_IN_SKIRT) if who.lower == "skirt" else who.stride
    double_step = 4 * (HIP - ANKLE) * who.height * sin(stride)
    pace = _pace(walked[-1] / (double_step * float(rng.uniform(*CADENCE))), rng)
    gone = np.concatenate([[0], pace.cumsum()])
    gone *= walked[-1] / gone[-1]
    samples = np.stack(
        [
            np.interp(gone, walked, points[:, 0]),
            np.interp(gone, walked, points[:, 1]),
            np.interp(gone, (walked[1:] + walked[:-1]) / 2, heading),
            float(rng.uniform(0, 2 * pi)) + 2 * pi * gone / double_step,
            np.concatenate([pace[:1], pace]),
        ],
        axis=1,
    )
    return Passage(person, index, begin, samples)


def _pace(seconds: float, rng: np.random.Generator) -> Floats:
    """Speed at every tick of a walk of so many seconds, relative to the usual one; some persons stand a while."""
    stands = float(rng.uniform(*PAUSE_SECONDS)) if rng.random() < PAUSE_CHANCE else 0.0
    stop = float(rng.uniform(0.35, 0.65)) * seconds
    if not stands:
        return np.ones(max(2, round(seconds / TICK)))
    time = np.arange(round((seconds + stands + SLOWING) / TICK)) * TICK
    pace: Floats = np.maximum(1 - (time - stop) / SLOWING, (time - stop - SLOWING - stands) / SLOWING).clip(0, 1)
    return pace


def _path(camera: Camera, way: int, rng: np.random.Generator, points: int = 200) -> Floats:
    """A smooth path through the view: towards the camera (``way`` 0), away from it (1), to its right (2) or left (3);
    (points, 2) metres.
    """
    near, far = camera.walked
    first, last = rng.uniform(near, far, 2).tolist()
    if way < 2:
        middle = (near + far) / 2
        first, last = float(rng.uniform(middle, far)), float(rng.uniform(near, middle))
        sides = rng.choice([-1, 1], 2).tolist()
        inner = float(rng.uniform(-0.6, 0.6)) * _edge(camera, near)
        corners = [(sides[0] * _edge(camera, first), first), (inner, first), (inner, last)]
        corners.append((sides[1] * _edge(camera, last), last))
    else:
        last = min(max(first + float(rng.uniform(-VEER, VEER)) * (far - near), near), far)
        left, right = -_edge(camera, first), _edge(camera, last)
        corners = [(left, first), (left / 3, first), (right / 3, last), (right, last)]
    if way in (1, 3):
        corners.reverse()
    t = np.linspace(0, 1, points)[:, None]
    a, b, c, d = (np.array(corner) for corner in corners)
    curve: Floats = (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
    return curve


def _edge(camera: Camera, away: float) -> float:
    """How far to the side a person ``away`` metres along the ground is out of sight, metres."""
    width = camera.frame.width
    depth = away * float(camera.axes[2, 1]) - float(camera.eye[2] * camera.axes[2, 2])
    return depth * width / 2 / camera.focal + MARGIN
