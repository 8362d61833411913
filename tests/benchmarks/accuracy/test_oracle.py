"""The Bayes oracle: against sums over a grid, and where its population is that of the simulated users."""

import numpy as np
import pytest
from scipy.special import expit

from benchmarks.accuracy.oracle import BayesOracle, Population, TrueRewards
from benchmarks.accuracy.planted import FAMILIES, population
from skmrm import EpisodeSet
from skmrm.datasets import make_user_preferences, oracle_accuracy
from skmrm.model_selection import adaptation_curve


def choices(table, chosen, rejected):
    """One user's pairs over a table of base rewards."""
    n = len(chosen)
    return EpisodeSet(
        users=["ann"], user=[0] * n, chosen=chosen, rejected=rejected, group=range(n), features=np.asarray(table)
    )


def brute_force(table, support, query, population, reach=8.0, n=1201):
    """Predictive probabilities of query pairs, and the posterior mode, by summing over a grid of one weight."""
    weights = np.linspace(-reach, reach, n)
    density = np.zeros(n)
    for (mean,), scale, share in zip(population.means, population.scales, population.shares, strict=True):
        density += share * np.exp(-0.5 * ((weights - mean) / scale) ** 2) / scale

    def chance(pairs):
        gaps = table[pairs.chosen, 0] - table[pairs.rejected, 0]
        return (1 - population.lapse) * expit(weights[:, None] * gaps) + population.lapse / 2

    posterior = density * chance(support).prod(1)
    return posterior @ chance(query) / posterior.sum(), weights[posterior.argmax()]


@pytest.mark.parametrize("lapse", [0.0, 0.3])
def test__oracle__gaussian_population__has_the_mode_and_the_chances_of_a_sum_over_a_grid(lapse):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(30, 1))
    support, query = (choices(table, *rng.integers(0, 30, (2, n))) for n in (6, 40))
    population = Population(np.array([[0.8]]), np.array([1.3]), np.ones(1), lapse)
    posterior = BayesOracle(table, population).adapt_many(support)
    chance, mode = brute_force(table, support, query, population)
    assert posterior.modes[0, 0, 0] == pytest.approx(mode, abs=0.01)
    np.testing.assert_allclose(expit(posterior.decision_function(query)), chance, atol=0.03)


def test__oracle__two_opposed_kinds__are_weighed_as_by_a_sum_over_a_grid():
    rng = np.random.default_rng(1)
    table = rng.normal(size=(30, 1))
    population = Population(np.array([[1.5], [-1.5]]), np.array([0.4, 0.4]), np.array([0.8, 0.2]))
    query = choices(table, *rng.integers(0, 30, (2, 40)))
    for n in (0, 1, 4):
        support = choices(table, *rng.integers(0, 30, (2, n)))
        posterior = BayesOracle(table, population).adapt_many(support)
        chance, _ = brute_force(table, support, query, population)
        np.testing.assert_allclose(expit(posterior.decision_function(query)), chance, atol=0.02)


def test__oracle__kinds_of_users_all_alike__are_exact():
    rng = np.random.default_rng(2)
    table, means = rng.normal(size=(20, 3)), rng.normal(size=(4, 3))
    shares = np.array([0.1, 0.2, 0.3, 0.4])
    support, query = (choices(table, *rng.integers(0, 20, (2, n))) for n in (5, 15))
    likelihood = expit((table[support.chosen] - table[support.rejected]) @ means.T).prod(0)
    posterior = shares * likelihood / (shares * likelihood).sum()
    chance = expit((table[query.chosen] - table[query.rejected]) @ means.T) @ posterior
    oracle = BayesOracle(table, Population(means, np.zeros(4), shares)).adapt_many(support)
    np.testing.assert_allclose(oracle.shares[:, 0], posterior)
    np.testing.assert_allclose(expit(oracle.decision_function(query)), chance)


def test__oracle__no_pairs__judges_by_the_mean():
    rng = np.random.default_rng(3)
    table, mean = rng.normal(size=(10, 2)), np.array([0.5, -1.0])
    query = choices(table, [0, 1, 2], [3, 4, 5])
    oracle = BayesOracle(table, Population(mean[None], np.array([1.0]), np.ones(1)))
    posterior = oracle.adapt_many(query.take_pairs(np.zeros(3, bool)))
    np.testing.assert_allclose(posterior.modes[0, 0], mean)
    np.testing.assert_allclose(posterior.covariances[0, 0], np.eye(2), atol=1e-12)
    assert np.array_equal(np.sign(posterior.decision_function(query)), np.sign((table[:3] - table[3:6]) @ mean))


def test__oracle__more_pairs__nears_the_true_rewards():
    data = make_user_preferences(n_users=60, n_pairs=120, n_features=4, n_bases=2, random_state=0)
    oracle = BayesOracle(data.episodes.features @ data.base_functions.T, population({}, data.mean_weights))
    curve, truth = (
        adaptation_curve(model, data.episodes, support_sizes=(0, 5, None), n_splits=1)
        for model in (oracle, TrueRewards(data))
    )
    accuracy = curve.accuracy.mean(1)
    assert accuracy[0] + 0.03 < accuracy[1] < accuracy[2]
    assert truth.accuracy[0].mean() == pytest.approx(truth.accuracy[2].mean())
    assert accuracy[2] == pytest.approx(truth.accuracy[2].mean(), abs=0.02)
    assert truth.accuracy[0].mean() == pytest.approx(oracle_accuracy(data), abs=0.02)


@pytest.mark.parametrize("name", FAMILIES)
def test__population__every_family__is_where_weights_are_drawn_from(name):
    parameters = {**FAMILIES[name].parameters, "n_groups": 2}
    data = make_user_preferences(n_users=4000, n_pairs=1, random_state=0, **parameters)
    found = population(parameters, data.mean_weights)
    assert found.shares.sum() == pytest.approx(1)
    assert found.lapse == parameters.get("noise", 0.0)
    mean = found.shares @ found.means
    second = found.shares @ (found.means**2 + found.scales[:, None] ** 2)
    spread = np.sqrt(second.max())
    np.testing.assert_allclose(data.weights.mean(0), mean, atol=0.1 * spread)
    np.testing.assert_allclose((data.weights**2).mean(0), second, atol=0.15 * spread**2)
    if data.cluster is not None:
        np.testing.assert_allclose(data.weights, found.means[data.cluster], atol=1e-12)
