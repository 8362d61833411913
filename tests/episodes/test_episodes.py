"""Episodes and episode sets: the boundary between what users bring and what the core computes on."""

import copy
import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array

from skmrm.episodes import Episode, EpisodeSet, as_episode_set, episodes_from_arrays
from skmrm.episodes.messages import Conversation, as_conversation, extract_prompt, is_messages
from skmrm.exceptions import EpisodeError

WORDS = st.text(alphabet="abé😀 ", max_size=4)
USERS = st.one_of(st.integers(-3, 30), st.text(max_size=3), st.tuples(st.integers(0, 3), st.text(max_size=1)))


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


@st.composite
def text_episodes(draw, min_users=1):
    ids = draw(st.lists(USERS, min_size=min_users, max_size=6, unique=True))
    episodes = []
    for name in ids:
        pairs = draw(st.lists(st.tuples(WORDS, WORDS, WORDS, st.integers(0, 2)), min_size=1, max_size=5))
        prompts, chosen, rejected, groups = (list(column) for column in zip(*pairs, strict=True))
        prompts = prompts if draw(st.booleans()) else None
        groups = groups if draw(st.booleans()) else None
        episodes.append(Episode(name, chosen, rejected, prompts, groups))
    return episodes


def random_set(seed=0, n_users=7, n_pairs=40, n_items=11, n_features=3):
    rng = np.random.default_rng(seed)
    return episodes_from_arrays(
        rng.normal(size=(n_items, n_features)),
        rng.integers(0, n_items, n_pairs),
        rng.integers(0, n_items, n_pairs),
        rng.integers(0, n_users, n_pairs),
        rng.integers(0, 4, n_pairs),
    )


def partition(labels):
    """The sets of places that share a label, whatever the labels are."""
    places = {}
    for place, label in enumerate(labels):
        places.setdefault(label, set()).add(place)
    return sorted(map(sorted, places.values()))


# -- from episodes to a set and back ---------------------------------------------------------------------------------


@settings(max_examples=60)
@given(text_episodes())
def test__as_episode_set__texts__views_give_back_what_came_in(episodes):
    found = as_episode_set(episodes)
    assert len(found) == len(episodes)
    for came, view in zip(episodes, found, strict=True):
        assert view.user == came.user
        assert view.chosen == came.chosen
        assert view.rejected == came.rejected
        assert view.prompts == (came.prompts or [""] * len(came))
        if came.groups is not None:
            assert partition(view.groups) == partition(came.groups)


@settings(max_examples=40)
@given(text_episodes())
def test__as_episode_set__of_pickled_views__gives_an_equal_set(episodes):
    found = as_episode_set(episodes)
    plain = pickle.loads(pickle.dumps(list(found)))
    assert not any(hasattr(episode, "_set") for episode in plain)
    assert as_episode_set(plain) == found


@settings(max_examples=40)
@given(text_episodes())
def test__as_episode_set__texts__items_are_distinct_and_all_used(episodes):
    found = as_episode_set(episodes)
    assert len(set(found.items)) == found.n_items
    assert set(found.chosen) | set(found.rejected) == set(range(found.n_items))
    assert found.compact() is found


@settings(max_examples=40)
@given(text_episodes(min_users=2), st.randoms())
def test__as_episode_set__users_in_another_order__same_pairs(episodes, random):
    shuffled = random.sample(episodes, len(episodes))
    by_user = {view.user: view for view in as_episode_set(shuffled)}
    for view in as_episode_set(episodes):
        other = by_user[view.user]
        assert (view.prompts, view.chosen, view.rejected) == (other.prompts, other.chosen, other.rejected)
        assert partition(view.groups) == partition(other.groups)


def test__as_episode_set__prompts__group_by_prompt_and_empty_prompts_stand_alone():
    found = as_episode_set([Episode("a", ["1", "2", "3", "4", "5"], ["x"] * 5, ["p", "q", "p", "", ""])])
    assert partition(found.group) == [[0, 2], [1], [3], [4]]


def test__as_episode_set__no_prompts__each_pair_is_a_group():
    found = as_episode_set([Episode("a", ["1", "1"], ["2", "2"]), Episode("b", ["1"], ["2"])])
    assert partition(found.group) == [[0], [1], [2]]


@pytest.mark.parametrize("groups", [["t", ("t", 1), "t"], [1, 2, 1], np.array([5, 6, 5]), np.array(["x", "y", "x"])])
def test__as_episode_set__explicit_groups_of_any_hashable__win_over_prompts(groups):
    found = as_episode_set([Episode("a", ["1", "2", "3"], ["x"] * 3, ["p", "p", "q"], groups)])
    assert partition(found.group) == [[0, 2], [1]]


def test__as_episode_set__groups_for_some_users_only__others_fall_back_to_prompts():
    found = as_episode_set(
        [
            Episode("a", ["1", "2"], ["x", "x"], ["p", "p"], groups=[0, 1]),
            Episode("b", ["1", "2", "3"], ["x", "x", "x"], ["p", "p", ""]),
        ]
    )
    assert partition(found.group[:2]) == [[0], [1]]
    assert partition(found.group[2:]) == [[0, 1], [2]]


