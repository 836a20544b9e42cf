"""A run and its ONNX export as encoders: the same features, also where torch is not installed."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image

import ccafl
from ccafl.config import dump, load_config
from ccafl.data.images import load_image
from ccafl.encoders import onnx_encoder
from ccafl.encoders.encoder import open_encoder
from ccafl.encoders.export_metadata import seal_onnx
from ccafl.encoders.onnx_encoder import OnnxEncoder
from ccafl.encoders.torch_encoder import TorchEncoder
from ccafl.errors import InputError
from ccafl.export import export_run
from ccafl.model.clip import load_clip
from ccafl.model.clip_towers import clip_tower
from ccafl.model.image_encoder import ImageEncoder
from ccafl.synthetic.write import synthesize
from ccafl.training.checkpoint import load_checkpoint, save_checkpoint

CAMERAS = ["door", "hall", "stairs"]
NO_TORCH = """
import importlib, pkgutil, sys
from pathlib import Path
for name in ("torch", "torchvision", "open_clip", "lightning_fabric", "safetensors"):
    sys.modules[name] = None
import ccafl.cli, ccafl.data.source, ccafl.encoders, ccafl.gallery, ccafl.service
for room in (ccafl.encoders, ccafl.gallery, ccafl.service):
    for module in pkgutil.iter_modules(room.__path__):
        if module.name not in ("torch_encoder", "labelling"):  # which need torch
            importlib.import_module(f"{room.__name__}.{module.name}")
import numpy as np
from ccafl.data.images import load_image
from ccafl.data.listing import images_below
from ccafl.errors import InputError
from ccafl.encoders.encoder import open_encoder
file, run, pictures, out = map(Path, sys.argv[1:])
encoder = open_encoder(file)
np.save(out, encoder.encode([load_image(path) for path in images_below(pictures)]).features)
try:
    open_encoder(run)
except InputError as error:
    print(error)
"""


def make_run(folder: Path, *settings: str) -> Path:
    """A run as training leaves it, with shipped or random weights, and different statistics in every norm."""
    config = load_config("market-split", list(settings))
    clip = load_clip(config.model.architecture, config.model.weights, quick_gelu=True)
    norm_cameras = len(CAMERAS) if config.model.camera_norm else None
    torch.manual_seed(0)
    encoder = ImageEncoder(clip_tower(clip.visual, config.model.image_size, config.model.last_stride), norm_cameras)
    for name, value in encoder.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            value += torch.rand_like(value) * value.abs().mean()
    folder.mkdir()
    (folder / "config.yaml").write_text(dump(config))
    save_checkpoint(folder / "checkpoints" / "last.pt", {"camera_names": CAMERAS, "encoder": encoder.state_dict()})
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "world"
    synthesize(out, seed=2, persons=3, cameras=3, images=2, size=(80, 36))
    return out / "images"


@pytest.fixture(scope="module")
def people(pictures):
    return [load_image(path) for path in sorted(pictures.rglob("*.jpg"))][:12]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with a text tower, and norms that keep cameras' statistics."""
    sets = ("architecture=clip-synth", "weights=shipped", "quick_gelu=true", "image_size=[64, 32]", "camera_norm=true")
    return make_run(tmp_path_factory.mktemp("runs") / "described", *(f"model.{name}" for name in sets))


@pytest.fixture(scope="module")
def wordless(tmp_path_factory):
    sets = ("architecture=tiny", "weights=null", "image_size=[32, 16]")
    return make_run(tmp_path_factory.mktemp("runs") / "wordless", *(f"model.{name}" for name in sets))


@pytest.fixture(scope="module")
def file(run):
    return Path(export_run(run)["onnx"]["path"])


@pytest.fixture(scope="module")
def by_torch(run):
    return TorchEncoder(run)


@pytest.fixture(scope="module")
def by_onnx(file):
    return OnnxEncoder(file)


