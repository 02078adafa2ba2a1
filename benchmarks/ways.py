"""The ways in which threads share a training step, beside how far apart their cores are.

    FASTFCN_DATA=path/to/data python -m benchmarks.ways

trains the MNIST job of the performance page by rows and in parts, in turn, and before each pair
hands memory from one thread to another and back. Prints a Markdown table with a row a round: a
virtual machine's cores move. Without MNIST, images made up like it.
"""

import argparse
import time
from collections.abc import Sequence
from typing import Any
from unittest import mock

import numba
import numpy as np

from benchmarks import inputs
from benchmarks.peers import machine
from fastfcn import epochs
from fastfcn.pace import Pace, Way

HANDED_OVER = 65_536
"""float32 that one thread writes and another reads: 256 KB, which fit any second-level cache."""
TIMES = 500
EPOCHS = 4


@numba.njit(parallel={"fusion": False})
def hand_over(memory, sums, times):
    """Have two threads write the same memory and read it, in turn."""
    for i in range(times):
        for thread in numba.prange(2):
            if thread == i % 2:
                for j in range(memory.size):
                    memory[j] = i
        for thread in numba.prange(2):
            if thread != i % 2:
                total = np.int64(0)
                for j in range(memory.size):
                    total += memory[j]
                sums[16 * thread] = total


def handing_over() -> float:
    """Return the microseconds in which a thread writes what another had read, and that reads it."""
    memory, sums = np.zeros(HANDED_OVER, np.int32), np.zeros(32, np.int64)
    hand_over(memory, sums, 1)
    started = time.perf_counter()
    hand_over(memory, sums, TIMES)
    return (time.perf_counter() - started) / TIMES * 1e6


def epoch(x: Any, y: Any, way: Way, skip_zeros: bool) -> float:
    """Return the milliseconds of an epoch of the job, on two threads, one way only."""
    with mock.patch.object(epochs, "Pace", lambda ways, batch: Pace([way], batch)):
        history = inputs.fit(
            inputs.network(), x, y, epochs=EPOCHS, n_threads=2, scale=1 / 255, skip_zeros=skip_zeros
        )
    return float(min(history.seconds[1:])) * 1e3


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ways",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="default: %(default)s")
    chosen = parser.parse_args(arguments)
    if numba.config.NUMBA_NUM_THREADS < 2:
        parser.error("two threads are needed: NUMBA_NUM_THREADS allows one")
    print("| handing 256 KB over | by rows | in parts | every product: by rows | in parts |")
    print("|---:|---:|---:|---:|---:|", flush=True)
    x, y, _, _ = inputs.load()
    for _ in range(chosen.rounds):
        moved = handing_over()
        times = [epoch(x, y, way, skip) for skip in (True, False) for way in (Way.ROWS, Way.PARTS)]
        cells = " | ".join(f"{milliseconds:.0f} ms" for milliseconds in times)
        print(f"| {moved:.0f} µs | {cells} |", flush=True)
    print("\n" + ", ".join(f"{key} {value}" for key, value in machine.describe().items()))


if __name__ == "__main__":
    main()
