"""A training run as callbacks see it, and how their hooks are called."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from fastfcn.history import History
from fastfcn.losses import Loss
from fastfcn.nn.containers import Module

HOOKS = (
    "on_fit_begin",
    "on_epoch_begin",
    "on_batch_end",
    "on_progress",
    "on_epoch_trained",
    "on_epoch_end",
    "on_fit_end",
)
"""What a callback may define, see :mod:`fastfcn.callbacks`."""


@dataclass
class TrainingRun:
    """A fit while it goes on: what every hook is given.

    Attributes
    ----------
    net : Module
        The network in training.
    optimizer : optimiser
        Its ``lr`` may be set in any hook and counts from the next step.
    loss : Loss
        What is minimised.
    history : History
        One row for each epoch that is done; the same object that ``fit`` returns.
    epochs : int
        Epochs at most.
    measures : frozenset of str
        The history's columns that get values in this fit: ``"val_loss"`` only with validation data,
        ``"accuracy"`` only with class labels.
    batches, samples : int or None
        Of an epoch; None where a loader does not tell before.
    epoch : int
        The current epoch, from 1; 0 before the first.
    batch, seen : int
        Batches and samples that the epoch has trained on so far.
    """

    net: Module
    optimizer: Any
    loss: Loss
    history: History
    epochs: int
    measures: frozenset[str] = frozenset()
    batches: int | None = None
    samples: int | None = None
    epoch: int = 0
    batch: int = 0
    seen: int = 0
    recent: Callable[[], float] = field(default=lambda: float("nan"), repr=False)

    @property
    def recent_loss(self) -> float:
        """Loss of what was trained on last: of the batch in ``on_batch_end``, of the samples since
        the call before in ``on_progress``."""  # noqa: D205, D209
        return self.recent()

    @property
    def stop_reason(self) -> str | None:
        """Why training ends before its last epoch; None while it does not."""
        return self.history.stop_reason

    def stop(self, reason: str) -> None:
        """End training; ``reason`` goes into the history unless another came before it."""
        if self.history.stop_reason is None:
            self.history.stop_reason = str(reason)


class Hooks:
    """The hooks of a fit's callbacks.

    Parameters
    ----------
    callbacks : iterable
        Objects with at least one of `HOOKS`.
    first : iterable, optional
        Others, which come before.

    Raises
    ------
    TypeError
        For anything else.
    """

    def __init__(self, callbacks: Iterable[Any], first: Iterable[Any] = ()) -> None:
        if not isinstance(callbacks, Iterable):
            raise TypeError(
                f"callbacks must be a list of objects, got {callbacks!r}; pass [callback]"
            )
        self._callbacks = list(callbacks)
        for i, callback in enumerate(self._callbacks):
            if isinstance(callback, type):
                raise TypeError(
                    f"callbacks[{i}] must be an object, got the class {callback.__name__}; make "
                    f"one with {callback.__name__}()"
                )
            if not any(callable(getattr(callback, hook, None)) for hook in HOOKS):
                raise TypeError(
                    f"callbacks[{i}] must have at least one of the methods {', '.join(HOOKS)}, "
                    f"got {callback!r}"
                )
        self._callbacks = [*first, *self._callbacks]

    def has(self, hook: str) -> bool:
        """Tell whether any callback has this hook."""
        return any(callable(getattr(callback, hook, None)) for callback in self._callbacks)

    def call(self, hook: str, run: TrainingRun) -> None:
        """Call one hook of each callback that has it, in order."""
        for callback in self._callbacks:
            _call(callback, hook, run)

    @contextlib.contextmanager
    def around(self, run: TrainingRun) -> Iterator[None]:
        """Begin a fit, and end it whatever happens within."""
        begun: list[Any] = []
        try:
            for callback in self._callbacks:
                begun.append(callback)
                _call(callback, "on_fit_begin", run)
            yield
        except BaseException as error:
            # Ctrl-C may have come while a row was written.
            run.history.keep_whole_epochs()
            what = "interrupted" if isinstance(error, KeyboardInterrupt) else type(error).__name__
            run.stop(f"{what} in epoch {run.epoch}" if run.epoch else f"{what} before epoch 1")
            raise
        finally:
            with contextlib.ExitStack() as ends:  # each is called, even if another raises
                for callback in reversed(begun):
                    ends.callback(_call, callback, "on_fit_end", run)


def _call(callback: Any, hook: str, run: TrainingRun) -> None:
    method = getattr(callback, hook, None)
    if callable(method):
        method(run)
