"""Do old choices still help? Tastes that turn, and tastes that stay, and what the report says of them."""

import numpy as np
import pytest

from skmrm import MetaRewardModel, personalization_report
from skmrm.episodes import EpisodeSet, episodes_from_arrays
from skmrm.metrics import Interval
from skmrm.report.drift import Drift, word_drift

N_PAIRS = 32
SIZES = {"support_sizes": (0, 4, None), "by_time": True}


def tastes(turn_at, n_users=110, seed=0):
    """Users whose tastes are another's before a moment, and the same from then on."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(200, 4))
    old, new = rng.normal(size=(2, n_users, 4)) * 1.5
    user, time = np.repeat(np.arange(n_users), N_PAIRS), np.tile(np.arange(N_PAIRS), n_users)
    item = np.argsort(rng.random((len(user), 200)), axis=1)[:, :2]
    coef = np.where((time < turn_at)[:, None], old[user], new[user])
    gap = np.einsum("pf,pf->p", coef, features[item[:, 0]] - features[item[:, 1]])
    first = gap + rng.logistic(size=len(gap)) > 0
    order = rng.permutation(len(user))  # by time alone, not by place
    pairs = np.where(first, *item.T), np.where(first, *item.T[::-1])
    return episodes_from_arrays(features, *(end[order] for end in pairs), user[order], time=time[order].astype(float))


def report(turn_at, **options):
    episodes = tastes(turn_at)
    model = MetaRewardModel(max_epochs=0, random_state=0, device="cpu").fit(episodes[:60])
    return personalization_report(model, episodes[60:], **(SIZES | options))


@pytest.fixture(scope="module")
def turned():
    return report(turn_at=N_PAIRS // 4)


@pytest.fixture(scope="module")
def stayed():
    return report(turn_at=0)


def test__drift__tastes_that_turn__old_choices_no_longer_help(turned):
    assert turned.drift.gain.high < 0
    assert turned.drift.log_loss_change.low > 0
    assert turned.drift.n_users == 50
    assert "Old choices no longer help: -" in turned.verdict
    assert turned.verdict.endswith("let them fade (half_life), or leave them out.")


def test__drift__tastes_that_stay__old_choices_still_help(stayed):
    assert stayed.drift.gain.estimate > 0
    assert stayed.drift.log_loss_change.high < 0  # which tells more from few pairs than accuracy does
    assert "Old choices still help: +" in stayed.verdict
    assert stayed.verdict.startswith("Adapting on all of a user's choices (the median user has 16) helps: +")


def test__drift__text_and_html__hold_the_sentence(turned):
    for written in (str(turned), turned._repr_html_()):
        assert "Old choices no longer help: -" in written


def test__drift__gain__is_that_of_all_over_the_latest_half(stayed):
    half = report(turn_at=0, support_sizes=(N_PAIRS // 4,))
    expected = stayed.curve.accuracy[2].mean() - half.curve.accuracy[0].mean()
    assert stayed.drift.gain.estimate == pytest.approx(expected)
    assert half.drift.gain == stayed.drift.gain


def test__drift__not_by_time_or_too_few_users_or_no_personalisation__is_not_spoken_of(stayed):
    episodes = tastes(0)
    model = MetaRewardModel(max_epochs=0, random_state=0, device="cpu").fit(episodes[:60])
    for options, users in (({"by_time": False}, 50), ({}, 9)):
        found = personalization_report(model, episodes[60 : 60 + users], **(SIZES | options))
        assert found.drift is None
        assert "ld choices" not in found.verdict
    assert personalization_report(model.pooled_model_, episodes[60:], **SIZES).drift is None


def test__drift__later_pairs_of_known_groups__are_left_out_with_a_warning():
    episodes = tastes(0)
    model = MetaRewardModel(max_epochs=0, random_state=0, device="cpu").fit(episodes[:60])
    # groups of pairs one after the other; the cut at 16 goes through one that has the pairs 12 to 19
    group = (episodes.user * 100 + (episodes.time + 4) // 8).astype(int)
    grouped = EpisodeSet(**episodes.__getstate__() | {"group": group})[60:]
    found = personalization_report(model, grouped, **SIZES)
    (said,) = (words for words in found.warnings if "left out" in words)
    assert said.startswith("12 % of pairs are left out: they are later ones of a group that has earlier ones")
    assert not any("on both sides" in words or "of a group that the same" in words for words in found.warnings)


def test__report__by_time_without_times__is_said_with_all_other_mistakes(model, episodes):
    with pytest.raises(ValueError, match=r"n_splits must.*by_time needs to know when.*level must"):
        personalization_report(model, episodes, by_time=True, n_splits=0, level=2)


UP, DOWN, FLAT = (0.02, 0.01, 0.03), (-0.02, -0.03, -0.01), (0.0, -0.01, 0.01)


@pytest.mark.parametrize(
    ("gain", "change", "expected"),
    [
        (UP, FLAT, "Old choices still help: +2.0 points [1.0, 3.0] (log loss +0.000 [-0.010, 0.010]) over"),
        (FLAT, DOWN, "Old choices still help: +0.0 points [-1.0, 1.0] (log loss -0.020 [-0.030, -0.010]) over"),
        (DOWN, FLAT, "Old choices no longer help: -2.0 points [-3.0, -1.0] (log loss"),
        (FLAT, UP, "Old choices no longer help: +0.0 points [-1.0, 1.0] (log loss +0.020"),
        (FLAT, FLAT, "All of the past and its latest half alone cannot be told apart: +0.0 points [-1.0, 1.0]"),
        (UP, UP, "All of the past and its latest half alone cannot be told apart: +2.0 points [1.0, 3.0]"),
    ],
)
def test__word_drift__each_outcome__is_said_in_words(gain, change, expected):
    assert word_drift(Drift(Interval(*gain), Interval(*change), 50)).startswith(expected)


def test__word_drift__without_log_loss_or_users__leaves_it_out():
    unknown = Interval(np.nan, np.nan, np.nan)
    assert word_drift(Drift(Interval(0.02, 0.01, 0.03), unknown, 50)) == (
        "Old choices still help: +2.0 points [1.0, 3.0] over the latest half of the past alone."
    )
    assert word_drift(None) == "Whether old choices still help cannot be told from so few users."
