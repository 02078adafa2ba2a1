"""When training stops, by scikit-learn's rules, and what it leaves on record."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastfcn.buffers import Array
from fastfcn.nn.containers import Module

SMALLEST_LR = 1e-6
"""Learning rate at which the adaptive mode gives up."""


class Validation(NamedTuple):
    """Rows that are not trained on, checked and encoded."""

    x: Any
    target: Array
    sample_weight: Array | None


class Convergence:
    """A callback that keeps an estimator's records, adapts its learning rate and stops it.

    Parameters
    ----------
    estimator : FCNClassifier or FCNRegressor
        Whose fitted attributes are written: ``loss_curve_``, ``t_``, ``n_iter_`` and the like.
    rows : int
        Rows an epoch trains on.
    decay : float
        λ of the penalty λ/2 Σ W² in a step's loss.
    reported : callable
        From an epoch's loss to what ``loss_curve_`` holds.
    validation : Validation, optional
        Rows to score after each epoch.
    """

    def __init__(
        self,
        estimator: Any,
        rows: int,
        decay: float,
        reported: Callable[[float], float],
        validation: Validation | None,
    ) -> None:
        self._estimator, self._rows = estimator, rows
        self._decay, self._reported = decay, reported
        self._validation = validation
        self.stopped = False

    def on_fit_begin(self, run: Any) -> None:
        """Take the penalty that training begins with."""
        self._penalty = penalty(run.net, self._decay)

    def on_epoch_end(self, run: Any) -> None:
        """Write the epoch down; adapt the learning rate or stop where nothing improves."""
        e = self._estimator
        e.n_iter_ += 1
        e.t_ += self._rows
        before, self._penalty = self._penalty, penalty(run.net, self._decay)
        e.loss_ = self._reported(run.history.loss[-1]) + (before + self._penalty) / 2
        e.loss_curve_.append(e.loss_)
        if e.verbose:
            print(f"Iteration {e.n_iter_}, loss = {e.loss_:.8f}")
        if self._validation is not None:
            e._record(self._validation, run.history.val_loss[-1])
        if e.early_stopping:
            self._compare_score(run.net)
        else:
            self._compare_loss()
        if e.solver == "sgd" and e.learning_rate == "invscaling":
            run.optimizer.lr = e.learning_rate_init / (e.t_ + 1) ** e.power_t
        if e._no_improvement_count > e.n_iter_no_change:
            self._adapt_or_stop(run)

    def _compare_score(self, net: Module) -> None:
        e = self._estimator
        score = e.validation_scores_[-1]
        worse = score < e.best_validation_score_ + e.tol  # False for NaN, as in scikit-learn
        e._no_improvement_count = e._no_improvement_count + 1 if worse else 0
        if score > e.best_validation_score_:
            e.best_validation_score_ = score
            e._best_state = net.state_dict()

    def _compare_loss(self) -> None:
        e = self._estimator
        worse = e.loss_ > e.best_loss_ - e.tol
        e._no_improvement_count = e._no_improvement_count + 1 if worse else 0
        e.best_loss_ = min(e.best_loss_, e.loss_) if not math.isnan(e.loss_) else e.best_loss_

    def _adapt_or_stop(self, run: Any) -> None:
        e = self._estimator
        what = "Validation score" if e.early_stopping else "Training loss"
        reason = (
            f"{what} did not improve more than tol={e.tol:f} for {e.n_iter_no_change} "
            "consecutive epochs."
        )
        adaptive = e.solver == "sgd" and e.learning_rate == "adaptive"
        if adaptive and run.optimizer.lr > SMALLEST_LR:
            run.optimizer.lr /= 5.0
            e._no_improvement_count = 0
            if e.verbose:
                print(f"{reason} Setting learning rate to {run.optimizer.lr:f}")
            return
        self.stopped = True
        run.stop(reason)
        if e.verbose:
            print(f"{reason} {'Learning rate too small. ' if adaptive else ''}Stopping.")


def penalty(net: Module, decay: float) -> float:
    """Return λ/2 Σ W² over the linear layers' weights."""
    if decay == 0.0:
        return 0.0
    total = 0.0
    for layer in net.linears:
        weight = layer.named_parameters()["weight"].copy()
        with np.errstate(over="ignore", invalid="ignore"):
            total += float(np.vdot(weight, weight))
    return 0.5 * decay * total
