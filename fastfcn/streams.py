"""Data that come batch by batch: loaders, generators, data sets indexed sample by sample."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from fastfcn.buffers import Array
from fastfcn.data import Data
from fastfcn.epochs import After, Recipe, Trainer
from fastfcn.history import Evaluation, Tally
from fastfcn.intake import as_array, is_frame
from fastfcn.losses import Loss


class Stream:
    """Batches (x, y) or (x, y, sample_weight), epoch by epoch.

    Parameters
    ----------
    given : iterable of batches, or a data set of samples
        Batches may come from a PyTorch ``DataLoader`` or anything that can be iterated over. A data
        set has ``__len__`` and ``__getitem__`` and no ``__iter__``, as PyTorch's map-style ones.
    check : callable
        Takes x, y and perhaps sample_weight; returns Data.
    epochs : int
        How often it will be gone through at most.
    name : str
        What messages call it.
    batch_size : int
        Of a data set's batches.
    order : callable, optional
        The order of a data set's n samples in an epoch, called as ``order(epoch, n)``; as they come
        by default.
    """

    def __init__(
        self,
        given: Any,
        check: Callable[..., Data],
        epochs: int,
        name: str,
        batch_size: int = 1024,
        order: Callable[[int, int], Array] | None = None,
    ) -> None:
        self._given, self._check, self._name = given, check, name
        self._batch_size = batch_size
        self._order = order or (lambda epoch, n: np.arange(n))
        self.batches: int | None = None
        self.samples: int | None = None
        self._indexed = not hasattr(given, "__iter__")
        if self._indexed:
            self.samples = len(given)
            self.batches = -(-self.samples // batch_size)
            if not self.samples:
                raise ValueError(f"{name} must hold at least one sample, got none")
        else:
            # A DataLoader has __len__ whatever it loads; of a stream it raises.
            with contextlib.suppress(TypeError):
                self.batches = len(given)
        if epochs > 1 and hasattr(given, "__next__"):
            raise TypeError(
                f"{name} must give its batches anew for each of the {epochs} epochs, got an "
                f"iterator, {type(given).__name__}, which ends after one; pass a DataLoader, a "
                "list, or an object with __iter__"
            )
        self._begun: Iterator[Data] | None = None

    def first(self, epoch: int = 1) -> Data:
        """Return an epoch's first batch; that epoch, the next, begins with it all the same."""
        begun = self._checked(epoch)
        try:
            first = next(begun)
        except StopIteration:
            raise ValueError(f"{self._name} must give at least one batch, got none") from None
        self._begun = itertools.chain([first], begun)
        return first

    def epoch(self, epoch: int) -> Iterator[Data]:
        """Go through the batches of an epoch, from 1."""
        begun, self._begun = self._begun, None
        return self._checked(epoch) if begun is None else begun

    def _checked(self, epoch: int) -> Iterator[Data]:
        batches: Iterable[Any] = self._gathered(epoch) if self._indexed else self._given
        for batch in batches:
            if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
                raise TypeError(
                    f"{self._name} must give batches (x, y) or (x, y, sample_weight), got "
                    f"{_described(batch)}"
                )
            yield self._check(*batch)

    def _gathered(self, epoch: int) -> Iterator[tuple[Array, ...]]:
        """Bring samples of a data set together as batches."""
        order = self._order(epoch, len(self._given))
        for first in range(0, len(order), self._batch_size):
            rows = order[first : first + self._batch_size].tolist()
            if hasattr(self._given, "__getitems__"):
                samples = self._given.__getitems__(rows)
            else:
                samples = [self._given[row] for row in rows]
            for sample in samples:
                if not isinstance(sample, tuple | list) or len(sample) not in (2, 3):
                    raise TypeError(
                        f"{self._name} must have samples (x, y) or (x, y, sample_weight), got "
                        f"{_described(sample)}"
                    )
            columns = zip(*samples, strict=True)
            yield tuple(np.stack([as_array(v, self._name) for v in values]) for values in columns)


def _described(batch: Any) -> str:
    kind = type(batch).__name__
    if isinstance(batch, tuple | list):
        return f"a {kind} of length {len(batch)}"
    if hasattr(batch, "keys"):
        return f"a {kind} with the keys {list(batch.keys())}"
    return f"{kind}"


