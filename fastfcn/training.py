"""Training and prediction: whole epochs in compiled code."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastfcn.buffers import Array
from fastfcn.callbacks.bar import ProgressBar
from fastfcn.callbacks.run import Hooks, TrainingRun
from fastfcn.data import Data, Intake, checked_source
from fastfcn.epochs import ArrayEpochs, Epochs, Trainer, batch_order
from fastfcn.frame import Source, is_sparse, source
from fastfcn.history import Evaluation, History
from fastfcn.intake import columns_of
from fastfcn.loop import run_fit
from fastfcn.losses import Loss
from fastfcn.metrics import share
from fastfcn.nn.containers import Module, Sequential
from fastfcn.objective import Iterations, Objective, check_minimised
from fastfcn.optim import LBFGS, Optimizer
from fastfcn.plan import Plan
from fastfcn.schedules import Schedule, factors_of
from fastfcn.streams import Stream, StreamEpochs, evaluate_stream, gives_batches, stored_arrays
from fastfcn.threads import check_threads
from fastfcn.validation import as_int, as_order, as_real, check_finite, described
from fastfcn.workspace import Stage
from fastfcn_kernels.activations import CODES


def fit(
    net: Module,
    x: Any,
    y: Any = None,
    *,
    loss: Loss,
    optimizer: Optimizer,
    batch_size: int = 32,
    epochs: int = 1,
    shuffle: bool | Callable[[int, int], Any] = True,
    validation_data: Any = None,
    sample_weight: Any = None,
    seed: int | None = None,
    scale: float = 1.0,
    shift: float = 0.0,
    check_finite: bool = True,
    n_threads: int | None = None,
    skip_zeros: bool = True,
    clip_norm: float | None = None,
    schedule: Schedule | None = None,
    progress: bool = False,
    callbacks: Iterable[Any] = (),
    history: History | None = None,
) -> History:
    """Train a network, whole epochs in compiled code.

    Gives the same bits as the step-by-step loop over the same batches, for any number of threads.

    Parameters
    ----------
    net : Sequential or Module
        The network; a Module's ``forward`` must be its layers in order.
    x : array_like, frame or sparse array (n, in_features), or what gives batches
        uint8, float32 and float64 are read as they lie: memory-mapped, strided, read-only. Other
        real types are converted to the network's first. Frames of pandas and polars must be
        numeric. SciPy's sparse arrays and matrices are used as CSR and never made dense.

        Without y: a PyTorch ``DataLoader`` or anything to iterate over that gives batches (x, y) or
        (x, y, sample_weight), or a data set of such samples with ``__len__`` and ``__getitem__``.
        Each batch is a kernel call of its own.
    y : array_like (n,) or (n, K), optional
        Targets, as the loss takes them; left out where x gives batches.
    loss : Loss
        From :mod:`fastfcn.losses`.
    optimizer : Optimizer
        Over the network's parameters, or some of them: the others stay as they are. Its state
        carries over from call to call. With :class:`fastfcn.optim.LBFGS` an epoch is an iteration
        over all rows, whatever ``batch_size`` and ``shuffle``.
    batch_size : int, default 32
        Rows a step, at most n. A smaller last batch is divided by its own size. A loader's batches
        are as it gives them.
    epochs : int, default 1
        Passes over the data.
    shuffle : bool or callable, default True
        Whether each epoch takes the samples in an order of its own, see :func:`batch_order`; or
        ``shuffle(epoch, n)``, which returns an epoch's order, n row numbers. A loader shuffles by
        itself.
    validation_data : (x, y) or (x, y, sample_weight), or what gives such batches, optional
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
    schedule : Schedule, optional
        What the optimiser's ``lr`` is multiplied by from step to step, see
        :mod:`fastfcn.schedules`.
    progress : bool, default False
        A progress bar on standard error; one line an epoch where that is no terminal. Short for
        :class:`fastfcn.callbacks.ProgressBar` among the callbacks.
    callbacks : iterable of objects, default ()
        What happens beside training, see :mod:`fastfcn.callbacks`.
    history : History, optional
        Of a fit to go on with: its epochs are not trained again, and new ones are added to it.
        With the network and the optimiser as they were after it, the result is that of one fit.

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
        given = described(optimizer, "net.parameters()")
        raise TypeError(f"optimizer must be one of fastfcn.optim, got {given}")
    epochs = as_int(epochs, "epochs", 1)
    batch_size = as_int(batch_size, "batch_size", 1)
    check_threads(n_threads)
    if clip_norm is not None and not as_real(clip_norm, "clip_norm") > 0.0:
        raise ValueError(f"clip_norm must be above 0 or None, got {clip_norm}")
    history = _continued(history, seed, epochs)
    left = epochs - len(history)

    def make(data: Data, rows: int) -> Trainer:
        return Trainer(
            net, plan, data, loss, optimizer, rows, n_threads, skip_zeros, clip_norm, history.seed,
            factors,
        )  # fmt: skip

    def order(epoch: int, n: int) -> Array:
        if callable(shuffle):
            return as_order(shuffle(epoch, n), n)
        return batch_order(history.seed, epoch, n, shuffle)

    intake = Intake(plan, loss, scale, shift, check_finite)
    x, y, sample_weight = _arrays_or_stream(x, y, sample_weight)
    feed: Epochs | Iterations
    if isinstance(optimizer, LBFGS):
        if y is None:
            raise TypeError("x must be an array for LBFGS, which needs all samples at once")
        check_minimised(plan, clip_norm=clip_norm, schedule=schedule)
        whole, minimiser = intake.whole(x, y, sample_weight), optimizer
        feed = Iterations(
            lambda: Objective(net, plan, whole, loss, minimiser, n_threads, skip_zeros), whole
        )
        _check_chain(net, whole.source)
    elif y is None:
        stream = Stream(x, intake.batch, left, "x", batch_size, order)
        feed = StreamEpochs(make, stream, len(history) + 1, optimizer.steps)
        _check_chain(net, feed.first.source)
    else:
        data = intake.whole(x, y, sample_weight)
        n = data.source.rows
        if batch_size > n:
            raise ValueError(
                f"batch_size must be at most the number of samples, {n}, got {batch_size}; pass "
                f"batch_size={n}"
            )
        feed = ArrayEpochs(make, data, batch_size, lambda epoch: order(epoch, n))
        _check_chain(net, data.source)
    factors = factors_of(schedule, optimizer.steps, feed.batches, left)
    validate = None
    if validation_data is not None:
        validate = _validation(validation_data, intake, n_threads, left)
    hooks = Hooks(callbacks, first=[ProgressBar()] if progress else [])
    run = TrainingRun(net, optimizer, loss, history, epochs, epoch=len(history))
    run_fit(run, hooks, feed, validate)
    return history


