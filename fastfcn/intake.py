"""What users hold their data in, seen as arrays: frames, tensors, anything with an array interface.

Nothing is imported to recognise them: what an object offers decides.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastfcn.buffers import Array


def as_array(x: Any, name: str) -> Array:
    """Return ``x`` as an array, without copying where its memory can be read as it lies.

    Parameters
    ----------
    x : array_like
        Also a pandas or polars frame or series, a tensor on the CPU, and whatever has
        ``__array__`` or ``__dlpack__``.
    name : str
        What messages call it.

    Raises
    ------
    TypeError
        For a frame with columns that are not numeric, and for tensors that need a gradient or lie
        on another device.
    """
    if isinstance(x, np.ndarray):
        return x
    if is_frame(x):
        return _frame_array(x, name)
    if callable(getattr(x, "collect", None)):  # polars' LazyFrame
        given = type(x).__name__
        raise TypeError(f"{name} must be in memory, got a {given}; pass {name}.collect()")
    try:
        if hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
            return np.from_dlpack(x)
        array: Array = np.asanyarray(x)
    except (TypeError, RuntimeError, BufferError) as error:
        kind = type(x)
        raise TypeError(
            f"{name} must be readable as an array, got {kind.__module__}.{kind.__qualname__}: "
            f"{error}; for a tensor pass {name}.detach().cpu().float()"
        ) from error
    if array.dtype == object and array.ndim == 0:
        raise TypeError(
            f"{name} must be an array, a frame, a tensor or lists of numbers, got a "
            f"{type(x).__name__}"
        )
    return array


def is_frame(x: Any) -> bool:
    """Tell whether x is a table with named columns, as those of pandas and polars."""
    return all(hasattr(x, name) for name in ("shape", "columns", "dtypes", "__getitem__"))


def columns_of(x: Any) -> list[str] | None:
    """Return the names of a frame's columns; None for anything else."""
    return [str(column) for column in x.columns] if is_frame(x) else None


def by_name(x: Any, names: Sequence[str]) -> Any:
    """Return the columns of these names, in this order, of a frame whose columns have names.

    Anything else, and a frame whose columns are but counted, is returned as it is.

    Raises
    ------
    ValueError
        For names that are not there, or there twice.
    """
    if not is_frame(x) or not any(isinstance(column, str) for column in x.columns):
        return x
    given = [str(column) for column in x.columns]
    wrong = [name for name in names if given.count(name) != 1]
    if wrong:
        raise ValueError(
            f"x must have each of the columns {', '.join(names)} once, got {', '.join(given)}: "
            f"{wrong[0]!r} is there {given.count(wrong[0])} times; for columns by their places "
            "pass x.to_numpy()"
        )
    places = [given.index(name) for name in names]
    return x.iloc[:, places] if hasattr(x, "iloc") else x[:, places]


def _frame_array(frame: Any, name: str) -> Array:
    """Return a frame as one array, missing values as NaN."""
    # Beside numbers, polars takes dates for numbers as well.
    if not any(_is_temporal(dtype) for dtype in frame.dtypes):
        whole = np.asarray(frame)
        if whole.dtype.kind in "fiub":
            return whole
    series = [_column(frame, i) for i in range(frame.shape[1])]
    columns = [_numbers(values) for values in series]
    bad = [
        f"{str(label)!r} ({values.dtype})"
        for label, values, column in zip(frame.columns, series, columns, strict=True)
        if column.dtype.kind not in "fiub"
    ]
    if bad:
        raise TypeError(
            f"{name} must have numeric columns only, got {', '.join(bad)}; encode them first, with "
            "scikit-learn's OrdinalEncoder or OneHotEncoder"
        )
    joined = np.empty(frame.shape, np.result_type(*columns))
    for i, column in enumerate(columns):
        joined[:, i] = column
    return joined


def _is_temporal(dtype: Any) -> bool:
    """Tell whether a type of polars is a date, a time or a duration."""
    method = getattr(dtype, "is_temporal", None)
    return callable(method) and bool(method())


def _column(frame: Any, i: int) -> Any:
    """Return a column by its place: names may repeat."""
    return frame.iloc[:, i] if hasattr(frame, "iloc") else frame[:, i]


def _numbers(values: Any) -> Array:
    """Return a column's values; those of pandas' nullable types as floats where some miss."""
    array = np.asarray(values)
    if array.dtype == object and getattr(values.dtype, "kind", "O") in "fiub":
        return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
    return array
