"""The standard cross-camera ranking protocol: mAP and CMC by cosine distance."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ccafl.data.records import JUNK

_BLOCK_ELEMENTS = 1 << 24  # of the distance matrix, held and sorted at a time: 64 MiB in float32


@dataclass(frozen=True, slots=True)
class Ranking:
    """Result of a ranking.

    Attributes:
        mAP: mean average precision, 0..1, over the queries that have a match.
        cmc: (R,) float64; cmc[r-1] is the share of queries with a match among their first r.
        average_precisions: (Q,) float64, nan for queries without a match.
        first_places: (Q,) float64, the place of the first match from 1, infinity for queries without one.
        unmatched: number of queries without a match in the gallery; they are left out of every mean.
    """

    mAP: float  # noqa: N815 - the field's name for it
    cmc: Tensor
    average_precisions: Tensor
    first_places: Tensor
    unmatched: int


@dataclass(frozen=True, slots=True)
class CameraPairs:
    """Rankings between two cameras each.

    Attributes:
        mAP: (C, C) float64, of the queries of one camera (row) in the pictures of another (column) alone; nan where
            no query has a match.
        queries: (C, C) int64, the queries with a match.
    """

    mAP: Tensor  # noqa: N815 - the field's name for it
    queries: Tensor


def rank(
    query_features: Tensor,
    gallery_features: Tensor,
    query_ids: Tensor,
    query_cameras: Tensor,
    gallery_ids: Tensor,
    gallery_cameras: Tensor,
) -> Ranking:
    """Rank the gallery for every query by cosine distance.

    Junk (gallery id -1) and images of a query's own person and camera are removed; distractors (id 0) stay.

    Args:
        query_features: (Q, D); need not be normalised.
        gallery_features: (G, D).
        query_ids: (Q,) int64 persons; query_cameras: (Q,) int64; gallery_ids and gallery_cameras: (G,) int64.

    Source: paper, section IV; the protocol of Market-1501 (Zheng et al., 2015).
    """
    query, gallery = F.normalize(query_features), F.normalize(gallery_features)
    return rank_by_distance(
        lambda rows: 1 - query[rows] @ gallery.T, query_ids, query_cameras, gallery_ids, gallery_cameras
    )


def rank_by_camera_pair(
    query_features: Tensor,
    gallery_features: Tensor,
    query_ids: Tensor,
    query_cameras: Tensor,
    gallery_ids: Tensor,
    gallery_cameras: Tensor,
    cameras: int,
) -> CameraPairs:
    """Rank the pictures of one camera for the queries of another, by the protocol of `rank`, for all pairs of cameras.

    Args:
        query_features, gallery_features, query_ids, query_cameras, gallery_ids, gallery_cameras: as in `rank`.
        cameras: C; all cameras are in 0..C-1.
    """
    query = F.normalize(query_features)
    sums, counts = torch.zeros(cameras, cameras, dtype=torch.float64), torch.zeros(cameras, cameras, dtype=torch.int64)
    for camera in gallery_cameras.unique().tolist():
        seen = (gallery_cameras == camera) & (gallery_ids != JUNK)
        gallery = F.normalize(gallery_features[seen])
        places = _places(
            lambda rows, gallery=gallery: 1 - query[rows] @ gallery.T,  # type: ignore[misc]
            query_ids,
            query_cameras,
            gallery_ids[seen],
            gallery_cameras[seen],
        )
        precisions = places.average_precisions.cpu()
        matched = ~precisions.isnan()
        own = query_cameras.cpu()[matched]
        sums[:, camera] = torch.bincount(own, precisions[matched], cameras)
        counts[:, camera] = torch.bincount(own, minlength=cameras)
    return CameraPairs(sums / counts, counts)


def rank_by_distance(
    distances: Callable[[slice], Tensor],
    query_ids: Tensor,
    query_cameras: Tensor,
    gallery_ids: Tensor,
    gallery_cameras: Tensor,
) -> Ranking:
    """The same protocol on any distances: ``distances(rows)`` gives the (rows, G) block for those queries.

    Only a block of the matrix is held at a time. Ties keep gallery order.
    """
    places = _places(distances, query_ids, query_cameras, gallery_ids, gallery_cameras)
    return _summary(places, int((gallery_ids != JUNK).sum()))


@dataclass(frozen=True, slots=True)
class _Places:
    """Where every query's matches are; both (Q,) float64."""

    average_precisions: Tensor
    first: Tensor


