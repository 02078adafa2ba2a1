"""Compile every kernel ahead of its first use: by using each one, on a few numbers.

What compiles a kernel is its precision, and the types of a parallel one's arguments. Going through
what users call gives exactly the types that they will give.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import types

from fastfcn.losses import CrossEntropyLoss
from fastfcn.nn import Linear, ReLU, Sequential
from fastfcn.optim import SGD
from fastfcn.training import fit, predict
from fastfcn.validation import as_float_dtype
from fastfcn_kernels import drivers
from fastfcn_kernels.activations import REGISTRY
from fastfcn_kernels.compilation import cache_root, sources_hash

_ROOM = 16 << 20
"""Bytes that the folder must take: several times what all kernels need."""


class Step(NamedTuple):
    """Something that users do and that needs compiled kernels."""

    name: str
    dtype: str
    use: Callable[[], object]

    def run(self) -> "Outcome":
        """Do it once, which compiles or loads what it needs."""
        before, started = cache_size(), time.perf_counter()
        self.use()
        return Outcome(time.perf_counter() - started, cache_size() > before)


class Outcome(NamedTuple):
    """How a step went."""

    seconds: float
    compiled: bool
    """Whether something was compiled; else it was on disk, or in this process already."""


class Warmup(NamedTuple):
    """What :func:`warmup` gives."""

    folder: Path
    """Where the compiled kernels are, for this version of them on this kind of machine."""
    seconds: float
    compiled: int
    """Steps that compiled something; 0 where everything was there."""


def warmup(dtype: npt.DTypeLike | None = None) -> Warmup:
    """Compile every kernel now, for this process and for later ones, which load it from disk.

    ``fastfcn warmup`` does the same from a shell: when a container is built, say.

    Parameters
    ----------
    dtype : dtype, optional
        float32 or float64; both by default.

    Returns
    -------
    Warmup
        ``folder``, ``seconds`` and ``compiled``.

    Raises
    ------
    OSError
        Where nothing can be kept in the folder; set ``FASTFCN_CACHE_DIR`` to another.

    Notes
    -----
    Kernels that this process has in use already are not written again.

    Examples
    --------
    >>> import fastfcn as ff
    >>> done = ff.warmup("float32")
    >>> ff.warmup("float32").compiled
    0
    """
    wanted = steps(dtype)
    check_folder()
    outcomes = [step.run() for step in wanted]
    return Warmup(
        cache_folder(),
        sum(outcome.seconds for outcome in outcomes),
        sum(outcome.compiled for outcome in outcomes),
    )


def steps(dtype: npt.DTypeLike | None = None) -> list[Step]:
    """Return what to do to have every kernel compiled, in the order in which to do it."""
    if dtype is None:
        # The last step of one precision has done that of the other.
        return [*steps(np.float32)[:-1], *steps(np.float64)]
    kind = as_float_dtype(dtype)
    net = Sequential(Linear(2, 2, dtype=kind), ReLU(), Linear(2, 2, dtype=kind))
    criterion, optimizer = CrossEntropyLoss(), SGD(net.parameters())
    x, y = np.ones((2, 2), kind), np.array([0, 1])
    delta = np.zeros((2, 2), kind)
    uses: dict[str, Callable[[], object]] = {
        "activations": lambda: _load_activations(kind),
        "forward pass": lambda: net(x),
        "loss and its gradient": lambda: criterion.grad(delta, y),
        "backward pass": lambda: net.backward(delta),
        "update of the parameters": optimizer.step,
        "whole epochs (fit)": lambda: fit(net, x, y, loss=criterion, optimizer=optimizer,
                                          batch_size=1, seed=0, n_threads=1),
        "prediction (predict)": lambda: predict(net, x, n_threads=1),
        "several threads": _load_parallel_regions,
    }  # fmt: skip
    return [Step(name, kind.name, use) for name, use in uses.items()]


def _load_activations(dtype: np.dtype[Any]) -> None:
    for entry in REGISTRY:
        entry.activate.address(dtype)
        entry.derive.address(dtype)


def _load_parallel_regions() -> None:
    """Compile or load the parallel kernels, which serve both precisions.

    By their types, all of them int64: a process that is limited to one thread runs none.
    """
    for kernel in (drivers.region, drivers.train):
        kernel.compile((types.int64,) * kernel.py_func.__code__.co_argcount)


def cache_folder() -> Path:
    """Return where compiled kernels of this version are kept, whether or not it exists."""
    return cache_root() / sources_hash()


def cache_size() -> int:
    """Return the bytes of the compiled kernels in :func:`cache_folder`."""
    return sum(path.stat().st_size for path in cache_folder().glob("*.nb[ci]"))


def check_folder() -> None:
    """Raise OSError unless files can be written to :func:`cache_folder`."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_ROOM))
    except OSError as error:
        raise OSError(
            f"compiled kernels cannot be kept in {folder}: {error.strerror}; set "
            "FASTFCN_CACHE_DIR to a folder that can be written"
        ) from error
