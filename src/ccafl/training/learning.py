"""The three kinds of learning in stage 2: what a batch is drawn from, the losses, and the update of the memories.

`ccafl.training.encoder_stage` runs the steps, the same for all three. Rows of a batch are chosen on the CPU, where its
image indices are, so that nothing waits for the device.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ccafl.config import Config, Stage2
from ccafl.data.batches import most_of_one, seed_for
from ccafl.data.identity_links import grouped
from ccafl.data.numbering import LabelledImages
from ccafl.method.adversarial import adversarial_loss, adversarial_positives
from ccafl.method.association import by_first_member
from ccafl.method.inter_camera import identity_loss, inter_camera_losses
from ccafl.method.intra_camera import intra_camera_losses
from ccafl.method.precise_ics import global_classification_loss, global_losses
from ccafl.method.share import Share
from ccafl.method.tracks import maybe_one_person, overlapping_tracks
from ccafl.model.classifier import GlobalIDClassifier
from ccafl.training.memories import hybrid_memories, mean_text_features, prototype_memory
from ccafl.training.schedule import Phase

Losses = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class EpochStart:
    """What is computed again at the start of every epoch.

    Attributes:
        features: (n, D) re-ID features of all training images, L2-normalised.
        text_features: (N, E) of all accumulated identities, E = 0 without a text tower.
        association: (N,) int64 on the CPU, -1 for an identity left alone.
        tracks: (N,) int64 on the CPU, the identities of a camera that are one person's tracks, numbered by first
            member; None if every identity is a person of its camera.
    """

    features: Tensor
    text_features: Tensor
    association: Tensor
    tracks: Tensor | None = None


class Learning(Protocol):
    """One kind of learning during one epoch; B is the global batch.

    Attributes:
        groups: (n,) int64 on the CPU, the identity each image is drawn as; images below 0 are never drawn.
        batch_cameras: number of cameras that a batch is drawn from, None for all.
    """

    groups: Tensor
    batch_cameras: int | None

    def classifier_loss(self, features: Tensor, indices: Tensor) -> Tensor:
        """The global ID classifier's loss: detached features (B, D), image indices (B,) -> scalar."""

    def losses(self, features: Tensor, image_text: Tensor | None, indices: Tensor) -> Losses:
        """The encoder's losses: named scalars to be summed; empty if nothing can be learned from the batch.

        Args:
            features: (B, D) re-ID features, not normalised.
            image_text: (B, E), or None if text takes no part.
            indices: (B,) int64 image indices, on the CPU.
        """

    def update(self, features: Tensor, indices: Tensor) -> None:
        """Move the memories by the batch's features (B, D), after the encoder's step."""


def learning_of(
    phase: Phase,
    config: Config,
    images: LabelledImages,
    start: EpochStart,
    classifier: GlobalIDClassifier,
    epoch: int,
    share: Share | None = None,
) -> Learning:
    """The epoch's learning, with memories built from the features of its start.

    Of several processes, each has its ``share`` of the classifier's weights.
    """
    if phase.learning == "intra":
        return IntraLearning(config, images, start, classifier, epoch, share)
    if phase.learning == "inter":
        return InterLearning(config, images, start, classifier, phase, epoch, share)
    return GlobalLearning(config, images, start, classifier, phase, share)


class _IdentityClassification:
    """L_GID on all samples, shared by the paper's two kinds of learning.

    Tracks that are one person of their camera are one identity, that of the first.
    """

    def __init__(
        self,
        config: Config,
        images: LabelledImages,
        start: EpochStart,
        classifier: GlobalIDClassifier,
        share: Share | None,
    ) -> None:
        self.stage2, self.images, self.classifier, self.share = config.stage2, images, classifier, share
        self.identities = images.identities
        if start.tracks is not None:
            self.identities = by_first_member(start.tracks)[1][start.tracks][images.identities]

    def classifier_loss(self, features: Tensor, indices: Tensor) -> Tensor:
        identities = _sent(self.identities[indices], features.device)
        return identity_loss(self.classifier(features), identities, self.stage2.adversarial.scale, self.share)


