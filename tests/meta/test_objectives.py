import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skmrm.meta.objectives import bradley_terry_loss, robust_mean, robust_weights


def draw(seed, users=3, pairs=5, bases=2):
    generator = torch.Generator().manual_seed(seed)
    gaps = torch.randn(users, pairs, bases, generator=generator, dtype=torch.float64)
    weights = torch.randn(users, bases, generator=generator, dtype=torch.float64)
    return weights, gaps


def test__bradley_terry_loss__one_pair__is_softplus_of_minus_margin():
    loss = bradley_terry_loss(torch.tensor([[2.0]]), torch.tensor([[[1.5]]]), torch.ones(1, 1))
    assert loss.item() == pytest.approx(math.log1p(math.exp(-3.0)), rel=1e-6)


def test__bradley_terry_loss__margin__asks_for_a_larger_advantage():
    weights, gaps = draw(0)
    mask = torch.ones(3, 5, dtype=torch.float64)
    margins = torch.full_like(mask, 0.7)
    expected = torch.nn.functional.softplus(0.7 - (gaps * weights[:, None]).sum(-1)).mean(1)
    torch.testing.assert_close(bradley_terry_loss(weights, gaps, mask, margins), expected)


@given(seed=st.integers(0, 10**6), padding=st.integers(0, 4))
@settings(max_examples=20)
def test__bradley_terry_loss__padding_and_order__do_not_matter(seed, padding):
    weights, gaps = draw(seed)
    mask = torch.ones(3, 5, dtype=torch.float64)
    plain = bradley_terry_loss(weights, gaps, mask)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    padded_gaps = torch.cat([gaps[:, order], torch.full((3, padding, 2), 9.0, dtype=torch.float64)], 1)
    padded_mask = torch.cat([mask, torch.zeros(3, padding, dtype=torch.float64)], 1)
    torch.testing.assert_close(bradley_terry_loss(weights, padded_gaps, padded_mask), plain)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=20)
def test__bradley_terry_loss__duplicated_pair__equals_doubled_weight(seed):
    weights, gaps = draw(seed)
    doubled = torch.ones(3, 5, dtype=torch.float64)
    doubled[:, 0] = 2
    twice = torch.cat([gaps, gaps[:, :1]], 1)
    torch.testing.assert_close(
        bradley_terry_loss(weights, gaps, doubled),
        bradley_terry_loss(weights, twice, torch.ones(3, 6, dtype=torch.float64)),
    )


def test__bradley_terry_loss__swapped_pairs__negate_the_margin():
    weights, gaps = draw(1)
    mask = torch.ones(3, 5, dtype=torch.float64)
    forward = torch.nn.functional.softplus(-(gaps * weights[:, None]).sum(-1))
    backward = torch.nn.functional.softplus((gaps * weights[:, None]).sum(-1))
    torch.testing.assert_close(bradley_terry_loss(weights, -gaps, mask), backward.mean(1))
    # log sigmoid(-x) = log sigmoid(x) - x
    torch.testing.assert_close(backward - forward, (gaps * weights[:, None]).sum(-1))


def test__bradley_terry_loss__extreme_margins__stay_finite():
    gaps = torch.tensor([[[1e4]], [[-1e4]]])
    loss = bradley_terry_loss(torch.ones(2, 1), gaps, torch.ones(2, 1))
    assert loss.tolist() == [0.0, 1e4]


def test__robust_weights__two_users__match_the_formula():
    losses = torch.tensor([0.4, 0.8], dtype=torch.float64)
    threshold = np.quantile([0.4, 0.8], 0.5)
    hardness = 1 / (1 + np.exp(-(np.array([0.4, 0.8]) - threshold) / 0.5))
    np.testing.assert_allclose(robust_weights(losses, 0.5, 0.5), hardness / hardness.sum(), rtol=1e-12)


@given(losses=st.lists(st.floats(0, 5), min_size=1, max_size=20), ratio=st.floats(0.05, 1.0))
@settings(max_examples=50)
def test__robust_mean__any_losses__lies_between_mean_and_maximum(losses, ratio):
    values = torch.tensor(losses, dtype=torch.float64)
    assert robust_mean(values, ratio, None) == pytest.approx(np.mean(losses))
    for temperature in (0.0, 0.1, 1.0):
        robust = float(robust_mean(values, ratio, temperature))
        assert np.mean(losses) - 1e-9 <= robust <= max(losses) + 1e-9


@given(losses=st.lists(st.floats(-5, 5), min_size=1, max_size=12), ratio=st.floats(0.01, 1.0))
def test__robust_weights__threshold__is_the_quantile(losses, ratio):
    values = torch.tensor(losses, dtype=torch.float64)
    expected = torch.sigmoid((values - torch.quantile(values, 1 - ratio)) / 0.5)
    torch.testing.assert_close(robust_weights(values, ratio, 0.5), expected / expected.sum())


def test__robust_mean__limits_of_temperature__are_hardest_share_and_mean():
    losses = torch.tensor([0.1, 0.2, 0.6, 0.9], dtype=torch.float64)
    hardest_half = robust_mean(losses, 0.5, 0.0)
    assert float(hardest_half) == pytest.approx(0.75)
    assert float(robust_mean(losses, 0.5, 1e-6)) == pytest.approx(0.75)
    assert float(robust_mean(losses, 0.5, 1e6)) == pytest.approx(0.45, abs=1e-6)
    assert float(robust_mean(losses, 1.0, 0.0)) == pytest.approx(0.45)


def test__robust_mean__gradient__treats_weights_as_constants():
    losses = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64, requires_grad=True)
    robust_mean(losses, 0.5, 0.5).backward()
    torch.testing.assert_close(losses.grad, robust_weights(losses, 0.5, 0.5))
