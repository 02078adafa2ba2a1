"""Loss, accuracy and learning rate over the epochs of one run, or of several."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastfcn.buffers import Array
from fastfcn.plots import style

if TYPE_CHECKING:
    from fastfcn.plots.style import Axes, Figure, Line2D

Columns = Mapping[str, Sequence[Any]]

_TRAINING, _VALIDATION = "training (while learning)", "validation (after the epoch)"
_RATE = "learning rate"
# Above this many epochs a marker on each would hide the line.
_MAX_MARKERS = 40


class _Panel(NamedTuple):
    """A panel: its title, the name of its axis, and the columns it shows with what they are."""

    title: str
    axis: str
    columns: tuple[tuple[str, str], ...]


_PANELS = (
    _Panel("Loss", "loss", (("loss", _TRAINING), ("val_loss", _VALIDATION))),
    _Panel("Accuracy", "accuracy", (("accuracy", _TRAINING), ("val_accuracy", _VALIDATION))),
    _Panel("Learning rate", "learning rate", (("lr", _RATE),)),
)


def curves(history: Any, title: str | None = None, *, log: bool = False) -> "Figure":
    """Draw loss, accuracy and learning rate over the epochs, of one run or of several.

    Parameters
    ----------
    history : History, mapping, path, or several of them
        A run: what :func:`fastfcn.fit` returned, its columns (``history.as_dict()``), a fitted
        estimator, a run folder, or a CSV file of such columns. Several runs to compare: a mapping
        from their names to them, or a list, whose run folders are named by themselves. Entries
        that are None are left out, and so are panels without any entry, or with a learning rate
        that never changes.
    title : str, optional
        Above all panels.
    log : bool, default False
        Whether the loss has a logarithmic axis, where any of it is above 0.

    Returns
    -------
    matplotlib.figure.Figure
        Its panels are titled Loss, Accuracy and Learning rate. One run has its training and
        validation curves in two colours; of several, each has a colour, and training is dashed.

    Raises
    ------
    TypeError
        For something else than runs.
    ValueError
        For a run without epochs, or without a column that there is a panel for.

    Examples
    --------
    >>> columns = {"epoch": [1, 2], "loss": [0.9, 0.5], "accuracy": [0.6, 0.8],
    ...            "val_loss": [0.8, 0.6], "val_accuracy": [0.7, 0.75]}
    >>> [axes.get_title() for axes in curves(columns).axes]
    ['Loss', 'Accuracy']
    >>> figure = curves({"small": columns, "large": columns}, "Two networks")
    """
    runs = _runs(history)
    panels = [
        panel
        for panel in _PANELS
        if any(
            _points(run, column) and (kind != _RATE or _changes(run, column))
            for run in runs.values()
            for column, kind in panel.columns
        )
    ]
    if not panels:
        raise ValueError(
            "history must have numbers in a column loss or accuracy, or an lr that changes, got "
            f"{[sorted(run) for run in runs.values()]}"
        )
    figure, axes = style.figure(3.6 if len(panels) < 3 else 3.2, title, columns=len(panels))
    for one, panel in zip(axes, panels, strict=True):
        _draw(one, panel, runs)
        style.whole_numbers(one, 10 if len(panels) < 3 else 6)
        if log and panel.title == "Loss" and any((_values(line) > 0).any() for line in one.lines):
            style.plain_logarithms(one)
    style.legend_below(figure, *_legend(runs))
    return figure


def _draw(axes: "Axes", panel: _Panel, runs: Mapping[str, Columns]) -> None:
    style.dress(axes, panel.title, "epoch", panel.axis)
    epochs = [epoch for run in runs.values() for epoch in run["epoch"]]
    for number, (name, run) in enumerate(runs.items()):
        for column, label in panel.columns:
            points = _points(run, column)
            if points:
                x, y = zip(*points, strict=True)
                look = _look(number, label, len(runs)) | _markers(number, len(run["epoch"]))
                axes.plot(x, y, label=label if len(runs) == 1 else f"{name}, {label}", **look)
    if not any(len(_values(line)) for line in axes.lines):
        style.note(axes, "no finite value: training diverged")
    # One epoch alone would be given fractions of an epoch around it.
    axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
    if panel.title == "Accuracy":
        style.percentages(axes)
    else:
        axes.ticklabel_format(axis="y", useOffset=False)


def _values(line: "Line2D") -> Array:
    """Return what is seen of a line."""
    values = np.asarray(line.get_ydata(), np.float64)
    return values[np.isfinite(values)]


def _look(number: int, label: str, runs: int) -> dict[str, Any]:
    if runs == 1:
        colours = {_TRAINING: style.BLUE, _VALIDATION: style.ORANGE, _RATE: style.INK}
        return {"color": colours[label]}
    return {
        "color": style.PALETTE[number % len(style.PALETTE)],
        "linestyle": "--" if label == _TRAINING else "-",
        "linewidth": 1.2 if label == _TRAINING else 1.8,
    }


def _markers(number: int, epochs: int) -> dict[str, Any]:
    """Return a marker that tells runs of the same colour apart."""
    shapes = "os^Dv"
    again = number // len(style.PALETTE)
    if epochs <= _MAX_MARKERS or again:
        every = max(1, epochs // 20)
        return {"marker": shapes[again % len(shapes)], "markersize": 4, "markevery": every}
    return {}


def _legend(runs: Mapping[str, Columns]) -> tuple[list[Any], int]:
    """Return the legend's entries, and in how many columns they stand."""
    kinds = [
        label
        for label in (_TRAINING, _VALIDATION)
        if any(
            _points(run, column)
            for run in runs.values()
            for panel in _PANELS
            for column, kind in panel.columns
            if kind == label
        )
    ]
    if len(runs) == 1:
        epochs = max(len(run["epoch"]) for run in runs.values())
        marks = _markers(0, epochs)
        return [style.line(label=kind, **_look(0, kind, 1) | marks) for kind in kinds], 2
    lines = [
        style.line(label=name, **_look(i, _VALIDATION, len(runs)) | _markers(i, len(run["epoch"])))
        for i, (name, run) in enumerate(runs.items())
    ]
    for kind in kinds:
        lines.append(style.line(label=kind, **_look(0, kind, 2) | {"color": style.FAINT}))
    return lines, 2 if max(map(len, runs)) > 20 else 4


