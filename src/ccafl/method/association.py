"""Cross-camera association: which accumulated identities are one person.

The nearest pairs of identity centres from different cameras are considered, nearest first. An accepted pair joins its
two identities; the connected components are the associated identities.
"""

import torch
import torch.nn.functional as F
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ccafl.method.share import Share
from ccafl.method.topology import CameraTopology

_BLOCK_ELEMENTS = 1 << 24  # of the distance matrix, held at a time: 64 MiB in float32
_FIRST_BLOCK_ELEMENTS = 1 << 20  # while no bound on the distance is known yet and every pair must be sorted


def identity_centres(features: Tensor, identities: Tensor, count: int) -> Tensor:
    """Mean feature of every identity, L2-normalised: (n, D) and (n,) in 0..count-1 -> (count, D).

    An identity without images gets zeros; images with an identity below 0 are ignored.
    """
    known = identities >= 0
    sums = features.new_zeros(count, features.shape[1]).index_add_(0, identities[known], features[known])
    return F.normalize(sums)  # the sum has the mean's direction


def centre_by_camera(features: Tensor, cameras: Tensor) -> Tensor:
    """Subtract each camera's mean feature, then L2-normalise: what a camera's images all share identifies no person.

    Not in the paper. At small scale the first association needs it (docs/results.md).

    Args:
        features: (n, D).
        cameras: (n,) int64, in 0..C-1.
    """
    counts = torch.bincount(cameras).clamp(min=1).to(features.dtype)
    sums = features.new_zeros(len(counts), features.shape[1]).index_add_(0, cameras, features)
    return F.normalize(features - (sums / counts[:, None])[cameras])


def associate_features(
    features: Tensor,
    identities: Tensor,
    identity_cameras: Tensor,
    rate: float,
    *,
    centred_by_camera: bool = False,
    one_camera_once: bool = False,
    topology: CameraTopology | None = None,
    must_link: Tensor | None = None,
    cannot_link: Tensor | None = None,
    share: Share | None = None,
) -> Tensor:
    """`associate` from the features of all images.

    Args:
        features: (n, D), L2-normalised.
        identities: (n,) int64 in 0..N-1, accumulated identity of every image.
        identity_cameras: (N,) int64 in 0..C-1.
        centred_by_camera: subtract each camera's mean feature first, see `centre_by_camera`.
        rate, one_camera_once, topology, must_link, cannot_link, share: as `associate` takes them.

    Returns:
        (N,) int64, as `associate`.
    """
    if centred_by_camera:
        features = centre_by_camera(features, identity_cameras[identities])
    centres = identity_centres(features, identities, len(identity_cameras))
    return associate(
        centres,
        identity_cameras,
        rate,
        one_camera_once=one_camera_once,
        topology=topology,
        must_link=must_link,
        cannot_link=cannot_link,
        share=share,
    )


