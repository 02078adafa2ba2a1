"""The plan: a network laid out in flat, preallocated buffers.

Layers say what they compute as :class:`Stage`; a :class:`Workspace` gives every matrix its place
and writes the table that the kernels walk; a :class:`Plan` runs them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from fastfcn.frame import Frame, Source, source
from fastfcn.threads import threads
from fastfcn_kernels import activations, drivers, lists, matmul, stages
from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import Native
from fastfcn_kernels.simd import ALIGNMENT, TILE_ROWS

Array: TypeAlias = npt.NDArray[Any]

PREDICT_ROWS = 96
"""Rows that a prediction takes through the network at once: their activations stay in cache."""

ALIASING_BYTES = 2048
"""Rows at a multiple of this stride share few sets of the caches, and push each other out."""


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
    size = -(-features * dtype.itemsize // ALIGNMENT) * ALIGNMENT
    if size % ALIASING_BYTES == 0:
        size += ALIGNMENT
    return size // dtype.itemsize


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


class Workspace:
    """Room for one batch, and the frame that says where everything in it lies.

    Parameters
    ----------
    stages : sequence of Stage
        The network.
    values, grads : ndarray
        Flat parameters and their gradients, where the stages' offsets point.
    dtype : dtype
        float32 or float64.
    rows : int
        Rows of the largest batch, or those of all threads' blocks together.
    backward : bool
        Whether to make room for deltas and transposed weights.
    copies : int
        Threads at most.
    """

    def __init__(
        self,
        stages_: Sequence[Stage],
        values: Array,
        grads: Array,
        dtype: np.dtype[Any],
        rows: int,
        backward: bool,
        copies: int = 1,
    ) -> None:
        self.rows = rows
        self.copies = copies
        self.table = np.full((len(stages_), t.COLUMNS), -1, np.int64)
        self.frame = frame = Frame(dtype)
        frame.point(t.STAGES, self.table)
        frame[t.N_STAGES] = len(stages_)
        frame.point(t.ALPHAS, np.array([s.alpha for s in stages_], dtype))
        frame.point(t.PARAMS, values)
        frame.point(t.GRADS, grads)
        frame.link(t.MATMUL, matmul.matmul)
        frame.link(t.LISTED, matmul.listed_matmul)
        frame.link(t.FORWARD, stages.forward_rows)
        if backward:
            frame.link(t.DELTAS, stages.delta_rows)
        widths = [
            padded(w, dtype) for w in (stages_[0].in_features, *(s.out_features for s in stages_))
        ]
        size = self._place(stages_, widths, backward)
        if backward:
            frame[t.SCRATCH] = size
            long = rows > drivers.LONG_BATCH
            most = drivers.LONG_GRADIENT_ROWS if long else drivers.GRADIENT_ROWS
            frame[t.SCRATCH_SIZE] = most * max(widths)
            size += copies * frame[t.SCRATCH_SIZE]
        self.buffer = aligned_zeros(size, dtype)
        self.address = self.buffer.ctypes.data
        if stages_[0].weight >= 0:
            self._make_lists(stages_[0].in_features, backward)

    def _place(self, stages_: Sequence[Stage], widths: Sequence[int], backward: bool) -> int:
        """Give every matrix its place; return the elements that takes."""
        size = 0

        def place(elements: int) -> int:
            nonlocal size
            offset, size = size, size + elements
            return offset

        rows = self.rows
        self.frame[t.ZEROS] = place(max(widths))
        input_at = place(rows * widths[0])
        input_delta = place(rows * widths[0]) if backward else -1
        pairs = zip(self.table, stages_, widths[:-1], widths[1:], strict=True)
        for row, stage, ld_in, ld in pairs:
            linear = stage.weight >= 0
            activation = activations.REGISTRY[stage.activation]
            keeps_z = activation.needs_z or not linear
            row[t.LINEAR] = linear
            row[t.IN], row[t.OUT] = stage.in_features, stage.out_features
            row[t.LD_IN], row[t.LD] = ld_in, ld
            row[t.WEIGHT], row[t.BIAS] = stage.weight, stage.bias
            row[t.ACTIVATION] = stage.activation
            row[t.ACTIVATE] = activation.activate.address(self.frame.dtype)
            row[t.INPUT] = input_at
            row[t.Z] = place(rows * ld) if linear else input_at
            row[t.A] = place(rows * ld) if keeps_z else row[t.Z]
            input_at = int(row[t.A])
            if backward:
                row[t.DERIVE] = activation.derive.address(self.frame.dtype)
                row[t.INPUT_DELTA] = input_delta
                row[t.DELTA] = place(rows * ld) if linear else input_delta
                row[t.TRANSPOSE] = place(stage.out_features * ld_in) if linear else -1
                input_delta = int(row[t.DELTA])
        return size

    def _make_lists(self, features: int, backward: bool) -> None:
        """Make room for lists of what is not zero in the input."""
        frame = self.frame
        tiles = -(-features // TILE_ROWS)
        size = (self.rows + TILE_ROWS * self.copies) * lists.list_stride(features)
        if backward:
            size = max(size, tiles * (self.rows + 1))
        frame[t.SKIPS] = 1
        frame.point(t.LISTS, np.zeros(size + lists.ROOM, np.int32))
        frame.point(t.COSTS, np.full(2 * tiles, lists.DENSE_COST, np.int32))
        frame.point(t.FINITE, np.zeros(self.copies * lists.CACHE_LINE, np.int32))

    def run(self, kernel: Native, first: int, count: int, n_threads: int) -> None:
        """Run a range kernel over this workspace."""
        self.frame.run(kernel, self.address, first, count, n_threads)

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

    def workspace(self, rows: int, backward: bool, copies: int) -> Workspace:
        """Return new room for a batch of this network."""
        return Workspace(self.stages, self.values, self.grads, self.dtype, rows, backward, copies)

    def forward(self, x: Array) -> Array:
        """Return the outputs of one batch (n, features) and keep what :meth:`backward` needs."""
        rows = len(x)
        with threads(None, rows * self._flops) as count:
            w = self._batch
            if w is None or w.rows != rows or w.copies < count:
                w = self._batch = self.workspace(rows, True, count)
            w.frame.read(source(x, self.dtype))
            w.run(drivers.forward, 0, rows, count)
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
            count = min(count, w.copies)
            w.run(drivers.prepare, int(input_gradient), rows, count)
            w.run(drivers.deltas, int(input_gradient), rows, count)
            w.run(drivers.accumulate, 0, rows, count)
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
            block = min(PREDICT_ROWS, -(-n // count))
            # Taken while it is used: several Python threads may predict with one network.
            w, self._blocks = self._blocks, None
            if w is None or w.rows < block * count or w.copies < count:
                w = self.workspace(block * count, False, count)
            w.frame[t.BLOCK] = w.rows // count
            w.frame.read(data)
            w.frame.point(t.RESULT, out)
            w.run(drivers.predict, 0, n, count)
        self._blocks = w
        return out
