"""Steps of every phase of the paper against the plain reference: losses, memories and every weight, in float64."""

import copy

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from reference import Labels, Reference
from test_full_step import RandomStore, persons_in_cameras

from ccafl.config import load_config
from ccafl.data.batches import seed_for
from ccafl.model.network import build_network
from ccafl.training.encoder_stage import EncoderEpoch, set_up
from ccafl.training.learning import EpochStart
from ccafl.training.memories import drawn_images
from ccafl.training.schedule import phase_of

STEPS, SLOTS = 3, 3
SETTINGS = [
    "model.architecture=tiny",
    "model.weights=null",
    "model.image_size=[32, 16]",
    f"stage2.steps_per_epoch={STEPS}",
    "stage2.identities=5",
    "stage2.images=2",
    f"stage2.intra_camera.instances={SLOTS}",
    "data.flip=0.0",
    "data.pad=0",
    "data.erase=0.0",
    "data.workers=0",
]
PHASES = {3: "intra + text", 7: "inter", 20: "inter + text", 45: "inter + text + adversarial"}


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("epoch", PHASES)
@pytest.mark.parametrize("recipe", ["market1501", "msmt17"])
def test_steps_equal_the_reference(recipe, epoch):
    config = load_config(recipe, SETTINGS)
    phase = phase_of(config, epoch)
    fabric = Fabric(accelerator="cpu", devices=1, precision="64-true")
    images, association = persons_in_cameras(persons=5, cameras=3, images=4)
    torch.manual_seed(epoch)
    network = build_network(config.model, len(images.identity_cameras), cameras=3, seed=0)
    features = F.normalize(torch.randn(len(images), network.encoder.reid_dim))
    text = 0.1 * torch.randn(len(association), network.encoder.image_text_dim)
    learners = set_up(fabric, network.encoder, network.classifier, config.stage2)
    reference = Reference(
        encoder=copy.deepcopy(network.encoder).train(),
        classifier=network.classifier.weight.detach().clone().requires_grad_(),
        known=Labels(images.identities.tolist(), images.identity_cameras.tolist(), association.tolist()),
        text=text,
        centre_weight=config.stage2.intra_camera.centre_weight,
        margin=config.stage2.adversarial.margin,
        milestones=config.stage2.milestones,
    )
    ours = EncoderEpoch(fabric, config, learners, images, EpochStart(features, text, association), phase, epoch)
    reference.start_epoch(features)
    if phase.learning == "intra":
        drawn = drawn_images(images.identities, len(association), SLOTS, seed_for(config.seed, 2, epoch, 1))
        for identity, _, _ in _identities(images):
            reference.instances[identity] = list(features[drawn[:, identity]])
    store = RandomStore(len(images), config.model.image_size)

    for losses, indices in zip(ours.steps(store), ours.draws(), strict=True):
        pixels = _normalised(store.images(indices))
        expected = reference.step(
            pixels, indices.tolist(), epoch, learning=phase.learning, text=phase.text, ical=phase.adversarial
        )
        torch.testing.assert_close(losses, {name: loss.detach() for name, loss in expected.items()}, rtol=1e-9, atol=0)

    _assert_same_memories(ours, reference, images)
    torch.testing.assert_close(network.classifier.weight, reference.classifier, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(network.encoder.state_dict(), reference.encoder.state_dict(), rtol=1e-7, atol=1e-10)


def _identities(images) -> list[tuple[int, int, int]]:
    """(accumulated identity, its camera, its label there)."""
    triples = zip(images.identities.tolist(), images.cameras.tolist(), images.labels.tolist(), strict=True)
    return sorted(set(triples))


def _normalised(pictures: torch.Tensor) -> torch.Tensor:
    """In float32, as training loads images."""
    mean, std = (255 * torch.tensor(shares)[:, None, None] for shares in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return ((pictures.float() - mean.float()) / std.float()).double()


def _assert_same_memories(ours: EncoderEpoch, reference: Reference, images) -> None:
    close = {"rtol": 1e-9, "atol": 1e-12}
    if ours.phase.learning == "intra":
        for identity, camera, label in _identities(images):
            memory = ours.learning.memories[camera]
            torch.testing.assert_close(memory.centres[label], reference.centres[identity], **close)
            overwritten = list(memory.instances[:, label])
            assert len(overwritten) == 2  # samples of an identity in a batch
            torch.testing.assert_close(overwritten, reference.instances[identity][:2], **close)
    else:
        prototypes = torch.stack([reference.prototypes[person] for person in sorted(reference.prototypes)])
        torch.testing.assert_close(ours.learning.memory.prototypes, prototypes, **close)
