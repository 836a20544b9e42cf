"""The image encoder at any image size: feature map, positions, features and gradients."""

import pytest
import torch
from open_clip.model import CLIP
from torch import nn

from ccafl.errors import InputError
from ccafl.model.clip import load_clip
from ccafl.model.clip_towers import clip_tower, resize_positions
from ccafl.model.gem import GeM
from ccafl.model.image_encoder import ImageEncoder


@pytest.mark.parametrize(("last_stride", "size"), [(1, (16, 8)), (2, (8, 4))])
def test_last_stride_sets_the_map(tiny: CLIP, last_stride: int, size: tuple[int, int]) -> None:
    encoder = ImageEncoder(clip_tower(tiny.visual, (256, 128), last_stride))
    assert encoder.tower.feature_map(torch.randn(1, 3, 256, 128)).shape == (1, 512, *size)
    assert len(encoder.tower.resnet.attnpool.positional_embedding) == 1 + size[0] * size[1]


def test_last_stride_changes_no_weights(tiny: CLIP) -> None:
    """Removing the last stride enlarges the map and keeps the weights, except for the position embedding."""
    kept, removed = (ImageEncoder(clip_tower(tiny.visual, (64, 64), stride)).tower.resnet for stride in (2, 1))
    states = kept.state_dict(), removed.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0] if k != "attnpool.positional_embedding")


@pytest.mark.parametrize("model", ["tiny", "small_vit"])
@torch.no_grad()
def test_image_text_feature_is_clips_at_its_own_size(request: pytest.FixtureRequest, model: str) -> None:
    clip = request.getfixturevalue(model)
    side = 128 if model == "tiny" else 64
    images = torch.randn(3, 3, side, side)
    encoder = ImageEncoder(clip_tower(clip.visual, (side, side), last_stride=2)).eval()
    torch.testing.assert_close(encoder(images)[1], clip.encode_image(images), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_reid_feature_of_a_resnet_is_gem_then_bnneck(tiny: CLIP) -> None:
    encoder = ImageEncoder(clip_tower(tiny.visual, (64, 32))).eval()
    encoder.bnneck.running_mean.fill_(0.5)
    encoder.bnneck.running_var.fill_(4.0)
    images = torch.randn(2, 3, 64, 32)
    mean = encoder.tower.feature_map(images).clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3)
    torch.testing.assert_close(encoder(images)[0], (mean - 0.5) / (4 + 1e-5) ** 0.5)


@torch.no_grad()
def test_reid_feature_of_a_vit_is_the_class_token_before_its_projection(small_vit: CLIP) -> None:
    encoder = ImageEncoder(clip_tower(small_vit.visual, (64, 64))).eval()
    images = torch.randn(2, 3, 64, 64)
    reid, image_text = encoder(images)
    class_token = reid * (1 + 1e-5) ** 0.5  # a new BNNeck only adds its epsilon
    torch.testing.assert_close(class_token @ small_vit.visual.proj, image_text)
    assert (encoder.reid_dim, encoder.image_text_dim) == (128, 96)


@pytest.mark.parametrize("model", ["tiny", "small_vit"])
@pytest.mark.parametrize("size", [(256, 128), (128, 64), (64, 32), (77, 50), (40, 90), (16, 16)])
@torch.no_grad()
def test_any_image_size_works(request: pytest.FixtureRequest, model: str, size: tuple[int, int]) -> None:
    encoder = ImageEncoder(clip_tower(request.getfixturevalue(model).visual, size)).eval()
    images = torch.randn(2, 3, *size)
    reid, image_text = encoder(images)
    assert reid.shape == (2, encoder.reid_dim)
    assert image_text.shape == (2, encoder.image_text_dim)
    torch.testing.assert_close(encoder.embed(images), nn.functional.normalize(reid))


@pytest.mark.parametrize("model", ["tiny", "small_vit"])
def test_refuses_images_too_small_or_of_another_size(request: pytest.FixtureRequest, model: str) -> None:
    visual = request.getfixturevalue(model).visual
    with pytest.raises(InputError, match="image size 64x8: too small"):
        ImageEncoder(clip_tower(visual, (64, 8)))
    with pytest.raises(ValueError, match="built for"):
        ImageEncoder(clip_tower(visual, (64, 32)))(torch.zeros(1, 3, 32, 64))


