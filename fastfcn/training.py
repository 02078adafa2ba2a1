"""Training and prediction: whole epochs in compiled code."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastfcn.buffers import Array
from fastfcn.callbacks.bar import ProgressBar
from fastfcn.callbacks.run import Hooks, TrainingRun
from fastfcn.epochs import ArrayEpochs, Data, Trainer, batch_order
from fastfcn.frame import Source, is_sparse, source
from fastfcn.history import Evaluation, History
from fastfcn.loop import run_fit
from fastfcn.losses import Loss
from fastfcn.metrics import share
from fastfcn.nn.containers import Module, Sequential
from fastfcn.optim import Optimizer
from fastfcn.plan import Plan
from fastfcn.threads import check_threads
from fastfcn.validation import (
    as_csr,
    as_int,
    as_matrix,
    as_order,
    as_real,
    as_weights,
    check_finite,
)
from fastfcn.workspace import Stage
from fastfcn_kernels.activations import CODES
from fastfcn_kernels.table import LINEAR


def fit(
    net: Module,
    x: Any,
    y: Any,
    *,
    loss: Loss,
    optimizer: Optimizer,
    batch_size: int = 32,
    epochs: int = 1,
    shuffle: bool | Callable[[int, int], Any] = True,
    validation_data: tuple[Any, ...] | None = None,
    sample_weight: Any = None,
    seed: int | None = None,
    scale: float = 1.0,
    shift: float = 0.0,
    check_finite: bool = True,
    n_threads: int | None = None,
    skip_zeros: bool = True,
    clip_norm: float | None = None,
    progress: bool = False,
    callbacks: Iterable[Any] = (),
) -> History:
    """Train a network, whole epochs in compiled code.

    Gives the same bits as the step-by-step loop over the same batches, for any number of threads.

    Parameters
    ----------
    net : Sequential or Module
        The network; a Module's ``forward`` must be its layers in order.
    x : array_like or sparse array (n, in_features)
        uint8, float32 and float64 are read as they lie: memory-mapped, strided, read-only. Other
        real types are converted to the network's first. SciPy's sparse arrays and matrices are
        used as CSR and never made dense.
    y : array_like (n,) or (n, K)
        Targets, as the loss takes them.
    loss : Loss
        From :mod:`fastfcn.losses`.
    optimizer : Optimizer
        Over the network's parameters, or some of them: the others stay as they are. Its state
        carries over from call to call.
    batch_size : int, default 32
        Rows a step, at most n. A smaller last batch is divided by its own size.
    epochs : int, default 1
        Passes over the data.
    shuffle : bool or callable, default True
        Whether each epoch takes the samples in an order of its own, see :func:`batch_order`; or
        ``shuffle(epoch, n)``, which returns an epoch's order, n row numbers.
    validation_data : (x, y) or (x, y, sample_weight), optional
        Evaluated after each epoch.
    sample_weight : array_like (n,), optional
        How many times each sample counts: in the loss and its mean, and in the history.
    seed : int, optional
        Of the batch order; drawn and kept in the history by default.
    scale, shift : float, default 1.0 and 0.0
        The network sees x·scale + shift: ``scale=1/255`` for images. Also for the validation data.
    check_finite : bool, default True
        Whether to refuse NaN and infinity in x.
    n_threads : int, optional
        Threads; by default as many as Numba is set to, fewer for small networks.
    skip_zeros : bool, default True
        Whether to leave out products with zeros of x where that saves time. The result is the same
        to the bit; False is for measuring what it brings.
    clip_norm : float, optional
        The gradients of a step are scaled down together where their 2-norm is above this.
    progress : bool, default False
        A progress bar on standard error; one line an epoch where that is no terminal. Short for
        :class:`fastfcn.callbacks.ProgressBar` among the callbacks.
    callbacks : iterable of objects, default ()
        What happens beside training, see :mod:`fastfcn.callbacks`.

    Returns
    -------
    History
        One entry an epoch.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit; the network is unchanged then.

    Warns
    -----
    RuntimeWarning
        Where the loss of an epoch is NaN or infinite. Training ends with that epoch; the history
        keeps its row.

    Examples
    --------
    >>> import numpy as np
    >>> from fastfcn import losses, nn, optim
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 2)).astype(np.float32)
    >>> y = (x[:, 0] * x[:, 1] > 0).astype(int)
    >>> net = nn.Sequential(nn.Linear(2, 16, rng=rng), nn.ReLU(), nn.Linear(16, 2, rng=rng))
    >>> sgd = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    >>> history = fit(net, x, y, loss=losses.CrossEntropyLoss(), optimizer=sgd, epochs=50, seed=0)
    >>> history.accuracy[-1] > 0.9
    True
    """
    plan = _plan_of(net, loss)
    if loss.reduction == "none":
        raise ValueError('reduction must be "mean", "batchmean" or "sum" to train on, got "none"')
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer must be one of fastfcn.optim, got {optimizer!r}")
    epochs = as_int(epochs, "epochs", 1)
    batch_size = as_int(batch_size, "batch_size", 1)
    check_threads(n_threads)
    if clip_norm is not None and not as_real(clip_norm, "clip_norm") > 0.0:
        raise ValueError(f"clip_norm must be above 0 or None, got {clip_norm}")
    names = ("x", "y", "sample_weight")
    data = _checked_data(plan, (x, y, sample_weight), loss, scale, shift, check_finite, names)
    n = data.source.rows
    if batch_size > n:
        raise ValueError(f"batch_size must be at most the number of samples, {n}, got {batch_size}")
    validation = None
    if validation_data is not None:
        if not isinstance(validation_data, tuple | list) or len(validation_data) not in (2, 3):
            raise TypeError("validation_data must be (x, y) or (x, y, sample_weight)")
        given = (*validation_data, None)[:3]
        names = ("validation x", "validation y", "validation sample_weight")
        validation = _checked_data(plan, given, loss, scale, shift, check_finite, names)
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
    history = History(seed=as_int(seed, "seed", 0))
    _check_chain(net, data.source)

    def make(data: Data, rows: int) -> Trainer:
        return Trainer(
            net, plan, data, loss, optimizer, rows, n_threads, skip_zeros, clip_norm, history.seed
        )

    def order(epoch: int) -> Array:
        if callable(shuffle):
            return as_order(shuffle(epoch, n), n)
        return batch_order(history.seed, epoch, n, shuffle)

    def validate() -> Evaluation:
        assert validation is not None
        return _evaluate(plan, validation, loss, n_threads)

    feed = ArrayEpochs(make, data, batch_size, order)
    hooks = Hooks((ProgressBar(), *callbacks) if progress else callbacks)
    run = TrainingRun(net, optimizer, loss, history, epochs)
    run_fit(run, hooks, feed, None if validation is None else validate)
    return history


def predict(
    net: Module,
    x: Any,
    *,
    scale: float = 1.0,
    shift: float = 0.0,
    n_threads: int | None = None,
    check_finite: bool = True,
) -> Array:
    """Return the network's outputs for any number of rows.

    A row's output is the same bits alone and in any batch.

    Parameters
    ----------
    net : Sequential or Module
        The network; a Module's ``forward`` must be its layers in order.
    x : array_like (n, in_features)
        As in :func:`fit`.
    scale, shift : float, default 1.0 and 0.0
        As in :func:`fit`.
    n_threads : int, optional
        As in :func:`fit`.
    check_finite : bool, default True
        Whether to refuse NaN and infinity in x.

    Returns
    -------
    ndarray (n, out_features)
        In the network's precision.

    Examples
    --------
    >>> import numpy as np
    >>> from fastfcn import nn
    >>> predict(nn.Sequential(nn.Linear(4, 3)), np.zeros((5, 4), np.uint8)).shape
    (5, 3)
    """
    plan = _plan_of(net, None)
    check_threads(n_threads)
    data = _checked_source(plan, x, scale, shift, check_finite and is_sparse(x), "x")
    _check_chain(net, data)
    return _outputs(plan, data, n_threads, check_finite)


def predict_proba(
    net: Module,
    x: Any,
    *,
    scale: float = 1.0,
    shift: float = 0.0,
    n_threads: int | None = None,
    check_finite: bool = True,
) -> Array:
    """Return class probabilities: the softmax of each row's outputs.

    A network with one output gives (1 - p, p) with p its sigmoid. Outputs of a network that ends in
    Softmax are returned as they are, those of one that ends in Sigmoid too, unless it is a single
    one. Parameters as :func:`predict`.

    Returns
    -------
    ndarray (n, K)
        In the network's precision.

    Examples
    --------
    >>> import numpy as np
    >>> from fastfcn import nn
    >>> p = predict_proba(nn.Sequential(nn.Linear(4, 3)), np.zeros((5, 4)))
    >>> bool(np.allclose(p.sum(axis=1), 1.0))
    True
    """
    plan = _plan_of(net, None)
    check_threads(n_threads)
    data = _checked_source(plan, x, scale, shift, check_finite and is_sparse(x), "x")
    _check_chain(net, data)
    last = type(net.layers[-1]).__name__
    if plan.stages[-1].out_features == 1:
        if last == "Sigmoid":
            p = _outputs(plan, data, n_threads, check_finite)
        else:
            p = _outputs(_with_last(plan, "sigmoid"), data, n_threads, check_finite)
        return np.hstack([1 - p, p])
    if last not in ("Softmax", "Sigmoid"):
        plan = _with_last(plan, "softmax")
    return _outputs(plan, data, n_threads, check_finite)


def evaluate(
    net: Module,
    x: Any,
    y: Any,
    *,
    loss: Loss,
    sample_weight: Any = None,
    scale: float = 1.0,
    shift: float = 0.0,
    n_threads: int | None = None,
    check_finite: bool = True,
) -> Evaluation:
    """Return loss and accuracy on a data set.

    Parameters
    ----------
    net, x, scale, shift, n_threads, check_finite
        As :func:`predict`.
    y : array_like (n,) or (n, K)
        Targets, as the loss takes them.
    loss : Loss
        From :mod:`fastfcn.losses`.
    sample_weight : array_like (n,), optional
        How many times each sample counts, in the loss and in the accuracy.

    Returns
    -------
    Evaluation
        ``loss`` and ``accuracy``; accuracy is None for losses without class labels.

    Examples
    --------
    >>> import numpy as np
    >>> from fastfcn import losses, nn
    >>> net = nn.Sequential(nn.Linear(2, 2, init=nn.init.Zeros(), bias_init=nn.init.Zeros()))
    >>> evaluate(net, np.zeros((4, 2)), [0, 0, 0, 1], loss=losses.CrossEntropyLoss()).accuracy
    0.75
    """
    plan = _plan_of(net, loss)
    check_threads(n_threads)
    names = ("x", "y", "sample_weight")
    data = _checked_data(plan, (x, y, sample_weight), loss, scale, shift, check_finite, names)
    _check_chain(net, data.source)
    return _evaluate(plan, data, loss, n_threads)


def _plan_of(net: Module, loss: Loss | None) -> Plan:
    """Return the plan of a network that the loss fits."""
    if not isinstance(net, Module):
        raise TypeError(f"net must be a fastfcn.nn network, got {net!r}; wrap layers in Sequential")
    plan = net.plan()
    if loss is not None:
        if not isinstance(loss, Loss):
            raise TypeError(
                f"loss must be a loss of fastfcn.losses, got {loss!r}; make one with ()"
            )
        loss.check_network(type(net.layers[-1]).__name__, plan.stages[-1].out_features)
    return plan


def _checked_source(
    plan: Plan, x: Any, scale: float, shift: float, finite: bool, name: str
) -> Source:
    scale, shift = as_real(scale, "scale"), as_real(shift, "shift")
    features = plan.stages[0].in_features
    if not is_sparse(x):
        array = as_matrix(x, name, features, plan.flattens)
        if finite:
            check_finite(array, name, plan.dtype)
        return source(array, plan.dtype, scale, shift)
    if plan.stages[0].kind != LINEAR:
        raise ValueError(f"the first layer must be Linear for sparse {name}; pass {name}.toarray()")
    if shift != 0.0:
        raise ValueError(f"shift must be 0 for sparse {name}, got {shift}: it would fill the zeros")
    rows = as_csr(x, name, features)
    if finite:
        check_finite(rows.data, f"{name}.data", plan.dtype)
    return source(rows, plan.dtype, scale, shift)


def _outputs(plan: Plan, data: Source, n_threads: int | None, finite: bool) -> Array:
    """Return the outputs; the kernels tell whether the data were finite, and Python says where."""
    outputs, was_finite = plan.predict(data, n_threads)
    if finite and not was_finite:
        check_finite(data.array, "x", plan.dtype)
    return outputs


def _checked_data(
    plan: Plan,
    given: tuple[Any, ...],
    loss: Loss,
    scale: float,
    shift: float,
    finite: bool,
    names: tuple[str, str, str],
) -> Data:
    x, y, sample_weight = given
    data = _checked_source(plan, x, scale, shift, finite, names[0])
    n = data.rows
    target = np.asarray(y)
    if target.ndim == 0 or len(target) != n:
        raise ValueError(
            f"{names[0]} and {names[1]} must have one length, got {n} and "
            f"{len(target) if target.ndim else 'a scalar'}"
        )
    targets = loss.targets(target, n, plan.stages[-1].out_features, plan.dtype)
    if sample_weight is not None:
        weights = as_weights(sample_weight, n, names[2])
        if not weights.any():
            raise ValueError(f"{names[2]} must be above 0 for at least one row, got zeros only")
        targets = targets._replace(weights=weights)
    return Data(data, targets, bool(targets.labels.size))


def _check_chain(net: Module, data: Source) -> None:
    """Raise where a network's own forward is not its layers in order, which is what kernels run."""
    if type(net).forward is Sequential.forward:
        return
    dtype = net.plan().dtype
    sample = data.first_rows(2, net.plan().stages[0].in_features).astype(dtype) * dtype.type(
        data.scale
    ) + dtype.type(data.shift)
    expected, _ = net.plan().predict(source(sample, dtype), 1)
    with net.evaluating():
        got = net.forward(sample)
    if not np.array_equal(got, expected, equal_nan=True):
        raise ValueError(
            f"{net.name}.forward must be its layers in the order of add_layers to run compiled, "
            "and gives something else; train it step by step"
        )


def _evaluate(plan: Plan, data: Data, loss: Loss, n_threads: int | None) -> Evaluation:
    outputs, _ = plan.predict(data.source, n_threads)
    targets = data.targets
    wanted = targets.labels if targets.labels.size else targets.values
    weights = targets.weights if targets.weights.size else None
    value = float(np.sum(loss(outputs, wanted, weights)))
    if not data.accuracy:
        return Evaluation(value, None)
    right = outputs.argmax(axis=1) == targets.labels
    return Evaluation(value, share(right, loss.counts(targets)))


def _with_last(plan: Plan, activation: str) -> Plan:
    """Return a plan with one more activation at its end."""
    features = plan.stages[-1].out_features
    last = Stage(features, features, activation=CODES[activation])
    return Plan((*plan.stages, last), plan.buffer, plan.dtype)
