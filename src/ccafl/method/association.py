"""Cross-camera association: which accumulated identities are one person.

The nearest pairs of identity centres from different cameras are looked at, nearest first; an accepted pair joins its
two identities, and connected components are the associated identities.
"""

import torch
import torch.nn.functional as F
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

_BLOCK_ELEMENTS = 1 << 24  # of the distance matrix held at a time: 64 MiB in float32
_FIRST_BLOCK_ELEMENTS = 1 << 20  # as long as it is not known how near the nearest pairs are, and all must be sorted


def identity_centres(features: Tensor, identities: Tensor, count: int) -> Tensor:
    """Mean feature of every identity, L2-normalised: (n, D) and (n,) in 0..count-1 -> (count, D).

    An identity without an image gets zeros; identities below 0 are left out.
    """
    known = identities >= 0
    sums = features.new_zeros(count, features.shape[1]).index_add_(0, identities[known], features[known])
    return F.normalize(sums)  # the mean's direction is the sum's


def centred_by_camera(features: Tensor, cameras: Tensor) -> Tensor:
    """Take each camera's mean feature away, then L2-normalise: what all pictures of a camera share tells no person.

    Not in the paper. At small scale it is what makes the first association right (docs/results.md).

    Args:
        features: (n, D).
        cameras: (n,) int64, in 0..C-1.
    """
    counts = torch.bincount(cameras).clamp(min=1).to(features.dtype)
    sums = features.new_zeros(len(counts), features.shape[1]).index_add_(0, cameras, features)
    return F.normalize(features - (sums / counts[:, None])[cameras])


def associate(centres: Tensor, cameras: Tensor, rate: float, *, one_camera_once: bool = False) -> Tensor:
    """Join the accumulated identities of different cameras.

    The floor(rate N) pairs from different cameras with the least squared Euclidean distance are looked at, nearest
    first, refused ones included. A pair (a, b) is accepted only if a has no accepted partner in b's camera and b none
    in a's. Connected components of the accepted pairs are the associated identities.

    Args:
        centres: (N, D), L2-normalised.
        cameras: (N,) int64, camera of every accumulated identity, in 0..C-1.
        rate: pairs looked at, per accumulated identity.
        one_camera_once: refuse also what would put a camera into a component twice by a chain (not in the paper,
            whose authors' code refuses direct conflicts only).

    Returns:
        (N,) int64: associated identity from 0, numbered by first member; -1 for those left alone.

    Source: paper, section III (cross-camera association), authors' code. Memory is linear in N; exact.
    """
    pairs = nearest_cross_camera_pairs(centres, cameras, int(rate * len(centres)))
    if one_camera_once:
        accepted = _accept_disjoint_components(pairs, cameras)
    else:
        accepted = _accept_without_direct_conflict(pairs, cameras)
    return _components(accepted, len(centres)).to(centres.device)


def nearest_cross_camera_pairs(centres: Tensor, cameras: Tensor, count: int) -> Tensor:
    """The ``count`` nearest pairs of different cameras, nearest first: (at most count, 2) int64, each a < b.

    For L2-normalised centres the largest product is the least distance. Blocks of rows are read one after the other;
    of each, only what can still be among the nearest is looked at further.
    """
    best_products, best_pairs = centres.new_empty(0), cameras.new_empty(0, 2)
    start, elements, least = 0, _FIRST_BLOCK_ELEMENTS, centres.new_tensor(-torch.inf)
    while start < len(centres):
        stop = start + max(1, elements // (len(centres) - start))
        products = centres[start:stop] @ centres[start:].T
        first, second = (products >= least).nonzero().T
        products, pairs = products[first, second], torch.stack([first, second], dim=1) + start
        allowed = (first < second) & (cameras[pairs[:, 0]] != cameras[pairs[:, 1]])
        best_products = torch.cat([best_products, products[allowed]])
        best_pairs = torch.cat([best_pairs, pairs[allowed]])
        best_products, order = best_products.sort(descending=True, stable=True)
        best_products, best_pairs = best_products[:count], best_pairs[order[:count]]
        if len(best_products) == count > 0:
            least, elements = best_products[-1], min(2 * elements, _BLOCK_ELEMENTS)
        start = stop
    return best_pairs


def _accept_without_direct_conflict(pairs: Tensor, cameras: Tensor) -> Tensor:
    """Accepted pairs (M, 2): each takes the place (a, camera of b) and (b, camera of a), if both are free."""
    camera_count = int(cameras.max()) + 1 if len(cameras) else 0
    names, places = (pairs * camera_count + cameras[pairs.flip(1)]).unique(return_inverse=True)
    accepted = torch.zeros(len(pairs), dtype=torch.bool, device=pairs.device)
    open_pairs = torch.arange(len(pairs), device=pairs.device)
    taken = torch.zeros(len(names), dtype=torch.bool, device=pairs.device)
    while len(open_pairs):
        chosen = open_pairs[_first_claims(places[open_pairs], len(taken))]
        accepted[chosen] = True
        taken[places[chosen].flatten()] = True
        open_pairs = open_pairs[~taken[places[open_pairs]].any(1)]
    return pairs[accepted]


def _accept_disjoint_components(pairs: Tensor, cameras: Tensor) -> Tensor:
    """Accepted pairs (M, 2): each joins two components that share no camera."""
    count = len(cameras)
    component = torch.arange(count, device=pairs.device)
    camera_count = int(cameras.max()) + 1 if count else 0
    seen_by = torch.zeros(count, camera_count, dtype=torch.bool, device=pairs.device)
    seen_by[component, cameras] = True
    accepted = []
    while len(pairs):
        ends = component[pairs]
        pairs, ends = (kept[~(seen_by[ends[:, 0]] & seen_by[ends[:, 1]]).any(1)] for kept in (pairs, ends))
        first = _first_claims(ends, count)
        accepted.append(pairs[first])
        into, gone = ends[first].T
        seen_by[into] |= seen_by[gone]
        renamed = torch.arange(count, device=pairs.device)
        renamed[gone] = into
        component = renamed[component]
        pairs = pairs[~first]
    return torch.cat([pairs, *accepted])


def _first_claims(claims: Tensor, count: int) -> Tensor:
    """Which rows come first for both of the things they claim: (M, 2) in 0..count-1 -> (M,) bool.

    Such a row has no earlier rival, so what a greedy pass in order would decide of it is decided already; taking all
    of them at once, again and again, gives the greedy pass's result in a few rounds.
    """
    order = torch.arange(len(claims), device=claims.device)
    first = torch.full((count,), len(claims), device=claims.device)
    first.scatter_reduce_(0, claims.flatten(), order.repeat_interleave(2), "amin")
    return (first[claims] == order[:, None]).all(1)


def _components(pairs: Tensor, count: int) -> Tensor:
    """Connected components of the graph: (M, 2) -> (count,) int64 on the CPU, -1 for a node without a pair."""
    first, second = pairs.cpu().numpy().T
    graph = coo_array((torch.ones(len(pairs)).numpy(), (first, second)), shape=(count, count))
    component = torch.from_numpy(connected_components(graph, directed=False)[1]).long()
    joined = torch.zeros(count, dtype=torch.bool)
    joined[pairs.cpu().flatten()] = True
    labels = torch.full((count,), -1)
    # Components come numbered by their first node, so the numbers of those that hold a pair stay in that order.
    labels[joined] = component[joined].unique(return_inverse=True)[1]
    return labels
