"""What every data set function returns, and what it raises when it has nothing to return."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Dataset(NamedTuple):
    """Training and test samples with their labels.

    Attributes
    ----------
    x_train : (n_train, features) ndarray
        One sample a row: uint8 for images, float32 for ``digits``.
    y_train : (n_train,) int64 ndarray
        The class of each row.
    x_test, y_test : ndarray
        The same, for the test samples.

    Examples
    --------
    >>> from fastfcn import datasets
    >>> x_train, y_train, x_test, y_test = datasets.digits()
    >>> x_train.shape[1] == x_test.shape[1] == 64
    True
    """

    x_train: NDArray[Any]
    y_train: NDArray[np.int64]
    x_test: NDArray[Any]
    y_test: NDArray[np.int64]


class DatasetUnavailable(FileNotFoundError):
    """A data set is neither on this machine nor, if asked for, to be had from a mirror."""
