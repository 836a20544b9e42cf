"""What a CLIP can do without further training: find the picture that a sentence describes, and name colours."""

import os
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor

from ccafl.data.transforms import normalise
from ccafl.model.clip_towers import clip_tower
from ccafl.model.image_encoder import ImageEncoder
from ccafl.model.text import encode_sentences, tokenized
from ccafl.synthetic.caption import naming_upper
from ccafl.synthetic.captioned import CaptionedWorld
from ccafl.synthetic.person import UPPER_COLOURS
from ccafl.terminal import bar

_BATCH = 256


def zero_shot(clip: CLIP, unseen: CaptionedWorld) -> dict[str, float]:
    """How well a CLIP finds described persons and names colours in a world; an `ImageEncoder` reads the pictures.

    Returns:
        caption_recall_at_10, upper_colour_accuracy, unseen_images, unseen_persons.
    """
    images = np.empty((len(unseen.pictures), 3, *unseen.size), np.uint8)
    with bar("drawing unseen persons", len(images)) as progress:
        unseen.draw(images, os.cpu_count() or 1, progress.advance)
    encoder = ImageEncoder(clip_tower(clip.visual, unseen.size)).eval()
    palette = [colour for colour, _ in UPPER_COLOURS]
    shown = torch.from_numpy(unseen.pictures[:, 0])
    colours = torch.tensor([palette.index(unseen.world.person(person).upper_colour.name) for person in shown.tolist()])
    with torch.inference_mode():
        features = torch.cat([encoder(normalise(batch))[1] for batch in torch.from_numpy(images).split(_BATCH)])
        sentences = [unseen.caption(picture) for picture in range(len(images))]
        described = encode_sentences(clip, tokenized(sentences, clip.context_length))
        classes = torch.stack([_mean_feature(clip, naming_upper(colour)) for colour in palette])
    return {
        "caption_recall_at_10": caption_recall(described, features, shown, shown),
        "upper_colour_accuracy": zero_shot_accuracy(classes, features, colours),
        "unseen_images": len(images),
        "unseen_persons": unseen.world.persons,
    }


def caption_recall(
    text_features: Tensor, image_features: Tensor, described: Tensor, shown: Tensor, first: int = 10
) -> float:
    """Share of sentences with an image of the described person among the ``first`` most similar.

    Args:
        text_features: (n, E), one per sentence.
        image_features: (m, E) of the images searched.
        described: (n,) int64, the person of each sentence.
        shown: (m,) int64, the person of each image.
        first: number of images that count.
    """
    text, images = F.normalize(text_features), F.normalize(image_features)
    found = [
        (shown[(batch @ images.T).topk(min(first, len(images))).indices] == persons[:, None]).any(1)
        for batch, persons in zip(text.split(_BATCH), described.split(_BATCH), strict=True)
    ]
    return float(torch.cat(found).double().mean())


def zero_shot_accuracy(text_features: Tensor, image_features: Tensor, classes: Tensor) -> float:
    """Share of images whose most similar sentence is that of their class.

    Args:
        text_features: (C, E), one per class.
        image_features: (m, E).
        classes: (m,) int64 in 0..C-1.
    """
    cosines = F.normalize(image_features) @ F.normalize(text_features).T
    return float((cosines.argmax(1) == classes).double().mean())


def _mean_feature(clip: CLIP, sentences: Sequence[str]) -> Tensor:
    """Mean of the sentences' normalised features, (E,): CLIP's prompt ensemble."""
    return F.normalize(encode_sentences(clip, tokenized(sentences, clip.context_length))).mean(0)
