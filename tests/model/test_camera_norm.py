"""Batch norms with each camera's own statistics."""

import pytest
import torch
from torch import nn

from ccafl.model.camera_norm import CameraBatchNorm, Cameras
from ccafl.model.clip import load_clip
from ccafl.model.clip_towers import clip_tower
from ccafl.model.embedding import measure_camera_statistics
from ccafl.model.image_encoder import ImageEncoder

CAMERAS = torch.tensor([2, 0, 2, 1, 0, 2, 1, 0])


@pytest.fixture
def images():
    torch.manual_seed(1)
    return torch.randn(8, 3, 32, 16) * (1 + CAMERAS[:, None, None, None]) + CAMERAS[:, None, None, None]


def encoder(norm_cameras: int | None) -> ImageEncoder:
    torch.manual_seed(0)
    return ImageEncoder(clip_tower(load_clip("tiny", None).visual, (32, 16)), norm_cameras=norm_cameras)


def test_in_training_each_camera_is_normalised_separately(images):
    together, separate = encoder(3).train(), encoder(None).train()
    features = together(images, cameras=CAMERAS)[0]
    for camera in range(3):
        torch.testing.assert_close(features[camera == CAMERAS], separate(images[camera == CAMERAS])[0])


def test_gradients_are_those_of_separate_cameras(images):
    """In float64, because float32 rounding differs between processors and grows in the backward pass."""
    together, separate, images = encoder(3).train().double(), encoder(None).train().double(), images.double()
    together(images, cameras=CAMERAS)[0].square().sum().backward()
    for camera in range(3):
        separate(images[camera == CAMERAS])[0].square().sum().backward()
    for ours, theirs in zip(together.parameters(), separate.parameters(), strict=True):
        if theirs.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-7, atol=1e-9)


def test_each_camera_has_its_own_running_statistics(images):
    norm = CameraBatchNorm(nn.BatchNorm2d(3), Cameras(3)).train()
    order = norm.cameras.sort(CAMERAS, 8)
    norm(images[order])
    for camera in range(3):
        one = nn.BatchNorm2d(3).train()
        one(images[camera == CAMERAS])
        torch.testing.assert_close(norm.running_mean[camera], one.running_mean)
        torch.testing.assert_close(norm.running_var[camera], one.running_var)


def test_in_evaluation_features_depend_only_on_the_image_and_its_camera(images):
    network = encoder(3).train()
    network(images, cameras=CAMERAS)
    network.eval()
    with torch.no_grad():
        together = network.embed(images, CAMERAS)
        alone = torch.cat([network.embed(images[[i]], CAMERAS[[i]]) for i in range(8)])
        elsewhere = network.embed(images, (CAMERAS + 1) % 3)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert (together - elsewhere).abs().max() > 1e-3


def test_cameras_with_equal_statistics_give_a_plain_norm(images):
    with torch.no_grad():
        for cameras in (CAMERAS, torch.full_like(CAMERAS, -1), None):
            torch.testing.assert_close(
                encoder(3).eval().embed(images, cameras), encoder(None).eval().embed(images), rtol=1e-4, atol=1e-5
            )


def test_an_unknown_camera_uses_the_pooled_statistics():
    norm = CameraBatchNorm(nn.BatchNorm1d(2), Cameras(2)).eval()
    seen = torch.randn(2, 1000, 2) * torch.tensor([[[1.0, 2.0]], [[3.0, 0.5]]]) + torch.tensor([[[4.0]], [[-1.0]]])
    norm.running_mean.copy_(seen.mean(1))
    norm.running_var.copy_(seen.var(1, correction=0))
    norm.cameras.sort(None, 2000)
    normalised = norm(seen.flatten(0, 1))
    torch.testing.assert_close(normalised.mean(0), torch.zeros(2), rtol=0, atol=1e-4)
    torch.testing.assert_close(normalised.var(0, correction=0), torch.ones(2), rtol=1e-4, atol=1e-4)


def test_a_cameras_only_image_is_normalised_by_running_statistics():
    norm = CameraBatchNorm(nn.BatchNorm1d(2), Cameras(2)).train()
    norm.running_mean[1] = torch.tensor([1.0, 2.0])
    norm.cameras.sort(torch.tensor([0, 0, 1]), 3)
    features = torch.tensor([[0.0, 0.0], [2.0, 2.0], [1.0, 3.0]])
    torch.testing.assert_close(norm(features)[2], torch.tensor([0.0, 1.0]), rtol=1e-4, atol=1e-4)


def test_measured_statistics_are_the_mean_over_the_batches(images):
    network = encoder(3).eval()
    first = next(module for module in network.modules() if isinstance(module, CameraBatchNorm))
    before = first.running_mean.clone()
    found = list(measure_camera_statistics(network, 1, [images[:3], images[3:6]], torch.device("cpu")))
    convolved = network.tower.resnet.conv1(torch.cat([images[:3], images[3:6]]))
    torch.testing.assert_close(first.running_mean[1], convolved.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert torch.equal(first.running_mean[[0, 2]], before[[0, 2]])
    assert [part.shape for part in found] == [(3, network.reid_dim)] * 2
    assert not network.training
