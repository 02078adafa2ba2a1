"""Weights averaged over the steps."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastfcn.buffers import Array
from fastfcn.callbacks.run import TrainingRun
from fastfcn.validation import as_real


class EMA:
    """Exponential moving average of the weights: the network that is evaluated and kept.

    After update n = 1, 2, ... the average is m ← m + (1 - d) (θ - m) with d = min(decay, n /
    (n + 10)), so that it forgets the first steps of a short training; m = θ at first.

    The network trains with its own weights θ and holds m

    - from each epoch's end until the next begins: the validation, and so ``val_loss``, the best
      weights of :class:`EarlyStopping` and the files of :class:`ModelCheckpoint`, are of m;
    - after the fit, however it ends.

    Put it before the other callbacks of the list. Running statistics of ``BatchNorm1d`` are
    averaged alike.

    Parameters
    ----------
    decay : float, default 0.999
        In [0, 1): the average is over the last 1 / (1 - decay) updates or so.
    every : {"batch", "epoch"}, default "batch"
        When to update. "batch" makes each step a kernel call of its own; "epoch" costs next to
        nothing and goes with a smaller decay, 0.9 say.

    Attributes
    ----------
    trained : dict or None
        θ as ``net.state_dict()`` had it at the end of the last epoch or of the fit: give it to
        ``net.load_state_dict`` to train on from there. A fit begins with what the network holds;
        one that goes on with a ``history``, with θ and the average as they were.
    updates : int
        Updates of this fit, and of those that it goes on with.

    Raises
    ------
    TypeError, ValueError
        For parameters out of range.
    """

    def __init__(self, decay: float = 0.999, every: str = "batch") -> None:
        self.decay = as_real(decay, "decay")
        if not 0.0 <= self.decay < 1.0:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        if every not in ("batch", "epoch"):
            raise ValueError(f'every must be "batch" or "epoch", got {every!r}')
        self.every = every
        if every == "batch":  # only then: a hook that is there is paid for
            self.on_batch_end = self._update
        self.trained: dict[str, Array] | None = None
        self.updates = 0
        self._average: Array | None = None
        self._difference: Array | None = None
        self._applied = False

    def state_dict(self) -> dict[str, Any]:
        """Return what going on takes after an epoch, as copies."""
        average = None if self._average is None else self._average.copy()
        return {"updates": self.updates, "average": average, "trained": self.trained}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Be as another was, for a fit that goes on with its history."""
        average, trained = state["average"], state["trained"]
        self.updates = int(state["updates"])
        self._average = None if average is None else np.array(average)
        self.trained = None if trained is None else dict(trained)
        self._applied = self.trained is not None

    def on_fit_begin(self, run: TrainingRun) -> None:
        """Begin a new average, unless this fit goes on with another."""
        if not run.epoch:
            self.trained, self.updates = None, 0
            self._average, self._applied = None, False

    def on_epoch_begin(self, run: TrainingRun) -> None:
        """Give the network its own weights back."""
        if self._applied and self.trained is not None:
            run.net.load_state_dict(self.trained)
            self._applied = False

    def on_epoch_trained(self, run: TrainingRun) -> None:
        """Give the network the average."""
        if self.every == "epoch":
            self._update(run)
        self._apply(run)

    def on_fit_end(self, run: TrainingRun) -> None:
        """Give the network the average, where an epoch was not ended."""
        self._apply(run)
        self._difference = None

    def _update(self, run: TrainingRun) -> None:
        values = run.net.plan().buffer.values
        self.updates += 1
        if self._average is None:
            self._average = values.copy()
            return
        if self._difference is None:
            self._difference = np.empty_like(values)
        decay = min(self.decay, self.updates / (self.updates + 10))
        np.subtract(values, self._average, out=self._difference)
        self._difference *= 1.0 - decay
        self._average += self._difference

    def _apply(self, run: TrainingRun) -> None:
        if self._applied or self._average is None:
            return
        self.trained = run.net.state_dict()
        buffer = run.net.plan().buffer
        buffer.values[...] = self._average
        buffer.changed()
        self._applied = True
