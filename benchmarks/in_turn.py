"""Times taken in turn in one process, for ratios: what slows one down slows the other down too.

A time alone follows the machine's load. The ratio of two best times from alternating bursts moves
far less, so that figures of different days can be compared. That holds for one thread; a ratio of
all threads needs all cores to itself at least once, for as long as one call takes. Smaller is
better everywhere.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

BURST = 0.02
"""Seconds for which one side runs before the other has its turn: both find their data cached."""

HOLDS_NUMPY_BACK = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""What a shell may hold that makes OpenBLAS compute as another processor would."""

Take = Callable[[], float]


def thread_count(threads: int | str) -> int:
    """Return the number of threads that a suite's parameter means: itself, or every one."""
    import numba

    return int(numba.config.NUMBA_NUM_THREADS) if threads == "all" else int(threads)


@contextlib.contextmanager
def numba_threads(count: int) -> Iterator[None]:
    """Hold calls that take no ``n_threads``, a layer's among them, to so many threads."""
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(count)
    try:
        yield
    finally:
        numba.set_num_threads(before)


def seconds(function: Callable[[], Any]) -> Take:
    """Return a take: the best time of a call within one burst, of two calls at least."""

    def take() -> float:
        best, calls, end = float("inf"), 0, time.perf_counter() + BURST
        while calls < 2 or time.perf_counter() < end:
            begin = time.perf_counter()
            function()
            best = min(best, time.perf_counter() - begin)
            calls += 1
        return best

    return take


def seconds_a_flop(threads: int, dtype: Any = "float32") -> Take:
    """Return a take: 1/PEAK, what an operation costs where nothing but multiply-adds runs."""
    import numpy as np

    from fastfcn.roofline import peak_flops

    return lambda: 1 / peak_flops(threads, 2 * BURST, np.dtype(dtype).type)


def best(*takes: Take, rounds: int = 3) -> list[float]:
    """Return the smallest value of each take over rounds in which every one has its turn."""
    return [
        min(values) for values in zip(*([t() for t in takes] for _ in range(rounds)), strict=True)
    ]


def over_numpy(ours: Callable[[], Any], theirs: Callable[[], Any]) -> float:
    """Return the time of ``ours`` over that of ``theirs``, NumPy's, which gets one BLAS thread.

    Both must return the same numbers up to float32's rounding: a ratio of two jobs says nothing.
    """
    import numpy as np
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    held = [name for name in HOLDS_NUMPY_BACK if name in os.environ]
    if held:
        raise RuntimeError(
            f"NumPy must be free to choose its fastest kernels, got {' and '.join(held)} in the "
            f"environment; compare after: unset {' '.join(held)}"
        )
    with threadpool_limits(1):
        np.testing.assert_allclose(ours(), theirs(), rtol=1e-3, atol=1e-3)
        our_time, their_time = best(seconds(ours), seconds(theirs))
    return our_time / their_time
