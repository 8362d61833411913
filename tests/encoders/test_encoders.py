"""Encoders: every statistic on texts whose answer is known, and laws that hold whatever the texts and the encoder."""

import os
import pickle
import re
from collections import Counter
from operator import itemgetter
from pathlib import Path

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

from skmrm.encoders import HashedTextEncoder, TextEncoder, TextStatistics, build_encoder
from skmrm.encoders.style._lexicon import STOP_WORDS, WORD_LISTS, is_contraction, is_latinate
from skmrm.encoders.style._words import count_words, tokens
from skmrm.episodes.messages import as_conversation

NAMES = list(TextStatistics().get_feature_names_out())
ITEMS = [
    ("Tea?", "Yes, please! I like tea very much."),
    ("Tea?", "No. I don't."),
    ("Which car?", "The red car, because it is fast.\n- quick\n- cheap"),
    ("", "the quick brown fox jumps over the lazy dog"),
    ("Which car?", ""),
    ("Tea?", "Yes, please! I like tea very much."),
]
WORDS = ["I", "i", "The", "cat", "CAT", "information", "don't", "isn't", "3rd", "nation's", "never", "ok"]
items_of_texts = st.lists(st.tuples(st.text(max_size=20), st.text(max_size=60)), min_size=1, max_size=8)

TRANSFORMED: list[list[tuple[str, str]]] = []  # what the encoders below were given, call by call
FITTED: list[list[tuple[str, str]]] = []


@pytest.fixture(autouse=True)
def _forget_calls():
    TRANSFORMED.clear()
    FITTED.clear()


class Recorder(TransformerMixin, BaseEstimator):
    """Two numbers a text, and a note of every call."""

    def __init__(self, scale=1.0):
        self.scale = scale

    def fit(self, X, y=None):
        FITTED.append(list(X))
        self.n_texts_ = len(X)
        return self

    def transform(self, X):
        TRANSFORMED.append(list(X))
        return np.array([[self.scale * len(response), response.count("e")] for _, response in X], dtype=float)


class RecordingHashedEncoder(HashedTextEncoder):
    def transform(self, X):
        TRANSFORMED.append(list(X))
        return super().transform(X)


class Returns(TransformerMixin, BaseEstimator):
    """Whatever a function of the texts returns."""

    def __init__(self, function):
        self.function = function

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return self.function(X)


class NoEstimator:
    """Can fit and transform, and knows nothing of scikit-learn."""

    def __init__(self):
        self.fitted = False

    def fit(self, X):
        self.fitted = True

    def transform(self, X):
        assert self.fitted
        return [[len(prompt), len(response)] for prompt, response in X]


def statistics_of(response, prompt=""):
    return dict(zip(NAMES, TextStatistics().transform([(prompt, response)])[0].astype(float), strict=True))


# ---------------------------------------------------------------- statistics: known answers


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("long_words", "a seventh cat wouldn't sit", 1),
        ("latinate_words", "The consideration of a movement is sensible", 3),
        ("numbers", "In 1990 the 2nd of 3 cats", 3),
        ("capitalised_words", "The cat of Ann sat", 2),
        ("all_caps_words", "I SAID no to NATO", 2),
        ("contractions", "Ann's cat isn't what it's said, they’ve lied", 3),
        ("stop_words", "The cat and the dog", 3),
        ("first_person_singular", "I think my cat likes me, i'm sure", 4),
        ("first_person_plural", "we feed our cat", 2),
        ("second_person", "You feed your cat", 2),
        ("third_person", "She feeds their cat", 2),
        ("reasons", "Because cats eat, therefore we feed them", 2),
        ("negations", "No, don't feed it, dont, never", 4),
        ("hedges", "Perhaps it might eat", 2),
        ("boosters", "Certainly it really eats", 2),
        ("obligations", "You must and should eat", 2),
        ("contrasts", "However it eats, although late", 2),
        ("additions", "Firstly it eats. Moreover it drinks", 2),
        ("examples", "For example, fish", 1),
        ("courtesies", "Please eat, thanks", 2),
        ("positive_words", "A good and great cat", 2),
        ("negative_words", "A bad and ugly cat", 2),
        ("evidence", "Ten percent, a study says", 2),
        ("informal_words", "lol yeah, cats", 2),
        ("spelling_slips", "i dont think I do and i'm", 3),
        ("commas", "a, b, c", 2),
        ("exclamations", "Eat now and sleep!!", 2),
        ("questions", "Why? What for?", 2),
        ("quotations", 'He said "yes" and “no”', 4),
        ("parentheses", "Cats (and dogs) and [birds]", 2),
        ("colons", "Cats: dogs; birds", 2),
        ("dashes", "well-known cats - and dogs — and birds", 2),
        ("ellipses", "so... and then…", 2),
        ("emphases", "a **bold** claim", 2),
        ("code_marks", "call `f` now", 2),
        ("links", "see https://www.example.org and www.b.org or http://c.org", 4),
        ("emojis", "cats 😀 and ❤️ forever", 2),
        ("spacing_slips", "Cats.And dogs ,yes , no . fine", 4),
    ],
)
def test__statistics__known_text__log_of_occurrences_per_hundred_words(name, text, count):
    n_words = len(tokens(text))
    assert_allclose(statistics_of(text)[name], np.log1p(100 * count / n_words), rtol=1e-6)
    assert statistics_of("Cat sat on mat.")[name] == 0 or name in ("stop_words", "capitalised_words")


