"""Baselines on planted users, for whom the right answer is known, and against plain solvers."""

import joblib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.utils import estimator_checks
from sklearn.utils._param_validation import InvalidParameterError

from skmrm import EpisodeSet, MetaRewardModel, UserRewardModel, episodes_from_arrays
from skmrm.baselines import LowRankRewards, PerUserBradleyTerry, PooledBradleyTerry
from skmrm.datasets import load_style_preferences, make_user_preferences
from skmrm.exceptions import ModelFileError
from skmrm.meta.adaptation import Adaptation
from skmrm.meta.adaptation.simplex import SimplexAdaptation, project_to_simplex
from skmrm.meta.adaptation.span import SpanAdaptation
from skmrm.metrics import bootstrap_interval, user_accuracies

QUICK = {"random_state": 0, "device": "cpu"}
BASELINES = [
    PooledBradleyTerry(**QUICK),
    LowRankRewards(n_bases=2, ridge=0.1, max_epochs=3, **QUICK),
    PerUserBradleyTerry(**QUICK),
]


def name_of(model):
    return type(model).__name__


def mixtures(n_users, n_pairs, n_features, n_bases, random_state, scale=2.0):
    """Users who each mix the same orthogonal rewards, most of them mainly one; the rewards and the mixtures."""
    rng = np.random.default_rng(random_state)
    bases = scale * np.linalg.qr(rng.normal(size=(n_features, n_bases)))[0].T
    weights = rng.dirichlet(np.full(n_bases, 0.2), n_users)
    X = rng.normal(size=(n_users * n_pairs, 2, n_features))
    user = np.repeat(np.arange(n_users), n_pairs)
    gaps = np.einsum("nd,kd,nk->n", X[:, 0] - X[:, 1], bases, weights[user])
    first = rng.random(len(user)) < expit(gaps)
    chosen = 2 * np.arange(len(user)) + ~first
    episodes = episodes_from_arrays(X.reshape(-1, n_features), chosen, chosen ^ 1, user)
    return episodes, bases, weights


@pytest.fixture(scope="module")
def mixed():
    return mixtures(n_users=160, n_pairs=30, n_features=8, n_bases=3, random_state=0)


@pytest.fixture(scope="module")
def low_rank(mixed):
    return LowRankRewards(n_bases=3, ridge=0.03, users_per_batch=16, learning_rate=0.03, **QUICK).fit(mixed[0][:120])


@pytest.fixture(scope="module", params=BASELINES, ids=name_of)
def fitted(request, episodes):
    return clone(request.param).fit(episodes[:30])


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


# -- what all have in common -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_get_params_invariance",
        "check_no_attributes_set_in_init",
        "check_param_validation",
        "check_parameters_default_constructible",
        "check_set_params",
    ],
)
@pytest.mark.parametrize("model", BASELINES, ids=name_of)
def test__sklearn_checks__data_free__pass(name, model):
    getattr(estimator_checks, name)(name_of(model), type(model)())


@pytest.mark.parametrize("model", BASELINES, ids=name_of)
def test__unfitted__methods_and_attributes__are_not_there(model):
    with pytest.raises(NotFittedError, match=f"{name_of(model)} instance is not fitted yet"):
        model.adapt([])
    assert [name for name in vars(model) if name.endswith("_")] == []
    assert not hasattr(model, "start_weights_")
    assert not hasattr(model, "coef_")


def test__contract__attributes__are_there(fitted, episodes):
    assert fitted.encoder_ is None
    assert fitted.n_users_ == 30
    assert fitted.n_features_in_ == 4
    assert fitted.ridge_ > 0
    assert isinstance(fitted.adaptation_, Adaptation)
    assert sum(record["chosen"] for record in fitted.selection_) == 1
    assert isinstance(fitted.history_, list)
    n_bases = len(fitted.start_weights_)
    assert fitted.transform(np.asarray(episodes.features)).shape == (len(episodes.features), n_bases)
    assert len(fitted.get_feature_names_out()) == n_bases
    user = fitted.adapt(episodes[30])
    assert isinstance(user, UserRewardModel)
    assert user.weights_cov_ is None


