"""The outer loop, and fits as a whole, at the level of tensors."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from skmrm.meta import fit as fit_module
from skmrm.meta.adaptation import GradientAdaptation, MapAdaptation
from skmrm.meta.adaptation.users import adapt_users, query_losses
from skmrm.meta.basis import base_rewards, init_basis, init_standardisation, item_rewards, standardise
from skmrm.meta.fit import meta_fit
from skmrm.meta.folds import Split
from skmrm.meta.outer.epochs import pack_epoch, user_batches
from skmrm.meta.outer.loop import OuterOptions, learning_rate_factor, meta_train
from skmrm.meta.outer.step import batch_losses
from skmrm.meta.pooled import features as pooled_features
from skmrm.meta.pooled.newton import row_space
from skmrm.meta.prior.directions import PriorOptions
from skmrm.meta.start import FitOptions
from skmrm.meta.tensors.pairs import Pairs


def world(seed=0, n_users=40, n_pairs=16, d=5, spread=2.0, dtype=torch.float64):
    """Users whose taste differs along one direction; every pair is its own group."""
    rng = np.random.default_rng(seed)
    n = n_users * n_pairs
    features = rng.normal(size=(2 * n, d))
    user = np.repeat(np.arange(n_users), n_pairs)
    taste = np.ones(d) + np.outer(rng.normal(size=n_users), np.r_[spread, np.zeros(d - 1)])
    first, second = np.arange(n), np.arange(n, 2 * n)
    margin = ((features[first] - features[second]) * taste[user]).sum(1)
    swap = rng.random(n) > 1 / (1 + np.exp(-margin))
    chosen, rejected = np.where(swap, second, first), np.where(swap, first, second)
    pairs = Pairs(torch.tensor(chosen), torch.tensor(rejected), torch.arange(n_users + 1) * n_pairs)

    def draw():
        support = torch.tensor(rng.permuted(np.tile(np.arange(n_pairs) < n_pairs // 2, (n_users, 1)), axis=1).ravel())
        return Split(support, ~support, support)

    return torch.tensor(features, dtype=dtype), pairs, draw


def random_start(table, rule, n_bases=2, seed=0):
    params = init_basis(table.shape[1], n_bases, torch.Generator().manual_seed(seed), table)
    params["start"] = torch.full((n_bases,), 0.5, dtype=table.dtype)
    return params | {f"rule.{name}": value for name, value in rule.init(n_bases, table).items()}


def test__learning_rate_factor__schedule__warms_up_then_falls_along_a_cosine():
    factors = [learning_rate_factor(step, 100, 0.05) for step in range(100)]
    assert factors[:5] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])
    assert factors[5] == 1.0
    assert all(a > b for a, b in pairwise(factors[5:]))
    assert factors[52] == pytest.approx(0.5 * (1 + math.cos(math.pi * 47 / 95)))


def test__user_batches__an_epoch__visits_each_user_once():
    users = torch.tensor([3, 5, 8, 13, 21])
    batches = list(user_batches(users, 2, torch.Generator().manual_seed(0)))
    assert [len(b) for b in batches] == [2, 2, 1]
    assert sorted(torch.cat(batches).tolist()) == users.tolist()


def test__base_rewards__chunks_and_standardisation__agree_with_the_formula(monkeypatch):
    features = 5 + 3 * torch.randn(50, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    features[:, 2] = 1e6  # constant
    params = init_standardisation(features)
    torch.testing.assert_close(params["mean"], features.mean(0))
    torch.testing.assert_close(params["scale"][[0, 1, 3]], features[:, [0, 1, 3]].std(0, correction=0))
    assert params["scale"][2] == torch.inf  # so that it counts as zero, whatever it is elsewhere
    params |= init_basis(4, 3, torch.Generator().manual_seed(1), features)
    z = standardise(params, features)
    expected = z @ params["bases"].T
    torch.testing.assert_close(base_rewards(params, z), expected)
    monkeypatch.setattr("skmrm.meta.tensors.tables.CHUNK_CELLS", 7 * features.shape[1])
    torch.testing.assert_close(item_rewards(params, features), expected)


@pytest.mark.parametrize("rule", [MapAdaptation(), GradientAdaptation(steps=2, step_size=0.5)], ids=["map", "gradient"])
def test__batch_losses__fit_and_adapt__give_the_same_weights(rule):
    features, pairs, draw = world()
    params = init_standardisation(features)
    table = standardise(params, features)
    params |= random_start(table, rule)
    split = draw()
    users = torch.tensor([2, 30, 7])
    (batch,) = pack_epoch(pairs, split, [users], torch.float64)
    in_fit = batch_losses(params, rule, table, batch)
    rewards = item_rewards(params, features)
    weights, _ = adapt_users(params, rule, rewards, pairs.where(split.support))
    torch.testing.assert_close(in_fit, query_losses(weights, rewards, pairs.where(split.query))[users])


def test__adapt_users__ragged_users_in_buckets__equal_each_user_alone():
    rule = MapAdaptation()
    generator = torch.Generator().manual_seed(0)
    counts = torch.tensor([0, 1, 700, 3, 0, 12, 1, 90])
    n = int(counts.sum())
    rewards = torch.randn(60, 3, dtype=torch.float64, generator=generator)
    chosen, rejected = (torch.randint(0, 60, (n,), generator=generator) for _ in range(2))
    pairs = Pairs(chosen, rejected, torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]))
    params = {"start": torch.ones(3, dtype=torch.float64), "rule.prior_scale": torch.ones(3, dtype=torch.float64)}
    weights, covariance = adapt_users(params, rule, rewards, pairs, with_covariance=True)
    for user in range(8):
        own = slice(int(pairs.offsets[user]), int(pairs.offsets[user + 1]))
        gaps = (rewards[chosen[own]] - rewards[rejected[own]])[None]
        mask = torch.ones(1, int(counts[user]), dtype=torch.float64)
        inner = {"prior_scale": params["rule.prior_scale"]}
        alone = rule.adapt(params["start"], gaps, mask, inner)
        torch.testing.assert_close(weights[user], alone[0])
        torch.testing.assert_close(covariance[user], rule.covariance(alone, params["start"], gaps, mask, inner)[0])


def test__meta_train__random_start__lowers_validation_loss_and_keeps_the_best_epoch():
    features, pairs, draw = world(n_users=60)
    standardisation = init_standardisation(features)
    table = standardise(standardisation, features)
    rule = MapAdaptation()
    params = standardisation | random_start(table, rule)
    before = {name: value.clone() for name, value in params.items()}
    validated = torch.arange(60) < 15
    trained = meta_train(
        params, rule, table, pairs, draw, ~validated, validated, [draw()],
        OuterOptions(users_per_batch=10, max_epochs=30, learning_rate=0.05, patience=5),
        torch.Generator().manual_seed(0),
    )  # fmt: skip
    losses = [record["validation_loss"] for record in trained.history]
    assert min(losses) < losses[0] - 0.02
    assert trained.gain == pytest.approx(losses[0] - min(losses), abs=1e-9)
    assert trained.best_epoch == int(np.argmin(losses))
    assert [record["epoch"] for record in trained.history] == list(range(len(losses)))
    for name, value in params.items():
        assert torch.equal(value, before[name])


def test__meta_train__patience__stops_when_validation_no_longer_improves():
    features, pairs, draw = world()
    standardisation = init_standardisation(features)
    table = standardise(standardisation, features)
    rule = MapAdaptation()
    validated = torch.arange(40) < 10
    trained = meta_train(
        standardisation | random_start(table, rule), rule, table, pairs, draw, ~validated, validated, [draw()],
        OuterOptions(max_epochs=50, learning_rate=3.0, patience=2), torch.Generator().manual_seed(0),
    )  # fmt: skip
    losses = [record["validation_loss"] for record in trained.history]
    assert len(losses) < 51
    best = int(np.argmin(losses))
    assert len(losses) - 1 - best == 2


def test__meta_train__validation_users__never_touch_the_gradient():
    features, pairs, draw = world()
    standardisation = init_standardisation(features)
    table = standardise(standardisation, features)
    rule = MapAdaptation()
    validated = torch.arange(40) < 10
    corrupted = Pairs(
        torch.where(validated[pairs.user], pairs.rejected, pairs.chosen),
        torch.where(validated[pairs.user], pairs.chosen, pairs.rejected),
        pairs.offsets,
    )
    split = draw()
    found = [
        meta_train(
            standardisation | random_start(table, rule), rule, table, data, lambda: split, ~validated,
            torch.zeros_like(validated), [], OuterOptions(max_epochs=2), torch.Generator().manual_seed(0),
        ).params
        for data in (pairs, corrupted)
    ]  # fmt: skip
    assert torch.equal(found[0]["bases"], found[1]["bases"])


def fit(spread, seed=0, n_users=120, **options):
    features, pairs, draw = world(seed, n_users=n_users, spread=spread)
    return meta_fit(features, pairs, draw, FitOptions(n_bases=3, **options), torch.Generator().manual_seed(seed))


def test__meta_fit__users_who_differ__are_personalised():
    fitted = fit(spread=2.0)
    chosen = next(s for s in fitted.selection if s["chosen"])
    assert chosen["setting"] != "none"
    assert chosen["change"] < -2 * chosen["standard_error"]
    direction = fitted.params["bases"][1].abs()
    assert direction[0] > 3 * direction[1:].max()


def test__meta_fit__users_who_agree__get_at_most_a_trace_of_personalisation():
    fitted = fit(spread=0.0, outer=OuterOptions(max_epochs=0))
    chosen = next(s for s in fitted.selection if s["chosen"])
    assert chosen["movement"] < 0.1
    none = fitted.selection[0]
    assert none["setting"] == "none"
    assert none["movement"] == 0


def test__meta_fit__no_validation_fraction__is_the_pooled_model():
    fitted = fit(spread=2.0, validation_fraction=0.0, outer=OuterOptions(max_epochs=0))
    assert fitted.selection == []
    assert (fitted.params["rule.prior_scale"] == 0).all()
    assert fitted.params["start"].tolist() == [1, 0, 0]


def test__meta_fit__gradient_rule__chooses_a_step_size():
    fitted = fit(spread=2.0, rule=GradientAdaptation(steps=3, learn_step_size=True), outer=OuterOptions(max_epochs=0))
    chosen = next(s for s in fitted.selection if s["chosen"])
    assert chosen["setting"].startswith("step_size=")
    assert chosen["change"] < 0


def test__meta_fit__more_features_than_items__equals_working_without_the_shortcut(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(30, 80, dtype=torch.float64, generator=generator)
    ends = torch.randint(0, 30, (2, 400), generator=generator)
    pairs = Pairs(ends[0], ends[1], torch.arange(41) * 10)
    halves = [torch.rand(400, generator=torch.Generator().manual_seed(seed)) < 0.5 for seed in range(4)]
    draws = iter(halves + halves)
    # the level of what is no direction of the items is theirs alone to say
    prior = PriorOptions(level=False, floor=0.0)
    options = FitOptions(n_bases=3, outer=OuterOptions(max_epochs=0), prior=prior)

    def draw():
        half = next(draws)
        return Split(half, ~half, half)

    found = [meta_fit(features, pairs, draw, options, torch.Generator().manual_seed(1))]
    assert row_space(features)[0].shape == (30, 30)
    monkeypatch.setattr(pooled_features, "row_space", lambda table: (table, torch.eye(80, dtype=table.dtype)))
    found.append(meta_fit(features, pairs, draw, options, torch.Generator().manual_seed(1)))
    assert found[0].ridge == found[1].ridge
    # the pooled solutions agree to their own tolerance; directions only up to sign
    rewards = [item_rewards(f.params, features) - item_rewards(f.params, features)[0] for f in found]
    torch.testing.assert_close(rewards[0].abs(), rewards[1].abs(), rtol=1e-3, atol=1e-4)


def test__meta_fit__training_that_earns_its_place__is_repeated_on_all_users(monkeypatch):
    calls = []
    original = fit_module.meta_train

    def recorded(*arguments):
        calls.append((int(arguments[5].sum()), int(arguments[6].sum()), arguments[11]))
        return original(*arguments)

    monkeypatch.setattr(fit_module, "meta_train", recorded)
    fitted = fit(spread=2.0, required_gain=-math.inf, outer=OuterOptions(max_epochs=3, learning_rate=0.01))
    best = int(np.argmin([record["validation_loss"] for record in fitted.history]))
    assert calls == [(96, 24, None), (120, 0, best)]

    calls.clear()
    kept = fit(spread=2.0, required_gain=math.inf, outer=OuterOptions(max_epochs=3, learning_rate=0.01))
    untouched = fit(spread=2.0, outer=OuterOptions(max_epochs=0))
    assert len(calls) == 1
    assert torch.equal(kept.params["bases"], untouched.params["bases"])
