"""A backbone without a text tower, from training to search."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import ccafl
from ccafl.config import validated
from ccafl.encoders.onnx_encoder import OnnxEncoder
from ccafl.encoders.torch_encoder import TorchEncoder
from ccafl.errors import InputError
from ccafl.export import export_run
from ccafl.pipeline import evaluate_run, train_run
from ccafl.report.activation import activation_maps, has_map
from ccafl.training import run as run_module
from ccafl.training.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def config(small):
    settings = small.model_dump()
    settings["model"] |= {"architecture": "timm/test_resnet", "weights": None}
    settings["stage2"]["intra_camera"]["text"] = False
    settings["stage2"]["inter_camera"]["text_from"] = None
    return validated(settings, "without text")


@pytest.fixture(scope="module")
def run(world, config, tmp_path_factory):
    out = tmp_path_factory.mktemp("timm") / "run"
    return out, train_run(config, world, out)


def test_stage_1_is_left_out_with_a_note(world, config, tmp_path, capsys):
    train_run(config, world, tmp_path / "run")
    assert capsys.readouterr().err.count("has no text tower: stage 1 has nothing to learn and is left out") == 1


def test_no_text_takes_part(run, world):
    folder, results = run
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert {event["stage"] for event in events} == {2}
    assert [event["phase"] for event in events] == ["intra", "intra", "inter", "inter + adversarial"]
    assert not any("text" in event["losses"] for event in events)
    state = load_checkpoint(folder / "checkpoints" / "last.pt")
    assert not {"prompts", "prompt_optimizer"} & state.keys()
    assert evaluate_run(folder, world)["mAP"] == pytest.approx(results["mAP"], abs=1e-6)


def test_it_resumes_bit_for_bit(run, world, config, tmp_path, monkeypatch):
    calls = iter(range(100))
    original = run_module.save_checkpoint

    def stopping(*args):
        if next(calls) == 3:
            raise KeyboardInterrupt
        original(*args)

    monkeypatch.setattr(run_module, "save_checkpoint", stopping)
    with pytest.raises(KeyboardInterrupt):
        train_run(config, world, tmp_path / "run")
    monkeypatch.setattr(run_module, "save_checkpoint", original)
    assert train_run(config, world, tmp_path / "run", resume=True) | {"seconds": 0} == run[1] | {"seconds": 0}


def test_it_is_embedded_exported_and_searched_by_picture_alone(run, world):
    folder, _ = run
    paths = sorted((world / "images").rglob("*.jpg"))[:3]
    embedder = ccafl.load(folder)
    features = embedder.embed(paths)
    assert features.shape == (3, embedder.dim)
    with pytest.raises(InputError, match="no text tower"):
        embedder.embed_both(paths)
    exported = export_run(folder)
    session = onnxruntime.InferenceSession(exported["onnx"]["path"], providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["features"]
    assert "image_text" not in (folder / "export" / "model_card.md").read_text()
    pictures = [Image.open(path) for path in paths]
    for encoder in (TorchEncoder(folder), OnnxEncoder(folder / "export" / "model.onnx")):
        encoded = encoder.encode(pictures)
        assert encoded.image_text is None
        assert np.sum(encoded.features * features.numpy(), 1) == pytest.approx(np.ones(3), abs=2e-3)
        with pytest.raises(InputError, match=r"no (trained )?text tower; search by picture"):
            encoder.encode_text(["a man"])


def test_its_activation_map_can_be_drawn(run):
    encoder = ccafl.load(run[0]).encoder
    assert has_map(encoder)
    maps = activation_maps(encoder, torch.randn(2, 3, 32, 16), torch.zeros(2, dtype=torch.int64))
    assert maps.shape == (2, 32, 16)
    assert (maps.min(), maps.max()) == (0, 1)


def test_text_losses_are_refused_before_the_data_are_read(config, tmp_path):
    settings = config.model_dump()
    settings["stage2"]["intra_camera"]["text"] = True
    with pytest.raises(InputError, match="has no text tower; set"):
        train_run(validated(settings, "text"), tmp_path / "no-data", tmp_path / "run")
    assert not list(tmp_path.iterdir())
