"""What threads know and others need: flags, a cache line a thread."""

from numba import carray

from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import helper
from fastfcn_kernels.memory import int32s

WEIGHTS, FIRST_DELTA, INPUT, DENSE = range(4)
"""What a thread's flags say when set: all it looked at of the first weight, its delta, the data is
finite; the rows that it gathered are dense."""

CACHE_LINE = 16
"""int32 between one thread's flags and the next's, so that no two share a cache line."""

LOOK, TRUST = 1, 2
"""Values of SKIPS, beside 0, never: see whether the first weight is finite; it is known to be."""


@helper
def set_flag(frame, thread, kind, value):
    """Set a thread's flag."""
    carray(int32s(frame[t.FLAGS]), ((thread + 1) * CACHE_LINE,))[thread * CACHE_LINE + kind] = value


@helper
def flag_of(frame, thread, kind):
    """Tell whether a thread's flag is set."""
    flags = carray(int32s(frame[t.FLAGS]), ((thread + 1) * CACHE_LINE,))
    return flags[thread * CACHE_LINE + kind] != 0


@helper
def all_flags(frame, n_threads, kind):
    """Tell whether every thread's flag is set."""
    every = True
    for thread in range(n_threads):
        every &= flag_of(frame, thread, kind)
    return every


@helper
def may_skip(frame, n_threads):
    """Return 1 where zeros may be skipped: every share of the first weight was found finite."""
    return 1 if frame[t.SKIPS] != 0 and all_flags(frame, n_threads, WEIGHTS) else 0
