"""Weights in every format give open_clip's features; anything wrong with them is reported in one line."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import open_clip
import pytest
import torch
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch import Tensor, nn

from ccafl.errors import InputError
from ccafl.model.clip import TINY, load_clip
from ccafl.model.clip_towers import clip_tower
from ccafl.model.image_encoder import ImageEncoder
from ccafl.model.prompts import TextEncoder

SENTENCES = ["a photo of a person in a red coat.", "a bicycle"]


class Reference(NamedTuple):
    """open_clip's unmodified model, with its features for two images and two sentences."""

    architecture: str
    state: dict[str, Tensor]
    images: Tensor
    tokens: Tensor
    image_features: Tensor
    text_features: Tensor


@pytest.fixture(scope="module")
def reference(request: pytest.FixtureRequest, randomise: Callable[[nn.Module], None]) -> Reference:
    torch.manual_seed(0)
    if request.param == "tiny":
        model = CLIP(**TINY, quick_gelu=True).eval()
    else:
        model = open_clip.create_model(request.param, force_quick_gelu=True).eval()
    randomise(model)
    with torch.no_grad():
        for value in model.state_dict().values():  # exact in half precision, so half-precision files lose nothing
            value.copy_(value.half())
        side = 128 if request.param == "tiny" else 224
        images = torch.randn(2, 3, side, side)
        tokens = open_clip.tokenize(SENTENCES)
        features = model.encode_image(images), model.encode_text(tokens)
    return Reference(request.param, model.state_dict(), images, tokens, *features)


def write_openai_archive(state: Mapping[str, Tensor], path: Path) -> None:
    """Write OpenAI's format: TorchScript, matrices in half precision, three numbers beside the weights."""

    class Archive(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images

    archive = Archive()
    numbers = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    weights = {key: value.half() if value.ndim > 1 else value for key, value in state.items()}
    for key, value in (weights | {key: torch.tensor(number) for key, number in numbers.items()}).items():
        module: nn.Module = archive
        *names, leaf = key.split(".")
        for name in names:
            if name not in dict(module.named_children()):
                module.add_module(name, nn.Module())
            module = module.get_submodule(name)
        module.register_buffer(leaf, value)
    torch.jit.save(torch.jit.trace(archive, torch.zeros(1)), path)


def write_safetensors(state: Mapping[str, Tensor], path: Path) -> None:
    save_file({key: value.half().contiguous() for key, value in state.items()}, path)


def write_checkpoint(state: Mapping[str, Tensor], path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}, path)


def write_old_state_dict(state: Mapping[str, Tensor], path: Path) -> None:
    torch.save(dict(state), path, _use_new_zipfile_serialization=False)


