"""A person's body in three dimensions: joints of a walking pose, and the surfaces around them.

Body coordinates are metres: ``x`` towards the person's left, ``y`` forward, ``z`` up from the ground. A body is a
table of parts, each a piece of a quadric: in its own coordinates, x^2 + y^2 = c0 + c1 z + c2 z^2 for z0 <= z <= z1.
This one form covers limbs (cones), heads and bags (ellipsoids) and trunks; a ray meets it where a quadratic is zero.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from math import cos, pi, sin, sqrt

import numpy as np
import numpy.typing as npt

from ccafl.synthetic.person import Colour, Person

Floats = npt.NDArray[np.float64]
Point = tuple[float, float, float]

ANKLE, KNEE, HIP, WAIST, CHEST, SHOULDER, HEAD = 0.045, 0.275, 0.51, 0.6, 0.735, 0.79, 0.93  # shares of the height
THIGH, CALF, UPPER_ARM, FOREARM, HAND = HIP - KNEE, KNEE - ANKLE, 0.165, 0.15, 0.035
HEAD_HALF = (0.046, 0.056, 0.068)  # half the head's breadth, depth and height
DEPTH_OF_TRUNK = 0.66  # relative to its breadth
KNEE_BEND = 1.44  # relative to the stride, at most, in mid-swing
LONGEST_STRIDE_IN_SKIRT = 0.4  # radians
ELBOW_BEND = 0.35  # radians
NO_CUT = (0.0, 0.0, 0.0, 1.0)


class Texture(IntEnum):
    """How colour varies over a part."""

    PLAIN = 0
    TRUNK = 1
    SLEEVE = 2
    FACE = 3
    HAIR = 4
    CLOTH = 5


@dataclass(slots=True)
class Parts:
    """P pieces of quadrics, as growing lists."""

    origins: list[Point] = field(default_factory=list)
    frames: list[Floats] = field(default_factory=list)  # (3, 3), from body to part coordinates
    profiles: list[Point] = field(default_factory=list)  # c0, c1, c2
    ranges: list[tuple[float, float]] = field(default_factory=list)  # z0, z1
    cuts: list[tuple[float, float, float, float]] = field(default_factory=list)  # shown where (a, b, c) . local <= d
    colours: list[Colour] = field(default_factory=list)
    textures: list[Texture] = field(default_factory=list)
    lengths: list[tuple[float, float]] = field(default_factory=list)  # of texture: metres at z = 0, per unit of z

    def cone(
        self,
        start: Point,
        end: Point,
        radii: tuple[float, float],
        colour: Colour,
        texture: Texture = Texture.PLAIN,
        *,
        flat: float = 1.0,
        along: float = 0.0,
    ) -> None:
        """A limb from joint to joint; ``flat`` is depth over breadth, ``along`` the texture's position at ``start``."""
        axis = np.subtract(end, start)
        length = sqrt(float(axis @ axis))
        across = np.array([1.0, 0.0, 0.0]) - axis * axis[0] / length**2
        across /= sqrt(float(across @ across))
        deep = np.array([
            axis[1] * across[2] - axis[2] * across[1],
            axis[2] * across[0] - axis[0] * across[2],
            axis[0] * across[1] - axis[1] * across[0],
        ]) / length  # fmt: skip
        growth = radii[1] - radii[0]
        self._add(
            start,
            np.stack([across, deep / flat, axis / length**2]),
            (radii[0] ** 2, 2 * radii[0] * growth, growth**2),
            (0.0, 1.0),
            colour,
            texture,
            (along, length),
        )

    def ellipsoid(
        self,
        centre: Point,
        half: Point,
        colour: Colour,
        texture: Texture = Texture.PLAIN,
        *,
        pitch: float = 0.0,
        cut: tuple[float, float, float, float] = NO_CUT,
        along: float = 0.0,
    ) -> None:
        """An ellipsoid with three half extents, pitched forward about x (radians), cut by a plane."""
        turn = np.array([[1, 0, 0], [0, cos(pitch), -sin(pitch)], [0, sin(pitch), cos(pitch)]])
        self._add(
            centre,
            turn / np.array(half)[:, None],
            (1.0, 0.0, -1.0),
            (-1.0, 1.0),
            colour,
            texture,
            (along, half[2]),
            cut,
        )

    def _add(
        self,
        origin: Point,
        frame: Floats,
        profile: Point,
        reach: tuple[float, float],
        colour: Colour,
        texture: Texture,
        lengths: tuple[float, float],
        cut: tuple[float, float, float, float] = NO_CUT,
    ) -> None:
        self.origins.append(origin)
        self.frames.append(frame)
        self.profiles.append(profile)
        self.ranges.append(reach)
        self.cuts.append(cut)
        self.colours.append(colour)
        self.textures.append(texture)
        self.lengths.append(lengths)

    def corners(self) -> Floats:
        """Corners of a box around each part, in body coordinates; (P, 8, 3)."""
        profile, reach = np.array(self.profiles), np.array(self.ranges)
        middle = np.clip(-profile[:, 1] / np.where(profile[:, 2] < 0, 2 * profile[:, 2], -1), reach[:, 0], reach[:, 1])
        at = np.stack([reach[:, 0], reach[:, 1], middle], 1)
        squared = profile[:, :1] + profile[:, 1:2] * at + profile[:, 2:] * at**2
        radius = np.sqrt(squared.max(axis=1))
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (0, 1)])
        local = np.stack(
            [signs[:, 0] * radius[:, None], signs[:, 1] * radius[:, None], reach[:, signs[:, 2]]], axis=2
        )  # (P, 8, 3)
        inverse = np.linalg.inv(np.array(self.frames))
        corners: Floats = (inverse[:, None] * local[:, :, None, :]).sum(-1) + np.array(self.origins)[:, None]
        return corners


