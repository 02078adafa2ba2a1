"""What a training run was like."""

import sys
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_SHOWN = ("loss", "accuracy", "val_loss", "val_accuracy", "lr")


@dataclass(repr=False)
class History:
    """What a training run was like, one entry an epoch; ``repr`` shows the last.

    Attributes
    ----------
    epoch : list of int
        1, 2, ...
    loss : list of float
        Loss of each sample when it was trained on, reduced over the epoch.
    accuracy : list of float or None
        Share of samples whose label came first when they were trained on, or all of whose outputs
        were on the right side for binary losses; None for losses of numbers.
    val_loss, val_accuracy : list of float or None
        On the validation data after the epoch; None without.
        All four are weighted by ``sample_weight``, where that was given.
    lr : list of float
        The learning rate of the epoch's last step: the optimiser's, times the schedule's factor.
    seconds : list of float
        Training alone: neither compilation nor validation nor callbacks. A loader's time counts.
    samples_per_second : list of float
        Samples trained on per second of that.
    compile_seconds : float
        Compiling the kernels, or loading them from disk.
    seed : int
        The seed of the batch order, drawn where none was given.
    stop_reason : str or None
        Why training ended before its last epoch; None where it did not.
    """

    epoch: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    accuracy: list[float | None] = field(default_factory=list)
    val_loss: list[float | None] = field(default_factory=list)
    val_accuracy: list[float | None] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    samples_per_second: list[float] = field(default_factory=list)
    compile_seconds: float = 0.0
    seed: int = 0
    stop_reason: str | None = None

    def as_dict(self) -> dict[str, list[Any]]:
        """Return the columns by name, each with one entry an epoch."""
        columns = {name: value for name, value in vars(self).items() if isinstance(value, list)}
        return {name: list(value) for name, value in columns.items()}

    def add(
        self,
        epoch: int,
        train: "Evaluation",
        validation: "Evaluation | None",
        lr: float,
        seconds: float,
        samples: int,
    ) -> None:
        """Add an epoch's row."""
        self.epoch.append(epoch)
        self.loss.append(train.loss)
        self.accuracy.append(train.accuracy)
        self.val_loss.append(None if validation is None else validation.loss)
        self.val_accuracy.append(None if validation is None else validation.accuracy)
        self.lr.append(lr)
        self.seconds.append(seconds)
        self.samples_per_second.append(samples / max(seconds, sys.float_info.min))

    def keep_whole_epochs(self) -> None:
        """Cut a row that is half there: Ctrl-C may come between two of its columns."""
        columns = [column for column in vars(self).values() if isinstance(column, list)]
        whole = min(map(len, columns))
        for column in columns:
            del column[whole:]

    def __len__(self) -> int:
        return len(self.epoch)

    def __repr__(self) -> str:
        if not len(self):
            return "History(no epochs)"
        columns = {name: getattr(self, name) for name in _SHOWN}
        last = {name: column[-1] for name, column in columns.items() if column}
        shown = [f"{name}={value:.4g}" for name, value in last.items() if value is not None]
        return f"History({', '.join([f'epoch={self.epoch[-1]}', *shown])})"


class Evaluation(NamedTuple):
    """Loss and accuracy on a data set; accuracy is None for losses of numbers."""

    loss: float
    accuracy: float | None


class Tally(NamedTuple):
    """Sums over samples, from which loss and accuracy follow; tallies of several parts add up."""

    loss: float = 0.0
    divisor: float = 0.0
    """What a mean of the losses is divided by."""
    hits: float = 0.0
    counted: float = 0.0
    """Samples that count for the accuracy, by their weights; 0 also for losses of numbers."""

    def plus(self, other: "Tally") -> "Tally":
        """Return the tally of both parts together."""
        return Tally(*(a + b for a, b in zip(self, other, strict=True)))

    def evaluation(self, mean: bool) -> Evaluation:
        """Return the loss, divided for a mean, and the accuracy."""
        loss = self.loss / max(self.divisor, sys.float_info.min) if mean else self.loss
        return Evaluation(loss, self.hits / self.counted if self.counted else None)
