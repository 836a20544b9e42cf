"""How much features reveal the camera, and how well prompts describe images."""

import math

import torch
import torch.nn.functional as F

from ccafl.evaluation.alignment import text_image_alignment
from ccafl.evaluation.camera_agnosticism import camera_probe, own_camera_neighbours, same_person_mass


def scene(seed: int = 0, images: int = 900, cameras: int = 3, persons: int = 60):
    random = torch.Generator().manual_seed(seed)
    return (
        torch.randn(images, 12, generator=random),
        torch.randint(cameras, (images,), generator=random),
        torch.randint(persons, (images,), generator=random),
    )


def test_the_probe_finds_a_camera_in_the_features():
    features, cameras, persons = scene()
    features[:, :3] += 20 * F.one_hot(cameras)
    assert camera_probe(features, cameras, persons) == 1


def test_the_probe_is_at_chance_without_a_camera_in_the_features():
    assert abs(camera_probe(*scene()) - 1 / 3) < 0.08


def test_the_probe_does_not_recognise_a_camera_by_its_people():
    _, _, persons = scene()
    cameras = persons % 3
    own = torch.eye(60)[persons]
    assert camera_probe(own, cameras, persons) < 0.5


def test_every_camera_has_the_same_weight_in_the_probe():
    features, _, persons = scene()
    cameras = (torch.arange(900) % 30 == 0).long()
    assert abs(camera_probe(features, cameras, persons) - 0.5) < 0.2


def test_the_probe_is_nan_for_a_single_camera():
    features, cameras, persons = scene()
    assert math.isnan(camera_probe(features, torch.zeros_like(cameras), persons))


def test_own_camera_neighbours_equal_a_plain_loop():
    features, cameras, persons = scene(images=80, persons=9)
    features = F.normalize(features + 2 * F.one_hot(cameras, 12))
    query, gallery = slice(0, 20), slice(20, 80)
    sides = (features[query], features[gallery], persons[query], cameras[query], persons[gallery], cameras[gallery])
    near, chance = own_camera_neighbours(*sides, depth=5)
    shares, chances = [], []
    for q in range(20):
        strangers = [g for g in range(20, 80) if persons[g] != persons[q]]
        strangers.sort(key=lambda g: -(features[q] @ features[g]))
        shares.append(sum(bool(cameras[g] == cameras[q]) for g in strangers[:5]) / 5)
        chances.append(sum(bool(cameras[g] == cameras[q]) for g in strangers) / len(strangers))
    assert abs(near - sum(shares) / 20) < 1e-6
    assert abs(chance - sum(chances) / 20) < 1e-6
    assert near > chance


def test_same_person_mass_equals_a_plain_loop():
    torch.manual_seed(0)
    cosines, identities = torch.rand(7, 10) * 2 - 1, torch.randint(10, (7,))
    persons = torch.tensor([0, 1, 2, 0, 1, 3, 0, 2, 4, 4])
    mass = same_person_mass(cosines, identities, persons, 16.0)
    for row in range(7):
        probabilities = (16 * cosines[row]).softmax(0)
        own = int(identities[row])
        others = [j for j in range(10) if j != own and persons[j] == persons[own]]
        torch.testing.assert_close(mass[row], probabilities[others].sum())


def test_alignment_equals_plain_loops():
    torch.manual_seed(0)
    identity_cameras = torch.tensor([0, 0, 0, 1, 1])
    identities = torch.randint(5, (40,))
    text, image = torch.randn(5, 8), torch.randn(40, 8)
    found = text_image_alignment(text, image, identities, identity_cameras)
    own, other, percentiles = [], [], []
    for n in range(5):
        cosines = F.cosine_similarity(text[n][None], image)
        seen = [i for i in range(40) if identity_cameras[identities[i]] == identity_cameras[n]]
        mine = [cosines[i].item() for i in seen if identities[i] == n]
        theirs = [cosines[i].item() for i in seen if identities[i] != n]
        own += mine
        other += theirs
        percentiles.append(sum(a > b for a in mine for b in theirs) / (len(mine) * len(theirs)))
    assert abs(found.own_cosine - sum(own) / len(own)) < 1e-6
    assert abs(found.other_cosine - sum(other) / len(other)) < 1e-6
    assert abs(found.rank_percentile - sum(percentiles) / 5) < 1e-6


def test_prompts_equal_to_their_images_rank_them_first():
    identities = torch.arange(6).repeat(4)
    images = torch.eye(6)[identities] + 0.01 * torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
    found = text_image_alignment(torch.eye(6), images, identities, torch.tensor([0, 0, 0, 1, 1, 1]))
    assert found.rank_percentile == 1
    assert found.own_cosine > 0.9 > found.other_cosine