@dataclass(frozen=True, slots=True)
class Leg:
    """Positions of a leg's joints."""

    hip: Point
    knee: Point
    ankle: Point
    foot_pitch: float  # radians, toes down


@dataclass(frozen=True, slots=True)
class Arm:
    """Positions of an arm's joints."""

    shoulder: Point
    elbow: Point
    wrist: Point
    hand: Point


@dataclass(frozen=True, slots=True)
class Trunk:
    """Height and lean of the trunk."""

    pelvis: float  # metres above the ground
    lean: float  # radians forward

    def at(self, up: float, forward: float = 0.0, side: float = 0.0) -> Point:
        """A point of the trunk or head, in metres above the pelvis, forward and to the left, before it leans."""
        return (
            side,
            up * sin(self.lean) + forward * cos(self.lean),
            self.pelvis + up * cos(self.lean) - forward * sin(self.lean),
        )


@dataclass(frozen=True, slots=True)
class Joints:
    """The joints of a walking person; in each pair, the left one comes first."""

    legs: tuple[Leg, Leg]
    arms: tuple[Arm, Arm]
    trunk: Trunk


def walk(person: Person, phase: float) -> Joints:
    """The joints at a phase of the walking cycle in radians; 2 pi is a double step."""
    swings = [_swing(person, leg_phase) for leg_phase in (phase, phase + pi)]
    ankles = [_leg(person, side, *swing, 0.0).ankle for side, swing in zip((1, -1), swings, strict=True)]
    height = ANKLE * person.height - min(ankle[2] for ankle in ankles)  # the lower foot stands on the ground
    trunk = Trunk(height, person.lean)
    return Joints(
        (_leg(person, 1, *swings[0], height), _leg(person, -1, *swings[1], height)),
        (_arm(person, trunk, 1, phase), _arm(person, trunk, -1, phase)),
        trunk,
    )


def _swing(person: Person, phase: float) -> tuple[float, float]:
    """How far a leg's thigh and calf swing forward, radians."""
    stride = min(person.stride, LONGEST_STRIDE_IN_SKIRT) if person.lower == "skirt" else person.stride
    thigh = stride * sin(phase) + 0.04
    return thigh, thigh - 0.06 - KNEE_BEND * stride * max(0.0, cos(phase))


