"""Precise-ICS, a peer of CCAFL in intra-camera supervised re-ID: the parts that CCAFL does not have.

Its intra-camera part is L_intra1 with the triplets (`ccafl.method.intra_camera`); its association is CCAFL's own
(`ccafl.method.association`), made once. A global classifier then learns the joined identities with the encoder.

Source: Wang et al., "Towards Precise Intra-camera Supervised Person Re-Identification" (arXiv 2002.04932).
"""

import torch.nn.functional as F
from torch import Tensor

from ccafl.method.losses import batch_hard_triplet, identity_cross_entropy
from ccafl.method.share import Share


def global_classification_loss(
    cosines: Tensor, labels: Tensor, scale: float = 16.0, smoothing: float = 0.1, share: Share | None = None
) -> Tensor:
    """L = CE_smoothed(s z, p), from which the global classifier and the encoder learn the joined identities.

    Args:
        cosines: (B, C) between features and the weights of the C joined identities.
        labels: (B,) int64 in 0..C-1.
        scale: s; the paper's classifier is a plain linear layer, this one has unit weights.
        smoothing: of the labels.
        share: of several processes, each with the cosines (B, C_p) of its joined identities.

    Returns:
        Scalar mean over the samples.
    """
    return identity_cross_entropy(scale * cosines, labels, smoothing, share)


def global_losses(
    features: Tensor,
    cosines: Tensor,
    labels: Tensor,
    *,
    scale: float = 16.0,
    margin: float = 0.3,
    smoothing: float = 0.1,
    share: Share | None = None,
) -> dict[str, Tensor]:
    """The summands of the encoder's loss: the global classification and the batch-hard triplet.

    Args:
        features: (B, D), not normalised.
        cosines: (B, C) between them and the joined identities' weights, which must be detached.
        labels: (B,) int64 in 0..C-1.
        scale, smoothing, share: of the classification.
        margin: of the triplet loss.

    Returns:
        Scalars ``global`` and ``triplet``.
    """
    normalised = F.normalize(features)
    return {
        "global": global_classification_loss(cosines, labels, scale, smoothing, share),
        "triplet": batch_hard_triplet(normalised, normalised, labels, labels, margin),
    }
