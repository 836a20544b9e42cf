"""Ranking and re-ranking against torchreid and fast-reid."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measure import Comparison, Limit
from benchmarks.opponents import TORCHREID, Opponents
from ccafl.evaluation.ranking import Ranking, rank, rank_by_distance
from ccafl.evaluation.reranking import k_reciprocal, k_reciprocal_by_features

DEPTH = 50  # number of ranks compared


def _truth(queries: int, gallery: int, persons: int, cameras: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Persons and cameras of query and gallery; a quarter of the gallery's persons are not in the query."""
    random = torch.Generator().manual_seed(0)
    query_ids, gallery_ids = (
        torch.randint(1, count, (size,), generator=random)
        for count, size in ((persons, queries), (persons * 4 // 3, gallery))
    )
    query_cameras, gallery_cameras = (torch.randint(cameras, (size,), generator=random) for size in (queries, gallery))
    return query_ids, query_cameras, gallery_ids, gallery_cameras


def _features(query_ids: Tensor, gallery_ids: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    persons = torch.randn(int(gallery_ids.max()) + 1, dim, generator=random)
    query, gallery = (
        F.normalize(torch.randn(len(ids), dim, generator=random).mul_(2.5).add_(persons[ids]))
        for ids in (query_ids, gallery_ids)
    )
    return query, gallery


def ranking(opponents: Opponents) -> Iterator[Comparison]:
    """Market-1501's size, from given distances."""
    truth = _truth(3368, 15913, 750, 6)
    query, gallery = _features(truth[0], truth[2], 256)
    distances = 1 - query @ gallery.T
    query_ids, query_cameras, gallery_ids, gallery_cameras = (values.numpy() for values in truth)
    bars = {"fast-reid's Cython": 3.0, "torchreid's Cython": 3.0, "torchreid's Python": 3.0}
    for name, evaluate in opponents.ranking().items():
        theirs = partial(evaluate, distances.numpy(), query_ids, gallery_ids, query_cameras, gallery_cameras, DEPTH)
        yield Comparison(
            "ranking: 3,368 x 15,913, distances given",
            name,
            lambda: rank_by_distance(lambda rows: distances[rows], *truth),
            theirs,
            _same_metrics,
            bar=bars[name],
            rounds=1 if "Python" in name else 5,
        )


def _same_metrics(ours: Ranking, theirs: Any) -> bool:
    """torchreid returns (cmc, mAP); fast-reid (cmc, average precisions, inverse negative penalties)."""
    cmc, precision = np.asarray(theirs[0]), float(np.mean(theirs[1]))
    return abs(ours.mAP - precision) < 1e-5 and bool(np.allclose(ours.cmc[: len(cmc)].numpy(), cmc, atol=1e-5))


def large_ranking() -> Limit:
    """A quarter of MSMT17's queries, from features to metrics, in a quarter of the time that all may take."""
    work = "ranking: 2,915 x 82,161, D=2048, from features"
    return Limit(work, _large_ranking, _ranking_is_correct, seconds=22.5, gib=3)


def _large_ranking() -> Callable[[], Ranking]:
    truth = _truth(2915, 82161, 3060, 15)
    return partial(rank, *_features(truth[0], truth[2], 2048), *truth)


def _ranking_is_correct(ranking: Ranking) -> bool:
    """Check the first queries against sorting the whole gallery."""
    truth = _truth(2915, 82161, 3060, 15)
    query, gallery = _features(truth[0], truth[2], 2048)
    query_ids, query_cameras, gallery_ids, gallery_cameras = truth
    for number in range(20):
        kept = ~((gallery_ids == query_ids[number]) & (gallery_cameras == query_cameras[number]))
        order = (gallery[kept] @ query[number]).argsort(descending=True)
        matches = (gallery_ids[kept][order] == query_ids[number]).nonzero().squeeze(1)
        precision = (torch.arange(1, len(matches) + 1) / (matches + 1)).double().mean()
        if abs(precision - ranking.average_precisions[number]) > 1e-4:
            return False
    return True


def reranking(opponents: Opponents) -> Iterator[Comparison]:
    """1,000 x 5,000, from given distances."""
    if not opponents.has(TORCHREID):
        return
    truth = _truth(1000, 5000, 250, 6)
    features = torch.cat(_features(truth[0], truth[2], 256))
    distances = torch.cdist(features, features)
    parts = distances[:1000, 1000:], distances[:1000, :1000], distances[1000:, 1000:]
    theirs = partial(opponents.reranking().re_ranking, *(part.numpy() for part in parts))
    work = "k-reciprocal re-ranking: 1,000 x 5,000, distances given"
    yield Comparison(work, "torchreid", partial(k_reciprocal, *parts), theirs, _same_distances, bar=5.0, rounds=3)


def _same_distances(ours: Tensor, theirs: Any) -> bool:
    return bool(np.allclose(ours.numpy(), theirs, atol=1e-4))


def large_reranking() -> Limit:
    """Market-1501's size, from features."""
    work = "k-reciprocal re-ranking: 3,368 x 15,913, D=2048, from features, ranked"
    return Limit(work, _large_reranking, _improves_ranking, seconds=180, gib=16)


def _large_reranking() -> Callable[[], Ranking]:
    truth = _truth(3368, 15913, 750, 6)
    query, gallery = _features(truth[0], truth[2], 2048)
    return lambda: rank_by_distance(k_reciprocal_by_features(query, gallery), *truth)


def _improves_ranking(ranking: Ranking) -> bool:
    """Whether it beats the ranking without re-ranking."""
    truth = _truth(3368, 15913, 750, 6)
    return ranking.mAP > rank(*_features(truth[0], truth[2], 2048), *truth).mAP