def least_cosine(one: np.ndarray, other: np.ndarray) -> float:
    np.testing.assert_allclose([np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1)], 1, atol=1e-3)
    return float((one * other).sum(1).min())


def test_a_run_and_its_export_are_one_model(run, file, by_torch, by_onnx):
    assert by_torch.fingerprint == by_onnx.fingerprint == open_encoder(run).fingerprint
    assert len(by_torch.fingerprint) == 64
    assert by_torch.name == by_onnx.name == "described"
    assert (by_torch.dim, by_torch.text_dim) == (by_onnx.dim, by_onnx.text_dim) == (512, 256)
    assert by_torch.camera_names == by_onnx.camera_names == tuple(CAMERAS)
    assert (by_torch.place, by_onnx.place) == (run.resolve(), file.resolve())
    assert (by_torch.runtime.split(",")[0], by_onnx.runtime) == ("torch", "onnxruntime, cpu")
    assert isinstance(open_encoder(file), OnnxEncoder)


def test_the_export_gives_the_run_s_features_from_pictures(run, people, by_torch, by_onnx):
    cameras = [[*CAMERAS, "attic"][number % 4] for number in range(len(people))]
    exact = [both.numpy() for both in ccafl.load(run).embed_both(people, cameras)]
    for encoder, least in ((by_onnx, 0.999), (by_torch, 0.99)):  # torch may compute in bfloat16
        encoded = encoder.encode(people, cameras)
        assert encoded.features.dtype == encoded.image_text.dtype == np.float32
        assert least_cosine(encoded.features, exact[0]) > least
        assert least_cosine(encoded.image_text, exact[1]) > least


def test_one_forward_pass_gives_both_features(run, people):
    encoder = TorchEncoder(run)
    passes = []
    encoder._embedder.encoder.register_forward_hook(lambda *_: passes.append(1))
    encoded = encoder.encode(people)
    assert len(passes) == 1
    assert encoded.features.shape == (len(people), 512)
    assert encoded.image_text.shape == (len(people), 256)


def test_embed_both_is_embed_and_the_image_text_feature(run, people):
    embedder = ccafl.load(run)
    reid, image_text = embedder.embed_both(people, CAMERAS * 4)
    torch.testing.assert_close(reid, embedder.embed(people, CAMERAS * 4))
    torch.testing.assert_close(image_text.norm(dim=1), torch.ones(len(people)))
    assert [part.shape for part in embedder.embed_both([])] == [(0, 512), (0, 256)]


def test_a_picture_s_camera_decides_its_feature(people, by_torch, by_onnx):
    for encoder in (by_torch, by_onnx):
        door, hall, unknown = (encoder.encode(people, [name] * len(people)).features for name in ("door", "hall", ""))
        assert (door * hall).sum(1).max() < 0.999
        assert (door * unknown).sum(1).max() < 0.999
        np.testing.assert_allclose(encoder.encode(people).features, unknown, atol=1e-5)


def test_batch_size_does_not_change_features(by_onnx, people, monkeypatch):
    cameras = (CAMERAS * 4)[: len(people)]
    whole = by_onnx.encode(people, cameras)
    monkeypatch.setattr(onnx_encoder, "BATCH", 5)
    split = by_onnx.encode(people, cameras)
    np.testing.assert_allclose(whole.features, split.features, atol=1e-5)
    np.testing.assert_allclose(whole.image_text, split.image_text, atol=1e-5)
    alone = [by_onnx.encode([picture], [camera]) for picture, camera in zip(people, cameras, strict=True)]
    np.testing.assert_allclose(whole.features, np.concatenate([one.features for one in alone]), atol=1e-5)


def test_no_pictures_are_no_features(by_torch, by_onnx):
    for encoder in (by_torch, by_onnx):
        nothing = encoder.encode([])
        assert (nothing.features.shape, nothing.image_text.shape) == ((0, 512), (0, 256))
    assert by_torch.encode_text([]).shape == (0, 256)