def test__as_episode_set__arrays__rows_are_the_users_vectors():
    rng = np.random.default_rng(0)
    came = [Episode(name, rng.normal(size=(n, 4)), rng.normal(size=(n, 4))) for name, n in [("a", 3), ("b", 1)]]
    found = as_episode_set(came)
    assert (found.n_items, found.n_features, found.is_text) == (8, 4, False)
    for one, view in zip(came, found, strict=True):
        assert_array_equal(view.chosen, one.chosen)
        assert_array_equal(view.rejected, one.rejected)
        assert view.prompts is None


def test__as_episode_set__arrays_with_prompts__prompts_only_group():
    found = as_episode_set([Episode("a", np.eye(3), np.eye(3), prompts=["p", "q", "p"])])
    assert partition(found.group) == [[0, 2], [1]]
    assert not found.is_text


@pytest.mark.parametrize(
    ("came", "kept"),
    [("f2", "f2"), ("f4", "f4"), ("f8", "f8"), ("i8", "f8"), ("u1", "f8")],
)
def test__as_episode_set__numeric_dtypes__floats_stay_and_integers_become_float64(came, kept):
    found = as_episode_set([Episode("a", np.ones((2, 3), came), np.zeros((2, 3), came))])
    assert found.features.dtype == np.dtype(kept)
    arrays = episodes_from_arrays(np.ones((2, 3), came), [0], [1], ["a"])
    assert arrays.features.dtype == np.dtype(kept)


@pytest.mark.parametrize(
    "chosen",
    [[[1.0, 2.0], [3.0, 4.0]], [np.array([1.0, 2.0]), np.array([3.0, 4.0])], ((1, 2), (3, 4))],
)
def test__as_episode_set__vectors_in_lists__are_features(chosen):
    found = as_episode_set([Episode("a", chosen, chosen)])
    assert_array_equal(found[0].chosen, [[1, 2], [3, 4]])


def test__as_episode_set__tensors_and_series__are_read_as_arrays():
    import pandas as pd
    import torch

    found = as_episode_set(
        [Episode("a", torch.eye(2), torch.ones(2, 2)), Episode("b", np.eye(2, dtype="f4"), np.eye(2))]
    )
    assert_array_equal(found[0].chosen, np.eye(2))
    texts = as_episode_set([Episode("a", pd.Series(["x", "y"]), np.array(["z", "w"]), prompts=pd.Series(["p", "q"]))])
    assert texts[0].chosen == ["x", "y"]
    assert all(type(text) is str for pair in texts.items for text in pair)


def test__as_episode_set__identical_responses__are_kept_as_one_item():
    found = as_episode_set([Episode("a", ["same"], ["same"])])
    assert (found.n_pairs, found.n_items) == (1, 1)
    assert_array_equal(found.chosen, found.rejected)


def test__as_episode_set__unicode_and_a_megabyte_of_text__survive():
    long = "ünï 😀\x00\n" * 130_000
    found = as_episode_set([Episode("ψ", [long, ""], ["\ud83d", "\u202e"], ["", long])])
    assert found[0].chosen == [long, ""]
    assert found[0].rejected == ["\ud83d", "\u202e"]


def test__as_episode_set__one_user_with_100_000_pairs__is_one_row():
    n = 100_000
    found = as_episode_set([Episode("a", [f"c{i % 100}" for i in range(n)], ["r"] * n), Episode("b", ["x"], ["y"])])
    assert_array_equal(found.pairs_per_user, [n, 1])
    assert found.n_items == 103
    assert len(found[0]) == n


@pytest.mark.parametrize(
    "ids", [[3, 1], [np.int64(3), np.int64(1)], [("a", 1), ("a", 2)], ["b", 1], [b"x", frozenset({1})]]
)
def test__as_episode_set__ids_of_any_hashable__are_kept(ids):
    found = as_episode_set([Episode(name, ["x"], ["y"]) for name in ids])
    assert list(found.users) == ids
    assert not any(isinstance(name, np.generic) for name in found.users)


def test__as_episode_set__an_episode_set__comes_back_itself():
    found = random_set()
    assert as_episode_set(found) is found


def test__as_episode_set__views_of_one_set__share_its_features_without_a_copy():
    found = random_set()
    again = as_episode_set([found[3], found[5]])
    assert again.features is found.features
    assert again == found[[3, 5]]
    assert as_episode_set(np.array([found[3], found[5]], dtype=object)) == again


def test__as_episode_set__views_of_two_sets__are_put_together():
    one, other = random_set(0, n_users=3), random_set(1, n_users=9)
    again = as_episode_set([one[0], other[[u not in one.users for u in other.users]][0]])
    assert_array_equal(again[0].chosen, one[0].chosen)
    assert again.n_users == 2


def test__as_episode_set__no_pairs_allowed__users_without_pairs_pass():
    found = as_episode_set([Episode("a", [], [])], min_pairs=0, n_features=5, kind="features")
    assert (found.n_users, found.n_pairs, found.n_features) == (1, 0, 5)
    mixed = as_episode_set([Episode("a", [], []), Episode("b", np.eye(2), np.eye(2))], min_pairs=0)
    assert_array_equal(mixed.pairs_per_user, [0, 2])
    texts = as_episode_set([Episode("a", [], []), Episode("b", ["x"], ["y"], ["p"])], min_pairs=0, kind="text")
    assert_array_equal(texts.pairs_per_user, [0, 1])


# -- chat messages ---------------------------------------------------------------------------------------------------

TALK = [{"role": "system", "content": "Be brief."}, user("Hi"), assistant("Hello"), user("Why?")]


