"""Targets: checked, and as the kernels take them."""

from typing import Any, NamedTuple

import numpy as np

from fastfcn.buffers import Array

NO_LABELS = np.zeros(0, np.int64)
"""Labels of a loss with float targets."""


class Targets(NamedTuple):
    """Targets as the kernels take them."""

    labels: Array
    """int64 (n,), or empty for a loss with float targets."""
    values: Array
    """Real (n, K), or one unread row for a loss with labels."""
    weights: Array = np.zeros(0)
    """float64 (n,): how many times each sample counts; empty where each counts once."""

    @property
    def rows(self) -> int:
        """Number of samples."""
        return len(self.labels) or len(self.values)

    def take(self, index: Array | slice) -> "Targets":
        """Return the targets of some samples; views, of a slice."""
        labels, values, weights = self
        return Targets(
            labels[index] if labels.size else labels,
            values if labels.size else values[index],
            weights[index] if weights.size else weights,
        )


def class_labels(
    target: Array, n: int, outputs: int, ignore_index: int, name: str = "target"
) -> Array:
    """Return class indices as int64, each within the outputs or ignored."""
    if target.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), one class a row, got {target.shape}")
    if target.dtype.kind not in "iu":
        way = "convert it with y.astype(int)"
        if target.dtype.kind == "f" and np.isnan(target).any():
            way = f"row {int(np.isnan(target).argmax())} has none: leave such rows out"
        elif target.dtype.kind not in "fb":
            way = "scikit-learn's LabelEncoder numbers classes from 0"
        raise TypeError(f"{name} must be integer class indices, got dtype {target.dtype}; {way}")
    outside = ((target < 0) | (target >= outputs)) & (target != ignore_index)
    if outside.any():
        i = int(np.flatnonzero(outside)[0])
        raise ValueError(
            f"{name} must be between 0 and {outputs - 1}, the network's outputs, got {target[i]} "
            f"at {i}; scikit-learn's LabelEncoder numbers classes from 0"
        )
    return np.ascontiguousarray(target, np.int64)


def float_targets(target: Array, n: int, outputs: int, dtype: np.dtype[Any]) -> Array:
    """Return float targets (n, outputs), finite."""
    if target.dtype.kind not in "fiub":
        raise TypeError(f"target must be real numbers, got dtype {target.dtype}")
    if target.ndim == 1 and outputs == 1:
        target = target[:, None]
    if target.shape != (n, outputs):
        raise ValueError(f"target must have shape ({n}, {outputs}), got {target.shape}")
    values = np.ascontiguousarray(target, dtype)
    if not np.isfinite(values).all():
        raise ValueError("target must be finite, got NaN or infinity")
    return values
