"""Rows of many users in one SQLite file: a lookup reads one row, a kill leaves the old state or the new one.

The file keeps SQLite's own journal while it is written, which is gone when a change is done; whoever opens the file
next undoes what a kill left half done. There is no pickle in it, and a checksum beside each row.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import uuid
import weakref
import zlib
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm._support.files import PARTIAL, is_intact, json_object, move_into_place, sealed, sync_folder
from skmrm.episodes.arrays import id_array
from skmrm.episodes.history import History
from skmrm.estimators.user_ids import id_of, id_texts
from skmrm.estimators.user_rows import UserRows, rows_at_a_time
from skmrm.exceptions import ModelFileError, StoreInUseError, reading

__all__ = ["UsersInFile", "write_users"]

SCHEMA_VERSION = 1
_KIND = "skmrm users"
# Weights lie close together, for whoever reads those of all; what only updates and posteriors need lies elsewhere.
_TABLES = {
    "meta": "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "users": "CREATE TABLE users (row INTEGER PRIMARY KEY, key TEXT NOT NULL, id TEXT, n_pairs INTEGER NOT NULL, "
    "weights BLOB NOT NULL, checksum INTEGER NOT NULL)",
    "details": "CREATE TABLE details (row INTEGER PRIMARY KEY, covariance BLOB, history BLOB, "
    "checksum INTEGER NOT NULL)",
}
_INDEX = {"by_key": "CREATE UNIQUE INDEX by_key ON users (key)"}
_COLUMNS = ("users.row, key, id, n_pairs, weights, users.checksum", "covariance, history, details.checksum")
_PATIENCE = 30.0  # seconds to wait for others
_KEYS_AT_A_TIME, _IDS_AT_A_TIME = 500, 10_000
_TO_WIPE = "to_wipe"  # in meta while the file may hold copies of what was deleted
_SIBLINGS = ("-journal", "-wal", "-shm")


class UsersInFile:
    """The users in a file that :func:`write_users` wrote.

    Threads share one connection, and take turns; processes, forks and pickles have their own.

    Parameters
    ----------
    path : path
    model : str
        Fingerprint of the model whose users they have to be.

    Raises
    ------
    ModelFileError
        If it is no such file, damaged, of a newer schema, or of another model.
    """

    def __init__(self, path: Path, model: str) -> None:
        self.path, self._model = path, model
        self._lock = threading.RLock()
        self._open()

    def __reduce__(self) -> tuple[type[UsersInFile], tuple[Path, str]]:
        return type(self), (self.path, self._model)

    def __len__(self) -> int:
        with self._reached() as database:
            return int(database.execute("SELECT count(*) FROM users").fetchone()[0])

    def __iter__(self) -> Iterator[Hashable]:
        last: int | None = 0
        while last is not None:
            with self._reached() as database:
                sql = "SELECT row, key, id FROM users WHERE row > ? ORDER BY row LIMIT ?"
                records = database.execute(sql, (last, _IDS_AT_A_TIME)).fetchall()
            with self._reading():
                users = [self._id(key, text) for _, key, text in records]
            yield from users
            last = records[-1][0] if records else None

    def __contains__(self, user: object) -> bool:
        key = _key_of(user)
        with self._reached() as database:
            found = key and database.execute("SELECT 1 FROM users WHERE key = ?", (key,)).fetchone()
        return bool(found)

    def read(self, users: Sequence[Hashable], whole: bool = False) -> UserRows:
        """Rows of these users, in that order."""
        keys = [_key_of(user) for user in users]
        found: dict[str, tuple[Any, ...]] = {}
        wanted = [key for key in dict.fromkeys(keys) if key is not None]
        with self._reached() as database:
            for start in range(0, len(wanted), _KEYS_AT_A_TIME):
                some = wanted[start : start + _KEYS_AT_A_TIME]
                where = f"WHERE key IN ({', '.join('?' * len(some))})"
                found |= {record[1]: record for record in database.execute(_select(whole, where), some)}
        unknown = [user for user, key in zip(users, keys, strict=True) if key not in found]
        if unknown:
            raise KeyError(unknown)
        return self._rows([found[key] for key in keys if key is not None], whole)

    def all(self, whole: bool = False) -> UserRows:
        """All rows at once."""
        return UserRows.stacked(list(self.blocks(whole)))

    def blocks(self, whole: bool = False) -> Iterator[UserRows]:
        """All rows, some at a time, and at least one block."""
        nobody = self._rows([], whole)
        step, last = rows_at_a_time(nobody, whole), -1
        while True:
            with self._reached() as database:
                sql = _select(whole, "WHERE users.row > ? ORDER BY users.row LIMIT ?")
                records = database.execute(sql, (last, step)).fetchall()
            if records or last == -1:
                yield self._rows(records, whole)
            if len(records) < step:
                return
            last = records[-1][0]

    @contextmanager
    def changing(self) -> Iterator[None]:
        """One transaction: what is put within is there when it ends, or nothing of it."""
        with self._reached() as database, _transaction(database):
            yield

    def put(self, rows: UserRows) -> UsersInFile:
        """These in place of the users' rows, and behind all others where there are none."""
        texts = [id_texts(user) for user in rows.users.tolist()]
        with self._reached() as database:
            ((last,),) = database.execute("SELECT coalesce(max(row), 0) FROM users")
            places: list[tuple[int, str, str | None]] = []
            for key, text in texts:
                known = database.execute("SELECT row, id FROM users WHERE key = ?", (key,)).fetchone()
                row, own = known or (last := last + 1, _if_other(text, key))
                places.append((row, key, own))
            _insert(database, rows, places, self._config)
        return self

    def forget(self, users: Sequence[Hashable]) -> None:
        """Delete these users; when this returns, no byte of them is in the file, or in another of its name.

        Where SQLite moves rows between pages it leaves copies that nothing overwrites: the file is written anew.
        """
        keys = {user: _key_of(user) for user in users}
        with self._reached() as database:
            with _transaction(database):
                to_wipe = _to_wipe(database)
                unknown = [user for user, key in keys.items() if key is None or not _row_of(database, key)]
                if unknown and not to_wipe:  # else it is a second try at what could not be wiped
                    raise KeyError(unknown)
                for row in [_row_of(database, key) for key in keys.values() if key is not None]:
                    for table in ("details", "users") if row else ():
                        database.execute(f"DELETE FROM {table} WHERE row = ?", row)
                database.execute("INSERT OR REPLACE INTO meta VALUES (?, '')", (_TO_WIPE,))
            try:
                _wipe(database)
            except sqlite3.OperationalError as error:
                raise StoreInUseError(
                    f"the users are deleted from {self.path}, and copies are left that could not be wiped ({error}): "
                    "forget them again"
                ) from error
        _remove_leftovers(self.path)

    def copy_to(self, path: Path) -> None:
        """Write all users into another file."""
        with _written_whole(path) as partial, self._reached() as database:
            database.execute("VACUUM INTO ?", (os.fspath(partial),))

    def _open(self) -> None:
        if not self.path.is_file():
            raise ModelFileError(f"{self.path} is missing: pass the file that the users were saved to")
        self._process = os.getpid()
        with self._told():
            self._database = _connect(self.path)
            self._close = weakref.finalize(self, self._database.close)
            try:
                self._config = self._checked(self._database)
                if _to_wipe(self._database):  # a kill came between
                    with suppress(sqlite3.OperationalError):
                        _wipe(self._database)
            except BaseException:
                self._close()
                raise

    def _checked(self, database: sqlite3.Connection) -> dict[str, Any]:
        """What the file says of itself."""
        sql = {text for (text,) in database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
        config: dict[str, Any] = {}
        with reading(f"{self.path} is not a file of users", _AGAIN):
            if "meta" in {name for (name,) in database.execute("SELECT name FROM sqlite_master")}:
                config = json_object(_value(database, "config").encode())
        if config.get("kind") != _KIND:
            raise ModelFileError(f"{self.path} is a database of something else: pass the file that users were saved to")
        version = config.get("schema_version")
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise ModelFileError(
                f"{self.path} has schema version {version}; this skmrm reads up to {SCHEMA_VERSION}: upgrade skmrm "
                f"(the file was written by {config.get('package_version')})"
            )
        if not is_intact(config) or sql != {*_TABLES.values(), *_INDEX.values()}:
            raise ModelFileError(f"{self.path} was altered since it was written: {_AGAIN}")
        if config["model"] != self._model:
            raise ModelFileError(
                f"{self.path} has users of another model, and their weights mean nothing under this one: load it with "
                "the model that adapted them, or adapt them again"
            )
        return config

    def _rows(self, records: Sequence[tuple[Any, ...]], whole: bool) -> UserRows:
        config, n_bases = self._config, int(self._config["n_bases"])
        dtype, covariance, history = np.dtype(config["dtype"]), None, None
        with self._reading():
            for _, key, _, n_pairs, weights, checksum, *_ in records:
                if checksum != _checksum(key, n_pairs, weights) or len(weights) != n_bases * dtype.itemsize:
                    raise self._damaged(key)
            if whole and _has_details(config):
                for _, key, *_, own, said, checksum in records:
                    if checksum != _checksum_of_details(key, own, said):
                        raise self._damaged(key)
                if config["covariance"] is not None:
                    covariance = _joined([record[6] for record in records], config["covariance"], (n_bases, n_bases))
                if config["keeps_history"]:
                    history = _histories([record[7] for record in records], n_bases, dtype)
            users = id_array([self._id(record[1], record[2]) for record in records])
            weights = _joined([record[4] for record in records], dtype, (n_bases,))
            return UserRows(users, weights, np.array([record[3] for record in records], np.intp), covariance, history)

    def _id(self, key: str, text: str | None) -> Hashable:
        found = id_of(key if text is None else text)
        if text is not None and id_texts(found)[0] != key:
            raise self._damaged(key)
        return found

    def _damaged(self, key: str) -> ModelFileError:
        return ModelFileError(f"{self.path} is damaged in the row of user {key!s:.80}: {_AGAIN}")

    def _reading(self) -> Any:
        return reading(f"{self.path} is damaged", _AGAIN)

    @contextmanager
    def _reached(self) -> Iterator[sqlite3.Connection]:
        """The connection of this process, for one thread at a time."""
        if self._process != os.getpid():  # SQLite's connections do not survive a fork
            self._close.detach()
            self._inherited, self._lock = self._database, threading.RLock()  # the parent's, and perhaps held there
            self._open()
        with self._lock, self._told():
            yield self._database

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of SQLite in words of ours."""
        try:
            yield
        except sqlite3.Error as error:
            text = str(error)
            if "locked" in text or "busy" in text:
                raise StoreInUseError(f"{self.path} is being written by somebody else: try again") from error
            if "readonly" in text:
                raise ModelFileError(
                    f"{self.path} cannot be written: it is read-only, or was replaced since: load it again"
                ) from error
            if "full" in text or "disk I/O" in text:
                raise OSError(f"{self.path}: {error}") from error
            raise ModelFileError(f"{self.path} is damaged, or no file of users ({error}): {_AGAIN}") from error


_AGAIN = "save the users again"


def write_users(path: Path, model: str, blocks: Iterable[UserRows]) -> None:
    """Write users, at least one block of them, into a file: whoever reads it finds the old one or the new one.

    Raises
    ------
    ValueError
        If an id is of a kind that a file cannot give back.
    """
    from skmrm import __version__

    with _written_whole(path) as partial, closing(sqlite3.connect(partial, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = OFF")  # nobody reads it before it is whole
        database.execute("PRAGMA synchronous = OFF")
        database.execute("BEGIN")
        for sql in _TABLES.values():
            database.execute(sql)
        config: dict[str, Any] = {}
        n_written = 0
        for rows in blocks:
            if not config:
                config = {
                    "kind": _KIND,
                    "schema_version": SCHEMA_VERSION,
                    "package_version": __version__,
                    "model": model,
                    "n_bases": rows.weights.shape[1],
                    "dtype": _little(rows.weights.dtype).str,
                    "covariance": None if rows.covariance is None else _little(rows.covariance.dtype).str,
                    "keeps_history": rows.history is not None,
                }
                database.execute("INSERT INTO meta VALUES ('config', ?)", (sealed(config).decode(),))
            texts = [id_texts(user) for user in rows.users.tolist()]
            places = [(row, key, _if_other(text, key)) for row, (key, text) in enumerate(texts, n_written + 1)]
            _insert(database, rows, places, config)
            n_written += len(rows)
        for sql in _INDEX.values():  # at the end: in order, and not here and there
            database.execute(sql)
        database.execute("COMMIT")


@contextmanager
def _written_whole(path: Path) -> Iterator[Path]:
    """A place for a file that is moved to the path once it is written."""
    if path.is_dir():
        raise IsADirectoryError(f"users are saved to a file, and {path} is a folder: pass the name of a file in it")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PARTIAL}")
    try:
        yield partial
        _settle(path)
        move_into_place(partial, path)
    except FileNotFoundError as error:
        raise StoreInUseError(f"somebody else saved to {path}, or forgot a user there, meanwhile: try again") from error
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def _settle(path: Path) -> None:
    """Undo what a kill left half done in the file that is replaced: its journal would be taken for that of the new."""
    if path.exists():
        with suppress(sqlite3.Error), closing(_connect(path)) as database:
            database.execute("BEGIN EXCLUSIVE")
            database.execute("ROLLBACK")
    for ending in _SIBLINGS:
        path.with_name(path.name + ending).unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Remove what killed saves left, and what others are writing: they would bring back who was forgotten."""
    name = re.compile(re.escape(path.name) + r"\.[0-9a-f]{32}" + re.escape(PARTIAL))
    for file in path.parent.iterdir():
        if name.fullmatch(file.name):
            file.unlink(missing_ok=True)


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=rw"  # read-only where it cannot be written
    database = sqlite3.connect(uri, uri=True, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA trusted_schema = OFF")
        database.execute("PRAGMA cell_size_check = ON")
        database.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten, in its place
        database.execute("PRAGMA synchronous = EXTRA")  # what is done stays done when the power fails
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _wipe(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA journal_mode = DELETE")  # whatever somebody else has set
    database.execute("VACUUM")
    database.execute("DELETE FROM meta WHERE name = ?", (_TO_WIPE,))


def _to_wipe(database: sqlite3.Connection) -> bool:
    return database.execute("SELECT 1 FROM meta WHERE name = ?", (_TO_WIPE,)).fetchone() is not None


def _value(database: sqlite3.Connection, name: str) -> str:
    (found,) = database.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return str(found)


def _row_of(database: sqlite3.Connection, key: str) -> tuple[int] | tuple[()]:
    return database.execute("SELECT row FROM users WHERE key = ?", (key,)).fetchone() or ()


def _select(whole: bool, where: str) -> str:
    columns, details = (", ".join(_COLUMNS), "LEFT JOIN details USING (row) ") if whole else (_COLUMNS[0], "")
    return f"SELECT {columns} FROM users {details}{where}"


def _insert(
    database: sqlite3.Connection,
    rows: UserRows,
    places: Sequence[tuple[int, str, str | None]],
    config: Mapping[str, Any],
) -> None:
    """Write rows to places: number, key, and what the id is exactly where that is another text."""
    from safetensors.numpy import save

    if len(rows) and config["covariance"] is not None and rows.covariance is None:
        raise ValueError("users of a file with posterior covariances must have them, got users without: adapt them")
    weights = _blobs(rows.weights, config["dtype"], len(rows))
    counts = rows.n_pairs.tolist()
    database.executemany(
        "INSERT OR REPLACE INTO users VALUES (?, ?, ?, ?, ?, ?)",
        (
            (*place, n, blob, _checksum(place[1], n, blob))
            for place, n, blob in zip(places, counts, weights, strict=True)
        ),
    )
    if not _has_details(config):
        return
    covariances = _blobs(rows.covariance, config["covariance"], len(rows))
    said: list[bytes | None] = [None] * len(rows)
    if config["keeps_history"] and rows.history is not None:
        said = [
            save({name: np.ascontiguousarray(column) for name, column in one.items()}) for one in rows.history.each()
        ]
    database.executemany(
        "INSERT OR REPLACE INTO details VALUES (?, ?, ?, ?)",
        (
            (row, covariance, one, _checksum_of_details(key, covariance, one))
            for (row, key, _), covariance, one in zip(places, covariances, said, strict=True)
        ),
    )


def _has_details(config: Mapping[str, Any]) -> bool:
    return config["covariance"] is not None or bool(config["keeps_history"])


def _if_other(text: str, key: str) -> str | None:
    return None if text == key else text


def _blobs(array: NDArray[Any] | None, dtype: str | None, n_rows: int) -> Sequence[bytes | None]:
    """Each row's numbers."""
    if array is None or dtype is None:
        return [None] * n_rows
    return [row.tobytes() for row in np.ascontiguousarray(array, np.dtype(dtype))]


def _joined(blobs: Sequence[bytes], dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    little = np.dtype(dtype)
    return np.frombuffer(b"".join(blobs), little).astype(little.newbyteorder("="), copy=False).reshape(-1, *shape)


def _histories(blobs: Sequence[bytes | None], n_bases: int, dtype: np.dtype[Any]) -> History:
    from safetensors.numpy import load

    gaps, nobody = np.empty((0, n_bases), dtype.newbyteorder("=")), np.empty(0, np.intp)
    found = [History(gaps, nobody, 1) if blob is None else History.of_arrays(load(blob), n_bases) for blob in blobs]
    return History.stacked(found or [History(gaps, nobody, 0)])


def _little(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("<")


def _checksum(key: str, n: int, *blobs: bytes | None) -> int:
    """Of what stands in a row."""
    found = zlib.crc32(f"{key} {n}".encode())
    for blob in blobs:
        found = zlib.crc32(blob or b"", found)
    return found


def _checksum_of_details(key: str, covariance: bytes | None, history: bytes | None) -> int:
    return _checksum(key, len(covariance or b""), covariance, history)


def _key_of(user: object) -> str | None:
    """None for what no file has."""
    try:
        return id_texts(user)[0] if isinstance(user, Hashable) else None
    except ValueError:
        return None
