"""Stage 1, prompt learning: every identity of every camera learns prompt words of its own."""

import torch
from torch import Tensor


def prompt_contrastive_loss(image_features: Tensor, text_features: Tensor, labels: Tensor, cameras: Tensor) -> Tensor:
    """Supervised contrast between images and prompts, camera by camera: sum_c (L_i2t + L_t2i).

    L_i2t = mean_i mean_{j: y_j = y_i} -log( exp<v_i, t_j> / sum_k exp<v_i, t_k> )      i, j, k of one camera

    and L_t2i the same from text to image. The temperature is 1; samples of different cameras are never compared,
    even if they carry the same label number.

    Args:
        image_features: (B, E) image-text features of the frozen image tower, not normalised.
        text_features: (B, E) text feature of each sample's own prompt, not normalised.
        labels: (B,) int64, the label within the camera.
        cameras: (B,) int64.

    Returns:
        Scalar: means over the anchors of a camera, summed over the cameras in the batch.

    Source: paper, section III (prompt learning), after CLIP-ReID, arXiv 2211.13977.
    """
    same_camera = cameras[:, None] == cameras
    positives = (same_camera & (labels[:, None] == labels)).to(image_features.dtype)
    logits = image_features @ text_features.T
    anchors_in_camera = same_camera.sum(1)

    def contrast(logits: Tensor) -> Tensor:
        within_camera = logits.masked_fill(~same_camera, -torch.inf)
        log_share = logits - within_camera.logsumexp(1, keepdim=True)
        return -((positives * log_share).sum(1) / positives.sum(1) / anchors_in_camera).sum()

    return contrast(logits) + contrast(logits.T)