def test__contract__errors__are_about_this_model(fitted, episodes):
    user = fitted.adapt(episodes[30])
    narrow = np.asarray(episodes.features)[:, :3]
    with pytest.raises(ValueError, match=f"transform: X has 3 features, but {name_of(fitted)} is expecting 4 features"):
        fitted.transform(narrow)
    with pytest.raises(ValueError, match="predict: X has 3 features, but UserRewardModel is expecting 4 features"):
        user.predict(narrow)
    with pytest.raises(ValueError, match=r"needs a posterior.*the baselines do not\): fit MetaRewardModel"):
        user.predict_std(np.asarray(episodes.features))


def test__adapt_many__users_of_several_lengths__equals_adapting_each_alone(fitted, episodes):
    kept = np.flatnonzero(np.arange(episodes.n_pairs) % 12 <= episodes.user % 12)
    ragged = episodes.take_pairs(kept)
    assert len(set(ragged.pairs_per_user.tolist())) > 3
    many = fitted.adapt_many(ragged)
    for user in range(len(ragged)):
        one = fitted.adapt(ragged[user])
        assert_allclose(many[ragged.users[user]].weights_, one.weights_, rtol=1e-6, atol=1e-8)
        assert_allclose(
            many.decision_function(ragged[[user]]), one.decision_function(ragged[user]), rtol=1e-5, atol=1e-7
        )


def test__adapt_and_score__any__leave_the_model_bit_identical(fitted, episodes):
    before = joblib.hash(fitted)
    fitted.adapt(episodes[31])
    fitted.adapt_many(episodes[30:])
    fitted.score(episodes[30:])
    assert joblib.hash(fitted) == before


def test__adapt__no_pairs__gives_the_starting_weights(fitted):
    assert_array_equal(fitted.adapt([]).weights_, fitted.start_weights_)


def test__fit__same_seed__same_bits(fitted, episodes):
    again = clone(fitted).fit(episodes[:30])
    assert again.score(episodes[30:]) == fitted.score(episodes[30:])
    assert again.selection_ == fitted.selection_
    assert_array_equal(again.adapt(episodes[33]).weights_, fitted.adapt(episodes[33]).weights_)


def test__fit__shifted_and_scaled_features__give_the_same_margins(fitted, episodes):
    columns = {name: getattr(episodes, name) for name in ("users", "user", "chosen", "rejected", "group")}
    other = EpisodeSet(features=np.asarray(episodes.features) * 8.0 + [4.0, 0.0, -2.0, 1.0], **columns)
    model = clone(fitted).fit(other[:30])
    ours, theirs = (m.adapt_many(e).decision_function(e) for m, e in ((fitted, episodes[30:]), (model, other[30:])))
    assert_allclose(theirs, ours, rtol=1e-4, atol=1e-5)


def test__save_and_load__any__give_the_same_bits(fitted, episodes, tmp_path):
    fitted.save(tmp_path)
    loaded = type(fitted).load(tmp_path, fitted.device)
    assert loaded.get_params() == fitted.get_params()
    assert (loaded.ridge_, loaded.selection_, loaded.history_) == (fitted.ridge_, fitted.selection_, fitted.history_)
    assert loaded.adaptation_ == fitted.adaptation_
    assert loaded.score(episodes[30:]) == fitted.score(episodes[30:])
    user = fitted.adapt(episodes[35])
    user.save(tmp_path / "user")
    X = np.asarray(episodes.features)
    assert_array_equal(UserRewardModel.load(tmp_path / "user", "cpu").predict(X), user.predict(X))


def test__load__by_another_class__is_refused(fitted, tmp_path):
    fitted.save(tmp_path)
    with pytest.raises(ModelFileError, match=r"not a skmrm model: load it with the class that saved it"):
        MetaRewardModel.load(tmp_path)


@pytest.mark.parametrize("model", BASELINES, ids=name_of)
def test__model_selection__cross_validation_and_grid_search__run(model, few_episodes):
    scores = cross_val_score(model, few_episodes, cv=KFold(2), error_score="raise")
    assert scores.shape == (2,)
    assert (scores > 0.4).all()
    search = GridSearchCV(model, {"ridge": [0.1, 1000.0]}, cv=2, error_score="raise").fit(few_episodes)
    assert search.best_estimator_.ridge_ == search.best_params_["ridge"]


