"""Scores as probabilities of being the same person."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from ccafl.calibration import Calibration, verdict
from ccafl.gallery import Filters, Gallery, Query, search, search_many
from ccafl.gallery.commands import rejoin
from ccafl.gallery.render import render_found
from ccafl.gallery.strangers import strangers_share
from colour_people import JOINED, FakeEncoder, draw, filled

CURVE = Calibration(slope=40.0, offset=-34.0, pictures=6.0, joins=True)


def shown_by(found) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(render_found(found))
    return console.file.getvalue()


@pytest.fixture
def judging(tmp_path, people):
    encoder = FakeEncoder(calibration=CURVE)
    with filled(tmp_path / "gallery.db", encoder, people) as gallery:
        yield gallery, encoder


def test_hits_have_probabilities_and_a_stranger_is_nobody_known(judging):
    gallery, encoder = judging
    known = search(gallery, encoder.encode([draw(0)]).features)
    assert [verdict(hit.probability) for hit in known.hits[:6]] == ["likely"] * 6
    assert verdict(known.hits[-1].probability) == "unlikely"
    assert not known.nobody
    size = len(gallery)
    share = CURVE.pictures / size
    for hit in known.hits:
        odds = np.exp(CURVE.slope * hit.score + CURVE.offset) * share / (1 - share)
        assert hit.probability == pytest.approx(odds / (1 + odds), rel=1e-4)
    shown = shown_by(known)
    assert re.search("99 % +│ likely", shown)
    assert re.search("<1 % +│ unlikely", shown)  # neither is for certain
    assert "nobody known" not in shown
    gallery.load()
    assert search(gallery, encoder.encode([draw(0)]).features) == known
    stranger = search(gallery, np.full((1, gallery.dim), gallery.dim**-0.5, np.float32))
    assert stranger.nobody
    assert "nobody known" in shown_by(stranger)
    later = search(gallery, np.full((1, gallery.dim), gallery.dim**-0.5, np.float32), offset=2)
    assert not later.nobody, "who knows what is on the pages before"


def test_a_hit_in_a_larger_gallery_is_less_probable():
    chances = [CURVE.probability(0.9, size) for size in (10, 100, 10_000, 1_000_000)]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > 0.8 > 0.1 > chances[-1]
    assert CURVE.probability(1.0, 0) <= 1
    assert replace(CURVE, slope=1e6).probability(-1.0, 5) >= 0


def test_probabilities_are_of_cosines_of_pictures_only(judging, tmp_path, people):
    gallery, encoder = judging
    features = encoder.encode([draw(0), draw(0, 3)]).features
    sentence = Query(encoder.encode_text(["red"]), by_text=True)
    plain = Query(features, filters=Filters(cameras=("yard",)), group="track", fusion="max")
    others = [sentence, replace(plain, rerank=True), replace(plain, standardise=True)]
    judged, *unjudged = search_many(gallery, [plain, *others])
    assert all(hit.probability is not None for group in judged.groups for hit in group.hits)
    assert all(hit.probability is None for found in unjudged for hit in found.hits)
    with filled(tmp_path / "plain.db", FakeEncoder(), people) as uncalibrated:
        found = search(uncalibrated, features)
        assert {hit.probability for hit in found.hits} == {None}
        assert not found.nobody


def test_a_gallery_keeps_the_calibration(judging):
    gallery, _ = judging
    with Gallery.open(gallery.where.parent, read_only=True) as reader:
        assert reader.calibration == CURVE


def test_probabilities_are_left_out_where_strangers_of_a_camera_look_like_one_person(judging, tmp_path, people, capsys):
    gallery, encoder = judging
    share = strangers_share(gallery, CURVE)
    pictures = [(entry.camera, entry.label) for page, _ in gallery.all() for entry in page]
    features = np.concatenate([encoded.features for _, encoded in gallery.all()])
    wrong = [
        CURVE.probability(float(features[one] @ features[other]), len(pictures))
        for one in range(len(pictures))
        for other in range(len(pictures))
        if pictures[one][0] == pictures[other][0] and pictures[one][1] != pictures[other][1]
    ]
    assert len(wrong) >= 100
    assert share == pytest.approx(np.mean(wrong) * len(pictures) / CURVE.pictures, rel=1e-4)
    assert share < 0.1
    with filled(tmp_path / "few.db", encoder, people[:2]) as few:
        assert strangers_share(few, CURVE) is None
    blind = replace(CURVE, offset=20.0)
    with filled(tmp_path / "blind.db", FakeEncoder(calibration=blind), people):
        pass
    table = tmp_path / "association.csv"
    rows = [f"{camera},{label},{identity}\n" for (camera, label), identity in JOINED.items()]
    table.write_text("camera,label,identity\n" + "".join(rows))
    rejoin(tmp_path / "blind.db", association=table)
    assert "takes strangers of these cameras for one person" in " ".join(capsys.readouterr().err.split())
    with Gallery.open(tmp_path / "blind.db", read_only=True) as reader:
        assert reader.curve == blind
        assert {hit.probability for hit in search(reader, encoder.encode([draw(0)]).features).hits} == {None}