def test__as_conversation__messages__reads_as_transcript_and_keeps_messages():
    talk = as_conversation(TALK)
    assert talk.splitlines()[0] == "system: Be brief."
    assert str(talk) == "system: Be brief.\n\nuser: Hi\n\nassistant: Hello\n\nuser: Why?"
    assert talk.messages[1] == ("user", "Hi")
    assert as_conversation(talk) is talk
    again = pickle.loads(pickle.dumps(talk))
    assert again == talk
    assert again.messages == talk.messages
    assert hash(again) == hash(talk)


@pytest.mark.parametrize("message", [user("just this"), assistant("just this")])
def test__as_conversation__single_message__is_its_content(message):
    assert str(as_conversation([message])) == "just this"


def test__conversation__same_transcript_from_other_messages__is_another_item():
    # Both read "user: a\n\nuser: b".
    one, other = as_conversation([user("a"), user("b")]), as_conversation([{"role": "user", "content": "a\n\nuser: b"}])
    assert str(one) == "user: a\n\nuser: b"
    two = Conversation([("user", "a"), ("user", "b")])
    assert one == two
    assert one != other
    assert one != str(one)
    assert str(one) != one
    lookalike = (
        [{"role": "tool", "content": "a\n\ntool: b"}],
        [{"role": "tool", "content": "a"}, {"role": "tool", "content": "b"}],
    )
    assert str(as_conversation(lookalike[0])) == str(as_conversation(lookalike[1]))
    found = as_episode_set([Episode("u", [lookalike[0]], [lookalike[1]], ["p"])])
    assert found.n_items == 2


def test__as_conversation__text_parts__are_joined():
    parts = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    assert str(as_conversation(parts)) == "a\nb"


@pytest.mark.parametrize(
    ("messages", "match"),
    [
        ([{"role": "user"}], "message 0 has no 'content'"),
        ([{"who": "human", "said": "x"}], "no 'role' and no 'content' .*'who', 'said'.*'from' and 'value'"),
        ([user("x"), {"role": "assistant", "content": None}], "message 1 has no 'content'"),
        ([{"role": "user", "content": [{"type": "image", "url": "…"}]}], "part of type 'image'; only text"),
        ([{"role": "user", "content": 3}], "content of message 0 is an int"),
        (["x"], "message 0 is a str"),
    ],
)
def test__as_conversation__unreadable_message__says_which_and_why(messages, match):
    with pytest.raises(ValueError, match=match):
        as_conversation(messages)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(TALK, True), (tuple(TALK), True), (as_conversation(TALK), True), (np.array(TALK), True)]
    + [(value, False) for value in ("text", [], ["text"], [1.0, 2.0], np.ones(3), None, {"role": "user"}, [TALK])],
)
def test__is_messages__value__tells_message_lists_from_the_rest(value, expected):
    assert is_messages(value) is expected


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt"),
    [
        ("The sky is blue.", "The sky is green.", "The sky is"),  # the space goes to the responses, as in TRL
        ("The sky is blue.", "The sky is black.", "The sky is"),  # TRL would cut "bl|ue"
        ("Q: why?\nBecause.", "Q: why?\nIt is so.", "Q: why?\n"),
        ("Hello", "Hello!", ""),
        ("a b", "a b", "a"),  # a response is never left empty
        ("a b", "a b c", "a"),
        ("", "x", ""),
        ("x", "", ""),
        ("yes", "no", ""),
        ("a  b", "a  c", "a "),
    ],
)
def test__extract_prompt__texts__cuts_between_words(chosen, rejected, prompt):
    found, better, worse = extract_prompt(chosen, rejected)
    assert found == prompt
    assert (found + better, found + worse) == (chosen, rejected)


@settings(max_examples=150)
@given(
    st.text(alphabet="ab \n", max_size=9), st.text(alphabet="ab \n", max_size=6), st.text(alphabet="ab \n", max_size=6)
)
def test__extract_prompt__any_texts__loses_nothing_and_cuts_no_word(start, one, other):
    chosen, rejected = start + one, start + other
    prompt, better, worse = extract_prompt(chosen, rejected)
    assert (prompt + better, prompt + worse) == (chosen, rejected)
    for rest in (better, worse):
        assert not prompt or not rest or prompt[-1].isspace() or rest[0].isspace()
    assert not chosen or not rejected or (better and worse)


def test__extract_prompt__messages__cuts_between_messages():
    chosen, rejected = [*TALK, assistant("a")], [*TALK, assistant("b"), user("c")]
    assert extract_prompt(chosen, rejected) == (TALK, [assistant("a")], [assistant("b"), user("c")])
    assert extract_prompt(TALK, TALK) == (TALK[:-1], TALK[-1:], TALK[-1:])


def test__as_episode_set__messages_with_and_without_prompts__same_items():
    implicit = Episode("a", [[*TALK, assistant("x")]], [[*TALK, assistant("y")]])
    explicit = Episode("a", [[assistant("x")]], [[assistant("y")]], prompts=[TALK])
    repeated = Episode("a", [[*TALK, assistant("x")]], [[*TALK, assistant("y")]], prompts=["Why?"])
    found = as_episode_set([implicit])
    assert found == as_episode_set([explicit])
    assert found == as_episode_set([repeated])
    assert found.items[0] == (as_conversation(TALK), as_conversation([assistant("x")]))
    assert [str(response) for _, response in found.items] == ["x", "y"]


