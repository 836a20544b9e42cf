"""Persons of the synthetic world: the attributes that all their pictures share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

Colour = tuple[float, float, float]  # reflectance of a surface in linear red, green and blue, 0..1
Sex = Literal["man", "woman"]
Upper = Literal["t-shirt", "shirt", "jacket"]
Pattern = Literal["plain", "striped", "checked", "two-tone", "logo"]
Lower = Literal["trousers", "shorts", "skirt"]
Hair = Literal["bald", "short", "long", "bun", "ponytail", "curly"]
Bag = Literal["none", "backpack", "shoulder bag", "handbag"]
Hat = Literal["none", "cap", "beanie", "sun hat"]
Carried = Literal["none", "ball", "umbrella"]
Weave = Literal["smooth", "mottled", "printed", "plaid", "faded"]
T = TypeVar("T")
Weighted = tuple[tuple[T, float], ...]  # options and their relative frequencies

UPPERS: Weighted[Upper] = (("t-shirt", 4), ("shirt", 3), ("jacket", 3))
PATTERNS: Weighted[Pattern] = (("plain", 5), ("striped", 2), ("checked", 1), ("two-tone", 1.5), ("logo", 2))
LOWERS: dict[Sex, Weighted[Lower]] = {
    "man": (("trousers", 7), ("shorts", 3)),
    "woman": (("trousers", 5), ("shorts", 2), ("skirt", 3)),
}
HAIRS: dict[Sex, Weighted[Hair]] = {
    "man": (("bald", 1), ("short", 6), ("curly", 1.5), ("ponytail", 0.5)),
    "woman": (("short", 2), ("long", 4), ("bun", 1.5), ("ponytail", 2), ("curly", 1.5)),
}
BAGS: Weighted[Bag] = (("none", 5), ("backpack", 3), ("shoulder bag", 2), ("handbag", 1.5))
HATS: Weighted[Hat] = (("none", 8), ("cap", 1.5), ("beanie", 1), ("sun hat", 0.6))
CARRIED: Weighted[Carried] = (("none", 8), ("ball", 1), ("umbrella", 1))

COLOURS: dict[str, Colour] = {
    "black": (0.014, 0.014, 0.017),
    "white": (0.76, 0.76, 0.73),
    "grey": (0.21, 0.22, 0.23),
    "red": (0.45, 0.025, 0.028),
    "green": (0.035, 0.19, 0.06),
    "blue": (0.03, 0.09, 0.42),
    "yellow": (0.68, 0.44, 0.03),
    "brown": (0.16, 0.082, 0.038),
    "pink": (0.66, 0.22, 0.32),
    "beige": (0.5, 0.4, 0.27),
}
UPPER_COLOURS: Weighted[str] = (
    ("black", 5), ("white", 4), ("grey", 3), ("red", 3), ("green", 2), ("blue", 4), ("yellow", 2), ("pink", 1.5),
)  # fmt: skip
LOWER_COLOURS: Weighted[str] = (("black", 5), ("blue", 4), ("grey", 3), ("brown", 1.5), ("beige", 2), ("white", 1))
SHOE_COLOURS: Weighted[str] = (("black", 4), ("white", 3), ("brown", 2), ("red", 1))
BAG_COLOURS: Weighted[str] = (("black", 3), ("brown", 2), ("red", 1.5), ("blue", 1.5), ("yellow", 1))
HAT_COLOURS: Weighted[str] = (("black", 2), ("white", 2), ("red", 2), ("blue", 1.5), ("beige", 1))
HAIR_COLOURS: dict[str, Colour] = {
    "black": (0.01, 0.009, 0.009),
    "brown": (0.072, 0.034, 0.017),
    "blond": (0.44, 0.28, 0.1),
    "red": (0.26, 0.068, 0.017),
    "grey": (0.34, 0.33, 0.32),
}
HAIR_COLOUR_WEIGHTS: Weighted[str] = (("black", 4), ("brown", 4), ("blond", 2.5), ("red", 1), ("grey", 1.5))
SKINS: Sequence[Colour] = ((0.66, 0.42, 0.31), (0.52, 0.31, 0.2), (0.34, 0.18, 0.1), (0.15, 0.072, 0.04))
DYE = 0.12  # standard deviation of the log ratio between a garment's colour and its palette colour


@dataclass(frozen=True, slots=True)
class Garment:
    """A garment's colour: its name in captions, and its reflectance."""

    name: str
    surface: Colour


