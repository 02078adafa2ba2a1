"""Training and prediction: whole epochs in compiled code."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fastfcn.losses import Loss, Targets
from fastfcn.nn.containers import Module, Sequential
from fastfcn.optim import SGD
from fastfcn.plan import Array, Plan, Source, Stage, Workspace, flops_per_row, source
from fastfcn.threads import check_threads, threads
from fastfcn.validation import as_int, as_matrix, as_real, check_finite
from fastfcn_kernels import drivers
from fastfcn_kernels import table as t
from fastfcn_kernels.losses import CROSS_ENTROPY, NLL

SLICE_SECONDS = 0.03
"""How long a kernel runs before it returns to Python, for Ctrl-C and the progress bar."""


@dataclass
class History:
    """What a training run was like, one entry an epoch.

    Attributes
    ----------
    epoch : list of int
        1, 2, ...
    loss : list of float
        Loss of each sample when it was trained on, reduced over the epoch.
    accuracy : list of float or None
        Share of samples whose label came first when they were trained on; None for losses without
        class labels.
    val_loss, val_accuracy : list of float or None
        On the validation data after the epoch; None without.
    seconds : list of float
        Training alone: neither compilation nor validation.
    samples_per_second : list of float
        Samples trained on per second of that.
    compile_seconds : float
        Compiling the kernels, or loading them from disk.
    seed : int
        The seed of the batch order, drawn where none was given.
    """

    epoch: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    accuracy: list[float | None] = field(default_factory=list)
    val_loss: list[float | None] = field(default_factory=list)
    val_accuracy: list[float | None] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    samples_per_second: list[float] = field(default_factory=list)
    compile_seconds: float = 0.0
    seed: int = 0

    def as_dict(self) -> dict[str, list[Any]]:
        """Return the columns by name, each with one entry an epoch."""
        columns = {name: value for name, value in vars(self).items() if isinstance(value, list)}
        return {name: list(value) for name, value in columns.items()}

    def __len__(self) -> int:
        return len(self.epoch)


class Evaluation(NamedTuple):
    """Loss and accuracy on a data set; accuracy is None for losses without class labels."""

    loss: float
    accuracy: float | None


Callback: TypeAlias = Callable[[int, History], Any]


class _Data(NamedTuple):
    """A checked data set."""

    source: Source
    targets: Targets
    accuracy: bool


def batch_order(seed: int, epoch: int, n: int, shuffle: bool = True) -> Array:
    """Return the order in which an epoch visits n samples: a function of (seed, epoch) alone.

    Parameters
    ----------
    seed : int
        Not negative.
    epoch : int
        From 1.
    n : int
        Samples.
    shuffle : bool, default True
        False: as they come.

    Examples
    --------
    >>> bool((batch_order(0, 1, 100) == batch_order(0, 1, 100)).all())
    True
    """
    if not shuffle:
        return np.arange(n)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch]))).permutation(
        n
    )


def fit(
    net: Module,
    x: Any,
    y: Any,
    *,
    loss: Loss,
    optimizer: SGD,
    batch_size: int = 32,
    epochs: int = 1,
    shuffle: bool = True,
    validation_data: tuple[Any, Any] | None = None,
    seed: int | None = None,
    scale: float = 1.0,
    shift: float = 0.0,
    check_finite: bool = True,
    n_threads: int | None = None,
    progress: bool = False,
    callback: Callback | None = None,
) -> History:
    """Train a network, whole epochs in compiled code.

    Gives the same bits as the step-by-step loop over the same batches, for any number of threads.

    Parameters
    ----------
    net : Sequential or Module
        The network; a Module's ``forward`` must be its layers in order.
    x : array_like (n, in_features)
        uint8, float32 and float64 are read as they lie: memory-mapped, strided, read-only. Other
        real types are converted to the network's first.
    y : array_like (n,) or (n, K)
        Targets, as the loss takes them.
    loss : Loss
        From :mod:`fastfcn.losses`.
    optimizer : SGD
        Over the network's parameters, or some of them: the others stay as they are. Its state
        carries over from call to call.
    batch_size : int, default 32
        Rows a step, at most n. A smaller last batch is divided by its own size.
    epochs : int, default 1
        Passes over the data.
    shuffle : bool, default True
        Whether each epoch takes the samples in an order of its own, see :func:`batch_order`.
    validation_data : (x, y), optional
        Evaluated after each epoch.
    seed : int, optional
        Of the batch order; drawn and kept in the history by default.
    scale, shift : float, default 1.0 and 0.0
        The network sees x·scale + shift: ``scale=1/255`` for images. Also for the validation data.
    check_finite : bool, default True
        Whether to refuse NaN and infinity in x.
    n_threads : int, optional
        Threads; by default as many as Numba is set to, fewer for small networks.
    progress : bool, default False
        A progress bar on standard error; one line an epoch where that is no terminal.
    callback : callable, optional
        Called as ``callback(epoch, history)`` after each epoch; returning True stops.

    Returns
    -------
    History
        One entry an epoch.

    Raises
    ------
    TypeError, ValueError
        For arguments that do not fit; the network is unchanged then.

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
        raise ValueError('reduction must be "mean" or "sum" to train on, got "none"')
    if not isinstance(optimizer, SGD):
        raise TypeError(f"optimizer must be a fastfcn.optim.SGD, got {optimizer!r}")
    epochs = as_int(epochs, "epochs", 1)
    batch_size = as_int(batch_size, "batch_size", 1)
    check_threads(n_threads)
    data = _checked_data(plan, x, y, loss, scale, shift, check_finite, ("x", "y"))
    n = len(data.source.array)
    if batch_size > n:
        raise ValueError(f"batch_size must be at most the number of samples, {n}, got {batch_size}")
    validation = None
    if validation_data is not None:
        if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
            raise TypeError("validation_data must be a pair (x, y)")
        names = ("validation x", "validation y")
        validation = _checked_data(plan, *validation_data, loss, scale, shift, check_finite, names)
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
    history = History(seed=as_int(seed, "seed", 0))
    _check_chain(net, data.source)
    trainer = _Trainer(net, plan, data, loss, optimizer, batch_size, n_threads)

    with _Progress(epochs, n, progress) as report:
        history.compile_seconds = trainer.compile(report, validation is not None)
        for epoch in range(1, epochs + 1):
            order = batch_order(history.seed, epoch, n, shuffle)
            seconds = trainer.run_epoch(order, report)
            result = trainer.result()
            checked = None if validation is None else _evaluate(plan, validation, loss, n_threads)
            history.epoch.append(epoch)
            history.loss.append(result.loss)
            history.accuracy.append(result.accuracy)
            history.val_loss.append(None if checked is None else checked.loss)
            history.val_accuracy.append(None if checked is None else checked.accuracy)
            history.seconds.append(seconds)
            history.samples_per_second.append(n / seconds)
            report.epoch_done(history)
            if callback is not None and callback(epoch, history) is True:
                break
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
    data = _checked_source(plan, x, scale, shift, check_finite, "x")
    _check_chain(net, data)
    return plan.predict(data, n_threads)


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
    data = _checked_source(plan, x, scale, shift, check_finite, "x")
    _check_chain(net, data)
    last = type(net.layers[-1]).__name__
    if plan.stages[-1].out_features == 1:
        if last == "Sigmoid":
            p = plan.predict(data, n_threads)
        else:
            p = _with_last(plan, "sigmoid").predict(data, n_threads)
        return np.hstack([1 - p, p])
    if last not in ("Softmax", "Sigmoid"):
        plan = _with_last(plan, "softmax")
    return plan.predict(data, n_threads)


