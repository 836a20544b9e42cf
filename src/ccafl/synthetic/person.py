"""Persons of the synthetic world: what they look like, and their picture in a pose seen from some side.

The body stands in its own coordinates, in units of its height: ``side`` (towards the person's left), ``forward`` and
``up`` (0 at the soles, 1 at the crown). A view turns it about the vertical axis, so that a face or a logo shows from
the front only and a backpack mostly from the back; nearer parts are painted over farther ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, hypot, pi, radians, sin
from typing import Literal, TypeVar

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]  # RGB, 0..255
Point = tuple[float, float]  # in the picture, pixels, y downwards
HairStyle = Literal["bald", "short", "long", "bun", "ponytail", "curly"]
Sleeves = Literal["short", "long"]
Pattern = Literal["plain", "stripes", "blocks", "logo"]
LowerKind = Literal["trousers", "shorts", "skirt"]
Bag = Literal["none", "backpack", "shoulder bag", "handbag"]
Hat = Literal["none", "cap", "beanie", "brimmed"]
T = TypeVar("T")
Weighted = tuple[tuple[T, float], ...]  # options and how often each is drawn

HAIRS: Weighted[HairStyle] = (
    ("bald", 1), ("short", 4), ("long", 3), ("bun", 1), ("ponytail", 1.5), ("curly", 1),
)  # fmt: skip
SLEEVES: Weighted[Sleeves] = (("short", 1), ("long", 1))
PATTERNS: Weighted[Pattern] = (("plain", 4), ("stripes", 2), ("blocks", 2), ("logo", 2))
LOWERS: Weighted[LowerKind] = (("trousers", 5), ("shorts", 2), ("skirt", 2))
BAGS: Weighted[Bag] = (("none", 4), ("backpack", 3), ("shoulder bag", 2), ("handbag", 1.5))
HATS: Weighted[Hat] = (("none", 7), ("cap", 1.5), ("beanie", 1), ("brimmed", 0.7))

BLACK, WHITE, GREY, NAVY = (34, 34, 38), (226, 226, 222), (128, 130, 134), (38, 54, 104)
RED, GREEN, YELLOW, BLUE, BROWN = (176, 42, 44), (52, 112, 66), (214, 178, 58), (84, 142, 200), (122, 88, 58)
UPPER_COLOURS = ((BLACK, 5), (WHITE, 4), (GREY, 3), (NAVY, 3), (RED, 3), (GREEN, 2), (YELLOW, 2), (BLUE, 3))
LOWER_COLOURS = ((BLACK, 5), (NAVY, 4), (GREY, 3), (BROWN, 2), (WHITE, 1))
SHOE_COLOURS = ((BLACK, 4), (WHITE, 3), (BROWN, 2), (RED, 1))
BAG_COLOURS = ((BLACK, 3), (BROWN, 2), (RED, 2), (BLUE, 1), (YELLOW, 1))
SKINS = ((238, 200, 174), (222, 176, 144), (190, 138, 102), (140, 94, 66), (92, 62, 46))
HAIR_COLOURS = (((30, 24, 22), 5), ((84, 56, 36), 4), ((196, 158, 92), 2), ((150, 74, 36), 1), ((168, 166, 162), 1))
DYE_SPREAD = 9  # garments of one palette colour differ by this much in each channel

SHOULDER, WAIST, HIP, NECK, HEAD = 0.825, 0.62, 0.49, 0.865, 0.928  # heights up the body
HEAD_UP, HEAD_SIDE, HEAD_FORWARD = 0.068, 0.049, 0.058  # half extents of the head
BODY_SHARE = 0.93  # of the picture's height, for a person of height 1 seen level
SEEN = 0.1  # of a unit normal towards the camera, from which a patch of the trunk shows
SOLES = 0.965  # where the soles stand, from the top of the picture


@dataclass(frozen=True, slots=True)
class Person:
    """The attributes that stay the same in every picture of a person."""

    height: float  # 1 is the tallest
    build: float  # breadth of the body, 1 is average
    skin: Colour
    hair: HairStyle
    hair_colour: Colour
    sleeves: Sleeves
    upper_colour: Colour
    pattern: Pattern
    pattern_colour: Colour
    lower: LowerKind
    lower_colour: Colour
    shoes: Colour
    bag: Bag
    bag_colour: Colour
    bag_side: int  # 1 the person's left, -1 the right
    hat: Hat
    hat_colour: Colour


@dataclass(frozen=True, slots=True)
class Pose:
    """One moment of a walk and the direction that it is seen from."""

    yaw: float  # degrees: 0 faces the camera, 90 walks to the right of the picture, 180 shows the back
    phase: float  # radians of the walking cycle
    elevation: float = 8.0  # degrees that the camera looks down


def random_person(rng: np.random.Generator) -> Person:
    """Draw a person's attributes."""
    upper = _pick(rng, UPPER_COLOURS)
    return Person(
        height=float(rng.uniform(0.86, 1.0)),
        build=float(rng.uniform(0.82, 1.3)),
        skin=SKINS[int(rng.integers(len(SKINS)))],
        hair=_pick(rng, HAIRS),
        hair_colour=_pick(rng, HAIR_COLOURS),
        sleeves=_pick(rng, SLEEVES),
        upper_colour=_dyed(rng, upper),
        pattern=_pick(rng, PATTERNS),
        pattern_colour=_dyed(rng, _pick(rng, [entry for entry in UPPER_COLOURS if entry[0] != upper])),
        lower=_pick(rng, LOWERS),
        lower_colour=_dyed(rng, _pick(rng, LOWER_COLOURS)),
        shoes=_dyed(rng, _pick(rng, SHOE_COLOURS)),
        bag=_pick(rng, BAGS),
        bag_colour=_dyed(rng, _pick(rng, BAG_COLOURS)),
        bag_side=1 if rng.random() < 0.5 else -1,
        hat=_pick(rng, HATS),
        hat_colour=_dyed(rng, _pick(rng, UPPER_COLOURS)),
    )