def test__statistics__every_rate__has_a_known_answer_above():
    tested = {mark.args[1][k][0] for mark in _marks_of_known_answers() for k in range(len(mark.args[1]))}
    others = {name for name in NAMES if name.startswith(("log_", "prompt_"))}
    shares = {"vocabulary_richness", "list_items", "headings", "lowercase_starts", "unfinished"}
    assert set(NAMES) == tested | others | shares


def _marks_of_known_answers():
    return test__statistics__known_text__log_of_occurrences_per_hundred_words.pytestmark


def test__statistics__lengths__are_logarithms_of_counts():
    values = statistics_of("The cat sat. It purred!\n\nThe end")
    assert_allclose(values["log_words"], np.log1p(7), rtol=1e-6)
    assert_allclose(values["log_characters"], np.log1p(32), rtol=1e-6)
    assert_allclose(values["log_sentences"], np.log1p(3), rtol=1e-6)
    assert_allclose(values["log_lines"], np.log1p(2), rtol=1e-6)
    assert_allclose(values["log_sentence_length"], np.log1p(7 / 3), rtol=1e-6)
    assert_allclose(values["log_word_length"], np.log1p(23 / 7), rtol=1e-6)
    assert_allclose(values["vocabulary_richness"], np.log1p(6) - 0.85 * np.log1p(7), rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One. Two? Three!", 3),
        ('He said "stop." Then (he left.) And…', 3),
        ("no end", 1),
        ("Version 2.5 is out.", 1),
        ("1. Cats\n2. Dogs", 2),
        ("...", 0),
        ("猫。犬。", 2),
        ("", 0),
    ],
)
def test__statistics__sentences__end_at_full_stops_and_line_breaks(text, count):
    assert_allclose(statistics_of(text)["log_sentences"], np.log1p(count), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "text", "share"),
    [
        ("list_items", "Buy:\n- milk\n* eggs\n 3) tea", 3 / 4),
        ("list_items", "-5 degrees\n3.5 litres\n*bold*", 0),
        ("headings", "# Plan\n\nGo.\n**Then**\nStop.", 2 / 4),
        ("headings", "#tag\n**bold** text", 0),
        ("lowercase_starts", "the cat. It sat. it purred.", 2 / 3),
        ("unfinished", "The cat", 1),
        ("unfinished", "The cat. ", 0),
        ("unfinished", "", 0),
    ],
)
def test__statistics__lines_and_sentences_of_a_kind__are_shares(name, text, share):
    assert_allclose(statistics_of(text)[name], share, rtol=1e-6)


