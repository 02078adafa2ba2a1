"""When training stops, and which rows it holds back for that."""

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from estimators.data import digits, line
from fastfcn import FCNClassifier, FCNRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BOTH = pytest.mark.parametrize("kind", [FCNClassifier, FCNRegressor])
TWO_POINTS = np.array([[3.0, 2.0], [1.0, 6.0]]), np.array([1, 0])


# ---- when it stops -----------------------------------------------------------------------------


def test_a_large_tolerance_stops_at_once() -> None:
    estimator = FCNClassifier(tol=0.5, max_iter=3000, solver="sgd").fit(*TWO_POINTS)
    assert estimator.n_iter_ < 3000
    assert estimator.stopped_


@pytest.mark.parametrize("patience", [2, 5, 10, 50])
def test_patience_is_counted_in_epochs(patience: int) -> None:
    estimator = FCNClassifier(
        tol=0.01, max_iter=3000, solver="sgd", n_iter_no_change=patience, random_state=0
    ).fit(*digits(2, 100))
    curve = np.array(estimator.loss_curve_)
    best = np.minimum.accumulate(curve)
    late = curve[1:] > best[:-1] - 0.01
    assert late[-patience - 1 :].all()
    assert not late[-patience - 2] if patience + 2 <= len(late) else True


def test_infinite_patience_never_stops() -> None:
    estimator = FCNClassifier(tol=1e9, max_iter=60, solver="sgd", n_iter_no_change=np.inf)
    assert estimator.fit(*digits(2, 100)).n_iter_ == 60


def test_the_adaptive_learning_rate_ends_below_a_millionth() -> None:
    estimator = FCNClassifier(tol=0.5, max_iter=3000, solver="sgd", learning_rate="adaptive")
    estimator.fit(*TWO_POINTS)
    assert estimator.n_iter_ < 3000
    assert estimator.optimizer_.lr < 1e-6


@BOTH
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_an_interrupted_fit_keeps_its_iterations(kind: Any, solver: str) -> None:
    class Interrupt:
        def on_epoch_end(self, run: Any) -> None:
            if run.epoch == 3:
                raise KeyboardInterrupt

    estimator = kind(hidden_layer_sizes=20, solver=solver, callbacks=[Interrupt()], random_state=0)
    with pytest.warns(UserWarning, match="Training interrupted by user") as warned:
        estimator.fit(*digits(3))
    assert len(warned) == 1
    assert warned[0].filename == __file__
    assert estimator.n_iter_ == len(estimator.loss_curve_) == 3
    assert estimator.history_.stop_reason == "interrupted in epoch 3"


# ---- early stopping ----------------------------------------------------------------------------


@BOTH
def test_early_stopping_keeps_scores_and_not_the_best_loss(kind: Any) -> None:
    options = {"tol": 0.2, "max_iter": 3000, "solver": "sgd", "random_state": 0}
    early = kind(early_stopping=True, **options).fit(*digits(2, 100))
    assert early.n_iter_ < 3000
    assert early.best_loss_ is None
    assert max(early.validation_scores_) == early.best_validation_score_
    assert early.best_validation_score_ + 0.2 > early.validation_scores_[-1]
    late = kind(early_stopping=False, **options).fit(*digits(2, 100))
    assert late.validation_scores_ is None
    assert late.best_validation_score_ is None
    assert late.best_loss_ is not None


def test_the_share_of_each_class_is_kept_or_it_says_why_not() -> None:
    with pytest.raises(ValueError, match="The least populated class"):
        FCNClassifier(early_stopping=True).fit([[1, 2], [2, 3], [3, 4], [4, 5]], [0, 0, 0, 1])
    # Of several classes with one member each no share can be kept; that is no reason to refuse.
    x = np.random.default_rng(0).normal(size=(30, 2))
    FCNClassifier(early_stopping=True, max_iter=3).fit(x, [*range(10), *range(10), *range(9), 99])


def test_too_few_rows_to_hold_some_back() -> None:
    with pytest.raises(ValueError, match="The validation set is too small"):
        FCNRegressor(early_stopping=True).fit(*line(2))


def test_early_stopping_counts_rows_alike_with_and_without_weights() -> None:
    x, y = line(100)
    options = {"early_stopping": True, "batch_size": 10, "random_state": 42, "max_iter": 20}
    plain = FCNRegressor(**options).fit(x, y)
    weighted = FCNRegressor(**options).fit(x, y, sample_weight=np.ones(100))
    assert_allclose(weighted.predict(x), plain.predict(x))


@BOTH
def test_names_are_kept_when_rows_are_held_back(kind: Any) -> None:
    pd = pytest.importorskip("pandas")
    x = pd.DataFrame(np.random.default_rng(0).normal(size=(10, 2)), columns=["a", "b"])
    y = pd.Series(np.ones(10), name="y")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        kind(early_stopping=True, validation_fraction=0.2, max_iter=3).fit(x, y)
