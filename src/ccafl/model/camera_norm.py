"""Batch normalisation camera by camera: every layer removes what a camera's light, lens and view do to features. Not in
the paper; after Zhuang et al., "Rethinking the Distribution Gap of Person Re-identification with
Camera-based Batch Normalization" (arXiv 2001.08680).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ccafl.data.records import UNKNOWN_CAMERA


class Cameras:
    """The cameras of the batch that is passing through a network, sorted; shared by all norms of the network.

    Attributes:
        count: C.
        momentum: weight of a batch in the running statistics.
        groups: (camera, number of its images) for every camera in the batch, in the order of the batch.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.momentum = 0.1
        self.groups: list[tuple[int, int]] = []

    def sort(self, cameras: Tensor | None, batch: int) -> Tensor:
        """Record the batch's cameras; returns the order (B,) that sorts it.

        Args:
            cameras: (B,) int64 on the CPU, in 0..C-1 or `UNKNOWN_CAMERA`; None if none is known.
            batch: B.
        """
        if cameras is None:
            cameras = torch.full((batch,), UNKNOWN_CAMERA)
        names, counts = cameras.unique(return_counts=True)
        self.groups = list(zip(names.tolist(), counts.tolist(), strict=True))
        return cameras.argsort(stable=True)


class CameraBatchNorm(nn.Module):
    """A batch norm with one set of weights and the statistics of C cameras.

    In training, each camera's images are normalised by their own statistics; a single feature vector has none, so it
    takes the camera's running statistics. In evaluation, the camera's running statistics are used; an unknown camera
    takes those of all cameras pooled.

    Attributes:
        running_mean, running_var: (C, channels).
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, cameras: Cameras) -> None:
        super().__init__()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        self.cameras = cameras
        self.eps = norm.eps
        self.weight, self.bias = norm.weight, norm.bias
        self.register_buffer("running_mean", norm.running_mean.repeat(cameras.count, 1))
        self.register_buffer("running_var", norm.running_var.repeat(cameras.count, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels) or (B, channels, h, w), in the order that `Cameras.sort` gave -> the same shape, normalised."""
        groups = self.cameras.groups
        if len(groups) == 1:
            return self._normalised(features, groups[0][0])
        parts = features.split([count for _, count in groups])
        return torch.cat([self._normalised(part, camera) for part, (camera, _) in zip(parts, groups, strict=True)])

    def pooled(self) -> tuple[Tensor, Tensor]:
        """Mean and variance over all cameras, each with the same weight."""
        mean = self.running_mean.mean(0)
        return mean, self.running_var.mean(0) + (self.running_mean - mean).square().mean(0)

    def _normalised(self, features: Tensor, camera: int) -> Tensor:
        learning = self.training and features.numel() > features.shape[1]
        mean, variance = (
            self.pooled() if camera == UNKNOWN_CAMERA else (self.running_mean[camera], self.running_var[camera])
        )
        return F.batch_norm(features, mean, variance, self.weight, self.bias, learning, self.cameras.momentum, self.eps)


def by_camera(module: nn.Module, cameras: Cameras) -> nn.Module:
    """``module`` with every batch norm in it replaced by a `CameraBatchNorm` of the same weights and statistics."""
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return CameraBatchNorm(module, cameras)
    for name, child in module.named_children():
        setattr(module, name, by_camera(child, cameras))
    return module
