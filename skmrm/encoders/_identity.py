"""What an encoder is made of, as a digest: its code, parameters, what it learnt, and the files that these name.

A name says little about code: a function can be edited under its name, and what it computed before is then no longer
what it computes. So code that comes in no installed distribution counts by its bytecode, with what it refers to:
default arguments, captured values, constants and functions of its module and of others. Of distributions the version
counts.
"""

from __future__ import annotations

import _thread
import copyreg
import dis
import functools
import hashlib
import importlib
import importlib.util
import json
import os
import sys
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib import metadata
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

import numpy as np
import sklearn
from sklearn.exceptions import NotFittedError

import skmrm
from skmrm._support.files import as_json, content_digest, folder_digest
from skmrm._support.wording import described

__all__ = ["digest", "identity_of"]

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes, type(...)})
_HAS_DOC = 0x4000000  # among the flags of code, since Python 3.13
_INERT = (  # locks and weak references decide about no number
    *(_thread.LockType, type(_thread.RLock()), _thread._local),
    *(weakref.ReferenceType, weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet),
)
_DESCRIPTORS = ("member_descriptor", "getset_descriptor", "wrapper_descriptor", "method_descriptor")
_NO_CODE = frozenset(
    [
        *("__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__abstractmethods__", "_abc_impl"),
        *("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__orig_bases__"),
        *("__firstlineno__", "__static_attributes__", "__parameters__", "__dataclass_fields__", "__dataclass_params__"),
    ]
)
_WRITES = frozenset(
    [
        *("append", "appendleft", "add", "update", "extend", "insert", "setdefault"),
        *("pop", "popitem", "clear", "remove", "discard"),
    ]
)
_FEW = 32  # entries of a table whose strings are looked at as names of files: a vocabulary has more
_CACHES = ("cache", "memory")  # in the name of a folder that is written and not read


class _UnknowableError(ValueError):
    """Something that nobody can tell from others."""


def digest(*parts: object) -> str:
    """Digest of values: the same for values that are equal, in any process.

    Raises
    ------
    ValueError
        If nobody can tell what a part is made of.
    """
    return _Walk().of((skmrm.__version__, sklearn.__version__, parts)).hex()


def identity_of(encoder: Any) -> dict[str, Any]:
    """All that decides the numbers of an encoder, as JSON has it.

    Parameters
    ----------
    encoder : transformer
        Fitted or not.

    Returns
    -------
    dict
        The encoder's own ``identity_`` where it has one, with the code of subclasses of whoever defines it; else a
        digest.

    Raises
    ------
    ValueError
        If nobody can tell what it is made of, with what to do.
    """
    walk, name = _Walk(), type(encoder).__name__
    try:
        declared = _declared(encoder)
        if declared is None:
            # The digest is of these versions, too: with them the error that another one raises says why it is another.
            versions = {"skmrm": skmrm.__version__, "scikit-learn": sklearn.__version__}
            identity = {"encoder": name, "digest": walk.of(encoder).hex(), **versions}
        else:
            identity, classes = declared
            if classes:
                identity = {**identity, "code": _hashed("code", *map(walk.of, classes)).hex()}
    except (_UnknowableError, RecursionError) as error:
        raise ValueError(
            f"features may be kept of an encoder that can be told from others, and nobody can tell what the {name} is "
            f"made of ({error}): give it a property identity_ that returns a dict, as JSON has it, of all that decides "
            "its numbers (files, parameters, a version of its code), leave the part out of its __getstate__, or encode "
            "without memory and store"
        ) from error
    return {**identity, "python": ".".join(map(str, sys.version_info[:2]))} if walk.has_met_code else identity


def _declared(value: Any) -> tuple[dict[str, Any], list[type]] | None:
    """What an object says of itself, and the classes that came after whoever defined it; None where it says nothing."""
    kinds = type(value).__mro__
    definer = next((place for place, kind in enumerate(kinds) if "identity_" in vars(kind)), None)
    if "identity_" in getattr(value, "__dict__", {}):
        definer = 0
    found: object = None
    with suppress(NotFittedError, AttributeError):
        found = None if definer is None else value.identity_
    if not isinstance(found, Mapping):
        return None
    later = kinds[:definer]
    try:
        identity: dict[str, Any] = json.loads(as_json(found))
    except (TypeError, ValueError) as error:
        raise _UnknowableError(f"its identity_ is nothing that JSON can hold: {error}") from error
    return identity, [kind for kind in later if _version_of(kind.__module__) is None]


