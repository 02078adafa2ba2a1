"""How much of a training step each thread does: what ``fastfcn_kernels/shares.py`` goes by."""

import numpy as np

from fastfcn.buffers import Array, aligned_zeros
from fastfcn.frame import Frame
from fastfcn_kernels import table as t
from fastfcn_kernels.shares import RECORD, WHOLE


class Shares:
    """Shares of the rows of a batch, and of the weights, such that threads finish together.

    Alike at first, and while threads are as fast as each other. Else each thread's goes by its
    speed: cores may differ by their make, or as one of them is shared with another program, and the
    difference may come and go within a fit.

    Parameters
    ----------
    count : int
        Threads.
    """

    STEPS = 16
    """Training steps at least from which speeds are told."""
    STEP_SECONDS = 5e-5
    """Of a step, below which shares stay alike: what does not depend on them counts too much."""
    TOLERANCE = 0.08
    """Part of a share that it may be off: noise is no reason to change what is right."""
    LEAST = 0.125
    """Part of an equal share that the slowest thread gets, roughly, however slow it was."""
    KEPT = 8
    """What is left of one measurement for the next is the whole divided by this: a yardstick."""

    def __init__(self, count: int) -> None:
        self._even = WHOLE * np.arange(count + 1, dtype=np.int64) // count
        self._cuts = np.stack([self._even, self._even])
        self._spent = aligned_zeros(count * RECORD, np.dtype(np.int64)).reshape(count, RECORD)
        self._steps, self._seconds = 0, 0.0

    def join(self, frame: Frame) -> None:
        """Have a network trained by these shares."""
        frame.point(t.SHARES, self._cuts)
        frame.point(t.SPENT, self._spent)

    def adapt(self, steps: int, seconds: float) -> None:
        """Learn from ``steps`` more training steps, and how long they took."""
        self._steps += steps
        self._seconds += seconds
        if self._steps < self.STEPS:
            return
        for what, cuts in enumerate(self._cuts):
            cuts[:] = self._right(cuts, self._spent[:, 2 * what], self._spent[:, 2 * what + 1])
        self._spent //= self.KEPT
        self._steps, self._seconds = 0, 0.0

    def _right(self, cuts: Array, ticks: Array, work: Array) -> Array:
        """Return where to cut, given what each thread has done and how long that took."""
        known = (ticks > 0) & (work > 0)
        if not known.any() or self._seconds < self.STEP_SECONDS * self._steps:
            return self._even
        speeds = np.divide(work, ticks, where=known, out=np.zeros(len(work)))
        speeds[~known] = speeds[known].mean()  # had nothing to do: its speed is anyone's guess
        shares = np.maximum(speeds / speeds.sum(), self.LEAST / len(speeds))
        shares /= shares.sum()
        if abs(shares * len(shares) - 1).max() <= self.TOLERANCE:
            return self._even
        if abs(shares * WHOLE / np.maximum(np.diff(cuts), 1) - 1).max() <= self.TOLERANCE:
            return cuts
        ends = np.rint(WHOLE * np.cumsum(shares)).astype(np.int64)
        return np.concatenate([[0], ends])
