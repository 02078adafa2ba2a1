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
    best_weights : dict or None
        ``net.state_dict()`` after it, while a fit is under way. A fit that goes on with a history
        judges its epochs anew; set these weights before it, as they are in no history.

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
        self.min_delta = float(min_delta)
        self.patience = as_int(patience, "patience", 1)
        self.best: float | None = None
        self.best_epoch = 0
        self.best_weights: dict[str, Array] | None = None
        self._reference: float | None = None
        self._waited = 0

    def on_fit_begin(self, run: TrainingRun) -> None:
        """Forget what an earlier fit was like, unless this one goes on with it."""
        self._monitor.begin(run)
        self._enough.begin(run)
        self.best, self.best_epoch = None, 0
        self._reference, self._waited = None, 0
        if not run.epoch:
            self.best_weights = None
        values = getattr(run.history, self._monitor.column)
        for epoch, value in zip(run.history.epoch, values, strict=True):
            self._judge(epoch, float(value))

    def on_epoch_end(self, run: TrainingRun) -> None:
        """Keep the best weights; stop when patience has run out."""
        if self._judge(run.epoch, self._monitor.value(run)):
            self.best_weights = run.net.state_dict()
        if self._waited >= self.patience:
            since = f" since epoch {run.epoch - self._waited}" if self.best_epoch else ""
            waited = f"{self._waited} epoch{'s' if self._waited > 1 else ''}"
            enough = f" by more than {self.min_delta:g}" if self.min_delta else ""
            run.stop(f"{self._monitor.column} has not improved{enough} for {waited}{since}")

    def on_fit_end(self, run: TrainingRun) -> None:
        """Give back the best weights."""
        weights, self.best_weights = self.best_weights, None
        if weights is not None:
            run.net.load_state_dict(weights)

    def _judge(self, epoch: int, value: float) -> bool:
        """Tell whether an epoch is the best so far, and count those without improvement."""
        best = self._monitor.better(value, self.best)
        if best:
            self.best, self.best_epoch = value, epoch
        if self._enough.better(value, self._reference):
            self._reference, self._waited = value, 0
        else:
            self._waited += 1
        return best