class _Walk:
    """Digests of values and of all that they refer to, each looked at once."""

    def __init__(self) -> None:
        self.has_met_code = False
        self._known: dict[int, tuple[Any, bytes]] = {}  # with the value, whose id would be another's if it went
        self._open: dict[int, int] = {}

    def of(self, value: Any) -> bytes:
        """Digest of a value."""
        if type(value) in _ATOMS:
            return _hashed(type(value).__name__, repr(value))
        if (key := id(value)) in self._known:
            return self._known[key][1]
        if key in self._open:  # it refers to itself: by how many steps says which of those on the way is meant
            return _hashed("within", str(len(self._open) - self._open[key]))
        self._open[key] = len(self._open)
        try:
            found = self._look(value)
        finally:
            del self._open[key]
        self._known[key] = (value, found)
        return found

    def _look(self, value: Any) -> bytes:
        kind = type(value)
        if kind in (list, tuple):
            return self._sequence(value)
        if kind in (dict, MappingProxyType):
            return self._table(value)
        if kind in (set, frozenset):
            return _hashed(kind.__name__, *sorted(map(self.of, value)))
        if isinstance(value, np.ndarray | np.generic):
            return self._array(np.asarray(value))
        if _is_tensor(value):
            return self._tensor(value)
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, CodeType):
            return self._code(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, MethodType):
            return _hashed("method", self.of(value.__self__), self.of(value.__func__))
        if isinstance(value, BuiltinFunctionType) and isinstance(value.__self__, ModuleType | None):
            return self._named(value, value.__qualname__)
        if isinstance(value, ModuleType):
            return self._module(value, ())
        if isinstance(value, bytearray):
            return _hashed("bytearray", bytes(value))
        if isinstance(value, _INERT):
            return _hashed("inert", kind.__name__)
        return self._object(value)

    # -- values ------------------------------------------------------------------------------------------------------

    def _sequence(self, values: list[Any] | tuple[Any, ...]) -> bytes:
        if _ATOMS.issuperset(map(type, values)):
            return _hashed(type(values).__name__, repr(values))
        return _hashed(type(values).__name__, *map(self.of, values))

    def _table(self, table: Mapping[Any, Any]) -> bytes:
        """Equal whatever the order, as tables are."""
        if set(map(type, table)) == {str}:
            ordered = sorted(table)
            return _hashed("dict", repr(ordered), self.of([table[key] for key in ordered]))
        pairs = [(self.of(key), self.of(value)) for key, value in table.items()]
        return _hashed("dict", *(part for pair in sorted(pairs) for part in pair))

    def _array(self, array: np.ndarray[Any, Any]) -> bytes:
        kind = (str(array.dtype.descr if array.dtype.names else array.dtype.str), str(array.shape))
        if array.dtype.hasobject:
            return _hashed("array", *kind, self.of(array.tolist()))
        return _hashed("array", *kind, np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")

    def _tensor(self, tensor: Any) -> bytes:
        import torch

        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            return self._object(tensor)
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return _hashed("tensor", str(tensor.dtype), str(tuple(tensor.shape)), data.data)

    def _object(self, value: Any) -> bytes:
        """Any other object: by what it says of itself, or what its pickle would hold."""
        kind = type(value)
        if (declared := _declared(value)) is not None:
            return _hashed("declared", self.of(declared[0]), *map(self.of, declared[1]))
        if isinstance(value, PurePath):
            return _hashed("path", str(value), self._files(value, folders=True))
        if kind.__module__ == "tokenizers" and kind.__name__ == "Tokenizer":  # those two change with each call
            spelt = json.loads(value.to_str())
            return self.of({name: part for name, part in spelt.items() if name not in ("truncation", "padding")})
        try:
            registered = copyreg.dispatch_table.get(kind)
            reduced = value.__reduce_ex__(4) if registered is None else registered(value)
        except Exception as error:
            raise _UnknowableError(f"{described(value)} among its parts cannot be looked into: {error}") from error
        if isinstance(reduced, str):
            wrapped = getattr(value, "__wrapped__", None)  # of a function with a cache
            return self._named(value, reduced) if wrapped is None else _hashed("wrapped", self.of(wrapped))
        make, arguments, state, entries, pairs = (*reduced, *[None] * 5)[:5]
        if isinstance(state, dict) and _is_network(value):
            state = {name: part for name, part in state.items() if name != "training"}  # encoding ends it, mostly
        parts = [self.of(make), self.of(arguments), self.of(state), self.of(list(entries or ()))]
        parts.append(self._table(dict(pairs or ())))
        if isinstance(state, dict):
            folders = _version_of(kind.__module__) is None
            parts.extend(self._files(part, folders, str(name)) for name, part in sorted(state.items(), key=str))
        return _hashed("object", *parts)

    def _files(self, value: Any, folders: bool = False, name: str = "") -> bytes:
        """What is in the file that a string names, perhaps within a small table; folders where they are asked for."""
        if isinstance(value, dict | list | tuple) and len(value) <= _FEW:
            inside = value.items() if isinstance(value, dict) else enumerate(value)
            named = [(key, part) for key, part in inside if isinstance(part, str | PurePath)]
            return _hashed("files", *(self._files(part, folders, f"{name} {key}") for key, part in named))
        if not isinstance(value, str | PurePath) or not 0 < len(os.fspath(value)) < 4096:
            return b""
        with suppress(OSError, ValueError):  # no such file, or no name of one
            path = Path(value).expanduser()
            if path.is_file():
                return content_digest(path).encode()
            if folders and path.is_dir() and not any(part in name.lower() for part in _CACHES):
                return _folder(path)
        return b""

    # -- code --------------------------------------------------------------------------------------------------------

    def _named(self, value: Any, name: str) -> bytes:
        """What has no code to look at, by its name and the version of where it comes from."""
        origin = getattr(value, "__module__", None) or getattr(getattr(value, "__self__", None), "__name__", None)
        module = str(origin or type(value).__module__)
        version = _version_of(module)
        if version is None:
            self.has_met_code = True
            file = getattr(sys.modules.get(module), "__file__", None)
            if file is None:
                raise _UnknowableError(f"{described(value)} named {module}.{name} has no code that can be read")
            version = content_digest(Path(file))
        return _hashed("named", module, name, version)

    def _class(self, kind: type) -> bytes:
        if (version := _version_of(kind.__module__)) is not None:
            return _hashed("class", kind.__module__, kind.__qualname__, version)
        self.has_met_code = True
        members = {name: member for name, member in vars(kind).items() if name not in _NO_CODE}
        codes = {code for member in members.values() for code in _codes_of(member)}
        written = {name for code in codes for name in _written(code, ("LOAD_ATTR",))}
        parts = [self._member(name, members[name], written) for name in sorted(members)]
        return _hashed("class", kind.__qualname__, *map(self.of, kind.__bases__), self.of(type(kind)), *parts)

    def _member(self, name: str, member: Any, written: set[str]) -> bytes:
        if type(member).__name__ in _DESCRIPTORS:
            return _hashed("slot", name)
        functions = _functions_of(member)
        if functions:
            return _hashed("member", name, type(member).__name__, *map(self.of, functions))
        return _hashed("member", name, self._captured(name, member, written, ()))

    def _function(self, function: FunctionType) -> bytes:
        module = str(function.__globals__.get("__name__"))  # not __module__, which functools.wraps copies
        version = _version_of(module)
        code = function.__code__
        written = set(_written(code, ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF")))
        names = {name for inner in _codes_within(code) for name in inner.co_names}
        parts = [self._captured("", function.__defaults__, written, names)]
        parts.append(self._captured("", function.__kwdefaults__, written, names))
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            with suppress(ValueError):  # not filled yet
                parts.append(self._captured(name, cell.cell_contents, written, names))
        parts.extend(self.of(part) for name, part in sorted(vars(function).items()) if name != "__wrapped__")
        if version is not None:
            return _hashed("function", module, code.co_name, version, *parts)
        self.has_met_code = True
        known = function.__globals__
        used = sorted(_globals_used(code) & set(known))
        parts.extend(_hashed("global", name, self._captured(name, known[name], written, names)) for name in used)
        parts.extend(_hashed("import", name, self._imported(name, names)) for name in sorted(_imports(code, known)))
        return _hashed("function", self._code(code, function.__doc__), *parts)

    def _captured(self, name: str, value: Any, written: set[str], names: Iterable[str]) -> bytes:
        """What code refers to by a name; what it writes as it runs (a memo, a count of calls) is none of its parts."""
        if isinstance(value, ModuleType):
            return self._module(value, names)
        if name in written and not isinstance(value, FunctionType | type):
            return _hashed("written", type(value).__name__)
        return _hashed("captured", self.of(value), self._files(value, folders=isinstance(value, PurePath)))

    def _code(self, code: CodeType, doc: str | None = None) -> bytes:
        """Bytecode without places in the source, names of variables, and what the function says of itself."""
        self.has_met_code = True
        constants = (None, *code.co_consts[1:]) if code.co_consts[:1] == (doc,) else code.co_consts
        facts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & ~_HAS_DOC)
        arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        table = getattr(code, "co_exceptiontable", b"")  # since Python 3.11
        parts = [self.of(constant) for constant in constants]
        parts.extend(self._files(constant) for constant in constants)
        return _hashed("code", code.co_code, table, repr((facts, code.co_names, arguments)), *parts)

    def _module(self, module: ModuleType, names: Iterable[str]) -> bytes:
        """A module as code uses it: what of it is asked for by name; or all of it where nobody knows."""
        version = _version_of(module.__name__)
        if version is not None:
            return _hashed("module", module.__name__, version)
        self.has_met_code = True
        used = sorted(set(names) & set(vars(module)) - {"__file__", "__name__"})
        if not used:
            file = getattr(module, "__file__", None)
            return _hashed("module", module.__name__, content_digest(Path(file)) if file else "")
        if (key := id(module)) in self._open:
            return _hashed("module", module.__name__)
        self._open[key] = len(self._open)
        try:
            return _hashed("module", *(self._captured(name, vars(module)[name], set(), used) for name in used))
        finally:
            del self._open[key]

    def _imported(self, name: str, names: Iterable[str]) -> bytes:
        """A module that a function imports as it runs, and so may be imported now, if it is the user's."""
        version = _version_of(name)
        if version is not None:
            return _hashed("module", name, version)
        try:
            return self._module(importlib.import_module(name), names)
        except Exception as error:  # whatever the module raises, the function will, too, or does without it
            return _hashed("absent", type(error).__name__)


def _hashed(*parts: str | bytes | memoryview) -> bytes:
    found = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "little"))
        found.update(data)
    return found.digest()


