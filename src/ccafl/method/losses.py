"""Losses that several parts of the method share."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ccafl.method.share import Share


def batch_hard_triplet(
    anchors: Tensor,
    candidates: Tensor,
    anchor_labels: Tensor,
    candidate_labels: Tensor,
    margin: float = 0.3,
    ignored: Tensor | None = None,
) -> Tensor:
    """Triplet loss with the hardest positive and the hardest negative of every anchor.

    mean_i max(0, margin + max_{j: y_j = y_i} |a_i - c_j| - min_{j: y_j != y_i} |a_i - c_j|)

    An anchor among the candidates counts as a positive of itself, at the smallest distance, 1e-6. The gradient
    reaches both sides; detach candidates taken from a memory.

    Args:
        anchors: (B, D).
        candidates: (C, D); the anchors themselves for the loss within a batch.
        anchor_labels: (B,) int64, each among the candidates' labels.
        candidate_labels: (C,) int64.
        margin: of the Euclidean distances.
        ignored: (B, C) bool, candidates that are no negative of an anchor though their label differs.

    Returns:
        Scalar mean over the anchors; 0 if none has a negative.

    Source: paper, section III (L_tri); Hermans et al., arXiv 1703.07737.
    """
    with torch.no_grad():
        products = anchors @ candidates.T
        order = candidates.square().sum(1) - 2 * products  # squared distance minus |a_i|^2: the same order within a row
        same = anchor_labels[:, None] == candidate_labels
        hardest_positive = order.masked_fill(~same, -torch.inf).argmax(1)
        no_negative = same if ignored is None else same | ignored
        hardest_negative = order.masked_fill(no_negative, torch.inf).argmin(1)
        has_negative = ~no_negative.all(1)
    positive = _distance(anchors, candidates[hardest_positive])
    negative = _distance(anchors, candidates[hardest_negative])
    return (F.relu(margin + positive - negative) * has_negative).mean()


def _distance(left: Tensor, right: Tensor) -> Tensor:
    """Euclidean distance row by row, (B, D) and (B, D) -> (B,), at least 1e-6."""
    return (left - right).square().sum(1).clamp(min=1e-12).sqrt()


def supervised_contrastive(features: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """Contrast of every sample with all others of a batch, those of its own label being positive.

    mean_i -1/|P_i| sum_{p in P_i} log( exp(<z_i, z_p> / t) / sum_{a != i} exp(<z_i, z_a> / t) )

    P_i = {p != i: y_p = y_i}, and i runs over the samples for which it is not empty.

    Args:
        features: (B, D), L2-normalised.
        labels: (B,) int64.
        temperature: t.

    Returns:
        Scalar mean over the samples that have a positive; 0 if none has.

    Source: Khosla et al., arXiv 2004.11362, L_out.
    """
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    log_share = F.log_softmax((features @ features.T / temperature).masked_fill(itself, -torch.inf), dim=1)
    positive = (labels[:, None] == labels) & ~itself
    counts = positive.sum(1)
    means = log_share.masked_fill(~positive, 0).sum(1) / counts.clamp(min=1)
    return -means.sum() / (counts > 0).sum().clamp(min=1)


def text_classification_loss(
    image_features: Tensor, text_features: Tensor, labels: Tensor, smoothing: float = 0.1
) -> Tensor:
    """Label-smoothed cross entropy of images over the text features of the identities (L_i2tce).

    CE_smooth(<v_i, t_j> over j, y_i)

    Args:
        image_features: (B, E) image-text features, not normalised.
        text_features: (C, E), one per identity, not normalised.
        labels: (B,) int64 in 0..C-1.
        smoothing: probability mass spread evenly over all C identities.

    Returns:
        Scalar mean over the images.

    Source: paper, section III. The authors' code smooths over a fixed count instead of C (docs/method.md, 7).
    """
    return F.cross_entropy(image_features @ text_features.T, labels, label_smoothing=smoothing)


def identity_cross_entropy(
    logits: Tensor, identities: Tensor, smoothing: float = 0.0, share: Share | None = None
) -> Tensor:
    """Label-smoothed cross entropy over identities that several processes may share.

    Args:
        logits: (B, N); with a share, (B, N_p), the columns of this process.
        identities: (B,) int64 in 0..N-1.
        smoothing: probability mass spread evenly over all N identities.
        share: which identities this process has. The loss is that of all, by one exchange of four numbers a sample;
            its gradient is that of this process's logits.

    Returns:
        Scalar mean over the samples.
    """
    if share is None:
        return F.cross_entropy(logits, identities, label_smoothing=smoothing)
    own = share.picked(logits, torch.stack([torch.arange(len(logits), device=logits.device), identities]))
    number = torch.full_like(own, logits.shape[1])
    found = share.together(torch.stack([logits.logsumexp(1), own, logits.sum(1), number]))  # (P, 4, B)
    _, own, total, number = found.sum(0)
    loss: Tensor = (found[:, 0].logsumexp(0) - (1 - smoothing) * own - smoothing * total / number).mean()
    return loss
