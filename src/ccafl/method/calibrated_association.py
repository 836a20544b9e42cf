"""Cross-camera association without a rate to tune: each pair gets an estimated probability of being one person.

Not in the paper. The labels themselves are the yardstick:

- Of the labels of another camera, all but one at most are strangers to a given label. How far the most similar one
  stands out from the next ones, in units of their spacing, is its *height*.
- Candidates are the labels of two cameras that are most similar to each other. Without them, the pairs that are most
  similar *then* are strangers' if the candidates were true, and strangers' second best if they were not. Two labels of
  one camera are two persons, for certain: from them it is known how much higher the best of strangers is than the
  second best.
- The heights of candidates are a mixture of strangers' and of true pairs', whose density is the strangers' tilted
  towards large heights. The share of true pairs is estimated for every pair of cameras.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ccafl.method.association import accept_disjoint_components, components, in_groups, together_by
from ccafl.method.share import Share
from ccafl.method.topology import CameraTopology

_NEXT = 5  # strangers that a height is measured from, each weighing half as much as the one before
_TAIL = 16  # strangers that the spacing is measured on
_LEAST = 3  # labels that a camera needs for its strangers' spacing
_BEST_TO_SECOND = 1.8  # strangers' best height to their second best if similarities have an exponential tail
_BEST_TO_SECOND_PAIRS = 100  # pairs of one camera that this prior counts as
_TILTS = (1.0, 1.5, 2.0, 3.0)  # the log density ratio of true pairs to strangers rises by so much per deviation
_BINS = 2000  # of heights
_LEAST_PROBABILITY = 0.2  # of a pair that is joined
_FIRST_SHARE = 0.3  # of true pairs among the candidates, to begin with
_SHARE_PAIRS = 4  # candidates that the share in all cameras counts as in the share of two
_ROUNDS, _SHARE_ROUNDS, _SETTLED = 10, 60, 5e-3
_BLOCK_ELEMENTS = 1 << 24  # similarities held at a time: 64 MiB in float32


@dataclass(frozen=True, slots=True)
class Believed:
    """Links between labels, and how probably each was right when it was first made; on the CPU.

    Attributes:
        links: (A, 2) int64, the label of the lower number first.
        probability: (A,) float64.
    """

    links: Tensor
    probability: Tensor


@dataclass(frozen=True, slots=True)
class CalibratedAssociation:
    """The join of N labels in C cameras.

    Attributes:
        identities: (N,) int64 on the CPU: associated identity, numbered from 0 by first member; -1 for one left alone.
        estimated_precision: estimated share of the joined pairs that are one person; 1 if nothing is joined.
        shared: (C, C) float64 on the CPU, symmetric: estimated number of persons that two cameras share and whose
            labels are most similar to each other.
        believed: the links made, and those of before.
    """

    identities: Tensor
    estimated_precision: float
    shared: Tensor
    believed: Believed


def associate_calibrated(
    centres: Tensor,
    cameras: Tensor,
    *,
    topology: CameraTopology | None = None,
    must_link: Tensor | None = None,
    cannot_link: Tensor | None = None,
    before: Believed | None = None,
    doubtful: Tensor | None = None,
    share: Share | None = None,
) -> CalibratedAssociation:
    """Join the labels of different cameras by estimated probabilities of being one person.

    The most probable candidates are accepted, as many as give the largest expected F1; a joined identity has at most
    one label from each camera.

    Args:
        centres: (N, D), L2-normalised.
        cameras: (N,) int64, camera of every label, in 0..C-1.
        topology: what is known of the cameras. Impossible pairs are refused; cameras that are said to share persons
            have a share of true pairs of their own.
        must_link, cannot_link: as `associate` takes them.
        before: links that the features have learned from, and look surer for it. In the estimated precision they count
            as when they were first made, and a new link for no more than these on average.
        doubtful: (P, 2) int64, labels of one camera that may be one person: neither is the yardstick for the other.
        share: of several processes that compare the cameras together, each some pairs of them. What is found does not
            depend on their number.

    Raises:
        ValueError: must-links join what a cannot-link keeps apart.
    """
    none = cameras.new_empty(0, 2)
    must, cannot = (none if links is None else links for links in (must_link, cannot_link))
    together = together_by(must, cannot, len(centres))
    candidates, strangers, ratio = _compared(centres, cameras, topology, doubtful, share)
    probability = _probabilities(candidates, strangers, ratio, _groups(candidates, topology))
    chosen = _largest_expected_f1(probability, candidates.height)
    pairs = torch.stack([candidates.first, candidates.second], dim=1)
    accepted = accept_disjoint_components(pairs[chosen], cameras.cpu(), together.cpu(), cannot.cpu())
    joined = torch.cat([accepted, must.cpu()])
    believed = _believed(accepted, _probability_of(accepted, pairs, probability, len(cameras)), before, len(cameras))
    known = torch.cat([believed.probability[: len(accepted)], torch.ones(len(must))])
    identities = components(joined, len(centres))
    shared = torch.zeros(_camera_count(cameras) ** 2, dtype=torch.float64)
    shared.index_add_(0, candidates.between, probability)
    shared = shared.view(_camera_count(cameras), -1)
    precision = estimated_precision(joined, known, len(centres))
    return CalibratedAssociation(identities, precision, shared + shared.T, believed)


def likely_pairs(centres: Tensor, cameras: Tensor) -> tuple[Tensor, Tensor]:
    """The labels of two cameras that are most similar to each other, and the probability that they are one person.

    Args:
        centres: (N, D), L2-normalised.
        cameras: (N,) int64, camera of every label, in 0..C-1.

    Returns:
        (M, 2) int64 and (M,) float64, on the CPU.
    """
    candidates, strangers, ratio = _compared(centres, cameras, None)
    pairs = torch.stack([candidates.first, candidates.second], dim=1)
    return pairs, _probabilities(candidates, strangers, ratio, _groups(candidates, None))


def estimated_precision(joined: Tensor, probability: Tensor, count: int) -> float:
    """Estimated share of the pairs within connected components that are one person; 1 without any.

    Two labels are one person if all links on the way between them are right, each independently: the product of their
    probabilities. Summed over all pairs in one pass from the leaves to the root of every component.

    Args:
        joined: (M, 2) int64 links.
        probability: (M,) of each being right.
        count: number of labels.
    """
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order

    if not len(joined):
        return 1.0
    labels = components(joined, count)
    first, roots = np.unique(labels.numpy(), return_index=True)
    roots = roots[first >= 0]
    ends = torch.cat([joined, torch.stack([torch.full((len(roots),), count), torch.from_numpy(roots)], dim=1)]).numpy()
    weights = torch.cat([probability.double().clamp(min=1e-12), torch.full((len(roots),), 1e-12)]).numpy()
    graph = coo_array((weights, (ends[:, 0], ends[:, 1])), shape=(count + 1, count + 1)).tocsr()
    graph = graph.maximum(graph.T).tocsr()
    order, parents = breadth_first_order(graph, count, directed=False)
    depth = np.zeros(count + 1, dtype=np.int64)
    inner = order[1:]
    link = np.asarray(graph[inner, parents[inner]]).ravel().clip(max=1)
    level = np.array([count])
    levels = []
    while True:
        inside = np.isin(parents[inner], level) & (depth[inner] == 0)
        if not inside.any():
            break
        levels.append(np.flatnonzero(inside))
        depth[inner[inside]] = len(levels)
        level = inner[inside]
    reached = np.ones(count + 1)  # expected number of right labels below each, itself included
    right = 0.0
    for members in levels[:0:-1]:
        arriving = link[members] * reached[inner[members]]
        above = parents[inner[members]]
        total = np.bincount(above, arriving, count + 1)
        right += float((total + (total**2 - np.bincount(above, arriving**2, count + 1)) / 2).sum())
        reached += total
    sizes = torch.bincount(labels[labels >= 0])
    return right / float((sizes * (sizes - 1) // 2).sum())


@dataclass(frozen=True, slots=True)
class _Candidates:
    """M pairs of labels of two cameras that are most similar to each other; on the CPU."""

    first: Tensor  # (M,) int64
    second: Tensor  # (M,) int64
    between: Tensor  # (M,) int64, first's camera times C plus second's
    height: Tensor  # (M,) float64


@dataclass(frozen=True, slots=True)
class _Strangers:
    """S pairs of labels that are most similar to each other once the candidates are taken out; on the CPU.

    A height counts as that of a second best with the probability that the candidate taken out, numbered in ``owners``,
    was false: one for each of the two labels, -1 if none was taken out.
    """

    heights: Tensor  # (S, 2) float64
    owners: Tensor  # (S, 2) int64


def _compared(
    centres: Tensor,
    cameras: Tensor,
    topology: CameraTopology | None,
    doubtful: Tensor | None = None,
    share: Share | None = None,
) -> tuple[_Candidates, _Strangers, float]:
    """Candidates and strangers of all pairs of cameras, and the ratio of strangers' best height to their second.

    Of several processes, each compares some pairs of cameras, and some cameras with themselves.
    """
    count = _camera_count(cameras)
    members = [(cameras == camera).nonzero().squeeze(1) for camera in range(count)]
    maybe = _partners(doubtful, len(cameras))
    compared = [(one, other) for one, other in _camera_pairs(count, topology) if _enough(members[one], members[other])]
    alone = [(camera, camera) for camera in range(count) if len(members[camera]) > _LEAST]
    mine = _mine([len(members[one]) * len(members[other]) for one, other in compared + alone], share)
    nothing = torch.empty(0, 3, dtype=torch.float64), torch.empty(0, 4, dtype=torch.float64)
    pairs, left, best = [nothing[0]] * len(compared), [nothing[1]] * len(compared), [nothing[1]] * len(alone)
    for number, (one, other) in enumerate(compared):
        if mine[number]:
            refused = topology if topology is not None and topology.says_seconds(one, other) else None
            first, second, height, heights, owners = _matched(centres, members[one], members[other], refused, maybe)
            pairs[number] = torch.stack([first.double(), second.double(), height], dim=1)
            left[number] = torch.cat([heights, owners.double()], dim=1)
    for number, (camera, _) in enumerate(alone):
        if mine[len(compared) + number]:
            best[number] = _best_and_second(centres, members[camera], maybe)[None]
    if share is not None:
        pairs, left, best = (share.parts(some) for some in (pairs, left, best))
    sizes = torch.tensor([len(some) for some in pairs], dtype=torch.int64)
    found, heights = torch.cat([nothing[0], *pairs]), torch.cat([nothing[1], *left])
    between = torch.tensor([one * count + other for one, other in compared], dtype=torch.int64).repeat_interleave(sizes)
    before = (sizes.cumsum(0) - sizes).repeat_interleave(torch.tensor([len(some) for some in left], dtype=torch.int64))
    owners = heights[:, 2:].long()
    owners = torch.where(owners >= 0, owners + before[:, None], owners)
    return (
        _Candidates(found[:, 0].long(), found[:, 1].long(), between, found[:, 2]),
        _Strangers(heights[:, :2], owners),
        _best_to_second(sum(best, torch.zeros(1, 4, dtype=torch.float64))[0]),
    )


def _enough(one: Tensor, other: Tensor) -> bool:
    """Whether two cameras have enough labels to be compared."""
    return min(len(one), len(other)) > 0 and max(len(one), len(other)) >= _LEAST


def _mine(costs: list[int], share: Share | None) -> list[bool]:
    """Which pieces of work are this process's: the largest first, each goes to the process that has least to do."""
    if share is None:
        return [True] * len(costs)
    given, mine = [0] * share.processes, [False] * len(costs)
    for number in sorted(range(len(costs)), key=costs.__getitem__, reverse=True):
        process = given.index(min(given))
        given[process] += costs[number]
        mine[number] = process == share.number
    return mine


