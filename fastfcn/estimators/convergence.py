"""What training leaves on record, and when it stops, by scikit-learn's rules."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastfcn.estimators.fitted import Fitted
from fastfcn.estimators.outputs import out_activation
from fastfcn.estimators.rows import Rows
from fastfcn.nn.containers import Module
from fastfcn.prediction import predict

SMALLEST_LR = 1e-6
"""Learning rate at which the adaptive mode gives up."""


def begin_records(e: Fitted, validation: Rows | None, incremental: bool) -> None:
    """Begin the records that a training adds to, where they are not yet."""
    if validation is not None and e.validation_scores_ is None:
        e.validation_scores_, e.validation_loss_curve_ = [], []
    if e._stops_early:
        e.best_loss_ = None
        if e.best_validation_score_ is None or incremental > e._was_incremental:
            e.best_validation_score_, e._no_improvement_count = -np.inf, 0
        if not hasattr(e, "_best_state") or e.best_validation_score_ == -np.inf:
            e._best_state = e.network_.state_dict()
    elif e.best_loss_ is None:
        e.best_loss_ = np.inf
    e._was_incremental = incremental


class Records:
    """A callback that keeps an estimator's records of epochs that are one step each.

    Parameters
    ----------
    estimator : FCNClassifier or FCNRegressor
        Whose fitted attributes are written: ``loss_curve_``, ``n_iter_`` and the like.
    decay : float
        λ of the penalty λ/2 Σ W² in a step's loss.
    reported : callable
        From an epoch's loss to what ``loss_curve_`` holds.
    validation : Rows, optional
        Rows to score after each epoch.
    """

    def __init__(
        self,
        estimator: Fitted,
        decay: float,
        reported: Callable[[float], float],
        validation: Rows | None,
    ) -> None:
        self._estimator = estimator
        self._decay, self._reported = decay, reported
        self._validation = validation

    def on_fit_begin(self, run: Any) -> None:
        """Show the history from the first; what outputs stand for, now that fit takes the loss."""
        self._estimator.history_ = run.history
        self._estimator.out_activation_ = out_activation(run.loss)

    def on_epoch_end(self, run: Any) -> None:
        """Write the epoch down."""
        e = self._estimator
        e.n_iter_ += 1
        e.loss_ = self._reported(run.history.loss[-1]) + self._penalty_of_epoch(run.net)
        e.loss_curve_.append(e.loss_)
        if e.verbose:
            print(f"Iteration {e.n_iter_}, loss = {e.loss_:.8f}")
        if self._validation is not None:
            self._score(self._validation, run.history.val_loss[-1])

    def _score(self, validation: Rows, loss: float) -> None:
        """Write down how the rows did that are not trained on."""
        e = self._estimator
        assert e.validation_scores_ is not None
        assert e.validation_loss_curve_ is not None
        x, target, weights = validation
        output = predict(e.network_, x, n_threads=e.n_threads, check_finite=False)
        finite = bool(np.isfinite(output).all())
        score = e._score_encoded(output, target, weights) if finite else float("nan")
        e.validation_scores_.append(score)
        e.validation_loss_curve_.append(e._reported(target, weights)(loss))
        if e.verbose:
            print(f"Validation score: {score:f}")

    def _penalty_of_epoch(self, net: Module) -> float:
        return penalty(net, self._decay)


class Convergence(Records):
    """Records of epochs of many steps; adapts the learning rate, and stops where nothing improves.

    Parameters
    ----------
    rows : int
        Rows an epoch trains on.
    estimator, decay, reported, validation
        As :class:`Records`.
    """

    def __init__(
        self,
        rows: int,
        estimator: Fitted,
        decay: float,
        reported: Callable[[float], float],
        validation: Rows | None,
    ) -> None:
        super().__init__(estimator, decay, reported, validation)
        self._rows = rows
        self.stopped = False

    def on_fit_begin(self, run: Any) -> None:
        """Take the penalty that training begins with."""
        super().on_fit_begin(run)
        self._penalty = penalty(run.net, self._decay)

    def _penalty_of_epoch(self, net: Module) -> float:
        before, self._penalty = self._penalty, penalty(net, self._decay)
        return (before + self._penalty) / 2

    def on_epoch_end(self, run: Any) -> None:
        """Write the epoch down; adapt the learning rate or stop where nothing improves."""
        super().on_epoch_end(run)
        e = self._estimator
        e.t_ += self._rows
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
        assert e.validation_scores_ and e.best_validation_score_ is not None
        score = e.validation_scores_[-1]
        worse = score < e.best_validation_score_ + e.tol  # False for NaN, as in scikit-learn
        e._no_improvement_count = e._no_improvement_count + 1 if worse else 0
        if score > e.best_validation_score_:
            e.best_validation_score_ = score
            e._best_state = net.state_dict()

    def _compare_loss(self) -> None:
        e = self._estimator
        assert e.best_loss_ is not None
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
