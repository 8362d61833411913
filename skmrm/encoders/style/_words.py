"""What the words of a text tell: each distinct word is looked at once, and numpy does the counting."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from skmrm.encoders.style._lexicon import STOP_WORDS, WORD_LISTS, is_content, is_contraction, is_latinate
from skmrm.episodes.columns import factorize

__all__ = ["TRAITS", "WordCounts", "count_words", "tokens"]

_Counts = NDArray[np.float64]
_Ints = NDArray[np.int64]

TRAITS = (
    "long_words",
    "latinate_words",
    "numbers",
    "capitalised_words",
    "all_caps_words",
    "contractions",
    "stop_words",
    *WORD_LISTS,
)
_PLACE_OF_TRAIT = {name: place for place, name in enumerate(TRAITS)}
_LONGEST_KEPT = 32  # letters; bounds the memory of the words whose traits are kept
_LOWERCASE_I = frozenset(("i", "i'm", "i've", "i'd", "i'll"))


def _invert(lists: dict[str, frozenset[str]]) -> dict[str, tuple[str, ...]]:
    names: defaultdict[str, list[str]] = defaultdict(list)
    for name, words in lists.items():
        for word in words:
            names[word].append(name)
    return {word: tuple(found) for word, found in names.items()}


_LISTS_OF = _invert({**WORD_LISTS, "stop_words": STOP_WORDS})


class _Blanks(dict[int, int]):
    """Table for str.translate that turns all but letters, digits and apostrophes into spaces, filled as needed."""

    def __missing__(self, code: int) -> int:
        self[code] = ord(_blank(chr(code)))
        return self[code]


def _blank(character: str) -> str:
    if character in "'’":
        return "'"
    # Vowel signs and accents belong to their word, but the selectors that follow an emoji do not.
    is_mark = unicodedata.category(character) in ("Mn", "Mc") and not "\ufe00" <= character <= "\ufe0f"
    return character if character.isalnum() or is_mark else " "


_BLANKS = _Blanks()
_OUTER_APOSTROPHE = re.compile(r"'(?:(?!\w)|(?<!\w'))")


def tokens(text: str) -> list[str]:
    """Words of a text, in their own case.

    Parameters
    ----------
    text : str
        Anything.

    Returns
    -------
    list of str
        Runs of letters and digits, with apostrophes inside (curly ones made plain).

    Examples
    --------
    >>> tokens("'Tis Ann’s well-known  2nd 'home'.")
    ['Tis', "Ann's", 'well', 'known', '2nd', 'home']
    """
    blanked = text.translate(_BLANKS)
    if "'" in blanked:
        blanked = _OUTER_APOSTROPHE.sub(" ", blanked)
    return blanked.split()


@dataclass(frozen=True)
class WordCounts:
    """Counts of words of n responses, each an (n,) float array.

    Attributes
    ----------
    total, distinct, letters : array
        Words; distinct words whatever their case; characters of all words.
    traits : dict of str to array
        Words with each of `TRAITS`.
    content, prompt_content, shared_content : array
        Distinct content words of the response, of its prompt, and of both.
    prompt_total : array
        Words of the prompt.
    """

    total: _Counts
    distinct: _Counts
    letters: _Counts
    traits: dict[str, _Counts]
    content: _Counts
    prompt_content: _Counts
    shared_content: _Counts
    prompt_total: _Counts


def count_words(responses: Sequence[str], prompts: Sequence[str]) -> WordCounts:
    """Count the words of responses and what they share with their prompts.

    Parameters
    ----------
    responses, prompts : sequence of str
        Texts, one prompt a response.

    Returns
    -------
    WordCounts
        The counts.
    """
    n = len(responses)
    prompt_code, distinct_prompts = factorize(prompts)
    prompt_of = n + prompt_code
    sizes, words, vocabulary = _occurrences(tokens(text) for text in chain(responses, distinct_prompts))
    rows = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    total = sizes.astype(float)
    distinct, content = _distinct_words(rows, words, vocabulary, len(sizes))
    n_content = content.count()
    n_words = sizes[:n].sum()  # of responses, which come first
    words, rows = words[:n_words], rows[:n_words]
    vocabulary = vocabulary[: words.max(initial=-1) + 1]
    return WordCounts(
        total=total[:n],
        distinct=distinct.count()[:n],
        letters=np.bincount(rows, np.array([len(word) for word in vocabulary])[words], n).astype(float),
        traits=dict(zip(TRAITS, _count_traits(rows, words, vocabulary, n), strict=True)),
        content=n_content[:n],
        prompt_content=n_content[prompt_of],
        shared_content=content.shared_with(prompt_of),
        prompt_total=total[prompt_of],
    )


def _occurrences(texts: Iterable[list[str]]) -> tuple[_Ints, _Ints, list[str]]:
    """Words of each text, how many they are, and the vocabulary, in which the words are places."""
    rows = list(texts)
    sizes = np.array([len(row) for row in rows], dtype=np.int64)
    return sizes, *factorize(list(chain.from_iterable(rows)))


@dataclass(frozen=True)
class _Sets:
    """Sets of places below `width`, one a row, as one sorted array of row * width + place."""

    keys: _Ints
    width: int
    n_rows: int

    def count(self) -> _Counts:
        """Size of each set."""
        firsts = np.arange(self.n_rows + 1, dtype=np.int64) * self.width
        return np.diff(np.searchsorted(self.keys, firsts)).astype(float)

    def shared_with(self, others: _Ints) -> _Counts:
        """What each of the first sets has in common with another, given by its row."""
        keys = self.keys[: np.searchsorted(self.keys, len(others) * self.width)]
        rows, places = np.divmod(keys, self.width)
        sought = others[rows] * self.width + places
        is_found = self.keys.take(np.searchsorted(self.keys, sought), mode="clip") == sought
        return np.bincount(rows[is_found], minlength=len(others)).astype(float)


def _distinct_words(rows: _Ints, words: _Ints, vocabulary: Sequence[str], n_rows: int) -> tuple[_Sets, _Sets]:
    """Words of each text whatever their case, and the content words among them."""
    place: dict[str, int] = {}
    folded = np.array([place.setdefault(word.lower(), len(place)) for word in vocabulary], dtype=np.int64)
    carries = np.array([is_content(word) for word in place], dtype=bool)
    keys = _unique(rows * len(place) + folded[words])
    return _Sets(keys, len(place), n_rows), _Sets(keys[carries[keys % len(place)]], len(place), n_rows)


def _unique(keys: _Ints) -> _Ints:
    """As np.unique, which is slower for being general."""
    keys = np.sort(keys)
    is_first = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=is_first[1:])
    return keys[is_first]


def _count_traits(rows: _Ints, words: _Ints, vocabulary: Sequence[str], n_rows: int) -> _Counts:
    """Words with each trait in each text: (traits, rows)."""
    found = [(_traits if len(word) > _LONGEST_KEPT else _kept_traits)(word) for word in vocabulary]
    sizes = np.array([len(traits) for traits in found], dtype=np.int64)
    flat = np.fromiter(chain.from_iterable(found), np.int64, int(sizes.sum()))
    repeats = sizes[words]
    ends = np.cumsum(repeats)
    within = np.arange(repeats.sum()) - np.repeat(ends - repeats, repeats)
    traits = flat[np.repeat((np.cumsum(sizes) - sizes)[words], repeats) + within]
    counts = np.bincount(traits * n_rows + np.repeat(rows, repeats), minlength=len(TRAITS) * n_rows)
    return counts.reshape(len(TRAITS), n_rows).astype(float)


def _traits(word: str) -> tuple[int, ...]:
    """Places in `TRAITS` of the traits of a word."""
    return tuple([_PLACE_OF_TRAIT[name] for name in _names_of_traits(word)])


_kept_traits = lru_cache(maxsize=2**14)(_traits)  # most words of a text have been in other texts


def _names_of_traits(word: str) -> Iterator[str]:
    lower = word.lower()
    yield from _LISTS_OF.get(lower, ())
    if len(word) > 6 and "'" not in word:
        yield "long_words"
        if is_latinate(lower):
            yield "latinate_words"
    if word[0].isdigit():
        yield "numbers"
    if word[0].isupper():
        yield "capitalised_words"
        if len(word) > 1 and word.isupper():
            yield "all_caps_words"
    if is_contraction(lower):
        yield "contractions"
    if word in _LOWERCASE_I:
        yield "spelling_slips"
