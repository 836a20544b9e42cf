"""The command line end to end on a small world, and the Python API."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import ccafl
from ccafl.data.source import KINDS, read_source
from ccafl.errors import InputError
from small_runs import SMALL, as_options, refusal, run


@pytest.fixture(scope="module")
def trained(small_run, tmp_path_factory):
    """A copy of the run that tests may write to."""
    return Path(shutil.copytree(small_run, tmp_path_factory.mktemp("runs") / "run"))


def test_a_run_folder_holds_the_documented_files(trained):
    results = json.loads((trained / "results.json").read_text())
    assert {"mAP", "rank1", "rank5", "rank10", "dataset", "seed", "seconds", "epochs"} <= results.keys()
    assert 0 < results["mAP"] <= results["rank10"] <= 1
    for name in ("config.yaml", "events.jsonl", "checkpoints/last.pt", "checkpoints/best.pt", "association.csv"):
        assert (trained / name).is_file()
    assert list((trained / "tensorboard").iterdir())
    events = [json.loads(line) for line in (trained / "events.jsonl").read_text().splitlines()]
    assert [(event["stage"], event["epoch"]) for event in events] == [(1, 0), (2, 0), (2, 1)]
    assert events[-1]["ranking"]["mAP"] == results["mAP"]


def test_associate_names_every_label_once(trained, world, tmp_path):
    run("associate", trained, "--data", world, "--out", tmp_path / "association.csv")
    rows = list(csv.DictReader((tmp_path / "association.csv").open()))
    labels = {(record.camera, record.label) for record in read_source(world).train}
    assert [(row["camera"], row["label"]) for row in rows] == sorted(labels)
    assert rows == list(csv.DictReader((trained / "association.csv").open()))  # the run's own was made the same way


def test_evaluate_repeats_the_run_and_reranks(trained, world):
    run("evaluate", trained, "--data", world)
    evaluation = json.loads((trained / "evaluation.json").read_text())
    results = json.loads((trained / "results.json").read_text())
    for name in ("mAP", "rank1", "rank5", "rank10"):
        assert evaluation[name] == pytest.approx(results[name], abs=1e-6)
    run("evaluate", trained, "--data", world, "--rerank", "--checkpoint", "best")
    reranked = json.loads((trained / "evaluation-rerank.json").read_text())
    assert reranked["rerank"]
    assert reranked["mAP"] != evaluation["mAP"]


def test_extract_and_embed_agree(trained, world, tmp_path):
    run("extract", trained, "--images", world / "images", "--out", tmp_path / "features.parquet")
    table = pq.read_table(tmp_path / "features.parquet").to_pydict()
    images = sorted((world / "images").rglob("*.jpg"))
    assert table["image"] == [str(path) for path in images]
    model = ccafl.load(trained)
    features = model.embed(images[:5])
    assert features.shape == (5, model.dim)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features.norm(dim=1), torch.ones(5))
    extracted = torch.tensor(table["feature"][:5])
    assert ((features * extracted).sum(1) > 0.999).all()  # extract uses bfloat16 if the processor is faster at it
    torch.testing.assert_close(ccafl.load(trained, fast=True).embed(images[:5]), extracted, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(model.embed([Image.open(images[0])]), features[:1], rtol=1e-4, atol=1e-5)
    assert model.embed([]).shape == (0, model.dim)


def test_embed_takes_any_picture_mode(trained):
    grey = Image.fromarray(np.arange(64 * 32, dtype=np.uint8).reshape(64, 32))
    assert ccafl.load(str(trained)).embed([grey, grey.convert("RGBA")]).shape[0] == 2


def test_without_a_test_set_the_last_epoch_is_the_best(world, tmp_path):
    run("train", "market-split", "--data", world / "images", "--out", tmp_path / "run", *as_options(SMALL))
    last, best = (torch.load(tmp_path / "run" / "checkpoints" / f"{name}.pt") for name in ("last", "best"))
    assert last["epoch"] == best["epoch"] == 2
    assert json.loads((tmp_path / "run" / "results.json").read_text())["mAP"] is None


def test_queries_without_any_match_are_refused_before_anything_is_written(world, tmp_path, capsys):
    rows = list(csv.DictReader((world / "manifest.csv").open()))
    one_camera = [row for row in rows if row["split"] == "train" or row["camera"] == "c1"]
    with (tmp_path / "nobody.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(row | {"image": world / row["image"]} for row in one_camera)
    data = ("--data", tmp_path / "nobody.csv", "--allow-outside")
    message = refusal(capsys, "train", "market-split", *data, "--out", tmp_path / "run")
    assert "nobody.csv: no query's person" in message
    assert not (tmp_path / "run").exists()


def test_supervised_and_intra_are_the_same_trainer(world, tmp_path):
    for mode in ("supervised", "intra"):
        options = as_options((*SMALL, f"mode={mode}"))
        run("train", "market-split", "--data", world, "--out", tmp_path / mode, *options)
        events = [json.loads(line) for line in (tmp_path / mode / "events.jsonl").read_text().splitlines()]
        phases = {event["phase"] for event in events if event["stage"] == 2}
        assert phases == {"inter" if mode == "supervised" else "intra"}
    associated = {row["identity"] for row in csv.DictReader((tmp_path / "intra" / "association.csv").open())}
    assert associated == {"-1"}


def test_split_separates_persons_and_check_reports(world, tmp_path, capsys):
    run("data", "split", world, tmp_path / "split", "--seed", 1)
    source = read_source(tmp_path / "split")
    assert {record.person for record in source.train}.isdisjoint(record.person for record in source.query)
    run("data", "check", tmp_path / "split")
    assert "images per label" in capsys.readouterr().out


def test_help_needs_no_heavy_library():
    heavy = ("torch", "numpy", "pyarrow", "PIL")
    program = f"import sys, ccafl.cli; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_the_help_names_every_kind_of_source(capsys):
    run("data", "check", "--help")
    shown = capsys.readouterr().out
    assert all(kind in shown for kind in KINDS)


def test_the_package_says_that_it_is_typed():
    assert (Path(ccafl.__file__).parent / "py.typed").is_file()


def test_the_version_is_the_packages_own(capsys):
    run("--version")
    assert capsys.readouterr() == (f"ccafl {ccafl.__version__}\n", "")


def test_the_installed_command_runs():
    command = Path(sys.executable).with_name("ccafl")
    shown = subprocess.run([command, "--help"], capture_output=True, text=True, check=True).stdout
    for name in ("demo", "train", "evaluate", "extract", "associate", "data"):
        assert name in shown


@pytest.mark.parametrize(
    ("command", "out", "suffix"),
    [
        (("extract", "RUN", "--images", "DATA"), "features.csv", ".parquet"),
        (("associate", "RUN", "--data", "DATA"), "joined.parquet", ".csv"),
        (("evaluate", "RUN", "--data", "DATA"), "figures.csv", ".json"),
        (("report", "RUN"), "page.pdf", ".html"),
    ],
)
def test_an_output_is_what_its_name_says(trained, world, tmp_path, capsys, command, out, suffix):
    words = [{"RUN": trained, "DATA": world}.get(word, word) for word in command]
    assert f"must end in {suffix}" in refusal(capsys, *words, "--out", tmp_path / out)
    assert not (tmp_path / out).exists()


def test_embed_takes_one_picture_or_many_in_any_form(trained, world):
    model = ccafl.load(trained)
    path = next(world.glob("**/*.jpg"))
    with Image.open(path) as opened:
        pixels = np.asarray(opened)
        expected = model.embed([path, path])
        assert expected.shape == (2, model.dim)
        for given in (path, str(path), opened, pixels):
            assert torch.allclose(model.embed(given), expected[:1], atol=1e-5)
            assert torch.allclose(model.embed([given, given]), expected, atol=1e-5)


def test_embed_takes_whom_a_detector_found(trained, world):
    model = ccafl.load(trained)
    with Image.open(next(world.glob("**/*.jpg"))) as opened:
        person = np.asarray(opened)
    height, width = person.shape[:2]
    frame = np.zeros((2 * height, 3 * width, 3), np.uint8)
    frame[5 : 5 + height, width : 2 * width] = person
    frame[-height:, -width:] = person
    boxes = [[width, 5, 2 * width, 5 + height], [2 * width + 0.2, height + 0.3, 3 * width + 9, 2 * height + 9]]
    found = model.embed_detections(SimpleNamespace(xyxy=np.array(boxes, np.float32)), frame)
    assert torch.allclose(found, model.embed([person, person]), atol=1e-5)
    assert model.embed_detections(SimpleNamespace(xyxy=np.empty((0, 4))), frame).shape == (0, model.dim)
    for nothing in ([-9, 0, -1, 5], [0, 0, 0, 5], [0, 0, float("nan"), 5]):
        with pytest.raises(InputError, match=r"box 1 .* has nothing of the frame"):
            model.embed_detections(SimpleNamespace(xyxy=np.array([boxes[0], nothing])), frame)
