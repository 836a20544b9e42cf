"""The whole network of a run (docs/method.md, 2), built from its settings."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from open_clip.model import CLIP
from torch import Tensor, nn

from ccafl.config import Config, Model
from ccafl.errors import InputError
from ccafl.model.classifier import GlobalIDClassifier
from ccafl.model.clip import load_clip, random_image_tower, trained_with_quick_gelu
from ccafl.model.clip_towers import clip_tower
from ccafl.model.image_encoder import ImageEncoder
from ccafl.model.prompts import PromptLearner, TextEncoder
from ccafl.model.timm_tower import TimmTower
from ccafl.model.tower import Size, Tower

WITHOUT_TEXT: dict[str, Callable[[str, str | None, Size, int], Tower]] = {"timm/": TimmTower}
"""Backbones without a text tower, by the prefix of the architecture's name."""


_OF_SOME = {
    name: Model.model_fields[name].default
    for name in ("camera_norm", "camera_embedding", "patch_stride", "patch_frozen", "normalisation")
}
"""Settings that not every architecture has, with the values that ask for nothing."""


@dataclass(frozen=True, slots=True)
class Network:
    """The parts that learn (encoder, prompts, classifier) and the frozen text encoder.

    ``prompts`` and ``text_encoder`` are None for an architecture without a text tower.
    """

    encoder: ImageEncoder
    prompts: PromptLearner | None
    text_encoder: TextEncoder | None
    classifier: GlobalIDClassifier

    def text_features(self, identities: Tensor) -> Tensor:
        """Text features of accumulated identities by their prompts: (B,) -> (B, E), E = 0 without a text tower."""
        if self.prompts is None or self.text_encoder is None:
            return torch.empty(len(identities), 0, device=identities.device)
        features: Tensor = self.text_encoder(*self.prompts(identities))
        return features


def build_network(settings: Model, identities: int, cameras: int, seed: int) -> Network:
    """Build the network for N accumulated identities in C cameras; random parts follow from ``seed``.

    Raises:
        InputError: the architecture or its weights are not available, or the architecture lacks what the settings need.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower, clip = build_backbone(settings, settings.weights, cameras)
        encoder = _encoder(tower, settings, cameras)
        prompts = None if clip is None else PromptLearner(clip, identities, settings.template, settings.prompt_tokens)
        text_encoder = None if clip is None else TextEncoder(clip)
        return Network(encoder, prompts, text_encoder, GlobalIDClassifier(identities, encoder.reid_dim))


def resolved(settings: Model) -> Model:
    """The settings with what depends on the weights filled in, so that the run can later be opened without them."""
    if settings.quick_gelu is not None or not has_text_tower(settings):
        return settings
    return settings.model_copy(update={"quick_gelu": trained_with_quick_gelu(settings.architecture, settings.weights)})


def check_backbone(config: Config) -> None:
    """Refuse settings that do not suit the architecture, before any data are read; no weights are fetched.

    Raises:
        InputError: text losses without a text tower, cameras' statistics without batch norms, or what only a ViT has.
    """
    if config.stage2.text_losses and not has_text_tower(config.model):
        raise InputError(
            f"model.architecture {config.model.architecture}: has no text tower; "
            "set stage2.intra_camera.text=false and stage2.inter_camera.text_from=null"
        )
    if any(getattr(config.model, name) != default for name, default in _OF_SOME.items()):
        with torch.device("meta" if has_text_tower(config.model) else "cpu"):  # nothing to fill; timm needs numbers
            build_encoder(config.model, 1)


def build_encoder(settings: Model, cameras: int) -> ImageEncoder:
    """The image encoder alone, to be filled from a checkpoint; no weights are fetched."""
    if not has_text_tower(settings):
        return _encoder(_tower_without_text(settings, None), settings, cameras)
    visual = random_image_tower(settings.architecture, quick_gelu=settings.quick_gelu)
    return _encoder(_tower_of(visual, settings, cameras), settings, cameras)


def has_text_tower(settings: Model) -> bool:
    """Whether the architecture comes with a text tower."""
    return not settings.architecture.startswith(tuple(WITHOUT_TEXT))


def build_backbone(settings: Model, weights: str | None, cameras: int = 0) -> tuple[Tower, CLIP | None]:
    """The image tower, for C cameras, and the CLIP that its text tower comes from. Only this file knows their kinds.

    Raises:
        InputError: the architecture or its weights are not available, or the settings are another architecture's.
    """
    if not has_text_tower(settings):
        return _tower_without_text(settings, weights), None
    clip = load_clip(settings.architecture, weights, quick_gelu=settings.quick_gelu)
    return _tower_of(clip.visual, settings, cameras), clip


def _tower_without_text(settings: Model, weights: str | None) -> Tower:
    for name in ("camera_embedding", "patch_stride", "patch_frozen", "normalisation"):
        if getattr(settings, name) != _OF_SOME[name]:
            raise InputError(f"model.{name}: {settings.architecture} is no CLIP; leave it out")
    tower = next(tower for prefix, tower in WITHOUT_TEXT.items() if settings.architecture.startswith(prefix))
    return tower(settings.architecture, weights, settings.image_size, settings.last_stride)


def _tower_of(clip_visual: nn.Module, settings: Model, cameras: int) -> Tower:
    return clip_tower(
        clip_visual,
        settings.image_size,
        settings.last_stride,
        halved=settings.normalisation == "half",
        patch_stride=settings.patch_stride,
        patch_frozen=settings.patch_frozen,
        embedded_cameras=cameras if settings.camera_embedding else None,
    )


def _encoder(tower: Tower, settings: Model, cameras: int) -> ImageEncoder:
    return ImageEncoder(tower, norm_cameras=cameras if settings.camera_norm else None)
