"""Batches: what they hold, and that random choices depend on the seed alone."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from torchvision.transforms import v2

from ccafl.data.batches import (
    EvaluationBatches,
    TrainingBatches,
    camera_batches,
    identity_batches,
    most_of_one,
    seed_for,
    shuffled_batches,
)
from ccafl.data.store import CacheBudget, ImageStore
from ccafl.data.transforms import MEAN, STD, Augmentation, normalise, resized
from ccafl.errors import InputError


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
def test_identity_batches_reach_every_image(seed):
    groups = torch.arange(4).repeat_interleave(6)
    drawn = identity_batches(groups, 3, 4, 2, seed).flatten()
    assert sorted(drawn.tolist()) == list(range(24))
    assert torch.equal(drawn, identity_batches(groups, 3, 4, 2, seed).flatten())
    assert not torch.equal(drawn, identity_batches(groups, 3, 4, 2, seed + 1).flatten())


@given(seed=st.integers(0, 10**6), batch_cameras=st.integers(1, 5))
def test_camera_batches_come_from_few_cameras(seed, batch_cameras):
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


def test_camera_batches_draw_cameras_as_often_as_they_have_images():
    cameras = torch.tensor([0] * 300 + [1] * 100)
    draws = camera_batches(torch.arange(400) // 2, cameras, 2000, 2, 2, 1, seed=0)
    assert abs((cameras[draws[:, 0]] == 0).float().mean() - 0.75) < 0.04


@given(st.integers(0, 100), st.integers(1, 12), st.integers(1, 9), st.sampled_from([None, 1, 2]))
def test_no_batch_holds_more_images_of_one_group_than_is_said(seed, names, identities, batch_cameras):
    random = np.random.default_rng(seed)
    cameras = torch.from_numpy(random.integers(3, size=40))
    groups = torch.from_numpy(random.integers(-1, names, size=40))
    groups[0], shape = 0, (20, identities, 2)
    if batch_cameras is None:
        draws = identity_batches(groups, *shape, seed)
    else:
        draws = camera_batches(groups, cameras, *shape, batch_cameras, seed)
    most = max(int(groups[batch].bincount().max()) for batch in draws)
    assert most <= most_of_one(groups, cameras, identities, 2, batch_cameras)


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
    return ImageStore(paths, (32, 16), CacheBudget(10**6))


def test_processes_share_a_batch_without_changing_it(store):
    draws = torch.tensor([[0, 1, 2, 3], [4, 5, 0, 0]])
    augmentation = Augmentation((32, 16), flip=0.5, pad=2, erase=0.5)

    def batches(seed, *share):
        return list(TrainingBatches(store, augmentation, draws, seed, *share).loaded(workers=0))

    whole = batches(7)
    halves = [batches(7, (rank, 2)) for rank in (0, 1)]
    for step in range(2):
        assert torch.equal(whole[step], torch.cat([half[step] for half in halves]))
    assert not torch.equal(whole[1][2], whole[1][3])  # one image drawn twice, augmented twice
    assert not torch.equal(whole[0], batches(8)[0])


def test_loading_does_not_disturb_chance(store):
    batches = TrainingBatches(store, Augmentation((32, 16), flip=0.5, pad=2, erase=0.5), torch.tensor([[0, 1]]), seed=7)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    assert batches[0].shape == (2, 3, 32, 16)
    assert torch.equal(torch.rand(3), expected)


def test_a_store_gives_the_same_images_wherever_it_keeps_them(store, tmp_path):
    size = 6 * 3 * 32 * 16
    budgets = {
        "kept in memory": CacheBudget(size, size, tmp_path),
        "kept in a file": CacheBudget(size - 1, size, tmp_path),
        "read each time": CacheBudget(size - 1, size - 1, tmp_path),
    }
    files = sorted(tmp_path.iterdir())
    for place, budget in budgets.items():
        other = ImageStore(store.paths, store.size, budget)
        assert other.place == place
        assert torch.equal(other.images(torch.arange(len(store))), store.images(torch.arange(len(store))))
    assert sorted(tmp_path.iterdir()) == files  # the file has no name


def test_stores_share_a_budget(store, tmp_path):
    size = 6 * 3 * 32 * 16
    budget = CacheBudget(size + 1, 2 * size, tmp_path)
    places = [ImageStore(store.paths, store.size, budget).place for _ in range(4)]
    assert places == ["kept in memory", "kept in a file", "kept in a file", "read each time"]


def test_the_disk_is_not_filled(store, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2 * 6 * 3 * 32 * 16 - 1))
    assert ImageStore(store.paths, store.size, CacheBudget(0, 10**9, tmp_path)).place == "read each time"


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_come_in_order_whoever_loads_them(store, workers):
    batches = EvaluationBatches(store, torch.tensor([4, 1, 2, 0, 5, 3, 4, 4, 1, 2, 2]), batch=1)
    loaded = list(batches.loaded(workers))
    assert len(loaded) == len(batches) == 11
    for images, index in zip(loaded, (4, 1, 2, 0, 5, 3, 4, 4, 1, 2, 2), strict=True):
        assert torch.equal(images, store.images(torch.tensor([index])))
    sizes = [len(images) for images in EvaluationBatches(store, torch.arange(5), batch=2).loaded(workers)]
    assert sizes == [2, 2, 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_that_vanished_is_named_by_whoever_loads_it(store, workers):
    store = ImageStore(store.paths, store.size)
    store.paths[3].unlink()
    loaded = EvaluationBatches(store, torch.arange(6), batch=1).loaded(workers)
    assert [len(next(loaded)) for _ in range(3)] == [1, 1, 1]
    with pytest.raises(InputError, match=r"3\.png"):
        next(loaded)


def test_only_requested_batches_are_loaded(store, monkeypatch):
    asked = []
    monkeypatch.setattr(ImageStore, "images", lambda self, indices: asked.append(indices) or indices)
    loaded = EvaluationBatches(store, torch.arange(1000), batch=1).loaded(workers=2)
    next(loaded)
    loaded.close()
    assert len(asked) <= 5


def test_images_are_normalised_with_imagenets_numbers():
    white = normalise(resized(Image.new("RGB", (9, 9), "white"), (4, 4)))
    expected = (1 - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(white, expected[:, None, None].expand(3, 4, 4))


def test_normalising_is_torchvisions_to_the_bit_and_leaves_the_bytes_alone():
    images = torch.randint(0, 256, (5, 3, 32, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before = images.clone()
    mean, std = ([255 * share for share in shares] for shares in (MEAN, STD))
    theirs = v2.Compose([v2.ToDtype(torch.float32), v2.Normalize(mean, std)])
    normalised = normalise(images)
    assert normalised.dtype == torch.float32
    assert torch.equal(normalised, theirs(images))
    assert torch.equal(normalise(images[0]), normalised[0])
    assert torch.equal(images, before)


def test_resizing_is_pillows_up_to_rounding():
    noise = np.random.default_rng(0).integers(0, 256, (41, 23, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1))
    for size in ((64, 32), (20, 11)):
        theirs = torch.from_numpy(np.array(picture.resize(size[::-1], Image.Resampling.BICUBIC))).permute(2, 0, 1)
        apart = (resized(picture, size).int() - theirs.int()).abs()
        assert apart.max() <= 2  # a byte's rounding along each side
        assert apart.float().mean() < 0.05


@given(st.integers(0, 10**6), st.sampled_from([0, 2, 5]), st.sampled_from([0.0, 0.5, 1.0]))
def test_augmentation_is_torchvisions_by_the_same_choices(seed, pad, chance):
    images = torch.randint(1, 256, (5, 3, 32, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    given_images = images.clone()
    augmentation = Augmentation((32, 16), flip=chance, pad=pad, erase=chance)
    params = augmentation.draw(5, seed)
    augmented = augmentation(images, params)
    assert torch.equal(images, given_images)
    for number, image in enumerate(images):
        flipped = v2.functional.horizontal_flip(image) if params.flips[number] else image
        padded = v2.functional.pad(flipped, [pad])
        moved = v2.functional.crop(padded, *params.corners[number].tolist(), 32, 16)
        top, left, bottom, right = params.boxes[number].tolist()
        colour = (255 * torch.tensor(MEAN) * (1 + torch.tensor(STD))).round().to(torch.uint8)[:, None, None]
        assert torch.equal(augmented[number], v2.functional.erase(moved, top, left, bottom - top, right - left, colour))
    if chance in (0.0, 1.0):
        assert (params.flips == bool(chance)).all()
        assert ((params.boxes[:, 2] > params.boxes[:, 0]) == bool(chance)).all()


def test_erased_pixels_have_the_authors_number_once_normalised():
    augmentation = Augmentation((32, 16), flip=0.0, pad=0, erase=1.0)
    black = torch.zeros(4, 3, 32, 16, dtype=torch.uint8)
    normalised = normalise(augmentation(black, augmentation.draw(4, seed=0)))
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    erased = normalised.movedim(1, 3)[(normalised > -1).all(1)]
    assert len(erased) > 0
    assert ((erased - mean).abs() <= 0.5 / 255 / std + 1e-6).all()  # half a byte


def test_the_random_choices_are_those_of_the_recipe():
    params = Augmentation((256, 128), flip=0.5, pad=10, erase=0.5).draw(20_000, seed=0)
    assert abs(params.flips.mean() - 0.5) < 0.02
    for corner in params.corners.T:
        assert np.bincount(corner, minlength=21).min() > 20_000 / 21 * 0.8
        assert corner.max() == 20
    top, left, bottom, right = params.boxes.T
    erased = bottom > top
    assert abs(erased.mean() - 0.5) < 0.02
    areas = ((bottom - top) * (right - left))[erased] / (256 * 128)
    shapes = ((bottom - top) / np.maximum(right - left, 1))[erased]
    for values, least, most in ((areas, 0.02, 0.4), (shapes, 0.3, 1 / 0.3)):
        assert abs(values.min() - least) < 0.1 * least
        assert abs(values.max() - most) < 0.1 * most
    assert (top.min(), left.min(), bottom.max(), right.max()) == (0, 0, 256, 128)
    middle = (top + bottom)[erased].mean() / 2
    assert abs(middle - 128) < 3
