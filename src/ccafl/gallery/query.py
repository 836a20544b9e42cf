"""Searching a gallery: queries fused, candidates filtered and re-ranked."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ccafl.errors import InputError
from ccafl.gallery.entries import Found, Group, Hit
from ccafl.gallery.filters import Filters
from ccafl.gallery.gallery import Gallery, finite
from ccafl.gallery.vectors import FEATURES, MOST_FOUND, Row

Fusion = Literal["mean", "max"]
CANDIDATES = 200  # pictures that a search re-ranks, by all distances between them


@dataclass(frozen=True, slots=True)
class Query:
    """A search for one person.

    Attributes:
        features: (n, D), L2-normalised: of n pictures of the person, or (n, E) of n sentences.
        by_text: whether the features are of sentences.
        fusion: ``mean``: by the pictures' mean direction; ``max``: by the nearest of them.
        filters: which pictures the search looks at.
        rerank: order the `CANDIDATES` nearest by k-reciprocal re-ranking.
        standardise: compare features standardised by camera, which takes out what a camera's pictures share.
        cameras: that took the n pictures, for ``standardise``; empty names, or none at all, for unknown ones.
        limit: how many pictures to return.
        offset: how many of the best to skip.
    """

    features: NDArray[np.float32]
    by_text: bool = False
    fusion: Fusion = "mean"
    filters: Filters = field(default_factory=Filters)
    rerank: bool = False
    limit: int = 24
    offset: int = 0
    standardise: bool = False
    cameras: tuple[str, ...] = ()


def search(
    gallery: Gallery,
    features: NDArray[np.float32],
    *,
    by_text: bool = False,
    fusion: Fusion = "mean",
    filters: Filters | None = None,
    rerank: bool = False,
    limit: int = 24,
    offset: int = 0,
    standardise: bool = False,
    cameras: tuple[str, ...] = (),
) -> Found:
    """Search for one person; the arguments are those of `Query`.

    Raises:
        InputError: re-ranking or standardising of sentences, re-ranking beyond the candidates, no text features,
            features of the wrong length or not finite, or more than `MOST_FOUND` pictures.
    """
    query = Query(features, by_text, fusion, filters or Filters(), rerank, limit, offset, standardise, cameras)
    return search_many(gallery, [query])[0]


def group_by_identity(hits: Sequence[Hit]) -> tuple[Group, ...]:
    """The hits by identity, best first; each picture without an identity is its own group."""
    groups: dict[tuple[str, str], list[Hit]] = defaultdict(list)
    for hit in hits:
        groups[hit.entry.identity, "" if hit.entry.identity else hit.entry.key].append(hit)
    found = (Group(own[0].entry.identity, max(hit.score for hit in own), tuple(own)) for own in groups.values())
    return tuple(sorted(found, key=lambda group: -group.score))


def search_many(gallery: Gallery, queries: Sequence[Query]) -> list[Found]:
    """Several searches; those of the same depth are computed as one product.

    Raises:
        InputError: as `search`.
    """
    batches: dict[tuple[bool, bool, bool, int], list[int]] = defaultdict(list)
    vectors = [_vectors(gallery, query) for query in queries]
    for number, query in enumerate(queries):
        depth = CANDIDATES if query.rerank else min(query.offset + query.limit + 1, MOST_FOUND)
        batches[query.by_text, query.standardise, query.rerank, depth].append(number)
    found: dict[int, Found] = {}
    for (by_text, standardise, rerank, depth), numbers in batches.items():
        stacked = np.concatenate([vectors[number] for number in numbers])
        filters = [queries[number].filters for number in numbers for _ in vectors[number]]
        rows = iter(gallery.nearest(stacked, depth, filters, text=by_text, vectors=rerank, standardised=standardise))
        for number in numbers:
            lists = [next(rows) for _ in vectors[number]]
            found[number] = _found(gallery, queries[number], vectors[number], lists)
    return [found[number] for number in range(len(queries))]


def _vectors(gallery: Gallery, query: Query) -> NDArray[np.float32]:
    """The vectors to search with: (n, D), or (1, D) for their mean."""
    dim = gallery.text_dim if query.by_text else gallery.dim
    if dim is None:
        raise InputError("the gallery's model has no trained text tower; search by picture")
    if query.features.ndim != 2 or query.features.shape[1] != dim or not len(query.features):
        raise InputError(f"features of shape {query.features.shape}: the gallery searches by (n, {dim})")
    if not finite(query.features).all():
        raise InputError("the model gives features that are not finite numbers; use another run or checkpoint")
    if query.rerank and query.by_text:
        raise InputError("re-ranking compares pictures with pictures; search by text without it")
    if query.rerank and query.offset + query.limit > CANDIDATES:
        raise InputError(f"re-ranking orders the {CANDIDATES} nearest; ask for no more, or search without it")
    if query.limit < 1 or query.offset < 0 or query.offset + query.limit > MOST_FOUND:
        raise InputError(f"a search returns the best 1 to {MOST_FOUND:,} pictures; change the limit or the offset")
    if query.standardise and query.by_text:
        raise InputError("cameras are standardised to compare pictures with pictures; search by text without it")
    features = query.features.astype(np.float32)
    if query.standardise:
        features = gallery.camera_statistics().standardised(features, query.cameras or [""] * len(features))
    if query.fusion == "max":
        return features
    mean: NDArray[np.float32] = features.mean(0, keepdims=True, dtype=np.float32)
    mean /= max(float(np.linalg.norm(mean)), 1e-12)
    return mean


def _found(gallery: Gallery, query: Query, vectors: NDArray[np.float32], lists: list[list[Row]]) -> Found:
    best: dict[str, Row] = {}
    for row in (row for rows in lists for row in rows):
        if row["key"] not in best or row["score"] > best[row["key"]]["score"]:
            best[row["key"]] = row
    rows = sorted(best.values(), key=lambda row: (-row["score"], row["key"]))
    if query.rerank:
        rows = _reranked(vectors, rows[:CANDIDATES])
    page = rows[query.offset : query.offset + query.limit]
    hits = tuple(Hit(e, row["score"]) for e, row in zip(gallery.entries(page), page, strict=True))
    return Found(hits, len(rows) > query.offset + query.limit)


def _reranked(vectors: NDArray[np.float32], rows: list[Row]) -> list[Row]:
    """Sorted by k-reciprocal distance to the nearest query vector; the score is 1 minus that distance."""
    try:
        import torch

        from ccafl.evaluation.reranking import k_reciprocal_by_features
    except ImportError as error:
        raise InputError("re-ranking needs torch; install it, or search without re-ranking") from error
    if len(rows) < 2:
        return rows
    queries = torch.from_numpy(vectors)
    candidates = torch.from_numpy(np.array([row[FEATURES] for row in rows], np.float32))
    distances = k_reciprocal_by_features(queries, candidates)(slice(0, len(queries)))
    scores = (1 - distances.amin(0)).tolist()
    scored = [row | {"score": score} for row, score in zip(rows, scores, strict=True)]
    return sorted(scored, key=lambda row: (-row["score"], row["key"]))
