"""Reading one column of whatever kind users bring: texts, chat messages, feature vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skmrm._support.wording import described
from skmrm.episodes.arrays import is_missing, object_array, without_torch
from skmrm.episodes.dialects import is_message
from skmrm.episodes.features import feature_array, feature_names, is_frame
from skmrm.episodes.messages import Conversation, extract_prompt, is_messages, read_text, split_pair

__all__ = ["MISSING", "Cells", "is_missing", "mixed_rows", "read_cells", "split_prompts"]

MISSING = "missing"


@dataclass
class Cells:
    """One column of responses or prompts, read, with what is wrong with it.

    Attributes
    ----------
    values : (n,) object array of str, or (n, n_features) array
        The cells; None in the place of one that is wrong.
    kind : {"text", "features", None}
        None for an empty column, or one that cannot be read at all.
    problem : str
        What is wrong with the column as a whole, with its remedy; empty if nothing.
    bad : dict of str to list of int
        What is wrong with single cells, and the rows in question.
    names : tuple of str or None
        Of the features, where a data frame brought them.
    """

    values: NDArray[Any]
    kind: Literal["text", "features"] | None
    problem: str = ""
    bad: dict[str, list[int]] = field(default_factory=dict)
    names: tuple[str, ...] | None = None


def read_cells(column: Any, *, spelt: bool = False) -> Cells:
    """Read a column of texts, of message lists or of feature vectors.

    Parameters
    ----------
    column : sequence or array
        What the user gave.
    spelt : bool
        Whether texts that spell messages are read as these; see `all_spelt`, which says where.

    Returns
    -------
    Cells
        With the problems found; nothing is raised.
    """
    problem = _not_a_column(column)
    if problem:
        return _unreadable(problem)
    if is_frame(column):
        return _feature_cells(column)
    array = _as_array(column)
    if isinstance(array, str):
        return _unreadable(array)
    if array is not None and (array.dtype.kind not in "OUT" or (array.dtype == object and array.ndim == 2)):
        return _feature_cells(array)
    if array is not None and array.ndim != 1:
        return _unreadable(f"an array of shape {array.shape} and dtype {array.dtype}; texts need one dimension")
    values = object_array(list(column) if array is None else array.tolist() if array.dtype != object else array)
    if len(values) == 0:
        return Cells(values, None)
    if not spelt and set(map(type, values)) == {str}:
        return Cells(values, "text")
    return _stack_vectors(values) if _is_vector(values[0]) else _text_cells(values, spelt)


def split_prompts(
    prompts: NDArray[Any] | None, chosen: NDArray[Any], rejected: NDArray[Any], *, cut_texts: bool = False
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Find the prompt of each pair: the one given, or what both responses share at their start; see `split_pair`.

    Parameters
    ----------
    prompts : (n,) object array of str, or None
        The prompts given.
    chosen, rejected : (n,) object array of str
        Responses.
    cut_texts : bool
        Whether plain texts, too, are cut where they begin to differ; only where no prompt was given.

    Returns
    -------
    prompts, chosen, rejected : (n,) object array of str
        Prompts are empty where there are none.
    """
    rows = _rows_with_shared_start(prompts, chosen, rejected, cut_texts)
    given = np.full(len(chosen), "", object) if prompts is None else prompts
    if len(rows) == 0:
        return given, chosen, rejected
    given, chosen, rejected = given.copy(), chosen.copy(), rejected.copy()
    for row in rows:
        a, b = chosen[row], rejected[row]
        if isinstance(a, Conversation):
            prompt = None if prompts is None else prompts[row]
            given[row], chosen[row], rejected[row] = split_pair(prompt, a, b)
        else:
            given[row], chosen[row], rejected[row] = extract_prompt(a, b)
    return given, chosen, rejected


def mixed_rows(chosen: NDArray[Any], rejected: NDArray[Any]) -> list[int]:
    """Rows in which one response is a list of messages and the other a plain text."""
    if Conversation not in set(map(type, chosen)) | set(map(type, rejected)):
        return []
    return [
        row
        for row, (a, b) in enumerate(zip(chosen, rejected, strict=False))
        if isinstance(a, Conversation) != isinstance(b, Conversation) and a is not None and b is not None
    ]


