"""Features of all images of a store, shared by the processes, and the statistics of each camera's images."""

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

_STATISTICS_IMAGES = 256  # per camera, for measuring its batch statistics
_ENOUGH = 64  # images: from there on, a batch's variance is the running one, which divides by n - 1, to 2 %
_NEVER = -(1 << 32)  # an epoch long before the first


def embed_store(
    fabric: Fabric,
    encoder: ImageEncoder,
    store: ImageStore,
    cameras: Tensor,
    config: Config,
    *,
    chosen: Tensor | None = None,
    image_text: bool = False,
) -> Tensor:
    """Features (n, D) of the images of ``store`` on every process's device, each process encoding its share.

    Args:
        fabric, encoder, config: of the run.
        store: the images.
        cameras: of all of them, int64.
        chosen: (n,) int64, the images to encode; all of them if not given.
        image_text: image-text features, not normalised, instead of re-ID features, which are L2-normalised.
    """

    def embed(batch: Tensor, batch_cameras: Tensor) -> Tensor:
        images = normalise(batch)
        with fabric.autocast():
            if image_text:
                projected: Tensor = encoder(images, cameras=batch_cameras)[1]
                return projected
            return encoder.embed(images, batch_cameras)

    wanted = torch.arange(len(store)) if chosen is None else chosen
    share = wanted[fabric.global_rank :: fabric.world_size]
    size = config.runtime.extraction_batch
    dim = encoder.image_text_dim if image_text else encoder.reid_dim
    assert dim is not None
    parts = [torch.empty(0, dim, device=fabric.device)]
    if len(share):
        batches = EvaluationBatches(store, share, size)
        loaded = batches.loaded(config.data.workers, pin_memory=fabric.device.type == "cuda")
        parts += embed_batches(embed, encoder, zip(loaded, cameras[share].split(size), strict=True), fabric.device)
    own = torch.cat(parts)
    if fabric.world_size == 1:
        return own
    padded = F.pad(own, (0, 0, 0, -(-len(wanted) // fabric.world_size) - len(own)))
    gathered = fabric.all_gather(padded)
    assert isinstance(gathered, Tensor)
    return gathered.transpose(0, 1).flatten(0, 1)[: len(wanted)]  # the i-th was number i // W of process i % W


class FeatureBank:
    """The re-ID feature of every training image, with the epoch that made it.

    Attributes:
        features: (n, D), L2-normalised, on the run's device.
        made: (n,) int64 on the CPU, the epoch whose start or one of whose steps made the feature.
    """

    def __init__(self, images: int, dim: int, device: torch.device) -> None:
        self.features = torch.zeros(images, dim, device=device)
        self.made = torch.full((images,), _NEVER)

    def outdated(self, epoch: int, age: int) -> Tensor:
        """The images (m,) int64 whose feature is older than ``age`` epochs at the start of ``epoch``."""
        return (epoch - self.made > age).nonzero().squeeze(1)

    def put(self, features: Tensor, indices: Tensor, epoch: int) -> None:
        """Keep features made in ``epoch``; of several of one image, the last.

        Args:
            features: (m, D), L2-normalised.
            indices: (m,) int64 on the CPU, their images.
            epoch: of stage 2.
        """
        images, place = indices.unique(return_inverse=True)
        last = torch.zeros_like(images).scatter_reduce_(0, place, torch.arange(len(indices)), "amax")
        device = self.features.device
        self.features[images.to(device, non_blocking=True)] = features[last.to(device, non_blocking=True)]
        self.made[images] = epoch

    def load(self, features: Tensor, made: Tensor) -> None:
        """Take another bank's content.

        Raises:
            ValueError: it is of other images, or of another network.
        """
        if (features.shape, made.shape) != (self.features.shape, self.made.shape):
            raise ValueError("its features are of other images")
        self.features.copy_(features)
        self.made.copy_(made)


def embed_training_images(
    fabric: Fabric,
    encoder: ImageEncoder,
    store: ImageStore,
    cameras: Tensor,
    config: Config,
    chosen: Tensor | None = None,
) -> Tensor:
    """Re-ID features (m, D) of training images, L2-normalised, after `measure_cameras` of their cameras.

    That encodes images, too, whose features are taken from there: the statistics are those of their batch.

    Args:
        fabric, encoder, config: of the run.
        store: the n training images.
        cameras: (n,) int64, of all of them.
        chosen: (m,) int64, the images whose features are wanted; all of them if not given.
    """
    wanted = torch.arange(len(store)) if chosen is None else chosen
    measured, features = measure_cameras(fabric, encoder, store, cameras, config, cameras[wanted].unique())
    if not len(measured):
        return embed_store(fabric, encoder, store, cameras, config, chosen=wanted)
    together = features.new_empty(len(store), features.shape[1])
    together[measured.to(fabric.device)] = features
    rest = wanted[~torch.isin(wanted, measured)]
    together[rest.to(fabric.device)] = embed_store(fabric, encoder, store, cameras, config, chosen=rest)
    return together[wanted.to(fabric.device)]


def with_measured(encoder: ImageEncoder, chosen: Tensor, cameras: Tensor, config: Config) -> Tensor:
    """The images that `embed_training_images` of those ``chosen`` encodes: some more, which measure their cameras."""
    if encoder.norm_cameras is None:
        return chosen
    encoded = torch.zeros(len(cameras), dtype=torch.bool)
    encoded[chosen] = True
    for camera in cameras[chosen].unique().tolist():
        measuring = measuring_images(cameras, camera)
        encoded[measuring] |= _gives_features(len(measuring), config)
    return encoded.nonzero().squeeze(1)


def measuring_images(cameras: Tensor, camera: int) -> Tensor:
    """The images (m,) int64 on which a camera's statistics are measured: evenly chosen of its own, at most 256.

    Args:
        cameras: (n,) int64, of all images.
        camera: its number.
    """
    own = (cameras == camera).nonzero().squeeze(1)
    return own[:: -(-len(own) // _STATISTICS_IMAGES)]


def _gives_features(measured: int, config: Config) -> bool:
    """Whether so many images, with which a camera is measured, have features by its statistics: those of one batch."""
    return _ENOUGH <= measured <= config.runtime.extraction_batch


def measure_cameras(
    fabric: Fabric,
    encoder: ImageEncoder,
    store: ImageStore,
    cameras: Tensor,
    config: Config,
    only: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Measure cameras' batch statistics on some of their images, if the encoder keeps such statistics.

    Args:
        fabric, encoder, config: of the run.
        store: the training images.
        cameras: (n,) int64, of the images.
        only: the cameras to be measured; all of them if not given.

    Returns:
        The indices (m,) of the images of all cameras that were measured in one batch, and their features (m, D).
    """
    measured, features = [torch.empty(0, dtype=torch.int64)], [torch.empty(0, encoder.reid_dim, device=fabric.device)]
    if encoder.norm_cameras is None:
        return measured[0], features[0]
    size, workers = config.runtime.extraction_batch, config.data.workers
    for camera in (cameras.unique() if only is None else only).tolist():
        chosen = measuring_images(cameras, camera)
        batches = (
            normalise(batch.to(fabric.device)) for batch in EvaluationBatches(store, chosen, size).loaded(workers)
        )
        with fabric.autocast():
            found = list(measure_camera_statistics(encoder, camera, batches, fabric.device))
        if _gives_features(len(chosen), config):
            measured.append(chosen)
            features += found
    return torch.cat(measured), torch.cat(features)
