"""Regression, scikit-learn's way."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import issparse
from scipy.special import xlogy
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import StrOptions

from fastfcn import losses
from fastfcn.buffers import Array
from fastfcn.estimators.base import BaseFCN
from fastfcn.estimators.outputs import activated


class FCNRegressor(RegressorMixin, BaseFCN):
    """Fully connected regressor with scikit-learn's interface: a superset of ``MLPRegressor``.

    Parameters
    ----------
    loss : str or Loss, default "squared_error"
        "squared_error" (half of it), "poisson" (half the deviance, with a log link, for y ≥ 0),
        "absolute_error", "huber" (``HuberLoss(delta=1)``), or an object of :mod:`fastfcn.losses`,
        whose reduction counts: ``reduction="batchmean"`` is scikit-learn's.
    hidden_layer_sizes, ..., callbacks
        As in :class:`FCNClassifier`. The score of ``early_stopping`` is R².

    Attributes
    ----------
    out_activation_ : {"identity", "exp", "logistic", "softmax"}
        From outputs to predictions, by the loss: "exp" for the poisson loss.
    network_, ..., history_
        As in :class:`FCNClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).uniform(-3, 3, size=(500, 1))
    >>> y = np.sin(X[:, 0])
    >>> regressor = FCNRegressor(
    ...     hidden_layer_sizes=(32, 32), activation="tanh", solver="lbfgs", random_state=0)
    >>> regressor.fit(X, y).score(X, y) > 0.99
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseFCN._parameter_constraints,
        "loss": [
            StrOptions({"squared_error", "poisson", "absolute_error", "huber"}),
            losses.Loss,
        ],
    }

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: Any = 0.0,
        normalization: str | None = None,
        clip_norm: float | None = None,
        n_threads: int | None = None,
        callbacks: Any = None,
    ) -> None:
        self._keep(locals())

    def _checked(self, X: Any, y: Any, reset: bool, **kind: Any) -> tuple[Any, Any]:
        if issparse(y):
            raise TypeError(
                f"y must be dense for a regression, got {type(y).__name__}; pass y.toarray()"
            )
        return super()._checked(X, y, reset, y_numeric=True, **kind)

    def _encode(self, y: Any, incremental: bool) -> Array:
        target = np.asarray(y).reshape(len(y), -1)
        if isinstance(self._criterion(), losses.PoissonNLLLoss) and (target < 0).any():
            raise ValueError(f"y must be at least 0 for the poisson loss, got {target.min()}")
        return target

    def _outputs_of(self, target: Array) -> int:
        return int(target.shape[1])

    def _criterion(self) -> losses.Loss:
        if isinstance(self.loss, losses.Loss):
            return self.loss
        if self.loss == "squared_error":
            return losses.MSELoss(half=True, reduction="batchmean")
        made: dict[str, type[losses.Loss]] = {
            "poisson": losses.PoissonNLLLoss,
            "absolute_error": losses.L1Loss,
            "huber": losses.HuberLoss,
        }
        return made[self.loss](reduction="batchmean")

    def _reported(self, target: Array, weights: Any) -> Callable[[float], float]:
        if self.loss == "squared_error":
            return lambda value: float(value) / self.n_outputs_
        if self.loss == "poisson":  # half the deviance, which is 0 at best
            rows = (xlogy(target, target) - target).sum(axis=1)
            least = float(np.average(rows, weights=weights))
            return lambda value: float(value) + least
        return float

    def _score_encoded(self, output: Array, target: Array, sample_weight: Array | None) -> float:
        predicted = activated(self.out_activation_, output)
        return float(r2_score(target, predicted, sample_weight=sample_weight))

    def predict(self, X: Any) -> Array:
        """Return predictions (n,), or (n, n_outputs) for several at once.

        Parameters
        ----------
        X : array-like or sparse (n, features)
            The data.
        """
        output = self._output(X)  # tells first whether there was a fit
        predicted = activated(self.out_activation_, output)
        return predicted[:, 0] if self.n_outputs_ == 1 else predicted

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
