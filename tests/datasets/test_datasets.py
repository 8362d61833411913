"""Simulated users: the laws by which they choose, and the texts that they choose between."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmrm.datasets import load_style_preferences, make_user_preferences, oracle_accuracy, true_gaps

TRAITS = ["length", "warmth", "structure", "formality", "examples", "hedging"]
FAMILIES = ["low_rank", "clusters", "idiosyncratic"]


@pytest.fixture(scope="module")
def corpus():
    """Prompts, texts and traits, as the file has them."""
    text = files("skmrm.datasets").joinpath("data").joinpath("style_corpus.json").read_text(encoding="utf-8")
    return json.loads(text)


@pytest.fixture(scope="module")
def texts(corpus):
    return [response["text"] for entry in corpus["prompts"] for response in entry["responses"]]


@pytest.fixture(scope="module")
def traits(corpus):
    rows = [response["traits"] for entry in corpus["prompts"] for response in entry["responses"]]
    return {name: np.array([row[name] for row in rows]) for name in TRAITS}


# -- the texts ---------------------------------------------------------------------------------------------------


def test__corpus__header_and_sizes__as_documented(corpus, texts):
    assert (corpus["version"], corpus["licence"], corpus["trait_names"]) == (1, "BSD-3-Clause", TRAITS)
    assert len({entry["prompt"] for entry in corpus["prompts"]}) == 60
    assert [len(entry["responses"]) for entry in corpus["prompts"]] == [6] * 60
    assert len(set(texts)) == 360
    words = np.array([len(text.split()) for text in texts])
    assert words.min() >= 17
    assert words.max() <= 155


def test__corpus__traits__balanced_and_uncorrelated(traits):
    values = np.array([traits[name] for name in TRAITS])
    assert np.abs(values).max() <= 1
    np.testing.assert_allclose(values.mean(axis=1), 0, atol=0.1)
    assert values.std(axis=1).min() > 0.7
    within = values.reshape(6, 60, 6)
    within = (within - within.mean(axis=2, keepdims=True)).reshape(6, -1)  # what a choice between answers can show
    for table in (values, within):
        assert np.abs(np.corrcoef(table) - np.eye(6)).max() < 0.1


def test__corpus__each_prompt__every_trait_varies(traits):
    for name in TRAITS:
        assert np.ptp(traits[name].reshape(60, 6), axis=1).min() >= 1, name


def test__corpus__length__is_the_documented_function_of_words(texts, traits):
    words = np.array([len(text.split()) for text in texts])
    np.testing.assert_allclose(traits["length"], np.clip(np.log2(words / 62), -1, 1), atol=0.0051)


def test__corpus__extreme_traits__follow_their_definitions(texts, traits):
    def those(name, value):
        return [text for text, trait in zip(texts, traits[name], strict=True) if trait == value]

    assert not [t for t in those("structure", -1) if "\n" in t]
    assert not [t for t in those("structure", 1) if not re.search(r"^(- |\d\. |\*\*)", t, flags=re.MULTILINE)]
    assert not [t for t in those("formality", 1) if re.search(r"n't|'(re|ll|ve|m|cause)\b|gonna|kinda", t)]
    assert not [t for t in those("examples", -1) if re.search(r"for example|for instance|e\.g\.|such as", t)]


def test__corpus__texts__share_no_long_phrase(texts):
    seen: dict[tuple[str, ...], int] = {}
    for number, text in enumerate(texts):
        words = re.findall(r"[a-z']+", text.lower())
        for start in range(len(words) - 7):
            assert seen.setdefault(tuple(words[start : start + 8]), number) == number, words[start : start + 8]


HEDGES = r"\b(maybe|perhaps|probably|possibly|might|may|could|would|seems?|appears?|likely|depends?|tends?)\b"
SURE = r"\b(always|never|definitely|certainly|absolutely|invariably|must|exactly|completely|undoubtedly)\b"
WARM = r"\b(lov\w+|wonder\w+|delight\w*|joy\w*|kind\w*|happy|proud|pleas\w+|enjoy\w*|great\w*|courage|heart|lucky)\b"
COLD = r"\b(stop|do not|don't|quit|nobody|useless|error|fault|fail\w*|waste\w*|bad|cannot|won't|ignore|nothing)\b"
SLANG = r"\b(gonna|gotta|kinda|yeah|stuff|folks|bloke|chuck|dodgy|loads|grab|outta|reckon|bits?|honestly|dead|guess)\b"
FORMAL = r"\b(one|upon|whereas|ought|shall|require[sd]?|suitable|sufficient|whose|which|conduct|is to be|are to be)\b"
EXAMPLES = r"\b(for example|for instance|e\.g\.|such as|say,|like)"


def simple_statistics(text: str) -> list[float]:
    """Counts that any reader of a text could make."""
    lower, lines = text.lower(), text.split("\n")
    words = re.findall(r"[a-z']+", lower)

    def rate(pattern: str) -> float:
        return (30 * len(re.findall(pattern, lower)) / len(words)) ** 0.5

    return [
        np.log(len(words)),
        rate(r"\b\w+'(s|t|re|ve|ll|d|m)\b|'cause|'em"),
        sum(bool(re.match(r"(- |\d\. )", line)) for line in lines) / len(words) ** 0.5,
        float("**" in text or "## " in text),
        np.log1p(text.count("\n\n")),
        rate("!"),
        float("!" in text),
        rate(r"\byou\w*\b"),
        np.mean([len(word) for word in words]),
        rate(r"[0-9]"),
        float(len(re.findall(EXAMPLES, lower)) > 1),
        *(rate(pattern) for pattern in (EXAMPLES, HEDGES, SURE, WARM, COLD, SLANG, FORMAL)),
    ]


def test__corpus__traits__readable_from_simple_statistics_on_prompts_not_seen(texts, traits):
    X = np.array([simple_statistics(text) for text in texts])
    prompt = np.repeat(np.arange(60), 6)
    reader = make_pipeline(StandardScaler(), Ridge(alpha=10.0))
    for name in TRAITS:
        read = cross_val_predict(reader, X, traits[name], groups=prompt, cv=GroupKFold(10))
        r2 = 1 - np.mean((traits[name] - read) ** 2) / np.var(traits[name])
        assert r2 >= 0.5, (name, r2)


# -- laws that both simulations obey -----------------------------------------------------------------------------

SIMULATIONS = [
    pytest.param(lambda **kw: load_style_preferences(**kw), id="style"),
    *(pytest.param(lambda f=f, **kw: make_user_preferences(family=f, **kw), id=f) for f in FAMILIES),
]


def columns(data):
    episodes = data.episodes
    return np.array([episodes.user, episodes.chosen, episodes.rejected, episodes.group])


@pytest.mark.parametrize("simulate", SIMULATIONS)
@pytest.mark.parametrize("noise", [0.0, 0.4])
def test__choices__rate_by_true_gap__is_bradley_terry_with_lapses(simulate, noise):
    data = simulate(n_users=800, n_pairs=40, noise=noise, random_state=3)
    gap = true_gaps(data)
    gap = np.where(data.episodes.chosen < data.episodes.rejected, gap, -gap)  # of the item that comes first
    first_chosen = data.episodes.chosen < data.episodes.rejected
    law = (1 - noise) / (1 + np.exp(-gap)) + noise / 2
    for chunk in np.array_split(np.argsort(gap), 12):
        spread = np.sqrt(np.mean(law[chunk] * (1 - law[chunk])) / len(chunk))
        assert abs(first_chosen[chunk].mean() - law[chunk].mean()) < 4 * spread


@pytest.mark.parametrize("simulate", SIMULATIONS)
def test__oracle_accuracy__expected_value__is_mean_of_the_better_odds(simulate):
    data = simulate(n_users=500, n_pairs=40, random_state=4)
    expected = np.mean(1 / (1 + np.exp(-np.abs(true_gaps(data)))))
    assert abs(oracle_accuracy(data) - expected) < 4 * np.sqrt(0.25 / 20_000)
    assert oracle_accuracy(data) > oracle_accuracy(data, personal=False) + 0.1 > 0.65


@pytest.mark.parametrize("simulate", SIMULATIONS)
def test__oracle_accuracy__rising_lapse_rate__falls_to_chance(simulate):
    low, middle, all_lapses = (
        oracle_accuracy(simulate(n_users=400, noise=noise, random_state=5)) for noise in (0.0, 0.5, 1.0)
    )
    assert abs(all_lapses - 0.5) < 4 * np.sqrt(0.25 / 12_000)
    assert abs(middle - (low + 0.5) / 2) < 0.02


@pytest.mark.parametrize("simulate", SIMULATIONS)
def test__random_state__same_seed__same_bits(simulate):
    def draw(random_state):
        data = simulate(n_users=9, n_pairs=(1, 7), random_state=random_state)
        table = data.traits if "traits" in data else data.episodes.features
        return np.concatenate([columns(data).ravel(), table.ravel(), true_gaps(data)])

    np.testing.assert_array_equal(draw(7), draw(7))
    np.testing.assert_array_equal(draw(7), draw(np.random.default_rng(7)))
    np.testing.assert_array_equal(draw(np.random.RandomState(7)), draw(np.random.RandomState(7)))
    for state in (np.random.default_rng(7), np.random.RandomState(7), None):  # advanced, or fresh
        assert not np.array_equal(draw(state), draw(state))


@settings(max_examples=30)
@given(
    n_users=st.integers(1, 12),
    low=st.integers(1, 30),
    extra=st.integers(0, 40),
    n_groups=st.integers(1, 5),
    group_size=st.integers(2, 4),
    n_features=st.integers(2, 6),
    family=st.sampled_from(FAMILIES),
    seed=st.integers(0, 2**32 - 1),
)
def test__make_user_preferences__any_sizes__pairs_within_groups_and_spread_evenly(
    n_users, low, extra, n_groups, group_size, n_features, family, seed
):
    data = make_user_preferences(
        n_users, (low, low + extra), n_features, 2, family=family, n_groups=n_groups, n_items_per_group=group_size,
        random_state=seed,
    )  # fmt: skip
    episodes = data.episodes
    assert episodes.users.tolist() == [f"u{i}" for i in range(n_users)]
    assert episodes.features.shape == (n_groups * group_size, n_features)
    counts = episodes.pairs_per_user
    assert low <= counts.min() <= counts.max() <= low + extra
    user, chosen, rejected, group = columns(data)
    np.testing.assert_array_equal(chosen // group_size, group)
    np.testing.assert_array_equal(rejected // group_size, group)
    assert np.all(chosen != rejected)
    # No pair comes for the (k + 1)-th time before all came k times.
    n_options = n_groups * group_size * (group_size - 1) // 2
    pair = np.minimum(chosen, rejected) * episodes.n_items + np.maximum(chosen, rejected)
    for row in range(n_users):
        assert np.unique(pair[user == row], return_counts=True)[1].max() == -(-counts[row] // n_options)


@settings(max_examples=15)
@given(n_users=st.integers(1, 8), n_pairs=st.integers(1, 1000), seed=st.integers(0, 2**32 - 1))
def test__load_style_preferences__any_sizes__answers_to_one_prompt_and_no_repeats(n_users, n_pairs, seed):
    data = load_style_preferences(n_users, n_pairs, random_state=seed)
    assert data.episodes.pairs_per_user.tolist() == [n_pairs] * n_users
    user, chosen, rejected, group = columns(data)
    prompts = np.array([prompt for prompt, _ in data.episodes.items])
    np.testing.assert_array_equal(prompts[chosen], prompts[rejected])
    np.testing.assert_array_equal(prompts[chosen], prompts[::6][group])
    pair = np.unique(np.stack([user, np.minimum(chosen, rejected), np.maximum(chosen, rejected)]), axis=1)
    assert pair.shape[1] == n_users * min(n_pairs, 900)


# -- users over features -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test__make_user_preferences__rewards__are_weighted_base_functions(family):
    data = make_user_preferences(60, 5, 8, 3, family=family, hard_fraction=0.2, random_state=0)
    rank = 8 if family == "idiosyncratic" else 3
    np.testing.assert_allclose(data.base_functions @ data.base_functions.T, np.eye(rank), atol=1e-12)
    np.testing.assert_allclose(data.coef, data.weights @ data.base_functions, atol=1e-12)
    np.testing.assert_allclose(data.mean_coef, data.mean_weights @ data.base_functions, atol=1e-12)
    assert np.linalg.matrix_rank(data.coef) == rank
    assert (data.cluster is not None) == (family == "clusters")


def test__make_user_preferences__clusters__one_deviation_each():
    data = make_user_preferences(90, 5, 8, 4, family="clusters", random_state=0)
    assert len(np.unique(data.cluster)) == len(np.unique(data.coef.round(9), axis=0)) == 4
    for row, cluster in zip(data.weights - data.mean_weights, data.cluster, strict=True):
        assert np.argmax(row) == cluster
        assert abs(row.sum()) < 1e-12


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("shared", "personal"), [(2.0, 0.0), (0.0, 3.0), (1.0, 2.0)])
def test__make_user_preferences__strengths__are_gaps_in_logits(family, shared, personal):
    gaps = [
        true_gaps(
            make_user_preferences(
                500, 40, family=family, shared_strength=shared, personal_strength=personal, n_groups=400, random_state=s
            )
        )
        for s in range(3)
    ]
    size = np.sqrt(np.mean(np.square(gaps)))
    assert abs(size / np.hypot(shared, personal) - 1) < 0.08
    data = make_user_preferences(5, 5, shared_strength=shared, personal_strength=personal)
    assert data.reward_scale == np.hypot(shared, personal)


def test__make_user_preferences__hard_users__oppose_the_crowd():
    data = make_user_preferences(1000, 30, hard_fraction=0.3, personal_strength=1.0, random_state=1)
    assert data.hard.sum() == 300
    spread = 4 * (1.0 / np.sqrt(2 * 3)) / np.sqrt(300)
    np.testing.assert_allclose(data.weights[data.hard].mean(axis=0), -data.mean_weights, atol=spread)
    np.testing.assert_allclose(data.weights[~data.hard].mean(axis=0), data.mean_weights, atol=spread)
    hard, others = data.episodes[data.hard], data.episodes[~data.hard]
    assert oracle_accuracy(data, hard, personal=False) < 0.4 < 0.6 < oracle_accuracy(data, others, personal=False)
    assert abs(oracle_accuracy(data, hard) - oracle_accuracy(data, others)) < 0.03


def test__make_user_preferences__no_deviations__weights_are_plus_or_minus_the_mean():
    data = make_user_preferences(10, 5, personal_strength=0, hard_fraction=0.4, random_state=2)
    np.testing.assert_array_equal(data.weights, np.where(data.hard, -1, 1)[:, None] * data.mean_weights)


def test__make_user_preferences__group_effect__cancels_in_the_gaps():
    near, far = (make_user_preferences(20, 9, group_effect=effect, random_state=0) for effect in (0.0, 10.0))
    np.testing.assert_array_equal(columns(near), columns(far))
    np.testing.assert_allclose(true_gaps(near), true_gaps(far), atol=1e-9)
    centres = far.episodes.features.reshape(100, 6, 20).mean(axis=1)
    assert 9 < centres.std() < 11


def test__make_user_preferences__tuple_of_sizes__every_size_from_low_to_high():
    counts = make_user_preferences(300, (2, 5), random_state=0).episodes.pairs_per_user
    assert np.unique(counts).tolist() == [2, 3, 4, 5]


def test__make_user_preferences__bad_parameters__all_named_at_once():
    with pytest.raises(ValueError, match="make_user_preferences: n_users must") as caught:
        make_user_preferences(
            0, (5, 2), True, family="x", noise=1.5, hard_fraction=float("nan"), n_items_per_group=1, random_state="a"
        )
    for name in ("n_users", "n_pairs", "n_features", "n_items_per_group", "noise", "hard_fraction", "family",
                 "random_state"):  # fmt: skip
        assert f" {name} must be " in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_features": 2, "n_bases": 3}, "n_bases must be at most n_features = 2, got 3"),
        ({"family": "clusters", "n_bases": 1}, r"n_bases must be an integer of at least 2, got 1 \(one for each"),
        ({"n_pairs": 0}, r"or a tuple \(low, high\) of two, got 0"),
        ({"n_pairs": (1, 2, 3)}, r"1 <= low <= high, got \(1, 2, 3\)"),
        ({"personal_strength": -1}, "personal_strength must be a finite number of at least 0, got -1"),
        ({"shared_strength": "1"}, "shared_strength must be a finite number of at least 0, got '1'"),
        ({"random_state": -1}, "random_state must be an integer of at least 0"),
    ],
)
def test__make_user_preferences__one_bad_parameter__named_with_its_value(parameters, message):
    with pytest.raises(ValueError, match=message):
        make_user_preferences(**parameters)


def test__make_user_preferences__idiosyncratic__ignores_n_bases():
    data = make_user_preferences(4, 3, 2, 50, family="idiosyncratic", random_state=0)
    assert data.weights.shape == data.coef.shape == (4, 2)


# -- users over texts --------------------------------------------------------------------------------------------


def test__load_style_preferences__fields__fit_together(traits):
    data = load_style_preferences(n_users=12, n_pairs=4)
    assert data.taste_names == TRAITS
    np.testing.assert_array_equal(data.traits, np.stack([traits[name] for name in TRAITS], axis=1))
    np.testing.assert_array_equal(data.rewards, data.tastes @ data.traits.T)
    user, chosen, rejected, _ = columns(data)
    np.testing.assert_allclose(true_gaps(data), data.rewards[user, chosen] - data.rewards[user, rejected], atol=1e-12)
    assert "SIMULATED" in data.DESCR
    assert "written for this package" in data.DESCR


def test__load_style_preferences__tastes__scatter_around_the_mean():
    data = load_style_preferences(n_users=4000, n_pairs=1, taste_strength=0.5)
    np.testing.assert_allclose(data.tastes.mean(axis=0), data.mean_taste, atol=4 * 0.5 / np.sqrt(4000))
    np.testing.assert_allclose(data.tastes.std(axis=0), 0.5, rtol=0.06)
    one_taste = load_style_preferences(n_users=3, n_pairs=1, taste_strength=0)
    np.testing.assert_array_equal(one_taste.tastes, np.tile(one_taste.mean_taste, (3, 1)))
    assert oracle_accuracy(one_taste) == oracle_accuracy(one_taste, personal=False)


def test__load_style_preferences__taste_types__shared_by_their_users():
    data = load_style_preferences(n_users=100, n_pairs=1, n_taste_types=3)
    types, first = np.unique(data.taste_type, return_index=True)
    assert types.tolist() == [0, 1, 2]
    assert len(np.unique(data.tastes, axis=0)) == 3
    np.testing.assert_array_equal(data.tastes, data.tastes[first][data.taste_type])
    assert load_style_preferences(n_users=2, n_pairs=1).taste_type is None


def test__load_style_preferences__changed_result__next_call_unharmed():
    first = load_style_preferences(n_users=2, n_pairs=2)
    first.traits[:] = 9
    first.episodes.items.clear()
    second = load_style_preferences(n_users=2, n_pairs=2)
    assert np.abs(second.traits).max() <= 1
    assert len(second.episodes.items) == 360


def test__load_style_preferences__bad_parameters__all_named_at_once():
    with pytest.raises(ValueError, match="load_style_preferences: n_users must") as caught:
        load_style_preferences(2.5, (0, 3), n_taste_types=0, taste_strength=float("inf"), noise=-0.1)
    for name in ("n_users", "n_pairs", "n_taste_types", "taste_strength", "noise"):
        assert f" {name} must be " in str(caught.value)


# -- the oracle --------------------------------------------------------------------------------------------------


def test__oracle_accuracy__some_users__is_the_mean_of_theirs():
    data = make_user_preferences(6, (3, 9), random_state=0)
    alone = [oracle_accuracy(data, data.episodes[[row]]) for row in range(6)]
    assert oracle_accuracy(data, data.episodes[[5, 1]]) == pytest.approx((alone[5] + alone[1]) / 2)
    assert oracle_accuracy(data) == pytest.approx(np.mean(alone))
    right = true_gaps(data, data.episodes[[1]]) > 0
    assert alone[1] == pytest.approx(right.mean())


def test__oracle_accuracy__users_left_without_pairs__are_not_counted():
    data = make_user_preferences(4, 6, random_state=0)
    kept = data.episodes.take_pairs(data.episodes.user == 2)
    assert oracle_accuracy(data, kept) == oracle_accuracy(data, data.episodes[[2]])


def test__oracle_accuracy__equal_rewards__count_one_half():
    data = make_user_preferences(4, 6, shared_strength=0, personal_strength=0, random_state=0)
    assert oracle_accuracy(data) == oracle_accuracy(data, personal=False) == 0.5


def test__true_gaps__strangers__named():
    data = make_user_preferences(2, 3, random_state=0)
    other = make_user_preferences(4, 3, n_groups=7, random_state=0)
    with pytest.raises(ValueError, match=r"got 'u2', 'u3'(.|\n)*over the 600 items .* got 42 items"):
        true_gaps(data, other.episodes)


# -- the package -------------------------------------------------------------------------------------------------


def test__datasets__import__loads_nothing_heavy():
    code = "import sys, skmrm.datasets as d; print(sorted({'sklearn', 'torch', 'scipy'} & set(sys.modules)), dir(d))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("[] ")
    assert "load_style_preferences" in shown
