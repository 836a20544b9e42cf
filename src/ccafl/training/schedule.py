"""Learning rates and phases by epoch."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from ccafl.config import Adversarial, Config, InterCamera, Stage1, Stage2


def stage1_learning_rate(settings: Stage1, epoch: int) -> float:
    """Linear warm-up, then a cosine down to the final rate, reached in the last epoch (docs/method.md, 3).

    Source: authors' code, which steps its schedule before each epoch: the first epoch, 0 here, gets its second value.
    """
    step = epoch + 1
    if step < settings.warmup_epochs:
        rise = settings.learning_rate - settings.warmup_learning_rate
        return settings.warmup_learning_rate + rise * step / settings.warmup_epochs
    fall = settings.learning_rate - settings.final_learning_rate
    return settings.final_learning_rate + fall * (1 + math.cos(math.pi * step / settings.epochs)) / 2


def stage2_factor(settings: Stage2, epoch: int) -> float:
    """Factor of all learning rates: linear warm-up, then a step down at every milestone (docs/method.md, 4)."""
    passed = sum(epoch >= milestone for milestone in settings.milestones)
    factor = settings.milestone_factor**passed
    if epoch < settings.warmup_epochs:
        done = epoch / settings.warmup_epochs
        factor *= settings.warmup_factor * (1 - done) + done
    return float(factor)


@dataclass(frozen=True, slots=True)
class Phase:
    """What an epoch of stage 2 does; a run's mode is nothing but its sequence of phases.

    Attributes:
        learning: ``intra`` (ICDL), ``inter``, or ``global`` (Precise-ICS after its association).
        text: whether the text loss takes part.
        adversarial: whether ICAL takes part.
        draw: whether the identities of a batch are ``accumulated`` or ``associated`` ones.
        association: ``alone``: every identity counts as a separate person, and an association is only measured;
            ``made`` from the features at the start of the epoch; ``kept`` from the epoch before; ``given``: the true
            persons.
        new_classifier: whether the global ID classifier and its optimiser are reset.
    """

    learning: Literal["intra", "inter", "global"]
    text: bool
    adversarial: bool
    draw: Literal["accumulated", "associated"] = "accumulated"
    association: Literal["alone", "made", "kept", "given"] = "made"
    new_classifier: bool = False

    @property
    def name(self) -> str:
        """For display: ``intra``, ``inter``, ``inter + text + adversarial``, ..."""
        parts = [self.learning, *(["text"] if self.text else []), *(["adversarial"] if self.adversarial else [])]
        return " + ".join(parts)


def intra_camera_phase(config: Config) -> Phase:
    """Intra-camera learning (docs/method.md, 4.1)."""
    return Phase("intra", text=config.stage2.intra_camera.text, adversarial=False, association="alone")


def phase_of(config: Config, epoch: int) -> Phase:
    """The phase of a stage-2 epoch (docs/method.md, 4.1, 4.3, 4.4, and the reference modes)."""
    stage2 = config.stage2
    given = config.mode == "supervised"
    if config.mode == "intra" or (epoch < stage2.intra_camera.epochs and not given):
        return intra_camera_phase(config)
    if config.mode == "precise_ics":
        first = epoch == stage2.intra_camera.epochs
        return Phase(
            "global",
            text=False,
            adversarial=False,
            draw="associated",
            association="made" if first else "kept",
            new_classifier=first,
        )
    text_from = stage2.inter_camera.text_from
    adversarial = stage2.adversarial.first_epoch <= epoch < stage2.adversarial.last_epoch
    return Phase(
        "inter",
        text=text_from is not None and epoch >= text_from,
        adversarial=adversarial,
        draw="associated" if given else stage2.draw,
        association="given" if given else "made",
    )


def shared_epochs(one: Config, other: Config) -> int:
    """How many epochs two configurations train alike from the start of stage 2, and so share the resulting state.

    0 if stage 1 differs already.
    """
    for epoch in range(min(one.stage2.epochs, other.stage2.epochs)):
        if _what_matters(one, epoch) != _what_matters(other, epoch):
            return epoch
    return one.stage2.epochs if one.stage2.epochs == other.stage2.epochs else 0


def _what_matters(config: Config, epoch: int) -> tuple[Phase, Config]:
    """The phase of an epoch, and the settings, less those that the phase replaces or does not read."""
    phase = phase_of(config, epoch)
    unread: dict[str, Any] = {"draw": "accumulated"}
    if phase.learning == "intra":
        unread["inter_camera"] = InterCamera()
    if not phase.adversarial:
        unread["adversarial"] = Adversarial(scale=config.stage2.adversarial.scale)
    if phase.learning != "global":
        unread["intra_camera"] = config.stage2.intra_camera.model_copy(update={"epochs": 0})
    return phase, config.model_copy(update={"mode": "ccafl", "stage2": config.stage2.model_copy(update=unread)})
