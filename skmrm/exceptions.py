"""Errors that say the rule, what came, and what to do; every mistake of a call is reported at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

__all__ = ["EpisodeError", "ModelFileError", "StoreInUseError"]


class EpisodeError(ValueError):
    """Preference data that cannot be used, with every problem found in one call.

    Parameters
    ----------
    problems : sequence of str
        One sentence a problem: the rule, what came, the remedy.

    Attributes
    ----------
    problems : tuple of str
        The sentences, in the order in which they were found.
    """

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        text = self.problems[0] if len(self.problems) == 1 else "".join(f"\n  - {p}" for p in self.problems)
        heading = "" if len(self.problems) == 1 else f"{len(self.problems)} problems in the preference data:"
        super().__init__(heading + text)

    def __reduce__(self) -> tuple[type[EpisodeError], tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)


class ModelFileError(ValueError):
    """A saved model, a file of users or an embedding store that cannot be read.

    Missing, truncated, altered, of a newer schema, or of another model.
    """


class StoreInUseError(ValueError):
    """An embedding store or a file of users that somebody else is writing to: there is one writer at a time."""


@contextmanager
def reading(problem: str, remedy: str) -> Iterator[None]:
    """Make of whatever goes wrong while a file is made something of one error that says so.

    Files are altered in more ways than anyone lists, and each library has errors of its own for them. Errors of ours,
    missing libraries and warnings are let through.

    Parameters
    ----------
    problem : str
        The file, and what it is not: "x/config.json is not the config of a saved model".
    remedy : str

    Raises
    ------
    ModelFileError
    """
    try:
        yield
    except (ModelFileError, ImportError, Warning):
        raise
    except Exception as error:  # those of safetensors, tokenizers and onnxruntime have no common class
        raise ModelFileError(f"{problem} ({type(error).__name__}: {error!s:.300}): {remedy}") from error