def test__statistics__prompt__is_compared_by_content_words():
    values = statistics_of("Cats drink milk, and the milk is fresh.", prompt="What do cats and dogs drink?")
    assert_allclose(values["prompt_overlap"], 2 / 5, rtol=1e-6)  # cats, drink of cats, drink, milk, fresh, dogs
    assert_allclose(values["prompt_coverage"], 2 / 3, rtol=1e-6)
    assert_allclose(values["log_length_ratio"], np.log(9 / 7), rtol=1e-6)
    alone = statistics_of("Cats drink milk, and the milk is fresh.")
    assert alone["prompt_overlap"] == alone["prompt_coverage"] == 0
    assert alone["log_length_ratio"] == alone["log_words"]


def test__statistics__nothing_written__all_zero_but_for_the_length_of_the_prompt():
    values = statistics_of(" \n\t", prompt="Say nothing")
    assert {name for name, value in values.items() if value} == {"log_characters", "log_length_ratio"}
    assert not any(statistics_of("").values())


def test__statistics__word_lists__lower_case_and_reachable():
    words = set().union(*WORD_LISTS.values(), STOP_WORDS)
    assert {word for word in words if word != word.lower() or tokens(word) != [word]} == set()


# ---------------------------------------------------------------- statistics: laws


@settings(max_examples=60)
@given(items_of_texts)
def test__statistics__any_texts__finite_float32_and_each_row_by_itself(items):
    table = TextStatistics().fit_transform(items)
    assert table.dtype == np.float32
    assert table.shape == (len(items), len(NAMES))
    assert np.isfinite(table).all()
    assert_array_equal(TextStatistics().transform(items[::-1]), table[::-1])
    assert_array_equal(TextStatistics().transform(items[:1] * 2), table[[0, 0]])


@settings(max_examples=60)
@given(st.text(max_size=80), st.integers(2, 5))
def test__statistics__text_repeated__counts_multiply_and_rates_stay(text, times):
    once, repeated = statistics_of(text), statistics_of("\n\n".join([text] * times))
    for name in ("log_words", "log_sentences", "log_lines"):
        assert_allclose(np.expm1(repeated[name]), times * np.expm1(once[name]), rtol=1e-5)
    changing = {"log_words", "log_characters", "log_sentences", "log_lines", "vocabulary_richness", "log_length_ratio"}
    assert {name for name in NAMES if not np.isclose(once[name], repeated[name], rtol=1e-6)} <= changing


@pytest.mark.parametrize(
    "piece", ["a", ".", "'", '"', "\n", " ", "!?", "a.", "- ", "**", "😀", "ß", "\ud800", "é1", "猫"]
)
def test__statistics__one_piece_over_and_over__bounded(piece):
    table = TextStatistics().transform([(piece * 50_000, piece * 50_000)])
    assert np.isfinite(table).all()
    assert np.abs(table).max() < np.log1p(200_000)
    rates = [place for place, name in enumerate(NAMES) if not name.startswith(("log_", "vocabulary"))]
    assert table[0, rates].max() <= np.float32(np.log1p(100))


@settings(max_examples=100)
@given(st.text("aBé1 _'’-.,\n", max_size=30))
def test__tokens__any_text__as_the_plain_regular_expression(text):
    assert tokens(text) == re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.replace("’", "'"))


@settings(max_examples=60)
@given(
    st.lists(
        st.lists(
            st.sampled_from(
                ["I", "i", "The", "cat", "CAT", "information", "don't", "isn't", "3rd", "nation's", "never", "ok"]
            )
        )
    )
)
def test__count_words__any_words__as_plain_counting(rows):
    counts = count_words([" ".join(row) for row in rows], ["the cat's Information"] * len(rows))
    for i, row in enumerate(rows):
        lower = Counter(word.lower() for word in row)
        assert counts.total[i] == len(row)
        assert counts.distinct[i] == len(lower)
        assert counts.letters[i] == sum(map(len, row))
        assert counts.traits["contractions"][i] == sum(map(is_contraction, lower.elements()))
        assert counts.traits["latinate_words"][i] == sum(map(is_latinate, lower.elements()))
        assert counts.traits["negations"][i] == sum(word in WORD_LISTS["negations"] for word in lower.elements())
        assert counts.content[i] == len(lower.keys() & {"cat", "information", "3rd"} | lower.keys() & {"never"})
        assert counts.shared_content[i] == ("information" in lower)
    assert_array_equal(counts.prompt_content, 1.0)
    assert_array_equal(counts.prompt_total, 3.0)


