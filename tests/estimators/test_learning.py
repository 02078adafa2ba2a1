"""What is learned and predicted, as scikit-learn's own tests ask of its estimators."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csc_array, csr_matrix, issparse
from scipy.special import expit
from sklearn.linear_model import PoissonRegressor
from sklearn.metrics import roc_auc_score

from estimators.data import counts, digits, line, several_labels
from fastfcn import FCNClassifier, FCNRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BOTH = pytest.mark.parametrize("kind", [FCNClassifier, FCNRegressor])


# ---- one step ----------------------------------------------------------------------------------


def test_one_step_is_the_one_worked_out_by_hand() -> None:
    x, y = np.array([[0.6, 0.8, 0.7]]), np.array([0])
    estimator = FCNClassifier(
        2, "logistic", solver="sgd", learning_rate_init=0.1, alpha=0.1, momentum=0
    )
    estimator.partial_fit(x, y, classes=[0, 1])
    w1, w2 = np.array([[0.1, 0.2], [0.3, 0.1], [0.5, 0.0]]), np.array([[0.1], [0.2]])
    b1, b2 = np.array([0.1, 0.1]), np.array([1.0])
    estimator.coefs_, estimator.intercepts_ = [w1, w2], [b1, b2]
    estimator.partial_fit(x, y)
    h = expit(x @ w1 + b1)
    delta2 = expit(h @ w2 + b2) - y[:, None]
    delta1 = delta2 @ w2.T * h * (1 - h)
    assert_allclose(estimator.coefs_[0], w1 - 0.1 * (x.T @ delta1 + 0.1 * w1))
    assert_allclose(estimator.coefs_[1], w2 - 0.1 * (h.T @ delta2 + 0.1 * w2))
    assert_allclose(estimator.intercepts_[0], b1 - 0.1 * delta1[0])
    assert_allclose(estimator.intercepts_[1], b2 - 0.1 * delta2[0])


# ---- what is learned ---------------------------------------------------------------------------


def test_a_larger_penalty_leaves_smaller_weights() -> None:
    sizes = [
        [
            abs(w).sum()
            for w in FCNClassifier(10, alpha=alpha, random_state=1).fit(*digits(2)).coefs_
        ]
        for alpha in (0.0, 1.0)
    ]
    assert all(small < large for large, small in zip(*sizes, strict=True))


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_several_labels_at_once(solver: str) -> None:
    x, y = several_labels()
    estimator = FCNClassifier(
        50, "logistic", solver=solver, alpha=1e-5, learning_rate_init=0.5, random_state=0
    )
    if solver == "lbfgs":
        estimator.fit(x, y)
    else:
        for _ in range(150):
            estimator.partial_fit(x, y, classes=range(4))
    assert estimator.score(x, y) > 0.9
    assert estimator.out_activation_ == "logistic"
    p = estimator.predict_proba(x)
    assert_array_equal(p > 0.5, estimator.predict(x))
    assert abs(p.sum(axis=1) - 1.0).max() > 0.1
    FCNClassifier(early_stopping=True, max_iter=5).fit(x, y)


@pytest.mark.parametrize("form", [csr_matrix, csc_array])
def test_sparse_labels_give_sparse_labels(form: Any) -> None:
    x, y = several_labels()
    dense, sparse = (
        FCNClassifier(5, max_iter=30, random_state=0).fit(x, given) for given in (y, form(y))
    )
    predicted = sparse.predict(x)
    assert issparse(predicted)
    assert_array_equal(predicted.toarray(), dense.predict(x))
    assert sparse.score(x, form(y)) == dense.score(x, y)


def test_several_outputs() -> None:
    data = line(targets=5)
    estimator = FCNRegressor(hidden_layer_sizes=50, solver="lbfgs", tol=1e-2, random_state=1).fit(
        *data
    )
    assert estimator.score(*data) > 0.85
    predicted = estimator.predict(data[0])
    assert predicted.shape == (200, 5)
    penalty = 1e-4 / 2 / 200 * sum((w**2).sum() for w in estimator.coefs_)
    assert estimator.loss_ == pytest.approx(((predicted - data[1]) ** 2).mean() / 2 + penalty)


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities(classes: int) -> None:
    x, y = digits(classes, 50)
    estimator = FCNClassifier(5, "logistic", solver="lbfgs", random_state=1).fit(x, y)
    p = estimator.predict_proba(x)
    assert p.shape == (50, classes)
    assert_allclose(p.sum(axis=1), 1.0)
    assert_allclose(estimator.predict_log_proba(x), np.log(p))
    assert_array_equal(p.argmax(axis=1), estimator.predict(x))
    if classes == 2:
        assert roc_auc_score(y, p[:, 1]) == 1.0


@pytest.mark.parametrize("seed", [0, 1])
def test_poisson_loss_without_a_hidden_layer_is_the_linear_model(seed: int) -> None:
    x, y = counts(100)
    linear = PoissonRegressor(alpha=0, tol=1e-7).fit(x, y)
    options = {"alpha": 0, "solver": "lbfgs", "tol": 1e-7, "random_state": seed}
    for sizes in ((), (1,)):
        ours = FCNRegressor("poisson", sizes, "identity", **options).fit(x, y)
        assert_allclose(ours.predict(x), linear.predict(x), rtol=1e-4)


def test_the_order_of_the_rows_matters_and_is_the_seeds() -> None:
    x, y = line(50)

    def weights(shuffle: bool) -> Any:
        options = {"max_iter": 1, "batch_size": 1, "random_state": 0, "shuffle": shuffle}
        return FCNRegressor(hidden_layer_sizes=1, **options).fit(x, y).coefs_[0]

    for shuffle in (True, False):
        assert_array_equal(weights(shuffle), weights(shuffle))
    assert not np.array_equal(weights(True), weights(False))


# ---- precision ---------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_networks_precision_is_the_datas(dtype: Any, solver: str, kind: Any) -> None:
    x, y = digits(3)
    estimator = kind(hidden_layer_sizes=(5, 3), solver=solver, max_iter=5).fit(x.astype(dtype), y)
    assert {w.dtype for w in (*estimator.coefs_, *estimator.intercepts_)} == {np.dtype(dtype)}
    outputs = estimator.predict_proba(x) if kind is FCNClassifier else estimator.predict(x)
    assert outputs.dtype == dtype


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_both_precisions_learn_the_same(solver: str) -> None:
    x, y = digits(3)
    p64, p32 = (
        FCNClassifier((5, 3), solver=solver, random_state=1, max_iter=20)
        .fit(x.astype(dtype), y)
        .predict_proba(x)
        for dtype in (np.float64, np.float32)
    )
    assert_allclose(p32, p64, rtol=1e-2)
