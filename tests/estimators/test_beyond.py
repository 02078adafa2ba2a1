"""What scikit-learn's estimators do not have: in the network and in training."""

import re
from typing import Any

import numba
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import mean_poisson_deviance

from estimators.data import counts, digits, iris, line
from fastfcn import FCNClassifier, FCNRegressor, nn, optim, schedules
from fastfcn.callbacks import EarlyStopping, ReduceLROnPlateau

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SOLVERS = pytest.mark.parametrize("solver", ["sgd", "adam", "adamw", "rmsprop", "adagrad", "lbfgs"])


# ---- the network -----------------------------------------------------------------------------


def test_each_layer_may_have_an_activation_of_its_own() -> None:
    leaky = nn.LeakyReLU(0.3)
    estimator = FCNClassifier(
        (6, 5, 4), ["tanh", leaky, nn.GELU], max_iter=2, dropout=(0.0, 0.2, 0.0)
    ).fit(*iris())
    kinds = [type(layer).__name__ for layer in estimator.network_]
    assert kinds == [
        *("Linear", "Tanh"), *("Linear", "LeakyReLU", "Dropout"), *("Linear", "GELU"), "Linear",
    ]  # fmt: skip
    assert estimator.network_[3].negative_slope == 0.3
    assert estimator.network_[3] is not leaky


@pytest.mark.parametrize("name", ["leaky_relu", "elu", "gelu", "silu", "softplus", "sigmoid"])
def test_activations_go_by_name(name: str) -> None:
    estimator = FCNClassifier(20, name, solver="lbfgs", random_state=0).fit(*iris())
    assert estimator.score(*iris()) > 0.95


def test_dropout_is_of_training_alone_and_the_seeds() -> None:
    x, y = iris()
    options = {"hidden_layer_sizes": (20,), "max_iter": 20, "random_state": 0, "solver": "sgd"}
    one, again, none = (FCNClassifier(dropout=p, **options).fit(x, y) for p in (0.5, 0.5, 0.0))
    assert_array_equal(one.coefs_[0], again.coefs_[0])
    assert not np.array_equal(one.coefs_[0], none.coefs_[0])
    assert_array_equal(one.predict_proba(x), one.predict_proba(x))


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_normalization_comes_before_the_activation(kind: str) -> None:
    x, y = iris()
    estimator = FCNClassifier(
        (10,), normalization=kind, solver="sgd", learning_rate_init=0.05, random_state=0
    ).fit(100.0 * x, y)
    assert [type(layer).__name__ for layer in estimator.network_][1:3] == [
        {"batch": "BatchNorm1d", "layer": "LayerNorm"}[kind],
        "ReLU",
    ]
    assert estimator.score(100.0 * x, y) > 0.9


# ---- training --------------------------------------------------------------------------------


@SOLVERS
def test_every_solver_learns(solver: str) -> None:
    options = {"solver": solver, "learning_rate_init": 0.02, "random_state": 0}
    assert FCNClassifier(20, **options).fit(*iris()).score(*iris()) > 0.95


def test_adamw_decays_weights_apart_from_the_gradient() -> None:
    x, y = np.zeros((10, 3)), np.zeros(10)
    estimator = FCNRegressor(
        hidden_layer_sizes=(), solver="adamw", alpha=0.5, learning_rate_init=0.1, random_state=0,
        max_iter=1,
    )  # fmt: skip
    before = FCNRegressor(
        hidden_layer_sizes=(), solver="adamw", learning_rate_init=1e-9, random_state=0, max_iter=1
    ).fit(x, y)
    assert_allclose(estimator.fit(x, y).coefs_[0], before.coefs_[0] * (1 - 0.1 * 0.5))


def test_long_gradients_are_cut() -> None:
    x, y = line()
    options = {"solver": "sgd", "learning_rate_init": 1.0, "momentum": 0.0, "random_state": 0}
    options |= {"hidden_layer_sizes": (), "max_iter": 1, "alpha": 0.0}

    def first(**given: Any) -> Any:
        estimator = FCNRegressor(**options, **given).fit(x, y)
        return np.append(estimator.coefs_[0], estimator.intercepts_[0])

    start = FCNRegressor(**{**options, "learning_rate_init": 1e-12}).fit(x, y)
    begin = np.append(start.coefs_[0], start.intercepts_[0])
    assert np.linalg.norm(first() - begin) > 0.1
    assert np.linalg.norm(first(clip_norm=0.05) - begin) == pytest.approx(0.05)


