"""What runs range kernels: on threads, and step after step.

With one thread no parallel region is entered, which is how calls stay right where a threading layer
could not take them (a forked child, concurrent callers).
"""

from numba import carray, prange, types

from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import call, native, parallel
from fastfcn_kernels.memory import int64s


@native("fpnnn")
def train_alone(frame_at, work, first, stop, batch):
    """Training steps over rows first:stop of an epoch, on one thread.

    Parameters
    ----------
    frame_at, work
        As a range kernel; see ``passes.py``.
    first, stop, batch : int
        Rows of the epoch; rows a step. The last batch may be smaller and counts its own rows.
    """
    frame = carray(frame_at, (t.FRAME_SIZE,))
    phases = carray(int64s(frame[t.PHASES]), (frame[t.N_PHASES],))
    for row in range(first, stop, batch):
        count = min(batch, stop - row)
        for phase in range(phases.size):
            call(phases[phase], (frame_at, work, 0, 1, row, count, phase))


@parallel
def region(kernel, frame_at, work, first, count, phase, n_threads):
    """Run a range kernel, given by its address, on threads. Pointers are addresses here."""
    for thread in prange(n_threads):
        call(kernel, (frame_at, work, thread, n_threads, first, count, phase))


@parallel
def train(phases_at, n_before, n_phases, n_after, frame_at, work, first, stop, batch, n_threads):
    """Training steps over rows first:stop of an epoch: a parallel region a phase, two as a rule.

    Parameters
    ----------
    phases_at, n_before, n_phases, n_after : int
        PHASES, N_BEFORE, N_PHASES and N_AFTER of the frame.
    frame_at, work : int
        Addresses of the frame and the workspace.
    first, stop, batch, n_threads : int
        As :func:`train_alone`; threads to use.

    Notes
    -----
    2·Σ in·out flops a sample for each of forward, gradient and (from the second layer) delta.
    """
    kernels = carray(int64s(phases_at), (n_before + n_phases + n_after,))
    for phase in range(n_before):
        kernel = kernels[phase]
        count = min(batch, stop - first)
        for thread in prange(n_threads):
            call(kernel, (frame_at, work, thread, n_threads, first, count, phase))
    for row in range(first, stop, batch):
        count = min(batch, stop - row)
        for phase in range(n_phases):
            kernel = kernels[n_before + phase]
            for thread in prange(n_threads):
                call(kernel, (frame_at, work, thread, n_threads, row, count, phase))
    for phase in range(n_after):
        kernel = kernels[n_before + n_phases + phase]
        for thread in prange(n_threads):
            call(kernel, (frame_at, work, thread, n_threads, stop, 0, phase))


def compile_regions() -> None:
    """Compile or load the parallel kernels, which take nothing but counts and addresses."""
    region.compile((types.int64,) * 7)
    train.compile((types.int64,) * 10)
