"""Epochs: a fit's buffers, and the kernel calls over them."""

import time
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np

from fastfcn.buffers import Array, aligned_zeros
from fastfcn.data import Data
from fastfcn.frame import source
from fastfcn.history import Tally
from fastfcn.losses import Loss
from fastfcn.nn.containers import Module
from fastfcn.optim import Optimizer
from fastfcn.pace import PARTS_STEPS, Pace, Way
from fastfcn.parts import Parts, may_fall_into_parts
from fastfcn.plan import Plan
from fastfcn.schedules import Factors, Schedule, factors_of
from fastfcn.shares import Shares
from fastfcn.threads import threads
from fastfcn.workspace import flops_per_row
from fastfcn_kernels import parts, passes, training
from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import Native

After: TypeAlias = Callable[[int, int], bool]
"""Called with the samples and the batches trained on since the call before; True ends the epoch."""

DEFAULT_BATCH = 32
"""Samples a step where nobody says."""


def batch_order(seed: int, epoch: int, n: int, shuffle: bool = True) -> Array:
    """Return the order in which an epoch visits n samples: a function of (seed, epoch) alone.

    Parameters
    ----------
    seed : int
        Not negative.
    epoch : int
        From 1.
    n : int
        Samples.
    shuffle : bool, default True
        False: as they come.

    Examples
    --------
    >>> bool((batch_order(0, 1, 100) == batch_order(0, 1, 100)).all())
    True
    """
    if not shuffle:
        return np.arange(n)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch]))).permutation(
        n
    )


class Recipe(NamedTuple):
    """How a fit trains, whatever on: arguments of :func:`fastfcn.fit`, checked."""

    net: Module
    plan: Plan
    loss: Loss
    optimizer: Optimizer
    n_threads: int | None = None
    skip_zeros: bool = True
    clip_norm: float | None = None
    schedule: Schedule | None = None
    seed: int = 0

    def factors(self, batches: int | None, epochs: int) -> Factors:
        """Return what the schedule makes of steps to come: epochs of so many batches."""
        return factors_of(self.schedule, self.optimizer.steps, batches, epochs)


