"""The estimator among scikit-learn's: its own checks where they need no data, and what they would check otherwise."""

import copy
import inspect
import io
import pickle
from operator import itemgetter

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 (makes the next import possible)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import check_scoring
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    StratifiedKFold,
    cross_val_score,
    cross_validate,
    learning_curve,
    train_test_split,
    validation_curve,
)
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import estimator_checks, estimator_html_repr
from sklearn.utils.validation import check_is_fitted

from skmrm import EpisodeSet, MetaRewardModel, UserRewardModel, personalization_report
from skmrm.datasets import load_style_preferences
from skmrm.embeddings import EmbeddingStore
from skmrm.encoders import HashedTextEncoder, TextEncoder
from skmrm.metrics import user_accuracies, worst_decile_accuracy
from skmrm.plotting import BaseRewardDisplay

# Those of scikit-learn's checks that need no data. The others make 2-D arrays, which this estimator refuses, or are
# skipped for it; what they look at is tested below, on episodes.
DATA_FREE_CHECKS = [
    "check_do_not_raise_errors_in_init_or_set_param",
    "check_do_not_raise_errors_in_init_or_set_params",  # its name since scikit-learn 1.9
    "check_estimator_cloneable",
    "check_estimator_get_tags_default_keys",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_estimators_unfitted",
    "check_get_feature_names_out_error",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_param_validation",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_transformers_unfitted",
    "check_valid_tag_types",
]


@pytest.fixture(scope="module")
def quick(small):
    """An unfitted model whose fit takes hundredths of a second."""
    return clone(small).set_params(adaptation="gradient", spectral_init=False)


@pytest.fixture(scope="module")
def quick_fitted(quick, few_episodes):
    return clone(quick).fit(few_episodes)


def learnt(model):
    return dict(model.base_rewards_.params) | {"start": model.start_weights_}


def same_bits(one, other):
    ours, theirs = learnt(one), learnt(other)
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


# -- scikit-learn's checks that need no data -------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in DATA_FREE_CHECKS if hasattr(estimator_checks, name)])
def test__sklearn_checks__data_free__pass(name):
    getattr(estimator_checks, name)("MetaRewardModel", MetaRewardModel())


def test__sklearn_checks__data_free__are_mostly_there():
    """Names move between versions; a list of names that no longer exist would test nothing."""
    assert sum(hasattr(estimator_checks, name) for name in DATA_FREE_CHECKS) >= 12


# -- before fit ------------------------------------------------------------------------------------------------------

NEED_NO_FIT = {
    "fit",
    "fit_transform",
    "paper",
    "get_params",
    "set_params",
    "set_output",
    "get_metadata_routing",
    "load",
    "from_pretrained",
}


def methods_that_need_fit():
    for name, method in inspect.getmembers(MetaRewardModel, callable):
        if not name.startswith(("_", "set_")) and name not in NEED_NO_FIT:
            arguments = list(inspect.signature(method).parameters.values())[1:]
            yield name, sum(a.default is a.empty and a.kind == a.POSITIONAL_OR_KEYWORD for a in arguments)


@pytest.mark.parametrize(("name", "n_arguments"), list(methods_that_need_fit()))
def test__unfitted__every_method__says_so(name, n_arguments):
    with pytest.raises(NotFittedError, match="MetaRewardModel instance is not fitted yet"):
        getattr(MetaRewardModel(), name)(*[None] * n_arguments)


def test__unfitted__methods_listed__are_those_of_the_contract():
    names = {name for name, _ in methods_that_need_fit()}
    assert {"adapt", "adapt_many", "score", "transform", "predict", "predict_proba", "rank", "save"} <= names


def test__unfitted__learnt_attributes__are_not_there():
    model = MetaRewardModel()
    for name in ("base_rewards_", "start_weights_", "prior_scale_", "n_features_in_", "history_", "selection_"):
        assert not hasattr(model, name)
    assert [name for name in vars(model) if name.endswith("_")] == []
    with pytest.raises(NotFittedError):
        check_is_fitted(model)


# -- fit -------------------------------------------------------------------------------------------------------------


def test__fit__any__returns_self_and_sets_only_names_that_end_in_an_underscore(quick, few_episodes):
    model = clone(quick)
    before = set(vars(model))
    assert model.fit(few_episodes) is model
    check_is_fitted(model)
    assert {name for name in set(vars(model)) - before if not name.endswith("_") and not name.startswith("_")} == set()
    assert model.n_features_in_ == 4
    assert model.n_users_ == 16


