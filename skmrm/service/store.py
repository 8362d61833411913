"""Users' weights, and the choices that they were made from as numbers, in a SQLite file."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from skmrm.service.errors import ServiceError, StartError

_TABLES = {
    "meta": "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "users": "CREATE TABLE users (id TEXT PRIMARY KEY, n_pairs INTEGER NOT NULL, weights BLOB NOT NULL, history BLOB, "
    "asked BLOB)",
}
_ADDED = ("history", "asked")  # columns of users, by the second version and by the third
_SCHEMA_VERSION = str(1 + len(_ADDED))
_EARLIER = tuple(map(str, range(1, 1 + len(_ADDED))))
_START_PATIENCE = 10.0  # seconds to wait for others before the service starts
_PATIENCE = 1.0  # seconds that a request waits for others, before it is told to come again
_MOST_WRITERS = 8  # requests that wait to write; each holds a thread that a reader could have
_BUSY = (5, 6)  # SQLITE_BUSY, SQLITE_LOCKED
_FLOATS = np.dtype("<f8")
_TO_WIPE = "to_wipe"  # key in meta while files may hold what was deleted
_FIND = "SELECT weights, n_pairs, history, asked FROM users WHERE id = ?"


class Kept(NamedTuple):
    """All that is kept of a user.

    Attributes
    ----------
    weights : (n_bases,) array
    n_pairs : int
        Pairs and ratings that they were made from.
    history : bytes or None
        These, as ``History.to_bytes``; None of users whom a version adapted that did not keep them.
    asked : bytes
        Keys of comparisons of a pool that were asked, one after the other.
    """

    weights: np.ndarray
    n_pairs: int
    history: bytes | None
    asked: bytes = b""


class WeightStore:
    """A table of one model's users, which threads share, and processes too.

    One connection writes; readers have connections of their own, and SQLite's log lets them read while anybody writes.
    Whatever has to wait for others longer than about a second is refused with a ServiceError, 503.

    Weights mean nothing under other base reward functions: a file made with another `model` (its fingerprint) is
    refused with a StartError, as is one that is no such table at all.
    """

    def __init__(self, file: str | PathLike[str], model: str, n_bases: int) -> None:
        self._file = file
        self._lock = threading.Lock()  # of the connection that writes
        self._waiting = threading.Semaphore(_MOST_WRITERS)
        self._readers: list[sqlite3.Connection] = []  # those that nobody uses; with one for each call, each would
        # write the whole log back as it closes
        try:
            self._writer = self._connect(_START_PATIENCE)
        except sqlite3.Error as error:
            raise StartError(f"cannot open the database {file} ({error}): is its folder there?") from error
        try:
            self._prepare({"schema_version": _SCHEMA_VERSION, "n_bases": str(n_bases), "model": model})
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.Error):
                raise StartError(f"cannot use {file} as a database ({error}): pass another file") from error
            raise

    def get(self, user: str) -> np.ndarray | None:
        """Weights (n_bases,) of the user; None for a user without."""
        found = self._read("SELECT weights FROM users WHERE id = ?", user)
        return np.frombuffer(found[0][0], _FLOATS) if found else None

    def kept(self, user: str) -> Kept | None:
        """All that is kept of the user; None of one who is not known."""
        return _kept(self._read(_FIND, user))

    def users(self, limit: int, after: str = "") -> list[tuple[str, int]]:
        """Ids and numbers of choices of so many users, in the order of ids, those that come after an id."""
        return self._read("SELECT id, n_pairs FROM users WHERE id > ? ORDER BY id LIMIT ?", after, limit)

    def put(
        self, user: str, weights: np.ndarray, n_pairs: int, history: bytes | None = None, asked: bytes = b""
    ) -> None:
        """Keep weights in place of older ones, all or nothing; on disk when this returns."""
        with self._writing() as database:
            _put(database, user, Kept(weights, n_pairs, history, asked))

    def change(self, user: str, change: Callable[[Kept | None], Kept]) -> Kept:
        """Keep what a function makes of what was kept, in one transaction: no change of another is lost between.

        Nobody else writes meanwhile, so it has to be quick. If it raises, nothing is changed.
        """
        with self._writing() as database, database:
            database.execute("BEGIN IMMEDIATE")
            changed = change(_kept(database.execute(_FIND, (user,)).fetchall()))
            _put(database, user, changed)
        return changed

    def forget(self, user: str) -> bool:
        """Delete the user, and say whether there was one; when this returns, no file holds the id, weights or choices.

        A connection that is in the middle of reading needs the log as it is. The user is then deleted, and a
        ServiceError, 503, says that copies are left: the next call for the user, whichever process it reaches, wipes
        them.
        """
        with self._writing() as database:
            with database:  # one transaction
                database.execute("BEGIN IMMEDIATE")
                is_known = database.execute("DELETE FROM users WHERE id = ?", (user,)).rowcount == 1
                if is_known:
                    database.execute("INSERT OR REPLACE INTO meta VALUES (?, '')", (_TO_WIPE,))
                to_wipe = database.execute("SELECT 1 FROM meta WHERE key = ?", (_TO_WIPE,)).fetchall()
            if to_wipe and not _wipe(database):
                message = (
                    "the user has no weights any more, but is not yet forgotten: something else is reading the "
                    "database, and copies are left; delete the user again to have them wiped"
                )
                raise ServiceError(503, "not_yet_forgotten", message, retry_after=1)
        return bool(to_wipe)

    def __len__(self) -> int:
        return self._read("SELECT count(*) FROM users")[0][0]

    def close(self) -> None:
        """Close the file; what was acknowledged is in it."""
        with self._lock:
            while self._readers:
                self._readers.pop().close()
            self._writer.close()

    def _connect(self, patience: float) -> sqlite3.Connection:
        return sqlite3.connect(self._file, timeout=patience, check_same_thread=False, isolation_level=None)

    def _read(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with _told_when_busy():
            try:
                reader = self._readers.pop()
            except IndexError:
                reader = self._connect(_PATIENCE)
            try:
                return reader.execute(sql, values).fetchall()
            finally:
                self._readers.append(reader)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The connection that writes, for one thread at a time."""
        if not self._waiting.acquire(blocking=False):
            raise _busy()
        try:
            if not self._lock.acquire(timeout=_PATIENCE):
                raise _busy()
            try:
                with _told_when_busy():
                    yield self._writer
            finally:
                self._lock.release()
        finally:
            self._waiting.release()

    def _prepare(self, meta: dict[str, str]) -> None:
        """Make the tables, or check that they are this model's before anything is changed."""
        database = self._writer
        if not _names_of_tables(database):
            with database:
                database.execute("BEGIN IMMEDIATE")  # of several processes that start at once, one makes them
                if not _names_of_tables(database):
                    for create in _TABLES.values():
                        database.execute(create)
                    database.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        if (tables := _names_of_tables(database)) != set(_TABLES):
            raise StartError(
                f"{self._file} is a database of something else, with {', '.join(sorted(tables))}: pass another file"
            )
        found = dict(database.execute("SELECT key, value FROM meta").fetchall())
        version = found.get("schema_version")
        if version not in (*_EARLIER, _SCHEMA_VERSION):
            raise StartError(
                f"{self._file} has schema version {version}, and this skmrm knows {_SCHEMA_VERSION}: install the later "
                "skmrm that wrote it, or pass another file"
            )
        wanted = meta | {"schema_version": version}
        wrong = [f"{key} {found.get(key)}, not {value}" for key, value in wanted.items() if found.get(key) != value]
        if wrong:
            raise StartError(
                f"{self._file} holds weights of another model, which mean nothing under this bundle's base reward "
                f"functions ({'; '.join(wrong)}): serve the bundle that they were made with (a new fit is another "
                "model, and so may be an export by another version), or pass a new file and adapt the users again"
            )
        database.execute("PRAGMA secure_delete = ON")  # what is replaced is overwritten
        _use_log(database)
        _bring_up_to_date(database)
        database.execute(f"PRAGMA busy_timeout = {int(1000 * _PATIENCE)}")
        if _TO_WIPE in found:
            _wipe(database)


