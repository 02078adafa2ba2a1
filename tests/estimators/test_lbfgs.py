"""solver="lbfgs": all rows at once."""

import warnings
from typing import Any

import pytest
from sklearn.exceptions import ConvergenceWarning

from estimators.data import digits, line
from fastfcn import FCNClassifier, FCNRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BOTH = pytest.mark.parametrize("kind", [FCNClassifier, FCNRegressor])
ACTIVATIONS = pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])


@ACTIVATIONS
@pytest.mark.parametrize("classes", [2, 3])
def test_lbfgs_learns_digits(classes: int, activation: str) -> None:
    x, y = digits(classes)
    estimator = FCNClassifier(50, activation, solver="lbfgs", max_iter=150, random_state=1)
    estimator.fit(x[:150], y[:150])
    assert estimator.score(x[:150], y[:150]) > 0.95
    assert estimator.predict(x[150:]).dtype.kind == y.dtype.kind
    assert len(estimator.loss_curve_) == estimator.n_iter_
    assert estimator.loss_ == estimator.best_loss_ == pytest.approx(estimator.loss_curve_[-1])


@ACTIVATIONS
def test_lbfgs_learns_a_regression(activation: str) -> None:
    estimator = FCNRegressor(
        hidden_layer_sizes=50, activation=activation, solver="lbfgs", tol=1e-3, random_state=1
    )
    score = estimator.fit(*line()).score(*line())
    assert score > (0.8 if activation == "identity" else 0.98)


@BOTH
def test_lbfgs_stops_after_max_fun_evaluations(kind: Any) -> None:
    estimator = kind(hidden_layer_sizes=50, solver="lbfgs", tol=0.0, max_fun=10, random_state=1)
    with pytest.warns(ConvergenceWarning, match="max_fun=10"):
        estimator.fit(*digits(3))
    assert estimator.n_iter_ <= 10


@BOTH
def test_callbacks_see_the_iterations_of_lbfgs_and_may_stop_it(kind: Any) -> None:
    losses_seen = []

    class Stop:
        def on_epoch_end(self, run: Any) -> None:
            losses_seen.append(run.optimizer.value)
            if run.epoch == 4:
                run.stop("enough")

    estimator = kind(hidden_layer_sizes=20, solver="lbfgs", callbacks=[Stop()], random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        estimator.fit(*digits(3))
    assert estimator.n_iter_ == len(estimator.history_) == 4
    assert estimator.history_.stop_reason == "enough"
    assert estimator.loss_curve_ == pytest.approx(losses_seen)
