"""The standard cross-camera ranking protocol: mAP and CMC by cosine distance."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ccafl.data.records import JUNK

_BLOCK_ELEMENTS = 1 << 22  # of the distance matrix held and sorted at a time


@dataclass(frozen=True, slots=True)
class Ranking:
    """Result of a ranking.

    Attributes:
        mAP: mean average precision, 0..1, over the queries that have a match.
        cmc: (R,) float64; cmc[r-1] is the share of queries with a match among their first r.
        average_precisions: (Q,) float64, nan for queries without a match.
        unmatched: how many queries have no match in the gallery; they are left out of every mean.
    """

    mAP: float  # noqa: N815 - the field's name for it
    cmc: Tensor
    average_precisions: Tensor
    unmatched: int


def rank(
    query_features: Tensor,
    gallery_features: Tensor,
    query_ids: Tensor,
    query_cameras: Tensor,
    gallery_ids: Tensor,
    gallery_cameras: Tensor,
) -> Ranking:
    """Rank the gallery for every query by cosine distance.

    Junk (gallery id -1) is removed first; a query's own person-and-camera images are removed; distractors (id 0) stay.

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


def rank_by_distance(
    distances: Callable[[slice], Tensor],
    query_ids: Tensor,
    query_cameras: Tensor,
    gallery_ids: Tensor,
    gallery_cameras: Tensor,
) -> Ranking:
    """The same protocol on any distances: ``distances(rows)`` gives the (rows, G) block for those queries.

    Only a block of the matrix is held at a time.
    """
    rows = max(1, _BLOCK_ELEMENTS // max(1, len(gallery_ids)))
    precisions, first_matches = [], []
    for start in range(0, len(query_ids), rows):
        block = slice(start, start + rows)
        same_person = query_ids[block, None] == gallery_ids
        removed = (gallery_ids == JUNK) | (same_person & (query_cameras[block, None] == gallery_cameras))
        order = distances(block).masked_fill(removed, torch.inf).argsort(dim=1, stable=True)
        matches = (same_person & ~removed).gather(1, order)
        precisions.append(_average_precision(matches))
        first_matches.append(torch.where(matches.any(1), matches.int().argmax(1), -1))
    return _summary(torch.cat(precisions), torch.cat(first_matches), len(gallery_ids))


def _average_precision(matches: Tensor) -> Tensor:
    """Mean precision at the matches of every row of (Q, G) bool in ranked order, float64; nan for no match."""
    hits = matches.cumsum(1)
    places = torch.arange(1, matches.shape[1] + 1, device=matches.device)
    return (hits.double() / places * matches).sum(1) / matches.sum(1)


def _summary(average_precisions: Tensor, first_matches: Tensor, depth: int) -> Ranking:
    matched = first_matches >= 0
    if not matched.any():
        raise ValueError("no query has a match in the gallery from another camera")
    counts = torch.bincount(first_matches[matched], minlength=depth)
    return Ranking(
        mAP=average_precisions[matched].mean().item(),
        cmc=counts.cumsum(0).double().cpu() / int(matched.sum()),
        average_precisions=average_precisions.cpu(),
        unmatched=int((~matched).sum()),
    )
