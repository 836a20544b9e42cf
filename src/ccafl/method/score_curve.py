"""What a cosine says about two pictures being of one person, from what training knows without the true persons.

Pictures of one person are those of labels that were joined across cameras, each person weighing as much as the joins
are probably right; pictures of two persons are those of different labels of one camera. Between them runs a logistic
curve: the log of the ratio of both densities is a straight line in the cosine.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ccafl.method.association import in_groups, with_following

BINS = 2000
"""Bins of the cosine from -1 to 1, each 0.001 wide."""
_OF_PERSON = 64  # pictures of one person, and
_OF_CAMERA = 4096  # of one camera, that are compared at most, evenly spread
_LEAST_PAIRS = 20  # of each kind, below which there is no curve
_LEAST_SLOPE = 1.0  # below which a cosine says next to nothing
_BLOCK_PAIRS = 1 << 17  # compared at a time
_ROUNDS = 50  # of Newton's method at most
_RIDGE = 1e-4  # on the slope, which is infinite where the two kinds do not overlap


@dataclass(frozen=True, slots=True)
class ScoreCurve:
    """log p(cosine | one person) - log p(cosine | two persons) = slope * cosine + offset.

    Attributes:
        slope, offset: of the line.
        pictures: of a person, on average, as joined.
        joins: whether pictures of different cameras were compared, or only those of one label.
    """

    slope: float
    offset: float
    pictures: float
    joins: bool


def score_curve(
    features: Tensor,
    identities: Tensor,
    identity_cameras: Tensor,
    association: Tensor,
    links: Tensor | None = None,
    probability: Tensor | None = None,
) -> ScoreCurve | None:
    """Fit the curve to training images; None where there are too few pairs, or scores do not tell persons apart.

    Args:
        features: (n, D), L2-normalised.
        identities: (n,) int64 in 0..N-1, accumulated identity of every image.
        identity_cameras: (N,) int64.
        association: (N,) int64, associated identity; -1 for one left alone.
        links: (A, 2) int64, accumulated identities that were linked, and
        probability: (A,) float64, of each link being right; without them, all joins weigh the same.
    """
    identities, association = identities.cpu(), association.cpu()
    cameras = identity_cameras.cpu()[identities]
    joined = association[identities]
    alone = joined < 0
    persons = torch.where(alone, identities + len(identity_cameras), joined).unique(return_inverse=True)[1]
    sure = _sureness(association, links, probability)
    together = _pairs_within(persons)
    across = together[:, cameras[together[0]] != cameras[together[1]]]
    different = _of_strangers(features, identities, persons, cameras)
    by_joins = across.shape[1] >= _LEAST_PAIRS
    pairs = across if by_joins else _pairs_within(identities)
    if pairs.shape[1] < _LEAST_PAIRS or different.sum() < _LEAST_PAIRS:
        return None
    same = _counted(features, pairs, sure[joined[pairs[0]]] if by_joins else None)
    pictures = len(identities) / (int(persons.max()) + 1)
    slope, offset = logistic(same, different, min(pictures / len(identities), 0.5))
    return ScoreCurve(slope, offset, pictures, by_joins) if slope >= _LEAST_SLOPE else None


def logistic(same: Tensor, different: Tensor, share: float = 0.5) -> tuple[float, float]:
    """Slope and offset of the log ratio of two densities over the cosine, by logistic regression.

    Args:
        same, different: (B,) weights of pairs of one and of two persons, in bins of equal width from -1 to 1; some of
            each kind.
        share: that pairs of one person have in the fit, which is best where both kinds are equally frequent then.
    """
    size = len(same)
    centres = (torch.arange(size, dtype=torch.float64) + 0.5) * (2 / size) - 1
    inputs = torch.stack([centres, torch.ones_like(centres)], 1)
    one, two = share * same.double() / same.sum(), (1 - share) * different.double() / different.sum()
    ridge = torch.tensor([_RIDGE * min(share, 1 - share), 0], dtype=torch.float64)
    prior = torch.tensor(share, dtype=torch.float64).logit()
    middle = float((one / share + two / (1 - share)) @ centres) / 2
    weights = torch.tensor([1.0, float(prior) - middle], dtype=torch.float64)

    def loss(at: Tensor) -> Tensor:
        odds = inputs @ at
        return one @ torch.nn.functional.softplus(-odds) + two @ torch.nn.functional.softplus(odds) + ridge @ at**2 / 2

    for _ in range(_ROUNDS):
        likely = (inputs @ weights).sigmoid()
        gradient = inputs.T @ ((one + two) * likely - one) + ridge * weights
        spread = (one + two) * likely * (1 - likely)
        step = torch.linalg.solve(inputs.T @ (spread[:, None] * inputs) + ridge.diag() + 1e-12 * torch.eye(2), gradient)
        while loss(weights - step) > loss(weights) and step.abs().max() > 1e-9:
            step = step / 2
        weights = weights - step
        if step.abs().max() < 1e-9:
            break
    slope, offset = weights.tolist()
    return slope, offset - float(prior)


def _sureness(association: Tensor, links: Tensor | None, probability: Tensor | None) -> Tensor:
    """Mean probability of the links within each associated identity; 1 where none is known."""
    count = int(association.max()) + 1 if len(association) else 0
    if links is None or probability is None or not len(links):
        return torch.ones(max(count, 1), dtype=torch.float64)
    within = association[links]
    made = (within[:, 0] == within[:, 1]) & (within[:, 0] >= 0)
    of, chance = within[made, 0], probability[made].double()
    number = torch.bincount(of, minlength=max(count, 1))
    return torch.where(number > 0, torch.bincount(of, chance, minlength=max(count, 1)) / number.clamp(min=1), 1.0)


def _pairs_within(groups: Tensor) -> Tensor:
    """Pairs of images of one group, (2, P), each once; of large groups only some images."""
    sizes, order, place = in_groups(groups)
    every = -(-sizes // _OF_PERSON)
    order = order[place % every[groups[order]] == 0]
    kept = torch.bincount(groups[order], minlength=len(sizes))
    return order[with_following(kept.cumsum(0)[groups[order]] - torch.arange(len(order)) - 1)]


def _counted(features: Tensor, pairs: Tensor, weights: Tensor | None) -> Tensor:
    """Cosines of pairs of images, weighted, in bins: (B,) float64."""
    counts = torch.zeros(BINS, dtype=torch.float64)
    for start in range(0, pairs.shape[1], _BLOCK_PAIRS):
        one, other = pairs[:, start : start + _BLOCK_PAIRS].to(features.device)
        found = bins((features[one] * features[other]).sum(1)).cpu()
        counts += torch.bincount(found, None if weights is None else weights[start : start + _BLOCK_PAIRS], BINS)
    return counts


def _of_strangers(features: Tensor, identities: Tensor, persons: Tensor, cameras: Tensor) -> Tensor:
    """Cosines of images of one camera with different labels that were not joined, in bins: (B,) float64."""
    counts = torch.zeros(BINS, dtype=torch.float64)
    for camera in range(int(cameras.max()) + 1):
        members = (cameras == camera).nonzero().squeeze(1)
        members = members[:: -(-len(members) // _OF_CAMERA) or 1]
        own = features[members.to(features.device)]
        for start in range(0, len(members), 1024):
            rows = slice(start, start + 1024)
            found = bins(own[rows] @ own.T).cpu()
            strangers = persons[members[rows], None] != persons[members]
            strangers &= identities[members[rows], None] != identities[members]
            counts += torch.bincount(found[strangers], minlength=BINS)
    return counts / 2  # each pair was met twice


def bins(cosines: Tensor) -> Tensor:
    """The bin of each cosine."""
    return ((cosines + 1) * (BINS / 2)).long().clamp_(0, BINS - 1)
