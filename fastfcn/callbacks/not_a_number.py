"""A run that diverges: what is said of it, and stopping it at once."""

import math
from typing import Any

from fastfcn.callbacks.run import TrainingRun
from fastfcn.optim.minimiser import Minimiser


class TerminateOnNaN:
    """Stop while the epoch runs, as soon as the loss is NaN or infinite.

    ``fit`` stops at the end of such an epoch by itself, with the same RuntimeWarning; this callback
    spares the rest of a long one. The epoch is recorded like any other, over the samples that it
    saw.
    """

    def on_progress(self, run: TrainingRun) -> None:
        """Look at the samples trained on since the last look."""
        loss = run.recent_loss
        if not math.isfinite(loss):
            stop_diverged(run, loss)


def stop_diverged(run: TrainingRun, loss: float) -> None:
    """Stop a run whose loss is not finite."""
    run.stop(f"diverged in epoch {run.epoch}: the loss is {loss}")


def divergence(run: TrainingRun, loss: float) -> str:
    """Return what to warn of: where a run diverged, and what to try."""
    scaled = "input brought near [-1, 1], with scale and shift or a StandardScaler"
    if isinstance(run.optimizer, Minimiser):  # which searches for its own step sizes
        what = scaled
    else:
        lr: Any = getattr(run.optimizer, "lr", None)
        rate = f"below lr={lr:g}" if isinstance(lr, float) else "that is smaller"
        what = f"a learning rate {rate}, clip_norm=1.0, or {scaled}"
    return f"the loss is {loss} in epoch {run.epoch}: training diverged and was stopped; try {what}"