def _places(
    distances: Callable[[slice], Tensor],
    query_ids: Tensor,
    query_cameras: Tensor,
    gallery_ids: Tensor,
    gallery_cameras: Tensor,
) -> _Places:
    kept = gallery_ids != JUNK
    gallery_ids, gallery_cameras = gallery_ids[kept], gallery_cameras[kept]
    rows = max(1, _BLOCK_ELEMENTS // max(1, len(kept)))
    precisions, first_places = [], []
    for start in range(0, len(query_ids), rows):
        block = slice(start, start + rows)
        own, is_own = _same_person(query_ids[block], gallery_ids)
        own_camera = gallery_cameras[own] == query_cameras[block, None]
        of_block = distances(block)
        of_block = of_block if kept.all() else of_block[:, kept]
        places = _match_places(of_block, own, is_own & ~own_camera, is_own & own_camera)
        precisions.append(_average_precision(places))
        first_places.append(places.amin(1))
    return _Places(torch.cat(precisions), torch.cat(first_places))


def _same_person(query_ids: Tensor, gallery_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Gallery images of every query's person, in gallery order: (Q, M) indices, and which of them are not padding."""
    order = gallery_ids.argsort(stable=True)
    ids = gallery_ids[order]
    first = torch.searchsorted(ids, query_ids)
    counts = torch.searchsorted(ids, query_ids, right=True) - first
    step = torch.arange(max(1, int(counts.max())), device=ids.device)
    return order[(first[:, None] + step).clamp(max=len(order) - 1)], step < counts[:, None]


def _match_places(distances: Tensor, own: Tensor, matching: Tensor, removed: Tensor) -> Tensor:
    """Places of a query's matches among the images not removed, nearest match first: (Q, M) from 1, infinity for none.

    Only values are sorted, never whole rows of indices: a match's place follows from the number of nearer images.

    Args:
        distances: (Q, G).
        own: (Q, M) gallery indices of the query's person.
        matching, removed: (Q, M) bool, which of them are matches, and which are left out of the ranking.
    """
    values = distances.gather(1, own)
    matches, order = values.masked_fill(~matching, torch.inf).sort(stable=True, dim=1)
    others = values.masked_fill(~removed, torch.inf).sort(1).values
    sorted_rows = _sorted_rows(distances)

    def nearer(right: bool) -> Tensor:
        own_nearer = sum(torch.searchsorted(row, matches, right=right) for row in (matches, others))
        return torch.searchsorted(sorted_rows, matches, right=right) - own_nearer

    strangers = nearer(right=False)
    hits = torch.arange(1, own.shape[1] + 1, device=own.device)
    is_match = hits <= matching.sum(1, keepdim=True)
    tied = (nearer(right=True) > strangers) & is_match
    own = own.where(matching | removed, distances.shape[1])  # padding points behind the gallery
    strangers[tied] += _tied_strangers_before(distances, own, values, own.gather(1, order), tied)
    return (strangers + hits).double().masked_fill(~is_match, torch.inf)


def _tied_strangers_before(distances: Tensor, own: Tensor, values: Tensor, matches: Tensor, tied: Tensor) -> Tensor:
    """For every tied match, the number of equally distant strangers that come before it in the gallery: (T,).

    Args:
        distances: (Q, G).
        own, values: (Q, M) gallery indices of the query's person, G for none, and their distances.
        matches: (Q, M) gallery indices of the matches, nearest first.
        tied: (Q, M) bool, which of ``matches`` to look at.
    """
    places = torch.arange(distances.shape[1], device=distances.device)
    found = [matches.new_empty(0)]
    for pairs in tied.nonzero().split(max(1, _BLOCK_ELEMENTS // distances.shape[1])):
        rows = pairs[:, 0]
        index = matches[rows, pairs[:, 1], None]
        value = distances[rows[:, None], index]
        before = ((distances[rows] == value) & (places < index)).sum(1)
        found.append(before - ((values[rows] == value) & (own[rows] < index)).sum(1))
    return torch.cat(found)


def _sorted_rows(distances: Tensor) -> Tensor:
    """Every row in ascending order; NumPy's sort on the CPU, which is many times faster than torch's."""
    if distances.device.type != "cpu":
        return distances.sort(1).values
    parts = distances.numpy(force=True)
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:
        return torch.from_numpy(np.concatenate(list(pool.map(np.sort, np.array_split(parts, threads)))))


def _average_precision(places: Tensor) -> Tensor:
    """Mean precision at the matches, whose places (Q, M) are given in ascending order, float64; nan without a match."""
    hits = torch.arange(1, places.shape[1] + 1, device=places.device)
    return (hits / places).sum(1) / places.isfinite().sum(1)


def _summary(places: _Places, depth: int) -> Ranking:
    matched = places.first.isfinite()
    if not matched.any():
        raise ValueError("no query has a match in the gallery from another camera")
    counts = torch.bincount(places.first[matched].long() - 1, minlength=depth)
    return Ranking(
        mAP=places.average_precisions[matched].mean().item(),
        cmc=counts.cumsum(0).double().cpu() / int(matched.sum()),
        average_precisions=places.average_precisions.cpu(),
        first_places=places.first.cpu(),
        unmatched=int((~matched).sum()),
    )