class Trainer:
    """One fit's buffers, and the kernel calls over them.

    Parameters
    ----------
    recipe : Recipe
        How to train.
    data : Data
        What on, to begin with.
    batch_size : int
        Samples a step.
    factors : callable
        Of the learning rate, from a first step and how many.
    batches : int, default 1
        Batches of an epoch; 1 where they come one by one.
    """

    def __init__(
        self, recipe: Recipe, data: Data, batch_size: int, factors: Factors, batches: int = 1
    ) -> None:
        self._net, self._loss, self._optimizer = recipe.net, recipe.loss, recipe.optimizer
        self._plan = plan = recipe.plan
        n_threads = recipe.n_threads
        self._factors = factors
        self._batch, self._n_threads = batch_size, n_threads
        self._work = 4.0 * batch_size * flops_per_row(plan.stages)
        with threads(n_threads, self._work) as count:
            copies = count
        sparse = data.source.indptr is not None
        entries = data.source.most_entries(batch_size) if sparse else None
        self._space = plan.workspace(
            batch_size, True, copies, entries=entries, input_gradient=False
        )
        _place_state(self._space.table, recipe.net, recipe.optimizer)
        self._order = np.arange(0)
        self.seen = 0
        divides = (
            batches >= PARTS_STEPS
            and not sparse
            and recipe.clip_norm is None
            and may_fall_into_parts(plan.stages, plan.dtype, batch_size, copies)
        )
        self._parts = Parts(self._space, copies) if divides else None
        self._shares: dict[tuple[Way, int], Shares] = {}
        ways = [Way.ALONE] if n_threads is None and copies > 1 else []
        ways += [Way.ROWS, Way.PARTS] if divides else [Way.ROWS]
        self._pace = Pace(ways, batch_size)
        self._seed = recipe.seed
        self._fill_frame(data, recipe.skip_zeros)
        self._phases = self._phases_of_a_step(recipe.clip_norm)

    def _fill_frame(self, data: Data, skip_zeros: bool) -> None:
        """Point the frame at the data and the loss."""
        space = self._space
        frame = space.frame
        if not skip_zeros:
            frame[t.SKIPS] = 0
        self.read(data)
        last = space.table[-1]
        frame.link(t.PREPARE, passes.prepare)
        frame.link(t.LEARN, training.learn)
        frame.link(t.UPDATE, training.update)
        frame[t.BATCH] = self._batch
        frame.point(t.OUTPUT, space.buffer[last[t.A] :])
        frame.point(t.OUTPUT_DELTA, space.buffer[last[t.DELTA] :])
        frame[t.N_OUTPUT], frame[t.LD_OUTPUT] = last[t.OUT], last[t.LD]
        frame[t.TRAINING] = 1

    def read(self, data: Data) -> None:
        """Train on other data from now on, of the same kind and with batches no larger."""
        self._data = data
        self._values = np.zeros(data.source.rows)
        self._hits = np.zeros(data.source.rows, np.bool_)
        frame = self._space.frame
        frame.read(data.source)
        self._loss.fill(frame, data.targets)
        frame.point(t.VALUES, self._values)
        frame.point(t.HITS, self._hits)

    def holds(self, data: Data) -> bool:
        """Tell whether there is room for other data, as one batch."""
        entries = self._space.entries
        if data.source.rows > self._batch or (data.source.indptr is None) != (entries is None):
            return False
        return entries is None or data.source.most_entries(self._batch) <= entries

    def _phases_of_a_step(self, norm: float | None) -> list[Native]:
        """Return what a step by rows consists of; an update that waits for a norm is another."""
        space = self._space
        phases = [training.learn] * (2 * space.phases - 1) + [training.update]
        if norm is not None:
            phases.append(training.clipped_update)
            rows = sum(stage.in_features + 2 for stage in self._plan.stages)
            space.frame.point(t.CLIP, np.array([norm], self._plan.dtype))
            space.frame.point(t.NORMS, np.zeros(rows))
            # Not the network's own gradients, which belong to its user.
            gradients = aligned_zeros(self._plan.values.size, self._plan.dtype)
            space.frame.point(t.GRADS, gradients)
        return phases

    def _check_whole(self) -> None:
        """Raise where layers have left the network, or it a larger one."""
        if self._net.plan().buffer is not self._plan.buffer:
            raise RuntimeError(
                "the network's layers must stay in it while it is trained, but became part of "
                "another network; copy.deepcopy them for that"
            )

    def _train(self, order: Array, first: int, stop: int, way: Way) -> None:
        space, optimizer = self._space, self._optimizer
        n_threads = 1 if way is Way.ALONE else self._n_threads
        self._check_whole()
        step, steps = first // self._batch, -(-(stop - first) // self._batch)
        with threads(n_threads, self._work) as count:
            count = min(count, space.copies)
            space.frame.point(t.ORDER, order)
            space.frame[t.N_ORDER] = len(order)
            space.frame[t.FIRST_STEP] = step
            # A row for each step; of an empty stretch as well, for the compiler.
            factors = self._factors(optimizer.steps, max(steps, 1))
            hyper = optimizer.hyperparameters(factors, self._samples(order, first, stop))
            space.frame.point(t.HYPER, hyper)
            # Each time: a callback may have loaded another state into the optimiser.
            space.frame.point(t.STATE, optimizer.state)
            space.frame[t.STATE_SLOT] = optimizer.slot
            space.frame[t.STATE_SLOTS] = len(optimizer.slots)
            space.frame.link(t.STEP, optimizer.kernel)
            optimizer.steps += steps
            optimizer.last_lr = optimizer.lr * float(factors[-1])
            self._plan.buffer.changed()  # first: Ctrl-C may come before anything that follows
            if (way, count) not in self._shares:
                self._shares[way, count] = Shares(count)
            shares = self._shares[way, count]
            shares.join(space.frame)
            self._get_ready(way, count)
            began = time.perf_counter()
            space.frame.train(space.address, first, stop, self._batch, count)
            shares.adapt(steps, time.perf_counter() - began)
        self._plan.buffer.changed()

    def _get_ready(self, way: Way, count: int) -> None:
        """Say what a step consists of, and do what comes before the first."""
        space = self._space
        if way is Way.PARTS and self._parts is not None and self._parts.count == count:
            space.frame.phases(
                [parts.learn_parts, parts.update_parts],
                before=[parts.divide, parts.begin_parts],
                after=[parts.unite],
            )
            self._parts.join(space.frame)
        else:
            space.frame[t.PARTS] = 0
            space.frame.phases(self._phases)
            space.run(passes.prepare, 0, 0, count)

    def _samples(self, order: Array, first: int, stop: int) -> Array:
        """Return the samples of each batch, or the sum of their weights."""
        begins = np.arange(first, max(stop, first + 1), self._batch)
        weights = self._data.targets.weights
        if weights.size and stop > first:
            return np.add.reduceat(weights[order[first:stop]], begins - first)
        return np.diff(np.append(begins, stop)).astype(np.float64)

    def compile(self, validates: bool) -> None:
        """Compile or load the kernels, so that training itself does not."""
        for way in self._pace.ways:
            self._train(np.arange(0), 0, 0, way)
        if validates:
            self.compile_prediction()

    def compile_prediction(self) -> None:
        """Compile or load what predicts."""
        blank = np.zeros((1, self._plan.stages[0].in_features), np.uint8)
        self._plan.predict(source(blank, self._plan.dtype), 1)

    def run_epoch(
        self, epoch: int, order: Array, after: Callable[[int, int], bool], each_batch: bool = False
    ) -> float:
        """Train on every sample once; return the seconds that took.

        Parameters
        ----------
        epoch : int
            With the seed, what the epoch's random masks depend on.
        order : ndarray (n,)
            The samples in the order of their batches.
        after : callable
            Called as ``after(first, stop)`` when places first:stop of the order are trained on;
            returning True ends the epoch. Its time does not count.
        each_batch : bool, default False
            Whether that is after each batch, or after as many as take `SLICE_SECONDS`.
        """
        n = len(order)
        self._order, self.seen = order, 0
        self._space.frame[t.SEED] = _mask_seed(self._seed, epoch)
        seconds = 0.0
        while self.seen < n:
            first = self.seen
            way, size = self._pace.choose(n - first, each_batch)
            stop = first + size
            before = time.perf_counter()
            self._train(order, first, stop, way)
            took = time.perf_counter() - before
            seconds += took
            self.seen = stop
            self._pace.record(way, size, took)
            if after(first, stop):
                break
        return seconds

    def tally(self, first: int, stop: int) -> Tally:
        """Add up places first:stop of the epoch's order, as they were when trained on."""
        targets, rows = self._data.targets, self._order[first:stop]
        whole = len(rows) == len(self._order)
        part = targets if whole else targets.take(rows)
        total, divisor = float(self._values[first:stop].sum()), self._loss.divisor(part)
        if not self._data.accuracy:
            return Tally(total, divisor)
        counts = self._loss.counts(part)
        if whole:
            counts = counts[rows]
        hits = self._hits[first:stop]
        return Tally(total, divisor, float((hits * counts).sum()), float(counts.sum()))


