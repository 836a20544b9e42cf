"""Ray casting of a body through a pinhole camera: each pixel shows the nearest part that its ray hits, lit.

Pixels are computed with IEEE-exact arithmetic only (no library matrix products, no fast approximations), so that a
seed gives the same picture on every machine.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ccafl.synthetic.body import Floats, Parts, Texture
from ccafl.synthetic.person import Person
from ccafl.synthetic.variety import woven

Pixels = npt.NDArray[np.float32]
FOLDS = 0.13  # how much folds lighten and darken cloth
STRIPE, CHECK = 0.09, 0.12  # metres from one stripe or check to the next
SHADOW = 0.55  # share of the light that a shadow on the ground removes, at most


@dataclass(frozen=True, slots=True)
class View:
    """A pinhole camera in body coordinates, metres."""

    eye: Floats  # (3,)
    right: Floats  # (3,); these three are unit vectors along the camera's axes
    down: Floats
    forward: Floats
    sun: Floats  # (3,) unit vector towards the light
    sunshine: float  # strength of the sunlight
    sky: float  # strength of the ambient light


@dataclass(frozen=True, slots=True)
class Window:
    """The visible part of the picture plane, in tangents of the angle from the axis, and its size in pixels."""

    left: float
    top: float
    pixel: float  # side of a pixel
    height: int
    width: int


def extent(parts: Parts, view: View) -> Floats:
    """Left, top, right and bottom of each part on the picture plane, in tangents; (P, 4)."""
    seen = parts.corners() - view.eye
    depth = (seen * view.forward).sum(-1)
    across, along = (seen * view.right).sum(-1) / depth, (seen * view.down).sum(-1) / depth
    return np.stack([across.min(1), along.min(1), across.max(1), along.max(1)], 1)


def render(person: Person, parts: Parts, view: View, window: Window) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """Draw the body.

    Returns:
        (linear light (H, W, 3), 0 outside the body; mask of the body (H, W)).
    """
    nearest, depth = _trace(parts, view, window)
    rows, columns = np.nonzero(nearest >= 0)
    light = np.zeros((window.height, window.width, 3), np.float32)
    if len(rows):
        light[rows, columns] = _shade(
            person, parts, view, window, rows, columns, nearest[rows, columns], depth[rows, columns]
        )
    return light, nearest >= 0


def shadow(view: View, window: Window, spread: float) -> Pixels:
    """Share of its light that the ground keeps, (H, W): a shadow of radius ``spread`` metres around the feet."""
    u, v = _tangents(window)
    fall = view.forward[2] + view.right[2] * u + view.down[2] * v
    away = np.where(fall < -1e-3, -view.eye[2] / np.minimum(fall, -1e-3), 0)
    x = view.eye[0] + away * (view.forward[0] + view.right[0] * u + view.down[0] * v)
    y = view.eye[1] + away * (view.forward[1] + view.right[1] * u + view.down[1] * v)
    long = np.hypot(view.sun[0], view.sun[1]) / max(view.sun[2], 0.3)
    x, y = x + view.sun[0] * long * 0.4, y + view.sun[1] * long * 0.4
    near = (x * x + y * y) / (spread * spread * (1 + long))
    return np.where(away > 0, 1 - SHADOW / (1 + near * near), 1).astype(np.float32)


def _tangents(window: Window) -> tuple[Pixels, Pixels]:
    """Centre of each column (1, W) and row (H, 1) on the picture plane."""
    u = window.left + window.pixel * (np.arange(window.width) + 0.5)
    v = window.top + window.pixel * (np.arange(window.height) + 0.5)
    return u.astype(np.float32)[None], v.astype(np.float32)[:, None]


def _trace(parts: Parts, view: View, window: Window) -> tuple[npt.NDArray[np.int16], Pixels]:
    """The nearest part on each pixel's ray, -1 for none, and its depth along the view's axis; both (H, W)."""
    nearest = np.full((window.height, window.width), -1, np.int16)
    depth = np.full((window.height, window.width), np.inf, np.float32)
    u, v = _tangents(window)
    boxes = (extent(parts, view) - [window.left, window.top] * 2) / window.pixel
    lower = np.clip(np.floor(boxes[:, :2]), 0, None).astype(int)
    upper = np.clip(np.ceil(boxes[:, 2:]) + 1, None, [window.width, window.height]).astype(int)
    frames = np.array(parts.frames)
    eyes = (frames * (view.eye - np.array(parts.origins))[:, None, :]).sum(-1)  # (P, 3)
    axes = [(frames * axis).sum(-1).astype(np.float32) for axis in (view.forward, view.right, view.down)]
    for part, (profile, reach, cut) in enumerate(zip(parts.profiles, parts.ranges, parts.cuts, strict=True)):
        (left, top), (right, bottom) = lower[part], upper[part]
        if left >= right or top >= bottom:
            continue
        columns, rows = u[:, left:right], v[top:bottom]
        x, y, z = ((axes[0][part, i] + axes[1][part, i] * columns) + axes[2][part, i] * rows for i in range(3))
        ex, ey, ez = eyes[part].tolist()
        c0, c1, c2 = profile
        square = x * x + y * y - np.float32(c2) * (z * z)
        half = np.float32(ex) * x + np.float32(ey) * y - np.float32(c2 * ez + c1 / 2) * z
        rest = np.float32(ex * ex + ey * ey - c0 - c1 * ez - c2 * ez * ez)
        inside = half * half - square * rest
        with np.errstate(divide="ignore", invalid="ignore"):
            away = (-half - np.sqrt(np.maximum(inside, 0))) / square
        height = np.float32(ez) + away * z
        here = depth[top:bottom, left:right]
        hit = (inside > 0) & (square > 0) & (height >= reach[0]) & (height <= reach[1]) & (away > 0) & (away < here)
        if cut[3] < 1:
            a, b, c, limit = cut
            sideways = np.float32(a * ex + b * ey + c * ez)
            leaning = np.float32(a) * x + np.float32(b) * y + np.float32(c) * z
            hit &= sideways + away * leaning <= np.float32(limit)
        here[hit] = away[hit]
        nearest[top:bottom, left:right][hit] = part
    return nearest, depth


def _shade(
    person: Person,
    parts: Parts,
    view: View,
    window: Window,
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
    part: npt.NDArray[np.int16],
    away: Pixels,
) -> Pixels:
    """Linear light of M pixels of the body; (M, 3)."""
    u, v = (axis.ravel() for axis in _tangents(window))
    u, v = u[columns], v[rows]
    eye = view.eye.astype(np.float32)
    rays = [
        np.float32(view.forward[i]) + np.float32(view.right[i]) * u + np.float32(view.down[i]) * v for i in range(3)
    ]
    at = [eye[i] + away * rays[i] for i in range(3)]
    origins = np.array(parts.origins, np.float32)
    offsets = [at[i] - origins[part, i] for i in range(3)]
    frames = np.array(parts.frames, np.float32)
    x, y, z = (
        frames[part, i, 0] * offsets[0] + frames[part, i, 1] * offsets[1] + frames[part, i, 2] * offsets[2]
        for i in range(3)
    )
    profiles = np.array(parts.profiles, np.float32)
    slope = -(profiles[part, 1] / 2 + profiles[part, 2] * z)
    normal = [frames[part, 0, i] * x + frames[part, 1, i] * y + frames[part, 2, i] * slope for i in range(3)]
    length = np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2)
    normal = [component / length for component in normal]
    sun = view.sun.astype(np.float32)
    towards = normal[0] * sun[0] + normal[1] * sun[1] + normal[2] * sun[2]
    lengths = np.array(parts.lengths, np.float32)
    along = lengths[part, 0] + lengths[part, 1] * z
    radius = np.sqrt(np.maximum(x * x + y * y, 1e-9))
    colour = _reflectance(person, parts, part, x / radius, y / radius, z, along)
    strength = np.float32(view.sky) * (0.65 + 0.35 * normal[2]) + np.float32(view.sunshine) * np.maximum(towards, 0)
    lit: Pixels = colour * strength.astype(np.float32)[:, None]
    return lit


def _reflectance(
    person: Person, parts: Parts, part: npt.NDArray[np.int16], x: Pixels, y: Pixels, z: Pixels, along: Pixels
) -> Pixels:
    """Reflectance at M points of the surface; (M, 3).

    Args:
        x: sideways direction within the part, -1..1.
        y: forward direction, -1..1, positive in front.
        z: position along the part, in its own units.
        along: position in the part's texture, metres.
    """
    colour = np.array(parts.colours, np.float32)[part]
    texture = np.array(parts.textures)[part]
    trunk, sleeve = texture == Texture.TRUNK, texture == Texture.SLEEVE
    other = np.array(person.pattern_colour.surface, np.float32)
    if person.pattern == "striped":
        colour[(trunk | sleeve) & (along / STRIPE % 1 < 0.45)] = other
    elif person.pattern == "checked":
        colour[(trunk | sleeve) & ((along / CHECK % 1 < 0.5) == (x * 2.2 % 1 < 0.5))] = other
    elif person.pattern == "two-tone":
        colour[trunk & (along > 0.24 * person.height)] = other
        colour[sleeve & (along < 0.02)] = other
    elif person.pattern == "logo":
        middle = (x / 0.5) ** 2 + ((along - 0.21 * person.height) / 0.1) ** 2 < 1
        colour[trunk & middle & ((y > 0) | person.back_print)] = other
    if person.upper == "jacket":
        inner = trunk & (y > 0) & (np.abs(x) < 0.24) & (along < 0.3 * person.height)
        colour[inner] = other if person.pattern in ("plain", "logo") else np.float32(0.7)
    for wearing, fabric in ((trunk | sleeve, person.upper_fabric), (texture == Texture.CLOTH, person.lower_fabric)):
        colour[wearing] = woven(
            fabric, colour[wearing], person.pattern_colour.surface, x[wearing], y[wearing], along[wearing]
        )
    strap = np.array(person.bag_colour.surface, np.float32) * np.float32(0.7)
    if person.bag == "shoulder bag":
        slant = along - 0.14 * person.height + x * person.bag_side * 0.13 * person.height
        colour[trunk & (np.abs(slant) < 0.022)] = strap
    elif person.bag == "backpack":
        colour[trunk & (y > 0) & (np.abs(np.abs(x) - 0.62) < 0.1) & (along > 0.12 * person.height)] = strap
    face = texture == Texture.FACE
    eyes = face & (y > 0) & (np.abs(z - 0.08) < 0.1) & (np.abs(np.abs(x) - 0.4) < 0.17)
    mouth = face & (y > 0) & (np.abs(z + 0.5) < 0.06) & (np.abs(x) < 0.35)
    colour[eyes] *= np.float32(0.12)
    colour[mouth] *= np.float32(0.5)
    cloth = (texture == Texture.CLOTH) | trunk | sleeve | (texture == Texture.HAIR)
    wave = (along * 11 + x * 1.7 + y * 0.9) % 2 - 1  # folds, as parabolas
    fold = 1 + np.float32(FOLDS) * (2 * wave * wave - 1) * (np.abs(y) + 0.3)
    colour[cloth] *= fold.astype(np.float32)[cloth, None]
    return colour