@pytest.mark.parametrize("model", BASELINES, ids=name_of)
def test__texts__of_the_bundled_corpus__are_encoded_and_can_be_carried_as_features(model, tmp_path):
    texts = load_style_preferences(n_users=24, n_pairs=10, random_state=0).episodes
    fitted = clone(model).fit(texts[:20])
    margins = fitted.adapt_many(texts[20:]).decision_function(texts[20:])
    carried = texts[20:].compact()
    carried = carried.with_features(fitted.encoder_.transform(carried.items))
    assert_allclose(fitted.adapt_many(carried).decision_function(carried), margins, rtol=1e-4, atol=1e-5)
    fitted.save(tmp_path)
    assert type(fitted).load(tmp_path, "cpu").score("What now?", "Wait.") == fitted.score("What now?", "Wait.")


@pytest.mark.parametrize("model", [type(model)() for model in BASELINES], ids=name_of)
def test__fit__too_few_users_to_choose_by__warns_and_uses_the_defaults(model, episodes):
    with pytest.warns(UserWarning, match="8 users with pairs in at least two groups are needed, got 3 of 3") as caught:
        fitted = clone(model).set_params(random_state=0).fit(episodes[:3])
    assert caught[0].filename == __file__
    assert fitted.selection_ == []
    assert fitted.ridge_ > 0


@pytest.mark.parametrize("model", BASELINES, ids=name_of)
def test__fit__parameter_out_of_bounds__is_worded_by_scikit_learn(model, few_episodes):
    with pytest.raises(InvalidParameterError, match=f"'ridge' parameter of {name_of(model)} must be"):
        clone(model).set_params(ridge=0).fit(few_episodes)
    with pytest.raises(ValueError, match="device takes 'auto', 'cpu'"):
        clone(model).set_params(device="abacus").fit(few_episodes)


# -- pooled ----------------------------------------------------------------------------------------------------------


def test__pooled__more_users__come_closer_to_the_mean_of_their_tastes():
    data = make_user_preferences(n_users=400, n_pairs=20, n_features=6, n_bases=2, random_state=0)
    found = [cosine(PooledBradleyTerry(**QUICK).fit(data.episodes[:n]).coef_, data.mean_coef) for n in (20, 100, 400)]
    assert found[0] < found[1] < found[2]
    assert found[2] > 0.99


@pytest.mark.parametrize("ridge", [2.0, 0.05, 0.001])
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-4), (np.float32, 2e-3)])
@pytest.mark.parametrize("times", [1, [4, 1, 1, 2] * 3], ids=["once", "repeated"])
def test__pooled__given_ridge__equals_logistic_regression(episodes, ridge, dtype, tolerance, times):
    """Every user judged some pairs several times, which counts as a weight."""
    X = np.asarray(episodes.features, dtype)
    times = np.tile(np.broadcast_to(times, 12), len(episodes))
    rows = np.repeat(np.arange(episodes.n_pairs), times)
    repeated = episodes_from_arrays(X, episodes.chosen[rows], episodes.rejected[rows], episodes.user[rows])
    fitted = PooledBradleyTerry(ridge=ridge, **QUICK).fit(repeated)
    scale = fitted.base_rewards_.params["scale"].astype(float)
    gaps = (X[episodes.chosen].astype(float) - X[episodes.rejected]) / scale
    plain = LogisticRegression(C=1 / (ridge * times.sum()), fit_intercept=False, solver="newton-cholesky", tol=1e-10)
    plain.fit(np.vstack([gaps, -gaps]), np.repeat([1, 0], len(gaps)), np.tile(times / 2, 2))
    assert_allclose(fitted.coef_ * scale, plain.coef_[0], rtol=tolerance, atol=tolerance)
    assert fitted.coef_.dtype == dtype


def test__pooled__items_undefeated_or_in_leagues_apart__have_the_penalised_strengths():
    """One column an item: without the ridge an undefeated item has no strength, and leagues no common scale."""
    league = np.array([(0, 1), (0, 2), (1, 2), (2, 1)])
    games = np.vstack([league, league + 3, [(6, 0)]])  # 6 is undefeated, 3 in its league; nobody met both leagues
    chosen, rejected = np.tile(games, (3, 1)).T
    episodes = episodes_from_arrays(np.eye(7), chosen, rejected, np.repeat(list("abc"), len(games)))
    fitted = PooledBradleyTerry(ridge=0.01, **QUICK).fit(episodes)
    gaps = (np.eye(7)[games[:, 0]] - np.eye(7)[games[:, 1]]) / fitted.base_rewards_.params["scale"]
    plain = minimize(
        lambda b: np.logaddexp(0, -gaps @ b).mean() + 0.005 * b @ b,
        np.zeros(7),
        jac=lambda b: -(expit(-gaps @ b) @ gaps) / len(gaps) + 0.01 * b,
        options={"gtol": 1e-9},
    )
    expected = np.eye(7) / fitted.base_rewards_.params["scale"] @ plain.x
    rewards = fitted.predict(np.eye(7))
    assert_allclose(rewards - rewards[0], expected - expected[0], rtol=1e-3, atol=1e-3)
    assert rewards[6] > rewards[0] > max(rewards[1:3])


