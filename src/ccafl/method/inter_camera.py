"""Inter-camera learning, epochs 5-79 of the paper: the associated identities of all cameras together.

ICAL, which joins these losses late in training, is in `ccafl.method.adversarial`.
"""

import torch.nn.functional as F
from torch import Tensor

from ccafl.method.adversarial import adversarial_loss, adversarial_positives
from ccafl.method.losses import batch_hard_triplet, identity_cross_entropy, text_classification_loss
from ccafl.method.memory import PrototypeMemory
from ccafl.method.share import Share

__all__ = ["adversarial_loss", "adversarial_positives", "identity_loss", "inter_camera_losses"]


def identity_loss(cosines: Tensor, identities: Tensor, scale: float = 16.0, share: Share | None = None) -> Tensor:
    """L_GID = CE(scale * cosines, a), from which the global ID classifier learns on detached features.

    Args:
        cosines: (B, N) between features and classifier weights.
        identities: (B,) int64 accumulated identities in 0..N-1.
        share: of several processes, each with the cosines (B, N_p) of its identities.

    Returns:
        Scalar mean over the samples.
    """
    return identity_cross_entropy(scale * cosines, identities, share=share)


def inter_camera_losses(
    features: Tensor,
    labels: Tensor,
    memory: PrototypeMemory,
    image_text_features: Tensor | None = None,
    text_features: Tensor | None = None,
    *,
    margin: float = 0.3,
    smoothing: float = 0.1,
) -> dict[str, Tensor]:
    """The summands of L_inter + L_tri + L_i2tce for the samples whose identity is associated.

    Args:
        features: (B, D) re-ID features, not normalised.
        labels: (B,) int64 in 0..C-1, the associated identities.
        memory: the prototypes of the C associated identities.
        image_text_features: (B, E), or None to leave the text out.
        text_features: (C, E) mean text feature of each associated identity, or None likewise.
        margin: of the triplet loss.
        smoothing: of the text loss.

    Returns:
        Scalars ``prototype``, ``triplet`` and, with text, ``text``.

    Source: paper, section III (inter-camera learning).
    """
    normalised = F.normalize(features)
    losses = {
        "prototype": memory.loss(features, labels),
        "triplet": batch_hard_triplet(normalised, normalised, labels, labels, margin),
    }
    if image_text_features is not None and text_features is not None:
        losses["text"] = text_classification_loss(image_text_features, text_features, labels, smoothing)
    return losses