def test_refuses_an_unknown_tower_and_an_unsupported_stride(tiny: CLIP) -> None:
    with pytest.raises(TypeError, match="Linear"):
        ImageEncoder(clip_tower(nn.Linear(1, 1), (64, 32)))
    with pytest.raises(ValueError, match="last_stride"):
        ImageEncoder(clip_tower(tiny.visual, (64, 32), last_stride=4))


@pytest.mark.parametrize("model", ["tiny", "small_vit"])
def test_gradients_reach_every_trained_weight_and_no_frozen_one(request: pytest.FixtureRequest, model: str) -> None:
    torch.manual_seed(0)
    clip = request.getfixturevalue(model)
    encoder = ImageEncoder(clip_tower(clip.visual, (64, 32))).train()
    reid, image_text = encoder(torch.randn(8, 3, 64, 32))
    ((reid * torch.randn_like(reid)).sum() + image_text.square().sum()).backward()
    for name, weight in encoder.named_parameters():
        if name == "bnneck.bias":
            assert weight.grad is None
            assert not weight.any()
        else:
            assert weight.grad is not None, name
            assert weight.grad.any(), name
    assert all(weight.grad is None for weight in clip.parameters())


def test_without_image_text_the_attention_pool_gets_no_gradient(tiny: CLIP) -> None:
    encoder = ImageEncoder(clip_tower(tiny.visual, (64, 32)))
    reid, image_text = encoder(torch.randn(2, 3, 64, 32), image_text=False)
    assert image_text is None
    reid.square().sum().backward()
    assert all(weight.grad is None for weight in encoder.tower.resnet.attnpool.parameters())


def test_the_clip_model_is_left_unchanged(tiny: CLIP) -> None:
    before = {key: value.clone() for key, value in tiny.state_dict().items()}
    encoder = ImageEncoder(clip_tower(tiny.visual, (64, 32))).train()
    encoder(torch.randn(4, 3, 64, 32))[0].sum().backward()
    torch.optim.SGD(encoder.parameters(), lr=1.0).step()
    assert all(torch.equal(value, before[key]) for key, value in tiny.state_dict().items())
    assert not tiny.visual.training


def test_dimensions_of_rn50() -> None:
    with torch.device("meta"):
        visual = load_clip("RN50", None).visual
    assert (visual.attnpool.c_proj.in_features, visual.attnpool.c_proj.out_features) == (2048, 1024)
    encoder = ImageEncoder(clip_tower(visual, (256, 128)))
    assert (encoder.reid_dim, encoder.image_text_dim) == (2048, 1024)
    assert encoder.tower.resnet.attnpool.positional_embedding.shape == (1 + 16 * 8, 2048)


def test_positions_are_resized_bilinearly() -> None:
    grid = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    embedding = torch.cat([torch.tensor([9.0]), grid.flatten()])[:, None] * torch.tensor([1.0, 10.0])
    assert torch.equal(resize_positions(embedding, (2, 2), (2, 2)), embedding)
    resized = resize_positions(embedding, (2, 2), (2, 4))
    expected = torch.tensor([9.0, 0.0, 0.25, 0.75, 1.0, 2.0, 2.25, 2.75, 3.0])
    torch.testing.assert_close(resized, expected[:, None] * torch.tensor([1.0, 10.0]))


def test_gem_lies_between_mean_and_maximum() -> None:
    features = torch.rand(2, 5, 4, 3)
    pooled = GeM()(features)
    torch.testing.assert_close(pooled, (features**3).mean((2, 3)) ** (1 / 3))
    torch.testing.assert_close(GeM(p=1.0)(features), features.mean((2, 3)))
    assert (pooled <= features.amax((2, 3))).all()


def test_gem_survives_zeros_and_half_precision() -> None:
    gem = GeM()
    features = torch.zeros(1, 2, 4, 4, requires_grad=True)
    gem(features).sum().backward()
    assert features.grad.isfinite().all()
    assert gem.p.grad.isfinite()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = gem(torch.full((1, 2, 4, 4), 100.0, dtype=torch.bfloat16))
    torch.testing.assert_close(pooled, torch.full((1, 2), 100.0))


@pytest.mark.parametrize("model", ["tiny", "small_vit"])
def test_mixed_precision_trains(request: pytest.FixtureRequest, model: str) -> None:
    encoder = ImageEncoder(clip_tower(request.getfixturevalue(model).visual, (64, 32))).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reid, image_text = encoder(torch.randn(4, 3, 64, 32))
    (reid.float().square().sum() + image_text.float().square().sum()).backward()
    assert all(weight.grad.isfinite().all() for weight in encoder.parameters() if weight.requires_grad)
