"""Searching a gallery: queries fused, candidates filtered and re-ranked."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ccafl.calibration import Calibration, verdict
from ccafl.errors import InputError
from ccafl.gallery.entries import Entry, Found, Group, Hit
from ccafl.gallery.filters import Filters
from ccafl.gallery.gallery import Gallery, finite
from ccafl.gallery.nearest import KeyGroup, Name, Naming, track_of
from ccafl.gallery.vectors import FEATURES, MOST_FOUND, Row

Fusion = Literal["mean", "max"]
Grouping = Literal["track", "camera", "person"]
MOST_OF_TRACK = 64  # pictures
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
        limit: how many pictures, or groups, to return.
        offset: how many of the best to skip.
        group: rank groups of pictures by their best one: ``track`` is a camera's label, ``camera``, or ``person``: an
            identity, or a label that is not joined. A picture without a label stands alone. All pictures that pass
            are ranked, but only the `CANDIDATES` nearest with ``rerank``.
        each: how many pictures of a group to return at most.
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
    group: Grouping | None = None
    each: int = 1


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
    group: Grouping | None = None,
    each: int = 1,
) -> Found:
    """Search for one person; the arguments are those of `Query`.

    Raises:
        InputError: re-ranking or standardising of sentences, re-ranking beyond the candidates, no text features,
            features of the wrong length or not finite, or more than `MOST_FOUND` pictures.
    """
    chosen = filters or Filters()
    query = Query(features, by_text, fusion, chosen, rerank, limit, offset, standardise, cameras, group, each)
    return search_many(gallery, [query])[0]


def group_by_identity(hits: Sequence[Hit]) -> tuple[Group, ...]:
    """The hits by identity, best first; each picture without an identity is its own group."""
    groups: dict[tuple[str, str], list[Hit]] = defaultdict(list)
    for hit in hits:
        groups[hit.entry.identity, "" if hit.entry.identity else hit.entry.key].append(hit)
    found = (Group(own[0].entry.identity, max(h.score for h in own), tuple(own), len(own)) for own in groups.values())
    return tuple(sorted(found, key=lambda group: -group.score))


def some_of_track(entries: Sequence[Entry]) -> list[Entry]:
    """At most `MOST_OF_TRACK` pictures of a track, evenly spread over its time: enough to search with all of it."""
    places = np.linspace(0, len(entries) - 1, min(len(entries), MOST_OF_TRACK)).round().astype(int)
    return [entries[place] for place in places]


def search_many(gallery: Gallery, queries: Sequence[Query]) -> list[Found]:
    """Several searches; those of the same depth are computed as one product.

    Raises:
        InputError: as `search`.
    """
    found = _searched(gallery, queries)
    size = len(gallery) if gallery.calibration is not None else 0
    return [_judged(one, query, gallery.calibration, size) for one, query in zip(found, queries, strict=True)]


def _judged(found: Found, query: Query, calibration: Calibration | None, size: int) -> Found:
    """What was found, with the probability of each picture, where its score says one.

    The mean of several pictures is compared by the mean of its cosines with them, which strangers reach as rarely as
    with one picture.
    """
    if calibration is None or query.by_text or query.rerank or query.standardise or not found.hits:
        return found
    length = 1.0 if query.fusion == "max" else float(np.linalg.norm(query.features.mean(0, dtype=np.float64)))

    def judged(hits: tuple[Hit, ...]) -> tuple[Hit, ...]:
        return tuple(replace(hit, probability=calibration.probability(length * hit.score, size)) for hit in hits)

    hits = judged(found.hits)
    groups = tuple(replace(group, hits=judged(group.hits)) for group in found.groups)
    best = max(hit.probability or 0.0 for hit in hits)
    return replace(found, hits=hits, groups=groups, nobody=query.offset == 0 and verdict(best) == "unlikely")


def _searched(gallery: Gallery, queries: Sequence[Query]) -> list[Found]:
    batches: dict[tuple[bool, bool, bool, int], list[int]] = defaultdict(list)
    vectors = [_vectors(gallery, query) for query in queries]
    found: dict[int, Found] = {}
    for number, query in enumerate(queries):
        if query.group is not None and not query.rerank:
            found[number] = _grouped(gallery, query, vectors[number])
            continue
        depth = CANDIDATES if query.rerank else min(query.offset + query.limit + 1, MOST_FOUND)
        batches[query.by_text, query.standardise, query.rerank, depth].append(number)
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
    if query.each < 1:
        raise InputError(f"each {query.each}: a group has at least one picture; ask for 1 or more")
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
    if query.group is not None:
        naming = _naming(gallery, query.group) or (lambda name: name)
        groups: dict[Name, list[Row]] = defaultdict(list)
        for row in rows:
            groups[naming(track_of(row))].append(row)
        some = list(groups.values())[query.offset : query.offset + query.limit]
        found = [KeyGroup([(row["key"], row["score"]) for row in own[: query.each]], len(own)) for own in some]
        return _of_groups(gallery, found, len(groups) > query.offset + query.limit)
    page = rows[query.offset : query.offset + query.limit]
    hits = tuple(Hit(e, row["score"]) for e, row in zip(gallery.entries(page), page, strict=True))
    return Found(hits, len(rows) > query.offset + query.limit)


def _grouped(gallery: Gallery, query: Query, vectors: NDArray[np.float32]) -> Found:
    groups, count = gallery.best_groups(
        vectors,
        query.filters,
        _naming(gallery, query.group),
        count=query.limit,
        offset=query.offset,
        each=query.each,
        text=query.by_text,
        standardised=query.standardise,
    )
    return _of_groups(gallery, groups, count > query.offset + query.limit)


def _naming(gallery: Gallery, group: Grouping | None) -> Naming | None:
    """What names the groups; None for tracks."""
    if group == "camera":
        return lambda name: name[:1]
    if group == "person":
        identities = gallery.ledger.identities()
        return lambda name: (identity,) if (identity := identities.get((name[0], name[1]))) else name
    return None


def _of_groups(gallery: Gallery, groups: Sequence[KeyGroup], more: bool) -> Found:
    entries = {entry.key: entry for entry in gallery.get([key for group in groups for key, _ in group.best])}
    made = []
    for group in groups:
        hits = tuple(Hit(entries[key], score) for key, score in group.best if key in entries)
        made += [Group(hits[0].entry.identity, hits[0].score, hits, group.pictures)] if hits else []
    return Found(tuple(hit for group in made for hit in group.hits), more, tuple(made))


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