def test_pictures_of_any_mode(by_torch, by_onnx, people):
    grey = people[0].convert("L")
    for encoder in (by_torch, by_onnx):
        np.testing.assert_allclose(
            encoder.encode([grey]).features, encoder.encode([grey.convert("RGB")]).features, atol=1e-5
        )


def test_sentences_are_read_as_clip_reads_them(run, by_torch):
    sentences = ["a man in a red coat", "a woman in blue trousers with a green bag, seen from behind"]
    features = by_torch.encode_text(sentences)
    assert features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(by_torch.encode_text(sentences[:1]), features[:1], atol=1e-5)
    clip = load_clip("clip-synth", "shipped").eval()
    tokens = SimpleTokenizer(context_length=clip.context_length)(sentences)
    with torch.no_grad():
        expected = clip.encode_text(tokens, normalize=True).numpy()
    assert least_cosine(features, expected) > 0.9999


def test_without_a_text_tower_sentences_are_refused(wordless, people, by_onnx):
    encoder = TorchEncoder(wordless)
    assert not encoder.describes
    assert encoder.text_dim is None
    assert encoder.encode(people).image_text is None
    assert not by_onnx.describes
    for one, reason in ((encoder, "no trained text tower"), (by_onnx, "has no text tower")):
        with pytest.raises(InputError, match=reason):
            one.encode_text(["a man"])


@pytest.mark.parametrize("change", ["weight", "statistic", "camera", "setting"])
def test_the_fingerprint_covers_everything_that_affects_features(wordless, tmp_path, change):
    before = ccafl.load(wordless)
    state = load_checkpoint(wordless / "checkpoints" / "last.pt")
    config = before.config
    if change == "weight":
        state["encoder"]["tower.resnet.layer3.0.conv2.weight"][0, 0, 0, 0] += 1e-3
    elif change == "statistic":
        state["encoder"]["bnneck.running_mean"][-1] += 1e-3
    elif change == "camera":
        state["camera_names"] = CAMERAS[::-1]
    else:
        model = config.model.model_copy(update={"quick_gelu": False})
        config = config.model_copy(update={"model": model})
    (tmp_path / "config.yaml").write_text(dump(config))
    content = {"camera_names": state["camera_names"], "encoder": state["encoder"]}
    save_checkpoint(tmp_path / "checkpoints" / "last.pt", content)
    assert ccafl.load(tmp_path).fingerprint() != before.fingerprint()
    assert ccafl.load(wordless, fast=True).fingerprint() == before.fingerprint()


def test_other_files_are_refused(run, file, tmp_path):
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(file.read_bytes()[:100_000])
    picture = tmp_path / "picture.onnx"
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([node], "other", [value], [result])
    opset = [onnx.helper.make_opsetid("", 20)]
    foreign = tmp_path / "foreign.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), foreign)
    ours = onnx.load(file)
    for entry in ours.metadata_props:
        entry.value = "3" if entry.key == "ccafl.format" else entry.value
    newer = tmp_path / "newer.onnx"
    save_sealed(ours, newer)
    undecodable = tmp_path / "undecodable.onnx"
    save_sealed(onnx.load(file), undecodable)
    digest = next(entry.value for entry in onnx.load(undecodable).metadata_props if entry.key == "ccafl.digest")
    forged = undecodable.read_bytes().replace(b"ccafl.name", b"\xe3cafl.name").replace(digest.encode(), b"0" * 64)
    undecodable.write_bytes(forged)
    seal_onnx(undecodable)
    older, changed = tmp_path / "older.onnx", tmp_path / "changed.onnx"
    onnx.save(changed_properties(file, {"ccafl.format": "1", "ccafl.digest": None}), older)
    onnx.save(changed_properties(file, {"ccafl.fingerprint": "0" * 64}), changed)
    reasons = {
        damaged: "cannot be read as ONNX",
        picture: "cannot be read as ONNX",
        undecodable: "cannot be read as ONNX",
        foreign: "is not an export of ccafl",
        newer: "another version of ccafl",
        older: "another version of ccafl",
        changed: "is damaged or was changed after its export",
        tmp_path / "nothing.onnx": "is not a run",
        tmp_path: "is not a run",
    }
    for path, reason in reasons.items():
        with pytest.raises(InputError, match=reason) as refused:
            open_encoder(path)
        assert str(refused.value).startswith(f"{path}: ")
        assert "\n" not in str(refused.value)


