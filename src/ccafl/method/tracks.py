"""Which tracks of one camera are one person. Not in the paper, whose labels are people's.

A tracker loses people and finds them again, so a person makes several tracks in a camera. What is known without asking:

- Tracks of a camera that overlap in time are two persons.
- The first and the second half of a track are one person.

From both it is learned how much more frequent a similarity is between pictures of one person than of two. The other
pairs of a camera's tracks are a mixture of both, whose share is estimated for every camera.

The two that are most similar to each other are joined if that is probable enough; then their common centre is compared
anew, until nothing more is joined.

A tracker also takes one person for another. A track whose pictures before some moment and after it are as unlike as
those of strangers probably shows two persons.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ccafl.method.association import (
    by_first_member,
    first_claims,
    identity_centres,
    in_groups,
    together_by,
    with_following,
)

_BINS = 1000  # of similarities from -1 to 1
_ROUNDS, _SETTLED = 50, 1e-4
_CERTAIN = 50  # overlapping pairs that are enough to begin with
_RIDGE = 1e-5  # keeps the log of a ratio finite where nothing overlaps
_DEGREE = 3  # of the polynomial that it is: it rises more steeply among the most similar than anywhere else
_JOINED = 0.5  # probability from which tracks are joined
_ASKED = 0.01  # below, a pair is not worth a question
_DOUBTFUL = 0.05  # below, a pair that was not joined counts as two persons
_TWO_PERSONS = -2.5  # log of the ratio of densities, one person to two, below which a track is reported: 1 to 12
_FEWEST = 2  # pictures before and after the moment
_UNSURE = 5  # most similar others of a label that may be the same person
_PARTNERS = 3  # most similar others of a group that are compared
_BLOCK_ELEMENTS = 1 << 24  # similarities held at a time: 64 MiB in float32


@dataclass(frozen=True, slots=True, eq=False)
class JoinedTracks:
    """N labels, some of them tracks, joined within their cameras; all on the CPU.

    Attributes:
        groups: (N,) int64, numbered from 0 by first member; each has labels of one camera only.
        pairs: (Q, 2) int64, a label of each of two groups that were joined, or might be: what people could be asked.
        probability: (Q,) float64, of the two being one person.
        joined: (Q,) bool.
        weight: (Q,) int64, how many pairs of labels the answer decides.
        log_ratio: (B,) float64, for similarities from -1 to 1 in B bins: log of how much more frequent they are between
            pictures of one person than of two, as learned from the tracks before any were joined; never falling.
    """

    groups: Tensor
    pairs: Tensor
    probability: Tensor
    joined: Tensor
    weight: Tensor
    log_ratio: Tensor

    @property
    def doubtful(self) -> Tensor:
        """Groups that were not joined but may be one person: (P, 2) int64, the smaller first, each pair once."""
        pairs = self.groups[self.pairs[~self.joined & (self.probability >= _DOUBTFUL)]]
        once: Tensor = pairs.sort(dim=1).values.unique(dim=0)
        return once

    @property
    def worth(self) -> Tensor:
        """What an answer is worth, (Q,) float64: the pairs of labels that are now wrong, on average."""
        wrong: Tensor = self.weight * torch.where(self.joined, 1 - self.probability, self.probability)
        return wrong


def overlapping_tracks(cameras: Tensor, tracks: Tensor) -> Tensor:
    """Pairs of labels of one camera that were seen at the same time: (M, 2) int64, each a < b.

    Args:
        cameras: (N,) int64, camera of every label.
        tracks: (T, 3) float64, the label of each track, and when it begins and ends.
    """
    if not len(tracks):
        return cameras.new_empty(0, 2)
    labels, times = tracks[:, 0].long(), tracks[:, 1:] - tracks[:, 1:].min()
    offsets = cameras[labels] * (float(times.max()) + 1)
    begins, order = (times[:, 0] + offsets).sort(stable=True)
    until = torch.searchsorted(begins, (times[:, 1] + offsets)[order], right=True)
    following = until - torch.arange(len(labels)) - 1  # those that begin while it lasts
    pairs = labels[order[with_following(following).T]].sort(dim=1).values
    once: Tensor = pairs[pairs[:, 0] < pairs[:, 1]].unique(dim=0)
    return once


def maybe_one_person(centres: Tensor, cameras: Tensor, strangers: Tensor) -> list[Tensor]:
    """Which labels of each camera may be one person though they are not joined: neither is to be pushed from the other.

    Those are the `_UNSURE` most similar of each label that are not known to be somebody else.

    Args:
        centres: (N, D), L2-normalised, of labels that are tracks.
        cameras: (N,) int64 in 0..C-1, ascending.
        strangers: (M, 2) int64, pairs of labels that are two persons for certain.

    Returns:
        For each camera (C_c, C_c) bool on the centres' device, symmetric.
    """
    found = []
    counts = torch.bincount(cameras).tolist()
    offset = 0
    for own, count in zip(centres.split(counts), counts, strict=True):
        similar = own @ own.T
        here = strangers[(strangers >= offset).all(1) & (strangers < offset + count).all(1)].to(own.device) - offset
        similar[here[:, 0], here[:, 1]] = similar[here[:, 1], here[:, 0]] = -torch.inf
        similar.fill_diagonal_(-torch.inf)
        best, place = similar.topk(min(_UNSURE, count), dim=1)
        unsure = torch.zeros_like(similar, dtype=torch.bool).scatter_(1, place, best > -torch.inf)
        found.append(unsure | unsure.T)
        offset += count
    return found


def join_tracks(
    features: Tensor,
    identities: Tensor,
    cameras: Tensor,
    tracks: Tensor,
    must_link: Tensor | None = None,
    cannot_link: Tensor | None = None,
) -> JoinedTracks:
    """Join the tracks of each camera that are probably one person.

    Args:
        features: (n, D), L2-normalised, of all images, each label's in the order of time.
        identities: (n,) int64 in 0..N-1, label of every image.
        cameras: (N,) int64 in 0..C-1, camera of every label.
        tracks: (T, 3) float64, the label of each track, and when it begins and ends. Labels without a track are joined
            by must-links only.
        must_link, cannot_link: (M, 2) int64, as `ccafl.method.association.associate` takes them. Tracks that overlap
            are kept apart unless must-links join them.

    Raises:
        ValueError: must-links join what a cannot-link keeps apart.
    """
    cameras, tracks = cameras.cpu(), tracks.cpu()
    centres = identity_centres(features, identities, len(cameras))
    halves = _halves(features, identities, len(cameras))
    none = cameras.new_empty(0, 2)
    must, cannot = (none if links is None else links.cpu() for links in (must_link, cannot_link))
    person = together_by(must, cannot, len(cameras))
    overlapping = overlapping_tracks(cameras, tracks)
    apart = torch.cat([cannot, overlapping[person[overlapping[:, 0]] != person[overlapping[:, 1]]]])
    tracked = torch.zeros(len(cameras), dtype=torch.float64)
    tracked[tracks[:, 0].long()] = 1
    asked: list[tuple[Tensor, ...]] = []
    first_ratio = None
    while True:
        grouped = _grouped(centres, cameras, tracked, person)
        near = _most_similar(grouped, person[apart])
        probability, log_ratio = _probabilities(near, halves)
        first_ratio = log_ratio if first_ratio is None else first_ratio
        pairs, likely = _mutual(near, probability)
        pairs, likely = pairs[likely >= _JOINED], likely[likely >= _JOINED]
        order = likely.argsort(descending=True, stable=True)
        pairs, likely = pairs[order], likely[order]
        persons = grouped.person[pairs]
        first = first_claims(persons, len(cameras)).all(1)
        if not len(first):
            break
        asked.append((*_between(centres, grouped, pairs[first]), likely[first], torch.ones(int(first.sum())).bool()))
        renamed = torch.arange(len(cameras))
        renamed[persons[first, 1]] = persons[first, 0]
        person = renamed[person]
    pairs, likely = _doubtful(near, probability)
    asked.append((*_between(centres, grouped, pairs), likely, torch.zeros(len(pairs)).bool()))
    between, weight, likely, joined = (torch.cat(parts) for parts in zip(*asked, strict=True))
    return JoinedTracks(grouped.groups, between, likely, joined, weight, first_ratio)


def tracks_of_two_persons(features: Tensor, identities: Tensor, tracks: Tensor, log_ratio: Tensor) -> Tensor:
    """Tracks that probably show one person first and then another: (M,) int64.

    Args:
        features, identities, tracks: as `join_tracks` takes them.
        log_ratio: as in `JoinedTracks`.
    """
    labels = tracks[:, 0].long().cpu().unique()
    likeness = _least_similar_parts(features, identities, int(identities.max()) + 1 if len(identities) else 0)
    doubtful: Tensor = labels[log_ratio[_bins(likeness[labels])] < _TWO_PERSONS]
    return doubtful


@dataclass(frozen=True, slots=True, eq=False)
class _Grouped:
    """G groups of N labels."""

    groups: Tensor  # (N,) int64, numbered by first member
    centres: Tensor  # (G, D), L2-normalised
    cameras: Tensor  # (G,) int64
    person: Tensor  # (G,) int64
    sizes: Tensor  # (G,) int64, labels
    tracks: Tensor  # (G,) bool, whether all of its labels are tracks


def _grouped(centres: Tensor, cameras: Tensor, tracked: Tensor, person: Tensor) -> _Grouped:
    """The labels of each camera that are one person."""
    groups, first = by_first_member(person * (int(cameras.max()) + 1 if len(cameras) else 1) + cameras)
    sums = centres.new_zeros(len(first), centres.shape[1]).index_add_(0, groups.to(centres.device), centres)
    sizes = torch.bincount(groups, minlength=len(first))
    of_tracks = torch.bincount(groups, tracked, minlength=len(first)) == sizes
    return _Grouped(groups, F.normalize(sums), cameras[first], person[first], sizes, of_tracks)


@dataclass(frozen=True, slots=True, eq=False)
class _Near:
    """For G groups, the k most similar others of the camera that are not known to be another person; and how similar
    all are, in C histograms."""

    cameras: Tensor  # (G,) int64
    partners: Tensor  # (G, k) int64, -1 for none
    bins: Tensor  # (G, k) int64, of their similarities
    strangers: Tensor  # (C, B) float64, pairs that are known to be two persons
    others: Tensor  # (C, B) float64


def _most_similar(grouped: _Grouped, apart: Tensor) -> _Near:
    """Compare the groups of each camera; persons ``apart`` (A, 2) are two. Rows are taken in blocks."""
    count, cameras = len(grouped.cameras), int(grouped.cameras.max()) + 1 if len(grouped.cameras) else 0
    partners, bins = torch.full((count, _PARTNERS), -1), torch.zeros(count, _PARTNERS, dtype=torch.int64)
    histograms = torch.zeros(2, cameras, _BINS, dtype=torch.float64)
    for camera in range(cameras):
        members = ((grouped.cameras == camera) & grouped.tracks).nonzero().squeeze(1)
        place = torch.full((int(grouped.person.max()) + 1,), -1)
        place[grouped.person[members]] = torch.arange(len(members))
        known = place[apart[(apart < len(place)).all(1)]]
        known = known[(known >= 0).all(1) & (known[:, 0] != known[:, 1])]
        known = torch.cat([known, known.flip(1)])
        centres = grouped.centres[members.to(grouped.centres.device)]
        rows = max(1, _BLOCK_ELEMENTS // max(1, len(members)))
        for start in range(0, len(members), rows):
            products = (centres[start : start + rows] @ centres.T).float().cpu()
            own = torch.arange(start, start + len(products))
            here = known[(known[:, 0] >= start) & (known[:, 0] < start + len(products))]
            strangers = torch.zeros_like(products, dtype=torch.bool)
            strangers[here[:, 0] - start, here[:, 1]] = True
            binned = _bins(products)
            later = own[:, None] < torch.arange(len(members))
            for histogram, kind in zip(histograms, (strangers, ~strangers), strict=True):
                histogram[camera] += torch.bincount(binned[later & kind], minlength=_BINS)
            products[strangers] = -torch.inf
            products[own - start, own] = -torch.inf
            best, found = products.topk(min(_PARTNERS, len(members)), dim=1)
            row = members[own]
            partners[row, : found.shape[1]] = torch.where(best > -torch.inf, members[found], -1)
            bins[row, : found.shape[1]] = binned.gather(1, found)
    return _Near(grouped.cameras, partners, bins, *histograms)


def _halves(features: Tensor, identities: Tensor, count: int) -> Tensor:
    """How similar the first half of each track's pictures is to the second, in `_BINS` bins: (B,) float64."""
    identities = identities.cpu()
    sizes, order, within = in_groups(identities, count)
    place = torch.empty_like(order)
    place[order] = within
    half = 2 * identities + (2 * place >= sizes[identities]).long()
    centres = identity_centres(features, half.to(features.device), 2 * count).view(count, 2, -1)
    return torch.bincount(_bins(centres.prod(1).sum(1).cpu())[sizes > 1], minlength=_BINS).double()


