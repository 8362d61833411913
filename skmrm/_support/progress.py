"""What a long call is doing: one bar for the outermost call, moved by all that it calls, and its stages in the log.

A bar is drawn from a thread of its own, which looks a few times a second at where the call is: so it is there after two
seconds, whatever the call does then, its clock runs on through a long step, and a step costs the call nothing.
"""

from __future__ import annotations

import contextvars
import logging
import multiprocessing
import sys
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from typing import Self

__all__ = ["LOG", "Bar", "Listener", "Verbose", "Watch", "unless_few", "verbose_of"]

LOG = logging.getLogger("skmrm")
Verbose: TypeAlias = bool | int | Literal["auto"]

DELAY = 2.0  # seconds that a call takes before it has a bar
_FEW = 32  # texts or users, which go without
_REFRESH = 0.2
_STAGES = "{desc} |{bar}| {elapsed}"

_innermost: contextvars.ContextVar[Watch | None] = contextvars.ContextVar("skmrm_watch", default=None)


class Listener(Protocol):
    """Who else is told; the part of :class:`skmrm.callbacks.FitCallback` that is about stages."""

    def on_stage_begin(self, record: dict[str, Any]) -> None:
        """A stage begins."""

    def on_stage_end(self, record: dict[str, Any]) -> None:
        """A stage has ended."""

    def on_epoch_end(self, record: dict[str, Any]) -> None:
        """An epoch has ended."""


