"""Where the image tower's last feature map is strong: the parts of a picture that shape its feature."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ccafl.data.numbering import EvaluationImages
from ccafl.model.image_encoder import ImageEncoder
from ccafl.report.drawing import themed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PER_ROW = 4  # images per person


def has_map(encoder: ImageEncoder) -> bool:
    """Whether the image tower has a feature map; a ViT has none."""
    return encoder.tower.has_map


@torch.no_grad()
def activation_maps(encoder: ImageEncoder, images: Tensor, cameras: Tensor) -> Tensor:
    """Channel norm of the last feature map, scaled to 0..1 per image: (n, 3, H, W), cameras (n,) -> (n, H, W)."""
    device = next(encoder.parameters()).device
    order = (
        torch.arange(len(images)) if encoder.norm_cameras is None else encoder.norm_cameras.sort(cameras, len(images))
    )
    strengths = encoder.tower.feature_map(images[order].to(device)).norm(dim=1).float().cpu()[order.argsort()]
    strengths = F.interpolate(strengths[:, None], images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    low, high = strengths.flatten(1).aminmax(dim=1)
    return (strengths - low[:, None, None]) / (high - low).clamp(min=1e-6)[:, None, None]


def chosen_images(images: EvaluationImages, persons: int = 3, most: int = _PER_ROW) -> list[Tensor]:
    """For each of the persons seen by the most cameras, the indices (<= most,) of one image per camera."""
    pairs = torch.stack([images.persons, images.cameras], 1)
    distinct, place = pairs.unique(dim=0, return_inverse=True)
    first = torch.full((len(distinct),), len(pairs)).scatter_reduce_(0, place, torch.arange(len(pairs)), "amin")
    real = distinct[:, 0] > 0
    names, counts = distinct[real, 0].unique(return_counts=True)
    best = names[counts.argsort(descending=True, stable=True)[:persons]]
    return [first[distinct[:, 0] == name][:most] for name in best]


@themed
def activation_figure(
    maps: Sequence[Tensor], pictures: Sequence[Tensor] | None, titles: Sequence[Sequence[str]]
) -> "Figure":
    """One row per person: each image's map, drawn over the picture and next to the bare picture if that may be shown.

    Args:
        maps: for each person, (n, H, W) in 0..1.
        pictures: for each person, (n, 3, H, W) uint8; None to show the maps alone.
        titles: for each person, n titles.
    """
    from matplotlib.figure import Figure

    each = 1 if pictures is None else 2
    figure = Figure(figsize=(10, 2.4 * len(maps)), layout="constrained")
    axes = figure.subplots(len(maps), each * _PER_ROW, squeeze=False)
    for row, (strengths, names) in enumerate(zip(maps, titles, strict=True)):
        for column, name in enumerate(names):
            over = axes[row, each * column + each - 1]
            if pictures is not None:
                picture = pictures[row][column].permute(1, 2, 0).numpy()
                axes[row, each * column].imshow(picture)
                over.imshow(picture)
            opacity = 1 if pictures is None else 0.55
            over.imshow(strengths[column].numpy(), cmap="inferno", vmin=0, vmax=1, alpha=opacity)
            axes[row, each * column].set_title(name, fontsize=9, loc="left")
    for cell in axes.flat:
        cell.set_axis_off()
    return figure