def _leg(person: Person, side: int, thigh: float, calf: float, height: float) -> Leg:
    """One leg below a pelvis ``height`` metres above the ground."""
    tall = person.height
    hip = (side * 0.052 * tall, 0.0, height)
    knee = (hip[0], THIGH * tall * sin(thigh), height - THIGH * tall * cos(thigh))
    ankle = (hip[0] * 0.8, knee[1] + CALF * tall * sin(calf), knee[2] - CALF * tall * cos(calf))
    return Leg(hip, knee, ankle, -0.7 * calf)


def _arm(person: Person, trunk: Trunk, side: int, phase: float) -> Arm:
    """One arm, swinging opposite to the leg on its side, or holding a ball."""
    tall = person.height
    broad = (0.112 if person.sex == "man" else 0.1) * (0.75 + 0.25 * person.build)
    swing, bend, out, inward = -person.arm_swing * sin(phase) * side, ELBOW_BEND, 0.13, 0.05
    if person.carried == "ball":
        swing, bend, out, inward = 0.25, 1.25, 0.05, 0.5
    shoulder = trunk.at((SHOULDER - HIP) * tall, 0.0, side * broad * tall)
    elbow = _reach(shoulder, UPPER_ARM * tall, swing, side * out)
    wrist = _reach(elbow, FOREARM * tall, swing + bend, -side * inward)
    return Arm(shoulder, elbow, wrist, _reach(wrist, HAND * tall, swing + bend, -side * inward))


def _reach(start: Point, length: float, swing: float, out: float) -> Point:
    """The end of a bone swung forward and outward (radians) from hanging straight down."""
    x, y, z = start
    return x + length * sin(out), y + length * sin(swing) * cos(out), z - length * cos(swing) * cos(out)


def build(person: Person, phase: float) -> Parts:
    """All parts of a person at a phase of the walking cycle."""
    joints, parts = walk(person, phase), Parts()
    _add_legs(parts, person, joints)
    _add_trunk(parts, person, joints)
    _add_arms(parts, person, joints)
    _add_head(parts, person, joints)
    _add_hat(parts, person, joints)
    _add_bag_and_carried(parts, person, joints)
    return parts


def _add_legs(parts: Parts, person: Person, joints: Joints) -> None:
    tall, stout = person.height, sqrt(person.build)
    cloth, skin = person.lower_colour.surface, person.skin
    thigh = cloth if person.lower != "skirt" else skin
    calf = cloth if person.lower == "trousers" else skin
    loose = {"trousers": 0.006, "shorts": 0.011, "skirt": 0.0}[person.lower] * tall
    ankle = (0.03 if person.lower == "trousers" else 0.021) * tall
    for leg in joints.legs:
        texture = Texture.CLOTH if thigh == cloth else Texture.PLAIN
        parts.cone(leg.hip, leg.knee, (0.05 * tall * stout + loose, 0.035 * tall * stout + loose), thigh, texture)
        parts.ellipsoid(leg.knee, (0.035 * tall * stout,) * 3, calf)
        texture = Texture.CLOTH if calf == cloth else Texture.PLAIN
        parts.cone(leg.knee, leg.ankle, (0.035 * tall * stout, ankle), calf, texture)
        x, y, z = leg.ankle
        toe = (x, y + 0.042 * tall * cos(leg.foot_pitch), z - 0.016 * tall)
        parts.ellipsoid(toe, (0.029 * tall, 0.078 * tall, 0.03 * tall), person.shoes.surface, pitch=leg.foot_pitch)


