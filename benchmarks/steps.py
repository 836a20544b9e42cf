"""A stage 2 step without the backbone, against the backbone's forward and backward pass."""

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from benchmarks.measure import Comparison
from ccafl.config import Config, load_config
from ccafl.data.numbering import LabelledImages
from ccafl.model.network import build_network
from ccafl.training.encoder_stage import EncoderEpoch, set_up
from ccafl.training.learning import EpochStart
from ccafl.training.schedule import Phase

IDENTITIES, CAMERAS, IMAGES = 3262, 6, 4  # Market-1501's accumulated identities, its cameras, and images per identity
PHASES = {
    "intra-camera": Phase("intra", text=False, adversarial=False),
    "inter-camera with ICAL": Phase("inter", text=True, adversarial=True),
}


class NoiseStore:
    """Stands in for a store with ``count`` images in memory, all the same noise."""

    def __init__(self, size: tuple[int, int], count: int) -> None:
        self.picture, self.count = torch.randint(256, (3, *size), dtype=torch.uint8), count

    def __len__(self) -> int:
        return self.count

    def images(self, indices: Tensor) -> Tensor:
        return self.picture.repeat(len(indices), 1, 1, 1)


def small_steps() -> Iterator[Comparison]:
    """clip-synth at 128x64, B = 64, as on a CPU: the rest takes at most 20 % of the backbone's time, 10 % with ICAL."""
    config = load_config("own", ["model.image_size=[128,64]", "stage2.steps_per_epoch=5"])
    yield from _steps("clip-synth, 128x64", config, shares=(0.2, 0.1), rounds=5)


def full_steps() -> Iterator[Comparison]:
    """RN50 at 256x128, B = 128: the rest of the step takes at most 3 % of the backbone's time, 12 % of a quarter's."""
    config = load_config("market1501", ["model.weights=null", "stage2.steps_per_epoch=1"])
    yield from _steps("RN50, 256x128", config, shares=(0.12, 0.12), rounds=1, part=4)


def _steps(name: str, config: Config, shares: tuple[float, float], rounds: int, part: int = 1) -> Iterator[Comparison]:
    """One row for each of the phases, with its bar; the backbone passes one of ``part`` parts of the batch."""
    config = config.model_copy(update={"data": config.data.model_copy(update={"workers": 0})})
    for phase_name, share in zip(PHASES, shares, strict=True):
        yield _steps_of(phase_name, name, config, share, rounds, part)


def _steps_of(phase_name: str, name: str, config: Config, share: float, rounds: int, part: int) -> Comparison:
    phase, steps = PHASES[phase_name], config.stage2.steps_per_epoch
    batch = config.stage2.identities * config.stage2.images
    epoch = epoch_of(config, phase, Fabric(accelerator="cpu", devices=1))
    encoder = epoch.encoder
    epoch.encoder = _FixedEncoder(encoder, batch, phase.text)
    epoch.optimizer.zero_grad = lambda: None  # type: ignore[method-assign] # gradients are given as well
    store = NoiseStore(config.model.image_size, IDENTITIES * IMAGES)
    pixels = torch.randn(batch // part, 3, *config.model.image_size)
    cameras = epoch.images.cameras[epoch.draws()[0]][: len(pixels)]
    return Comparison(
        f"stage 2, {phase_name}: a step without its backbone; {name}, B={batch}",
        "its backbone" if part == 1 else f"its backbone with {len(pixels)} images",
        lambda: list(epoch.steps(store)),  # type: ignore[arg-type]
        partial(backbone, encoder, phase, pixels, cameras, steps),
        lambda ours, theirs: True,  # parts of one step, with nothing to compare
        bar=1 / share,
        rounds=rounds,
        times=steps,
    )


class _FixedEncoder(nn.Module):
    """Stands in for an encoder: returns fixed features and sets fixed gradients; the rest of the step is real."""

    def __init__(self, encoder: nn.Module, batch: int, text: bool) -> None:
        super().__init__()
        self.features = torch.randn(batch, encoder.reid_dim).requires_grad_()
        self.image_text = torch.randn(batch, encoder.image_text_dim).requires_grad_() if text else None
        for parameter in encoder.parameters():
            parameter.grad = 1e-3 * torch.randn_like(parameter)

    def forward(self, images: Tensor, text: bool, cameras: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.features, self.image_text


def backbone(encoder: nn.Module, phase: Phase, pixels: Tensor, cameras: Tensor, steps: int) -> None:
    """The backbone's forward and backward pass."""
    parameters = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    for _ in range(steps):
        features, image_text = encoder(pixels, phase.text, cameras)
        total = features.sum() if image_text is None else features.sum() + image_text.sum()
        torch.autograd.grad(total, parameters, allow_unused=True)


def epoch_of(config: Config, phase: Phase, fabric: Fabric) -> EncoderEpoch:
    """An epoch at Market-1501's size with random features and text features and a made-up association."""
    torch.manual_seed(0)
    images = labelled(IDENTITIES, CAMERAS, IMAGES)
    network = build_network(config.model, IDENTITIES, CAMERAS, seed=0)
    learners = set_up(fabric, network.encoder, network.classifier, config.stage2)
    features = F.normalize(torch.randn(len(images.identities), network.encoder.reid_dim)).to(fabric.device)
    text = torch.randn(IDENTITIES, network.encoder.image_text_dim).to(fabric.device)
    association = torch.arange(IDENTITIES) % 750
    return EncoderEpoch(fabric, config, learners, images, EpochStart(features, text, association), phase, epoch=1)


def labelled(identities: int, cameras: int, each: int) -> LabelledImages:
    """So many images of each of so many identities, evenly in so many cameras; without any files."""
    identity_cameras = (torch.arange(identities) * cameras // identities).sort().values
    of_images = torch.arange(identities).repeat_interleave(each)
    first_of_camera = torch.searchsorted(identity_cameras, identity_cameras)
    return LabelledImages(
        paths=(),
        cameras=identity_cameras[of_images],
        labels=(torch.arange(identities) - first_of_camera)[of_images],
        identities=of_images,
        camera_names=tuple(f"c{camera}" for camera in range(cameras)),
        identity_cameras=identity_cameras,
        identity_labels=tuple(map(str, range(identities))),
    )