def gives_batches(x: Any) -> bool:
    """Tell whether x is no array, but gives batches or is a data set of samples."""
    if is_frame(x) or any(hasattr(x, a) for a in ("shape", "__array__", "__dlpack__", "tocsr")):
        return False
    return hasattr(x, "__iter__") or (hasattr(x, "__getitem__") and hasattr(x, "__len__"))


def stored_arrays(x: Any) -> tuple[Any, ...] | None:
    """Return the arrays of a data set that keeps them whole, as PyTorch's TensorDataset does."""
    tensors = getattr(x, "tensors", None)
    whole = isinstance(tensors, tuple) and len(tensors) in (2, 3) and not hasattr(x, "__iter__")
    return tensors if whole else None


def arrays_or_stream(x: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
    """Return (x, y, sample_weight) as arrays, or (x, None, None) with x batches or samples."""
    if not gives_batches(x) or (y is not None and isinstance(x, list | tuple)):
        if y is None:
            raise TypeError(
                f"y must be given with x an array, got {type(x).__name__} alone; leave it out "
                "where x gives batches (x, y), or is a data set with __len__ and __getitem__"
            )
        return x, y, sample_weight
    if y is not None or sample_weight is not None:
        raise TypeError(
            f"y and sample_weight must be left out where x gives batches, as {type(x).__name__} "
            "does: they are part of each"
        )
    stored = stored_arrays(x)
    return (x, None, None) if stored is None else (*stored, None)[:3]


class StreamEpochs:
    """Epochs over a stream: a batch a kernel call.

    Parameters
    ----------
    recipe : Recipe
        How to train.
    stream : Stream
        The batches.
    epoch : int
        The one to begin with.
    epochs : int
        Of this fit.
    """

    def __init__(self, recipe: Recipe, stream: Stream, epoch: int, epochs: int) -> None:
        self._recipe, self._stream = recipe, stream
        self.first = first = stream.first(epoch)
        self._factors = recipe.factors(stream.batches, epochs)
        # Random masks depend on the steps done.
        self._rows, self._count = 0, recipe.optimizer.steps
        self._total = self._recent = Tally()
        self.accuracy = first.accuracy
        self.batches, self.samples = stream.batches, stream.samples

    def prepare(self, validates: bool) -> None:
        """Make the buffers, and compile or load the kernels."""
        self._trainer = self._for(self.first)
        self._trainer.compile(validates)

    def run(self, epoch: int, after: After, each_batch: bool) -> float:
        """Train for an epoch; return the seconds that took, the stream's own among them."""
        self._total = Tally()
        seconds, before = 0.0, time.perf_counter()
        for data in self._stream.epoch(epoch):
            self._count += 1
            rows = data.source.rows
            if self._trainer.holds(data):
                self._trainer.read(data)
            else:
                self._trainer = self._for(data)
            self._trainer.run_epoch(self._count, np.arange(rows), _go_on)
            self._recent = self._trainer.tally(0, rows)
            self._total = self._total.plus(self._recent)
            seconds += time.perf_counter() - before
            if after(rows, 1):
                break
            before = time.perf_counter()
        return seconds

    def total(self) -> Tally:
        """Add up what the epoch has trained on."""
        return self._total

    def recent(self) -> Tally:
        """Add up the last batch."""
        return self._recent

    def _for(self, data: Data) -> Trainer:
        self._rows = max(self._rows, data.source.rows)
        return Trainer(self._recipe, data, self._rows, self._factors)


def _go_on(first: int, stop: int) -> bool:
    return False


def evaluate_stream(
    stream: Stream, epoch: int, loss: Loss, evaluate: Callable[[Data], Evaluation]
) -> Evaluation:
    """Return loss and accuracy over all batches of a stream."""
    total = Tally()
    for data in stream.epoch(epoch):
        result, divisor = evaluate(data), loss.divisor(data.targets)
        value = result.loss * divisor if divisor else 0.0
        if result.accuracy is None:
            total = total.plus(Tally(value, divisor))
        else:
            counted = float(loss.counts(data.targets).sum())
            total = total.plus(Tally(value, divisor, result.accuracy * counted, counted))
    return total.evaluation(loss.reduction != "sum")