def associate(
    centres: Tensor,
    cameras: Tensor,
    rate: float,
    *,
    one_camera_once: bool = False,
    topology: CameraTopology | None = None,
    must_link: Tensor | None = None,
    cannot_link: Tensor | None = None,
    share: Share | None = None,
) -> Tensor:
    """Join the accumulated identities of different cameras.

    The floor(rate N) pairs from different cameras with the smallest squared Euclidean distance are considered, nearest
    first; refused pairs count, too. A pair (a, b) is accepted only if a has no accepted partner in b's camera and b
    none in a's. The connected components of the accepted pairs are the associated identities.

    Args:
        centres: (N, D), L2-normalised.
        cameras: (N,) int64, camera of every accumulated identity, in 0..C-1.
        rate: number of pairs considered per accumulated identity.
        one_camera_once: also refuse a pair that would bring two identities of one camera into a component through a
            chain (not in the paper; the authors' code refuses direct conflicts only).
        topology: what is known of the cameras (not in the paper): impossible pairs are refused.
        must_link: (M, 2) int64, pairs of identities known to be one person (not in the paper). They are accepted before
            all others, regardless of the rate and of their cameras.
        cannot_link: (M, 2) int64, pairs known to be two persons (not in the paper). A pair that would join them,
            directly or through a chain, is refused.
        share: of several processes that look for the nearest pairs together.

    Returns:
        (N,) int64: associated identity, numbered from 0 by first member; -1 for identities left alone.

    Raises:
        ValueError: must-links join what a cannot-link keeps apart.

    Source: paper, section III (cross-camera association), authors' code. Exact; memory is linear in N.
    """
    none = cameras.new_empty(0, 2)
    must, cannot = (none if links is None else links for links in (must_link, cannot_link))
    together = together_by(must, cannot, len(centres))
    pairs = nearest_cross_camera_pairs(centres, cameras, int(rate * len(centres)), share)
    if topology is not None:
        pairs = pairs[~topology.impossible(pairs[:, 0], pairs[:, 1])]
    if one_camera_once:
        accepted = accept_disjoint_components(pairs, cameras, together, cannot)
    elif len(cannot):
        accepted = _accept_respecting_cannot_links(pairs, cameras, must, together, cannot)
    else:
        accepted = _accept_without_direct_conflict(pairs, cameras, must)
    return components(torch.cat([must, accepted]), len(centres)).to(centres.device)


def together_by(must: Tensor, cannot: Tensor, count: int) -> Tensor:
    """Component of every label that must-links (M, 2) give: (count,) int64.

    Raises:
        ValueError: they join what a cannot-link (L, 2) keeps apart.
    """
    together = _connected(must, count) if len(must) else torch.arange(count, device=must.device)
    if len(cannot) and (together[cannot[:, 0]] == together[cannot[:, 1]]).any():
        raise ValueError("must-links join what a cannot-link keeps apart")
    return together


