"""Stage 2 (paper, section III): the image encoder learns, first camera by camera, then across cameras."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from ccafl.config import Config, Stage2
from ccafl.data.batches import TrainingBatches, camera_batches, identity_batches, seed_for
from ccafl.data.numbering import LabelledImages
from ccafl.data.store import ImageStore
from ccafl.data.transforms import Augmentation, normalise
from ccafl.method.share import Share
from ccafl.model.classifier import GlobalIDClassifier
from ccafl.model.image_encoder import ImageEncoder
from ccafl.training.clock import Clock
from ccafl.training.fabric import set_up_optimizer, shared
from ccafl.training.features import FeatureBank
from ccafl.training.learning import EpochStart, Losses, learning_of
from ccafl.training.schedule import Phase, stage2_factor


def encoder_optimizer(encoder: ImageEncoder, settings: Stage2) -> torch.optim.Adam:
    """Adam; biases learn at twice the rate (authors' code). Each group keeps its full rate in ``initial_lr``."""
    trained = [(name, parameter) for name, parameter in encoder.named_parameters() if parameter.requires_grad]
    weights = [parameter for name, parameter in trained if "bias" not in name]
    biases = [parameter for name, parameter in trained if "bias" in name]
    groups = [
        {"params": weights, "initial_lr": settings.learning_rate},
        {"params": biases, "initial_lr": settings.learning_rate * settings.bias_learning_rate_factor},
    ]
    return torch.optim.Adam(groups, settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


def classifier_optimizer(classifier: GlobalIDClassifier, settings: Stage2) -> torch.optim.Adam:
    """The classifier's own Adam, without a schedule."""
    return torch.optim.Adam(
        classifier.parameters(),
        settings.classifier_learning_rate,
        weight_decay=settings.classifier_weight_decay,
        fused=True,  # one pass over the weights per step, where the default makes several
    )


@dataclass(frozen=True, slots=True)
class Learners:
    """What learns in stage 2, with its optimisers: the encoder (as Fabric wraps it) and the global ID classifier.

    Both optimisers are Fabric's, so that 16-bit gradients of either are scaled. Of several processes, each has the
    classifier's weights, their gradient and their optimiser's state for its ``share`` of the identities; None if it is
    the only one.
    """

    encoder: nn.Module
    encoder_optimizer: torch.optim.Optimizer
    classifier: GlobalIDClassifier
    classifier_optimizer: torch.optim.Optimizer
    share: Share | None = None


def set_up(fabric: Fabric, encoder: ImageEncoder, classifier: GlobalIDClassifier, settings: Stage2) -> Learners:
    """The learners on ``fabric``'s device."""
    wrapped, optimizer = fabric.setup(encoder, encoder_optimizer(encoder, settings))
    share = shared(fabric)
    if share is not None:
        classifier.keep_part(share.number, share.processes)
    classifier.to(fabric.device)
    own_optimizer = set_up_optimizer(fabric, classifier_optimizer(classifier, settings))
    return Learners(wrapped, optimizer, classifier, own_optimizer, share)


class EncoderEpoch:
    """One epoch of stage 2: its batches and its steps.

    Losses are computed on the global batch: each of several processes encodes its share, and the features are gathered
    with their gradients, so that the result equals that of a single process.
    """

    def __init__(
        self,
        fabric: Fabric,
        config: Config,
        learners: Learners,
        images: LabelledImages,
        start: EpochStart,
        phase: Phase,
        epoch: int,
        *,
        clock: Clock | None = None,
        bank: FeatureBank | None = None,
    ) -> None:
        """``bank``, if given, keeps the features that the steps make."""
        self.fabric, self.config, self.images = fabric, config, images
        self.clock, self.bank = clock or Clock(), bank
        self.encoder, self.optimizer = learners.encoder, learners.encoder_optimizer
        self.classifier, self.classifier_optimizer = learners.classifier, learners.classifier_optimizer
        self.phase, self.epoch = phase, epoch
        with self.clock.part("memories"):
            self.learning = learning_of(phase, config, images, start, learners.classifier, epoch, learners.share)

    def draws(self) -> Tensor:
        """Image indices of every step, (S, P * K)."""
        stage2, learning = self.config.stage2, self.learning
        seed = seed_for(self.config.seed, 2, self.epoch, 0)
        shape = (stage2.steps_per_epoch, stage2.identities, stage2.images)
        if learning.batch_cameras is None:
            return identity_batches(learning.groups, *shape, seed)
        return camera_batches(learning.groups, self.images.cameras, *shape, learning.batch_cameras, seed)

    def steps(self, store: ImageStore) -> Iterator[Losses]:
        """Run the epoch on the images of ``store``; yields every step's losses, detached scalars by name."""
        self._set_learning_rate()
        draws = self.draws()
        data = self.config.data
        augmentation = Augmentation(self.config.model.image_size, flip=data.flip, pad=data.pad, erase=data.erase)
        batches = TrainingBatches(
            store,
            augmentation,
            draws,
            seed_for(self.config.seed, 2, self.epoch, 2),
            share=(self.fabric.global_rank, self.fabric.world_size),
        )
        self.encoder.train()
        device = self.fabric.device
        loaded = batches.loaded(data.workers, pin_memory=device.type == "cuda")
        ready = (normalise(images.to(device, non_blocking=True)) for images in loaded)
        for images, indices in zip(self.clock.waiting("loading", ready), draws, strict=True):
            yield self.step(images, indices)

    def step(self, images: Tensor, indices: Tensor) -> Losses:
        """One step: the classifier learns on detached features, then the encoder, then the memories move.

        Args:
            images: (B / processes, 3, H, W), this process's share of the batch.
            indices: (B,) int64 image indices of the whole batch, on the CPU.

        Returns:
            Detached scalars: ``global_id``, the encoder's losses by name, and their ``total``.
        """
        with self.clock.part("forward"):
            features, image_text = self._encoded(images, indices)

        with self.clock.part("losses"):
            global_id = self.learning.classifier_loss(features.detach(), indices)
        self._descend(global_id, self.classifier_optimizer)

        with self.clock.part("losses"):
            losses = self.learning.losses(features, image_text, indices)
            total = torch.stack(list(losses.values())).sum() if losses else _zero_loss(features, image_text)
        self._descend(total, self.optimizer)

        with self.clock.part("memories"):
            self.learning.update(features.detach(), indices)
            if self.bank is not None:
                self.bank.put(F.normalize(features.detach()), indices, self.epoch)
        return {name: loss.detach() for name, loss in ({"global_id": global_id} | losses | {"total": total}).items()}

    def _encoded(self, images: Tensor, indices: Tensor) -> tuple[Tensor, Tensor | None]:
        """Re-ID features (B, D) and, if text takes part, image-text features (B, E) of the global batch."""
        share = self.images.cameras[indices].chunk(self.fabric.world_size)[self.fabric.global_rank]
        features, image_text = self.encoder(images, self.phase.text, share)
        return self._gathered(features), None if image_text is None else self._gathered(image_text)

    def _gathered(self, features: Tensor) -> Tensor:
        """Features of the global batch (B, D), in its order; the gradient goes back to each process's share."""
        if self.fabric.world_size == 1:
            return features
        gathered = self.fabric.all_gather(features, sync_grads=True)
        assert isinstance(gathered, Tensor)
        return gathered.flatten(0, 1)

    def _descend(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        with self.clock.part("backward"):
            self.fabric.backward(loss)
        with self.clock.part("optimisers"):
            optimizer.step()

    def _set_learning_rate(self) -> None:
        factor = stage2_factor(self.config.stage2, self.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor


def _zero_loss(features: Tensor, image_text: Tensor | None) -> Tensor:
    """Zero, but connected to every output: each of several processes waits for gradients through all of them."""
    outputs = features.sum() if image_text is None else features.sum() + image_text.sum()
    return outputs * 0
