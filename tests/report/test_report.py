"""The report: verdicts that say what is planted and no more, warnings that fire on their own data only."""

import matplotlib as mpl
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skmrm import MetaRewardModel, personalization_report
from skmrm.datasets import make_user_preferences, true_gaps
from skmrm.episodes import EpisodeSet, episodes_from_arrays
from skmrm.metrics import Interval, share_helped, simultaneous_intervals, user_accuracies, user_log_losses
from skmrm.model_selection import Comparison, adaptation_curve
from skmrm.report.verdict import percent, word_verdict
from skmrm.splits import split_users_and_groups, support_query_split

QUICK = {"support_sizes": (0, 3, None), "n_splits": 2}


class Stub:
    """An estimator whose margins are given: before any choice, and once a user made one."""

    encoder_ = None

    def __init__(self, before, after):
        self.before, self.after = before, after

    def adapt_many(self, episodes):
        return StubUsers(self, dict(zip(episodes.users, episodes.pairs_per_user > 0, strict=True)))


class StubUsers:
    def __init__(self, model, knows):
        self.model, self.knows = model, knows

    def decision_function(self, episodes):
        knows = np.array([self.knows[episodes.users[row]] for row in episodes.user], bool)
        return np.where(knows, self.model.after(episodes), self.model.before(episodes))


@pytest.fixture(scope="module")
def data():
    """Sixty users with tastes of their own, twelve pairs each, groups that keep items apart: nothing to warn of."""
    return make_user_preferences(n_users=60, n_pairs=12, n_features=4, n_bases=2, random_state=0)


@pytest.fixture(scope="module")
def public(data):
    return lambda episodes: true_gaps(data, episodes, personal=False)


@pytest.fixture(scope="module")
def personal(data):
    return lambda episodes: true_gaps(data, episodes)


@pytest.fixture(scope="module")
def helps(data, public, personal):
    return personalization_report(Stub(public, personal), data.episodes, **QUICK)


def small_set(users, chosen, rejected, groups=None, n_items=200):
    return episodes_from_arrays(np.random.default_rng(0).normal(size=(n_items, 2)), chosen, rejected, users, groups)


def report_on(episodes, **options):
    """A report whose model says the same of every pair: what is looked at are the data."""
    stub = Stub(lambda found: np.ones(found.n_pairs), lambda found: np.full(found.n_pairs, 2.0))
    return personalization_report(stub, episodes, **(QUICK | options))


# -- verdicts on planted data ----------------------------------------------------------------------------------------


def test__report__planted_tastes__helps(helps):
    assert helps.verdict.startswith("Adapting on all of a user's choices (the median user has 6) helps: +")
    assert "over the model before adaptation" in helps.verdict
    assert "It helps from 3 choices on." in helps.verdict
    assert helps.warnings == []


def test__report__fitted_model_on_planted_tastes__helps_over_its_pooled_model(model, episodes):
    report = personalization_report(model, episodes, **QUICK)
    assert "helps: +" in report.verdict
    assert report.reference == "one pooled model"
    pooled = adaptation_curve(model.pooled_model_, episodes, support_sizes=[None], n_splits=2, random_state=0)
    assert report.baseline_curve.users.tolist() == pooled.users.tolist()
    assert_array_equal(report.baseline_curve.accuracy[0], report.baseline_curve.accuracy[2])
    assert report.comparisons[2].gain.low > 0


def test__report__model_that_never_adapts__gains_exactly_nothing_and_says_so(data, public):
    report = personalization_report(Stub(public, public), data.episodes, **QUICK)
    assert report.verdict == (
        "The model is not adaptive: it chose no personalisation, and no number of choices changes its predictions."
    )
    for row in report.comparisons:
        assert row.gain == Interval(0.0, 0.0, 0.0)
        assert (row.helped, row.hurt) == (0.0, 0.0)


