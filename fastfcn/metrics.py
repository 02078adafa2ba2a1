"""Measures of classification."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastfcn.buffers import Array


def _labels(values: Any, name: str) -> Array:
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] > 0 and name == "y_pred":
        return np.asarray(array.argmax(axis=1))
    if array.ndim != 1:
        way = "; the predictions come second" if name == "y_true" else ""
        raise ValueError(f"{name} must have shape (n,), got {array.shape}{way}")
    return array


def one_hot(
    labels: Any, num_classes: int | None = None, dtype: npt.DTypeLike = np.float32
) -> Array:
    """Return rows with a 1 at each label.

    Parameters
    ----------
    labels : array_like of int (n,)
        Classes from 0.
    num_classes : int, optional
        Columns; the largest label + 1 by default.
    dtype : dtype, default float32
        Of the result.

    Raises
    ------
    TypeError, ValueError
        For labels that are not integers or lie outside.

    Examples
    --------
    >>> one_hot([0, 2], 3)
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    array = np.asarray(labels)
    if array.ndim != 1:
        raise ValueError(f"labels must have shape (n,), got {array.shape}")
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"labels must be integers, got dtype {array.dtype}")
    largest = int(array.max()) if array.size else -1
    columns = largest + 1 if num_classes is None else num_classes
    if array.size and (int(array.min()) < 0 or largest >= columns):
        raise ValueError(
            f"labels must be between 0 and {columns - 1}, got {array.min()} to {largest}"
        )
    rows = np.zeros((array.size, columns), dtype)
    rows[np.arange(array.size), array.astype(np.intp)] = 1
    return rows


def share(hits: Array, counts: Array) -> float | None:
    """Return which share of the counts (n,) falls on hits (n,); None where nothing counts."""
    total = float(counts.sum())
    return float((hits * counts).sum()) / total if total else None


def accuracy(y_true: Any, y_pred: Any) -> float:
    """Return the share of right predictions.

    Parameters
    ----------
    y_true : array_like (n,)
        Labels.
    y_pred : array_like (n,) or (n, K)
        Labels, or scores whose largest counts.

    Raises
    ------
    ValueError
        For different lengths or no samples.

    Examples
    --------
    >>> accuracy([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    0.6666666666666666
    """
    true, predicted = _labels(y_true, "y_true"), _labels(y_pred, "y_pred")
    if len(true) != len(predicted) or not len(true):
        raise ValueError(
            f"y_true and y_pred must have one length above 0, got {len(true)} and {len(predicted)}"
        )
    return float(np.mean(true == predicted))


def confusion_matrix(y_true: Any, y_pred: Any) -> Array:
    """Return counts of samples by true class (rows) and predicted class (columns).

    scikit-learn's, with scores accepted for ``y_pred``.

    Parameters
    ----------
    y_true : array_like (n,)
        Labels.
    y_pred : array_like (n,) or (n, K)
        Labels, or scores whose largest counts.

    Examples
    --------
    >>> confusion_matrix([0, 1, 1], [0, 1, 0])
    array([[1, 0],
           [1, 1]])
    """
    from sklearn import metrics

    matrix: Array = metrics.confusion_matrix(_labels(y_true, "y_true"), _labels(y_pred, "y_pred"))
    return matrix
