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
from ccafl.method.inter_camera import adversarial_loss, adversarial_positives, identity_loss
from ccafl.method.intra_camera import intra_camera_losses
from ccafl.method.losses import batch_hard_triplet, text_classification_loss
from ccafl.method.memory import HybridMemory, PrototypeMemory
from ccafl.method.precise_ics import global_classification_loss
from ccafl.model.classifier import GlobalIDClassifier
from ccafl.model.image_encoder import ImageEncoder
from ccafl.training.memories import hybrid_memories, mean_text_features, prototype_memory
from ccafl.training.schedule import Phase, stage2_factor

Losses = dict[str, Tensor]


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
    """Adam of its own, without a schedule."""
    return torch.optim.Adam(
        classifier.parameters(),
        settings.classifier_learning_rate,
        weight_decay=settings.classifier_weight_decay,
        fused=True,  # a pass over the weights for a step, where the default makes several
    )


@dataclass(frozen=True, slots=True)
class Learners:
    """What learns in stage 2, with its optimisers: the encoder (as Fabric wraps it) and the global ID classifier."""

    encoder: nn.Module
    encoder_optimizer: torch.optim.Optimizer
    classifier: GlobalIDClassifier
    classifier_optimizer: torch.optim.Optimizer


@dataclass(frozen=True, slots=True)
class EpochStart:
    """What is rebuilt at the start of every epoch.

    Attributes:
        features: (n, D) re-ID features of all training images, L2-normalised.
        text_features: (N, E) of all accumulated identities.
        association: (N,) int64 on the CPU, -1 for an identity left alone.
    """

    features: Tensor
    text_features: Tensor
    association: Tensor