def test__report__fitted_model_without_personal_signal__finds_neither_help_nor_harm():
    data = make_user_preferences(n_users=80, n_pairs=10, n_features=4, personal_strength=0, random_state=0)
    model = MetaRewardModel(n_bases=3, max_epochs=0, random_state=0, device="cpu").fit(data.episodes[:50])
    report = personalization_report(model, data.episodes[50:], **QUICK)
    assert "makes no difference beyond noise" in report.verdict or "is not adaptive" in report.verdict


def test__report__fitted_model_that_chose_no_personalisation__is_not_adaptive(episodes):
    pooled = MetaRewardModel(n_bases=3, max_epochs=0, validation_fraction=0, device="cpu").fit(episodes[:20])
    report = personalization_report(pooled, episodes[20:], **QUICK)
    assert report.reference == "one pooled model"
    assert report.verdict.startswith("The model is not adaptive: it chose no personalisation")
    assert all(row.gain == Interval(0.0, 0.0, 0.0) for row in report.comparisons)


def test__report__reference_without_preferences__is_said_to_be_a_coin(data, public, personal, helps):
    flat = Stub(lambda found: np.zeros(found.n_pairs), personal)
    said = "The reference prefers no response to another: 0.500 is a coin's accuracy"
    assert said in str(personalization_report(flat, data.episodes, **QUICK))
    assert said not in str(helps)
    assert said not in str(personalization_report(flat, data.episodes[:5], **QUICK))


def test__report__adapting_to_noise__makes_no_difference(data, public):
    def shaken(episodes):
        return public(episodes) + 0.3 * np.sin(1000.0 * episodes.chosen + 777.0 * episodes.rejected)

    report = personalization_report(Stub(public, shaken), data.episodes, **QUICK)
    assert "makes no difference beyond noise" in report.verdict
    assert "The same holds from 3 choices on." in report.verdict
    assert report.comparisons[2].gain.low < 0 < report.comparisons[2].gain.high


def test__report__adapting_that_turns_tastes_round__harms(data, public):
    report = personalization_report(Stub(public, lambda episodes: -public(episodes)), data.episodes, **QUICK)
    assert " harms: -" in report.verdict
    assert "It harms from 3 choices on." in report.verdict
    assert "helps" not in report.verdict


def test__report__explicit_baseline__is_named_and_compared_with(data, public, personal):
    better = Stub(personal, personal)
    report = personalization_report(Stub(public, personal), data.episodes, baseline=better, **QUICK)
    assert report.reference == "the baseline (Stub)"
    assert report.comparisons[2].gain == Interval(0.0, 0.0, 0.0)
    assert report.comparisons[0].gain.high < 0
    assert "Before any choice the model is already worse than the baseline (Stub): -" in report.verdict


def test__report__random_state__gives_the_same_report_again_and_pairs_both_models(data, public, personal, helps):
    again = personalization_report(Stub(public, personal), data.episodes, **QUICK)
    assert again.comparisons == helps.comparisons
    same = adaptation_curve(Stub(public, personal), data.episodes, random_state=0, **QUICK)
    assert_array_equal(helps.curve.accuracy, same.accuracy)
    drawn = personalization_report(Stub(public, public), data.episodes, random_state=np.random.default_rng(1), **QUICK)
    assert_array_equal(drawn.curve.accuracy, drawn.baseline_curve.accuracy)


def test__report__fits_nothing(model, episodes, monkeypatch):
    monkeypatch.setattr(type(model), "fit", lambda *_: pytest.fail("a report must not fit"))
    personalization_report(model, episodes, **QUICK)


# -- wording ---------------------------------------------------------------------------------------------------------


def verdict_on(gains, n_users=100, **options):
    """Verdict on gains in points, one (estimate, low, high) for each number of choices."""
    rows = [
        Comparison(size, n_users, Interval(*np.divide(gain, 100)), Interval(0, 0, 0), Interval(0, 0, 0), 0.61, 0.24)
        for size, gain in gains.items()
    ]
    options = {"reference": "one pooled model", "adaptive": True, "n_judged": 100, "median_support": 12.5} | options
    return word_verdict(rows, **options)


