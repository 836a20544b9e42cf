"""The two memories: hybrid (one camera's centres and instances) and prototype (one entry per associated identity).

Both are read by a loss and moved by `update` after the backward pass; neither holds a parameter. They take features
as the encoder returns them and normalise them themselves.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

_GROUP = 40  # identities whose instances fit in a processor's cache: 10 MiB with K = 32 and D = 2048


class HybridMemory:
    """Centres and instance features of one camera's identities (intra-camera discriminative learning).

    Instances drawn with replacement are mostly the same few images. Only slots that updates overwrite need a feature
    each; what the others hold, which stays, is kept once.

    Attributes:
        centres: (C, D), L2-normalised mean feature of every identity.
        rows: (K C + S, D), L2-normalised features: slot k of identity j in row k C + j, then those that stay. bfloat16
            if they were given so, for half the memory: all is computed in the features' precision but for the
            gradient's last sum.
        places: (K + M, C) int64, the rows of every identity; it repeats one of them where it has fewer than others.

    Source: paper, section III (hybrid memory), constants from the authors' code.
    """

    def __init__(
        self,
        centres: Tensor,
        instances: Tensor,
        staying: tuple[Tensor, Tensor] | None = None,
        *,
        temperature: float = 0.05,
        momentum: float = 0.1,
    ) -> None:
        """Begin an epoch.

        Args:
            centres: (C, D), L2-normalised.
            instances: (K, C, D), L2-normalised, of K slots of every identity.
            staying: features (S, D) of more instances and their labels (S,) int64, ascending; no update overwrites
                them, so a batch must have at most K samples of an identity.
            temperature: tau.
            momentum: m.
        """
        if centres.ndim != 2 or instances.ndim != 3 or instances.shape[1:] != centres.shape:
            raise ValueError(
                f"centres (C, D) and instances (K, C, D) disagree: {tuple(centres.shape)}, {tuple(instances.shape)}"
            )
        self.centres = centres.clone()
        self.slots, identities, _ = instances.shape
        self.temperature = temperature
        self.momentum = momentum
        self.rows = instances.flatten(0, 1)
        self.places = torch.arange(len(self.rows), device=centres.device).view(self.slots, identities)
        if staying is None:
            self.rows = self.rows.clone()
        else:
            features, labels = staying
            self.rows = torch.cat([self.rows, features])
            self.places = torch.cat([self.places, self._of_staying(labels)])

    def _of_staying(self, labels: Tensor) -> Tensor:
        """The rows (M, C) of the instances that stay, by their labels (S,); an identity without any repeats slot 0."""
        counts = torch.bincount(labels, minlength=len(self.centres))
        first = self.slots * len(counts) + counts.cumsum(0) - counts
        within = torch.arange(int(counts.max()), device=labels.device)[:, None]
        return torch.where(counts > 0, first + within.minimum(counts - 1), self.places[0])

    @property
    def instances(self) -> Tensor:
        """(K, C, D), the slots that updates overwrite."""
        return self.rows[: self.slots * len(self.centres)].view(self.slots, *self.centres.shape)

    def losses(self, features: Tensor, labels: Tensor, ignored: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """L_intra1 over the centres and L_intra2 over the hardest instances, for one camera's samples.

        L_intra1 = CE(<f, centre_j> / tau, y)
        L_intra2 = CE(h_j / tau, y),  h_y = min_k <f, instance_{k,y}>,  h_j = max_k <f, instance_{k,j}> for j != y

        Args:
            features: (B, D), not normalised.
            labels: (B,) int64 in 0..C-1.
            ignored: (B, C) bool, identities that a sample is not compared with; None for none, as in the paper.

        Returns:
            (centre_loss, hard_instance_loss), scalar means over the samples.
        """
        features = F.normalize(features)
        similar = features @ self.centres.T
        hardest = _HardestInstances.apply(features, self.rows, self.places, labels, self.slots)
        if ignored is not None:
            similar, hardest = (part.masked_fill(ignored, -torch.inf) for part in (similar, hardest))
        centre_loss = F.cross_entropy(similar / self.temperature, labels)
        hard_instance_loss = F.cross_entropy(hardest / self.temperature, labels)
        return centre_loss, hard_instance_loss

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Take in the batch, after its backward pass.

        The n samples of an identity overwrite its slots 0..n-1 in batch order (the first K if n > K);
        centre_j <- normalise(m centre_j + (1 - m) mean of the batch's features of j).

        Args:
            features: (B, D), not normalised.
            labels: (B,) int64 in 0..C-1.
        """
        features = F.normalize(features).to(self.centres.dtype)
        _write_instances(self.instances, features, labels)
        same = labels[:, None] == labels
        means = same.to(features.dtype) @ features / same.sum(1, keepdim=True)
        moved = F.normalize(torch.lerp(means, self.centres.index_select(0, labels), self.momentum))
        first = same.to(torch.uint8).argmax(1)  # all samples of an identity write the same value, its first sample's
        self.centres.index_copy_(0, labels, moved.index_select(0, first))