def _add_trunk(parts: Parts, person: Person, joints: Joints) -> None:
    tall, build = person.height, person.build
    hips, waist, chest = (
        share * tall * build for share in ((0.086, 0.082, 0.1) if person.sex == "man" else (0.092, 0.073, 0.088))
    )
    coat = 0.01 * tall if person.upper == "jacket" else 0.0
    hem = -0.055 if person.upper == "jacket" else 0.0
    cloth, flat = person.upper_colour.surface, DEPTH_OF_TRUNK
    lower = person.lower_colour.surface
    parts.ellipsoid(joints.trunk.at(-0.005 * tall), (hips, hips * 0.85, 0.062 * tall), lower, Texture.CLOTH)
    if person.lower == "skirt":
        top, bottom = joints.trunk.at(0.06 * tall), joints.trunk.at(-0.21 * tall)
        parts.cone(top, bottom, (waist, hips * 1.75), lower, Texture.CLOTH, flat=0.85)
    if person.coat:
        top, bottom = joints.trunk.at(0.05 * tall), joints.trunk.at(-person.coat * tall)
        radii = (hips * 1.08 + coat, hips * 1.25 + coat)
        parts.cone(top, bottom, radii, cloth, Texture.TRUNK, flat=0.9, along=-0.05 * tall)
    at = [(level - HIP) * tall for level in (WAIST, CHEST)]
    low = joints.trunk.at(hem * tall)
    length = (WAIST - HIP - hem) * tall
    parts.cone(
        low, joints.trunk.at(at[0]), (hips + coat, waist + coat), cloth, Texture.TRUNK, flat=0.78, along=hem * tall
    )
    parts.cone(
        joints.trunk.at(at[0]), joints.trunk.at(at[1]), (waist + coat, chest + coat), cloth, Texture.TRUNK, flat=0.74,
        along=hem * tall + length,
    )  # fmt: skip
    yoke = (chest * 1.16 + coat, chest * flat + coat, 0.085 * tall)
    parts.ellipsoid(joints.trunk.at(at[1] + 0.008 * tall), yoke, cloth, Texture.TRUNK, along=at[1] + 0.008 * tall)
    neck = (SHOULDER - HIP) * tall
    parts.cone(joints.trunk.at(neck), joints.trunk.at(neck + 0.09 * tall), (0.033 * tall, 0.03 * tall), person.skin)


def _add_arms(parts: Parts, person: Person, joints: Joints) -> None:
    tall, stout = person.height, sqrt(person.build)
    sleeve = person.upper_colour.surface
    forearm = person.skin if person.upper == "t-shirt" else sleeve
    loose = {"t-shirt": 0.007, "shirt": 0.004, "jacket": 0.01}[person.upper] * tall
    thick = 0.028 * tall * stout + loose
    for arm in joints.arms:
        parts.ellipsoid(arm.shoulder, (thick * 1.05,) * 3, sleeve, Texture.SLEEVE)
        parts.cone(arm.shoulder, arm.elbow, (thick * 1.08, thick * 0.92), sleeve, Texture.SLEEVE)
        thin = 0.021 * tall if forearm == person.skin else thick * 0.75
        texture = Texture.PLAIN if forearm == person.skin else Texture.SLEEVE
        parts.ellipsoid(arm.elbow, (max(thin, thick * 0.8),) * 3, forearm, texture, along=UPPER_ARM * tall)
        parts.cone(arm.elbow, arm.wrist, (max(thin, thick * 0.8), thin), forearm, texture, along=UPPER_ARM * tall)
        parts.ellipsoid(arm.hand, (0.02 * tall, 0.024 * tall, 0.034 * tall), person.skin)


def _add_head(parts: Parts, person: Person, joints: Joints) -> None:
    tall, colour = person.height, person.hair_colour.surface
    up = (HEAD - HIP) * tall
    broad, deep, high = (half * tall for half in HEAD_HALF)
    centre = joints.trunk.at(up, 0.006 * tall)
    parts.ellipsoid(centre, (broad, deep, high), person.skin, Texture.FACE)
    if person.hair == "bald":
        return
    thick = 1.24 if person.hair == "curly" else 1.1
    half = (broad * thick, deep * thick, high * thick)
    face = (0.0, 0.86, -0.52, 0.1)  # hair leaves the face free
    parts.ellipsoid(joints.trunk.at(up + 0.006 * tall, 0.0), half, colour, Texture.HAIR, cut=face)
    if person.hair == "long":
        behind = joints.trunk.at(up - 0.055 * tall, -0.02 * tall)
        parts.ellipsoid(behind, (broad * 1.22, deep * 0.85, 0.105 * tall), colour, Texture.HAIR, cut=(0, 1, 0, 0.35))
    elif person.hair == "bun":
        parts.ellipsoid(joints.trunk.at(up + 0.05 * tall, -0.045 * tall), (0.03 * tall,) * 3, colour, Texture.HAIR)
    elif person.hair == "ponytail":
        tail = joints.trunk.at(up - 0.045 * tall, -0.068 * tall)
        parts.ellipsoid(tail, (0.022 * tall, 0.024 * tall, 0.075 * tall), colour, Texture.HAIR)


