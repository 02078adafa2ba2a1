"""Training that goes on where another call ended: partial_fit and warm_start."""

import re
from typing import Any

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from estimators.data import digits, iris, line
from fastfcn import FCNClassifier, FCNRegressor, losses

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BOTH = pytest.mark.parametrize("kind", [FCNClassifier, FCNRegressor])
TWO_POINTS = np.array([[3.0, 2.0], [1.0, 6.0]]), np.array([1, 0])


# ---- partial_fit -------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
def test_partial_fit_again_and_again_predicts_what_fit_does(classes: int) -> None:
    x, y = digits(classes)
    options = {"solver": "sgd", "random_state": 1, "alpha": 1e-5, "learning_rate_init": 0.2}
    whole = FCNClassifier(max_iter=100, tol=0, **options).fit(x, y)
    parts = FCNClassifier(**options)
    for _ in range(100):
        parts.partial_fit(x, y, classes=np.unique(y))
    assert_array_equal(parts.predict(x), whole.predict(x))
    assert parts.score(x, y) > 0.95
    assert parts.n_iter_ == 1
    assert parts.t_ == 100 * len(x)
    assert len(parts.loss_curve_) == 100


@pytest.mark.parametrize("momentum", [0, 0.9])
def test_partial_fit_of_all_rows_is_an_epoch_of_fit(momentum: float) -> None:
    x, y = line()
    options = {"solver": "sgd", "random_state": 1, "learning_rate_init": 0.01, "batch_size": 200}
    whole = FCNRegressor(max_iter=30, momentum=momentum, **options).fit(x, y)
    parts = FCNRegressor(momentum=momentum, **options)
    for _ in range(30):
        parts.partial_fit(x, y)
    assert_allclose(parts.predict(x), whole.predict(x))


def test_partial_fit_with_other_classes_is_refused() -> None:
    estimator = FCNClassifier(solver="sgd").partial_fit([[3, 2]], [0], classes=[0, 1])
    with pytest.raises(ValueError, match="not the same as on last call"):
        estimator.partial_fit([[3, 2]], [0], classes=[1, 2])
    with pytest.raises(ValueError, match="classes not in"):
        estimator.partial_fit([[3, 2]], [2])
    with pytest.raises(ValueError, match="classes must be passed"):
        FCNClassifier(solver="sgd").partial_fit([[3, 2]], [0])
    with pytest.raises(ValueError, match="classes not in"):
        FCNClassifier(solver="sgd").partial_fit(*TWO_POINTS, classes=[2])


def test_classes_may_come_later() -> None:
    estimator = FCNClassifier(random_state=0)
    estimator.partial_fit([[1], [2], [3]], list("abc"), classes=list("abcd"))
    estimator.partial_fit([[4]], ["d"])
    assert estimator.score([[1], [2], [3], [4]], list("abcd")) > 0


def test_a_loaded_model_learns_on(tmp_path: Any) -> None:
    options = {"hidden_layer_sizes": 42, "random_state": 42, "learning_rate_init": 0.01}
    joblib.dump(FCNRegressor(**options).fit([[2]], [4]), tmp_path / "model.joblib")
    estimator = joblib.load(tmp_path / "model.joblib")
    for _ in range(200):
        estimator.partial_fit([[2]], [1])
    assert_allclose(estimator.predict([[2]]), 1.0, rtol=1e-4)


@BOTH
@pytest.mark.parametrize(
    "options",
    [{"solver": "adam"}, {"solver": "sgd", "learning_rate": "invscaling"}, {"clip_norm": 1.0}],
    ids=str,
)
def test_partial_fit_after_lbfgs_takes_steps_of_its_own_solver(kind: Any, options: Any) -> None:
    x, y = iris()
    estimator = kind(hidden_layer_sizes=5, solver="lbfgs", max_iter=3, random_state=0).fit(x, y)
    before = [w.copy() for w in estimator.coefs_]
    rate = 1e-6
    estimator.set_params(**{"solver": "adam", "learning_rate_init": rate, **options})
    estimator.partial_fit(x, y)
    moved = max(abs(w - old).max() for w, old in zip(estimator.coefs_, before, strict=True))
    assert 0.0 < moved <= 100 * rate
    assert estimator.optimizer_.steps == 1


