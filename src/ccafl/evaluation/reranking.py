"""k-reciprocal re-ranking (Zhong et al., arXiv 1701.08398), on sparse matrices: no n x n matrix is made."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.sparse import csc_array, csr_array
from torch import Tensor

_BLOCK_ELEMENTS = 1 << 23  # of distances, or of expanded neighbours, held at a time

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Rows = Callable[[slice], Tensor]
"""Squared distances of some images to all n: (rows, n)."""


def k_reciprocal(
    query_gallery: Tensor,
    query_query: Tensor,
    gallery_gallery: Tensor,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
) -> Tensor:
    """Distances that also count how much the k-reciprocal neighbours of two images overlap.

    lambda d + (1 - lambda) d_Jaccard, where d is the squared distance divided by the greatest of its row.

    Args:
        query_gallery: (Q, G) distances; they are squared inside.
        query_query: (Q, Q).
        gallery_gallery: (G, G).
        k1: neighbours considered for reciprocity.
        k2: neighbours over which the encodings are averaged (1 for none).
        lambda_value: weight of the original distance.

    Returns:
        (Q, G) float32, on the CPU.
    """
    queries, gallery = query_gallery.shape

    def rows(block: slice) -> Tensor:
        of_query = slice(block.start, min(block.stop, queries))
        of_gallery = slice(max(block.start - queries, 0), max(block.stop - queries, 0))
        top = torch.cat([query_query[:, of_query].T, query_gallery[of_query]], dim=1)
        bottom = torch.cat([query_gallery[:, of_gallery].T, gallery_gallery[:, of_gallery].T], dim=1)
        return torch.cat([top, bottom]).float().square()

    distances = _reranked(rows, queries, queries + gallery, k1, k2, lambda_value)
    return torch.cat([distances(block) for block in _blocks(queries, queries + gallery)])


def k_reciprocal_by_features(
    query: Tensor, gallery: Tensor, k1: int = 20, k2: int = 6, lambda_value: float = 0.3
) -> Callable[[slice], Tensor]:
    """`k_reciprocal` on Euclidean distances of L2-normalised features, in memory linear in the number of images.

    Args:
        query: (Q, D); need not be normalised.
        gallery: (G, D).
        k1, k2, lambda_value: as in `k_reciprocal`.

    Returns:
        The distances of a block of queries, (rows, G) float32 on the CPU, as `rank_by_distance` takes them.
    """
    features = F.normalize(torch.cat([query, gallery]).float())

    def rows(block: slice) -> Tensor:
        return (2 - 2 * features[block] @ features.T).clamp_(min=0)

    return _reranked(rows, len(query), len(features), k1, k2, lambda_value)


def _blocks(rows: int, width: int) -> Iterator[slice]:
    """Blocks of all rows of a matrix ``width`` wide."""
    step = max(1, _BLOCK_ELEMENTS // width)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _reranked(rows: Rows, queries: int, count: int, k1: int, k2: int, lambda_value: float) -> Callable[[slice], Tensor]:
    """Re-ranked distances of queries, which come first among ``count`` images, to the rest."""
    greatest, neighbours = _nearest(rows, count, max(k1 + 1, k2))
    weights = _encode(rows, greatest, neighbours, k1)
    if k2 > 1:
        weights = (_incidence(neighbours[:, :k2]) @ weights / k2).tocsr()
    of_queries, of_gallery = weights[:queries], weights[queries:].tocsc()

    def distances(block: slice) -> Tensor:
        jaccard = torch.from_numpy(_jaccard(of_queries[block], of_gallery))
        original = rows(slice(*block.indices(queries)[:2]))[:, queries:].cpu() / greatest[:queries][block, None]
        return (1 - lambda_value) * jaccard + lambda_value * original

    return distances


def _nearest(rows: Rows, count: int, width: int) -> tuple[Tensor, Integers]:
    """Greatest squared distance of every image (n,), and its nearest images (n, width), itself among them."""
    greatest, neighbours = [], []
    for block in _blocks(count, count):
        squared = rows(block)
        greatest.append(squared.amax(1).cpu())
        neighbours.append(squared.topk(min(width, count), largest=False).indices.cpu())
    return torch.cat(greatest), torch.cat(neighbours).numpy()


def _incidence(neighbours: Integers) -> csr_array:
    """Sparse 0/1 matrix (n, n) of the neighbour lists (n, k)."""
    count, width = neighbours.shape
    pointers = np.arange(0, count * width + 1, width)
    return csr_array((np.ones(count * width, np.float32), neighbours.ravel(), pointers), shape=(count, count))


def _reciprocal(neighbours: Integers) -> csr_array:
    """Sparse 0/1: j is among i's neighbours and i among j's."""
    forward = _incidence(neighbours)
    return csr_array(forward * forward.T)


def _encode(rows: Rows, greatest: Tensor, neighbours: Integers, k1: int) -> csr_array:
    """V (n, n): exp(-d) over the expanded k-reciprocal neighbours of every image, each row summing to 1.

    A neighbour's own k1/2 neighbours are added if more than two thirds of them are the image's already.
    """
    reciprocal = _reciprocal(neighbours[:, : k1 + 1])
    half = _reciprocal(neighbours[:, : int(np.around(k1 / 2)) + 1])
    overlap = reciprocal.multiply(reciprocal @ half.T).tocoo()
    enough = overlap.data > 2 / 3 * half.sum(1)[overlap.col]
    taken_in = csr_array((overlap.data[enough], (overlap.row[enough], overlap.col[enough])), shape=overlap.shape)
    expanded = csr_array(reciprocal + taken_in @ half)
    lengths = np.diff(expanded.indptr)
    for block in _blocks(len(greatest), len(greatest)):
        entries = slice(expanded.indptr[block.start], expanded.indptr[block.stop])
        row = torch.from_numpy(np.repeat(np.arange(block.stop - block.start), lengths[block]))
        squared = rows(block)
        chosen = squared[row.to(squared.device), torch.from_numpy(expanded.indices[entries]).to(squared.device)]
        expanded.data[entries] = torch.exp(-chosen.cpu() / greatest[block][row]).numpy()
    expanded.data /= np.repeat(expanded.sum(1), lengths)
    return expanded


def _jaccard(queries: csr_array, gallery: csc_array) -> Floats:
    """1 - sum min(V_q, V_g) / sum max(V_q, V_g) for all pairs, (Q, G); rows of V sum to 1, so max = 2 - min."""
    lengths = np.diff(gallery.indptr)
    expanded_before = np.concatenate([[0], np.cumsum(lengths[queries.indices])])[queries.indptr]
    shared = np.zeros((queries.shape[0], gallery.shape[0]), np.float32)
    start = 0
    while start < len(shared):  # blocks of queries whose expanded neighbours fit
        stop = int(np.searchsorted(expanded_before, expanded_before[start] + _BLOCK_ELEMENTS, side="right")) - 1
        stop = max(stop, start + 1)
        block = queries[start:stop].tocoo()
        runs = lengths[block.col]
        within = np.arange(runs.sum()) - np.repeat(np.cumsum(runs) - runs, runs)
        entry = np.repeat(gallery.indptr[block.col], runs) + within
        minima = np.minimum(np.repeat(block.data, runs), gallery.data[entry])
        place = np.repeat(block.row, runs).astype(np.int64) * gallery.shape[0] + gallery.indices[entry]
        sums = np.bincount(place, minima, minlength=(stop - start) * gallery.shape[0])
        shared[start:stop] = sums.reshape(stop - start, -1)
        start = stop
    return 1 - shared / (2 - shared)
