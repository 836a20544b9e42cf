"""Searches by features standardised by camera, and the statistics that a gallery keeps for them."""

import numpy as np
import pytest
import torch

from ccafl.errors import InputError
from ccafl.evaluation import camera_standardisation
from ccafl.evaluation.reranking import k_reciprocal_by_features
from ccafl.gallery import standardising
from ccafl.gallery.adding import Picture, add_pictures
from ccafl.gallery.filters import Filters
from ccafl.gallery.gallery import Gallery
from ccafl.gallery.query import search
from ccafl.gallery.standardising import CameraStatistics
from colour_people import CAMERAS, FakeEncoder, draw


def stored(gallery):
    """Keys, cameras and features of all pictures."""
    pages = list(gallery.all())
    entries = [entry for some, _ in pages for entry in some]
    return [e.key for e in entries], [e.camera for e in entries], np.concatenate([own.features for _, own in pages])


def measured(gallery) -> CameraStatistics:
    """The statistics of what the gallery holds now."""
    _, cameras, features = stored(gallery)
    return CameraStatistics.of([(cameras, features)], gallery.dim)


def assert_same(one: CameraStatistics, other: CameraStatistics) -> None:
    assert one.cameras == other.cameras
    for name in ("counts", "sums", "squares"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-9)


def test_the_statistics_are_those_of_the_ranking():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(150, 8)).astype(np.float32)
    features[:, 3] = 0.5
    cameras = [f"c{number}" for number in rng.integers(4, size=150)]
    pages = [(cameras[start : start + 40], features[start : start + 40]) for start in range(0, 150, 40)]
    statistics = CameraStatistics.of(pages, 8)
    numbers = torch.tensor([int(camera[1:]) for camera in cameras])
    expected = camera_standardisation.standardised_by_camera(torch.from_numpy(features), numbers)
    np.testing.assert_allclose(statistics.standardised(features, cameras), expected.numpy(), atol=1e-5)
    for name in ("POOLED_IMAGES", "LEAST_DEVIATION"):
        assert getattr(standardising, name) == getattr(camera_standardisation, name)


def test_an_unknown_camera_takes_the_statistics_of_all_pictures():
    rng = np.random.default_rng(1)
    features = rng.normal(size=(60, 5)).astype(np.float32)
    statistics = CameraStatistics.of([(["a"] * 20 + ["b"] * 20 + [""] * 20, features)], 5)
    expected = (features - features.mean(0)) / features.std(0)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    for name in ("", "elsewhere"):
        np.testing.assert_allclose(statistics.standardised(features, [name] * 60), expected, atol=1e-5)


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("camera", [CAMERAS[0], ""])
def test_a_search_is_the_cosines_of_standardised_features(gallery, encoder, loaded, camera):
    if loaded:
        gallery.load()
    keys, cameras, features = stored(gallery)
    statistics = measured(gallery)
    query = encoder.encode([draw(1, 3), draw(1, 4)]).features
    wanted = statistics.standardised(query, [camera] * 2).mean(0)
    scores = statistics.standardised(features, cameras) @ (wanted / np.linalg.norm(wanted))
    expected = [(keys[n], scores[n]) for n in np.argsort(-scores) if cameras[n] != CAMERAS[1]][:5]
    others = Filters(exclude_cameras=(CAMERAS[1],))
    found = search(gallery, query, standardise=True, cameras=(camera, camera), filters=others, limit=5)
    assert [hit.score for hit in found.hits] == pytest.approx([score for _, score in expected], abs=1e-5)
    assert {hit.entry.key for hit in found.hits[:3]} == {key for key, _ in expected[:3]}
    assert found.more
    plain = search(gallery, query, filters=others, limit=5)
    assert [hit.score for hit in plain.hits] != pytest.approx([score for _, score in expected], abs=1e-3)


def test_pages_of_a_gallery_and_its_memory_give_the_same(gallery, encoder, monkeypatch):
    query = encoder.encode([draw(0, 9)]).features
    answers = []
    for page in (5, None):
        if page is None:
            gallery.load()
        else:
            monkeypatch.setattr("ccafl.gallery.vectors._PAGE", page)
        for rerank in (False, True):
            found = search(gallery, query, standardise=True, rerank=rerank, limit=7)
            answers.append([round(hit.score, 4) for hit in found.hits])
    assert answers[:2] == answers[2:]
    _, cameras, features = stored(gallery)
    standardised = measured(gallery).standardised(features, cameras)
    sides = (torch.from_numpy(one) for one in (measured(gallery).standardised(query, [""]), standardised))
    reranked = 1 - k_reciprocal_by_features(*sides)(slice(0, 1))[0]
    assert answers[1] == pytest.approx(reranked.sort(descending=True).values[:7].tolist(), abs=1e-3)


def test_the_statistics_follow_the_pictures_and_are_kept(gallery, encoder, people, tmp_path):
    first = gallery.camera_statistics()
    assert_same(first, measured(gallery))
    assert gallery.camera_statistics() is first
    draw(2, 30).save(tmp_path / "more.png")
    add_pictures(gallery, encoder, [Picture(tmp_path / "more.png", CAMERAS[2])])
    assert gallery.ledger.statistics() == []
    assert_same(gallery.camera_statistics(), measured(gallery))
    assert gallery.camera_statistics().counts.sum() == len(people) + 1
    add_pictures(gallery, encoder, [Picture(people[0].path, CAMERAS[1])])  # was in another camera
    assert_same(gallery.camera_statistics(), measured(gallery))
    gallery.erase(gallery.keys_where(camera=CAMERAS[0]))
    assert gallery.ledger.statistics() == []
    assert gallery.camera_statistics().cameras == tuple(sorted(CAMERAS[1:]))
    assert_same(gallery.camera_statistics(), measured(gallery))


def test_another_process_reads_the_kept_statistics(gallery, monkeypatch):
    folder, before = gallery._folder, gallery.camera_statistics()
    gallery.close()
    monkeypatch.setattr(CameraStatistics, "of", None)
    with Gallery.open(folder) as again:
        assert_same(again.camera_statistics(), before)


def test_an_empty_gallery_finds_nothing(tmp_path, encoder):
    with Gallery.create(tmp_path / "empty.db", encoder) as empty:
        assert search(empty, encoder.encode([draw(0)]).features, standardise=True).hits == ()


def test_sentences_are_not_standardised(gallery):
    with pytest.raises(InputError, match="search by text without it"):
        search(gallery, FakeEncoder().encode_text(["red"]), by_text=True, standardise=True)
