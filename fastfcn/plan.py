"""The plan: a network laid out in flat, preallocated buffers.

Layers say what they compute as :class:`Stage`; a :class:`Workspace` gives every matrix its place
and writes the table that the kernels walk; a :class:`Plan` runs them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from fastfcn.frame import Frame, Source, source
from fastfcn.threads import WORTH_A_THREAD, threads
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


class Buffer:
    """Values and gradients of one or more parameters, each flat and laid end to end.

    Attributes
    ----------
    values, grads : ndarray
        Flat.
    moved : bool
        Whether a parameter has left for another buffer, which makes every plan over this one stale.
    shared : bool
        Whether a view of the values has been handed out: they may then change at any time.
    """

    def __init__(self, size: int, dtype: np.dtype[Any]) -> None:
        self.values = aligned_zeros(size, dtype)
        self.grads = aligned_zeros(size, dtype)
        self.moved = False
        self.shared = False
        self._finite: bool | None = None

    def changed(self) -> None:
        """Take note that the values are, or will be, others."""
        self._finite = None

    def known_finite(self) -> bool:
        """Tell whether all values are finite, as far as that is known without looking each time."""
        if self.shared:
            return False
        if self._finite is None:
            self._finite = bool(np.isfinite(self.values).all())
        return self._finite


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
    entries : int, optional
        Stored values that ``rows`` rows of sparse data have at most; None for dense data.
    input_gradient : bool, default True
        Whether the backward pass may be asked for the gradient of the network's input.
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
        entries: int | None = None,
        input_gradient: bool = True,
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
        inputs = widths[0] if entries is None else 0
        size = self._place(stages_, widths, inputs, backward, input_gradient)
        if backward:
            frame[t.SCRATCH] = size
            long = rows > drivers.LONG_BATCH
            most = drivers.LONG_GRADIENT_ROWS if long else drivers.GRADIENT_ROWS
            frame[t.SCRATCH_SIZE] = most * max(widths[1:])
            size += copies * frame[t.SCRATCH_SIZE]
        self.buffer = aligned_zeros(size, dtype)
        self.address = self.buffer.ctypes.data
        self._flags = np.zeros((copies, lists.CACHE_LINE), np.int32)
        frame.point(t.FINITE, self._flags)
        self._skips = stages_[0].weight >= 0 and entries is None
        self.entries = entries
        features = stages_[0].in_features
        frame.point(t.COSTS, np.full(2 * -(-features // TILE_ROWS), lists.DENSE_COST, np.int32))
        if self._skips:
            self._make_lists(features, backward)
        elif entries is not None:
            self._make_packed(features, entries, backward)

    def _place(
        self,
        stages_: Sequence[Stage],
        widths: Sequence[int],
        inputs: int,
        backward: bool,
        input_gradient: bool,
    ) -> int:
        """Give every matrix its place; return the elements that takes."""
        size = 0

        def place(elements: int) -> int:
            nonlocal size
            offset, size = size, size + elements
            return offset

        rows = self.rows
        self.frame[t.ZEROS] = place(max(widths))
        input_at = place(rows * inputs)
        goes_back = backward and (input_gradient or stages_[0].weight < 0)
        input_delta = place(rows * inputs) if goes_back else -1
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
                if linear and input_delta >= 0:
                    row[t.TRANSPOSE] = place(stage.out_features * ld_in)
                input_delta = int(row[t.DELTA])
        return size

    def _make_lists(self, features: int, backward: bool) -> None:
        """Make room for lists of what is not zero in the input."""
        frame = self.frame
        tiles = -(-features // TILE_ROWS)
        size = (self.rows + TILE_ROWS * self.copies) * lists.list_stride(features)
        if backward:
            size = max(size, tiles * (self.rows + 1))
        frame[t.SKIPS] = lists.LOOK
        frame.point(t.LISTS, np.zeros(size + lists.ROOM, np.int32))

    def _make_packed(self, features: int, entries: int, backward: bool) -> None:
        """Make room for the packed rows of sparse data, and for their entries by feature."""
        frame = self.frame
        frame[t.ROW_CAPACITY] = entries // self.copies
        frame.point(t.ROW_AT, np.zeros(self.rows, np.int64))
        frame.point(t.ROW_LISTS, np.zeros(entries + self.rows + 1, np.int32))
        frame.point(t.ROW_VALUES, np.zeros(entries + 1, frame.dtype))
        if backward:
            frame.point(t.FEATURE_AT, np.zeros(features, np.int64))
            frame.point(t.FEATURE_LISTS, np.zeros(entries + features + 1, np.int32))
            frame.point(t.FEATURE_VALUES, np.zeros(entries + 1, frame.dtype))

    def trust(self, finite: bool) -> None:
        """Tell the kernels whether the weights are known to be finite."""
        if self._skips:
            self.frame[t.SKIPS] = lists.TRUST if finite else lists.LOOK

    def input_is_finite(self, n_threads: int) -> bool:
        """Tell whether the last prediction's data were finite, in each thread's share."""
        flags = self._flags
        return all(flags.item(thread, lists.INPUT) for thread in range(n_threads))

    def run(self, kernel: Native, first: int, count: int, n_threads: int) -> None:
        """Run a range kernel over this workspace."""
        self.frame.run(kernel, self.address, first, count, n_threads)

    def matrix(self, stage: int, column: int, ld_column: int, rows: int) -> Array:
        """Return a matrix of the workspace, padding included, as a view."""
        ld, offset = int(self.table[stage, ld_column]), int(self.table[stage, column])
        return self.buffer[offset : offset + rows * ld].reshape(rows, ld)


class _FewRows:
    """A prediction of few rows made ready: what else it costs is more than its arithmetic.

    Parameters
    ----------
    plan : Plan
        The network.
    data : Source
        Like the data to come: rows, type, scale and shift.
    """

    BYTES = 16384
    """Data up to this size is copied to where the kernel expects it."""

    def __init__(self, plan: "Plan", data: Source) -> None:
        rows = len(data.array)
        self.key = self.key_of(data)
        self._data = np.empty(data.array.shape, data.array.dtype)
        self._result = np.empty((rows, plan.stages[-1].out_features), plan.dtype)
        self._space = plan.workspace(rows, False, 1)
        frame = self._space.frame
        frame[t.BLOCK] = rows
        frame.read(data._replace(array=self._data))
        frame.point(t.RESULT, self._result)
        self._call = frame.prepared(drivers.predict, self._space.address, 0, rows)

    @staticmethod
    def key_of(data: Source) -> tuple[Any, ...]:
        """Return what two data sets must have in common to be predicted alike."""
        return data.array.shape, data.array.dtype, data.scale, data.shift

    def run(self, x: Array, finite: bool) -> tuple[Array, bool]:
        """Return the outputs of x, and whether x is finite; ``finite`` tells of the weights."""
        self._data[...] = x
        self._space.trust(finite)
        self._call()
        return self._result.copy(), self._space.input_is_finite(1)


class Plan:
    """A network's stages with its parameters, ready to run.

    Parameters
    ----------
    stages : sequence of Stage
        The network.
    buffer : Buffer
        Where the stages' offsets point.
    dtype : dtype
        float32 or float64.
    """

    def __init__(self, stages_: Sequence[Stage], buffer: Buffer, dtype: np.dtype[Any]) -> None:
        self.stages = tuple(stages_)
        self.buffer, self.dtype = buffer, dtype
        self.values, self.grads = buffer.values, buffer.grads
        self._flops = flops_per_row(self.stages)
        self._batch: Workspace | None = None
        self._blocks: Workspace | None = None
        self._few: _FewRows | None = None
        self._batch_rows = 0

    def workspace(self, rows: int, backward: bool, copies: int, **options: Any) -> Workspace:
        """Return new room for a batch of this network."""
        return Workspace(
            self.stages, self.values, self.grads, self.dtype, rows, backward, copies, **options
        )

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

    def predict(self, data: Source, n_threads: int | None = None) -> tuple[Array, bool]:
        """Return the outputs of any number of rows, keeping nothing, and whether x is finite."""
        n = data.rows
        work = n * self._flops
        finite = self.buffer.known_finite()
        sparse = data.indptr is not None
        # Taken while it is used: several Python threads may predict with one network.
        small = data.array.nbytes <= _FewRows.BYTES and not sparse
        if small and (n_threads == 1 or work < WORTH_A_THREAD):
            few, self._few = self._few, None
            if few is None or few.key != _FewRows.key_of(data):
                few = _FewRows(self, data)
            result = few.run(data.array, finite)
            self._few = few
            return result
        out = np.empty((n, self.stages[-1].out_features), self.dtype)
        if n == 0:
            return out, True
        with threads(n_threads, work) as count:
            block = min(PREDICT_ROWS, -(-n // count))
            w, self._blocks = self._blocks, None
            entries = data.most_entries(block) * count if sparse else None
            if w is None or w.rows < block * count or w.copies < count or w.entries != entries:
                w = self.workspace(block * count, False, count, entries=entries)
            w.frame[t.BLOCK] = w.rows // w.copies
            w.frame.read(data)
            w.frame.point(t.RESULT, out)
            w.trust(finite)
            w.run(drivers.predict, 0, n, count)
            all_finite = w.input_is_finite(count)
        self._blocks = w
        return out, all_finite
