"""The n-grams of the default encoder, with numpy alone: texts become bytes, and all n-grams are hashed at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Sized
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skmrm._support.threads import one_thread
from skmrm.episodes.items import encodable

__all__ = ["HashedNgrams", "murmurhash3", "tfidf"]

_CHARACTERS_PER_BATCH = 2**15  # bounds the memory; a longer text is a batch by itself
_WORD = re.compile(r"\w+")
_SPACE = ord(" ")
_FEW = 48  # slices: of fewer than these, Python mixes in a block sooner than numpy's calls do
_TAILS = np.array([0, 0xFF, 0xFFFF, 0xFFFFFF], dtype=np.uint32)  # masks of the bytes after the last whole four

_Bytes = NDArray[np.uint8]
_Ints = NDArray[np.int64]
_Words = NDArray[np.uint32]


class HashedNgrams:
    """What a fitted ``HashedTextEncoder`` makes of texts, without scikit-learn.

    Parameters
    ----------
    word_ngrams, char_ngrams : (int, int) or None
        Shortest and longest n-grams of the encoder; None for none.
    n_hashes : int
        Columns for each kind.
    idf : (n_kinds * n_hashes,) array
        Weights of the columns, those of words first.
    columns : (m,) int array
        Columns of which there are components; the components of others are zero.
    components : (n_features, m) array
        The components.

    Raises
    ------
    ValueError
        If the arrays are not of these shapes.
    """

    def __init__(
        self,
        word_ngrams: Sequence[int] | None,
        char_ngrams: Sequence[int] | None,
        n_hashes: int,
        idf: ArrayLike,
        columns: ArrayLike,
        components: ArrayLike,
    ) -> None:
        self.word_ngrams = word_ngrams
        self.char_ngrams = char_ngrams
        self.n_hashes = n_hashes
        self._n_kinds = sum(ngrams is not None for ngrams in (word_ngrams, char_ngrams))
        self._idf = np.asarray(idf, dtype=np.float64)
        self._vectors = np.ascontiguousarray(np.transpose(components), dtype=np.float32)
        columns = np.asarray(columns, dtype=np.int64)
        self._check(columns)
        self._place = np.full(len(self._idf), -1, dtype=np.int64)
        self._place[columns] = np.arange(len(columns))

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode texts.

        Parameters
        ----------
        texts : sequence of str
            Responses.

        Returns
        -------
        (n_texts, n_features) float32 array
            One row a text; a row does not depend on the others.
        """
        vectors = np.empty((len(texts), self._vectors.shape[1]), np.float32)
        with one_thread():
            for batch in _batches(texts):
                self._encode([encodable(text).lower() for text in texts[batch]], vectors[batch])
        return vectors

    def _check(self, columns: _Ints) -> None:
        width = self._n_kinds * self.n_hashes
        if self._idf.shape != (width,) or self._vectors.ndim != 2 or columns.shape != self._vectors.shape[:1]:
            raise ValueError(
                f"{self._n_kinds} kinds of {self.n_hashes} hashes need idf of shape ({width},), and as many columns as "
                f"components have; got {self._idf.shape}, {columns.shape} and {self._vectors.shape[::-1]}"
            )

    def _encode(self, texts: Sequence[str], out: NDArray[np.float32]) -> None:
        rows, columns, weights = self._weigh(texts)
        places = self._place[columns]
        has_place = places >= 0
        rows, places, weights = rows[has_place], places[has_place], weights[has_place]
        stops = np.searchsorted(rows, np.arange(len(texts)), side="right").tolist()
        for row, (start, stop) in enumerate(pairwise([0, *stops])):
            np.dot(weights[start:stop], self._vectors.take(places[start:stop], axis=0), out=out[row])

    def _weigh(self, texts: Sequence[str]) -> tuple[_Ints, _Ints, NDArray[np.float32]]:
        """Rows (sorted), columns and values of the tf-idf weights that are not zero; norm 1 for each row and kind."""
        keys, counts = _hash_counts(texts, self.word_ngrams, self.char_ngrams, self.n_hashes)
        return _weighted(keys, counts, self._idf, self.n_hashes)


