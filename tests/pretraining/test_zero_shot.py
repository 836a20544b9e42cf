"""Zero-shot measures against plain loops."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccafl.pretraining.zero_shot import caption_recall, zero_shot_accuracy


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 1000), st.integers(1, 12))
def test_recall_counts_the_sentences_whose_person_is_among_the_first(seed: int, first: int) -> None:
    text, images = draw(seed, 9, 5), draw(seed + 1, 14, 5)
    described, shown = torch.arange(9) % 4, torch.arange(14) % 5
    found = 0
    for sentence, person in zip(text, described.tolist(), strict=True):
        cosines = [float(torch.cosine_similarity(sentence, image, dim=0)) for image in images]
        best = sorted(range(14), key=lambda image: -cosines[image])[:first]
        found += any(int(shown[image]) == person for image in best)
    assert caption_recall(text, images, described, shown, first) == pytest.approx(found / 9)


def test_recall_does_not_depend_on_the_batch_of_sentences() -> None:
    text, images = draw(0, 600, 8), draw(1, 50, 8)
    described, shown = torch.arange(600) % 25, torch.arange(50) % 25
    parts = [caption_recall(text[i : i + 100], images, described[i : i + 100], shown) for i in range(0, 600, 100)]
    assert caption_recall(text, images, described, shown) == pytest.approx(sum(parts) / 6)


@given(st.integers(0, 1000))
def test_accuracy_counts_the_images_nearest_their_class(seed: int) -> None:
    text, images, classes = draw(seed, 3, 4), draw(seed + 1, 11, 4), torch.arange(11) % 3
    right = 0
    for image, one in zip(images, classes.tolist(), strict=True):
        cosines = [float(torch.cosine_similarity(image, sentence, dim=0)) for sentence in text]
        right += cosines.index(max(cosines)) == one
    assert zero_shot_accuracy(text, images, classes) == pytest.approx(right / 11)