UP, DOWN, FLAT, ZERO = (1.4, 0.8, 2.0), (-1.0, -1.6, -0.4), (0.04, -0.6, 0.7), (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        (
            {0: ZERO, 1: FLAT, 3: UP, 10: UP},
            "Adapting on 10 choices helps: +1.4 points [0.8, 2.0] over one pooled model; 61 % of users are helped, "
            "24 % hurt. It helps from 3 choices on. Below 3 choices there is no difference beyond noise.",
        ),
        (
            {None: UP, 1: DOWN, 3: FLAT, 10: UP},
            "Adapting on all of a user's choices (the median user has 12.5) helps: +1.4 points [0.8, 2.0] over one "
            "pooled model; 61 % of users are helped, 24 % hurt. It helps from 10 choices on. With 1 choice it harms "
            "(-1.0 points [-1.6, -0.4]). With 3 choices there is no difference beyond noise.",
        ),
        (
            {1: FLAT, 3: FLAT},
            "Adapting on 3 choices makes no difference beyond noise: +0.0 points [-0.6, 0.7] against one pooled model; "
            "61 % of users are helped, 24 % hurt. The same holds from 1 choice on.",
        ),
        (
            {1: UP, 3: UP, 10: DOWN},
            "Adapting on 10 choices harms: -1.0 points [-1.6, -0.4] against one pooled model; 61 % of users are "
            "helped, 24 % hurt. With 1 and 3 choices it helps (+1.4 points [0.8, 2.0]; +1.4 points [0.8, 2.0]).",
        ),
        (
            {1: FLAT, None: UP},
            "Adapting on all of a user's choices (the median user has 12.5) helps: +1.4 points [0.8, 2.0] over one "
            "pooled model; 61 % of users are helped, 24 % hurt. Below that there is no difference beyond noise.",
        ),
        ({0: ZERO}, "Nothing can be said of adapting: at no number of choices above 0 are half of the users judged."),
    ],
)
def test__word_verdict__each_outcome__is_said_in_words(gains, expected):
    assert verdict_on(gains) == expected


def test__word_verdict__few_users__calls_nothing_a_gain():
    said = verdict_on({3: UP}, n_users=9, n_judged=9)
    assert said == "Too few users to tell: 9 users are judged, and at least 10 are needed to tell a gain from noise."
    assert "1 user is judged" in verdict_on({3: UP}, n_users=1, n_judged=1)


def test__word_verdict__largest_number_reached_by_few__is_not_the_headline():
    rows = {3: FLAT, 10: UP}
    few = [
        Comparison(size, {3: 100, 10: 49}[size], Interval(*np.divide(gain, 100)), *[Interval(0, 0, 0)] * 2, 0.5, 0.5)
        for size, gain in rows.items()
    ]
    said = word_verdict(few, reference="it", adaptive=True, n_judged=100, median_support=5)
    assert said.startswith("Adapting on 3 choices makes no difference")
    assert "10" not in said


def test__word_verdict__not_adaptive_against_another_model__says_how_they_compare():
    said = verdict_on({0: UP, 3: UP}, adaptive=False, reference="the baseline (LowRankRewards)")
    assert said.endswith("Against the baseline (LowRankRewards) it makes +1.4 points [0.8, 2.0].")


@pytest.mark.parametrize(("share", "said"), [(0, "0 %"), (0.001, "under 1 %"), (0.006, "1 %"), (0.614, "61 %")])
def test__percent__small_share__is_not_nothing(share, said):
    assert percent(share) == said


# -- table and looks -------------------------------------------------------------------------------------------------