def _continued(history: History | None, seed: int | None, epochs: int) -> History:
    """Return the history to add to: a new one, or one that has fewer epochs."""
    if history is None:
        drawn = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        return History(seed=as_int(drawn, "seed", 0))
    if not isinstance(history, History):
        raise TypeError(f"history must be a History that fit returned, got {history!r}")
    if len(history) >= epochs:
        raise ValueError(f"epochs must be above the {len(history)} that history has, got {epochs}")
    if seed is not None and seed != history.seed:
        raise ValueError(f"seed must be the history's, {history.seed}, got {seed}; leave it out")
    history.stop_reason = None
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
    data = checked_source(plan, x, scale, shift, check_finite and is_sparse(x), "x")
    _check_chain(net, data)
    return _outputs(plan, data, n_threads, check_finite, x)


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
    data = checked_source(plan, x, scale, shift, check_finite and is_sparse(x), "x")
    _check_chain(net, data)
    last = type(net.layers[-1]).__name__
    if plan.stages[-1].out_features == 1:
        if last == "Sigmoid":
            p = _outputs(plan, data, n_threads, check_finite, x)
        else:
            p = _outputs(_with_last(plan, "sigmoid"), data, n_threads, check_finite, x)
        return np.hstack([1 - p, p])
    if last not in ("Softmax", "Sigmoid"):
        plan = _with_last(plan, "softmax")
    return _outputs(plan, data, n_threads, check_finite, x)


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
    net, x, scale, shift, n_threads, check_finite
        As :func:`predict`.
    y : array_like (n,) or (n, K), optional
        Targets, as the loss takes them; left out where x gives batches, as in :func:`fit`.
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
    intake = Intake(plan, loss, scale, shift, check_finite)
    x, y, sample_weight = _arrays_or_stream(x, y, sample_weight)
    if y is None:
        stream = Stream(x, intake.batch, 1, "x")
        _check_chain(net, stream.first().source)
        return evaluate_stream(stream, 1, loss, lambda data: _evaluate(data, intake, n_threads))
    data = intake.whole(x, y, sample_weight)
    _check_chain(net, data.source)
    return _evaluate(data, intake, n_threads)


def _arrays_or_stream(x: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
    """Return (x, y, sample_weight) as arrays, or (x, None, None) with x batches or samples."""
    if not gives_batches(x) or (y is not None and isinstance(x, list | tuple)):
        if y is None:
            raise TypeError(
                "y must be given with x an array; leave it out where x gives batches (x, y)"
            )
        return x, y, sample_weight
    if y is not None or sample_weight is not None:
        raise TypeError(
            f"y and sample_weight must be left out where x gives batches, as {type(x).__name__} "
            "does: they are part of each"
        )
    stored = stored_arrays(x)
    return (x, None, None) if stored is None else (*stored, None)[:3]


def _validation(
    given: Any, intake: Intake, n_threads: int | None, epochs: int
) -> Callable[[], Evaluation]:
    """Return what evaluates the validation data."""
    intake = intake._replace(prefix="validation ")

    def evaluate(data: Data) -> Evaluation:
        return _evaluate(data, intake, n_threads)

    stored = stored_arrays(given)
    batches = isinstance(given, list) and bool(given) and isinstance(given[0], tuple)
    if isinstance(given, tuple | list) and len(given) in (2, 3) and not batches:
        stored = tuple(given)
    if stored is not None:
        data = intake.whole(*stored)
        return lambda: evaluate(data)
    if not gives_batches(given) or isinstance(given, tuple):
        raise TypeError(
            "validation_data must be (x, y), (x, y, sample_weight) or what gives such batches, got "
            f"{type(given).__name__}"
        )
    stream = Stream(given, intake.batch, epochs, "validation_data")
    stream.first()  # so that what does not fit is refused before training
    return lambda: evaluate_stream(stream, 1, intake.loss, evaluate)


def _plan_of(net: Module, loss: Loss | None) -> Plan:
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


def _outputs(plan: Plan, data: Source, n_threads: int | None, finite: bool, x: Any) -> Array:
    """Return the outputs; the kernels tell whether the data were finite, and Python says where."""
    outputs, was_finite = plan.predict(data, n_threads)
    if finite and not was_finite:
        check_finite(data.array, "x", plan.dtype, columns_of(x))
    return outputs


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


def _evaluate(data: Data, intake: Intake, n_threads: int | None) -> Evaluation:
    loss = intake.loss
    outputs, _ = intake.plan.predict(data.source, n_threads)
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
