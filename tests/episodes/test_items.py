"""What reaches an encoder: pairs of texts, checked once however many rooms they pass through."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skmrm import Episode, MetaRewardModel
from skmrm.datasets import load_style_preferences
from skmrm.embeddings import EmbeddingStore
from skmrm.encoders import HashedTextEncoder, TextEncoder, TextStatistics
from skmrm.episodes import items as module
from skmrm.episodes.items import CheckedItems, check_items
from skmrm.episodes.messages import Conversation

TALK = [{"role": "user", "content": "Tea?"}]
NO_ITEMS = st.one_of(st.none(), st.integers(), st.text(max_size=3), st.just(("text",)), st.just(("text", None)))


@pytest.fixture(scope="module")
def model():
    texts = load_style_preferences(n_users=20, n_pairs=6, random_state=0).episodes
    return MetaRewardModel(max_epochs=0, random_state=0).fit(texts)


@pytest.fixture
def looks(monkeypatch):
    """Grows by one each time that an item is looked at."""
    seen = []
    look = module._as_item
    monkeypatch.setattr(module, "_as_item", lambda item, *spelt: seen.append(item) or look(item, *spelt))
    return seen


@settings(max_examples=60)
@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=5), st.sampled_from([None, "predict"]))
def test__check_items__pairs_of_texts__come_back_in_tuples_and_once_checked_as_they_are(pairs, caller):
    for form in (pairs, tuple(pairs), [list(pair) for pair in pairs], [np.array(pair, object) for pair in pairs]):
        found = check_items(form, caller)
        assert found == pairs
        assert isinstance(found, CheckedItems)
        assert check_items(found, "another") is found
    if not pairs:
        with pytest.raises(ValueError, match="at least 1 item is needed, got 0"):
            check_items(CheckedItems(), minimum=1)


@settings(max_examples=60)
@given(st.lists(st.one_of(NO_ITEMS, st.just(("p", "r"))), min_size=1, max_size=6))
def test__check_items__some_that_are_none__are_counted_and_the_first_is_shown(rows):
    bad = [place for place, row in enumerate(rows) if row != ("p", "r")]
    if not bad:
        assert check_items(rows) == rows
        return
    count = f"{len(bad)} item{'s' * (len(bad) > 1)} of {len(rows)}, at {bad[0]}"
    with pytest.raises(ValueError, match=f"^each item must be a .*not so for {count}"):
        check_items(rows)
    with pytest.raises(TypeError, match=f"^predict of a model .*; item {bad[0]} is .*not so for {count}"):
        check_items(rows, "predict")


def test__check_items__lists_of_messages__are_read_for_models_and_encoders():
    for caller in (None, "predict"):
        ((prompt, response),) = check_items([(TALK, "Yes.")], caller)
        assert isinstance(prompt, Conversation)
        assert (str(prompt), response) == ("Tea?", "Yes.")
    assert_array_equal(TextStatistics().transform([(TALK, TALK)]), TextStatistics().transform([("Tea?", "Tea?")]))
    with pytest.raises(ValueError, match="message 0 has no 'content'"):
        check_items([([{"role": "user"}], "Yes.")])


@pytest.mark.parametrize("n", [1, 3])
def test__score__of_texts__looks_at_each_item_once(model, looks, n):
    user = model.adapt([])
    found = user.score("Tea?", [f"Yes, {row} cups." for row in range(n)])
    assert found.shape == (n,)
    assert len(looks) == n
    user.score("Tea?", "Yes.")
    assert len(looks) == n + 1


def test__decision_function__of_texts__looks_at_each_item_once(model, looks):
    assert model.decision_function(Episode("ann", ["Yes.", "No."], ["No.", "Perhaps."])).shape == (2,)
    assert len(looks) == 3  # distinct texts


@pytest.mark.parametrize("encoder", [HashedTextEncoder(2), TextEncoder(HashedTextEncoder(2), chunk_size=2)])
def test__fit_transform__of_an_encoder__looks_at_each_item_in_each_call(encoder, looks):
    texts = [("", f"text {row}") for row in range(5)]
    first = encoder.fit_transform(texts)
    within = len(looks)
    assert_array_equal(encoder.transform(texts), first)
    assert len(looks) - within == 5
    assert within == (5 if isinstance(encoder, TextEncoder) else 10)  # scikit-learn calls fit, then transform


def test__store__filled_from_texts__looks_at_each_item_in_each_call(tmp_path, looks):
    texts = [("", f"text {row}") for row in range(5)]
    store = EmbeddingStore(tmp_path, HashedTextEncoder(2).fit(texts), rows_per_shard=2)
    del looks[:]
    store.encoded(check_items(texts))
    assert len(looks) == 5
