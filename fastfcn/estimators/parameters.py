"""What an estimator is made with: its hyperparameters and what they may be."""

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions

from fastfcn.estimators.networks import make_activation, per_layer
from fastfcn.estimators.solvers import STOCHASTIC
from fastfcn.nn.activations import Activation

_positive = Interval(Real, 0, None, closed="neither")
_not_negative = Interval(Real, 0, None, closed="left")
_share = Interval(Real, 0, 1, closed="left")
_count = Interval(Integral, 1, None, closed="left")


class Parameters(BaseEstimator):
    """The hyperparameters that :class:`FCNClassifier` and :class:`FCNRegressor` share.

    scikit-learn reads their names and defaults from the constructor of the class itself, which
    therefore each of the two spells out; :class:`FCNClassifier` says what they mean.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        # scikit-learn's
        "hidden_layer_sizes": ["array-like", _count],
        "activation": "no_validation",  # names, classes and objects: make_activation tells
        "solver": [StrOptions({"lbfgs", *STOCHASTIC})],
        "alpha": [_not_negative],
        "batch_size": [StrOptions({"auto"}), _count],
        "learning_rate": [
            StrOptions({"constant", "invscaling", "adaptive"}),
            HasMethods("factors"),
        ],
        "learning_rate_init": [_positive],
        "power_t": [_not_negative],
        "max_iter": [_count],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [_not_negative],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [_share],
        "beta_1": [_share],
        "beta_2": [_share],
        "epsilon": [_positive],
        "n_iter_no_change": [_count, Options(Real, {np.inf})],
        "max_fun": [_count],
        # ours
        "dropout": [_share, "array-like"],
        "normalization": [StrOptions({"batch", "layer"}), None],
        "clip_norm": [_positive, None],
        "n_threads": [_count, None],
        "callbacks": [list, tuple, None],
    }

    hidden_layer_sizes: Any
    activation: Any
    loss: Any
    solver: str
    alpha: float
    batch_size: int | str
    learning_rate: Any
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: Any
    tol: float
    verbose: bool | int
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int
    dropout: Any
    normalization: str | None
    clip_norm: float | None
    n_threads: int | None
    callbacks: Any

    def _keep(self, given: dict[str, Any]) -> None:
        """Keep a constructor's arguments as they came, which is all that scikit-learn lets it do.

        Parameters
        ----------
        given : dict
            Its ``locals()``.
        """
        for name, value in given.items():
            if name != "self":
                setattr(self, name, value)

    @property
    def _stops_early(self) -> bool:
        return bool(self.early_stopping) and self.solver in STOCHASTIC

    @property
    def _draws(self) -> bool:
        """Whether training draws random numbers beside the order of the rows."""
        return bool(np.any(np.asarray(self.dropout) > 0))

    def _check_solver(self) -> bool:
        """Tell scikit-learn whether there is a partial_fit."""
        if self.solver not in STOCHASTIC:
            raise AttributeError(
                f"partial_fit is only available for stochastic solvers, {list(STOCHASTIC)}, got "
                f"solver={self.solver!r}"
            )
        return True

    def _hidden(self, layers: int) -> tuple[list[Activation], list[float], list[str | None]]:
        """Return what comes with each hidden layer: activation, dropout and normalization."""
        dropouts = [float(p) for p in per_layer(self.dropout, layers, "dropout")]
        if not all(0.0 <= p < 1.0 for p in dropouts):
            raise ValueError(f"dropout must be in [0, 1) for each layer, got {self.dropout!r}")
        given = per_layer(self.activation, layers, "activation")
        normalizations = per_layer(self.normalization, layers, "normalization")
        return [make_activation(each) for each in given], dropouts, normalizations

    def _describe(self, sizes: list[int]) -> dict[str, Any]:
        """Return what a network is made of, by the parameters' names."""
        activations, dropouts, normalizations = self._hidden(len(sizes))
        return {
            "activation": [repr(activation) for activation in activations],
            "dropout": dropouts,
            "normalization": normalizations,
        }

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
