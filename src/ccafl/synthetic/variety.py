"""What real pictures have and the plain world lacks, for worlds to pretrain on: children, long coats, open umbrellas,
clothes in every shade with woven and printed fabrics, scenes with texture, and detectors with worse boxes.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from ccafl.synthetic.person import Colour, Fabric, Garment, Person, Weave

Pixels = npt.NDArray[np.float32]
SHADE, TINT = 0.3, 0.12  # standard deviations of the log of a garment's lightness, and of its channels
WEAVES: tuple[Weave, ...] = ("smooth", "mottled", "printed", "plaid", "faded")
MORE_COLOURS: dict[str, Colour] = {
    "purple": (0.16, 0.04, 0.3),
    "orange": (0.62, 0.19, 0.02),
    "turquoise": (0.03, 0.34, 0.34),
    "lime": (0.28, 0.5, 0.04),
    "olive": (0.13, 0.13, 0.05),
    "navy": (0.015, 0.022, 0.08),
    "maroon": (0.14, 0.016, 0.025),
    "violet": (0.42, 0.3, 0.62),
    "magenta": (0.5, 0.03, 0.17),
}
MORE_CHANCE = 0.35  # that a garment has one of these colours
TILE = 24  # cells on a side of a fabric's random tile, which repeats


def vary(person: Person, rng: np.random.Generator) -> Person:
    """The person with clothes of more shades, fabrics and cuts; some are children, some hold an umbrella up."""
    child = rng.random() < 0.08
    return replace(
        person,
        height=float(rng.uniform(1.1, 1.5)) if child else person.height + float(rng.normal(0, 0.04)),
        build=person.build * float(rng.uniform(0.95, 1.25)),
        upper_colour=_shaded(person.upper_colour, rng),
        pattern_colour=_shaded(person.pattern_colour, rng),
        lower_colour=_shaded(person.lower_colour, rng),
        shoes=_shaded(person.shoes, rng, 0.1),
        bag_colour=_shaded(person.bag_colour, rng),
        upper_fabric=_fabric(rng, plain=person.pattern != "plain"),
        lower_fabric=_fabric(rng, plain=False),
        coat=float(rng.uniform(0.1, 0.3)) if person.upper == "jacket" and rng.random() < 0.5 else 0.0,
        shelter=bool(rng.random() < 0.04),
    )


def woven(fabric: Fabric, colour: Pixels, other: Colour, x: Pixels, y: Pixels, along: Pixels) -> Pixels:
    """Reflectance (M, 3) of cloth in a fabric.

    Args:
        fabric: how it is woven or printed.
        colour: (M, 3), without the fabric.
        other: the second colour of prints and plaids.
        x: (M,) sideways, -1..1; y: forward, -1..1; along: metres down the garment.
    """
    if fabric.weave == "smooth":
        return colour
    across = np.float32(0.2) * (x + 3 * (y > 0))  # metres, roughly
    second = np.array(other, np.float32)
    if fabric.weave == "faded":
        faded: Pixels = colour * np.exp(fabric.contrast * 3 * (along - 0.25))[:, None].astype(np.float32)
        return faded
    if fabric.weave == "plaid":
        bands = (across / fabric.size % 1 < 0.4).astype(np.float32) + (along / fabric.size % 1 < 0.4)
        return colour + (second - colour) * (fabric.contrast * bands / 2)[:, None].astype(np.float32)
    tile = np.random.default_rng(fabric.seed).random((TILE, TILE)).astype(np.float32)
    noise = _interpolated(tile, across / fabric.size, along / fabric.size)
    if fabric.weave == "printed":
        return np.where((noise > 1 - 0.6 * fabric.contrast)[:, None], second, colour)
    return colour * (1 + fabric.contrast * (2 * noise - 1))[:, None]


def cluttered(light: Pixels, rng: np.random.Generator) -> Pixels:
    """A scene's light (H, W, 3) with things standing about: poles, wheels, panels and blots of any colour."""
    height, width = light.shape[:2]
    things = int(rng.integers(20, 120))
    which = Image.new("L", (width, height))
    draw = ImageDraw.Draw(which)
    for thing in range(1, things + 1):
        x, y = rng.uniform(0, width), rng.uniform(0.1 * height, height)
        broad, high = rng.uniform(4, 60, 2)
        corners, kind = (x, y, x + broad, y + high), int(rng.integers(4))
        if kind == 0:
            draw.line((x, y, x + rng.normal(0, 40), y + rng.normal(0, 40)), thing, int(rng.integers(1, 5)))
        elif kind == 1:
            draw.ellipse(corners, outline=thing, width=int(rng.integers(1, 4)))
        else:
            (draw.ellipse if kind == 2 else draw.rectangle)(corners, fill=thing)
    surfaces = np.exp(rng.uniform(np.log(0.02), np.log(0.7), (things + 1, 1)) + rng.normal(0, 0.3, (things + 1, 3)))
    shown = np.asarray(which)
    return np.where((shown > 0)[..., None], surfaces[shown].clip(0, 0.9), light).astype(np.float32)