def test__report__table__holds_the_numbers_of_curves_and_comparisons(helps):
    table = helps.table
    assert table.index.tolist() == [0, 3, "all"]
    row = table.loc["all"]
    assert row["accuracy"] == pytest.approx(helps.curve.accuracy[2].mean())
    assert row["baseline_accuracy"] == pytest.approx(helps.baseline_curve.accuracy[2].mean())
    assert row["gain"] == pytest.approx(row["accuracy"] - row["baseline_accuracy"])
    assert (row["gain_low"], row["gain_high"]) == (helps.comparisons[2].gain.low, helps.comparisons[2].gain.high)
    assert row["worst_decile_gain_low"] == helps.comparisons[2].worst_decile_gain.low
    assert row["log_loss_change_high"] == helps.comparisons[2].log_loss_change.high
    assert (row["helped"], row["hurt"]) == share_helped(helps.curve.accuracy[2], helps.baseline_curve.accuracy[2])
    assert row["calibration_error"] == helps.curve.reliability[2].calibration_error
    assert row["n_users"] == 60


def test__report__print__shows_verdict_table_and_warnings(data, public, personal):
    report = personalization_report(Stub(public, personal), data.episodes[:20], support_sizes=(0, 3, 100), n_splits=1)
    lines = str(report).splitlines()
    assert lines[0] == report.verdict
    header = next(line for line in lines if "choices  users" in line)
    assert header.split()[:3] == ["choices", "users", "accuracy"]
    assert "[0.0, 0.0]" in lines[lines.index(header) + 1]
    assert lines[lines.index(header) + 3] == ""  # no row for 100 choices
    assert "No user has 100 choices to adapt on." in lines
    assert len(report.comparisons) == len(report.table) == 3
    assert "Reference: the model before adaptation. 95 % intervals" in str(report)
    assert lines[-1] == f"- {report.warnings[-1]}"
    assert all(len(line.rstrip()) <= 125 for line in lines if not line.startswith(("-", "Adapting")))


def test__report__html__is_escaped_and_holds_a_row_for_each_number_that_users_have():
    users = np.repeat(["<b>ann</b>", "<script>", "cy", "di"], 6)
    pairs = np.tile(np.arange(6), 4)
    report = report_on(small_set(users, 2 * pairs, 2 * pairs + 1, np.tile([0, 0, 0, 1, 1, 1], 4)))
    html = report._repr_html_()
    assert any("<b>ann</b>" in warning for warning in report.warnings)
    assert "&lt;b&gt;ann&lt;/b&gt;" in html
    assert "<b>" not in html
    assert "<script>" not in html
    assert html.count("<tr>") == 1 + sum(row.n_users > 0 for row in report.comparisons)


def test__report__markdown__has_the_rows_and_names_nobody_where_nobody_is_to_be_named():
    users = np.repeat(["<b>ann</b>", "bo", "cy", "di"], 6)
    pairs = np.tile(np.arange(6), 4)
    report = report_on(small_set(users, 2 * pairs, 2 * pairs + 1, np.tile([0, 0, 0, 1, 1, 1], 4)))
    shown, shared = report.to_markdown(), report.to_markdown(names=False)
    lines = shown.splitlines()
    assert lines[0] == f"**{report.verdict}**"
    assert sum(line.startswith("| ") for line in lines) == 2 + sum(row.n_users > 0 for row in report.comparisons)
    assert len({line.count("|") for line in lines if line.startswith("| ")}) == 1
    assert "&lt;b&gt;ann&lt;/b&gt;" in shown
    assert "<b>" not in shown
    assert "ann" not in shared
    assert "4 users made the same choices on the same pairs as another user: intervals count" in shared


def test__report__plot__draws_both_curves_on_the_axes_given(helps):
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    display = helps.plot(ax=ax)
    assert display.ax_ is ax
    drawn = {tuple(np.round(line.get_ydata(), 12)) for line in ax.lines}
    for curve in (helps.curve, helps.baseline_curve):
        assert tuple(np.round(curve.accuracy.mean(1), 12)) in drawn
    plt.close(figure)


