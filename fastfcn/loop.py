"""The loop of a fit: epochs, validation, history and callbacks."""

import math
import time
import warnings
from collections.abc import Callable

from fastfcn.callbacks.not_a_number import divergence, stop_diverged
from fastfcn.callbacks.run import Hooks, TrainingRun
from fastfcn.epochs import Epochs
from fastfcn.history import Evaluation, History
from fastfcn.objective import Iterations


def run_fit(
    run: TrainingRun,
    hooks: Hooks,
    feed: Epochs | Iterations,
    validate: Callable[[], Evaluation] | None,
) -> None:
    """Train epoch by epoch, until all are done or the run is stopped.

    Parameters
    ----------
    run : TrainingRun
        Filled with what its hooks may ask for.
    hooks : Hooks
        Called on the way.
    feed : Epochs
        What is trained on.
    validate : callable or None
        Evaluates the validation data.
    """
    history = run.history
    mean = run.loss.reduction != "sum"
    run.batches, run.samples = feed.batches, feed.samples
    run.measures = _measures(feed.accuracy, validate is not None)
    run.recent = lambda: feed.recent().evaluation(mean).loss
    each_batch = hooks.has("on_batch_end")

    def after(samples: int, batches: int) -> bool:
        run.seen, run.batch = run.seen + samples, run.batch + batches
        hooks.call("on_batch_end", run)
        hooks.call("on_progress", run)
        return run.stop_reason is not None

    def begin() -> bool:
        if run.epoch >= run.epochs or run.stop_reason is not None:
            return False
        run.epoch, run.batch, run.seen = run.epoch + 1, 0, 0
        hooks.call("on_epoch_begin", run)
        return run.stop_reason is None

    def end(seconds: float) -> None:
        lr = float(run.optimizer.last_lr)
        hooks.call("on_epoch_trained", run)
        validation = validate() if validate else None
        trained = feed.total().evaluation(mean)
        history.add(run.epoch, trained, validation, lr, seconds, run.seen)
        if not math.isfinite(trained.loss):
            stop_diverged(run, trained.loss)
        hooks.call("on_epoch_end", run)

    with hooks.around(run):
        started = time.perf_counter()
        feed.prepare(validate is not None)
        history.compile_seconds = time.perf_counter() - started
        if isinstance(feed, Iterations):
            feed.drive(begin, after, end, run.stop)
        else:
            while begin():
                end(feed.run(run.epoch, after, each_batch))
        if history.loss and not math.isfinite(history.loss[-1]):
            message = divergence(run, history.loss[-1])
            warnings.warn(message, RuntimeWarning, stacklevel=3)  # fit's caller


def _measures(accuracy: bool, validates: bool) -> frozenset[str]:
    """Return the history's columns that get values."""
    missing = set()
    if not accuracy:
        missing |= {"accuracy", "val_accuracy"}
    if not validates:
        missing |= {"val_loss", "val_accuracy"}
    return frozenset(History().as_dict().keys() - missing)
