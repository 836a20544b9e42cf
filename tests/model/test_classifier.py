"""The global ID classifier."""

import pytest
import torch

from ccafl.model.classifier import GlobalIDClassifier


def test_outputs_are_cosines() -> None:
    torch.manual_seed(0)
    classifier, features = GlobalIDClassifier(7, 16), torch.randn(5, 16)
    expected = torch.cosine_similarity(features[:, None], classifier.weight[None], dim=2)
    torch.testing.assert_close(classifier(features), expected)
    torch.testing.assert_close(classifier(features * 100, frozen_weights=True), expected)


def test_weights_are_xavier_uniform() -> None:
    torch.manual_seed(0)
    weight = GlobalIDClassifier(300, 200).weight
    bound = (6 / 500) ** 0.5
    assert weight.abs().max() <= bound
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_weights_do_not_learn(frozen: bool) -> None:
    classifier, features = GlobalIDClassifier(4, 8), torch.randn(3, 8, requires_grad=True)
    classifier(features, frozen_weights=frozen)[:, 0].sum().backward()
    assert features.grad.any()
    assert (classifier.weight.grad is None) == frozen