def test_the_number_of_threads_changes_no_bit() -> None:
    x, y = digits(3)
    options = {"max_iter": 5, "random_state": 0}
    most = numba.config.NUMBA_NUM_THREADS
    for solver in ("sgd", "lbfgs"):
        one, several = (
            FCNClassifier(n_threads=n, solver=solver, **options).fit(x, y) for n in (1, most)
        )
        assert_array_equal(one.coefs_[0], several.coefs_[0])
        assert_array_equal(one.predict_proba(x), several.predict_proba(x))
    with pytest.raises(ValueError, match="n_threads must be between 1 and"):
        FCNClassifier(n_threads=most + 1, solver="lbfgs").fit(x, y)


def test_callbacks_see_the_run() -> None:
    class Watch:
        epochs = 0

        def on_epoch_end(self, run: Any) -> None:
            self.epochs += 1
            if self.epochs == 3:
                run.stop("seen enough")

    watch = Watch()
    estimator = FCNClassifier(callbacks=[watch], max_iter=50).fit(*iris())
    assert watch.epochs == estimator.n_iter_ == 3
    assert estimator.history_.stop_reason == "seen enough"


def test_callbacks_may_watch_the_validation_loss() -> None:
    x, y = iris()
    stopping = EarlyStopping(monitor="val_loss", patience=3)
    estimator = FCNClassifier(
        callbacks=[stopping], learning_rate_init=0.1, solver="sgd", max_iter=500, random_state=0
    ).fit(x[::2], y[::2], X_val=x[1::2], y_val=y[1::2])
    assert estimator.n_iter_ < 500
    assert min(estimator.validation_loss_curve_) == pytest.approx(stopping.best)


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
@pytest.mark.parametrize("kind", [FCNClassifier, FCNRegressor])
def test_scores_and_losses_of_a_validation_set_that_is_given(kind: Any, solver: str) -> None:
    x, y = iris()
    weight = np.random.default_rng(0).uniform(size=75)
    estimator = kind(solver=solver, max_iter=20, random_state=0)
    estimator.fit(x[::2], y[::2], X_val=x[1::2], y_val=y[1::2], sample_weight_val=weight)
    assert len(estimator.validation_scores_) == len(estimator.validation_loss_curve_)
    assert len(estimator.validation_scores_) == estimator.n_iter_
    expected = estimator.score(x[1::2], y[1::2], sample_weight=weight)
    assert estimator.validation_scores_[-1] == pytest.approx(expected)
    assert estimator.best_loss_ is not None
    assert estimator.t_ == (0 if solver == "lbfgs" else 75 * estimator.n_iter_)


def test_a_validation_set_takes_the_place_of_the_split() -> None:
    x, y = iris()
    names = np.array(["a", "b", "c"])[y]
    estimator = FCNClassifier(
        early_stopping=True, solver="sgd", learning_rate_init=0.5, max_iter=300, random_state=0
    ).fit(x, names, X_val=x[::3], y_val=names[::3])
    assert estimator.t_ == 150 * estimator.n_iter_
    best = max(estimator.validation_scores_)
    assert estimator.score(x[::3], names[::3]) == best == estimator.best_validation_score_


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"X_val": [[0.0] * 4]}, "X_val and y_val must be passed together, got X_val alone"),
        ({"y_val": [0]}, "X_val and y_val must be passed together, got y_val alone"),
        ({"sample_weight_val": [1.0]}, "sample_weight_val needs X_val and y_val"),
        ({"X_val": [[0.0]], "y_val": [0]}, "X has 1 features, but FCNClassifier is expecting 4"),
        ({"X_val": [[0.0] * 4], "y_val": [7]}, "`y` has classes not in `self.classes_`"),
    ],
    ids=str,
)
def test_a_validation_set_that_does_not_fit_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        FCNClassifier(max_iter=1).fit(*iris(), **given)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_a_warm_start_keeps_the_optimisers_state(solver: str) -> None:
    x, y = iris()
    options = {"solver": solver, "shuffle": False, "random_state": 0}
    whole = FCNClassifier(10, max_iter=6, **options).fit(x, y)
    parts = FCNClassifier(10, max_iter=3, warm_start=True, **options).fit(x, y).fit(x, y)
    assert_array_equal(parts.coefs_[0], whole.coefs_[0])
    assert parts.optimizer_.steps == whole.optimizer_.steps
    assert len(parts.loss_curve_) == 6
    parts.set_params(learning_rate_init=0.5).fit(x, y)
    assert parts.optimizer_.lr == 0.5
    parts.set_params(solver="sgd" if solver == "adam" else "adam").fit(x, y)
    assert isinstance(parts.optimizer_, optim.Optimizer)


