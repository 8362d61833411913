"""How many threads work runs on: one for small work, and the caller's for large products and for parts of many users.

Threads that share a product wait at its end for the slowest of them. A product of microseconds gains nothing by that;
and where somebody else uses a core it waits for a time slice, a thousand times as long, at every product.

Whose a setting is: OpenMP's number of threads, which PyTorch's operations follow, is each Python thread's own, and so
is MKL's within PyTorch; OpenBLAS, of numpy and scipy, has one for the process. ``torch.set_num_threads`` also sets what
threads begin with that are yet to come, which nobody could take back from them: OpenMP and MKL are told without it.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import NamedTuple, TypeVar

__all__ = ["LARGE", "in_threads", "one_thread", "threads_for"]

# Multiplications of a product that is worth more threads than one: tens of milliseconds on one, so that waiting for a
# time slice costs less than is gained.
LARGE = 1 << 30

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")

_OPENBLAS = [
    f"{prefix}openblas_{{}}_num_threads{suffix}" for prefix, suffix in product(("", "scipy_"), ("", "64_", "_64"))
]


@dataclass(frozen=True, eq=False)  # functions of ctypes have no hash
class _Setting:
    """A number of threads that some library keeps."""

    get: Callable[[], int]
    set: Callable[[int], object]


class _Settings(NamedTuple):
    """Those of the calling thread, and those of the whole process."""

    own: list[_Setting]
    shared: list[_Setting]


class _Shared:
    """Settings of the process: one for as long as any thread is inside, and then what they were before the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0
        self._before: dict[_Setting, int] = {}

    def enter(self, settings: Sequence[_Setting]) -> None:
        """Set to one what allows more, and is not set yet."""
        with self._lock:
            self._n_inside += 1
            for setting in settings:
                if setting not in self._before and (n := setting.get()) > 1:
                    self._before[setting] = n
                    setting.set(1)

    def leave(self) -> None:
        """Restore all when the last one leaves."""
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                self._restore()

    def forked(self) -> None:
        """In a new process, of whose parent's threads there is the one that made it: the others never leave."""
        self._lock = threading.Lock()
        self._n_inside = _depth()
        if self._n_inside == 0:
            self._restore()

    def _restore(self) -> None:
        for setting, n in self._before.items():
            setting.set(n)
        self._before.clear()


_shared = _Shared()
_here = threading.local()  # of a thread: how deep it is inside, and its own settings from before
_found: tuple[int, _Settings] = (0, _Settings([], []))
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_shared.forked)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread what is computed inside, by torch, numpy, scipy or scikit-learn; then all is as before.

    Python threads may enter and leave in any order. What other Python threads compute with OpenMP meanwhile keeps its
    threads; what they compute with OpenBLAS has one, too.
    """
    own, shared = _settings()
    before = [(setting, setting.get()) for setting in own]
    depth = _depth()
    if depth == 0:
        _here.before = before
    _here.depth = depth + 1
    _shared.enter(shared)
    try:
        for setting, _ in before:
            setting.set(1)
        yield
    finally:
        _here.depth = depth
        _shared.leave()
        for setting, n in before:
            setting.set(n)


def threads_for(n_multiplications: int) -> AbstractContextManager[None]:
    """One thread for a small product; for a `LARGE` one those that this Python thread had before `one_thread`."""
    if n_multiplications < LARGE:
        return nullcontext() if _depth() else one_thread()
    return _threads_before() if _depth() else nullcontext()


@contextmanager
def _threads_before() -> Iterator[None]:
    before = _here.before
    for setting, n in before:
        setting.set(n)
    try:
        yield
    finally:
        for setting, _ in before:
            setting.set(1)


def in_threads(
    work: Callable[[_Part], _Result],
    parts: Sequence[_Part],
    n_threads: int | None = None,
    done: Callable[[int], object] = lambda n: None,
) -> list[_Result]:
    """Do parts of some work, each in a Python thread of its own (a single one in this) that computes on one thread.

    They do not wait for each other before the end: next to somebody who uses a core they take as long as their share of
    the cores does. Where parts are more than `n_threads`, a thread takes several; `done` is told of parts, from here.
    """

    def alone(part: _Part) -> _Result:
        """Work on one thread."""
        with one_thread():
            return work(part)

    n_threads = len(parts) if n_threads is None else min(n_threads, len(parts))
    with ThreadPoolExecutor(n_threads) if n_threads > 1 else nullcontext() as pool:
        results = []
        for result in map(alone, parts) if pool is None else pool.map(alone, parts):
            results.append(result)
            done(len(results))
    return results


def _depth() -> int:
    """How deep this thread is inside of `one_thread`."""
    return getattr(_here, "depth", 0)


def _settings() -> _Settings:
    """Settings of the libraries that are loaded, looked up anew when modules have been imported."""
    global _found
    n_modules = len(sys.modules)
    if _found[0] != n_modules:
        _found = n_modules, _look_up()
    torch_threads = getattr(sys.modules.get("torch"), "get_num_threads", None)
    if torch_threads is not None:
        torch_threads()  # torch sets a new thread's number when first asked for it: before others do, not after
    return _found[1]


def _look_up() -> _Settings:
    settings, with_mkl = _Settings([], []), []
    try:
        from threadpoolctl import threadpool_info
    except ImportError:  # of a service that has what scoring needs, and no more
        return settings
    for library in threadpool_info():
        kind, path = library["internal_api"], library["filepath"]
        if kind == "openmp":
            settings.own.extend(_named(path, ["omp_get_max_threads"], ["omp_set_num_threads"]))
        elif kind == "openblas" and library["threading_layer"] != "openmp":
            getters, setters = ([name.format(verb) for name in _OPENBLAS] for verb in ("get", "set"))
            settings.shared.extend(_named(path, getters, setters))
        elif kind == "mkl":
            with_mkl.append(path)
    torch_library = getattr(sys.modules.get("torch"), "_C", None)
    if torch_library is not None:
        with_mkl.append(torch_library.__file__)  # MKL may be a part of it, which threadpoolctl does not see
    for path in with_mkl:
        # it returns the number before; 0, as it is unless torch.set_num_threads was called, follows OpenMP's
        setter = _function(path, ["MKL_Set_Num_Threads_Local"])
        if setter is not None:
            settings.own.append(_Setting(partial(setter, 0), setter))
    return settings


def _named(path: str, getters: Sequence[str], setters: Sequence[str]) -> list[_Setting]:
    """The setting that a library has under one of some names, if it has."""
    getter, setter = _function(path, getters), _function(path, setters)
    return [] if getter is None or setter is None else [_Setting(getter, setter)]


def _function(path: str, names: Sequence[str]) -> Callable[..., int] | None:
    try:
        library = ctypes.CDLL(path)
    except OSError:
        return None
    return next((getattr(library, name) for name in names if hasattr(library, name)), None)
