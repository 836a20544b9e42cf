"""Pictures of the synthetic world with captions, to train and test a CLIP on."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ccafl.synthetic.world import CAPTIONED, World

Integers = npt.NDArray[np.int64]
WALK_PICTURES = 6  # pictures in a walk, one of which is used


@dataclass(frozen=True)
class CaptionedWorld:
    """``views`` pictures of every person of a world, each from a different camera.

    The cameras are drawn at random, without `World.cameras_of`, since a person passes only a few of the many cameras.
    """

    world: World
    views: int
    size: tuple[int, int] = (128, 64)

    @cached_property
    def pictures(self) -> Integers:
        """(n, 3): person, camera and index in the walk of each picture, sorted by person."""
        world, rows = self.world, []
        for person in range(world.persons):
            rng = world.random(CAPTIONED, person)
            cameras = rng.choice(world.cameras, self.views, replace=False)
            indices = rng.integers(WALK_PICTURES, size=self.views)
            rows.append(np.stack([np.full(self.views, person), cameras, indices], 1))
        return np.concatenate(rows)

    def caption(self, picture: int, wording: int = 0) -> str:
        """A caption of a picture, in one of many wordings."""
        person, camera, index = self.pictures[picture].tolist()
        return self.world.caption(person, camera, index, wording)

    def draw(
        self, images: npt.NDArray[np.uint8], processes: int = 1, advance: Callable[[int], None] | None = None
    ) -> None:
        """Fill ``images`` (n, 3, H, W) with the pictures, one camera at a time, the cameras divided among processes."""
        cameras = self.pictures[:, 1]
        rows_of = {camera: np.flatnonzero(cameras == camera) for camera in np.unique(cameras).tolist()}
        if processes < 2:
            for rows in rows_of.values():
                images[rows] = self._render(rows)
                if advance is not None:
                    advance(len(rows))
            return
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            waiting = {pool.submit(self._render, rows): rows for rows in rows_of.values()}
            for done in as_completed(waiting):
                rows = waiting.pop(done)
                images[rows] = done.result()
                if advance is not None:
                    advance(len(rows))

    def _render(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.uint8]:
        pictures = (
            self.world.picture(person, camera, index, self.size)
            for person, camera, index in self.pictures[rows].tolist()
        )
        return np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in pictures])