@pytest.mark.parametrize("given", [True, False], ids=["X_val", "split"])
def test_partial_fit_stops_early_and_gives_the_best_weights_back(given: bool) -> None:
    x, y = iris()
    estimator = FCNClassifier(
        (10,), early_stopping=True, n_iter_no_change=3, solver="sgd", learning_rate_init=0.3,
        random_state=0,
    )  # fmt: skip
    held = {"X_val": x[::3], "y_val": y[::3]} if given else {}
    for _ in range(200):
        estimator.partial_fit(x, y, classes=[0, 1, 2], **held)
        if estimator.stopped_:
            break
    assert estimator.stopped_
    if given:
        assert estimator.score(x[::3], y[::3]) == max(estimator.validation_scores_)
    before, t = estimator.coefs_[0].copy(), estimator.t_
    estimator.partial_fit(x, y, **held)
    assert_array_equal(estimator.coefs_[0], before)
    assert estimator.t_ == t


def test_partial_fit_goes_on_after_a_fit_that_stopped_early() -> None:
    x, y = iris()
    estimator = FCNClassifier((10,), early_stopping=True, tol=1.0, solver="sgd").fit(x, y)
    assert estimator.stopped_
    t = estimator.t_
    estimator.partial_fit(x, y)
    assert not estimator.stopped_
    assert estimator.t_ > t


def test_sparse_data_are_never_made_dense_as_a_whole() -> None:
    from scipy import sparse

    rng = np.random.default_rng(0)
    x = sparse.random_array((6000, 500_000), density=1e-5, rng=rng, format="csr")  # 24 GB dense
    y = rng.integers(0, 2, 6000)
    estimator = FCNClassifier((2,), solver="sgd", max_iter=1, n_threads=1).fit(x, y)
    assert estimator.predict(x).shape == (6000,)


def test_a_schedule_takes_the_learning_rates_place_and_goes_on_over_warm_starts() -> None:
    x, y = iris()
    halving = schedules.Exponential(0.5)
    options = {"solver": "sgd", "momentum": 0.0, "random_state": 0, "shuffle": False}
    whole = FCNClassifier(learning_rate=halving, max_iter=4, **options).fit(x, y)
    parts = FCNClassifier(learning_rate=halving, max_iter=2, warm_start=True, **options)
    assert_array_equal(parts.fit(x, y).fit(x, y).coefs_[0], whole.coefs_[0])
    assert_allclose(whole.history_.lr, [0.001, 0.0005, 0.00025, 0.000125])


def test_the_validation_loss_is_the_loss_on_those_rows() -> None:
    x, y = counts()
    estimator = FCNRegressor("poisson", max_iter=3, learning_rate_init=0.01, alpha=100.0)
    estimator.fit(x[::2], y[::2], X_val=x[1::2], y_val=y[1::2])
    half_deviance = mean_poisson_deviance(y[1::2], estimator.predict(x[1::2])) / 2
    assert estimator.validation_loss_curve_[-1] == pytest.approx(half_deviance)


def test_the_learning_rate_falls_where_the_loss_stays() -> None:
    estimator = FCNClassifier(
        callbacks=[ReduceLROnPlateau(factor=0.5, patience=2)], solver="sgd", tol=0.0,
        learning_rate_init=2.0, max_iter=60, random_state=0,
    )  # fmt: skip
    estimator.fit(*iris())
    assert estimator.optimizer_.lr < 2.0