def draw_person(person: Person, pose: Pose, size: tuple[int, int]) -> Image.Image:
    """Paint a person, upright and centred, on nothing.

    Args:
        person: who.
        pose: how they walk and from where they are seen.
        size: height and width of the picture, pixels.

    Returns:
        RGBA picture of that size, transparent around the person.
    """
    figure = _Figure(person, pose, size)
    figure.add_shadow()
    figure.add_legs()
    figure.add_torso()
    figure.add_arms()
    figure.add_head()
    figure.add_bag()
    return figure.painted()


def _pick(rng: np.random.Generator, options: Sequence[tuple[T, float]]) -> T:
    """One option, each drawn as often as its weight says."""
    weights = np.cumsum([weight for _, weight in options])
    return options[int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))][0]


def _dyed(rng: np.random.Generator, colour: Colour) -> Colour:
    red, green, blue = (np.array(colour) + rng.integers(-DYE_SPREAD, DYE_SPREAD + 1, 3)).clip(0, 255).tolist()
    return red, green, blue


def _shaded(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, int(channel * factor)) for channel in colour)
    return red, green, blue


@dataclass(frozen=True, slots=True)
class _Shape:
    """A polygon, or an ellipse given by two corners of its box; a greater depth is nearer to the camera."""

    depth: float
    points: tuple[Point, ...]
    colour: tuple[int, ...]
    ellipse: bool = False


