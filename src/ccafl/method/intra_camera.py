"""Intra-camera discriminative learning (ICDL), epochs 0-4 of the paper: each camera apart."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ccafl.method.losses import batch_hard_triplet, text_classification_loss
from ccafl.method.memory import HybridMemory


@dataclass(frozen=True, slots=True)
class IntraCameraLosses:
    """The parts of one camera's loss, scalars; ``text`` is None where no text features take part."""

    centre: Tensor
    hard_instance: Tensor
    triplet_centres: Tensor
    triplet_batch: Tensor
    text: Tensor | None

    def weighted(self, centre_weight: float) -> dict[str, Tensor]:
        """The summands of lambda L_intra1 + (1 - lambda) L_intra2 + L_tri(centres) + L_tri(batch) + L_i2tce."""
        summands = {
            "centre": centre_weight * self.centre,
            "hard_instance": (1 - centre_weight) * self.hard_instance,
            "triplet_centres": self.triplet_centres,
            "triplet_batch": self.triplet_batch,
        }
        return summands if self.text is None else summands | {"text": self.text}


def intra_camera_losses(
    features: Tensor,
    labels: Tensor,
    memory: HybridMemory,
    image_text_features: Tensor | None = None,
    text_features: Tensor | None = None,
    *,
    margin: float = 0.3,
    smoothing: float = 0.1,
) -> IntraCameraLosses:
    """All losses of one camera's samples in the batch.

    Args:
        features: (B, D) re-ID features of one camera's samples, not normalised.
        labels: (B,) int64 in 0..C-1, within the camera.
        memory: the camera's hybrid memory, C identities.
        image_text_features: (B, E), or None to leave the text out.
        text_features: (C, E) text feature of each identity of the camera.
        margin: of both triplet losses.
        smoothing: of the text loss.

    Source: paper, section III (ICDL).
    """
    centre, hard_instance = memory.losses(features, labels)
    normalised = F.normalize(features)
    every_label = torch.arange(len(memory.centres), device=labels.device)
    text = None
    if image_text_features is not None and text_features is not None:
        text = text_classification_loss(image_text_features, text_features, labels, smoothing)
    return IntraCameraLosses(
        centre=centre,
        hard_instance=hard_instance,
        triplet_centres=batch_hard_triplet(normalised, memory.centres, labels, every_label, margin),
        triplet_batch=batch_hard_triplet(normalised, normalised, labels, labels, margin),
        text=text,
    )