@pytest.mark.parametrize("level", [0.95, 0.6])
def test__report__plot__has_the_level_and_the_intervals_of_the_table(data, public, personal, level):
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    report = personalization_report(Stub(public, personal), data.episodes, level=level, random_state=3, **QUICK)
    gain = report.plot(gain=True)
    for column, drawn in (("gain", gain.estimate), ("gain_low", gain.low), ("gain_high", gain.high)):
        np.testing.assert_allclose(drawn[0], 100 * report.table[column])
    assert gain.ax_.get_ylabel() == "gain in accuracy over the model before adaptation (points)"
    accuracy = report.plot()
    for curve, low, high in zip((report.curve, report.baseline_curve), accuracy.low, accuracy.high, strict=True):
        expected = simultaneous_intervals(curve.accuracy, level=level)
        np.testing.assert_allclose([low, high], [[row.low for row in expected], [row.high for row in expected]])
    for display in (gain, accuracy):
        title = display.ax_.get_legend().get_title().get_text()
        assert f"{100 * level:g} %" in title
        assert "at all sizes at once" in title
        plt.close(display.figure_)


# -- warnings --------------------------------------------------------------------------------------------------------


def test__report__few_users__is_warned_of(data):
    assert "29 users are judged: intervals over fewer than 30" in " ".join(report_on(data.episodes[:29]).warnings)
    assert "1 user is judged" in " ".join(report_on(data.episodes[:1]).warnings)
    assert report_on(data.episodes[:30]).warnings == []


def test__report__users_in_one_group__are_counted(data):
    pairs = data.episodes.offsets[:-1][:4]
    rest = np.arange(data.episodes.n_pairs)[data.episodes.user >= 4]
    (warning,) = report_on(data.episodes.take_pairs(np.r_[pairs, rest])).warnings
    assert warning == "4 of 60 users are not judged, for lack of pairs in at least two groups"


def test__report__sizes_that_few_reach__are_listed(data):
    many = make_user_preferences(n_users=20, n_pairs=40, n_features=4, random_state=1).episodes
    user = np.r_[data.episodes.user, many.user + 60]
    columns = {name: np.r_[getattr(data.episodes, name), getattr(many, name)] for name in ("chosen", "rejected")}
    both = small_set(user, **columns, groups=np.r_[data.episodes.group, many.group], n_items=600)
    report = report_on(both, support_sizes=(0, 3, 15, 500))
    (warning,) = report.warnings
    assert "Few of the 80 users have so many support pairs: 15 (20 users)." in warning
    assert report.verdict.startswith("Adapting on 3 choices")


def test__report__groups_not_given__is_warned_of():
    user = np.repeat(np.arange(30), 4)
    (warning,) = report_on(small_set(user, np.arange(120), np.arange(120) + 1, n_items=121)).warnings[:1]
    assert "Every pair is a group of its own" in warning


def test__report__one_response_in_two_groups__gives_the_share_of_query_pairs():
    """Every user meets item 0 in each of four groups, so that each query pair holds it."""
    user = np.repeat(np.arange(30), 4)
    episodes = small_set(user, np.zeros(120, int), np.arange(1, 121), np.tile(np.arange(4), 30))
    (warning,) = report_on(episodes).warnings
    assert warning.startswith("100 % of query pairs hold a response that is in the same user's support, too")


def test__report__response_of_another_users_support__is_nothing_to_warn_of():
    """Everybody judges the same four pairs, none of which share an item, and users differ in their choices."""
    rng = np.random.default_rng(0)
    pairs = np.tile(np.arange(4), 40)
    swap = rng.random(160) < 0.5
    one, other = 2 * pairs, 2 * pairs + 1
    episodes = small_set(np.repeat(np.arange(40), 4), np.where(swap, one, other), np.where(swap, other, one), pairs)
    assert report_on(episodes).warnings == []


