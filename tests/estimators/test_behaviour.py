"""What scikit-learn's tests ask of its estimators, asked of ours."""

import re
import warnings
from typing import Any

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csc_array, csr_matrix, issparse
from scipy.special import expit
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import PoissonRegressor
from sklearn.metrics import roc_auc_score

from estimators.data import counts, digits, iris, line, several_labels
from fastfcn import FCNClassifier, FCNRegressor
from fastfcn.losses import CrossEntropyLoss
from fastfcn.schedules import Cosine

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BOTH = pytest.mark.parametrize("kind", [FCNClassifier, FCNRegressor])
ACTIVATIONS = pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
TWO_POINTS = np.array([[3.0, 2.0], [1.0, 6.0]]), np.array([1, 0])


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


# ---- what is learned -------------------------------------------------------------------------


def test_a_larger_penalty_leaves_smaller_weights() -> None:
    sizes = [
        [
            abs(w).sum()
            for w in FCNClassifier(10, alpha=alpha, random_state=1).fit(*digits(2)).coefs_
        ]
        for alpha in (0.0, 1.0)
    ]
    assert all(small < large for large, small in zip(*sizes, strict=True))


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


# ---- bit by bit ------------------------------------------------------------------------------


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


def test_the_order_of_the_rows_matters_and_is_the_seeds() -> None:
    x, y = line(50)

    def weights(shuffle: bool) -> Any:
        options = {"max_iter": 1, "batch_size": 1, "random_state": 0, "shuffle": shuffle}
        return FCNRegressor(hidden_layer_sizes=1, **options).fit(x, y).coefs_[0]

    for shuffle in (True, False):
        assert_array_equal(weights(shuffle), weights(shuffle))
    assert not np.array_equal(weights(True), weights(False))


# ---- when it stops ---------------------------------------------------------------------------


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


def test_the_adaptive_learning_rate_ends_below_a_millionth() -> None:
    estimator = FCNClassifier(tol=0.5, max_iter=3000, solver="sgd", learning_rate="adaptive")
    estimator.fit(*TWO_POINTS)
    assert estimator.n_iter_ < 3000
    assert estimator.optimizer_.lr < 1e-6


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


# ---- what goes wrong -------------------------------------------------------------------------


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


# ---- types -----------------------------------------------------------------------------------


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


@BOTH
def test_names_are_kept_when_rows_are_held_back(kind: Any) -> None:
    pd = pytest.importorskip("pandas")
    x = pd.DataFrame(np.random.default_rng(0).normal(size=(10, 2)), columns=["a", "b"])
    y = pd.Series(np.ones(10), name="y")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        kind(early_stopping=True, validation_fraction=0.2, max_iter=3).fit(x, y)


def test_verbose_prints_each_iteration(capsys: Any) -> None:
    estimator = FCNClassifier(2, solver="sgd", max_iter=2, verbose=10, early_stopping=False)
    estimator.fit(*TWO_POINTS).partial_fit(*TWO_POINTS)
    assert capsys.readouterr().out.count("Iteration") == 3
