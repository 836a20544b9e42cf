"""Descriptions of persons in varied wording, true to their attributes and to the visible side."""

from collections.abc import Sequence
from math import cos, radians

import numpy as np

from ccafl.synthetic.person import Person

UPPER_WORDS = {
    "t-shirt": ("t-shirt", "short-sleeved shirt", "tee"),
    "shirt": ("long-sleeved shirt", "pullover", "sweater"),
    "jacket": ("jacket", "coat", "open jacket"),
}
LOWER_WORDS = {"trousers": ("trousers", "pants"), "shorts": ("shorts",), "skirt": ("skirt",)}
COLOUR_WORDS = {"grey": ("grey", "gray"), "beige": ("beige", "tan")}
OPENINGS = ("{}", "a photo of {}", "a picture of {}", "there is {}", "{} is walking", "we see {}", "a camera shows {}")
VIEWS = {
    "front": ("seen from the front", "walking towards the camera", "facing the camera"),
    "back": ("seen from behind", "walking away", "seen from the back"),
    "side": ("seen from the side", "walking past", "in profile"),
}


def seen_side(heading: float) -> str:
    """The visible side of a person walking in direction ``heading`` (degrees, 0 towards the camera)."""
    towards = cos(radians(heading))
    return "front" if towards > 0.6 else "back" if towards < -0.6 else "side"


def describe(person: Person, heading: float, rng: np.random.Generator) -> str:
    """A sentence such as "a man in a red striped t-shirt and black trousers with a backpack, seen from behind".

    Args:
        person: the person to describe.
        heading: degrees, 0 towards the camera.
        rng: chooses the words, and which minor details are mentioned.
    """
    side = seen_side(heading)
    words = [_choose(rng, ("man", "male person", "guy") if person.sex == "man" else ("woman", "female person", "lady"))]
    who = f"a {words[0]} {_choose(rng, ('in', 'wearing', 'dressed in'))} {_upper(person, side, rng)}"
    who += f" and {_lower(person, rng)}"
    details = _details(person, rng)
    rng.shuffle(details)
    kept = [detail for detail in details if rng.random() < 0.85]
    if kept:
        who += " with " + ", ".join(kept[:-1]) + (" and " if len(kept) > 1 else "") + kept[-1]
    opening = _choose(rng, OPENINGS)
    sentence = opening.format(who)
    return f"{sentence}, {_choose(rng, VIEWS[side])}" if rng.random() < 0.8 else sentence


def naming_upper(colour: str) -> list[str]:
    """Sentences that share only the colour of the upper garment."""
    garments = [word for words in UPPER_WORDS.values() for word in words]
    lowers = ("black trousers", "blue trousers", "grey shorts", "beige trousers", "a brown skirt")
    return [
        f"a {who} in a {colour} {garment} and {lower}"
        for who in ("man", "woman")
        for garment in garments
        for lower in lowers
    ]


def _choose(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def _colour(rng: np.random.Generator, name: str) -> str:
    return _choose(rng, COLOUR_WORDS.get(name, (name,)))


def _upper(person: Person, side: str, rng: np.random.Generator) -> str:
    colour, other = _colour(rng, person.upper_colour.name), _colour(rng, person.pattern_colour.name)
    garment = _choose(rng, UPPER_WORDS[person.upper])
    if person.pattern in ("striped", "checked"):
        return _choose(
            rng,
            (
                f"a {colour} and {other} {person.pattern} {garment}",
                f"a {person.pattern} {colour} and {other} {garment}",
            ),
        )
    if person.pattern == "two-tone":
        return f"a {colour} {garment} with {other} shoulders"
    if person.pattern == "logo" and (side == "front" or (side == "back" and person.back_print)):
        return f"a {colour} {garment} with a {other} {_choose(rng, ('logo', 'print'))}"
    return f"a {colour} {garment}"


def _lower(person: Person, rng: np.random.Generator) -> str:
    article = "a " if person.lower == "skirt" else ""
    return f"{article}{_colour(rng, person.lower_colour.name)} {_choose(rng, LOWER_WORDS[person.lower])}"


def _details(person: Person, rng: np.random.Generator) -> list[str]:
    """Minor details: hair, shoes, hat, bag and carried object."""
    hair = "a bald head" if person.hair == "bald" else _hair(person)
    details = [] if person.hat != "none" and person.hair in ("short", "bald") else [hair]
    details.append(f"{_colour(rng, person.shoes.name)} shoes")
    if person.hat != "none":
        details.append(f"a {_colour(rng, person.hat_colour.name)} {person.hat}")
    if person.bag != "none":
        details.append(f"a {_colour(rng, person.bag_colour.name)} {person.bag}")
    if person.carried != "none":
        details.append(f"a {_colour(rng, person.pattern_colour.name)} {person.carried}")
    return details


def _hair(person: Person) -> str:
    colour = person.hair_colour.name
    return {
        "short": f"short {colour} hair",
        "long": f"long {colour} hair",
        "bun": f"{colour} hair in a bun",
        "ponytail": f"a {colour} ponytail",
        "curly": f"curly {colour} hair",
    }[person.hair]
