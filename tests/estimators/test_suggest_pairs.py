"""Questions for a user: worth more than random ones, and the same from a bundle without torch."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skmrm import MetaRewardModel
from skmrm.datasets import make_user_preferences
from skmrm.serving import OnnxScorer


@pytest.fixture(scope="module")
def data():
    return make_user_preferences(n_users=220, n_features=8, n_bases=5, random_state=0)


@pytest.fixture(scope="module")
def fitted(data):
    return MetaRewardModel(random_state=0, kernel=None, device="cpu").fit(data.episodes[:160])


def answered(question, coef, rng):
    a, b = question
    return (a, b) if rng.random() < 1 / (1 + np.exp(-(a - b) @ coef)) else (b, a)


def test__suggest_pairs__planted_users__teach_more_than_random_questions(data, fitted):
    X = data.episodes.features[:300]
    right = {"asked": [], "random": []}
    for row in range(160, 220):
        rng = np.random.default_rng(row)
        coef, query = data.coef[row], rng.integers(0, 300, (200, 2))
        truth = (X[query[:, 0]] - X[query[:, 1]]) @ coef > 0
        for name in right:
            user = fitted.adapt([])
            for _ in range(6):
                pair = rng.choice(300, 2, replace=False)
                if name == "asked":
                    pair = user.suggest_pairs(X)[0][3:5]
                user = user.update([answered(X[list(pair)], coef, rng)])
            rewards = user.predict(X)
            right[name].append(((rewards[query[:, 0]] > rewards[query[:, 1]]) == truth).mean())
    gain = np.subtract(right["asked"], right["random"])
    assert gain.mean() > 2 * gain.std() / len(gain) ** 0.5


def test__suggest_pairs__several_at_once__are_different_and_in_order(data, fitted):
    X = data.episodes.features[:60]
    found = fitted.suggest_pairs(X, n=5)
    assert len({(one.first, one.second) for one in found}) == 5
    told = [one.information for one in found]
    assert told == sorted(told, reverse=True)
    assert 0 < told[-1] <= told[0] < 1
    assert_allclose(found[0].response_a, X[found[0].first])
    first = fitted.adapt([]).suggest_pairs(X)[0]
    assert first[3:] == found[0][3:]
    assert fitted.suggest_pairs(X[:1]) == []
    assert len(fitted.suggest_pairs(X[:3], n=10)) == 3
    told = fitted.adapt(data.episodes[170]).suggest_pairs(X)[0].information
    assert told < first.information  # of a user who has told something, less is to be learnt


def test__suggest_pairs__wrong_numbers_and_models__are_refused(data, fitted):
    X = data.episodes.features[:10]
    for wrong in (0, -1, 1.5, True, "two"):
        with pytest.raises(ValueError, match="n must be a positive integer"):
            fitted.suggest_pairs(X, n=wrong)
    with pytest.raises(ValueError, match="suggest_pairs needs a posterior"):
        fitted.pooled_model_.suggest_pairs(X)


@pytest.mark.parametrize("half_life", [None, 2.0])
def test__scorer__update_and_questions__are_the_live_models(data, fitted, half_life, tmp_path):
    fitted.export_onnx(tmp_path)
    scorer = OnnxScorer(tmp_path)
    own, X = data.episodes[165], data.episodes.features[:80]
    parts = [
        [{"chosen": own.chosen[row], "rejected": own.rejected[row], "time": float(row), "outcome": 1} for row in rows]
        for rows in (range(4), range(4, 9))
    ]
    live = fitted.adapt(parts[0], half_life=half_life).update(parts[1], half_life=half_life)
    kept = type(scorer.history([])).from_bytes(scorer.history(parts[0]).to_bytes(), scorer.n_bases)
    assert_allclose(scorer.adapt(parts[1], earlier=kept, half_life=half_life), live.weights_, atol=1e-5)
    both = scorer.history(parts[1], earlier=kept)
    assert_allclose(scorer.adapt([], earlier=both, half_life=half_life), live.weights_, atol=1e-5)
    if half_life is None:
        asked, expected = scorer.suggest_pairs(X, 3, earlier=both), live.suggest_pairs(X, 3)
        assert [one[3:5] for one in asked] == [one[3:5] for one in expected]
        assert_allclose([one.information for one in asked], [one.information for one in expected], atol=1e-4)
        first = scorer.suggest_pairs(X)[0]
        assert first[3:5] == fitted.suggest_pairs(X)[0][3:5]


def test__scorer__history_of_another_model_or_damaged__is_refused(data, fitted, tmp_path):
    fitted.export_onnx(tmp_path / "model")
    scorer = OnnxScorer(tmp_path / "model")
    history = scorer.history([(data.episodes.features[0], data.episodes.features[1])])
    content = history.to_bytes()
    for wrong in (content[:-3], b"", b"x" * 40):
        with pytest.raises(ValueError, match="damaged"):
            type(history).from_bytes(wrong, scorer.n_bases)
    with pytest.raises(ValueError, match="base reward functions are needed"):
        type(history).from_bytes(content, scorer.n_bases + 1)
    other = type(history)(np.zeros((1, 2)), np.zeros(1, int), 1)
    with pytest.raises(ValueError, match="those of another model mean nothing here"):
        scorer.adapt([], earlier=other)
    fitted.pooled_model_.export_onnx(tmp_path / "pooled")
    with pytest.raises(ValueError, match="defines none"):
        OnnxScorer(tmp_path / "pooled").suggest_pairs(data.episodes.features[:5])
