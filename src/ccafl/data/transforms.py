"""Images as the network takes them (docs/method.md, 2), in torchvision's v2 transforms."""

from collections.abc import Iterable, Sequence

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

    Images are moved one by one, each by its own chance, and normalised together.
    """

    def __init__(self, size: tuple[int, int], *, flip: float, pad: int, erase: float) -> None:
        self._moved = v2.Compose([v2.RandomHorizontalFlip(flip), v2.RandomCrop(size, padding=pad)])
        self._normalised = evaluation_transform()
        self._erased = v2.RandomErasing(erase, inplace=True)

    def __call__(self, images: Iterable[Tensor], seeds: Sequence[Sequence[int]]) -> Tensor:
        """B images (3, H, W) uint8 and two seeds each, of how it is moved and of what is erased: (B, 3, H, W) float32.

        The state of torch's generator is as before afterwards.
        """
        with torch.random.fork_rng(devices=[]):
            moved = []
            for image, (seed, _) in zip(images, seeds, strict=True):
                torch.default_generator.manual_seed(seed)
                moved.append(self._moved(image))
            batch: Tensor = self._normalised(torch.stack(moved))
            for image, (_, seed) in zip(batch, seeds, strict=True):
                torch.default_generator.manual_seed(seed)
                self._erased(image)
        return batch
