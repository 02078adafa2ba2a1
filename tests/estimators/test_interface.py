"""What scikit-learn's tools do with the estimators."""

import io
import pickle
from typing import Any

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from estimators.data import digits, iris, line
from fastfcn import FCNClassifier, FCNRegressor, losses, nn
from fastfcn.estimators.weights import Weights

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

PAIRS = [(FCNClassifier, MLPClassifier), (FCNRegressor, MLPRegressor)]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_every_parameter_is_there_with_its_default(ours: Any, theirs: Any) -> None:
    mine, its = ours().get_params(), theirs().get_params()
    assert {name: mine[name] for name in its} == its


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_every_method_and_fitted_attribute_is_there(ours: Any, theirs: Any) -> None:
    data = iris()
    for solver in ("adam", "lbfgs"):
        mine, its = (kind(solver=solver, max_iter=5).fit(*data) for kind in (ours, theirs))
        public = {name for name in dir(its) if not name.startswith("_")}
        if solver == "lbfgs":  # MLPRegressor has it there by oversight: MLPClassifier has not
            public -= {"partial_fit"}
        assert public <= set(dir(mine))
        for name in public:
            if name.endswith("_"):
                value = getattr(mine, name)
                assert isinstance(value, Weights) or isinstance(getattr(its, name), type(value))


def test_both_have_the_same_parameters_but_for_the_targets() -> None:
    classifier, regressor = FCNClassifier().get_params(), FCNRegressor().get_params()
    own = {"loss", "class_weight", "label_smoothing"}
    assert {k: v for k, v in classifier.items() if k not in own} == {
        k: v for k, v in regressor.items() if k != "loss"
    }


def test_positional_parameters_come_in_scikit_learns_order() -> None:
    assert FCNClassifier((3,), "tanh").activation == "tanh"
    assert FCNRegressor("poisson", (3,), "tanh").hidden_layer_sizes == (3,)


@pytest.mark.parametrize("kind", [FCNClassifier, FCNRegressor])
def test_a_copy_by_pickle_predicts_the_same_and_trains_on_to_the_same(kind: Any) -> None:
    x, y = iris()
    estimator = kind(max_iter=5, random_state=0, hidden_layer_sizes=(8,)).fit(x, y)
    written = io.BytesIO()
    joblib.dump(estimator, written)
    written.seek(0)
    for copy in (pickle.loads(pickle.dumps(estimator)), joblib.load(written)):
        assert_array_equal(copy.predict(x), estimator.predict(x))
        assert_array_equal(copy.partial_fit(x, y).coefs_[0], clone_of(estimator, x, y).coefs_[0])


def clone_of(estimator: Any, x: Any, y: Any) -> Any:
    """A copy, trained one epoch on."""
    return pickle.loads(pickle.dumps(estimator)).partial_fit(x, y)


def test_the_pickle_of_weights_is_of_plain_lists() -> None:
    coefs = pickle.loads(pickle.dumps(FCNClassifier(max_iter=2).fit(*iris()).coefs_))
    assert type(coefs) is list


def test_grid_search_over_what_is_ours_too() -> None:
    grid = {
        "hidden_layer_sizes": [(8,), (8, 4)],
        "activation": ["relu", nn.GELU()],
        "class_weight": [None, "balanced"],
    }
    search = GridSearchCV(
        FCNClassifier(solver="lbfgs", max_iter=20, random_state=0), grid, cv=2
    ).fit(*iris())
    assert search.best_score_ > 0.8
    assert "balanced" in [p["class_weight"] for p in search.cv_results_["params"]]


def test_cross_validation_in_two_processes_gives_what_one_gives() -> None:
    estimator = make_pipeline(
        StandardScaler(), FCNClassifier((8,), max_iter=20, random_state=0, learning_rate_init=0.05)
    )
    one = cross_val_score(estimator, *iris(), cv=3)
    assert_array_equal(cross_val_score(estimator, *iris(), cv=3, n_jobs=2), one)
    assert one.mean() > 0.8


def test_set_output_reaches_through_a_pipeline_and_names_are_kept() -> None:
    pd = pytest.importorskip("pandas")
    x, y = iris()
    frame = pd.DataFrame(x, columns=list("abcd"))
    estimator = make_pipeline(StandardScaler(), FCNClassifier((4,), max_iter=5, random_state=0))
    estimator.set_output(transform="pandas").fit(frame, y)
    assert list(estimator[-1].feature_names_in_) == list("abcd")
    with pytest.raises(ValueError, match="feature names"):
        estimator[-1].predict(frame[list("badc")])


def test_frames_of_polars_are_read_with_their_names() -> None:
    pl = pytest.importorskip("polars")
    x, y = iris()
    frame = pl.DataFrame(x, schema=list("abcd"))
    estimator = FCNClassifier((4,), max_iter=5, random_state=0).fit(frame, pl.Series(y))
    assert list(estimator.feature_names_in_) == list("abcd")
    plain = FCNClassifier((4,), max_iter=5, random_state=0).fit(x, y)
    assert_array_equal(estimator.predict(frame), plain.predict(x))