def test__fit__any__changes_no_parameter(few_episodes):
    given = MetaRewardModel(n_bases=2, max_epochs=1, random_state=np.random.RandomState(0))
    before = given.get_params()
    given.fit(few_episodes)
    after = given.get_params()
    assert before.keys() == after.keys()
    assert all(after[name] is before[name] for name in before)


def test__fit__any__changes_no_episode_and_no_array(quick, few_episodes):
    columns = ("users", "user", "chosen", "rejected", "group", "features")
    mine = {name: np.array(getattr(few_episodes, name)) for name in columns}
    before = copy.deepcopy(mine)
    episodes = EpisodeSet(**mine)
    fitted = clone(quick).fit(episodes)
    fitted.score(episodes)
    fitted.adapt_many(episodes)
    fitted.transform(mine["features"])
    for name in columns:
        assert_array_equal(mine[name], before[name])
        assert_array_equal(getattr(episodes, name), before[name])
        assert mine[name].flags.writeable


def test__fit__twice__forgets_the_first_time(quick, episodes):
    model = clone(quick).fit(episodes[20:])
    assert same_bits(model.fit(episodes[:16]), clone(quick).fit(episodes[:16]))


def test__fit__after_new_parameters__is_as_if_they_had_been_there_from_the_start(quick, few_episodes):
    changed = clone(quick).fit(few_episodes).set_params(n_bases=2, inner_steps=2).fit(few_episodes)
    fresh = clone(quick).set_params(n_bases=2, inner_steps=2).fit(few_episodes)
    assert same_bits(changed, fresh)
    assert changed.transform(few_episodes.features).shape[1] == 2


def test__fit__labels__are_ignored(quick, few_episodes):
    labels = np.arange(few_episodes.n_users)
    assert same_bits(clone(quick).fit(few_episodes, labels), clone(quick).fit(few_episodes, None))


@pytest.mark.parametrize("layout", ["C", "F", "strided", "read-only"])
def test__fit__features_of_any_memory_layout__give_the_same_model(quick, few_episodes, layout):
    features = np.array(few_episodes.features)
    made = {
        "C": np.ascontiguousarray,
        "F": np.asfortranarray,
        "strided": lambda x: np.repeat(np.repeat(x, 2, axis=0), 2, axis=1)[::2, ::2],
        "read-only": lambda x: np.frombuffer(x.tobytes()).reshape(x.shape),
    }[layout](features)
    columns = {name: getattr(few_episodes, name) for name in ("users", "user", "chosen", "rejected", "group")}
    fitted = clone(quick).fit(EpisodeSet(**columns, features=made))
    expected = clone(quick).fit(EpisodeSet(**columns, features=features))
    assert_allclose(fitted.predict(made), expected.predict(features), rtol=1e-9, atol=1e-12)


def test__fit_transform__episodes__is_fit_and_transform(quick, few_episodes):
    fitted = clone(quick).fit(few_episodes)
    assert_array_equal(clone(quick).fit_transform(few_episodes), fitted.transform(few_episodes))


# -- copies ----------------------------------------------------------------------------------------------------------


def test__clone__fitted__has_the_parameters_and_nothing_learnt(model):
    copied = clone(model)
    assert copied.get_params() == model.get_params()
    assert not hasattr(copied, "base_rewards_")


