"""Ranking, re-ranking and the association's quality against plain loops."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from ccafl.evaluation import ranking, reranking
from ccafl.evaluation.association_quality import association_quality, mixed_groups
from ccafl.evaluation.ranking import rank, rank_by_camera_pair, rank_by_distance
from ccafl.evaluation.reranking import k_reciprocal, k_reciprocal_by_features

seeds = st.integers(0, 10**6)


def plain_rank(distances, query_ids, query_cameras, gallery_ids, gallery_cameras):
    precisions, firsts = [], []
    for row, person, camera in zip(distances, query_ids, query_cameras, strict=True):
        kept = [
            index
            for index in range(len(row))
            if gallery_ids[index] != -1 and not (gallery_ids[index] == person and gallery_cameras[index] == camera)
        ]
        kept.sort(key=lambda index: float(row[index]))
        places = [place for place, index in enumerate(kept, start=1) if gallery_ids[index] == person]
        if places:
            precisions.append(sum(hits / place for hits, place in enumerate(places, start=1)) / len(places))
            firsts.append(places[0])
    return sum(precisions) / len(precisions), [
        sum(first <= depth for first in firsts) / len(firsts) for depth in (1, 5)
    ]


def random_truth(random):
    query_ids, gallery_ids = (torch.randint(low, 6, (count,), generator=random) for low, count in ((1, 6), (-1, 40)))
    query_cameras, gallery_cameras = (torch.randint(3, (count,), generator=random) for count in (6, 40))
    return query_ids, query_cameras, gallery_ids, gallery_cameras


@given(seeds, st.integers(1, 400))
def test_rank_equals_the_plain_protocol_in_any_blocks(seed, block):
    random = torch.Generator().manual_seed(seed)
    query, gallery = (torch.randn(count, 4, generator=random, dtype=torch.float64) for count in (6, 40))
    truth = random_truth(random)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_BLOCK_ELEMENTS", block)
        ours = rank(query, gallery, *truth)
    mean, cmc = plain_rank(-F.normalize(query) @ F.normalize(gallery).T, *truth)
    assert ours.mAP == pytest.approx(mean)
    assert ours.cmc[[0, 4]].tolist() == pytest.approx(cmc)


@given(seeds, st.integers(1, 30), st.integers(1, 3))
def test_ties_keep_gallery_order(seed, levels, threads):
    random = torch.Generator().manual_seed(seed)
    distances = torch.randint(levels, (6, 40), generator=random).float()
    truth = random_truth(random)
    before = distances.clone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: threads)
        ours = rank_by_distance(lambda rows: distances[rows], *truth)
    mean, cmc = plain_rank(distances, *truth)
    assert ours.mAP == pytest.approx(mean)
    assert ours.cmc[[0, 4]].tolist() == pytest.approx(cmc)
    assert torch.equal(distances, before)


def test_a_query_without_a_match_is_left_out_and_counted():
    features = torch.eye(3)
    ids, cameras = torch.tensor([1, 2, 2]), torch.tensor([0, 0, 1])
    ours = rank(features[:2], features, ids[:2], cameras[:2], ids, cameras)
    assert ours.unmatched == 1
    assert ours.average_precisions.isnan().tolist() == [True, False]


@given(seeds)
def test_ranking_by_camera_pair_is_the_protocol_on_two_cameras(seed):
    random = torch.Generator().manual_seed(seed)
    query, gallery = (torch.randn(count, 4, generator=random) for count in (6, 40))
    query_ids, query_cameras, gallery_ids, gallery_cameras = random_truth(random)
    ours = rank_by_camera_pair(query, gallery, query_ids, query_cameras, gallery_ids, gallery_cameras, 3)
    for one, other in itertools.product(range(3), repeat=2):
        asked, seen = query_cameras == one, gallery_cameras == other
        truth = query_ids[asked], query_cameras[asked], gallery_ids[seen], gallery_cameras[seen]
        if one == other or not (truth[0][:, None] == truth[2]).any():
            assert ours.queries[one, other] == 0
            assert ours.mAP[one, other].isnan()
        else:
            pair = rank(query[asked], gallery[seen], *truth)
            assert ours.mAP[one, other].item() == pytest.approx(pair.mAP)
            assert ours.queries[one, other] == len(truth[0]) - pair.unmatched


def test_the_first_place_of_every_query():
    query, gallery = torch.eye(2), torch.tensor([[1.0, 0], [0.9, 0.1], [0.1, 0.9]])
    ids, cameras = torch.tensor([1, 3]), torch.tensor([0, 0])
    found = rank(query, gallery, ids, cameras, torch.tensor([2, 1, 2]), torch.tensor([1, 1, 1]))
    assert found.first_places.tolist() == [2, float("inf")]


def test_distractors_stay_and_junk_goes():
    query, gallery = torch.tensor([[1.0, 0]]), torch.tensor([[1.0, 0], [1, 0.1], [1, 0.2]])
    one, other = torch.tensor([1]), torch.tensor([1, 1, 1])
    assert rank(query, gallery, one, one - 1, torch.tensor([0, -1, 1]), other).mAP == pytest.approx(1 / 2)


def test_no_match_at_all_is_an_error():
    with pytest.raises(ValueError, match="no query"):
        rank(torch.eye(2), torch.eye(2), *(torch.tensor([1, 2]) for _ in range(4)))


@given(seeds, st.integers(1, 60))
def test_reranking_in_any_blocks(seed, block):
    random = torch.Generator().manual_seed(seed)
    points = torch.randn(30, 3, generator=random)
    distances = torch.cdist(points, points)
    arguments = (distances[:8, 8:], distances[:8, :8], distances[8:, 8:], 5, 3)
    whole = k_reciprocal(*arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reranking, "_BLOCK_ELEMENTS", block)
        torch.testing.assert_close(k_reciprocal(*arguments), whole)


@given(seeds, st.integers(1, 60))
def test_reranking_by_features_equals_that_by_their_distances(seed, block):
    random = torch.Generator().manual_seed(seed)
    features = F.normalize(torch.randn(30, 6, generator=random))
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    whole = k_reciprocal(distances[:8, 8:], distances[:8, :8], distances[8:, 8:], 5, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reranking, "_BLOCK_ELEMENTS", block)
        by_features = k_reciprocal_by_features(3 * features[:8], features[8:], 5, 3)
        blocks = [by_features(slice(start, start + 3)) for start in (0, 3, 6)]
    torch.testing.assert_close(torch.cat(blocks), whole, rtol=1e-4, atol=1e-5)


@given(seeds)
def test_association_quality_counts_pairs(seed):
    random = torch.Generator().manual_seed(seed)
    association, persons = (torch.randint(-1, 5, (14,), generator=random) for _ in range(2))
    found, true = set(), set()
    for i, j in itertools.combinations(range(14), 2):
        if association[i] == association[j] >= 0:
            found.add((i, j))
        if persons[i] == persons[j]:
            true.add((i, j))
    ours = association_quality(association, persons)
    assert ours.precision == pytest.approx(len(found & true) / len(found) if found else 1)
    assert ours.recall == pytest.approx(len(found & true) / len(true) if true else 1)


def test_mixed_groups_by_hand():
    groups = torch.tensor([-1, 0, 0, 1, 1, 1, 2, 2, -1])
    kinds = torch.tensor([5, 5, 6, 7, 7, 8, 9, 9, 6])
    found, count = mixed_groups(groups, kinds, 5)
    assert [members.tolist() for members in found] == [[3, 4, 5], [1, 2]]  # two wrong pairs, one wrong pair
    assert count == 2
    assert [members.tolist() for members in mixed_groups(groups, kinds, 1)[0]] == [[3, 4, 5]]
    assert mixed_groups(groups.clamp(max=-1), kinds, 5) == ([], 0)
