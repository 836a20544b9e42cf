"""Memories rebuilt from the features of all images."""

import torch
import torch.nn.functional as F

from ccafl.config import InterCamera, IntraCamera
from ccafl.data.numbering import LabelledImages
from ccafl.training.memories import hybrid_memories, mean_text_features, prototype_memory


def labelled() -> LabelledImages:
    identity_cameras = torch.tensor([0, 0, 1, 1, 1])
    identities = torch.tensor([0, 4, 1, 1, 2, 3, 3, 0, 2, 2])
    return LabelledImages(
        (), identity_cameras[identities], identities - torch.tensor([0, 2])[identity_cameras[identities]], identities,
        ("a", "b"), identity_cameras, ("x",) * 5,
    )  # fmt: skip


def test_a_hybrid_memory_for_every_camera():
    images = labelled()
    features = F.normalize(torch.randn(10, 6, generator=torch.Generator().manual_seed(0)))
    memories = hybrid_memories(features, images, IntraCamera(instances=7), seed=1)
    assert [memory.centres.shape for memory in memories] == [(2, 6), (3, 6)]
    for camera, memory in enumerate(memories):
        for label in range(len(memory.centres)):
            own = features[(images.cameras == camera) & (images.labels == label)]
            torch.testing.assert_close(memory.centres[label], F.normalize(own.mean(0), dim=0))
            drawn = memory.instances[:, label]
            assert ((drawn[:, None] == own).all(2).any(1)).all()
    again = hybrid_memories(features, images, IntraCamera(instances=7), seed=1)
    assert torch.equal(memories[1].instances, again[1].instances)
    halved = hybrid_memories(features, images, IntraCamera(instances=7, bfloat16_instances=True), seed=1)
    assert torch.equal(halved[1].instances, again[1].instances.bfloat16())


def test_prototypes_and_texts_are_means_over_images_not_over_identities():
    images = labelled()
    association = torch.tensor([0, -1, 0, 1, 1])
    labels = association[images.identities]
    features = F.normalize(torch.randn(10, 6))
    prototypes = prototype_memory(features, labels, InterCamera()).prototypes
    texts = torch.randn(5, 3)
    means = mean_text_features(texts, images, association)
    for person in range(2):
        torch.testing.assert_close(prototypes[person], F.normalize(features[labels == person].mean(0), dim=0))
        torch.testing.assert_close(means[person], texts[images.identities[labels == person]].mean(0))
