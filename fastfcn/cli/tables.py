"""Tables on the terminal."""

from collections.abc import Sequence


def aligned(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under their columns' names, the first column flush left and the others right.

    Examples
    --------
    >>> print(aligned(["class", "samples"], [["setosa", "50"], ["iris", "7"]]))
    class   samples
    setosa       50
    iris          7
    """
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            f"{cell:<{width}}" if i == 0 else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [names, *rows]
    )
