"""scikit-learn's own checks of estimators, with every solver; no failure is expected."""

from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastfcn import FCNClassifier, FCNRegressor

SOLVERS = ("adam", "sgd", "lbfgs", "adamw", "rmsprop", "adagrad")

# scikit-learn's checks warn by design: of convergence, of column vectors, of skipped checks.
pytestmark = pytest.mark.filterwarnings("ignore")


@parametrize_with_checks(
    [
        estimator(solver=solver, max_iter=100)
        for estimator in (FCNClassifier, FCNRegressor)
        for solver in SOLVERS
    ]
)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)
