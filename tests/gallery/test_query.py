"""What a search finds, compared with all cosines: in a file, in memory and by Milvus, filtered, fused, re-ranked."""

import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccafl.encoders.encoder import Encoded
from ccafl.errors import InputError
from ccafl.evaluation.reranking import k_reciprocal
from ccafl.gallery import Entry, Filters, Gallery, Query, group_by_identity, merge, search, search_many
from ccafl.gallery.query import CANDIDATES
from colour_people import FIRST, draw, key_of
from random_vectors import Numbers, unit

COUNT, DIM = 3_000, 32
CAMERAS = ("c0", "c1", "c2", "c3", "")


VECTORS = unit(0, COUNT, DIM)
ENTRIES = [
    Entry(
        f"{number:064x}",
        CAMERAS[number % 5],
        None if number % 7 == 0 else FIRST + timedelta(minutes=number % 100),
        f"/pictures/{number}.jpg",
        f"p{number // 20}",
        "",
    )
    for number in range(COUNT)
]


@pytest.fixture(scope="module", params=["file", "memory", "Milvus server"])
def filled(request, tmp_path_factory):
    """A gallery of random vectors, searched in its file page by page, in memory, or by a Milvus server."""
    uri = request.getfixturevalue("milvus_server") if request.param == "Milvus server" else None
    with Gallery.create(tmp_path_factory.mktemp("filled") / "gallery.db", Numbers(DIM), uri=uri) as gallery:
        for start in range(0, COUNT, 1_000):
            part = slice(start, start + 1_000)
            gallery.put(ENTRIES[part], Encoded(VECTORS[part], None), {})
        if request.param == "memory":
            gallery.load()
        yield gallery


def meets(entry: Entry, filters: Filters) -> bool:
    return (
        (not filters.cameras or entry.camera in filters.cameras)
        and entry.camera not in filters.exclude_cameras
        and (filters.since is None or (entry.time is not None and entry.time >= filters.since))
        and (filters.until is None or (entry.time is not None and entry.time < filters.until))
    )


def exhaustive(features: np.ndarray, filters: Filters, fusion: str = "max") -> list[tuple[str, float]]:
    """Keys and scores of all pictures that pass the filters, best first."""
    if fusion == "mean":
        mean = features.astype(np.float64).mean(0, keepdims=True)
        features = mean / np.linalg.norm(mean)
    scores = (VECTORS.astype(np.float64) @ features.T).max(1)
    met = [number for number, entry in enumerate(ENTRIES) if meets(entry, filters)]
    return [(ENTRIES[number].key, scores[number]) for number in sorted(met, key=lambda number: -scores[number])]


def assert_found(found, expected, limit: int) -> None:
    """The first ``limit`` of ``expected``; only scores that float32 cannot tell apart may change places."""
    exact, keys = dict(expected), [hit.entry.key for hit in found.hits]
    assert len(set(keys)) == len(keys) == min(limit, len(expected))
    scores = [exact[key] for key in keys]
    np.testing.assert_allclose(scores, [score for _, score in expected[:limit]], atol=5e-7, rtol=0)
    np.testing.assert_allclose([hit.score for hit in found.hits], scores, atol=2e-6)


moments = st.none() | st.integers(-1, 101).map(lambda minutes: FIRST + timedelta(minutes=minutes))
cameras = st.lists(st.sampled_from([*CAMERAS, "nowhere"]), max_size=3, unique=True).map(tuple)
filters_of = st.builds(Filters, cameras, cameras, moments, moments)


@given(st.integers(1, 2**31), st.integers(1, 4), filters_of, st.sampled_from(["mean", "max"]), st.integers(1, 60))
def test_a_search_is_every_cosine_computed(filled, seed, pictures, filters, fusion, limit):
    asked = unit(seed, pictures, DIM)
    expected = exhaustive(asked, filters, fusion)
    found = search(filled, asked, filters=filters, fusion=fusion, limit=limit)
    assert_found(found, expected, limit)
    assert found.more == (len(expected) > limit)
    assert [hit.entry for hit in found.hits] == [e for h in found.hits for e in ENTRIES if e.key == h.entry.key]


