"""The activation functions and their derivatives, as fastfcn.nn computes them."""

import math
from typing import TYPE_CHECKING

import numpy as np

from fastfcn.buffers import Array
from fastfcn.plots import style

if TYPE_CHECKING:
    from fastfcn import nn
    from fastfcn.plots.style import Figure

_COLUMNS = 5


def activations(title: str | None = None) -> "Figure":
    """Draw every activation function of :mod:`fastfcn.nn` and its derivative.

    The values are those of the layers themselves, forward and backward, so what is drawn is what
    networks compute. Softmax, which couples the numbers of a row, is shown as pⱼ of a row (z, 0, 0)
    with its derivative by z, the diagonal of its Jacobian.

    Parameters
    ----------
    title : str, optional
        Above all panels.

    Returns
    -------
    matplotlib.figure.Figure
        A panel each, titled with the layer's name: h(z) solid, h'(z) dashed.

    References
    ----------
    .. [1] 004_609607d1608c8367, activation functions.

    Examples
    --------
    >>> [axes.get_title() for axes in activations().axes][:3]
    ['Identity', 'ReLU', 'LeakyReLU, α = 0.01']
    """
    layers = _layers()
    rows = math.ceil(len(layers) / _COLUMNS)
    figure, panels = style.figure(
        1.9 * rows + 0.6, title or "Activation functions and their derivatives", rows, _COLUMNS
    )
    z = np.linspace(-4.0, 4.0, 801)
    for axes, layer in zip(panels, layers, strict=False):
        value, slope = _values(layer, z)
        axes.plot(z, value, color=style.BLUE, label="h(z)")
        axes.plot(z, slope, color=style.ORANGE, linestyle="--", label="h'(z)")
        style.dress(axes, None, "z")
        axes.set_title(_name(layer), fontsize=style.SMALL)
        axes.set_xlim(-4.0, 4.0)
        axes.set_xticks([-4, -2, 0, 2, 4])
        axes.set_ylim(-1.25, 2.25)
        axes.label_outer(remove_inner_ticks=False)
    for axes in panels[len(layers) :]:
        axes.remove()
    style.legend_below(figure, panels[0].lines, 2)
    return figure


def _layers() -> "list[nn.Activation]":
    """Return one of each activation that fastfcn.nn exports: Softmax last."""
    from fastfcn import nn

    found = [getattr(nn, name) for name in nn.__all__]
    kinds = [kind for kind in found if isinstance(kind, type) and issubclass(kind, nn.Activation)]
    layers = [kind() for kind in kinds if kind is not nn.Activation]
    # By their codes, the order in which the kernels list them.
    return sorted(layers, key=lambda one: (isinstance(one, nn.Softmax), one.stage(1).activation))


def _name(layer: "nn.Activation") -> str:
    name = type(layer).__name__
    if name == "Softmax":
        return "Softmax of (z, 0, 0)"
    return f"{name}, α = {layer.alpha:g}" if layer.alpha else name


def _values(layer: "nn.Activation", z: Array) -> tuple[Array, Array]:
    """Return h(z) and h'(z): backward of a gradient of ones."""
    from fastfcn import nn

    if isinstance(layer, nn.Softmax):
        rows = np.stack([z, np.zeros_like(z), np.zeros_like(z)], axis=1)
        value = layer.forward(rows)[:, 0]
        slope = layer.backward(np.eye(3)[:1].repeat(len(z), axis=0))
        assert slope is not None
        return value, slope[:, 0]
    value, slope = layer.forward(z), layer.backward(np.ones_like(z))
    assert slope is not None
    return value, slope
