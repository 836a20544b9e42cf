"""One step of each phase of stage 2: finite losses, and gradients for exactly the parameters that are trained.

A tiny network is used here; `make test-full-size` uses RN50 at 256x128 and a batch of 16 x 8.
"""

from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor

from ccafl.config import Config, load_config
from ccafl.data.numbering import LabelledImages
from ccafl.model.network import build_network
from ccafl.training.encoder_stage import EncoderEpoch, set_up
from ccafl.training.learning import EpochStart
from ccafl.training.prompt_stage import all_text_features
from ccafl.training.schedule import Phase

PHASES = [
    Phase("intra", text=True, adversarial=False),
    Phase("inter", text=True, adversarial=False),
    Phase("inter", text=True, adversarial=True),
]
SIZES = [
    pytest.param("demo", [], id="clip-synth"),
    pytest.param("market1501", ["model.weights=null"], id="RN50", marks=pytest.mark.full_size),
]


class RandomStore:
    """Stands in for an `ImageStore`; its images are noise."""

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        self.pictures = torch.randint(256, (count, 3, *size), dtype=torch.uint8)

    def images(self, indices: Tensor) -> Tensor:
        return self.pictures[indices]


def persons_in_cameras(persons: int, cameras: int, images: int) -> tuple[LabelledImages, Tensor]:
    identity_cameras = torch.arange(cameras).repeat_interleave(persons)
    identities = torch.arange(persons * cameras).repeat_interleave(images)
    labelled = LabelledImages(
        paths=tuple(Path(f"{image}.jpg") for image in range(len(identities))),
        cameras=identity_cameras[identities],
        labels=identities % persons,
        identities=identities,
        camera_names=tuple(f"c{camera}" for camera in range(cameras)),
        identity_cameras=identity_cameras,
        identity_labels=tuple(str(label) for label in (torch.arange(persons * cameras) % persons).tolist()),
    )
    association = torch.arange(persons).repeat(cameras)
    association[::7] = -1
    return labelled, association.where(association < 0, association.unique(return_inverse=True)[1] - 1)


def epoch_of(config: Config, phase: Phase, *, associated: bool = True, fabric: Fabric | None = None) -> EncoderEpoch:
    torch.manual_seed(0)
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    images, association = persons_in_cameras(persons=10, cameras=3, images=4)
    if not associated:
        association = torch.full_like(association, -1)
    network = build_network(config.model, len(images.identity_cameras), cameras=3, seed=0)
    learners = set_up(fabric, network.encoder, network.classifier, config.stage2)
    features = torch.nn.functional.normalize(torch.randn(len(images.identities), network.encoder.reid_dim))
    start = EpochStart(features, all_text_features(fabric, network), association)
    return EncoderEpoch(fabric, config, learners, images, start, phase, epoch=0)


def step_of(epoch: EncoderEpoch) -> dict[str, Tensor]:
    store = RandomStore(len(epoch.images.identities), epoch.config.model.image_size)
    (losses,) = epoch.steps(store)
    return losses


@pytest.mark.parametrize(("name", "settings"), SIZES)
@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.name)
def test_one_step(name, settings, phase):
    config = load_config(name, [*settings, "data.workers=0", "stage2.steps_per_epoch=1"])
    epoch = epoch_of(config, phase)
    encoder = epoch.encoder.module
    before = {key: value.clone() for key, value in encoder.named_parameters()}
    losses = step_of(epoch)
    assert all(loss.isfinite() for loss in losses.values())
    assert ("adversarial" in losses) == phase.adversarial
    assert "text" in losses
    for key, parameter in encoder.named_parameters():
        frozen = key == "bnneck.bias"
        assert parameter.requires_grad != frozen
        assert (parameter.grad is None) == frozen, key
        assert frozen or parameter.grad.isfinite().all(), key
        assert torch.equal(parameter, before[key]) or not frozen
    assert any(not torch.equal(parameter, before[key]) for key, parameter in encoder.named_parameters())


def test_without_an_associated_sample_nothing_is_learned_and_nothing_fails():
    config = load_config("demo", ["stage2.steps_per_epoch=1"])
    epoch = epoch_of(config, Phase("inter", text=False, adversarial=False), associated=False)
    losses = step_of(epoch)
    assert losses["total"] == 0
