"""A SQLite file of users: its tables, connections to it, transactions, and what wipes it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "INDEX",
    "INSERT",
    "SIBLINGS",
    "TABLES",
    "connect",
    "is_to_wipe",
    "mark_to_wipe",
    "select",
    "transaction",
    "wipe",
]

# Weights lie close together, for whoever reads those of all; what only updates and posteriors need lies elsewhere.
TABLES = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE users (row INTEGER PRIMARY KEY, key TEXT NOT NULL, id TEXT, n_pairs INTEGER NOT NULL, "
    "weights BLOB NOT NULL, checksum INTEGER NOT NULL)",
    "CREATE TABLE details (row INTEGER PRIMARY KEY, covariance BLOB, history BLOB, checksum INTEGER NOT NULL)",
)
INDEX = "CREATE UNIQUE INDEX by_key ON users (key)"
INSERT = {
    "users": "INSERT OR REPLACE INTO users VALUES (?, ?, ?, ?, ?, ?)",
    "details": "INSERT OR REPLACE INTO details VALUES (?, ?, ?, ?)",
}
SIBLINGS = ("-journal", "-wal", "-shm")  # endings of files that SQLite keeps beside its own
PATIENCE = 30.0  # seconds to wait for others
_COLUMNS = "users.row, key, id, n_pairs, weights, users.checksum"
_DETAILS = "covariance, history, details.checksum"
_TO_WIPE = "to_wipe"  # in meta while the file may hold copies of what was deleted


def connect(path: Path) -> sqlite3.Connection:
    """Open a file that is there, to write if it may be written."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    database = sqlite3.connect(uri, uri=True, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
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
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All that is done within, or nothing of it; nobody else writes meanwhile."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def select(whole: bool, where: str) -> str:
    """SQL for the records of some users, with their details where they are to be `whole`."""
    columns, join = (f"{_COLUMNS}, {_DETAILS}", "LEFT JOIN details USING (row) ") if whole else (_COLUMNS, "")
    return f"SELECT {columns} FROM users {join}{where}"


def is_to_wipe(database: sqlite3.Connection) -> bool:
    """Whether the file may hold copies of what was deleted."""
    return database.execute("SELECT 1 FROM meta WHERE name = ?", (_TO_WIPE,)).fetchone() is not None


def mark_to_wipe(database: sqlite3.Connection) -> None:
    """Until :func:`wipe` has been."""
    database.execute("INSERT OR REPLACE INTO meta VALUES (?, '')", (_TO_WIPE,))


def wipe(database: sqlite3.Connection) -> None:
    """Write the file anew: where SQLite moves rows between pages it leaves copies that nothing overwrites."""
    database.execute("PRAGMA journal_mode = DELETE")  # whatever somebody else has set
    database.execute("VACUUM")
    database.execute("DELETE FROM meta WHERE name = ?", (_TO_WIPE,))