def test__report__identical_answers__are_counted_and_named(data):
    columns = {name: getattr(data.episodes, name) for name in ("chosen", "rejected", "group")}
    copied = np.flatnonzero(data.episodes.user == 7)[::-1]  # the same pairs in another order
    user = np.r_[data.episodes.users[data.episodes.user], ["bot"] * len(copied)]
    episodes = episodes_from_arrays(
        data.episodes.features,
        *(np.r_[columns[name], columns[name][copied]] for name in ("chosen", "rejected")),
        user,
        np.r_[columns["group"], columns["group"][copied]],
    )
    (warning,) = report_on(episodes).warnings
    assert warning.startswith("2 users made the same choices on the same pairs as another user ('u7', 'bot')")


def test__report__query_that_cuts_groups__gives_the_share_of_query_pairs(data):
    rng = np.random.default_rng(0)
    user, group = np.repeat(np.arange(30), 8), np.tile(np.repeat([0, 1], 4), 30)
    items = np.arange(480).reshape(240, 2)
    episodes = small_set(user, items[:, 0], items[:, 1], group, n_items=480)
    cut = report_on(episodes, query=np.tile([True, False], 120)).warnings
    assert len(cut) == 1
    assert cut[0].startswith("100 % of query pairs are of a group that the same user's support has pairs of")
    assert report_on(episodes, query=group == 1).warnings == []
    _, test, held_out = split_users_and_groups(data.episodes, 0.6, random_state=rng)
    assert not any("of a group" in warning for warning in report_on(test, query=held_out).warnings)


# -- users who were in fit -------------------------------------------------------------------------------------------

IN_FIT = " These are new choices of users who were in fit; of new users they say nothing."


def before_and_now(episodes):
    """What users chose before and what they choose now, of other groups."""
    now = support_query_split(episodes, random_state=0).query
    return episodes.take_pairs(~now), episodes.take_pairs(now)


def test__report__known_users__says_that_they_were_in_fit_and_judges_all_new_pairs(data, public, personal):
    known, now = before_and_now(data.episodes)
    report = personalization_report(Stub(public, personal), now, known=known, **QUICK)
    assert report.verdict.startswith("Adapting on all of a user's choices (the median user has 6) helps: +")
    assert report.verdict.endswith(IN_FIT)
    assert report.warnings == []
    for curve, margins in ((report.curve, personal(now)), (report.baseline_curve, public(now))):
        assert curve.users.tolist() == now.users.tolist()
        np.testing.assert_allclose(curve.accuracy[2], user_accuracies(margins, now.user))
    assert personalization_report(Stub(public, public), now, known=known, **QUICK).verdict == (
        "The model is not adaptive: it chose no personalisation, and no number of choices changes its predictions."
        + IN_FIT
    )


def test__report__known_users_of_a_fitted_model__reference_is_pooled_on_the_same_new_pairs(model, episodes):
    known, now = before_and_now(episodes)
    report = personalization_report(model, now, known=known, **QUICK)
    pooled = model.pooled_model_.adapt_many(known).decision_function(now)
    adapted = model.adapt_many(known).decision_function(now)
    assert report.reference == "one pooled model"
    for curve, margins in ((report.curve, adapted), (report.baseline_curve, pooled)):
        np.testing.assert_allclose(curve.accuracy[2], user_accuracies(margins, now.user))
        np.testing.assert_allclose(curve.log_loss[2], user_log_losses(margins, now.user), rtol=1e-6)
    same = adaptation_curve(model, now, known=known, random_state=0, **QUICK)
    assert_array_equal(report.curve.accuracy, same.accuracy)
    assert "in fit" not in personalization_report(model, episodes, **QUICK).verdict


def test__report__known_responses_come_again__gives_the_share_of_new_pairs():
    """Everybody met items 0 to 7 before; half of the new pairs hold one of them. Groups of new pairs may be known."""
    user, pair = np.repeat(np.arange(30), 4), np.tile(np.arange(4), 30)
    known = small_set(user, 2 * pair, 2 * pair + 1, pair)
    new = small_set(user, np.where(pair < 2, pair, 10 + pair), 20 + pair, pair)
    report = report_on(new, known=known)
    said = [words for words in report.warnings if "query pairs" in words]
    assert len(said) == 1
    assert said[0].startswith("50 % of query pairs hold a response that is in the same user's support, too")
    assert said[0].endswith("Judge choices between other responses, unless these will come again")
    assert not any("group" in words for words in report.warnings)