def test__pooled__adapted_on_anything__is_the_same_reward(episodes):
    fitted = PooledBradleyTerry(**QUICK).fit(episodes[:30])
    X = np.asarray(episodes.features)
    assert_array_equal(fitted.adapt(episodes[31]).predict(X), fitted.predict(X))
    assert_allclose(np.diff(fitted.predict(X)), np.diff(X @ fitted.coef_), rtol=1e-6, atol=1e-9)
    assert fitted.history_ == []


def test__pooled__against_a_meta_model_of_one_base__ranks_alike(episodes):
    """A single base may be scaled by a user, and no positive scale changes a ranking."""
    pooled = PooledBradleyTerry(**QUICK).fit(episodes[:30])
    meta = MetaRewardModel(n_bases=1, kernel=None, max_epochs=0, **QUICK).fit(episodes[:30])
    X = np.asarray(episodes.features)
    assert meta.ridge_ == pooled.ridge_
    assert_array_equal(np.argsort(meta.predict(X)), np.argsort(pooled.predict(X)))
    assert meta.score(episodes[30:]) == pooled.score(episodes[30:])


@pytest.mark.parametrize("n_features", [4, 300])
def test__pooled_model__of_a_meta_model__is_the_pooled_fit(n_features, tmp_path):
    episodes = make_user_preferences(n_users=24, n_pairs=6, n_features=n_features, random_state=0).episodes
    meta = MetaRewardModel(n_bases=2, max_epochs=0, **QUICK).fit(episodes)
    pooled = PooledBradleyTerry(**QUICK).fit(episodes)
    meta.save(tmp_path)
    for found in (meta.pooled_model_, MetaRewardModel.load(tmp_path, "cpu").pooled_model_):
        assert isinstance(found, PooledBradleyTerry)
        assert found.ridge_ == pooled.ridge_
        assert_allclose(found.coef_, pooled.coef_, rtol=1e-5, atol=1e-7)
        assert found.score(episodes) == pooled.score(episodes)
        assert found.get_params() == pooled.get_params()


def test__pooled_model__random_start__is_an_attribute_error_with_a_remedy(gradient_model):
    with pytest.raises(AttributeError, match=r"fit skmrm\.baselines\.PooledBradleyTerry"):
        gradient_model.pooled_model_  # noqa: B018
    assert not hasattr(MetaRewardModel(), "pooled_model_")


# -- low rank --------------------------------------------------------------------------------------------------------


def test__low_rank__planted_mixtures__beat_the_pooled_model_and_come_near_the_truth(mixed, low_rank):
    episodes, bases, weights = mixed
    new = episodes[120:]
    support = np.arange(new.n_pairs) % 30 < 20
    asked = new.take_pairs(~support)
    users = low_rank.adapt_many(new.take_pairs(support))
    X = np.asarray(asked.features)
    truth = np.einsum("nd,kd,nk->n", X[asked.chosen] - X[asked.rejected], bases, weights[120:][asked.user])
    pooled = PooledBradleyTerry(**QUICK).fit(episodes[:120]).decision_function(asked)
    ours, crowd, best = (user_accuracies(m, asked.user) for m in (users.decision_function(asked), pooled, truth))
    assert bootstrap_interval(ours, crowd, random_state=0).low > 0
    assert ours.mean() > best.mean() - 0.05


def test__low_rank__planted_mixtures__basis_spans_the_true_rewards(mixed, low_rank):
    params = low_rank.base_rewards_.params
    found = np.linalg.qr((params["bases"] / params["scale"]).T)[0]
    true = np.linalg.qr(mixed[1].T)[0]
    assert np.linalg.svd(found.T @ true, compute_uv=False).min() > 0.9


def test__low_rank__adapted__are_mixtures(low_rank, mixed):
    weights = low_rank.adapt_many(mixed[0][120:]).weights_
    assert (weights >= 0).all()
    assert_allclose(weights.sum(1), 1, rtol=1e-6)
    assert_allclose(low_rank.start_weights_.sum(), 1, rtol=1e-6)
    assert weights.std(0).min() > 0.05


