"""The commands on weights that nothing has trained, on a small world."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import ccafl
from ccafl.data.opening import rankable
from ccafl.data.source import read_source
from ccafl.encoders import open_encoder
from ccafl.evaluation.camera_standardisation import standardised_by_camera
from ccafl.evaluation.embedder import embed_images
from ccafl.evaluation.ranking import rank
from ccafl.gallery import Gallery
from colour_people import draw
from small_runs import refusal, run

NAMED = ("evaluate", "extract", "add")


@pytest.fixture(scope="module")
def model():
    return ccafl.load("clip-synth")


def command(which: str, model: object, world: Path, out: Path) -> tuple[object, ...]:
    return {
        "evaluate": ("evaluate", model, "--data", world),
        "extract": ("extract", model, "--images", world, "--out", out),
        "add": ("gallery", "add", model, world, "--db", out),
    }[which]


def test_evaluate_ranks_by_the_shipped_weights(model, world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run("evaluate", "clip-synth", "--data", world)
    assert "written to" not in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    run("evaluate", "clip-synth", "--data", world, "--out", "plain.json")
    run("evaluate", "clip-synth:shipped", "--data", world, "--camera-standardise", "--out", "standardised.json")
    assert "written to standardised.json" in capsys.readouterr().out
    found = [json.loads(Path(name).read_text()) for name in ("plain.json", "standardised.json")]
    assert [one["weights"] for one in found] == ["clip-synth:shipped"] * 2
    assert [one["camera_standardise"] for one in found] == [False, True]
    query, gallery = rankable(read_source(world), world)
    features = embed_images(model, query, ""), embed_images(model, gallery, "")
    together = standardised_by_camera(torch.cat(features), torch.cat([query.cameras, gallery.cameras]))
    for one, (of_query, of_gallery) in zip(found, (features, together.split([len(query), len(gallery)])), strict=True):
        ranked = rank(of_query, of_gallery, query.persons, query.cameras, gallery.persons, gallery.cameras)
        assert one["mAP"] == pytest.approx(ranked.mAP, abs=1e-6)
    assert found[0]["mAP"] != found[1]["mAP"]


def test_a_run_keeps_both_evaluations(small_run, world, tmp_path):
    folder = Path(shutil.copytree(small_run, tmp_path / "run"))
    run("evaluate", folder, "--data", world, "--camera-standardise")
    run("evaluate", folder, "--data", world)
    plain, standardised = (
        json.loads((folder / f"evaluation{how}.json").read_text()) for how in ("", "-camera-standardised")
    )
    assert plain["mAP"] != standardised["mAP"]
    assert plain["checkpoint"] == "last"


def test_a_folder_of_a_run_comes_before_an_architecture(small_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip-synth").symlink_to(small_run)
    assert ccafl.load("clip-synth").fingerprint() == ccafl.load(small_run).fingerprint()


def test_extract_and_embed_agree(model, world, tmp_path):
    run("extract", "clip-synth", "--images", world / "images", "--out", tmp_path / "features.parquet")
    table = pq.read_table(tmp_path / "features.parquet").to_pydict()
    expected = model.embed(table["image"][:4]).numpy()
    assert expected.shape == (4, 256)
    assert (np.array(table["feature"][:4]) * expected).sum(1).min() > 0.999


def test_a_gallery_of_the_shipped_weights_is_searched_by_picture_and_by_words(model, world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    db, table = tmp_path / "gallery.db", tmp_path / "found.json"
    run("gallery", "add", "clip-synth", world, "--db", db)
    record = read_source(world).query[0]
    Image.open(record.path).save(tmp_path / "copy.png")  # another file, of which no camera is known
    search = ("--db", db, "--json", table, "--limit", 3)
    run("search", record.path, *search)
    assert json.loads(table.read_text())["hits"][0]["source"] == str(record.path)
    scores = []
    for asked in (("copy.png",), ("copy.png", "--taken-by", record.camera), (record.path,)):
        run("search", *asked, *search, "--camera-standardise")
        first = json.loads(table.read_text())["hits"][0]
        assert first["source"] == str(record.path)
        scores.append(first["score"])
    assert scores[0] < 0.9999
    assert scores[1:] == pytest.approx([1, 1], abs=1e-4)
    run("search", "--text", "a person in a red coat", "--db", db)
    run("gallery", "join", "--db", db)
    with Gallery.open(db) as gallery:
        assert gallery.model_place == "clip-synth:shipped"
        assert gallery.dim == gallery.text_dim == 256
        encoder = open_encoder(gallery.model_place)
        gallery.check_model(encoder)
        assert encoder.name == "clip-synth:shipped"


def test_a_join_of_nothing_says_so(tmp_path, capsys):
    for number, camera in enumerate(("hall", "yard")):
        (tmp_path / "pictures" / camera / "1").mkdir(parents=True)
        draw(number).save(tmp_path / "pictures" / camera / "1" / "a.png")
    run("gallery", "add", "clip-synth", tmp_path / "pictures", "--db", tmp_path / "people.db")
    run("gallery", "join", "--db", tmp_path / "people.db")
    assert "no labels are probably one person" in capsys.readouterr().err


@pytest.mark.parametrize("which", NAMED)
def test_what_is_neither_is_refused_with_near_names(which, world, tmp_path, capsys):
    out = tmp_path / "out"
    message = refusal(capsys, *command(which, "clip-sinth", world, out))
    assert message.startswith("clip-sinth: is not a run, an exported file or an architecture; ")
    assert message.endswith("or weights such as clip-synth")
    assert "RN50: comes without weights" in refusal(capsys, *command(which, "RN50", world, out))
    assert "nor a pretrained tag of RN50" in refusal(capsys, *command(which, "RN50:none", world, out))
    assert not out.exists()


def test_what_only_runs_or_galleries_have_is_refused(world, tmp_path, capsys):
    message = refusal(capsys, "evaluate", "clip-synth", "--data", world, "--checkpoint", "best")
    assert "clip-synth:shipped is not a run and has no checkpoints" in message
    extract = ("extract", "clip-synth", "--images", world, "--out", tmp_path / "out")
    assert "clip-synth was trained on no cameras" in refusal(capsys, *extract, "--camera", "c1")
    (tmp_path / "model.onnx").touch()
    message = refusal(capsys, "evaluate", tmp_path / "model.onnx", "--data", world)
    assert "is a file, which only ccafl gallery takes" in message


def test_a_search_from_an_unknown_camera_is_refused(world, tmp_path, capsys):
    db = tmp_path / "gallery.db"
    run("gallery", "add", "clip-synth", world, "--db", db)
    picture = read_source(world).query[0].path
    message = refusal(capsys, "search", picture, "--db", db, "--camera-standardise", "--taken-by", "nowhere")
    assert message == "--taken-by nowhere: no camera of this gallery; there are c1, c2, c3"
    message = refusal(capsys, "search", "--text", "a man", "--db", db, "--camera-standardise")
    assert message.endswith("search by text without it")
