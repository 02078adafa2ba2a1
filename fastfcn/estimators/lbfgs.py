"""solver="lbfgs": training on all rows at once."""

import warnings

from sklearn.exceptions import ConvergenceWarning

from fastfcn.estimators.convergence import Records, begin_records
from fastfcn.estimators.fitted import Fitted
from fastfcn.estimators.fitting import step_threads, train
from fastfcn.estimators.parameters import Parameters
from fastfcn.estimators.rows import Rows
from fastfcn.estimators.scipy_lbfgs import ScipyLBFGS
from fastfcn.estimators.solvers import penalty_factor, renew_optimizer
from fastfcn.nn.containers import Module
from fastfcn.objective import GAVE_UP, ROWS


def make_lbfgs(estimator: Parameters, net: Module) -> ScipyLBFGS:
    """Return the minimiser that an estimator's parameters describe, over all of a network's.

    Parameters
    ----------
    estimator : FCNClassifier or FCNRegressor
        Its hyperparameters.
    net : Module
        The network.
    """
    return ScipyLBFGS(
        net.parameters(),
        tolerance_grad=estimator.tol,
        max_fun=estimator.max_fun,
        weight_decay=estimator.alpha,
        decay_bias=False,
        decay_by_batch=True,
    )


def check_full_batch(estimator: Parameters) -> None:
    """Raise ValueError for what L-BFGS cannot do.

    Parameters
    ----------
    estimator : FCNClassifier or FCNRegressor
        Its parameters.
    """
    e = estimator
    if e._draws or e.normalization == "batch":
        raise ValueError(
            "solver='lbfgs' needs dropout=0 and no batch normalization, as its loss must be a "
            f"function of the weights alone; got dropout={e.dropout!r} and "
            f"normalization={e.normalization!r}; use solver='adam'"
        )
    if e.clip_norm is not None or not isinstance(e.learning_rate, str):
        raise ValueError(
            "solver='lbfgs' needs clip_norm=None and no schedule as learning_rate, as it "
            f"searches for its own step sizes; got clip_norm={e.clip_norm!r} and "
            f"learning_rate={e.learning_rate!r}; use solver='adam'"
        )


def fit_lbfgs(estimator: Fitted, rows: Rows, validation: Rows | None) -> None:
    """Minimise the loss over all rows, an iteration an epoch.

    Parameters
    ----------
    estimator : FCNClassifier or FCNRegressor
        With its network; its records are written.
    rows : Rows
        To train on.
    validation : Rows, optional
        To score after each iteration.
    """
    e, n = estimator, rows.x.shape[0]
    renew_optimizer(e, make_lbfgs(e, e.network_))
    begin_records(e, validation, incremental=False)
    decay = penalty_factor(e, n, n, rows.sample_weight)
    reported = e._reported(rows.target, rows.sample_weight)
    train(
        e, rows, validation, Records(e, decay, reported, validation),
        epochs=e.max_iter,
        seed=0,
        n_threads=step_threads(e, min(n, ROWS)),
    )  # fmt: skip
    if e.n_iter_:
        e.best_loss_ = e.loss_
    reason = e.history_.stop_reason
    if reason is None or reason.startswith(GAVE_UP):
        warnings.warn(
            f"lbfgs failed to converge after {e.n_iter_} iteration(s): "
            f"{reason or 'max_iter is reached'}. Raise max_iter={e.max_iter} or "
            f"max_fun={e.max_fun}, or scale the data.",
            ConvergenceWarning,
            stacklevel=5,  # fit's caller, past scikit-learn's decorator
        )
