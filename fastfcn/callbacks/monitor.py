"""What some callbacks watch: one column of the history, and which way it gets better."""

import math

from fastfcn.callbacks.run import TrainingRun
from fastfcn.history import History
from fastfcn.validation import as_real

_MODES = ("auto", "min", "max")


class Monitor:
    """One column of the history, and which way it gets better.

    Parameters
    ----------
    column : str or None
        None: ``"val_loss"`` with validation data, else ``"loss"``.
    mode : {"auto", "min", "max"}
        "auto": accuracies and speeds are better when higher, all else when lower.
    min_delta : float
        What counts as better must be so by more than this.
    """

    def __init__(self, column: str | None, mode: str = "auto", min_delta: float = 0.0) -> None:
        columns = list(History().as_dict())
        if column is not None and column not in columns:
            raise ValueError(f"monitor must be one of {columns}, got {column!r}")
        if mode not in _MODES:
            raise ValueError(f"mode must be one of {_MODES}, got {mode!r}")
        self._wanted, self._mode = column, mode
        self._min_delta = as_real(min_delta, "min_delta")
        if self._min_delta < 0.0:
            raise ValueError(f"min_delta must be at least 0, got {min_delta}")
        self.column = column or "val_loss"

    def begin(self, run: TrainingRun) -> None:
        """Choose the column of this fit.

        Raises
        ------
        ValueError
            Where the fit does not measure it.
        """
        self.column = self._wanted or ("val_loss" if "val_loss" in run.measures else "loss")
        check_measured([self.column], run, "monitor")

    def value(self, run: TrainingRun) -> float:
        """Return the column's value of the epoch that has just ended."""
        return float(getattr(run.history, self.column)[-1])

    def better(self, value: float, than: float | None) -> bool:
        """Tell whether a value is better than another, or the first; NaN never is."""
        if math.isnan(value):
            return False
        if than is None:
            return True
        higher = self._mode == "max" or (
            self._mode == "auto" and self.column.endswith(("accuracy", "per_second"))
        )
        gain = value - than if higher else than - value
        return gain > self._min_delta


def check_measured(columns: list[str], run: TrainingRun, name: str) -> None:
    """Raise ValueError unless the fit measures all these columns of the history."""
    for column in columns:
        if column not in run.measures:
            way = (
                "pass validation_data"
                if column.startswith("val_") and "val_loss" not in run.measures
                else "accuracies need a loss over class labels"
            )
            raise ValueError(
                f"{name} must be what this fit measures, {sorted(run.measures)}, got {column!r}; "
                f"{way}"
            )
