"""A step of stage 2: everything but the backbone, against the backbone's own forward and backward pass."""

import statistics
from collections.abc import Iterator

import torch
from lightning_fabric import Fabric
from torch import Tensor

from benchmarks.measure import Row, timed
from ccafl.config import Config, load_config
from ccafl.data.records import LabelledImages
from ccafl.model.network import build_network
from ccafl.training.encoder_stage import EncoderEpoch, EpochStart, Learners, classifier_optimizer, encoder_optimizer
from ccafl.training.schedule import Phase

IDENTITIES, CAMERAS, IMAGES = 3262, 6, 4  # Market-1501's accumulated identities; images of each
PHASES = {
    "intra-camera": Phase("intra", text=False, adversarial=False),
    "inter-camera with ICAL": Phase("inter", text=True, adversarial=True),
}


class Pictures:
    """Stands for a store that keeps ``count`` images in memory: noise, one picture for all."""

    def __init__(self, size: tuple[int, int], count: int) -> None:
        self.picture, self.count = torch.randint(256, (3, *size), dtype=torch.uint8), count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        return self.picture


def tiny_steps() -> Iterator[Row]:
    """The tiny network at 64x32, B = 128: at most 15 % of the backbone's time."""
    config = load_config("market-split", ["stage2.identities=16", "stage2.images=8", "stage2.steps_per_epoch=10"])
    yield from _steps("tiny network, 64x32", config, share=0.15, rounds=5)


def full_steps() -> Iterator[Row]:
    """RN50 at 256x128, B = 128: at most 3 %."""
    config = load_config("market1501", ["model.weights=null", "stage2.steps_per_epoch=1"])
    yield from _steps("RN50, 256x128", config, share=0.03, rounds=2)


def _steps(name: str, config: Config, share: float, rounds: int) -> Iterator[Row]:
    config = config.model_copy(update={"data": config.data.model_copy(update={"workers": 0})})
    for phase_name, phase in PHASES.items():
        epoch = epoch_of(config, phase, Fabric(accelerator="cpu", devices=1))
        store = Pictures(config.model.image_size, IDENTITIES * IMAGES)
        pixels = torch.randn(config.stage2.identities * config.stage2.images, 3, *config.model.image_size)
        cameras = epoch.images.cameras[epoch.draws()[0]]
        whole, own = [], []
        for _ in range(rounds + 1):
            steps = config.stage2.steps_per_epoch
            whole.append(timed(lambda: list(epoch.steps(store)))[0] / steps)  # type: ignore[arg-type] # noqa: B023
            own.append(timed(lambda: _backbone(epoch, pixels, cameras, steps))[0] / steps)  # noqa: B023
        backbone = statistics.median(own[1:])
        rest = max(1e-6, statistics.median(whole[1:]) - backbone)
        ratio = backbone / rest
        work = f"stage 2, {phase_name}: a step without its backbone; {name}, B=128"
        yield Row(work, rest, "its backbone", backbone, ratio, 1 / share, rest <= share * backbone, equal=True)


def _backbone(epoch: EncoderEpoch, pixels: Tensor, cameras: Tensor, steps: int) -> None:
    for _ in range(steps):
        features, image_text = epoch.encoder(pixels, epoch.phase.text, cameras)
        total = features.sum() if image_text is None else features.sum() + image_text.sum()
        epoch.optimizer.zero_grad()
        total.backward()


def epoch_of(config: Config, phase: Phase, fabric: Fabric) -> EncoderEpoch:
    """An epoch at Market-1501's size: features, text features and association are random."""
    torch.manual_seed(0)
    identity_cameras = (torch.arange(IDENTITIES) * CAMERAS // IDENTITIES).sort().values
    identities = torch.arange(IDENTITIES).repeat_interleave(IMAGES)
    first_of_camera = torch.searchsorted(identity_cameras, identity_cameras)
    images = LabelledImages(
        paths=(),
        cameras=identity_cameras[identities],
        labels=(torch.arange(IDENTITIES) - first_of_camera)[identities],
        identities=identities,
        camera_names=tuple(f"c{camera}" for camera in range(CAMERAS)),
        identity_cameras=identity_cameras,
        identity_labels=tuple(map(str, range(IDENTITIES))),
    )
    network = build_network(config.model, IDENTITIES, CAMERAS, seed=0)
    encoder, optimizer = fabric.setup(network.encoder, encoder_optimizer(network.encoder, config.stage2))
    classifier = network.classifier
    learners = Learners(encoder, optimizer, classifier, classifier_optimizer(classifier, config.stage2))
    features = torch.nn.functional.normalize(torch.randn(len(identities), network.encoder.reid_dim))
    text = torch.randn(IDENTITIES, network.encoder.image_text_dim)
    association = torch.arange(IDENTITIES) % 750
    return EncoderEpoch(fabric, config, learners, images, EpochStart(features, text, association), phase, epoch=1)
