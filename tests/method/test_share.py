"""Losses over identities that several processes share: those of one process, to rounding."""

import pytest
import torch

from ccafl.evaluation.camera_agnosticism import same_person_mass
from ccafl.method.inter_camera import adversarial_loss, adversarial_positives, identity_loss
from ccafl.method.precise_ics import global_classification_loss
from ccafl.model.classifier import GlobalIDClassifier
from shares import by_processes

SAMPLES, DIM = 6, 5


def losses(identities: int):
    """Each loss as a function of cosines and share, with samples of the first and the last identity."""
    random = torch.Generator().manual_seed(identities)
    cameras = torch.randint(3, (identities,), generator=random)
    association = torch.randint(-1, 2, (identities,), generator=random)
    of_samples = torch.randint(identities, (SAMPLES,), generator=random)
    of_samples[0], of_samples[1] = 0, identities - 1
    positives = adversarial_positives(association, cameras, of_samples)
    return {
        "L_GID": lambda cosines, share: identity_loss(cosines, of_samples, 200.0, share),
        "smoothed": lambda cosines, share: global_classification_loss(cosines, of_samples, share=share),
        "L_ICAL": lambda cosines, share: adversarial_loss(
            cosines, of_samples, cameras, positives, margin=0.7, share=share
        ),
        "mass": lambda cosines, share: same_person_mass(cosines, of_samples, association, 16.0, share).sum(),
    }


def assert_near(found: torch.Tensor, expected: torch.Tensor):
    """To 1e-5 of the largest value."""
    assert (found - expected).norm() <= 1e-5 * expected.norm() + 1e-7


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("identities", [2, 7, 40])
@pytest.mark.parametrize("name", ["L_GID", "smoothed", "L_ICAL", "mass"])
def test_losses_gradients_and_weights_are_those_of_one_process(name, identities, processes):
    """With more processes than identities, too; at a scale of 200, exp would overflow without a maximum."""
    random = torch.Generator().manual_seed(1)
    weight, images = (torch.randn(rows, DIM, generator=random) for rows in (identities, SAMPLES))
    loss_of = losses(identities)[name]

    def step(share=None):
        """The loss, the features' gradient and the weights after a step of Adam."""
        classifier, features = GlobalIDClassifier(identities, DIM), images.clone().requires_grad_()
        with torch.no_grad():
            classifier.weight.copy_(weight)
        if share is not None:
            classifier.keep_part(share.number, share.processes)
        optimizer = torch.optim.Adam(classifier.parameters(), 0.1, weight_decay=5e-4)
        loss = loss_of(classifier(features), share)
        loss.backward()
        optimizer.step()
        updated = classifier.weight.detach()
        moments = optimizer.state[classifier.weight]["exp_avg"]
        if share is not None:
            updated, moments = share.whole(updated, identities), share.whole(moments, identities)
        return loss.detach(), features.grad, updated, moments

    loss, gradient, updated, moments = step()
    found = by_processes(processes, step)
    for other, *_ in found:
        assert_near(other, loss)
    assert_near(sum(part for _, part, _, _ in found), gradient)
    assert_near(found[0][3], moments)
    clear = moments.abs() > 1e-5  # Adam's first step is the sign of the gradient, which of next to nothing is noise
    assert_near(found[0][2][clear], updated[clear])
    assert found[-1][2].shape == (0, DIM)  # only process 0 has the whole


def test_a_sample_may_have_no_negative_among_a_processs_identities():
    cameras, association = torch.tensor([0, 1, 2, 0]), torch.tensor([0, -1, 0, -1])
    identities = torch.tensor([0, 2])
    positives = adversarial_positives(association, cameras, identities)  # 0 and 2: all that process 0 of 2 has
    cosines = torch.tanh(torch.randn(2, 4, generator=torch.Generator().manual_seed(0)))

    def gradient(share=None):
        own = cosines.clone() if share is None else cosines[:, share.number :: share.processes].clone()
        loss = adversarial_loss(own.requires_grad_(), identities, cameras, positives, margin=0.3, share=share)
        return torch.autograd.grad(loss, own)[0]

    first, second = by_processes(2, gradient)
    torch.testing.assert_close(torch.stack([first, second], dim=2).flatten(1), gradient())


def test_what_one_process_gives_in_blocks_is_put_together_in_order(monkeypatch):
    monkeypatch.setattr("ccafl.method.share._BLOCK_ELEMENTS", 12)
    for shape in ((11, 2), (11,), (1, 2)):
        values = torch.randn(shape)
        whole = by_processes(3, lambda share, values=values: share.whole(share.of(values), len(values)))[0]
        assert torch.equal(whole, values)
