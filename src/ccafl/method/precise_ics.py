"""Precise-ICS, the peer that intra-camera supervised re-ID compares with: what it does not share with CCAFL.

Its intra-camera part is L_intra1 with the triplets (`ccafl.method.intra_camera`), its association CCAFL's own
(`ccafl.method.association`), made once. Then a global classifier learns the joined identities with the encoder.

Source: Wang et al., "Towards Precise Intra-camera Supervised Person Re-Identification" (arXiv 2002.04932).
"""

import torch.nn.functional as F
from torch import Tensor


def global_classification_loss(cosines: Tensor, labels: Tensor, scale: float, smoothing: float = 0.1) -> Tensor:
    """L = CE_smoothed(s z, p): the global classifier and the encoder learn the joined identities together.

    Args:
        cosines: (B, C) of features and the weights of C joined identities; both learn.
        labels: (B,) int64 in 0..C-1.
        scale: s; the paper's classifier is a plain linear layer, here one of unit weights.
        smoothing: of the labels.

    Returns:
        Scalar mean over the samples.
    """
    return F.cross_entropy(scale * cosines, labels, label_smoothing=smoothing)
