"""Ties, strengths, weights and times of pairs: in sets, episodes and tables."""

import pickle
import re
from datetime import datetime, timedelta, timezone
from itertools import combinations, permutations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skmrm import Episode, EpisodeSet, episodes_from_arrays, episodes_from_frame, episodes_from_rankings
from skmrm.episodes import as_episode_set
from skmrm.episodes.from_rankings import ranking_weight
from skmrm.episodes.from_user import read_user_pairs
from skmrm.exceptions import EpisodeError

TABLE = np.arange(12.0).reshape(6, 2)
COLUMNS = {"outcome": [0, 1, 2, 1], "weight": [1.0, 0.5, 2.0, 1.0], "time": [3.0, 1.0, 2.0, 4.0]}


def small(**said):
    return episodes_from_arrays(TABLE, [0, 1, 2, 3], [1, 2, 3, 4], ["b", "a", "b", "a"], **said)


def test__set__columns_of_what_was_said__follow_their_pairs():
    found = small(**COLUMNS)
    assert found.users.tolist() == ["b", "a"]
    assert found.outcome.tolist() == [0, 2, 1, 1]
    assert found[[1]].weight.tolist() == [0.5, 1.0]
    assert found.take_pairs([3, 0]).time.tolist() == [3.0, 4.0]
    assert found.compact().outcome.tolist() == found.outcome.tolist()
    assert (found.n_ties, found.n_grades, found.is_plain) == (1, 2, False)
    assert "1 of them ties" in found._repr_html_()
    assert pickle.loads(pickle.dumps(found)) == found
    assert small(**COLUMNS | {"outcome": [1, 1, 2, 1]}) != found


def test__set__plain__has_none_of_them():
    assert (small().outcome, small().weight, small().time) == (None, None, None)
    assert (small().n_ties, small().n_grades, small().is_plain) == (0, 1, True)
    assert small(outcome=[1, 1, 1, 1]).is_plain


def test__set__pickled_by_an_earlier_version__has_none_of_them():
    state = {name: value for name, value in small().__getstate__().items() if name not in COLUMNS}
    found = object.__new__(EpisodeSet)
    found.__setstate__(state)
    assert found == small()
    assert found.outcome is None


def test__episodes__views_and_copies__keep_what_was_said():
    whole = small(**COLUMNS)
    view = whole[0]
    assert view.outcomes.tolist() == [0, 2]
    assert view.weights.tolist() == [1.0, 2.0]
    assert view.times.tolist() == [3.0, 2.0]
    copies = [pickle.loads(pickle.dumps(one)) for one in whole]
    assert type(copies[0]) is Episode
    assert copies[0] == view
    again = as_episode_set(copies)
    for name in COLUMNS:
        assert_array_equal(getattr(again, name), getattr(whole, name))
    assert as_episode_set([whole[1]]).outcome.tolist() == [1, 1]


def test__episodes__some_with_outcomes__the_others_chose():
    found = as_episode_set([Episode("a", ["x"], ["y"], outcomes=[0], times=[1.0]), Episode("b", ["x"], ["y"])])
    assert found.outcome.tolist() == [0, 1]
    assert found.time is None  # not known of all
    graded = as_episode_set([Episode("a", ["x"] * 2, ["y"] * 2, outcomes=[0, 3]), Episode("b", ["x"], ["y"])])
    assert graded.outcome.tolist() == [0, 3, -1]  # by nobody knows how much
    views = [graded[0], as_episode_set([Episode("c", ["x"], ["y"])])[0], graded[1]]
    assert as_episode_set(views).outcome.tolist() == [0, 3, -1, -1]
    with pytest.raises(
        EpisodeError, match=r"must hold 0 for a tie, or a strength from 1 to 20; not so for .a. .-1 at pair 0"
    ):
        as_episode_set([Episode("a", ["x"], ["y"], outcomes=[-1])])  # which others mean as a choice of the other one


def test__wrong_columns__are_all_said_at_once_with_a_remedy():
    with pytest.raises(EpisodeError) as error:
        small(outcome=[0, -1, 21, 1], weight=[1.0, 0.0, np.nan, 1.0], time=[1.0, 2.0, np.inf, 3.0])
    text = str(error.value)
    assert "column 'outcome' must hold 0 for a tie, or a strength from 1 to 20, got -1 at pair 1 (2 in all)" in text
    assert "column 'weight' must hold numbers above zero, got 0.0 at pair 1 (2 in all)" in text
    assert "column 'time' must hold a date or a number for each pair, got inf at pair 2" in text
    with pytest.raises(EpisodeError, match=r"column 'outcome' must hold integers(.|\n)*'weight' must be one-dim"):
        small(outcome=["tie"] * 4, weight=np.ones((4, 1)))
    with pytest.raises(EpisodeError, match="4 chosen, 4 rejected, 4 users, 3 outcome"):
        small(outcome=[0, 1, 1])
    with pytest.raises(EpisodeError) as error:
        as_episode_set([Episode("a", ["x"], ["y"], outcomes=[-2]), Episode("b", ["x"], ["y"], weights=[1, 2])])
    assert "strength from 1 to 20; not so for 'a' (-2 at pair 0" in str(error.value)
    assert "weights must have the same length; not so for 'b' (1 chosen, 1 rejected, 2 weights)" in str(error.value)


