"""Scores of pairs of pictures: how well one threshold tells the same person from another."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ccafl.data.records import JUNK
from ccafl.method.score_curve import BINS, bins, logistic

_BLOCK_ELEMENTS = 1 << 24  # of the matrix of cosines, held at a time: 64 MiB in float32


@dataclass(frozen=True, slots=True)
class PairScores:
    """Cosines of the pairs of a query and a gallery image from different cameras, counted in `BINS` bins.

    Attributes:
        same: (B,) int64, pairs of one person.
        different: (B,) int64, pairs of two persons.
    """

    same: Tensor
    different: Tensor


@dataclass(frozen=True, slots=True)
class Roc:
    """What every threshold does, from the strictest to the loosest.

    Attributes:
        thresholds: (B + 1,) float64, descending; a pair is accepted if its cosine is not below.
        accepted_same: (B + 1,) float64, share of the pairs of one person that are accepted, ascending.
        accepted_different: (B + 1,) float64, the same of pairs of two persons.
    """

    thresholds: Tensor
    accepted_same: Tensor
    accepted_different: Tensor

    @property
    def area(self) -> float:
        """Probability that a pair of one person scores higher than one of two; ties count half."""
        return float(torch.trapezoid(self.accepted_same, self.accepted_different))

    def found_at(self, accepted_different: float) -> float:
        """The largest share of pairs of one person accepted while at most this share of the others is."""
        return float(self.accepted_same[self.accepted_different <= accepted_different].max())

    def at(self, threshold: float) -> tuple[float, float]:
        """Shares of pairs of one and of two persons that the bins above ``threshold`` hold."""
        place = int((self.thresholds - threshold).abs().argmin())
        return float(self.accepted_same[place]), float(self.accepted_different[place])


def pair_scores(
    query_features: Tensor,
    gallery_features: Tensor,
    query_persons: Tensor,
    query_cameras: Tensor,
    gallery_persons: Tensor,
    gallery_cameras: Tensor,
) -> PairScores:
    """Count the cosines of all pairs from different cameras. Junk is left out, distractors are other persons.

    Args:
        query_features, gallery_features: (Q, D) and (G, D); need not be normalised.
        query_persons, query_cameras, gallery_persons, gallery_cameras: int64.
    """
    kept = gallery_persons != JUNK
    gallery, persons, cameras = F.normalize(gallery_features[kept]), gallery_persons[kept], gallery_cameras[kept]
    counts = torch.zeros(2, BINS, dtype=torch.int64)
    for rows in _blocks(len(query_features), len(gallery)):
        found = bins(F.normalize(query_features[rows]) @ gallery.T)
        across = query_cameras[rows, None] != cameras
        same = query_persons[rows, None] == persons
        for kind, chosen in enumerate((across & same, across & ~same)):
            counts[kind] += torch.bincount(found[chosen], minlength=BINS).cpu()
    return PairScores(*counts)


def _blocks(count: int, width: int) -> Iterator[slice]:
    step = max(1, _BLOCK_ELEMENTS // max(width, 1))
    yield from (slice(start, start + step) for start in range(0, count, step))


def roc(scores: PairScores) -> Roc:
    """The curve of both kinds of pairs; there must be pairs of each kind."""

    def accepted(counts: Tensor) -> Tensor:
        return F.pad(counts.flip(0).cumsum(0), (1, 0)).double() / counts.sum()

    edges = torch.linspace(1, -1, len(scores.same) + 1, dtype=torch.float64)
    return Roc(edges, accepted(scores.same), accepted(scores.different))


def calibrated_threshold(scores: PairScores) -> float:
    """The cosine at which both kinds of pairs are equally probable, by a logistic curve fitted to the scores.

    Both kinds weigh the same in the fit, however rare pairs of one person are. There must be pairs of each kind.
    """
    slope, offset = logistic(scores.same, scores.different)
    return min(max(-offset / slope, -1.0), 1.0) if slope > 0 else 1.0
