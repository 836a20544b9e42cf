"""Training with the association without a rate: its estimate, epochs that go on camera by camera, identities alone."""

import json

import pytest
import torch

from ccafl.config import changed
from ccafl.data.numbering import accumulate
from ccafl.data.source import read_source
from ccafl.method.calibrated_association import Believed
from ccafl.model.classifier import GlobalIDClassifier
from ccafl.pipeline import associate_run, train_run
from ccafl.training import run as run_module
from ccafl.training.association import Joined
from ccafl.training.learning import EpochStart, InterLearning, IntraLearning
from ccafl.training.schedule import Phase


def estimated(config, least: float = 0.0, *, alone: bool = False):
    association = {"rate": "auto", "least_precision": least}
    return changed(config, {"stage2": {"association": association, "inter_camera": {"alone": alone}}})


def stage2_events(run) -> list[dict]:
    return [event for line in (run / "events.jsonl").open() if (event := json.loads(line))["stage"] == 2]


def test_the_estimate_is_in_events_and_results(world, small, tmp_path):
    run = tmp_path / "run"
    results = train_run(estimated(small), world, run)
    events = stage2_events(run)
    assert all(0 <= event["association"]["estimated_precision"] <= 1 for event in events)
    assert results["association"]["estimated_precision"] == events[-1]["final_association"]["estimated_precision"]
    again = associate_run(run, world, tmp_path / "joined.csv")
    assert again["estimated_precision"] >= results["association"]["estimated_precision"] - 1e-4
    assert (tmp_path / "joined.csv").read_text() == (run / "association.csv").read_text()


@pytest.mark.parametrize(
    ("joined", "estimate", "why"),
    [(True, 0.5, None), (True, 0.4, "only 40% of the joined pairs are right"), (False, 1.0, "no labels are probably")],
)
def test_an_epoch_goes_on_camera_by_camera_where_joins_are_too_few_or_too_unsure(
    world, small, tmp_path, capsys, monkeypatch, joined, estimate, why
):
    def found(features, identities, cameras, *settings):
        association = torch.full((len(cameras),), -1)
        association[[0, -1]] = 0 if joined else -1
        return Joined(association, estimate)

    monkeypatch.setattr(run_module, "associate_identities", found)
    train_run(estimated(small, 0.45), world, tmp_path / "run")
    said = capsys.readouterr().out
    phases = [event["phase"].partition(" ")[0] for event in stage2_events(tmp_path / "run")]
    assert phases == ["intra", "intra"] + (["inter"] * 2 if why is None else ["intra"] * 2)
    told = [line for line in said.splitlines() if "camera by camera" in line]
    assert len(told) == (0 if why is None else 2)
    assert all(line.startswith(f"epoch {epoch} ") and why in line for epoch, line in zip((3, 4), told, strict=False))


def learning(world, config, association, *, alone: bool):
    images = accumulate(read_source(world).train)
    phase = Phase("inter", text=False, adversarial=False, draw="associated")
    torch.manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(len(images), 16))
    start = EpochStart(features, torch.empty(len(images.identity_cameras), 0), association(images))
    classifier = GlobalIDClassifier(len(images.identity_cameras), 16)
    return images, start, InterLearning(estimated(config, alone=alone), images, start, classifier, phase, 0)


def half_joined(images):
    return half_joined_of(images.identity_cameras)


def half_joined_of(cameras):
    """The first two cameras' first identities are one person; all others are alone."""
    association = torch.full((len(cameras),), -1)
    association[0] = association[int((cameras == 1).nonzero()[0])] = 0
    return association


def test_identities_left_alone_are_drawn_as_themselves(world, small):
    images, start, inter = learning(world, small, half_joined, alone=True)
    assert (inter.groups >= 0).all()
    joined = start.association[images.identities] >= 0
    assert inter.groups[joined].unique().tolist() == [0]
    for one in images.identities[~joined].unique():
        of_one = inter.groups[images.identities == one].unique()
        assert len(of_one) == 1
        assert (images.identities[inter.groups == of_one] == one).all()
    groups = learning(world, small, half_joined, alone=False)[2].groups
    assert torch.equal(groups, start.association[images.identities])


def test_identities_left_alone_learn_by_their_cameras_losses(world, small):
    images, start, inter = learning(world, small, half_joined, alone=True)
    indices = torch.arange(0, len(images), 2)
    torch.manual_seed(1)
    features = torch.randn(len(indices), 16, requires_grad=True)
    losses = inter.losses(features, None, indices)
    rows = (start.association[images.identities[indices]] < 0).nonzero().squeeze(1)
    intra = IntraLearning(estimated(small, alone=True), images, start, inter.classifier, 0)
    expected: dict[str, float] = {}
    for camera in images.cameras[indices[rows]].unique():
        own = rows[images.cameras[indices[rows]] == camera]
        for name, loss in intra.losses(features[own], None, indices[own]).items():
            expected[name] = expected.get(name, 0.0) + loss.item() * len(own) / len(indices)
    assert {name.removeprefix("alone_") for name in losses if name.startswith("alone_")} == expected.keys()
    for name, value in expected.items():
        assert losses[f"alone_{name}"].item() == pytest.approx(value, rel=1e-5)
    plain = learning(world, small, half_joined, alone=False)[2].losses(features, None, indices)
    assert {name: losses[name].item() for name in plain} == {name: loss.item() for name, loss in plain.items()}


def test_without_any_join_all_learn_within_their_camera(world, small):
    nobody = learning(world, small, lambda images: torch.full((len(images.identity_cameras),), -1), alone=True)
    images, _, inter = nobody
    indices = torch.arange(16)
    losses = inter.losses(torch.randn(16, 16), None, indices)
    assert losses.keys() == {"alone_centre", "alone_hard_instance", "alone_triplet_centres", "alone_triplet_batch"}
    before = [memory.centres.clone() for memory in inter.alone.memories]
    inter.update(torch.randn(16, 16), indices)
    changed_cameras = {
        camera
        for camera, (memory, old) in enumerate(zip(inter.alone.memories, before, strict=True))
        if not torch.equal(memory.centres, old)
    }
    assert changed_cameras == set(images.cameras[indices].tolist())


def test_what_was_believed_outlives_an_interruption(world, small, tmp_path, monkeypatch):
    believed, given = Believed(torch.tensor([[0, 5]]), torch.tensor([0.7], dtype=torch.float64)), []

    def found(features, identities, cameras, settings, links, topology, before, tracks, share):
        given.append(before)
        if len(given) == 4:
            raise KeyboardInterrupt
        return Joined(half_joined_of(cameras), 0.7, believed=believed)

    monkeypatch.setattr(run_module, "associate_identities", found)
    with pytest.raises(KeyboardInterrupt):
        train_run(estimated(small), world, tmp_path / "run")
    train_run(estimated(small), world, tmp_path / "run", resume=True)
    assert given[:3] == [None, None, None]  # made only to be measured, or the first
    assert all(torch.equal(one.links, believed.links) for one in given[3:])
    assert all(torch.equal(one.probability, believed.probability) for one in given[3:])
