"""A call of :func:`fastfcn.fit`: what it is given whatever the solver."""

import warnings
from typing import Any

from fastfcn.callbacks.run import Hooks
from fastfcn.estimators.convergence import Records
from fastfcn.estimators.fitted import Fitted
from fastfcn.estimators.rows import Rows
from fastfcn.history import History
from fastfcn.training import fit
from fastfcn.workspace import flops_per_row

WORTH_THREADS = 1e7
"""Floating-point operations of a step below which it runs on one thread, unless asked for more:
estimators often train in several processes at once, where a thread waits long for the others."""


def train(e: Fitted, rows: Rows, validation: Rows | None, records: Records, **options: Any) -> None:
    """Train until the end, or Ctrl-C; either way the last whole epoch is on record.

    Parameters
    ----------
    e : FCNClassifier or FCNRegressor
        With network and optimiser.
    rows : Rows
        To train on.
    validation : Rows, optional
        To evaluate after each epoch.
    records : Records
        Keeps the estimator's.
    **options
        Of ``fit``: those that depend on the solver.
    """
    Hooks(e.callbacks or ())  # refuses them by their own places
    e.n_iter_, e.history_ = 0, History(stop_reason="not begun")
    try:
        fit(
            e.network_, rows.x, rows.target,
            loss=e._criterion(),
            optimizer=e.optimizer_,
            validation_data=validation,
            sample_weight=rows.sample_weight,
            check_finite=False,
            callbacks=[records, *(e.callbacks or ())],
            **options,
        )  # fmt: skip
    except KeyboardInterrupt:
        # Told to fit's caller: past this function, the solver's, two of the estimator's and
        # scikit-learn's decorator.
        warnings.warn("Training interrupted by user.", stacklevel=6)


def step_threads(e: Fitted, rows: int) -> int | None:
    """Return the threads for steps of so many rows: forward, back, and the gradient."""
    flops = 4.0 * rows * flops_per_row(e.network_.plan().stages)
    return 1 if e.n_threads is None and flops < WORTH_THREADS else e.n_threads
