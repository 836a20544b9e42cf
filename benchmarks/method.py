"""The parts of the method against the authors' code and plain implementations."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measure import Comparison, Limit, Row, in_own_process, peak_of
from benchmarks.opponents import AUTHORS, Opponents, disable_cuda
from ccafl.method.association import associate, nearest_cross_camera_pairs
from ccafl.method.calibrated_association import CalibratedAssociation, associate_calibrated
from ccafl.method.inter_camera import adversarial_loss, adversarial_positives
from ccafl.method.memory import HybridMemory, PrototypeMemory
from ccafl.method.prompt_learning import prompt_contrastive_loss
from ccafl.model.clip import load_clip
from ccafl.model.prompts import PromptLearner, TextEncoder

AUTHORS_NAME = "the authors' code"
TEMPERATURE, MOMENTUM, CENTRE_WEIGHT = 0.05, 0.1, 0.6
Inputs = tuple[Tensor, ...]


def memories(opponents: Opponents) -> Iterator[Comparison]:
    """Losses, backward pass and update with a batch of 16 x 8, D = 2048."""
    if opponents.has(AUTHORS):
        yield _hybrid(opponents)
        yield _prototypes(opponents)


def _unit(*shape: int) -> Tensor:
    return F.normalize(torch.randn(shape), dim=-1)


def _hybrid(opponents: Opponents) -> Comparison:
    torch.manual_seed(0)
    centres, instances = _unit(600, 2048), _unit(32, 600, 2048)
    features, labels = torch.randn(128, 2048), torch.randperm(600)[:16].repeat_interleave(8)
    memory = HybridMemory(centres, instances, temperature=TEMPERATURE, momentum=MOMENTUM)
    theirs = opponents.memory().ClusterMemory(2048, 600, temp=TEMPERATURE, momentum=MOMENTUM, num_instances=32)
    theirs.features = torch.cat([centres, instances.flatten(0, 1)])

    def step_of_ours() -> Inputs:
        leaf = features.clone().requires_grad_()
        centre, instance = memory.losses(leaf, labels)
        (CENTRE_WEIGHT * centre + (1 - CENTRE_WEIGHT) * instance).backward()
        memory.update(leaf.detach(), labels)
        return centre.detach(), instance.detach(), _gradient(leaf), memory.centres, memory.instances.flatten(0, 1)

    def step_of_theirs() -> Inputs:
        leaf = features.clone().requires_grad_()
        centre, instance = theirs(leaf, labels, None, cam=True)
        (CENTRE_WEIGHT * centre + (1 - CENTRE_WEIGHT) * instance).backward()
        return centre.detach(), instance.detach(), _gradient(leaf), theirs.features[:600], theirs.features[600:]

    work = "hybrid memory: losses, backward, update; B=128, 600 identities x 32, D=2048"
    return Comparison(work, AUTHORS_NAME, step_of_ours, step_of_theirs, _close, bar=1.6, rounds=9)


def _prototypes(opponents: Opponents) -> Comparison:
    torch.manual_seed(0)
    prototypes, features = _unit(800, 2048), torch.randn(128, 2048)
    labels = torch.randperm(800)[:16].repeat_interleave(8)
    memory = PrototypeMemory(prototypes, temperature=TEMPERATURE, momentum=MOMENTUM)
    theirs = opponents.memory().ClusterMemory(2048, 800, temp=TEMPERATURE, momentum=MOMENTUM)
    theirs.features = prototypes.clone()

    def step_of_ours() -> Inputs:
        leaf = features.clone().requires_grad_()
        loss = memory.loss(leaf, labels)
        loss.backward()
        memory.update(leaf.detach(), labels)
        return loss.detach(), _gradient(leaf), memory.prototypes

    def step_of_theirs() -> Inputs:
        leaf = features.clone().requires_grad_()
        loss = theirs(leaf, labels, None, cam=False)
        loss.backward()
        return loss.detach(), _gradient(leaf), theirs.features

    work = "prototype memory: loss, backward, update; B=128, 800 prototypes, D=2048"
    return Comparison(work, AUTHORS_NAME, step_of_ours, step_of_theirs, _close, bar=1.5, rounds=25)


def adversarial(opponents: Opponents) -> Iterator[Comparison]:
    """ICAL's positives, loss and backward pass; B = 128, N = 4,821 in 15 cameras."""
    if not opponents.has(AUTHORS):
        return
    torch.manual_seed(0)
    total, cameras = 4821, 15
    identity_cameras = torch.randint(cameras, (total,)).sort().values
    association = torch.randint(1200, (total,))
    identities, cosines = torch.randint(total, (128,)), 0.6 * (2 * torch.rand(128, total) - 1)
    criterion = opponents.adversarial().arcAdversarialLoss(scale=16.0, epsilon=0.8, margin=0.7, tau=0.2)
    of_camera = F.one_hot(identity_cameras).T.float()
    of_person = F.one_hot(association).T.float()

    def ours() -> Inputs:
        leaf = cosines.clone().requires_grad_()
        positives = adversarial_positives(association, identity_cameras, identities)
        loss = adversarial_loss(leaf, identities, identity_cameras, positives, margin=0.7)
        loss.backward()
        return loss.detach(), _gradient(leaf)

    def theirs() -> Inputs:  # with masks made from per-epoch tables, as in their training step
        leaf = cosines.clone().requires_grad_()
        own_camera = of_camera[identity_cameras[identities]]
        positives = (of_person[association[identities]] - own_camera).clamp(min=0)
        positives.scatter_(1, identities[:, None], 1)
        loss = criterion(leaf, identities, positives, own_camera, of_camera)
        loss.backward()
        return loss.detach(), _gradient(leaf)

    work = "ICAL: positives, loss, backward; B=128, N=4,821"
    yield Comparison(work, AUTHORS_NAME, ours, theirs, _close, bar=4.0, rounds=25)


