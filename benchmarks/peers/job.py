"""Jobs: what one process is asked to do, how it is started, and in which order."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.peers.libraries import PEERS

ROOT = Path(__file__).resolve().parents[2]

TIMEOUT = 1800
"""Seconds after which a process is stopped."""

Result: TypeAlias = dict[str, Any]

# What a shell may hold that would slow a library or change what is compared.
_UNSET = ("OPENBLAS_", "OMP_", "GOMP_", "KMP_", "MKL_", "BLIS_", "NUMBA_", "XLA_", "JAX_", "TORCH_")


@dataclass(frozen=True)
class Job:
    """What one process is asked to do.

    Parameters
    ----------
    peer : str
        A key of :data:`~benchmarks.peers.libraries.PEERS`.
    task : str
        ``train``, ``predict-1``, ``predict-10000``, ``tiny``, ``curves`` or ``peak``.
    data : {"mnist", "synthetic"}
        What to train on.
    samples : int or None
        Rows to keep of it; None keeps all.
    threads : int
        For every library alike.
    epochs : int
        To time, or to draw.
    steps : int
        Of an epoch of the tiny network.
    seconds : float
        To measure predictions, and the peak, for.
    """

    peer: str
    task: str
    data: str
    samples: int | None
    threads: int
    epochs: int
    steps: int
    seconds: float


def environment(peer: str, threads: int) -> dict[str, str]:
    """Return the environment of a peer's process: its library at its best on so many threads."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_UNSET)}
    # BLAS threads that nobody needs would still wake up and spin.
    blas = threads if PEERS[peer].blas else 1
    return kept | {
        "OPENBLAS_NUM_THREADS": str(blas),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "NUMBA_NUM_THREADS": str(threads),
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        # The checkout itself is measured, which is the commit that the report names.
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(ROOT), str(ROOT / "src_kernels"), os.environ.get("PYTHONPATH")])
        ),
    }


def run(job: Job) -> Result:
    """Run a job in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.peers.worker", json.dumps(asdict(job))]
    try:
        done = subprocess.run(
            command,
            env=environment(job.peer, job.threads),
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"stopped after {TIMEOUT} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"failed": f"exit code {done.returncode}: {reason}"}
    return dict(json.loads(lines[-1]))


def rounds(
    pairs: Sequence[tuple[str, str]],
    count: int,
    do: Callable[[str, str], Result],
    told: Callable[[str, str, int, Result], None],
) -> dict[tuple[str, str], list[Result]]:
    """Do every pair (task, peer) once a round, one task after the other, peers interleaved.

    Rounds begin with another peer each, so that no peer always follows the same one. What is absent
    or failed is not tried again.

    Parameters
    ----------
    pairs : sequence of (task, peer)
        What to do.
    count : int
        Rounds.
    do : callable
        ``do(task, peer)`` is the result.
    told : callable
        ``told(task, peer, round, result)`` is called after each.
    """
    results: dict[tuple[str, str], list[Result]] = {pair: [] for pair in pairs}
    for number in range(count):
        for task in dict.fromkeys(task for task, _ in pairs):
            for peer in _turned([peer for other, peer in pairs if other == task], number):
                earlier = results[task, peer]
                if earlier and ("absent" in earlier[0] or "failed" in earlier[0]):
                    continue
                earlier.append(do(task, peer))
                told(task, peer, number + 1, earlier[-1])
    return results


def _turned(peers: list[str], number: int) -> Iterable[str]:
    first = number % len(peers)
    return peers[first:] + peers[:first]
