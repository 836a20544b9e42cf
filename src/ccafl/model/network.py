"""The whole network of a run (docs/method.md, 2), built from its settings."""

from dataclasses import dataclass

import torch
from open_clip.model import CLIP

from ccafl.config import Model
from ccafl.model.classifier import GlobalIDClassifier
from ccafl.model.clip import load_clip, trained_with_quick_gelu
from ccafl.model.image_encoder import ImageEncoder
from ccafl.model.prompts import PromptLearner, TextEncoder


@dataclass(frozen=True, slots=True)
class Network:
    """The parts that learn (encoder, prompts, classifier) and the one that never does (text encoder)."""

    encoder: ImageEncoder
    prompts: PromptLearner
    text_encoder: TextEncoder
    classifier: GlobalIDClassifier


def build_network(settings: Model, identities: int, cameras: int, seed: int) -> Network:
    """Build the network for N accumulated identities in C cameras; random parts follow from ``seed``.

    Raises:
        InputError: the architecture or its weights cannot be had.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        clip = load_clip(settings.architecture, settings.weights, quick_gelu=settings.quick_gelu)
        encoder = _encoder(clip, settings, cameras)
        return Network(
            encoder=encoder,
            prompts=PromptLearner(clip, identities, settings.template, settings.prompt_tokens),
            text_encoder=TextEncoder(clip),
            classifier=GlobalIDClassifier(identities, encoder.reid_dim),
        )


def resolved(settings: Model) -> Model:
    """The settings with nothing left to the weights: a run can be opened later without asking for them."""
    if settings.quick_gelu is not None:
        return settings
    return settings.model_copy(update={"quick_gelu": trained_with_quick_gelu(settings.architecture, settings.weights)})


def build_encoder(settings: Model, cameras: int) -> ImageEncoder:
    """The image encoder alone, to be filled from a checkpoint: no weights are fetched."""
    clip = load_clip(settings.architecture, None, quick_gelu=settings.quick_gelu)
    return _encoder(clip, settings, cameras)


def _encoder(clip: CLIP, settings: Model, cameras: int) -> ImageEncoder:
    return ImageEncoder(
        clip.visual, settings.image_size, settings.last_stride, norm_cameras=cameras if settings.camera_norm else None
    )
