"""Tracks that are one person of their camera are learned as one identity."""

import torch
import torch.nn.functional as F

from ccafl.config import load_config
from ccafl.data.numbering import LabelledImages
from ccafl.model.classifier import GlobalIDClassifier
from ccafl.training.learning import EpochStart, learning_of
from ccafl.training.schedule import Phase

CAMERAS = torch.tensor([0, 0, 0, 1, 1])  # of five tracks with two images each
GROUPS = torch.tensor([0, 1, 0, 2, 2])  # the first and third are one person, and the last two are
FIRST = torch.tensor([0, 1, 0, 3, 3])
ACROSS = torch.tensor([0, -1, 0, 0, 0])  # who is one person over both cameras


def learning(name: str, tracks: torch.Tensor | None, *, adversarial: bool = False):
    identities = torch.arange(5).repeat_interleave(2)
    labels = torch.tensor([0, 1, 2, 0, 1])[identities]
    images = LabelledImages((), CAMERAS[identities], labels, identities, ("c1", "c2"), CAMERAS, tuple("abcde"))
    random = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(10, 8, generator=random))
    start = EpochStart(features, torch.randn(5, 4, generator=random), ACROSS, tracks)
    phase = Phase(name, text=False, adversarial=adversarial, draw="associated")
    return learning_of(phase, load_config("own"), images, start, GlobalIDClassifier(5, 8), 0), features


def test_intra_camera_learning_has_one_memory_entry_and_one_text_for_a_persons_tracks():
    found, features = learning("intra", GROUPS)
    assert found.groups.tolist() == GROUPS.repeat_interleave(2).tolist()
    assert [len(memory.centres) for memory in found.memories] == [2, 1]
    assert [len(text) for text in found.texts] == [2, 1]
    both = F.normalize(features[[0, 1, 4, 5]].mean(0), dim=0)
    assert torch.allclose(found.memories[0].centres[0], both, atol=1e-6)
    assert set(found.losses(features.clone().requires_grad_(), None, torch.arange(10))) >= {"centre", "hard_instance"}
    alone, _ = learning("intra", None)
    assert [len(memory.centres) for memory in alone.memories] == [3, 2]


def test_the_classifier_and_ical_know_a_persons_tracks_by_the_first():
    for name in ("intra", "inter"):
        assert learning(name, GROUPS)[0].identities.tolist() == FIRST.repeat_interleave(2).tolist()
    inter, features = learning("inter", GROUPS, adversarial=True)
    assert inter.spread_over.tolist() == [0, -1, -1, 0, -1]  # no weight of a track that nothing is classified as
    losses = inter.losses(features.clone().requires_grad_(), None, torch.arange(10))
    assert losses["adversarial"].isfinite()