def text_features(clip: CLIP, tokens: Tensor) -> Tensor:
    encoder = TextEncoder(clip).eval()
    return torch.cat([encoder(clip.token_embedding(row[None]), int(row.argmax())) for row in tokens])


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("reference", "name", "write"),
    [
        ("tiny", "a.pt", write_openai_archive),
        ("tiny", "a.safetensors", write_safetensors),
        ("tiny", "a.pth", write_checkpoint),
        ("RN50", "a.safetensors", write_safetensors),  # that of a format and that of a network are not one another's
        ("ViT-B-16", "a.pt", write_openai_archive),
    ],
    indirect=["reference"],
)
@torch.no_grad()
def test_every_format_gives_open_clips_features(
    reference: Reference, tmp_path: Path, name: str, write: Callable[[Mapping[str, Tensor], Path], None]
) -> None:
    write(reference.state, tmp_path / name)
    clip = load_clip(reference.architecture, str(tmp_path / name)).eval()
    (tmp_path / name).unlink()  # hundreds of megabytes that pytest would keep

    loaded = clip.state_dict()
    assert loaded.keys() == reference.state.keys()
    assert all(value.dtype != torch.float16 and value.device.type == "cpu" for value in loaded.values())
    assert all(torch.equal(value, reference.state[key]) for key, value in loaded.items())
    encoder = ImageEncoder(clip_tower(clip.visual, tuple(reference.images.shape[2:]), last_stride=2)).eval()
    torch.testing.assert_close(encoder(reference.images)[1], reference.image_features, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(text_features(clip, reference.tokens), reference.text_features, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_plain_gelu_is_wrong_for_weights_trained_with_quick_gelu(tiny: CLIP, tmp_path: Path) -> None:
    path = tmp_path / "tiny.pth"
    write_old_state_dict(tiny.state_dict(), path)
    tokens = open_clip.tokenize(SENTENCES)
    expected = tiny.encode_text(tokens)

    torch.testing.assert_close(text_features(load_clip("tiny", str(path)).eval(), tokens), expected)
    plain = text_features(load_clip("tiny", str(path), quick_gelu=False).eval(), tokens)
    assert (plain - expected).norm() > 1e-3 * expected.norm()


def test_a_tags_activation_is_open_clips(tiny: CLIP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tiny.safetensors"
    write_safetensors(tiny.state_dict(), path)
    for quick in (True, False):
        tag = {"quick_gelu": quick} if quick else {}
        monkeypatch.setattr("ccafl.model.clip.get_pretrained_cfg", lambda *_, tag=tag: tag | {"file": str(path)})
        activation = type(load_clip("tiny", "some_tag").transformer.resblocks[0].mlp.gelu).__name__
        assert activation == ("QuickGELU" if quick else "GELU")


def test_batch_norm_counters_may_be_missing(tiny: CLIP, tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    state = {key: value for key, value in tiny.state_dict().items() if not key.endswith("num_batches_tracked")}
    save_file(state, path)
    assert torch.equal(load_clip("tiny", str(path)).visual.conv1.weight, tiny.visual.conv1.weight)


def test_random_weights_follow_the_seed() -> None:
    def weights() -> Tensor:
        torch.manual_seed(5)
        return load_clip("tiny", None).visual.conv1.weight

    assert torch.equal(weights(), weights())


def refusal(architecture: str, weights: str | Path | None) -> str:
    """The error message for a refused model."""
    with pytest.raises(InputError) as caught:
        load_clip(architecture, None if weights is None else str(weights))
    message = str(caught.value)
    assert "\n" not in message
    assert ": " in message
    assert "; " in message
    return message


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors", "a.pth"])
@pytest.mark.parametrize(
    "content", [b"these are not weights\n", b"", b"PK\x03\x04 a damaged archive PK\x05\x06" + bytes(18)]
)
def test_refuses_files_that_are_not_weights(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert refusal("tiny", path).startswith(f"{path}: unreadable, damaged or not weights")


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("write", [write_openai_archive, write_safetensors, write_checkpoint, write_old_state_dict])
def test_refuses_a_truncated_file(
    tiny: CLIP, tmp_path: Path, write: Callable[[Mapping[str, Tensor], Path], None]
) -> None:
    path = tmp_path / ("a.safetensors" if write is write_safetensors else "a.pt")
    write({"a": tiny.visual.conv1.weight.detach(), "b": tiny.text_projection.detach()}, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refusal("tiny", path).startswith(f"{path}: unreadable, damaged or not weights")


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"state_dict": {}}, {1: torch.zeros(1)}])
def test_refuses_a_file_without_a_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pt")
    assert "holds no state dict" in refusal("tiny", tmp_path / "a.pt")


def test_refuses_a_file_that_would_run_code(tmp_path: Path) -> None:
    torch.save({"weights": nn.Linear(1, 1)}, tmp_path / "a.pt")
    assert "not weights" in refusal("tiny", tmp_path / "a.pt")


def test_names_the_first_weight_with_a_wrong_shape(tiny: CLIP, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(tiny.state_dict() | {"visual.conv1.weight": torch.zeros(32, 3, 7, 7)}, path)
    message = refusal("tiny", path)
    assert "visual.conv1.weight is (32, 3, 7, 7) in the file, (8, 3, 3, 3) in tiny" in message


def test_refuses_another_architectures_weights(small_vit: CLIP, tiny: CLIP, tmp_path: Path) -> None:
    torch.save(small_vit.state_dict(), tmp_path / "vit.pt")
    assert "positional_embedding is (77, 64) in the file, (77, 128) in tiny" in refusal("tiny", tmp_path / "vit.pt")
    state = tiny.state_dict()
    torch.save(state | {"visual.extra": torch.zeros(2)}, tmp_path / "more.pt")
    assert "visual.extra is (2,) in the file, missing in tiny" in refusal("tiny", tmp_path / "more.pt")
    del state["visual.layer4.0.conv1.weight"]
    torch.save(state, tmp_path / "less.pt")
    assert "visual.layer4.0.conv1.weight is missing in the file" in refusal("tiny", tmp_path / "less.pt")


def test_refuses_a_missing_file_and_an_unknown_tag(tmp_path: Path) -> None:
    assert "no such file" in refusal("RN50", tmp_path / "absent.pt")
    assert "is a folder" in refusal("RN50", tmp_path)
    assert "openai, yfcc15m, cc12m" in refusal("RN50", "laion2b_s34b_b88k")
    assert "no pretrained tags" in refusal("tiny", "openai")


def test_refuses_unknown_architectures_and_other_towers() -> None:
    assert "RN50x4" in refusal("RN50x5", None)
    assert "ViT-B-16" in refusal("ViT-B/16", None)
    assert "tiny" in refusal("?", None)
    for other in ("ViT-B-16-SigLIP", "coca_ViT-B-32", "convnext_base", "xlm-roberta-base-ViT-B-32"):
        assert "not CLIP's own" in refusal(other, None)


@pytest.mark.parametrize(
    ("architecture", "tag"), [("RN50", "openai"), ("RN50", "cc12m"), ("ViT-B-16", "laion2b_s34b_b88k")]
)
@pytest.mark.usefixtures("offline")
def test_reports_a_tag_that_cannot_be_downloaded(architecture: str, tag: str) -> None:
    message = refusal(architecture, tag)
    assert message.startswith(f"{tag}: the weights of {architecture} could not be downloaded (")