def test__as_episode_set__text_prompt_beside_replies_only__prompt_is_kept():
    talk = Episode(
        "a", [[assistant("So."), user("And?"), assistant("x")]], [[assistant("So."), user("And?"), assistant("y")]]
    )
    with_prompt = Episode("a", talk.chosen, talk.rejected, prompts=["Why?"])
    assert as_episode_set([with_prompt])[0].prompts == ["Why?"]


# -- what is wrong, and all of it ------------------------------------------------------------------------------------

FINE = Episode("fine", ["a", "b"], ["c", "d"])


class Elsewhere:
    """A tensor of a library that NumPy does not know."""

    def __len__(self):
        return 1

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("on the moon")


@pytest.mark.parametrize(
    ("episode", "match"),
    [
        (Episode("u", ["a"], ["b", "c"]), r"same length; not so for 'u' \(1 chosen, 2 rejected\)"),
        (Episode("u", ["a"], ["b"], ["p", "q"]), r"not so for 'u' \(1 chosen, 1 rejected, 2 prompts\)"),
        (Episode("u", ["a"], ["b"], None, [1, 2]), r"not so for 'u' \(1 chosen, 1 rejected, 2 groups\)"),
        (Episode("u", "a", ["b"]), r"chosen must be a sequence .*'u' \(a single str: wrap it in a list\)"),
        (Episode("u", {"a"}, ["b"]), "a set, which has no order"),
        (Episode("u", TALK, ["b"]), "keys 'role', 'content' where a list of messages is needed for each pair: wrap"),
        (Episode("u", 3, ["b"]), "an int: pass a list or an array"),
        (Episode("u", {"a": 1}, ["b"]), "a dict: pass a list with one entry for each pair"),
        (Episode("u", csr_array(np.ones((1, 2))), np.ones((1, 2))), r"a sparse matrix: pass its \.toarray"),
        (
            Episode("u", Elsewhere(), ["b"]),
            r"an? Elsewhere that NumPy cannot read \(on the moon\): convert it to a float",
        ),
        (Episode("u", ["a", None], ["b", "c"]), r"chosen must hold .*'u' \(pair 1: missing\)"),
        (Episode("u", ["a", float("nan")], ["b", "c"]), r"pair 1: missing"),
        (Episode("u", ["a", 3], ["b", "c"]), r"pair 1: an int in place of a text"),
        (Episode("u", ["a", [1.0]], ["b", "c"]), r"pair 1: a vector of numbers among texts"),
        (Episode("u", [[1.0], "a"], [[1.0], [2.0]]), r"pair 1: a str among vectors"),
        (Episode("u", [[1.0], [1.0, 2.0]], [[1.0], [1.0]]), r"different lengths \(1, 2\)"),
        (Episode("u", [[{"role": "user"}]], ["b"]), r"pair 0: message 0 has no 'content'"),
        (Episode("u", [[]], [TALK]), "a list without messages"),
        (Episode("u", [TALK], ["b"]), "of one kind; .*a text and a list of messages"),
        (Episode("u", ["a"], np.ones((1, 2))), r"of one kind; not so for 'u' \(text and features\)"),
        (Episode("u", np.ones((1, 3)), np.ones((1, 2))), r"same number of features; not so for 'u' \(3 and 2\)"),
        (Episode("u", np.ones(3), np.ones((3, 1))), r"shape \(3,\): features need shape"),
        (Episode("u", np.ones((2, 2), complex), np.ones((2, 2))), "dtype complex128: convert"),
        (
            Episode("u", np.array([[1, "a"], [2, 3]], object), np.ones((2, 2))),
            "objects of which not all are numbers, a str",
        ),
        (Episode("u", ["a"], ["b"], np.ones((1, 2))), "prompts must be texts"),
        (Episode("u", ["a"], ["b"], groups=[None]), r"groups must hold .*pair 0: missing"),
        (Episode("u", ["a"], ["b"], groups=[[1]]), r"groups must hold .*pair 0: a list"),
        (Episode("u", ["a"], ["b"], groups="g"), r"groups must hold .*a single str"),
        (Episode("u", [], []), r"at least 1 pair for fit; not so for 'u' \(0 pairs\): add pairs, or drop"),
        (Episode(None, ["a"], ["b"]), r"user ids must be hashable and not missing; not so for None \(episode 1\)"),
        (Episode(float("nan"), ["a"], ["b"]), r"not missing; not so for nan"),
        (Episode(["u"], ["a"], ["b"]), r"user ids must be hashable .*\['u'\]"),
        (Episode("fine", ["a"], ["b"]), r"in one episode; not so for 'fine' \(2 episodes\): join"),
        (Episode("u", np.ones((1, 2)), np.ones((1, 2))), r"same kind of data, .*not so for 'u' \(features\)"),
    ],
)
def test__as_episode_set__bad_episode__message_names_rule_user_and_remedy(episode, match):
    with pytest.raises(EpisodeError, match=match) as caught:
        as_episode_set([FINE, episode, Episode("fine too", ["a"], ["b"])])
    assert len(caught.value.problems) == 1


