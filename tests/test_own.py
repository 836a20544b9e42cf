"""The configuration for one's own pictures: what is chosen, by which findings, and what a user can change."""

import pytest
from PIL import Image

from ccafl import own, pipeline
from ccafl.ablation import rows_of
from ccafl.config import Config, changed, load_config
from ccafl.data.check import CameraReport
from ccafl.data.numbering import accumulate
from ccafl.data.source import read_source
from ccafl.own import Findings, own_settings
from ccafl.pipeline import choose_config
from ccafl.run_folder import RunFolder
from small_runs import SMALL, as_options, run


def findings(*cameras: tuple[int, int], architecture: str = "clip-synth") -> Findings:
    """Of cameras with so many labels, and so many images a label."""
    reports = [
        CameraReport(f"c{number}", labels * images, labels, (images, images, images))
        for number, (labels, images) in enumerate(cameras)
    ]
    return Findings(architecture, "because", reports, (128, 64))


def visits(config: Config, labels: int) -> float:
    """How often a run draws each label."""
    return config.stage2.epochs * config.stage2.steps_per_epoch * config.stage2.identities / labels


def test_data_like_those_the_recipe_was_measured_on_take_its_steps():
    like_market, _ = own_settings(findings(*6 * [(361, 4)]), camera_statistics=False)
    recipe = load_config("own", ["stage1.epochs=0"])
    assert like_market == recipe
    assert recipe.stage2.epochs * recipe.stage2.steps_per_epoch == 1200
    plus, _ = own_settings(findings(*6 * [(361, 4)]))
    assert plus == load_config("own+ccafl-plus", ["stage1.epochs=0"])


@pytest.mark.parametrize("architecture", ["clip-synth", "RN50"])
def test_labels_are_drawn_about_as_often_in_data_of_any_size(architecture):
    steps = []
    for labels in (60, 200, 1000, 3000, 20_000):
        config, _ = own_settings(findings(*3 * [(labels, 6)], architecture=architecture))
        recipe = load_config("own" if architecture == "clip-synth" else "market1501")
        usual = visits(recipe, 2167 if architecture == "clip-synth" else 3262)
        if config.stage2.steps_per_epoch > 10:
            assert 0.49 * usual <= visits(config, 3 * labels) <= 2.05 * usual
        assert config.stage2.epochs == recipe.stage2.epochs
        assert config.stage2.identities * config.stage2.images == recipe.stage2.identities * recipe.stage2.images
        steps.append(config.stage2.steps_per_epoch)
    assert steps == sorted(set(steps))


def test_a_batch_repeats_neither_labels_nor_images_much():
    few, _ = own_settings(findings((6, 5), (5, 5)))
    assert few.stage2.identities == 11
    single, _ = own_settings(findings((500, 1), (500, 1), architecture="RN50"))
    assert (single.stage2.identities, single.stage2.images) == (64, 2)


@pytest.mark.parametrize(
    ("cameras", "chosen"),
    [([(40, 4), (40, 4)], True), ([(40, 4), (10, 4)], False), ([(40, 4)], False)],
)
def test_camera_statistics_need_images_enough_in_every_camera(cameras, chosen):
    config, reasons = own_settings(findings(*cameras))
    assert config.model.camera_norm == chosen
    assert (config.stage2.intra_camera.batch_cameras == 1) == chosen
    assert any(line.startswith(f"camera statistics: {'on' if chosen else 'off'}") for line in reasons)


def test_one_camera_is_learned_without_joining():
    assert own_settings(findings((40, 4)))[0].mode == "intra"
    assert own_settings(findings((40, 4), (40, 4)))[0].mode == "ccafl"


def test_prompts_are_learned_only_for_text_losses(world):
    chosen, _ = choose_config("own", None, world)
    assert chosen.stage1.epochs == 0
    assert rows_of(chosen)["text"].stage1.epochs > 0
    assert choose_config("own", ["stage2.intra_camera.text=true"], world)[0].stage1.epochs > 0
    assert choose_config("own", ["stage2.intra_camera.text=true", "stage1.epochs=0"], world)[0].stage1.epochs == 0


def test_networks_and_their_text():
    gpu, _ = own_settings(findings((400, 4), (400, 4), architecture="RN50"))
    assert (gpu.model.weights, gpu.model.image_size, gpu.model.camera_norm) == ("openai", (256, 128), True)
    assert gpu.stage2.association == load_config("own").stage2.association
    assert gpu.stage2.inter_camera.text_from is not None
    for without_text in ("tiny", "timm/resnet18"):
        config, reasons = own_settings(findings((400, 4), (400, 4), architecture=without_text))
        assert (config.model.architecture, config.model.weights) == (without_text, None)
        assert (config.stage2.intra_camera.text, config.stage2.inter_camera.text_from) == (False, None)
        assert "text losses: off: the network knows no text" in reasons