def _points(run: Columns, column: str) -> list[tuple[Any, float]]:
    pairs = zip(run["epoch"], run.get(column, ()), strict=False)
    return [(epoch, value) for epoch, value in pairs if value is not None]


def _changes(run: Columns, column: str) -> bool:
    return len({value for _, value in _points(run, column)}) > 1


def _runs(history: Any) -> dict[str, Columns]:
    """Return the runs by their names."""
    if isinstance(history, Mapping) and "epoch" not in history:
        named = dict(history)
    elif isinstance(history, list | tuple):
        named = {}
        for number, one in enumerate(history, 1):
            path = isinstance(one, str | os.PathLike)
            name = Path(one).resolve().name if path else f"run {number}"
            # Runs of the same name in different folders.
            named[str(one) if name in named and path else name] = one
    else:
        named = {"run": history}
    if not named:
        raise ValueError("history must have at least one run, got none")
    return {str(name): _columns(one) for name, one in named.items()}


def _columns(run: Any) -> Columns:
    if isinstance(run, str | os.PathLike):
        from fastfcn.runs import read_history

        columns: Any = read_history(run)
        if "epoch" not in columns:
            raise ValueError(
                f"the history of {run} must have a column epoch, got {list(columns) or 'none'}"
            )
    else:
        history = getattr(run, "history_", run)
        columns = history.as_dict() if hasattr(history, "as_dict") else history
    if not isinstance(columns, Mapping) or "epoch" not in columns:
        raise TypeError(
            "history must be what fit returned, its columns with one named epoch, a run folder, "
            f"or several of them, got {run!r:.200}"
        )
    if not len(columns["epoch"]):
        raise ValueError("history must have at least one epoch, got none")
    return columns
