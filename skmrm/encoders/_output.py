"""What an encoder returned: one dense, finite, two-dimensional form, or an error that says what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from skmrm._support.wording import counted, name_some
from skmrm.episodes.features import feature_array

__all__ = ["WIDEST_SPARSE", "checked_output", "own_names"]

WIDEST_SPARSE = 10_000  # columns; 4096 texts of them take 160 MB when made dense


def checked_output(output: Any, encoder: object, n_rows: int, n_columns: int | None = None) -> NDArray[np.float32]:
    """Check what an encoder returned and make it a dense array.

    Parameters
    ----------
    output : array, data frame or sparse matrix
        What `transform` returned.
    encoder : object
        The encoder, for the message.
    n_rows : int
        Number of texts that it was given.
    n_columns : int, optional
        Number of columns that it returned before.

    Returns
    -------
    (n_rows, n_columns) float32 array
        The same numbers.

    Raises
    ------
    ValueError
        If there is anything wrong with the output; all that is wrong is said at once.
    """
    if sp.issparse(output):
        output = _densified(output, encoder)
    try:
        features = _as_floats(output)
    except ValueError as error:
        kind = type(output).__name__
        raise ValueError(_message(encoder, [f"real numbers are needed, got a {kind} of others ({error})"])) from error
    problems = _problems(features, n_rows, n_columns)
    if problems:
        raise ValueError(_message(encoder, problems))
    return features


def own_names(encoder: Any, n_columns: int) -> list[str] | None:
    """Names that an encoder gives to its columns.

    Parameters
    ----------
    encoder : transformer
        Fitted.
    n_columns : int
        Number of its columns.

    Returns
    -------
    list of str or None
        None if it has no names, or not one distinct name for each column.
    """
    try:
        names = [str(name) for name in encoder.get_feature_names_out()]
    except (AttributeError, TypeError, ValueError):  # none, needs input names, or a step of a Pipeline has none
        return None
    return names if len(names) == n_columns == len(set(names)) else None


def _densified(output: Any, encoder: object) -> NDArray[Any]:
    if output.ndim == 2 and output.shape[1] > WIDEST_SPARSE:
        problem = (
            f"a sparse matrix may have at most {WIDEST_SPARSE} columns, since it is made dense, got {output.shape[1]}: "
            "reduce it, for instance with make_pipeline(encoder, TruncatedSVD(100))"
        )
        raise ValueError(_message(encoder, [problem]))
    dense: NDArray[Any] = output.toarray()
    return dense


def _as_floats(output: Any) -> NDArray[np.float32]:
    array = feature_array(output)
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is reported as such
        return np.asarray(array, dtype=np.float32)


def _problems(features: NDArray[np.float32], n_rows: int, n_columns: int | None) -> list[str]:
    if features.ndim != 2:
        return [
            f"a 2-D array is needed, one row a text, got {counted(features.ndim, 'dimension')} of shape "
            f"{features.shape}: return one vector for each text"
        ]
    problems = []
    if len(features) != n_rows:
        problems.append(
            f"{counted(n_rows, 'row')} are needed, one for each text, got {len(features)}: "
            "return a row for every item of the list, in its order"
        )
    if features.shape[1] == 0:
        problems.append("at least 1 column is needed, got none: return a number for each text")
    elif n_columns is not None and features.shape[1] != n_columns:
        problems.append(
            f"the number of columns must not change, it was {n_columns} and is {features.shape[1]}: "
            "let fit settle it, and not the texts of each call"
        )
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        problems.append(
            f"all values must be finite in float32; not so for {counted(len(bad), 'row')}, at "
            f"{name_some(bad.tolist())}: mend the encoder, or add a step such as FunctionTransformer(numpy.nan_to_num)"
        )
    return problems


def _message(encoder: object, problems: list[str]) -> str:
    heading = f"the output of {type(encoder).__name__} cannot be used: "
    if len(problems) == 1:
        return heading + problems[0]
    return heading + "".join(f"\n  - {problem}" for problem in problems)
