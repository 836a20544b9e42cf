"""Intra-camera discriminative learning (ICDL), epochs 0-4 of the paper: each camera by itself."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ccafl.method.losses import batch_hard_triplet, text_classification_loss
from ccafl.method.memory import HybridMemory


def intra_camera_losses(
    features: Tensor,
    labels: Tensor,
    memory: HybridMemory,
    image_text_features: Tensor | None = None,
    text_features: Tensor | None = None,
    *,
    unknown: Tensor | None = None,
    centre_weight: float = 0.6,
    margin: float = 0.3,
    smoothing: float = 0.1,
) -> dict[str, Tensor]:
    """The summands of lambda L_intra1 + (1 - lambda) L_intra2 + L_tri(centres) + L_tri(batch) + L_i2tce for one camera.

    Args:
        features: (B, D) re-ID features of the camera's samples, not normalised.
        labels: (B,) int64 in 0..C-1, within the camera.
        memory: the camera's hybrid memory, C identities.
        image_text_features: (B, E), or None to leave the text out.
        text_features: (C, E) text feature of each identity of the camera, or None likewise.
        unknown: (C, C) bool, pairs of labels that may be one person: neither is a negative of the other. None if every
            label is a person of its own, as in the paper.
        centre_weight: lambda.
        margin: of both triplet losses.
        smoothing: of the text loss.

    Returns:
        Scalars ``centre``, ``hard_instance``, ``triplet_centres``, ``triplet_batch`` and, with text, ``text``.

    Source: paper, section III (ICDL).
    """
    ignored = None if unknown is None else unknown[labels]
    in_batch = None if ignored is None else ignored[:, labels]
    centre, hard_instance = memory.losses(features, labels, ignored)
    normalised = F.normalize(features)
    every_label = torch.arange(len(memory.centres), device=labels.device)
    losses = {
        "centre": centre_weight * centre,
        "hard_instance": (1 - centre_weight) * hard_instance,
        "triplet_centres": batch_hard_triplet(normalised, memory.centres, labels, every_label, margin, ignored),
        "triplet_batch": batch_hard_triplet(normalised, normalised, labels, labels, margin, in_batch),
    }
    if image_text_features is not None and text_features is not None:
        losses["text"] = text_classification_loss(image_text_features, text_features, labels, smoothing)
    return losses
