"""Inter-camera adversarial learning (ICAL): the encoder learns features that hide the camera.

The global ID classifier tells accumulated identities apart, and with them the cameras. ICAL trains the encoder until
the classifier cannot: its probability for a sample spreads over the same person's identities in the other cameras.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ccafl.method.share import Share


def adversarial_positives(association: Tensor, identity_cameras: Tensor, identities: Tensor) -> Tensor:
    """The positives P of every sample: its own identity and those associated with it in *other* cameras.

    Args:
        association: (N,) int64, associated identity of every accumulated identity, -1 for none.
        identity_cameras: (N,) int64.
        identities: (B,) int64 accumulated identities of the samples.

    Returns:
        (2, T) int64, all pairs of a sample (0..B-1) and one of its positives. T depends on the values, so a GPU would
        have to be synchronised: pass CPU tensors.
    """
    associated = (association[identities][:, None] == association) & (association >= 0)
    positive = associated & (identity_cameras[identities][:, None] != identity_cameras)
    return positive.scatter_(1, identities[:, None], True).nonzero().T


def adversarial_loss(
    cosines: Tensor,
    identities: Tensor,
    identity_cameras: Tensor,
    positives: Tensor,
    *,
    margin: float,
    epsilon: float = 0.8,
    boost: float = 0.2,
    scale: float = 16.0,
    share: Share | None = None,
) -> Tensor:
    """L_ICAL: spread the classifier's probability for a sample over its person's identities in all cameras.

    z_a -> cos(theta_a + m), or z_a - m sin(m) where theta_a > pi - m     the sample's own identity a
    z_j -> (1 + b) z_j + b                                              every other j of its camera, made harder
    log q_j = s z_j - log( exp(s z_j) + sum_{k not in P} exp(s z_k) )   j in P, the positives
    loss = mean over samples of -(1 - eps) log q_a - eps / |P| sum_{j in P} log q_j

    Args:
        cosines: (B, N) between features and classifier weights; the weights must be detached.
        identities: (B,) int64 accumulated identities.
        identity_cameras: (N,) int64.
        positives: (2, T) int64, see `adversarial_positives`.
        margin: m, radians.
        epsilon: the share of the loss spread evenly over all positives.
        boost: b.
        scale: s.
        share: of several processes, each with the cosines (B, N_p) of its identities. The loss is that of all, by one
            exchange of B + T numbers; its gradient is that of this process's cosines.

    Returns:
        Scalar.

    Source: paper, section III (ICAL); epsilon as in the authors' code.
    """
    sample, positive = positives
    own = positive == identities[sample]
    of_columns = identity_cameras if share is None else share.of(identity_cameras)
    same_camera = identity_cameras[identities][:, None] == of_columns
    logits = scale * torch.where(same_camera, (1 + boost) * cosines + boost, cosines)
    if share is None:
        chosen = cosines[sample, positive]
        negatives = logits.index_put((sample, positive), logits.new_full((), -torch.inf)).logsumexp(1)
    else:
        found = torch.cat([share.without(logits, positives).logsumexp(1), share.picked(cosines, positives)])
        partial, chosen = share.together(found).split([len(logits), len(sample)], dim=1)
        negatives, chosen = partial.logsumexp(0), chosen.sum(0)
    log_q = F.logsigmoid(scale * torch.where(own, _with_angular_margin(chosen, margin), chosen) - negatives[sample])
    sizes = torch.zeros_like(negatives).index_add(0, sample, torch.ones_like(log_q))
    shares = (1 - epsilon) * own + epsilon / sizes[sample]
    loss: Tensor = -(shares * log_q).sum() / len(identities)
    return loss


def _with_angular_margin(cosines: Tensor, margin: float) -> Tensor:
    """cos(theta + m); beyond theta = pi - m, where it would rise again, the line z - m sin(m)."""
    sines = (1 - cosines.square()).clamp(min=1e-7).sqrt()
    turned = cosines * math.cos(margin) - sines * math.sin(margin)
    return torch.where(cosines > math.cos(math.pi - margin), turned, cosines - margin * math.sin(math.pi - margin))