def changed_properties(file: Path, changes: dict[str, str | None]) -> onnx.ModelProto:
    """The model in a file with other metadata; None removes one."""
    model = onnx.load(file)
    properties = {entry.key: entry.value for entry in model.metadata_props} | changes
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {key: value for key, value in properties.items() if value is not None})
    return model


def save_sealed(model: onnx.ModelProto, file: Path) -> None:
    """Write a forged file as `ccafl export` would: its digest is right."""
    for entry in model.metadata_props:
        entry.value = "0" * 64 if entry.key == "ccafl.digest" else entry.value
    onnx.save(model, file)
    seal_onnx(file)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_size", "[64]"),
        ("image_size", "[64, 1000000000]"),
        ("image_size", "[32, 32]"),
        ("image_size", '["64", 32]'),
        ("camera_names", "door"),
        ("camera_names", '{"door": 1}'),
        ("camera_names", "[1, 2]"),
        ("camera_names", "[" * 5000 + "]" * 5000),
        ("fingerprint", None),
        ("fingerprint", "0123"),
        ("name", None),
    ],
)
def test_forged_metadata_are_refused(file, tmp_path, key, value):
    forged = tmp_path / "model.onnx"
    save_sealed(changed_properties(file, {f"ccafl.{key}": value}), forged)
    with pytest.raises(InputError, match=r"model\.onnx: is not an export of ccafl") as refused:
        OnnxEncoder(forged)
    assert "\n" not in str(refused.value)


def test_other_inputs_are_refused(file, tmp_path):
    model, forged = onnx.load(file), tmp_path / "model.onnx"
    for given in model.graph.input:
        if given.name == "cameras":
            given.name = "others"
    for node in model.graph.node:
        for number, name in enumerate(node.input):
            node.input[number] = "others" if name == "cameras" else name
    save_sealed(model, forged)
    with pytest.raises(InputError, match=r"model\.onnx: is not an export of ccafl"):
        OnnxEncoder(forged)


def test_any_bit_turned_in_an_export_is_noticed(file, tmp_path):
    copy, chance = Path(shutil.copy(file, tmp_path)), random.Random(0)
    size, mark = copy.stat().st_size, copy.read_bytes().index(b"ccafl.digest")
    for place in (*range(mark - 300, mark + 100, 7), *(chance.randrange(size) for _ in range(60))):
        with copy.open("r+b") as opened:
            opened.seek(place)
            byte = opened.read(1)[0]
            for bit in (1 << chance.randrange(8), 0):
                opened.seek(place)
                opened.write(bytes([byte ^ bit]))
                opened.flush()
                if bit:
                    with pytest.raises(InputError, match=r"model\.onnx: "):
                        OnnxEncoder(copy)
    OnnxEncoder(copy)


def test_without_onnx_runtime_the_extra_is_named(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"ccafl\[onnx\]"):
        OnnxEncoder(file)


def test_without_torch_the_export_encodes_and_all_rooms_of_search_import(run, file, pictures, by_onnx, tmp_path):
    out = tmp_path / "features.npy"
    arguments = [sys.executable, "-c", NO_TORCH, str(file), str(run), str(pictures), str(out)]
    said = subprocess.run(arguments, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert "a run needs torch" in said.stdout
    folders = sorted(pictures.iterdir())
    paths = [path for folder in folders for label in sorted(folder.iterdir()) for path in sorted(label.glob("*.jpg"))]
    expected = by_onnx.encode([load_image(path) for path in paths]).features
    np.testing.assert_allclose(np.load(out), expected, atol=1e-5)
