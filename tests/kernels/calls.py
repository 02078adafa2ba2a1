"""Calls of compiled pieces that are not kernels of their own."""

import numba
import numpy as np
from numba import types

INDICES, NUMBERS, N = types.CPointer(types.int32), types.CPointer(types.int64), types.intp


def compiled(*kinds):
    """Compile a function of pointers and counts that Python calls with arrays and ints."""

    def decorate(function):
        callback = numba.cfunc(types.void(*kinds))(function)

        def call(*arguments):
            callback.ctypes(
                *(
                    a.ctypes.data_as(kind) if isinstance(a, np.ndarray) else a
                    for a, kind in zip(arguments, callback.ctypes.argtypes, strict=True)
                )
            )

        return call

    return decorate
