"""One user's choices: every form of the same choices is the same set, checked once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skmrm.episodes import Episode, EpisodeSet, as_episode_set, episodes_from_frame, from_user
from skmrm.episodes.from_user import read_user_pairs
from skmrm.exceptions import EpisodeError

WORDS = st.lists(st.sampled_from(["The", "sky", "is", "blue", "black", "é😀"]), min_size=1, max_size=5).map(" ".join)
EXCHANGES = st.tuples(WORDS, WORDS).map(
    lambda said: [{"role": role, "content": text} for role, text in zip(("user", "assistant"), said, strict=True)]
)
TALKS = st.lists(EXCHANGES, min_size=1, max_size=2).map(
    lambda exchanges: [turn for exchange in exchanges for turn in exchange]
)
TEXT_PAIRS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5)
TALK_PAIRS = st.lists(st.tuples(TALKS, TALKS), min_size=1, max_size=5)


def as_episode(chosen, rejected):
    return Episode("the user", chosen, rejected)


def as_tuples(chosen, rejected):
    return list(zip(chosen, rejected, strict=True))


def as_dicts(chosen, rejected):
    return [{"chosen": a, "rejected": b} for a, b in zip(chosen, rejected, strict=True)]


def as_columns(chosen, rejected):
    return {"chosen": chosen, "rejected": tuple(rejected), "note": "neither a column nor read"}


def as_columns_with_user(chosen, rejected):
    return {"user_id": ["the user"] * len(chosen), "chosen": chosen, "rejected": rejected}


def as_pandas(chosen, rejected):
    return pytest.importorskip("pandas").DataFrame({"chosen": chosen, "rejected": rejected})


def as_arrow(chosen, rejected):
    return pytest.importorskip("pyarrow").table({"chosen": chosen, "rejected": rejected})


def as_dataset(chosen, rejected):
    return pytest.importorskip("datasets").Dataset.from_dict({"chosen": chosen, "rejected": rejected, "n": chosen})


def read(pairs, kind="text"):
    return read_user_pairs(pairs, kind, 3, "adapt")


@pytest.mark.parametrize(
    "form", [as_tuples, as_dicts, as_columns, as_columns_with_user, as_pandas, as_arrow, as_dataset]
)
@settings(max_examples=15)
@given(st.one_of(TEXT_PAIRS, TALK_PAIRS))
def test__read_user_pairs__no_prompts__every_form_is_what_the_episode_is(form, pairs):
    """Without prompts, plain texts are whole; what lists of messages share at their start is their prompt."""
    columns = [list(column) for column in zip(*pairs, strict=True)]
    expected = read(as_episode(*columns))
    found = read(form(*columns))
    assert found == expected
    assert (found.n_pairs, found.n_users) == (len(pairs), 1)
    if isinstance(pairs[0][0], str):
        assert list(found[0].chosen) == columns[0]
        assert set(found[0].prompts) == {""}


def test__read_user_pairs__messages_that_begin_alike__have_that_start_as_prompt_in_every_form():
    question = {"role": "user", "content": "Tea?"}
    yes, no = ({"role": "assistant", "content": word} for word in ("Yes.", "No."))
    for form in (as_episode, as_tuples, as_dicts, as_columns, as_pandas, as_dataset):
        found = read(form([[question, yes]], [[question, no]]))
        assert [(str(a), str(b)) for a, b in found.items] == [("Tea?", "Yes."), ("Tea?", "No.")]


def test__read_user_pairs__a_set_that_was_read_with_implicit_prompts__keeps_them():
    rows = [{"user_id": "ann", "chosen": "The sky is blue.", "rejected": "The sky is black."}]
    episodes = episodes_from_frame(rows, prompt=None)
    assert read(episodes) is episodes
    assert read(episodes[0]).items == [("The sky is", " blue."), ("The sky is", " black.")]
    assert read(rows).items == [("", "The sky is blue."), ("", "The sky is black.")]


@pytest.mark.parametrize("form", [as_episode, as_tuples, as_dicts, as_columns, as_pandas])
def test__read_user_pairs__any_form__is_held_against_the_rules_once(form, monkeypatch):
    seen = []
    monkeypatch.setattr(from_user, "as_episode_set", lambda *args, **kw: seen.append(1) or as_episode_set(*args, **kw))
    rules = []
    monkeypatch.setattr(
        "skmrm.episodes.checked.set_problems", lambda episodes, **kw: rules.append(episodes.n_pairs) or ()
    )
    monkeypatch.setattr(
        "skmrm.episodes.from_tables.set_problems", lambda episodes, **kw: rules.append(episodes.n_pairs) or ()
    )
    read(form(list(np.eye(3)), list(np.ones((3, 3)))), kind="features")
    assert (len(seen), rules) == (1, [3])


def test__read_user_pairs__one_user_of_a_set__looks_at_no_features_of_others():
    features = np.eye(4)
    features[3] = np.nan
    episodes = episodes_of_two(features)
    assert read(episodes[0], kind="features").n_items == 2
    with pytest.raises(EpisodeError, match="finite"):
        read(episodes[1], kind="features")


def episodes_of_two(features):
    return EpisodeSet(
        users=["a", "b"], user=[0, 1], chosen=[0, 2], rejected=[1, 3], group=[0, 0], features=features[:, :3]
    )


@pytest.mark.parametrize(
    ("pairs", "error", "match"),
    [
        ({"chosen": "one", "rejected": "other"}, EpisodeError, "'chosen', 'rejected' .str.: wrap the dict in a list"),
        ({"user_id": "ann", "chosen": ["a"], "rejected": ["b"]}, EpisodeError, "'user_id' .str."),
        ([{"chosen": "a", "rejected": "b", "prompt": "p"}, {"chosen": "a", "rejected": "b"}], EpisodeError, "row: 1"),
        ([{"chosen": "a", "rejected": 3}, {"chosen": None, "rejected": "b"}], EpisodeError, "(?s)missing.*an int"),
        ({"chosen": ["a"], "rejcted": ["b"]}, EpisodeError, "there is no rejected among 'chosen', 'rejcted'"),
        ({3}, TypeError, "adapt takes an Episode.*got a set: pass a pandas"),
    ],
)
def test__read_user_pairs__unusable_table__says_what_is_wrong(pairs, error, match):
    with pytest.raises(error, match=match):
        read(pairs)


def test__read_user_pairs__lazy_frame__is_read_and_several_splits_are_not():
    polars, datasets = pytest.importorskip("polars"), pytest.importorskip("datasets")
    assert read(polars.LazyFrame({"chosen": ["a"], "rejected": ["b"]})).n_pairs == 1
    with pytest.raises(TypeError, match=r"adapt takes .*pass one, as data\['train'\]"):
        read(datasets.DatasetDict({"train": datasets.Dataset.from_dict({"chosen": ["a"], "rejected": ["b"]})}))