def test__report__known_that_lacks_users__is_said_with_all_other_mistakes(data):
    known, now = before_and_now(data.episodes)
    with pytest.raises(ValueError, match=r"n_splits must.*of every user of episodes, got none of 20 of 60.*level must"):
        report_on(now, known=known[:40], n_splits=0, level=2)


# -- errors ----------------------------------------------------------------------------------------------------------


def test__report__wrong_arguments__are_all_named_at_once(data):
    with pytest.raises(ValueError, match=r"support_sizes must be integers.*n_splits must be.*level must lie"):
        report_on(data.episodes, support_sizes=[-1], n_splits=0, level=1.0)


def test__report__unfitted_model__says_so(small, episodes):
    with pytest.raises(NotFittedError):
        personalization_report(clone(small), episodes)


def test__report__without_pandas__still_prints(helps, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pandas", None)
    assert "helps" in str(helps)
    with pytest.raises(ImportError, match=r"needs pandas.*pip install 'skmrm\[report\]'"):
        helps.table  # noqa: B018


# -- pairs that say nothing ------------------------------------------------------------------------------------------


def ties_where(episodes, tied):
    """The same set, some of whose pairs hold their chosen response twice."""
    columns = episodes.__getstate__()
    return EpisodeSet(**columns | {"rejected": np.where(tied, episodes.chosen, episodes.rejected)})


def test__report__ties_alone__say_nothing_rather_than_that_the_model_does_not_adapt(model, episodes):
    verdict = personalization_report(model, ties_where(episodes, np.ones(episodes.n_pairs, bool)), **QUICK).verdict
    assert verdict.startswith("Nothing can be said: in all pairs the chosen and the rejected response are the same")
    rows = np.repeat(np.arange(episodes.n_pairs), 2)  # two rows with the same numbers are one response, too
    features = np.asarray(episodes.features)[episodes.chosen[rows]]
    twins = episodes_from_arrays(features, np.arange(0, len(rows), 2), np.arange(1, len(rows), 2), episodes.user)
    assert personalization_report(model, twins, **QUICK).verdict == verdict


@pytest.mark.parametrize("side", ["query", "support"])
def test__report__ties_on_one_side__name_the_side(model, episodes, side):
    _, test, held_out = split_users_and_groups(episodes, 0.5, random_state=0)
    tied = held_out if side == "query" else ~held_out
    verdict = personalization_report(model, ties_where(test, tied), query=held_out, **QUICK).verdict
    assert verdict.startswith(f"Nothing can be said: in all {side} pairs the chosen and the rejected response")


def test__report__ties_of_some_users__are_counted_and_named_in_a_warning(data, public, personal):
    tied = data.episodes.user < 6
    tied[-12:-6] = True
    report = personalization_report(Stub(public, personal), ties_where(data.episodes, tied), **QUICK)
    assert report.verdict.startswith("Adapting on")
    (said,) = (words for words in report.warnings if "same response twice" in words)
    assert said.startswith("11 % of pairs hold the same response twice, and 6 users of 60 brought no other:")


def test__report__one_user__claims_nothing_and_has_no_bounds(data, public, personal):
    for model in (Stub(public, personal), Stub(public, public)):
        report = personalization_report(model, data.episodes[:1], **QUICK)
        assert report.verdict.startswith(("Too few users to tell: 1 user is judged", "The model is not adaptive"))
        assert "nan" not in report.verdict
        assert all(np.isnan([row.gain.low, row.gain.high]).all() for row in report.comparisons)
        assert any("1 user is judged: nothing can be said of other users" in words for words in report.warnings)
