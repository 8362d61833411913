"""Docstrings of public names are numpydoc, and say of every parameter its type, default and effect."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

import pytest

import skmrm

docscrape = pytest.importorskip("numpydoc.docscrape", reason="needs numpydoc: pip install 'skmrm[docs]'")
validate = pytest.importorskip("numpydoc.validate", reason="needs numpydoc: pip install 'skmrm[docs]'").validate

# Sections that need not be there, and habits of numpydoc in how summaries and returns are worded.
NOT_ASKED = {
    "SA01",
    "SA04",
    "ES01",
    "EX01",
    "SS05",
    "SS06",
    "RT02",
    "RT03",
    "RT04",
    "RT05",
    "PR08",
    "PR09",
    "GL01",
    "GL08",
}
ALSO = ["skmrm.episodes.questions.Question", "skmrm.episodes.history.History"]
ALSO += [f"skmrm.integrations.{name}" for name in ("trl", "ray", "huggingface")]


def public_objects() -> dict[str, Any]:
    """Classes and functions that ``__all__`` of the package and its public modules names, and what `ALSO` does."""
    found: dict[str, Any] = {}
    for name in skmrm.__all__:
        value = getattr(skmrm, name)
        names = getattr(value, "__all__", []) if inspect.ismodule(value) else None
        found |= (
            {f"skmrm.{name}": value} if names is None else {f"skmrm.{name}.{one}": getattr(value, one) for one in names}
        )
    for path in ALSO:
        module, _, name = path.rpartition(".")
        value = getattr(importlib.import_module(module), name, None) or importlib.import_module(path)
        found |= (
            {f"{path}.{one}": getattr(value, one) for one in value.__all__}
            if inspect.ismodule(value)
            else {path: value}
        )
    return {name: value for name, value in found.items() if callable(value)}


def documented() -> Iterator[tuple[str, Any]]:
    """Public objects, and the public methods and properties that their classes define."""
    for path, value in public_objects().items():
        yield path, value
        if inspect.isclass(value):
            own = vars(value).items()
            yield from ((f"{path}.{name}", getattr(value, name)) for name, one in own if is_documented(name, one))


def is_documented(name: str, value: Any) -> bool:
    return not name.startswith("_") and isinstance(value, property | classmethod | staticmethod | type(is_documented))


def is_record(value: Any) -> bool:
    """A class that the package makes and users read: with attributes, and no parameters of theirs."""
    return inspect.isclass(value) and "Parameters\n" not in (value.__doc__ or "")


NAMES = dict(documented())


def test__public_objects__are_many():
    assert len(NAMES) > 250


def test__docstrings__are_numpydoc():
    problems = [
        f"{path}: {code} {message}"
        for path, value in NAMES.items()
        for code, message in validate(path)["errors"]
        if code not in NOT_ASKED and not (code == "PR01" and is_record(value))
    ]
    assert problems == []


def test__docstrings__tell_each_default_that_a_signature_has():
    problems = []
    for path, value in NAMES.items():
        if isinstance(value, property) or "Parameters\n" not in (value.__doc__ or ""):
            continue
        defaults = {name: one.default for name, one in inspect.signature(value).parameters.items()}
        for parameter in docscrape.NumpyDocString(inspect.getdoc(value))["Parameters"]:
            wanted = dict.fromkeys(told(defaults.get(name.strip(" *"))) for name in parameter.name.split(","))
            if not re.search("default=" + ".*".join(map(re.escape, wanted)) + "$", parameter.type) and any(wanted):
                problems.append(f"{path}: {parameter.name} : {parameter.type}, but the signature has {list(wanted)}")
    assert problems == []


def told(default: Any) -> str:
    """A default as docstrings have it; nothing where there is none, or it is None."""
    if default in (None, inspect.Parameter.empty):
        return ""
    if is_dataclass(default) and default == type(default)():
        return f"{type(default).__name__}()"
    return getattr(default, "__name__", repr(default).replace("'", '"'))
