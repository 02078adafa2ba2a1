"""Frames: what a kernel call is given, and the call itself."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastfcn_kernels import drivers, gather
from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import Native

_READ_AS_THEY_LIE = {
    np.dtype(np.uint8): gather.UINT8,
    np.dtype(np.float32): gather.FLOAT32,
    np.dtype(np.float64): gather.FLOAT64,
}


class Source(NamedTuple):
    """A data set as the kernels read it: x·scale + shift, row by row."""

    array: npt.NDArray[Any]
    scale: float
    shift: float


def source(
    x: npt.NDArray[Any], dtype: np.dtype[Any], scale: float = 1.0, shift: float = 0.0
) -> Source:
    """Describe ``x`` (n, features) to the kernels without copying what they can read as it lies."""
    return Source(x if x.dtype in _READ_AS_THEY_LIE else x.astype(dtype), scale, shift)


class Frame:
    """Addresses and numbers for one kind of call, and the arrays they point at, kept alive.

    Parameters
    ----------
    dtype : dtype
        The kernels' precision.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self._words = np.zeros(t.FRAME_SIZE, np.int64)
        self._address = self._words.ctypes.data
        self._kept: dict[int, Any] = {}
        self._affine = np.array([1.0, 0.0], dtype)
        self.point(t.AFFINE, self._affine)

    def __getitem__(self, field: int) -> int:
        return int(self._words[field])

    def __setitem__(self, field: int, number: int) -> None:
        self._words[field] = number

    def point(self, field: int, array: npt.NDArray[Any]) -> None:
        """Put an array's address into a field."""
        self._kept[field] = array
        self._words[field] = array.ctypes.data

    def link(self, field: int, kernel: Native) -> None:
        """Put a compiled kernel's address into a field."""
        self._words[field] = kernel.address(self.dtype)

    def read(self, data: Source) -> None:
        """Point the frame at a data set."""
        x = data.array
        self.point(t.X, x)
        self._words[t.X_ROW_STRIDE], self._words[t.X_COLUMN_STRIDE] = x.strides
        self._words[t.X_TYPE] = _READ_AS_THEY_LIE[x.dtype]
        self._affine[0], self._affine[1] = data.scale, data.shift

    def run(self, kernel: Native, work: int, first: int, count: int, n_threads: int) -> None:
        """Run a range kernel over a workspace, given by its address."""
        if n_threads == 1:
            kernel.function(self.dtype)(self._address, work, 0, 1, first, count)
        else:
            address = kernel.address(self.dtype)
            drivers.region(address, self._address, work, first, count, n_threads)

    def prepared(self, kernel: Native, work: int, first: int, count: int) -> Callable[[], None]:
        """Return a call of a range kernel on one thread, to be made again and again."""
        function = kernel.function(self.dtype)
        return functools.partial(function, self._address, work, 0, 1, first, count)

    def train(self, work: int, first: int, stop: int, batch: int, n_threads: int) -> None:
        """Run training steps over rows first:stop of an epoch."""
        if n_threads == 1:
            train_alone = drivers.train_alone.function(self.dtype)
            train_alone(self._address, work, first, stop, batch)
        else:
            drivers.train(
                self[t.LEARN], self[t.UPDATE], self._address, work, first, stop, batch, n_threads
            )
