"""Which cameras a person passes, in worlds that differ in it.

Each pattern draws one person's cameras, in ascending order, from that person's own generator and the number of cameras.
"""

from collections.abc import Callable, Sequence

import numpy as np

from ccafl.errors import InputError

Cameras = tuple[int, ...]
CHANCE = 0.62  # that a person passes a camera
SMALLEST = 1 / 16  # the chance of the least visited camera in an uneven world


def usual(rng: np.random.Generator, cameras: int) -> Cameras:
    """Each camera with the same chance, and at least two."""
    return _at_least_two(rng.random(cameras).tolist(), CHANCE)


def pairs(rng: np.random.Generator, cameras: int) -> Cameras:
    """Both cameras of one pair: 0 and 1, or 2 and 3, and so on; pairs share nobody."""
    first = 2 * int(rng.integers(cameras // 2))
    return first, first + 1


def chain(rng: np.random.Generator, cameras: int) -> Cameras:
    """A camera and the next one; only neighbours share people."""
    first = int(rng.integers(cameras - 1))
    return first, first + 1


def apart(rng: np.random.Generator, cameras: int) -> Cameras:
    """Camera 0 alone, which sees about as many people as each other camera; or the others, as usual."""
    if rng.random() < CHANCE / (1 + CHANCE):
        return (0,)
    return tuple(1 + camera for camera in usual(rng, cameras - 1))


def uneven(rng: np.random.Generator, cameras: int) -> Cameras:
    """At least two, with chances that fall geometrically from 1 for camera 0 to `SMALLEST` for the last."""
    chances = SMALLEST ** (np.arange(cameras) / (cameras - 1))
    return _at_least_two((rng.random(cameras) / chances).tolist(), 1.0)


def half(rng: np.random.Generator, cameras: int) -> Cameras:
    """A single camera for half of the people, as usual for the others."""
    if rng.random() < 0.5:
        return (int(rng.integers(cameras)),)
    return usual(rng, cameras)


PATTERNS: dict[str, Callable[[np.random.Generator, int], Cameras]] = {
    pattern.__name__: pattern for pattern in (usual, pairs, chain, apart, uneven, half)
}


def check_visits(name: str, cameras: int) -> None:
    """Refuse a pattern that does not exist or does not suit the number of cameras, two or more.

    Raises:
        InputError: as said.
    """
    if name not in PATTERNS:
        raise InputError(f"visits {name}: no such pattern; choose from {', '.join(PATTERNS)}")
    if name == "pairs" and cameras % 2:
        raise InputError(f"visits pairs: {cameras} cameras do not make pairs; give an even number of cameras")
    if name == "apart" and cameras < 3:
        raise InputError(f"visits apart: {cameras} cameras are too few; give 3 or more cameras")


def _at_least_two(draws: Sequence[float], limit: float) -> Cameras:
    """The cameras with draws up to ``limit``, or up to the second smallest draw if that is larger."""
    limit = max(limit, sorted(draws)[1])
    return tuple(camera for camera, draw in enumerate(draws) if draw <= limit)
