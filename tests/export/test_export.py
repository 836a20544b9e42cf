"""Exported files: correct for any batch size, written completely or not at all, with a model card."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import ccafl
from ccafl.calibration import Calibration
from ccafl.data.transforms import normalise
from ccafl.encoders.export_metadata import ExportMetadata, read_export_metadata
from ccafl.errors import InputError
from ccafl.export import export_run, graph
from ccafl.export import write as writing
from ccafl.export.card import ExportedFile, model_card
from ccafl.export.graph import EncoderGraph
from ccafl.model.clip import load_clip
from ccafl.model.clip_towers import clip_tower
from ccafl.model.image_encoder import ImageEncoder
from small_runs import SIZE

DOCUMENT = Path(__file__).parents[2] / "docs" / "export.md"


@pytest.fixture(scope="module")
def trained(small_run, tmp_path_factory):
    """A copy of the run to export into."""
    return Path(shutil.copytree(small_run, tmp_path_factory.mktemp("data") / "run"))


@pytest.fixture(scope="module")
def exported(trained):
    return export_run(trained, program=True)


@pytest.fixture(scope="module")
def computed(exported):
    """What each file computes."""
    session = onnxruntime.InferenceSession(exported["onnx"]["path"], providers=["CPUExecutionProvider"])
    program = torch.export.load(exported["program"]["path"]).module()
    return {
        "onnx": lambda images: map(torch.from_numpy, session.run(None, {"images": images.numpy()})),
        "program": program,
    }


@pytest.fixture(scope="module")
def encoder(trained):
    return ccafl.load(trained).encoder.cpu()


@pytest.fixture(scope="module")
def card(exported):
    return Path(exported["card"]).read_text()


@pytest.fixture
def run(trained, exported, tmp_path):
    """A copy of the run and its exports that a test may damage."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def images_of(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *SIZE), dtype=torch.uint8, generator=generator)


def normed_encoder() -> ImageEncoder:
    """An encoder with different statistics for every camera."""
    torch.manual_seed(0)
    encoder = ImageEncoder(clip_tower(load_clip("tiny", None).visual, SIZE), norm_cameras=3).eval()
    for name, value in encoder.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            value += torch.rand_like(value)
    return encoder


def test_files_are_written_and_described(trained, exported):
    for kind, name in (("onnx", "model.onnx"), ("program", "model.pt2")):
        file = trained / "export" / name
        description = exported[kind]
        assert description["path"] == str(file)
        assert description["mib"] == file.stat().st_size / 2**20 > 1
        assert 0.9999 <= description["cosine"] <= 1
        assert description["seconds"] > 0
    assert exported["card"] == str(trained / "export" / "model_card.md")
    assert exported["fingerprint"] == ccafl.load(trained).fingerprint()
    assert {path.name for path in (trained / "export").iterdir()} == {"model.onnx", "model.pt2", "model_card.md"}
    json.dumps(exported)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("kind", ["onnx", "program"])
def test_features_are_right_for_any_batch_size(encoder, computed, kind, count):
    images = images_of(count, seed=count)
    with torch.no_grad():
        expected = encoder.embed(normalise(images))
    (found,) = computed[kind](images)
    assert found.shape == (count, 512)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


def test_the_files_describe_themselves_and_reveal_nothing_of_the_machine(trained, exported):
    session = onnxruntime.InferenceSession(exported["onnx"]["path"], providers=["CPUExecutionProvider"])
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
        ("images", "tensor(uint8)", ["batch", 3, *SIZE])
    ]
    assert [(o.name, o.shape) for o in session.get_outputs()] == [("features", ["batch", 512])]
    extra = {"ccafl.json": ""}
    torch.export.load(exported["program"]["path"], extra_files=extra)
    opened = ccafl.load(trained)
    expected = ExportMetadata(exported["fingerprint"], "run", SIZE, opened.camera_names, opened.calibration, drawn=True)
    for properties in (session.get_modelmeta().custom_metadata_map, json.loads(extra["ccafl.json"])):
        assert read_export_metadata(properties, trained) == expected
    source = str(Path(ccafl.__file__).parent).encode()
    for name in ("model.onnx", "model.pt2", "model_card.md"):
        content = (trained / "export" / name).read_bytes()
        assert source not in content
        assert str(trained).encode() not in content


def test_a_calibration_is_kept_with_the_file(tmp_path):
    known = ExportMetadata("f" * 64, "run", SIZE, ("c1",), Calibration(12.5, -4.25, 11.7, joins=True))
    assert read_export_metadata(known.properties(), tmp_path) == known


