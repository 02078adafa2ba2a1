"""Workspaces: a network's stages laid out for one batch.

Layers say what they compute as :class:`Stage`; a :class:`Workspace` gives every matrix its place
and writes the table that the kernels walk.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastfcn.buffers import Array, aligned_zeros, padded, spaced
from fastfcn.frame import Frame
from fastfcn_kernels import (
    activations,
    flags,
    gather,
    layers,
    masks,
    matmul,
    scans,
    sparse,
    stages,
    training,
)
from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import Native


class Stage(NamedTuple):
    """A linear map with the activation that follows it, or another layer alone."""

    in_features: int
    out_features: int
    kind: int = t.ACTIVATION_ALONE
    weight: int = -1
    """Offset of the weight, or of a normalisation's scale, in the parameters; -1: none."""
    bias: int = -1
    """Offset of the bias; -1: none."""
    activation: int = activations.IDENTITY
    numbers: tuple[float, float] = (0.0, 0.0)
    """An activation's parameter; p of a dropout; eps and momentum of a normalisation."""
    running: int = -1
    """Offset of a batch normalisation's running statistics; -1: none."""


_CODE = {
    t.DROPOUT: (layers.dropout_forward, layers.dropout_backward),
    t.BATCH_NORM: (layers.batch_norm_forward, layers.batch_norm_backward),
    t.LAYER_NORM: (layers.layer_norm_forward, layers.layer_norm_backward),
}
"""Forward and backward kernel of the kinds that stand alone."""


def flops_per_row(stages_: Sequence[Stage]) -> float:
    """Return the floating-point operations of one row's forward pass."""
    return float(
        sum(2 * s.in_features * s.out_features for s in stages_ if s.kind == t.LINEAR)
        + 10 * max(s.out_features for s in stages_)
    )


