"""The store: a folder of features of texts, filled by one encoder, that any number of processes read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import ArrayLike

from skmrm._support.files import PARTIAL, remove_leftovers
from skmrm._support.progress import Verbose
from skmrm._support.wording import counted, name_some, raise_all
from skmrm.embeddings._facts import FACTS_FILE, StoreFacts, read_facts
from skmrm.embeddings._filling import fill
from skmrm.embeddings._identity import fitted_encoder, width_of
from skmrm.embeddings._index import Index, load_index
from skmrm.embeddings._keys import content_keys
from skmrm.embeddings._rows import StoredRows
from skmrm.embeddings._shards import count_verified, read_shard, shard_name, shard_names, write_shard
from skmrm.encoders._distinct import distinct_items
from skmrm.encoders._encoded import encode_pieces
from skmrm.encoders._identity import identity_of
from skmrm.episodes import Episode, EpisodeSet, as_episode_set
from skmrm.episodes.episode_set import in_stored_order
from skmrm.episodes.items import CheckedItems, Item, check_items
from skmrm.exceptions import ModelFileError, StoreInUseError

if TYPE_CHECKING:
    from typing import Self

__all__ = ["EmbeddingStore"]

_DTYPES = ("float32", "float16")
_DEFAULTS: dict[str, Any] = {"dtype": "float32", "rows_per_shard": 4096}
_LOCK_FILE = "lock"
_SHARDS = "shards"


class EmbeddingStore:
    """Features of texts in a folder: encoded once, found again by what the text says, read without being loaded.

    :func:`encode_dataset` fills it, a piece after the other; it may be killed at any moment, and goes on from there
    when it is called again. ``MetaRewardModel(memory=store)`` looks features up and encodes what is not there;
    :meth:`attach` makes episodes over the store's rows, which ``MetaRewardModel(max_memory=...)`` streams.

    A store belongs to one fitted encoder: what decides its numbers (its ``identity_``, or code, parameters, what it
    learnt, and files) is written beside them, and no other encoder can open it. One process writes at a time; any
    number read meanwhile.

    Parameters
    ----------
    folder : str or path
        A folder with a store in it, or an empty or new one.
    encoder : transformer, str or path, optional
        What encodes: anything that :class:`skmrm.encoders.TextEncoder` takes. One that learns from texts
        (:class:`skmrm.encoders.HashedTextEncoder`, a Pipeline) must be fitted. Statistics of style are never kept: they
        are quick, and whoever reads the store appends them. None opens a store for reading.
    dtype : {"float32", "float16"}, optional
        Precision on disk. None is that of the store, float32 for a new one.
    rows_per_shard : int, optional
        Texts encoded and written at a time: what a kill costs at most. None is that of the store, 4096 for a new one.

    Attributes
    ----------
    encoder_ : transformer or None
        The fitted encoder.

    Raises
    ------
    ValueError
        If the store is of another encoder or form, naming what differs; the encoder learns from texts and is not
        fitted; the folder holds other files; or a parameter is out of its bounds.
    ModelFileError
        If a file of the store is damaged. Features are not read for that, only the frames of their files: a shard is
        compared with its checksum when its features are first read, and all are by :meth:`verify`.

    Notes
    -----
    On disk: ``store.json``; ``shards/``, safetensors files with ``features`` (n, d), their CRC-32 and ``keys`` (n, 16),
    each named after its keys; and ``index.safetensors``, which only saves time. A key is a BLAKE2b hash of the prompt
    and the response, as texts or as messages; neither texts nor users are written. Shards of two folders of the same
    encoder may be put together by copying files.

    A store is a handle: `clone` gives the same one, and its pickle holds the folder and the encoder.

    Examples
    --------
    >>> from skmrm.encoders import HFEncoder
    >>> encoder = HFEncoder("Qwen/Qwen3-Embedding-0.6B")
    >>> store = EmbeddingStore("embeddings", encoder)  # doctest: +SKIP
    >>> summary = encode_dataset(episodes, store)  # doctest: +SKIP
    >>> MetaRewardModel(max_memory=4).fit(store.attach(episodes))  # doctest: +SKIP
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        encoder: Any = None,
        *,
        dtype: Literal["float32", "float16"] | None = None,
        rows_per_shard: int | None = None,
    ) -> None:
        _check_parameters(dtype, rows_per_shard)
        self.folder = Path(folder).absolute()
        self.encoder_ = None if encoder is None else fitted_encoder(encoder)
        self._lock = FileLock(self.folder / _LOCK_FILE)
        self._index: Index | None = None
        self._index_is_saved = False
        asked: dict[str, Any] = {"dtype": dtype, "rows_per_shard": rows_per_shard}
        if self.encoder_ is not None:
            asked |= {"identity": identity_of(self.encoder_), "n_features": width_of(self.encoder_)}
        facts = read_facts(self.folder)
        self._facts = self._make(asked) if facts is None else facts
        self._check_same(self._facts, asked)
        self._current()

    # -- what it is ----------------------------------------------------------------------------------------------

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the numbers of its encoder, as JSON has it."""
        return self._facts.identity

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self._facts.n_features

    @property
    def dtype(self) -> str:
        """Precision on disk."""
        return self._facts.dtype

    @property
    def rows_per_shard(self) -> int:
        """Texts encoded and written at a time."""
        return self._facts.rows_per_shard

    def __len__(self) -> int:
        """Number of texts that it holds."""
        return len(self._current().keys)

    def __bool__(self) -> bool:
        """Whether it is a store, empty or not."""
        return True

    def __contains__(self, item: object) -> bool:
        """Whether it holds a (prompt, response)."""
        return bool(self._current().find(content_keys(check_items([item])))[0] >= 0)

    def __repr__(self) -> str:
        encoder = "" if self.encoder_ is None else f", encoder={self.encoder_!r}"
        return f"EmbeddingStore({str(self.folder)!r}{encoder})"

    # -- reading -------------------------------------------------------------------------------------------------

    def missing(self, items: Any) -> list[Item]:
        """Which texts are not there.

        Parameters
        ----------
        items : list of (prompt, response)
            Texts.

        Returns
        -------
        list of (prompt, response)
            Distinct, in ascending order.
        """
        distinct, _ = distinct_items(check_items(items))
        found = self._current().find(content_keys(distinct))
        return CheckedItems([distinct[row] for row in np.flatnonzero(found < 0)])

    def chunks(self, items: Any) -> list[list[Item]]:
        """Divide the texts that are not there into pieces, each of which becomes a shard.

        Parameters
        ----------
        items : list of (prompt, response)
            Texts.

        Returns
        -------
        list of list of (prompt, response)
            Of `rows_per_shard` texts each, but for the last. Whichever of them were added, the others are what is left
            of the same texts.
        """
        missing, size = self.missing(items), self.rows_per_shard
        return [CheckedItems(missing[start : start + size]) for start in range(0, len(missing), size)]

    def features(self, items: Any) -> StoredRows:
        """Features of texts, which are read when they are sliced.

        Parameters
        ----------
        items : list of (prompt, response)
            Texts.

        Returns
        -------
        array-like of shape (n_items, n_features)
            With ``shape``, ``dtype``, rows by slices and by integer arrays in any order; ``numpy.asarray`` reads all.
            It can be pickled, which writes down where the rows are.

        Raises
        ------
        KeyError
            If some are not there.
        """
        checked, index = check_items(items), self._current()
        rows = index.find(content_keys(checked))
        n_missing = int((rows < 0).sum())
        if n_missing:
            raise KeyError(
                f"{n_missing} of {counted(len(checked), 'text')} are not in the store {self.folder}: "
                "encode_dataset(texts, store) encodes them"
            )
        return StoredRows(index.shards, rows, self.n_features, self.dtype)

    def encoded(self, items: Any, *, n_jobs: int | None = None, verbose: Verbose = False) -> StoredRows:
        """Features of texts, those encoded first that are not there.

        Parameters
        ----------
        items : list of (prompt, response)
            Texts.
        n_jobs : int, optional
            Processes that encode, as for joblib.Parallel.
        verbose : bool, int or "auto", default=False
            As of :class:`skmrm.encoders.TextEncoder`.

        Returns
        -------
        array-like of shape (n_items, n_features)
            As of :meth:`features`. Where another process is writing, this one waits.

        Raises
        ------
        ValueError
            If some are not there, and the store was opened for reading.
        """
        fill(self, items, partial(encode_pieces, self.encoder_, n_jobs=n_jobs), verbose, wait=True)
        return self.features(items)

    def attach(self, episodes: EpisodeSet | Sequence[Episode]) -> EpisodeSet:
        """Refer episodes of texts to the store's rows, without reading them.

        Parameters
        ----------
        episodes : EpisodeSet or list of Episode
            Of texts, all of which are in the store.

        Returns
        -------
        EpisodeSet
            The same choices with features: a model that is fitted on them learns from features, and is asked with
            features. Items that no pair refers to are left out, and the others are in the order of the store, so
            that its files are read from start to end.

        Raises
        ------
        ValueError
            If the episodes have no texts.
        KeyError
            If some are not in the store.
        """
        used = as_episode_set(episodes, min_pairs=0, context="attach").compact()
        if used.items is None:
            raise ValueError("attach needs episodes of texts, got features only: pass prompts and responses")
        return in_stored_order(used.with_features(self.features(used.items)))

    def opened_with(self, encoder: Any) -> EmbeddingStore:
        """The store with another handle of its encoder, for those who look features up and encode the rest.

        Parameters
        ----------
        encoder : transformer, str or path, optional
            Checked as when a store is opened. None is the store's own.

        Returns
        -------
        EmbeddingStore
            On the same folder.
        """
        same = encoder is None or encoder is self.encoder_
        return self if same else EmbeddingStore(self.folder, encoder)

    def verify(self) -> int:
        """Read all shards, and compare them with their checksums and names.

        Returns
        -------
        int
            Rows whose features are what was written. Those of shards from before there were checksums do not count:
            they can be read, and nobody can tell.

        Raises
        ------
        ModelFileError
            If files of the store are damaged, naming all shards that are.
        """
        self._check_unchanged()
        files = [self.folder / _SHARDS / name for name in shard_names(self.folder / _SHARDS)]
        found = [count_verified(file, self.n_features, self.dtype) for file in files]
        if problems := [str(error) for error in found if isinstance(error, ModelFileError)]:
            raise ModelFileError("; ".join(problems))
        return sum(n_rows for n_rows in found if isinstance(n_rows, int))

    def check_encoder(self) -> None:
        """Raise if the encoder has become another since the store was opened.

        Raises
        ------
        ValueError
            If its code, parameters or weights were changed, naming what differs.
        """
        if self.encoder_ is None:
            return
        if found := self._facts.differences({"identity": identity_of(self.encoder_)}):
            raise ValueError(
                f"the encoder of the store {self.folder} was changed since the store was opened: {'; '.join(found)}. "
                "What it makes now cannot be mixed with what the store holds: change it back, or make a store in "
                "another folder; an encoder that changes itself in transform (a memo, a counter) needs a property "
                "identity_ that says what decides its numbers"
            )

    # -- writing -------------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self, *, wait: bool = False) -> Iterator[Self]:
        """Be the one who writes: a context in which no other process can.

        The operating system ends it when a process dies, however it dies.

        Parameters
        ----------
        wait : bool, default=False
            Wait until the other has finished, rather than to fail.

        Yields
        ------
        EmbeddingStore
            This store, which nobody else can write to until the context ends.

        Raises
        ------
        StoreInUseError
            If somebody else is writing.
        """
        is_outermost = not self._lock.is_locked
        try:
            self._lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            raise StoreInUseError(
                f"one process at a time may write to a store, and another one is writing to {self.folder}: wait until "
                "it has finished, or end it (what it has written so far stays); reading is possible meanwhile"
            ) from None
        try:
            if is_outermost:
                remove_leftovers(self.folder)
            yield self
        finally:
            self._lock.release()

    def add(self, items: Any, features: ArrayLike) -> None:
        """Write a piece: all of it will be there, or nothing, whenever the machine stops.

        Parameters
        ----------
        items : list of (prompt, response)
            Distinct texts. A piece that is there already changes nothing.
        features : (n_items, n_features) array
            One row each, finite in the store's precision.

        Raises
        ------
        ValueError
            If the features cannot be those of the texts, or another process is writing.
        """
        checked, table = check_items(items, minimum=1), np.asarray(features)
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is reported as such
            table = table.astype(self.dtype)
        raise_all(self._piece_problems(checked, table), "a piece cannot be added to the store")
        keys = content_keys(checked)
        file = self.folder / _SHARDS / shard_name(keys)
        with self.writing():
            if not file.exists():
                write_shard(file, keys, table)

    def finish(self) -> None:
        """Write the index, which makes opening faster; without it, all is found all the same.

        Raises
        ------
        StoreInUseError
            If it is to be written, and another process is writing.
        """
        self._current()
        if self._index_is_saved:
            return
        with self.writing():
            self._current().save(self.folder)
        self._index_is_saved = True

    # -- a handle ------------------------------------------------------------------------------------------------

    def __sklearn_clone__(self) -> Self:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "encoder_": self.encoder_, "_facts": self._facts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a handle over; the folder is looked at when it is needed, since a pickle may outlive it."""
        self.__dict__.update(state)
        self._lock = FileLock(self.folder / _LOCK_FILE)
        self._index, self._index_is_saved = None, False

    def _current(self) -> Index:
        """The index of the shards that are there now."""
        names = shard_names(self.folder / _SHARDS)
        if self._index is None:
            self._check_unchanged()
        if self._index is None or self._index.names != names:
            known = {} if self._index is None else dict(zip(self._index.names, self._index.shards, strict=True))
            files = [self.folder / _SHARDS / name for name in names]
            shards = tuple([known.get(f.name) or read_shard(f, self.n_features, self.dtype) for f in files])
            self._index, self._index_is_saved = load_index(self.folder, shards)
        return self._index

    def _make(self, asked: dict[str, Any]) -> StoreFacts:
        """A new store, unless another process makes one at this moment."""
        if self.encoder_ is None:
            raise ValueError(f"there is no store in {self.folder}: pass an encoder to make one, or another folder")
        strangers = sorted({file.name for file in self.folder.glob("*")} - {_LOCK_FILE, FACTS_FILE + PARTIAL})
        if strangers and read_facts(self.folder) is None:
            raise ValueError(
                f"a new store needs an empty folder, {self.folder} has no {FACTS_FILE} and holds "
                f"{name_some(strangers)}: pass another folder"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.writing(wait=True):
            facts = read_facts(self.folder)
            if facts is None:
                facts = StoreFacts(**(_DEFAULTS | {name: value for name, value in asked.items() if value is not None}))
                facts.write(self.folder)
        return facts

    def _check_unchanged(self) -> None:
        """Raise if the folder is gone, or holds another store than when this handle was made."""
        facts = read_facts(self.folder)
        if facts is None:
            raise ModelFileError(
                f"there is no store in {self.folder} any more: put it back; a model that is to do without it takes "
                "set_params(memory=None)"
            )
        self._check_same(facts, vars(self._facts))

    def _check_same(self, facts: StoreFacts, asked: dict[str, Any]) -> None:
        if found := facts.differences(asked):
            raise ValueError(
                f"the store {self.folder} was made with another encoder or form, and what it holds cannot be mixed "
                "with that of this one: "
                + "; ".join(found)
                + ". Pass what it was made with, None for what it decides by itself, or another folder"
            )

    def _piece_problems(self, items: Sequence[Item], table: np.ndarray[Any, Any]) -> list[str]:
        problems = []
        if len(set(items)) < len(items):
            problems.append("its texts must be distinct, got repeated ones: pass store.missing(texts)")
        if table.shape != (len(items), self.n_features):
            problems.append(
                f"features of shape {(len(items), self.n_features)} are needed, got {table.shape}: encode these texts "
                "with store.encoder_"
            )
        elif n_bad := int((~np.isfinite(table).all(axis=1)).sum()):
            remedy = "mend the encoder" + ("" if self.dtype == "float32" else ", or make a store of dtype='float32'")
            problems.append(f"features must be finite in {self.dtype}, {counted(n_bad, 'row')} are not: {remedy}")
        return problems


def _check_parameters(dtype: Any, rows_per_shard: Any) -> None:
    problems = []
    if dtype is not None and dtype not in _DTYPES:
        problems.append(f"dtype must be None, 'float32' or 'float16', got {dtype!r}")
    if rows_per_shard is not None and (
        not isinstance(rows_per_shard, Integral) or isinstance(rows_per_shard, bool) or rows_per_shard < 1
    ):
        problems.append(f"rows_per_shard must be None or an integer, at least 1, got {rows_per_shard!r}")
    raise_all(problems)
