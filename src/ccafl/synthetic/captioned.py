"""Pictures of the synthetic world with sentences about them, for a CLIP to learn from and be tested on."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ccafl.synthetic.world import MOMENT, World

Integers = npt.NDArray[np.int64]
MOMENTS = 6  # of a walk, one of which is taken


@dataclass(frozen=True)
class CaptionedWorld:
    """``views`` pictures of every person of a world, each from another camera.

    `World.cameras_of` has no part in it: there are many cameras, and a person passes few.
    """

    world: World
    views: int
    size: tuple[int, int] = (128, 64)

    @cached_property
    def pictures(self) -> Integers:
        """(n, 3): person, camera and place in the walk of each picture; persons in order."""
        world, rows = self.world, []
        for person in range(world.persons):
            rng = world.random(MOMENT, person)
            cameras = rng.choice(world.cameras, self.views, replace=False)
            moments = rng.integers(MOMENTS, size=self.views)
            rows.append(np.stack([np.full(self.views, person), cameras, moments], 1))
        return np.concatenate(rows)

    def caption(self, picture: int, wording: int = 0) -> str:
        """One of many wordings of what a picture shows."""
        person, camera, moment = self.pictures[picture].tolist()
        return self.world.caption(person, camera, moment, wording)

    def draw(
        self, images: npt.NDArray[np.uint8], processes: int = 1, advance: Callable[[int], None] | None = None
    ) -> None:
        """Fill ``images`` (n, 3, H, W) with the pictures, a camera at a time, cameras shared by the processes."""
        cameras = self.pictures[:, 1]
        shown = {camera: np.flatnonzero(cameras == camera) for camera in np.unique(cameras).tolist()}
        if processes < 2:
            for taken in shown.values():
                images[taken] = self._drawn(taken)
                if advance is not None:
                    advance(len(taken))
            return
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            waiting = {pool.submit(self._drawn, taken): taken for taken in shown.values()}
            for done in as_completed(waiting):
                taken = waiting.pop(done)
                images[taken] = done.result()
                if advance is not None:
                    advance(len(taken))

    def _drawn(self, taken: npt.NDArray[np.intp]) -> npt.NDArray[np.uint8]:
        pictures = (
            self.world.picture(person, camera, moment, self.size)
            for person, camera, moment in self.pictures[taken].tolist()
        )
        return np.stack([np.asarray(picture).transpose(2, 0, 1) for picture in pictures])
