"""All solvers but L-BFGS: training in batches."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastfcn.buffers import Array
from fastfcn.estimators.convergence import Convergence, begin_records
from fastfcn.estimators.fitted import Fitted
from fastfcn.estimators.fitting import step_threads, train
from fastfcn.estimators.rows import Rows, split_off
from fastfcn.estimators.solvers import make_optimizer, penalty_factor, renew_optimizer
from fastfcn.optim.minimiser import Minimiser


def fit_stochastic(
    estimator: Fitted, rows: Rows, validation: Rows | None, incremental: bool
) -> None:
    """Train in batches: until nothing improves, or ``max_iter`` epochs; one if incremental.

    Parameters
    ----------
    estimator : FCNClassifier or FCNRegressor
        With its network; its records are written.
    rows : Rows
        To train on.
    validation : Rows, optional
        To score after each epoch; with ``early_stopping`` some of the others by default.
    incremental : bool
        Whether this is ``partial_fit``.
    """
    e = estimator
    if incremental and e._was_incremental and e.early_stopping and e.stopped_:
        return
    if e.early_stopping and validation is None:
        rows, validation = split_off(e, rows)
    n = rows.x.shape[0]
    batch = _batch_rows(e.batch_size, n)
    made = getattr(e, "optimizer_", None)
    if not incremental or made is None or isinstance(made, Minimiser):  # of solver="lbfgs" then
        renew_optimizer(e, make_optimizer(e, e.network_))
    begin_records(e, validation, incremental)
    decay = penalty_factor(e, n, batch, rows.sample_weight)
    reported = e._reported(rows.target, rows.sample_weight)
    convergence = Convergence(n, e, decay, reported, validation)
    epochs = 1 if incremental else e.max_iter
    train(
        e, rows, validation, convergence,
        batch_size=batch,
        epochs=epochs,
        shuffle=_Orders(e._random_state) if e.shuffle else False,
        seed=e._random_state.randint(2**31) if e._draws else 0,
        n_threads=step_threads(e, batch),
        clip_norm=e.clip_norm,
        schedule=None if isinstance(e.learning_rate, str) else e.learning_rate,
    )  # fmt: skip
    if not incremental and e.history_.stop_reason is None:
        warnings.warn(
            f"Stochastic Optimizer: Maximum iterations ({epochs}) reached and the "
            "optimization hasn't converged yet.",
            ConvergenceWarning,
            stacklevel=5,  # fit's caller, past scikit-learn's decorator
        )
    e.stopped_ = convergence.stopped
    if e.early_stopping and (e.stopped_ or not incremental):
        e.network_.load_state_dict(e._best_state)
        del e._best_state
    e.network_.eval()


def _batch_rows(wanted: int | str, n: int) -> int:
    """Return how many of n rows a step takes."""
    if wanted == "auto":
        return min(200, n)
    if int(wanted) > n:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be "
            f"clipped: from {wanted} to {n}",  # scikit-learn's words, for filters
            stacklevel=6,
        )
    return min(int(wanted), n)


class _Orders:
    """The order of the rows in each epoch: scikit-learn's, each a shuffle of the last."""

    def __init__(self, random_state: np.random.RandomState) -> None:
        self._random_state = random_state
        self._order: Array | None = None

    def __call__(self, epoch: int, n: int) -> Array:
        drawn = np.arange(n)
        self._random_state.shuffle(drawn)
        self._order = drawn if self._order is None else self._order[drawn]
        return self._order
