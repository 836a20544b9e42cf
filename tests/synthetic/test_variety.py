"""A varied world differs from the plain one in persons and scenes, follows from its seed, and is described truly."""

from dataclasses import replace

import numpy as np
import pytest

from ccafl.synthetic.body import build
from ccafl.synthetic.person import COLOURS, Fabric, Weave
from ccafl.synthetic.variety import MORE_COLOURS, WEAVES, cluttered, textured, woven
from ccafl.synthetic.world import World

SIZE = (64, 32)
VARIED, PLAIN = World(3, 60, 4, 1.0, varied=True), World(3, 60, 4, 1.0)


def test_pictures_follow_from_the_seed_and_differ_from_the_plain_worlds() -> None:
    for person, camera in ((0, 1), (1, 0), (2, 3)):
        once, again = (np.asarray(World(3, 60, 4, 1.0, varied=True).picture(person, camera, 1, SIZE)) for _ in range(2))
        assert np.array_equal(once, again)
        assert not np.array_equal(once, np.asarray(PLAIN.picture(person, camera, 1, SIZE)))


def test_persons_vary_and_captions_name_the_colours_they_wear() -> None:
    persons = [VARIED.person(index) for index in range(60)]
    assert {person.upper_fabric.weave for person in persons} == set(WEAVES)
    for seldom in ([person.coat for person in persons], [person.height < 1.5 for person in persons]):
        assert 0 < sum(map(bool, seldom)) < 30
    named = {person.upper_colour.name for person in persons}
    assert named & set(MORE_COLOURS)
    assert named & set(COLOURS)
    for index, person in enumerate(persons):
        assert person.upper_colour.name in VARIED.caption(index, 0, 0).replace("gray", "grey").replace("tan", "beige")


@pytest.mark.parametrize("weave", WEAVES)
def test_a_fabric_keeps_the_shape_and_all_but_smooth_ones_show(weave: Weave) -> None:
    rng = np.random.default_rng(0)
    colour = np.full((500, 3), 0.3, np.float32)
    x, y, along = rng.uniform(-1, 1, (3, 500)).astype(np.float32)
    cloth = woven(Fabric(weave, 0.05, 0.6, 1), colour, (0.9, 0.1, 0.1), x, y, along)
    assert (cloth.shape, cloth.dtype) == (colour.shape, colour.dtype)
    assert (cloth >= 0).all()
    assert (weave == "smooth") == np.array_equal(cloth, colour)


def test_a_coat_and_an_umbrella_show() -> None:
    person = replace(VARIED.person(0), upper="jacket")
    parts = [len(build(replace(person, coat=coat, shelter=up), 0.3).colours) for coat, up in ((0, 0), (0.2, 0), (0, 1))]
    assert parts == [parts[0], parts[0] + 1, parts[0] + 1]


def test_clutter_and_texture_change_light_but_stay_physical() -> None:
    light = np.full((90, 160, 3), 0.2, np.float32)
    for effect in (cluttered, textured):
        once, again = (effect(light, np.random.default_rng(1)) for _ in range(2))
        assert np.array_equal(once, again)
        assert (once.shape, once.dtype) == (light.shape, light.dtype)
        assert once.std() > 0.01
        assert (once > 0).all()
