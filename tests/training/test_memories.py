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
    memories = hybrid_memories(features, images, IntraCamera(instances=7), seed=1, samples=2)
    assert [memory.centres.shape for memory in memories] == [(2, 6), (3, 6)]
    for camera, memory in enumerate(memories):
        for label in range(len(memory.centres)):
            own = features[(images.cameras == camera) & (images.labels == label)]
            torch.testing.assert_close(memory.centres[label], F.normalize(own.mean(0), dim=0))
            held = memory.rows[memory.places[:, label]]
            assert ((held[:, None] == own).all(2).any(1)).all()
    again = hybrid_memories(features, images, IntraCamera(instances=7), seed=1, samples=2)
    assert torch.equal(memories[1].rows, again[1].rows)
    halved = hybrid_memories(features, images, IntraCamera(instances=7, bfloat16_instances=True), seed=1, samples=2)
    assert torch.equal(halved[1].rows, again[1].rows.bfloat16())


def test_instances_kept_once_give_the_losses_of_slots_that_each_hold_one():
    images, settings = labelled(), IntraCamera(instances=7, centre_weight=0.0)
    features = F.normalize(torch.randn(10, 6, generator=torch.Generator().manual_seed(0)))
    whole, once = (hybrid_memories(features, images, settings, 1, samples)[1] for samples in (7, 2))
    assert whole.places.shape == (7, 3)
    assert len(whole.rows) == 7 * 3
    assert len(once.rows) <= 2 * 3 + 6  # two slots of each identity, and its images
    for seed, labels in enumerate([[2, 0, 2], [1, 1, 0], [0, 2, 2], [1, 0, 1]]):
        batch = torch.randn(3, 6, generator=torch.Generator().manual_seed(seed), requires_grad=True)
        labels = torch.tensor(labels)
        ours, expected = (
            (loss.detach(), *torch.autograd.grad(loss, batch))
            for loss in (memory.losses(batch, labels)[1] for memory in (once, whole))
        )
        torch.testing.assert_close(ours, expected)
        for memory in (whole, once):
            memory.update(batch.detach(), labels)


def test_instances_of_identities_with_equally_many_images_are_their_own():
    """As many rows as places: the rows of what stays are still in another order than those of slots."""
    count, each = 3, 2
    identities = torch.arange(count).repeat_interleave(each)
    images = LabelledImages(
        (), torch.zeros_like(identities), identities, identities, ("a",), torch.zeros(count, dtype=torch.int64),
        ("x",) * count,
    )  # fmt: skip
    features = F.normalize(torch.randn(count * each, 6, generator=torch.Generator().manual_seed(0)))
    whole, once = (hybrid_memories(features, images, IntraCamera(), 1, samples)[0] for samples in (32, 2))
    assert len(once.rows) == once.places.numel() == 2 * count + count * each
    batch, labels = torch.randn(3, 6, generator=torch.Generator().manual_seed(1)), torch.arange(count)
    torch.testing.assert_close(once.losses(batch, labels), whole.losses(batch, labels))


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
