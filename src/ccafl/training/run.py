"""A run: both stages, with checkpoints, events and resuming. Images, cameras and labels in; an encoder and the joined
identities out. The true persons stay outside: only an `Observer` sees them.
"""

import hashlib
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from lightning_fabric import Fabric
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ccafl.calibration import CALIBRATION, Calibration
from ccafl.config import Config, NotNegative
from ccafl.data.batches import seed_for
from ccafl.data.identity_links import IdentityLinks
from ccafl.data.numbering import LabelledImages
from ccafl.data.store import ImageStore
from ccafl.data.transforms import normalise
from ccafl.errors import InputError
from ccafl.files import remove_leftovers
from ccafl.method.calibrated_association import Believed
from ccafl.method.score_curve import score_curve
from ccafl.method.share import Share
from ccafl.method.topology import CameraTopology
from ccafl.model.classifier import GlobalIDClassifier
from ccafl.model.embedding import embed_batches
from ccafl.model.network import Network
from ccafl.run_folder import RunFolder
from ccafl.terminal import Bar, bar, duration, in_words, log, say
from ccafl.training.association import Joined, associate_identities
from ccafl.training.checkpoint import (
    load_last,
    load_optimizer,
    load_state,
    of_a_checkpoint,
    part_of,
    save_checkpoint,
    whole_state,
)
from ccafl.training.clock import Clock
from ccafl.training.encoder_stage import EncoderEpoch, set_up
from ccafl.training.events import Events, events_of
from ccafl.training.fabric import set_up_optimizer, shared, synchronised, unless_left_alone
from ccafl.training.features import (
    FeatureBank,
    embed_store,
    embed_training_images,
    measure_cameras,
    with_measured,
)
from ccafl.training.learning import EpochStart
from ccafl.training.prompt_stage import all_text_features, learn_prompts_epoch, prompt_optimizer
from ccafl.training.schedule import Phase, intra_camera_phase, phase_of, stage1_learning_rate, stage2_factor
from ccafl.training.topology import fingerprint_of

_STEPS_BETWEEN_READINGS = 20  # reading a loss for the progress bar waits for the device, so not every step does
_TRIED = 8  # images whose features show, after an epoch, whether the encoder still works
# losses and figures in the line of an epoch
_LOGGED = ("prompt", "total", "precision", "estimated_precision", "recall", "mAP", "rank1")

Embed = Callable[[ImageStore, Tensor], Tensor]
"""Features of all images of a store, whose cameras (n,) are numbered as in training: (n, D), L2-normalised."""


class Observer(Protocol):
    """Measures with what training must not see: the true persons, query and gallery."""

    def text_alignment(self, text_features: Tensor, image_features: Tensor, images: LabelledImages) -> dict[str, float]:
        """How well the prompts' features (N, E), learned in stage 1, describe the images' (n, E)."""

    def association_quality(self, association: Tensor) -> dict[str, float]:
        """Figures of an association (N,); empty if the truth is unknown."""

    def same_person_mass(
        self, features: Tensor, classifier: GlobalIDClassifier, images: LabelledImages, share: Share | None
    ) -> float | None:
        """Probability the classifier gives a person's identities in other cameras; None if the truth is unknown.

        All processes call it together, each with the classifier's weights for its ``share`` of the identities.
        """

    def ranking(self, embed: Embed) -> dict[str, float]:
        """mAP, CMC and how much the encoder's features reveal the camera; empty without query and gallery."""


@dataclass(frozen=True, slots=True)
class Trained:
    """The result of a run.

    Attributes:
        association: (N,) int64, associated identity of every accumulated identity, -1 for one left alone.
        figures: of the last epoch: mAP, rank1, ... and the association's quality, where available.
        seconds: time spent, all sessions together.
        believed: links of the association and of earlier ones, with their probabilities; None with a fixed rate.
        calibration: of the last encoder's cosines; None where the images are too few for one.
    """

    association: Tensor
    figures: dict[str, float]
    seconds: float
    believed: Believed | None
    calibration: Calibration | None = None


