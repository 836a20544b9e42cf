"""k-reciprocal re-ranking (Zhong et al., arXiv 1701.08398), on sparse matrices."""

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor

_BLOCK_ELEMENTS = 1 << 22  # expanded neighbours held at a time

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


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
        k1: neighbours looked at for reciprocity.
        k2: neighbours over which the encodings are averaged (1 for none).
        lambda_value: weight of the original distance.

    Returns:
        (Q, G) float32, on the CPU.
    """
    queries = len(query_gallery)
    top = torch.cat([query_query, query_gallery], dim=1)
    bottom = torch.cat([query_gallery.T, gallery_gallery], dim=1)
    squared = torch.cat([top, bottom]).float().square()
    distances: Floats = (squared / squared.amax(0)).T.contiguous().cpu().numpy()
    neighbours = np.argsort(distances, axis=1, kind="stable")[:, : max(k1 + 1, k2)]
    weights = _encode(distances, neighbours, k1)
    if k2 > 1:
        weights = (_incidence(neighbours[:, :k2]) @ weights / k2).tocsr()
    jaccard = _jaccard(weights[:queries], weights[queries:])
    mixed = (1 - lambda_value) * jaccard + lambda_value * distances[:queries, queries:]
    return torch.from_numpy(mixed.astype(np.float32))


def _incidence(neighbours: Integers) -> csr_array:
    """Sparse 0/1 matrix (n, n) of the neighbour lists (n, k)."""
    count, width = neighbours.shape
    pointers = np.arange(0, count * width + 1, width)
    return csr_array((np.ones(count * width, np.float32), neighbours.ravel(), pointers), shape=(count, count))


def _reciprocal(neighbours: Integers) -> csr_array:
    """Sparse 0/1: j is among i's neighbours and i among j's."""
    forward = _incidence(neighbours)
    return csr_array(forward * forward.T)


def _encode(distances: Floats, neighbours: Integers, k1: int) -> csr_array:
    """V (n, n): exp(-d) over the expanded k-reciprocal neighbours of every image, each row summing to 1.

    A neighbour's own neighbours (k1/2) are taken in if more than two thirds of them are the image's already.
    """
    reciprocal = _reciprocal(neighbours[:, : k1 + 1])
    half = _reciprocal(neighbours[:, : int(np.around(k1 / 2)) + 1])
    overlap = reciprocal.multiply(reciprocal @ half.T).tocoo()
    enough = overlap.data > 2 / 3 * half.sum(1)[overlap.col]
    taken_in = csr_array((overlap.data[enough], (overlap.row[enough], overlap.col[enough])), shape=overlap.shape)
    expanded = (reciprocal + taken_in @ half).tocoo()
    weights: csr_array[np.float32, tuple[int, int]] = csr_array(
        (np.exp(-distances[expanded.row, expanded.col]), (expanded.row, expanded.col)), expanded.shape
    )
    weights.data /= np.repeat(weights.sum(1), np.diff(weights.indptr))
    return weights


def _jaccard(queries: csr_array, gallery: csr_array) -> Floats:
    """1 - sum min(V_q, V_g) / sum max(V_q, V_g) for all pairs, (Q, G); rows of V sum to 1, so max = 2 - min."""
    by_column = gallery.tocsc()
    lengths = np.diff(by_column.indptr)
    expanded_before = np.concatenate([[0], np.cumsum(lengths[queries.indices])])[queries.indptr]
    shared = np.zeros((queries.shape[0], gallery.shape[0]), np.float32)
    start = 0
    while start < len(shared):  # blocks of queries whose expanded neighbours fit
        stop = int(np.searchsorted(expanded_before, expanded_before[start] + _BLOCK_ELEMENTS, side="right")) - 1
        stop = max(stop, start + 1)
        block = queries[start:stop].tocoo()
        runs = lengths[block.col]
        within = np.arange(runs.sum()) - np.repeat(np.cumsum(runs) - runs, runs)
        entry = np.repeat(by_column.indptr[block.col], runs) + within
        minima = np.minimum(np.repeat(block.data, runs), by_column.data[entry])
        place = np.repeat(block.row, runs) * gallery.shape[0] + by_column.indices[entry]
        sums = np.bincount(place, minima, minlength=(stop - start) * gallery.shape[0])
        shared[start:stop] = sums.reshape(stop - start, -1)
        start = stop
    return 1 - shared / (2 - shared)