def _names_of_tables(database: sqlite3.Connection) -> set[str]:
    return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()}


def _kept(rows: list[tuple[Any, ...]]) -> Kept | None:
    if not rows:
        return None
    weights, n_pairs, history, asked = rows[0]
    return Kept(np.frombuffer(weights, _FLOATS), n_pairs, history, asked or b"")


def _put(database: sqlite3.Connection, user: str, kept: Kept) -> None:
    row = (user, kept.n_pairs, kept.weights.astype(_FLOATS).tobytes(), kept.history, kept.asked)
    database.execute("INSERT OR REPLACE INTO users (id, n_pairs, weights, history, asked) VALUES (?, ?, ?, ?, ?)", row)


def _bring_up_to_date(database: sqlite3.Connection) -> None:
    """Give a file of an earlier version the columns that it lacks; of processes that start at once, one does."""
    if _version(database) == _SCHEMA_VERSION:
        return
    with database:
        database.execute("BEGIN IMMEDIATE")
        for column in _ADDED[int(_version(database)) - 1 :]:
            database.execute(f"ALTER TABLE users ADD COLUMN {column} BLOB")
        database.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", (_SCHEMA_VERSION,))


def _version(database: sqlite3.Connection) -> str:
    return database.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()[0]


def _use_log(database: sqlite3.Connection) -> None:
    """Readers do not wait for writers; SQLite itself does not wait for the lock that this change takes."""
    end = time.monotonic() + _START_PATIENCE
    while time.monotonic() < end:
        with suppress(sqlite3.OperationalError):
            database.execute("PRAGMA journal_mode = WAL").fetchall()
            return
        time.sleep(0.01)
    database.execute("PRAGMA journal_mode = WAL").fetchall()


def _wipe(database: sqlite3.Connection) -> bool:
    """Leave no copy of what was deleted, in the file or in the log, and say whether that could be done.

    Where SQLite moves rows between pages it leaves copies that `secure_delete` does not overwrite: the file is written
    anew, which takes a third of a second for 10,000 users of 20 choices over 26 base rewards, and 2.6 for 100,000.
    """
    try:
        if not _empty_log(database):  # first, or each try would lengthen the log by the whole file
            return False
        database.execute("VACUUM")
        if not _empty_log(database):
            return False
        database.execute("DELETE FROM meta WHERE key = ?", (_TO_WIPE,))
    except sqlite3.OperationalError as error:
        if not _is_busy(error):
            raise
        return False
    return True


def _empty_log(database: sqlite3.Connection) -> bool:
    ((is_busy, *_),) = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return not is_busy


@contextmanager
def _told_when_busy() -> Iterator[None]:
    """A ServiceError in place of SQLite's word that somebody else has what is needed."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if not _is_busy(error):
            raise
        raise _busy() from error


def _is_busy(error: sqlite3.OperationalError) -> bool:
    code = getattr(error, "sqlite_errorcode", None)  # since Python 3.11
    return "locked" in str(error) if code is None else code & 0xFF in _BUSY


def _busy() -> ServiceError:
    return ServiceError(503, "busy", "others are writing to the database: try again in a moment", retry_after=1)
