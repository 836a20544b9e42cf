"""Which labels of different cameras cannot be one person, from what is known of the cameras. Not in the paper.

Exact, on the times of single images: a label may be one person on several visits, with hours in between, so that the
time from its first image to its last says little.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

_SEARCHES = 1 << 22  # of images among another label's times, held at once: some hundred MiB


@dataclass(frozen=True, slots=True, eq=False)
class Sightings:
    """When each of N labels was seen: T images with a time.

    Attributes:
        times: (T,) float64, by label, ascending within each.
        keys: (T,) int64, ascending: the label times ``distinct``, plus the time's place among all different times.
        distinct: how many different times there are.
        bounds: (N + 1,) int64: the times of label a are ``times[bounds[a] : bounds[a + 1]]``.
        intervals: (N, 2) float64, first and last time; NaN for a label without any.
        complete: (N,) bool, whether all images of a label have a time.
    """

    times: Tensor
    keys: Tensor
    distinct: int
    bounds: Tensor
    intervals: Tensor
    complete: Tensor


def sightings(times: Tensor, labels: Tensor, count: int) -> Sightings:
    """Arrange the times of n images by label.

    Args:
        times: (n,) float64, seconds from anywhere; NaN where unknown.
        labels: (n,) int64 in 0..count-1.
        count: N, the number of labels.
    """
    known = ~times.isnan()
    complete = torch.bincount(labels, minlength=count) == torch.bincount(labels[known], minlength=count)
    times, labels = times[known], labels[known]
    distinct, ranks = times.unique(return_inverse=True)
    keys, order = (labels * len(distinct) + ranks).sort()
    times = times[order]
    bounds = torch.searchsorted(labels[order], torch.arange(count + 1, device=labels.device))
    intervals = times.new_full((count, 2), torch.nan)
    seen = bounds[:-1] < bounds[1:]
    intervals[seen] = torch.stack([times[bounds[:-1][seen]], times[bounds[1:][seen] - 1]], dim=1)
    return Sightings(times, keys, len(distinct), bounds, intervals, complete)


def nearest_gaps(seen: Sightings, first: Tensor, second: Tensor) -> Tensor:
    """Seconds between the two images of two labels that are nearest in time: min |t_a - t_b| over a's and b's images.

    Args:
        seen: times of N labels.
        first, second: int64 in 0..N-1, of shapes that broadcast: (R, 1) and (1, K) give all pairs of R and K labels.

    Returns:
        float64 of the broadcast shape; NaN where a label has no time.

    If the labels' intervals do not overlap, it is the gap between them. Only for those that do, every time of one label
    is searched among the other's.
    """
    (begin_a, end_a), (begin_b, end_b) = seen.intervals[first].unbind(-1), seen.intervals[second].unbind(-1)
    gaps = torch.maximum(begin_b - end_a, begin_a - end_b)
    overlapping = gaps < 0
    if overlapping.any():
        gaps[overlapping] = _searched(seen, first.expand_as(gaps)[overlapping], second.expand_as(gaps)[overlapping])
    return gaps


def _searched(seen: Sightings, first: Tensor, second: Tensor) -> Tensor:
    """`nearest_gaps` of pairs (M,), (M,) whose labels all have times."""
    counts = seen.bounds.diff()
    swapped = counts[first] > counts[second]
    fewer, more = torch.where(swapped, second, first), torch.where(swapped, first, second)
    held = max(1, _SEARCHES // int(counts[fewer].max()))
    gaps = []
    for some, others in zip(fewer.split(held), more.split(held), strict=True):
        lengths = counts[some]
        pair = torch.arange(len(some), device=some.device).repeat_interleave(lengths)
        image = torch.arange(len(pair), device=some.device) + (seen.bounds[some] - lengths.cumsum(0) + lengths)[pair]
        other = others[pair]
        after = torch.searchsorted(seen.keys, seen.keys[image] + (others - some)[pair] * seen.distinct)
        before = (after - 1).maximum(seen.bounds[other])
        after = after.minimum(seen.bounds[other + 1] - 1)
        time = seen.times[image]
        gap = (seen.times[after] - time).abs().minimum((seen.times[before] - time).abs())
        gaps.append(gap.new_full((len(some),), torch.inf).scatter_reduce_(0, pair, gap, "amin"))
    return torch.cat(gaps)


@dataclass(frozen=True, slots=True, eq=False)
class CameraTopology:
    """What is known of C cameras, and of when their N labels were seen.

    Attributes:
        cameras: (N,) int64 in 0..C-1, the camera of each label.
        shared: (C, C) int8, symmetric: 1 if two cameras share persons, -1 if never, 0 if unknown.
        least: (C, C) float64, symmetric: the least seconds from one camera to the other, 0 if unknown.
        most: (C, C) float64, symmetric: the most, inf if unknown.
        seen: when the labels were seen; None if unknown, and then ``least`` and ``most`` have no effect.
    """

    cameras: Tensor
    shared: Tensor
    least: Tensor
    most: Tensor
    seen: Sightings | None = None

    def says_seconds(self, one: int, other: int) -> bool:
        """Whether times can make pairs of labels of two cameras impossible."""
        if self.seen is None:
            return False
        return bool(self.least[one, other] > 0 or self.most[one, other].isfinite())

    def grouped(self, groups: Tensor, first: Tensor) -> "CameraTopology":
        """The same of G groups of labels, each of one camera.

        Args:
            groups: (N,) int64 in 0..G-1.
            first: (G,) int64, a label of each group.
        """
        seen = self.seen
        if seen is not None:
            labels = groups.repeat_interleave(seen.bounds.diff())
            together = sightings(seen.times, labels, len(first))
            complete = together.complete.clone().index_put_((groups[~seen.complete],), torch.tensor(False))
            seen = replace(together, complete=complete)
        return replace(self, cameras=self.cameras[first], seen=seen)

    def impossible(self, first: Tensor, second: Tensor) -> Tensor:
        """Which pairs of labels cannot be one person.

        A pair is impossible if its cameras never share a person; if any image of one and any of the other are less
        than the least seconds apart, since a person cannot have been at both; or if each image of one and each of the
        other are more than the most seconds apart. The last needs the times of all images of both labels; otherwise
        images without a time count for nothing.

        Args:
            first, second: int64 in 0..N-1, on any device, of shapes that broadcast, such as (M,) and (M,), or (R, 1)
                and (1, K).

        Returns:
            bool of the broadcast shape, on the device of ``first``.
        """
        device, here = first.device, self.cameras.device
        first, second = first.to(here), second.to(here)
        between = self.cameras[first], self.cameras[second]
        found = self.shared[between] < 0
        if self.seen is not None:
            least, most = self.least[between], self.most[between]
            gaps = nearest_gaps(self.seen, first, second)
            complete = self.seen.complete[first] & self.seen.complete[second]
            found |= (gaps < least) | (complete & (gaps > most))
        return found.to(device)
