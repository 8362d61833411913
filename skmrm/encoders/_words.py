"""What the words of a text tell: each distinct word is looked at once, and sparse algebra does the counting."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from skmrm.encoders._lexicon import STOP_WORDS, WORD_LISTS, is_content, is_contraction, is_latinate

__all__ = ["TRAITS", "WordCounts", "count_words", "tokens"]

_Counts = NDArray[np.float64]

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
    distinct_prompts = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
    prompt_of = np.fromiter((distinct_prompts[prompt] for prompt in prompts), np.intp, len(prompts))
    n = len(responses)
    bag, vocabulary = _bag(tokens(text) for text in chain(responses, distinct_prompts))
    folded, is_content_word = _fold(bag, vocabulary)
    total = bag.sum(axis=1)
    content = folded @ sp.diags_array(is_content_word.astype(float))
    content.eliminate_zeros()
    of_prompts = content[n:][prompt_of]
    return WordCounts(
        total=total[:n],
        distinct=np.diff(folded.indptr[: n + 1]).astype(float),
        letters=bag[:n] @ np.array([len(word) for word in vocabulary], dtype=float),
        traits=dict(zip(TRAITS, (bag[:n] @ _trait_table(vocabulary)).T, strict=True)),
        content=np.diff(content.indptr[: n + 1]).astype(float),
        prompt_content=np.diff(of_prompts.indptr).astype(float),
        shared_content=content[:n].multiply(of_prompts).astype(bool).sum(axis=1).astype(float),
        prompt_total=total[n:][prompt_of],
    )


def _bag(texts: Iterable[list[str]]) -> tuple[sp.csr_array, list[str]]:
    """Occurrences of each word in each text (texts, vocabulary), and the vocabulary."""
    place: defaultdict[str, int] = defaultdict()
    place.default_factory = place.__len__
    rows = [[place[word] for word in words] for words in texts]
    starts = np.cumsum([0, *map(len, rows)])
    indices = np.fromiter(chain.from_iterable(rows), np.int64, int(starts[-1]))
    bag = sp.csr_array((np.ones(len(indices)), indices, starts), shape=(len(rows), len(place)))
    bag.sum_duplicates()
    return bag, list(place)


def _fold(bag: sp.csr_array, vocabulary: Sequence[str]) -> tuple[sp.csr_array, NDArray[np.bool_]]:
    """The bag whatever the case of words, and which of its columns are content words."""
    place: dict[str, int] = {}
    columns = np.array([place.setdefault(word.lower(), len(place)) for word in vocabulary], dtype=np.int64)
    folded = sp.csr_array((bag.data.copy(), columns[bag.indices], bag.indptr.copy()), shape=(bag.shape[0], len(place)))
    folded.sum_duplicates()
    return folded, np.array([is_content(word) for word in place], dtype=bool)


def _trait_table(vocabulary: Sequence[str]) -> _Counts:
    column = {name: place for place, name in enumerate(TRAITS)}
    table = np.zeros((len(vocabulary), len(TRAITS)))
    for row, word in enumerate(vocabulary):
        for name in _traits(word):
            table[row, column[name]] = 1
    return table


def _traits(word: str) -> Iterator[str]:
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
