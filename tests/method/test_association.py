"""The association against a greedy pass written as a plain loop, and its properties."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ccafl.method import association
from ccafl.method.association import associate, centre_by_camera, identity_centres, nearest_cross_camera_pairs
from ccafl.method.share import Share
from shares import by_processes


def world(seed: int, count: int = 24, cameras: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    centres = F.normalize(torch.randn(count, 3, generator=random, dtype=torch.float64))
    return centres, torch.randint(cameras, (count,), generator=random)


def plain_associate(centres, cameras, rate, one_camera_once, must=(), cannot=()) -> list[int]:
    count = len(centres)
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count) if cameras[a] != cameras[b]]
    pairs.sort(key=lambda pair: float((centres[pair[0]] - centres[pair[1]]).square().sum()))
    component = list(range(count))
    partners: list[set[int]] = [set() for _ in range(count)]
    joined = set()
    for number, (a, b) in enumerate([*must, *pairs[: int(rate * count)]]):
        sides = [[j for j in range(count) if component[j] == component[end]] for end in (a, b)]
        members = [*sides[0], *sides[1]]
        if one_camera_once:
            refused = bool({int(cameras[j]) for j in sides[0]} & {int(cameras[j]) for j in sides[1]})
        else:
            refused = int(cameras[b]) in partners[a] or int(cameras[a]) in partners[b]
        refused = refused or any(
            (u in sides[0] and v in sides[1]) or (v in sides[0] and u in sides[1]) for u, v in cannot
        )
        if refused and number >= len(must):
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


def corrections(seed: int, count: int, musts: int, cannots: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random must-links and cannot-links, also within a camera, that do not contradict each other."""
    random = torch.Generator().manual_seed(seed)
    must, cannot = (torch.randint(count, (size, 2), generator=random) for size in (musts, cannots))
    must = must[must[:, 0] != must[:, 1]]
    component = list(range(count))
    for a, b in must.tolist():
        component = [component[a] if own == component[b] else own for own in component]
    person = torch.tensor(component)
    return must, cannot[person[cannot[:, 0]] != person[cannot[:, 1]]]


CORRECTED = (
    st.integers(0, 10**6),
    st.sampled_from([0.3, 1.7, 6.0]),
    st.booleans(),
    st.sampled_from([0, 1, 4, 12]),
    st.sampled_from([0, 1, 6, 60]),
)


@settings(max_examples=200)
@given(*CORRECTED)
def test_with_links_equals_the_plain_greedy_pass(seed, rate, one_camera_once, musts, cannots):
    centres, cameras = world(seed, count=30, cameras=6)
    must, cannot = corrections(seed, 30, musts, cannots)
    ours = associate(centres, cameras, rate, one_camera_once=one_camera_once, must_link=must, cannot_link=cannot)
    plain = plain_associate(centres, cameras, rate, one_camera_once, must.tolist(), cannot.tolist())
    assert partition(ours.tolist()) == partition(plain)


@given(*CORRECTED)
def test_links_are_respected_in_any_order(seed, rate, one_camera_once, musts, cannots):
    centres, cameras = world(seed, count=200, cameras=5)
    must, cannot = corrections(seed, 200, musts, cannots)
    options = {"one_camera_once": one_camera_once}
    labels = associate(centres, cameras, rate, **options, must_link=must, cannot_link=cannot)
    assert (labels[must] >= 0).all()
    assert torch.equal(labels[must[:, 0]], labels[must[:, 1]])
    apart = labels[cannot]
    assert ((apart[:, 0] != apart[:, 1]) | (apart < 0).all(1)).all()
    random = torch.Generator().manual_seed(seed)
    shuffled = [links[torch.randperm(len(links), generator=random)].flip(1).repeat(2, 1) for links in (must, cannot)]
    again = associate(centres, cameras, rate, **options, must_link=shuffled[0], cannot_link=shuffled[1])
    assert torch.equal(labels, again)


@given(st.integers(0, 10**6), st.booleans())
def test_empty_links_change_nothing(seed, one_camera_once):
    centres, cameras = world(seed)
    none = torch.empty(0, 2, dtype=torch.int64)
    without = associate(centres, cameras, 1.7, one_camera_once=one_camera_once)
    assert torch.equal(
        without, associate(centres, cameras, 1.7, one_camera_once=one_camera_once, must_link=none, cannot_link=none)
    )


