"""The memories of an epoch, rebuilt at its start from the features of all training images."""

import torch
from torch import Tensor

from ccafl.config import InterCamera, IntraCamera
from ccafl.data.numbering import LabelledImages
from ccafl.method.association import identity_centres
from ccafl.method.memory import HybridMemory, PrototypeMemory


def hybrid_memories(
    features: Tensor, images: LabelledImages, settings: IntraCamera, seed: int, samples: int
) -> list[HybridMemory]:
    """One memory per camera: identity centres, and K instance features per identity, drawn with replacement.

    Args:
        features: (n, D), L2-normalised, of all training images.
        images: their cameras and identities.
        settings: K, the instances' precision, temperature, momentum.
        seed: of the draw.
        samples: of one identity that a batch has at most. They overwrite the first slots; what the others hold stays.
    """
    device = features.device
    count = len(images.identity_cameras)
    centres = identity_centres(features, images.identities.to(device), count)
    drawn = drawn_images(images.identities, count, settings.instances, seed)
    slots, staying = drawn[:samples].to(device), torch.zeros_like(images.identities, dtype=torch.bool)
    staying[drawn[samples:]] = True
    kept = features.bfloat16() if settings.bfloat16_instances else features
    memories = []
    for camera, of_camera in enumerate(_identities_by_camera(images, device)):
        more = (staying & (images.cameras == camera)).nonzero().squeeze(1)
        labels, order = images.labels[more].sort()
        memories.append(
            HybridMemory(
                centres[of_camera],
                kept[slots[:, of_camera]],
                (kept[more[order].to(device)], labels.to(device)),
                temperature=settings.temperature,
                momentum=settings.momentum,
            )
        )
    return memories


def _identities_by_camera(images: LabelledImages, device: torch.device) -> list[Tensor]:
    cameras = torch.arange(len(images.camera_names))
    return [(images.identity_cameras == camera).nonzero().squeeze(1).to(device) for camera in cameras]


def drawn_images(identities: Tensor, count: int, draws: int, seed: int) -> Tensor:
    """Image indices (K, N): K images of every identity, with replacement."""
    by_identity = identities.argsort(stable=True)
    counts = torch.bincount(identities, minlength=count)
    starts = counts.cumsum(0) - counts
    uniform = torch.rand(draws, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return by_identity[starts + (uniform * counts).long()]


def prototype_memory(features: Tensor, labels: Tensor, settings: InterCamera) -> PrototypeMemory:
    """One entry per associated identity: the mean feature of all its images.

    Args:
        features: (n, D), L2-normalised.
        labels: (n,) int64 associated identity of every image, -1 for none; at least one is associated.
        settings: temperature, momentum.
    """
    centres = identity_centres(features, labels, int(labels.max()) + 1)
    return PrototypeMemory(centres, temperature=settings.temperature, momentum=settings.momentum)


def mean_text_features(text_features: Tensor, images: LabelledImages, association: Tensor) -> Tensor:
    """Mean text feature of every associated identity over its images: (N, E) -> (C, E), not normalised."""
    labels = association[images.identities]
    joined = labels >= 0
    of_images = text_features[images.identities[joined].to(text_features.device)]
    labels = labels[joined].to(text_features.device)
    sums = text_features.new_zeros(int(association.max()) + 1, text_features.shape[1]).index_add_(0, labels, of_images)
    return sums / torch.bincount(labels)[:, None]