def tfidf(
    texts: Sequence[str], word_ngrams: Sequence[int] | None, char_ngrams: Sequence[int] | None, n_hashes: int
) -> tuple[NDArray[np.float32], _Ints, _Ints, NDArray[np.float32]]:
    """Weights of texts as values, columns and bounds of rows of a sparse matrix; and how rare each column is."""
    width = n_hashes * sum(ngrams is not None for ngrams in (word_ngrams, char_ngrams))
    found = [np.zeros((2, 0), np.int64)]
    for batch in _batches(texts):
        keys, counts = _hash_counts(
            [encodable(text).lower() for text in texts[batch]], word_ngrams, char_ngrams, n_hashes
        )
        found.append(np.stack([keys + batch.start * width, counts]))
    keys, counts = np.concatenate(found, axis=1)
    df = np.bincount(keys % width, minlength=width).astype(np.float32)
    idf = np.log(np.float32(len(texts) + 1) / (df + 1)) + np.float32(1)
    rows, columns, weights = _weighted(keys, counts, idf.astype(float), n_hashes)
    return weights, columns, np.searchsorted(rows, np.arange(len(texts) + 1)), idf


def _hash_counts(
    texts: Sequence[str], word_ngrams: Sequence[int] | None, char_ngrams: Sequence[int] | None, n_hashes: int
) -> tuple[_Ints, _Ints]:
    """Row and column of each hash as one number, sorted; and how often it occurs."""
    kinds = []
    if word_ngrams is not None:
        kinds.append(_word_ngrams(texts, *word_ngrams))
    if char_ngrams is not None:
        kinds.append(_char_ngrams(texts, *char_ngrams))
    return _count(
        np.concatenate(
            [
                (found.rows * len(kinds) + kind) * n_hashes + found.hashes() % n_hashes
                for kind, found in enumerate(kinds)
            ]
        )
    )


def _weighted(
    keys: _Ints, counts: _Ints, idf: NDArray[np.float64], n_hashes: int
) -> tuple[_Ints, _Ints, NDArray[np.float32]]:
    groups = keys // n_hashes
    rows, columns = np.divmod(keys, len(idf))
    weights = (1 + np.log(counts)) * idf[columns]
    weights /= np.sqrt(np.bincount(groups, weights * weights))[groups]
    return rows, columns, weights.astype(np.float32)


class _Ngrams(NamedTuple):
    """N-grams as slices of bytes, and the row of the text of each."""

    data: _Bytes
    starts: _Ints
    stops: _Ints
    rows: _Ints

    def hashes(self) -> _Words:
        """Absolute values of the hashes, taken as signed."""
        hashes = murmurhash3(self.data, self.starts, self.stops - self.starts)
        return np.minimum(hashes, -hashes)


def _batches(texts: Sequence[str]) -> Iterator[slice]:
    """Texts that one after the other come to about the same number of characters."""
    batch = np.cumsum([len(text) for text in texts]) // _CHARACTERS_PER_BATCH
    starts = np.flatnonzero(np.diff(batch, prepend=-1)).tolist()
    return map(slice, starts, [*starts[1:], len(texts)])


def _word_ngrams(texts: Sequence[str], shortest: int, longest: int) -> _Ngrams:
    words = [_WORD.findall(text) for text in texts]
    sizes = _lengths(words)
    data = _as_bytes(" ".join(["", *chain.from_iterable(words), ""]))
    spaces = np.flatnonzero(data == _SPACE)  # one before each word, and one at the end
    first, last = _runs(sizes, shortest, longest)
    return _Ngrams(data, spaces[first] + 1, spaces[last], _numbered(sizes)[first])


def _char_ngrams(texts: Sequence[str], shortest: int, longest: int) -> _Ngrams:
    """N-grams inside words with a space at each side; of a word that is shorter than all of them, the whole."""
    words = [text.split() for text in texts]
    padded = [f" {word} " for word in chain.from_iterable(words)]
    sizes = _lengths(padded)
    ends = np.cumsum(sizes)
    data = _as_bytes("".join(padded))
    bounds = np.append(np.flatnonzero(data & 0xC0 != 0x80), len(data))  # of characters, in bytes
    is_short = sizes < shortest
    first, last = _runs(sizes, shortest, longest)
    first = np.concatenate([first, (ends - sizes)[is_short]])
    last = np.concatenate([last, ends[is_short]])
    row_of_word = _numbered(_lengths(words))
    return _Ngrams(data, bounds[first], bounds[last], row_of_word[_numbered(sizes)[first]])


