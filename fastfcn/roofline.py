"""What this machine can do, measured: the roof over every kernel's rate."""

import time

import numpy as np

from fastfcn.threads import check_threads, threads
from fastfcn_kernels import roofline


def peak_flops(
    n_threads: int | None = None, seconds: float = 1.0, dtype: type[np.floating] = np.float32
) -> float:
    """Return the floating-point operations a second that fused multiply-adds reach.

    Parameters
    ----------
    n_threads : int, optional
        Threads; by default as many as Numba is set to.
    seconds : float, default 1.0
        How long to measure. The best tenth counts: other processes only take away.
    dtype : type, default numpy.float32
        Precision: ``numpy.float32`` or ``numpy.float64``.

    Returns
    -------
    float
        FLOP/s of all threads together; a multiply-add is two.

    Examples
    --------
    >>> peak_flops(1, seconds=0.1) > 1e8
    True
    """
    check_threads(n_threads)
    with threads(n_threads, np.inf) as count:
        results = np.full(16 * (count + 1), 0.5, dtype)
        per_round = roofline.flops_per_round(results.itemsize) * count
        roofline.multiply_adds(results, 1, count)
        rounds, best, end = 1000, 0.0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            begin = time.perf_counter()
            roofline.multiply_adds(results, rounds, count)
            took = time.perf_counter() - begin
            if took < seconds / 20:  # too short to time: its start and its end would count
                rounds *= 2
            else:
                best = max(best, rounds * per_round / took)
    return best