def test__statistics__more_texts_than_a_batch__as_in_parts():
    items = [ITEMS[i % len(ITEMS)] for i in range(5000)]
    table = TextStatistics().transform(items)
    assert_array_equal(table, TextStatistics().transform(ITEMS)[np.arange(5000) % len(ITEMS)])


def test__statistics__conversation_as_prompt__read_as_its_text():
    conversation = as_conversation([{"role": "user", "content": "Which car?"}])
    assert_array_equal(
        TextStatistics().transform([(conversation, "The car.")]),
        TextStatistics().transform([("Which car?", "The car.")]),
    )


# ---------------------------------------------------------------- hashed n-grams


def test__hashed_encoder__as_many_components_as_texts__keeps_all_inner_products(weights_by_scikit_learn):
    items = [item for item in dict.fromkeys(ITEMS) if item[1]]
    encoder = HashedTextEncoder(n_components=10, n_hashes=2**12).fit(items)
    vectors = encoder.transform(items)
    weights = weights_by_scikit_learn(encoder, [response for _, response in items])
    assert vectors.shape == (len(items), len(items))
    assert_allclose(vectors @ vectors.T, (weights @ weights.T).toarray(), atol=1e-5)
    assert_allclose(np.diag(vectors @ vectors.T), 2, rtol=1e-5)  # unit norm for words, and for characters
    assert_allclose(encoder.components_ @ encoder.components_.T, np.eye(len(items)), atol=1e-5)


def test__hashed_encoder__fewer_components__the_truncated_svd_of_scikit_learn():
    rng = np.random.default_rng(0)
    words = ["red", "green", "blue", "cat", "dog", "sun", "rain", "tea"]
    items = [("", " ".join(rng.choice(words, 6))) for _ in range(40)]
    encoder = HashedTextEncoder(n_components=3, char_ngrams=None, word_ngrams=(1, 1))
    vectors = encoder.fit_transform(items)
    tfidf = TfidfVectorizer(sublinear_tf=True).fit_transform([text for _, text in items])
    assert_allclose(encoder.singular_values_, TruncatedSVD(3, random_state=0).fit(tfidf).singular_values_, rtol=1e-3)
    gaps = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    expected = TruncatedSVD(3, algorithm="arpack", random_state=0).fit_transform(tfidf)
    assert_allclose(gaps, np.linalg.norm(expected[:, None] - expected[None], axis=2), atol=0.02)


@pytest.mark.parametrize(
    ("items", "n_columns"),
    [
        ([("", "")], 1),
        ([("", ""), ("", " ")], 1),
        ([("p", "one text")], 1),
        ([("", "one text"), ("", "one text")], 1),
        ([("", "one text"), ("", "another"), ("", "")], 2),
        ([("", "!?"), ("", "😀"), ("", "\ud83d")], 3),
    ],
)
def test__hashed_encoder__few_texts__as_many_columns_as_they_span(items, n_columns):
    encoder = HashedTextEncoder(n_hashes=2**10)
    vectors = encoder.fit_transform(items)
    assert vectors.shape == (len(items), n_columns)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert encoder.transform([("", "something else")]).shape == (1, n_columns)
    assert encoder.transform([]).shape == (0, n_columns)
    assert list(encoder.get_feature_names_out()) == [f"hashedtextencoder{k}" for k in range(n_columns)]


def test__hashed_encoder__twice__same_bits():
    first, second = (HashedTextEncoder(n_components=3).fit_transform(ITEMS) for _ in range(2))
    assert_array_equal(first, second)


def test__hashed_encoder__prompt__is_not_used():
    encoder = HashedTextEncoder(n_components=3).fit(ITEMS)
    assert_array_equal(encoder.transform([("a", "red")]), encoder.transform([("b", "red")]))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 0}, "'n_components' parameter of HashedTextEncoder must be an int"),
        ({"word_ngrams": None, "char_ngrams": None}, "both None: give at least one"),
        ({"char_ngrams": (3, 2)}, r"char_ngrams must be \(shortest, longest\).*got \(3, 2\)"),
        ({"word_ngrams": (1,)}, r"word_ngrams must be .*got \(1,\)"),
    ],
)
def test__hashed_encoder__bad_parameters__said_in_fit(parameters, message):
    with pytest.raises(ValueError, match=message):
        HashedTextEncoder(**parameters).fit(ITEMS)


