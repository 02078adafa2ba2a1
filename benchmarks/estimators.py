"""Score and training time of the estimators beside scikit-learn's, seed by seed.

    FASTFCN_DATA=path/to/data python -m benchmarks.estimators

prints a Markdown table. Both libraries get the same parameters, split and seed, and so the same
initial weights; they take turns in one process, which of them first changes from seed to seed. Time
is that of ``fit`` with the kernels compiled and loaded. Without MNIST that row is left out.
"""

import argparse
import itertools
import os
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import get_num_threads
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

import fastfcn as ff
from benchmarks import inputs
from benchmarks.in_turn import HOLDS_NUMPY_BACK
from benchmarks.peers import machine

REST_SECONDS = 0.3
"""Pause before each fit: threads of the library before spin for a while on the cores."""


class Task(NamedTuple):
    """One row of the table."""

    load: Callable[[int], tuple[Any, Any, Any, Any]]
    """From a seed to training and test data."""
    classifies: bool
    parameters: dict[str, Any]


def split(x: Any, y: Any, classifies: bool = True) -> Callable[[int], tuple[Any, Any, Any, Any]]:
    """Return what splits and standardises a data set by a seed."""

    def load(seed: int) -> tuple[Any, Any, Any, Any]:
        stratify = y if classifies else None
        x_train, x_test, y_train, y_test = train_test_split(
            x, y, random_state=seed, stratify=stratify
        )
        scaler = StandardScaler().fit(x_train)
        return scaler.transform(x_train), scaler.transform(x_test), y_train, y_test

    return load


def houses(n: int = 20_640) -> tuple[Any, Any]:
    """Return data made up like the Californian house prices: 8 features, prices cut at 5."""
    rng = np.random.default_rng(0)
    income = rng.lognormal(1.2, 0.45, n)
    age = rng.integers(1, 53, n).astype(float)
    rooms = rng.lognormal(1.65, 0.25, n)
    bedrooms = 0.2 * rooms * rng.lognormal(0.0, 0.1, n)
    population = rng.lognormal(7.0, 0.7, n)
    occupants = rng.lognormal(1.05, 0.25, n)
    latitude, longitude = rng.uniform(32.5, 42.0, n), rng.uniform(-124.3, -114.3, n)
    coast = np.exp(-((longitude + 0.85 * (latitude - 37.0) + 121.0) ** 2) / 2.0)
    price = 0.4 * income * (1.0 + 0.6 * coast) + 1.2 * coast - 0.25 * np.log(occupants)
    price += 0.004 * age + 0.15 * np.log(rooms / bedrooms) + rng.normal(0.0, 0.35, n)
    x = np.stack([income, age, rooms, bedrooms, population, occupants, latitude, longitude], axis=1)
    return x, np.clip(price, 0.15, 5.0)


def mnist(seed: int) -> tuple[Any, Any, Any, Any]:
    """Return MNIST as it is split, in float32."""
    x, y, x_test, y_test = inputs.load()
    return (x / np.float32(255)), (x_test / np.float32(255)), y, y_test


def tasks(quick: bool) -> dict[str, Task]:
    """Return all rows of the table."""
    few = {"max_iter": 5} if quick else {}
    made = {
        "digits": Task(split(*load_digits(return_X_y=True)), True, few),
        "breast cancer": Task(split(*load_breast_cancer(return_X_y=True)), True, few),
        "wine": Task(split(*load_wine(return_X_y=True)), True, few),
        "houses, made up": Task(split(*houses(), classifies=False), False, few),
    }
    if inputs.SOURCE == "mnist":
        parameters = {"hidden_layer_sizes": (256, 128), "max_iter": 1 if quick else 10}
        made["MNIST"] = Task(mnist, True, parameters)
    return made


class Pair(NamedTuple):
    """What one seed gave: fastfcn's figure and scikit-learn's."""

    scores: tuple[float, float]
    seconds: tuple[float, float]


def measure(task: Task, seed: int) -> Pair:
    """Train both estimators on one split."""
    x, x_test, y, y_test = task.load(seed)
    kinds: tuple[Any, Any] = (ff.FCNRegressor, MLPRegressor)
    if task.classifies:
        kinds = (ff.FCNClassifier, MLPClassifier)
    scores, seconds = [0.0, 0.0], [0.0, 0.0]
    for which in (0, 1) if seed % 2 else (1, 0):
        estimator = kinds[which](random_state=seed, **task.parameters)
        time.sleep(REST_SECONDS)
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            estimator.fit(x, y)
        seconds[which] = time.perf_counter() - started
        scores[which] = estimator.score(x_test, y_test)
    return Pair((scores[0], scores[1]), (seconds[0], seconds[1]))


def row(name: str, task: Task, pairs: Sequence[Pair]) -> str:
    """Return one row of the table."""
    x, _, y, _ = task.load(0)
    scores, seconds = (np.array([pair[i] for pair in pairs]) for i in (0, 1))
    mean, spread = scores.mean(axis=0), scores.std(axis=0)
    difference = scores[:, 0] - scores[:, 1]
    times = np.median(seconds, axis=0)
    ratio = np.median(seconds[:, 1] / seconds[:, 0])
    return (
        f"| {name} | {x.shape[0]:,} × {x.shape[1]} | {'accuracy' if task.classifies else 'R²'} "
        f"| {mean[0]:.4f} ± {spread[0]:.4f} | {mean[1]:.4f} ± {spread[1]:.4f} "
        f"| {difference.mean():+.4f} ({difference.min():+.4f} to {difference.max():+.4f}) "
        f"| {times[0]:.2f} s | {times[1]:.2f} s | {ratio:.1f} |"
    )


HEAD = """\
| data | training | score | fastfcn | scikit-learn | difference (range) | fit | its fit | ratio |
|---|---:|---|---:|---:|---:|---:|---:|---:|"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.estimators",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=10, metavar="N", help="default: %(default)s")
    parser.add_argument("--data", nargs="+", choices=list(tasks(True)), help="default: all")
    parser.add_argument("--quick", action="store_true", help="few epochs: does everything run?")
    chosen = parser.parse_args(arguments)
    held_back = [name for name in HOLDS_NUMPY_BACK if name in os.environ]
    if held_back:
        parser.error(f"unset {', '.join(held_back)}: NumPy, and so scikit-learn, is slower with it")
    every = tasks(chosen.quick)
    ff.warmup()
    # And what surrounds the kernels, for one thread and for several.
    for dtype, n_threads in itertools.product((np.float32, np.float64), (1, get_num_threads())):
        x, options = np.zeros((4, 2), dtype), {"max_iter": 1, "n_threads": n_threads}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            ff.FCNClassifier(**options).fit(x, [0, 1, 0, 1]).predict(x)
            ff.FCNClassifier(**options).fit(x, [0, 1, 2, 1]).predict(x)
            ff.FCNRegressor(**options).fit(x, [0, 1, 0, 1]).predict(x)
    print(HEAD, flush=True)
    for name in chosen.data or every:
        pairs = [measure(every[name], seed) for seed in range(chosen.seeds)]
        print(row(name, every[name], pairs), flush=True)
    where = machine.describe()
    print(f"\n{chosen.seeds} seeds. " + ", ".join(f"{k} {v}" for k, v in where.items()))


if __name__ == "__main__":
    main()
