"""Training: whole epochs in compiled code."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastfcn.buffers import Array
from fastfcn.callbacks.bar import ProgressBar
from fastfcn.callbacks.run import Hooks, TrainingRun
from fastfcn.data import Data, Intake, split_off
from fastfcn.epochs import DEFAULT_BATCH, ArrayEpochs, Epochs, Recipe, batch_order
from fastfcn.history import Evaluation, History
from fastfcn.loop import run_fit
from fastfcn.losses import Loss
from fastfcn.nn.containers import Module
from fastfcn.objective import Iterations, check_minimised
from fastfcn.optim import Optimizer
from fastfcn.optim.minimiser import Minimiser
from fastfcn.prediction import check_chain, evaluated, plan_of
from fastfcn.schedules import Schedule
from fastfcn.streams import (
    Stream,
    StreamEpochs,
    arrays_or_stream,
    evaluate_stream,
    gives_batches,
    stored_arrays,
)
from fastfcn.threads import check_threads
from fastfcn.validation import as_flag, as_int, as_order, as_real, as_share, described


def fit(
    net: Module,
    x: Any,
    y: Any = None,
    *,
    loss: Loss,
    optimizer: Optimizer,
    batch_size: int | None = None,
    epochs: int = 1,
    shuffle: bool | Callable[[int, int], Any] = True,
    validation_data: Any = None,
    validation_split: float | None = None,
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
    batch_size : int, optional
        Rows a step, at most n; by default 32, or n where that is less. A smaller last batch is
        divided by its own size. A loader's batches are as it gives them.
    epochs : int, default 1
        Passes over the data.
    shuffle : bool or callable, default True
        Whether each epoch takes the samples in an order of its own, see :func:`batch_order`; or
        ``shuffle(epoch, n)``, which returns an epoch's order, n row numbers. A loader shuffles by
        itself.
    validation_data : (x, y) or (x, y, sample_weight), or what gives such batches, optional
        Evaluated after each epoch.
    validation_split : float, optional
        In [0, 1), in place of ``validation_data``: the share of the rows, the last ones as they
        come, that is not trained on and evaluated after each epoch. Rows that are in order, of the
        classes say, must be shuffled first.
    sample_weight : array_like (n,), optional
        How many times each sample counts: in the loss and its mean, and in the history.
    seed : int, optional
        Of the batch order; drawn and kept in the history by default.
    scale, shift : float, default 1.0 and 0.0
        The network sees x·scale + shift: ``scale=1/255`` for images. Also for the validation data.
    check_finite : bool, default True
        Whether to refuse NaN and infinity in x.
    n_threads : int, optional
        Threads; by default as many as Numba is set to, fewer for small networks, and one while
        other programs hold the cores. A number given is kept to, however much slower that is.
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

    Notes
    -----
    While it runs, parameters and the optimiser's state are its own, but for the callbacks: other
    Python threads may find them half changed, or in another order.

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
    plan = plan_of(net, loss)
    epochs = as_int(epochs, "epochs", 1)
    if batch_size is not None:
        batch_size = as_int(batch_size, "batch_size", 1)
    if not (callable(shuffle) or isinstance(shuffle, bool | np.bool_ | int)):
        raise TypeError(f"shuffle must be True, False or a function of (epoch, n), got {shuffle!r}")
    progress = as_flag(progress, "progress", "another bar goes among the callbacks")
    check_finite = as_flag(check_finite, "check_finite")
    skip_zeros = as_flag(skip_zeros, "skip_zeros")
    _check_steps(loss, optimizer, clip_norm, n_threads)
    history = _continued(history, seed, epochs)
    recipe = Recipe(
        net, plan, loss, optimizer, n_threads, skip_zeros, clip_norm, schedule, history.seed
    )
    intake = Intake(plan, loss, scale, shift, check_finite)
    done, left = len(history), epochs - len(history)

    def order(epoch: int, n: int) -> Array:
        if callable(shuffle):
            return as_order(shuffle(epoch, n), n)
        return batch_order(history.seed, epoch, n, shuffle)

    feed: Epochs | Iterations
    validate: Callable[[], Evaluation] | None = None
    x, y, sample_weight = arrays_or_stream(x, y, sample_weight)
    share = _share(validation_split, x, y, validation_data)
    if isinstance(optimizer, Minimiser):
        check_minimised(plan, whole=y is not None, clip_norm=clip_norm, schedule=schedule)
    if y is None:
        stream = Stream(x, intake.batch, left, "x", batch_size or DEFAULT_BATCH, order)
        feed = StreamEpochs(recipe, stream, done + 1, left)
    else:
        data = intake.whole(x, y, sample_weight)
        if share:
            data, last = split_off(data, share)
            validate = functools.partial(evaluated, last, intake, n_threads)
        if isinstance(optimizer, Minimiser):
            feed = Iterations(recipe, data)
        else:
            feed = ArrayEpochs(recipe, data, batch_size, order, left)
    check_chain(net, feed.first.source)
    if validation_data is not None:
        validate = _validation(validation_data, intake, n_threads, left)
    hooks = Hooks(callbacks, first=[ProgressBar()] if progress else [])
    run_fit(TrainingRun(net, optimizer, loss, history, epochs, epoch=done), hooks, feed, validate)
    return history


def _check_steps(loss: Loss, optimizer: Any, clip_norm: Any, n_threads: Any) -> None:
    """Raise for what no step can be made of."""
    if loss.reduction == "none":
        raise ValueError('reduction must be "mean", "batchmean" or "sum" to train on, got "none"')
    if not isinstance(optimizer, Optimizer):
        given = described(optimizer, "net.parameters()")
        raise TypeError(f"optimizer must be one of fastfcn.optim, got {given}")
    check_threads(n_threads)
    if clip_norm is not None and not as_real(clip_norm, "clip_norm") > 0.0:
        raise ValueError(f"clip_norm must be above 0 or None, got {clip_norm}")


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


def _share(given: Any, x: Any, y: Any, validation_data: Any) -> float:
    """Return the share of the rows to hold back, 0 for none."""
    if given is None:
        return 0.0
    share = as_share(given, "validation_split")
    if validation_data is not None:
        raise ValueError(
            f"validation_split must be None where validation_data is given, got {given}; leave one "
            "of them out"
        )
    if y is None:
        raise TypeError(
            f"validation_split needs x and y as arrays, got batches from {type(x).__name__}; pass "
            "validation_data"
        )
    return share


def _validation(
    given: Any, intake: Intake, n_threads: int | None, epochs: int
) -> Callable[[], Evaluation]:
    """Return what evaluates the validation data."""
    intake = intake._replace(prefix="validation ")

    def evaluate(data: Data) -> Evaluation:
        return evaluated(data, intake, n_threads)

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