def test__as_episode_set__many_problems__all_are_raised_at_once_with_few_names_and_a_count():
    bad = [Episode(f"u{i}", ["a"], ["b", "c"]) for i in range(10)]
    bad += [Episode("v", [None], ["x"]), Episode("w", [], []), Episode(None, ["a"], ["b"])]
    with pytest.raises(EpisodeError) as caught:
        as_episode_set([*bad, FINE], min_pairs=2, context="adapt")
    assert len(caught.value.problems) == 4
    assert "'u0' (1 chosen, 2 rejected), 'u1' (1 chosen, 2 rejected), 'u2' (1 chosen, 2 rejected) and 7 more" in str(
        caught.value
    )
    assert "each user needs at least 2 pairs for adapt; not so for 'w' (0 pairs)" in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).problems == caught.value.problems


def test__as_episode_set__different_numbers_of_features__names_the_odd_ones_out():
    wide = [Episode(f"u{i}", np.ones((2, 3)), np.ones((2, 3))) for i in range(2)]
    with pytest.raises(EpisodeError, match=r"most have 3; not so for 'v' \(2\)"):
        as_episode_set([*wide, Episode("v", np.ones((2, 2)), np.ones((2, 2)))])
    with pytest.raises(EpisodeError, match="expected 384 features as in fit, got 3"):
        as_episode_set(wide, n_features=384)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test__as_episode_set__features_not_finite__names_users(value, dtype):
    features = np.ones((3, 2), dtype)
    features[2, 1] = value
    episodes = [
        Episode("good", np.ones((3, 2), dtype), np.ones((3, 2), dtype)),
        Episode("bad", np.ones((3, 2), dtype), features),
    ]
    with pytest.raises(EpisodeError, match=r"features must be finite; not so for 'bad' \(1 pair"):
        as_episode_set(episodes)


def test__as_episode_set__large_but_finite_features__pass():
    for dtype in ("f2", "f4", "f8"):
        huge = np.full((2, 50), np.finfo(dtype).max, dtype)
        assert as_episode_set([Episode("a", huge, huge)]).features.dtype == dtype


def test__as_episode_set__too_few_groups__says_what_came():
    episodes = as_episode_set([Episode("a", ["1", "2"], ["x", "x"], ["p", "p"]), Episode("b", ["1", "2"], ["x", "x"])])
    with pytest.raises(EpisodeError, match=r"at least 2 groups .*not so for 'a' \(2 pairs in 1 group\)"):
        as_episode_set(episodes, min_groups=2)
    assert as_episode_set(episodes[[1]], min_groups=2).n_users == 1


def test__as_episode_set__other_kind_than_in_fit__says_which():
    with pytest.raises(EpisodeError, match="needs texts"):
        as_episode_set(random_set(), kind="text")
    with pytest.raises(EpisodeError, match="score needs feature arrays"):
        as_episode_set([FINE], kind="features", context="score")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (FINE, "got a single Episode: wrap it in a list"),
        ([{"chosen": "a"}], "got a dict with keys 'chosen' at place 0 of the list: .*episodes_from_frame"),
        ([FINE, None], "got None at place 1"),
        ({"chosen": ["a"]}, "got a dict with keys 'chosen'"),
        (np.eye(2), r"got an array of shape \(2, 2\) and dtype float64: .*episodes_from_arrays"),
        (None, "predict expects an EpisodeSet or a list of Episode, got None"),
        ("text", "got a str"),
        ((episode for episode in [FINE]), "got a generator"),
    ],
)
def test__as_episode_set__not_episodes__type_error_says_what_came(data, match):
    with pytest.raises(TypeError, match=match):
        as_episode_set(data, context="predict")


@pytest.mark.parametrize("data", [[], (), np.empty(0, object)])
def test__as_episode_set__nothing__is_an_error(data):
    with pytest.raises(EpisodeError, match="needs at least one user"):
        as_episode_set(data)
    with pytest.raises(EpisodeError, match="needs at least one user"):
        as_episode_set(random_set()[[]])


# -- arrays ----------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.lists(st.tuples(USERS, st.integers(0, 4), st.integers(0, 4), st.integers(-2, 2)), min_size=1, max_size=20))
def test__episodes_from_arrays__any_order_of_users__sorts_stably(pairs):
    ids, chosen, rejected, groups = zip(*pairs, strict=True)
    features = np.arange(10.0).reshape(5, 2)
    found = episodes_from_arrays(features, chosen, rejected, ids, groups)
    assert list(found.users) == list(dict.fromkeys(ids))
    assert found.features is features
    assert np.all(np.diff(found.user) >= 0)
    for row, name in enumerate(found.users):
        own = [pair[1:] for pair in pairs if pair[0] == name]
        at = slice(found.offsets[row], found.offsets[row + 1])
        assert list(zip(found.chosen[at], found.rejected[at], strict=True)) == [pair[:2] for pair in own]
        assert partition(found.group[at]) == partition([pair[2] for pair in own])


def test__episodes_from_arrays__ids_as_array_or_list__same_set():
    features = np.eye(3)
    rows = np.array([0, 1, 2, 0]), np.array([1, 2, 0, 2])
    names = ["b", "a", "b", "c"]
    expected = episodes_from_arrays(features, *rows, names)
    for ids in (np.array(names), np.array(names, object), tuple(names)):
        assert episodes_from_arrays(features, *rows, ids) == expected
    numbers = episodes_from_arrays(features, *rows, np.array([7, 3, 7, 5], "u1"))
    assert_array_equal(numbers.user, expected.user)
    assert [type(name) for name in numbers.users] == [int] * 3


