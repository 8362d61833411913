"""Users' weights in a SQLite file."""

import sqlite3
import threading
import time
from contextlib import suppress
from os import PathLike

import numpy as np
from errors import StartError

_TABLES = {
    "meta": "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "users": "CREATE TABLE users (id TEXT PRIMARY KEY, n_pairs INTEGER NOT NULL, weights BLOB NOT NULL)",
}
_SCHEMA_VERSION = "1"
_PATIENCE = 10.0  # seconds to wait while another process writes
_FLOATS = np.dtype("<f8")


class WeightStore:
    """A table of one model's users, which threads share, and processes too.

    Weights mean nothing under other base reward functions: a file made with another `model` (its fingerprint) is
    refused with a StartError, as is one that is no such table at all.
    """

    def __init__(self, file: str | PathLike[str], model: str, n_bases: int) -> None:
        # One connection and a lock: with one for each call, each would write the whole log back as it closes.
        self._lock = threading.Lock()
        try:
            self._database = sqlite3.connect(file, timeout=_PATIENCE, check_same_thread=False, isolation_level=None)
        except sqlite3.Error as error:
            raise StartError(f"cannot open the database {file} ({error}): is its folder there?") from error
        try:
            self._prepare(file, {"schema_version": _SCHEMA_VERSION, "n_bases": str(n_bases), "model": model})
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.Error):
                raise StartError(f"cannot use {file} as a database ({error}): pass another file") from error
            raise

    def get(self, user: str) -> np.ndarray | None:
        """Weights (n_bases,) of the user; None for a user without."""
        found = self._run("SELECT weights FROM users WHERE id = ?", user)
        return np.frombuffer(found[0][0], _FLOATS) if found else None

    def put(self, user: str, weights: np.ndarray, n_pairs: int) -> None:
        """Keep weights in place of older ones, all or nothing; on disk when this returns."""
        self._run("INSERT OR REPLACE INTO users VALUES (?, ?, ?)", user, n_pairs, weights.astype(_FLOATS).tobytes())

    def forget(self, user: str) -> bool:
        """Delete the user, from the log as well, and say whether there was one."""
        with self._lock:
            n_deleted = self._database.execute("DELETE FROM users WHERE id = ?", (user,)).rowcount
        self._run("PRAGMA wal_checkpoint(TRUNCATE)")
        return n_deleted == 1

    def __len__(self) -> int:
        return self._run("SELECT count(*) FROM users")[0][0]

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def _run(self, sql: str, *values: object) -> list[tuple]:
        with self._lock:
            return self._database.execute(sql, values).fetchall()

    def _prepare(self, file: str | PathLike[str], meta: dict[str, str]) -> None:
        """Make the tables, or check that they are this model's before anything is changed."""
        self._run("BEGIN IMMEDIATE")  # of several processes that start at once, one makes them
        tables = {name for (name,) in self._run("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables:
            for create in _TABLES.values():
                self._run(create)
            for row in meta.items():
                self._run("INSERT INTO meta VALUES (?, ?)", *row)
        elif tables != set(_TABLES):
            raise StartError(f"{file} is a database of something else, with {', '.join(tables)}: pass another file")
        found = dict(self._run("SELECT key, value FROM meta"))
        self._run("COMMIT")
        wrong = [f"{key} {found.get(key)}, not {value}" for key, value in meta.items() if found.get(key) != value]
        if wrong:
            raise StartError(
                f"{file} holds weights of another model, which mean nothing under this bundle's base reward functions "
                f"({'; '.join(wrong)}): serve the bundle that they were made with, or pass a new file and adapt again"
            )
        self._run("PRAGMA secure_delete = ON")  # what is deleted is overwritten
        self._use_log()

    def _use_log(self) -> None:
        """Readers do not wait for writers; SQLite itself does not wait for the lock that this change takes."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            with suppress(sqlite3.OperationalError):
                self._run("PRAGMA journal_mode = WAL")
                return
            time.sleep(0.01)
        self._run("PRAGMA journal_mode = WAL")
