"""Images as the network takes them (docs/method.md, 2), in torchvision's v2 transforms."""

from collections.abc import Iterable

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

MEAN = (0.485, 0.456, 0.406)  # ImageNet's, not CLIP's: as the authors do
STD = (0.229, 0.224, 0.225)


def resized(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """Bicubic resize to (height, width): (3, H, W) uint8. The deterministic first step of every transform.

    As a tensor, on which torchvision is several times quicker than Pillow and differs from it by rounding.
    """
    tensor: Tensor = v2.functional.resize(v2.functional.pil_to_tensor(image), list(size), InterpolationMode.BICUBIC)
    return tensor


def evaluation_transform() -> v2.Transform:
    """Resized uint8 images (..., 3, H, W) to normalised float32."""
    mean, std = ([255 * share for share in shares] for shares in (MEAN, STD))
    return v2.Compose([v2.ToDtype(torch.float32), v2.Normalize(mean, std, inplace=True)])  # in the new copy's place


class Augmentation:
    """What training makes of resized images: flip, pad and random crop, normalise, random erasing to the mean colour.

    In two halves: images are moved where they are loaded, and travel to the device as bytes, a quarter of the numbers
    that the network takes. Each image has seeds of its own; torch's generator is left as it was.
    """

    def __init__(self, size: tuple[int, int], *, flip: float, pad: int, erase: float) -> None:
        self._moved = v2.Compose([v2.RandomHorizontalFlip(flip), v2.RandomCrop(size, padding=pad)])
        self._normalised = evaluation_transform()
        self._erased = v2.RandomErasing(erase, inplace=True)

    def move(self, images: Iterable[Tensor], seeds: Iterable[int]) -> Tensor:
        """Flip, pad and crop: B images (3, H, W) uint8 -> (B, 3, H, W) uint8."""
        return torch.stack(_by_seeds(self._moved, images, seeds))

    def finish(self, images: Tensor, seeds: Iterable[int]) -> Tensor:
        """Normalise and erase, on any device: (B, 3, H, W) uint8 -> float32."""
        batch: Tensor = self._normalised(images)
        _by_seeds(self._erased, batch, seeds)
        return batch


def _by_seeds(transform: v2.Transform, images: Iterable[Tensor], seeds: Iterable[int]) -> list[Tensor]:
    """The transform of every image, whose chances follow from its seed."""
    transformed = []
    with torch.random.fork_rng(devices=[]):
        for image, seed in zip(images, seeds, strict=True):
            torch.default_generator.manual_seed(seed)
            transformed.append(transform(image))
    return transformed
