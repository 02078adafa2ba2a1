"""How much of a training step each thread does: what ``fastfcn_kernels/shares.py`` goes by."""

import numpy as np

from fastfcn.buffers import aligned_zeros
from fastfcn.frame import Frame
from fastfcn_kernels import table as t
from fastfcn_kernels.shares import RECORD, WHOLE


class Shares:
    """Shares of the rows of a batch, and of the weights, such that threads finish together.

    Alike at first. Then each thread's goes by its speed: cores may differ by their make, or as one
    of them is shared with another program, and the difference may come and go within a fit.

    Parameters
    ----------
    count : int
        Threads.
    """

    STEPS = 16
    """Training steps at least from which speeds are told."""
    TOLERANCE = 0.08
    """Part of a share that it may be off: noise is no reason to leave what is alike for all."""
    LEAST = 0.125
    """Part of an equal share that a thread keeps at least, so that its speed is seen."""

    def __init__(self, count: int) -> None:
        even = WHOLE * np.arange(count + 1) // count
        self._cuts = np.stack([even, even])
        self._spent = aligned_zeros(count * RECORD, np.dtype(np.int64)).reshape(count, RECORD)
        self._steps = 0

    def join(self, frame: Frame) -> None:
        """Have a network trained by these shares."""
        frame.point(t.SHARES, self._cuts)
        frame.point(t.SPENT, self._spent)

    def adapt(self, steps: int) -> None:
        """Learn from ``steps`` more training steps."""
        self._steps += steps
        if self._steps < self.STEPS:
            return
        for what, cuts in enumerate(self._cuts):
            ticks, work = self._spent[:, 2 * what], self._spent[:, 2 * what + 1]
            if (ticks > 0).all() and (work > 0).all():
                speeds = work / ticks
                shares = np.maximum(speeds / speeds.sum(), self.LEAST / len(speeds))
                shares /= shares.sum()
                if abs(shares * WHOLE / np.diff(cuts) - 1).max() > self.TOLERANCE:
                    cuts[1:-1] = np.rint(WHOLE * np.cumsum(shares[:-1]))
        self._spent[:] = 0
        self._steps = 0