def test__episodes_from_arrays__memory_map__is_not_copied(tmp_path):
    path = tmp_path / "features.npy"
    np.save(path, np.random.default_rng(0).normal(size=(100, 4)).astype("f4"))
    features = np.load(path, mmap_mode="r")
    found = episodes_from_arrays(features, [1, 2, 3], [4, 5, 6], ["a", "b", "a"])
    assert found.features is features
    assert isinstance(found[[1]].features, np.memmap)
    assert as_episode_set(found[::-1]).features is features
    assert found.compact().features.shape == (6, 4)


def test__episodes_from_arrays__columns__are_read_only_and_the_users_arrays_are_not():
    features, chosen = np.eye(3), np.array([0, 1])
    found = episodes_from_arrays(features, chosen, np.array([1, 2]), np.array([0, 1]))
    for name in ("users", "user", "chosen", "rejected", "group", "offsets"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(found, name)[0] = 1
    for array in (features, chosen):
        array[0] = 0
    with pytest.raises(AttributeError):
        found.chosen = chosen


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"chosen": [0, 3]}, r"chosen must hold rows 0 to 2 of features, got 3 at pair 1 \(1 out of range\)"),
        ({"rejected": [-1, 0]}, "rejected must hold rows 0 to 2 of features, got -1 at pair 0"),
        ({"chosen": [0.0, 1.0]}, r"chosen must hold rows of features \(integers\), got dtype float64"),
        ({"chosen": [[0], [1]]}, "chosen must be one-dimensional"),
        ({"chosen": [0]}, "one entry for each pair, got 1 chosen, 2 rejected, 2 users"),
        ({"groups": [0]}, "got 2 chosen, 2 rejected, 2 users, 1 groups"),
        ({"users": np.array([["a"], ["b"]])}, r"users must be one-dimensional, got shape \(2, 1\)"),
        ({"groups": np.zeros((2, 1))}, r"groups must be one-dimensional, got shape \(2, 1\)"),
        ({"users": ["a", None]}, "users must not be missing, got None or NaN at pairs 1"),
        ({"users": np.array([0.0, np.nan])}, "users must not be missing"),
        ({"users": ["a", []]}, "users must be hashable"),
        ({"groups": ["a", None]}, "groups must not be missing"),
        ({"features": np.ones(3)}, r"features must have shape \(n_items, n_features\).*got \(3,\)"),
        ({"features": np.ones((3, 0))}, "neither of them 0"),
        ({"features": np.ones((3, 2), complex)}, "dtype complex128"),
        ({"features": [[1.0], [1.0, 2.0], [1.0]]}, "ragged"),
        (
            {"features": np.array([[1.0], [np.nan], [1.0]])},
            r"must be finite; not so for 'a' \(1 pair, the first with row 1",
        ),
        ({"chosen": [], "rejected": [], "users": []}, "at least one pair"),
    ],
)
def test__episodes_from_arrays__bad_column__says_rule_and_what_came(change, match):
    arrays = {"features": np.eye(3), "chosen": [0, 1], "rejected": [1, 2], "users": ["a", "b"], **change}
    with pytest.raises(EpisodeError, match=match) as caught:
        episodes_from_arrays(**arrays)
    assert len(caught.value.problems) == 1


def test__episodes_from_arrays__several_problems__all_at_once():
    with pytest.raises(EpisodeError) as caught:
        episodes_from_arrays(np.eye(3), [5, 0], [0.5, 1], [None, "a"], [1, [2]])
    assert len(caught.value.problems) == 4


def test__episodes_from_arrays__rows_that_no_pair_uses__may_be_nan():
    features = np.eye(3)
    features[2] = np.nan
    found = episodes_from_arrays(features, [0], [1], ["a"])
    with pytest.raises(EpisodeError, match="finite"):
        as_episode_set(EpisodeSet(users=["a"], user=[0], chosen=[2], rejected=[0], group=[0], features=found.features))


# -- the set as a sequence of users ----------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.integers(0, 5), st.lists(st.integers(-7, 6), max_size=9))
def test__episode_set__indexed_by_integers__is_the_list_of_its_views(seed, rows):
    episodes = random_set(seed, n_pairs=60)
    assert len(episodes) == 7
    found = episodes[rows]
    assert found == episodes[np.array(rows, int)]
    assert len(found) == len(rows)
    assert found.features is episodes.features
    for view, row in zip(found, rows, strict=True):
        assert view == episodes[row]
        assert len(view) == episodes.pairs_per_user[row]


@settings(max_examples=40)
@given(st.slices(7))
def test__episode_set__slices_masks_and_tuples__agree_with_integers(key):
    episodes = random_set(n_pairs=60)
    rows = np.arange(7)[key]
    mask = np.isin(np.arange(7), rows)
    assert episodes[key] == episodes[rows]
    assert episodes[mask] == episodes[np.sort(rows)]
    assert episodes[mask.tolist()] == episodes[mask]
    assert episodes[rows, ...] == episodes[rows]
    assert episodes[..., rows] == episodes[rows]


def test__episode_set__indexing_twice__is_indexing_by_the_composition():
    episodes = random_set()
    assert episodes[[5, 2, 2, 0]][[1, 3]] == episodes[[2, 0]]
    assert episodes[::-1][::-1] == episodes
    assert episodes[[]].n_users == 0
    assert list(episodes[[]]) == []


@pytest.mark.parametrize("key", [7, -8, [0, 7], [-8], [True], ["a"], [0.5], "a", None, (0, 1), [[0]], True, 1.0])
def test__episode_set__bad_key__is_an_index_error(key):
    with pytest.raises(IndexError):
        random_set()[key]