dates = [datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=2))), datetime(2024, 5, 1, 10), datetime(2024, 5, 2)]


@pytest.mark.parametrize(
    "times",
    [
        dates,
        ["2024-05-01T12:00:00+02:00", "2024-05-01T10:00:00Z", "2024-05-02"],
        np.array(["2024-05-01T10:00", "2024-05-01T10:00", "2024-05-02"], "datetime64[s]"),
        pd.to_datetime(["2024-05-01T10:00", "2024-05-01T10:00", "2024-05-02T00:00"]),
        [1714557600, 1714557600.0, 1714608000],
    ],
    ids=["datetimes", "texts", "numpy", "pandas", "numbers"],
)
def test__frame__times_in_any_form__are_seconds(times):
    rows = {"user_id": list("aab"), "prompt": list("pqr"), "chosen": list("xyz"), "rejected": list("uvw"), "t": times}
    found = episodes_from_frame(rows, time="t").time
    assert_array_equal(found, [1714557600, 1714557600, 1714608000])


VOTES = {
    "user_id": ["a", "a", "a", "b", "b"],
    "prompt": ["p", "q", "r", "p", "q"],
    "response_a": ["x1", "x2", "x3", "x1", "x2"],
    "response_b": ["y1", "y2", "y3", "y1", "y2"],
    "winner": ["model_a", "B", "Tie (bothbad)", "tie", "model_b"],
}
SIDES = {"response_a": "response_a", "response_b": "response_b", "winner": "winner"}


@pytest.mark.parametrize("make", [dict, pd.DataFrame, pl.DataFrame], ids=["dict", "pandas", "polars"])
def test__frame__votes_of_an_arena__the_better_one_is_chosen_and_ties_are_kept(make):
    found = episodes_from_frame(make(VOTES), **SIDES)
    texts = [found.items[row][1] for row in found.chosen]
    assert found.outcome.tolist() == [1, 1, 0, 0, 1]
    assert [text[0] for text in texts] == ["x", "y", "x", "x", "y"]


def test__frame__words_of_their_own__are_read_as_told():
    rows = VOTES | {"winner": ["links", "rechts", "egal", True, False]}
    found = episodes_from_frame(rows, **SIDES, words={"Links": "a", "rechts": "b", "EGAL": "tie"})
    assert found.outcome.tolist() == [1, 1, 0, 1, 1]
    with pytest.raises(EpisodeError) as error:
        episodes_from_frame(rows, **SIDES, words={"links": "a"})
    assert "column 'winner' must say who won, got 'rechts', 'egal' in 2 rows; known are a: a, model a" in str(
        error.value
    )
    with pytest.raises(EpisodeError, match="words must say what each word means, one of 'a', 'b', 'tie', got 'left'"):
        episodes_from_frame(VOTES, **SIDES, words={"x": "left"})


def test__frame__columns_that_do_not_go_together__are_an_error():
    with pytest.raises(EpisodeError, match="response_a, response_b and winner name three columns that go together"):
        episodes_from_frame(VOTES, winner="winner")
    with pytest.raises(EpisodeError, match="winner says of ties as well: leave outcome out"):
        episodes_from_frame(VOTES, **SIDES, outcome="winner")
    with pytest.raises(
        EpisodeError, match=r"winner='winer' is not a column of the table.*did you mean winner='winner'"
    ):
        episodes_from_frame(VOTES, **SIDES | {"winner": "winer"})
    with pytest.raises(EpisodeError, match="response_a and response_b must be two columns, got 'response_a' for both"):
        episodes_from_frame(VOTES, **SIDES | {"response_b": "response_a"})


def graded(strength, **more):
    rows = {"user_id": ["a"] * len(strength), "prompt": list(map(str, range(len(strength)))), "s": strength}
    return rows | {"chosen": ["x"] * len(strength), "rejected": ["y"] * len(strength)} | more