@dataclass(frozen=True, slots=True)
class Fabric:
    """How a garment is woven or printed, beyond its pattern."""

    weave: Weave = "smooth"
    size: float = 0.05  # metres, of its features
    contrast: float = 0.0  # 0..1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Person:
    """The attributes that all pictures of a person share."""

    sex: Sex
    height: float  # metres
    build: float  # breadth and depth of the body; 1 is average
    skin: Colour
    hair: Hair
    hair_colour: Garment
    upper: Upper
    upper_colour: Garment
    pattern: Pattern
    pattern_colour: Garment  # of stripes, checks, second tone or logo; also of the shirt under a jacket
    back_print: bool  # a logo is on the back too
    lower: Lower
    lower_colour: Garment
    shoes: Garment
    bag: Bag
    bag_colour: Garment
    bag_side: int  # 1 the person's left, -1 the right
    hat: Hat
    hat_colour: Garment
    carried: Carried
    stride: float  # swing of a thigh, radians
    arm_swing: float  # radians
    lean: float  # radians forward
    upper_fabric: Fabric = Fabric()
    lower_fabric: Fabric = Fabric()
    coat: float = 0.0  # how far a coat hangs below the hips, relative to the height; 0 for none
    shelter: bool = False  # holds an open umbrella over the head


def random_person(rng: np.random.Generator) -> Person:
    """Draw a person's attributes."""
    sex: Sex = "man" if rng.random() < 0.5 else "woman"
    upper_colour = _pick(rng, UPPER_COLOURS)
    other_colour = _pick(rng, [entry for entry in UPPER_COLOURS if entry[0] != upper_colour])
    hair_colour = _pick(rng, HAIR_COLOUR_WEIGHTS)
    return Person(
        sex=sex,
        height=float(rng.normal(1.77 if sex == "man" else 1.65, 0.06)),
        build=float(rng.uniform(0.85, 1.3)),
        skin=SKINS[int(rng.integers(len(SKINS)))],
        hair=_pick(rng, HAIRS[sex]),
        hair_colour=Garment(hair_colour, _dyed(rng, HAIR_COLOURS[hair_colour])),
        upper=_pick(rng, UPPERS),
        upper_colour=_garment(rng, upper_colour),
        pattern=_pick(rng, PATTERNS),
        pattern_colour=_garment(rng, other_colour),
        back_print=bool(rng.random() < 0.3),
        lower=_pick(rng, LOWERS[sex]),
        lower_colour=_garment(rng, _pick(rng, LOWER_COLOURS)),
        shoes=_garment(rng, _pick(rng, SHOE_COLOURS)),
        bag=_pick(rng, BAGS),
        bag_colour=_garment(rng, _pick(rng, BAG_COLOURS)),
        bag_side=1 if rng.random() < 0.5 else -1,
        hat=_pick(rng, HATS),
        hat_colour=_garment(rng, _pick(rng, HAT_COLOURS)),
        carried=_pick(rng, CARRIED),
        stride=float(rng.uniform(0.35, 0.6)),
        arm_swing=float(rng.uniform(0.2, 0.6)),
        lean=float(rng.uniform(-0.02, 0.12)),
    )


def _pick(rng: np.random.Generator, options: Sequence[tuple[T, float]]) -> T:
    """Draw one option with probability proportional to its weight."""
    weights = np.cumsum([weight for _, weight in options])
    return options[int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))][0]


def _garment(rng: np.random.Generator, name: str) -> Garment:
    return Garment(name, _dyed(rng, COLOURS[name]))


def _dyed(rng: np.random.Generator, colour: Colour) -> Colour:
    red, green, blue = (np.array(colour) * np.exp(rng.normal(0, DYE) + rng.normal(0, DYE / 3, 3))).clip(0, 0.9).tolist()
    return red, green, blue