@settings(max_examples=40)
@given(st.integers(0, 5), st.data())
def test__take_pairs__mask_or_rows__keeps_all_users(seed, data):
    episodes = random_set(seed, n_pairs=20)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=20, max_size=20)))
    found = episodes.take_pairs(mask)
    assert_array_equal(found.users, episodes.users)
    assert_array_equal(found.chosen, episodes.chosen[mask])
    assert_array_equal(found.user, episodes.user[mask])
    assert found == episodes.take_pairs(np.flatnonzero(mask))
    assert found.features is episodes.features
    assert sum(map(len, found)) == mask.sum()
    backwards = episodes.take_pairs(np.flatnonzero(mask)[::-1])
    for view, other in zip(found, backwards, strict=True):
        assert_array_equal(view.chosen, other.chosen[::-1])


def test__take_pairs__mask_of_wrong_length__is_an_error():
    with pytest.raises(IndexError, match="needs shape"):
        random_set().take_pairs([True])
    assert random_set().take_pairs([]).n_pairs == 0


def test__with_features__texts__attaches_without_copy_and_checks_rows():
    texts = as_episode_set([Episode("a", ["x", "y"], ["y", "z"]), Episode("b", ["x"], ["z"])])
    features = np.arange(6.0).reshape(3, 2)
    found = texts.with_features(features)
    assert found.features is features
    assert (texts.n_features, found.n_features, found.is_text) == (None, 2, True)
    assert found[[1]].compact().items == [("", "x"), ("", "z")]
    assert_array_equal(found[[1]].compact().features, features[[0, 2]])
    with pytest.raises(EpisodeError, match="one row for each of the 3 items, got 2"):
        texts.with_features(np.ones((2, 2)))
    with pytest.raises(EpisodeError, match=r"features must be floats .*, got ndarray of dtype complex128"):
        texts.with_features(features + 1j)


@settings(max_examples=30)
@given(st.integers(0, 5), st.lists(st.integers(0, 6), max_size=5))
def test__compact__subset__drops_items_and_keeps_every_pair(seed, rows):
    subset = random_set(seed)[rows]
    small = subset.compact()
    assert set(small.chosen) | set(small.rejected) == set(range(small.n_items))
    assert_array_equal(small.features[small.chosen], subset.features[subset.chosen])
    assert_array_equal(small.features[small.rejected], subset.features[subset.rejected])
    assert_array_equal(small.group, subset.group)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"user": [1, 0]}, "'user' must be ascending"),
        ({"user": [0, 2]}, r"'user' must hold rows 0 to 1 of the users, got 0 to 2"),
        ({"chosen": [0, 3]}, r"'chosen' must hold rows 0 to 2 of the items, got 0 to 3"),
        ({"group": [0]}, "one entry for each pair"),
        ({"group": [0.5, 1]}, "'group' must hold integers"),
        ({"group": [[0], [1]]}, "'group' must be one-dimensional"),
        ({"features": None}, "neither features nor items"),
        ({"features": np.ones(3)}, "must be an array of shape"),
        ({"features": np.ones((3, 2), complex)}, "features must be floats"),
        ({"features": [1.0]}, r"got shape \(1,\)"),
        ({"items": [("p", "r")]}, "one row for each of the 1 items"),
    ],
)
def test__episode_set__malformed_columns__are_refused(change, match):
    columns = {
        "users": ["a", "b"],
        "user": [0, 1],
        "chosen": [0, 1],
        "rejected": [1, 2],
        "group": [0, 0],
        "features": np.eye(3),
    }
    with pytest.raises(EpisodeError, match=match):
        EpisodeSet(**{**columns, **change})


def test__episode_set__pickle__round_trips_read_only():
    for episodes in (random_set(), as_episode_set([Episode("a", [TALK], [[*TALK[:-1], user("x")]])])):
        again = pickle.loads(pickle.dumps(episodes))
        assert again == episodes
        assert not again.chosen.flags.writeable
    assert again.items[0][1].messages == as_conversation(TALK[-1:]).messages


def test__episode_view__pickle__is_light_and_equal():
    rng = np.random.default_rng(0)
    episodes = episodes_from_arrays(rng.normal(size=(10_000, 50)), [0, 1], [2, 3], ["a", "b"])
    dumped = pickle.dumps(episodes[1])
    assert len(dumped) < 5_000
    again = pickle.loads(dumped)
    assert type(again) is Episode
    assert again == episodes[1]


def test__episode_set__attributes__can_be_neither_set_nor_added_nor_deleted():
    episodes = random_set()
    n_users, offsets = episodes.n_users, episodes.offsets
    for name in ("chosen", "features", "n_users", "offsets", "anything"):
        with pytest.raises(AttributeError, match=f"an EpisodeSet never changes; cannot set '{name}'"):
            setattr(episodes, name, episodes.chosen)
        with pytest.raises(AttributeError, match=f"an EpisodeSet never changes; cannot delete '{name}'"):
            delattr(episodes, name)
    assert not hasattr(episodes, "__dict__")
    assert not hasattr(episodes[0], "__dict__")
    with pytest.raises(AttributeError):
        episodes[0].chosen = []
    assert episodes.offsets is offsets
    assert copy.copy(episodes) == copy.deepcopy(episodes) == episodes
    assert copy.copy(episodes).features is episodes.features
    assert episodes.n_users == n_users