@pytest.mark.parametrize("one_camera_once", [False, True])
def test_cannot_links_hold_in_a_large_component_too(one_camera_once):
    """Chains join most identities here; the cannot-links cut the largest component apart."""
    centres, cameras = world(7, count=400, cameras=8)
    largest = torch.tensor(max(partition(associate(centres, cameras, 3.0).tolist()), key=len))
    assert len(largest) > 200
    cannot = torch.stack([largest[:40], largest[-40:]], dim=1)
    labels = associate(centres, cameras, 3.0, one_camera_once=one_camera_once, cannot_link=cannot)
    assert partition(labels.tolist()) == partition(
        plain_associate(centres, cameras, 3.0, one_camera_once, (), cannot.tolist())
    )


def test_a_must_link_takes_its_places_and_joins_within_a_camera():
    near = F.normalize(torch.tensor([[1.0, 0], [1, 0.01], [0, 1], [0.6, 0.8]]))
    cameras = torch.tensor([0, 1, 1, 1])
    assert associate(near, cameras, 0.5).tolist() == [0, 0, -1, -1]
    assert associate(near, cameras, 4.0, must_link=torch.tensor([[2, 0]])).tolist() == [0, -1, 0, -1]
    assert associate(near, cameras, 0.5, must_link=torch.tensor([[2, 3]])).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("one_camera_once", [False, True])
def test_contradictory_links_are_refused(one_camera_once):
    centres, cameras = world(0)
    must = torch.tensor([[0, 1], [1, 2], [5, 6]])
    for cannot in ([[2, 0]], [[3, 4], [6, 5]], [[7, 7]]):
        with pytest.raises(ValueError, match="cannot-link"):
            associate(
                centres,
                cameras,
                1.0,
                one_camera_once=one_camera_once,
                must_link=must,
                cannot_link=torch.tensor(cannot),
            )


@given(st.integers(0, 10**6))
def test_with_one_camera_once_no_component_holds_a_camera_twice(seed):
    centres, cameras = world(seed)
    labels = associate(centres, cameras, 4.0, one_camera_once=True)
    cells = [(label, camera) for label, camera in zip(labels.tolist(), cameras.tolist(), strict=True) if label >= 0]
    assert len(cells) == len(set(cells))


@given(st.integers(0, 10**6), st.integers(1, 200), st.integers(1, 60), st.integers(0, 300))
def test_blocks_give_the_result_of_the_whole_matrix(seed, block, first_block, count):
    centres, cameras = world(seed)
    whole = nearest_cross_camera_pairs(centres, cameras, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(association, "_BLOCK_ELEMENTS", block)
        patch.setattr(association, "_FIRST_BLOCK_ELEMENTS", first_block)
        assert torch.equal(nearest_cross_camera_pairs(centres, cameras, count), whole)
    assert (whole[:, 0] < whole[:, 1]).all()
    assert (cameras[whole[:, 0]] != cameras[whole[:, 1]]).all()


def test_labels_are_numbered_from_0_by_first_member_and_minus_1_means_alone():
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


def test_centring_removes_what_a_camera_adds():
    random = torch.Generator().manual_seed(0)
    persons = F.normalize(torch.randn(30, 8, generator=random))
    cameras = torch.arange(3).repeat_interleave(30)
    shift = 3 * torch.randn(3, 8, generator=random)
    features = persons.repeat(3, 1) + shift[cameras]
    centred = centre_by_camera(features, cameras)
    torch.testing.assert_close(centred.norm(dim=1), torch.ones(90))
    assert partition(associate(centred, cameras, 5.0, one_camera_once=True).tolist()) == [
        (person, person + 30, person + 60) for person in range(30)
    ]


@given(st.integers(0, 10**6), st.sampled_from([0.3, 1.7, 40.0]), st.sampled_from([2, 3]))
@settings(max_examples=20)
def test_processes_that_share_the_work_find_the_same_pairs_in_the_same_order(seed, rate, processes):
    centres, cameras = world(seed)
    centres = (2 * centres).round()  # many pairs are equally near, without rounding
    count = int(rate * len(centres))
    alone = nearest_cross_camera_pairs(centres, cameras, count)
    for found in by_processes(processes, lambda share: nearest_cross_camera_pairs(centres, cameras, count, share)):
        assert torch.equal(found, alone)


def test_each_of_several_processes_multiplies_only_its_share_of_the_rows():
    centres, cameras = world(0, count=40)
    given = []
    nearest_cross_camera_pairs(centres, cameras, 10, Share(1, 4, lambda values: given.append(values) or values))
    _, pairs = given
    assert set(pairs[:, 0].tolist()) <= set(range(1, 40, 4))