def via_joblib(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


@pytest.mark.parametrize(
    "copied",
    [lambda model: pickle.loads(pickle.dumps(model)), via_joblib, copy.deepcopy],
    ids=["pickle", "joblib", "deep"],
)
def test__fitted_model__pickled__predicts_the_same_bits(model, episodes, copied):
    other = copied(model)
    X = episodes.features
    assert_array_equal(other.predict(X), model.predict(X))
    assert_array_equal(other.transform(X), model.transform(X))
    assert_array_equal(other.predict_proba(episodes), model.predict_proba(episodes))
    assert_array_equal(other.adapt(episodes[0]).weights_, model.adapt(episodes[0]).weights_)
    assert_array_equal(other.adapt_many(episodes).weights_cov_, model.adapt_many(episodes).weights_cov_)
    assert other.score(episodes) == model.score(episodes)
    assert other.get_params() == model.get_params()
    assert other.selection_ == model.selection_
    assert other.history_ == model.history_


def test__unfitted_model__pickled__can_be_fitted(quick, few_episodes, quick_fitted):
    assert same_bits(pickle.loads(pickle.dumps(quick)).fit(few_episodes), quick_fitted)


# -- transform -------------------------------------------------------------------------------------------------------


def test__get_feature_names_out__fitted__has_a_name_for_each_column(model, quick_fitted, episodes):
    for fitted in (model, quick_fitted):
        names = fitted.get_feature_names_out()
        assert names.dtype == object
        assert len(set(names)) == len(names) == fitted.transform(episodes.features).shape[1]
    assert model.get_feature_names_out().tolist() == ["base_reward0", "base_reward1", "base_reward2"]


def test__set_output__pandas_and_polars__name_the_columns_and_keep_the_index(model, episodes):
    pandas = pytest.importorskip("pandas")
    X = episodes.features[:4]
    frame = pandas.DataFrame(X, index=list("abcd"))  # without names of columns, as in fit
    expected = model.transform(X)
    named = copy.deepcopy(model).set_output(transform="pandas")
    found = named.transform(frame)
    assert isinstance(found, pandas.DataFrame)
    assert found.columns.tolist() == model.get_feature_names_out().tolist()
    assert found.index.tolist() == list("abcd")
    assert_array_equal(found.to_numpy(), expected)
    assert_array_equal(named.transform(episodes).to_numpy(), model.transform(episodes))
    assert_array_equal(named.adapt(episodes[0]).weights_, model.adapt(episodes[0]).weights_)
    assert named.score(episodes) == model.score(episodes)
    polars = pytest.importorskip("polars")
    with config_context(transform_output="polars"):
        assert isinstance(model.transform(X), polars.DataFrame)
        assert model.predict(X).shape == (4,)


def test__transform__order_and_batches__do_not_matter(model, episodes):
    X = episodes.features
    order = np.random.default_rng(0).permutation(len(X))
    assert_allclose(model.transform(X[order]), model.transform(X)[order], rtol=1e-10, atol=1e-12)
    batched = np.concatenate([model.transform(X[start : start + 7]) for start in range(0, len(X), 7)])
    assert_allclose(batched, model.transform(X), rtol=1e-10, atol=1e-12)


# -- how it shows itself ---------------------------------------------------------------------------------------------


def test__repr__changed_parameters__are_named(small):
    assert repr(MetaRewardModel(n_bases=3)) == "MetaRewardModel(n_bases=3)"
    with config_context(print_changed_only=False):
        assert "users_per_batch=64" in repr(small)


def test__html_repr__unfitted_and_fitted__show_parameters_and_state(small, model):
    unfitted, fitted = estimator_html_repr(small), estimator_html_repr(model)
    for html in (unfitted, fitted):
        assert "MetaRewardModel" in html
        assert "n_bases" in html
    assert "Not fitted" in unfitted
    assert "Not fitted" not in fitted
    assert "estimator_html_repr" not in fitted
    assert "EpisodeSet" not in fitted  # a model keeps nothing of the data


# -- splits over users -----------------------------------------------------------------------------------------------


def test__train_test_split__episode_set_and_list__split_users(episodes):
    train, test = train_test_split(episodes, test_size=0.25, random_state=0)
    assert isinstance(train, EpisodeSet)
    assert (train.n_users, test.n_users) == (30, 10)
    assert train.features is episodes.features
    assert sorted([*train.users, *test.users]) == sorted(episodes.users)
    listed_train, listed_test = train_test_split(list(episodes), test_size=0.25, random_state=0)
    assert [one.user for one in listed_train] == train.users.tolist()
    assert [one.user for one in listed_test] == test.users.tolist()


@pytest.mark.parametrize("splitter", [KFold(4), KFold(4, shuffle=True, random_state=0), GroupKFold(4)])
def test__folds__of_users__cover_every_user_once(episodes, splitter):
    households = {"groups": np.arange(episodes.n_users) // 2} if isinstance(splitter, GroupKFold) else {}
    tested = []
    for train, test in splitter.split(episodes, **households):
        tested += episodes[test].users.tolist()
        assert not set(episodes[train].users) & set(episodes[test].users)
    assert sorted(tested) == sorted(episodes.users)


# -- model selection -------------------------------------------------------------------------------------------------


def per_user_scores(estimator, episodes, y=None):
    """Several metrics of one fold, as cross_validate takes them from a callable."""
    users = estimator.adapt_many(episodes)
    margins = users.decision_function(episodes)
    accuracies = user_accuracies(margins, episodes.user, episodes.n_users)
    return {"accuracy": float(accuracies.mean()), "worst": worst_decile_accuracy(margins, episodes.user)}


def test__cross_val_score__folds_of_users__is_score_on_those_left_out(quick, few_episodes):
    found = cross_val_score(quick, few_episodes, cv=KFold(2), error_score="raise")
    expected = [
        clone(quick).fit(few_episodes[train]).score(few_episodes[test]) for train, test in KFold(2).split(few_episodes)
    ]
    assert_array_equal(found, expected)
    assert_array_equal(cross_val_score(quick, list(few_episodes), cv=KFold(2), error_score="raise"), expected)


def test__cross_val_score__strata_of_users_as_labels__works(quick, few_episodes):
    strata = np.arange(few_episodes.n_users) % 2
    found = cross_val_score(quick, few_episodes, strata, cv=StratifiedKFold(2), error_score="raise")
    assert ((found > 0) & (found < 1)).all()


def test__cross_validate__callable_scorers__give_several_metrics(quick, few_episodes):
    found = cross_validate(
        quick, few_episodes, cv=2, scoring=per_user_scores, return_estimator=True, return_train_score=True
    )
    folds = KFold(2).split(few_episodes)
    for fold, (estimator, (_, test)) in enumerate(zip(found["estimator"], folds, strict=True)):
        expected = per_user_scores(estimator, few_episodes[test])
        assert {name: found[f"test_{name}"][fold] for name in expected} == expected
    assert found["train_accuracy"].shape == (2,)
    by_name = cross_validate(
        quick,
        few_episodes,
        cv=2,
        scoring={"worst": lambda estimator, X, y=None: per_user_scores(estimator, X)["worst"]},
        error_score="raise",
    )
    assert_array_equal(by_name["test_worst"], found["test_worst"])


def test__cross_validate__two_processes__gives_the_same_numbers(quick, few_episodes):
    """The episodes and the model cross to other processes and come back."""
    alone, together = (
        cross_validate(quick, few_episodes, cv=2, n_jobs=n_jobs, return_estimator=True, error_score="raise")
        for n_jobs in (None, 2)
    )
    assert_allclose(together["test_score"], alone["test_score"], rtol=1e-12)
    for one, other in zip(alone["estimator"], together["estimator"], strict=True):
        assert_allclose(one.predict(few_episodes.features), other.predict(few_episodes.features), rtol=1e-9)


def test__grid_search__any_parameters__refits_the_best_and_can_be_used_as_it(quick, few_episodes):
    grid = {"n_bases": [1, 3], "adaptation": ["map", "gradient"]}
    search = GridSearchCV(quick, grid, cv=KFold(2), error_score="raise").fit(few_episodes)
    scores = search.cv_results_["mean_test_score"]
    assert scores.shape == (4,)
    assert len(set(scores)) > 1
    assert search.best_score_ == scores.max()
    best = clone(quick).set_params(**search.best_params_).fit(few_episodes)
    assert same_bits(search.best_estimator_, best)
    assert search.score(few_episodes) == best.score(few_episodes)
    assert_array_equal(search.predict(few_episodes.features), best.predict(few_episodes.features))
    assert search.transform(few_episodes.features).shape[1] == search.best_params_["n_bases"]
    assert isinstance(search.best_estimator_.adapt(few_episodes[0]), UserRewardModel)


def test__grid_search__wrong_parameter__is_raised_by_name(quick, few_episodes):
    with pytest.raises(ValueError, match="'n_bases' parameter of MetaRewardModel"):
        GridSearchCV(quick, {"n_bases": [0]}, cv=2, error_score="raise").fit(few_episodes)


def test__halving_search__over_users_and_over_epochs__ends_with_the_most(quick, episodes):
    by_users = HalvingGridSearchCV(
        quick, {"n_bases": [1, 2, 3]}, cv=2, min_resources=16, max_resources=40, factor=2, random_state=0
    ).fit(episodes)
    assert by_users.n_resources_ == [16, 32]
    assert by_users.best_params_["n_bases"] in (1, 2, 3)
    by_epochs = HalvingGridSearchCV(
        quick,
        {"learning_rate": [0.001, 0.1]},
        cv=2,
        resource="max_epochs",
        min_resources=1,
        max_resources=4,
        factor=2,
        random_state=0,
    ).fit(episodes[:16])
    assert by_epochs.best_estimator_.max_epochs == by_epochs.n_resources_[-1]


def test__randomized_search__distributions__works(quick, few_episodes):
    search = RandomizedSearchCV(quick, {"inner_lr": [0.1, 1.0, 10.0]}, n_iter=2, cv=2, random_state=0).fit(few_episodes)
    assert search.best_params_["inner_lr"] in (0.1, 1.0, 10.0)


def test__learning_curve__numbers_of_users__gives_a_score_for_each(quick, episodes):
    sizes, train_scores, test_scores = learning_curve(
        quick, episodes, None, train_sizes=[8, 20], cv=KFold(2), error_score="raise"
    )
    assert sizes.tolist() == [8, 20]
    assert train_scores.shape == test_scores.shape == (2, 2)
    for fold, (train, test) in enumerate(KFold(2).split(episodes)):
        eight = clone(quick).fit(episodes[train[:8]])
        assert (train_scores[0, fold], test_scores[0, fold]) == (
            eight.score(episodes[train[:8]]),
            eight.score(episodes[test]),
        )


def test__validation_curve__a_parameter__gives_a_score_for_each(quick, few_episodes):
    _, test_scores = validation_curve(
        quick, few_episodes, None, param_name="inner_steps", param_range=[0, 3], cv=KFold(2), error_score="raise"
    )
    assert test_scores.shape == (2, 2)
    assert not np.array_equal(test_scores[0], test_scores[1])


def test__check_scoring__default__is_score_of_episodes(quick_fitted, few_episodes):
    assert check_scoring(quick_fitted)(quick_fitted, few_episodes) == quick_fitted.score(few_episodes)


def test__metadata_routing__switched_on__asks_for_nothing(quick, few_episodes):
    with config_context(enable_metadata_routing=True):
        found = cross_val_score(clone(quick), few_episodes, cv=KFold(2), params={}, error_score="raise")
    assert_array_equal(found, cross_val_score(clone(quick), few_episodes, cv=KFold(2)))


# -- pipelines -------------------------------------------------------------------------------------------------------


def test__pipeline__model_as_last_step__fits_scores_and_is_searched(quick, few_episodes, quick_fitted):
    pipeline = Pipeline([("keep", FunctionTransformer()), ("model", clone(quick))])
    assert pipeline.fit(few_episodes) is pipeline
    assert same_bits(pipeline[-1], quick_fitted)
    assert pipeline.score(few_episodes) == quick_fitted.score(few_episodes)
    assert_array_equal(pipeline.predict(few_episodes.features), quick_fitted.predict(few_episodes.features))
    assert_array_equal(pipeline.transform(few_episodes.features), quick_fitted.transform(few_episodes.features))
    search = GridSearchCV(pipeline, {"model__n_bases": [1, 2]}, cv=2, error_score="raise").fit(few_episodes)
    assert search.best_estimator_["model"].n_bases == search.best_params_["model__n_bases"]


def keep_half(episodes):
    return episodes.take_pairs(np.arange(episodes.n_pairs) % 2 == 0)


def test__pipeline__step_over_episodes_before_the_model__is_applied(quick, few_episodes):
    pipeline = make_pipeline(FunctionTransformer(keep_half), clone(quick)).fit(few_episodes)
    assert same_bits(pipeline[-1], clone(quick).fit(keep_half(few_episodes)))


def test__pipeline__frozen_model_before_a_classifier__gives_it_learnt_features(model, planted, episodes):
    """One base reward predicts what the crowd likes nearly as well as all features do."""
    X = np.asarray(episodes.features)
    liked = X @ planted.mean_coef > 0
    pipeline = make_pipeline(FrozenEstimator(model), StandardScaler(), LogisticRegression())
    before = joblib.hash(model)
    pipeline.fit(X[:400], liked[:400])
    assert pipeline.score(X[400:], liked[400:]) > 0.9
    assert joblib.hash(model) == before
    assert pipeline[:-1].get_feature_names_out().tolist() == model.get_feature_names_out().tolist()
    assert cross_val_score(pipeline, X, liked, cv=3, error_score="raise").min() > 0.85


def test__pipeline__of_a_model_that_is_not_frozen__says_how(model, episodes):
    X = np.asarray(episodes.features)
    with pytest.raises(TypeError, match=r"FrozenEstimator\(model\)"):
        make_pipeline(model, LogisticRegression()).fit(X, np.arange(len(X)) % 2)


@pytest.mark.parametrize("as_list", [False, True])
def test__scoring__by_labels__says_what_to_use_instead(small, few_episodes, as_list):
    data = list(few_episodes) if as_list else few_episodes
    with pytest.raises(TypeError, match="leave scoring out for the mean accuracy"):
        cross_val_score(small, data, np.zeros(len(data)), scoring="accuracy", cv=2, error_score="raise")


def test__feature_union__model_beside_the_raw_features__stacks_them(model, episodes):
    X = np.asarray(episodes.features)
    union = FeatureUnion([("raw", FunctionTransformer()), ("rewards", FrozenEstimator(model))]).fit(X)
    assert_array_equal(union.transform(X), np.hstack([X, model.transform(X)]))


# -- scikit-learn's settings ----------------------------------------------------------------------------------------


class WordsOfResponses(TfidfVectorizer):
    """A sparse encoder of responses."""

    def build_preprocessor(self):
        return itemgetter(1)


def encoder_steps():
    return make_pipeline(WordsOfResponses(max_features=40), TruncatedSVD(4, random_state=0))


@pytest.fixture(scope="module")
def texts():
    return load_style_preferences(n_users=20, n_pairs=8, random_state=0).episodes


def rewards_of(encoder, texts, memory=None):
    """Everything that encodes, of a model that is fitted, asked, adapted and judged."""
    fitted = MetaRewardModel(encoder, memory=memory, max_epochs=0, random_state=0).fit(texts)
    user = fitted.adapt(texts[0])
    single = fitted.score("Tea?", "Yes.")
    return [
        fitted.predict(texts.items),
        user.predict(texts.items),
        single,
        fitted.score(texts),
        fitted.base_rewards_.of_episodes(texts),
    ]


@pytest.mark.parametrize("make", [HashedTextEncoder, encoder_steps], ids=["hashed", "pipeline"])
@pytest.mark.parametrize(
    "setting",
    [
        {"transform_output": "pandas"},
        {"transform_output": "polars"},
        {"assume_finite": True},
        {"enable_metadata_routing": True},
        {"working_memory": 1},
        {"skip_parameter_validation": True},
    ],
    ids=lambda setting: "=".join(map(str, *setting.items())),
)
def test__set_config__whatever_it_says__changes_no_number(make, setting, texts, tmp_path):
    expected = rewards_of(make(), texts)
    with config_context(**setting):
        for found, wanted in zip(rewards_of(make(), texts, tmp_path), expected, strict=True):
            assert_array_equal(found, wanted)


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test__set_output__of_an_encoder__changes_no_number(container, texts, tmp_path):
    expected = rewards_of(HashedTextEncoder(), texts)
    for encoder in (HashedTextEncoder(), TextEncoder()):
        for found, wanted in zip(rewards_of(encoder.set_output(transform=container), texts), expected, strict=True):
            assert_array_equal(found, wanted)


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test__set_config__frames__reach_reports_stores_and_displays(container, texts, tmp_path):
    plain = MetaRewardModel(max_epochs=0, random_state=0).fit(texts)
    report = personalization_report(plain, texts, n_splits=1)
    display = BaseRewardDisplay.from_estimator(plain, texts)
    store = EmbeddingStore(tmp_path, HashedTextEncoder().fit(texts.items))
    stored = MetaRewardModel(memory=store, max_epochs=0, random_state=0).fit(texts)
    with config_context(transform_output=container):
        assert personalization_report(plain, texts, n_splits=1).verdict == report.verdict
        assert_array_equal(BaseRewardDisplay.from_estimator(plain, texts).correlations, display.correlations)
        assert_array_equal(
            MetaRewardModel(memory=store, max_epochs=0, random_state=0).fit(texts).predict(texts.items),
            stored.predict(texts.items),
        )
        frame = plain.transform(texts.items)
        assert list(frame.columns) == plain.get_feature_names_out().tolist()
        assert_array_equal(np.asarray(frame), plain.base_rewards_.of_items(texts.items))
