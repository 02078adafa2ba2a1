"""What classifier and regressor share."""

import warnings
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastfcn.buffers import Array
from fastfcn.estimators.convergence import Convergence, Records, Validation
from fastfcn.estimators.lbfgs import check_full_batch, fit_lbfgs
from fastfcn.estimators.networks import build, hidden_sizes, make_activation, per_layer
from fastfcn.estimators.solvers import STOCHASTIC, continued, make_optimizer
from fastfcn.estimators.weights import Weights
from fastfcn.history import History
from fastfcn.losses import Loss
from fastfcn.nn.activations import Activation
from fastfcn.nn.containers import Sequential
from fastfcn.optim import Optimizer
from fastfcn.prediction import predict
from fastfcn.training import fit
from fastfcn.workspace import flops_per_row

_positive = Interval(Real, 0, None, closed="neither")
_not_negative = Interval(Real, 0, None, closed="left")
_share = Interval(Real, 0, 1, closed="left")
_count = Interval(Integral, 1, None, closed="left")

WORTH_THREADS = 1e7
"""Floating-point operations of a step below which it runs on one thread, unless asked for more:
estimators often train in several processes at once, where a thread waits long for the others."""


class BaseFCN(BaseEstimator):
    """Validation, training and fitted attributes of :class:`FCNClassifier` and ``FCNRegressor``."""

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

    optimizer_: Optimizer
    history_: History
    loss_: float

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

    # What a subclass says of its targets ------------------------------------------------------

    def _out_activation(self) -> str:
        """Name what turns outputs into predictions."""
        raise NotImplementedError

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

    def _score_encoded(self, output: Array, validation: Validation) -> float:
        """Return the score of the network's outputs."""
        raise NotImplementedError

    # Training ---------------------------------------------------------------------------------

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
        self.out_activation_ = self._out_activation()
        weights = self._row_weights(y, sample_weight, incremental)
        if weights is not None and not weights.any():
            raise ValueError("the rows' weights must be above 0 for at least one, got zeros only")
        if first:
            self._begin(X, [X.shape[1], *sizes, self._outputs_of(target)])
        else:
            self._check_unchanged(sizes)
        validation = self._held_out(*held_out)
        if self.solver == "lbfgs":
            fit_lbfgs(self, X, target, weights, validation)
        else:
            self._fit_stochastic(X, target, weights, validation, incremental)
        if not all(np.isfinite(p.copy()).all() for p in self.network_.parameters()):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large "
                "values and need to be preprocessed: scale them with StandardScaler, or lower "
                "learning_rate_init."
            )

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

    def _check_unchanged(self, sizes: list[int]) -> None:
        """Raise where the parameters describe another network than the one to go on with."""
        old = [layer.out_features for layer in self.network_.linears[:-1]]
        was = {"hidden_layer_sizes": old, **self._described}
        now = {"hidden_layer_sizes": sizes}
        if sizes == old:
            now |= self._describe(sizes)
        for name, value in now.items():
            if value != was[name]:
                raise ValueError(
                    f"{name} must stay as it was to go on training, {was[name]}, got {value}; "
                    "fit with warm_start=False for a new network"
                )

    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """Return data and targets as arrays or CSR, in the data's own precision."""
        raise NotImplementedError

    def _checked_data(self, X: Any) -> Any:
        return validate_data(
            self,
            X,
            accept_sparse="csr",
            dtype=(np.float64, np.float32),
            reset=False,
        )

    def _begin(self, X: Any, units: list[int]) -> None:
        """Make a new network and empty records."""
        layers = len(units) - 2
        self._random_state = check_random_state(self.random_state)
        self.n_outputs_, self.n_layers_ = units[-1], len(units)
        self.network_: Sequential = build(
            units,
            *self._hidden(layers),
            X.dtype,
            self._random_state,
        )
        self._described = self._describe(units[1:-1])
        self.n_iter_ = self.t_ = 0
        self.loss_curve_: list[float] = []
        self.validation_scores_: list[float] | None = None
        self.validation_loss_curve_: list[float] | None = None
        self.best_loss_: float | None = None if self._stops_early else np.inf
        self.best_validation_score_: float | None = None
        self._no_improvement_count = 0
        self._was_incremental = False
        self.stopped_ = False
        if hasattr(self, "optimizer_"):
            del self.optimizer_

    @property
    def _stops_early(self) -> bool:
        return bool(self.early_stopping) and self.solver in STOCHASTIC

    def _held_out(self, X_val: Any, y_val: Any, sample_weight_val: Any) -> Validation | None:
        """Check a validation set that was passed in."""
        if (X_val is None) != (y_val is None):
            given = "X_val" if y_val is None else "y_val"
            raise ValueError(f"X_val and y_val must be passed together, got {given} alone")
        if X_val is None:
            if sample_weight_val is not None:
                raise ValueError("sample_weight_val needs X_val and y_val, got neither")
            return None
        X_val, y_val = self._checked(X_val, y_val, reset=False)
        if sample_weight_val is not None:
            sample_weight_val = _check_sample_weight(sample_weight_val, X_val)
        return Validation(X_val, self._encode(y_val, incremental=True), sample_weight_val)

    def _split(self, X: Any, target: Array, weights: Any) -> tuple[Any, Array, Any, Validation]:
        """Set a share of the rows aside."""
        n = X.shape[0]
        parts = train_test_split(
            X,
            target,
            np.ones(n) if weights is None else weights,
            random_state=self._random_state,
            test_size=self.validation_fraction,
            stratify=self._strata(target, int(np.ceil(n * self.validation_fraction))),
        )
        validation = Validation(parts[1], parts[3], None if weights is None else parts[5])
        if validation.x.shape[0] < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset, or pass X_val and y_val."
            )
        return parts[0], parts[2], None if weights is None else parts[4], validation

    def _fit_stochastic(
        self,
        X: Any,
        target: Array,
        weights: Any,
        validation: Validation | None,
        incremental: bool,
    ) -> None:
        if incremental and self._was_incremental and self.early_stopping and self.stopped_:
            return
        if self.early_stopping and validation is None:
            X, target, weights, validation = self._split(X, target, weights)
        n = X.shape[0]
        batch = self._batch_rows(n)
        self._make_optimizer(incremental)
        self._prepare_records(validation, incremental)
        convergence = Convergence(
            n, self, self._decay(n, batch, weights), self._reported(target, weights), validation
        )
        epochs = 1 if incremental else self.max_iter
        self._train(
            X, target, weights, validation, convergence,
            batch_size=batch,
            epochs=epochs,
            shuffle=_Orders(self._random_state) if self.shuffle else False,
            seed=self._random_state.randint(2**31) if self._draws else 0,
            n_threads=self._step_threads(batch),
            clip_norm=self.clip_norm,
            schedule=None if isinstance(self.learning_rate, str) else self.learning_rate,
        )  # fmt: skip
        if not incremental and self.history_.stop_reason is None:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({epochs}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=5,  # fit's caller, past scikit-learn's decorator
            )
        self.stopped_ = convergence.stopped
        if self.early_stopping and (self.stopped_ or not incremental):
            self.network_.load_state_dict(self._best_state)
            del self._best_state
        self.network_.eval()

    def _train(
        self,
        X: Any,
        target: Array,
        weights: Any,
        validation: Validation | None,
        records: Records,
        **options: Any,
    ) -> None:
        """Train until the end, or Ctrl-C; either way the last whole epoch is on record."""
        self.n_iter_, self.history_ = 0, History(stop_reason="not begun")
        try:
            fit(
                self.network_, X, target,
                loss=self._criterion(),
                optimizer=self.optimizer_,
                validation_data=validation,
                sample_weight=weights,
                check_finite=False,
                callbacks=[records, *(self.callbacks or ())],
                **options,
            )  # fmt: skip
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=6)

    def _record(self, validation: Validation, loss: float) -> None:
        """Write down how the rows did that are not trained on."""
        assert self.validation_scores_ is not None
        assert self.validation_loss_curve_ is not None
        output = predict(self.network_, validation.x, n_threads=self.n_threads, check_finite=False)
        finite = bool(np.isfinite(output).all())
        score = self._score_encoded(output, validation) if finite else float("nan")
        reported = self._reported(validation.target, validation.sample_weight)
        self.validation_scores_.append(score)
        self.validation_loss_curve_.append(reported(loss))
        if self.verbose:
            print(f"Validation score: {score:f}")

    def _step_threads(self, rows: int) -> int | None:
        """Return the threads for steps of so many rows: forward, back, and the gradient."""
        flops = 4.0 * rows * flops_per_row(self.network_.plan().stages)
        return 1 if self.n_threads is None and flops < WORTH_THREADS else self.n_threads

    @property
    def _draws(self) -> bool:
        """Whether training draws random numbers beside the order of the rows."""
        return bool(np.any(np.asarray(self.dropout) > 0))

    def _batch_rows(self, n: int) -> int:
        if self.batch_size == "auto":
            return min(200, n)
        if int(self.batch_size) > n:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                f"clipped: from {self.batch_size} to {n}",  # scikit-learn's words, for filters
                stacklevel=6,
            )
        return min(int(self.batch_size), n)

    def _decay(self, n: int, batch: int, weights: Any) -> float:
        """Return λ of the penalty λ/2 Σ W² in an epoch's loss: the mean of its steps'."""
        if self.solver == "adamw":
            return 0.0
        return float(self.alpha) * -(-n // batch) / float(n if weights is None else weights.sum())

    def _make_optimizer(self, incremental: bool) -> None:
        """Make the optimiser, or go on with the last one's state."""
        if hasattr(self, "optimizer_"):
            if incremental:
                return
            self.optimizer_ = continued(self.optimizer_, make_optimizer(self, self.network_))
        else:
            self.optimizer_ = make_optimizer(self, self.network_)
        if self.solver == "sgd" and self.learning_rate == "invscaling" and self.t_:
            self.optimizer_.lr = self.learning_rate_init / (self.t_ + 1) ** self.power_t

    def _prepare_records(self, validation: Validation | None, incremental: bool) -> None:
        """Begin the records that this training adds to, where they are not yet."""
        if validation is not None and self.validation_scores_ is None:
            self.validation_scores_, self.validation_loss_curve_ = [], []
        if self._stops_early:
            self.best_loss_ = None
            if self.best_validation_score_ is None or incremental > self._was_incremental:
                self.best_validation_score_, self._no_improvement_count = -np.inf, 0
            if not hasattr(self, "_best_state") or self.best_validation_score_ == -np.inf:
                self._best_state = self.network_.state_dict()
        elif self.best_loss_ is None:
            self.best_loss_ = np.inf
        self._was_incremental = incremental

    # Prediction -------------------------------------------------------------------------------

    def _output(self, X: Any) -> Array:
        """Return the network's outputs, before the output activation."""
        check_is_fitted(self)
        X = self._checked_data(X)
        return predict(self.network_, X, n_threads=self.n_threads, check_finite=False)

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

    def _check_solver(self) -> bool:
        """Tell scikit-learn whether there is a partial_fit."""
        if self.solver not in STOCHASTIC:
            raise AttributeError(
                f"partial_fit is only available for stochastic solvers, {list(STOCHASTIC)}, got "
                f"solver={self.solver!r}"
            )
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class _Orders:
    """The order of the rows in each epoch: scikit-learn's, each a shuffle of the last."""

    def __init__(self, random_state: np.random.RandomState) -> None:
        self._random_state = random_state
        self._order: Array | None = None

    def __call__(self, epoch: int, n: int) -> Array:
        drawn = np.arange(n)
        self._random_state.shuffle(drawn)
        self._order = drawn if self._order is None else self._order[drawn]
        return self._order