def _least_similar_parts(features: Tensor, identities: Tensor, count: int) -> Tensor:
    """How similar each label's pictures before the moment where they change most are to those after it: (N,) float64.

    Infinity for a label with too few pictures.
    """
    identities = identities.cpu()
    sizes, order, within = in_groups(identities, count)
    label, before = identities[order], within + 1  # pictures
    first = torch.arange(len(order)) - within
    cut = ((before >= _FEWEST) & (sizes[label] - before >= _FEWEST)).nonzero().squeeze(1)
    sums = F.pad(features[order.to(features.device)].double().cumsum(0), (0, 0, 1, 0)).cpu()
    begin, end = sums[first[cut]], sums[(first + sizes[label])[cut]]
    likeness = F.cosine_similarity(sums[cut + 1] - begin, end - sums[cut + 1], dim=1)
    least = torch.full((count,), torch.inf, dtype=torch.float64)
    return least.scatter_reduce_(0, label[cut], likeness, "amin")


def _bins(similarities: Tensor) -> Tensor:
    return ((similarities + 1) * (_BINS / 2)).clamp(0, _BINS - 1).long()


def _probabilities(near: _Near, halves: Tensor) -> tuple[Tensor, Tensor]:
    """Estimated probability of each group and each partner being one person: (G, k) float64; 0 without a partner. And
    the log of the ratio of densities (B,), as in `JoinedTracks`.

    Expectation maximisation. At first, only what is certain counts; all pairs count as strangers if little is.
    """
    usual = torch.bincount(near.cameras, minlength=len(near.others)).double()[:, None].clamp(min=2).reciprocal()
    share, probability, number = usual, torch.zeros_like(near.others), near.others.sum(1, keepdim=True)
    known = halves.clone()
    known[-1] += 1  # two that are equal are one person
    weight = 1.0 if near.strangers.sum() < _CERTAIN else 0.0
    for _ in range(_ROUNDS):
        strangers = (near.strangers + weight * near.others * (1 - probability)).sum(0)
        weight = 1.0
        log_ratio = _log_ratio(known + (near.others * probability).sum(0), strangers)
        before, probability = probability, (share.logit(1e-9) + log_ratio).sigmoid()
        share = ((near.others * probability).sum(1, keepdim=True) + 1) / (number + 1 / usual)
        if (probability - before).abs().max() < _SETTLED:
            break
    return probability[near.cameras[:, None], near.bins].masked_fill(near.partners < 0, 0.0), log_ratio


