"""Weights on disk while training goes on."""

import os
import string
from collections.abc import Mapping
from pathlib import Path

from fastfcn.callbacks.monitor import Monitor, check_measured
from fastfcn.callbacks.run import TrainingRun
from fastfcn.history import History
from fastfcn.validation import as_flag
from fastfcn.weights import check_file, save_weights


class ModelCheckpoint:
    """Write the network's weights after each epoch, or after those that are the best so far.

    A file is written under another name and renamed when it is whole, so whatever ends the process
    leaves no broken one. ``net.load_state_dict(fastfcn.load_weights(path))`` reads it back.

    Parameters
    ----------
    path : path-like
        The file. Columns of the history in braces become the epoch's values:
        ``"weights-{epoch:03d}-{val_loss:.4f}.safetensors"``. Missing folders are made. Without
        ``{epoch}`` a later epoch replaces an earlier one.
    monitor : str, optional
        For ``save_best_only``: a column of the history; ``"val_loss"`` with validation data, else
        ``"loss"``, by default.
    save_best_only : bool, default False
        Whether to write only after an epoch that is the best so far.
    mode : {"auto", "min", "max"}, default "auto"
        Whether lower or higher is better; "auto" knows it from the column.
    metadata : mapping of str to str, optional
        Kept in the files beside the weights.

    Attributes
    ----------
    last_path : Path or None
        The file written last.
    best : float or None
        The monitored value of the best epoch so far.

    Raises
    ------
    ValueError
        For braces that name no column, and by ``fit`` where it does not measure one.
    OSError
        By ``fit``, where the path is a folder or its folder cannot be made.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str | None = None,
        save_best_only: bool = False,
        mode: str = "auto",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._monitor = Monitor(monitor, mode)
        self._path = os.fspath(path)
        self._best_only = as_flag(save_best_only, "save_best_only")
        self._metadata = dict(metadata or {})
        self._columns = _columns(self._path)
        self.last_path: Path | None = None
        self.best: float | None = None

    def on_fit_begin(self, run: TrainingRun) -> None:
        """Forget what an earlier fit was like."""
        if self._best_only:
            self._monitor.begin(run)
        check_measured(self._columns, run, "path's {...}")
        if not self._columns:  # what cannot be written is not found out after an epoch
            check_file(self._path).parent.mkdir(parents=True, exist_ok=True)
        self.best = None

    def on_epoch_end(self, run: TrainingRun) -> None:
        """Write the weights."""
        if self._best_only:
            value = self._monitor.value(run)
            if not self._monitor.better(value, self.best):
                return
            self.best = value
        row = {name: values[-1] for name, values in run.history.as_dict().items()}
        path = Path(self._path.format(**row))
        path.parent.mkdir(parents=True, exist_ok=True)
        save_weights(path, run.net.state_dict(), {"format": "fastfcn", **self._metadata})
        self.last_path = path


def _columns(path: str) -> list[str]:
    """Return the columns that a path names in braces."""
    known = {name: 1 if name == "epoch" else 1.0 for name in History().as_dict()}
    try:
        path.format(**known)
        return [name for _, name, _, _ in string.Formatter().parse(path) if name]
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise ValueError(
            f"path may have the history's columns in braces, {sorted(known)}, as in "
            f"{{epoch:03d}} or {{loss:.4f}}, got {path!r}"
        ) from error
