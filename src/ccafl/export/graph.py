"""The image encoder as exported: from pixel bytes to L2-normalised features, for any batch size."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ccafl.data.transforms import MEAN, STD
from ccafl.model.camera_norm import CameraBatchNorm
from ccafl.model.image_encoder import ImageEncoder


class EncoderGraph(nn.Module):
    """Input normalisation, a CPU copy of the encoder in evaluation mode, and L2 normalisation.

    Attributes:
        takes_cameras: whether ``cameras`` is required, because the encoder keeps statistics or a vector per camera.
        gives_image_text: whether there is a second output, the image-text features.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: ImageEncoder, *, image_text: bool) -> None:
        super().__init__()
        normed = 0 if encoder.norm_cameras is None else encoder.norm_cameras.count
        self._unknown = normed or encoder.tower.embedded_cameras or 0
        self.takes_cameras = self._unknown > 0
        self.gives_image_text = image_text
        self.register_buffer("mean", 255 * torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std", 255 * torch.tensor(STD)[:, None, None])
        self._cameras = _CamerasOfImages()
        self.encoder = copy.deepcopy(encoder).cpu().to(memory_format=torch.contiguous_format)
        self.encoder.norm_cameras = None  # no sorting: each image looks up its own camera
        _replace_norms(self.encoder, self._cameras)
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> tuple[Tensor, ...]:
        """Features (B, D) and, if the graph gives them, image-text features (B, E), all L2-normalised.

        Args:
            images: (B, 3, H, W) uint8, resized RGB.
            cameras: (B,) int64 in 0..C-1; any other number means an unknown camera.
        """
        if cameras is not None:
            known = (cameras >= 0) & (cameras < self._unknown)
            self._cameras.rows = torch.where(known, cameras, self._unknown)
        try:
            normalised = (images.float() - self.mean) / self.std
            features = self.encoder(normalised, self.gives_image_text, self._cameras.rows)
        finally:
            self._cameras.rows = None
        return tuple(F.normalize(feature) for feature in features if feature is not None)


class _CamerasOfImages:
    """The cameras (B,) of the batch passing through the network, 0..C, where C means unknown."""

    rows: Tensor | None = None


class _LookedUpNorm(nn.Module):
    """A `CameraBatchNorm` in evaluation: features times a factor plus a term, both chosen by the image's camera.

    The last row of each is for unknown cameras.
    """

    factor: Tensor
    term: Tensor

    def __init__(self, norm: CameraBatchNorm, cameras: _CamerasOfImages) -> None:
        super().__init__()
        self._cameras = cameras
        means, variances = (
            torch.cat([own.double(), pooled.double()[None]])
            for own, pooled in zip((norm.running_mean, norm.running_var), norm.pooled(), strict=True)
        )
        factor = norm.weight.double() / (variances + norm.eps).sqrt()
        self.register_buffer("factor", factor.float().detach())
        self.register_buffer("term", (norm.bias - means * factor).float().detach())

    def forward(self, features: Tensor) -> Tensor:
        rows = self._cameras.rows
        assert rows is not None
        places = (...,) + (None,) * (features.ndim - 2)
        return features * self.factor[rows][places] + self.term[rows][places]


def _replace_norms(module: nn.Module, cameras: _CamerasOfImages) -> None:
    """Replace every `CameraBatchNorm` below ``module``."""
    for name, child in module.named_children():
        if isinstance(child, CameraBatchNorm):
            setattr(module, name, _LookedUpNorm(child, cameras))
        else:
            _replace_norms(child, cameras)
