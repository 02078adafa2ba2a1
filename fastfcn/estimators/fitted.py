"""What a fit leaves in an estimator: its network, its records, and what they give."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.validation import check_is_fitted, validate_data

from fastfcn.buffers import Array
from fastfcn.estimators.networks import build
from fastfcn.estimators.parameters import Parameters
from fastfcn.estimators.weights import Weights
from fastfcn.history import History
from fastfcn.losses import Loss
from fastfcn.nn.containers import Sequential
from fastfcn.optim import Optimizer
from fastfcn.prediction import predict

_DATA = {"accept_sparse": "csr", "dtype": (np.float64, np.float32)}


class Fitted(Parameters):
    """Fitted attributes, and what a subclass says of its targets."""

    network_: Sequential
    optimizer_: Optimizer
    history_: History
    out_activation_: str
    n_outputs_: int
    n_layers_: int
    n_iter_: int
    t_: int
    loss_: float
    loss_curve_: list[float]
    validation_scores_: list[float] | None
    validation_loss_curve_: list[float] | None
    best_loss_: float | None
    best_validation_score_: float | None
    stopped_: bool

    _random_state: np.random.RandomState
    _described: dict[str, Any]
    _best_state: dict[str, Array]
    _no_improvement_count: int
    _was_incremental: bool

    # What a subclass says of its targets ------------------------------------------------------

    def _checked(self, X: Any, y: Any, reset: bool, **kind: Any) -> tuple[Any, Any]:
        """Return data and targets as arrays or CSR, in the data's own precision."""
        X, y = validate_data(self, X, y, multi_output=True, reset=reset, **_DATA, **kind)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _encode(self, y: Any, incremental: bool) -> Array:
        """Check targets and return them as the loss takes them; learn the classes."""
        raise NotImplementedError

    def _outputs_of(self, target: Array) -> int:
        """Return the number of outputs that encoded targets need."""
        raise NotImplementedError

    def _row_weights(self, y: Any, sample_weight: Array | None, incremental: bool) -> Any:
        """Return the rows' weights, class weights among them."""
        return sample_weight

    def _criterion(self) -> Loss:
        """Return the loss to train with."""
        raise NotImplementedError

    def _reported(self, target: Array, weights: Any) -> Callable[[float], float]:
        """Return what turns a loss over weighted rows into what ``loss_curve_`` holds."""
        return float

    def _strata(self, target: Array, n_validation: int) -> Array | None:
        """Return what the validation split keeps the shares of."""
        return None

    def _score_encoded(self, output: Array, target: Array, sample_weight: Array | None) -> float:
        """Return the score of the network's outputs."""
        raise NotImplementedError

    # The network ------------------------------------------------------------------------------

    def _begin(self, X: Any, units: list[int]) -> None:
        """Make a new network and empty records."""
        layers = len(units) - 2
        self._random_state = check_random_state(self.random_state)
        self.n_outputs_, self.n_layers_ = units[-1], len(units)
        self.network_ = build(units, *self._hidden(layers), X.dtype, self._random_state)
        self._described = self._describe(units[1:-1])
        self.n_iter_ = self.t_ = 0
        self.loss_curve_ = []
        self.validation_scores_ = None
        self.validation_loss_curve_ = None
        self.best_loss_ = None if self._stops_early else np.inf
        self.best_validation_score_ = None
        self._no_improvement_count = 0
        self._was_incremental = False
        self.stopped_ = False
        if hasattr(self, "optimizer_"):
            del self.optimizer_

    def _check_unchanged(self, sizes: list[int]) -> None:
        """Raise where the parameters describe another network than the one to go on with."""
        old = [layer.out_features for layer in self.network_.linears[:-1]]
        was = {"hidden_layer_sizes": old, **self._described}
        now: dict[str, Any] = {"hidden_layer_sizes": sizes}
        if sizes == old:
            now |= self._describe(sizes)
        for name, value in now.items():
            if value != was[name]:
                raise ValueError(
                    f"{name} must stay as it was to go on training, {was[name]}, got {value}; "
                    "fit with warm_start=False for a new network"
                )

    def _check_weights(self) -> None:
        """Raise where training has left a weight that is NaN or infinite."""
        if not all(np.isfinite(p.copy()).all() for p in self.network_.parameters()):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large "
                "values and need to be preprocessed: scale them with StandardScaler, or lower "
                "learning_rate_init."
            )

    def _output(self, X: Any) -> Array:
        """Return the network's outputs, before the output activation."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **_DATA)
        output = predict(self.network_, X, n_threads=self.n_threads, check_finite=False)
        if not np.isfinite(output).all():
            raise ValueError(
                "the network's outputs must be finite, got NaN or infinity: its training diverged; "
                "scale the data with StandardScaler, or lower learning_rate_init, and fit again"
            )
        return output

    @property
    def coefs_(self) -> list[Array]:
        """Weight of each layer, (in, out): views, writable."""
        return Weights(layer.weight for layer in self._fitted_network.linears)

    @coefs_.setter
    def coefs_(self, values: Any) -> None:
        self.coefs_[:] = values

    @property
    def intercepts_(self) -> list[Array]:
        """Bias of each layer: views, writable."""
        return Weights(
            layer.bias for layer in self._fitted_network.linears if layer.bias is not None
        )

    @intercepts_.setter
    def intercepts_(self, values: Any) -> None:
        self.intercepts_[:] = values

    @property
    def _fitted_network(self) -> Sequential:
        network: Sequential | None = vars(self).get("network_")
        if network is None:
            raise AttributeError(
                f"{type(self).__name__} has no weights before it is fitted; call fit first"
            )
        return network
