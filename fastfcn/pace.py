"""Ways of running training steps, and which of them is the fastest just now."""

from collections.abc import Sequence
from enum import Enum

SLICE_SECONDS = 0.1
"""How long a kernel runs before it returns to Python, for Ctrl-C and ``on_progress``."""


class Way(Enum):
    """How threads share a training step. The bits are the same."""

    ALONE = "one thread"
    ROWS = "rows of the batch, then weights"
    PARTS = "units of the first hidden layer, then rows of the batch"


class Pace:
    """Which way of training is the fastest just now.

    Threads that share their cores with other programs wait at every barrier for the one that was
    put aside, which can cost more than tenfold. Threads whose cores have no last-level cache in
    common exchange what they write more slowly than they compute. Neither can be known beforehand,
    and both come and go. As results do not depend on the way, a fit may change it from slice to
    slice: it tries each for a moment, goes on with the fastest, and tries the others again when
    that one slows down, and every now and then.

    Parameters
    ----------
    ways : sequence of Way
        Those that are ours to choose from; one: no choice.
    """

    TRIAL_SECONDS = 0.02
    ALONE_SECONDS = 0.004
    """Of a trial; on one thread, which can be told from little, but costs a short fit much."""
    SLOWER = 0.85
    """Part of its rate before at which a way has slowed down."""
    HELD_UP = 0.25
    """Part of one thread's rate below which threads are held up, however they share the work."""
    FIRST_WAIT, LONGEST_WAIT = 4, 64
    """Slices after which the others are tried again: each time twice as many, where in vain."""

    def __init__(self, ways: Sequence[Way]) -> None:
        self.ways = tuple(ways)
        self._rates = dict.fromkeys(self.ways, 0.0)
        # Twice: the first slice is of a few steps, and slow, as nothing is in cache yet.
        self._trials = [w for way in self.ways for w in (way, way)] if len(self.ways) > 1 else []
        self._wait = self._left = self.FIRST_WAIT
        self._tried_from = self.ways[0]

    def way(self) -> Way:
        """Return the way the next slice should go."""
        return self._trials[0] if self._trials else self._fastest()

    def samples(self) -> float:
        """Return how many samples the next slice should have; 0: a few, none went this way yet."""
        way = self.way()
        seconds = SLICE_SECONDS
        if self._trials:
            seconds = self.ALONE_SECONDS if way is Way.ALONE else self.TRIAL_SECONDS
        return seconds * self._rates[way]

    def record(self, way: Way, samples: int, seconds: float) -> None:
        """Take note of how long a slice took."""
        before, rate = self._rates[way], samples / max(seconds, 1e-6)
        self._rates[way] = rate
        if len(self.ways) == 1:
            return
        if self._trials:
            self._trials.pop(0)
            if rate < self.HELD_UP * self._rates.get(Way.ALONE, 0.0):
                self._trials = []
            if not self._trials:
                in_vain = self._fastest() is self._tried_from
                self._wait = min(2 * self._wait, self.LONGEST_WAIT) if in_vain else self.FIRST_WAIT
                self._left = self._wait
            return
        self._left -= 1
        if self._left <= 0 or rate < self.SLOWER * before:
            self._tried_from = self._fastest()
            self._trials = [w for w in self.ways if w is not Way.ALONE and w is not way]
            if not self._trials:  # alone is what is left, and known
                self._left = self._wait

    def _fastest(self) -> Way:
        return max(self.ways, key=self._rates.__getitem__)