# ---------------------------------------------------------------- texts that are no items


@pytest.mark.parametrize(
    "encoder", [TextStatistics(), HashedTextEncoder(n_hashes=64), TextEncoder(Recorder())], ids=repr
)
@pytest.mark.parametrize(
    ("items", "message"),
    [
        ("text", "needs a list of .prompt, response., got a str"),
        (None, "got None"),
        ({"prompt": "response"}, "got a dict with keys 'prompt'"),
        (["yes", "no"], r"not so for 2 items of 2, at 0, 1 \(the first is a str\)"),
        (
            [("p", "r"), ("p", None)],
            r"not so for 1 item of 2, at 1 \(the first is a str and None\): write .*'', response",
        ),
        ([("p", "r", "x")], "the first is a tuple of length 3"),
    ],
)
def test__encoders__no_items__said_with_the_place(encoder, items, message):
    with pytest.raises(ValueError, match=message):
        encoder.fit(items)


def test__encoders__no_texts_at_all__said_in_fit():
    for encoder in (HashedTextEncoder(), TextEncoder()):
        with pytest.raises(ValueError, match="at least 1 item is needed, got 0"):
            encoder.fit([])


# ---------------------------------------------------------------- the combined encoder


def test__text_encoder__default__hashed_n_grams_then_statistics():
    encoder = TextEncoder()
    features = encoder.fit_transform(ITEMS)
    distinct = sorted(set(ITEMS))
    hashed = HashedTextEncoder().fit(distinct)
    assert features.dtype == np.float32
    assert_array_equal(features[:, :-52], hashed.transform(ITEMS))
    assert_array_equal(features[:, -52:], TextStatistics().transform(ITEMS))
    names = list(encoder.get_feature_names_out())
    assert names == [*hashed.get_feature_names_out(), *(f"statistics__{name}" for name in NAMES)]
    assert len(names) == encoder.n_features_out_ == features.shape[1]


@settings(max_examples=15)
@given(items_of_texts, st.randoms(use_true_random=False), st.integers(1, 5))
def test__text_encoder__order_repetition_and_chunks__change_no_bit(items, random, chunk_size):
    encoder = HashedTextEncoder(n_components=4, n_hashes=256)
    features = TextEncoder(encoder).fit_transform(items)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    order = random.choices(range(len(items)), k=5) + list(range(len(items)))
    random.shuffle(order)
    again = TextEncoder(encoder, chunk_size=chunk_size).fit_transform([items[i] for i in order])
    assert_array_equal(again, features[order])


def test__text_encoder__fit_then_transform__as_fit_transform():
    encoder = TextEncoder(HashedTextEncoder(n_components=3))
    features = encoder.fit_transform(ITEMS)
    assert_array_equal(encoder.fit(ITEMS).transform(ITEMS), features)
    assert_array_equal(encoder.transform(ITEMS[1:3]), features[1:3])
    assert encoder.transform([]).shape == (0, features.shape[1])


def test__text_encoder__repeated_texts__each_seen_once_a_call():
    encoder = TextEncoder(Recorder(), chunk_size=2)
    features = encoder.fit_transform(ITEMS * 3)
    assert sorted(item for call in TRANSFORMED for item in call) == sorted(set(ITEMS))
    assert [len(call) for call in TRANSFORMED] == [2, 2, 1]
    assert_array_equal(features[:, 0], [len(response) for _, response in ITEMS * 3])
    assert [sorted(set(ITEMS))] == FITTED


def test__text_encoder__conversations_that_read_alike__stay_distinct():
    one = as_conversation([{"role": "user", "content": "Hi"}])
    other = as_conversation([{"role": "assistant", "content": "Hi"}])
    items = [(one, "Hello"), (other, "Hello"), (one, "Hello")]
    for texts in (items, items[1:]):  # in an order of their own
        TextEncoder(Recorder()).fit_transform(texts)
    assert TRANSFORMED[0] == TRANSFORMED[1] == [(other, "Hello"), (one, "Hello")]
    assert TRANSFORMED[0][0][0].messages == (("assistant", "Hi"),)


