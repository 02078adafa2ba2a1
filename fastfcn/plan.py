"""The plan: a network laid out in flat, preallocated buffers, ready to run."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastfcn.buffers import Array, Buffer
from fastfcn.frame import Source, source
from fastfcn.threads import WORTH_A_THREAD, threads
from fastfcn.workspace import Stage, Workspace, flops_per_row
from fastfcn_kernels import passes
from fastfcn_kernels import table as t

PREDICT_ROWS = 96
"""Rows that a prediction takes through the network at once: their activations stay in cache."""


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
        self._call = frame.prepared(passes.predict, self._space.address, 0, rows)

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
    flattens : bool, default False
        Whether the network takes input of more dimensions than two.
    """

    def __init__(
        self,
        stages_: Sequence[Stage],
        buffer: Buffer,
        dtype: np.dtype[Any],
        flattens: bool = False,
    ) -> None:
        self.stages = tuple(stages_)
        self.flattens = flattens
        self.buffer, self.dtype = buffer, dtype
        self.values = buffer.values
        self._flops = flops_per_row(self.stages)
        self._batch: Workspace | None = None
        self._blocks: Workspace | None = None
        self._few: _FewRows | None = None
        self._batch_rows = self._batch_threads = 0

    def workspace(self, rows: int, backward: bool, copies: int, **options: Any) -> Workspace:
        """Return new room for a batch of this network."""
        # A prediction drops nothing.
        kept = self.stages if backward else [s for s in self.stages if s.kind != t.DROPOUT]
        return Workspace(kept, self.values, self.dtype, rows, backward, copies, **options)

    def forward(self, x: Array, training: bool = False, seed: int = 0) -> Array:
        """Return the outputs of one batch (n, features) and keep what :meth:`backward` needs.

        Parameters
        ----------
        x : ndarray (n, features)
            The batch.
        training : bool, default False
            Whether layers work as in training: masks from ``seed``, statistics of the batch.
        seed : int, default 0
            Of the masks.
        """
        rows = len(x)
        with threads(None, rows * self._flops) as count:
            w = self._batch
            if w is None or w.rows != rows or w.copies < count:
                w = self._batch = self.workspace(rows, True, count)
            w.frame.read(source(x, self.dtype))
            w.frame[t.TRAINING], w.frame[t.SEED] = training, seed
            w.run(passes.forward, 0, rows, count, w.phases)
        self._batch_rows, self._batch_threads = rows, count
        out = self.stages[-1].out_features
        return w.matrix(-1, t.A, t.LD, rows)[:, :out].copy()

    @property
    def batch_shape(self) -> tuple[int, int] | None:
        """Shape of the last forward pass's output; None before the first."""
        return (self._batch_rows, self.stages[-1].out_features) if self._batch_rows else None

    def backward(self, delta: Array, input_gradient: bool) -> Array | None:
        """Add a batch's gradients to the buffer's; return the gradient of its input if wanted."""
        w = self._batch
        if w is None:
            raise RuntimeError("backward needs a forward pass before it; call the layer first")
        rows = self._batch_rows
        target = w.matrix(-1, t.DELTA, t.LD, rows)
        target[:, : delta.shape[1]] = delta
        with threads(None, rows * self._flops) as count:
            # Only those of the forward pass have their copy of a batch's statistics.
            count = min(count, self._batch_threads)
            w.run(passes.prepare, int(input_gradient), rows, count)
            w.run(passes.deltas, int(input_gradient), rows, count, w.phases)
            w.frame.point(t.GRADS, self.buffer.grads)
            w.run(passes.accumulate, 0, rows, count)
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
            w.frame[t.ROW_CAPACITY] = (entries or 0) // count
            w.frame.read(data)
            w.frame.point(t.RESULT, out)
            w.trust(finite)
            w.run(passes.predict, 0, n, count)
            all_finite = w.input_is_finite(count)
        self._blocks = w
        return out, all_finite
