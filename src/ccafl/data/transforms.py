"""Images for the network (docs/method.md, 2): resized, augmented, normalised."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)  # ImageNet's, not CLIP's, as in the authors' code
STD = (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)  # mean and deviation that CLIP-ReID gives its ViT
_ERASED = np.rint(255 * np.array(MEAN) * (1 + np.array(STD))).astype(np.uint8)[:, None, None]
"""The colour whose normalised value is nearest to ``MEAN``: the authors erase after normalising, to that number."""


def resized(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """Bicubic resize to (height, width): (3, H, W) uint8. The first step for every image; not random.

    PyTorch does it several times faster than Pillow, and differs from it only by rounding.
    """
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return F.interpolate(pixels[None], size, mode="bicubic", antialias=True)[0]


def normalise(images: Tensor) -> Tensor:
    """Resized images, (..., 3, H, W) uint8, to what the network takes: float32 with ImageNet's mean and deviation.

    It does not wait for the images' device, as torchvision's function does.
    """
    mean, std = (
        torch.tensor([255 * share for share in shares], dtype=torch.float32)
        .view(3, 1, 1)
        .to(images.device, non_blocking=True)
        for shares in (MEAN, STD)
    )
    return images.to(torch.float32).sub_(mean).div_(std)


@dataclass(frozen=True, slots=True)
class AugmentationParams:
    """The random choices for B images.

    Attributes:
        flips: (B,) bool.
        corners: (B, 2) int64, top and left of the crop in the padded image.
        boxes: (B, 4) int64, top, left, bottom and right of the erased box; empty if nothing is erased.
    """

    flips: npt.NDArray[np.bool_]
    corners: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.int64]

    def __getitem__(self, share: slice) -> "AugmentationParams":
        return AugmentationParams(self.flips[share], self.corners[share], self.boxes[share])


@dataclass(frozen=True, slots=True)
class Augmentation:
    """The augmentation of training images: flip, pad and random crop, random erasing to one colour (`_ERASED`).

    It works on whole batches of bytes where they are loaded. Bytes are a quarter of the size of float32, so they travel
    to the device faster, and `normalise` converts them there.

    Attributes:
        size: (height, width).
        flip, erase: probabilities.
        pad: black pixels added on every side before the crop.
    """

    size: tuple[int, int]
    flip: float
    pad: int
    erase: float

    def draw(self, images: int, seed: int) -> AugmentationParams:
        """Draw the choices for a number of images; they depend on the seed alone."""
        random = np.random.default_rng(seed)
        flips = random.random(images) < self.flip
        corners = random.integers(0, 2 * self.pad, (images, 2), endpoint=True)
        return AugmentationParams(flips, corners, self._boxes(images, random))

    def _boxes(self, images: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
        """Random erasing (Zhong et al., arXiv 1708.04896, as in the authors' code): (B, 4).

        Ten boxes are drawn, with uniform area and uniform ratio of height to width; the first that fits is placed
        uniformly in the image.
        """
        size = np.array(self.size)
        areas = random.uniform(0.02, 0.4, (images, 10)) * size.prod()
        shapes = random.uniform(0.3, 1 / 0.3, (images, 10))
        sides = np.rint(np.sqrt([areas * shapes, areas / shapes])).astype(np.int64).transpose(1, 2, 0)
        fits = np.all(sides < size, 2)
        erased = (random.random(images) < self.erase) & np.any(fits, 1)
        sides = sides[np.arange(images), fits.argmax(1)] * erased[:, None]
        corners = random.integers(0, size - sides, endpoint=True)
        return np.concatenate([corners, corners + sides], 1)

    def __call__(self, images: Tensor, params: AugmentationParams) -> Tensor:
        """(B, 3, H, W) uint8 -> (B, 3, H, W) uint8."""
        source, pad = images.numpy(), self.pad
        padded = np.pad(source, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        padded[params.flips] = padded[params.flips, ..., ::-1]
        crops = sliding_window_view(padded, self.size, (2, 3))
        moved = crops[np.arange(len(source)), :, params.corners[:, 0], params.corners[:, 1]]
        np.copyto(moved, _ERASED, where=_inside(params.boxes, self.size))
        return torch.from_numpy(moved)


def _inside(boxes: npt.NDArray[np.int64], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """(B, 1, H, W): whether a pixel is in its image's box."""
    top, left, bottom, right = boxes.T[..., None]
    rows, columns = (np.arange(side) for side in size)
    inside: npt.NDArray[np.bool_] = ((rows >= top) & (rows < bottom))[:, :, None]
    inside = inside & ((columns >= left) & (columns < right))[:, None]
    return inside[:, None]
