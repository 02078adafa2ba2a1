"""Figures of data, networks and training runs.

Each function returns a :class:`matplotlib.figure.Figure` apart from pyplot's state:
``figure.savefig("curves.png", dpi=150)`` writes it, as PNG, SVG or PDF by the file's name. They are
8 inches wide, to be read at 800 pixels, in colours that colour-blind readers tell apart. matplotlib
is imported by the first call, not with this package.
"""

from fastfcn.plots.confusion import confusion_matrix
from fastfcn.plots.formulas import activations
from fastfcn.plots.history import curves
from fastfcn.plots.images import first_layer_weights, misclassified
from fastfcn.plots.learning_rate import lr_finder

__all__ = [
    "activations",
    "confusion_matrix",
    "curves",
    "first_layer_weights",
    "lr_finder",
    "misclassified",
]
