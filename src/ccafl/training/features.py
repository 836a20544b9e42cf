"""Features of all images of a store, shared by the processes, and the statistics of each camera's images."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor

from ccafl.config import Config
from ccafl.data.batches import EvaluationBatches
from ccafl.data.store import ImageStore
from ccafl.data.transforms import normalise
from ccafl.model.embedding import embed_batches, measure_camera_statistics
from ccafl.model.image_encoder import ImageEncoder

STATISTICS_IMAGES = 512  # per camera, for measuring its batch statistics


def embed_store(
    fabric: Fabric,
    encoder: ImageEncoder,
    store: ImageStore,
    cameras: Tensor,
    config: Config,
    *,
    image_text: bool = False,
) -> Tensor:
    """Features (n, D) of all images of ``store`` on every process's device, each process encoding its share.

    Re-ID features, L2-normalised; or image-text features, not normalised.
    """

    def embed(batch: Tensor, batch_cameras: Tensor) -> Tensor:
        images = normalise(batch)
        with fabric.autocast():
            if image_text:
                projected: Tensor = encoder(images, cameras=batch_cameras)[1]
                return projected
            return encoder.embed(images, batch_cameras)

    share = torch.arange(fabric.global_rank, len(store), fabric.world_size)
    size = config.runtime.extraction_batch
    batches = EvaluationBatches(store, share, size)
    loaded = batches.loaded(config.data.workers, pin_memory=fabric.device.type == "cuda")
    parts = list(embed_batches(embed, encoder, zip(loaded, cameras[share].split(size), strict=True), fabric.device))
    dim = encoder.image_text_dim if image_text else encoder.reid_dim
    assert dim is not None
    own = torch.cat(parts) if parts else torch.empty(0, dim, device=fabric.device)
    if fabric.world_size == 1:
        return own
    padded = F.pad(own, (0, 0, 0, -(-len(store) // fabric.world_size) - len(own)))
    gathered = fabric.all_gather(padded)
    assert isinstance(gathered, Tensor)
    return gathered.transpose(0, 1).flatten(0, 1)[: len(store)]  # image i was number i // W of process i % W


def measure_cameras(fabric: Fabric, encoder: ImageEncoder, store: ImageStore, cameras: Tensor, config: Config) -> None:
    """Measure every camera's batch statistics on evenly chosen images, if the encoder keeps such statistics.

    Args:
        cameras: (n,) int64, of the images of ``store``.
    """
    if encoder.norm_cameras is None:
        return

    def batches(camera: int) -> Iterator[Tensor]:
        own = (cameras == camera).nonzero().squeeze(1)
        chosen = own[:: -(-len(own) // STATISTICS_IMAGES)]
        size = min(config.runtime.extraction_batch, STATISTICS_IMAGES)
        loaded = EvaluationBatches(store, chosen, size).loaded(config.data.workers)
        return (normalise(images.to(fabric.device)) for images in loaded)

    with fabric.autocast():
        by_camera = ((camera, batches(camera)) for camera in cameras.unique().tolist())
        measure_camera_statistics(encoder, by_camera, fabric.device)