class Epochs(Protocol):
    """What ``fit`` trains on, epoch by epoch: arrays, or batches that come one by one."""

    first: Data
    """Some of the data, or all."""
    accuracy: bool
    batches: int | None
    samples: int | None

    def prepare(self, validates: bool) -> None:
        """Make the buffers, and compile or load the kernels."""

    def run(self, epoch: int, after: After, each_batch: bool) -> float:
        """Train for an epoch, from 1; return the seconds that took."""

    def total(self) -> Tally:
        """Add up what the epoch has trained on."""

    def recent(self) -> Tally:
        """Add up what was trained on since the call of ``after`` before the last."""


class ArrayEpochs:
    """Epochs over arrays: many batches a kernel call.

    Parameters
    ----------
    recipe : Recipe
        How to train.
    data : Data
        All of them.
    batch_size : int or None
        Samples a step; None: `DEFAULT_BATCH`, or all where there are fewer.
    order : callable
        The order of an epoch's n samples, called as ``order(epoch, n)``.
    epochs : int
        Of this fit.

    Raises
    ------
    ValueError
        For a batch larger than the data, and a schedule that cannot be used.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: Data,
        batch_size: int | None,
        order: Callable[[int, int], Array],
        epochs: int,
    ) -> None:
        n = data.source.rows
        if batch_size is None:
            batch_size = min(DEFAULT_BATCH, n)
        if batch_size > n:
            raise ValueError(
                f"batch_size must be at most the number of samples, {n}, got {batch_size}; pass "
                f"batch_size={n}"
            )
        self._recipe, self.first, self._batch, self._order = recipe, data, batch_size, order
        self._last = 0, 0
        self.accuracy = data.accuracy
        self.samples: int | None = n
        self.batches: int | None = -(-n // batch_size)
        self._factors = recipe.factors(self.batches, epochs)

    def prepare(self, validates: bool) -> None:
        self._trainer = Trainer(
            self._recipe, self.first, self._batch, self._factors, self.batches or 1
        )
        self._trainer.compile(validates)

    def run(self, epoch: int, after: After, each_batch: bool) -> float:
        def count(first: int, stop: int) -> bool:
            self._last = first, stop
            return after(stop - first, -(-(stop - first) // self._batch))

        order = self._order(epoch, self.first.source.rows)
        return self._trainer.run_epoch(epoch, order, count, each_batch)

    def total(self) -> Tally:
        return self._trainer.tally(0, self._trainer.seen)

    def recent(self) -> Tally:
        return self._trainer.tally(*self._last)


def _mask_seed(seed: int, epoch: int) -> int:
    """Return what an epoch's random masks depend on, apart from its order of samples."""
    return int(np.random.SeedSequence([seed, epoch, 1]).generate_state(1, np.uint64)[0] >> 1)


def _place_state(table: Array, net: Module, optimizer: Optimizer) -> None:
    """Point the layer table at the optimiser's state; -1 stays for what it does not train."""
    own = {id(parameter) for parameter in net.parameters()}
    if any(id(parameter) not in own for parameter in optimizer.parameters):
        raise ValueError(
            "optimizer must hold parameters of this network only; make it from net.parameters()"
        )
    places = optimizer.places(net.plan().buffer)
    for row in table:
        row[t.WEIGHT_STATE] = places.get(int(row[t.WEIGHT]), -1)
        row[t.BIAS_STATE] = places.get(int(row[t.BIAS]), -1)