def test_the_html_page_names_it() -> None:
    assert "FCNClassifier" in FCNClassifier()._repr_html_()
    assert repr(FCNClassifier((3,), dropout=0.5)) == (
        "FCNClassifier(dropout=0.5, hidden_layer_sizes=(3,))"
    )


def test_clone_copies_parameters_and_nothing_fitted() -> None:
    estimator = FCNClassifier((4,), activation=[nn.LeakyReLU(0.2)], max_iter=2).fit(*iris())
    copy = clone(estimator)
    assert not hasattr(copy, "coefs_")
    assert copy.activation[0].negative_slope == 0.2


def test_targets_may_be_transformed() -> None:
    x, y = line()
    estimator = TransformedTargetRegressor(
        FCNRegressor(solver="lbfgs", random_state=0), transformer=StandardScaler()
    )
    assert estimator.fit(x, 1000.0 * y).score(x, 1000.0 * y) > 0.95


def test_coefs_are_the_networks_own_weights() -> None:
    x, y = iris()
    estimator = FCNClassifier((4,), max_iter=2).fit(x, y)
    estimator.coefs_[1][...] = 0.0
    estimator.intercepts_[1] = [0.0, 1.0, 0.0]
    assert set(estimator.predict(x)) == {1}
    estimator.coefs_ = [np.zeros_like(w) for w in estimator.coefs_]
    assert not any(w.any() for w in estimator.coefs_)
    assert isinstance(estimator.network_, nn.Sequential)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_partial_fit_is_there_for_solvers_that_take_batches(solver: str) -> None:
    assert hasattr(FCNClassifier(solver=solver), "partial_fit") == (solver != "lbfgs")


def test_labels_may_be_strings() -> None:
    x, y = digits(3)
    names = np.array(["zero", "one", "two"], dtype=object)[y]
    estimator = FCNClassifier((8,), early_stopping=True, max_iter=10, random_state=0).fit(x, names)
    assert list(estimator.classes_) == ["one", "two", "zero"]
    assert set(estimator.predict(x)) <= set(names)
    assert len(estimator.validation_scores_) == estimator.n_iter_


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_a_model_from_a_read_only_memory_map_learns_on(solver: str, tmp_path: Any) -> None:
    """As joblib's workers get models: training on used to write into the map, and crash."""
    data = iris()
    model = FCNClassifier((5,), solver=solver, max_iter=3, warm_start=True, random_state=0)
    model.fit(*data)
    joblib.dump(model, tmp_path / "model")
    loaded = joblib.load(tmp_path / "model", mmap_mode="r")
    # First, as the rest would end the process where it fails.
    assert all(parameter.data.flags.writeable for parameter in loaded.network_.parameters())
    assert loaded.optimizer_.state.flags.writeable
    again, other = (each.fit(*data).predict_proba(data[0]) for each in (loaded, model))
    assert_array_equal(again, other)


def test_as_many_weights_as_layers_are_assigned() -> None:
    classifier = FCNClassifier((5,), max_iter=1).fit(*iris())
    with pytest.raises(ValueError, match="must have 2 arrays, one a layer, got 3"):
        classifier.coefs_ = [*classifier.coefs_, np.zeros((3, 3))]


def test_sparse_targets_of_a_regression_are_refused() -> None:
    x, y = line()
    with pytest.raises(TypeError, match="y must be dense for a regression, got csr_matrix"):
        FCNRegressor().fit(x, csr_matrix(y.reshape(-1, 1)))


@pytest.mark.parametrize(
    ("loss", "shown"),
    [
        (losses.CrossEntropyLoss(), "CrossEntropyLoss()"),
        (losses.CrossEntropyLoss(label_smoothing=0.1), "CrossEntropyLoss(label_smoothing=0.1)"),
        (losses.CrossEntropyLoss([1.0, 2.0]), "CrossEntropyLoss(weight=[1.0, 2.0])"),
        (losses.HuberLoss(0.3, "batchmean"), "HuberLoss(delta=0.3, reduction='batchmean')"),
        (losses.MSELoss(half=True), "MSELoss(half=True)"),
        (losses.PoissonNLLLoss("sum"), "PoissonNLLLoss(reduction='sum')"),
    ],
    ids=str,
)
def test_a_search_tells_losses_apart(loss: Any, shown: str) -> None:
    assert repr(loss) == shown
    assert f"loss={shown}" in repr(FCNClassifier(loss=loss)).replace("\n", "")


def test_verbose_prints_each_iteration(capsys: Any) -> None:
    estimator = FCNClassifier(2, solver="sgd", max_iter=2, verbose=10, early_stopping=False)
    estimator.fit(*iris()).partial_fit(*iris())
    assert capsys.readouterr().out.count("Iteration") == 3
