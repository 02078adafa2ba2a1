"""scikit-learn's own checks of estimators, with every solver; no failure is expected."""

from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastfcn import FCNClassifier, FCNRegressor

# scikit-learn's checks warn by design: of convergence, of column vectors, of skipped checks.
pytestmark = pytest.mark.filterwarnings("ignore")


def estimators(*solvers: str) -> list[Any]:
    kinds = (FCNClassifier, FCNRegressor)
    return [kind(solver=solver, max_iter=100) for kind in kinds for solver in solvers]


@parametrize_with_checks(estimators("adam", "sgd", "lbfgs"))
def test_checks_with_scikit_learns_solvers(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(estimators("adamw", "rmsprop", "adagrad"))
def test_checks_with_our_solvers(estimator: Any, check: Any) -> None:
    check(estimator)
