"""The plan: a network laid out in flat, preallocated buffers.

Layers say what they compute as :class:`Stage`; a :class:`Workspace` gives every matrix its place
and writes the table that the kernels walk; a :class:`Plan` runs them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from fastfcn.threads import threads
from fastfcn_kernels import activations, drivers, gather, stages
from fastfcn_kernels import table as t
from fastfcn_kernels.matmul import matmul
from fastfcn_kernels.simd import ALIGNMENT

Array: TypeAlias = npt.NDArray[Any]

PREDICT_ROWS = 96
"""Rows that a prediction takes through the network at once: their activations stay in cache."""


class Stage(NamedTuple):
    """A linear map with the activation that follows it, or an activation alone."""

    in_features: int
    out_features: int
    weight: int = -1
    """Offset of the weight in the parameters; -1: no linear map."""
    bias: int = -1
    """Offset of the bias; -1: none."""
    activation: int = activations.IDENTITY
    alpha: float = 0.0
    """The activation's parameter."""


def padded(features: int, dtype: np.dtype[Any]) -> int:
    """Return the elements a row of ``features`` takes, padded to the kernels' alignment."""
    lanes = ALIGNMENT // dtype.itemsize
    return -(-features // lanes) * lanes


def aligned_zeros(size: int, dtype: np.dtype[Any]) -> Array:
    """Return a flat array of zeros that begins at a multiple of the kernels' alignment."""
    memory = np.zeros(size * dtype.itemsize + ALIGNMENT, np.uint8)
    skip = -memory.ctypes.data % ALIGNMENT
    return memory[skip : skip + size * dtype.itemsize].view(dtype)


def flops_per_row(stages_: Sequence[Stage]) -> float:
    """Return the floating-point operations of one row's forward pass."""
    return float(
        sum(2 * s.in_features * s.out_features for s in stages_ if s.weight >= 0)
        + 10 * max(s.out_features for s in stages_)
    )


class Source(NamedTuple):
    """A data set as the kernels read it: where it lies, and the array that keeps it alive."""

    location: Array
    affine: Array
    array: Array


def source(x: Array, dtype: np.dtype[Any], scale: float = 1.0, shift: float = 0.0) -> Source:
    """Describe ``x`` (n, features) to the kernels without copying what they can read as it lies."""
    codes = {"uint8": gather.UINT8, "float32": gather.FLOAT32, "float64": gather.FLOAT64}
    if x.dtype.name not in codes or not x.dtype.isnative:
        x = x.astype(dtype)
    location = np.array([x.ctypes.data, *x.strides, codes[x.dtype.name]], np.int64)
    return Source(location, np.array([scale, shift], dtype), x)


class Workspace:
    """Room for one batch, and the table that says where everything in it lies.

    Parameters
    ----------
    stages : sequence of Stage
        The network.
    dtype : dtype
        float32 or float64.
    rows : int
        Rows of the largest batch.
    backward : bool
        Whether to make room for deltas and transposed weights.
    copies : int
        Threads that get a gradient scratch (``backward``) or a whole workspace (else).
    """

    def __init__(
        self,
        stages_: Sequence[Stage],
        dtype: np.dtype[Any],
        rows: int,
        backward: bool,
        copies: int = 1,
    ) -> None:
        self.rows = rows
        self.copies = copies
        self.table = np.full((len(stages_), t.COLUMNS), -1, np.int64)
        self.alphas = np.array([s.alpha for s in stages_], dtype)
        self.frame = np.zeros(t.FRAME_SIZE, np.int64)
        self.frame[t.MATMUL] = matmul.address(dtype)
        self.frame[t.ACTIVATE] = activations.activate.address(dtype)
        self.frame[t.DERIVE] = activations.derive.address(dtype)
        size = 0

        def place(elements: int) -> int:
            nonlocal size
            offset, size = size, size + elements
            return offset

        widths = [
            padded(w, dtype) for w in (stages_[0].in_features, *(s.out_features for s in stages_))
        ]
        self.frame[t.ZEROS] = place(max(widths))
        input_at = place(rows * widths[0])
        input_delta = place(rows * widths[0]) if backward else -1
        pairs = zip(self.table, stages_, widths[:-1], widths[1:], strict=True)
        for row, stage, ld_in, ld in pairs:
            linear = stage.weight >= 0
            keeps_z = activations.needs_z(stage.activation) or not linear
            row[t.LINEAR] = linear
            row[t.IN], row[t.OUT] = stage.in_features, stage.out_features
            row[t.LD_IN], row[t.LD] = ld_in, ld
            row[t.WEIGHT], row[t.BIAS] = stage.weight, stage.bias
            row[t.ACTIVATION] = stage.activation
            row[t.INPUT] = input_at
            row[t.Z] = place(rows * ld) if linear else input_at
            row[t.A] = place(rows * ld) if keeps_z else row[t.Z]
            input_at = int(row[t.A])
            if backward:
                row[t.INPUT_DELTA] = input_delta
                row[t.DELTA] = place(rows * ld) if linear else input_delta
                row[t.TRANSPOSE] = place(stage.out_features * ld_in) if linear else -1
                input_delta = int(row[t.DELTA])
        if backward:
            self.frame[t.SCRATCH_SIZE] = stages.GRADIENT_ROWS * max(widths)
            self.frame[t.SCRATCH] = place(copies * int(self.frame[t.SCRATCH_SIZE]))
            self.buffer = aligned_zeros(size, dtype)
        else:
            self.buffer = aligned_zeros(copies * size, dtype).reshape(copies, size)

    def matrix(self, stage: int, column: int, ld_column: int, rows: int) -> Array:
        """Return a matrix of the workspace, padding included, as a view."""
        ld, offset = int(self.table[stage, ld_column]), int(self.table[stage, column])
        return self.buffer[offset : offset + rows * ld].reshape(rows, ld)


class Plan:
    """A network's stages with its parameters, ready to run.

    Parameters
    ----------
    stages : sequence of Stage
        The network.
    values, grads : ndarray
        Flat parameters and their gradients, where the stages' offsets point.
    dtype : dtype
        float32 or float64.
    """

    def __init__(
        self, stages_: Sequence[Stage], values: Array, grads: Array, dtype: np.dtype[Any]
    ) -> None:
        self.stages = tuple(stages_)
        self.values, self.grads, self.dtype = values, grads, dtype
        self._flops = flops_per_row(self.stages)
        self._batch: Workspace | None = None
        self._blocks: Workspace | None = None
        self._batch_rows = 0

    def forward(self, x: Array) -> Array:
        """Return the outputs of one batch (n, features) and keep what :meth:`backward` needs."""
        rows = len(x)
        if self._batch is None or self._batch.rows != rows:
            self._batch = Workspace(self.stages, self.dtype, rows, backward=True)
        w = self._batch
        data = source(x, self.dtype)
        with threads(None, rows * self._flops) as count:
            drivers.forward(
                w.table, w.alphas, w.frame, self.values, w.buffer,
                data.location, data.affine, rows, count,
            )  # fmt: skip
        self._batch_rows = rows
        out = self.stages[-1].out_features
        return w.matrix(-1, t.A, t.LD, rows)[:, :out].copy()

    @property
    def batch_shape(self) -> tuple[int, int] | None:
        """Shape of the last forward pass's output; None before the first."""
        return (self._batch_rows, self.stages[-1].out_features) if self._batch_rows else None

    def backward(self, delta: Array, input_gradient: bool) -> Array | None:
        """Add a batch's gradients to ``grads``; return the gradient of its input if wanted."""
        w = self._batch
        if w is None:
            raise RuntimeError("backward needs a forward pass before it; call the layer first")
        rows = self._batch_rows
        target = w.matrix(-1, t.DELTA, t.LD, rows)
        target[:, : delta.shape[1]] = delta
        with threads(None, rows * self._flops) as count:
            drivers.backward(
                w.table, w.alphas, w.frame, self.values, w.buffer, self.grads,
                rows, input_gradient, count,
            )  # fmt: skip
        if not input_gradient:
            return None
        return w.matrix(0, t.INPUT_DELTA, t.LD_IN, rows)[:, : self.stages[0].in_features].copy()

    def predict(self, data: Source, n_threads: int | None = None) -> Array:
        """Return the outputs of any number of rows, keeping nothing."""
        n = len(data.array)
        out = np.empty((n, self.stages[-1].out_features), self.dtype)
        if n == 0:
            return out
        with threads(n_threads, n * self._flops) as count:
            rows = min(PREDICT_ROWS, -(-n // count))
            # Taken while it is used: several Python threads may predict with one network.
            w, self._blocks = self._blocks, None
            if w is None or w.rows < rows or w.copies < count:
                w = Workspace(self.stages, self.dtype, rows, backward=False, copies=count)
            drivers.predict(
                w.table, w.alphas, w.frame, self.values, w.buffer,
                data.location, data.affine, rows, out, count,
            )  # fmt: skip
        self._blocks = w
        return out