def textured(light: Pixels, rng: np.random.Generator) -> Pixels:
    """A scene's light (H, W, 3) with stains, foliage and grain: noise of every size from a few pixels to the frame."""
    strength = float(rng.uniform(0.1, 0.5))
    shared = _clouds(rng, light.shape[:2])
    channels = np.stack([shared + np.float32(0.3) * _clouds(rng, light.shape[:2]) for _ in range(3)], -1)
    rough: Pixels = (light * np.exp(np.float32(strength) * channels)).astype(np.float32)
    return rough


def _clouds(rng: np.random.Generator, shape: tuple[int, ...]) -> Pixels:
    """Noise (H, W) of mean 0 and deviation 1, the sum of one octave after another."""
    height, width = shape
    total = np.zeros((height, width), np.float32)
    for cells in (4, 16, 48, 96, 192, 320):
        grid = rng.standard_normal((max(2, cells * height // width), cells)).astype(np.float32)
        total += np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)) / cells**0.1
    clouds: Pixels = (total - total.mean()) / total.std()
    return clouds


def _shaded(garment: Garment, rng: np.random.Generator, more: float = MORE_CHANCE) -> Garment:
    """The garment in another shade, or by the chance ``more`` in another colour."""
    shade = np.exp(rng.normal(0, SHADE) + rng.normal(0, TINT, 3))
    name, surface = garment.name, garment.surface
    if rng.random() < more:
        name = str(rng.choice(list(MORE_COLOURS)))
        surface = MORE_COLOURS[name]
    red, green, blue = (np.array(surface) * shade).clip(0.01, 0.9).tolist()
    return Garment(name, (red, green, blue))


def _fabric(rng: np.random.Generator, *, plain: bool) -> Fabric:
    weave = WEAVES[int(rng.choice(len(WEAVES), p=(0.35, 0.3, 0.12, 0.08, 0.15)))]
    if plain and weave in ("printed", "plaid"):
        weave = "mottled"
    return Fabric(weave, float(rng.uniform(0.015, 0.12)), float(rng.uniform(0.2, 0.8)), int(rng.integers(2**31)))


def _interpolated(tile: Pixels, across: Pixels, along: Pixels) -> Pixels:
    """A repeating tile (T, T) between its cells, at M points in cells; (M,)."""
    left, top = np.floor(across).astype(np.int64), np.floor(along).astype(np.int64)
    u, v = (across - left).astype(np.float32), (along - top).astype(np.float32)
    corners = [tile[(top + row) % TILE, (left + column) % TILE] for row in (0, 1) for column in (0, 1)]
    upper = corners[0] + (corners[1] - corners[0]) * u
    lower = corners[2] + (corners[3] - corners[2]) * u
    mixed: Pixels = upper + (lower - upper) * v
    return mixed
