"""Checks of what users pass, made once, before any kernel runs."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastfcn.buffers import Array
from fastfcn.intake import as_array

_CHECKED_ROWS = 4096
"""Rows whose finiteness is tested at once: no mask of the size of the data."""


def described(value: Any, arguments: str = "") -> str:
    """Describe what came in place of an object; for a class, with how to make one of it."""
    if isinstance(value, type):
        return f"the class {value.__name__}; make one with {value.__name__}({arguments})"
    return repr(value)


def as_matrix(x: Any, name: str, features: int | None = None, flattens: bool = False) -> Array:
    """Return ``x`` as a real (n, features) array, without copying one.

    Parameters
    ----------
    x : array_like
        The data.
    name : str
        What messages call it.
    features : int, optional
        Columns that it must have.
    flattens : bool, default False
        Whether more dimensions are taken for columns.

    Raises
    ------
    TypeError
        For complex numbers, objects and text.
    ValueError
        For another shape.
    """
    if hasattr(x, "tocsr"):
        raise TypeError(
            f"{name} must be a dense array here, got a sparse one; fit, predict and evaluate take "
            f"sparse data, or pass {name}.toarray()"
        )
    array = x if isinstance(x, np.ndarray) else as_array(x, name)
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array, got a masked one; fill it with .filled()")
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be real numbers, got dtype {array.dtype}")
    if array.dtype.itemsize > 8:
        raise TypeError(f"{name} must be at most float64, got dtype {array.dtype}")
    if flattens and array.ndim > 2:
        array = array.reshape(len(array), -1)
    if array.ndim != 2 or (features is not None and array.shape[1] != features):
        wanted = f"(n, {'features' if features is None else features})"
        message = f"{name} must have shape {wanted}, got {array.shape}"
        if array.ndim > 2 and (features is None or math.prod(array.shape[1:]) == features):
            message += (
                f"; flatten it with {name}.reshape({len(array)}, -1), or begin the network with "
                "nn.Flatten()"
            )
        elif array.ndim == 1:
            message += f"; for one sample, {name}.reshape(1, -1)"
        raise ValueError(message)
    if not len(array):
        raise ValueError(f"{name} must have at least one row, got shape {array.shape}")
    return np.asarray(array)


def as_csr(x: Any, name: str, features: int) -> Any:
    """Return one of SciPy's sparse arrays as canonical CSR, copied only where it is not yet.

    Raises
    ------
    TypeError, ValueError
        As :func:`as_matrix`.
    """
    if x.dtype.kind not in "fiub" or x.dtype.itemsize > 8:
        raise TypeError(f"{name} must be real numbers of at most 64 bits, got dtype {x.dtype}")
    if x.ndim != 2 or x.shape[1] != features:
        raise ValueError(f"{name} must have shape (n, {features}), got {x.shape}")
    if not x.shape[0]:
        raise ValueError(f"{name} must have at least one row, got shape {x.shape}")
    rows = x.tocsr()
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    return rows


def check_finite(
    x: Array, name: str, dtype: np.dtype[Any], columns: Sequence[str] | None = None
) -> None:
    """Raise ValueError where ``x`` is NaN or infinite in precision ``dtype``, naming the place."""
    if x.dtype.kind != "f":
        return
    for first in range(0, len(x), _CHECKED_ROWS):
        with np.errstate(over="ignore"):
            converted = x[first : first + _CHECKED_ROWS].astype(dtype, copy=False)
        finite = np.isfinite(converted)
        if not finite.all():
            place = np.argwhere(~finite)[0]
            where = (int(place[0]) + first, *map(int, place[1:]))
            index = where[0] if len(where) == 1 else where
            if columns is not None:
                raise ValueError(
                    f"{name} must be finite in {dtype}, got {x[where]} in column "
                    f"{columns[where[1]]!r}, row {where[0]}; scikit-learn's SimpleImputer fills "
                    "missing values; check_finite=False lets them through"
                )
            raise ValueError(
                f"{name} must be finite in {dtype}, got {x[where]} at {index}; clean the data, "
                "or pass check_finite=False to let it through"
            )


def as_weights(values: Any, n: int, name: str = "sample_weight") -> Array:
    """Return the weights of n samples as float64: finite, not negative."""
    weights = np.asarray(values)
    if weights.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be real numbers, got dtype {weights.dtype}")
    if weights.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), one number a row, got {weights.shape}")
    weights = np.ascontiguousarray(weights, np.float64)
    unfit = ~(np.isfinite(weights) & (weights >= 0))
    if unfit.any():
        i = int(np.flatnonzero(unfit)[0])
        raise ValueError(
            f"{name} must be finite and not negative, got {weights[i]} at {i}; 0 leaves a row out"
        )
    return weights


def as_order(values: Any, n: int) -> Array:
    """Return an order of n rows as int64; kernels read where it says."""
    order = np.asarray(values)
    if order.shape != (n,) or order.dtype.kind not in "iu":
        raise ValueError(
            f"shuffle(epoch, n) must return {n} row numbers, got shape {order.shape} of dtype "
            f"{order.dtype}"
        )
    if order.min() < 0 or order.max() >= n:
        raise ValueError(
            f"shuffle(epoch, n) must return rows between 0 and {n - 1}, got {order.min()} to "
            f"{order.max()}"
        )
    return np.ascontiguousarray(order, np.int64)


def as_flag(value: Any, name: str, way: str = "") -> bool:
    """Return True or False; ``way`` says what to do with what is neither."""
    if not isinstance(value, bool | np.bool_):
        hint = f"; {way}" if way else ""
        raise TypeError(f"{name} must be True or False, got {described(value)}{hint}")
    return bool(value)


def as_int(value: Any, name: str, lowest: int) -> int:
    """Return an integer of at least ``lowest``."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be an int, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an int, got {value!r}") from None
    if number < lowest:
        raise ValueError(f"{name} must be at least {lowest}, got {number}")
    return number


def as_real(value: Any, name: str) -> float:
    """Return a finite float."""
    if type(value) is float and math.isfinite(value):
        return value
    if isinstance(value, bool | str | bytes | None):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}")
    return number


def as_positive(value: Any, name: str) -> float:
    """Return a finite float above 0."""
    number = as_real(value, name)
    if number <= 0.0:
        raise ValueError(f"{name} must be above 0, got {value}")
    return number


def as_not_negative(value: Any, name: str) -> float:
    """Return a finite float of at least 0."""
    number = as_real(value, name)
    if number < 0.0:
        raise ValueError(f"{name} must be at least 0, got {value}")
    return number


def as_share(value: Any, name: str) -> float:
    """Return a float of at least 0 and below 1."""
    number = as_real(value, name)
    if not 0.0 <= number < 1.0:
        raise ValueError(f"{name} must be in [0, 1), got {value}")
    return number


def as_float_dtype(dtype: Any) -> np.dtype[Any]:
    """Return float32 or float64 as a dtype."""
    chosen = np.dtype(dtype)
    if chosen not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype must be float32 or float64, got {chosen}")
    native: np.dtype[Any] = chosen.newbyteorder("=")
    return native
