"""Which comparison to ask: the information in an answer against quadrature, and candidates in all their forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from skmrm.episodes.information import expected_information, telling_pairs
from skmrm.episodes.questions import MOST_PAIRS, read_candidates

NODES, SHARES = np.polynomial.hermite_e.hermegauss(60)
SHARES = SHARES / SHARES.sum()


def entropy(chance):
    chance = np.clip(chance, 1e-300, 1 - 1e-16)
    return -(chance * np.log(chance) + (1 - chance) * np.log1p(-chance))


def by_quadrature(mean, variance):
    chances = 1 / (1 + np.exp(-(mean + np.sqrt(variance) * NODES)))
    return entropy(chances @ SHARES) - entropy(chances) @ SHARES


@given(mean=st.floats(-8, 8), variance=st.floats(0, 30))
def test__expected_information__any_posterior__is_near_quadrature(mean, variance):
    found = float(expected_information(np.array([mean]), np.array([variance]))[0])
    assert found == pytest.approx(by_quadrature(mean, variance), abs=0.06)
    assert 0 <= found <= np.log(2)
    assert found == float(expected_information(np.array([-mean]), np.array([variance]))[0])


def test__expected_information__a_sure_model__has_nothing_to_ask():
    assert expected_information(np.array([0.0, 3.0]), np.zeros(2)) == pytest.approx(0, abs=1e-3)
    more = expected_information(np.zeros(4), np.array([0.1, 1.0, 10.0, 100.0]))
    assert (np.diff(more) > 0).all()


def posterior(seed, n_items=12, k=4):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(k, k))
    return rng.normal(size=(n_items, k)), rng.normal(size=k), root @ root.T / k


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 8))
def test__telling_pairs__one_after_the_other__are_those_of_a_plain_loop(seed, n):
    rewards, weights, covariance = posterior(seed)
    first, second = np.triu_indices(len(rewards), 1)
    found, told = telling_pairs(rewards, weights, covariance, first, second, n)
    gaps = rewards[first] - rewards[second]
    asked = []
    for pair, nats in zip(found, told, strict=True):
        expected = expected_information(gaps @ weights, np.einsum("pk,kl,pl->p", gaps, covariance, gaps))
        expected[asked] = -1
        assert nats == pytest.approx(expected.max(), abs=1e-3)
        assert expected[pair] == pytest.approx(expected.max(), abs=1e-3)
        asked.append(pair)
        g = gaps[pair]
        variance = g @ covariance @ g
        likely = 1 / (1 + np.exp(-abs(g @ weights) / np.sqrt(1 + np.pi / 8 * variance)))
        along = covariance @ g
        covariance = covariance - np.outer(along, along) / (1 / (likely * (1 - likely)) + variance)
    assert len(set(found)) == len(found) == n


def test__telling_pairs__a_shift_of_all_rewards__changes_nothing():
    rewards, weights, covariance = posterior(0)
    pairs = np.triu_indices(len(rewards), 1)
    one = telling_pairs(rewards, weights, covariance, *pairs, 3)
    other = telling_pairs(rewards + 5.0, weights, covariance, *pairs, 3)
    assert one[0] == other[0]
    assert_allclose(one[1], other[1], atol=1e-5)


def test__telling_pairs__more_candidates_than_a_table_holds__are_the_same(monkeypatch):
    rewards, weights, covariance = posterior(1, n_items=40)
    pairs = np.triu_indices(40, 1)
    one = telling_pairs(rewards, weights, covariance, *pairs, 4)
    monkeypatch.setattr("skmrm.episodes.information._LARGEST_TABLE", 10)
    other = telling_pairs(rewards, weights, covariance, *pairs, 4)
    assert one[0] == other[0]


ANSWERS = [("p", "a"), ("p", "b"), ("q", "c"), ("p", "d"), ("q", "e"), ("r", "f")]


def test__read_candidates__texts__are_compared_within_a_prompt():
    found = read_candidates(ANSWERS, None, "text", 1, "model")
    pairs = {(found.items[a][1], found.items[b][1]) for a, b in zip(found.first, found.second, strict=True)}
    assert pairs == {("a", "b"), ("a", "d"), ("b", "d"), ("c", "e")}
    question = found.question(0, 0.5)
    assert question[:3] == ("p", "a", "b")
    of_one = read_candidates(["a", "b", "c"], "p", "text", 1, "model")
    assert of_one.items == [("p", "a"), ("p", "b"), ("p", "c")]
    assert len(of_one.first) == 3
    given_pairs = read_candidates([("p", "a", "b"), ("q", "c", "d")], None, "text", 1, "model")
    assert given_pairs.question(1, 0.5) == ("q", "c", "d", 1, 1, 0.5)
    for few in ([], [("p", "a")], [("p", "a"), ("q", "b")]):
        assert len(read_candidates(few, None, "text", 1, "model").first) == 0


def test__read_candidates__features__are_compared_within_their_context():
    X = np.arange(12.0).reshape(6, 2)
    assert len(read_candidates(X, None, "features", 2, "model").first) == 15
    found = read_candidates(X, ["p", "q", "p", "q", "r", "p"], "features", 2, "model")
    assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == {(0, 2), (0, 5), (2, 5), (1, 3)}
    pairs = read_candidates(X.reshape(3, 2, 2), None, "features", 2, "model")
    assert pairs.question(2, 0.1).first == 2
    assert (pairs.question(2, 0.1).response_b == X[5]).all()


def test__read_candidates__more_pairs_than_are_looked_at__are_drawn_from_all():
    found = read_candidates(np.zeros((1600, 1)), None, "features", 1, "model")
    assert len(found.first) == MOST_PAIRS
    assert (found.first < found.second).all()
    assert len(set(zip(found.first.tolist(), found.second.tolist(), strict=True))) == MOST_PAIRS
    assert set(found.first.tolist()) == set(range(1599))


def test__read_candidates__that_cannot_be__are_refused():
    for wrong, context, kind, message in (
        (3, None, "text", "suggest_pairs takes candidates"),
        ("abc", None, "text", "each item must be"),
        ([("p", "a", 3)], None, "text", "each item must be"),
        (["a", "b"], None, "text", "each item must be"),
        (["a", "b"], 3, "text", "context must be the prompt of all candidates"),
        (np.ones((2, 3)), None, "features", "features"),
        (np.ones((2, 2)), ["p"], "features", "context must tell of each of 2 candidates"),
        (np.full((2, 2), np.nan), None, "features", "finite"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            read_candidates(wrong, context, kind, 2, "model")
