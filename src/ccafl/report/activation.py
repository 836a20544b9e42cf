"""Where the image tower's last map is strong: what of a picture its feature is made of."""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ccafl.data.records import EvaluationImages
from ccafl.model.image_encoder import ImageEncoder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@torch.no_grad()
def activation_maps(encoder: ImageEncoder, images: Tensor, cameras: Tensor) -> Tensor:
    """Norm over the channels of the last map, 0..1 in each image: (n, 3, H, W) and cameras (n,) -> (n, H, W).

    Raises:
        TypeError: a tower without a map (ViT).
    """
    feature_map = getattr(encoder.tower, "feature_map", None)
    if feature_map is None:
        raise TypeError("the image tower has no map")
    device = next(encoder.parameters()).device
    order = (
        torch.arange(len(images)) if encoder.norm_cameras is None else encoder.norm_cameras.sort(cameras, len(images))
    )
    strengths = feature_map(images[order].to(device)).norm(dim=1).float().cpu()[order.argsort()]
    strengths = F.interpolate(strengths[:, None], images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    low, high = strengths.flatten(1).aminmax(dim=1)
    return (strengths - low[:, None, None]) / (high - low).clamp(min=1e-6)[:, None, None]


def chosen_images(images: EvaluationImages, persons: int = 3, most: int = 4) -> Tensor:
    """Indices (at most persons * most,): one image a camera of the persons whom most cameras saw, person by person."""
    pairs = torch.stack([images.persons, images.cameras], 1)
    distinct, place = pairs.unique(dim=0, return_inverse=True)
    first = torch.full((len(distinct),), len(pairs)).scatter_reduce_(0, place, torch.arange(len(pairs)), "amin")
    real = distinct[:, 0] > 0
    names, counts = distinct[real, 0].unique(return_counts=True)
    best = names[counts.argsort(descending=True, stable=True)[:persons]]
    return torch.cat([first[distinct[:, 0] == name][:most] for name in best]) if len(best) else torch.empty(0).long()


def activation_figure(maps: Tensor, pictures: Tensor | None, titles: list[str]) -> "Figure":
    """One column an image: its map, over the picture where it may be shown.

    Args:
        maps: (n, H, W) in 0..1.
        pictures: (n, 3, H, W) uint8, or None to show the maps alone.
        titles: n.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(10, 10 * (1 if pictures is None else 2) * 1.9 / max(len(maps), 6)), layout="constrained")
    rows = 1 if pictures is None else 2
    axes = drawn.subplots(rows, len(maps), squeeze=False)
    for column, (strengths, title) in enumerate(zip(maps, titles, strict=True)):
        if pictures is not None:
            for row in range(2):
                axes[row, column].imshow(pictures[column].permute(1, 2, 0).numpy())
        axes[-1, column].imshow(
            strengths.numpy(), cmap="inferno", vmin=0, vmax=1, alpha=1 if pictures is None else 0.55
        )
        axes[0, column].set_title(title, fontsize=7)
    for some in axes.flat:
        some.set_axis_off()
    return drawn
