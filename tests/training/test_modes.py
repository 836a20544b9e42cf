"""What a run does and records in each mode."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F

from ccafl.config import load_config, merged
from ccafl.data.numbering import accumulate
from ccafl.data.source import read_source
from ccafl.errors import InputError
from ccafl.evaluation.embedder import load_run
from ccafl.method.precise_ics import global_classification_loss
from ccafl.model.classifier import GlobalIDClassifier
from ccafl.pipeline import associate_run, evaluate_run, extract_run, train_run
from ccafl.training import run as run_module
from ccafl.training.checkpoint import load_checkpoint
from ccafl.training.run import Training


def events_of(run) -> list[dict]:
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def plus(small):
    return merged(small, "ccafl-plus")


@pytest.fixture(scope="module")
def plus_run(world, plus, tmp_path_factory):
    out = tmp_path_factory.mktemp("plus") / "run"
    return out, train_run(plus, world, out)


def test_every_claim_is_measured_in_the_events(world, small, tmp_path):
    results = train_run(small, world, tmp_path / "run")
    events = events_of(tmp_path / "run")
    stage1, stage2 = ([event for event in events if event["stage"] == stage] for stage in (1, 2))
    assert [("text_alignment" in event) for event in stage1] == [False, True]
    assert stage1[-1]["text_alignment"].keys() == {"own_cosine", "other_cosine", "rank_percentile"}
    assert all({"precision", "recall", "f1"} <= event["association"].keys() for event in stage2)
    assert all(0 < event["same_person_mass"] < 1 for event in stage2)
    assert {"camera_probe", "own_camera_neighbours"} <= stage2[-1]["ranking"].keys()
    assert results["camera_chance"] == pytest.approx(1 / 3)
    adversarial = next(event for event in stage2 if "adversarial" in event["phase"])
    assert results["same_person_mass_before"] == adversarial["same_person_mass"]
    assert results["same_person_mass"] == stage2[-1]["final_same_person_mass"]
    kept = load_checkpoint(tmp_path / "run" / "checkpoints" / "before_adversarial.pt")
    last = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")
    assert kept["classifier"]["weight"].shape == last["classifier"]["weight"].shape
    assert not torch.equal(kept["classifier"]["weight"], last["classifier"]["weight"])
    written = {"path": str(world), "source": "manifest", "drawn": True}
    assert json.loads((tmp_path / "run" / "data.json").read_text()) == written


def test_intra_is_measured_and_never_associated(world, small, tmp_path):
    results = train_run(small.model_copy(update={"mode": "intra"}), world, tmp_path / "run")
    assert results["association"]["joined"] >= 0
    assert {row.split(",")[2] for row in (tmp_path / "run" / "association.csv").read_text().split()[1:]} == {"-1"}


def test_supervised_training_uses_ical_in_its_epochs(world, small, tmp_path):
    results = train_run(small.model_copy(update={"mode": "supervised"}), world, tmp_path / "run")
    events = [event for event in events_of(tmp_path / "run") if event["stage"] == 2]
    adversarial = [event["losses"].get("adversarial") for event in events]
    assert adversarial[:3] == [None] * 3
    assert adversarial[3] > 0
    assert results["same_person_mass_before"] == events[3]["same_person_mass"]


def test_precise_ics_associates_once_and_learns_a_global_classifier(world, small, tmp_path, monkeypatch):
    made = []
    original = run_module.associate_identities
    monkeypatch.setattr(run_module, "associate_identities", lambda *a: made.append(original(*a)) or made[-1])
    train_run(small.model_copy(update={"mode": "precise_ics"}), world, tmp_path / "run")
    events = [event for event in events_of(tmp_path / "run") if event["stage"] == 2]
    assert [event["phase"].split(" ")[0] for event in events] == ["intra", "intra", "global", "global"]
    assert events[-1]["losses"].keys() == {"global_id", "global", "triplet", "total"}
    assert len(made) == 3  # two that are only measured, and the one that is used
    (state,) = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["classifier_optimizer"]["state"].values()
    assert state["step"] == 4  # all in the two global epochs
    assert torch.equal(
        load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["association"], made[-1].identities
    )


def test_precise_ics_restarts_its_classifier(world, small, tmp_path, monkeypatch):
    """A classifier that has learned begins the global phase with random weights again: its loss is about log C."""
    recorded = []
    restart = Training._restart_classifier

    def recording(run):
        run.classifier = GlobalIDClassifier(200, 2048)
        optimizer = torch.optim.Adam(run.classifier.parameters(), lr=1.0)
        features, labels = F.normalize(torch.randn(64, 2048)), torch.arange(64)
        for _ in range(9):
            optimizer.zero_grad()
            loss = global_classification_loss(run.classifier(features), labels, smoothing=0.0)
            loss.backward()
            optimizer.step()
        recorded.append(loss.item())
        run.learners = replace(run.learners, classifier=run.classifier, classifier_optimizer=optimizer)
        restart(run)
        recorded.append(global_classification_loss(run.classifier(features), labels, smoothing=0.0).item())
        recorded.append(len(optimizer.state))
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "_restart_classifier", recording)
    with pytest.raises(KeyboardInterrupt):
        train_run(small.model_copy(update={"mode": "precise_ics"}), world, tmp_path / "run")
    sharp, fresh, states = recorded
    assert sharp < 0.1
    assert fresh == pytest.approx(math.log(200), abs=0.3)
    assert states == 0
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["epoch"] == small.stage2.intra_camera.epochs


def test_camera_norm_evaluates_and_associates_with_each_images_camera(world, plus_run):
    run, results = plus_run
    evaluation = evaluate_run(run, world)
    for name in ("mAP", "rank1", "rank10"):
        assert evaluation[name] == pytest.approx(results[name], abs=1e-6)
    associate_run(run, world, run / "again.csv")
    assert (run / "again.csv").read_text() == (run / "association.csv").read_text()
    images = accumulate(read_source(world).train)
    model = load_run(run)
    names = [images.camera_names[camera] for camera in images.cameras]
    known, unknown = model.embed(images.paths, names), model.embed(images.paths)
    assert (known - unknown).abs().max() > 1e-3
    torch.testing.assert_close(model.embed(images.paths, ["elsewhere"] * len(names)), unknown)


def test_extract_uses_the_camera(world, plus_run, tmp_path):
    run, _ = plus_run
    camera = load_run(run).camera_names[0]
    pictures = world / "images" / camera
    extract_run(run, pictures, tmp_path / "known.parquet", camera=camera)
    extract_run(run, pictures, tmp_path / "unknown.parquet")
    known, unknown = (pq.read_table(tmp_path / f"{name}.parquet").to_pydict() for name in ("known", "unknown"))
    paths = [Path(name) for name in known["image"]]
    expected = load_run(run, fast=True).embed(paths, [camera] * len(paths))
    torch.testing.assert_close(torch.tensor(known["feature"]), expected)
    assert known["feature"] != unknown["feature"]
    with pytest.raises(InputError, match="--camera nowhere"):
        extract_run(run, pictures, tmp_path / "no.parquet", camera="nowhere")
    assert not (tmp_path / "no.parquet").exists()


def test_camera_norm_resumes_bit_for_bit(world, plus, plus_run, tmp_path, monkeypatch):
    calls = iter(range(100))
    original = run_module.save_checkpoint

    def stopping(*args):
        if next(calls) == 4:
            raise KeyboardInterrupt
        original(*args)

    monkeypatch.setattr(run_module, "save_checkpoint", stopping)
    with pytest.raises(KeyboardInterrupt):
        train_run(plus, world, tmp_path / "run")
    monkeypatch.setattr(run_module, "save_checkpoint", original)
    resumed = train_run(plus, world, tmp_path / "run", resume=True)
    assert resumed | {"seconds": 0} == plus_run[1] | {"seconds": 0}


def test_plus_is_merged_into_a_data_sets_own_configuration():
    both, own = load_config("market-split+ccafl-plus"), load_config("market-split")
    assert both.model.camera_norm
    assert both.stage2.intra_camera.batch_cameras == 1
    assert both.stage2.intra_camera.epochs == own.stage2.intra_camera.epochs
    assert both == merged(own, "ccafl-plus")
