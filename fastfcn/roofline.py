"""What this machine can do, measured: the roofs over every kernel.

A kernel does floating-point operations on bytes that come from memory. PEAK bounds the first, the
memory's bandwidth the second; the kernel's intensity, operations a byte, tells which of the two
bounds it [1]_.

References
----------
.. [1] S. Williams, A. Waterman, D. Patterson, "Roofline: an insightful visual performance model for
   multicore architectures", Communications of the ACM 52(4), 2009.
"""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastfcn.threads import check_threads, threads
from fastfcn_kernels import roofline


class Bandwidth(NamedTuple):
    """Bytes a second between the processor and its memory."""

    read: float
    """Reading alone."""
    update: float
    """Reading and writing back, as an optimiser does; both count."""


class Roof(NamedTuple):
    """The two bounds on what a kernel can reach.

    Examples
    --------
    >>> roof = Roof(peak=500e9, bandwidth=50e9)
    >>> roof.bound(0.3), roof.bound(60.0)
    ('memory', 'compute')
    >>> roof.at(0.3) / 1e9, roof.at(60.0) / 1e9
    (15.0, 500.0)
    """

    peak: float
    """FLOP/s."""
    bandwidth: float
    """Bytes a second."""

    def at(self, intensity: float) -> float:
        """Return the FLOP/s that a kernel of this many FLOP a byte cannot exceed."""
        return min(self.peak, intensity * self.bandwidth)

    def bound(self, intensity: float) -> str:
        """Return which of the two it is: "compute" or "memory"."""
        return "compute" if intensity * self.bandwidth >= self.peak else "memory"


def peak_flops(
    n_threads: int | None = None, seconds: float = 1.0, dtype: type[np.floating] = np.float32
) -> float:
    """Return the floating-point operations a second that fused multiply-adds reach.

    Parameters
    ----------
    n_threads : int, optional
        Threads; by default as many as Numba is set to.
    seconds : float, default 1.0
        How long to measure. The best twentieth counts: other processes only take away.
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
        taken = times(lambda rounds: roofline.multiply_adds(results, rounds, count), seconds)
    return per_round / min(taken)


def bandwidth(n_threads: int | None = None, seconds: float = 1.0) -> Bandwidth:
    """Return the bytes a second that memory gives, over buffers far larger than the caches.

    Parameters
    ----------
    n_threads : int, optional
        Threads, each with a range of its own; by default as many as Numba is set to.
    seconds : float, default 1.0
        How long to measure. The best twentieth counts: other processes only take away.

    Returns
    -------
    Bandwidth
        ``read`` and ``update``, of all threads together.

    Examples
    --------
    >>> bandwidth(1, seconds=0.1).read > 1e7
    True
    """
    check_threads(n_threads)
    with threads(n_threads, np.inf) as count:
        values = np.empty(_beyond_caches() // 8)
        # First written by the thread that will use it, which is near whom it then lies.
        roofline.scale(values, 0.0, 1, count)
        words, sums = values.view(np.int64), np.zeros(8 * count, np.int64)
        reads = times(lambda rounds: roofline.read_words(words, sums, rounds, count), seconds / 2)
        updates = times(lambda rounds: roofline.scale(values, 1.0, rounds, count), seconds / 2)
    return Bandwidth(values.nbytes / min(reads), 2 * values.nbytes / min(updates))


def times(run: Callable[[int], Any], seconds: float) -> list[float]:
    """Return the seconds of a round, measured over and over for ``seconds``.

    Rounds that are too short to time are run many at once: their start and end would count.
    """
    run(1)
    taken: list[float] = []
    rounds, end = 1, time.perf_counter() + seconds
    while not taken or time.perf_counter() < end:
        begin = time.perf_counter()
        run(rounds)
        took = time.perf_counter() - begin
        if took < seconds / 20:
            rounds = max(rounds + 1, int(rounds * min(8.0, seconds / 15 / max(took, 1e-9))))
        else:
            taken.append(took / rounds)
    return taken


def _beyond_caches() -> int:
    """Return a size in bytes of which the caches hold little: eight times theirs, 2 GiB at most."""
    caches: dict[tuple[str, str], int] = {}
    for folder in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cache/index[0-9]"):
        with contextlib.suppress(OSError, ValueError):
            level = (folder / "level").read_text()
            size = (folder / "size").read_text().strip().removesuffix("K")
            if level.strip() == "3":
                caches[level, (folder / "shared_cpu_list").read_text()] = int(size) << 10
    return min(max(8 * sum(caches.values()), 256 << 20), 2 << 30)
