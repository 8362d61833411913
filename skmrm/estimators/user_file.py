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
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

from skmrm._support.files import PARTIAL, is_intact, json_object, move_into_place, sealed, sync_folder
from skmrm.estimators.user_database import (
    INDEX,
    INSERT,
    SIBLINGS,
    TABLES,
    connect,
    is_to_wipe,
    mark_to_wipe,
    select,
    transaction,
    wipe,
)
from skmrm.estimators.user_ids import id_texts
from skmrm.estimators.user_records import Place, RecordForm, user_of
from skmrm.estimators.user_rows import UserRows, rows_at_a_time
from skmrm.exceptions import ModelFileError, StoreInUseError, reading

__all__ = ["UsersInFile", "read_users", "write_users"]

SCHEMA_VERSION = 1
_KIND = "skmrm users"
_KEYS_AT_A_TIME, _IDS_AT_A_TIME = 500, 10_000
_AGAIN = "save the users again"


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
        self.path, self._model = path.absolute(), model
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
                users = [user_of(key, text) for _, key, text in records]
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
                found |= {record[1]: record for record in database.execute(select(whole, where), some)}
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
                sql = select(whole, "WHERE users.row > ? ORDER BY users.row LIMIT ?")
                records = database.execute(sql, (last, step)).fetchall()
            if records or last == -1:
                yield self._rows(records, whole)
            if len(records) < step:
                return
            last = records[-1][0]

    @contextmanager
    def changing(self) -> Iterator[None]:
        """One transaction: what is put within is there when it ends, or nothing of it."""
        with self._reached() as database, transaction(database):
            yield

    def put(self, rows: UserRows) -> UsersInFile:
        """These in place of the users' rows, and behind all others where there are none."""
        texts = [id_texts(user) for user in rows.users.tolist()]
        with self._reached() as database:
            ((last,),) = database.execute("SELECT coalesce(max(row), 0) FROM users")
            places: list[Place] = []
            for key, text in texts:
                known = database.execute("SELECT row, id FROM users WHERE key = ?", (key,)).fetchone()
                row, own = known or (last := last + 1, None if text == key else text)
                places.append((row, key, own))
            _insert(database, rows, places, self._form)
        return self

    def forget(self, users: Sequence[Hashable]) -> None:
        """Delete these users; when this returns, no byte of them is in the file, or in another of its name."""
        keys = {user: _key_of(user) for user in users}
        with self._reached() as database:
            with transaction(database):
                is_second_try = is_to_wipe(database)
                sql = "SELECT row FROM users WHERE key = ?"
                rows = {user: database.execute(sql, (key,)).fetchone() for user, key in keys.items()}
                unknown = [user for user, row in rows.items() if row is None]
                if unknown and not is_second_try:
                    raise KeyError(unknown)
                for row in filter(None, rows.values()):
                    database.execute("DELETE FROM details WHERE row = ?", row)
                    database.execute("DELETE FROM users WHERE row = ?", row)
                mark_to_wipe(database)
            try:
                self._wipe(database)
            except sqlite3.OperationalError as error:
                raise StoreInUseError(
                    f"the users are deleted from {self.path}, and copies are left that could not be wiped ({error}): "
                    "forget them again"
                ) from error

    def copy_to(self, path: Path) -> None:
        """Write all users into another file."""
        with _written_whole(path) as partial, self._reached() as database:
            database.execute("VACUUM INTO ?", (os.fspath(partial),))

    def _open(self) -> None:
        if not self.path.is_file():
            raise ModelFileError(f"{self.path} is missing: pass the file that the users were saved to")
        self._process = os.getpid()
        with self._told():
            self._database = connect(self.path)
            self._close = weakref.finalize(self, self._database.close)
            try:
                self._form = self._checked(self._database)
                if is_to_wipe(self._database):  # a kill came between
                    with suppress(sqlite3.OperationalError):
                        self._wipe(self._database)
            except BaseException:
                self._close()
                raise

    def _wipe(self, database: sqlite3.Connection) -> None:
        _remove_leftovers(self.path)
        wipe(database)

    def _checked(self, database: sqlite3.Connection) -> RecordForm:
        """What the file says of itself."""
        sql = {text for (text,) in database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
        config: dict[str, Any] = {}
        with reading(f"{self.path} is not a file of users", _AGAIN):
            if "meta" in {name for (name,) in database.execute("SELECT name FROM sqlite_master")}:
                (text,) = database.execute("SELECT value FROM meta WHERE name = 'config'").fetchone()
                config = json_object(text.encode())
        if config.get("kind") != _KIND:
            raise ModelFileError(f"{self.path} is a database of something else: pass the file that users were saved to")
        version = config.get("schema_version")
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise ModelFileError(
                f"{self.path} has schema version {version}; this skmrm reads up to {SCHEMA_VERSION}: upgrade skmrm "
                f"(the file was written by {config.get('package_version')})"
            )
        if not is_intact(config) or sql != {*TABLES, INDEX}:
            raise ModelFileError(f"{self.path} was altered since it was written: {_AGAIN}")
        if config["model"] != self._model:
            raise ModelFileError(
                f"{self.path} has users of another model, and their weights mean nothing under this one: load it with "
                "the model that adapted them, or adapt them again"
            )
        return RecordForm(**config["form"])

    def _rows(self, records: Sequence[tuple[Any, ...]], whole: bool) -> UserRows:
        with self._reading():
            return self._form.rows(records, whole)

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


def read_users(path: Path, model: str) -> UserRows:
    """All users of a file that nobody may write to, or beside: a copy is read."""
    with TemporaryDirectory(prefix="skmrm-users-") as folder:
        copy = copyfile(path, Path(folder, path.name))
        try:
            found = UsersInFile(copy, model)
            rows = found.all(whole=True)
            found._close()
        except ModelFileError as error:
            raise ModelFileError(str(error).replace(str(copy), str(path))) from error
    return rows


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
        for sql in TABLES:
            database.execute(sql)
        form, n_written = None, 0
        for rows in blocks:
            if form is None:
                form = RecordForm.of(rows)
                config = {
                    "kind": _KIND,
                    "schema_version": SCHEMA_VERSION,
                    "package_version": __version__,
                    "model": model,
                    "form": asdict(form),
                }
                database.execute("INSERT INTO meta VALUES ('config', ?)", (sealed(config).decode(),))
            texts = enumerate(map(id_texts, rows.users.tolist()), n_written + 1)
            _insert(database, rows, [(row, key, None if text == key else text) for row, (key, text) in texts], form)
            n_written += len(rows)
        database.execute(INDEX)  # at the end: in order, and not here and there
        database.execute("COMMIT")


def _insert(database: sqlite3.Connection, rows: UserRows, places: Sequence[Place], form: RecordForm) -> None:
    database.executemany(INSERT["users"], form.records(rows, places))
    if form.has_details:
        database.executemany(INSERT["details"], form.details(rows, places))


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
        with suppress(sqlite3.Error), closing(connect(path)) as database:
            database.execute("BEGIN EXCLUSIVE")
            database.execute("ROLLBACK")
    for ending in SIBLINGS:
        path.with_name(path.name + ending).unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Remove what killed saves left, and what others are writing: they would bring back who was forgotten."""
    name = re.compile(re.escape(path.name) + r"\.[0-9a-f]{32}" + re.escape(PARTIAL))
    for file in path.parent.iterdir():
        if name.fullmatch(file.name):
            file.unlink(missing_ok=True)


def _key_of(user: object) -> str | None:
    """None for what no file has."""
    try:
        return id_texts(user)[0] if isinstance(user, Hashable) else None
    except ValueError:
        return None
