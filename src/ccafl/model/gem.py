"""Generalised-mean pooling."""

import torch
from torch import Tensor, nn


class GeM(nn.Module):
    """Generalised mean over a map's positions, its exponent learned: (mean_x max(f_x, eps)^p)^(1/p).

    p = 1 is average pooling, a large p approaches maximum pooling.

    Source: Radenovic et al., arXiv 1711.02512; p from 3 and eps 1e-6 as in the authors' code.
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C) in the precision of p: powers overflow half precision, so autocast is off here."""
        with torch.autocast(features.device.type, enabled=False):
            return features.to(self.p.dtype).clamp(min=self.eps).pow(self.p).mean((2, 3)).pow(1 / self.p)