@pytest.mark.parametrize("kind", ["str", "path", "memory"])
def test__text_encoder__memory__same_texts_are_not_encoded_again(tmp_path, kind):
    memory = {"str": str(tmp_path), "path": tmp_path, "memory": joblib.Memory(tmp_path, verbose=0)}[kind]
    first = TextEncoder(Recorder(), memory=memory)
    features = first.fit_transform(ITEMS)
    assert (len(FITTED), len(TRANSFORMED)) == (1, 1)
    assert_array_equal(first.transform(ITEMS[::-1]), features[::-1])
    second = TextEncoder(Recorder(), memory=memory)
    assert_array_equal(second.fit_transform(ITEMS), features)
    assert_array_equal(pickle.loads(pickle.dumps(second)).transform(ITEMS), features)
    assert (len(FITTED), len(TRANSFORMED)) == (1, 1)

    TextEncoder(Recorder(scale=2.0), memory=memory).fit_transform(ITEMS)
    assert (len(FITTED), len(TRANSFORMED)) == (2, 2)
    second.transform(ITEMS[:2])
    assert (len(FITTED), len(TRANSFORMED)) == (2, 3)


def test__text_encoder__memory__fitted_encoder_from_the_cache_finds_its_texts(tmp_path):
    encoder = RecordingHashedEncoder(n_components=2, n_hashes=128)
    first, second = (TextEncoder(encoder, memory=tmp_path).fit_transform(ITEMS) for _ in range(2))
    assert_array_equal(first, second)
    assert len(TRANSFORMED) == 1


def test__text_encoder__memory_and_other_texts__not_mixed_up(tmp_path):
    encoder = HashedTextEncoder(n_components=2, n_hashes=128)
    for items in (ITEMS, ITEMS[1:4], [("x", response) for _, response in ITEMS]):
        cached = TextEncoder(encoder, memory=tmp_path).fit(items)
        assert_array_equal(cached.transform(ITEMS), TextEncoder(encoder).fit(items).transform(ITEMS))


def test__text_encoder__memory_without_a_place__works_as_none():
    features = TextEncoder(Recorder(), memory=joblib.Memory(None)).fit_transform(ITEMS)
    assert_array_equal(features, TextEncoder(Recorder()).fit_transform(ITEMS))


