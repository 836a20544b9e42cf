"""`own`: the configuration for one's own pictures, chosen by what is found there, and how long it will train."""

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor

from ccafl.config import Config, Stage2, changed, load_config, merged
from ccafl.data.check import CameraReport, camera_reports
from ccafl.data.images import picture_size
from ccafl.data.links import links_beside
from ccafl.data.numbering import LabelledImages
from ccafl.data.records import Source
from ccafl.data.transforms import normalise
from ccafl.errors import InputError
from ccafl.model.clip import can_be_had
from ccafl.model.image_encoder import ImageEncoder
from ccafl.model.network import Network, build_network, check_backbone, has_text_tower
from ccafl.training.encoder_stage import EncoderEpoch, set_up
from ccafl.training.fabric import make_fabric, set_up_optimizer
from ccafl.training.features import measuring_images
from ccafl.training.learning import EpochStart
from ccafl.training.prompt_stage import learn_prompts_epoch, prompt_optimizer
from ccafl.training.schedule import phase_of

NAME = "own"
_PAPER = "market1501"
_RECIPES = {"clip-synth": NAME, "RN50": _PAPER, "ViT-B-16": _PAPER + "+vit-b-16"}  # every other network takes own's
_ON_A_GPU = ("RN50", "ViT-B-16")  # the first whose weights can be had
_LABELS = {NAME: 2167, _PAPER: 3262}  # of the data that a recipe's numbers of steps were chosen for
_FEWEST_STEPS = 10  # in an epoch
_NO_PROMPTS = {"epochs": 0}  # of stage 1, whose prompts the text losses alone use
_PICTURES = 200  # whose sizes are read
_TIMED = 3  # steps and batches that are timed, of every kind


@dataclass(frozen=True, slots=True)
class Findings:
    """What the choice depends on.

    Attributes:
        architecture: the network to train.
        why: the reason for it.
        cameras: the training images, camera by camera.
        picture: median height and width of the pictures, in pixels.
        tracks: whether labels are tracks.
        links: table of people's corrections that lies beside the data.
    """

    architecture: str
    why: str
    cameras: Sequence[CameraReport]
    picture: tuple[int, int]
    tracks: bool = False
    links: Path | None = None

    @property
    def labels(self) -> int:
        """Labels of all cameras together."""
        return sum(camera.labels for camera in self.cameras)


