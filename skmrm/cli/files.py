"""Files beside choices: saved models, responses to score, and what is written; looked at before any work is done."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from skmrm.cli.parser import UsageError

__all__ = [
    "USERS_ENDINGS",
    "folder_problems",
    "is_users_file",
    "kind_of",
    "missing_problems",
    "open_model",
    "output_problems",
    "say",
    "write_text",
    "written_table",
]

USERS_ENDINGS = (".sqlite", ".db", ".users")
_CONFIG = "config.json"
_SQLITE = b"SQLite format 3\0"
_KINDS = {"skmrm model": "model", "skmrm user model": "user"}


def say(options: Any, message: str) -> None:
    """Tell what is being done, beside the results: to standard error, unless --quiet."""
    if not getattr(options, "quiet", False):
        print(message, file=sys.stderr)


def missing_problems(*paths: str | None) -> list[str]:
    """What is wrong with files and folders that have to be there."""
    return [f"there is no file or folder {path!r}" for path in paths if path is not None and not Path(path).exists()]


def folder_problems(path: str) -> list[str]:
    """What is wrong with a folder to write a model into: it must be new, empty, or hold one that is replaced."""
    target = Path(path)
    if target.is_dir():
        if any(target.iterdir()) and not (target / _CONFIG).is_file():
            return [f"the folder {path!r} holds something else: pass a new one"]
        return []
    if target.exists():
        return [f"{path!r} must be a folder, or nothing yet, and is a file"]
    return _place_problems(target)


def output_problems(path: str | None, endings: Sequence[str], *inputs: str | None) -> list[str]:
    """What is wrong with a file to write; None and "-" are standard output."""
    if path is None or path == "-":
        return []
    target, problems = Path(path), []
    if target.suffix.lower() not in endings:
        problems.append(f"{path!r} must end in {', '.join(endings)}, which says what is written")
    if target.is_dir():
        problems.append(f"{path!r} must be a file, and is a folder")
    read = [Path(other) for other in inputs if other is not None]
    if target.exists() and any(other.exists() and target.samefile(other) for other in read):
        problems.append(f"{path!r} is read from, and would be lost: write into another file")
    return problems + _place_problems(target)


def _place_problems(target: Path) -> list[str]:
    """What is wrong with where a file or folder is to lie: whatever of its path is there has to be a folder."""
    above = next((place for place in target.absolute().parents if place.exists()), None)
    return [] if above is None or above.is_dir() else [f"{str(target)!r} cannot be made: {above} is a file"]


def is_users_file(path: str) -> bool:
    """Whether a path is one of many users' file, by its name, or by its first bytes where it is there."""
    file = Path(path)
    if file.is_file():
        with file.open("rb") as opened:
            return opened.read(len(_SQLITE)) == _SQLITE
    return file.suffix.lower() in USERS_ENDINGS


def kind_of(path: str) -> str:
    """What a folder holds: "model", "user" or "bundle".

    Raises
    ------
    UsageError
        If it is nothing that this package wrote.
    """
    try:
        found = json.loads((Path(path) / _CONFIG).read_bytes())
        kind = "bundle" if "scorer" in found else _KINDS[found["kind"]]
    except (OSError, ValueError, TypeError, KeyError):
        if is_users_file(path):
            raise UsageError([f"{path!r} holds users: pass their model's folder, and --users {path}"]) from None
        raise UsageError(
            [f"{path!r} is no folder that skmrm fit, adapt or export wrote: pass one, with {_CONFIG} in it"]
        ) from None
    return kind


def open_model(path: str, device: str = "auto") -> Any:
    """The fitted model in a folder that ``skmrm fit`` wrote.

    Raises
    ------
    UsageError
        If the folder holds something else.
    ModelFileError
        If it was altered.
    """
    kind = kind_of(path)
    if kind != "model":
        raise UsageError([f"{path!r} holds a {kind}, and a model is needed: pass the folder that skmrm fit wrote"])
    from skmrm import MetaRewardModel

    return MetaRewardModel.load(path, device)


def write_text(path: str | None, text: str) -> None:
    """Write a file in one step, or standard output where there is none, or "-"."""
    from skmrm._support.files import write_whole

    if path is None or path == "-":
        print(text, end="" if text.endswith("\n") else "\n")
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_whole(Path(path), text.encode())


def written_table(columns: Mapping[str, Sequence[Any]], ending: str) -> str:
    """Columns as the text of a file: of JSON lines, or CSV, in which messages and vectors are JSON."""
    rows = zip(*columns.values(), strict=True)
    if ending == ".jsonl":
        return "".join(json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n" for row in rows)
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t" if ending == ".tsv" else ",", lineterminator="\n")
    table.writerow(columns)
    table.writerows(map(_cell, row) for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
