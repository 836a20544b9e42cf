"""Images as the network takes them (docs/method.md, 2): resized, augmented, normalised."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

MEAN = (0.485, 0.456, 0.406)  # ImageNet's, not CLIP's: as the authors do
STD = (0.229, 0.224, 0.225)
_ERASED = np.rint(255 * np.array(MEAN) * (1 + np.array(STD))).astype(np.uint8)[:, None, None]
"""The colour whose normalised value is nearest to ``MEAN``: the authors erase after normalising, to that number."""


def resized(image: Image.Image, size: tuple[int, int]) -> Tensor:
    """Bicubic resize to (height, width): (3, H, W) uint8. The deterministic first step of every transform.

    By PyTorch, which is several times quicker than Pillow and differs from it by rounding.
    """
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return F.interpolate(pixels[None], size, mode="bicubic", antialias=True)[0]


def evaluation_transform() -> v2.Transform:
    """Resized uint8 images (..., 3, H, W) to normalised float32."""
    mean, std = ([255 * share for share in shares] for shares in (MEAN, STD))
    return v2.Compose([v2.ToDtype(torch.float32), v2.Normalize(mean, std, inplace=True)])  # in the new copy's place


@dataclass(frozen=True, slots=True)
class Chances:
    """What chance makes of B images.

    Attributes:
        flips: (B,) bool.
        corners: (B, 2) int64, top and left of the crop in the padded image.
        boxes: (B, 4) int64, top, left, bottom and right of what is erased; empty where nothing is.
    """

    flips: npt.NDArray[np.bool_]
    corners: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.int64]

    def __getitem__(self, share: slice) -> "Chances":
        return Chances(self.flips[share], self.corners[share], self.boxes[share])


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What training makes of resized images: flip, pad and random crop, random erasing to one colour (`_ERASED`).

    On whole batches of bytes, where they are loaded; so they travel to the device, a quarter of the numbers that the
    network takes, and `evaluation_transform` normalises them there.

    Attributes:
        size: (height, width).
        flip, erase: probabilities.
        pad: pixels of black on every side, from which the crop is taken.
    """

    size: tuple[int, int]
    flip: float
    pad: int
    erase: float

    def chances(self, images: int, seed: int) -> Chances:
        """Of so many images, by the seed alone."""
        random = np.random.default_rng(seed)
        flips = random.random(images) < self.flip
        corners = random.integers(0, 2 * self.pad, (images, 2), endpoint=True)
        return Chances(flips, corners, self._boxes(images, random))

    def _boxes(self, images: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
        """The first of ten boxes that fits, its area and its height by its width drawn evenly (Zhong et al.,
        arXiv 1708.04896, as in the authors' code), somewhere in the image.
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

    def __call__(self, images: Tensor, chances: Chances) -> Tensor:
        """(B, 3, H, W) uint8 -> (B, 3, H, W) uint8."""
        source, pad = images.numpy(), self.pad
        padded = np.pad(source, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        padded[chances.flips] = padded[chances.flips, ..., ::-1]
        crops = sliding_window_view(padded, self.size, (2, 3))
        moved = crops[np.arange(len(source)), :, chances.corners[:, 0], chances.corners[:, 1]]
        np.copyto(moved, _ERASED, where=_inside(chances.boxes, self.size))
        return torch.from_numpy(moved)


def _inside(boxes: npt.NDArray[np.int64], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """(B, 1, H, W), the pixels in each image's box."""
    top, left, bottom, right = boxes.T[..., None]
    rows, columns = (np.arange(side) for side in size)
    inside: npt.NDArray[np.bool_] = ((rows >= top) & (rows < bottom))[:, :, None]
    inside = inside & ((columns >= left) & (columns < right))[:, None]
    return inside[:, None]
