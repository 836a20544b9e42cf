"""Features of many images, batch by batch."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn


@torch.no_grad()
def embed_batches(
    embed: Callable[[Tensor], Tensor], module: nn.Module, batches: Iterable[Tensor], device: torch.device
) -> Iterator[Tensor]:
    """Apply ``embed`` to every batch with ``module`` in evaluation mode; its mode is put back at the end.

    Args:
        embed: (b, 3, H, W) -> (b, D), using ``module``.
        batches: normalised images (b, 3, H, W).
        device: where ``module`` lies.

    Yields:
        (b, D) float32 on ``device``.
    """
    was_training = module.training
    module.eval()
    try:
        for images in batches:
            yield embed(images.to(device, non_blocking=True)).float()
    finally:
        module.train(was_training)