@pytest.mark.parametrize(
    ("encoder", "names"),
    [
        (CountVectorizer(preprocessor=itemgetter(1), lowercase=False, vocabulary=["Yes", "tea"]), ["Yes", "tea"]),
        (make_pipeline(Recorder(), StandardScaler()), ["text0", "text1"]),
        (Recorder(), ["text0", "text1"]),
        (NoEstimator(), ["text0", "text1"]),
        (Returns(lambda X: sp.coo_array(np.eye(len(X), 2))), ["text0", "text1"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test__text_encoder__any_transformer__its_numbers_and_names(encoder, names):
    combined = TextEncoder(encoder, text_statistics=False)
    features = combined.fit_transform(ITEMS)
    assert list(combined.get_feature_names_out()) == names
    assert features.shape == (len(ITEMS), 2)
    distinct = sorted(set(ITEMS))
    original = clone(encoder, safe=False)
    original.fit(distinct)
    expected = original.transform(distinct)
    expected = expected.toarray() if sp.issparse(expected) else np.asarray(expected)
    assert_allclose(features, expected[[distinct.index(item) for item in ITEMS]], rtol=1e-6)


def test__text_encoder__encoder_with_a_data_frame__its_values():
    pd = pytest.importorskip("pandas")
    encoder = Returns(lambda X: pd.DataFrame({"a": [len(r) for _, r in X], "b": 1.0}, index=[7] * len(X)))
    features = TextEncoder(encoder, text_statistics=False).fit_transform(ITEMS)
    assert_array_equal(features, [[len(response), 1] for _, response in ITEMS])


def test__text_encoder__fit__leaves_the_parameter_unfitted():
    recorder = Recorder()
    encoder = TextEncoder(recorder).fit(ITEMS)
    assert not hasattr(recorder, "n_texts_")
    assert encoder.encoder is recorder
    assert encoder.encoder_.n_texts_ == 5


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda X: np.zeros(len(X)), r"2-D array is needed, one row a text, got 1 dimension of shape \(5,\)"),
        (lambda X: np.zeros((len(X) + 1, 2)), "5 rows are needed, one for each text, got 6"),
        (lambda X: np.zeros((len(X), 0)), "at least 1 column is needed, got none"),
        (lambda X: np.full((len(X), 2), np.nan), "must be finite in float32; not so for 5 rows, at 0, 1, 2 and 2 more"),
        (lambda X: np.full((len(X), 2), 1e300), "must be finite in float32"),
        (lambda X: np.full((len(X), 2), 1j), "real numbers are needed, got a ndarray of others"),
        (lambda X: [["a"]] * len(X), "real numbers are needed, got a list of others"),
        (lambda X: [[1], [1, 2]], "real numbers are needed"),
        (lambda X: None, "2-D array is needed|real numbers are needed"),
        (
            lambda X: np.full((len(X) + 1, 2), np.inf),
            r"cannot be used: \n  - 5 rows are needed.*\n  - all values must be",
        ),
        (
            lambda X: HashingVectorizer().transform([response for _, response in X]),
            "at most 10000 columns, since it is made dense, got 1048576: reduce it, .*TruncatedSVD",
        ),
    ],
)
def test__text_encoder__output_that_cannot_be_used__said_with_a_remedy(function, message):
    with pytest.raises(ValueError, match=f"output of Returns cannot be used: .*({message})|{message}"):
        TextEncoder(Returns(function)).fit_transform(ITEMS)


def test__text_encoder__columns_that_change__said():
    encoder = TextEncoder(Returns(lambda X: np.ones((len(X), len(X)))), chunk_size=4).fit(ITEMS)
    with pytest.raises(ValueError, match="number of columns must not change, it was 1 and is 4"):
        encoder.transform(ITEMS)
    with pytest.raises(ValueError, match="number of columns must not change, it was 4 and is 1"):
        encoder.fit_transform(ITEMS)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (Recorder, "encoder must be None .* or a transformer.*got the class Recorder: pass an instance, Recorder()"),
        (3, "got an int without fit and transform"),
    ],
)
def test__text_encoder__nothing_that_encodes__said_before_any_work(encoder, message):
    with pytest.raises(ValueError, match=message):
        build_encoder(encoder)
    with pytest.raises(ValueError, match=message):
        TextEncoder(encoder).fit(ITEMS)


def test__build_encoder__parameters__reach_the_text_encoder(tmp_path):
    recorder = Recorder()
    encoder = build_encoder(recorder, text_statistics=False, memory=tmp_path, n_jobs=2, verbose=True)
    expected = {"encoder": recorder, "text_statistics": False, "memory": tmp_path, "n_jobs": 2, "verbose": True}
    expected |= {"chunk_size": 4096}
    assert encoder.get_params(deep=False) == expected
    nested = build_encoder(encoder)
    assert nested is not encoder
    assert nested.get_params(deep=False)["text_statistics"] is False


def test__text_encoder__verbose__shows_progress(capsys):
    TextEncoder(Recorder(), chunk_size=2, verbose=True).fit_transform(ITEMS)
    assert "encoding: 100%" in capsys.readouterr().err
    TextEncoder(Recorder()).fit_transform(ITEMS)
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------- scikit-learn's manners

ALL = [TextStatistics(), HashedTextEncoder(n_components=3, n_hashes=128), TextEncoder(Recorder()), TextEncoder()]


@pytest.mark.parametrize("encoder", ALL, ids=repr)
@pytest.mark.parametrize(
    "check",
    [
        "check_no_attributes_set_in_init",
        "check_parameters_default_constructible",
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_get_params_invariance",
        "check_set_params",
        "check_mixin_order",
        "check_valid_tag_types",
        "check_estimator_tags_renamed",
    ],
)
def test__encoders__checks_of_scikit_learn_without_data__pass(encoder, check):
    getattr(estimator_checks, check)(type(encoder).__name__, encoder)


