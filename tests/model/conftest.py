import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from open_clip.model import CLIP
from torch import nn

from ccafl.model.clip import load_clip


def _randomise(model: nn.Module) -> None:
    """Give norm weights and statistics values that have an effect: PyTorch initialises them to 0 or 1."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


@pytest.fixture(scope="session")
def randomise() -> Callable[[nn.Module], None]:
    return _randomise


@pytest.fixture(scope="session")
def tiny() -> CLIP:
    """A tiny CLIP in eval mode; tests must not change it."""
    torch.manual_seed(0)
    model = load_clip("tiny", None)
    _randomise(model)
    return model.eval()


@pytest.fixture(scope="session")
def small_vit() -> CLIP:
    """A CLIP with a small ViT (patches of 16, 64x64 pixels) in eval mode; tests must not change it."""
    torch.manual_seed(0)
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
    vision = {"image_size": 64, "layers": 2, "width": 128, "patch_size": 16}
    model = CLIP(embed_dim=96, vision_cfg=vision, text_cfg=text, quick_gelu=True)
    _randomise(model)
    return model.eval()


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, empty download caches, and retries without waiting."""

    def no_network(*_: object, **__: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
