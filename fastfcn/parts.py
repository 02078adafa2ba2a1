"""Parts of the first hidden layer, one a thread: what ``fastfcn_kernels/parts.py`` works on."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastfcn.buffers import aligned_zeros, padded, spaced
from fastfcn.frame import Frame
from fastfcn.workspace import Stage, Workspace
from fastfcn_kernels import flags, parts
from fastfcn_kernels import table as t
from fastfcn_kernels.activations import IDENTITY, REGISTRY
from fastfcn_kernels.simd import ALIGNMENT, TILE_VECTORS, VECTOR_BYTES
from fastfcn_kernels.stages import PART_STAGES

INPUT_BYTES = 4 << 20
"""Input of a batch up to which every thread may gather it for itself."""


def may_fall_into_parts(
    stages: Sequence[Stage], dtype: np.dtype[Any], rows: int, count: int
) -> bool:
    """Tell whether so many threads can share the units of the first hidden layer.

    Parts are all alike, of whole tiles, so that threads finish together; and rows of a part have a
    stride that is good for caches.
    """
    if count == 1 or len(stages) == 1 or any(s.kind == t.BATCH_NORM for s in stages):
        return False
    first, second = stages[:2]
    if first.kind != t.LINEAR or second.kind != t.LINEAR or REGISTRY[first.activation].couples:
        return False
    if rows * spaced(first.in_features, dtype) * dtype.itemsize > INPUT_BYTES:
        return False
    width = _width(first.out_features, dtype, count)
    tile = TILE_VECTORS * VECTOR_BYTES // dtype.itemsize
    return width > 0 and width % tile == 0 and padded(width, dtype) == width


def _width(units: int, dtype: np.dtype[Any], count: int) -> int:
    """Return the units of each of ``count`` parts, padded to whole lines; 0 where they differ."""
    lines, left = divmod(-(-units * dtype.itemsize // ALIGNMENT), count)
    return 0 if left else lines * ALIGNMENT // dtype.itemsize


class Parts:
    """The parts of a network, one a thread.

    Parameters
    ----------
    space : Workspace
        The network's, with its place in the optimiser's state.
    count : int
        Threads.
    """

    def __init__(self, space: Workspace, count: int) -> None:
        self._parts = [_Part(space, thread, count) for thread in range(count)]
        self._addresses = np.array([part.frame.address for part in self._parts])
        self.count = count

    def join(self, frame: Frame) -> None:
        """Have the parts trained with the rest of the network, whose frame is ready."""
        for part in self._parts:
            part.frame.copy(frame, part.own)
        frame.point(t.PARTS, self._addresses)


class _Part:
    """A thread's part: a frame, and buffers that no other thread writes to.

    They are allocations of their own. Side by side in the network's workspace they cost a tenth of
    a step's time on two cores that were far apart. The first part has the network's input and its
    masks, which nobody else needs: whoever trains by rows does not train in parts.

    Parameters
    ----------
    space : Workspace
        The network's.
    thread, count : int
        Which part of how many.

    Attributes
    ----------
    frame : Frame
        A copy of the network's, but for ``own``.
    own : dict
        Fields of the frame that are the part's own.
    """

    def __init__(self, space: Workspace, thread: int, count: int) -> None:
        self.frame = Frame(space.frame.dtype)
        self._table = space.table[:PART_STAGES].copy()
        first, second = self._table
        rows, dtype = space.rows, space.frame.dtype
        ld_in, outputs = int(first[t.LD_IN]), int(second[t.LD_WEIGHT])
        width = _width(int(first[t.OUT]), dtype, count)
        ld = spaced(width, dtype)
        column = thread * width
        units = min(width, int(first[t.OUT]) - column)
        keeps_z = first[t.Z] != first[t.A]
        inputs = rows * ld_in if thread > 0 else 0
        self._room = aligned_zeros(inputs + rows * (3 if keeps_z else 2) * ld, dtype)

        first[t.OUT], first[t.LD], first[t.LD_WEIGHT] = units, ld, width
        _shift(first, column * int(first[t.IN]), t.WEIGHT, t.WEIGHT_STATE)
        _shift(first, column, t.BIAS, t.BIAS_STATE)
        # Offsets count from the network's workspace on, back where this lies before it.
        at = (self._room.ctypes.data - space.address) // dtype.itemsize
        if thread > 0:
            first[t.INPUT] = at
        first[t.Z] = at + inputs
        first[t.A] = first[t.Z] + (rows * ld if keeps_z else 0)
        first[t.DELTA] = first[t.A] + rows * ld

        second[t.IN], second[t.LD_IN], second[t.LD_TRANSPOSE] = units, ld, width
        _shift(second, column * outputs, t.WEIGHT, t.WEIGHT_STATE)
        _shift(second, column * int(second[t.OUT]), t.TRANSPOSE)
        second[t.INPUT], second[t.INPUT_DELTA] = first[t.A], first[t.DELTA]
        second[t.ACTIVATION] = IDENTITY  # its derivative is the whole network's business
        if thread > 0:
            second[t.BIAS] = second[t.BIAS_STATE] = -1

        counts = np.dtype(np.int32)
        self._flags = aligned_zeros(flags.CACHE_LINE, counts)
        self._costs = aligned_zeros(space.frame.array(t.COSTS).size, counts)
        self._masks = [space.frame.array(field) for field in (t.MASKS, t.FEATURE_MASKS)]
        if thread > 0:
            self._masks = [aligned_zeros(made.size, made.dtype) for made in self._masks]
        rows_at, features_at = (made.ctypes.data for made in self._masks)
        stretch = parts.stretch.py_func(rows)
        self.own = {
            t.STAGES: self._table.ctypes.data,
            t.N_STAGES: len(self._table),
            t.BEGIN: -(-rows // stretch) * thread // count * stretch,
            t.SCRATCH: space.frame[t.SCRATCH] + thread * space.frame[t.SCRATCH_SIZE],
            t.FLAGS: self._flags.ctypes.data,
            t.COSTS: self._costs.ctypes.data,
            t.MASKS: rows_at,
            t.FEATURE_MASKS: features_at,
            t.PARTS: 0,
            t.SHARES: 0,
        }


def _shift(row: Any, offset: int, *places: int) -> None:
    """Move places of a row of the layer table, where they are there at all."""
    for place in places:
        if row[place] >= 0:
            row[place] += offset
