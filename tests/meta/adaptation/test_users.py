"""Base rewards and weights of many users: in chunks and batches, near the origin and far from it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skmrm.meta.adaptation import GradientAdaptation, MapAdaptation, users
from skmrm.meta.adaptation.mixture import MixtureAdaptation
from skmrm.meta.adaptation.users import adapt_users
from skmrm.meta.basis import item_rewards, mean_folds
from skmrm.meta.tensors.pairs import Pairs

# of parameters and of features
DTYPES = [
    (torch.float64, torch.float64),
    (torch.float32, torch.float32),
    (torch.float32, torch.float16),
    (torch.float32, torch.bfloat16),
]


@given(
    seed=st.integers(0, 10**6),
    dtypes=st.sampled_from(DTYPES),
    distance=st.sampled_from([0.0, 1.0, 5.0, 50.0, 1e4]),
    spread=st.sampled_from([0.01, 1.0, 30.0]),
    rows=st.sampled_from([3, 17, 1000]),
)
@settings(max_examples=80)
def test__item_rewards__features_near_and_far__are_those_of_exact_arithmetic(seed, dtypes, distance, spread, rows):
    """Distance: of the features' mean from the origin, in standard deviations."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    dtype, given = dtypes
    mean, scale = distance * spread * normal(12), spread * (0.5 + normal(12).abs())
    features = (mean + scale * normal(17, 12)).clamp(-6e4, 6e4).to(given)  # what half precision holds
    params = {"mean": mean, "scale": scale, "bases": normal(3, 12)}
    params = {name: value.to(dtype) for name, value in params.items()}
    z = (features.double() - params["mean"].double()) / params["scale"].double()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skmrm.meta.tensors.tables.CHUNK_CELLS", rows * features.shape[1])
        found = item_rewards(params, features)
    assert found.dtype == dtype
    size = 1 + z.norm(dim=1, keepdim=True) * params["bases"].double().norm(dim=1)
    error = ((found.double() - z @ params["bases"].double().T).abs() / size).max()
    assert error < (1e-6 if dtype == torch.float32 else 1e-14 * (10 + distance))


@pytest.mark.parametrize("convert", [torch.from_numpy, np.asarray], ids=["torch", "numpy"])
def test__mean_folds__what_cancels__decides(convert):
    matrix = convert(np.array([[1.0, 0.0, 2.0], [0.0, 1.0, -2.0]]))
    single, double = torch.finfo(torch.float32).eps, torch.finfo(torch.float64).eps
    for distance, precision, expected in ((0.0, single, True), (3.0, single, True), (10.0, single, False)):
        mean = convert(np.array([distance, 0.0, 0.0]))
        assert mean_folds(matrix, mean, precision) is expected
    far = convert(np.array([1e5, 1e5, 0.0]))
    assert mean_folds(matrix, far, double)
    assert mean_folds(matrix, 1e6 * convert(np.array([0.0, 0.0, 1e9])), double) is False


@pytest.mark.parametrize(
    "rule",
    [MapAdaptation(), GradientAdaptation(steps=2, step_size=0.5), MixtureAdaptation(n_components=2)],
    ids=["map", "gradient", "mixture"],
)
def test__adapt_users__small_batches__equal_one_batch(rule, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(60, 3, dtype=torch.float64, generator=generator)
    counts = torch.randint(0, 9, (40,), generator=generator)
    chosen, rejected = (torch.randint(0, 60, (int(counts.sum()),), generator=generator) for _ in range(2))
    pairs = Pairs(chosen, rejected, torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]))
    start = torch.ones(3, dtype=torch.float64)
    params = {"start": start} | {f"rule.{name}": value for name, value in rule.init(3, start).items()}
    expected, spread = adapt_users(params, rule, rewards, pairs, with_covariance=True)
    monkeypatch.setattr(users, "CACHED_GAPS", 50)
    monkeypatch.setattr("skmrm.meta.tensors.pairs._FREE_CELLS", 0)
    found, found_spread = adapt_users(params, rule, rewards, pairs, with_covariance=True)
    torch.testing.assert_close(found, expected)
    assert (spread is None) == isinstance(rule, GradientAdaptation)
    if spread is not None:
        torch.testing.assert_close(found_spread, spread)
