"""The renderer against geometry worked out by hand, and the body against what it must show."""

from dataclasses import replace
from math import cos, pi, radians, sin

import numpy as np
import numpy.typing as npt
import pytest

from ccafl.synthetic import render as renderer
from ccafl.synthetic.body import Floats, Parts, build, walk
from ccafl.synthetic.person import Garment, Person, random_person
from ccafl.synthetic.render import Pixels, View, Window, extent, render, shadow

PERSON = random_person(np.random.default_rng(0))
MAGENTA = Garment("magenta", (0.9, 0.0, 0.9))


def seen_from(azimuth: float, distance: float = 6.0, height: float = 0.9, sun: tuple[float, ...] = (0, 0, 1)) -> View:
    """A camera ``azimuth`` degrees to the left of the person's front, looking at a point 0.9 m above the feet."""
    eye = np.array([distance * sin(radians(azimuth)), distance * cos(radians(azimuth)), height])
    forward = np.array([0, 0, 0.9]) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    return View(eye, right, np.cross(forward, right), forward, np.array(sun, float), 0.5, 0.5)


def square(side: float, pixels: int) -> Window:
    return Window(-side / 2, -side / 2, side / pixels, pixels, pixels)


def around(parts: Parts, view: View, height: int = 128) -> Window:
    boxes = extent(parts, view)
    (left, top), (right, bottom) = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    pixel = (bottom - top) * 1.1 / height
    return Window(
        (left + right - pixel * height / 2) / 2, (top + bottom - pixel * height) / 2, pixel, height, height // 2
    )


def drawn(person: Person, azimuth: float, phase: float = 0.3) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    parts, view = build(person, phase), seen_from(azimuth)
    return render(person, parts, view, around(parts, view))


def ball(centre: tuple[float, float, float], radius: float, colour: tuple[float, float, float]) -> Parts:
    parts = Parts()
    parts.ellipsoid(centre, (radius,) * 3, colour)
    return parts


def test_a_ball_is_a_disc_of_the_size_given_by_pinhole_projection() -> None:
    radius, distance = 0.5, 6.0
    _, mask = render(PERSON, ball((0, 0, 0.9), radius, (0.5, 0.5, 0.5)), seen_from(0, distance), square(0.3, 400))
    tangent = radius / (distance**2 - radius**2) ** 0.5
    pixels = (np.arange(400) + 0.5) / 400 * 0.3 - 0.15
    inside = pixels[None] ** 2 + pixels[:, None] ** 2 < tangent**2
    assert (mask != inside).mean() < 1e-4


def test_twice_as_far_is_half_as_large() -> None:
    near, far = (extent(ball((0, 0, 0.9), 0.01, (1, 1, 1)), seen_from(30, distance))[0] for distance in (4.0, 8.0))
    assert far == pytest.approx(near / 2, rel=1e-2)


def test_restricting_each_part_to_its_box_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, azimuth in enumerate((0, 75, 160, 290)):
        person = random_person(np.random.default_rng(seed))
        parts, view = build(person, seed), seen_from(azimuth, 3.5, 4.0)
        window = around(parts, view, 64)
        light, mask = render(person, parts, view, window)
        with monkeypatch.context() as patch:
            patch.setattr(renderer, "extent", lambda parts, view: np.array([[-9.0, -9, 9, 9]] * len(parts.origins)))
            everywhere = render(person, parts, view, window)
        assert np.array_equal(mask, everywhere[1])
        assert np.array_equal(light, everywhere[0])


def test_the_nearer_part_hides_the_farther_in_either_order() -> None:
    view, window = seen_from(0), square(0.1, 20)
    for order in (1, -1):
        parts = Parts()
        for centre, colour in [((0, 1, 0.9), (1.0, 0, 0)), ((0, -1, 0.9), (0, 1.0, 0))][::order]:
            parts.ellipsoid(centre, (0.3,) * 3, colour)
        light, mask = render(PERSON, parts, view, window)
        assert mask[10, 10]
        assert light[10, 10, 0] > 0
        assert light[10, 10, 1] == 0


def test_the_side_facing_the_sun_is_brighter() -> None:
    window = square(0.2, 40)
    light, mask = render(PERSON, ball((0, 0, 0.9), 0.5, (1, 1, 1)), seen_from(0, sun=(1, 0, 0)), window)
    assert mask.mean() > 0.5
    left, right = light[:, :15][mask[:, :15]].mean(), light[:, -15:][mask[:, -15:]].mean()
    assert left > 1.4 * right  # the person's left is on the left of the picture
    light, mask = render(PERSON, ball((0, 0, 0.9), 0.5, (1, 1, 1)), seen_from(0, sun=(0, 0, 1)), window)
    top, bottom = light[:15][mask[:15]].mean(), light[-15:][mask[-15:]].mean()
    assert top > 1.4 * bottom


def test_a_cut_removes_half() -> None:
    parts = Parts()
    parts.ellipsoid((0, 0, 0.9), (0.3,) * 3, (1, 1, 1), cut=(0.0, 0.0, 1.0, 0.0))  # the lower half remains
    _, mask = render(PERSON, parts, seen_from(0), square(0.2, 40))
    assert mask[21:29, 20].all()
    assert not mask[:19].any()


def test_a_cone_narrows_from_joint_to_joint() -> None:
    parts = Parts()
    parts.cone((0, 0, 0.4), (0, 0, 1.4), (0.4, 0.1), (1, 1, 1))
    _, mask = render(PERSON, parts, seen_from(0), square(0.3, 120))
    widths = mask.sum(1)[mask.any(1)]
    assert (np.diff(widths[:-3]) >= 0).all()  # the last rows are its round end seen from above
    assert 3 < widths[-4] / widths[3] < 4.5


