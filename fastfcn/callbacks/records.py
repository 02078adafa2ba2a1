"""The history on disk while training goes on."""

import csv
import os
from pathlib import Path
from typing import Any

from fastfcn.callbacks.run import TrainingRun
from fastfcn.validation import as_flag


class CSVLogger:
    """Write each epoch's row of the history to a CSV file as soon as it is there.

    Parameters
    ----------
    path : path-like
        The file. Missing folders are made.
    append : bool, default False
        Whether to go on after the rows of an existing file, with its epochs counted on, rather than
        to replace it. A last row that a crash left half written is dropped.

    Raises
    ------
    ValueError
        By ``fit``, where the file to append to has other columns.
    """

    def __init__(self, path: str | os.PathLike[str], append: bool = False) -> None:
        self._path = Path(path)
        self._append = as_flag(append, "append")
        self._file: Any = None
        self._before = 0

    def on_fit_begin(self, run: TrainingRun) -> None:
        """Open the file and write the names of the columns."""
        columns = list(run.history.as_dict())
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._before = 0
        size = self._whole_rows(columns) if self._append and self._path.exists() else 0
        self._file = open(self._path, "r+" if size else "w", newline="", encoding="utf-8")  # noqa: SIM115
        if size:
            self._file.truncate(size)
            self._file.seek(size)
        else:
            self._write(columns)

    def on_epoch_end(self, run: TrainingRun) -> None:
        """Write the epoch's row."""
        columns = run.history.as_dict()
        row = {name: values[-1] for name, values in columns.items()}
        row["epoch"] += self._before
        self._write(list(row.values()))

    def on_fit_end(self, run: TrainingRun) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _write(self, row: list[Any]) -> None:
        csv.writer(self._file, lineterminator="\n").writerow(row)
        self._file.flush()

    def _whole_rows(self, columns: list[str]) -> int:
        """Return the bytes of the file's whole rows, and take note of its last epoch."""
        content = self._path.read_bytes()
        content = content[: content.rfind(b"\n") + 1]
        rows = list(csv.reader(content.decode("utf-8", "replace").splitlines()))
        if not rows:
            return 0
        if rows[0] != columns:
            raise ValueError(
                f"{self._path} must have the columns {columns} to be appended to, got {rows[0]}; "
                "choose another path or append=False"
            )
        last = rows[-1][:1] if len(rows) > 1 else ["0"]
        if not (last and last[0].isdecimal()):
            raise ValueError(
                f"{self._path} must end with an epoch's row to be appended to, got {rows[-1]}; "
                "choose another path or append=False"
            )
        self._before = int(last[0])
        return len(content)


class TensorBoard:
    """Write each epoch's losses, accuracies, learning rate and speed for TensorBoard.

    Parameters
    ----------
    folder : path-like
        One folder a run; ``tensorboard --logdir`` is given it or the one that holds it.

    Raises
    ------
    ModuleNotFoundError
        Without the package tensorboardX: ``pip install 'fastfcn[tensorboard]'``.
    """

    TAGS = {
        "loss": "loss/train",
        "val_loss": "loss/validation",
        "accuracy": "accuracy/train",
        "val_accuracy": "accuracy/validation",
        "lr": "learning_rate",
        "samples_per_second": "samples_per_second",
    }
    """What the history's columns are called there."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise ModuleNotFoundError(
                "TensorBoard needs the package tensorboardX: pip install 'fastfcn[tensorboard]'"
            ) from error
        self._open = SummaryWriter
        self._folder = os.fspath(folder)
        self._writer: Any = None

    def on_fit_begin(self, run: TrainingRun) -> None:
        """Open a file of this fit in the folder."""
        # Its name has the second; one that goes on within the same must not take its place.
        self._writer = self._open(self._folder, filename_suffix=f".after-{run.epoch}")

    def on_epoch_end(self, run: TrainingRun) -> None:
        """Write the epoch's values."""
        for column, tag in self.TAGS.items():
            value = getattr(run.history, column)[-1]
            if value is not None:
                self._writer.add_scalar(tag, value, run.epoch)
        self._writer.flush()

    def on_fit_end(self, run: TrainingRun) -> None:
        """Close the file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
