"""Batches: what they hold, and that chance follows from the seed alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ccafl.data.batches import (
    EvaluationBatches,
    ImageStore,
    TrainingBatches,
    camera_batches,
    identity_batches,
    seed_for,
    shuffled_batches,
)
from ccafl.data.transforms import MEAN, STD, evaluation_transform, resized, training_transform


@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(1, 5), st.integers(1, 4))
def test_identity_batches_hold_p_identities_of_k_images(seed, names, identities, images):
    groups = torch.randint(-1, names, (60,), generator=torch.Generator().manual_seed(seed))
    present = set(groups.tolist()) - {-1}
    batches = identity_batches(groups, 6, identities, images, seed)
    assert batches.shape == (6, identities * images)
    for batch in batches:
        drawn = groups[batch].view(identities, images)
        assert (drawn >= 0).all()
        assert (drawn == drawn[:, :1]).all()
        if identities <= len(present):
            assert len(set(drawn[:, 0].tolist())) == identities
        for visit in batch.view(identities, images):
            own = int((groups == groups[visit[0]]).sum())
            if identities <= len(present):
                assert len(set(visit.tolist())) == min(images, own)


@given(st.integers(0, 10**6))
def test_identity_batches_come_to_every_image(seed):
    groups = torch.arange(4).repeat_interleave(6)
    drawn = identity_batches(groups, 3, 4, 2, seed).flatten()
    assert sorted(drawn.tolist()) == list(range(24))
    assert torch.equal(drawn, identity_batches(groups, 3, 4, 2, seed).flatten())
    assert not torch.equal(drawn, identity_batches(groups, 3, 4, 2, seed + 1).flatten())


@given(seed=st.integers(0, 10**6), batch_cameras=st.integers(1, 5))
def test_camera_batches_are_of_few_cameras(seed, batch_cameras):
    random = torch.Generator().manual_seed(seed)
    groups = torch.randint(-1, 20, (400,), generator=random)
    cameras = torch.randint(4, (400,), generator=random)
    draws = camera_batches(groups, cameras, 12, 4, 3, batch_cameras, seed)
    assert torch.equal(draws, camera_batches(groups, cameras, 12, 4, 3, batch_cameras, seed))
    assert draws.shape == (12, 12)
    assert (groups[draws] >= 0).all()
    for drawn in draws:
        assert len(cameras[drawn].unique()) <= batch_cameras
        assert torch.equal(groups[drawn].unique(return_counts=True)[1], torch.full((4,), 3))


def test_camera_batches_come_to_cameras_as_often_as_they_have_images():
    cameras = torch.tensor([0] * 300 + [1] * 100)
    draws = camera_batches(torch.arange(400) // 2, cameras, 2000, 2, 2, 1, seed=0)
    assert abs((cameras[draws[:, 0]] == 0).float().mean() - 0.75) < 0.04


@pytest.mark.parametrize("count", [1, 63, 64, 65, 128])
def test_shuffled_batches_hold_all_and_are_never_empty(count):
    batches = list(shuffled_batches(count, 64, seed=0))
    assert sorted(torch.cat(batches).tolist()) == list(range(count))
    assert all(len(batch) for batch in batches)


def test_seeds_differ_where_their_parts_do():
    seeds = {seed_for(seed, stage, epoch) for seed in range(5) for stage in range(3) for epoch in range(20)}
    assert len(seeds) == 300
    assert seed_for(1, 2, 3) == seed_for(1, 2, 3)


@pytest.fixture
def store(tmp_path):
    paths = []
    for number in range(6):
        paths.append(tmp_path / f"{number}.png")
        Image.effect_noise((20, 40), 90).convert("RGB").save(paths[-1])
    return ImageStore(paths, (32, 16), cache_bytes=10**6)


def test_processes_share_a_batch_without_changing_it(store):
    draws = torch.tensor([[0, 1, 2, 3], [4, 5, 0, 0]])
    transform = training_transform((32, 16), flip=0.5, pad=2, erase=0.5)
    whole = TrainingBatches(store, transform, draws, seed=7)
    halves = [TrainingBatches(store, transform, draws, seed=7, share=(rank, 2)) for rank in (0, 1)]
    for step in range(2):
        assert torch.equal(whole[step], torch.cat([half[step] for half in halves]))
    assert not torch.equal(whole[1][2], whole[1][3])  # one image drawn twice, augmented twice
    assert torch.equal(whole[1], next(iter(list(whole.loader(workers=0, pin_memory=False))[1:])))
    assert not torch.equal(whole[0], TrainingBatches(store, transform, draws, seed=8)[0])


def test_loading_does_not_disturb_chance(store):
    transform = training_transform((32, 16), flip=0.5, pad=2, erase=0.5)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    TrainingBatches(store, transform, torch.tensor([[0, 1]]), seed=7)[0]
    assert torch.equal(torch.rand(3), expected)


def test_a_store_gives_the_same_with_and_without_memory(store):
    streamed = ImageStore(store.paths, store.size, cache_bytes=0)
    assert all(torch.equal(streamed[index], store[index]) for index in range(len(store)))
    cameras = torch.arange(len(store)) * 10
    batches = list(EvaluationBatches(store, cameras, [4, 1, 2], batch=2).loader(workers=0))
    assert [len(images) for images, _ in batches] == [2, 1]
    assert [seen.tolist() for _, seen in batches] == [[40, 10], [20]]
    assert torch.equal(batches[0][0][1], evaluation_transform()(store[1]))


def test_images_are_normalised_with_imagenets_numbers():
    white = evaluation_transform()(resized(Image.new("RGB", (9, 9), "white"), (4, 4)))
    expected = (1 - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(white, expected[:, None, None].expand(3, 4, 4))