@pytest.mark.parametrize("encoder", ALL, ids=repr)
def test__encoders__clone_pickle_and_pipeline__same_numbers(encoder):
    features = clone(encoder).fit_transform(ITEMS)
    fitted = clone(encoder).fit(ITEMS)
    assert_array_equal(pickle.loads(pickle.dumps(fitted)).transform(ITEMS), fitted.transform(ITEMS))
    assert_allclose(make_pipeline(clone(encoder), StandardScaler()).fit(ITEMS)[0].transform(ITEMS), features)
    assert len(fitted.get_feature_names_out()) == features.shape[1]
    assert len(set(fitted.get_feature_names_out())) == features.shape[1]


@pytest.mark.parametrize("encoder", ALL, ids=repr)
def test__encoders__pandas_output__names_are_columns(encoder):
    pytest.importorskip("pandas")
    expected = clone(encoder).fit_transform(ITEMS)
    frame = clone(encoder).set_output(transform="pandas").fit_transform(ITEMS)
    assert list(frame.columns) == list(clone(encoder).fit(ITEMS).get_feature_names_out())
    assert_array_equal(frame.to_numpy(), expected)
    with config_context(transform_output="pandas"):  # reaches the steps inside as well
        assert_array_equal(clone(encoder).fit_transform(ITEMS).to_numpy(), expected)


def test__encoders__not_fitted__said_unless_there_is_nothing_to_learn():
    for encoder in (HashedTextEncoder(), TextEncoder()):
        with pytest.raises(NotFittedError):
            encoder.transform(ITEMS)
        with pytest.raises(NotFittedError):
            encoder.get_feature_names_out()
    assert TextStatistics().transform(ITEMS).shape == (6, len(NAMES))


# ---------------------------------------------------------------- what it is for


def _shared_file(name):
    folder = os.environ.get("SKMRM_SHARED_DATA")
    root = Path(folder) if folder else Path(__file__).parents[3] / "shared" / "data"
    if not (root / name).exists():
        pytest.skip(f"{name} is not here; SKMRM_SHARED_DATA names its folder")
    return root / name


def test__text_encoder__real_judgements__predicts_new_topics_better_than_length_alone():
    from sklearn.linear_model import LogisticRegression

    pd = pytest.importorskip("pandas")
    pairs = pd.read_parquet(_shared_file("convargs/pairs.parquet"))[::5]
    new_topic = pd.factorize(pairs.topic)[0] % 4 == 0
    chosen, rejected = (list(zip(pairs.prompt, pairs[side], strict=True)) for side in ("chosen", "rejected"))
    old_items = [item for side in (chosen, rejected) for item, new in zip(side, new_topic, strict=True) if not new]
    model = make_pipeline(TextEncoder(), StandardScaler()).fit(old_items)
    gaps = model.transform(chosen) - model.transform(rejected)
    length = list(model[0].get_feature_names_out()).index("statistics__log_words")

    def accuracy(gaps):
        train = np.vstack([gaps[~new_topic], -gaps[~new_topic]])
        labels = np.repeat([1, 0], len(train) // 2)
        fit = LogisticRegression(C=10 / len(train), fit_intercept=False).fit(train, labels)
        margin = gaps[new_topic] @ fit.coef_[0]
        return np.mean((margin > 0) + (margin == 0) / 2)

    assert accuracy(gaps) > accuracy(gaps[:, [length]]) + 0.02


def test__text_encoder__several_processes__change_no_bit(tmp_path):
    items = [("Tea?", f"Answer {number}, " + "and more " * (number % 7)) for number in range(60)]
    alone = TextEncoder(chunk_size=7).fit(items)
    together = TextEncoder(chunk_size=7, n_jobs=2).fit(items)
    assert_array_equal(alone.transform(items), together.transform(items))
    cached = TextEncoder(chunk_size=7, n_jobs=2, memory=tmp_path).fit(items)
    assert_array_equal(alone.transform(items), cached.transform(items))
    assert_array_equal(alone.transform(items), cached.transform(items))
