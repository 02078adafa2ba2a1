"""The confusion matrix: what each class was taken for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastfcn.buffers import Array
from fastfcn.plots import style
from fastfcn.plots.classes import classified

if TYPE_CHECKING:
    from fastfcn.plots.style import Axes, Figure

_MAX_NUMBERS = 30
"""Classes above which a cell has no room for its number."""
_LINES = "#E0E0E0"
"""Between cells."""


def confusion_matrix(
    y_true: Any, y_pred: Any, labels: Sequence[Any] | None = None, title: str | None = None
) -> "Figure":
    """Draw the confusion matrix: a row a true class, a column a predicted class.

    Each cell has the number of samples and their share of the row; empty cells have none. Right
    predictions are blue and wrong ones orange, each darker where they are more, so that few errors
    show beside many right predictions. Made for 2 to 20 classes; numbers are left out above 30.

    Parameters
    ----------
    y_true : array_like (n,)
        Labels.
    y_pred : array_like (n,) or (n, K)
        Labels; or scores of the classes in order, whose largest counts.
    labels : sequence, optional
        The classes in the order of the rows; or, for labels that are numbers, the names of
        0, 1, ... By default every class that occurs, sorted.
    title : str, optional
        By default "Confusion matrix" with the share of right predictions.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For different lengths, no samples, or labels outside `labels`.

    Examples
    --------
    >>> figure = confusion_matrix([0, 1, 1, 1], [0, 1, 1, 0], ["no", "yes"])
    >>> [text.get_text().split() for text in figure.axes[0].texts]
    [['1', '100%'], ['2', '66.7%'], ['1', '33.3%']]
    """
    true, predicted, names = classified(y_true, y_pred, labels)
    size = len(names)
    counts = np.bincount(true * size + predicted, minlength=size * size).reshape(size, size)
    total, right = int(counts.sum()), int(np.trace(counts))
    if title is None:
        title = f"Confusion matrix: {right:,} of {total:,} right ({right / total:.2%})"
    longest = max(map(len, names))
    figure, [axes] = style.figure(min(7.5, 2.0 + 0.45 * size), title)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    _draw(axes, counts, shares)
    upright = longest * size <= 80
    axes.set_xticks(range(size), names, rotation=0 if upright else 90)
    axes.set_yticks(range(size), names)
    axes.set_xlabel("predicted class", fontsize=style.TEXT)
    axes.set_ylabel("true class (each row is 100%)", fontsize=style.TEXT)
    axes.tick_params(labelsize=style.SMALL, length=0)
    axes.spines[:].set_visible(False)
    # Cells as wide as the figure allows: numbers want width.
    axes.set_aspect("auto")
    return figure


def _draw(axes: "Axes", counts: Array, shares: Array) -> None:
    size = len(counts)
    diagonal = np.eye(size, dtype=np.bool_)
    points = style.TEXT if size <= 12 else 7.0 if size <= 20 else 5.5
    for colours, hidden in (("Blues", ~diagonal), ("Oranges", diagonal)):
        values = np.ma.masked_where(hidden | (counts == 0), shares)
        # Short of the darkest colours: numbers must stand out, white on blue and dark on orange.
        top = 1.3 if colours == "Blues" else 1.6 * float(values.max() or 1.0)
        image = axes.imshow(values, cmap=colours, vmin=0.0, vmax=top)
        if size > _MAX_NUMBERS:
            continue
        for row, column in np.argwhere(~np.ma.getmaskarray(values)):
            share = float(shares[row, column])
            axes.text(
                column,
                row,
                f"{counts[row, column]}\n{_percent(share)}",
                ha="center",
                va="center",
                fontsize=points,
                color=style.readable_on(image.to_rgba(np.asarray(share))),
            )
    for edge in range(size + 1):
        axes.axhline(edge - 0.5, color=_LINES, linewidth=0.8)
        axes.axvline(edge - 0.5, color=_LINES, linewidth=0.8)


def _percent(share: float) -> str:
    """Return three digits at most, and 100% for all of them alone."""
    if share == 1.0:
        return "100%"
    return f"{100 * share:.1f}%" if share >= 0.0005 else "<0.1%"
