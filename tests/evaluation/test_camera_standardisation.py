"""Features standardised by camera."""

import math

import pytest
import torch
import torch.nn.functional as F

from ccafl.evaluation.camera_standardisation import POOLED_IMAGES, standardised_by_camera
from ccafl.evaluation.ranking import rank


def scene(images: int = 240, cameras: int = 3, dims: int = 6):
    random = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(images, dims, generator=random))
    return features, torch.randint(cameras, (images,), generator=random) * 7 - 7


def test_it_is_what_a_loop_over_cameras_and_dimensions_gives():
    features, cameras = scene(images=90)
    expected = torch.empty_like(features)
    for camera in cameras.unique().tolist():
        own = [number for number in range(90) if cameras[number] == camera]
        weight = len(own) / (len(own) + POOLED_IMAGES)
        for dim in range(6):
            of_all, of_own = features[:, dim].tolist(), features[own, dim].tolist()
            mean = weight * sum(of_own) / len(own) + (1 - weight) * sum(of_all) / 90
            square = weight * sum(x * x for x in of_own) / len(own) + (1 - weight) * sum(x * x for x in of_all) / 90
            for number in own:
                expected[number, dim] = (features[number, dim] - mean) / math.sqrt(square - mean**2)
    torch.testing.assert_close(standardised_by_camera(features, cameras), F.normalize(expected))


def test_what_a_camera_adds_to_its_images_no_longer_decides():
    random = torch.Generator().manual_seed(1)
    persons, cameras = torch.arange(300).repeat(4), torch.arange(4).repeat_interleave(300)
    features = torch.randn(300, 16, generator=random).repeat(4, 1) + 0.3 * torch.randn(1200, 16, generator=random)
    seen = F.normalize(features * (0.2 + torch.rand(4, 16, generator=random))[cameras])
    seen = F.normalize(seen + torch.randn(4, 16, generator=random)[cameras])
    query = cameras == 0
    ranked = [
        rank(one[query], one[~query], persons[query], cameras[query], persons[~query], cameras[~query]).mAP
        for one in (seen, standardised_by_camera(seen, cameras))
    ]
    assert ranked[1] > ranked[0] + 0.1


def test_a_camera_of_one_image_takes_the_statistics_of_all():
    features, cameras = scene()
    features = torch.cat([features, features[:1] + 0.1])
    found = standardised_by_camera(features, torch.cat([cameras, torch.tensor([99])]))
    pooled = F.normalize((features[-1:] - features.mean(0)) / features.std(0, correction=0))
    assert (found[-1] * pooled[0]).sum() > 0.99
    torch.testing.assert_close(found.norm(dim=1), torch.ones(len(found)))


def test_a_dimension_that_never_varies_says_nothing():
    features, cameras = scene()
    found = standardised_by_camera(torch.cat([features, torch.full((240, 1), 0.3)], 1), cameras)
    torch.testing.assert_close(found[:, :-1], standardised_by_camera(features, cameras))
    torch.testing.assert_close(found[:, -1], torch.zeros(240))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_order_of_images_and_the_names_of_cameras_do_not_matter(dtype):
    features, cameras = scene()
    order = torch.randperm(240, generator=torch.Generator().manual_seed(2))
    found = standardised_by_camera(features[order].to(dtype), cameras[order] + 40)
    assert found.dtype == dtype
    torch.testing.assert_close(found, standardised_by_camera(features.to(dtype), cameras)[order])
