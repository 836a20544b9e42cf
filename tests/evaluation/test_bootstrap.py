"""Intervals over queries against what is known of means."""

import math

import pytest
import torch

from ccafl.evaluation import bootstrap
from ccafl.evaluation.bootstrap import drawn_means, interval


def test_the_interval_is_that_of_the_mean():
    values = torch.randn(400, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + torch.tensor([0, 5])
    ends = interval(drawn_means(values))
    error = 1.96 * values.std(0) / math.sqrt(400)
    torch.testing.assert_close(
        ends, torch.stack([values.mean(0) - error, values.mean(0) + error], 1), atol=0.02, rtol=0
    )


def test_draws_are_the_same_for_figures_and_runs(monkeypatch):
    values = torch.rand(30, 1)
    both = drawn_means(torch.cat([values, values + 0.25], 1), seed=3)
    torch.testing.assert_close(both[:, 1] - both[:, 0], torch.full((1000,), 0.25).double())
    assert torch.equal(drawn_means(values, seed=3), both[:, :1])
    assert not torch.equal(drawn_means(values, seed=4), both[:, :1])
    monkeypatch.setattr(bootstrap, "_BLOCK_ELEMENTS", 90)
    blocks = drawn_means(values, seed=3)
    assert blocks.shape == (1000, 1)
    assert float(blocks.mean()) == pytest.approx(float(values.mean()), abs=0.02)
