"""Stage 2 as docs/method.md describes it, written plainly: one sample, identity, pair and weight at a time.

It uses nothing from `ccafl.method` or `ccafl.training`. The encoder's forward pass and the derivatives are torch's.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

TAU, MOMENTUM, MARGIN, SMOOTHING, SCALE = 0.05, 0.1, 0.3, 0.1, 16.0


def unit(vector: Tensor) -> Tensor:
    return vector / vector.norm()


def cross_entropy(logits: list[Tensor], target: int, smoothing: float = 0.0) -> Tensor:
    log_total = torch.log(sum(torch.exp(logit) for logit in logits))
    loss = logits[0] * 0
    for place, logit in enumerate(logits):
        share = smoothing / len(logits) + (1 - smoothing if place == target else 0)
        loss = loss - share * (logit - log_total)
    return loss


def mean(losses: list[Tensor]) -> Tensor:
    return sum(losses[1:], losses[0]) / len(losses)


def triplet(anchors: list[Tensor], candidates: list[Tensor], anchor_labels: list[int], labels: list[int]) -> Tensor:
    losses = []
    for anchor, own in zip(anchors, anchor_labels, strict=True):
        positives, negatives = [], []
        for candidate, label in zip(candidates, labels, strict=True):
            distance = (anchor - candidate).square().sum().clamp(min=1e-12).sqrt()
            (positives if label == own else negatives).append(distance)
        if negatives:
            losses.append((MARGIN + max(positives) - min(negatives)).clamp(min=0))
        else:
            losses.append(anchor.sum() * 0)
    return mean(losses)


def learning_rate_factor(epoch: int, milestones: tuple[int, ...]) -> float:
    factor = 1.0
    for milestone in milestones:
        if epoch >= milestone:
            factor *= 0.1
    if epoch < 10:
        factor *= 0.01 + (1 - 0.01) * epoch / 10
    return factor


@dataclass
class Adam:
    """Kingma and Ba, with weight decay added to the gradient."""

    rate: float
    decay: float
    moments: dict[str, tuple[Tensor, Tensor, int]] = field(default_factory=dict)

    @torch.no_grad()
    def step(self, name: str, weight: Tensor, gradient: Tensor, factor: float = 1.0) -> None:
        first, second, steps = self.moments.get(name, (torch.zeros_like(weight), torch.zeros_like(weight), 0))
        gradient, steps = gradient + self.decay * weight, steps + 1
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        self.moments[name] = (first, second, steps)
        corrected, spread = first / (1 - 0.9**steps), (second / (1 - 0.999**steps)).sqrt()
        weight -= self.rate * factor * corrected / (spread + 1e-8)


@dataclass
class Labels:
    """What is known of the training images, as lists: an image's identity, an identity's camera and association."""

    identity_of: list[int]
    camera_of: list[int]
    person_of: list[int]

    def identities(self, camera: int) -> list[int]:
        return [identity for identity, own in enumerate(self.camera_of) if own == camera]


@dataclass
class Reference:
    """The state of stage 2: networks, optimisers, and the memories of an epoch."""

    encoder: nn.Module
    classifier: Tensor  # (N, D)
    known: Labels
    text: Tensor  # (N, E)
    centre_weight: float
    margin: float  # of ICAL
    milestones: tuple[int, ...]
    encoder_adam: Adam = field(default_factory=lambda: Adam(3.5e-4, 5e-4))
    classifier_adam: Adam = field(default_factory=lambda: Adam(3.5e-4, 5e-4))
    centres: dict[int, Tensor] = field(default_factory=dict)  # of every identity
    instances: dict[int, list[Tensor]] = field(default_factory=dict)  # of every identity, K of them
    prototypes: dict[int, Tensor] = field(default_factory=dict)  # of every associated identity

    def start_epoch(self, features: Tensor) -> None:
        """Centres and prototypes from the features of all images; the random instances are set by the test."""
        for identity in range(len(self.known.camera_of)):
            own = [f for f, of in zip(features, self.known.identity_of, strict=True) if of == identity]
            self.centres[identity] = unit(sum(own) / len(own))
        for person in sorted(set(self.known.person_of) - {-1}):
            own = [
                f for f, of in zip(features, self.known.identity_of, strict=True) if self.known.person_of[of] == person
            ]
            self.prototypes[person] = unit(sum(own) / len(own))

    def person_text(self, person: int) -> Tensor:
        own = [self.text[of] for of in self.known.identity_of if self.known.person_of[of] == person]
        return sum(own) / len(own)

    def step(self, images: Tensor, indices: list[int], epoch: int, *, learning: str, text: bool, ical: bool) -> dict:
        features, image_text = self.encoder(images, text)
        identities = [self.known.identity_of[index] for index in indices]

        global_id = self.global_id(features.detach(), identities)
        (gradient,) = torch.autograd.grad(global_id, [self.classifier])
        self.classifier_adam.step("weight", self.classifier, gradient)

        if learning == "intra":
            losses = self.intra(features, image_text, identities)
        else:
            losses = self.inter(features, image_text, identities, ical=ical)
        total = sum(losses.values())
        names = [name for name, weight in self.encoder.named_parameters() if weight.requires_grad]
        weights = [self.encoder.get_parameter(name) for name in names]
        gradients = torch.autograd.grad(total, weights, allow_unused=True)
        for name, weight, gradient in zip(names, weights, gradients, strict=True):
            if gradient is not None:  # without text, the attention pool is not trained
                factor = learning_rate_factor(epoch, self.milestones) * (2 if "bias" in name else 1)
                self.encoder_adam.step(name, weight, gradient, factor)

        self.update([unit(feature) for feature in features.detach()], identities, learning)
        return {"global_id": global_id, **losses, "total": total}

    def cosines(self, feature: Tensor) -> list[Tensor]:
        return [unit(feature) @ unit(weight) for weight in self.classifier]

    def global_id(self, features: Tensor, identities: list[int]) -> Tensor:
        return mean(
            [
                cross_entropy([SCALE * z for z in self.cosines(feature)], identity)
                for feature, identity in zip(features, identities, strict=True)
            ]
        )

    def intra(self, features: Tensor, image_text: Tensor | None, identities: list[int]) -> dict[str, Tensor]:
        """Section 4.1."""
        sums: dict[str, Tensor] = {}
        for camera in sorted({self.known.camera_of[identity] for identity in identities}):
            others = self.known.identities(camera)
            rows = [row for row, identity in enumerate(identities) if self.known.camera_of[identity] == camera]
            labels = [others.index(identities[row]) for row in rows]
            own = [unit(features[row]) for row in rows]
            centre, hard, text = [], [], []
            for row, feature, label in zip(rows, own, labels, strict=True):
                centre.append(cross_entropy([feature @ self.centres[other] / TAU for other in others], label))
                hardest = []
                for place, other in enumerate(others):
                    similarities = [feature @ instance for instance in self.instances[other]]
                    hardest.append((min if place == label else max)(similarities) / TAU)
                hard.append(cross_entropy(hardest, label))
                if image_text is not None:
                    logits = [image_text[row] @ self.text[other] for other in others]
                    text.append(cross_entropy(logits, label, SMOOTHING))
            centres = [self.centres[other] for other in others]
            losses = {
                "centre": self.centre_weight * mean(centre),
                "hard_instance": (1 - self.centre_weight) * mean(hard),
                "triplet_centres": triplet(own, centres, labels, list(range(len(others)))),
                "triplet_batch": triplet(own, own, labels, labels),
            }
            if text:
                losses["text"] = mean(text)
            for name, loss in losses.items():
                sums[name] = sums[name] + loss if name in sums else loss
        return sums

    def inter(
        self, features: Tensor, image_text: Tensor | None, identities: list[int], *, ical: bool
    ) -> dict[str, Tensor]:
        """Sections 4.3 and 4.4."""
        rows = [row for row, identity in enumerate(identities) if self.known.person_of[identity] >= 0]
        persons = [self.known.person_of[identities[row]] for row in rows]
        every = sorted(self.prototypes)
        own = [unit(features[row]) for row in rows]
        losses = {
            "prototype": mean(
                [
                    cross_entropy([feature @ self.prototypes[person] / TAU for person in every], every.index(label))
                    for feature, label in zip(own, persons, strict=True)
                ]
            ),
            "triplet": triplet(own, own, persons, persons),
        }
        if image_text is not None:
            texts = [self.person_text(person) for person in every]
            losses["text"] = mean(
                [
                    cross_entropy([image_text[row] @ text for text in texts], every.index(label), SMOOTHING)
                    for row, label in zip(rows, persons, strict=True)
                ]
            )
        if ical:
            losses["adversarial"] = mean([self.ical(features[row], identities[row]) for row in rows])
        return losses

    def ical(self, feature: Tensor, identity: int) -> Tensor:
        """Section 4.4, for one sample."""
        epsilon, boost, margin = 0.8, 0.2, self.margin
        camera_of, person_of = self.known.camera_of, self.known.person_of
        logits = []
        for other, weight in enumerate(self.classifier.detach()):
            z = unit(feature) @ unit(weight)
            if other == identity:
                beyond = torch.acos(z) > math.pi - margin
                z = z - margin * math.sin(margin) if beyond else torch.cos(torch.acos(z) + margin)
            elif camera_of[other] == camera_of[identity]:
                z = (1 + boost) * z + boost
            logits.append(SCALE * z)
        positives = [identity]
        positives += [
            other
            for other in range(len(logits))
            if person_of[other] == person_of[identity] and camera_of[other] != camera_of[identity]
        ]
        negatives = sum(torch.exp(logit) for other, logit in enumerate(logits) if other not in positives)
        log_q = [logits[j] - torch.log(torch.exp(logits[j]) + negatives) for j in positives]
        return -(1 - epsilon) * log_q[0] - epsilon / len(positives) * sum(log_q)

    def update(self, features: list[Tensor], identities: list[int], learning: str) -> None:
        """The last lines of sections 4.1 and 4.3."""
        for identity in set(identities):
            own = [feature for feature, of in zip(features, identities, strict=True) if of == identity]
            if learning == "intra":
                for slot, feature in enumerate(own[: len(self.instances[identity])]):
                    self.instances[identity][slot] = feature
                centre = MOMENTUM * self.centres[identity] + (1 - MOMENTUM) * sum(own) / len(own)
                self.centres[identity] = unit(centre)
        if learning == "inter":
            for person in {self.known.person_of[identity] for identity in identities} - {-1}:
                own = [f for f, of in zip(features, identities, strict=True) if self.known.person_of[of] == person]
                hardest = min(own, key=lambda feature: float(feature @ self.prototypes[person]))
                self.prototypes[person] = unit(MOMENTUM * self.prototypes[person] + (1 - MOMENTUM) * hardest)
