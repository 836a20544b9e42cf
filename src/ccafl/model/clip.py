"""CLIP, built by open_clip and filled from open_clip's tags or from a file in any of the usual formats."""

import difflib
import warnings
import zipfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from open_clip.factory import get_model_config, list_models
from open_clip.model import CLIP
from open_clip.pretrained import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model
from safetensors.torch import load_file
from torch import Tensor

from ccafl.errors import InputError

# A CLIP for CPUs and small images: 1.8 M parameters in the image tower, a map of 512 channels, 256 numbers for image
# and text.
TINY: dict[str, Any] = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": 128, "layers": [2, 2, 2, 2], "width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 2},
}

# The CLIP that comes with the package, pretrained on the synthetic world's captions (docs/synthetic.md): 2.1 M
# parameters in the image tower, 3.4 M in the text tower, most of them the words' embeddings.
CLIP_SYNTH: dict[str, Any] = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": 128, "layers": [2, 2, 2, 3], "width": 16},
    "text_cfg": {"context_length": 64, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 4},
}
SHIPPED = "shipped"  # names the weights that come with the package
_OWN = {"tiny": TINY, "clip-synth": CLIP_SYNTH}

# The settings of open_clip that describe CLIP's own two towers; a model that needs any other has another kind of tower,
# pooling or tokenizer.
_CLIP_SETTINGS = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
_VISION_SETTINGS = {"image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size"}
_TEXT_SETTINGS = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}

# What OpenAI's archives carry beside the weights.
_NOT_WEIGHTS = {"input_resolution", "context_length", "vocab_size"}


def load_clip(architecture: str, weights: str | None, *, quick_gelu: bool | None = None) -> CLIP:
    """Build a CLIP model (float32, on the CPU, in training mode as PyTorch builds modules).

    Args:
        architecture: "tiny", "clip-synth", or an open_clip name with CLIP's own towers ("RN50", "ViT-B-16").
        weights: None for random ones; "shipped" for those that come with the package (clip-synth's); an open_clip tag
            of the architecture ("openai"), downloaded where it is not cached; or the path of a file: OpenAI's
            TorchScript archive, .safetensors, or a saved state dict.
        quick_gelu: the activation the weights were trained with. None: what open_clip says of the tag; True for files
            and random weights, as OpenAI trained with it. With the wrong one the features are silently wrong.

    Raises:
        InputError: unknown architecture or tag, no network, or a file that does not hold this architecture's weights.
    """
    config = _architecture_config(architecture)
    tag = get_pretrained_cfg(architecture, weights) if weights else {}
    if quick_gelu is None:
        quick_gelu = trained_with_quick_gelu(architecture, weights)
    config["quick_gelu"] = quick_gelu
    if weights is None:
        return CLIP(**config)
    if weights == SHIPPED:
        path = _shipped(architecture)
    else:
        path = _download(tag, architecture, weights) if tag else _existing_file(architecture, weights)
    state = _read_weights(path)
    model = CLIP(**config)
    _check_fit(state, model.state_dict(), path, architecture)
    model.load_state_dict(state)
    return model


def trained_with_quick_gelu(architecture: str, weights: str | None) -> bool:
    """What open_clip says of a tag; True for files and random weights, as OpenAI trained with it."""
    tag = get_pretrained_cfg(architecture, weights) if weights else {}
    return bool(tag.get("quick_gelu", False)) if tag else True


def _architecture_config(architecture: str) -> dict[str, Any]:
    """The arguments of open_clip's CLIP for a name."""
    if architecture in _OWN:
        return dict(_OWN[architecture])
    known: list[str] = list_models()
    if architecture not in known:
        near = difflib.get_close_matches(architecture, [*_OWN, *known], n=5) or ["RN50", "ViT-B-16"]
        raise InputError(
            f"{architecture}: no such architecture; choose tiny, clip-synth or an open_clip name: {', '.join(near)}"
        )
    config: dict[str, Any] = get_model_config(architecture)
    if not _has_clip_towers(config):
        raise InputError(f"{architecture}: its towers are not CLIP's own; choose tiny, RN50, ViT-B-16 or a relative")
    return config


def _has_clip_towers(config: Mapping[str, Any]) -> bool:
    return (
        config.keys() <= _CLIP_SETTINGS
        and config["vision_cfg"].keys() <= _VISION_SETTINGS
        and config["text_cfg"].keys() <= _TEXT_SETTINGS
    )


def _shipped(architecture: str) -> Path:
    if architecture != "clip-synth":
        raise InputError(f"weights {SHIPPED}: {architecture} has none; they come with clip-synth only")
    return Path(str(resources.files("ccafl.weights").joinpath("clip-synth.safetensors")))


def _existing_file(architecture: str, weights: str) -> Path:
    path = Path(weights)
    if path.is_file():
        return path
    if path.is_dir():
        raise InputError(f"{weights}: is a folder; give the weights file in it")
    tags: list[str] = list_pretrained_tags_by_model(architecture)
    choice = f"or a tag: {', '.join(tags)}" if tags else f"({architecture} has no pretrained tags)"
    raise InputError(f"{weights}: no such file, nor a pretrained tag of {architecture}; give an existing file {choice}")


def _download(tag: dict[str, Any], architecture: str, weights: str) -> Path:
    """The file of a tag: open_clip's cache or the network."""
    try:
        return Path(download_pretrained(tag))
    except Exception as error:  # no network shows as one of many errors of three libraries
        raise InputError(
            f"{weights}: the weights of {architecture} could not be downloaded ({_first_line(error)}); "
            "check the network, or fetch the file elsewhere and give its path"
        ) from error


def _read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a file of any of the three formats, under the names of open_clip's CLIP."""
    try:
        content = _read_file(path)
    except Exception as error:  # a damaged file can make a reader stumble over anything
        raise InputError(
            f"{path}: unreadable, damaged or not weights; "
            "give OpenAI's archive, a .safetensors file or a saved state dict"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not _is_state_dict(content):
        raise InputError(f"{path}: holds no state dict; save the model's state_dict() and give that file")
    return {key.removeprefix("module."): value for key, value in content.items() if key not in _NOT_WEIGHTS}


def _read_file(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    if _is_torchscript(path):
        with warnings.catch_warnings():  # PyTorch advises whoever writes such archives, not their readers
            warnings.simplefilter("ignore")
            return torch.jit.load(path, map_location="cpu").state_dict()
    return torch.load(path, map_location="cpu", weights_only=True)


def _is_torchscript(path: Path) -> bool:
    """Whether torch.jit.save wrote the file: only such an archive has a table of its code's constants."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _is_state_dict(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
    )


def _check_fit(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path, architecture: str) -> None:
    """Refuse weights whose names or shapes are not the architecture's, naming the first that differs."""
    for key in [*expected, *state]:
        wanted, found = (tuple(side[key].shape) if key in side else None for side in (expected, state))
        if found is None and key.endswith("num_batches_tracked"):  # left out by some writers; PyTorch fills it in
            continue
        if wanted != found:
            raise InputError(
                f"{path}: not weights of {architecture}: {key} is {_shape(found)} in the file, {_shape(wanted)} in "
                f"{architecture}; name the architecture that the file belongs to"
            )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else str(shape)


def _first_line(error: BaseException) -> str:
    """The beginning of an error's message, or its kind where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
