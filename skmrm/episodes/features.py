"""Features in whatever container users bring them, as floats in one array; and the names of their columns."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmrm._support.wording import described, name_some
from skmrm.episodes.arrays import feature_dtype_problem, is_missing, without_torch

__all__ = ["check_kept_names", "check_names", "feature_array", "feature_names", "is_frame", "numbered_columns"]

_REMEDIES = {
    "c": "convert it to floats, real and imaginary parts as columns of their own",
    "M": "convert it to floats, such as days from a date on",
    "m": "convert it to floats, such as seconds",
    "U": "encode texts with the same encoder as for fit",
}


def feature_array(values: Any) -> Any:
    """Numbers as floats, NaN where they are missing or masked; how many dimensions there are is not looked at.

    Parameters
    ----------
    values : array, masked array, tensor, data frame, nested sequence, or anything with shape, dtype and slices of rows
        Floats of 16 to 64 bits are kept as they are and not copied, and what is read in slices is not read. Integers,
        booleans and Python's numbers become float64.

    Returns
    -------
    array or array-like
        Of floats.

    Raises
    ------
    ValueError
        If these are no real numbers: what came and what to do, to be put behind the rule that the caller has.
    """
    values = _dense(values)
    if is_frame(values):
        return _floats(_of_frame(values))
    if isinstance(values, np.ndarray) or isinstance(getattr(values, "dtype", None), np.dtype):
        return _floats(values)
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"ragged rows ({error}): give all the same number of features") from error
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{described(values)} that NumPy cannot read ({error})") from error
    return _floats(array)


def is_frame(values: Any) -> bool:
    """Whether values are a data frame, of pandas, polars, pyarrow or another library with columns and a shape."""
    kind = type(values)  # a lazy frame would work to say its columns
    return hasattr(kind, "columns") and hasattr(kind, "shape")


def feature_names(values: Any) -> tuple[str, ...] | None:
    """Names of the columns of a data frame if they are texts, as scikit-learn has it; None of anything else.

    Raises
    ------
    ValueError
        If some are texts and some are not.
    """
    if not is_frame(values):
        return None
    names = list(getattr(values, "column_names", values.columns))
    others = [name for name in names if not isinstance(name, str)]
    if others and len(others) < len(names):
        text = next(name for name in names if isinstance(name, str))
        raise ValueError(f"names of columns must be all texts or none, got {text!r} and {others[0]!r}: rename them")
    return None if others or not names else tuple(map(str, names))


def numbered_columns(data: Any) -> tuple[Any, list[Any] | None]:
    """A frame that may have names of any kind (pandas: numbers, tuples) under strings, and its own names, else None."""
    if not hasattr(data, "set_axis"):
        return data, None
    return data.set_axis([str(place) for place in range(data.shape[1])], axis=1), list(data.columns)


def check_names(names: Sequence[str] | None, fitted: Sequence[str] | None, owner: str, *, warn: bool = True) -> None:
    """Hold the names of columns against those of fit, as scikit-learn does.

    Raises
    ------
    ValueError
        If both have names, and other ones or in another order.

    Warns
    -----
    UserWarning
        If one of the two has none.
    """
    if names is None or fitted is None:
        if warn and names is not None:
            words = f"X has feature names, but {owner} was fitted without feature names"
            warnings.warn(f"{words}: columns are taken as they come", UserWarning, stacklevel=4)
        elif warn and fitted is not None:
            words = f"X does not have valid feature names, but {owner} was fitted with feature names"
            warnings.warn(f"{words}: columns are taken to be those of fit, in its order", UserWarning, stacklevel=4)
        return
    if tuple(names) == tuple(fitted):
        return
    unseen = [name for name in names if name not in set(fitted)]
    missing = [name for name in fitted if name not in set(names)]
    came = [f"{name_some(unseen)} were not there in fit"] * bool(unseen) + [f"no {name_some(missing)}"] * bool(missing)
    raise ValueError(
        "the feature names should match those that were passed during fit, in the same order; got "
        f"{' and '.join(came) or 'the same names in another order'}: pass X[list(feature_names_in_)]"
    )


def check_kept_names(names: Any, n_features: int) -> None:
    """Hold the names of columns that a file has against the number of features: a name for each, or none."""
    if names is not None and not (
        isinstance(names, list | tuple) and len(names) == n_features and all(isinstance(name, str) for name in names)
    ):
        raise ValueError(f"feature_names must be {n_features} texts or none, got {names!r:.80}")


def _dense(values: Any) -> Any:
    """Values that are no tensor, nor sparse, nor on another device."""
    torch = sys.modules.get("torch")
    is_tensor = torch is not None and isinstance(values, torch.Tensor)
    if torch is not None and is_tensor and values.layout != torch.strided:
        raise ValueError("a sparse tensor: pass its .to_dense()")
    if not is_tensor and hasattr(values, "toarray"):
        raise ValueError("a sparse matrix: pass its .toarray()")
    if not is_tensor and hasattr(values, "__cuda_array_interface__"):
        raise ValueError(f"{described(values)} on a GPU: pass it as a NumPy array")
    if hasattr(type(values), "collect") and not is_frame(values):
        raise ValueError(f"{described(values)}, which is lazy: pass its .collect()")
    try:
        return without_torch(values)
    except (TypeError, RuntimeError) as error:  # quantised, of 8 bits
        raise ValueError(f"{described(values)} that NumPy cannot read ({error}): pass its .float()") from error


def _floats(array: Any) -> Any:
    """An array of any numbers, or one that is read in slices, as floats."""
    if isinstance(array, np.ma.MaskedArray):
        masked = np.ma.getmaskarray(array)
        array = np.ma.getdata(array)
        if masked.any():
            array = np.where(masked, np.nan, array) if array.dtype.kind in "fiub" else array
    elif isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = np.asarray(array)  # of a matrix, whose rows have two dimensions
    if array.dtype.kind == "O":
        return _of_objects(np.asarray(array))
    if array.dtype.kind in "iub" or array.dtype == np.longdouble != np.float64:
        return np.asarray(array, np.float64)
    if array.dtype.kind in _REMEDIES:
        raise ValueError(f"{type(array).__name__} of dtype {array.dtype}: {_REMEDIES[array.dtype.kind]}")
    if problem := feature_dtype_problem(array):
        raise ValueError(problem)
    return array


def _of_objects(array: NDArray[np.object_]) -> NDArray[np.float64]:
    """Python's numbers, some perhaps missing."""
    numbers = [np.nan if is_missing(value) else value for value in array.flat]
    stranger = next((value for value in numbers if not isinstance(value, Real | Decimal | np.bool_)), None)
    if stranger is not None:
        remedy = f": {_REMEDIES['U']}" if isinstance(stranger, str) else ""
        raise ValueError(f"objects of which not all are numbers, {described(stranger)} among them{remedy}")
    try:
        return np.array(numbers, np.float64).reshape(array.shape)
    except OverflowError as error:
        raise ValueError(f"numbers beyond float64 ({error})") from error


