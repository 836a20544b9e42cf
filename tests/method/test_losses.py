"""Every loss against the equation written as plain loops, and its gradient against finite differences."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from ccafl.method.inter_camera import adversarial_loss, adversarial_positives, identity_loss
from ccafl.method.intra_camera import intra_camera_losses
from ccafl.method.losses import batch_hard_triplet, supervised_contrastive, text_classification_loss
from ccafl.method.memory import HybridMemory, PrototypeMemory
from ccafl.method.prompt_learning import prompt_contrastive_loss

seeds = st.integers(0, 2**31 - 1)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def random_labels(seed: int, count: int, top: int) -> torch.Tensor:
    return torch.randint(top, (count,), generator=torch.Generator().manual_seed(seed + 1))


def gradient_is_correct(function, *inputs: torch.Tensor) -> bool:
    return torch.autograd.gradcheck(function, [value.clone().requires_grad_() for value in inputs])


def cross_entropy(scores: list[float], label: int, smoothing: float = 0.0) -> float:
    log_total = math.log(sum(math.exp(score) for score in scores))
    target = [smoothing / len(scores) + (1 - smoothing) * (index == label) for index in range(len(scores))]
    return -sum(share * (score - log_total) for share, score in zip(target, scores, strict=True))


def plain_prompt_contrastive_loss(images, texts, labels, cameras) -> float:
    total = 0.0
    for camera in set(cameras.tolist()):
        rows = [index for index in range(len(labels)) if cameras[index] == camera]
        for left, right in ((images, texts), (texts, images)):
            per_anchor = []
            for i in rows:
                scores = {j: float(left[i] @ right[j]) for j in rows}
                log_total = math.log(sum(math.exp(score) for score in scores.values()))
                own = [scores[j] - log_total for j in rows if labels[j] == labels[i]]
                per_anchor.append(-sum(own) / len(own))
            total += sum(per_anchor) / len(per_anchor)
    return total


@given(seeds)
def test_supervised_contrastive(seed):
    features, labels = F.normalize(random(seed, 9, 5)), random_labels(seed, 9, 4)
    per_anchor = []
    for i in range(9):
        scores = {a: float(features[i] @ features[a]) / 0.2 for a in range(9) if a != i}
        log_total = math.log(sum(math.exp(score) for score in scores.values()))
        own = [scores[p] - log_total for p in scores if labels[p] == labels[i]]
        per_anchor += [-sum(own) / len(own)] if own else []
    expected = sum(per_anchor) / len(per_anchor)
    assert supervised_contrastive(features, labels, 0.2).item() == pytest.approx(expected)
    assert gradient_is_correct(lambda features: supervised_contrastive(features, labels, 0.2), features)
    assert supervised_contrastive(features, torch.arange(9)).item() == 0


@given(seeds)
def test_prompt_contrastive_loss(seed):
    images, texts = random(seed, 9, 5), random(seed + 1, 9, 5)
    labels, cameras = random_labels(seed, 9, 3), random_labels(seed + 2, 9, 2)
    ours = prompt_contrastive_loss(images, texts, labels, cameras)
    assert ours.item() == pytest.approx(plain_prompt_contrastive_loss(images, texts, labels, cameras))


def test_prompt_contrastive_loss_keeps_cameras_apart():
    images, texts = random(0, 6, 4), random(1, 6, 4)
    labels = torch.tensor([0, 0, 1, 0, 1, 1])
    cameras = torch.tensor([0, 0, 0, 1, 1, 1])
    apart = sum(
        prompt_contrastive_loss(images[rows], texts[rows], labels[rows], cameras[rows])
        for rows in (slice(0, 3), slice(3, 6))
    )
    torch.testing.assert_close(prompt_contrastive_loss(images, texts, labels, cameras), apart)


def plain_triplet(anchors, candidates, anchor_labels, candidate_labels, margin) -> float:
    losses = []
    for anchor, label in zip(anchors, anchor_labels, strict=True):
        distances = [max(float((anchor - candidate).norm()), 1e-6) for candidate in candidates]
        positives = [d for d, own in zip(distances, candidate_labels, strict=True) if own == label]
        negatives = [d for d, own in zip(distances, candidate_labels, strict=True) if own != label]
        losses.append(max(0.0, margin + max(positives) - min(negatives)) if negatives else 0.0)
    return sum(losses) / len(losses)


@given(seeds)
def test_batch_hard_triplet(seed):
    anchors, labels = random(seed, 8, 4), random_labels(seed, 8, 3)
    candidates, candidate_labels = random(seed + 1, 5, 4), torch.tensor([0, 1, 2, 1, 0])
    for others, other_labels in ((anchors, labels), (candidates, candidate_labels)):
        ours = batch_hard_triplet(anchors, others, labels, other_labels, margin=0.7)
        assert ours.item() == pytest.approx(plain_triplet(anchors, others, labels, other_labels, 0.7))


def test_text_classification_loss():
    images, texts, labels = random(0, 4, 3), random(1, 5, 3), torch.tensor([4, 0, 2, 2])
    plain = [cross_entropy((texts @ image).tolist(), label, 0.1) for image, label in zip(images, labels, strict=True)]
    assert text_classification_loss(images, texts, labels).item() == pytest.approx(sum(plain) / 4)


@given(seeds)
def test_hybrid_memory(seed):
    centres, instances = F.normalize(random(seed, 4, 6)), F.normalize(random(seed + 1, 3, 4, 6), dim=2)
    features, labels = random(seed + 2, 7, 6), random_labels(seed, 7, 4)
    memory = HybridMemory(centres, instances)
    centre_loss, hard_instance_loss = memory.losses(features, labels)
    plain_centre, plain_hard = [], []
    for feature, label in zip(F.normalize(features), labels.tolist(), strict=True):
        plain_centre.append(cross_entropy([float(feature @ centre) / 0.05 for centre in centres], label))
        hardest = []
        for identity in range(4):
            similarities = [float(feature @ instances[slot, identity]) for slot in range(3)]
            hardest.append((min if identity == label else max)(similarities) / 0.05)
        plain_hard.append(cross_entropy(hardest, label))
    assert centre_loss.item() == pytest.approx(sum(plain_centre) / 7)
    assert hard_instance_loss.item() == pytest.approx(sum(plain_hard) / 7)

    memory.update(features, labels)
    for feature, label, rank in zip(F.normalize(features), labels, ranks(labels), strict=True):
        if rank < 3:
            instances[rank, label] = feature
    for identity in labels.unique():
        mean = F.normalize(features)[labels == identity].mean(0)
        centres[identity] = F.normalize(0.1 * centres[identity] + 0.9 * mean, dim=0)
    torch.testing.assert_close(memory.instances, instances)
    torch.testing.assert_close(memory.centres, centres)


def ranks(labels: torch.Tensor) -> list[int]:
    return [(labels[:index] == label).sum().item() for index, label in enumerate(labels)]


@pytest.mark.parametrize("identities", [1, 39, 40, 41, 95])
def test_hybrid_memorys_gradient_is_that_of_all_pairs(identities):
    centres, instances = F.normalize(random(0, identities, 6)), F.normalize(random(1, 3, identities, 6), dim=2)
    features, labels = random(2, 7, 6).requires_grad_(), random_labels(0, 7, identities)
    similarity = torch.einsum("bd,kcd->bkc", F.normalize(features), instances)
    own = F.one_hot(labels, identities).bool()
    hardest = torch.where(own, similarity.amin(1), similarity.amax(1))
    (plain,) = torch.autograd.grad(F.cross_entropy(hardest / 0.05, labels), features)
    (ours,) = torch.autograd.grad(HybridMemory(centres, instances).losses(features, labels)[1], features)
    torch.testing.assert_close(ours, plain)


def test_instances_in_bfloat16_give_nearly_the_same_loss_and_gradient():
    centres, instances = F.normalize(random(0, 50, 64)), F.normalize(random(1, 8, 50, 64), dim=2)
    features, labels = random(2, 7, 64).requires_grad_(), random_labels(0, 7, 50)
    full, half = HybridMemory(centres, instances), HybridMemory(centres, instances.bfloat16())
    for _ in range(2):
        losses = [memory.losses(features, labels)[1] for memory in (full, half)]
        assert losses[0].item() == pytest.approx(losses[1].item(), abs=1e-2)
        gradients = [torch.autograd.grad(loss, features)[0] for loss in losses]
        assert (gradients[0] - gradients[1]).norm() < 0.01 * gradients[0].norm()
        for memory in (full, half):
            memory.update(features.detach(), labels)
    assert half.instances.nbytes == full.instances.float().nbytes / 2


def test_hybrid_memory_keeps_the_first_of_more_samples_than_slots():
    memory = HybridMemory(F.normalize(random(0, 2, 4)), F.normalize(random(1, 3, 2, 4), dim=2))
    untouched = memory.instances[:, 0].clone()
    features = random(2, 5, 4)
    memory.update(features, torch.ones(5, dtype=torch.int64))
    torch.testing.assert_close(memory.instances[:, 1], F.normalize(features)[:3])
    torch.testing.assert_close(memory.instances[:, 0], untouched)


def test_memories_leave_their_inputs_unchanged():
    centres, instances = F.normalize(random(0, 2, 4)), F.normalize(random(1, 3, 2, 4), dim=2)
    before = centres.clone(), instances.clone()
    HybridMemory(centres, instances).update(random(2, 2, 4), torch.tensor([0, 1]))
    PrototypeMemory(centres).update(random(2, 2, 4), torch.tensor([0, 1]))
    assert torch.equal(before[0], centres)
    assert torch.equal(before[1], instances)


def test_memory_shapes_must_agree():
    with pytest.raises(ValueError, match="disagree"):
        HybridMemory(torch.zeros(2, 4), torch.zeros(3, 2, 5))


@given(seeds)
def test_prototype_memory(seed):
    prototypes, features, labels = F.normalize(random(seed, 4, 6)), random(seed + 1, 9, 6), random_labels(seed, 9, 4)
    memory = PrototypeMemory(prototypes)
    plain = [
        cross_entropy([float(feature @ prototype) / 0.05 for prototype in prototypes], label)
        for feature, label in zip(F.normalize(features), labels.tolist(), strict=True)
    ]
    assert memory.loss(features, labels).item() == pytest.approx(sum(plain) / 9)

    memory.update(features, labels)
    for identity in labels.unique():
        own = F.normalize(features)[labels == identity]
        hardest = own[(own @ prototypes[identity]).argmin()]
        prototypes[identity] = F.normalize(0.1 * prototypes[identity] + 0.9 * hardest, dim=0)
    torch.testing.assert_close(memory.prototypes, prototypes)


def plain_adversarial_loss(cosines, identities, association, cameras, margin, epsilon, boost, scale) -> float:
    losses = []
    for z, a in zip(cosines.tolist(), identities.tolist(), strict=True):
        theta = math.acos(z[a])
        with_margin = math.cos(theta + margin) if theta < math.pi - margin else z[a] - margin * math.sin(margin)
        logits = [
            scale * (with_margin if j == a else (1 + boost) * z[j] + boost if cameras[j] == cameras[a] else z[j])
            for j in range(len(z))
        ]
        associated = [j for j in range(len(z)) if association[j] == association[a] >= 0 and cameras[j] != cameras[a]]
        positives = [a, *associated]
        negatives = sum(math.exp(logits[k]) for k in range(len(z)) if k not in positives)
        log_q = {j: logits[j] - math.log(math.exp(logits[j]) + negatives) for j in positives}
        losses.append(-(1 - epsilon) * log_q[a] - epsilon / len(positives) * sum(log_q.values()))
    return sum(losses) / len(losses)


@given(seeds, st.sampled_from([0.0, 0.3, 0.7]))
def test_adversarial_loss(seed, margin):
    association, cameras = random_labels(seed, 8, 4) - 1, random_labels(seed + 1, 8, 3)
    identities = random_labels(seed + 2, 5, 8)
    cosines = torch.tanh(random(seed, 5, 8)) * 0.999
    positives = adversarial_positives(association, cameras, identities)
    ours = adversarial_loss(cosines, identities, cameras, positives, margin=margin)
    plain = plain_adversarial_loss(cosines, identities, association, cameras, margin, 0.8, 0.2, 16.0)
    assert ours.item() == pytest.approx(plain, rel=1e-6)


def test_gradients_match_finite_differences():
    features, labels = random(3, 5, 4), torch.tensor([0, 1, 1, 2, 0])
    memory = HybridMemory(F.normalize(random(4, 3, 4)), F.normalize(random(5, 2, 3, 4), dim=2), temperature=0.3)
    prototypes = PrototypeMemory(F.normalize(random(6, 3, 4)), temperature=0.3)
    cameras = torch.tensor([0, 0, 0, 1, 1])
    cosines = torch.tanh(random(7, 5, 6))
    association, identity_cameras = torch.tensor([0, 1, 0, 1, -1, 0]), torch.tensor([0, 0, 1, 1, 2, 2])
    identities = torch.tensor([0, 1, 2, 3, 5])
    positives = adversarial_positives(association, identity_cameras, identities)
    assert gradient_is_correct(lambda f: memory.losses(f, labels), features)
    assert gradient_is_correct(lambda f: prototypes.loss(f, labels), features)
    assert gradient_is_correct(lambda f: batch_hard_triplet(f, f, labels, labels), features)
    assert gradient_is_correct(
        lambda f: tuple(intra_camera_losses(f, labels, memory, f, prototypes.prototypes).values()),
        features,
    )
    assert gradient_is_correct(lambda i, t: prompt_contrastive_loss(i, t, labels, cameras), features, random(8, 5, 4))
    assert gradient_is_correct(lambda i, t: text_classification_loss(i, t, labels), features, random(9, 3, 4))
    assert gradient_is_correct(lambda z: identity_loss(z, identities), cosines)
    assert gradient_is_correct(
        lambda z: adversarial_loss(z, identities, identity_cameras, positives, margin=0.7), cosines
    )


def test_intra_camera_losses_are_weighted_as_in_the_paper():
    features, labels = random(3, 5, 4), torch.tensor([0, 1, 1, 2, 0])
    memory = HybridMemory(F.normalize(random(4, 3, 4)), F.normalize(random(5, 2, 3, 4), dim=2))
    text = random(6, 3, 4)
    parts = intra_camera_losses(features, labels, memory, features, text, centre_weight=0.6)
    centre, hard = memory.losses(features, labels)
    unit = F.normalize(features)
    torch.testing.assert_close(parts["centre"], 0.6 * centre)
    torch.testing.assert_close(parts["hard_instance"], 0.4 * hard)
    assert parts["triplet_centres"].item() == pytest.approx(
        plain_triplet(unit, memory.centres, labels, torch.arange(3), 0.3)
    )
    assert parts["triplet_batch"].item() == pytest.approx(plain_triplet(unit, unit, labels, labels, 0.3))
    torch.testing.assert_close(parts["text"], text_classification_loss(features, text, labels, 0.1))
    assert "text" not in intra_camera_losses(features, labels, memory)