def association_world(total: int, cameras: int, dim: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Centres (N, D) and cameras (N,) of persons seen by several cameras."""
    random = torch.Generator(device).manual_seed(0)
    persons = torch.randn(total // 4, dim, device=device, generator=random)
    centres = persons[torch.randint(len(persons), (total,), device=device, generator=random)]
    centres += 0.9 * torch.randn(total, dim, device=device, generator=random)
    return F.normalize(centres), torch.randint(cameras, (total,), device=device, generator=random)


def association(opponents: Opponents) -> Iterator[Comparison]:
    """N = 4,821 in 15 cameras, D = 2048; both must give the same partition."""
    if opponents.has(AUTHORS):
        work = "association: N=4,821, 15 cameras, D=2048"
        ours, theirs = _association_of_ours(), _association_of_theirs(opponents)
        yield Comparison(work, AUTHORS_NAME, ours, theirs, _same_partition, bar=15.0, rounds=1)


def association_memory(opponents: Opponents) -> Iterator[Row]:
    """Memory of the same association, in addition to its inputs."""
    if opponents.has(AUTHORS):
        ours = in_own_process(peak_of, _association_of_ours)
        theirs = in_own_process(peak_of, partial(_association_of_theirs, opponents))
        work = "association: memory, the same"
        yield Row(work, ours, AUTHORS_NAME, theirs, theirs / ours, 3.0, theirs >= 3 * ours, equal=True, unit="GiB")


def _association_of_ours() -> Callable[[], Tensor]:
    return partial(associate, *association_world(4821, 15, 2048), 1.7)


def _association_of_theirs(opponents: Opponents) -> Callable[[], Tensor]:
    from scipy.spatial.distance import cdist

    disable_cuda()
    centres, cameras = (values.numpy() for values in association_world(4821, 15, 2048))
    propagate = opponents.association().propagate_label
    return lambda: torch.from_numpy(propagate(cdist(centres, centres, "sqeuclidean"), cameras, cameras, 1.7 * 4821))


def large_association(total: int = 50_000, cameras: int = 100) -> Limit:
    """D = 512, in a quarter of the time that N = 100,000 in 200 cameras may take, which is four times the work.

    A fifth of the identities is checked against brute force for some of them.
    """
    work = f"association: N={total:,}, {cameras} cameras, D=512"
    correct = partial(_joined_as_by_brute_force, total // 5, cameras)
    return Limit(work, partial(_prepare_large, total, cameras), correct, seconds=60, gib=4)


def _prepare_large(total: int, cameras: int) -> Callable[[], Tensor]:
    return partial(associate, *association_world(total, cameras, 512), 1.7)


def large_calibrated_association(total: int = 50_000, cameras: int = 100) -> Limit:
    """The same without a rate."""
    work = f"calibrated association: N={total:,}, {cameras} cameras, D=512"
    prepare = partial(_prepare_large_calibrated, total, cameras)
    return Limit(work, prepare, partial(_joins_one_camera_once, total, cameras), seconds=60, gib=4)


def _prepare_large_calibrated(total: int, cameras: int) -> Callable[[], CalibratedAssociation]:
    return partial(associate_calibrated, *association_world(total, cameras, 512))


def _joins_one_camera_once(total: int, count: int, found: CalibratedAssociation) -> bool:
    """No joined identity has two labels of one camera, and the estimate is a share."""
    _, cameras = association_world(total, count, 512)
    joined = found.identities >= 0
    taken = torch.stack([found.identities[joined], cameras[joined]], dim=1)
    return len(taken.unique(dim=0)) == len(taken) and 0 <= found.estimated_precision <= 1


def _joined_as_by_brute_force(total: int, count: int, found: Tensor) -> bool:
    """Something was joined, and of fewer identities, ``total``, none of 100 has a pair as near that was overlooked."""
    centres, cameras = association_world(total, count, 512)
    pairs = nearest_cross_camera_pairs(centres, cameras, int(1.7 * total))
    labels = associate(centres, cameras, 1.7)
    exact = centres.double()
    least = (exact[pairs[-1, 0]] @ exact[pairs[-1, 1]]).item()
    examined = {(first, second) for first, second in pairs.tolist()}
    for one in range(0, total, total // 100):
        products = exact @ exact[one]
        near = ((products > least + 1e-6) & (cameras != cameras[one])).nonzero().squeeze(1).tolist()
        if any((min(one, other), max(one, other)) not in examined for other in near):
            return False
    joined = labels[pairs]
    return bool((found.max() > 0) & (labels.max() > 0) & (joined[0, 0] == joined[0, 1]))


def prompts(opponents: Opponents) -> Iterator[Comparison]:
    """A stage 1 step (64 images, RN50's text tower), against one camera at a time over all of CLIP's 77 positions."""
    del opponents
    torch.manual_seed(0)
    clip = load_clip("RN50", None)
    total, cameras, batch = 3262, 6, 64
    learner, encoder = PromptLearner(clip, total), TextEncoder(clip)
    identity_cameras = torch.randint(cameras, (total,))
    identities = torch.randperm(total)[:batch]
    of_camera, images = identity_cameras[identities], torch.randn(batch, clip.text_projection.shape[1])
    padding = clip.token_embedding.weight[0].detach()

    def ours() -> Inputs:
        learner.zero_grad()
        text = encoder(*learner(identities))
        loss = prompt_contrastive_loss(images, text, identities, of_camera)
        loss.backward()
        return loss.detach(), _gradient(learner.tokens).clone()

    def theirs() -> Inputs:
        learner.zero_grad()
        losses = []
        for camera in range(cameras):
            rows = of_camera == camera
            words, last = learner(identities[rows])
            places = padding.expand(len(words), len(encoder.positions), -1).clone()
            places[:, : last + 1] = words
            hidden = encoder.transformer(places + encoder.positions, attn_mask=encoder.mask)
            text = encoder.norm(hidden)[:, last] @ encoder.projection
            logits = images[rows] @ text.T
            targets = torch.arange(len(words))
            losses.append(F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets))
        loss = torch.stack(losses).sum()
        loss.backward()
        return loss.detach(), _gradient(learner.tokens).clone()

    work = "stage 1: a step; 12,936 images, 3,262 identities, RN50's text tower"
    yield Comparison(work, "a loop over cameras, 77 places", ours, theirs, _close, bar=3.0, rounds=3)


def _gradient(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None
    return leaf.grad


def _close(ours: Inputs, theirs: Inputs) -> bool:
    """Whether each pair of arrays agrees to 1e-4 of the largest value."""
    return all(
        bool((one - other).abs().max() <= 1e-4 * other.abs().max().clamp(min=1e-6))
        for one, other in zip(ours, theirs, strict=True)
    )


def _same_partition(ours: Tensor, theirs: Tensor) -> bool:
    """Whether both have the same groups, whatever their numbers, and -1 in the same places."""
    pairs = torch.stack([ours, theirs]).unique(dim=1)
    return bool(((ours < 0) == (theirs < 0)).all()) and pairs.shape[1] == len(ours.unique()) == len(theirs.unique())