def test__low_rank__infinite_pull__is_the_pooled_model(mixed):
    episodes = mixed[0][:40]
    pooled = PooledBradleyTerry(**QUICK).fit(episodes)
    fitted = LowRankRewards(n_bases=2, ridge=1e4, validation_fraction=0, **QUICK).fit(episodes)
    X = np.asarray(episodes.features)
    assert np.corrcoef(fitted.predict(X), pooled.predict(X))[0, 1] > 0.995


def test__low_rank__open_parameters__are_chosen_on_validation_users(episodes):
    fitted = LowRankRewards(max_epochs=2, **QUICK).fit(episodes)
    best = min(fitted.selection_, key=lambda record: record["validation_loss"])
    assert best["chosen"]
    assert best["setting"] == f"n_bases={len(fitted.start_weights_)}, ridge={fitted.ridge_:g}"
    assert len(fitted.selection_) == 6


def test__low_rank__training__lowers_both_losses(low_rank):
    start, best = low_rank.history_[0], min(low_rank.history_, key=lambda record: record["validation_loss"])
    assert best["validation_loss"] < start["validation_loss"]
    assert low_rank.history_[-1]["training_loss"] < low_rank.history_[1]["training_loss"]


def draw_gaps(n_users, n_pairs, n_features, seed, dtype=torch.float64):
    """Gaps, and a mask that leaves users of several lengths, the first of them without pairs."""
    generator = torch.Generator().manual_seed(seed)
    gaps = torch.randn(n_users, n_pairs, n_features, generator=generator, dtype=torch.float64).to(dtype)
    lengths = torch.arange(n_users) % (n_pairs + 1)
    mask = (torch.arange(n_pairs) < lengths.unsqueeze(1)).to(dtype)
    return gaps * mask.unsqueeze(-1), mask


@pytest.mark.parametrize("common", [0.0, 20.0])
def test__simplex_adaptation__random_users__equals_a_plain_solver(common):
    """A part that all base rewards have in common makes the problem no harder."""
    gaps, mask = draw_gaps(9, 8, 4, seed=0)
    gaps = gaps + common * gaps[..., :1] * mask.unsqueeze(-1)
    start = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    found = SimplexAdaptation().adapt(start, gaps, mask, {}).numpy()
    assert_array_equal(found[0], start.numpy())
    for user in range(1, 9):
        own = gaps[user, : int(mask[user].sum())].numpy()
        plain = minimize(
            lambda w, own=own: np.logaddexp(0, -own @ w).mean(),
            start.numpy(),
            jac=lambda w, own=own: -(own.T @ expit(-own @ w)) / len(own),
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
            options={"ftol": 1e-14, "maxiter": 500},
            method="SLSQP",
        )
        assert_allclose(found[user], plain.x, atol=1e-4)
        assert np.logaddexp(0, -own @ found[user]).mean() <= plain.fun + 1e-9


@settings(max_examples=50)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=6), st.integers(0, 2**31))
def test__project_to_simplex__any_point__is_the_nearest_of_the_simplex(point, seed):
    point = torch.tensor(point, dtype=torch.float64)
    found = project_to_simplex(point)
    assert (found >= 0).all()
    assert_allclose(found.sum(), 1)
    others = torch.tensor(np.random.default_rng(seed).dirichlet(np.ones(len(point)), 20))
    assert ((found - point).norm() <= (others - point).norm(dim=1) + 1e-9).all()
    assert_allclose(project_to_simplex(found), found, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test__project_to_simplex__entries_beyond_the_reach_of_rounding__are_projected_all_the_same(dtype):
    """A user whose gaps hardly differ takes steps so long that 1 is lost in them."""
    point = torch.tensor([[3e12, -1e12, 5.0], [-4e30, -4e30, -4e30]], dtype=dtype)
    expected = torch.tensor([[1.0, 0, 0], [1 / 3, 1 / 3, 1 / 3]], dtype=dtype)
    torch.testing.assert_close(project_to_simplex(point), expected)


# -- per user --------------------------------------------------------------------------------------------------------


def test__per_user__one_user__equals_logistic_regression(episodes):
    fitted = PerUserBradleyTerry(ridge=2.0, **QUICK).fit(episodes[:30])
    user = episodes[33]
    gaps = (np.asarray(user.chosen) - np.asarray(user.rejected)) / fitted.base_rewards_.params["scale"]
    plain = LogisticRegression(C=1 / 2.0, fit_intercept=False, tol=1e-10)
    # each pair once, half of them turned round, as a classifier needs both classes
    sign = np.where(np.arange(len(gaps)) % 2, 1, -1)
    plain.fit(gaps * sign[:, None], sign)
    assert_allclose(fitted.adapt(user).weights_, plain.coef_[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-3)])