def _lengths(parts: Sequence[Sized]) -> _Ints:
    return np.fromiter(map(len, parts), np.int64, len(parts))


def _numbered(sizes: _Ints) -> _Ints:
    """Number of the part, for each place in parts of these sizes, which lie one after the other."""
    return np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)


def _runs(sizes: _Ints, shortest: int, longest: int) -> tuple[_Ints, _Ints]:
    """First place, and one past the last, of all runs of these lengths inside parts of these sizes."""
    ends = np.cumsum(sizes)
    room = np.repeat(ends, sizes) - np.arange(sizes.sum(), dtype=np.int64)
    lengths = range(shortest, min(longest, sizes.max(initial=0)) + 1)
    firsts = [np.flatnonzero(room >= length) for length in lengths]
    first = np.concatenate([np.zeros(0, dtype=np.int64), *firsts])
    return first, first + np.repeat(np.array(lengths, dtype=np.int64), _lengths(firsts))


def _as_bytes(text: str) -> _Bytes:
    return np.frombuffer(text.encode(), np.uint8)


def _count(keys: _Ints) -> tuple[_Ints, _Ints]:
    """Sorted keys without repetition, and how often each occurs."""
    keys = np.sort(keys)
    is_first = np.ones(len(keys), dtype=bool)
    np.not_equal(keys[1:], keys[:-1], out=is_first[1:])
    starts = np.flatnonzero(is_first)
    return keys[starts], np.diff(starts, append=len(keys))


def murmurhash3(data: _Bytes, starts: _Ints, lengths: _Ints) -> _Words:
    """Hash slices of bytes with MurmurHash3 (x86, 32 bits, seed 0).

    Parameters
    ----------
    data : (n_bytes,) uint8 array
        Bytes.
    starts, lengths : (n,) int array
        The slices, which may overlap.

    Returns
    -------
    (n,) uint32 array
        Hashes.
    """
    # A little-endian word from each byte on, since slices start anywhere.
    words = np.ndarray(len(data) + 1, "<u4", data.tobytes() + bytes(4), strides=(1,)).astype(np.uint32)
    mixed = _mixed(words)
    hashes = np.zeros(len(starts), np.uint32)
    n_blocks = lengths >> 2
    going = np.flatnonzero(n_blocks)
    for block in range(n_blocks.max(initial=0)):
        going = going[n_blocks[going] > block]
        if len(going) < _FEW:
            for row in going.tolist():
                rest = mixed[starts[row] + 4 * block : starts[row] + 4 * n_blocks[row] : 4]
                hashes[row] = _folded(int(hashes[row]), rest.tolist())
            break
        hashes[going] = _rotated(hashes[going] ^ mixed[starts[going] + 4 * block], 13) * np.uint32(5) + np.uint32(
            0xE6546B64
        )
    tails = words[starts + 4 * n_blocks] & _TAILS[lengths & 3]
    return _finished(hashes ^ _mixed(tails) ^ lengths.astype(np.uint32))


def _folded(hashed: int, blocks: list[int]) -> int:
    """A hash with further blocks mixed in: a word of 20,000 letters has 5,000, each of which needs the one before."""
    for block in blocks:
        hashed ^= block
        hashed = ((hashed << 13 & 0xFFFFFFFF | hashed >> 19) * 5 + 0xE6546B64) & 0xFFFFFFFF
    return hashed


def _rotated(words: _Words, bits: int) -> _Words:
    return words << np.uint32(bits) | words >> np.uint32(32 - bits)


def _mixed(words: _Words) -> _Words:
    return _rotated(words * np.uint32(0xCC9E2D51), 15) * np.uint32(0x1B873593)


def _finished(hashes: _Words) -> _Words:
    for bits, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        hashes = (hashes ^ hashes >> np.uint32(bits)) * np.uint32(factor)
    return hashes ^ hashes >> np.uint32(16)
