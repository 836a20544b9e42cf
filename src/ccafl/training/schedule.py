"""Learning rates and phases by epoch."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from ccafl.config import Adversarial, Config, InterCamera, Stage1, Stage2


def stage1_learning_rate(settings: Stage1, epoch: int) -> float:
    """Linear warm-up, then a cosine down to the final rate, which the last epoch has (docs/method.md, 3).

    Source: authors' code, which steps its schedule before each epoch: the first epoch, 0 here, has its second value.
    """
    step = epoch + 1
    if step < settings.warmup_epochs:
        rise = settings.learning_rate - settings.warmup_learning_rate
        return settings.warmup_learning_rate + rise * step / settings.warmup_epochs
    fall = settings.learning_rate - settings.final_learning_rate
    return settings.final_learning_rate + fall * (1 + math.cos(math.pi * step / settings.epochs)) / 2


def stage2_factor(settings: Stage2, epoch: int) -> float:
    """Of all learning rates: linear warm-up, then a step down at every milestone (docs/method.md, 4)."""
    passed = sum(epoch >= milestone for milestone in settings.milestones)
    factor = settings.milestone_factor**passed
    if epoch < settings.warmup_epochs:
        done = epoch / settings.warmup_epochs
        factor *= settings.warmup_factor * (1 - done) + done
    return float(factor)


@dataclass(frozen=True, slots=True)
class Phase:
    """What an epoch of stage 2 learns by."""

    learning: Literal["intra", "inter", "global"]
    text: bool
    adversarial: bool

    @property
    def name(self) -> str:
        """For people: ``intra``, ``inter``, ``inter + text + adversarial``, ...; ``global`` is Precise-ICS's."""
        parts = [self.learning, *(["text"] if self.text else []), *(["adversarial"] if self.adversarial else [])]
        return " + ".join(parts)


def phase_of(config: Config, epoch: int) -> Phase:
    """The phase of a stage-2 epoch (docs/method.md, 4.1, 4.3, 4.4, and the reference modes)."""
    stage2 = config.stage2
    if config.mode == "intra" or (config.mode != "supervised" and epoch < stage2.intra_camera.epochs):
        return Phase("intra", text=stage2.intra_camera.text, adversarial=False)
    if config.mode == "precise_ics":
        return Phase("global", text=False, adversarial=False)
    text_from = stage2.inter_camera.text_from
    adversarial = stage2.adversarial.first_epoch <= epoch < stage2.adversarial.last_epoch
    return Phase("inter", text=text_from is not None and epoch >= text_from, adversarial=adversarial)


def shared_epochs(one: Config, other: Config) -> int:
    """How many first epochs of stage 2 two configurations train alike: one's state after them is the other's too.

    0 also where stage 1 differs.
    """
    for epoch in range(min(one.stage2.epochs, other.stage2.epochs)):
        if _what_counts(one, epoch) != _what_counts(other, epoch):
            return epoch
    return one.stage2.epochs if one.stage2.epochs == other.stage2.epochs else 0


def _what_counts(config: Config, epoch: int) -> tuple[Phase, Config]:
    """The phase of an epoch, and the settings without those of later phases."""
    phase = phase_of(config, epoch)
    unused: dict[str, Any] = {}
    if phase.learning == "intra":
        unused = {"draw": "accumulated", "inter_camera": InterCamera()}
    if not phase.adversarial:
        unused["adversarial"] = Adversarial(scale=config.stage2.adversarial.scale)
    if phase.learning != "global":
        unused["intra_camera"] = config.stage2.intra_camera.model_copy(update={"epochs": 0})
    mode = config.mode if config.mode == "supervised" else "ccafl"  # the others' phases tell them apart
    return phase, config.model_copy(update={"mode": mode, "stage2": config.stage2.model_copy(update=unused)})