class IntraLearning(_IdentityClassification):
    """Intra-camera discriminative learning (docs/method.md, 4.1): each camera's losses, summed over the cameras."""

    def __init__(
        self,
        config: Config,
        images: LabelledImages,
        start: EpochStart,
        classifier: GlobalIDClassifier,
        epoch: int,
        share: Share | None = None,
        *,
        samples: int | None = None,
    ) -> None:
        """``samples`` of one identity are in a batch at most; None if batches are drawn from ``groups``."""
        super().__init__(config, images, start, classifier, share)
        texts = start.text_features
        if start.tracks is not None:
            same = grouped(images, start.tracks)
            self.images, texts = same.images, texts[same.first.to(texts.device)]
        images = self.images
        self.groups, self.batch_cameras = images.identities, self.stage2.intra_camera.batch_cameras
        seed = seed_for(config.seed, 2, epoch, 1)
        if samples is None:
            samples = _most_samples(self.groups, images.cameras, self.stage2, self.batch_cameras)
        self.memories = hybrid_memories(start.features, images, self.stage2.intra_camera, seed, samples)
        self.texts = texts.split(torch.bincount(images.identity_cameras).tolist())
        self.unknown: list[Tensor] | None = None
        if start.tracks is not None and images.tracks is not None:
            strangers = overlapping_tracks(images.identity_cameras, images.tracks)
            centres = torch.cat([memory.centres for memory in self.memories])
            self.unknown = maybe_one_person(centres, images.identity_cameras, strangers)

    def losses(
        self, features: Tensor, image_text: Tensor | None, indices: Tensor, weigh: Callable[[int], float] | None = None
    ) -> Losses:
        """The losses, summed over cameras; ``weigh`` gives the weight of a camera with so many samples in the batch."""
        sums: Losses = {}
        for camera, rows, labels in self._by_camera(indices, features.device):
            losses = intra_camera_losses(
                features[rows],
                labels,
                self.memories[camera],
                None if image_text is None else image_text[rows],
                self.texts[camera],
                unknown=None if self.unknown is None else self.unknown[camera],
                centre_weight=self.stage2.intra_camera.centre_weight,
                margin=self.stage2.triplet_margin,
                smoothing=self.stage2.label_smoothing,
            )
            for name, loss in losses.items():
                weighted = loss if weigh is None else weigh(len(rows)) * loss
                sums[name] = sums[name] + weighted if name in sums else weighted
        return sums

    def update(self, features: Tensor, indices: Tensor) -> None:
        for camera, rows, labels in self._by_camera(indices, features.device):
            self.memories[camera].update(features[rows], labels)

    def _by_camera(self, indices: Tensor, device: torch.device) -> Iterator[tuple[int, Tensor, Tensor]]:
        """For every camera in the batch: its number, its rows of the batch and their labels."""
        cameras = self.images.cameras[indices]
        for camera in cameras.unique().tolist():
            rows = (cameras == camera).nonzero().squeeze(1)
            yield camera, _sent(rows, device), _sent(self.images.labels[indices[rows]], device)


class InterLearning(_IdentityClassification):
    """Inter-camera learning (docs/method.md, 4.3 and 4.4) on the samples whose identity is associated.

    If so configured, the others go on learning within their camera: each camera's losses weigh as its share of the
    batch, so that together they weigh as one loss on as many samples. The paper leaves them out.
    """

    def __init__(
        self,
        config: Config,
        images: LabelledImages,
        start: EpochStart,
        classifier: GlobalIDClassifier,
        phase: Phase,
        epoch: int,
        share: Share | None = None,
    ) -> None:
        super().__init__(config, images, start, classifier, share)
        self.association, self.adversarial = start.association, phase.adversarial
        self.spread_over = start.association  # what ICAL takes for one person
        if start.tracks is not None:
            first = torch.zeros(len(start.tracks), dtype=torch.bool)
            first[by_first_member(start.tracks)[1]] = True
            self.spread_over = start.association.where(first, -1)
        settings = self.stage2.inter_camera
        self.groups, self.batch_cameras = _groups(images, start, phase, alone=settings.alone), settings.batch_cameras
        self.alone: IntraLearning | None = None
        if settings.alone:
            samples = _most_samples(self.groups, images.cameras, self.stage2, self.batch_cameras)
            self.alone = IntraLearning(config, images, start, classifier, epoch, samples=samples)
        self.identity_cameras = images.identity_cameras.to(start.features.device)
        if (start.association >= 0).any():
            labels = start.association[images.identities].to(start.features.device)
            self.memory = prototype_memory(start.features, labels, self.stage2.inter_camera)
            self.texts = mean_text_features(start.text_features, images, start.association)

    def losses(self, features: Tensor, image_text: Tensor | None, indices: Tensor) -> Losses:
        alone = self._losses_alone(features, image_text, indices)
        rows, labels = _associated(self.association, self.images, indices)
        if not len(rows):
            return alone
        on_device = _sent(rows, features.device)
        features = features[on_device]
        losses = inter_camera_losses(
            features,
            _sent(labels, features.device),
            self.memory,
            None if image_text is None else image_text[on_device],
            self.texts,
            margin=self.stage2.triplet_margin,
            smoothing=self.stage2.label_smoothing,
        )
        if self.adversarial:
            losses["adversarial"] = self._adversarial_loss(features, self.identities[indices[rows]])
        return losses | alone

    def _losses_alone(self, features: Tensor, image_text: Tensor | None, indices: Tensor) -> Losses:
        """The intra-camera losses of the samples whose identity is left alone, if these go on learning."""
        if self.alone is None:
            return {}
        rows = (self.association[self.images.identities[indices]] < 0).nonzero().squeeze(1)
        on_device = _sent(rows, features.device)
        losses = self.alone.losses(
            features[on_device],
            None if image_text is None else image_text[on_device],
            indices[rows],
            weigh=lambda samples: samples / len(indices),
        )
        return {f"alone_{name}": loss for name, loss in losses.items()}

    def _adversarial_loss(self, features: Tensor, identities: Tensor) -> Tensor:
        """L_ICAL; the identities (B,) are on the CPU."""
        settings = self.stage2.adversarial
        positives = adversarial_positives(self.spread_over, self.images.identity_cameras, identities)
        return adversarial_loss(
            self.classifier(_for_part(features, self.share), frozen_weights=True),
            _sent(identities, features.device),
            self.identity_cameras,
            _sent(positives, features.device),
            margin=settings.margin,
            epsilon=settings.epsilon,
            boost=settings.boost,
            scale=settings.scale,
            share=self.share,
        )

    def update(self, features: Tensor, indices: Tensor) -> None:
        rows, labels = _associated(self.association, self.images, indices)
        if len(rows):
            self.memory.update(features[_sent(rows, features.device)], _sent(labels, features.device))
        if self.alone is not None:
            self.alone.update(features, indices)


