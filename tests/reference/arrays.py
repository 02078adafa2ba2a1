"""What all of the oracle computes with."""

import numpy as np

Array = np.ndarray


def f64(x) -> Array:
    return np.asarray(x, dtype=np.float64)
