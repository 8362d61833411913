"""Encoding with numpy alone: as scikit-learn does it, whatever the texts and the parameters."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.utils import murmurhash3_32

from skmrm.encoders import HashedTextEncoder, TextStatistics
from skmrm.encoders._saving import fitted_arrays, restore_fitted
from skmrm.encoders.hashed import _ngrams
from skmrm.encoders.hashed._ngrams import HashedNgrams, murmurhash3
from skmrm.encoders.style._lexicon import is_content
from skmrm.encoders.style._style import STATISTICS, style_statistics
from skmrm.encoders.style._words import TRAITS, count_words, tokens

HEAVY = {"torch", "sklearn", "scipy", "joblib", "pandas", "transformers", "tokenizers", "onnx", "onnxruntime"}
LOWEST_HASH = "auozubow"  # a word whose hash is -2**31, of which the absolute value is no int32
TEXTS = [
    "I think that the red car is faster.",
    "No.  I don't!",
    "İstanbul'da ǅ straße, naïve 猫は犬。",
    "the the the cat\u00a0sat\x1con a\u2003mat",
    "",
    " \n\t",
    "!?",
    "cut \ud83d emoji 😀👩‍👩‍👧",
    LOWEST_HASH,
    "x" * 300,
]
words = st.sampled_from(["I", "a", "the", "The", "don't", "snake_case", "naïve", "2nd", "a-b", "猫", "\n", "\ud83d"])
texts = st.one_of(st.text(max_size=40), st.lists(words, max_size=25).map(" ".join))


def ranges(most):
    return st.none() | st.tuples(st.integers(1, most), st.integers(0, 3)).map(lambda drawn: (drawn[0], sum(drawn)))


parameters = st.fixed_dictionaries(
    {"word_ngrams": ranges(3), "char_ngrams": ranges(6), "n_hashes": st.sampled_from([2, 7, 2**10])}
).filter(lambda drawn: drawn["word_ngrams"] or drawn["char_ngrams"])


def twin_of(encoder):
    arrays = fitted_arrays(encoder)
    return HashedNgrams(
        encoder.word_ngrams,
        encoder.char_ngrams,
        encoder.n_hashes,
        arrays["idf"],
        arrays["columns"],
        arrays["components"],
    )


def random_encoder(seed, n_components=3, share=1.0, **params):
    """An encoder with drawn components, which no error hides from, as a few fitted ones would let it."""
    encoder = HashedTextEncoder(**params)
    rng = np.random.default_rng(seed)
    width = encoder.n_hashes * ((encoder.word_ngrams is not None) + (encoder.char_ngrams is not None))
    columns = np.flatnonzero(rng.random(width) <= share)
    arrays = {
        "columns": columns,
        "components": rng.uniform(-1, 1, (n_components, len(columns))).astype(np.float32),
        "singular_values": np.ones(n_components, np.float32),
        "idf": rng.uniform(1, 5, width).astype(np.float32),
    }
    restore_fitted(encoder, arrays)
    return encoder


@pytest.fixture(scope="module")
def encoded(weights_by_scikit_learn):
    """Vectors of responses by scikit-learn's vectorizers."""

    def encode(encoder, responses):
        if not responses:
            return np.empty((0, len(encoder.components_)))
        return weights_by_scikit_learn(encoder, responses) @ encoder.components_.T

    return encode


# ---------------------------------------------------------------- hashed n-grams


@settings(max_examples=150)
@example(TEXTS, {"word_ngrams": (1, 2), "char_ngrams": (3, 5), "n_hashes": 2**15}, 0.7)
@example(TEXTS, {"word_ngrams": (2, 3), "char_ngrams": (6, 7), "n_hashes": 7}, 1.0)
@example([LOWEST_HASH], {"word_ngrams": (1, 1), "char_ngrams": None, "n_hashes": 7}, 1.0)
@example(["a", "a b"], {"word_ngrams": None, "char_ngrams": (1, 1), "n_hashes": 2**10}, 1.0)
@given(st.lists(texts, max_size=6), parameters, st.sampled_from([0.5, 1.0]))
def test__hashed_ngrams__any_texts_and_parameters__as_scikit_learn(encoded, responses, params, share):
    encoder = random_encoder(0, share=share, **params)
    vectors = twin_of(encoder)(responses)
    assert vectors.dtype == np.float32
    assert_allclose(vectors, encoded(encoder, responses), rtol=0, atol=1e-5)


