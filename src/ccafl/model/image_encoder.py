"""The image encoder: a backbone with a re-ID feature and, with CLIP, an image-text feature beside it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ccafl.errors import InputError
from ccafl.model.camera_norm import Cameras, by_camera
from ccafl.model.tower import Tower


class ImageEncoder(nn.Module):
    """A backbone with a BNNeck after its pooled feature.

    Attributes:
        tower: the backbone.
        image_size: (height, width) of the images.
        reid_dim: D, the size of a re-ID feature.
        image_text_dim: E, the size of an image-text feature; None without a text tower.
        norm_cameras: the batch's cameras, if batch norms keep separate statistics for each camera; else None.

    Source: paper, section III; the BNNeck from the authors' code.
    """

    def __init__(self, tower: Tower, norm_cameras: int | None = None) -> None:
        """Put the BNNeck after ``tower``, which is kept, not copied.

        Args:
            tower: the backbone, built for the images' size.
            norm_cameras: C, if batch norms keep separate statistics for C cameras; None if cameras share them.

        Raises:
            InputError: ``norm_cameras`` with a tower that has no batch norms.
        """
        super().__init__()
        self.tower = tower
        self.image_size = tower.image_size
        self.reid_dim = tower.reid_dim
        self.image_text_dim = tower.image_text_dim
        self.bnneck = nn.BatchNorm1d(self.reid_dim)
        self.bnneck.bias.requires_grad_(False)
        self.norm_cameras = None if norm_cameras is None else Cameras(norm_cameras)
        if self.norm_cameras is not None:
            if not any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in tower.modules()):
                raise InputError("model.camera_norm: this architecture has no batch norms; set model.camera_norm=false")
            by_camera(self, self.norm_cameras)
        self.to(memory_format=torch.channels_last)  # makes convolutions a sixth faster on a CPU

    def forward(
        self, images: Tensor, image_text: bool = True, cameras: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Features of images.

        Args:
            images: (B, 3, H, W) of the encoder's image size.
            image_text: whether to compute the image-text feature too.
            cameras: (B,) int64 in 0..C-1, -1 for an unknown one; used only if norms keep cameras' statistics or the
                tower embeds cameras.

        Returns:
            (re-ID features (B, D), image-text features (B, E) or None). Neither is L2-normalised: the re-ID feature is
            the BNNeck's output, which losses and memories normalise.
        """
        if images.shape[2:] != self.image_size:
            raise ValueError(f"images are {tuple(images.shape[2:])}, the encoder was built for {self.image_size}")
        if self.norm_cameras is None:
            pooled, projected = self.tower.of_cameras(images, image_text, cameras)
            return self.bnneck(pooled), projected
        order = self.norm_cameras.sort(cameras, len(images)).to(images.device, non_blocking=True)
        place = order.argsort()
        pooled, projected = self.tower(images[order], image_text)
        return self.bnneck(pooled)[place], None if projected is None else projected[place]

    def embed(self, images: Tensor, cameras: Tensor | None = None) -> Tensor:
        """The feature that is matched and stored: (B, 3, H, W) -> (B, D), L2-normalised."""
        reid, _ = self(images, image_text=False, cameras=cameras)
        return F.normalize(reid)