def evaluate(
    net: Module,
    x: Any,
    y: Any,
    *,
    loss: Loss,
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
    data = _checked_data(plan, x, y, loss, scale, shift, check_finite, ("x", "y"))
    _check_chain(net, data.source)
    return _evaluate(plan, data, loss, n_threads)


class _Trainer:
    """One fit's buffers, and the kernel calls over them."""

    def __init__(
        self,
        net: Module,
        plan: Plan,
        data: _Data,
        loss: Loss,
        optimizer: SGD,
        batch_size: int,
        n_threads: int | None,
    ) -> None:
        self._plan, self._data, self._loss, self._optimizer = plan, data, loss, optimizer
        self._batch, self._n_threads = batch_size, n_threads
        self._work = 4.0 * batch_size * flops_per_row(plan.stages)
        with threads(n_threads, self._work) as count:
            copies = count
        self._space = Workspace(plan.stages, plan.dtype, batch_size, backward=True, copies=copies)
        _place_velocities(self._space.table, net, optimizer)
        n = len(data.source.array)
        self._values = np.zeros(n)
        self._hits = np.zeros(n, np.bool_)
        self._slice = 4 * batch_size
        self._pace = _Pace(free=n_threads is None and copies > 1)

    def _train(self, order: Array, first: int, stop: int, n_threads: int | None) -> None:
        space, data = self._space, self._data
        with threads(n_threads, self._work) as count:
            drivers.train(
                space.table, space.alphas, space.frame, self._plan.values,
                self._optimizer.velocity, self._optimizer.hyperparameters(), space.buffer,
                data.source.location, data.source.affine, order,
                self._loss.spec(data.targets.code), self._loss.label_smoothing, self._loss.weight,
                data.targets.labels, data.targets.values, self._batch, first, stop,
                self._values, self._hits, min(count, space.copies),
            )  # fmt: skip

    def compile(self, report: "_Progress", validates: bool) -> float:
        """Compile or load the kernels, so that training itself does not; return the seconds."""
        if not drivers.train.signatures:
            report.say("loading or compiling the kernels (seconds; kept on disk afterwards)")
        started = time.perf_counter()
        self._train(np.arange(0), 0, 0, self._n_threads)
        if validates:
            nothing = source(
                np.zeros((1, self._plan.stages[0].in_features), np.uint8), self._plan.dtype
            )
            self._plan.predict(nothing, 1)
        return time.perf_counter() - started

    def run_epoch(self, order: Array, report: "_Progress") -> float:
        """Train on every sample once; return the seconds that took."""
        n = len(order)
        first = 0
        started = before = time.perf_counter()
        while first < n:
            stop = min(n, first + self._slice)
            alone = self._pace.alone()
            self._train(order, first, stop, 1 if alone else self._n_threads)
            report.advance(stop - first)
            now = time.perf_counter()
            self._pace.record(alone, (stop - first) / max(now - before, 1e-6))
            steps = SLICE_SECONDS / max(now - before, 1e-6) * self._slice / self._batch
            self._slice = self._batch * max(1, int(steps))
            first, before = stop, now
        self._order = order
        return now - started

    def result(self) -> Evaluation:
        """Return loss and accuracy of the epoch's samples, each when it was trained on."""
        targets = self._data.targets
        total = float(self._values.sum())
        counted: Any = slice(None)
        if targets.labels.size:
            counted = targets.labels[self._order] != self._loss.ignore_index
        if self._loss.reduction == "mean":
            total /= max(_divisor(self._loss, targets), np.finfo(np.float64).tiny)
        if not self._data.accuracy:
            return Evaluation(total, None)
        hits = self._hits[counted]
        return Evaluation(total, float(hits.mean()) if hits.size else None)


class _Pace:
    """Whether one thread is faster than several just now.

    Threads that share their cores with other programs wait at every barrier for the one that was
    put aside, which can cost more than tenfold. As results do not depend on the number of threads,
    a fit may change it from slice to slice: it begins with a short slice on one thread, and falls
    back to one, for longer each time, while several are slower than that.

    Parameters
    ----------
    free : bool
        Whether the number of threads is ours to choose, and more than one.
    """

    LONGEST = 64

    def __init__(self, free: bool) -> None:
        self._free = free
        self._serial_rate = 0.0
        self._left = 1 if free else 0
        self._patience = 1

    def alone(self) -> bool:
        """Tell whether the next slice should run on one thread."""
        return self._left > 0

    def record(self, alone: bool, rate: float) -> None:
        """Take note of how many samples a second the slice made."""
        if not self._free:
            return
        if alone:
            self._serial_rate = rate
            self._left -= 1
        elif rate < self._serial_rate:
            self._left, self._patience = self._patience, min(2 * self._patience, self.LONGEST)
        else:
            self._patience = 1


class _Progress:
    """Progress on standard error: a bar on a terminal, else one line an epoch."""

    def __init__(self, epochs: int, samples: int, wanted: bool) -> None:
        self._epochs = epochs
        self._wanted = wanted
        self._bar: Any = None
        if wanted and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=epochs * samples,
                unit=" samples",
                unit_scale=True,
                leave=False,
                file=sys.stderr,
            )

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.set_description_str(text)
        elif self._wanted:
            print(text, file=sys.stderr, flush=True)

    def advance(self, samples: int) -> None:
        if self._bar is not None:
            self._bar.update(samples)

    def epoch_done(self, history: History) -> None:
        if not self._wanted:
            return
        width = len(str(self._epochs))
        parts = [
            f"epoch {history.epoch[-1]:{width}d}/{self._epochs}",
            f"loss {history.loss[-1]:.4f}",
        ]
        for name, values in [
            ("accuracy", history.accuracy),
            ("val loss", history.val_loss),
            ("val accuracy", history.val_accuracy),
        ]:
            value = values[-1]
            if value is not None:
                parts.append(f"{name} {value:.4f}")
        if self._bar is not None:
            self._bar.set_description_str("  ".join(parts))
        else:
            parts.append(f"{history.seconds[-1]:.2f} s")
            print("  ".join(parts), file=sys.stderr, flush=True)


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
    array = as_matrix(x, name, plan.stages[0].in_features)
    scale, shift = as_real(scale, "scale"), as_real(shift, "shift")
    if finite:
        check_finite(array, name, plan.dtype)
    return source(array, plan.dtype, scale, shift)


