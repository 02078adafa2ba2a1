"""Rows: those to train on, and those that are not, given by the user or split off."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import _check_sample_weight

from fastfcn.buffers import Array
from fastfcn.estimators.fitted import Fitted


class Rows(NamedTuple):
    """Data, targets and weights, checked and encoded: what :func:`fastfcn.fit` takes."""

    x: Any
    target: Array
    sample_weight: Array | None = None


def given_rows(e: Fitted, X_val: Any, y_val: Any, sample_weight_val: Any) -> Rows | None:
    """Check a validation set that was passed in."""
    if (X_val is None) != (y_val is None):
        given = "X_val" if y_val is None else "y_val"
        raise ValueError(f"X_val and y_val must be passed together, got {given} alone")
    if X_val is None:
        if sample_weight_val is not None:
            raise ValueError("sample_weight_val needs X_val and y_val, got neither")
        return None
    X_val, y_val = e._checked(X_val, y_val, reset=False)
    if sample_weight_val is not None:
        sample_weight_val = _check_sample_weight(sample_weight_val, X_val)
    target = e._encode(y_val, incremental=True)
    return Rows(X_val, target, e._row_weights(y_val, sample_weight_val, incremental=False))


def split_off(e: Fitted, rows: Rows) -> tuple[Rows, Rows]:
    """Set a share of the rows aside; return the others, and those."""
    x, target, weights = rows
    n = x.shape[0]
    parts = train_test_split(
        x,
        target,
        np.ones(n) if weights is None else weights,
        random_state=e._random_state,
        test_size=e.validation_fraction,
        stratify=e._strata(target, int(np.ceil(n * e.validation_fraction))),
    )
    rest, aside = Rows(*parts[::2]), Rows(*parts[1::2])
    if aside.x.shape[0] < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of "
            "your dataset, or pass X_val and y_val."
        )
    if weights is None:
        return rest._replace(sample_weight=None), aside._replace(sample_weight=None)
    return rest, aside