@pytest.mark.parametrize(
    ("strength", "order", "expected"),
    [
        ([1, 3, 0, 2], None, [1, 3, 0, 2]),
        ([1.0, -3.0, 0.0, 2.0], None, [1, 3, 0, 2]),
        ([0.5, 0.1, 0.0, 0.5], None, [2, 1, 0, 2]),
        (["slightly", "Much ", "tie", "about the same"], ["slightly", "much"], [1, 2, 0, 0]),
    ],
)
def test__frame__strengths__are_grades_in_their_order(strength, order, expected):
    assert episodes_from_frame(graded(strength), strength="s", strength_order=order).outcome.tolist() == expected


@given(st.lists(st.floats(0, 100), min_size=1, max_size=60))
def test__frame__scores_of_strength__grades_keep_their_order_and_are_few(scores):
    found = episodes_from_frame(graded(scores), strength="s").outcome
    assert_array_equal(found == 0, np.array(scores) == 0)
    order = np.argsort(scores, kind="stable")
    assert (np.diff(found[order]) >= 0).all()
    if any(score != int(score) for score in scores):
        assert found.max() <= 20


def test__frame__strength_and_who_won__a_tie_is_one_and_a_winner_has_a_strength():
    rows = VOTES | {"s": [2, 0, 3, 1, 1]}
    assert episodes_from_frame(rows, **SIDES, strength="s").outcome.tolist() == [2, 1, 0, 0, 1]
    rows = graded([2, 0, 3], o=["win", "chosen", "tie"])
    assert episodes_from_frame(rows, strength="s", outcome="o").outcome.tolist() == [2, 1, 0]


def test__frame__labels_without_an_order__are_not_guessed():
    with pytest.raises(EpisodeError, match="'s' must hold numbers, or labels of at most 20 strengths whose order"):
        episodes_from_frame(graded(["slightly", "much"]), strength="s")
    with pytest.raises(EpisodeError, match="column 's' must be readable in each row, got missing values"):
        episodes_from_frame(graded([1, None]), strength="s")
    with pytest.raises(EpisodeError, match=r"column 'w' must be readable in each row, got a str \(1 row: 1\)"):
        episodes_from_frame(graded([1, 1], w=[1.0, "x"]), weight="w")


VECTORS = [np.array([1.0, 2.0]), np.array([0.0, 1.0]), np.array([3.0, 0.0])]


@pytest.mark.parametrize(
    "pairs",
    [
        [(VECTORS[0], VECTORS[1], 0), (VECTORS[1], VECTORS[2], 2)],
        [(None, VECTORS[0], VECTORS[1], 0), (None, VECTORS[1], VECTORS[2], 2)],
        [{"chosen": a, "rejected": b, "outcome": o} for a, b, o in zip(VECTORS, VECTORS[1:], [0, 2], strict=False)],
        Episode("me", VECTORS[:2], VECTORS[1:], outcomes=[0, 2]),
    ],
    ids=["tuples", "with a prompt", "dicts", "episode"],
)
def test__user_pairs__outcomes_in_any_form__are_the_same(pairs):
    if isinstance(pairs, list) and isinstance(pairs[0], tuple) and len(pairs[0]) == 4:
        pairs = [("p", *row[1:]) for row in pairs]
    found = read_user_pairs(pairs, "features", 2, "adapt")
    assert found.outcome.tolist() == [0, 2]
    assert_array_equal(found.features[found.chosen[0]], VECTORS[0])


def test__user_pairs__texts__votes_and_outcomes():
    found = read_user_pairs([("p", "x", "y", 0), ("p", "x", "z", 1)], "text", 1, "adapt")
    assert found.outcome.tolist() == [0, 1]
    rows = [
        {"response_a": "x", "response_b": "y", "winner": "b"},
        {"response_a": "x", "response_b": "z", "winner": "tie"},
    ]
    found = read_user_pairs(rows, "text", 1, "adapt")
    assert found.outcome.tolist() == [1, 0]
    assert found.items[found.chosen[0]][1] == "y"
    with pytest.raises(EpisodeError, match="rejected must hold a text"):  # nothing in the place of a response
        read_user_pairs([("p", "", None)], "text", 1, "adapt")
    with pytest.raises(TypeError, match="adapt takes an Episode"):
        read_user_pairs([("p", "x", "y", 0), ("p", "x", "y")], "text", 1, "adapt")


LISTS = [["w", "x", "y", "z"], ["w", "x"], ["v", "u"]]
RANKED = {"user_id": ["a", "a", "b"], "prompt": ["p", "", "p"], "responses": LISTS}


def pairs_of(found):
    return [(found.items[a][1], found.items[b][1]) for a, b in zip(found.chosen, found.rejected, strict=True)]