def test__episode_set__known_to_be_finite__holds_for_subsets_but_not_for_copies():
    episodes = EpisodeSet(users=["a"], user=[0], chosen=[0], rejected=[1], group=[0], features=np.eye(2))
    assert not episodes.is_checked
    as_episode_set(episodes)
    assert episodes.is_checked
    assert episodes[[0, 0]].is_checked
    assert not pickle.loads(pickle.dumps(episodes)).is_checked
    assert not episodes.with_features(np.full((2, 1), np.nan)).is_checked


@settings(max_examples=30)
@given(text_episodes(), st.data())
def test__episode_view__dataclasses_replace__gives_a_plain_episode_with_the_other_fields(episodes, data):
    views = as_episode_set(episodes)
    view = views[data.draw(st.integers(0, len(views) - 1))]
    groups = list(range(len(view)))
    replaced = dataclasses.replace(view, groups=groups)
    assert type(replaced) is Episode
    assert replaced == Episode(view.user, view.chosen, view.rejected, view.prompts, groups)
    assert dataclasses.replace(view) == view
    assert list(dataclasses.asdict(view)) == [field.name for field in dataclasses.fields(Episode)]


def test__episode_view__isinstance_and_copy__is_an_episode():
    view = random_set()[0]
    assert isinstance(view, Episode)
    assert [type(twin(view)) for twin in (copy.copy, copy.deepcopy)] == [Episode, Episode]
    assert copy.deepcopy(view) == view
    with pytest.raises(TypeError, match="unhashable"):
        hash(view)


def test__episode__equality_and_repr__show_content_not_origin():
    episode = Episode("a", ["x"], ["y"], ["p"], [0])
    view = as_episode_set([episode])[0]
    assert view == episode
    assert repr(view) == repr(episode) == "Episode(user='a', n_pairs=1)"
    assert episode != Episode("a", ["x"], ["z"], ["p"], [0])
    assert episode != "episode"
    assert Episode("a", np.eye(2), np.eye(2)) != Episode("a", np.eye(2), np.zeros((2, 2)))
    assert repr(Episode("a", 1, 2)) == "Episode(user='a', n_pairs=?)"
    with pytest.raises(AttributeError):
        episode.user = "b"


def test__episode_set__equality_and_representations__tell_sizes():
    episodes = random_set()
    assert episodes != random_set(1)
    assert episodes != "episodes"
    assert repr(episodes) == "EpisodeSet(n_users=7, n_pairs=40, n_items=11, n_features=3)"
    assert repr(as_episode_set([FINE])) == "EpisodeSet(n_users=1, n_pairs=2, n_items=4, texts)"
    assert "<td>40</td>" in episodes._repr_html_()
    assert "not encoded yet" in as_episode_set([FINE])._repr_html_()
    assert "none" in episodes[[]]._repr_html_()


# -- scikit-learn and imports ----------------------------------------------------------------------------------------


def test__sklearn__safe_indexing_and_splitters__give_sets_over_the_same_features():
    from sklearn.model_selection import KFold, train_test_split
    from sklearn.utils import _safe_indexing

    episodes = random_set(n_users=20, n_pairs=200)
    train, test = train_test_split(episodes, test_size=0.25, random_state=0)
    for part in (train, test):
        assert isinstance(part, EpisodeSet)
        assert part.features is episodes.features
    assert (train.n_users, test.n_users) == (15, 5)
    assert set(train.users).isdisjoint(test.users)
    assert train.n_pairs + test.n_pairs == episodes.n_pairs
    for rows in ([3, 1], np.array([3, 1]), slice(1, 3), np.arange(20) < 4, [True] * 20):
        assert _safe_indexing(episodes, rows) == episodes[rows]
    assert _safe_indexing(episodes, 4) == episodes[4]
    for fold, (fit, held) in enumerate(KFold(4).split(episodes)):
        assert episodes[held].n_users == 5, fold
        assert len(episodes[fit]) == 15


def test__sklearn__train_test_split_of_a_list_of_views__reassembles_without_a_copy():
    from sklearn.model_selection import train_test_split

    episodes = random_set(n_users=20, n_pairs=200)
    train, _ = train_test_split(list(episodes), random_state=0)
    assert isinstance(train, list)
    assert as_episode_set(train).features is episodes.features


def test__sklearn__grid_search__hands_sets_to_the_estimator():
    from sklearn.base import BaseEstimator
    from sklearn.model_selection import GridSearchCV, cross_val_score

    class Recorder(BaseEstimator):
        def __init__(self, factor=1.0):
            self.factor = factor

        def fit(self, X, y=None):
            self.seen_ = as_episode_set(X, n_features=3).n_users
            return self

        def score(self, X, y=None):
            assert isinstance(X, EpisodeSet)
            return self.factor * X.n_users

    episodes = random_set(n_users=20, n_pairs=200)
    assert_array_equal(cross_val_score(Recorder(), episodes, cv=4), [5.0] * 4)
    search = GridSearchCV(Recorder(), {"factor": [1.0, 2.0]}, cv=4).fit(episodes)
    assert search.best_params_ == {"factor": 2.0}
    assert search.best_estimator_.seen_ == 20


def test__import__boundary_modules__stay_light():
    code = (
        "import sys, skmrm.episodes, skmrm.splits\n"
        "heavy = {'torch', 'sklearn', 'scipy', 'narwhals', 'pandas', 'polars', 'pyarrow', 'datasets'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
