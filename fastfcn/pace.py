"""Ways of running training steps, and which of them is the fastest just now."""

from collections.abc import Sequence
from enum import Enum

SLICE_SECONDS = 0.1
"""How long a kernel runs before it returns to Python, for Ctrl-C and ``on_progress``."""

PARTS_STEPS = 16
"""Steps at least for which parts are worth dividing the network into."""


class Way(Enum):
    """How threads share a training step. The bits are the same."""

    ALONE = "one thread"
    ROWS = "rows of the batch, then weights"
    PARTS = "units of the first hidden layer, then rows of the batch"


class Pace:
    """Which way of training is the fastest just now, and how much to train before asking again.

    Threads that share their cores with other programs wait at every barrier for the one that was
    put aside, which can cost more than tenfold. Threads whose cores are far apart exchange what
    they write more slowly than they compute. Neither can be known beforehand, and both come and go.
    As results do not depend on the way, a fit may change it from slice to slice: it tries each for
    a moment, goes on with the fastest, and tries the others of several threads again when that one
    slows down, and every now and then.

    Parameters
    ----------
    ways : sequence of Way
        Those that are ours to choose from; one: no choice.
    batch : int
        Samples a step.
    """

    FIRST_STEPS = 4
    """Of the first slice each way, from which the next one's length is told."""
    TRIAL_SECONDS = 0.02
    """How long a way is tried for."""
    ALONE_SECONDS = 0.004
    """The same for one thread, which can be told from little, but costs a short fit much."""
    GROWTH = 4
    """Times that a slice may be longer than the one before it on the same way."""
    SLOWER = 0.85
    """Part of its usual rate below which a way has slowed down, two slices in a row."""
    HELD_UP = 0.25
    """Part of one thread's rate below which threads are held up, however they share the work."""
    FIRST_WAIT, LONGEST_WAIT = 0.4, 6.4
    """Seconds after which the others are tried again: each time twice as many, where in vain."""

    def __init__(self, ways: Sequence[Way], batch: int) -> None:
        self.ways, self._batch = tuple(ways), batch
        self._rates = dict.fromkeys(self.ways, 0.0)
        self._sizes = dict.fromkeys(self.ways, 0)
        # Each twice: the first slice has few steps, and nothing is in cache yet.
        self._trials = [way for way in self.ways for _ in range(2)] if len(self.ways) > 1 else []
        self._trying = bool(self._trials)
        self._tried_from: Way | None = None
        self._wait = self.FIRST_WAIT
        self._since = 0.0
        self._slow = 0

    def choose(self, left: int, each_batch: bool = False) -> tuple[Way, int]:
        """Return the way that the next slice should go, and its samples.

        Parameters
        ----------
        left : int
            Samples left of the epoch.
        each_batch : bool, default False
            Whether every step is a slice of its own.
        """
        ways = [w for w in self.ways if w is not Way.PARTS or self._divides(left, each_batch)]
        self._trials = [way for way in self._trials if way in ways]
        way = self._trials[0] if self._trials else max(ways, key=self._rates.__getitem__)
        if each_batch:
            return way, min(left, self._batch)
        seconds = SLICE_SECONDS
        if self._trials:
            seconds = self.ALONE_SECONDS if way is Way.ALONE else self.TRIAL_SECONDS
        steps = max(1, int(seconds * self._rates[way] / self._batch))
        if not self._rates[way]:
            steps = self.FIRST_STEPS
        elif not self._trials:
            steps = min(steps, self.GROWTH * -(-self._sizes[way] // self._batch))
        if way is Way.PARTS:
            steps = max(steps, PARTS_STEPS)
        size = steps * self._batch
        return way, left if left < size * 3 // 2 else size

    def record(self, way: Way, samples: int, seconds: float) -> None:
        """Take note of how long a slice took."""
        rate, usual = samples / max(seconds, 1e-6), self._rates[way]
        self._sizes[way] = samples
        self._rates[way] = rate if self._trying or not usual else (rate + usual) / 2
        if self._trying:
            self._tried(way, rate)
            return
        self._since += seconds
        self._slow = self._slow + 1 if rate < self.SLOWER * usual else 0
        overdue = self._since >= self._wait
        if overdue or (self._slow > 1 and self._since >= SLICE_SECONDS):
            self._tried_from, self._since, self._slow = way, 0.0, 0
            self._trials = [w for w in self.ways if w is not Way.ALONE and w is not way]
            self._trying = bool(self._trials)

    def _tried(self, way: Way, rate: float) -> None:
        """Go on to the next trial, or end them."""
        if way in self._trials:
            self._trials.remove(way)
        known = way not in self._trials
        if known and rate < self.HELD_UP * self._rates.get(Way.ALONE, 0.0):
            self._trials = []
        if not self._trials:
            in_vain = max(self.ways, key=self._rates.__getitem__) is self._tried_from
            self._wait = min(2 * self._wait, self.LONGEST_WAIT) if in_vain else self.FIRST_WAIT
            self._trying = False

    def _divides(self, left: int, each_batch: bool) -> bool:
        """Tell whether parts are worth their while: enough steps, that do not take too long."""
        least = PARTS_STEPS * self._batch
        usual = self._rates[Way.PARTS] or self._rates.get(Way.ROWS, 0.0)
        quick = not usual or least <= 2 * SLICE_SECONDS * usual
        return len(self.ways) == 1 or (not each_batch and left >= least and quick)
