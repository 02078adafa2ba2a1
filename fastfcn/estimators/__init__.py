"""scikit-learn's way to train: ``FCNClassifier`` and ``FCNRegressor``.

Everything of scikit-learn's ``MLPClassifier`` and ``MLPRegressor`` under the same names, and more;
see the guide's page for scikit-learn users.
"""

from fastfcn.estimators.classifier import FCNClassifier
from fastfcn.estimators.regressor import FCNRegressor

__all__ = ["FCNClassifier", "FCNRegressor"]
