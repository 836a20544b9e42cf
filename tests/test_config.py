"""Settings: the paper's constants, strictness, overrides."""

import math

import pytest

from ccafl.config import Config, dump, load_config, shipped
from ccafl.errors import InputError
from ccafl.training.schedule import Phase, phase_of, stage1_learning_rate, stage2_factor


def test_every_shipped_configuration_loads_and_writes_back(tmp_path):
    assert {"demo", "market1501", "dukemtmc", "msmt17", "market-split"} <= set(shipped())
    for name in shipped():
        config = load_config(name)
        (tmp_path / "again.yaml").write_text(dump(config))
        assert load_config(str(tmp_path / "again.yaml")) == config


@pytest.mark.parametrize(
    ("name", "rate", "weight", "margin", "text_from", "last", "identities"),
    [
        ("market1501", 1.7, 0.6, 0.7, 10, 50, 16),
        ("dukemtmc", 1.5, 0.6, 0.3, 40, 60, 16),
        ("msmt17", 1.3, 0.0, 0.5, 40, 60, 32),
    ],
)
def test_the_papers_constants(name, rate, weight, margin, text_from, last, identities):
    stage2 = load_config(name).stage2
    assert stage2.association.rate == rate
    assert not stage2.association.centred_by_camera
    assert not stage2.association.one_camera_once
    assert stage2.intra_camera.centre_weight == weight
    assert (stage2.intra_camera.instances, stage2.intra_camera.temperature, stage2.intra_camera.momentum) == (
        32,
        0.05,
        0.1,
    )
    assert stage2.inter_camera.text_from == text_from
    adversarial = stage2.adversarial
    assert (adversarial.first_epoch, adversarial.last_epoch, adversarial.margin) == (40, last, margin)
    assert (adversarial.epsilon, adversarial.boost, adversarial.scale) == (0.8, 0.2, 16.0)
    assert (stage2.identities, stage2.images, stage2.epochs, stage2.steps_per_epoch) == (identities, 8, 80, 200)
    assert load_config(name).model.image_size == (256, 128)


def test_overrides_keep_their_types():
    config = load_config("demo", ["stage2.epochs=7", "model.weights=a.pt", "stage2.learning_rate=1e-4", "seed=3"])
    assert (config.stage2.epochs, config.model.weights, config.stage2.learning_rate, config.seed) == (
        7,
        "a.pt",
        1e-4,
        3,
    )


@pytest.mark.parametrize("text", ["stage2.epoch=1", "stage2.epochs=1.5", "seed=-1", "stage2", "mode=both", "seed.x=1"])
def test_bad_overrides_name_the_key(text):
    with pytest.raises(InputError, match=text.split("=")[0].split(".")[0]):
        load_config("demo", [text])


def test_phases_of_the_paper():
    config = load_config("market1501")
    inter = Phase("inter", text=False, adversarial=False)
    assert phase_of(config, 4) == Phase("intra", text=True, adversarial=False, association="alone")
    assert phase_of(config, 5) == phase_of(config, 9) == inter
    assert phase_of(config, 10) == phase_of(config, 39) == Phase("inter", text=True, adversarial=False)
    assert phase_of(config, 40) == phase_of(config, 49) == Phase("inter", text=True, adversarial=True)
    assert phase_of(config, 50) == phase_of(config, 10)


def test_phases_of_the_other_modes():
    intra, supervised = (load_config("market1501", [f"mode={mode}"]) for mode in ("intra", "supervised"))
    assert {phase_of(intra, epoch).learning for epoch in range(80)} == {"intra"}
    assert {phase_of(supervised, epoch).learning for epoch in range(80)} == {"inter"}
    assert [epoch for epoch in range(80) if phase_of(supervised, epoch).adversarial] == list(range(40, 50))
    precise_ics = load_config("market1501", ["mode=precise_ics"])
    assert not any(phase_of(mode, epoch).adversarial for mode in (intra, precise_ics) for epoch in range(80))
    assert {phase_of(intra, epoch).association for epoch in range(81)} == {"alone"}
    assert {phase_of(supervised, epoch).association for epoch in range(81)} == {"given"}
    once = [phase_of(precise_ics, epoch) for epoch in range(81)]
    assert [phase.association for phase in once] == ["alone"] * 5 + ["made"] + ["kept"] * 75
    assert [phase.new_classifier for phase in once] == [False] * 5 + [True] + [False] * 75


@pytest.mark.parametrize(
    ("mode", "draw", "drawn"),
    [
        ("ccafl", "accumulated", "accumulated"),
        ("ccafl", "associated", "associated"),
        ("supervised", "accumulated", "associated"),
        ("precise_ics", "accumulated", "associated"),
    ],
)
def test_the_identities_drawn_in_each_mode(mode, draw, drawn):
    config = load_config("market1501", [f"mode={mode}", f"stage2.draw={draw}"])
    assert {phase_of(config, epoch).draw for epoch in range(5, 80)} == {drawn}


def test_learning_rates_of_stage_1_are_the_authors():
    """Their rates are those of steps 1 to 60: four of warm-up, 1e-5 + 6.8e-5 t, then the cosine from t = 5."""
    stage1 = Config().stage1
    rates = [stage1_learning_rate(stage1, epoch) for epoch in range(60)]
    assert rates[:4] == pytest.approx([7.8e-5, 1.46e-4, 2.14e-4, 2.82e-4])
    cosine = [1e-6 + 3.49e-4 * (1 + math.cos(math.pi * step / 60)) / 2 for step in range(5, 61)]
    assert rates[4:] == pytest.approx(cosine)
    assert rates[4] == pytest.approx(3.440541e-4)
    assert rates[29] == pytest.approx(1.755e-4)  # half way
    assert rates[59] == pytest.approx(1e-6)


def test_learning_rates_of_stage_2():
    stage2 = Config().stage2
    assert stage2_factor(stage2, 0) == pytest.approx(0.01)
    assert stage2_factor(stage2, 5) == pytest.approx(0.505)
    assert [stage2_factor(stage2, epoch) for epoch in (10, 39, 40, 50)] == pytest.approx([1, 1, 0.1, 0.01])
