"""The global ID classifier, the adversary of inter-camera adversarial learning."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GlobalIDClassifier(nn.Module):
    """One weight vector for each of the N accumulated identities; its outputs are cosines.

    Attributes:
        identities: N.
        weight: (N, D), or those that `keep_part` has left.

    Source: paper, section III (inter-camera adversarial learning), Xavier uniform as in the authors' code.
    """

    def __init__(self, identities: int, dim: int) -> None:
        super().__init__()
        self.identities = identities
        self.weight = nn.Parameter(torch.empty(identities, dim))
        nn.init.xavier_uniform_(self.weight)

    def keep_part(self, number: int, processes: int) -> None:
        """Keep the weights of identities number, number + processes, ... only; they are then the columns of cosines."""
        self.weight = nn.Parameter(self.weight.detach()[number::processes].clone())

    def forward(self, features: Tensor, frozen_weights: bool = False) -> Tensor:
        """Cosines of features and identities.

        Args:
            features: (B, D), normalised here; the caller detaches them where only the classifier is to learn.
            frozen_weights: keep the weights out of the gradient, so that only the features learn (adversarial loss).

        Returns:
            (B, N) in -1..1.
        """
        weight = self.weight.detach() if frozen_weights else self.weight
        lengths: Tensor = torch.linalg.vector_norm(weight, dim=1).clamp(min=1e-12)
        return F.linear(F.normalize(features), weight) / lengths  # B x N divisions, not N x D for normalised weights
