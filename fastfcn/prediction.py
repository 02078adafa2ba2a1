"""What a network makes of data: outputs, probabilities, loss and accuracy."""

from typing import Any

import numpy as np

from fastfcn.buffers import Array
from fastfcn.data import Data, Intake, checked_source
from fastfcn.frame import Source, is_sparse, source
from fastfcn.history import Evaluation
from fastfcn.intake import columns_of
from fastfcn.losses import Loss
from fastfcn.metrics import share
from fastfcn.nn.containers import Module, Sequential
from fastfcn.plan import Plan
from fastfcn.streams import Stream, arrays_or_stream, evaluate_stream
from fastfcn.threads import check_threads
from fastfcn.validation import check_finite, described
from fastfcn.workspace import Stage
from fastfcn_kernels.activations import CODES


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
    x : array_like, frame or sparse array (n, in_features)
        Of any real type; uint8, float32 and float64 are read as they lie. Frames of pandas and
        polars must be numeric; SciPy's sparse arrays are never made dense.
    scale, shift : float, default 1.0 and 0.0
        The network sees x·scale + shift: what :func:`fastfcn.fit` was given.
    n_threads : int, optional
        Threads; by default as many as Numba is set to, fewer for little work.
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
    return _outputs(net, plan_of(net, None), x, scale, shift, n_threads, check_finite)


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
    one.

    Parameters
    ----------
    net : Sequential or Module
        The network; a Module's ``forward`` must be its layers in order.
    x : array_like, frame or sparse array (n, in_features)
        Of any real type; uint8, float32 and float64 are read as they lie. Frames of pandas and
        polars must be numeric; SciPy's sparse arrays are never made dense.
    scale, shift : float, default 1.0 and 0.0
        The network sees x·scale + shift: what :func:`fastfcn.fit` was given.
    n_threads : int, optional
        Threads; by default as many as Numba is set to, fewer for little work.
    check_finite : bool, default True
        Whether to refuse NaN and infinity in x.

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
    plan = plan_of(net, None)
    last, single = type(net.layers[-1]).__name__, plan.stages[-1].out_features == 1
    if last != "Sigmoid" and (single or last != "Softmax"):
        plan = _with_last(plan, "sigmoid" if single else "softmax")
    p = _outputs(net, plan, x, scale, shift, n_threads, check_finite)
    return np.hstack([1 - p, p]) if single else p


def evaluate(
    net: Module,
    x: Any,
    y: Any = None,
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
    net : Sequential or Module
        The network; a Module's ``forward`` must be its layers in order.
    x : array_like, frame or sparse array (n, in_features), or what gives batches
        As :func:`fastfcn.fit` takes it: without y, a data loader or anything else that gives
        batches (x, y) or (x, y, sample_weight).
    y : array_like (n,) or (n, K), optional
        Targets, as the loss takes them; left out where x gives batches.
    loss : Loss
        From :mod:`fastfcn.losses`.
    sample_weight : array_like (n,), optional
        How many times each sample counts, in the loss and in the accuracy.
    scale, shift : float, default 1.0 and 0.0
        The network sees x·scale + shift: what :func:`fastfcn.fit` was given.
    n_threads : int, optional
        Threads; by default as many as Numba is set to, fewer for little work.
    check_finite : bool, default True
        Whether to refuse NaN and infinity in x.

    Returns
    -------
    Evaluation
        ``loss`` and ``accuracy``; accuracy is None for losses of numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from fastfcn import losses, nn
    >>> net = nn.Sequential(nn.Linear(2, 2, init=nn.init.Zeros(), bias_init=nn.init.Zeros()))
    >>> evaluate(net, np.zeros((4, 2)), [0, 0, 0, 1], loss=losses.CrossEntropyLoss()).accuracy
    0.75
    """
    plan = plan_of(net, loss)
    check_threads(n_threads)
    intake = Intake(plan, loss, scale, shift, check_finite)
    x, y, sample_weight = arrays_or_stream(x, y, sample_weight)
    if y is None:
        stream = Stream(x, intake.batch, 1, "x")
        check_chain(net, stream.first().source)
        return evaluate_stream(stream, 1, loss, lambda data: evaluated(data, intake, n_threads))
    data = intake.whole(x, y, sample_weight)
    check_chain(net, data.source)
    return evaluated(data, intake, n_threads)


def evaluated(data: Data, intake: Intake, n_threads: int | None) -> Evaluation:
    """Return loss and accuracy on some data."""
    loss = intake.loss
    outputs, _ = intake.plan.predict(data.source, n_threads)
    targets = data.targets
    wanted = targets.labels if targets.labels.size else targets.values
    weights = targets.weights if targets.weights.size else None
    value = float(np.sum(loss(outputs, wanted, weights)))
    if not data.accuracy:
        return Evaluation(value, None)
    return Evaluation(value, share(loss.right(outputs, targets), loss.counts(targets)))


def plan_of(net: Module, loss: Loss | None) -> Plan:
    """Return the plan of a network that the loss fits."""
    if not isinstance(net, Module):
        raise TypeError(f"net must be a fastfcn.nn network, got {net!r}; wrap layers in Sequential")
    plan = net.plan()
    if loss is not None:
        if not isinstance(loss, Loss):
            raise TypeError(
                "loss must be one of fastfcn.losses, as losses.CrossEntropyLoss() is, got "
                f"{described(loss)}"
            )
        loss.check_network(type(net.layers[-1]).__name__, plan.stages[-1].out_features)
    return plan


def _outputs(
    net: Module,
    plan: Plan,
    x: Any,
    scale: float,
    shift: float,
    n_threads: int | None,
    finite: bool,
) -> Array:
    """Return the outputs; the kernels tell whether the data were finite, and Python says where."""
    check_threads(n_threads)
    data = checked_source(plan, x, scale, shift, finite and is_sparse(x), "x")
    check_chain(net, data)
    outputs, was_finite = plan.predict(data, n_threads)
    if finite and not was_finite:
        check_finite(data.array, "x", plan.dtype, columns_of(x))
    return outputs


def check_chain(net: Module, data: Source) -> None:
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


def _with_last(plan: Plan, activation: str) -> Plan:
    """Return a plan with one more activation at its end."""
    features = plan.stages[-1].out_features
    last = Stage(features, features, activation=CODES[activation])
    return Plan((*plan.stages, last), plan.buffer, plan.dtype)