class Watch:
    """A call in stages, as a context; within another one it moves that one's bar instead of drawing its own.

    Called as :class:`skmrm.meta.tell.Tell`, it takes where the call is: a stage begins when it is first named, and ends
    when the next one does.

    Parameters
    ----------
    call : str
        Its name, in bars and in the log.
    stages : sequence of str
        All that there may be, in order; some may be left out.
    verbose : bool, int or "auto"
        "auto": a bar after two seconds where somebody looks, in a terminal or a notebook, which is gone when the call
        is done. True or a positive number: at once, wherever stderr goes, and it stays. False or 0: none. None is ever
        drawn outside of the main thread of the main process.
    unit : str
        What is counted, such as " texts"; a call of one stage then has a rate, and says when it will be done.
    level : int
        Of its stages in the log; within another call, that of details.
    listeners : sequence of Listener
    """

    def __init__(
        self,
        call: str,
        stages: Sequence[str],
        verbose: Verbose = "auto",
        *,
        unit: str = "",
        level: int = logging.DEBUG,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self.call, self.unit, self._stages = call, unit, list(stages)
        self._verbose, self._level, self._listeners = verbose, level, listeners
        self._parent: Watch | None = None
        self._bar: Bar | None = None
        self.stage: str | None = None
        self._is_open = False
        self.done, self.total, self.note = 0.0, 1, ""
        self._inner: Watch | None = None

    def __enter__(self) -> Self:
        self._parent = _innermost.get()
        self._token = _innermost.set(self)
        self._began = time.perf_counter()
        if self._parent is not None:
            self._parent._inner, self._level = self, logging.DEBUG
        elif _is_drawn(self._verbose):
            self._bar = Bar(self, stays=self._verbose != "auto")
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        _innermost.reset(self._token)
        if self._parent is not None:
            self._parent._inner = None
        try:
            if kind is None:
                self._end_stage()
        finally:
            if self._bar is not None:
                self._bar.close(whole=kind is None)

    def __call__(
        self,
        stage: str,
        done: float = 0,
        total: int = 1,
        record: Mapping[str, Any] | None = None,
        note: str = "",
    ) -> None:
        """Take where the call is: so many of a stage's steps are done; and what an epoch found."""
        if stage != self.stage or not self._is_open:
            self._end_stage()
            self._begin_stage(stage)
        self.done, self.total, self.note = done, total, note or _in_words(record)
        if total > 1:
            LOG.debug("%s: %s, %g of %d", self.call, stage, done, total)
        if record is not None:
            LOG.debug("%s: %s, %s", self.call, stage, record)
            for listener in self._listeners:
                listener.on_epoch_end({"stage": stage, **record})

    def _begin_stage(self, stage: str) -> None:
        self.done, self.total, self.note = 0.0, 1, ""
        self.stage, self._is_open, self._stage_began = stage, True, time.perf_counter()
        LOG.log(self._level, "%s: %s", self.call, stage)
        for listener in self._listeners:
            listener.on_stage_begin({"stage": stage, "number": self._place(stage) + 1, "n_stages": len(self._stages)})

    def _end_stage(self) -> None:
        if not self._is_open:
            return
        ended, seconds = self.stage, time.perf_counter() - self._stage_began
        self._is_open = False
        LOG.log(self._level, "%s: %s took %.2f s", self.call, ended, seconds)
        for listener in self._listeners:
            listener.on_stage_end({"stage": ended, "seconds": seconds})

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.perf_counter() - self._began

    @property
    def is_counted(self) -> bool:
        """Whether there is one stage, and a unit to count in."""
        return len(self._stages) == 1 and bool(self.unit)

    @property
    def share(self) -> float:
        """How far it is, from 0 to 1, as if all stages took as long."""
        stage, inner = self.stage, self._inner  # once, as another thread asks
        if stage is None:
            return 0.0
        within = self.done / max(self.total, 1) if inner is None else inner.share
        return (self._place(stage) + min(within, 1.0)) / max(len(self._stages), 1)

    def words(self) -> str:
        """Where it is: ``fit 2/4: pooled reward, 3 of 5``."""
        stage, inner = self.stage, self._inner
        if stage is None:
            return self.call
        number = f" {self._place(stage) + 1}/{len(self._stages)}" if len(self._stages) > 1 else ""
        steps = ", ".join(filter(None, [self._steps(), self.note]))
        name = f"{self.call}{number}: {stage}"
        if inner is not None and not self._steps():
            return f"{name}, {inner._steps() if inner.is_counted else inner.words()}"
        return f"{name}, {steps}" if steps else name

    def _steps(self) -> str:
        return f"{int(self.done):,} of {self.total:,}{self.unit}" if self.total > 1 else ""

    def _place(self, stage: str) -> int:
        return self._stages.index(stage)


class Bar:
    """What is seen of a watch, until it is closed."""

    def __init__(self, watch: Watch, stays: bool) -> None:
        self._watch, self._stays = watch, stays
        self._make = _tqdm()
        self._bar: Any = None
        self._closed = threading.Event()
        # in the context of the caller, by which a notebook knows which cell to draw in
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._run,), name="skmrm progress", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        if self._closed.wait(0 if self._stays else DELAY):
            return
        while True:
            self._draw()
            if self._closed.wait(_REFRESH):
                return

    def _draw(self) -> None:
        watch = self._watch
        if self._bar is None:
            form = {"unit": watch.unit} if watch.is_counted else {"bar_format": _STAGES}
            stream = sys.stdout if _in_notebook() else sys.stderr  # which is red in a notebook
            # a delay keeps it from drawing itself before it is filled in
            self._bar = self._make(total=1, leave=self._stays, file=stream, dynamic_ncols=True, delay=1e-9, **form)
            self._bar.start_t = time.time() - watch.seconds
        if watch.is_counted:
            self._bar.total, self._bar.n = watch.total or None, int(watch.done)  # a total of 0 is not known
            self._bar.set_description_str(watch.stage or watch.call, refresh=False)
            self._bar.set_postfix_str(watch.note, refresh=False)
        else:
            self._bar.n = watch.share
            self._bar.set_description_str(watch.words(), refresh=False)
        self._bar.refresh()

    def close(self, whole: bool) -> None:
        """Draw it no more; one that stays is full if the call came to its end."""
        self._closed.set()
        self._thread.join()
        if self._stays:
            self._draw()
        if self._bar is None:
            return
        if whole and not self._watch.is_counted:
            self._bar.set_description_str(f"{self._watch.call}: done", refresh=False)
        if whole or not self._stays:  # short of its total, one that is to go would stay in a notebook, in red
            self._bar.n = self._bar.total or self._bar.n
        self._bar.close()


def verbose_of(model: Any) -> Verbose:
    """What a model's parameter asks of calls other than its fit, such as judging it: what is loud is the fit alone."""
    return "auto" if getattr(model, "verbose", "auto") else False


def unless_few(verbose: Verbose, n: int) -> Verbose:
    """No bar for a few texts or users, unless it was asked for."""
    return False if verbose == "auto" and n <= _FEW else verbose


def _in_words(record: Mapping[str, Any] | None) -> str:
    loss = None if record is None else record.get("validation_loss")
    return "" if loss is None else f"validation loss {loss:.4f}"


def _is_drawn(verbose: Verbose) -> bool:
    here = threading.current_thread() is threading.main_thread()
    if not here or multiprocessing.current_process().name != "MainProcess" or not verbose:
        return False
    return verbose != "auto" or _in_notebook() or bool(getattr(sys.stderr, "isatty", bool)())


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "IPKernelApp" in getattr(shell, "config", {})


def _tqdm() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a notebook has no widgets: the bar is of text then
        from tqdm.auto import tqdm
    return tqdm
