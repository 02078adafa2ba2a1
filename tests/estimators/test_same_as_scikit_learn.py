"""Trained like MLPClassifier and MLPRegressor: the same weights, to rounding.

A seed gives the initial weights, the split and the order of the rows that scikit-learn would take,
so whole trainings can be compared.
"""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import scale

from estimators.data import counts, digits, iris, line, several_labels
from fastfcn import FCNClassifier, FCNRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ACTIVATIONS = ("identity", "logistic", "tanh", "relu")


def pair(data: tuple[Any, Any], classifier: bool, **given: Any) -> tuple[Any, Any]:
    """Both libraries' estimators with the same parameters, fitted."""
    sample_weight = given.pop("sample_weight", None)
    parameters = {"hidden_layer_sizes": (9, 5), "random_state": 3, "max_iter": 10, **given}
    ours = (FCNClassifier if classifier else FCNRegressor)(**parameters)
    theirs = (MLPClassifier if classifier else MLPRegressor)(**parameters)
    return ours.fit(*data, sample_weight=sample_weight), theirs.fit(
        *data, sample_weight=sample_weight
    )


def check_same(ours: Any, theirs: Any, data: Any, rtol: float = 1e-6) -> None:
    for mine, its in zip(
        [*ours.coefs_, *ours.intercepts_], [*theirs.coefs_, *theirs.intercepts_], strict=True
    ):
        assert mine.dtype == its.dtype
        assert_allclose(mine, its, rtol=rtol, atol=rtol * 0.1)
    # The penalty is known before and after an epoch, not at each of its steps.
    assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-2)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert_array_equal(ours.predict(data[0]).shape, theirs.predict(data[0]).shape)
    assert_allclose(ours.score(*data), theirs.score(*data), atol=1e-6)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("name", ["binary", "multiclass", "multilabel", "regression", "outputs"])
def test_the_weights_are_scikit_learns(name: str, solver: str, activation: str) -> None:
    data = {
        "binary": lambda: digits(2),
        "multiclass": lambda: digits(3),
        "multilabel": several_labels,
        "regression": line,
        "outputs": lambda: line(targets=3),
    }[name]()
    classifier = name in ("binary", "multiclass", "multilabel")
    options = {"solver": solver, "activation": activation, "learning_rate_init": 0.01}
    ours, theirs = pair(data, classifier, batch_size=20, alpha=0.1, **options)
    check_same(ours, theirs, data)


@pytest.mark.parametrize(
    "options",
    [
        {"shuffle": False},
        {"momentum": 0.0},
        {"nesterovs_momentum": False},
        {"learning_rate": "invscaling", "power_t": 0.3},
        {"learning_rate": "adaptive", "tol": 0.1, "n_iter_no_change": 2, "max_iter": 30},
        {"solver": "adam", "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-9},
        {"tol": 0.05, "n_iter_no_change": 3, "max_iter": 60},
        {"hidden_layer_sizes": 7},
        {"hidden_layer_sizes": ()},
        {"alpha": 0.0, "batch_size": 1, "max_iter": 2},
    ],
    ids=str,
)
def test_the_options_do_what_they_do_in_scikit_learn(options: dict[str, Any]) -> None:
    parameters = {"solver": "sgd", "batch_size": 25, "learning_rate_init": 0.05, **options}
    ours, theirs = pair(digits(3), True, **parameters)
    check_same(ours, theirs, digits(3))
    assert ours.best_loss_ == pytest.approx(theirs.best_loss_, rel=5e-3)


@pytest.mark.parametrize("classifier", [True, False])
def test_early_stopping_holds_the_same_rows_back_and_gives_the_same_weights_back(
    classifier: bool,
) -> None:
    data = digits(2) if classifier else line()
    options = {"early_stopping": True, "max_iter": 40, "n_iter_no_change": 4}
    ours, theirs = pair(data, classifier, batch_size=20, learning_rate_init=0.02, **options)
    check_same(ours, theirs, data)
    assert_allclose(ours.validation_scores_, theirs.validation_scores_, rtol=1e-6)
    assert ours.best_validation_score_ == max(ours.validation_scores_)
    assert ours.best_loss_ is None


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("classifier", [True, False])
def test_rows_count_as_scikit_learn_counts_them(classifier: bool, solver: str) -> None:
    data = digits(3, 100) if classifier else line(100)
    weight = np.random.default_rng(0).uniform(0.0, 3.0, 100)
    # tanh: with ReLU a line search goes as far as where scikit-learn clips the loss.
    options = {"sample_weight": weight, "alpha": 1.0, "activation": "tanh"}
    ours, theirs = pair(data, classifier, solver=solver, **options)
    if solver == "lbfgs":
        assert_allclose(ours.loss_, theirs.loss_)
        assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-5, atol=1e-7)
    else:
        check_same(ours, theirs, data)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", ["binary", "multiclass", "multilabel", "regression"])
