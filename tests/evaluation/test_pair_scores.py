"""Scores of pairs, their ROC and threshold, against small cases that can be counted by hand."""

import math

import pytest
import torch

from ccafl.evaluation import pair_scores as module
from ccafl.evaluation.pair_scores import BINS, PairScores, calibrated_threshold, pair_scores, roc


def directions(*cosines):
    """Unit vectors in the plane with these cosines to the first axis."""
    return torch.tensor([[cosine, math.sqrt(1 - cosine**2)] for cosine in cosines])


def counted(same, different):
    counts = torch.zeros(2, BINS, dtype=torch.int64)
    for row, scores in zip(counts, (same, different), strict=True):
        for score in scores:
            row[int((score + 1) * BINS / 2)] += 1
    return PairScores(*counts)


@pytest.mark.parametrize("block", [1, 1 << 20])
def test_pairs_from_other_cameras_are_counted_without_junk(block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_ELEMENTS", block)
    query, gallery = torch.tensor([[3.0, 0], [3.0, 0]]), directions(0.9005, 0.5005, 0.3005, 0.1005)
    persons, cameras = torch.tensor([1, 2, -1, 0]), torch.tensor([1, 1, 1, 0])
    found = pair_scores(query, gallery, torch.tensor([1, 2]), torch.tensor([0, 1]), persons, cameras)
    # query 1 (camera 0): same 0.9, different 0.5; query 2 (camera 1): the distractor of camera 0 alone
    wanted = counted([0.9005], [0.5005, 0.1005])
    assert torch.equal(found.same, wanted.same)
    assert torch.equal(found.different, wanted.different)


def test_roc_by_hand():
    curve = roc(counted([0.9005, 0.6005, 0.4005], [0.7005, 0.2005, 0.1005, 0.0005]))
    assert curve.area == pytest.approx((4 + 3 + 3) / 12)  # of each of the same, the different ones below it
    assert curve.found_at(0) == pytest.approx(1 / 3)
    assert curve.found_at(0.25) == pytest.approx(1)
    assert curve.at(0.5) == (pytest.approx(2 / 3), pytest.approx(1 / 4))
    assert roc(counted([0.5005], [0.5005])).area == pytest.approx(0.5)


def test_the_threshold_lies_midway_between_mirrored_scores():
    same, different = [0.9005, 0.7005, 0.4995], [0.1005, 0.3005, 0.5015]
    middle = sum(same + different) / 6
    assert calibrated_threshold(counted(same, different)) == pytest.approx(middle, abs=2e-3)
    # how rare a kind is does not move it
    assert calibrated_threshold(counted(same, different * 50)) == pytest.approx(middle, abs=2e-3)


def test_the_threshold_is_a_root_of_the_logistic_fit():
    same, different = [0.9005, 0.8005, 0.3005], [0.6005, 0.2005, 0.1005, -0.2995]
    slope, offset = (torch.zeros(1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    fit = torch.optim.LBFGS([slope, offset], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def loss():
        fit.zero_grad()
        logits = slope * torch.tensor(same + different, dtype=torch.float64) + offset
        terms = torch.nn.functional.softplus(torch.where(torch.arange(7) < 3, -logits, logits))
        value = terms[:3].mean() / 2 + terms[3:].mean() / 2
        value.backward()
        return value

    fit.step(loss)
    assert calibrated_threshold(counted(same, different)) == pytest.approx(float((-offset / slope).detach()), abs=5e-3)


def test_scores_that_do_not_overlap_have_a_threshold_between_them():
    assert 0.2 < calibrated_threshold(counted([0.9005], [0.2005])) < 0.9
