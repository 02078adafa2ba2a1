"""The learning-rate finder's curve: the loss over growing learning rates."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastfcn.buffers import Array
from fastfcn.plots import style

if TYPE_CHECKING:
    from fastfcn.plots.style import Figure


def lr_finder(result: Any, title: str | None = None) -> "Figure":
    """Draw the loss over the learning rates that were tried, and the one that is suggested.

    Parameters
    ----------
    result : object or mapping with ``lr``, ``loss`` and perhaps ``suggestion``
        What ``fastfcn.lr_find`` returned, or its columns.
    title : str, optional
        By default "Learning-rate finder".

    Returns
    -------
    matplotlib.figure.Figure
        Logarithmic in the learning rate. Losses far above the first, where training diverges, lie
        above the panel.

    Raises
    ------
    ValueError
        For no finite loss, rates that are not above 0, or different lengths.

    Examples
    --------
    >>> figure = lr_finder({"lr": [0.001, 0.01, 0.1, 1.0], "loss": [2.3, 2.2, 1.5, 9.0],
    ...                     "suggestion": 0.05})
    >>> figure.axes[0].lines[1].get_label()
    'suggestion: 0.05, where the loss itself falls fastest'
    """
    rates, losses = _column(result, "lr"), _column(result, "loss")
    if len(rates) != len(losses) or not np.isfinite(losses).any():
        raise ValueError(
            "lr and loss must be as many, with a finite loss among them, got "
            f"{len(rates)} and {len(losses)} of which {int(np.isfinite(losses).sum())} finite"
        )
    if not (rates > 0).all():
        raise ValueError(f"lr must be above 0, got {rates.min()}")
    figure, [axes] = style.figure(4.0, title or "Learning-rate finder")
    style.dress(axes, None, "learning rate (logarithmic)", "loss")
    axes.plot(rates, losses, color=style.BLUE, label="loss, smoothed: some steps late")
    suggestion = _get(result, "suggestion")
    if suggestion is not None and np.isfinite(suggestion):
        label = f"suggestion: {float(suggestion):.3g}, where the loss itself falls fastest"
        axes.axvline(float(suggestion), color=style.ORANGE, linestyle="--", label=label)
    axes.set_xscale("log")
    finite = losses[np.isfinite(losses)]
    low, first = float(finite.min()), float(finite[0])
    height = max(first - low, 0.05 * abs(first), 1e-9)
    axes.set_ylim(low - 0.1 * height, min(float(finite.max()), first + 0.4 * height) + 0.1 * height)
    axes.legend(frameon=False, fontsize=style.TEXT)
    return figure


def _get(result: Any, name: str) -> Any:
    return result.get(name) if isinstance(result, Mapping) else getattr(result, name, None)


def _column(result: Any, name: str) -> Array:
    values = _get(result, name)
    if values is None:
        raise ValueError(f"result must have {name}, got {result!r:.200}")
    return np.asarray(values, np.float64).reshape(-1)
