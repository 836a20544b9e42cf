"""The synthetic world: who walks past which camera, and every picture of it.

Everything random comes from a generator of its own, numbered by what it is for, so that a picture depends on the
seed, its person, its camera and its place in the walk, and on nothing else: not on how many others there are, nor on
the order of rendering.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from ccafl.synthetic.camera import OVERSAMPLING, VIEWS, Camera, photograph, random_camera, random_shot
from ccafl.synthetic.person import Person, Pose, draw_person, random_person

PERSON, CAMERA, VISIT, WALK, IMAGE, LABELS = range(6)  # what a random generator is for
VISIT_CHANCE = 0.62  # that a person passes a camera; two cameras see each person whatever comes
USUAL_VIEW_CHANCE = 0.75  # that a walk shows the side that the camera mostly sees
WALK_LENGTHS = (2 / 3, 5 / 3)  # shortest (and most frequent) and longest walk, of the mean number of pictures
PHASE_STEP = 0.95  # radians of the walking cycle between pictures
PLACE_STEP = 0.07  # of the scene's length between pictures


@dataclass(frozen=True, slots=True)
class Walk:
    """A person's way past a camera."""

    yaw: float  # degrees at the first picture
    turn: float  # degrees from one picture to the next
    phase: float  # radians of the walking cycle at the first picture
    place: float  # 0..1 along the scene at the first picture
    step: float  # along the scene from one picture to the next
    length: float  # pictures, in shares of the mean


@dataclass(frozen=True)
class World:
    """Persons 0..persons-1 and cameras 0..cameras-1 made from a seed; persons and cameras >= 2, seed >= 0."""

    seed: int
    persons: int
    cameras: int

    def random(self, *key: int) -> np.random.Generator:
        """The generator of one purpose and its indices."""
        return np.random.default_rng([self.seed, *key])

    def person(self, index: int) -> Person:
        return random_person(self.random(PERSON, index))

    def camera(self, index: int) -> Camera:
        return self._all_cameras[index]

    @cached_property
    def _all_cameras(self) -> tuple[Camera, ...]:
        return tuple(random_camera(self.random(CAMERA, index), index) for index in range(self.cameras))

    def cameras_of(self, person: int) -> tuple[int, ...]:
        """The cameras that a person passes, two at least, in their order."""
        draws = self.random(VISIT, person).random(self.cameras)
        limit = max(VISIT_CHANCE, float(np.sort(draws)[1]))
        return tuple(np.flatnonzero(draws <= limit).tolist())

    def walk(self, person: int, camera: int) -> Walk:
        """How a person passes a camera."""
        rng = self.random(WALK, person, camera)
        other = VIEWS[int(rng.integers(len(VIEWS)))]
        usual = rng.random() < USUAL_VIEW_CHANCE
        shortest, longest = WALK_LENGTHS
        return Walk(
            yaw=(self.camera(camera).yaw if usual else other) + float(rng.uniform(-22, 22)),
            turn=float(rng.uniform(-5, 5)),
            phase=float(rng.uniform(0, 2 * np.pi)),
            place=float(rng.uniform(0, 1)),
            step=float(rng.choice([-1, 1])) * PLACE_STEP,
            length=float(rng.triangular(shortest, shortest, longest)),
        )

    def count(self, person: int, camera: int, images: int) -> int:
        """How many pictures a walk gives where the mean is ``images`` (two at least)."""
        return max(2, round(self.walk(person, camera).length * images))

    def picture(self, person: int, camera: int, index: int, size: tuple[int, int] = (128, 64)) -> Image.Image:
        """Picture ``index`` of a person's walk past a camera: RGB of the given height and width."""
        walk, eye = self.walk(person, camera), self.camera(camera)
        rng = self.random(IMAGE, person, camera, index)
        yaw = walk.yaw + index * walk.turn + float(rng.uniform(-4, 4))
        pose = Pose(yaw=yaw, phase=walk.phase + index * PHASE_STEP, elevation=eye.elevation)
        shot = random_shot(rng, walk.place + index * walk.step)
        figure = draw_person(self.person(person), pose, (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING))
        return photograph(eye, shot, figure, rng)
