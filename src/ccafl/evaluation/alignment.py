"""How well the learned prompts describe the images of their identities, after stage 1."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Alignment:
    """How well text features and image features agree.

    Attributes:
        own_cosine: mean cosine of an image and its identity's prompt.
        other_cosine: the same with the prompts of its camera's other identities.
        rank_percentile: how high an identity's images rank when its camera's images are ranked by its prompt: mean
            share of the other images that rank below one of its own; 0.5 by chance, 1 at best.
    """

    own_cosine: float
    other_cosine: float
    rank_percentile: float


def text_image_alignment(
    text_features: Tensor, image_features: Tensor, identities: Tensor, identity_cameras: Tensor
) -> Alignment:
    """Compare each camera's prompts with its images.

    Args:
        text_features: (N, E), one per accumulated identity.
        image_features: (n, E), image-text features.
        identities: (n,) int64 accumulated identity of every image.
        identity_cameras: (N,) int64.
    """
    text, images = F.normalize(text_features), F.normalize(image_features)
    image_cameras = identity_cameras[identities]
    own_sum = other_sum = percentile_sum = torch.zeros((), dtype=torch.float64, device=text.device)
    own_count = other_count = ranked_count = 0
    for camera in identity_cameras.unique().tolist():
        prompts = (identity_cameras == camera).nonzero().squeeze(1)
        shown = (image_cameras == camera).nonzero().squeeze(1)
        cosines = text[prompts] @ images[shown].T
        own = prompts[:, None] == identities[shown]
        own_sum, own_count = own_sum + cosines[own].double().sum(), own_count + int(own.sum())
        other_sum, other_count = other_sum + cosines[~own].double().sum(), other_count + int((~own).sum())
        places = cosines.argsort(1).argsort(1) + 1  # 1: the least similar to the prompt
        mine = own.sum(1)
        others = own.shape[1] - mine
        ranked = (mine > 0) & (others > 0)
        before = (places * own).sum(1) - mine * (mine + 1) // 2  # other images below each own image, summed
        percentile_sum = percentile_sum + (before[ranked].double() / (mine * others)[ranked]).sum()
        ranked_count += int(ranked.sum())
    return Alignment(
        own_cosine=float(own_sum) / max(own_count, 1),
        other_cosine=float(other_sum) / max(other_count, 1),
        rank_percentile=float(percentile_sum) / ranked_count if ranked_count else float("nan"),
    )