def nearest_cross_camera_pairs(centres: Tensor, cameras: Tensor, count: int, share: Share | None = None) -> Tensor:
    """The ``count`` nearest pairs from different cameras, nearest first: (at most count, 2) int64, each a < b.

    For L2-normalised centres the largest product is the smallest distance. Rows are processed in blocks; of each block,
    only pairs that can still be among the nearest are kept. Of P processes, each takes every P-th row.
    """
    start, step = (0, 1) if share is None else (share.number, share.processes)
    best_products, best_pairs = centres.new_empty(0), cameras.new_empty(0, 2)
    elements, least = _FIRST_BLOCK_ELEMENTS, centres.new_tensor(-torch.inf)
    while start < len(centres):
        stop = start + step * max(1, elements // (len(centres) - start))
        products = centres[start:stop:step] @ centres[start:].T
        first, second = (products >= least).nonzero().T
        products, pairs = products[first, second], torch.stack([first * step, second], dim=1) + start
        allowed = (pairs[:, 0] < pairs[:, 1]) & (cameras[pairs[:, 0]] != cameras[pairs[:, 1]])
        best_products = torch.cat([best_products, products[allowed]])
        best_pairs = torch.cat([best_pairs, pairs[allowed]])
        best_products, order = best_products.sort(descending=True, stable=True)
        best_products, best_pairs = best_products[:count], best_pairs[order[:count]]
        if len(best_products) == count > 0:
            least, elements = best_products[-1], min(2 * elements, _BLOCK_ELEMENTS)
        start = stop
    return best_pairs if share is None else _nearest_of_all(best_products, best_pairs, count, share)


def _nearest_of_all(products: Tensor, pairs: Tensor, count: int, share: Share) -> Tensor:
    """The nearest of the pairs that the processes found, in the order that one process alone finds them in."""
    missing = count - len(pairs)  # the processes' tensors must have one shape
    products = share.gathered(F.pad(products, (0, missing), value=-torch.inf))
    pairs = share.gathered(F.pad(pairs, (0, 0, 0, missing)))
    found = products > -torch.inf
    products, pairs = products[found], pairs[found]
    for end in (1, 0):  # equally near ones by their numbers
        order = pairs[:, end].argsort(stable=True)
        products, pairs = products[order], pairs[order]
    return pairs[products.argsort(descending=True, stable=True)[:count]]


def _accept_without_direct_conflict(pairs: Tensor, cameras: Tensor, must: Tensor) -> Tensor:
    """Accepted pairs (M, 2): each takes the places (a, camera of b) and (b, camera of a) if both are free.

    The places of ``must`` are taken beforehand.
    """
    places, taken = _places(pairs, cameras, must)
    accepted = torch.zeros(len(pairs), dtype=torch.bool, device=pairs.device)
    open_pairs = (~taken[places].any(1)).nonzero().squeeze(1)
    while len(open_pairs):
        chosen = open_pairs[first_claims(places[open_pairs], len(taken)).all(1)]
        accepted[chosen] = True
        taken[places[chosen].flatten()] = True
        open_pairs = open_pairs[~taken[places[open_pairs]].any(1)]
    return pairs[accepted]


def _accept_respecting_cannot_links(
    pairs: Tensor, cameras: Tensor, must: Tensor, component: Tensor, cannot: Tensor
) -> Tensor:
    """As `_accept_without_direct_conflict`, but also refuse pairs that join components with a cannot-link between them.

    A component without a cannot-link may be joined to any other. A pair that comes first for its places and for such a
    component can therefore be decided at once, whatever happens to its other component, and large components grow by
    many pairs in a round. A pair within one component joins nothing and needs only its places.
    """
    count = len(cameras)
    places, taken = _places(pairs, cameras, must)
    accepted = []
    while len(pairs):
        ends, apart = component[pairs], component[cannot]
        possible = ~(taken[places].any(1) | _among(ends, apart, count))
        pairs, places, ends = pairs[possible], places[possible], ends[possible]
        restrained = torch.zeros(count, dtype=torch.bool, device=pairs.device)
        restrained[apart] = True
        within = ends[:, 0] == ends[:, 1]
        first = first_claims(ends.masked_fill(within[:, None], count), count + 1)
        known = within | first.all(1) | (first & ~restrained[ends]).any(1)
        known &= first_claims(places, len(taken)).all(1)
        accepted.append(pairs[known])
        taken[places[known].flatten()] = True
        component = _connected(ends[known], count)[component]
        pairs, places = pairs[~known], places[~known]
    return torch.cat([pairs, *accepted])


def accept_disjoint_components(pairs: Tensor, cameras: Tensor, component: Tensor, cannot: Tensor) -> Tensor:
    """Accepted pairs (M, 2): each joins two components that share no camera and have no cannot-link between them."""
    count = len(cameras)
    camera_count = int(cameras.max()) + 1 if count else 0
    seen_by = torch.zeros(count, camera_count, dtype=torch.bool, device=pairs.device)
    seen_by[component, cameras] = True
    accepted = []
    while len(pairs):
        ends = component[pairs]
        refused = (seen_by[ends[:, 0]] & seen_by[ends[:, 1]]).any(1)
        if len(cannot):
            refused |= _among(ends, component[cannot], count)
        pairs, ends = pairs[~refused], ends[~refused]
        first = first_claims(ends, count).all(1)
        accepted.append(pairs[first])
        into, gone = ends[first].T
        seen_by[into] |= seen_by[gone]
        renamed = torch.arange(count, device=pairs.device)
        renamed[gone] = into
        component = renamed[component]
        pairs = pairs[~first]
    return torch.cat([pairs, *accepted])


def _places(pairs: Tensor, cameras: Tensor, must: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers (M, 2) of the places that pairs (a, b) claim, (a, camera of b) and (b, camera of a), and which of all
    numbered places ``must`` has taken.
    """
    camera_count = int(cameras.max()) + 1 if len(cameras) else 0
    both = torch.cat([must, pairs])
    names, places = (both * camera_count + cameras[both.flip(1)]).unique(return_inverse=True)
    taken = torch.zeros(len(names), dtype=torch.bool, device=pairs.device)
    taken[places[: len(must)].flatten()] = True
    return places[len(must) :], taken


def first_claims(claims: Tensor, count: int) -> Tensor:
    """Whether a row is the first to claim each of its two numbers: (M, 2) in 0..count-1 -> (M, 2) bool.

    A row that is first for both has no earlier rival, so a greedy pass in order would decide it just as now. Deciding
    all such rows at once, round after round, gives the greedy pass's result in a few rounds.
    """
    order = torch.arange(len(claims), device=claims.device)
    first = torch.full((count,), len(claims), device=claims.device)
    first.scatter_reduce_(0, claims.flatten(), order.repeat_interleave(2), "amin")
    return first[claims] == order[:, None]


def by_first_member(values: Tensor) -> tuple[Tensor, Tensor]:
    """Groups of equal values, numbered by first member: (N,) -> each one's group (N,), each group's first (G,)."""
    groups = values.unique(return_inverse=True)[1]
    count = int(groups.max()) + 1 if len(groups) else 0
    own = torch.arange(len(values), device=values.device)
    first = own.new_full((count,), len(values)).scatter_reduce_(0, groups, own, "amin")
    first, order = first.sort()
    number = torch.empty_like(order)
    number[order] = torch.arange(count, device=values.device)
    return number[groups], first


def in_groups(groups: Tensor, count: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Images sorted by group, (n,) int64, in the order given within each.

    Returns:
        number of images of each group (N,), N at least ``count``; the order that sorts them (n,); and, in it, the
        place of each within its group (n,).
    """
    sizes, order = torch.bincount(groups, minlength=count), groups.argsort(stable=True)
    return sizes, order, torch.arange(len(order)) - (sizes.cumsum(0) - sizes)[groups[order]]


def with_following(following: Tensor) -> Tensor:
    """Pair each of n places with so many that follow it, (n,): (2, M) int64."""
    first = torch.arange(len(following)).repeat_interleave(following)
    before = (following.cumsum(0) - following).repeat_interleave(following)
    return torch.stack([first, first + 1 + torch.arange(len(first)) - before])


def of_members(joined: Tensor, groups: Tensor) -> Tensor:
    """The joined identities of N labels from those of G groups of them, numbered from 0 by first member.

    Args:
        joined: (G,) int64, -1 for a group left alone.
        groups: (N,) int64 in 0..G-1, the group of every label; one of several labels is an identity even if left alone.

    Returns:
        (N,) int64, -1 for a label left alone.
    """
    person = torch.where(joined < 0, torch.arange(len(joined)) + len(joined), joined)[groups]
    together = (joined[groups] >= 0) | (groups.bincount()[groups] > 1)
    found = torch.full_like(groups, -1)
    found[together] = by_first_member(person[together])[0]
    return found


def _among(pairs: Tensor, others: Tensor, count: int) -> Tensor:
    """Which of the pairs (M, 2) are among ``others`` (L, 2), in either order; all in 0..count-1: (M,) bool."""
    numbers, other_numbers = (ends.amin(1) * count + ends.amax(1) for ends in (pairs, others))
    return torch.isin(numbers, other_numbers)


def _connected(pairs: Tensor, count: int) -> Tensor:
    """Connected component of every node of the graph, numbered by first member: (M, 2) -> (count,) int64."""
    first, second = pairs.cpu().numpy().T
    graph = coo_array((torch.ones(len(pairs)).numpy(), (first, second)), shape=(count, count))
    return torch.from_numpy(connected_components(graph, directed=False)[1]).long().to(pairs.device)


def components(pairs: Tensor, count: int) -> Tensor:
    """Connected components of the graph: (M, 2) -> (count,) int64 on the CPU, -1 for a node without a pair."""
    component = _connected(pairs.cpu(), count)
    joined = torch.zeros(count, dtype=torch.bool)
    joined[pairs.cpu().flatten()] = True
    labels = torch.full((count,), -1)
    # Components are numbered by their first node; renumbering those that hold a pair keeps that order.
    labels[joined] = component[joined].unique(return_inverse=True)[1]
    return labels
