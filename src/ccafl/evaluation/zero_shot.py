"""What a CLIP knows without having been trained for it: finding the picture a sentence describes, naming attributes."""

import torch
import torch.nn.functional as F
from torch import Tensor


def caption_recall(
    text_features: Tensor, image_features: Tensor, described: Tensor, shown: Tensor, first: int = 10
) -> float:
    """Share of sentences with an image of the described person among the ``first`` most similar.

    Args:
        text_features: (n, E), one a sentence.
        image_features: (m, E) of the images searched.
        described: (n,) int64, the person of each sentence.
        shown: (m,) int64, the person of each image.
    """
    text, images = F.normalize(text_features), F.normalize(image_features)
    found = [
        (shown[(some @ images.T).topk(min(first, len(images))).indices] == persons[:, None]).any(1)
        for some, persons in zip(text.split(256), described.split(256), strict=True)
    ]
    return float(torch.cat(found).double().mean())


def zero_shot_accuracy(text_features: Tensor, image_features: Tensor, classes: Tensor) -> float:
    """Share of images whose most similar sentence is that of their class.

    Args:
        text_features: (C, E), one a class.
        image_features: (m, E).
        classes: (m,) int64 in 0..C-1.
    """
    cosines = F.normalize(image_features) @ F.normalize(text_features).T
    return float((cosines.argmax(1) == classes).double().mean())
