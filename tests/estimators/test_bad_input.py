"""What goes wrong, and what is said of it."""

import re
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from estimators.data import iris, line
from fastfcn import FCNClassifier, FCNRegressor
from fastfcn.losses import CrossEntropyLoss, NLLLoss
from fastfcn.schedules import Cosine

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_weights_that_are_not_finite_are_refused() -> None:
    rng = np.random.default_rng(0)
    x = np.finfo(np.float64).max * rng.uniform(size=(10, 2))
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        FCNRegressor(solver="sgd").fit(x, rng.normal(size=10))


@pytest.mark.parametrize(("solver", "advice"), [("sgd", True), ("lbfgs", False)])
def test_a_diverging_run_is_told_what_its_solver_has(solver: str, advice: bool) -> None:
    x, y = line()
    with pytest.warns(RuntimeWarning, match="StandardScaler") as caught:
        try:
            FCNRegressor(solver=solver, max_iter=3, random_state=0).fit(x * 1e200, y)
        except ValueError as error:
            assert "non-finite parameter weights" in str(error)
    said = "".join(str(each.message) for each in caught)
    assert ("clip_norm" in said) == ("learning rate" in said) == advice


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_network_that_diverged_predicts_no_class() -> None:
    x, y = load_digits(return_X_y=True)
    diverged = FCNClassifier(
        8, solver="sgd", learning_rate_init=1e30, max_iter=5, random_state=0
    ).fit(x, y)
    for ask in (diverged.predict, diverged.predict_proba):
        with pytest.raises(ValueError, match="training diverged; scale the"):
            ask(x)


def test_callbacks_are_refused_by_their_places() -> None:
    with pytest.raises(TypeError, match=r"callbacks\[0\] must have at least one"):
        FCNClassifier(callbacks=["a"]).fit(*iris())


def test_a_diverging_run_that_stops_early_gives_its_best_weights_back() -> None:
    estimator = FCNRegressor(
        activation="identity", solver="sgd", learning_rate_init=1, early_stopping=True, max_iter=20,
        random_state=0,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        estimator.fit(*load_digits(return_X_y=True))
    assert type(estimator.validation_scores_[-1]) is float
    assert np.isfinite(estimator.predict(load_digits().data)).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": -1.0}, "'alpha' parameter of FCNClassifier must be a float in the range"),
        ({"solver": "newton"}, "'solver' parameter of FCNClassifier must be a str among"),
        ({"activation": "step"}, "activation must be one of"),
        ({"activation": ["relu", "tanh"]}, "activation must be one value or one for each of the 1"),
        ({"hidden_layer_sizes": (5, 0)}, "hidden_layer_sizes must be > 0"),
        ({"hidden_layer_sizes": (5, 2.5)}, "hidden_layer_sizes must be > 0"),
        ({"dropout": 1.0}, "'dropout' parameter of FCNClassifier must be"),
        ({"hidden_layer_sizes": (5, "a")}, "hidden_layer_sizes must be > 0"),
        ({"hidden_layer_sizes": ((5, 5),)}, "hidden_layer_sizes must be > 0"),
        ({"hidden_layer_sizes": (np.nan,)}, "hidden_layer_sizes must be > 0"),
        ({"dropout": [-0.1]}, "dropout must be in [0, 1) for each layer, got [-0.1]"),
        ({"dropout": [np.nan]}, "dropout must be in [0, 1) for each layer, got [nan]"),
        ({"clip_norm": 0.0}, "'clip_norm' parameter of FCNClassifier must be"),
        ({"label_smoothing": 1.5}, "'label_smoothing' parameter of FCNClassifier must be"),
        ({"loss": "hinge"}, "'loss' parameter of FCNClassifier must be"),
        ({"learning_rate": "fast"}, "'learning_rate' parameter of FCNClassifier must be"),
        ({"solver": "lbfgs", "dropout": 0.5}, "solver='lbfgs' needs dropout=0"),
        (
            {"solver": "lbfgs", "normalization": "batch"},
            "no batch normalization, as its loss must be a function of the weights alone",
        ),
        ({"solver": "lbfgs", "clip_norm": 1.0}, "solver='lbfgs' needs clip_norm=None"),
        ({"solver": "lbfgs", "learning_rate": Cosine()}, "and learning_rate=Cosine(final=0.0)"),
        ({"loss": NLLLoss()}, "got NLLLoss(), which is over log-probabilities; use CrossEntropy"),
        ({"verbose": "yes"}, "'verbose' parameter of FCNClassifier must be an int in the range"),
        ({"verbose": 2.5}, "'verbose' parameter of FCNClassifier must be an int in the range"),
        (
            {"label_smoothing": 0.1, "loss": CrossEntropyLoss()},
            "label_smoothing=0.1 is for loss='log_loss', got loss=CrossEntropyLoss(",
        ),
    ],
    ids=str,
)
def test_bad_parameters_are_named(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        FCNClassifier(**parameters).fit(*iris())


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="y must be at least 0 for the poisson loss, got -1"):
        FCNRegressor("poisson").fit([[0.0], [1.0]], [1.0, -1.0])