def _of_frame(frame: Any) -> NDArray[Any]:
    """Columns of numbers side by side, in the precision that holds them all."""
    import narwhals as nw

    try:
        array: NDArray[Any] = np.asarray(frame)
        if array.dtype.kind in "fiub":
            return array
    except (TypeError, ValueError):  # no one dtype for all, which the columns will say
        pass
    numbered, names = numbered_columns(frame)
    try:
        columns = list(nw.from_native(numbered, eager_only=True).iter_columns())
    except TypeError as error:
        raise ValueError(f"{described(frame)} that cannot be read: pass its numbers as an array") from error
    found = [_of_column(column) for column in columns]
    own_names = names or [column.name for column in columns]
    strangers = [
        f"{name!r} ({column.dtype})"
        for name, column, numbers in zip(own_names, columns, found, strict=True)
        if numbers is None
    ]
    if strangers:
        listed = ", ".join(strangers[:5]) + (f" and {len(strangers) - 5} more" if len(strangers) > 5 else "")
        raise ValueError(f"columns that are no numbers: {listed}; encode them as numbers, or leave them out")
    return np.column_stack([numbers for numbers in found if numbers is not None])


def _of_column(column: Any) -> NDArray[Any] | None:
    """The numbers of a column, or None if it has others."""
    import narwhals as nw

    if column.dtype.is_numeric() or column.dtype == nw.Boolean:
        return np.asarray(column.cast(nw.Float32 if column.dtype == nw.Float32 else nw.Float64).to_numpy())
    if column.dtype == nw.Object:
        try:
            return _of_objects(np.fromiter(column.to_list(), object, len(column)))
        except ValueError:
            return None
    return None
