"""Figures of a training run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Blue and orange of Okabe and Ito's palette, which colour-blind readers tell apart.
_TRAIN, _TEST = "#0072B2", "#D55E00"
# Above this many epochs a marker on each would hide the line.
_MAX_MARKERS = 40


def curves(history: Any, title: str | None = None) -> "Figure":
    """Draw loss and accuracy, while training and on the validation data, over the epochs.

    Parameters
    ----------
    history : History or mapping of str to sequence
        What :func:`fastfcn.fit` returned, or its columns: ``history.as_dict()``, or those of a run
        folder's ``history.csv``. Entries that are None are left out.
    title : str, optional
        Above both panels.

    Returns
    -------
    matplotlib.figure.Figure
        Apart from pyplot's state: ``figure.savefig("curves.png")`` writes it.

    Raises
    ------
    ValueError
        For a history without epochs.

    Examples
    --------
    >>> columns = {"epoch": [1, 2], "loss": [0.9, 0.5], "accuracy": [0.6, 0.8],
    ...            "val_loss": [0.8, 0.6], "val_accuracy": [0.7, 0.75]}
    >>> [axes.get_title() for axes in curves(columns).axes]
    ['Loss', 'Accuracy']
    """
    from matplotlib.figure import Figure

    columns: Mapping[str, Sequence[Any]]
    columns = history if isinstance(history, Mapping) else history.as_dict()
    epochs = columns["epoch"]
    if not len(epochs):
        raise ValueError("history must have at least one epoch, got none")
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _panel(left, "Loss", "loss", columns)
    _panel(right, "Accuracy", "accuracy", columns)
    if title is not None:
        figure.suptitle(title)
    return figure


def _panel(axes: "Axes", title: str, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = columns["epoch"]
    marker = "o" if len(epochs) <= _MAX_MARKERS else ""
    for column, label, colour in [
        (name, "train (while learning)", _TRAIN),
        (f"val_{name}", "test (after the epoch)", _TEST),
    ]:
        points = [
            (epoch, value)
            for epoch, value in zip(epochs, columns.get(column, ()), strict=False)
            if value is not None
        ]
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, color=colour, marker=marker, markersize=4, label=label)
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.set_ylabel(name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    # One epoch alone would be given fractions of an epoch around it.
    axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
