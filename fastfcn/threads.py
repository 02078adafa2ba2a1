"""How many threads a call may use, and when it must do with one.

The count is set for the one call and restored: Numba's own setting stays the user's. Results do not
depend on it, so falling back to one thread is always right.
"""

import contextlib
import os
import threading
from collections.abc import Iterator

import numba

WORTH_A_THREAD = 1_000_000
"""Floating-point operations between two barriers below which a second thread costs more than it
brings: some microseconds of waking up and waiting."""

_pool = threading.Lock()
_pool_started = False
_in_forked_child = False


def _after_fork_in_child() -> None:
    """Give up the parent's pool: its threads were not copied, and GNU OpenMP aborts on a reuse."""
    global _in_forked_child, _pool
    _in_forked_child = _pool_started
    _pool = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def check_threads(n_threads: int | None) -> None:
    """Raise unless ``n_threads`` is None or a count this process can use."""
    if n_threads is None:
        return
    if isinstance(n_threads, bool) or not hasattr(n_threads, "__index__"):
        raise TypeError(f"n_threads must be an int or None, got {n_threads!r}")
    limit = numba.config.NUMBA_NUM_THREADS
    if not 1 <= n_threads <= limit:
        raise ValueError(
            f"n_threads must be between 1 and {limit}, got {n_threads}; "
            "NUMBA_NUM_THREADS sets the upper limit"
        )


@contextlib.contextmanager
def at_most(n_threads: int | None) -> Iterator[None]:
    """Set how many threads calls use by default, for what is called within; None: as it is."""
    if n_threads is None or _in_forked_child:
        yield
        return
    before = numba.get_num_threads()
    numba.set_num_threads(n_threads)
    try:
        yield
    finally:
        numba.set_num_threads(before)


@contextlib.contextmanager
def threads(n_threads: int | None, work: float) -> Iterator[int]:
    """Give the number of threads for one call, and Numba's pool that many while it runs.

    Parameters
    ----------
    n_threads : int or None
        What the caller asked for; None: what Numba is set to, less where the work is small.
    work : float
        Floating-point operations between two barriers.

    Yields
    ------
    int
        Threads to use. 1 means that no parallel region may be entered: asked for, not worth more,
        in a forked child, or while another Python thread uses the pool (Numba's workqueue layer
        aborts the process on concurrent access).
    """
    global _pool_started
    if n_threads == 1 or _in_forked_child or (n_threads is None and work < WORTH_A_THREAD):
        yield 1
        return
    if not _pool.acquire(blocking=False):
        yield 1
        return
    try:
        before = numba.get_num_threads()
        _pool_started = True
        count = before if n_threads is None else int(n_threads)
        if count > 1:
            numba.set_num_threads(count)
        try:
            yield count
        finally:
            numba.set_num_threads(before)
    finally:
        _pool.release()
