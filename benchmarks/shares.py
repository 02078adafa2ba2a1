"""What shares by speed bring where another program takes part of a core.

    FASTFCN_DATA=path/to/data python -m benchmarks.shares

trains the MNIST job of the performance page on two threads, by rows, while a program of its own
computes on one core for a moment and rests for a moment, again and again: with equal shares, and
with shares that follow the threads' speed, in turn. Prints a Markdown table. Without MNIST, images
made up like it. Needs Linux, which can hold a program to a core.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from unittest import mock

import numba
import numpy as np

from benchmarks import inputs
from benchmarks.peers import machine
from benchmarks.ways import epoch
from fastfcn.pace import Way
from fastfcn.shares import Shares

MOMENTS = ((0, 0), (20, 80), (40, 60))
"""Microseconds for which the program computes, and for which it asks to rest: it rests longer."""

BUSY = """
import os, sys, time
os.sched_setaffinity(0, {1})
compute, rest = (int(a) * 1e-6 for a in sys.argv[1:])
while True:
    end = time.perf_counter() + compute
    while time.perf_counter() < end:
        pass
    time.sleep(rest)
"""


@contextlib.contextmanager
def taken(compute: int, rest: int) -> Iterator[list[float]]:
    """Have part of core 1 taken; the part that it was lies in the list afterwards."""
    part: list[float] = []
    if compute == 0:
        yield part
        part.append(0.0)
        return
    command = [sys.executable, "-c", BUSY, str(compute), str(rest)]
    with subprocess.Popen(command) as program:
        time.sleep(0.5)
        before, began = _cpu_seconds(program.pid), time.perf_counter()
        try:
            yield part
            part.append((_cpu_seconds(program.pid) - before) / (time.perf_counter() - began))
        finally:
            program.kill()


def _cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.shares",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="default: %(default)s")
    chosen = parser.parse_args(arguments)
    if numba.config.NUMBA_NUM_THREADS < 2:
        parser.error("two threads are needed: NUMBA_NUM_THREADS allows one")
    if not hasattr(os, "sched_setaffinity") or 1 not in os.sched_getaffinity(0):
        parser.error("Linux is needed, and leave to use its core 1")
    print("| part of a core taken | equal shares | shares by speed |")
    print("|---:|---:|---:|", flush=True)
    x, y, _, _ = inputs.load()
    for compute, rest in MOMENTS:
        times: dict[bool, list[float]] = {False: [], True: []}
        with taken(compute, rest) as part:
            for _ in range(chosen.rounds):
                times[True].append(epoch(x, y, Way.ROWS, True))
                with mock.patch.object(Shares, "adapt", lambda self, steps, seconds: None):
                    times[False].append(epoch(x, y, Way.ROWS, True))
        alike, by_speed = (float(np.median(times[adapts])) for adapts in (False, True))
        print(f"| {part[0]:.0%} | {alike:.0f} ms | {by_speed:.0f} ms |", flush=True)
    print("\n" + ", ".join(f"{key} {value}" for key, value in machine.describe().items()))


if __name__ == "__main__":
    main()
