"""Classification, scikit-learn's way."""

from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from sklearn.utils.metaestimators import available_if

from fastfcn import losses
from fastfcn.buffers import Array
from fastfcn.estimators.base import BaseFCN
from fastfcn.estimators.classes import learn_classes, tell_classes
from fastfcn.estimators.outputs import activated, as_probabilities
from fastfcn.validation import as_not_negative


class FCNClassifier(ClassifierMixin, BaseFCN):
    """Fully connected classifier with scikit-learn's interface: a superset of ``MLPClassifier``.

    Parameters up to ``max_fun`` have scikit-learn's names, defaults and meaning.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int, default (100,)
        Sizes of the hidden layers; () is logistic regression.
    activation : str, activation of :mod:`fastfcn.nn`, or a sequence of them, default "relu"
        Of the hidden layers: one for all, or one for each. Names: "identity", "logistic" (also
        "sigmoid"), "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus".
    solver : {"adam", "sgd", "lbfgs", "adamw", "rmsprop", "adagrad"}, default "adam"
        "lbfgs" goes through SciPy on all rows at once; the others train in batches.
    alpha : float, default 0.0001
        Strength of the L2 penalty alpha/2 Σ W² on the weights, not the biases, divided by the
        rows' weights in the batch. For "adamw" the decoupled decay: a step takes lr·alpha of W.
    batch_size : int or "auto", default "auto"
        Rows a step; "auto" is min(200, n).
    learning_rate : {"constant", "invscaling", "adaptive"} or schedule, default "constant"
        The names are for "sgd": "invscaling" is learning_rate_init / (t_ + 1)^power_t after each
        epoch, "adaptive" divides by 5 where training would stop and stops below 1e-6. A schedule
        of :mod:`fastfcn.schedules` serves every solver but "lbfgs".
    learning_rate_init : float, default 0.001
        Learning rate to begin with.
    power_t : float, default 0.5
        For "invscaling".
    max_iter : int, default 200
        Epochs; iterations of "lbfgs".
    shuffle : bool, default True
        Whether each epoch takes the rows in another order.
    random_state : int, RandomState or None, default None
        Of the initial weights, the validation split, the order of the rows, and dropout.
    tol : float, default 1e-4
        What counts as an improvement of the loss, or of the score with ``early_stopping``.
    verbose : bool or int, default False
        Whether to print each iteration's loss.
    warm_start : bool, default False
        Whether ``fit`` goes on with the weights and the optimiser's state of the last call.
    momentum : float, default 0.9
        For "sgd", in [0, 1).
    nesterovs_momentum : bool, default True
        For "sgd".
    early_stopping : bool, default False
        Whether to stop by the score on rows that are not trained on, and give back the weights
        that scored best. Those rows are a share of the given ones, with each class's share kept
        where it can be, or ``X_val`` and ``y_val``.
    validation_fraction : float, default 0.1
        That share.
    beta_1, beta_2 : float, default 0.9 and 0.999
        For "adam" and "adamw"; beta_2 also for "rmsprop".
    epsilon : float, default 1e-8
        For "adam", "adamw", "rmsprop" and "adagrad".
    n_iter_no_change : int, default 10
        Training stops after more than so many epochs in a row without an improvement.
    max_fun : int, default 15000
        Evaluations of the loss by "lbfgs".
    loss : "log_loss" or Loss, default "log_loss"
        Cross-entropy, or an object of :mod:`fastfcn.losses`: ``CrossEntropyLoss`` for more than two
        classes, or one over 0/1 targets, a column a class. ``BCEWithLogitsLoss`` takes outputs for
        logits; those of ``MSELoss`` and the like estimate the targets, and are cut to [0, 1] for
        probabilities. Its reduction counts: ``reduction="batchmean"`` is scikit-learn's.
    class_weight : dict, "balanced" or None, default None
        Weight of each class, by its label; "balanced" is inverse to the classes' frequencies. Rows
        that are not trained on carry such weights as well; given as ``X_val``, by their own
        frequencies.
    label_smoothing : float, default 0.0
        Share of each target, in [0, 1), that is spread evenly over the classes. For "log_loss".
    dropout : float or sequence of float, default 0.0
        Share of each hidden layer's outputs that a step leaves out: one for all or one for each.
    normalization : {"batch", "layer"} or None, default None
        Whether to normalise before each hidden activation: over the batch, or over each row.
    clip_norm : float or None, default None
        Longest gradient of a step.
    n_threads : int or None, default None
        Threads; by default what Numba is set to, fewer for small networks. Results do not depend
        on it.
    callbacks : list of objects or None, default None
        For :func:`fastfcn.fit`: see :mod:`fastfcn.callbacks`. An epoch of "lbfgs" is an iteration.

    Attributes
    ----------
    classes_ : ndarray
        Labels, sorted.
    network_ : fastfcn.nn.Sequential
        The network, which ends before the output activation.
    coefs_, intercepts_ : list of ndarray
        Weights (in, out) and biases, layer by layer. Views of the network's: writing into them,
        or assigning to an entry, changes the network.
    loss_ : float
        The last iteration's loss with its penalty.
    best_loss_ : float or None
        The smallest; None with ``early_stopping``.
    loss_curve_ : list of float
        The loss of every iteration.
    validation_scores_, validation_loss_curve_ : list of float or None
        Accuracy and loss on the rows that are not trained on, after each iteration; None without
        such rows.
    best_validation_score_ : float or None
        The best score; None without ``early_stopping``.
    stopped_ : bool
        Whether training ended because nothing improved. With ``early_stopping``, ``partial_fit``
        changes nothing any more then.
    n_iter_ : int
        Iterations of the last call.
    t_ : int
        Rows trained on, in all calls.
    n_features_in_, feature_names_in_
        As in all of scikit-learn.
    n_layers_, n_outputs_ : int
        Layers, input and output among them; outputs of the network.
    out_activation_ : {"softmax", "logistic", "identity", "exp"}
        From outputs to probabilities, by the loss.
    optimizer_ : fastfcn.optim optimiser
        With its state.
    history_ : fastfcn.History
        Of the last call: seconds, accuracy, why it stopped, and more.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> X, y = load_digits(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
    >>> classifier = FCNClassifier((64,), tol=1e-3, learning_rate_init=0.01, random_state=0)
    >>> classifier.fit(X_train, y_train).score(X_test, y_test) > 0.95
    True
    """

    classes_: Array
    _label_binarizer: Any

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseFCN._parameter_constraints,
        "loss": [StrOptions({"log_loss"}), losses.Loss],
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
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
        loss: Any = "log_loss",
        class_weight: Any = None,
        label_smoothing: float = 0.0,
        dropout: Any = 0.0,
        normalization: str | None = None,
        clip_norm: float | None = None,
        n_threads: int | None = None,
        callbacks: Any = None,
    ) -> None:
        self._keep(locals())

    @available_if(lambda estimator: estimator._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        classes: Any = None,
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
        classes : array-like, optional
            All labels that will ever come; needed in the first call.

        Returns
        -------
        Self
            The estimator.
        """
        tell_classes(self, y, classes)
        self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=True)
        return self

    def _check_loss(self) -> None:
        if self.label_smoothing and isinstance(self.loss, losses.Loss):
            raise ValueError(
                f"label_smoothing={self.label_smoothing} is for loss='log_loss', got "
                f"loss={self.loss!r}; give it to the loss: CrossEntropyLoss(label_smoothing=...)"
            )
        if isinstance(self.loss, losses.NLLLoss):
            raise ValueError(
                "loss must be over the outputs of a last Linear layer, got "
                f"{self.loss!r}, which is over log-probabilities; use CrossEntropyLoss"
            )

    def _encode(self, y: Any, incremental: bool) -> Array:
        self._check_loss()
        learn_classes(self, y, incremental)
        if self._multiclass:
            labels: Array = np.searchsorted(self.classes_, y).astype(np.int64)
            if isinstance(self._criterion(), losses.CrossEntropyLoss):
                return labels
            one_hot = np.zeros((len(labels), len(self.classes_)), np.int8)
            one_hot[np.arange(len(labels)), labels] = 1
            return one_hot
        target = np.asarray(self._label_binarizer.transform(y))
        smoothing = self.label_smoothing
        return target * (1 - smoothing) + smoothing / 2 if smoothing else target

    @property
    def _multiclass(self) -> bool:
        return bool(self._label_binarizer.y_type_ == "multiclass")

    def _outputs_of(self, target: Array) -> int:
        return len(self.classes_) if self._multiclass else int(target.shape[1])

    def _row_weights(self, y: Any, sample_weight: Array | None, incremental: bool) -> Any:
        if self.class_weight is None:
            return sample_weight
        if incremental and self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all labels at once and is not supported for "
                "partial_fit; pass the dict that sklearn.utils.class_weight.compute_class_weight "
                "gives for all of them"
            )
        one_label = self._label_binarizer.y_type_ in ("binary", "multiclass")
        if isinstance(self.class_weight, dict) and one_label:
            for label, weight in self.class_weight.items():
                as_not_negative(weight, f"class_weight[{label!r}]")
            # By all classes: these rows may lack some that the dictionary names.
            by_class = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
            weights = by_class[np.searchsorted(self.classes_, y)]
        else:
            weights = compute_sample_weight(self.class_weight, y)
        return weights if sample_weight is None else weights * sample_weight

    def _criterion(self) -> losses.Loss:
        if isinstance(self.loss, losses.Loss):
            return self.loss
        if self._multiclass:
            return losses.CrossEntropyLoss(
                label_smoothing=self.label_smoothing, reduction="batchmean"
            )
        return losses.BCEWithLogitsLoss(reduction="batchmean")

    def _strata(self, target: Array, n_validation: int) -> Array | None:
        target = self._labels(target)
        if target.ndim == 2:
            return target if target.shape[1] == 1 else None
        counts = np.bincount(target, minlength=len(self.classes_))
        counts = counts[counts > 0]
        enough = min(n_validation, len(target) - n_validation) >= len(counts)
        return target if enough and counts.min() > 1 else None

    def _labels(self, target: Array) -> Array:
        """Return encoded targets as class indices, where they are one class each of several."""
        return target.argmax(axis=1) if self._multiclass and target.ndim == 2 else target

    def _score_encoded(self, output: Array, target: Array, sample_weight: Array | None) -> float:
        if self._multiclass:
            predicted, wanted = output.argmax(axis=1), self._labels(target)
        else:
            predicted, wanted = self._probabilities(output) > 0.5, target > 0.5
        return float(accuracy_score(wanted, predicted, sample_weight=sample_weight))

    def _probabilities(self, output: Array) -> Array:
        """Return what outputs say of each class, in [0, 1]."""
        p = activated(self.out_activation_, output)
        if self.out_activation_ == "softmax":
            return p
        p = np.clip(p, 0.0, 1.0)
        return as_probabilities(p) if self._multiclass else p

    def predict(self, X: Any) -> Array:
        """Return labels, or a 0/1 matrix where there are several at once: CSR if fit's was sparse.

        Parameters
        ----------
        X : array-like or sparse (n, features)
            The data.
        """
        output = self._output(X)
        if self._multiclass:
            return np.asarray(self.classes_[output.argmax(axis=1)])
        p = self._probabilities(output)
        labels: Array = self._label_binarizer.inverse_transform(
            p[:, 0] if self.n_outputs_ == 1 else p
        )
        return labels

    def predict_proba(self, X: Any) -> Array:
        """Return probabilities (n, classes), in the order of ``classes_``.

        Parameters
        ----------
        X : array-like or sparse (n, features)
            The data.
        """
        p = self._probabilities(self._output(X))
        return np.hstack([1 - p, p]) if self.n_outputs_ == 1 else p

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of :meth:`predict_proba`; -inf where that rounds to 0.

        Parameters
        ----------
        X : array-like or sparse (n, features)
            The data.
        """
        p = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(p, out=p))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