class GlobalLearning:
    """Precise-ICS after its association: a global classifier of the C joined identities, no memory.

    They use the classifier's first C weights. It steps before the encoder, as in CCAFL, on the same loss.
    """

    def __init__(
        self,
        config: Config,
        images: LabelledImages,
        start: EpochStart,
        classifier: GlobalIDClassifier,
        phase: Phase,
        share: Share | None = None,
    ) -> None:
        self.stage2, self.images, self.classifier, self.share = config.stage2, images, classifier, share
        joined = torch.arange(int(start.association.max()) + 1)
        self.association, self.joined = start.association, len(joined if share is None else share.of(joined))
        self.groups, self.batch_cameras = _groups(images, start, phase), self.stage2.inter_camera.batch_cameras

    def classifier_loss(self, features: Tensor, indices: Tensor) -> Tensor:
        rows, labels = (_sent(part, features.device) for part in _associated(self.association, self.images, indices))
        cosines: Tensor = self.classifier(features[rows])[:, : self.joined]
        if not len(rows):
            return cosines.sum()  # 0
        stage2 = self.stage2
        return global_classification_loss(cosines, labels, stage2.adversarial.scale, stage2.label_smoothing, self.share)

    def losses(self, features: Tensor, image_text: Tensor | None, indices: Tensor) -> Losses:
        rows, labels = (_sent(part, features.device) for part in _associated(self.association, self.images, indices))
        if not len(rows):
            return {}
        features, stage2 = features[rows], self.stage2
        return global_losses(
            features,
            self.classifier(_for_part(features, self.share), frozen_weights=True)[:, : self.joined],
            labels,
            scale=stage2.adversarial.scale,
            margin=stage2.triplet_margin,
            smoothing=stage2.label_smoothing,
            share=self.share,
        )

    def update(self, features: Tensor, indices: Tensor) -> None:
        pass


def _groups(images: LabelledImages, start: EpochStart, phase: Phase, *, alone: bool = False) -> Tensor:
    """Associated identities if the phase draws them and there are any; otherwise accumulated ones.

    If ``alone``, an identity left alone is drawn as one of its own.
    """
    association = start.association
    if phase.draw != "associated" or not (association >= 0).any():
        return images.identities
    if alone:
        own = torch.arange(len(association)) + len(association)
        association = torch.where(association >= 0, association, own)
    return association[images.identities]


def _most_samples(groups: Tensor, cameras: Tensor, stage2: Stage2, batch_cameras: int | None) -> int:
    """How many images of one group are in a batch at most."""
    return most_of_one(groups, cameras, stage2.identities, stage2.images, batch_cameras)


def _associated(association: Tensor, images: LabelledImages, indices: Tensor) -> tuple[Tensor, Tensor]:
    """The batch's rows whose identity is associated, and their associated identities; on the CPU."""
    labels = association[images.identities[indices]]
    rows = (labels >= 0).nonzero().squeeze(1)
    return rows, labels[rows]


def _for_part(features: Tensor, share: Share | None) -> Tensor:
    """The encoder's features (B, D), for a loss of which each of several processes has a part of the gradient.

    The gradients of the processes are summed where features are gathered, then averaged over the processes as that of
    losses which each computes in whole. Without a factor, a loss in parts would count for too little.
    """
    if share is None:
        return features
    weighed = features.view_as(features)
    weighed.register_hook(lambda gradient: share.processes * gradient)
    return weighed


def _sent(values: Tensor, device: torch.device) -> Tensor:
    """``values`` on the device; does not wait until it has done the work given to it before, as ``to`` alone does."""
    return values.to(device, non_blocking=True)
