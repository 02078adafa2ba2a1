"""Learning rates that change from epoch to epoch."""

from collections.abc import Callable

from fastfcn.callbacks.monitor import Monitor
from fastfcn.callbacks.run import TrainingRun
from fastfcn.validation import as_int, as_real


class LearningRateScheduler:
    """Set the learning rate of each epoch by a function.

    For rates that change from step to step pass ``fit(..., schedule=...)`` instead.

    Parameters
    ----------
    function : callable
        ``function(epoch, lr)`` with the epoch, from 1, and the optimiser's present learning rate
        returns that of the epoch.

    Examples
    --------
    >>> halving = LearningRateScheduler(lambda epoch, lr: lr / 2 if epoch % 10 == 0 else lr)
    """

    def __init__(self, function: Callable[[int, float], float]) -> None:
        if not callable(function):
            raise TypeError(f"function must be callable as function(epoch, lr), got {function!r}")
        self._function = function

    def on_epoch_begin(self, run: TrainingRun) -> None:
        """Set the learning rate."""
        run.optimizer.lr = self._function(run.epoch, run.optimizer.lr)


class ReduceLROnPlateau:
    """Reduce the learning rate when an epoch has not been better for some time.

    Parameters
    ----------
    monitor : str, optional
        A column of the history; ``"val_loss"`` with validation data, else ``"loss"``, by default.
    factor : float, default 0.1
        In (0, 1); what the learning rate is multiplied by.
    patience : int, default 10
        Epochs in a row without an improvement, after which that happens.
    min_delta : float, default 1e-4
        An improvement is more than this.
    cooldown : int, default 0
        Epochs after a reduction in which none is counted.
    min_lr : float, default 0.0
        The learning rate is not reduced below this.
    mode : {"auto", "min", "max"}, default "auto"
        Whether lower or higher is better; "auto" knows it from the column.
    """

    def __init__(
        self,
        monitor: str | None = None,
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        mode: str = "auto",
    ) -> None:
        self._monitor = Monitor(monitor, mode, min_delta)
        self.factor = as_real(factor, "factor")
        if not 0.0 < self.factor < 1.0:
            raise ValueError(f"factor must be in (0, 1), got {factor}")
        self.patience = as_int(patience, "patience", 1)
        self.cooldown = as_int(cooldown, "cooldown", 0)
        self.min_lr = as_real(min_lr, "min_lr")
        if self.min_lr < 0.0:
            raise ValueError(f"min_lr must be at least 0, got {min_lr}")
        self._best: float | None = None
        self._waited = self._resting = 0

    def on_fit_begin(self, run: TrainingRun) -> None:
        """Forget what an earlier fit was like, unless this one goes on with it."""
        self._monitor.begin(run)
        self._best, self._waited, self._resting = None, 0, 0
        for value in getattr(run.history, self._monitor.column):
            self._judge(float(value))

    def on_epoch_end(self, run: TrainingRun) -> None:
        """Reduce the learning rate when patience has run out."""
        if self._judge(self._monitor.value(run)):
            lr = run.optimizer.lr
            reduced = max(lr * self.factor, self.min_lr)
            if 0.0 < reduced < lr:
                run.optimizer.lr = reduced

    def _judge(self, value: float) -> bool:
        """Tell whether patience has run out with an epoch; count anew then."""
        improved = self._monitor.better(value, self._best)
        if improved:
            self._best = value
        self._waited = 0 if improved or self._resting else self._waited + 1
        self._resting = max(0, self._resting - 1)
        if self._waited < self.patience:
            return False
        self._waited, self._resting = 0, self.cooldown
        return True