def _camera_pairs(count: int, topology: CameraTopology | None) -> Iterator[tuple[int, int]]:
    for one in range(count):
        for other in range(one + 1, count):
            if topology is None or topology.shared[one, other] >= 0:
                yield one, other


def _partners(pairs: Tensor | None, count: int) -> Tensor:
    """For each of ``count`` labels, those that it makes a pair with: (count, k) int64 on the CPU, -1 for none."""
    pairs = torch.empty(0, 2, dtype=torch.int64) if pairs is None else pairs.cpu()
    sizes, order, place = in_groups(torch.cat([pairs[:, 0], pairs[:, 1]]), count)
    own, other = torch.cat([pairs, pairs.flip(1)])[order].T
    partners = torch.full((count, int(sizes.max()) if len(pairs) else 0), -1)
    partners[own, place] = other
    return partners


def _matched(
    centres: Tensor, first: Tensor, second: Tensor, topology: CameraTopology | None, maybe: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Candidates of two cameras' labels: first, second, height; and strangers: heights, owners (numbered from 0)."""
    rows, columns = (side.shortened() for side in _most_similar(centres, first, second, topology, maybe))
    i, j = _mutual(rows, columns)
    height = torch.stack([rows.heights()[i], columns.heights()[j]], dim=1).nanmean(1).nan_to_num(0.0)
    pair = first.cpu()[i], second.cpu()[j]
    if min(len(first), len(second)) < _LEAST:
        return *pair, height, height.new_empty(0, 2), i.new_empty(0, 2)
    row_owners, column_owners = (torch.full((len(labels),), -1) for labels in (first, second))
    row_owners[i] = column_owners[j] = torch.arange(len(i))
    rows, columns = rows.without_best(row_owners >= 0), columns.without_best(column_owners >= 0)
    i, j = _mutual(rows, columns)
    owners = torch.stack([row_owners[i], column_owners[j]], dim=1)
    heights = torch.stack([rows.heights()[i], columns.heights()[j]], dim=1)
    left = (owners >= 0).any(1) & ~heights.isnan().any(1)
    return *pair, height, heights[left], owners[left]


def _mutual(rows: "_MostSimilar", columns: "_MostSimilar") -> tuple[Tensor, Tensor]:
    """Labels of two cameras that are most similar to each other: (M,) int64 of either."""
    own, best = torch.arange(len(rows.labels)), rows.labels[:, 0]
    mutual = columns.labels[best, 0] == own
    return own[mutual], best[mutual]


def _best_and_second(centres: Tensor, labels: Tensor, maybe: Tensor) -> Tensor:
    """Heights of a camera's labels among themselves, all strangers: (4,) float64.

    Sum and number of those of the most similar, and of what is left without these.
    """
    _, _, height, heights, _ = _matched(centres, labels, labels, None, maybe)
    left = heights.mean(1)
    each = [float(height.sum()), len(height), float(left.sum()), len(left)]
    return torch.tensor(each, dtype=torch.float64) / 2  # each pair appears twice


def _best_to_second(sums: Tensor) -> float:
    """How much higher the best of strangers stands out than the second best: the ratio of their mean heights.

    Args:
        sums: (4,), `_best_and_second` of all cameras.
    """
    best, number, second, left = sums.tolist()
    if number == 0 or second <= 0:
        return _BEST_TO_SECOND
    ratio = best / number * left / second
    return float((number * ratio + _BEST_TO_SECOND_PAIRS * _BEST_TO_SECOND) / (number + _BEST_TO_SECOND_PAIRS))


@dataclass(frozen=True, slots=True)
class _MostSimilar:
    """For each of n labels, the k most similar ones of another camera, most similar first; on the CPU."""

    similarities: Tensor  # (n, k) float64, -inf for none
    labels: Tensor  # (n, k) int64, numbered within the other camera
    spacing: Tensor  # mean of k (s_k - s_k+1) over all labels and places k >= 2: an exponential tail's scale (Rényi)
    maybe: Tensor  # (m, U) int64, for each label of the other camera those that may be the same person, -1 for none

    def shortened(self) -> "_MostSimilar":
        """Only as many as heights are measured from, also of what is left without the best."""
        enough = _NEXT + 2 * (1 + self.maybe.shape[1])
        return replace(self, similarities=self.similarities[:, :enough], labels=self.labels[:, :enough])

    def heights(self) -> Tensor:
        """How far each label's most similar one stands out from the next ones, in units of their spacing: (n,).

        Each of these weighs half as much as the one before, but the last as much. NaN if the other camera has too few
        labels.
        """
        if self.similarities.shape[1] < _LEAST:
            return self.similarities.new_full((len(self.similarities),), torch.nan)
        following = self.similarities[:, 1:]
        if self.maybe.shape[1]:
            following = self.without_best(torch.ones(len(self.labels), dtype=torch.bool)).similarities
        following = following[:, :_NEXT]
        known = following > -torch.inf
        weights = 0.5 ** torch.arange(1, following.shape[1] + 1, dtype=torch.float64) * known
        weights.scatter_add_(1, known.sum(1, keepdim=True).sub(1).clamp(min=0), 1 - weights.sum(1, keepdim=True))
        below = (following.masked_fill(~known, 0.0) * weights).sum(1)
        return ((self.similarities[:, 0] - below) / self.spacing).masked_fill(~known.any(1), torch.nan)

    def without_best(self, which: Tensor) -> "_MostSimilar":
        """Without the most similar one, and who may be the same person, of some of the labels, (n,) bool."""
        places = torch.arange(self.labels.shape[1])
        if self.maybe.shape[1]:
            same = (self.labels[:, :, None] == self.maybe[self.labels[:, 0]][:, None]).any(2)
            gone = which[:, None] & (same | (places == 0))
            order = gone.to(torch.uint8).argsort(dim=1, stable=True)
        else:  # the first alone, which goes to the end
            gone = which[:, None] & (places == 0)
            order = (places + which[:, None]) % len(places)
        similarities = self.similarities.masked_fill(gone, -torch.inf).gather(1, order)
        return replace(self, similarities=similarities, labels=self.labels.gather(1, order))


def _most_similar(
    centres: Tensor, first: Tensor, second: Tensor, topology: CameraTopology | None, maybe: Tensor
) -> tuple[_MostSimilar, _MostSimilar]:
    """For the labels of two cameras (of one, if they are the same tensor), the most similar ones of the other.

    Rows of the similarities are taken in blocks. A pair that cannot be one person counts as an ordinary stranger; who
    may be the same person is left out where a camera is compared with itself.
    """
    kept = _TAIL + 2 + maybe.shape[1]
    rows = max(1, _BLOCK_ELEMENTS // len(second))
    row_values, row_labels = [], []
    column_values = centres.new_empty(0, len(second))
    column_labels = first.new_empty(0, len(second))
    for start in range(0, len(first), rows):
        labels = first[start : start + rows]
        products = centres[labels] @ centres[second].T
        if topology is not None:
            impossible = topology.impossible(labels[:, None], second[None])
            products = products.masked_fill(impossible, float(products.mean()))
        if first is second:
            own = torch.arange(start, start + len(labels))
            excluded = torch.cat([own[:, None], _within(maybe, second.cpu())[own]], dim=1)
            known = excluded >= 0
            products[(own - start)[:, None].expand_as(known)[known], excluded[known]] = -1.0
        values, found = products.topk(min(kept, len(second)), dim=1)
        row_values.append(values)
        row_labels.append(found)
        values, found = products.topk(min(kept, len(labels)), dim=0)
        column_values = torch.cat([column_values, values])
        column_labels = torch.cat([column_labels, found + start])
        if len(column_values) > min(kept, len(first)):
            column_values, places = column_values.topk(min(kept, len(first)), dim=0)
            column_labels = column_labels.gather(0, places)
    along_rows = _listed(torch.cat(row_values), torch.cat(row_labels), maybe, second)
    return along_rows, _listed(column_values.T, column_labels.T, maybe, first)


def _listed(similarities: Tensor, labels: Tensor, maybe: Tensor, others: Tensor) -> _MostSimilar:
    """What was found (n, k) among a camera's labels ``others`` (m,); ``maybe`` as `_partners` gives it."""
    similarities = similarities.double().cpu()
    return _MostSimilar(similarities, labels.cpu(), _spacing(similarities), _within(maybe, others.cpu()))


def _spacing(similarities: Tensor) -> Tensor:
    tail = similarities[:, : _TAIL + 2]
    gaps = tail[:, 1:-1] - tail[:, 2:]
    places = torch.arange(2, max(2, tail.shape[1]), dtype=torch.float64)
    return (gaps * places).mean().clamp(min=1e-12)


def _within(maybe: Tensor, members: Tensor) -> Tensor:
    """The partners (N, U) of a camera's labels (m,), ascending, numbered within the camera: (m, U)."""
    partners = maybe[members]
    return torch.where(partners >= 0, torch.searchsorted(members, partners), -1)


def _probabilities(candidates: _Candidates, strangers: _Strangers, ratio: float, groups: Tensor) -> Tensor:
    """Estimated probability of each candidate being one person: (M,) float64.

    Expectation maximisation from the cautious side: at first every candidate counts as false, so that what is left
    without it counts as strangers' second best.
    """
    probability = torch.zeros(len(candidates.height), dtype=torch.float64)
    if not len(candidates.height) or not len(strangers.heights):
        return probability
    both = torch.tensor([[1.0, 1.0], [1.0, ratio], [ratio, 1.0], [ratio, ratio]], dtype=torch.float64)
    heights = (strangers.heights @ both.T / 2).T.reshape(-1)  # each pair as best or second best of either label
    for _ in range(_ROUNDS):
        true = torch.where(strangers.owners >= 0, probability[strangers.owners], 1.0)
        weights = torch.cat([true[:, 0] * true[:, 1], true[:, 0] * (1 - true[:, 1])])
        weights = torch.cat([weights, (1 - true[:, 0]) * true[:, 1], (1 - true[:, 0]) * (1 - true[:, 1])])
        before, probability = probability, _posterior(candidates, heights, weights, groups)
        if (probability - before).abs().max() < _SETTLED:
            break
    return probability


def _posterior(candidates: _Candidates, heights: Tensor, weights: Tensor, groups: Tensor) -> Tensor:
    """P(true | height) = pi r / (pi r + 1 - pi), r(h) = sum over tilts t of w_t exp(t h) / E[exp(t h)] over strangers.

    Heights are in standard deviations of the weighted strangers'. The weights w of the tilts and the share pi of true
    pairs, each camera pair's own and drawn towards that of its group, are found by expectation maximisation.
    """
    mean = (weights @ heights) / weights.sum()
    deviation = ((weights @ (heights - mean) ** 2) / weights.sum()).sqrt().clamp(min=1e-12)
    middles, of_stranger, of_candidate = _bins((heights - mean) / deviation, (candidates.height - mean) / deviation)
    shares = torch.zeros_like(middles).index_add_(0, of_stranger, weights) / weights.sum()
    tilted = torch.outer(middles, torch.tensor(_TILTS, dtype=torch.float64))
    tilted = tilted - torch.logsumexp(tilted + shares.log()[:, None], 0)
    pairs, of_pair = candidates.between.unique(return_inverse=True)
    number = torch.bincount(of_pair, minlength=len(pairs)).double()
    group = groups.new_empty(len(pairs)).scatter_(0, of_pair, groups)
    size = torch.zeros(int(groups.max()) + 1, dtype=torch.float64).index_add_(0, group, number)
    share = torch.full((len(pairs),), _FIRST_SHARE, dtype=torch.float64)
    of_tilts = torch.full((len(_TILTS),), 1 / len(_TILTS), dtype=torch.float64)
    for _ in range(_SHARE_ROUNDS):
        log_ratios = tilted + of_tilts.clamp(min=1e-12).log()
        probability = (share.logit(1e-9)[of_pair] + log_ratios.logsumexp(1)[of_candidate]).sigmoid()
        true = torch.zeros_like(number).index_add_(0, of_pair, probability)
        common = torch.zeros_like(size).index_add_(0, group, true) / size.clamp(min=1)
        before, share = share, (true + _SHARE_PAIRS * common[group]) / (number + _SHARE_PAIRS)
        at_height = torch.zeros_like(middles).index_add_(0, of_candidate, probability)
        of_tilts = (at_height @ log_ratios.softmax(1)) / probability.sum().clamp(min=1e-12)
        if (share - before).abs().max() < _SETTLED / 10:
            break
    return probability


def _bins(*heights: Tensor) -> tuple[Tensor, ...]:
    """Middles of the bins, of equal width, that hold a height, and the bin of every height.

    What depends on the height alone then costs little.
    """
    low = min(float(some.min()) for some in heights)
    width = max(max(float(some.max()) for some in heights) - low, 1e-12) / _BINS
    bins = [((some - low) / width).long().clamp(max=_BINS - 1) for some in heights]
    held = torch.zeros(_BINS, dtype=torch.bool)
    for some in bins:
        held[some] = True
    number = held.cumsum(0) - 1
    return low + width * (held.nonzero().squeeze(1).double() + 0.5), *(number[some] for some in bins)


def _groups(candidates: _Candidates, topology: CameraTopology | None) -> Tensor:
    """(M,) int64: 1 for candidates of cameras that are said to share persons, 0 for the rest."""
    if topology is None:
        return torch.zeros_like(candidates.between)
    return (topology.shared.flatten()[candidates.between] > 0).long()


def _largest_expected_f1(probability: Tensor, height: Tensor) -> Tensor:
    """The k most probable pairs, most probable first, with the largest expected F1, 2 sum_k p / (k + sum p).

    Improbable pairs are left out even if nothing better is to be had.
    """
    order = height.argsort(descending=True, stable=True)
    order = order[probability[order].argsort(descending=True, stable=True)]
    right, number = probability[order].cumsum(0), torch.arange(1, len(order) + 1)
    if not len(order) or right[-1] <= 0:
        return order[:0]
    best = int((2 * right / (number + right[-1])).argmax()) + 1
    return order[: min(best, int((probability >= _LEAST_PROBABILITY).sum()))]


def _probability_of(accepted: Tensor, pairs: Tensor, probability: Tensor, count: int) -> Tensor:
    """The probabilities of the pairs (M, 2) that are in ``accepted`` (A, 2): (A,)."""
    numbers, order = (pairs[:, 0] * count + pairs[:, 1]).sort()
    return probability[order[torch.searchsorted(numbers, accepted[:, 0] * count + accepted[:, 1])]]


def _believed(links: Tensor, probability: Tensor, before: Believed | None, count: int) -> Believed:
    """The links (A, 2), believed as before if they were made before, followed by the others of before."""
    if before is None or not len(before.links):
        return Believed(links, probability)
    now, then = links[:, 0] * count + links[:, 1], before.links[:, 0] * count + before.links[:, 1]
    then, order = then.sort()
    old = before.probability[order]
    place = torch.searchsorted(then, now).clamp(max=len(then) - 1)
    probability = torch.where(then[place] == now, old[place], probability.minimum(old.mean()))
    gone = ~torch.isin(then, now)
    return Believed(torch.cat([links, before.links[order][gone]]), torch.cat([probability, old[gone]]))


def _camera_count(cameras: Tensor) -> int:
    return int(cameras.max()) + 1 if len(cameras) else 0
