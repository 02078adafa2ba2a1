"""Fitting: what classifier and regressor do alike."""

from typing import Any, Self

from sklearn.base import _fit_context
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight

from fastfcn.estimators.fitted import Fitted
from fastfcn.estimators.lbfgs import check_full_batch, fit_lbfgs
from fastfcn.estimators.networks import hidden_sizes
from fastfcn.estimators.rows import Rows, given_rows
from fastfcn.estimators.stochastic import fit_stochastic


class BaseFCN(Fitted):
    """Fitting: what :class:`FCNClassifier` and :class:`FCNRegressor` do alike."""

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train.

        Parameters
        ----------
        X : array-like or sparse (n, features)
            The data; float32 stays float32, other types become float64.
        y : array-like (n,) or (n, n_outputs)
            Numbers to predict, or labels of any type that sorts; for several labels at once a 0/1
            matrix.
        sample_weight : array-like (n,), optional
            Weights of the rows.
        X_val, y_val, sample_weight_val : as X, y and sample_weight, optional
            Rows to score after each epoch; with ``early_stopping`` they take the place of the
            split.

        Returns
        -------
        Self
            The estimator.
        """
        self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=False)
        return self

    @available_if(lambda estimator: estimator._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train one epoch on the given rows, from where the last call ended.

        Parameters
        ----------
        X, y, sample_weight, X_val, y_val, sample_weight_val
            As :meth:`fit`.

        Returns
        -------
        Self
            The estimator.
        """
        self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=True)
        return self

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        held_out: tuple[Any, Any, Any],
        incremental: bool,
    ) -> None:
        sizes = hidden_sizes(self.hidden_layer_sizes)
        if self.solver == "lbfgs":
            check_full_batch(self)
        first = not hasattr(self, "network_") or not (self.warm_start or incremental)
        X, y = self._checked(X, y, reset=first)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        target = self._encode(y, incremental)
        weights = self._row_weights(y, sample_weight, incremental)
        if weights is not None and not weights.any():
            raise ValueError("the rows' weights must be above 0 for at least one, got zeros only")
        if first:
            self._begin(X, [X.shape[1], *sizes, self._outputs_of(target)])
        else:
            self._check_unchanged(sizes)
        rows, validation = Rows(X, target, weights), given_rows(self, *held_out)
        if self.solver == "lbfgs":
            fit_lbfgs(self, rows, validation)
        else:
            fit_stochastic(self, rows, validation, incremental)
        self._check_weights()
