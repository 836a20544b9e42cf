"""The association without a rate on features of made-up persons: calibration, refusals, and its parts by loops."""

from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ccafl.evaluation.association_quality import association_quality
from ccafl.method import calibrated_association
from ccafl.method.association import associate, components
from ccafl.method.calibrated_association import associate_calibrated, estimated_precision
from ccafl.method.topology import CameraTopology, sightings
from shares import by_processes


def made_up(visits: list[tuple[int, ...]], noise: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Centres, cameras and persons of labels: a person's direction with noise of its own in each camera."""
    generator = torch.Generator().manual_seed(seed)
    seen = sorted((camera, person) for person, cameras in enumerate(visits) for camera in cameras)
    cameras, persons = (torch.tensor(column) for column in zip(*seen, strict=True))
    directions = torch.randn(len(visits), 48, generator=generator)
    features = directions[persons] + noise * torch.randn(len(persons), 48, generator=generator)
    return F.normalize(features), cameras, persons


def unknown(cameras: Tensor) -> CameraTopology:
    count = int(cameras.max()) + 1
    nothing = torch.zeros(count, count, dtype=torch.float64)
    return CameraTopology(cameras, nothing.to(torch.int8), nothing, nothing + torch.inf)


EVERYWHERE = [(0, 1, 2, 3)] * 80
IN_PAIRS = [pair for pair in ((0, 1), (2, 3), (4, 5)) for _ in range(60)]
APART = [(camera,) for camera in range(4) for _ in range(60)]


@pytest.mark.parametrize("visits", [EVERYWHERE, IN_PAIRS, EVERYWHERE[:40] + APART])
@pytest.mark.parametrize("noise", [0.7, 1.0])
def test_the_estimated_precision_is_near_the_true_one(visits, noise):
    estimates, truths = [], []
    for seed in range(4):
        centres, cameras, persons = made_up(visits, noise, seed)
        found = associate_calibrated(centres, cameras)
        estimates.append(found.estimated_precision)
        truths.append(association_quality(found.identities, persons).precision)
    assert sum(estimates) / 4 == pytest.approx(sum(truths) / 4, abs=0.15)


@pytest.mark.parametrize("processes", [2, 3, 11])
def test_processes_that_share_the_work_join_exactly_what_one_joins(processes, monkeypatch):
    """Each compares other cameras, and some none at all."""
    centres, cameras, _ = made_up(EVERYWHERE[:40] + APART[:90], 0.9)
    alone = associate_calibrated(centres, cameras)
    compared, matched = [], calibrated_association._matched
    monkeypatch.setattr(
        calibrated_association,
        "_matched",
        lambda centres, first, second, *rest: (
            compared.append((int(first[0]), int(second[0]))) or matched(centres, first, second, *rest)
        ),
    )
    shared = by_processes(processes, lambda share: associate_calibrated(centres, cameras, share=share))
    assert len(compared) == len(set(compared)) == 4 * 5 / 2
    for found in shared:
        assert torch.equal(found.identities, alone.identities)
        assert found.estimated_precision == alone.estimated_precision
        assert torch.equal(found.shared, alone.shared)
        assert torch.equal(found.believed.probability, alone.believed.probability)


@pytest.mark.parametrize("visits", [EVERYWHERE, IN_PAIRS])
def test_most_of_what_can_be_joined_is_joined(visits):
    centres, cameras, persons = made_up(visits, 0.7)
    assert association_quality(associate_calibrated(centres, cameras).identities, persons).f1 > 0.75


def test_a_second_label_of_a_person_is_no_yardstick_for_the_first():
    """Otherwise nothing is joined: no label stands out where another of the same person is as similar."""
    centres, cameras, persons = made_up(EVERYWHERE, 0.7)
    again = (persons % 3 == 0).nonzero().squeeze(1)
    alike = F.normalize(centres[again] + 0.02 * torch.randn(len(again), 48, generator=torch.Generator().manual_seed(1)))
    order = torch.cat([cameras, cameras[again]]).argsort(stable=True)
    place = order.argsort()
    doubtful = torch.stack([place[again], place[len(persons) :]], dim=1)
    centres, cameras, persons = (
        torch.cat([values, more])[order]
        for values, more in ((centres, alike), (cameras, cameras[again]), (persons, persons[again]))
    )
    found = associate_calibrated(centres, cameras, doubtful=doubtful)
    assert len(found.believed.links) > 200
    assert association_quality(found.identities, persons).precision > 0.95


def test_where_cameras_share_nobody_few_are_joined():
    joined = [(associate_calibrated(*made_up(APART, 0.7, seed)[:2]).identities >= 0).double() for seed in range(10)]
    assert torch.cat(joined).mean() < 0.1


def test_cameras_that_share_persons_are_told_from_those_that_do_not():
    centres, cameras, _ = made_up(IN_PAIRS, 0.7)
    shared = associate_calibrated(centres, cameras).shared
    assert torch.equal(shared, shared.T)
    pairs = torch.tensor([[0, 1], [2, 3], [4, 5]])
    right = shared[pairs[:, 0], pairs[:, 1]]
    assert right.min() > 30
    shared[pairs[:, 0], pairs[:, 1]] = 0
    shared[pairs[:, 1], pairs[:, 0]] = 0
    assert shared.max() < 10


def test_a_joined_identity_has_at_most_one_label_from_each_camera():
    centres, cameras, _ = made_up(EVERYWHERE, 1.0)
    identities = associate_calibrated(centres, cameras).identities
    joined = identities >= 0
    taken = torch.stack([identities[joined], cameras[joined]], dim=1)
    assert len(taken.unique(dim=0)) == len(taken)


def test_links_outrank_the_estimate():
    centres, cameras, persons = made_up(EVERYWHERE, 0.5)
    same = [pair for pair in combinations(range(len(cameras)), 2) if persons[pair[0]] == persons[pair[1]]]
    other = (0, int((cameras == 1).nonzero()[5]))
    found = associate_calibrated(
        centres, cameras, must_link=torch.tensor([other]), cannot_link=torch.tensor(same[-1:])
    ).identities
    assert found[other[0]] == found[other[1]] >= 0
    assert found[same[-1][0]] != found[same[-1][1]] or found[same[-1][0]] < 0
    with pytest.raises(ValueError, match="must-links join"):
        associate_calibrated(centres, cameras, must_link=torch.tensor([other]), cannot_link=torch.tensor([other]))


def test_cameras_that_never_share_a_person_are_not_compared():
    centres, cameras, _ = made_up([(0, 1)] * 60 + [(2, 3)] * 60, 0.7)
    topology = unknown(cameras)
    topology.shared[0, 1] = topology.shared[1, 0] = -1
    found = associate_calibrated(centres, cameras, topology=topology)
    assert found.shared[0, 1] == 0
    seen_by = [
        set(cameras[found.identities == identity].tolist()) for identity in range(int(found.identities.max()) + 1)
    ]
    assert not any({0, 1} <= some for some in seen_by)
    assert sum({2, 3} <= some for some in seen_by) > 30


def test_labels_too_near_in_time_are_not_joined():
    centres, cameras, persons = made_up(EVERYWHERE, 0.3)
    times = torch.arange(len(cameras), dtype=torch.float64) * 1000
    early = (cameras == 0) & (persons < 20)
    for label in early.nonzero().flatten().tolist():
        times[label] = times[(cameras == 1) & (persons == persons[label])] + 3
    topology = unknown(cameras)
    topology.least[0, 1] = topology.least[1, 0] = 60
    seen = sightings(times, torch.arange(len(cameras)), len(cameras))
    topology = CameraTopology(cameras, topology.shared, topology.least, topology.most, seen)
    direct = calibrated_association._compared(centres, cameras, topology)[0]
    assert not topology.impossible(direct.first, direct.second).any()
    assert len(direct.first) > 300
    assert calibrated_association._compared(centres, cameras, None)[0].first.numel() > len(direct.first)


def test_saying_that_cameras_share_persons_helps_to_find_them():
    visits = [pair for pair in ((0, 1), (2, 3), (4, 5), (6, 7)) for _ in range(40)]
    figures = []
    for told in (False, True):
        quality = []
        for seed in range(3):
            centres, cameras, persons = made_up(visits, 1.3, seed)
            topology = unknown(cameras)
            if told:
                topology.shared.fill_(-1)
                for one in (0, 2, 4, 6):
                    topology.shared[one, one + 1] = topology.shared[one + 1, one] = 1
            found = associate_calibrated(centres, cameras, topology=topology)
            quality.append(association_quality(found.identities, persons).f1)
        figures.append(sum(quality) / 3)
    assert figures[1] > figures[0] + 0.05


def test_blocks_change_nothing(monkeypatch):
    centres, cameras, _ = made_up(EVERYWHERE, 0.9)
    whole = associate_calibrated(centres, cameras)
    monkeypatch.setattr(calibrated_association, "_BLOCK_ELEMENTS", 700)
    blocks = associate_calibrated(centres, cameras)
    assert torch.equal(whole.identities, blocks.identities)
    assert whole.estimated_precision == pytest.approx(blocks.estimated_precision, abs=1e-5)


@pytest.mark.parametrize("sizes", [(1,), (1, 1), (2, 2), (2, 9), (1, 9), (3, 3), (0, 4)])
def test_few_labels_are_no_error(sizes):
    cameras = torch.cat([torch.full((size,), camera) for camera, size in enumerate(sizes)])
    centres = F.normalize(torch.randn(len(cameras), 8, generator=torch.Generator().manual_seed(1)))
    found = associate_calibrated(centres, cameras)
    assert len(found.identities) == len(cameras)
    assert 0 <= found.estimated_precision <= 1


def test_all_alike_is_no_error():
    found = associate_calibrated(torch.ones(12, 4) / 2, torch.arange(12) // 4)
    assert found.identities.shape == (12,)


def test_the_most_similar_labels_are_those_of_a_full_sort():
    centres, cameras, _ = made_up(EVERYWHERE[:30], 1.0)
    first, second = (cameras == 0).nonzero().squeeze(1), (cameras == 1).nonzero().squeeze(1)
    rows, columns = calibrated_association._most_similar(
        centres, first, second, None, torch.empty(len(centres), 0).long()
    )
    products = (centres[first] @ centres[second].T).double()
    assert torch.equal(rows.labels, products.argsort(1, descending=True)[:, : rows.labels.shape[1]])
    assert torch.equal(columns.labels, products.T.argsort(1, descending=True)[:, : columns.labels.shape[1]])
    values = rows.similarities
    nexts = values[:, 1] / 2 + values[:, 2] / 4 + values[:, 3] / 8 + (values[:, 4] + values[:, 5]) / 16
    spacing = torch.stack([k * (values[:, k - 1] - values[:, k]) for k in range(2, values.shape[1])]).mean()
    torch.testing.assert_close(rows.heights(), (values[:, 0] - nexts) / spacing)


@st.composite
def forests(draw):
    count = draw(st.integers(1, 12))
    links = [(draw(st.integers(0, label - 1)), label) for label in range(1, count) if draw(st.booleans())]
    chances = [draw(st.floats(0, 1)) for _ in links]
    return count, links, chances


@given(forests())
@settings(max_examples=60, deadline=None)
def test_the_estimate_multiplies_along_the_way_between_two_labels(forest):
    count, links, chances = forest
    joined = torch.tensor(links, dtype=torch.int64).view(-1, 2)
    way = torch.eye(count, dtype=torch.float64)
    for _ in range(count):  # the surest way; in a forest there is only one
        for (one, other), chance in zip(links, chances, strict=True):
            for a, b in ((one, other), (other, one)):
                way[:, b] = torch.maximum(way[:, b], way[:, a] * chance)
    labels = components(joined, count)
    pairs = [(a, b) for a, b in combinations(range(count), 2) if labels[a] == labels[b] >= 0]
    expected = sum(float(way[pair]) for pair in pairs) / len(pairs) if pairs else 1.0
    assert estimated_precision(joined, torch.tensor(chances), count) == pytest.approx(expected, abs=1e-6)


def test_a_fixed_rate_refuses_what_is_impossible_too():
    centres, cameras, _ = made_up([(0, 1)] * 30, 0.3)
    topology = unknown(cameras)
    assert (associate(centres, cameras, 2.0) >= 0).any()
    topology.shared[0, 1] = topology.shared[1, 0] = -1
    assert (associate(centres, cameras, 2.0, topology=topology) == -1).all()


def test_links_learned_from_are_believed_as_when_they_were_made():
    centres, cameras, persons = made_up(EVERYWHERE[:60], 1.1)
    first = associate_calibrated(centres, cameras)
    sure = F.normalize(F.one_hot(persons).float() + 0.05 * torch.randn(len(cameras), 60))
    alone, again = associate_calibrated(sure, cameras), associate_calibrated(sure, cameras, before=first.believed)
    assert torch.equal(alone.identities, again.identities)
    assert alone.estimated_precision > 0.95
    assert again.estimated_precision < first.believed.probability.mean() + 1e-9
    known = {tuple(link): p for link, p in zip(first.believed.links.tolist(), first.believed.probability, strict=True)}
    mean = first.believed.probability.mean()
    after = dict(zip(map(tuple, again.believed.links.tolist()), again.believed.probability.tolist(), strict=True))
    assert known.keys() <= after.keys()
    assert all(after[link] == pytest.approx(float(p)) for link, p in known.items())
    assert all(p <= mean + 1e-9 for link, p in after.items() if link not in known)