def _add_hat(parts: Parts, person: Person, joints: Joints) -> None:
    if person.hat == "none":
        return
    tall, colour = person.height, person.hat_colour.surface
    up = (HEAD - HIP) * tall
    broad, deep, high = (half * tall * 1.22 for half in HEAD_HALF)
    tilt = (0.0, 0.2, -1.0, -0.28) if person.hat == "beanie" else (0.0, 0.1, -1.0, -0.38)
    if person.hat == "beanie":
        high *= 1.1
    parts.ellipsoid(
        joints.trunk.at(up + 0.008 * tall, 0.002 * tall), (broad, deep, high), colour, Texture.CLOTH, cut=tilt
    )
    brim = joints.trunk.at(up + 0.032 * tall, 0.058 * tall if person.hat == "cap" else 0.0)
    if person.hat == "cap":
        parts.ellipsoid(brim, (0.045 * tall, 0.055 * tall, 0.01 * tall), colour, pitch=0.2)
    elif person.hat == "sun hat":
        parts.ellipsoid(brim, (0.12 * tall, 0.12 * tall, 0.014 * tall), colour)


def _add_bag_and_carried(parts: Parts, person: Person, joints: Joints) -> None:
    """Add the bag and the carried object."""
    tall, colour = person.height, person.bag_colour.surface
    carrying = 0 if person.bag_side > 0 else 1
    if person.bag == "backpack":
        back = -0.095 * tall * (0.6 + 0.4 * person.build)
        parts.ellipsoid(
            joints.trunk.at(0.2 * tall, back), (0.088 * tall, 0.062 * tall, 0.125 * tall), colour, Texture.CLOTH
        )
        parts.ellipsoid(
            joints.trunk.at(0.15 * tall, back - 0.035 * tall), (0.062 * tall, 0.045 * tall, 0.06 * tall), colour
        )
    elif person.bag == "shoulder bag":
        side = 0.125 * tall * person.build * person.bag_side
        parts.ellipsoid(
            joints.trunk.at(-0.02 * tall, -0.02 * tall, side),
            (0.035 * tall, 0.09 * tall, 0.07 * tall),
            colour,
            Texture.CLOTH,
        )
    elif person.bag == "handbag":
        x, y, z = joints.arms[carrying].hand
        parts.cone((x, y, z), (x, y, z - 0.05 * tall), (0.008 * tall, 0.05 * tall), colour, flat=0.4)
        parts.ellipsoid((x, y, z - 0.1 * tall), (0.035 * tall, 0.075 * tall, 0.058 * tall), colour)
    if person.shelter:
        roof = joints.trunk.at((1.02 - HIP) * tall)
        half = (0.27 * tall, 0.27 * tall, 0.13 * tall)
        parts.ellipsoid(roof, half, person.pattern_colour.surface, Texture.CLOTH, cut=(0.0, 0.0, -1.0, -0.1))
    if person.carried == "ball":
        left, right = (arm.hand for arm in joints.arms)
        middle = ((left[0] + right[0]) / 2, left[1] + 0.04 * tall, left[2] + 0.03 * tall)
        parts.ellipsoid(middle, (0.075 * tall,) * 3, person.pattern_colour.surface, Texture.CLOTH)
    elif person.carried == "umbrella":
        x, y, z = joints.arms[1 - carrying].hand
        tip = (x, y + 0.05 * tall, max(0.03, z - 0.33 * tall))
        parts.cone((x, y, z + 0.03 * tall), tip, (0.021 * tall, 0.006 * tall), person.pattern_colour.surface)