class Training:
    """A run in progress: ``Training(...).run()`` trains, or continues from the last checkpoint of its folder.

    Its state between epochs is in the checkpoint, or follows from the settings and the images.
    """

    def __init__(
        self,
        config: Config,
        images: LabelledImages,
        out: Path,
        fabric: Fabric,
        observer: Observer,
        *,
        network: Network,
        store: ImageStore,
        given_association: Tensor | None = None,
        links: IdentityLinks | None = None,
        topology: CameraTopology | None = None,
        keep: Collection[int] = (),
        clock: Clock | None = None,
    ) -> None:
        """Set everything up, and load the last checkpoint if there is one.

        Args:
            config: the settings.
            images: n training images of N accumulated identities.
            out: the run's folder.
            fabric: launched.
            observer: measures during training.
            network: as `build_network` makes it from ``config``.
            store: the training images.
            given_association: (N,) int64, the true persons, for phases that use them (mode ``supervised``).
            links: corrections by people, which every association respects.
            topology: what people know of the cameras, likewise.
            keep: epochs of stage 2 at whose start the state is kept in a checkpoint of its own, for `fork`.
            clock: running since the run's start, which the first epoch's event includes.

        Raises:
            InputError: the checkpoint belongs to other settings, images, links or topology, or the folder cannot be
                written.
        """
        self.config, self.images, self.fabric, self.observer = config, images, fabric, observer
        self.store, self.given_association, self.links, self.keep = store, given_association, links, keep
        self.topology, self.clock = topology, clock or Clock()
        self.fingerprint, self.links_fingerprint = _fingerprint(images), _fingerprint_of_links(links)
        self.topology_fingerprint, self.contents = fingerprint_of(topology), _fingerprint_of_files(images.paths)
        self.folder = RunFolder(out)
        self.last, self.previous, self.best = self.folder.last, self.folder.previous, self.folder.best
        self.before_adversarial = self.folder.before_adversarial
        self.network = synchronised(network, fabric)
        self.encoder, self.classifier = self.network.encoder, self.network.classifier
        self.learners = set_up(fabric, self.encoder, self.classifier, config.stage2)
        self.prompts = self.network.prompts
        if self.prompts is not None and self.network.text_encoder is not None:
            self.prompts.to(fabric.device)
            self.network.text_encoder.to(fabric.device)
            self.prompt_optimizer = set_up_optimizer(fabric, prompt_optimizer(self.prompts, config.stage1))
        self.stage, self.epoch = 1, 0
        self.best_map = -1.0
        self.seconds = 0.0
        self.association = torch.full((len(images.identity_cameras),), -1)
        self.believed: Believed | None = None
        self.calibration: Calibration | None = None
        self.bank: FeatureBank | None = None
        if config.stage2.feature_age:
            self.bank = FeatureBank(len(images), self.encoder.reid_dim, fabric.device)
        self.figures: dict[str, float] = {}
        resumed, events = self._resume() if self.last.is_file() or self.previous.is_file() else (self.last, [])
        fabric.barrier()  # every process has read the checkpoint before one writes
        self.events = Events(out, events) if fabric.is_global_zero else None
        if fabric.is_global_zero:
            if resumed != self.last and self.last.exists():  # what is damaged must not take the place of the other
                self.last.replace(self.folder.checkpoint("damaged"))
            elif self.previous.exists() and not self.last.exists():
                self.previous.replace(self.last)
            for checkpoint in (self.last, self.best, self.before_adversarial):
                remove_leftovers(checkpoint)
        self.started = time.monotonic()

    def run(self) -> Trained:
        """Train to the end.

        Raises:
            InputError: the folder cannot be written; the run diverges: a loss, a weight or a feature is no longer a
                finite number; or another of its processes has ended. The epochs before it are kept.
        """
        with self.clock.part("other"), unless_left_alone(self.folder.path):
            if self.stage == 1:
                if self.prompts is not None and self.epoch < self.config.stage1.epochs:
                    self._prompt_stage()
                self.stage, self.epoch = 2, 0
            if self.epoch < self.config.stage2.epochs:
                self._encoder_stage()
        if self.events is not None:
            self.events.close()
        return Trained(self.association, self.figures, self.seconds, self.believed, self.calibration)

    def _prompt_stage(self) -> None:
        settings = self.config.stage1
        with self.clock.part("features"):
            features = self._features(self.store, self.images.cameras, image_text=True)
        steps = settings.epochs * -(-len(self.images) // settings.batch_size)
        with bar("stage 1: prompts", steps, shown=self.fabric.is_global_zero, lines=False) as progress:
            progress.advance(steps // settings.epochs * self.epoch)
            pace = _Pace(self.epoch, settings.epochs)
            while self.epoch < settings.epochs:
                began = time.monotonic()
                losses = _Means(self._diverged)
                epoch_losses = learn_prompts_epoch(
                    self.fabric,
                    self.network,
                    self.prompt_optimizer,
                    features,
                    self.images,
                    settings,
                    self.epoch,
                    self.config.seed,
                )
                with self.clock.part("prompts"):
                    for loss in epoch_losses:
                        losses.add({"prompt": loss}, progress)
                    event: dict[str, Any] = {"losses": losses.means()}
                if self.epoch + 1 == settings.epochs:
                    text_features = all_text_features(self.fabric, self.network)
                    with self.clock.part("measures"):
                        event["text_alignment"] = self.observer.text_alignment(text_features, features, self.images)
                self._finish_epoch(event, began, pace)

    def _encoder_stage(self) -> None:
        stage2, runtime = self.config.stage2, self.config.runtime
        text_features = all_text_features(self.fabric, self.network)
        first_adversarial = next(
            (epoch for epoch in range(stage2.epochs) if phase_of(self.config, epoch).adversarial), None
        )
        steps = stage2.epochs * stage2.steps_per_epoch
        with bar("stage 2: encoder", steps, shown=self.fabric.is_global_zero, lines=False) as progress:
            progress.advance(self.epoch * stage2.steps_per_epoch)
            pace = _Pace(self.epoch, stage2.epochs)
            while self.epoch < stage2.epochs:
                began = time.monotonic()
                features, quality, tracks = self._associate(phase_of(self.config, self.epoch))
                phase = self._phase(quality)
                mass = self._same_person_mass(features)
                if self.epoch == first_adversarial:
                    self.figures |= {"same_person_mass_before": mass} if mass is not None else {}
                    self._keep_before_adversarial()
                if phase.new_classifier:
                    self._restart_classifier()
                start = EpochStart(features, text_features, self.association, tracks)
                epoch = EncoderEpoch(
                    self.fabric,
                    self.config,
                    self.learners,
                    self.images,
                    start,
                    phase,
                    self.epoch,
                    clock=self.clock,
                    bank=self.bank,
                )
                losses = _Means(self._diverged)
                for step in epoch.steps(self.store):
                    losses.add(step, progress, beside=quality)
                del epoch, start, features  # memories and features of all images, before the next are made
                event: dict[str, Any] = {"phase": phase.name, "losses": losses.means(), "association": quality}
                event["same_person_mass"] = mass
                last = self.epoch + 1 == stage2.epochs
                if last:
                    features, quality, _ = self._associate(phase_of(self.config, stage2.epochs), anew=True)
                    event["final_association"] = quality
                    with self.clock.part("measures"):
                        self.calibration = self._calibrated(features)
                    mass = self._same_person_mass(features)
                    event["final_same_person_mass"] = mass
                    self.figures |= {"same_person_mass": mass} if mass is not None else {}
                if last or (runtime.evaluate_every and (self.epoch + 1) % runtime.evaluate_every == 0):
                    with self.clock.part("evaluation"):
                        if not last:  # whose features have just been measured with these weights
                            measure_cameras(self.fabric, self.encoder, self.store, self.images.cameras, self.config)
                        ranking = self.observer.ranking(self._embed)
                    event["ranking"] = ranking
                    self.figures |= ranking | {f"association_{name}": value for name, value in quality.items()}
                self._finish_epoch(event, began, pace)

    def _associate(self, phase: Phase, *, anew: bool = False) -> tuple[Tensor, dict[str, float], Tensor | None]:
        """Re-ID features of all training images, the quality of the association that ``phase`` asks for, and which
        labels of a camera are one person's tracks.

        If the phase leaves every identity alone, an association is still made from the features, to measure them, but
        not used.
        """
        with self.clock.part("features"):
            features = self._training_features(anew=anew)
        if phase.association == "kept":
            joined = Joined(self.association)
        elif phase.association == "given":
            assert self.given_association is not None
            joined = Joined(self.given_association)
        else:
            identities, cameras = self.images.identities, self.images.identity_cameras
            settings = self.config.stage2.association
            with self.clock.part("association"):
                joined = associate_identities(
                    features,
                    identities,
                    cameras,
                    settings,
                    self.links,
                    self.topology,
                    self.believed,
                    self.images.tracks,
                    shared(self.fabric),
                )
        if phase.association != "alone":
            self.association, self.believed = joined.identities, joined.believed
        estimate = joined.estimated_precision
        estimated = {} if estimate is None else {"estimated_precision": estimate}
        with self.clock.part("measures"):
            quality = self.observer.association_quality(joined.identities)
        return features, quality | estimated, joined.tracks

    def _training_features(self, *, anew: bool) -> Tensor:
        """Re-ID features of all training images at the start of an epoch, or with the latest weights (``anew``)."""
        cameras = self.images.cameras
        parts = self.fabric, self.encoder, self.store, cameras, self.config
        if self.bank is None or anew:
            return self._finite(embed_training_images(*parts))
        outdated = self.bank.outdated(self.epoch, self.config.stage2.feature_age)
        if len(outdated):
            chosen = with_measured(self.encoder, outdated, cameras, self.config)
            self.bank.put(embed_training_images(*parts, chosen), chosen, self.epoch)
        return self._finite(self.bank.features)

    def _same_person_mass(self, features: Tensor) -> float | None:
        with self.clock.part("measures"):
            return self.observer.same_person_mass(features, self.classifier, self.images, self.learners.share)

    def _calibrated(self, features: Tensor) -> Calibration | None:
        """What the encoder's cosines say, judged by its features of the training images and their joins."""
        links, probability = (None, None) if self.believed is None else (self.believed.links, self.believed.probability)
        identities, cameras = self.images.identities, self.images.identity_cameras
        curve = score_curve(features, identities, cameras, self.association, links, probability)
        return None if curve is None else Calibration(curve.slope, curve.offset, curve.pictures, curve.joins)

    def _phase(self, quality: dict[str, float]) -> Phase:
        """What the epoch does: intra-camera learning instead of inter-camera if too few joins are probably right."""
        phase, least = phase_of(self.config, self.epoch), self.config.stage2.association.least_precision
        estimate = quality.get("estimated_precision")
        if phase.learning != "inter" or estimate is None:
            return phase
        if not (self.association >= 0).any():
            why = "no labels are probably one person"
        elif estimate < least:
            why = (
                f"probably only {estimate:.0%} of the joined pairs are right (association.least_precision {least:.0%})"
            )
        else:
            return phase
        if self.fabric.is_global_zero:
            say(f"epoch {self.epoch + 1} goes on camera by camera: {why}")
        return intra_camera_phase(self.config)

    def _restart_classifier(self) -> None:
        """Give the classifier random weights again, by seed and epoch, and clear its optimiser's state."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(self.config.seed, 2, self.epoch, 3))
            fresh = GlobalIDClassifier(self.classifier.identities, self.classifier.weight.shape[1])
        self.classifier.load_state_dict(part_of(fresh.state_dict(), self.learners.share))
        self.learners.classifier_optimizer.state.clear()

    def _keep_before_adversarial(self) -> None:
        """Save encoder and classifier as ICAL begins, for figures that compare before and after."""
        classifier = whole_state(self.classifier.state_dict(), self.learners.share, self.classifier.identities)
        if self.fabric.is_global_zero:
            save_checkpoint(self.before_adversarial, {"encoder": self.encoder.state_dict(), "classifier": classifier})

    def _embed(self, store: ImageStore, cameras: Tensor) -> Tensor:
        return self._features(store, cameras).cpu()

    def _features(self, store: ImageStore, cameras: Tensor, *, image_text: bool = False) -> Tensor:
        features = embed_store(self.fabric, self.encoder, store, cameras, self.config, image_text=image_text)
        return self._finite(features)

    def _finite(self, features: Tensor) -> Tensor:
        if not features.isfinite().all():
            raise self._diverged("the features are")
        return features

    @torch.no_grad()
    def _check_state(self) -> None:
        """Refuse weights or features that are not finite numbers, once an epoch.

        Raises:
            InputError: as `run`.
        """
        learned = self.encoder if self.stage == 2 else self.prompts
        assert learned is not None
        values = [value for value in learned.state_dict().values() if value.is_floating_point()]
        if not torch.stack([value.isfinite().all() for value in values]).all():
            raise self._diverged("weights are")
        if self.stage == 2:
            chosen = torch.arange(min(_TRIED, len(self.images)))
            batch = normalise(self.store.images(chosen)), self.images.cameras[chosen]
            features = embed_batches(self.encoder.embed, self.encoder, [batch], self.fabric.device)
            lengths = torch.cat(list(features)).norm(dim=1)
            if not ((lengths - 1).abs() < 0.1).all():
                raise self._diverged("the features are")

    def _diverged(self, what: str) -> InputError:
        """The error for ``what`` is no longer a finite number."""
        if self.stage == 1:
            key, rate = "stage1.learning_rate", stage1_learning_rate(self.config.stage1, self.epoch)
        else:
            stage2 = self.config.stage2
            key, rate = "stage2.learning_rate", stage2.learning_rate * stage2_factor(stage2, self.epoch)
        kept = "the state before it is in checkpoints/last.pt" if self.last.is_file() else "there is no epoch before it"
        return InputError(
            f"{self.folder.path}: the training diverged: {what} not finite in stage {self.stage}, epoch "
            f"{self.epoch + 1}, at learning rate {rate:.3g}; {kept}; train with a lower {key} and another --out"
        )

    def _finish_epoch(self, event: dict[str, Any], began: float, pace: "_Pace") -> None:
        """Write the epoch's event, then its state: a run killed in between repeats the epoch and its event.

        Raises:
            InputError: the state is of no use; nothing is written.
        """
        with self.clock.part("checkpoints"):
            self._check_state()
        now = time.monotonic()
        self.seconds += now - self.started
        self.started = now
        event = {"stage": self.stage, "epoch": self.epoch} | event
        event |= {"seconds": round(now - began, 3), "seconds_by_part": self.clock.taken()}
        self.epoch += 1
        with self.clock.part("checkpoints"):
            self._write(event)
        if self.events is not None:
            log(_line(event, pace))
        self.fabric.barrier()

    def _write(self, event: dict[str, Any]) -> None:
        classifier = {
            name: whole_state(learned.state_dict(), self.learners.share, self.classifier.identities)
            for name, learned in (
                ("classifier", self.classifier),
                ("classifier_optimizer", self.learners.classifier_optimizer),
            )
        }
        if self.events is None:
            return
        self.events.write(event)
        best = self._is_best(event.get("ranking", {}).get("mAP"))
        state = self._state(self.events.written) | classifier
        if best:  # before last.pt: a run killed in between repeats the epoch and saves its best again
            save_checkpoint(self.best, state)
        if self.stage == 2 and self.epoch in self.keep:
            save_checkpoint(self.folder.at_epoch(self.epoch), state)
        save_checkpoint(self.last, state, self.previous)

    def _is_best(self, ranked: float | None) -> bool:
        """Whether the epoch's mAP is the best so far; without a test set, the last epoch is the best."""
        if ranked is None:
            return self.stage == 2 and self.epoch == self.config.stage2.epochs
        better = ranked > self.best_map
        self.best_map = max(ranked, self.best_map)
        return better

    def _state(self, events: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """What a checkpoint holds, the classifier apart, which the processes share; see `_RunState`."""
        state = {
            "config": self.config.model_dump(mode="json"),
            "images": self.fingerprint,
            "contents": self.contents,
            "links": self.links_fingerprint,
            "topology": self.topology_fingerprint,
            "camera_names": list(self.images.camera_names),
            "stage": self.stage,
            "epoch": self.epoch,
            "seconds": self.seconds,
            "best_map": self.best_map,
            "figures": self.figures,
            "events": list(events),
            "association": self.association,
            "believed": None if self.believed is None else (self.believed.links, self.believed.probability),
            "calibration": None if self.calibration is None else CALIBRATION.dump_python(self.calibration),
            "encoder": self.encoder.state_dict(),
            "encoder_optimizer": self.learners.encoder_optimizer.state_dict(),
        }
        if self.bank is not None:
            state["bank"] = (self.bank.features, self.bank.made)
        if self.prompts is not None:
            state["prompts"] = self.prompts.state_dict()
            state["prompt_optimizer"] = self.prompt_optimizer.state_dict()
        return state

    def _resume(self) -> tuple[Path, list[dict[str, Any]]]:
        """Restore the last checkpoint that is not damaged; returns where it is and the events that belong to it."""
        where, state = load_last(self.folder)
        with of_a_checkpoint(where):
            self._check_same_data(where, state)
            _RunState.model_validate(state)
            load_state(self.encoder, state["encoder"], str(where))
            share = self.learners.share
            load_state(self.classifier, part_of(state["classifier"], share), str(where))
            load_optimizer(self.learners.encoder_optimizer, state["encoder_optimizer"])
            load_optimizer(self.learners.classifier_optimizer, part_of(state["classifier_optimizer"], share))
            if self.prompts is not None:
                load_state(self.prompts, state["prompts"], str(where))
                load_optimizer(self.prompt_optimizer, state["prompt_optimizer"])
            self.stage, self.epoch = state["stage"], state["epoch"]
            self.seconds, self.best_map, self.figures = state["seconds"], state["best_map"], state["figures"]
            if state["association"].shape != self.association.shape:
                raise ValueError("its association is of other labels")
            self.association = state["association"]
            if state.get("believed") is not None:  # absent in older checkpoints
                self.believed = Believed(*state["believed"])
            if self.bank is not None:
                self.bank.load(*state["bank"])
            if state.get("calibration") is not None:  # of the last epoch only
                self.calibration = CALIBRATION.validate_python(state["calibration"])
            return where, events_of(state, self.folder.events)

    def _check_same_data(self, where: Path, state: Mapping[str, Any]) -> None:
        """Raises an InputError if the checkpoint was trained on something else. Older ones lack all but ``images``."""
        if state["images"] != self.fingerprint:
            raise InputError(f"{where}: was trained on other images or labels; give the same --data or another --out")
        if state.get("contents", self.contents) != self.contents:
            raise InputError(
                f"{where}: was trained on other images of the same names; give the same --data or another --out"
            )
        if state.get("links", "") != self.links_fingerprint:
            raise InputError(f"{where}: was trained with other data.links; give the same table or another --out")
        if state.get("topology", "") != self.topology_fingerprint:
            raise InputError(
                f"{where}: was trained with another data.topology or other times; give the same or another --out"
            )


class _RunState(BaseModel):
    """What a checkpoint of a run holds, for checking it."""

    model_config = ConfigDict(strict=True, arbitrary_types_allowed=True)

    images: str
    camera_names: list[str]
    stage: Literal[1, 2]
    epoch: NotNegative
    seconds: float
    best_map: float
    figures: dict[str, float]
    association: Tensor
    believed: tuple[Tensor, Tensor] | None = None
    calibration: dict[str, Any] | None = None
    encoder: dict[str, Tensor]
    classifier: dict[str, Tensor]
    encoder_optimizer: dict[str, Any]
    classifier_optimizer: dict[str, Any]
    bank: tuple[Tensor, Tensor] | None = None  # with stage2.feature_age only
    prompts: dict[str, Tensor] | None = None
    prompt_optimizer: dict[str, Any] | None = None
    events: list[dict[str, Any]] | None = None  # older checkpoints have events_bytes instead


class _Means:
    """Mean of every loss over an epoch's steps, summed on the device.

    A loss that is not finite is noticed at the next reading and raised as ``diverged``, told which, makes it.
    """

    def __init__(self, diverged: Callable[[str], InputError]) -> None:
        self.diverged = diverged
        self.sums: dict[str, Tensor] = {}
        self.steps = 0

    def add(self, losses: dict[str, Tensor], progress: Bar, beside: dict[str, float] | None = None) -> None:
        for name, loss in losses.items():
            self.sums[name] = self.sums[name] + loss if name in self.sums else loss
        if self.steps % _STEPS_BETWEEN_READINGS == 0:
            progress.say(self._finite({name: loss.item() for name, loss in losses.items()}) | (beside or {}))
        self.steps += 1
        progress.advance()

    def means(self) -> dict[str, float]:
        return self._finite({name: total.item() / self.steps for name, total in self.sums.items()})

    def _finite(self, losses: dict[str, float]) -> dict[str, float]:
        bad = [name for name, loss in losses.items() if not math.isfinite(loss)]
        if bad:
            raise self.diverged(f"loss {', '.join(bad)} is")
        return losses


class _Pace:
    """How fast the epochs of a stage pass in this session."""

    def __init__(self, epoch: int, epochs: int) -> None:
        self.first, self.epochs, self.began = epoch, epochs, time.monotonic()

    def left(self, done: int) -> float:
        """Seconds that the stage still takes, ``done`` of its epochs being over."""
        return (time.monotonic() - self.began) / (done - self.first) * (self.epochs - done)


def _line(event: dict[str, Any], pace: _Pace) -> str:
    """An epoch for a log: phase, main figures, time."""
    done, phase = event["epoch"] + 1, f", {event['phase']}" if "phase" in event else ""
    every = event["losses"] | event.get("association", {}) | event.get("ranking", {})
    figures = in_words({name: every[name] for name in _LOGGED if name in every})
    left = f", about {duration(pace.left(done))} left" if done < pace.epochs else ""
    return (
        f"stage {event['stage']}, epoch {done} of {pace.epochs}{phase}: {figures}; {duration(event['seconds'])}{left}"
    )


def _fingerprint(images: LabelledImages) -> str:
    """SHA-256 of the images' names, cameras and labels, whatever their folder."""
    digest = hashlib.sha256()
    for path, identity in zip(images.paths, images.identities.tolist(), strict=True):
        digest.update(f"{path.name}\0{identity}\n".encode())
    digest.update(repr((images.camera_names, images.identity_labels)).encode())
    return digest.hexdigest()


def _fingerprint_of_files(paths: Sequence[Path]) -> str:
    """SHA-256 of the content of the files, in their order."""

    def digest(path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); replace or remove it") from error

    with ThreadPoolExecutor() as pool:
        return hashlib.sha256(b"".join(pool.map(digest, paths))).hexdigest()


def _fingerprint_of_links(links: IdentityLinks | None) -> str:
    """SHA-256 of the links, however the table is written; empty for none."""
    if links is None or not len(links):
        return ""
    return hashlib.sha256(repr((links.must.tolist(), links.cannot.tolist())).encode()).hexdigest()
