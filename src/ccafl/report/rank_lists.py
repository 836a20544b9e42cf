"""The worst and the best queries, with the gallery images found for them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ccafl.data.numbering import EvaluationImages
from ccafl.data.records import JUNK
from ccafl.evaluation.ranking import Ranking

_DEPTH = 10


@dataclass(frozen=True, slots=True)
class RankList:
    """A query's first gallery images in rank order.

    Attributes:
        query: index among the queries.
        average_precision: 0..1.
        matches: number of gallery images of its person in other cameras.
        found: (gallery index, whether it shows the query's person), best first.
    """

    query: int
    average_precision: float
    matches: int
    found: list[tuple[int, bool]]


def rank_lists(
    query_features: Tensor,
    gallery_features: Tensor,
    query: EvaluationImages,
    gallery: EvaluationImages,
    ranking: Ranking,
    count: int = 5,
) -> tuple[list[RankList], list[RankList]]:
    """The ``count`` worst and best queries by average precision; the best are taken from those with several matches."""
    precisions = ranking.average_precisions
    matches = _matches(query, gallery)
    order = precisions.nan_to_num(2).argsort(stable=True)
    matched = order[~precisions[order].isnan()]
    several = matched[matches[matched] >= min(3, int(matches.max()))]

    def listed(number: int) -> RankList:
        same = query.persons[number] == gallery.persons
        removed = (gallery.persons == JUNK) | (same & (query.cameras[number] == gallery.cameras))
        products = (gallery_features @ query_features[number]).masked_fill(removed, -torch.inf)
        first = products.topk(min(_DEPTH, int((~removed).sum()))).indices.tolist()
        found = [(index, bool(same[index])) for index in first]
        return RankList(number, float(precisions[number]), int(matches[number]), found)

    worst, best = matched[:count].tolist(), several.flip(0)[:count].tolist()
    return [listed(number) for number in worst], [listed(number) for number in best]


def _matches(query: EvaluationImages, gallery: EvaluationImages) -> Tensor:
    """(Q,) number of gallery images of every query's person in other cameras, without a pairwise comparison."""
    cameras = len(gallery.camera_names)
    persons = 1 - JUNK + int(max(query.persons.max(), gallery.persons.max()))
    pairs = torch.bincount((gallery.persons - JUNK) * cameras + gallery.cameras, minlength=persons * cameras)
    counts = pairs.view(persons, cameras)[query.persons - JUNK]
    return counts.sum(1) - counts.gather(1, query.cameras[:, None])[:, 0]
