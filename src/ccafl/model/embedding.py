"""Features of many images, batch by batch."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from ccafl.model.image_encoder import ImageEncoder


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 natively: more than twice as fast as float32, cosines equal to 1e-4."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    abilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return device.type == "cpu" and any(abilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


@torch.no_grad()
def embed_batches(
    embed: Callable[[Tensor, Tensor], Tensor],
    module: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    device: torch.device,
) -> Iterator[Tensor]:
    """Apply ``embed`` to every batch with ``module`` in evaluation mode; its mode is restored at the end.

    Args:
        embed: (b, 3, H, W) and cameras (b,) -> (b, D), using ``module``.
        batches: images (b, 3, H, W) as ``embed`` takes them, and their cameras (b,), which stay on the CPU.
        device: where ``module`` is.

    Yields:
        (b, D) float32 on ``device``.
    """
    was_training = module.training
    module.eval()
    try:
        for images, cameras in batches:
            yield embed(images.to(device, non_blocking=True), cameras).float()
    finally:
        module.train(was_training)


@torch.no_grad()
def measure_camera_statistics(
    encoder: ImageEncoder, camera: int, batches: Iterable[Tensor], device: torch.device
) -> Iterator[Tensor]:
    """Measure a camera's batch statistics with the current weights; running statistics stem from earlier ones.

    Args:
        encoder: with ``norm_cameras``.
        camera: its number.
        batches: of its images, (b, 3, H, W); their statistics are averaged.
        device: where ``encoder`` is.

    Yields:
        (b, D) float32 of every batch, L2-normalised: features by the statistics of that batch.
    """
    norm = encoder.norm_cameras
    assert norm is not None
    was_training, momentum = encoder.training, norm.momentum
    encoder.train()
    try:
        for number, images in enumerate(batches, start=1):
            norm.momentum = 1 / number
            yield encoder.embed(images.to(device), torch.full((len(images),), camera)).float()
    finally:
        norm.momentum = momentum
        encoder.train(was_training)