class _HardestInstances(torch.autograd.Function):
    """h (B, C): the least similar instance of a sample's own identity, the most similar one of every other.

    Its gradient comes from the B x C chosen instances alone, so the backward pass reads those, not all of every pair.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, features: Tensor, rows: Tensor, places: Tensor, labels: Tensor, slots: int) -> Tensor:
        """(B, D), (R, D), (M, C), (B,), K -> (B, C)."""
        similarity = rows.to(features.dtype) @ features.T
        in_slots = len(places) == slots  # all of them, so that their rows are in the order of places
        of_identities = similarity.view(*places.shape, -1) if in_slots else similarity[places]
        hardest, place = of_identities.max(0)
        own = labels.expand(len(places), 1, -1)
        least, least_place = of_identities.gather(1, own).min(0)
        hardest.scatter_(0, own[0], least)
        place.scatter_(0, own[0], least_place)
        ctx.save_for_backward(rows, places.T.gather(1, place))
        return hardest.T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        """sum_j g_ij (the instance chosen for i and j).

        Summed over one group of identities at a time, so that their instances stay in a processor's cache.
        """
        rows, chosen = ctx.saved_tensors
        identities, samples = chosen.shape
        weights = gradients[0].T.to(rows.dtype)

        def grouped(values: Tensor) -> Tensor:  # (C, B) -> (groups * B, identities of a group), padded with weights 0
            padded = F.pad(values, (0, 0, 0, -identities % _GROUP))
            return padded.view(-1, _GROUP, samples).transpose(1, 2).reshape(-1, _GROUP)

        sums = F.embedding_bag(grouped(chosen), rows, per_sample_weights=grouped(weights), mode="sum")
        gradient = sums.view(-1, samples, rows.shape[1]).sum(0)
        return gradient.to(gradients[0].dtype), None, None, None, None


def _write_instances(instances: Tensor, features: Tensor, labels: Tensor) -> None:
    """Overwrite in place: the r-th sample of an identity goes to its slot r; beyond the last slot it is dropped."""
    by_label = labels.argsort(stable=True)
    labels = labels[by_label]
    rank = torch.arange(len(labels), device=labels.device) - torch.searchsorted(labels, labels)
    # A sample without a slot repeats its identity's first sample, in slot and value, so that it changes nothing.
    kept = rank < len(instances)
    source = torch.where(kept, by_label, by_label[torch.searchsorted(labels, labels)])
    instances[rank * kept, labels] = features[source].to(instances.dtype)


class PrototypeMemory:
    """One feature for every associated identity (inter-camera learning).

    Attributes:
        prototypes: (C, D), L2-normalised mean feature of all images of every associated identity.

    Source: paper, section III (prototype memory), constants from the authors' code.
    """

    def __init__(self, prototypes: Tensor, *, temperature: float = 0.05, momentum: float = 0.1) -> None:
        if prototypes.ndim != 2:
            raise ValueError(f"prototypes must be (C, D), not {tuple(prototypes.shape)}")
        self.prototypes = prototypes.clone()
        self.temperature = temperature
        self.momentum = momentum

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """L_inter = CE(<f, prototype_j> / tau, p), scalar mean over the samples.

        Args:
            features: (B, D), not normalised.
            labels: (B,) int64 in 0..C-1, the associated identity.
        """
        return F.cross_entropy(F.normalize(features) @ self.prototypes.T / self.temperature, labels)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Move every identity of the batch by its hardest sample, after the backward pass.

        prototype_p <- normalise(m prototype_p + (1 - m) f),  f the sample of p least similar to prototype_p

        Args:
            features: (B, D), not normalised.
            labels: (B,) int64 in 0..C-1.
        """
        features = F.normalize(features).to(self.prototypes.dtype)
        own = self.prototypes.index_select(0, labels)
        hardest = _first_least(torch.linalg.vecdot(features, own), labels)
        moved = torch.lerp(features.index_select(0, hardest), own, self.momentum)
        # All samples of an identity write the same value, its hardest sample's.
        self.prototypes.index_copy_(0, labels, F.normalize(moved))


def _first_least(values: Tensor, labels: Tensor) -> Tensor:
    """For every sample, the index of the smallest value among the samples of its label: (B,)."""
    of_others = labels[:, None] != labels
    return values.expand(len(labels), -1).masked_fill(of_others, torch.inf).argmin(1)
