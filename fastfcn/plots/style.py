"""The one style of all figures; the only module that imports matplotlib."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastfcn.buffers import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure as Figure
    from matplotlib.lines import Line2D as Line2D

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, which colour-blind readers tell apart, without the faint yellow."""
BLUE, ORANGE = PALETTE[:2]
INK, FAINT = "#333333", "#767676"

WIDTH = 8.0
"""Inches: 800 pixels at matplotlib's 100 a inch, where the sizes below are easily read."""
TITLE, PANEL, TEXT, SMALL = 13.0, 11.0, 10.0, 9.0
"""Points: of the figure's title, a panel's title, axes' names and legends, ticks and captions."""


def figure(
    height: float, title: str | None, rows: int = 1, columns: int = 1
) -> "tuple[Figure, list[Axes]]":
    """Return a figure of `height` inches and its panels, row by row."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = made.subplots(rows, columns, squeeze=False)
    if title is not None:
        made.suptitle(title, fontsize=TITLE)
    return made, list(panels.flat)


def dress(
    axes: "Axes", title: str | None = None, x: str | None = None, y: str | None = None
) -> None:
    """Give a panel with curves its title, the names of its axes, a grid and no box around it."""
    if title is not None:
        axes.set_title(title, fontsize=PANEL)
    if x is not None:
        axes.set_xlabel(x, fontsize=TEXT)
    if y is not None:
        axes.set_ylabel(y, fontsize=TEXT)
    axes.tick_params(labelsize=SMALL)
    axes.grid(color="#DDDDDD", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def note(axes: "Axes", text: str) -> None:
    """Write in the middle of a panel why there is nothing to see in it."""
    axes.set_yticks([])
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", fontsize=PANEL)


def line(**properties: Any) -> "Line2D":
    """Return a line that stands in a legend alone."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **properties)


def legend_below(made: "Figure", entries: Sequence[Any], columns: int) -> None:
    """Put a legend under all panels, where it hides no curve."""
    made.legend(
        handles=list(entries),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=TEXT,
    )


def whole_numbers(axes: "Axes", most: int) -> None:
    """Put the ticks of the x axis, about `most`, at whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(
        MaxNLocator(most, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
    )


def percentages(axes: "Axes") -> None:
    """Write the ticks of the y axis, shares of 1, as percentages."""
    from matplotlib.ticker import FuncFormatter

    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.6g}%"))


def readable_on(colour: Sequence[float] | Array) -> str:
    """Return the colour of text, dark or white, that stands out most from a background."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    luminance = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return "white" if luminance < 0.26 else INK


def plain_logarithms(axes: "Axes") -> None:
    """Make the y axis logarithmic, with ticks that read 0.05 and not 5·10⁻², and enough of them."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