def _checked_data(
    plan: Plan,
    x: Any,
    y: Any,
    loss: Loss,
    scale: float,
    shift: float,
    finite: bool,
    names: tuple[str, str],
) -> _Data:
    data = _checked_source(plan, x, scale, shift, finite, names[0])
    n = len(data.array)
    target = np.asarray(y)
    if target.ndim == 0 or len(target) != n:
        raise ValueError(
            f"{names[0]} and {names[1]} must have one length, got {n} and "
            f"{len(target) if target.ndim else 'a scalar'}"
        )
    targets = loss.targets(target, n, plan.stages[-1].out_features, plan.dtype)
    return _Data(data, targets, targets.code in (CROSS_ENTROPY, NLL))


def _check_chain(net: Module, data: Source) -> None:
    """Raise where a network's own forward is not its layers in order, which is what kernels run."""
    if type(net).forward is Sequential.forward:
        return
    scale, shift = data.affine
    sample = data.array[:2].astype(data.affine.dtype) * scale + shift
    expected = net.plan().predict(source(sample, data.affine.dtype), 1)
    if not np.array_equal(net.forward(sample), expected, equal_nan=True):
        raise ValueError(
            f"{net.name}.forward must be its layers in the order of add_layers to run compiled, "
            "and gives something else; train it step by step"
        )