@settings(max_examples=25)
@given(st.lists(texts, min_size=1, max_size=5), st.lists(texts, max_size=5), parameters)
def test__hashed_ngrams__fitted_encoder__the_same_features(encoded, old, new, params):
    encoder = HashedTextEncoder(n_components=8, **params).fit([("", response) for response in old])
    assert_allclose(twin_of(encoder)(old + new), encoded(encoder, old + new), rtol=0, atol=1e-5)


def test__hashed_encoder__transform__is_its_n_grams_and_changes_no_state():
    encoder = HashedTextEncoder(n_components=8, n_hashes=2**10).fit([("", text) for text in TEXTS])
    before = pickle.dumps(encoder)
    assert_array_equal(encoder.transform([("", text) for text in TEXTS]), twin_of(encoder)(TEXTS))
    assert pickle.dumps(encoder) == before
    encoder.fit([("", text) for text in TEXTS[:3]])
    assert_array_equal(encoder.transform([("", text) for text in TEXTS]), twin_of(encoder)(TEXTS))


def test__hashed_ngrams__several_batches__as_one(monkeypatch):
    twin = twin_of(random_encoder(1, n_hashes=2**10))
    together = twin(TEXTS * 3)
    monkeypatch.setattr(_ngrams, "_CHARACTERS_PER_BATCH", 40)
    assert_allclose(twin(TEXTS * 3), together, rtol=0, atol=1e-6)
    assert_allclose(np.vstack([twin([text]) for text in TEXTS * 3]), together, rtol=0, atol=1e-6)


def test__hashed_ngrams__no_texts_and_blank_ones__no_rows_and_zeros():
    twin = twin_of(random_encoder(2, n_components=5))
    assert twin([]).shape == (0, 5)
    assert twin([]).dtype == np.float32
    assert_array_equal(twin(["", " \n"]), np.zeros((2, 5)))


def test__hashed_ngrams__fitted_on_nothing_but_blanks__zeros():
    encoder = HashedTextEncoder(n_hashes=64).fit([("", " ")])
    assert_array_equal(twin_of(encoder)(TEXTS), np.zeros((len(TEXTS), 1)))


def test__hashed_ngrams__several_threads__same_bits():
    twin = twin_of(random_encoder(3))
    expected = twin(TEXTS * 20)
    with ThreadPoolExecutor(4) as pool:
        for vectors in pool.map(twin, [TEXTS * 20] * 8):
            assert_array_equal(vectors, expected)


@pytest.mark.parametrize(
    ("idf", "columns", "components"),
    [
        (np.ones(8), np.arange(2), np.ones((3, 2))),
        (np.ones(16), np.arange(3), np.ones((3, 2))),
        (np.ones(16), np.arange(2), np.ones(2)),
    ],
)
def test__hashed_ngrams__arrays_that_do_not_fit__said(idf, columns, components):
    with pytest.raises(ValueError, match=r"2 kinds of 8 hashes need idf of shape \(16,\), and as many columns"):
        HashedNgrams((1, 2), (3, 5), 8, idf, columns, components)


# ---------------------------------------------------------------- the hash


@settings(max_examples=150)
@given(
    st.lists(
        st.binary(max_size=23)
        | st.text(max_size=9).map(lambda text: text.encode("utf-8", "replace"))
        | st.tuples(st.binary(min_size=1, max_size=5), st.integers(1, 400)).map(lambda drawn: drawn[0] * drawn[1])
    ),
    st.sampled_from([0, 1, 48, 10**6]),
)
def test__murmurhash3__any_bytes__as_scikit_learn(parts, few):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_ngrams, "_FEW", few)  # by numpy alone, by Python alone, and by both
        _check_hashes(parts)


