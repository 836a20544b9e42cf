"""Degraded pictures: each effect keeps the shape, follows from its seed, and does what it is named for."""

import numpy as np
import pytest
import torch

from ccafl.synthetic import degrade
from ccafl.synthetic.degrade import degraded

EFFECTS = (
    degrade.reframed,
    degrade.occluded,
    degrade.relit,
    degrade.infrared,
    degrade.blurred,
    degrade.coarsened,
    degrade.grainy,
)


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.rand(24, 3, 32, 16, generator=torch.Generator().manual_seed(0)) * 255


def distinct(pixels: torch.Tensor) -> int:
    return len({picture.numpy().tobytes() for picture in pixels})


@pytest.mark.parametrize("effect", EFFECTS)
def test_an_effect_keeps_the_shape_and_follows_from_its_seed(effect, pixels) -> None:
    before = pixels.clone()
    once, again, other = (effect(pixels, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (once.shape, once.dtype) == (pixels.shape, pixels.dtype)
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert torch.equal(pixels, before)
    assert distinct(once) == len(once)
    alike = effect(pixels[:1].expand(24, -1, -1, -1), np.random.default_rng(3))
    assert effect is degrade.occluded or distinct(alike) > 1  # every picture has a draw of its own


def test_all_effects_give_bytes_that_follow_from_the_seed(pixels) -> None:
    images = pixels.to(torch.uint8)
    once = degraded(images, 5)
    assert (once.shape, once.dtype) == (images.shape, torch.uint8)
    assert torch.equal(once, degraded(images, 5))
    assert not torch.equal(once, degraded(images, 6))


def test_an_occluded_picture_shows_another_one_at_a_side_or_below(pixels) -> None:
    numbered = torch.arange(24.0)[:, None, None, None].expand(-1, 3, 32, 16)
    shown = degrade.occluded(numbered, np.random.default_rng(0))
    hidden = (shown != numbered)[:, 0]
    share = hidden.float().mean((1, 2))
    assert 0 < (share > 0).sum() < 24
    assert share.max() < 0.5
    assert not hidden[:, :16, 8].any()  # the middle of the upper half is always seen


def test_infrared_has_no_colour_and_coarse_and_blurred_pictures_less_detail(pixels) -> None:
    grey = degrade.infrared(pixels.repeat(10, 1, 1, 1), np.random.default_rng(0))
    colourless = (grey.amax(1) - grey.amin(1)).amax((1, 2)) < 1e-3
    assert 0 < colourless.sum() < 60
    for effect in (degrade.blurred, degrade.coarsened):
        after = effect(pixels, np.random.default_rng(0))
        changed = (after != pixels).flatten(1).any(1)
        assert 0 < changed.sum() < 24
        assert (after.std((2, 3))[changed] < pixels.std((2, 3))[changed]).all()
        assert after.mean((1, 2, 3))[changed] == pytest.approx(pixels.mean((1, 2, 3))[changed], rel=0.05)