def test_looking_up_cameras_equals_sorting_by_them():
    encoder = normed_encoder()
    images, cameras = images_of(7), torch.tensor([2, -1, 0, 1, 0, 2, -1])
    with torch.no_grad():
        expected = [F.normalize(feature) for feature in encoder(normalise(images), cameras=cameras)]
        looked_up = EncoderGraph(encoder, image_text=True)
        found = looked_up(images, cameras)
        strangers = looked_up(images, torch.tensor([2, 7, 0, 1, 0, 2, -9]))
    for one, other, strange in zip(found, expected, strangers, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
        torch.testing.assert_close(strange, one)
    assert (F.cosine_similarity(found[0][2], looked_up(images[2:3], torch.tensor([1]))[0][0], 0)) < 0.999
    assert encoder.norm_cameras is not None  # the encoder is unchanged


def test_a_file_with_different_features_is_not_written(run, monkeypatch):
    before = {path.name: path.read_bytes() for path in (run / "export").iterdir()}
    monkeypatch.setattr(graph, "MEAN", (0.9, 0.1, 0.1))
    with pytest.raises(InputError, match=r"not written, its features are not the encoder's \(cosine"):
        export_run(run, onnx=False, program=True)
    assert {path.name: path.read_bytes() for path in (run / "export").iterdir()} == before


def test_a_correct_file_is_not_written_if_another_fails(run, monkeypatch):
    def broken(*arguments):
        return lambda images, cameras: [torch.full((len(images), 512), torch.nan)]

    monkeypatch.setattr(writing, "_trace", lambda *arguments: None)
    monkeypatch.setattr(writing, "_write_onnx", lambda *arguments: lambda images, cameras: next(right))
    right = iter([features for *_, features in writing._probes(*probe_inputs(run), image_text=False)])
    monkeypatch.setattr(writing, "_write_program", broken)
    with pytest.raises(InputError, match=r"model\.pt2: not written"):
        export_run(run, run / "elsewhere", program=True)
    assert not list((run / "elsewhere").iterdir())


def probe_inputs(run: Path):
    embedder = ccafl.load(run)
    return embedder.encoder.cpu(), ExportMetadata("f" * 64, "", SIZE, embedder.camera_names)


def test_what_cannot_be_exported_is_refused(run, monkeypatch, tmp_path):
    with pytest.raises(InputError, match="nothing to export"):
        export_run(run, onnx=False)
    with pytest.raises(InputError, match="is not a run"):
        export_run(tmp_path)
    monkeypatch.setattr(writing, "_ONNX_LIMIT", 1_000)
    with pytest.raises(InputError, match="2 GiB"):
        export_run(run)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r'needs onnxscript .*pip install "ccafl\[export\]"'):
        export_run(run)


def test_the_card_describes_the_model_its_data_its_results_and_its_limits(trained, exported, card):
    results = json.loads((trained / "results.json").read_text())
    headings = re.findall(r"^## (.+)$", card, re.MULTILINE)
    assert headings == [
        "Files", "In and out", "Training data", "Results", "Scores", "Limits", "Responsible use", "How it was made",
    ]  # fmt: skip
    assert card.startswith("# Model card: `run`\n")
    for text in (
        exported["fingerprint"],
        f"| mAP | {results['mAP']:.3f} |",
        f"| association: precision | {results['association']['precision']:.3f} |",
        f"`world`, read as manifest: {results['images']} images, 3 cameras, {results['identities']} labels",
        "Cameras (3): `c1`, `c2`, `c3`.",
        "(B, 3, 32, 16)",
        "(B, 512)",
        "random weights",
        "`ccafl export RUN --onnx --program`",
        f"| `model.onnx` | ONNX | {exported['onnx']['mib']:.1f} | {exported['onnx']['cosine']:.6f} |",
        "Features are not anonymous",
    ):
        assert text in card
    assert "image_text" not in card
    assert "`cameras`" not in card
    readme = " ".join((DOCUMENT.parents[1] / "README.md").read_text().split())
    assert " ".join(re.search(r"## Responsible use\n\n(.+?)\n\n", card, re.DOTALL)[1].split()) in readme


def card_of(run: Path) -> str:
    embedder = ccafl.load(run)
    metadata = ExportMetadata("f" * 64, "a `odd`\nname", SIZE, embedder.camera_names)
    return model_card(run, embedder, metadata, {"onnx": ExportedFile("model.onnx", 3.4, 0.99999, 1.0)})


def test_the_card_of_an_unfinished_run_says_so(run):
    (run / "results.json").unlink()
    card = card_of(run)
    assert card.startswith("# Model card: `a 'odd' name`\n")
    assert "None: the run was not trained to the end" in card
    assert "mAP" not in card


def test_the_card_of_an_unmeasured_run_says_so(run):
    results = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps(results | {"mAP": None, "rank1": None, "association": None}))
    assert "| ranking | not measured: the data had no query and gallery |" in card_of(run)


def test_damaged_results_are_not_mistaken_for_missing_ones(run):
    (run / "results.json").write_text("{")
    with pytest.raises(InputError, match=r"results\.json: is damaged"):
        card_of(run)


def test_the_documents_example_runs(exported, trained, tmp_path):
    (example,) = re.findall(r"```python\n(.+?)```", DOCUMENT.read_text(), re.DOTALL)
    shutil.copy(exported["onnx"]["path"], tmp_path)
    generator = np.random.default_rng(0)
    paths = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    for path in paths:
        blotches = Image.fromarray(generator.integers(0, 256, (6, 3, 3), dtype=np.uint8))
        blotches.resize((60, 130), Image.Resampling.BICUBIC).save(path)
    program = f"import sys\nsys.modules['torch'] = sys.modules['ccafl'] = None\n{example}"
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    one, other = ccafl.load(trained).embed(paths)
    assert float(result.stdout) == pytest.approx(float(one @ other), abs=2e-3)
    assert len(example.strip().splitlines()) < 20
