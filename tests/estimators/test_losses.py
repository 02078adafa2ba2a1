"""What is minimised, beyond scikit-learn's losses: class weights, smoothed labels, any loss."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.utils.class_weight import compute_sample_weight

from estimators.data import counts, digits, iris, line, several_labels
from fastfcn import FCNClassifier, FCNRegressor, losses
from fastfcn.estimators.outputs import as_probabilities

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
@pytest.mark.parametrize(
    "class_weight", ["balanced", {0: 5.0, 2: 0.5}], ids=["balanced", "by label"]
)
def test_class_weights_are_weights_of_their_rows(class_weight: Any, solver: str) -> None:
    x, y = iris()
    x, y = x[20:], y[20:]
    own = np.random.default_rng(0).uniform(0.5, 1.5, len(y))
    options = {"solver": solver, "max_iter": 5, "random_state": 0}
    by_class = FCNClassifier(5, class_weight=class_weight, **options).fit(x, y, own)
    weight = compute_sample_weight(class_weight, y) * own
    by_row = FCNClassifier(5, **options).fit(x, y, sample_weight=weight)
    assert_array_equal(by_class.coefs_[0], by_row.coefs_[0])


@pytest.mark.parametrize(
    "class_weight", ["balanced", {0: 5.0, 2: 0.5}], ids=["balanced", "by label"]
)
def test_class_weights_weigh_validation_rows_too(class_weight: Any) -> None:
    x, y = iris()
    held_out = slice(None, None, 4)
    own = np.random.default_rng(0).uniform(0.5, 1.5, len(y[held_out]))
    options = {"solver": "sgd", "max_iter": 5, "random_state": 0}
    given = {"X_val": x[held_out], "y_val": y[held_out]}
    by_class = FCNClassifier(5, class_weight=class_weight, **options)
    by_class.fit(x, y, sample_weight_val=own, **given)
    by_row = FCNClassifier(5, **options)
    weight = compute_sample_weight(class_weight, y[held_out]) * own
    by_row.fit(x, y, compute_sample_weight(class_weight, y), sample_weight_val=weight, **given)
    assert by_class.validation_scores_ == by_row.validation_scores_
    assert by_class.validation_loss_curve_ == by_row.validation_loss_curve_


@pytest.mark.parametrize("labels", [["a", "b", "c"], [0, 1, 2]], ids=["text", "numbers"])
def test_rows_may_lack_a_class_that_has_a_weight(labels: list[Any]) -> None:
    x, y = iris()
    y, some = np.array(labels)[y], y < 2
    classifier = FCNClassifier(5, class_weight={labels[0]: 5.0, labels[2]: 0.5}, solver="sgd")
    classifier.fit(x, y, X_val=x[some], y_val=y[some])
    classifier.partial_fit(x[some], y[some])
    with pytest.raises(ValueError, match="not in class_weight"):
        FCNClassifier(5, class_weight={"other": 5.0}).fit(x, y)
    with pytest.raises(ValueError, match=r"class_weight\[.*\] must be at least 0, got -1"):
        FCNClassifier(5, class_weight={labels[0]: -1.0}).fit(x, y)


def test_balanced_classes_need_all_labels_at_once() -> None:
    with pytest.raises(ValueError, match="'balanced' needs all labels at once"):
        FCNClassifier(class_weight="balanced", solver="sgd").partial_fit(*iris(), classes=[0, 1, 2])
    FCNClassifier(class_weight={0: 2.0}, solver="sgd").partial_fit(*iris(), classes=[0, 1, 2])


@pytest.mark.parametrize("data", [lambda: digits(2), lambda: digits(3), several_labels])
def test_smoothed_labels_leave_no_probability_near_1(data: Any) -> None:
    x, y = data()
    options = {"solver": "lbfgs", "random_state": 0, "alpha": 0.0, "max_iter": 300}
    p = FCNClassifier(30, label_smoothing=0.3, **options).fit(x, y).predict_proba(x)
    outputs = 3 if data()[1].max() == 2 else 2
    assert p.max() == pytest.approx(1 - 0.3 + 0.3 / outputs, abs=0.02)


@pytest.mark.parametrize("loss", ["absolute_error", "huber", losses.HuberLoss(0.1)], ids=str)
def test_robust_losses_care_little_for_outliers(loss: Any) -> None:
    x = np.linspace(-1.0, 1.0, 100)[:, None]
    y = 2.0 * x[:, 0]
    y[::10] += 50.0
    options = {"hidden_layer_sizes": (), "solver": "lbfgs", "alpha": 0.0, "random_state": 0}
    robust = FCNRegressor(loss, **options).fit(x, y).predict(x)
    squared = FCNRegressor(**options).fit(x, y).predict(x)
    truth = 2.0 * x[:, 0]
    assert abs(robust - truth).mean() < 0.3 < abs(squared - truth).mean()


def test_a_loss_object_is_used_as_it_is() -> None:
    options = {"solver": "lbfgs", "max_iter": 5, "random_state": 0}
    named = FCNRegressor("squared_error", **options).fit(*line())
    made = FCNRegressor(losses.MSELoss("batchmean", half=True), **options).fit(*line())
    assert_array_equal(made.coefs_[0], named.coefs_[0])
    made = FCNRegressor(losses.PoissonNLLLoss("batchmean"), **options).fit(*counts())
    assert made.out_activation_ == "exp"
    made = FCNClassifier(loss=losses.CrossEntropyLoss(weight=[1, 5, 1]), **options).fit(*iris())
    assert made.score(*iris()) > 0.8


ANY_LOSS = pytest.mark.parametrize(
    "loss",
    [
        losses.MSELoss("batchmean"),
        losses.HuberLoss(0.5, "batchmean"),
        losses.L1Loss("batchmean"),
        losses.BCEWithLogitsLoss("batchmean"),
        losses.PoissonNLLLoss("batchmean"),
    ],
    ids=str,
)


@ANY_LOSS
@pytest.mark.parametrize("data", [lambda: digits(2), lambda: digits(3), several_labels])
def test_any_loss_over_0_and_1_trains_a_classifier(data: Any, loss: Any) -> None:
    x, y = data()
    estimator = FCNClassifier(
        30, loss=loss, early_stopping=True, max_iter=100, learning_rate_init=0.01, random_state=0
    )
    estimator.fit(x, y, X_val=x, y_val=y)
    assert estimator.score(x, y) > 0.7
    assert estimator.score(x, y) == pytest.approx(max(estimator.validation_scores_))
    p = estimator.predict_proba(x)
    assert p.min() >= 0.0
    assert p.max() <= 1.0
    if y.ndim == 1:
        assert_allclose(p.sum(axis=1), 1.0)
        assert_array_equal(estimator.classes_[p.argmax(axis=1)], estimator.predict(x))
    FCNClassifier(loss=loss, early_stopping=True, max_iter=2).fit(x, y)  # rows split off


@pytest.mark.parametrize("names", [["a", "b"], ["a", "b", "c"]], ids=len)
def test_squared_error_estimates_the_classes_shares(names: list[str]) -> None:
    rng = np.random.default_rng(0)
    y = rng.choice(names, 400)
    estimator = FCNClassifier(
        (), loss=losses.MSELoss("batchmean"), solver="lbfgs", alpha=0.0, random_state=0
    ).fit(np.zeros((400, 1)), y)
    shares = [(y == name).mean() for name in names]
    assert_allclose(estimator.predict_proba([[0.0]])[0], shares, atol=1e-4)
    assert estimator.predict([[0.0]])[0] == names[int(np.argmax(shares))]


def test_a_row_that_no_class_claims_belongs_to_all_alike() -> None:
    p = as_probabilities(np.array([[0.0, 0.0], [0.2, 0.6]]))
    assert_allclose(p, [[0.5, 0.5], [0.25, 0.75]])