def test_recall_at_10_is_1(filled):
    asked = unit(1, 200, DIM)
    found = search_many(filled, [Query(row[None], limit=10) for row in asked])
    best = np.argsort(-(asked @ VECTORS.T), axis=1)[:, :10]
    for row, hits in zip(best, found, strict=True):
        assert {hit.entry.key for hit in hits.hits} == {ENTRIES[number].key for number in row}


def test_pages_together_are_all_results(filled):
    asked = unit(3, 2, DIM)
    whole = search(filled, asked, fusion="max", limit=100)
    pages = [search(filled, asked, fusion="max", limit=30, offset=offset) for offset in (0, 30, 60, 90)]
    assert [hit for page in pages for hit in page.hits][:100] == list(whole.hits)
    assert all(page.more for page in pages)
    only = Filters(cameras=("c1",))
    end = search(filled, asked, filters=only, limit=100, offset=COUNT // 5 - 40)
    assert (len(end.hits), end.more) == (40, False)
    past = search(filled, asked, filters=only, limit=100, offset=COUNT)
    assert (past.hits, past.more) == ((), False)


def test_many_searches_are_independent(filled):
    all_filters = [Filters(), Filters(("c1",)), Filters(), Filters((), ("c1",)), Filters(("c1",))]
    queries = [
        Query(unit(number, 1 + number % 3, DIM), fusion="max" if number % 2 else "mean", filters=own, limit=9 + number)
        for number, own in enumerate(all_filters)
    ]
    queries.append(Query(unit(9, 1, DIM), rerank=True, limit=5))
    together = search_many(filled, queries)
    assert together == [search_many(filled, [query])[0] for query in queries]
    for query, found in zip(queries[:-1], together, strict=False):
        assert_found(found, exhaustive(query.features, query.filters, query.fusion), query.limit)
    assert search_many(filled, []) == []


@pytest.mark.parametrize("pictures", [1, 3])
@pytest.mark.parametrize("camera", [(), ("c2",)])
def test_reranking_is_k_reciprocal_of_the_candidates(filled, pictures, camera):
    asked, filters = unit(5, pictures, DIM), Filters(cameras=camera)
    found = search(filled, asked, fusion="max", filters=filters, rerank=True, limit=CANDIDATES)
    candidates = [key for key, _ in exhaustive(asked, filters)[:CANDIDATES]]
    query, gallery = torch.from_numpy(asked), torch.from_numpy(VECTORS[[int(key, 16) for key in candidates]])
    distances = [torch.cdist(a, b) for a, b in ((query, gallery), (query, query), (gallery, gallery))]
    expected = 1 - k_reciprocal(*distances).amin(0)
    scores = {hit.entry.key: hit.score for hit in found.hits}
    assert scores.keys() == set(candidates)
    np.testing.assert_allclose([scores[key] for key in candidates], expected, atol=1e-4)
    assert [hit.score for hit in found.hits] == sorted(scores.values(), reverse=True)
    assert not found.more
    page = search(filled, asked, fusion="max", filters=filters, rerank=True, limit=7, offset=5)
    assert page.hits == found.hits[5:12]
    assert page.more


def test_impossible_searches_are_refused(filled):
    for features, options, message in (
        (unit(0, 1, DIM + 1), {}, "features of shape"),
        (unit(0, DIM), {}, "features of shape"),
        (np.empty((0, DIM), np.float32), {}, "features of shape"),
        (unit(0, 1, DIM), {"by_text": True}, "no trained text tower"),
        (unit(0, 1, DIM), {"rerank": True, "limit": CANDIDATES + 1}, "re-ranking orders the 200 nearest"),
    ):
        with pytest.raises(InputError, match=message):
            search(filled, features, **options)


# --- On pictures ------------------------------------------------------------------------------------------------------


def test_an_empty_gallery_has_nothing(tmp_path):
    with Gallery.create(tmp_path / "gallery.db", Numbers(DIM)) as gallery:
        for _ in range(2):
            assert search(gallery, unit(0, 2, DIM), fusion="max").hits == ()
            assert search(gallery, unit(0, 2, DIM), rerank=True).hits == ()
            gallery.load()
        assert gallery.info().pictures == 0


@pytest.mark.parametrize("loaded", [False, True])
def test_a_person_is_found_by_picture_and_by_description(gallery, encoder, people, loaded):
    if loaded:
        gallery.load()
    found = search(gallery, encoder.encode([draw(1)]).features, limit=6)
    assert {hit.entry.identity for hit in found.hits} == {"1"}
    assert {hit.entry.key for hit in found.hits} == {key_of(p.path) for p in people if p.label[1:] == "1"}
    elsewhere = search(gallery, encoder.encode([draw(1)]).features, filters=Filters(exclude_cameras=("yard",)), limit=4)
    assert {(hit.entry.camera, hit.entry.identity) for hit in elsewhere.hits} == {("entrance", "1"), ("corridor", "1")}
    described = search(gallery, encoder.encode_text(["yellow above and red below"]), by_text=True, limit=6)
    assert {hit.entry.identity for hit in described.hits} == {"2"}
    with pytest.raises(InputError, match="re-ranking compares pictures with pictures"):
        search(gallery, encoder.encode_text(["red"]), by_text=True, rerank=True)


def test_hits_are_grouped_by_identity_and_those_without_one_stand_alone(gallery, encoder):
    hits = search(gallery, encoder.encode([draw(3)]).features, limit=24).hits
    groups = group_by_identity(hits)
    assert sorted(hit.entry.key for group in groups for hit in group.hits) == sorted(hit.entry.key for hit in hits)
    assert [group.identity for group in groups[:6]] == [""] * 6, "the best hits show the person who was never joined"
    assert all(len(group.hits) == 1 for group in groups if not group.identity)
    assert sorted(group.identity for group in groups if group.identity) == ["0", "1", "2"]
    for group in groups:
        assert group.score == group.hits[0].score == max(hit.score for hit in group.hits)
        assert list(group.hits) == [hit for hit in hits if hit in group.hits]
    assert [group.score for group in groups] == sorted((group.score for group in groups), reverse=True)
    assert group_by_identity([]) == ()


def test_a_loaded_gallery_shows_corrected_identities(gallery, encoder):
    gallery.load()
    before = search(gallery, encoder.encode([draw(3)]).features, limit=24).hits
    merge(gallery, [before[0].entry.key, next(hit.entry.key for hit in before if hit.entry.identity == "0")])
    after = search(gallery, encoder.encode([draw(3)]).features, limit=24).hits
    assert [hit.entry.key for hit in after] == [hit.entry.key for hit in before]
    assert after[0].entry.identity == "0"


def test_searching_needs_no_torch(gallery, tmp_path):
    gallery.close()
    program = f"""
import sys
sys.modules["torch"] = None
from pathlib import Path
import numpy as np
from ccafl.errors import InputError
from ccafl.gallery import Gallery, add_pictures, group_by_identity, listed, merge, search
import ccafl.cli, ccafl.gallery.commands, ccafl.gallery.sheet
with Gallery.open(Path({str(tmp_path / "gallery.db")!r})) as gallery:
    asked = np.eye(1, gallery.dim, dtype=np.float32)
    assert len(search(gallery, asked, limit=5).hits) == 5
    gallery.load()
    found = search(gallery, asked, limit=5)
    assert len(group_by_identity(found.hits)) <= 5
    try:
        search(gallery, asked, rerank=True)
    except InputError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "re-ranking needs torch; install it, or search without re-ranking\n"
    assert done.stderr == ""
