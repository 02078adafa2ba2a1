"""What callbacks cost: epochs of MNIST with each and without, in turn.

    FASTFCN_DATA=... python -m benchmarks.callbacks [--rounds 15] [--epochs 3] [--threads N]

The progress bar is drawn on a terminal of its own. Printed are the median times of an epoch, and
each as a ratio to the plain one of its round, median and range. Wants an idle machine.
"""

import argparse
import contextlib
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.inputs import BATCH, SOURCE, fit, load, network


class EachBatch:
    """Does nothing, after every batch."""

    def on_batch_end(self, run: Any) -> None:
        pass


class EachEpoch:
    """Does nothing, after every epoch."""

    def on_epoch_end(self, run: Any) -> None:
        pass


@contextlib.contextmanager
def terminal() -> Iterator[None]:
    """Make standard error a terminal whose other end is read and forgotten."""
    ours, theirs = os.openpty()

    def drain() -> None:
        with contextlib.suppress(OSError):
            while os.read(ours, 65536):
                pass

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    before = sys.stderr
    sys.stderr = os.fdopen(theirs, "w")
    try:
        yield
    finally:
        sys.stderr.close()
        sys.stderr = before
        reader.join()
        os.close(ours)


def main() -> None:
    """Measure and print."""
    from fastfcn import callbacks

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()

    x, y, _, _ = load()
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "progress bar": {"progress": True},
        "on_epoch_end": {"callbacks": [EachEpoch()]},
        "EarlyStopping": {"callbacks": [callbacks.EarlyStopping()]},
        "on_batch_end": {"callbacks": [EachBatch()]},
        'EMA(every="batch")': {"callbacks": [callbacks.EMA()]},
        'EMA(every="epoch")': {"callbacks": [callbacks.EMA(0.9, every="epoch")]},
    }

    def epoch_of(kind: str, epochs: int, n: int) -> float:
        net = network()
        began = time.perf_counter()
        fit(
            net, x[:n], y[:n], scale=1 / 255, epochs=epochs, n_threads=options.threads,
            **kinds[kind],
        )  # fmt: skip
        return (time.perf_counter() - began) / epochs

    with terminal():
        for kind in kinds:
            epoch_of(kind, 1, 4 * BATCH)  # compile or load
        rounds = [
            {kind: epoch_of(kind, options.epochs, len(x)) for kind in kinds}
            for _ in range(options.rounds)
        ]
    print(f"{SOURCE}, {len(x):,} samples, batches of {BATCH}, {options.rounds} rounds")
    for kind in kinds:
        times = [times[kind] for times in rounds]
        ratios = [times[kind] / times["plain"] for times in rounds]
        time_, ratio = statistics.median(times), statistics.median(ratios)
        print(
            f"{kind:20}  {1e3 * time_:7.1f} ms  x {ratio:.3f}"
            f"  ({min(ratios):.3f} to {max(ratios):.3f})"
        )


if __name__ == "__main__":
    main()