class EncoderEpoch:
    """One epoch of stage 2: its memories and its steps.

    The losses are of the global batch: with several processes each encodes its share, and features are gathered with
    their gradients, so that the result is one process's.
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
    ) -> None:
        self.fabric, self.config, self.images = fabric, config, images
        self.encoder, self.optimizer = learners.encoder, learners.encoder_optimizer
        self.classifier, self.classifier_optimizer = learners.classifier, learners.classifier_optimizer
        self.phase, self.epoch = phase, epoch
        self.device = start.features.device
        self.association = start.association
        self.associated_count = int(start.association.max()) + 1
        self.identity_cameras = images.identity_cameras.to(self.device)
        self.cameras: list[HybridMemory] = []
        self.prototypes: PrototypeMemory | None = None
        if phase.learning == "intra":
            seed = seed_for(config.seed, 2, epoch, 1)
            self.cameras = hybrid_memories(start.features, images, config.stage2.intra_camera, seed)
            self.camera_text = start.text_features.split(torch.bincount(images.identity_cameras).tolist())
        elif (start.association >= 0).any():
            labels = start.association[images.identities].to(self.device)
            self.prototypes = prototype_memory(start.features, labels, config.stage2.inter_camera)
            self.person_text = mean_text_features(start.text_features, images, start.association)

    def draws(self) -> Tensor:
        """Image indices of every step, (S, P * K)."""
        stage2 = self.config.stage2
        groups = self.images.identities
        if self.prototypes is not None and (stage2.draw == "associated" or self.config.mode != "ccafl"):
            groups = self.association[groups]
        seed = seed_for(self.config.seed, 2, self.epoch, 0)
        shape = (stage2.steps_per_epoch, stage2.identities, stage2.images)
        learning = stage2.intra_camera if self.phase.learning == "intra" else stage2.inter_camera
        if learning.batch_cameras is None:
            return identity_batches(groups, *shape, seed)
        return camera_batches(groups, self.images.cameras, *shape, learning.batch_cameras, seed)

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
        loaded = batches.loaded(data.workers, pin_memory=self.device.type == "cuda")
        for images, indices in zip(loaded, draws, strict=True):
            yield self.step(normalise(images.to(self.device, non_blocking=True)), indices)

    def step(self, images: Tensor, indices: Tensor) -> Losses:
        """One step on this process's share of the images, (B / processes, 3, H, W), and all B indices (on the CPU)."""
        features, image_text = self.encoder(images, self.phase.text, self._own_cameras(indices))
        features = self._gathered(features)
        image_text = None if image_text is None else self._gathered(image_text)
        losses: Losses = {}
        if self.phase.learning == "global":
            learned = self._global(features, indices)
        else:
            losses["global_id"] = self._learn_classifier(features.detach(), indices)
            learn = self._intra_camera if self.phase.learning == "intra" else self._inter_camera
            learned = learn(features, image_text, indices)
        total = torch.stack(list(learned.values())).sum() if learned else _nothing(features, image_text)
        self.optimizer.zero_grad()
        self.classifier_optimizer.zero_grad()
        self.fabric.backward(total)
        self.optimizer.step()
        if self.phase.learning == "global":
            self.classifier_optimizer.step()
        self._update_memories(features.detach(), indices)
        return losses | {name: loss.detach() for name, loss in learned.items()} | {"total": total.detach()}

    def _set_learning_rate(self) -> None:
        factor = stage2_factor(self.config.stage2, self.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def _own_cameras(self, indices: Tensor) -> Tensor:
        """Cameras of this process's share of the batch."""
        return self.images.cameras[indices].chunk(self.fabric.world_size)[self.fabric.global_rank]

    def _gathered(self, features: Tensor) -> Tensor:
        """Features of the global batch (B, D), in its order, the gradient going back to each process's share."""
        if self.fabric.world_size == 1:
            return features
        gathered = self.fabric.all_gather(features, sync_grads=True)
        assert isinstance(gathered, Tensor)
        return gathered.flatten(0, 1)

    def _learn_classifier(self, features: Tensor, indices: Tensor) -> Tensor:
        """L_GID: the classifier's own step, on detached features."""
        identities = self.images.identities[indices].to(self.device)
        loss = identity_loss(self.classifier(features), identities, self.config.stage2.adversarial.scale)
        self.classifier_optimizer.zero_grad()
        loss.backward()
        self.classifier_optimizer.step()
        return loss.detach()

    def _intra_camera(self, features: Tensor, image_text: Tensor | None, indices: Tensor) -> Losses:
        """docs/method.md, 4.1: each camera's losses, summed over the cameras in the batch."""
        stage2 = self.config.stage2
        sums: Losses = {}
        for camera, rows, labels in self._by_camera(indices):
            losses = intra_camera_losses(
                features[rows],
                labels,
                self.cameras[camera],
                None if image_text is None else image_text[rows],
                self.camera_text[camera],
                margin=stage2.triplet_margin,
                smoothing=stage2.label_smoothing,
            )
            for name, loss in losses.weighted(stage2.intra_camera.centre_weight).items():
                sums[name] = sums[name] + loss if name in sums else loss
        return sums

    def _inter_camera(self, features: Tensor, image_text: Tensor | None, indices: Tensor) -> Losses:
        """docs/method.md, 4.3 and 4.4, on the samples whose identity is associated."""
        rows, labels, identities = self._associated(indices)
        if self.prototypes is None or not len(rows):
            return {}
        stage2 = self.config.stage2
        features = features[rows]
        normalised = F.normalize(features)
        losses = {
            "prototype": self.prototypes.loss(features, labels),
            "triplet": batch_hard_triplet(normalised, normalised, labels, labels, stage2.triplet_margin),
        }
        if image_text is not None:
            losses["text"] = text_classification_loss(
                image_text[rows], self.person_text, labels, stage2.label_smoothing
            )
        if self.phase.adversarial:
            losses["adversarial"] = self._adversarial(features, identities)
        return losses

    def _global(self, features: Tensor, indices: Tensor) -> Losses:
        """Precise-ICS after its association: the classifier's first C weights are those of the C joined identities."""
        rows, labels, _ = self._associated(indices)
        if not len(rows):
            return {}
        stage2 = self.config.stage2
        cosines = self.classifier(features[rows])[:, : self.associated_count]
        normalised = F.normalize(features[rows])
        scale, smoothing = stage2.adversarial.scale, stage2.label_smoothing
        return {
            "global": global_classification_loss(cosines, labels, scale, smoothing),
            "triplet": batch_hard_triplet(normalised, normalised, labels, labels, stage2.triplet_margin),
        }

    def _adversarial(self, features: Tensor, identities: Tensor) -> Tensor:
        settings = self.config.stage2.adversarial
        positives = adversarial_positives(self.association, self.images.identity_cameras, identities)
        return adversarial_loss(
            self.classifier(features, frozen_weights=True),
            identities.to(self.device),
            self.identity_cameras,
            positives.to(self.device),
            margin=settings.margin,
            epsilon=settings.epsilon,
            boost=settings.boost,
            scale=settings.scale,
        )

    def _update_memories(self, features: Tensor, indices: Tensor) -> None:
        if self.phase.learning == "intra":
            for camera, rows, labels in self._by_camera(indices):
                self.cameras[camera].update(features[rows], labels)
        elif self.prototypes is not None:
            rows, labels, _ = self._associated(indices)
            if len(rows):
                self.prototypes.update(features[rows], labels)

    def _by_camera(self, indices: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """(camera, its rows of the batch, their labels) for every camera there; chosen on the CPU, no device sync."""
        cameras = self.images.cameras[indices]
        for camera in cameras.unique().tolist():
            rows = (cameras == camera).nonzero().squeeze(1)
            yield camera, rows.to(self.device), self.images.labels[indices[rows]].to(self.device)

    def _associated(self, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows of the batch whose identity is associated, their associated and, left on the CPU, their accumulated
        identities; chosen on the CPU, no device sync.
        """
        identities = self.images.identities[indices]
        labels = self.association[identities]
        rows = (labels >= 0).nonzero().squeeze(1)
        return rows.to(self.device), labels[rows].to(self.device), identities[rows]


def _nothing(features: Tensor, image_text: Tensor | None) -> Tensor:
    """0, by way of every output: with several processes, each waits for the gradient of all that was computed."""
    outputs = features.sum() if image_text is None else features.sum() + image_text.sum()
    return outputs * 0