def _check_hashes(parts):
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    hashes = murmurhash3(np.frombuffer(b"".join(parts), np.uint8), np.cumsum(lengths) - lengths, lengths)
    assert hashes.dtype == np.uint32
    assert hashes.tolist() == [murmurhash3_32(part, positive=True) for part in parts]


def test__murmurhash3__overlapping_slices__each_by_itself():
    data = np.random.default_rng(0).integers(0, 256, 40).astype(np.uint8)
    starts, stops = np.triu_indices(41)
    expected = [murmurhash3_32(data[i:j].tobytes(), positive=True) for i, j in zip(starts, stops, strict=True)]
    assert murmurhash3(data, starts, stops - starts).tolist() == expected
    assert murmurhash3_32(LOWEST_HASH) == -(2**31)


@pytest.mark.parametrize("text", ["x", "7", "xyz ", "猫", "e\u0301", "a'", "**a", "x.", " ", "\n", "😀"])
def test__hashed_ngrams__a_text_of_any_kind__takes_work_by_its_length_alone(text, monkeypatch):
    """Calls of numpy and steps of Python, counted: neither grows faster than the text, however long its words are."""

    def work(n_characters):
        calls, steps = [], []
        rotated, folded = _ngrams._rotated, _ngrams._folded
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_ngrams, "_rotated", lambda words, bits: calls.append(len(words)) or rotated(words, bits))
            patch.setattr(
                _ngrams, "_folded", lambda hashed, blocks: steps.append(len(blocks)) or folded(hashed, blocks)
            )
            encoder([("", (text * n_characters)[:n_characters])])
        return len(calls), sum(calls) + sum(steps)

    encoder = HashedTextEncoder(n_components=2, n_hashes=64).fit([("", "one two"), ("", "three")]).transform
    (few_calls, little), (many_calls, much) = work(1000), work(16_000)
    assert many_calls <= few_calls + 8
    assert much <= 17 * max(little, 100)


# ---------------------------------------------------------------- statistics of style


def test__style_statistics__any_items__what_text_statistics_gives():
    items = [("Tea?", text) for text in TEXTS] + [(text, "Yes, please.") for text in TEXTS]
    assert_array_equal(style_statistics(items), TextStatistics().transform(items))
    assert list(STATISTICS) == list(TextStatistics().get_feature_names_out())
    assert style_statistics([]).shape == (0, len(STATISTICS))


@settings(max_examples=60)
@given(st.lists(st.tuples(texts, texts), max_size=6))
def test__count_words__each_response_with_its_prompt__as_sets(items):
    counts = count_words([response for _, response in items], [prompt for prompt, _ in items])
    for i, (prompt, response) in enumerate(items):
        asked, said = ({word.lower() for word in tokens(text)} for text in (prompt, response))
        content, of_prompt = ({word for word in found if is_content(word)} for found in (said, asked))
        assert counts.distinct[i] == len(said)
        assert counts.content[i] == len(content)
        assert counts.prompt_content[i] == len(of_prompt)
        assert counts.shared_content[i] == len(content & of_prompt)
        assert counts.letters[i] == sum(map(len, tokens(response)))
        assert counts.prompt_total[i] == len(tokens(prompt))
    every = [counts.total, counts.letters, counts.shared_content, *counts.traits.values()]
    assert {(column.dtype, column.shape) for column in every} == {(np.dtype(float), (len(items),))}


@pytest.mark.parametrize("letters", [7, 32, 33, 5000])
def test__count_words__word_of_any_length__has_its_traits(letters):
    counts = count_words(["A" * letters, f"a {'b' * letters}"], ["", ""])
    traits = {name: list(counts.traits[name]) for name in TRAITS if counts.traits[name].any()}
    assert traits == {
        "long_words": [1, 1],
        "capitalised_words": [1, 0],
        "all_caps_words": [1, 0],
        "stop_words": [0, 1],
    }


# ---------------------------------------------------------------- imports


@pytest.mark.parametrize("module", ["skmrm.encoders.style._style", "skmrm.encoders.hashed._ngrams"])
def test__import__of_what_a_service_encodes_with__loads_nothing_heavy(module):
    script = f"import {module}, sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) & HEAVY == set()
