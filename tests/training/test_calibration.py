"""The calibration of a run: made by its last epoch, kept with its encoder, and found wherever that is opened."""

import json

import ccafl
from ccafl.calibration import Calibration
from ccafl.encoders import open_encoder
from ccafl.hub import from_pretrained, save_pretrained
from ccafl.method.score_curve import ScoreCurve
from small_runs import SMALL, as_options, run

CURVE = ScoreCurve(12.5, -4.25, 11.7, joins=True)


def test_a_calibration_goes_where_its_encoder_goes(world, tmp_path, monkeypatch):
    asked = []

    def curve(features, identities, cameras, association, links, probability):
        asked.append((len(features), len(association)))
        return CURVE

    monkeypatch.setattr("ccafl.training.run.score_curve", curve)
    folder = tmp_path / "run"
    train = ("train", "market-split", "--data", world, "--out", folder, *as_options(SMALL))
    run(*train)
    results = json.loads((folder / "results.json").read_text())
    assert asked == [(results["images"], results["identities"])], "once, at the end"
    expected = Calibration(12.5, -4.25, 11.7, joins=True)
    assert results["calibration"] == {"slope": 12.5, "offset": -4.25, "pictures": 11.7, "joins": True}
    (folder / "results.json").unlink()
    run(*train, "--resume")
    assert json.loads((folder / "results.json").read_text())["calibration"] == results["calibration"]
    assert len(asked) == 1
    for opened in (
        ccafl.load(folder),
        open_encoder(folder),
        from_pretrained(save_pretrained(folder, tmp_path / "hub")),
    ):
        assert (opened.calibration, opened.drawn) == (expected, True)
    assert (ccafl.load("clip-synth").calibration, ccafl.load("clip-synth").drawn) == (None, True)
