"""The labels that a classifier knows: those of its first targets, or what partial_fit is told."""

from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.multiclass import type_of_target, unique_labels


def tell_classes(e: Any, y: Any, classes: Any) -> None:
    """Give a classifier the labels that will ever come, or check that they are those it has.

    Parameters
    ----------
    e : FCNClassifier
        Its ``classes_`` are written in the first call.
    y : array-like
        The first targets: they tell whether there are several labels at once.
    classes : array-like or None
        All labels.
    """
    known = getattr(e, "classes_", None)
    if classes is None:
        if known is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return
    labels = unique_labels(classes)
    if known is None:
        multilabel = type_of_target(y).startswith("multilabel")
        _learn(e, y if multilabel else labels)
    elif not np.array_equal(known, labels):
        raise ValueError(
            f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {known!r}"
        )


def learn_classes(e: Any, y: Any, incremental: bool) -> None:
    """Learn the labels of a new training's targets, or check that they are known.

    Parameters
    ----------
    e : FCNClassifier
        Its ``classes_`` are written.
    y : array-like
        Targets.
    incremental : bool
        Whether only some labels may be there.
    """
    if not hasattr(e, "classes_") or not (e.warm_start or incremental):
        _learn(e, y)
        return
    present = unique_labels(y)
    if e.warm_start and not incremental:
        if set(present) != set(e.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the "
                f"previous call to fit. Previously got {e.classes_}, `y` has {present}"
            )
    elif len(np.setdiff1d(present, e.classes_, assume_unique=True)):
        raise ValueError(
            f"`y` has classes not in `self.classes_`. `self.classes_` has {e.classes_}. "
            f"'y' has {present}."
        )


def _learn(e: Any, y: Any) -> None:
    e._label_binarizer = LabelBinarizer().fit(y)
    e.classes_ = e._label_binarizer.classes_
