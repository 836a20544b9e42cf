"""What detectors, lenses, light and crowds do to crops of persons, as augmentation of training pictures.

Every effect takes pixels (B, 3, H, W), float32 in 0..255, and a generator, and returns as many; each picture has its
own draw.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

GREY = (0.299, 0.587, 0.114)
OCCLUDED, INFRARED, BLURRED, COARSENED = 0.3, 0.06, 0.35, 0.4  # shares of pictures


def degraded(images: Tensor, seed: int) -> Tensor:
    """All effects, one after another: (B, 3, H, W) uint8 -> (B, 3, H, W) uint8; they depend on the seed alone."""
    rng = np.random.default_rng(seed)
    pixels = images.float()
    for effect in (reframed, occluded, relit, infrared, blurred, coarsened, grainy):
        pixels = effect(pixels, rng)
    return pixels.clamp(0, 255).to(torch.uint8)


def reframed(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Boxes of a detector that are loose, shifted, or cut the person off, half of them mirrored; the edge's pixels fill
    what they lack.
    """
    count = len(pixels)
    size, shift = rng.normal([0.95, 0.95], [0.1, 0.1], (count, 2)), rng.normal(0, [0.06, 0.06], (count, 2))
    size[:, 1] *= np.where(rng.random(count) < 0.15, rng.uniform(0.5, 0.9, count), 1)  # a part of the body only
    size[:, 0] *= rng.choice((-1, 1), count)
    boxes = np.zeros((count, 2, 3))
    boxes[:, 0, 0], boxes[:, 1, 1], boxes[:, :, 2] = size[:, 0], size[:, 1], shift
    grid = F.affine_grid(torch.from_numpy(boxes).float(), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


def occluded(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Something in front, to the left, right or below: the same region of another picture of the batch, moved."""
    count, _, height, width = pixels.shape
    side = rng.choice(4, count, p=(OCCLUDED / 3,) * 3 + (1 - OCCLUDED,))[:, None, None]
    depth = rng.uniform(0.1, 0.45, count)[:, None, None]
    x, y = (np.arange(width) + 0.5)[None, None] / width, (np.arange(height) + 0.5)[None, :, None] / height
    hidden = ((side == 0) & (x < depth)) | ((side == 1) & (x > 1 - depth)) | ((side == 2) & (y > 1 - depth))
    others = pixels[torch.from_numpy(rng.permutation(count))].roll(width // 2, 3)
    return torch.where(torch.from_numpy(hidden)[:, None], others, pixels)


def relit(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Another exposure, contrast, gamma, white balance and saturation."""

    def drawn(low: float, high: float, channels: int = 1) -> Tensor:
        return torch.from_numpy(np.exp2(rng.uniform(low, high, (len(pixels), channels, 1, 1)))).float()

    grey = _grey(pixels)
    pixels = grey + (pixels - grey) * drawn(-1.2, 0.7)
    lit = (pixels.clamp(0, 255) / 255) ** drawn(-0.5, 0.5) * 255
    lit = lit * drawn(-0.4, 0.4) * drawn(-0.2, 0.2, 3)
    mean = lit.mean((1, 2, 3), keepdim=True)
    return mean + (lit - mean) * drawn(-0.4, 0.4)


def infrared(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Some pictures without colour, as at night."""
    at_night = torch.from_numpy(rng.random(len(pixels)) < INFRARED)[:, None, None, None]
    return torch.where(at_night, _grey(pixels), pixels)


def blurred(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Some pictures out of focus or moved: a Gaussian of 5x5 pixels, longer in a direction of its own."""
    chosen = rng.permutation(len(pixels))[: round(BLURRED * len(pixels))]
    turn = rng.uniform(0, np.pi, (len(chosen), 1, 1))
    long, short = rng.uniform(0.6, 2.5, turn.shape), rng.uniform(0.3, 0.9, turn.shape)
    y, x = np.mgrid[-2:3, -2:3][:, None]
    along, across = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    kernels = np.exp(-((along / long) ** 2 + (across / short) ** 2) / 2)
    kernels /= kernels.sum((1, 2), keepdims=True)
    padded = F.pad(pixels[chosen], (2, 2, 2, 2), mode="replicate").transpose(0, 1)
    soft = F.conv2d(padded, torch.from_numpy(kernels).float()[:, None], groups=len(chosen)).transpose(0, 1)
    return pixels.index_copy(0, torch.from_numpy(chosen), soft)


def coarsened(pixels: Tensor, rng: np.random.Generator, sizes: int = 6) -> Tensor:
    """Some pictures from far away: shrunk to one of a few sizes, and enlarged again."""
    size, result = pixels.shape[2:], pixels.clone()
    chosen = rng.permutation(len(pixels))[: round(COARSENED * len(pixels))]
    for share in np.array_split(chosen, sizes):
        factor = rng.uniform(0.2, 0.8)
        if len(share):
            small = F.interpolate(pixels[share], scale_factor=factor, mode="bilinear", antialias=True)
            result[share] = F.interpolate(small, size, mode="bilinear", align_corners=False)
    return result


def grainy(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Noise of the sensor, of another strength for each picture."""
    strength = torch.from_numpy(rng.uniform(0, 8, (len(pixels), 1, 1, 1))).float()
    return pixels + strength * torch.from_numpy(rng.standard_normal(pixels.shape, np.float32))


def _grey(pixels: Tensor) -> Tensor:
    return (pixels * torch.tensor(GREY)[:, None, None]).sum(1, keepdim=True)