def test_lbfgs_takes_the_same_steps(name: str, activation: str) -> None:
    data = {
        "binary": lambda: digits(2),
        "multiclass": lambda: digits(3),
        "multilabel": several_labels,
        "regression": line,
    }[name]()
    ours, theirs = pair(
        data, name != "regression", solver="lbfgs", activation=activation, max_iter=3
    )
    assert_allclose(ours.loss_, theirs.loss_, rtol=1e-7)
    assert ours.n_iter_ == theirs.n_iter_
    assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_poisson_loss_is_half_the_deviance(solver: str) -> None:
    options = {"loss": "poisson", "solver": solver, "learning_rate_init": 0.01}
    weight = np.random.default_rng(0).uniform(size=200)
    ours, theirs = pair(counts(), False, sample_weight=weight, **options)
    assert ours.out_activation_ == "exp"
    assert_allclose(ours.loss_, theirs.loss_, rtol=1e-6)
    assert_allclose(ours.predict(counts()[0]), theirs.predict(counts()[0]), rtol=1e-5)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_float32_stays_float32(solver: str) -> None:
    x, y = digits(3)
    data = x.astype(np.float32), y
    ours, theirs = pair(data, True, solver=solver, batch_size=20)
    check_same(ours, theirs, data, rtol=1e-3)
    assert ours.predict_proba(data[0]).dtype == np.float32


def test_partial_fit_begins_like_scikit_learns() -> None:
    x, y = digits(3)
    options = {"hidden_layer_sizes": 6, "random_state": 1, "batch_size": 20, "solver": "sgd"}
    ours = FCNClassifier(**options).partial_fit(x, y, classes=[0, 1, 2])
    theirs = MLPClassifier(**options).partial_fit(x, y, classes=[0, 1, 2])
    check_same(ours, theirs, (x, y))


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.csc_array, sparse.csr_array])
@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_sparse_data_give_what_dense_data_give(form: Any, solver: str) -> None:
    x, y = digits(2, 60)
    options = {"solver": solver, "hidden_layer_sizes": 15, "random_state": 1, "max_iter": 20}
    dense = FCNClassifier(**options).fit(x, y)
    given = FCNClassifier(**options).fit(form(x), y)
    assert_allclose(given.coefs_[0], dense.coefs_[0], rtol=1e-6, atol=1e-9)
    assert_array_equal(given.predict(form(x)), dense.predict(x))


def test_a_smaller_last_batch_is_decayed_more_as_in_scikit_learn() -> None:
    ours, theirs = pair(iris(), True, batch_size=40, alpha=1.0, solver="sgd")
    check_same(ours, theirs, iris())


def test_the_warning_of_too_few_iterations_has_scikit_learns_words() -> None:
    with pytest.warns(ConvergenceWarning, match="Stochastic Optimizer: Maximum iterations"):
        FCNClassifier(max_iter=2).fit(*iris())


@pytest.mark.parametrize("load", [load_digits, load_breast_cancer, load_wine])
def test_as_many_new_rows_are_right_as_with_scikit_learn(load: Any) -> None:
    x, y = load(return_X_y=True)
    scores = []
    for seed in range(3):
        x_train, x_test, y_train, y_test = train_test_split(scale(x), y, random_state=seed)
        ours, theirs = pair((x_train, y_train), True, max_iter=40, random_state=seed)
        scores.append([ours.score(x_test, y_test), theirs.score(x_test, y_test)])
    mine, its = np.mean(scores, axis=0)
    assert abs(mine - its) < 0.01


def test_the_warning_of_a_large_batch_begins_with_scikit_learns_words() -> None:
    def warned(kind: Any) -> str:
        with pytest.warns(UserWarning, match="clipped") as caught:
            kind(batch_size=151, max_iter=1).fit(*iris())
        return str(next(each.message for each in caught if "clipped" in str(each.message)))

    assert warned(FCNClassifier).startswith(warned(MLPClassifier))
    assert warned(FCNClassifier).endswith("from 151 to 150")
