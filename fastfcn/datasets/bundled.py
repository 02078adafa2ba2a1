"""The handwritten digits that scikit-learn carries: they need no files and no network."""

import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastfcn.datasets.dataset import Dataset


def digits() -> Dataset:
    """Load scikit-learn's 8x8 handwritten digits, split once and for all.

    Returns
    -------
    Dataset
        Images as float32 (n, 64), the pixels' 0..16 divided by 16, so within [0, 1] and exact;
        labels 0..9 as int64. 1,433 training and 364 test samples. In the order of scikit-learn's
        file, every fifth sample of each class, from its first on, is a test sample: the split is
        stratified and never changes.

    Examples
    --------
    >>> from fastfcn import datasets
    >>> x_train, y_train, x_test, y_test = datasets.digits()
    >>> x_train.shape, x_train.dtype, float(x_train.max())
    ((1433, 64), dtype('float32'), 1.0)
    >>> x_test.shape, y_test.dtype
    ((364, 64), dtype('int64'))
    """
    rows = _digits_file()
    images, labels = rows[:, :-1].astype(np.float32) / np.float32(16), rows[:, -1].astype(np.int64)
    is_test = np.zeros(len(labels), dtype=np.bool_)
    for label in range(10):
        is_test[np.flatnonzero(labels == label)[::5]] = True
    return Dataset(images[~is_test], labels[~is_test], images[is_test], labels[is_test])


def _digits_file() -> npt.NDArray[np.float64]:
    """Return scikit-learn's digits: a row each, 64 pixels and the class.

    Read from its installed file: importing scikit-learn takes longer than training on them.
    """
    spec = importlib.util.find_spec("sklearn")
    for folder in spec.submodule_search_locations or [] if spec else []:
        file = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits  # wherever a version of it keeps them

    pixels, classes = load_digits(return_X_y=True)
    return np.column_stack([pixels, classes])
