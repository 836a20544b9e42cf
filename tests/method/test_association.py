"""The association against a greedy pass written as a plain loop, and its properties."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from ccafl.method import association
from ccafl.method.association import associate, centred_by_camera, identity_centres, nearest_cross_camera_pairs


def world(seed: int, count: int = 24, cameras: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    centres = F.normalize(torch.randn(count, 3, generator=random, dtype=torch.float64))
    return centres, torch.randint(cameras, (count,), generator=random)


def plain_associate(centres, cameras, rate, one_camera_once) -> list[int]:
    count = len(centres)
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count) if cameras[a] != cameras[b]]
    pairs.sort(key=lambda pair: float((centres[pair[0]] - centres[pair[1]]).square().sum()))
    component = list(range(count))
    partners: list[set[int]] = [set() for _ in range(count)]
    joined = set()
    for a, b in pairs[: int(rate * count)]:
        members = [j for j in range(count) if component[j] in (component[a], component[b])]
        if one_camera_once:
            refused = component[a] == component[b] or len({int(cameras[j]) for j in members}) < len(members)
        else:
            refused = int(cameras[b]) in partners[a] or int(cameras[a]) in partners[b]
        if refused:
            continue
        partners[a].add(int(cameras[b]))
        partners[b].add(int(cameras[a]))
        joined |= {a, b}
        component = [component[a] if j in members else component[j] for j in range(count)]
    return [component[j] if j in joined else -1 for j in range(count)]


def partition(labels) -> list[tuple[int, ...]]:
    labels = list(labels)
    return sorted(tuple(i for i, own in enumerate(labels) if own == label) for label in set(labels) - {-1})


@given(st.integers(0, 10**6), st.sampled_from([0.3, 1.0, 1.7, 6.0]), st.booleans())
def test_equals_the_plain_greedy_pass(seed, rate, one_camera_once):
    centres, cameras = world(seed)
    ours = associate(centres, cameras, rate, one_camera_once=one_camera_once)
    assert partition(ours.tolist()) == partition(plain_associate(centres, cameras, rate, one_camera_once))


@given(st.integers(0, 10**6))
def test_no_component_holds_a_camera_twice_on_demand(seed):
    centres, cameras = world(seed)
    labels = associate(centres, cameras, 4.0, one_camera_once=True)
    cells = [(label, camera) for label, camera in zip(labels.tolist(), cameras.tolist(), strict=True) if label >= 0]
    assert len(cells) == len(set(cells))


@given(st.integers(0, 10**6), st.integers(1, 200), st.integers(1, 60), st.integers(0, 300))
def test_blocks_give_what_the_whole_matrix_gives(seed, block, first_block, count):
    centres, cameras = world(seed)
    whole = nearest_cross_camera_pairs(centres, cameras, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(association, "_BLOCK_ELEMENTS", block)
        patch.setattr(association, "_FIRST_BLOCK_ELEMENTS", first_block)
        assert torch.equal(nearest_cross_camera_pairs(centres, cameras, count), whole)
    assert (whole[:, 0] < whole[:, 1]).all()
    assert (cameras[whole[:, 0]] != cameras[whole[:, 1]]).all()


def test_labels_are_numbered_from_0_by_first_member_and_minus_1_is_alone():
    centres = F.normalize(torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0.01, 1], [1, 0.01]]))
    labels = associate(centres, torch.tensor([0, 0, 0, 1, 1]), rate=0.5)
    assert labels.tolist() == [0, 1, -1, 1, 0]


def test_one_camera_joins_nothing():
    assert associate(F.normalize(torch.randn(5, 3)), torch.zeros(5, dtype=torch.int64), 1.7).tolist() == [-1] * 5


def test_identity_centres_are_normalised_means():
    features, identities = F.normalize(torch.randn(6, 4)), torch.tensor([0, 0, 1, -1, 1, 1])
    centres = identity_centres(features, identities, 3)
    torch.testing.assert_close(centres[0], F.normalize(features[:2].mean(0), dim=0))
    torch.testing.assert_close(centres[1], F.normalize(features[[2, 4, 5]].mean(0), dim=0))
    assert not centres[2].any()


def test_centring_takes_away_what_a_camera_adds():
    random = torch.Generator().manual_seed(0)
    persons = F.normalize(torch.randn(30, 8, generator=random))
    cameras = torch.arange(3).repeat_interleave(30)
    shift = 3 * torch.randn(3, 8, generator=random)
    features = persons.repeat(3, 1) + shift[cameras]
    centred = centred_by_camera(features, cameras)
    torch.testing.assert_close(centred.norm(dim=1), torch.ones(90))
    assert partition(associate(centred, cameras, 5.0, one_camera_once=True).tolist()) == [
        (person, person + 30, person + 60) for person in range(30)
    ]
