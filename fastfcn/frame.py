"""Frames: what a kernel call is given, and the call itself."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastfcn_kernels import drivers, gather
from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import Native

_READ_AS_THEY_LIE = {np.dtype(name): kernel for name, kernel in gather.CONVERT.items()}


class Source(NamedTuple):
    """A data set as the kernels read it: x·scale + shift, row by row."""

    array: npt.NDArray[Any]
    """The matrix (n, features), or the stored values of a sparse one."""
    scale: float
    shift: float
    indices: npt.NDArray[Any] | None = None
    """Features of the stored values, int32; None for a dense matrix."""
    indptr: npt.NDArray[Any] | None = None
    """Where each row's stored values begin, int64."""

    @property
    def rows(self) -> int:
        """Number of samples."""
        return len(self.array) if self.indptr is None else len(self.indptr) - 1

    def first_rows(self, rows: int, features: int) -> npt.NDArray[Any]:
        """Return the first rows as a dense matrix, before scale and shift."""
        if self.indices is None or self.indptr is None:
            return self.array[:rows]
        dense = np.zeros((min(rows, self.rows), features), self.array.dtype)
        for i, row in enumerate(dense):
            entries = slice(self.indptr[i], self.indptr[i + 1])
            row[self.indices[entries]] = self.array[entries]
        return dense

    def part(self, first: int, stop: int) -> "Source":
        """Return rows first:stop, as views."""
        if self.indices is None or self.indptr is None:
            return self._replace(array=self.array[first:stop])
        begin, end = self.indptr[first], self.indptr[stop]
        array, indices = self.array[begin:end], self.indices[begin:end]
        indptr = self.indptr[first : stop + 1] - begin
        return self._replace(array=array, indices=indices, indptr=indptr)

    def most_entries(self, rows: int) -> int:
        """Return how many stored values any ``rows`` rows have together at most."""
        if self.indptr is None:
            return 0
        counts = np.diff(self.indptr)
        if rows < len(counts):
            counts = np.partition(counts, len(counts) - rows)[len(counts) - rows :]
        return int(counts.sum())


def source(x: Any, dtype: np.dtype[Any], scale: float = 1.0, shift: float = 0.0) -> Source:
    """Describe ``x`` (n, features), dense or CSR, without copying what can be read as it lies."""
    values = x.data if is_sparse(x) else x
    if values.dtype not in _READ_AS_THEY_LIE:
        values = values.astype(dtype)
    if not is_sparse(x):
        return Source(values, scale, shift)
    indices, indptr = x.indices.astype(np.int32, copy=False), x.indptr.astype(np.int64, copy=False)
    return Source(values, scale, shift, indices, indptr)


def is_sparse(x: Any) -> bool:
    """Tell whether x is one of SciPy's sparse arrays or matrices, without importing SciPy."""
    return hasattr(x, "tocsr")


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

    def array(self, field: int) -> npt.NDArray[Any]:
        """Return the array whose address is in a field."""
        return self._kept[field]  # type: ignore[no-any-return]

    def link(self, field: int, kernel: Native) -> None:
        """Put a compiled kernel's address into a field."""
        self._words[field] = kernel.address(self.dtype)

    def read(self, data: Source) -> None:
        """Point the frame at a data set."""
        x = data.array
        self.point(t.X, x)
        self._words[t.X_ROW_STRIDE], self._words[t.X_COLUMN_STRIDE] = x.strides[0], x.strides[-1]
        self._words[t.X_INDPTR] = 0
        if data.indices is not None and data.indptr is not None:
            self.point(t.X_INDICES, data.indices)
            self.point(t.X_INDPTR, data.indptr)
        self.link(t.CONVERT, _READ_AS_THEY_LIE[x.dtype])
        self._affine[0], self._affine[1] = data.scale, data.shift

    def phases(
        self,
        kernels: Sequence[Native],
        before: Sequence[Native] = (),
        after: Sequence[Native] = (),
    ) -> None:
        """Say which range kernels a training step consists of, and run before and after steps.

        One thread alone runs none before and after: see ``drivers.train_alone``.
        """
        every = (*before, *kernels, *after)
        self.point(t.PHASES, np.array([kernel.address(self.dtype) for kernel in every]))
        self[t.N_BEFORE], self[t.N_PHASES], self[t.N_AFTER] = len(before), len(kernels), len(after)

    def copy(self, frame: "Frame", own: Mapping[int, int]) -> None:
        """Become a copy of another frame, but for some fields."""
        self._words[:] = frame._words
        for field, number in own.items():
            self._words[field] = number

    @property
    def address(self) -> int:
        """Where the kernels find the frame."""
        return self._address

    def run(
        self, kernel: Native, work: int, first: int, count: int, n_threads: int, phase: int = 0
    ) -> None:
        """Run a range kernel over a workspace, given by its address."""
        if n_threads == 1:
            kernel.function(self.dtype)(self._address, work, 0, 1, first, count, phase)
        else:
            address = kernel.address(self.dtype)
            drivers.region(address, self._address, work, first, count, phase, n_threads)

    def prepared(self, kernel: Native, work: int, first: int, count: int) -> Callable[[], None]:
        """Return a call of a range kernel on one thread, to be made again and again."""
        function = kernel.function(self.dtype)
        return functools.partial(function, self._address, work, 0, 1, first, count, 0)

    def train(self, work: int, first: int, stop: int, batch: int, n_threads: int) -> None:
        """Run training steps over rows first:stop of an epoch."""
        self[t.BATCH], self[t.STOP] = batch, stop
        if n_threads == 1:
            train_alone = drivers.train_alone.function(self.dtype)
            train_alone(self._address, work, first, stop, batch)
        else:
            numbers = [self[n] for n in (t.PHASES, t.N_BEFORE, t.N_PHASES, t.N_AFTER)]
            drivers.train(*numbers, self._address, work, first, stop, batch, n_threads)
