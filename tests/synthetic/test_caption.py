"""Captions are true to the person and to the visible side, in many wordings."""

import re
from dataclasses import replace

import numpy as np
import pytest

from ccafl.synthetic.caption import describe, seen_side
from ccafl.synthetic.person import COLOURS, HAIR_COLOURS, Garment, Person, random_person

PERSON = random_person(np.random.default_rng(1))


def captions(person: Person, heading: float, count: int = 40) -> list[str]:
    return [describe(person, heading, np.random.default_rng(number)) for number in range(count)]


def words(person: Person, heading: float) -> set[str]:
    return set(re.findall(r"[a-z-]+", " ".join(captions(person, heading))))


@pytest.mark.parametrize("seed", range(25))
def test_every_colour_mentioned_is_one_of_the_persons_own(seed: int) -> None:
    person = random_person(np.random.default_rng(seed))
    worn = {person.upper_colour.name, person.lower_colour.name, person.shoes.name, person.hair_colour.name}
    worn |= {person.bag_colour.name} if person.bag != "none" else set()
    worn |= {person.hat_colour.name} if person.hat != "none" else set()
    shows_pattern_colour = person.pattern != "plain" or person.carried != "none"
    worn |= {person.pattern_colour.name} if shows_pattern_colour else set()
    mentioned = words(person, 0.0)
    mentioned = {"grey" if word == "gray" else "beige" if word == "tan" else word for word in mentioned}
    assert (mentioned & (COLOURS.keys() | HAIR_COLOURS.keys())) <= worn
    assert {person.upper_colour.name, person.lower_colour.name} <= mentioned


@pytest.mark.parametrize("seed", range(25))
def test_captions_mention_what_is_worn_and_nothing_else(seed: int) -> None:
    person = random_person(np.random.default_rng(seed))
    text = " ".join(captions(person, 0.0, 80))
    for value, option in (
        *((person.bag, bag) for bag in ("backpack", "shoulder bag", "handbag")),
        *((person.hat, hat) for hat in ("cap", "beanie", "sun hat")),
        *((person.carried, thing) for thing in ("ball", "umbrella")),
        *((person.pattern, pattern) for pattern in ("striped", "checked")),
        *((person.lower, lower) for lower in ("shorts", "skirt")),
        *((person.upper, upper) for upper in ("t-shirt", "jacket")),
    ):
        assert (re.search(rf"\b{option}\b", text) is not None) == (value == option), option
    assert ("bald" in text) == (person.hair == "bald" and person.hat == "none")
    assert (re.search(r"\b(man|male|guy)\b", text) is not None) == (person.sex == "man")


@pytest.mark.parametrize(
    ("heading", "side"),
    [(0, "front"), (45, "front"), (90, "side"), (-90, "side"), (180, "back"), (225, "back"), (360, "front")],
)
def test_captions_name_the_visible_side(heading: float, side: str) -> None:
    assert seen_side(heading) == side
    text = " ".join(captions(PERSON, heading))
    for other, phrase in (("front", "from the front"), ("back", "from behind"), ("side", "in profile")):
        assert (phrase in text) == (other == side)


def test_a_logo_is_mentioned_only_where_it_shows() -> None:
    person = replace(PERSON, pattern="logo", pattern_colour=Garment("pink", (0.6, 0.2, 0.3)), back_print=False)
    assert {"logo", "print"} <= words(person, 0)
    assert not {"logo", "print"} & words(person, 90)
    assert not {"logo", "print"} & words(person, 180)
    assert {"logo", "print"} <= words(replace(person, back_print=True), 180)


def test_wordings_vary_and_are_determined_by_the_generator() -> None:
    assert len(set(captions(PERSON, 0, 100))) > 60
    assert captions(PERSON, 0) == captions(PERSON, 0)
