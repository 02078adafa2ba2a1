"""Stop when nothing gets better any more."""

from fastfcn.buffers import Array
from fastfcn.callbacks.monitor import Monitor
from fastfcn.callbacks.run import TrainingRun
from fastfcn.validation import as_int


class EarlyStopping:
    """Stop when an epoch has not been better for some time, and give back the best weights.

    However the fit ends (stopped here or elsewhere, all epochs done, an exception, Ctrl-C), the
    network holds the weights of the best epoch afterwards. Only if no epoch was done, or none had a
    value other than NaN, do they stay as training left them.

    Parameters
    ----------
    monitor : str, optional
        A column of the history; ``"val_loss"`` with validation data, else ``"loss"``, by default.
    min_delta : float, default 0.0
        Patience begins anew only with an epoch that is better by more than this. The best weights
        are those of the best epoch, by however little.
    patience : int, default 10
        Epochs in a row without that, after which training stops.
    mode : {"auto", "min", "max"}, default "auto"
        Whether lower or higher is better; "auto" knows it from the column.

    Attributes
    ----------
    best : float or None
        The monitored value of the best epoch.
    best_epoch : int
        That epoch; 0 before the first.

    Raises
    ------
    TypeError, ValueError
        For parameters out of range, and by ``fit`` where it does not measure the column.

    Examples
    --------
    >>> import numpy as np
    >>> import fastfcn as ff
    >>> from fastfcn import callbacks, losses, nn, optim
    >>> x = np.random.default_rng(0).normal(size=(100, 4))
    >>> y = (x[:, 0] > 0).astype(int)
    >>> net = nn.Sequential(nn.Linear(4, 2))
    >>> stopping = callbacks.EarlyStopping(monitor="val_accuracy", patience=3)
    >>> history = ff.fit(
    ...     net, x[:80], y[:80], loss=losses.CrossEntropyLoss(),
    ...     optimizer=optim.SGD(net.parameters(), lr=0.1), epochs=100,
    ...     validation_data=(x[80:], y[80:]), callbacks=[stopping], seed=0)
    >>> stopping.best == max(history.val_accuracy)
    True
    """

    def __init__(
        self,
        monitor: str | None = None,
        min_delta: float = 0.0,
        patience: int = 10,
        mode: str = "auto",
    ) -> None:
        self._monitor = Monitor(monitor, mode)
        self._enough = Monitor(monitor, mode, min_delta)
        self.patience = as_int(patience, "patience", 1)
        self.best: float | None = None
        self.best_epoch = 0
        self._weights: dict[str, Array] | None = None
        self._reference: float | None = None
        self._waited = 0

    def on_fit_begin(self, run: TrainingRun) -> None:
        """Forget what an earlier fit was like."""
        self._monitor.begin(run)
        self._enough.begin(run)
        self.best, self.best_epoch, self._weights = None, 0, None
        self._reference, self._waited = None, 0

    def on_epoch_end(self, run: TrainingRun) -> None:
        """Keep the best weights; stop when patience has run out."""
        value = self._monitor.value(run)
        if self._monitor.better(value, self.best):
            weights = run.net.state_dict()
            self.best, self.best_epoch, self._weights = value, run.epoch, weights
        if self._enough.better(value, self._reference):
            self._reference, self._waited = value, 0
            return
        self._waited += 1
        if self._waited >= self.patience:
            since = f" since epoch {self.best_epoch}" if self.best_epoch else ""
            run.stop(f"{self._monitor.column} has not improved for {self._waited} epochs{since}")

    def on_fit_end(self, run: TrainingRun) -> None:
        """Give back the best weights."""
        weights, self._weights = self._weights, None
        if weights is not None:
            run.net.load_state_dict(weights)
