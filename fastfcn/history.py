"""What a training run was like."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass
class History:
    """What a training run was like, one entry an epoch.

    Attributes
    ----------
    epoch : list of int
        1, 2, ...
    loss : list of float
        Loss of each sample when it was trained on, reduced over the epoch.
    accuracy : list of float or None
        Share of samples whose label came first when they were trained on; None for losses without
        class labels.
    val_loss, val_accuracy : list of float or None
        On the validation data after the epoch; None without.
        All four are weighted by ``sample_weight``, where that was given.
    seconds : list of float
        Training alone: neither compilation nor validation.
    samples_per_second : list of float
        Samples trained on per second of that.
    compile_seconds : float
        Compiling the kernels, or loading them from disk.
    seed : int
        The seed of the batch order, drawn where none was given.
    """

    epoch: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    accuracy: list[float | None] = field(default_factory=list)
    val_loss: list[float | None] = field(default_factory=list)
    val_accuracy: list[float | None] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    samples_per_second: list[float] = field(default_factory=list)
    compile_seconds: float = 0.0
    seed: int = 0

    def as_dict(self) -> dict[str, list[Any]]:
        """Return the columns by name, each with one entry an epoch."""
        columns = {name: value for name, value in vars(self).items() if isinstance(value, list)}
        return {name: list(value) for name, value in columns.items()}

    def __len__(self) -> int:
        return len(self.epoch)


class Evaluation(NamedTuple):
    """Loss and accuracy on a data set; accuracy is None for losses without class labels."""

    loss: float
    accuracy: float | None