@pytest.mark.parametrize("make", [dict, pd.DataFrame, pl.DataFrame], ids=["dict", "pandas", "polars"])
def test__rankings__lists_best_first__are_pairs_that_count_like_the_choices_of_a_ranking(make):
    found = episodes_from_rankings(make(RANKED))
    assert pairs_of(found)[:6] == [("w", "x"), ("w", "y"), ("w", "z"), ("x", "y"), ("x", "z"), ("y", "z")]
    assert_allclose(found.weight, [23 / 36] * 6 + [1.0, 1.0])
    assert found.group.tolist() == [0] * 6 + [1, 0]  # equal prompts are one group, a ranking without one its own
    assert found.shared_groups
    assert found.is_plain


@pytest.mark.parametrize("best", [False, True], ids=["ranking", "best"])
@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test__rankings__pairs__tell_as_much_as_the_ranking_where_responses_are_alike(size, best):
    """Fisher information of Plackett and Luce's likelihood at equal rewards, over all orders, each as likely."""
    identity, of_ranking, of_pairs = np.eye(size), np.zeros((size, size)), np.zeros((size, size))
    orders = list(permutations(range(size)))
    for order in orders:
        for left in range(size, 1, -1):
            rest = identity[list(order[size - left :])]
            of_ranking += (rest.T @ rest / left - np.outer(rest.mean(0), rest.mean(0))) / len(orders)
            if best:
                break
        for first, second in combinations(order, 2):
            if not best or first == order[0]:
                gap = identity[first] - identity[second]
                of_pairs += ranking_weight(size, best_alone=best) / 4 * np.outer(gap, gap) / len(orders)
    assert_allclose(of_pairs, of_ranking, atol=1e-12)


def test__rankings__ranks__equal_ones_tie_and_missing_ones_are_left_out():
    rows = RANKED | {"place": [[2, 1, 1, None], [1, 2], [2.0, 1.0]]}
    found = episodes_from_rankings(rows, ranks="place")
    assert pairs_of(found) == [("x", "y"), ("x", "w"), ("y", "w"), ("w", "x"), ("u", "v")]
    assert found.outcome.tolist() == [0, 1, 1, 1, 1]
    assert_allclose(found.weight, [7 / 9] * 3 + [1.0] * 2)


def test__rankings__best_of_several__nothing_is_said_of_the_others():
    found = episodes_from_rankings(RANKED | {"best": [2, 0, 1]}, best="best", group="user_id")
    assert pairs_of(found) == [("y", "w"), ("y", "x"), ("y", "z"), ("w", "x"), ("u", "v")]
    assert_array_equal(found.weight, [0.5] * 3 + [1.0] * 2)
    assert found.group.tolist() == [0, 0, 0, 0, 1]
    assert not found.shared_groups


def test__rankings__that_cannot_be_read__are_said_all_at_once():
    rows = RANKED | {"best": [4, True, 0], "responses": [["w"], "wx", ["v", "u"]]}
    with pytest.raises(EpisodeError) as error:
        episodes_from_rankings(rows, best="best")
    assert "column 'best' must be readable in each row, got 4, no place in its list (1 row: 0)" in str(error.value)
    assert "column 'responses' must be readable in each row, got a str in place of a list (1 row: 1)" in str(
        error.value
    )
    with pytest.raises(EpisodeError, match="ranks='no': no such column in the table, whose columns are 'user_id'"):
        episodes_from_rankings(RANKED, ranks="no")
    with pytest.raises(EpisodeError, match="ranks and best say the same"):
        episodes_from_rankings(RANKED, ranks="prompt", best="prompt")
    with pytest.raises(EpisodeError, match="no ranking of two responses or more"):
        episodes_from_rankings(RANKED | {"responses": [["w"], [], ["v"]]})


@pytest.mark.parametrize("strange", [["model_a"], {"winner": "a"}, 2])
def test__winner__neither_a_word_nor_known__is_named_beside_the_known_ones_whatever_these_are(strange):
    columns = {"user_id": ["ann"], "prompt": ["Tea?"], "a": ["Yes."], "b": ["No."], "winner": [strange]}
    with pytest.raises(EpisodeError, match=re.escape(f"got {strange!r} in 1 row")):
        episodes_from_frame(columns, response_a="a", response_b="b", winner="winner", words={1: "a", 0: "b"})


def test__strength__that_is_no_word__is_named():
    columns = {"user_id": ["ann"], "prompt": ["Tea?"], "chosen": ["Yes."], "rejected": ["No."], "strength": [["much"]]}
    with pytest.raises(EpisodeError, match=re.escape("whose order is known, got ['much']: pass strength_order")):
        episodes_from_frame(columns, strength="strength", strength_order=["slightly", "much"])