@pytest.mark.parametrize("phase", np.linspace(0, 2 * pi, 9))
def test_the_lower_foot_stands_on_the_ground_and_bones_keep_their_length(phase: float) -> None:
    for seed in range(5):
        person = random_person(np.random.default_rng(seed))
        joints = walk(person, float(phase))
        assert min(leg.ankle[2] for leg in joints.legs) == pytest.approx(0.045 * person.height)
        for leg in joints.legs:
            assert leg.hip[2] == pytest.approx(joints.trunk.pelvis)
            assert _distance(leg.hip, leg.knee) == pytest.approx(0.235 * person.height, rel=0.02)
            assert _distance(leg.knee, leg.ankle) == pytest.approx(0.23 * person.height, rel=0.03)
        for arm in joints.arms:
            assert _distance(arm.shoulder, arm.elbow) == pytest.approx(0.165 * person.height)


def test_legs_and_arms_swing_against_each_other() -> None:
    person = replace(PERSON, carried="none", arm_swing=0.5, stride=0.5, lower="trousers")
    joints = walk(person, pi / 2)  # the left leg is in front
    assert joints.legs[0].ankle[1] > 0.2 > -0.1 > joints.legs[1].ankle[1]
    assert joints.arms[0].hand[1] < joints.arms[1].hand[1]


def test_a_body_reaches_from_soles_to_crown() -> None:
    for seed in range(6):
        person = replace(random_person(np.random.default_rng(seed)), hat="none", hair="bald")
        corners = build(person, 0.0).corners()
        assert corners[..., 2].min() > -0.05
        assert 0.93 * person.height < corners[..., 2].max() < 1.08 * person.height


def test_a_logo_shows_from_the_front_and_a_backpack_from_the_back() -> None:
    logo = replace(PERSON, upper="t-shirt", pattern="logo", pattern_colour=MAGENTA, back_print=False, bag="none")
    logo = replace(logo, carried="none")
    carrier = replace(logo, pattern="plain", bag="backpack", bag_colour=MAGENTA)
    assert _magenta(logo, 0) > 0.008
    assert _magenta(logo, 180) == 0
    assert _magenta(replace(logo, back_print=True), 180) > 0.008
    assert _magenta(carrier, 180) > 3 * _magenta(carrier, 0) > 0


def test_a_face_and_an_open_jacket_show_from_the_front_only() -> None:
    person = replace(PERSON, upper="jacket", pattern="plain", pattern_colour=MAGENTA, carried="none", bag="none")
    assert _magenta(person, 0) > 0.01
    assert _magenta(person, 180) == 0
    hatless = replace(person, skin=MAGENTA.surface, pattern_colour=Garment("grey", (0.2, 0.2, 0.2)), hat="none")
    long = replace(hatless, hair="long", lower="trousers")
    assert _magenta(long, 0) > 2 * _magenta(long, 180)


@pytest.mark.parametrize(
    ("changes", "azimuth"),
    [
        ({"upper_colour": MAGENTA}, 90),
        ({"lower_colour": MAGENTA}, 90),
        ({"shoes": MAGENTA}, 90),
        ({"hat": "cap", "hat_colour": MAGENTA}, 0),
        ({"hat": "beanie", "hat_colour": MAGENTA}, 180),
        ({"hat": "sun hat", "hat_colour": MAGENTA}, 90),
        ({"hair": "long", "hair_colour": MAGENTA, "hat": "none"}, 180),
        ({"hair": "curly", "hair_colour": MAGENTA, "hat": "none"}, 90),
        ({"bag": "handbag", "bag_colour": MAGENTA, "bag_side": 1}, 90),
        ({"bag": "shoulder bag", "bag_colour": MAGENTA, "bag_side": 1}, 90),
        ({"carried": "ball", "pattern_colour": MAGENTA, "pattern": "plain", "upper": "shirt"}, 0),
        ({"carried": "umbrella", "pattern_colour": MAGENTA, "pattern": "plain", "upper": "shirt"}, 0),
        ({"pattern": "striped", "pattern_colour": MAGENTA}, 180),
        ({"pattern": "checked", "pattern_colour": MAGENTA}, 180),
        ({"pattern": "two-tone", "pattern_colour": MAGENTA}, 180),
        ({"skin": MAGENTA.surface}, 0),
    ],
)  # fmt: skip
def test_every_attribute_shows(changes: dict[str, object], azimuth: float) -> None:
    plain = replace(PERSON, bag="none", carried="none", hat="none", pattern="plain", upper="t-shirt")
    assert _magenta(plain, azimuth) == 0
    assert _magenta(replace(plain, **changes), azimuth) > 0.002  # type: ignore[arg-type]


def test_the_shadow_lies_only_at_the_feet() -> None:
    view, window = seen_from(0, height=3.0), square(0.8, 64)
    kept = shadow(view, window, 0.3)
    feet = (np.zeros(3) - view.eye) @ np.stack([view.right, view.down, view.forward], 1)
    column, row = ((feet[:2] / feet[2] + 0.4) / 0.8 * 64).astype(int)
    assert kept[row, column] < 0.5
    assert kept[0].min() > 0.97
    assert kept.max() <= 1


def _magenta(person: Person, azimuth: float) -> float:
    """Share of the picture that reflects red and blue but no green."""
    light, mask = drawn(person, azimuth)
    return float((mask & (light[..., 1] == 0) & (light[..., 0] > 0)).mean())


def _distance(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    difference: Floats = np.subtract(one, other)
    return float(np.linalg.norm(difference))