def find(source: Source, data: Path, architecture: tuple[str, str]) -> Findings:
    """The findings for the training images of ``source``, read from ``data``; ``architecture``: see `network_here`."""
    every = max(1, len(source.train) // _PICTURES)
    sizes = [size for record in source.train[::every] if (size := picture_size(record.path)) is not None]
    heights, widths = zip(*sizes, strict=True) if sizes else ((0,), (0,))
    picture = round(median(heights)), round(median(widths))
    tracks = any(record.track for record in source.train)
    links = links_beside(data)
    return Findings(*architecture, camera_reports(source), picture, tracks, links if links.is_file() else None)


def network_here(accelerator: str = "auto", *, fetch: bool) -> tuple[str, str]:
    """The network to train on this machine, and why.

    RN50, the paper's, comes before ViT-B-16, because camera statistics need batch norms.

    Args:
        accelerator: as in ``runtime.accelerator``.
        fetch: download weights to see whether they can be had; otherwise it is taken for granted.
    """
    if accelerator == "cpu" or not torch.cuda.is_available():
        return "clip-synth", "it comes with the package and is small enough for a CPU; a GPU would train RN50"
    for name in _ON_A_GPU:
        if not fetch or can_be_had(name, "openai"):
            return name, "there is a GPU" if fetch else "there is a GPU; clip-synth if no weights can be downloaded"
    return "clip-synth", "there is a GPU, but OpenAI's weights can neither be downloaded nor found"


def own_settings(findings: Findings, *, camera_statistics: bool = True) -> tuple[Config, list[str]]:
    """The configuration for data like these, and a line for every choice.

    Network, image size, phases and losses are those of a recipe that was measured with the network: ``own.yaml``, or
    the paper's. The rest follows from the data:

    - batch: the recipe's number of images; of a label at most twice its median number of them, since an image drawn
      again teaches little; not more labels than there are.
    - steps: the recipe's, as long as a run then draws each label at most twice as often as in the data that the recipe
      was measured on, and at least half as often: small data take less time, and large data are still seen.
    - tracks of one camera may be joined where labels are tracks; corrections that lie beside the data are used.
    - camera statistics: where each camera has at least as many images as a batch, as an intra-camera batch comes from
      one camera.

    Args:
        findings: of the data and the machine.
        camera_statistics: whether they may be chosen; an ablation adds them itself, in its rows ``..._plus``.
    """
    recipe = _RECIPES.get(findings.architecture, NAME)
    config = load_config(recipe)
    if recipe == NAME and findings.architecture != config.model.architecture:
        config = changed(config, {"model": {"architecture": findings.architecture, "weights": None}})
    stage2, labels = config.stage2, findings.labels
    usual = median(camera.images_per_label[1] for camera in findings.cameras)
    batch = stage2.identities * stage2.images
    images = min(stage2.images, max(2, round(2 * usual)))
    identities = min(batch // images, labels)
    visits = stage2.epochs * stage2.steps_per_epoch * stage2.identities / _LABELS[recipe.partition("+")[0]]
    once = labels / (identities * stage2.epochs)  # steps per epoch that draw each label once in the run
    steps = round(min(max(stage2.steps_per_epoch, visits / 2 * once), 2 * visits * once))
    association = load_config(NAME).stage2.association.model_dump() | {"tracks": findings.tracks}
    chosen = {"identities": identities, "images": images, "steps_per_epoch": max(steps, _FEWEST_STEPS)}
    config = changed(config, {"stage2": {**chosen, "association": association}})
    if findings.links is not None:
        config = changed(config, {"data": {"links": str(findings.links.resolve())}})
    config, phases = _phases(config, findings)
    config, text = _text(config)
    config, statistics = _statistics(config, findings, allowed=camera_statistics)
    return config, [
        f"network: {config.model.architecture}: {findings.why}",
        f"image size: {_size(config.model.image_size)} (width x height), this network's; the pictures have "
        f"{_size(findings.picture)}",
        f"batch: {identities} labels x {images} images; there are {labels:,} labels, mostly with {usual:g} images",
        f"steps: {config.stage2.epochs} epochs of {config.stage2.steps_per_epoch}: each label is drawn "
        f"{config.stage2.steps_per_epoch / once:.0f} times",
        f"phases: {phases}",
        f"text losses: {text}",
        f"camera statistics: {statistics}",
        *(["tracks: those of a camera may be one person, unless they overlap in time"] if findings.tracks else []),
        *([f"corrections: those in {findings.links} (data.links)"] if findings.links is not None else []),
    ]


def with_prompts(config: Config) -> Config:
    """``config``, with stage 1 as in ``own.yaml`` if it has text losses but learns no prompts for them."""
    if not config.stage2.text_losses or config.stage1.epochs:
        return config
    return changed(config, {"stage1": {"epochs": load_config(NAME).stage1.epochs}})


def _phases(config: Config, findings: Findings) -> tuple[Config, str]:
    stage2 = config.stage2
    if len(findings.cameras) < 2:
        return changed(config, {"mode": "intra"}), "within the camera only: there is no other to join it with"
    first = stage2.intra_camera.epochs
    ical = stage2.adversarial
    return config, (
        f"{first} epochs within cameras, {stage2.epochs - first} across them, the adversarial loss from epoch "
        f"{ical.first_epoch + 1} to {ical.last_epoch}, as measured with this network"
    )


def _text(config: Config) -> tuple[Config, str]:
    if not has_text_tower(config.model) or config.model.weights is None:
        off = {"intra_camera": {"text": False}, "inter_camera": {"text_from": None}}
        return changed(config, {"stage1": _NO_PROMPTS, "stage2": off}), "off: the network knows no text"
    if config.stage2.text_losses:
        return config, "on: the network knows text"
    return changed(config, {"stage1": _NO_PROMPTS}), (
        "off, and no prompts are learned: on real images they brought nothing, and descriptions found less "
        "(docs/results.md)"
    )


def _statistics(config: Config, findings: Findings, *, allowed: bool) -> tuple[Config, str]:
    fewest = min(findings.cameras, key=lambda camera: camera.images)
    enough = config.stage2.identities * config.stage2.images
    if not allowed:
        return config, "off: the rows ccafl_plus and supervised_plus add them"
    if len(findings.cameras) < 2:
        return config, "off: there is one camera"
    if fewest.images < enough:
        return config, f"off: {fewest.name} has only {fewest.images} images, and a batch {enough}"
    plus = merged(config, "ccafl-plus")
    try:
        check_backbone(plus)
    except InputError:
        return config, "off: this network has no batch norms"
    return plus, f"on: each camera has {fewest.images:,} images or more"


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"


def estimated_seconds(config: Config, images: LabelledImages, tested: int) -> float:
    """How long training would take on this machine: a few steps of every kind are done with random weights, and timed.

    Reading the pictures and writing checkpoints are left out.

    Args:
        config: of the run.
        images: to train on.
        tested: number of images in query and gallery.
    """
    stage1, stage2, runtime = config.stage1, config.stage2, config.runtime
    fabric = make_fabric(runtime.model_copy(update={"devices": 1}))
    identities, cameras = len(images.identity_cameras), len(images.camera_names)
    network = build_network(config.model.model_copy(update={"weights": None}), identities, cameras, 0)
    learners = set_up(fabric, network.encoder, network.classifier, stage2)
    phases = [phase_of(config, epoch) for epoch in range(stage2.epochs)]
    evaluations = -(-stage2.epochs // runtime.evaluate_every) if runtime.evaluate_every else 1
    embedded = _embedded(stage2, len(images)) + evaluations * tested
    if config.model.camera_norm:  # cameras are measured again at evaluations
        measured = sum(len(measuring_images(images.cameras, camera)) for camera in range(cameras))
        embedded += measured * max(0, evaluations - 1)
    seconds = embedded * _image_seconds(fabric, network.encoder.eval(), runtime.extraction_batch)
    if stage1.epochs and network.prompts is not None and network.text_encoder is not None:
        network.prompts.to(fabric.device)
        network.text_encoder.to(fabric.device)
        steps = stage1.epochs * -(-len(images) // stage1.batch_size)
        seconds += steps * _prompt_seconds(fabric, network, config, images)
    start = EpochStart(
        F.normalize(torch.rand(len(images), network.encoder.reid_dim, device=fabric.device)),
        torch.rand(identities, network.encoder.image_text_dim or 0, device=fabric.device),
        torch.arange(identities) % -(-identities // 2),  # pairs of identities, mostly of two cameras
    )
    network.encoder.train()
    for phase in set(phases):
        epoch = EncoderEpoch(fabric, config, learners, images, start, phase, phases.index(phase))
        seconds += phases.count(phase) * stage2.steps_per_epoch * _seconds_each(_losses_of_noise(epoch))
    return seconds


def _embedded(stage2: Stage2, images: int) -> int:
    """How many images are encoded at the starts of epochs and after the last one, if steps draw all images alike."""
    unseen = math.exp(-stage2.steps_per_epoch * stage2.identities * stage2.images / images)  # by the steps of an epoch
    encoded = unseen**stage2.feature_age / sum(unseen**age for age in range(stage2.feature_age + 1))
    return round((2 + (stage2.epochs - 1) * encoded) * images)


def _losses_of_noise(epoch: EncoderEpoch) -> Iterator[Tensor]:
    """The steps of an epoch, on random pixels."""
    size, device = epoch.config.model.image_size, epoch.fabric.device
    for indices in epoch.draws():
        pixels = torch.randint(256, (len(indices), 3, *size), dtype=torch.uint8, device=device)
        yield epoch.step(normalise(pixels), indices)["total"]


def _image_seconds(fabric: Fabric, encoder: ImageEncoder, batch: int) -> float:
    """Of one image's feature, in a batch, in the encoder's mode."""
    images = torch.zeros(batch, 3, *encoder.image_size, device=fabric.device)
    cameras = torch.zeros(batch, dtype=torch.int64)

    def batches() -> Iterator[Tensor]:
        while True:
            with torch.no_grad(), fabric.autocast():
                yield encoder.embed(images, cameras).sum()

    return _seconds_each(batches()) / batch


def _prompt_seconds(fabric: Fabric, network: Network, config: Config, images: LabelledImages) -> float:
    """Of a step of stage 1."""
    assert network.prompts is not None
    assert network.encoder.image_text_dim is not None
    features = torch.rand(len(images), network.encoder.image_text_dim, device=fabric.device)
    optimizer = set_up_optimizer(fabric, prompt_optimizer(network.prompts, config.stage1))
    return _seconds_each(learn_prompts_epoch(fabric, network, optimizer, features, images, config.stage1, 0, 0))


def _seconds_each(results: Iterator[Tensor]) -> float:
    """Of one result, from a few of them after a first one; 0 if there is only one."""
    next(results).item()
    began, done = time.monotonic(), 0
    for result in itertools.islice(results, _TIMED):
        result.item()
        done += 1
    return (time.monotonic() - began) / max(done, 1)
