"""Rows of pixels as images: samples that were taken for others, and the first layer's weights."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastfcn.buffers import Array
from fastfcn.plots import style
from fastfcn.plots.classes import classified

if TYPE_CHECKING:
    from fastfcn.plots.style import Axes, Figure

_GAP, _LINE, _CHARACTER, _HEAD, _MOST = 0.08, 0.16, 0.064, 0.4, 1.1
"""Inches: between images, a line of text's height, a letter's width, the title's height, and the
most that an image takes."""
_POINTS = 8.5
"""Size of the text below an image."""
_BAR = 1.0
"""Inches for a colour bar with its numbers."""
_WRONG = "#A34700"
"""The orange of the palette, darker: thin letters need more contrast."""


def misclassified(
    images: Any,
    y_true: Any,
    y_pred: Any,
    probabilities: Any = None,
    *,
    labels: Sequence[Any] | None = None,
    image_shape: Sequence[int] | None = None,
    max_images: int = 24,
    title: str | None = None,
) -> "Figure":
    """Draw images that were taken for another class, with their true and predicted labels.

    Parameters
    ----------
    images : array_like or sparse array (n, features), (n, height, width) or (n, height, width, 3)
        One channel is drawn as ink on paper: the lowest value is white.
    y_true : array_like (n,)
        Labels.
    y_pred : array_like (n,) or (n, K)
        Labels; or scores of the classes in order, whose largest counts.
    probabilities : array_like (n,) or (n, K), optional
        Of the prediction, or of all classes: ``fastfcn.predict_proba``. Shown under each image, and
        the errors of which the network was surest come first; otherwise those of the first rows.
    labels : sequence, optional
        The classes in order; or, for labels that are numbers, the names of 0, 1, ...
    image_shape : (height, width) or (height, width, 3), optional
        Of a row of features; square by default.
    max_images : int, default 24
        The most images to draw.
    title : str, optional
        By default how many there are.

    Returns
    -------
    matplotlib.figure.Figure
        An image each in one panel; a sentence where every prediction is right.

    Raises
    ------
    ValueError
        For lengths that differ, labels outside `labels`, or features that are not square while
        `image_shape` is not given.

    Examples
    --------
    >>> from fastfcn import datasets
    >>> x, y = datasets.digits()[2:]
    >>> guess = y.copy()
    >>> guess[7] = 9
    >>> figure = misclassified(x, y, guess)
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['true: 7', 'predicted: 9']
    """
    true, predicted, names = classified(y_true, y_pred, labels)
    total = len(true)
    if np.shape(images)[:1] != (total,):
        raise ValueError(
            f"images must be as many as the labels, {total}, got shape {np.shape(images)}"
        )
    if max_images < 1:
        raise ValueError(f"max_images must be at least 1, got {max_images}")
    wrong = np.flatnonzero(true != predicted)
    surest = None
    if probabilities is not None:
        surest = _of_predictions(probabilities, total)
        wrong = wrong[np.argsort(-surest[wrong], kind="stable")]
    shown = wrong[:max_images]
    if title is None:
        title = f"Misclassified: {len(wrong):,} of {total:,} ({len(wrong) / total:.2%})"
        if len(shown) < len(wrong):
            title += f"; shown: the {len(shown)} {'first' if surest is None else 'surest'}"
    if not len(shown):
        figure, [axes] = style.figure(1.5, title)
        axes.set_axis_off()
        style.note(axes, "every prediction is right")
        return figure
    captions = []
    for i in shown:
        guess = f"predicted: {names[predicted[i]]}"
        if surest is not None:
            guess += f" ({100 * surest[i]:.0f}%)"
        captions.append((f"true: {names[true[i]]}", guess))
    tiles = _tiles(images, shown, image_shape)
    longest = max(len(line) for caption in captions for line in caption)
    columns = min(max(2, int(style.WIDTH / (_GAP + _CHARACTER * longest))), 8)
    low, high = float(tiles.min()), float(tiles.max())
    colours = {"cmap": "gray_r", "vmin": low, "vmax": high if high > low else low + 1.0}
    return _grid(tiles, columns, style.WIDTH, title, captions, **colours)[0]


def first_layer_weights(
    net: Any,
    *,
    image_shape: Sequence[int] | None = None,
    max_images: int = 60,
    title: str | None = None,
) -> "Figure":
    """Draw what each unit of the first layer weighs: its weights as an image.

    White is 0, red adds and blue takes away, on one scale for all units. It ends at the weight that
    0.5% of those shown exceed, so that a few do not make all others pale.

    Parameters
    ----------
    net : Module, Linear, fitted estimator or ndarray (in_features, units)
        The network whose first linear layer is shown, that layer, or its weights.
    image_shape : (height, width), optional
        Of the input; square by default.
    max_images : int, default 60
        The most units to draw: those whose weights have the largest norms, in descending order.
    title : str, optional
        By default how many units there are.

    Returns
    -------
    matplotlib.figure.Figure
        An image for each unit in the first panel; a colour bar in the second.

    Raises
    ------
    ValueError
        For a network without a linear layer, or input features that are not square while
        `image_shape` is not given.

    Examples
    --------
    >>> from fastfcn import nn
    >>> figure = first_layer_weights(nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 2)))
    >>> len(figure.axes[0].images), figure.axes[1].get_ylabel()
    (12, 'weight')
    """
    weights = np.asarray(_first_weights(net), np.float64)
    units = weights.shape[1]
    if max_images < 1:
        raise ValueError(f"max_images must be at least 1, got {max_images}")
    norms = np.linalg.norm(weights, axis=0)
    shown = np.argsort(-norms, kind="stable")[:max_images]
    if title is None:
        title = f"Weights of the first layer: {units:,} units"
        if len(shown) < units:
            title += f"; shown: the {len(shown)} with the largest norms"
    if image_shape is not None and np.shape(image_shape) != (2,):
        raise ValueError(f"image_shape must be (height, width), got {image_shape}")
    tiles = _tiles(weights.T, shown, image_shape)
    sizes = np.abs(tiles)
    top = float(np.quantile(sizes, 0.995)) or float(sizes.max()) or 1.0
    columns = min(10, max(4, math.ceil(math.sqrt(1.6 * len(shown)))))
    width = style.WIDTH - _BAR
    figure, axes = _grid(tiles, columns, width, title, cmap="RdBu_r", vmin=-top, vmax=top)
    beyond = "both" if float(sizes.max()) > top else "neither"
    bar = figure.colorbar(axes.images[0], ax=axes, extend=beyond, fraction=0.03, pad=0.02)
    bar.set_label("weight", fontsize=style.TEXT)
    bar.ax.tick_params(labelsize=style.SMALL)
    return figure


def _grid(
    tiles: Array,
    columns: int,
    width: float,
    title: str,
    captions: Sequence[Sequence[str]] | None = None,
    **colours: Any,
) -> "tuple[Figure, Axes]":
    """Draw images in one panel `width` inches wide, row by row, each with lines of text below."""
    ratio = tiles.shape[1] / tiles.shape[2]
    across = width / columns
    wide = min(across - _GAP, _MOST / max(ratio, 1.0))
    texts: Sequence[Sequence[str]] = captions if captions is not None else [()] * len(tiles)
    down = wide * ratio + len(texts[0]) * _LINE + (2 * _GAP if captions else _GAP)
    rows = math.ceil(len(tiles) / columns)
    figure, [axes] = style.figure(rows * down + _HEAD, title)
    # The panel's coordinates are inches, from its upper left corner.
    for i, (tile, lines) in enumerate(zip(tiles, texts, strict=True)):
        row, column = divmod(i, columns)
        middle, top = (column + 0.5) * across, row * down
        foot = top + wide * ratio
        extent = (middle - wide / 2, middle + wide / 2, foot, top)
        axes.imshow(tile, extent=extent, interpolation="nearest", **colours)
        for number, text in enumerate(lines):
            axes.text(
                middle,
                foot + (number + 0.15) * _LINE,
                text,
                ha="center",
                va="top",
                fontsize=_POINTS,
                # The last line is what the network took it for.
                color=style.INK if number + 1 < len(lines) else _WRONG,
            )
    axes.set_xlim(0.0, width)
    axes.set_ylim(rows * down, 0.0)
    axes.set_aspect("equal")
    axes.set_anchor("N")
    axes.set_axis_off()
    return figure, axes


def _tiles(images: Any, shown: Array, image_shape: Sequence[int] | None) -> Array:
    """Return the images of some rows, (n, height, width) or (n, height, width, 3)."""
    # Of sparse rows only those that are drawn become dense.
    rows = images.tocsr() if hasattr(images, "tocsr") else np.asarray(images)
    chosen = rows[shown]
    tiles = np.asarray(chosen.toarray() if hasattr(chosen, "toarray") else chosen)
    if image_shape is None and tiles.ndim == 2:
        side = math.isqrt(tiles.shape[1])
        if side * side != tiles.shape[1]:
            raise ValueError(
                "a row must have a square number of features to be taken for an image, got "
                f"{tiles.shape[1]}; say image_shape=(height, width)"
            )
        image_shape = (side, side)
    if image_shape is not None and np.ndim(image_shape) != 1:
        raise ValueError(f"image_shape must be (height, width), got {image_shape}")
    shape = tiles.shape[1:] if image_shape is None else tuple(image_shape)
    if len(shape) == 3 and shape[2] == 1:
        shape = shape[:2]
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3):
        raise ValueError(
            f"an image must have the shape (height, width) or (height, width, 3), got {shape}"
        )
    if math.prod(shape) != math.prod(tiles.shape[1:]):
        raise ValueError(
            f"image_shape must hold the {math.prod(tiles.shape[1:])} features of a row, got {shape}"
        )
    tiles = tiles.reshape(len(tiles), *shape)
    if len(shape) == 3 and tiles.dtype != np.uint8:
        low, high = float(tiles.min()), float(tiles.max())
        # matplotlib takes colours from 0 to 1.
        tiles = (tiles - low) / (high - low if high > low else 1.0)
    return tiles


def _of_predictions(probabilities: Any, total: int) -> Array:
    given = np.asarray(probabilities, np.float64)
    if given.ndim not in (1, 2) or len(given) != total:
        raise ValueError(
            f"probabilities must have shape ({total},) or ({total}, classes), got {given.shape}"
        )
    return given if given.ndim == 1 else np.asarray(given.max(axis=1))


def _first_weights(net: Any) -> Any:
    net = getattr(net, "network_", getattr(net, "net", net))  # an estimator's, a Model's
    for layer in getattr(net, "linears", None) or [net]:
        weights = getattr(layer, "weight", layer)
        if isinstance(weights, np.ndarray) and weights.ndim == 2:
            return weights
    raise ValueError(
        "net must be a network with a Linear layer, such a layer, or its weights of shape "
        f"(in_features, units), got {net!r:.200}"
    )