# ---- warm_start --------------------------------------------------------------------------------


@pytest.mark.parametrize("learning_rate", ["invscaling", "constant"])
def test_warm_starts_go_on_with_the_learning_rate(learning_rate: str) -> None:
    x, y = [[3, 2], [1, 6], [5, 6], [-2, -4]], [1, 1, 1, 0]
    estimator = FCNClassifier(
        4, solver="sgd", learning_rate=learning_rate, max_iter=1, power_t=0.25, warm_start=True
    )
    estimator.fit(x, y).fit(x, y)
    expected = 0.001 / (8 + 1) ** 0.25 if learning_rate == "invscaling" else 0.001
    assert estimator.optimizer_.lr == pytest.approx(expected)


def test_a_warm_start_wants_the_same_classes() -> None:
    x, y = iris()
    estimator = FCNClassifier(2, solver="lbfgs", warm_start=True, random_state=42, tol=1e-2)
    estimator.fit(x, y).fit(x, y).fit(x, np.repeat([0, 1, 2], [40, 40, 70]))
    for others in (np.repeat([0, 1], 75), np.repeat([0, 1, 3], 50), np.arange(150) % 4):
        message = (
            "warm_start can only be used where `y` has the same classes as in the previous call "
            f"to fit. Previously got [0 1 2], `y` has {np.unique(others)}"
        )
        with pytest.raises(ValueError, match=re.escape(message)):
            estimator.fit(x, others)


@BOTH
@pytest.mark.parametrize(
    "changed",
    [
        {"hidden_layer_sizes": (5, 5)},
        {"activation": "tanh"},
        {"dropout": 0.5},
        {"normalization": "layer"},
    ],
    ids=str,
)
def test_training_goes_on_with_the_same_network_or_not_at_all(kind: Any, changed: Any) -> None:
    data = iris()
    estimator = kind(hidden_layer_sizes=5, warm_start=True, max_iter=1)
    estimator.fit(*data).set_params(activation=["relu"], dropout=(0.0,)).fit(*data)
    estimator.set_params(**{"activation": "relu", "dropout": 0.0, **changed})
    message = f"{next(iter(changed))} must stay as it was to go on training"
    for go_on in (estimator.fit, estimator.partial_fit):
        with pytest.raises(ValueError, match=message):
            go_on(*data)
    estimator.set_params(warm_start=False).fit(*data)


@pytest.mark.parametrize("targets", ["two classes", "several labels at once"])
def test_a_loss_that_does_not_fit_leaves_what_the_network_said_before(targets: str) -> None:
    x, y = digits(2)
    y = y if targets == "two classes" else np.stack([y, y], axis=1)
    estimator = FCNClassifier(5, warm_start=True, max_iter=2, random_state=0).fit(x, y)
    before = estimator.predict_proba(x)
    estimator.set_params(loss=losses.CrossEntropyLoss())
    with pytest.raises(ValueError, match=r"needs at least 2 outputs|must be probabilities"):
        estimator.fit(x, y)
    assert_array_equal(estimator.predict_proba(x), before)


@BOTH
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_every_warm_start_does_max_iter_iterations(kind: Any, solver: str) -> None:
    options = {"solver": solver, "warm_start": True, "n_iter_no_change": np.inf, "random_state": 0}
    estimator = kind(hidden_layer_sizes=20, tol=0.0 if solver == "lbfgs" else 1e-4, **options)
    for iterations in (3, 6):
        with pytest.warns(ConvergenceWarning):
            estimator.set_params(max_iter=iterations).fit(*iris())
        assert estimator.n_iter_ == iterations


@BOTH
def test_scores_add_up_over_warm_starts(kind: Any) -> None:
    estimator = kind(max_iter=5, random_state=0, warm_start=True, early_stopping=True)
    before = len(estimator.fit(*iris()).validation_scores_)
    assert len(estimator.fit(*iris()).validation_scores_) > before
