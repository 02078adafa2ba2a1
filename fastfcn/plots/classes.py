"""True and predicted classes, as figures count and name them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastfcn.buffers import Array


class Classified(NamedTuple):
    """Samples by their classes' places among the names."""

    true: Array
    predicted: Array
    names: list[str]


def classified(y_true: Any, y_pred: Any, labels: Sequence[Any] | None) -> Classified:
    """Number and name the classes of samples and of their predictions.

    Parameters
    ----------
    y_true : array_like (n,)
        Labels.
    y_pred : array_like (n,) or (n, K)
        Labels; or scores of the classes in order, whose largest counts.
    labels : sequence, optional
        The classes in order; or, for labels that are numbers, the names of 0, 1, ... By default
        the classes that occur, sorted, and as many as there are scores.

    Raises
    ------
    ValueError
        For other shapes, no samples, and labels outside.

    Examples
    --------
    >>> classified(["b", "a"], [[0.1, 0.9], [0.2, 0.8]], None)
    Classified(true=array([1, 0]), predicted=array([1, 1]), names=['a', 'b'])
    """
    true, predicted = np.asarray(y_true), np.asarray(y_pred)
    if true.ndim != 1 or predicted.ndim not in (1, 2):
        raise ValueError(
            "y_true must have shape (n,) and y_pred (n,) or (n, classes), got "
            f"{true.shape} and {predicted.shape}"
        )
    if len(predicted) != len(true) or not len(true):
        raise ValueError(
            f"y_true and y_pred must have one length above 0, got {len(true)} and {len(predicted)}"
        )
    scores = predicted.ndim == 2
    if scores and predicted.shape[1] == 1:
        raise ValueError(
            "y_pred must have a column a class, or be labels, got one column; of probabilities "
            "make labels by (y_pred[:, 0] > 0.5).astype(int)"
        )
    numbers = true.dtype.kind in "biuf"
    if labels is not None:
        given = np.asarray(labels)
        if given.ndim != 1:
            raise ValueError(f"labels must be a list, one for each class, got {labels!r:.200}")
        named = numbers and given.dtype.kind not in "biuf"
        classes = np.arange(len(given)) if named else given
    elif scores:
        classes = np.arange(predicted.shape[1]) if numbers else np.unique(true)
    else:
        classes = np.unique(np.concatenate([true, predicted]))
    if scores:
        if predicted.shape[1] != len(classes):
            raise ValueError(
                f"y_pred must have a column for each of the {len(classes)} classes, got "
                f"{predicted.shape[1]}; name all classes in labels"
            )
        predicted = classes[predicted.argmax(axis=1)]
    names = [str(name) for name in (classes if labels is None else labels)]
    return Classified(
        _places(true, classes, "y_true"), _places(predicted, classes, "y_pred"), names
    )


def _places(values: Array, classes: Array, name: str) -> Array:
    order = np.argsort(classes, kind="stable")
    found = np.searchsorted(classes, values, sorter=order)
    places: Array = order[found.clip(max=len(classes) - 1)]
    strangers = values[classes[places] != values]
    if len(strangers):
        raise ValueError(
            f"{name} must hold classes among {classes.tolist()}, got {strangers[0].item()!r}; "
            "name all classes in labels"
        )
    return places
