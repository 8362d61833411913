"""Ratings and thumbs of single responses: read from tables, and from one user's choices."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skmrm import Episode, EpisodeSet, episodes_from_arrays, episodes_from_frame, episodes_from_ratings
from skmrm.episodes import as_episode_set
from skmrm.episodes.from_user import read_user_pairs
from skmrm.episodes.outcomes import joined_said
from skmrm.exceptions import EpisodeError

USERS = ["ann", "ann", "ann", "bo", "bo"]
ROWS = {"user_id": USERS, "prompt": ["p", "q", "q", "p", "q"], "response": ["w", "x", "y", "w", "x"]}


def rated(values, **more):
    return episodes_from_ratings(ROWS | {"rating": values}, **more)


@pytest.mark.parametrize("make", [dict, pd.DataFrame, lambda rows: pd.DataFrame(rows).to_dict("records")])
def test__ratings__a_row_a_response__is_that_response_against_the_bar(make):
    found = episodes_from_ratings(make(ROWS | {"rating": [5, 1, 3, 4, 2], "n": [1.0, 2, 1, 1, 1], "t": range(5)}))
    assert found.users.tolist() == ["ann", "bo"]
    assert_array_equal(found.chosen, found.rejected)
    assert [found.items[row] for row in found.chosen] == list(zip(ROWS["prompt"], ROWS["response"], strict=True))
    assert found.rating.tolist() == [5, 1, 3, 4, 2]
    assert found.scale == (1, 2, 3, 4, 5)
    assert (found.n_rated, found.n_levels, found.n_ties, found.is_plain) == (5, 5, 0, False)
    assert found.shared_groups
    more = episodes_from_ratings(make(ROWS | {"rating": [5, 1, 3, 4, 2], "n": [1.0, 2, 1, 1, 1]}), weight="n")
    assert more.weight.tolist() == [1, 2, 1, 1, 1]
    assert "5 of them ratings" in found._repr_html_()


@pytest.mark.parametrize(
    ("values", "scale", "levels", "expected"),
    [
        ([True, False, True, True, False], None, [2, 1, 2, 2, 1], (False, True)),
        (["up", "down", "\U0001f44d", "Like", "NO"], None, [2, 1, 2, 2, 1], (False, True)),
        (np.array([1, 0, 1, 1, 0], bool), None, [2, 1, 2, 2, 1], (False, True)),
        ([5, 2, 2, 4, 2], None, [4, 1, 1, 3, 1], (2, 3, 4, 5)),  # nobody gave a 3, and it is a level
        (["5", "2", "2", "4", "2"], None, [4, 1, 1, 3, 1], (2, 3, 4, 5)),
        ([5, 2, 2, 4, 2], [1, 2, 3, 4, 5], [5, 2, 2, 4, 2], (1, 2, 3, 4, 5)),
        ([0.5, 0.25, 0.5, 1.0, 0.25], None, [2, 1, 2, 3, 1], (0.25, 0.5, 1.0)),
        ([95, 20, 40, 39, 0], [0, 40, 80], [3, 1, 2, 1, 1], (0, 40, 80)),
        (["C!", "a", "b", "B", "c"], ["a", "b", "c"], [3, 1, 2, 2, 3], ("a", "b", "c")),
        ([4, 4, 4, 4, 4], None, [1, 1, 1, 1, 1], (4, 5)),
    ],
    ids=["booleans", "words", "numpy", "stars", "texts", "a scale", "few numbers", "starts", "labels", "all alike"],
)  # fmt: skip
def test__ratings__any_form__are_levels_of_a_scale(values, scale, levels, expected):
    found = rated(values, scale=scale)
    assert found.rating.tolist() == levels
    assert found.scale == expected
    again = rated(values, scale=found.scale)
    assert again == found


@given(scores=st.lists(st.floats(0, 100), min_size=30, max_size=60))
def test__ratings__many_scores__levels_keep_their_order_and_are_few(scores):
    rows = {"user_id": ["u"] * len(scores), "response": [str(i) for i in range(len(scores))], "rating": scores}
    found = episodes_from_ratings(rows, prompt=None)
    assert found.n_levels <= 20
    order = np.argsort(scores, kind="stable")
    assert (np.diff(found.rating[order]) >= 0).all()
    assert (found.rating >= 1).all()
    assert len(found.scale) == found.n_levels


def test__ratings__messages_without_a_prompt__the_last_turn_is_rated():
    talk = [{"role": "user", "content": "Tea?"}, {"role": "assistant", "content": "Yes."}]
    rows = [{"user_id": "ann", "response": talk, "rating": True}, {"user_id": "ann", "response": talk, "rating": False}]
    found = episodes_from_ratings(rows, prompt=None)
    other = [talk[0], {"role": "assistant", "content": "No."}]
    plain = episodes_from_frame([{"user_id": "ann", "chosen": talk, "rejected": other}], prompt=None)
    assert found.items[0] == plain.items[0]


def test__ratings__features__are_indexed():
    rows = {"user_id": ["a", "a"], "response": [np.ones(2), np.zeros(2)], "rating": [1, 2]}
    found = episodes_from_ratings(rows, prompt=None)
    by_hand = episodes_from_arrays(np.array([[1.0, 1], [0, 0]]), [0, 1], [0, 1], ["a", "a"], rating=[1, 2])
    assert_array_equal(found.features[found.chosen], by_hand.features[by_hand.chosen])
    assert found.rating.tolist() == by_hand.rating.tolist()
    assert by_hand.scale is None


def test__ratings__that_cannot_be_read__are_said_with_a_remedy():
    for values, scale, expected in (
        (["ok", "fine", "ok", "ok", "ok"], None, r"got 'ok', 'fine' in 5 rows: pass scale=\[worst, ..., best\]"),
        ([1, None, 2, 2, 2], None, r"column 'rating' must be readable in each row, got missing values \(1 row: 1\)"),
        ([1, 2, 3, 4, 9], [1, 2, 3, 4, 5], "must hold ratings from 1 to 5, got 9.0: pass scale"),
        ([1, 2, 3, 4, 5], [1], "scale must have 2 to 20 levels"),
        ([1, 2, 3, 4, 5], [3, 2, 1], "the scale's ascending"),
        (["a", "b", "c", "a", "b"], ["a", "b"], "must hold levels of the scale 'a', 'b', got 'c'"),
        ([1, 2, 3, 4, np.inf], None, "must hold finite numbers"),
    ):
        with pytest.raises(EpisodeError, match=expected):
            rated(values, scale=scale)
    with pytest.raises(EpisodeError, match=r"rating='stars' is not a column.*did you mean|response='answer' is not a"):
        episodes_from_ratings(ROWS | {"rating": range(5)}, response="answer", rating="stars")
    with pytest.raises(EpisodeError, match="no rows"):
        episodes_from_ratings({name: [] for name in ("user_id", "prompt", "response", "rating")})


def test__set__ratings__follow_their_pairs_and_are_checked():
    found = rated([5, 1, 3, 4, 2])
    assert found[[1]].rating.tolist() == [4, 2]
    assert found.take_pairs([0, 3]).rating.tolist() == [5, 4]
    assert found[0].ratings.tolist() == [5, 1, 3]
    assert found[[1]].compact().scale == found.scale
    assert found.canonical().n_rated == 5
    columns = {"users": ["a"], "user": [0, 0], "group": [0, 1], "features": np.eye(2)}
    with pytest.raises(EpisodeError) as error:
        EpisodeSet(**columns, chosen=[0, 1], rejected=[1, 1], rating=[2, 1], outcome=[1, 0])
    assert "a rated response stands alone" in str(error.value)
    assert "a rated response has outcome 1" in str(error.value)
    with pytest.raises(EpisodeError, match="column 'rating' must hold 0 for a choice of two, or a level from 1 to 20"):
        EpisodeSet(**columns, chosen=[0, 1], rejected=[0, 1], rating=[-1, 1])


def test__set__order_of_ratings__does_not_matter():
    values = [5, 1, 3, 4, 2]
    order = [4, 2, 0, 3, 1]
    turned = {name: [column[place] for place in order] for name, column in (ROWS | {"rating": values}).items()}
    one, other = rated(values).canonical(), episodes_from_ratings(turned).canonical()
    assert one.rating.tolist() == other.rating.tolist()
    assert one.items == other.items


def test__episodes__choices_and_ratings__stand_side_by_side():
    both = Episode("ann", ["x", "y"], ["z", "y"], prompts=["p", "q"], ratings=[0, 3])
    found = as_episode_set([both, Episode("bo", ["x"], ["z"], prompts=["p"])])
    assert found.rating.tolist() == [0, 3, 0]
    assert (found.n_rated, found.n_levels) == (1, 3)
    assert found[0] == Episode(
        "ann", ["x", "y"], ["z", "y"], ["p", "q"], groups=found[0].groups, ratings=found.rating[:2]
    )
    with pytest.raises(EpisodeError, match="a rated response must stand alone"):
        as_episode_set([Episode("ann", ["x"], ["z"], ratings=[3])])


def test__joined__a_set_without_ratings__has_none():
    said = joined_said([(2, {}), (2, {"rating": np.array([1, 2])})])
    assert said["rating"].tolist() == [0, 0, 1, 2]


VECTORS = [np.array([1.0, 2.0]), np.array([0.0, 1.0])]


@pytest.mark.parametrize(
    ("pairs", "kind"),
    [
        ([("p", "x", True), ("q", "y", False)], "text"),
        ([("x", True), ("y", False)], "text"),
        ([{"prompt": "p", "response": "x", "rating": True}, {"prompt": "q", "response": "y", "rating": False}], "text"),
        ([{"prompt": p, "completion": x, "label": up} for p, x, up in (("p", "x", True), ("q", "y", False))], "text"),
        (pd.DataFrame({"prompt": ["p", "q"], "response": ["x", "y"], "rating": ["up", "down"]}), "text"),
        ([(VECTORS[0], True), (VECTORS[1], False)], "features"),
        ([("p", VECTORS[0], 1), ("q", VECTORS[1], 0)], "features"),
        (Episode("me", VECTORS, VECTORS, ratings=[2, 1]), "features"),
    ],
    ids=["tuples", "without a prompt", "dicts", "as trainers call them", "frame", "vectors", "with prompts", "episode"],
)  # fmt: skip
def test__user_pairs__thumbs_in_any_form__are_the_same(pairs, kind):
    found = read_user_pairs(pairs, kind, 2, "adapt", (False, True))
    assert found.rating.tolist() == [2, 1]
    assert_array_equal(found.chosen, found.rejected)
    first = found.chosen[0]
    assert found.items[first][1] == "x" if kind == "text" else (found.features[first] == VECTORS[0]).all()


def test__user_pairs__choices_and_ratings_beside_each_other__are_one_set():
    rows = [
        {"prompt": "p", "chosen": "x", "rejected": "y", "outcome": 0},
        {"prompt": "q", "response": "z", "rating": 4, "weight": 2.0},
        {"prompt": "p", "chosen": "y", "rejected": "z"},
        {"prompt": "q", "completion": "x", "label": 1},
    ]
    found = read_user_pairs(rows, "text", 1, "adapt", (1, 2, 3, 4, 5))
    assert found.rating.tolist() == [0, 4, 0, 1]
    assert found.outcome.tolist() == [0, 1, 1, 1]
    assert found.weight.tolist() == [1, 2, 1, 1]
    assert [found.items[row][1] for row in found.chosen] == ["x", "z", "y", "x"]
    assert [found.items[row][1] for row in found.rejected] == ["y", "z", "z", "x"]
    assert found.scale == (1, 2, 3, 4, 5)
    with pytest.raises(EpisodeError, match="must hold ratings from 1 to 5, got 9"):
        read_user_pairs([*rows, {"prompt": "q", "response": "z", "rating": 9}], "text", 1, "adapt", (1, 2, 3, 4, 5))