class Workspace:
    """Room for one batch, and the frame that says where everything in it lies.

    Parameters
    ----------
    stages : sequence of Stage
        The network.
    values : ndarray
        Flat parameters, where the stages' offsets point.
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
        frame.point(t.NUMBERS, np.array([s.numbers for s in stages_], dtype))
        cuts = [i for i, s in enumerate(stages_) if s.kind == t.BATCH_NORM and backward]
        frame.point(t.BOUNDS, np.array([0, *cuts, len(stages_)]))
        frame[t.N_CUTS] = len(cuts)
        frame.point(t.PARAMS, values)
        frame.link(t.MATMUL, matmul.matmul)
        frame.link(t.FORWARD, stages.forward_rows)
        if backward:
            frame.link(t.DELTAS, stages.delta_rows)
        widths = [
            spaced(w, dtype) for w in (stages_[0].in_features, *(s.out_features for s in stages_))
        ]
        inputs = widths[0] if entries is None else 0
        size = self._place(stages_, widths, inputs, backward, input_gradient)
        if backward:
            frame[t.SCRATCH] = size
            long = rows > training.LONG_BATCH
            most = training.LONG_GRADIENT_ROWS if long else training.GRADIENT_ROWS
            frame[t.SCRATCH_SIZE] = most * max(widths[1:])
            if rows > training.PACKED_BATCH and max(widths[:-1]) >= training.PACKED_WIDTH:
                frame[t.PACKED] = frame[t.SCRATCH_SIZE]
                frame[t.SCRATCH_SIZE] += most * rows
            size += copies * frame[t.SCRATCH_SIZE]
        self.buffer = aligned_zeros(size, dtype)
        self.address = self.buffer.ctypes.data
        self._flags = np.zeros((copies, flags.CACHE_LINE), np.int32)
        frame.point(t.FLAGS, self._flags)
        self._skips = stages_[0].kind == t.LINEAR and entries is None
        self.entries = entries
        features = stages_[0].in_features
        frame.point(t.COSTS, np.full(2 * -(-features // scans.GROUP), masks.DENSE_COST, np.int32))
        if entries is None:
            frame.link(t.GATHER, gather.gather_rows)
        if self._skips:
            self._make_masks(features, backward)
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
        # Kernels read up to 16 elements at once: z, at the least, lies behind the last row.
        input_at = place(rows * inputs)
        goes_back = backward and (input_gradient or stages_[0].kind == t.ACTIVATION_ALONE)
        input_delta = place(rows * inputs) if goes_back else -1
        pairs = zip(self.table, stages_, widths[:-1], widths[1:], strict=True)
        for row, stage, ld_in, ld in pairs:
            linear, alone = stage.kind == t.LINEAR, stage.kind in _CODE
            activation = activations.REGISTRY[stage.activation]
            keeps_z = activation.needs_z or not linear
            row[t.KIND] = stage.kind
            row[t.IN], row[t.OUT] = stage.in_features, stage.out_features
            row[t.LD_IN], row[t.LD] = ld_in, ld
            row[t.LD_WEIGHT] = padded(stage.out_features, self.frame.dtype)
            row[t.LD_TRANSPOSE] = padded(stage.in_features, self.frame.dtype)
            row[t.WEIGHT], row[t.BIAS] = stage.weight, stage.bias
            row[t.RUNNING] = stage.running
            row[t.ACTIVATION] = stage.activation
            forward, back = _CODE.get(stage.kind, (activation.activate, activation.derive))
            row[t.FORWARD_AT] = forward.address(self.frame.dtype)
            row[t.INPUT] = input_at
            row[t.Z] = place(rows * ld) if linear else input_at
            row[t.A] = place(rows * ld) if keeps_z else row[t.Z]
            input_at = int(row[t.A])
            if stage.kind == t.BATCH_NORM:
                row[t.STATISTICS] = place(3 * self.copies * ld)
            if backward:
                row[t.BACKWARD_AT] = back.address(self.frame.dtype)
                row[t.INPUT_DELTA] = input_delta
                row[t.DELTA] = place(rows * ld) if linear or alone else input_delta
                if linear and input_delta >= 0:
                    row[t.TRANSPOSE] = place(stage.out_features * row[t.LD_TRANSPOSE])
                if alone:
                    row[t.SAVED] = place(rows * ld)
                if stage.kind == t.LAYER_NORM:
                    row[t.STATISTICS] = place(padded(rows, self.frame.dtype))
                input_delta = int(row[t.DELTA])
        return size

    def _make_masks(self, features: int, backward: bool) -> None:
        """Make room for a bit of each element of the input, by rows and by features."""
        frame = self.frame
        frame.link(t.MASKED, matmul.masked_matmul)
        frame[t.SKIPS] = flags.LOOK
        words = -(-features // masks.WORD)
        frame.point(t.MASKS, np.zeros(self.rows * words, np.int64))
        if backward:
            size = self.copies * words * masks.WORD * -(-self.rows // masks.WORD)
            frame.point(t.FEATURE_MASKS, np.zeros(size, np.int64))
            frame.link(t.MASK_FEATURES, masks.mask_features)

    def _make_packed(self, features: int, entries: int, backward: bool) -> None:
        """Make room for the packed rows of sparse data, and for their entries by feature."""
        frame = self.frame
        frame.link(t.LISTED, matmul.listed_row)
        frame.link(t.PACK, sparse.pack_rows)
        frame.link(t.SPARSE_FORWARD, sparse.sparse_forward)
        frame.point(t.ROW_AT, np.zeros(self.rows, np.int64))
        frame.point(t.ROW_LISTS, np.zeros(entries + self.rows + 1, np.int32))
        frame.point(t.ROW_VALUES, np.zeros(entries + 1, frame.dtype))
        if backward:
            frame.link(t.SORT, sparse.sort_by_feature)
            frame.link(t.SPARSE_GRADIENT, sparse.sparse_gradient)
            frame.point(t.FEATURE_AT, np.zeros(features, np.int64))
            frame.point(t.FEATURE_LISTS, np.zeros(entries + features + 1, np.int32))
            frame.point(t.FEATURE_VALUES, np.zeros(entries + 1, frame.dtype))

    def trust(self, finite: bool) -> None:
        """Tell the kernels whether the weights are known to be finite."""
        if self._skips:
            self.frame[t.SKIPS] = flags.TRUST if finite else flags.LOOK

    def input_is_finite(self, n_threads: int) -> bool:
        """Tell whether the last prediction's data were finite, in each thread's share."""
        return all(self._flags.item(thread, flags.INPUT) for thread in range(n_threads))

    @property
    def phases(self) -> int:
        """Into how many phases a pass in training mode falls."""
        return self.frame[t.N_CUTS] + 1

    def run(self, kernel: Native, first: int, count: int, n_threads: int, phases: int = 1) -> None:
        """Run a range kernel over this workspace, phase after phase."""
        for phase in range(phases):
            self.frame.run(kernel, self.address, first, count, n_threads, phase)

    def matrix(self, stage: int, column: int, ld_column: int, rows: int) -> Array:
        """Return a matrix of the workspace, padding included, as a view."""
        ld, offset = int(self.table[stage, ld_column]), int(self.table[stage, column])
        return self.buffer[offset : offset + rows * ld].reshape(rows, ld)