class _Figure:
    """The shapes of one picture of a person, collected part by part."""

    def __init__(self, person: Person, pose: Pose, size: tuple[int, int]) -> None:
        self.person, self.size = person, size
        self.phase = pose.phase
        self.cos, self.sin = cos(radians(pose.yaw)), sin(radians(pose.yaw))
        self.level, self.down = cos(radians(pose.elevation)), sin(radians(pose.elevation))
        self.pixels = BODY_SHARE * size[0] * person.height
        self.shapes: list[_Shape] = []

    # The projection

    def depth(self, side: float, forward: float) -> float:
        return forward * self.cos - side * self.sin

    def at(self, side: float, forward: float, up: float) -> Point:
        """Where a point of the body lies in the picture; seen from above, the upper body is nearer and so broader."""
        nearer = 1 + self.down * (up - 0.5)
        across = (side * self.cos + forward * self.sin) * nearer
        height = up * self.level - self.depth(side, forward) * self.down
        return self.size[1] / 2 + across * self.pixels, SOLES * self.size[0] - height * self.pixels

    def breadth(self, side: float, forward: float) -> float:
        """Half the breadth, in the picture, of an upright elliptical column with these half axes (body units)."""
        return hypot(side * self.cos, forward * self.sin)

    # Kinds of shape

    def polygon(self, depth: float, points: Sequence[Point], colour: tuple[int, ...]) -> None:
        self.shapes.append(_Shape(depth, tuple(points), colour))

    def ball(
        self, depth: float, centre: Point, across: float, up: float, colour: tuple[int, ...], lower: float = 1.0
    ) -> None:
        """An ellipse with half axes ``across`` and ``up`` (body units), below its centre ``lower`` times as high."""
        x, y, a, b = *centre, across * self.pixels, up * self.pixels
        if lower == 1:
            self.shapes.append(_Shape(depth, ((x - a, y - b), (x + a, y + b)), colour, ellipse=True))
            return
        ring = [(x + a * cos(t), y + b * sin(t) * (lower if sin(t) > 0 else 1)) for t in np.linspace(0, 2 * pi, 17)]
        self.polygon(depth, ring, colour)

    def limb(self, depth: float, ends: tuple[Point, Point], radii: tuple[float, float], colour: Colour) -> None:
        """A tapering round limb, lit from the left of the picture; radii in body units."""
        for width, shift, shade in ((1.0, 0.0, 0.78), (0.66, -0.3, 1.0)):
            (x0, y0), (x1, y1) = ends
            r0, r1 = (radius * self.pixels for radius in radii)
            x0, x1, r0, r1 = x0 + shift * r0, x1 + shift * r1, r0 * width, r1 * width
            length = hypot(x1 - x0, y1 - y0) or 1.0
            u, v = (y0 - y1) / length, (x1 - x0) / length
            painted = _shaded(colour, shade)
            self.polygon(
                depth,
                [
                    (x0 + u * r0, y0 + v * r0),
                    (x1 + u * r1, y1 + v * r1),
                    (x1 - u * r1, y1 - v * r1),
                    (x0 - u * r0, y0 - v * r0),
                ],
                painted,
            )
            for x, y, r in ((x0, y0, r0), (x1, y1, r1)):
                self.shapes.append(_Shape(depth, ((x - r, y - r), (x + r, y + r)), painted, ellipse=True))

    # The trunk: an upright column whose half axes depend on the height

    def trunk_axes(self, up: float) -> tuple[float, float]:
        """Half axes (side, forward) of the trunk at a height."""
        heights = (HIP - 0.03, HIP, WAIST, 0.74, SHOULDER - 0.025, SHOULDER + 0.025)
        side = float(np.interp(up, heights, (0.092, 0.095, 0.086, 0.108, 0.108, 0.045)))
        forward = float(np.interp(up, heights, (0.07, 0.074, 0.066, 0.076, 0.06, 0.045)))
        return side * self.person.build, forward * self.person.build

    def band(self, low: float, high: float, colour: Colour, *, depth: float = 0.0, flare: float = 0.0) -> None:
        """The trunk all round between two heights; ``flare`` widens it towards ``low`` (a skirt)."""
        levels = [(up, self.breadth(*self.trunk_axes(up))) for up in np.linspace(high, low, 6).tolist()]
        widths = [wide + flare * (high - up) / (high - low) for up, wide in levels]
        nearer = [1 + self.down * (up - 0.5) for up, _ in levels]
        middles = [self.at(0, 0, up) for up, _ in levels]
        left, right, shade = (
            [
                (x + part * wide * near * self.pixels, y)
                for (x, y), wide, near in zip(middles, widths, nearer, strict=True)
            ]
            for part in (-1.0, 1.0, 0.45)
        )
        self.polygon(depth, left + right[::-1], colour)
        self.polygon(depth, shade + right[::-1], _shaded(colour, 0.82))

    def patch(
        self, angles: tuple[float, float], heights: tuple[float, float], colour: Colour, drop: float = 0.0
    ) -> None:
        """A piece of the trunk's surface, where it is turned to the camera.

        Angles are in degrees from the front towards the person's left; between them the patch sinks by ``drop``.
        """
        edges: tuple[list[Point], list[Point]] = ([], [])
        for part in np.linspace(0, 1, 13).tolist():
            angle = radians(angles[0] + part * (angles[1] - angles[0]))
            if self.depth(sin(angle), cos(angle)) > SEEN:
                for edge, height in zip(edges, heights, strict=True):
                    up = height - part * drop
                    side, forward = self.trunk_axes(up)
                    edge.append(self.at(side * sin(angle), forward * cos(angle), up))
        if len(edges[0]) > 1:
            self.polygon(0.01, edges[0] + edges[1][::-1], colour)

    # The parts of the body

    def add_shadow(self) -> None:
        self.ball(-9, self.at(0, 0, 0.01), 0.15, 0.022, (0, 0, 0, 90))

    def add_legs(self) -> None:
        person, build = self.person, self.person.build
        for foot in (1, -1):
            swing = sin(self.phase) * foot
            lifted = max(0.0, -cos(self.phase) * foot) * 0.035
            side = 0.047 * foot * build
            hip = (side, 0.0, HIP)
            knee = (side, 0.07 * swing + 0.02 + lifted, 0.27 + lifted * 0.4)
            ankle = (side * 0.9, 0.135 * swing - 2.2 * lifted, 0.035 + lifted)
            depth = -1 + 0.5 * self.depth(side, 0.1 * swing)
            toe = (ankle[0] * 1.1, ankle[1] + 0.06, ankle[2] - 0.012)
            self.limb(depth, (self.at(*ankle), self.at(*toe)), (0.027, 0.02), person.shoes)
            long = person.lower == "trousers"
            shin = person.lower_colour if long else person.skin
            thigh = person.skin if person.lower == "skirt" else person.lower_colour
            thin = build**0.5
            radii = (0.047 * thin, 0.033 * thin) if long else (0.036 * thin, 0.024 * thin)
            self.limb(depth, (self.at(*knee), self.at(*ankle)), radii, shin)
            self.limb(depth + 0.001, (self.at(*hip), self.at(*knee)), (0.05 * build, radii[0] * 1.06), thigh)
        if person.lower == "skirt":
            self.band(0.29, HIP, person.lower_colour, depth=-0.3, flare=0.03 * build)

    def add_torso(self) -> None:
        person = self.person
        neck = (self.at(0, 0, SHOULDER), self.at(0, 0.005, NECK + 0.02))
        self.limb(-0.02, neck, (0.03, 0.027), person.skin)
        if person.lower != "skirt":
            self.band(HIP - 0.03, HIP + 0.02, person.lower_colour, depth=-0.3)
        self.band(HIP - 0.01, SHOULDER + 0.025, person.upper_colour)
        if person.pattern == "stripes":
            for low in (0.52, 0.59, 0.66, 0.73, 0.8):
                self.band(low, low + 0.032, person.pattern_colour)
        elif person.pattern == "blocks":
            self.band(0.7, SHOULDER + 0.025, person.pattern_colour)
        elif person.pattern == "logo":
            self.patch((-38, 38), (0.645, 0.765), person.pattern_colour)

    def add_arms(self) -> None:
        person, build = self.person, self.person.build
        forearm = person.upper_colour if person.sleeves == "long" else person.skin
        shoulder_colour = person.pattern_colour if person.pattern == "blocks" else person.upper_colour
        for arm in (1, -1):
            swing = -sin(self.phase) * arm
            shoulder, elbow, wrist = self.arm(arm, swing)
            depth = self.depth(elbow[0], 0.6 * elbow[1])
            hand = self.at(wrist[0], wrist[1] + 0.004, wrist[2] - 0.012)
            self.ball(depth, hand, 0.021, 0.025, _shaded(person.skin, 0.95))
            self.limb(depth, (self.at(*elbow), self.at(*wrist)), (0.028 * build**0.5, 0.022), forearm)
            self.limb(depth, (self.at(*shoulder), self.at(*elbow)), (0.034 * build, 0.028 * build), shoulder_colour)
            if person.pattern == "stripes":
                for part in (0.25, 0.7):
                    x, y, z = (a + part * (b - a) for a, b in zip(shoulder, elbow, strict=True))
                    self.ball(depth, self.at(x, y, z), 0.032 * build, 0.015, person.pattern_colour)

    def arm(self, arm: int, swing: float) -> tuple[tuple[float, float, float], ...]:
        """Shoulder, elbow and wrist (side, forward, up) of the left (1) or right (-1) arm."""
        side = 0.106 * self.person.build * arm
        return (
            (side, 0.0, SHOULDER - 0.042),
            (side * 1.22, 0.055 * swing - 0.012, 0.645),
            (side * 1.22, 0.13 * swing + 0.03, 0.505),
        )

    def add_head(self) -> None:
        person = self.person
        wide = self.breadth(HEAD_SIDE, HEAD_FORWARD)
        hair = person.skin if person.hair == "bald" else person.hair_colour
        self.add_hair_behind()
        crown = self.at(0, -0.004, HEAD + 0.008)
        bigger = 1.3 if person.hair == "curly" else 1.07
        self.ball(0.02, crown, wide * bigger, HEAD_UP * (1 + 0.5 * (bigger - 1)), hair, lower=0.75)
        self.ball(0.021, self.at(0, 0.006, HEAD - 0.012), wide * 0.86, HEAD_UP * 0.8, self.nape())
        self.add_face(wide)
        self.add_hat(wide)

    def nape(self) -> Colour:
        """The lower part of the head: skin, or hair where the back of the head is seen."""
        bare = self.person.hair == "bald" or self.cos > 0.3
        return _shaded(self.person.skin, 0.88) if bare else self.person.hair_colour

    def add_hair_behind(self) -> None:
        person, colour = self.person, self.person.hair_colour
        if person.hair == "long":
            depth, wide = self.depth(0, -0.08), self.breadth(0.062, 0.045)
            self.ball(depth, self.at(0, -0.03, HEAD - 0.05), wide, 0.095, _shaded(colour, 0.9), lower=1.1)
        elif person.hair == "bun":
            self.ball(self.depth(0, -0.08), self.at(0, -0.05, HEAD + 0.06), 0.03, 0.028, colour)
        elif person.hair == "ponytail":
            ends = (self.at(0, -0.06, HEAD + 0.01), self.at(0, -0.085, HEAD - 0.13))
            self.limb(self.depth(0, -0.08), ends, (0.022, 0.014), colour)

    def add_face(self, wide: float) -> None:
        """Face and eyes, where they look towards the camera."""
        if self.cos < -0.25:
            return
        share = min(1.0, 0.62 + 0.38 * max(self.cos, 0.0))
        centre = self.at(0, 0.03, HEAD - 0.014)
        self.ball(0.022, centre, wide * 0.8 * share, HEAD_UP * 0.8, self.person.skin)
        for angle in (-26, 26):
            side, forward = sin(radians(angle)), cos(radians(angle))
            if self.depth(side, forward) > 0.2:
                eye = self.at(side * HEAD_SIDE * 0.9, forward * HEAD_FORWARD * 0.9, HEAD + 0.004)
                self.ball(0.023, eye, 0.0075, 0.008, (30, 26, 26))

    def add_hat(self, wide: float) -> None:
        person, colour = self.person, self.person.hat_colour
        top, brim = self.at(0, -0.002, HEAD + 0.028), _shaded(colour, 0.8)
        if person.hat != "none":
            tall = {"cap": 0.052, "beanie": 0.062, "brimmed": 0.056}[person.hat]
            self.ball(0.03, top, wide * 1.14, tall, colour, lower=0.24)
        if person.hat == "cap":
            self.ball(0.031 if self.cos > -0.3 else -0.5, self.at(0, 0.055, HEAD + 0.022), 0.042, 0.012, brim)
        elif person.hat == "beanie":
            self.ball(0.031, self.at(0, 0, HEAD + 0.02), wide * 1.16, 0.014, brim)
        elif person.hat == "brimmed":
            self.ball(0.029, self.at(0, 0, HEAD + 0.022), 0.098, 0.018, brim)

    def add_bag(self) -> None:
        person, colour, dark = self.person, self.person.bag_colour, _shaded(self.person.bag_colour, 0.75)
        if person.bag == "backpack":
            depth, wide = self.depth(0, -0.2), self.breadth(0.088, 0.052)
            self.ball(depth, self.at(0, -0.1, 0.72), wide, 0.085, colour, lower=1.35)
            self.ball(depth + 0.001, self.at(0, -0.125, 0.655), wide * 0.72, 0.042, dark)
            for angle in (-44, 44):
                self.patch((angle - 9, angle + 9), (0.62, 0.83), dark)
        elif person.bag == "shoulder bag":
            self.add_strap(dark)
            side = 0.135 * person.build * person.bag_side
            self.ball(
                self.depth(1.6 * side, -0.02), self.at(side, -0.01, 0.475), self.breadth(0.035, 0.08), 0.062, colour
            )
        elif person.bag == "handbag":
            wrist = self.arm(person.bag_side, -sin(self.phase) * person.bag_side)[2]
            depth = self.depth(wrist[0] * 1.3, wrist[1])
            middle, low = (self.at(wrist[0], wrist[1], wrist[2] - drop) for drop in (0.02, 0.1))
            self.limb(depth, (middle, low), (0.008, 0.012), dark)
            self.ball(depth, low, self.breadth(0.03, 0.07), 0.05, colour)

    def add_strap(self, colour: Colour) -> None:
        """The strap of a shoulder bag, from the other shoulder across front and back to the bag."""
        for start, end in ((-60, 75), (240, 105)):
            angles = (start * self.person.bag_side, end * self.person.bag_side)
            self.patch(angles, (SHOULDER - 0.035, SHOULDER + 0.005), colour, drop=0.27)

    def painted(self) -> Image.Image:
        """All shapes, the farthest first."""
        image = Image.new("RGBA", (self.size[1], self.size[0]))
        draw = ImageDraw.Draw(image)
        for shape in sorted(self.shapes, key=lambda shape: shape.depth):
            if shape.ellipse:
                draw.ellipse(shape.points, fill=shape.colour)
            else:
                draw.polygon(shape.points, fill=shape.colour)
        return image