def _rows_with_shared_start(
    prompts: NDArray[Any] | None, chosen: NDArray[Any], rejected: NDArray[Any], cut_texts: bool
) -> Sequence[int]:
    if prompts is None and cut_texts:
        return range(len(chosen))
    if Conversation not in set(map(type, chosen)):
        return ()
    return [
        row
        for row, (a, b) in enumerate(zip(chosen, rejected, strict=True))
        if isinstance(a, Conversation) and isinstance(b, Conversation)
    ]


def _unreadable(problem: str) -> Cells:
    return Cells(np.empty(0, object), None, problem)


def _not_a_column(column: Any) -> str:
    name = type(column).__name__
    if hasattr(column, "toarray"):  # of some kinds a mapping as well
        return "a sparse matrix: pass its .toarray()"
    if isinstance(column, str | bytes):
        return f"a single {name}: wrap it in a list"
    if isinstance(column, Mapping):
        return f"a {name}: pass a list with one entry for each pair"
    if isinstance(column, Set):
        return f"a {name}, which has no order: pass a list"
    if isinstance(column, list | tuple | np.ndarray) and is_messages(column):
        return (
            f"{described(column[0])} where a list of messages is needed for each pair: wrap the messages of each pair "
            "in a list"
        )
    if not hasattr(column, "__len__") and not hasattr(column, "__array__"):
        return f"{described(column)}: pass a list or an array"
    return ""


def _as_array(column: Any) -> NDArray[Any] | str | None:
    """Array form of arrays, tensors and series; None for plain sequences; a str says what is wrong."""
    if isinstance(column, np.ndarray):
        return column
    if isinstance(column, list | tuple) or not hasattr(column, "__array__"):
        return None
    try:
        return np.asarray(without_torch(column))
    except (TypeError, ValueError, RuntimeError) as error:
        return f"a {type(column).__name__} that NumPy cannot read ({error}): convert it to a float NumPy array"


def _feature_cells(given: Any) -> Cells:
    if len(given.shape) != 2:
        return _unreadable(f"an array of shape {given.shape}: features need shape (n_pairs, n_features)")
    try:
        return Cells(np.asarray(feature_array(given)), "features", names=feature_names(given))
    except ValueError as error:
        return _unreadable(str(error))


def _is_vector(value: Any) -> bool:
    if isinstance(value, str | bytes | Mapping):
        return False
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.ndim == 1 and len(value) > 0
    if isinstance(value, list | tuple | np.ndarray):  # some numbers may be missing, which is no reason to see a text
        known = [v for v in value if v is not None]
        return len(known) > 0 and all(isinstance(v, Real | Decimal | np.bool_) for v in known)
    return hasattr(value, "__array__") and getattr(value, "ndim", 0) == 1


def _stack_vectors(values: NDArray[Any]) -> Cells:
    bad: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        if not _is_vector(value):
            bad.setdefault(MISSING if is_missing(value) else f"{described(value)} among vectors", []).append(row)
    if bad:
        return Cells(values, "features", bad=bad)
    sizes = sorted({len(value) for value in values})
    if len(sizes) > 1:
        listed = ", ".join(map(str, sizes[:4])) + (" …" if len(sizes) > 4 else "")
        return _unreadable(f"feature vectors of different lengths ({listed}): give all the same features")
    return _feature_cells(np.stack([np.asarray(without_torch(value)) for value in values]))


def _text_cells(values: NDArray[Any], spelt: bool) -> Cells:
    bad: dict[str, list[int]] = {}
    read = np.empty(len(values), object)
    for row, value in enumerate(values):
        try:
            text, problem = read_text(value, spelt=spelt), ""
        except ValueError as error:
            text, problem = None, str(error)
        if text is None:
            bad.setdefault(problem or _misfit(value), []).append(row)
        read[row] = text if text is None or isinstance(text, Conversation) else str(text)  # np.str_ becomes str
    return Cells(read, "text", bad=bad)


def _misfit(value: Any) -> str:
    if is_missing(value):
        return MISSING
    if is_message(value):
        return f"{described(value)}, where a list of messages is needed"
    if isinstance(value, list | tuple | np.ndarray) and len(value) == 0:
        return "a list without messages"
    return "a vector of numbers among texts" if _is_vector(value) else f"{described(value)} in place of a text"