def _folder(path: Path) -> bytes:
    try:
        return folder_digest(path).encode()
    except ValueError as error:
        raise _UnknowableError(str(error)) from error


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _is_network(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def _functions_of(member: Any) -> list[Any]:
    """The functions of which a class has made a method, a property or the like."""
    if isinstance(member, staticmethod | classmethod):
        return [member.__func__]
    if isinstance(member, property):
        return [part for part in (member.fget, member.fset, member.fdel) if part is not None]
    if isinstance(member, functools.cached_property):
        return [member.func]
    return [member] if isinstance(member, FunctionType) else []


def _codes_of(member: Any) -> Iterator[CodeType]:
    for function in _functions_of(member):
        while not isinstance(function, FunctionType) and hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        inner = getattr(function, "__wrapped__", function)
        yield from (part.__code__ for part in {function, inner} if isinstance(part, FunctionType))


def _codes_within(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes_within(constant)


def _globals_used(code: CodeType) -> set[str]:
    return {
        str(step.argval)
        for inner in _codes_within(code)
        for step in dis.get_instructions(inner)
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }


def _imports(code: CodeType, known: Mapping[str, Any]) -> set[str]:
    """Modules that a function imports by itself."""
    found = set()
    for inner in _codes_within(code):
        steps = list(dis.get_instructions(inner))
        for place, step in enumerate(steps):
            if step.opname == "IMPORT_NAME":
                level = steps[place - 2].argval  # then comes what is taken from the module
                relative = "." * (level if isinstance(level, int) else 0)
                with suppress(ImportError, ValueError, TypeError):
                    found.add(importlib.util.resolve_name(f"{relative}{step.argval}", known.get("__package__")))
    return found


def _written(code: CodeType, loads: tuple[str, ...]) -> Iterator[str]:
    """Names, loaded so, whose values the code changes: assigns to one or an entry, adds to one, calls what adds."""
    for inner in _codes_within(code):
        steps = list(dis.get_instructions(inner))
        yield from (str(step.argval) for step in steps if step.opname in ("STORE_GLOBAL", "STORE_DEREF"))
        for step, after, then in zip(steps, steps[1:], steps[2:], strict=False):
            is_entry = after.opname.startswith("LOAD_") and then.opname in ("STORE_SUBSCR", "DELETE_SUBSCR")
            is_method = after.opname in ("LOAD_ATTR", "LOAD_METHOD") and after.argval in _WRITES
            is_added_to = step.opname in ("SWAP", "ROT_TWO") and after.opname == "STORE_ATTR"  # an attribute, by +=
            if step.opname in loads and (is_entry or is_method):
                yield str(step.argval)
            if is_added_to and "LOAD_ATTR" in loads:
                yield str(after.argval)


@lru_cache(maxsize=4096)
def _version_of(module: str) -> str | None:
    """Version of the distribution that a module comes from; None of code that has none: a script, a notebook, a folder.

    What is installed in order to be edited lies in a folder, too.
    """
    top = module.partition(".")[0]
    if top == "skmrm":
        return skmrm.__version__
    if top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return "python"
    place = None if top == "__main__" else _place_of(top)
    if place is None or not {"site-packages", "dist-packages"}.intersection(place.parts):
        return None
    version = getattr(sys.modules.get(top), "__version__", None)
    if isinstance(version, str):
        return version
    for name in (top, *metadata.packages_distributions().get(top, ())):
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return content_digest(place) if place.is_file() else None


def _place_of(top: str) -> Path | None:
    """Where a package lies."""
    spec = getattr(sys.modules.get(top), "__spec__", None)
    with suppress(ImportError, ValueError, AttributeError):
        spec = spec or importlib.util.find_spec(top)
    if spec is None:
        return None
    if spec.origin is not None and spec.has_location:
        return Path(spec.origin)
    return next((Path(path) for path in spec.submodule_search_locations or ()), None)
