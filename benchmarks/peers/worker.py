"""One job of one peer, in the process that runs it: ``python -m benchmarks.peers.worker JOB``."""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np

from benchmarks.peers import problem as problems
from benchmarks.peers.job import Job
from benchmarks.peers.libraries import PEERS, Library, Scores


class Laps:
    """Seconds of each epoch, and what is looked at between them.

    Parameters
    ----------
    look : callable
        Called as ``look(scores)`` after each epoch, while the clock stands.
    """

    def __init__(self, look: Callable[[Scores], None]) -> None:
        self.seconds: list[float] = []
        self._look = look
        self._start = time.perf_counter()

    def __call__(self, scores: Scores) -> None:
        self.seconds.append(time.perf_counter() - self._start)
        self._look(scores)
        self._start = time.perf_counter()


def accuracy(scores: Any, y: Any) -> float:
    """Return the share of rows whose largest score is at the label."""
    return float(np.mean(np.asarray(scores).argmax(axis=1) == y))


def cross_entropy(scores: Any, y: Any) -> float:
    """Return the mean of -log softmax(scores)[y]."""
    z = np.asarray(scores, np.float64)
    z = z - z.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]))


def train(library: Library, job: Job, problem: problems.Problem, unit: int) -> dict[str, Any]:
    """Return the seconds of every epoch but the first, over ``unit``, and the last's accuracy."""
    last: list[float] = []

    def look(scores: Scores) -> None:
        if len(laps.seconds) == job.epochs + 1:
            last.append(accuracy(scores(problem.x_test), problem.y_test))

    laps = Laps(look)
    library.train(problem, job.epochs + 1, job.threads, laps)
    return {"seconds": [s / unit for s in laps.seconds[1:]], "accuracy": last[0]}


def curves(library: Library, job: Job, problem: problems.Problem) -> dict[str, Any]:
    """Return loss and accuracies after each epoch."""
    found: dict[str, Any] = {"loss": [], "train_accuracy": [], "test_accuracy": []}

    def look(scores: Scores) -> None:
        outputs = scores(problem.x)
        found["loss"].append(cross_entropy(outputs, problem.y))
        found["train_accuracy"].append(accuracy(outputs, problem.y))
        found["test_accuracy"].append(accuracy(scores(problem.x_test), problem.y_test))

    library.train(problem, job.epochs, job.threads, Laps(look))
    return {"curves": found}


def predict(library: Library, job: Job, problem: problems.Problem, rows: int) -> dict[str, Any]:
    """Return the median of many calls; what they predict must be what the weights say."""
    x = problem.x_test[:rows]
    call = library.predictor(problem, x, job.threads)
    _calls(call, job.seconds / 5)  # compile, make buffers, wake threads
    seconds = statistics.median(_calls(call, job.seconds))
    expected = problems.scores_of(problem.weights, x).argmax(axis=1)
    # A share, as rounding decides where two scores are all but equal.
    agreement = accuracy(call(), expected)
    if agreement < 0.999:
        raise AssertionError(f"predictions must be those of the weights, agree on {agreement:.1%}")
    return {"seconds": [seconds]}


def _calls(call: Callable[[], Any], seconds: float) -> list[float]:
    """Return the seconds of each of at least three calls."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < 3 or time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begin)
    return taken


def peak(job: Job) -> dict[str, Any]:
    """Return the floating-point operations a second that the machine reaches."""
    from fastfcn.roofline import peak_flops

    return {"flops": peak_flops(job.threads, seconds=job.seconds)}


def work(job: Job) -> dict[str, Any]:
    """Do the job."""
    if job.task == "peak":
        return peak(job)
    library = PEERS[job.peer].load()
    if job.task == "tiny":
        return train(library, job, problems.tiny(job.steps), job.steps)
    problem = problems.images(job.data, job.samples)
    if job.task == "train":
        return train(library, job, problem, 1)
    if job.task == "curves":
        return curves(library, job, problem)
    return predict(library, job, problem, 1 if job.task == "predict-1" else 10_000)


def versions(job: Job) -> dict[str, str]:
    """Return the versions of what the peer is made of."""
    found = {"numpy": np.__version__}
    for name in PEERS[job.peer].install:
        if name == "fastfcn":  # the checkout's, not that of an installation's metadata
            import fastfcn

            found[name] = fastfcn.__version__
        else:
            found[name] = metadata.version(name)
    return found


def main() -> None:
    """Print the job's result as JSON, on the last line of standard output."""
    job = Job(**json.loads(sys.argv[1]))
    if hasattr(os, "sched_setaffinity"):
        # XLA takes as many threads as there are cores, so the process is given no more of them.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.threads])
    try:
        result = work(job) | {"versions": versions(job)}
    except ModuleNotFoundError as error:
        result = {"absent": str(error)}
    except Exception as error:
        lines = str(error).strip().splitlines() or ["no message"]
        result = {"failed": f"{type(error).__name__}: {lines[0]}"}
    print("\n" + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