@pytest.mark.parametrize("start", [0.0, 0.3])
def test__span_adaptation__fewer_pairs_than_features__equals_the_primal_solution(dtype, tolerance, start):
    gaps, mask = draw_gaps(7, 6, 40, seed=1, dtype=dtype)
    gaps[4, 1] = gaps[4, 0]  # a pair judged twice: its Gram matrix is singular
    start = torch.full((40,), start, dtype=dtype)
    found = SpanAdaptation(ridge=0.5).adapt(start, gaps, mask, {})
    padded = torch.cat([gaps, gaps.new_zeros(7, 40, 40)], 1)  # more pairs than features, all the new ones padding
    primal = SpanAdaptation(ridge=0.5).adapt(start, padded, torch.cat([mask, mask.new_zeros(7, 40)], 1), {})
    assert_allclose(found, primal, rtol=tolerance, atol=tolerance)
    pull = torch.sigmoid(-torch.einsum("upd,ud->up", gaps, found)) * mask
    gradient = 0.5 * (found - start) - torch.einsum("up,upd->ud", pull, gaps)
    assert gradient.abs().max() < tolerance


def test__span_adaptation__no_pairs_at_all__gives_the_start():
    start = torch.arange(3.0)
    found = SpanAdaptation().adapt(start, torch.zeros(2, 0, 3), torch.zeros(2, 0), {})
    assert_array_equal(found, start.expand(2, 3))


def test__per_user__no_pairs__rewards_are_zero(episodes):
    fitted = PerUserBradleyTerry(ridge=1.0, **QUICK).fit(episodes[:30])
    assert_array_equal(fitted.predict(np.asarray(episodes.features)), 0)
    assert fitted.transform(episodes).std(0) == pytest.approx(1, rel=0.2)


def test__per_user__chosen_ridge__has_the_smallest_loss_and_others_share_nothing(episodes):
    fitted = PerUserBradleyTerry(**QUICK).fit(episodes[:30])
    best = min(fitted.selection_, key=lambda record: record["validation_loss"])
    assert best["ridge"] == fitted.ridge_ == fitted.adaptation_.ridge
    assert best["validation_loss"] < np.log(2)
    turned = episodes[:30]
    turned = EpisodeSet(
        users=turned.users,
        user=turned.user,
        chosen=turned.rejected,
        rejected=turned.chosen,
        group=turned.group,
        features=turned.features,
    )
    other = PerUserBradleyTerry(ridge=fitted.ridge_, **QUICK).fit(turned)
    assert_allclose(other.adapt(episodes[33]).weights_, fitted.adapt(episodes[33]).weights_, rtol=1e-9)


# -- the paper's setting ---------------------------------------------------------------------------------------------


def test__paper__preset__is_the_reference_setting_and_can_be_overridden():
    paper = MetaRewardModel.paper(inner_lr=5e-3, learning_rate=5e-3, device="cpu")
    assert (paper.n_bases, paper.weight_constraint, paper.users_per_batch) == (2, "simplex", 2)
    assert (paper.inner_lr, paper.learning_rate, paper.device) == (5e-3, 5e-3, "cpu")
    assert (MetaRewardModel.paper().inner_lr, paper.robust_ratio, paper.robust_temperature) == (1e-3, 0.5, 0.5)
    assert clone(paper).get_params() == paper.get_params()
    with pytest.raises(TypeError, match="inner_rate"):
        MetaRewardModel.paper(inner_rate=1)


def test__paper__fit__runs_every_epoch_and_keeps_the_best_on_validation_users(few_episodes):
    fitted = MetaRewardModel.paper(max_epochs=6, learning_rate=0.2, **QUICK).fit(few_episodes)
    assert [record["epoch"] for record in fitted.history_] == list(range(7))
    assert_allclose(fitted.start_weights_.sum(), 1, rtol=1e-6)
    assert len(fitted.start_weights_) == 2
