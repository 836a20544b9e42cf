"""CLIP, built by open_clip, its weights from an open_clip tag or a file in any of the usual formats."""

import difflib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from open_clip.factory import get_model_config, list_models
from open_clip.model import CLIP
from open_clip.pretrained import download_pretrained, get_pretrained_cfg, list_pretrained_tags_by_model
from torch import nn

from ccafl.errors import InputError
from ccafl.model.downloads import downloaded, hub_address
from ccafl.model.weights import check_fit, first_line, read_weights

# A CLIP for CPUs and small images: 1.8 M parameters in the image tower, a map of 512 channels, features of 256 numbers
# for image and text.
TINY: dict[str, Any] = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": 128, "layers": [2, 2, 2, 2], "width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 2},
}

# The CLIP that comes with the package, pretrained on the synthetic world's captions: 2.1 M parameters in the image
# tower, 3.4 M in the text tower, most of them word embeddings.
CLIP_SYNTH: dict[str, Any] = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": 128, "layers": [2, 2, 2, 3], "width": 16},
    "text_cfg": {"context_length": 64, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 4},
}
SHIPPED = "shipped"  # names the weights that come with the package
_OWN = {"tiny": TINY, "clip-synth": CLIP_SYNTH}

_SMALLEST_TEXT = {"context_length": 1, "vocab_size": 1, "width": 1, "heads": 1, "layers": 1}

# The open_clip settings that describe CLIP's own two towers; a model with any other setting has another kind of tower,
# pooling or tokenizer.
_CLIP_SETTINGS = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
_VISION_SETTINGS = {"image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size"}
_TEXT_SETTINGS = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}


def load_clip(architecture: str, weights: str | None, *, quick_gelu: bool | None = None) -> CLIP:
    """Build a CLIP model: float32, on the CPU, in training mode.

    Args:
        architecture: "tiny", "clip-synth", or an open_clip name with CLIP's own towers ("RN50", "ViT-B-16").
        weights: None for random ones; "shipped" for those that come with the package (clip-synth's); an open_clip tag
            of the architecture ("openai"), downloaded where it is not cached; or the path of a file: OpenAI's
            TorchScript archive, .safetensors, or a saved state dict.
        quick_gelu: whether the weights were trained with QuickGELU; a wrong value gives wrong features, and no error.
            None: what open_clip says of the tag; True for files and random weights, as OpenAI trained with it.

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
    state = read_weights(path, digest=weights == SHIPPED)
    model = CLIP(**config)
    check_fit(state, model.state_dict(), path, architecture)
    model.load_state_dict(state)
    return model


def random_image_tower(architecture: str, *, quick_gelu: bool | None) -> nn.Module:
    """The image tower that `load_clip` builds with random weights, without the cost of a text tower.

    Raises:
        InputError: unknown architecture.
    """
    config = _architecture_config(architecture)
    config["text_cfg"] = _SMALLEST_TEXT
    config["quick_gelu"] = trained_with_quick_gelu(architecture, None) if quick_gelu is None else quick_gelu
    tower: nn.Module = CLIP(**config).visual
    return tower


def trained_with_quick_gelu(architecture: str, weights: str | None) -> bool:
    """What open_clip says of the tag; True for files and random weights, as OpenAI trained with it."""
    tag = get_pretrained_cfg(architecture, weights) if weights else {}
    return bool(tag.get("quick_gelu", False)) if tag else True


def can_be_had(architecture: str, tag: str) -> bool:
    """Whether the weights of an open_clip tag are in its cache or can be downloaded, which this does."""
    try:
        _download(dict(get_pretrained_cfg(architecture, tag)), architecture, tag)
    except InputError:
        return False
    return True


def known_architectures() -> list[str]:
    """The names that `load_clip` looks up: this package's own, then open_clip's, not all of which it takes."""
    return [*_OWN, *list_models()]


def nearest_architectures(name: str) -> list[str]:
    """Known names most like ``name``, best first; none where nothing is like it."""
    return difflib.get_close_matches(name, known_architectures(), n=5)


def pretrained_tags(architecture: str) -> list[str]:
    """open_clip's tags of an architecture's weights; none for this package's own."""
    tags: list[str] = list_pretrained_tags_by_model(architecture)
    return tags


def _architecture_config(architecture: str) -> dict[str, Any]:
    """The arguments of open_clip's CLIP for a name."""
    if architecture in _OWN:
        return dict(_OWN[architecture])
    if architecture not in known_architectures():
        near = nearest_architectures(architecture) or ["RN50", "ViT-B-16"]
        raise InputError(
            f"{architecture}: no such architecture; choose tiny, clip-synth, timm/NAME or an open_clip name: "
            f"{', '.join(near)}"
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
    tags = pretrained_tags(architecture)
    choice = f"or a tag: {', '.join(tags)}" if tags else f"({architecture} has no pretrained tags)"
    raise InputError(f"{weights}: no such file, nor a pretrained tag of {architecture}; give an existing file {choice}")


def _download(tag: dict[str, Any], architecture: str, weights: str) -> Path:
    """The file of a tag, from open_clip's cache or the network."""
    try:
        address = hub_address() if tag.get("hf_hub") else str(tag.get("url"))
        found = downloaded(lambda: download_pretrained(tag), f"the weights {weights} of {architecture}", address)
        return Path(found)
    except Exception as error:  # without a network, three libraries raise many kinds of error
        raise InputError(
            f"{weights}: the weights of {architecture} could not be downloaded ({first_line(error)}); "
            "check the network, or fetch the file elsewhere and give its path"
        ) from error
