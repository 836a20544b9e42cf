"""The score curve: what it says of persons it has never seen, and what it makes of joins that are wrong or missing."""

import pytest
import torch
import torch.nn.functional as F

from ccafl.method.score_curve import BINS, logistic, score_curve

CAMERAS, EACH = 4, 3  # of every person: cameras, and pictures in each


def pictures(seed: int, persons: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features of noisy pictures, their label (a person in a camera), and the camera of each label."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(persons, 1, 1, 16, generator=generator)
    noise = 0.7 * torch.randn(persons, CAMERAS, EACH, 16, generator=generator)
    labels = torch.arange(persons * CAMERAS)
    return F.normalize(centres + noise, dim=3).view(-1, 16), labels.repeat_interleave(EACH), labels % CAMERAS


def test_new_persons_are_as_often_the_same_as_predicted():
    features, labels, cameras = pictures(0, 150)
    curve = score_curve(features, labels, cameras, torch.arange(600) // CAMERAS)
    assert curve is not None
    assert curve.joins
    assert curve.pictures == CAMERAS * EACH
    seen, labels, cameras = pictures(1, 150)
    cosines, person, camera = seen @ seen.T, labels // CAMERAS, cameras[labels]
    across = camera[:, None] != camera
    same = (person[:, None] == person)[across]
    share = same.double().mean()
    predicted = (curve.slope * cosines[across].double() + curve.offset + share.logit()).sigmoid()
    for low in torch.arange(0, 1, 0.1).tolist():
        chosen = (predicted >= low) & (predicted < low + 0.1)
        assert chosen.sum() > 100
        assert float(same[chosen].double().mean()) == pytest.approx(float(predicted[chosen].mean()), abs=0.15)


def test_doubtful_joins_weigh_less():
    features, labels, cameras = pictures(0, 60)
    true = torch.arange(60).repeat_interleave(CAMERAS)
    wrong = true.clone()
    wrong[:120:CAMERAS] = true[:120:CAMERAS].roll(1)  # the first camera's labels of half the persons
    members = wrong.argsort(stable=True).view(60, CAMERAS)
    links, probability = members[:, :2], torch.where(torch.arange(60) < 30, 0.05, 1.0).double()
    clean, believed, doubted = (
        score_curve(features, labels, cameras, association, links, chances)
        for association, chances in ((true, None), (wrong, None), (wrong, probability))
    )
    assert abs(doubted.slope - clean.slope) < abs(believed.slope - clean.slope) / 2


def test_without_joins_labels_stand_in_and_without_pairs_there_is_no_curve():
    features, labels, cameras = pictures(0, 30)
    alone = torch.full((120,), -1)
    curve = score_curve(features, labels, cameras, alone)
    assert curve is not None
    assert (curve.joins, curve.pictures) == (False, EACH)
    assert score_curve(features[::EACH], labels[::EACH], cameras, alone) is None


@pytest.mark.parametrize("share", [0.5, 0.01])
def test_the_line_is_found_again(share):
    at = (torch.arange(BINS, dtype=torch.float64) + 0.5) * (2 / BINS) - 1
    different = torch.exp(-0.5 * ((at - 0.1) / 0.2) ** 2)
    same = different * torch.exp(12 * at - 4)
    slope, offset = logistic(same / same.sum(), different / different.sum(), share)
    shift = float((same.sum() / different.sum()).log())
    assert slope == pytest.approx(12, rel=0.05)
    assert offset == pytest.approx(-4 - shift, abs=0.2)