def test_what_is_set_wins_and_what_has_begun_stays(world, tmp_path):
    settings = [*SMALL, "model.architecture=tiny", "stage2.association.rate=2.5"]
    chosen, reasons = choose_config("own", settings, world)
    assert (chosen.model.architecture, chosen.stage2.association.rate, chosen.stage2.epochs) == ("tiny", 2.5, 2)
    assert reasons[0] == "network: tiny: you asked for it"
    assert choose_config("market1501", None, world) == (load_config("market1501"), [])
    run("train", "own", "--data", world, "--out", tmp_path / "run", *as_options(tuple(settings)))
    kept = RunFolder(tmp_path / "run").read_config()
    assert kept.stage2.association.rate == 2.5
    assert choose_config("own", None, world, run=tmp_path / "run") == (kept, [])
    run("train", "own", "--data", world, "--out", tmp_path / "run", "--resume")


def test_an_ablation_adds_camera_statistics_in_rows_of_their_own(world, tmp_path):
    chosen, _ = choose_config("own", ["stage2.identities=4"], world, camera_statistics=False)
    rows = rows_of(chosen)
    assert not rows["ccafl"].model.camera_norm
    assert rows["ccafl_plus"].model.camera_norm
    assert rows["supervised_plus"].model.camera_norm
    assert choose_config("own+ccafl-plus", None, world)[0].model.camera_norm
    out = tmp_path / "out"
    run("ablate", "own", "--data", world, "--out", out, "--seeds", 0, "--rows", "ccafl_plus", *as_options(SMALL))
    assert RunFolder(out / "seed-0" / "ccafl_plus").read_config().model.camera_norm


def test_weights_that_cannot_be_had(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    for had, network in (({"RN50", "ViT-B-16"}, "RN50"), ({"ViT-B-16"}, "ViT-B-16"), (set(), "clip-synth")):
        monkeypatch.setattr(own, "can_be_had", lambda name, _tag, had=had: name in had)
        assert own.network_here(fetch=True)[0] == network
        assert own.network_here("cpu", fetch=True)[0] == "clip-synth"
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert own.network_here(fetch=True)[0] == "clip-synth"


def test_checking_data_says_what_would_be_chosen_and_for_how_long(world, tmp_path, capsys):
    run("data", "check", world)
    output = capsys.readouterr().out
    assert "network: clip-synth" in output
    assert "time: about" in output
    for name in ("query/c/1", "gallery/d/1"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (16, 32)).save(tmp_path / name / "a.png")
    assert pipeline.plan_own(tmp_path) == []


def test_the_time_is_that_of_all_steps_and_images(world, monkeypatch):
    monkeypatch.setattr(own, "_seconds_each", lambda results: 1.0 if next(results).isfinite() else 0.0)
    source = read_source(world)
    config, _ = own_settings(own.find(source, world, ("clip-synth", "")))
    every_epoch = {"stage2": {"feature_age": 0}}
    config, images = changed(config, every_epoch), accumulate(source.train)
    stage1, stage2 = config.stage1, config.stage2
    steps = stage2.epochs * stage2.steps_per_epoch + stage1.epochs * -(-len(images) // stage1.batch_size)
    embedded = (stage2.epochs + 1) * len(images) + stage2.epochs / config.runtime.evaluate_every * 10
    batch = config.runtime.extraction_batch
    assert own.estimated_seconds(config, images, 10) == pytest.approx(steps + embedded / batch)
    plus, _ = choose_config("own+ccafl-plus", ["stage2.feature_age=0"], world)
    measured = (stage2.epochs / config.runtime.evaluate_every - 1) * len(images)
    assert own.estimated_seconds(plus, images, 10) == pytest.approx(steps + (embedded + measured) / batch)
    taken_from_steps = changed(config, {"stage2": {"feature_age": 2}})
    assert own.estimated_seconds(taken_from_steps, images, 10) < steps + 0.5 * embedded / batch


def test_a_vit_takes_the_recipe_of_clip_reid():
    vit, reasons = own_settings(findings((400, 4), (400, 4), architecture="ViT-B-16"))
    assert (vit.model.normalisation, vit.model.patch_frozen, vit.stage2.learning_rate) == ("half", True, 5e-6)
    assert (vit.model.patch_stride, vit.model.camera_embedding, vit.model.camera_norm) == (None, False, False)
    assert "camera statistics: off: this network has no batch norms" in reasons
