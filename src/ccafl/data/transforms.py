"""Images as the network takes them (docs/method.md, 2), in torchvision's v2 transforms."""

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

MEAN = (0.485, 0.456, 0.406)  # ImageNet's, not CLIP's: as the authors do
STD = (0.229, 0.224, 0.225)


def resized(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """Bicubic resize to (height, width): (3, H, W) uint8. The deterministic first step of every transform."""
    tensor: Tensor = v2.functional.pil_to_tensor(v2.Resize(size, InterpolationMode.BICUBIC)(image))
    return tensor


def evaluation_transform() -> v2.Transform:
    """Resized uint8 images (..., 3, H, W) to normalised float32."""
    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])


def training_transform(size: tuple[int, int], *, flip: float, pad: int, erase: float) -> v2.Transform:
    """Flip, pad and random crop, normalise, random erasing to the mean colour; for one resized uint8 image."""
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(flip),
            v2.RandomCrop(size, padding=pad),
            evaluation_transform(),
            v2.RandomErasing(erase),
        ]
    )
