"""How well an association agrees with the true persons."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class AssociationQuality:
    """Pairwise figures, 0..1, over the pairs of accumulated identities.

    Attributes:
        precision: share of the joined pairs that are one person (1 if nothing is joined).
        recall: share of the pairs of one person that are joined (1 if there are none).
        f1: their harmonic mean.
        joined: associated identities found.
    """

    precision: float
    recall: float
    f1: float
    joined: int


def association_quality(association: Tensor, persons: Tensor) -> AssociationQuality:
    """Compare an association with the truth; counted by groups, never pair by pair.

    Args:
        association: (N,) int64, -1 for an identity left alone.
        persons: (N,) int64 true person of every accumulated identity.
    """
    joined = association >= 0
    cells = torch.stack([association[joined], persons[joined]], dim=1)
    right = _pairs(cells.unique(dim=0, return_counts=True)[1])
    found = _pairs(association[joined].unique(return_counts=True)[1])
    true = _pairs(persons.unique(return_counts=True)[1])
    precision = right / found if found else 1.0
    recall = right / true if true else 1.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return AssociationQuality(precision, recall, f1, len(association[joined].unique()))


def mixed_groups(groups: Tensor, kinds: Tensor, most: int) -> tuple[list[Tensor], int]:
    """The groups that hold more than one kind, those with the most pairs of two kinds first.

    With an association and persons, these are joins of several persons; the other way round, they are persons that
    the association has torn apart.

    Args:
        groups: (N,) int64, -1 for what is in none.
        kinds: (N,) int64.
        most: how many groups to return.

    Returns:
        (the members of at most ``most`` groups, how many groups there are).
    """
    names, places, sizes = groups.unique(return_inverse=True, return_counts=True)
    cells, inside = torch.stack([places, kinds], 1).unique(dim=0, return_counts=True)
    alike = torch.zeros(len(names), dtype=torch.int64).index_add_(0, cells[:, 0], inside * (inside - 1) // 2)
    wrong = (sizes * (sizes - 1) // 2 - alike).masked_fill(names < 0, 0)
    worst = wrong.argsort(descending=True, stable=True)[: min(most, int((wrong > 0).sum()))]
    return [(places == place).nonzero().squeeze(1) for place in worst], int((wrong > 0).sum())


def _pairs(counts: Tensor) -> int:
    return int((counts * (counts - 1) // 2).sum())