def _log_ratio(one: Tensor, two: Tensor) -> Tensor:
    """Log of the ratio of two densities of similarities, given as weights (B,) of their bins: (B,) float64.

    Logistic regression on a polynomial, by Newton's method. Who is more similar is no less probably one person: the
    result is the largest that never falls and is nowhere above the polynomial.
    """
    middles = (torch.arange(_BINS, dtype=torch.float64) + 0.5) * (2 / _BINS) - 1
    powers = middles[:, None] ** torch.arange(_DEGREE + 1)
    ridge = _RIDGE * torch.eye(_DEGREE + 1, dtype=torch.float64)
    one, two = one / one.sum(), two / two.sum().clamp(min=1e-12)
    coefficients = powers.new_zeros(_DEGREE + 1)
    for _ in range(_ROUNDS):
        likely = (powers @ coefficients).sigmoid()
        gradient = powers.T @ (one * (1 - likely) - two * likely) - ridge @ coefficients
        curvature = (powers * ((one + two) * likely * (1 - likely))[:, None]).T @ powers
        step = torch.linalg.solve(curvature + ridge, gradient)
        coefficients = coefficients + step
        if step.abs().max() < _SETTLED:
            break
    return (powers @ coefficients).flip(0).cummin(0).values.flip(0)


def _mutual(near: _Near, probability: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of groups (M, 2) that are most similar to each other, the smaller first, and their probabilities (M,)."""
    best, own = near.partners[:, 0], torch.arange(len(near.partners))
    mutual = (own < best) & (best[best.clamp(min=0)] == own)
    return torch.stack([own[mutual], best[mutual]], dim=1), probability[mutual, 0]


def _doubtful(near: _Near, probability: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of groups (M, 2) that may be one person, each once, and their probabilities (M,)."""
    own = torch.arange(len(near.partners))[:, None].expand_as(near.partners)
    chosen = (near.partners >= 0) & (probability >= _ASKED)
    pairs, which = (
        torch.stack([own[chosen], near.partners[chosen]], dim=1).sort(dim=1).values.unique(dim=0, return_inverse=True)
    )
    return pairs, probability.new_zeros(len(pairs)).index_copy_(0, which, probability[chosen])


def _between(centres: Tensor, grouped: _Grouped, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Of each pair of groups (M, 2), the label of one that is most like the other: (M, 2); and the number of pairs of
    their labels (M,)."""
    sizes = grouped.sizes[pairs]
    members = grouped.groups.argsort(stable=True)
    begins = grouped.sizes.cumsum(0) - grouped.sizes
    labels = []
    for this, that in ((0, 1), (1, 0)):
        pair = torch.arange(len(pairs)).repeat_interleave(sizes[:, this])
        inside = torch.arange(len(pair)) - (sizes[:, this].cumsum(0) - sizes[:, this])[pair]
        label = members[begins[pairs[pair, this]] + inside]
        on = centres.device
        like = (centres[label.to(on)] * grouped.centres[pairs[pair, that].to(on)]).sum(1).cpu()
        most = like.new_full((len(pairs),), -torch.inf).scatter_reduce_(0, pair, like, "amax")
        found = torch.full((len(pairs),), len(members))
        labels.append(found.scatter_reduce_(0, pair[like == most[pair]], label[like == most[pair]], "amin"))
    return torch.stack(labels, dim=1), sizes.prod(1)