def _place_velocities(table: Array, net: Module, optimizer: SGD) -> None:
    """Point the layer table at the optimiser's state; -1 stays for what it does not train."""
    own = {id(parameter) for parameter in net.parameters()}
    if any(id(parameter) not in own for parameter in optimizer.parameters):
        raise ValueError(
            "optimizer must hold parameters of this network only; make it from net.parameters()"
        )
    rows = table[table[:, t.LINEAR] == 1]
    for row, layer in zip(rows, net.linears, strict=True):
        named = layer.named_parameters()
        row[t.WEIGHT_VELOCITY] = optimizer.velocity_offset(named["weight"])
        if "bias" in named:
            row[t.BIAS_VELOCITY] = optimizer.velocity_offset(named["bias"])
    table[table[:, t.LINEAR] == 1] = rows


def _divisor(loss: Loss, targets: Targets) -> float:
    """Return what a mean over all targets is divided by."""
    if not targets.labels.size:
        rows, outputs = targets.values.shape
        return float(rows * outputs) if loss.elementwise else float(rows)
    counted = targets.labels[targets.labels != loss.ignore_index]
    return float(loss.weight[counted].sum()) if loss.weight.size else float(len(counted))


def _evaluate(plan: Plan, data: _Data, loss: Loss, n_threads: int | None) -> Evaluation:
    outputs = plan.predict(data.source, n_threads)
    targets = data.targets
    wanted = targets.labels if targets.labels.size else targets.values
    value = float(np.sum(loss(outputs, wanted)))
    if not data.accuracy:
        return Evaluation(value, None)
    counted = targets.labels != loss.ignore_index
    right = (outputs.argmax(axis=1) == targets.labels)[counted]
    return Evaluation(value, float(right.mean()) if right.size else None)


def _with_last(plan: Plan, activation: str) -> Plan:
    """Return a plan with one more activation at its end."""
    from fastfcn_kernels.activations import CODES

    features = plan.stages[-1].out_features
    last = Stage(features, features, activation=CODES[activation])
    return Plan((*plan.stages, last), plan.values, plan.grads, plan.dtype)
