"""Compile every kernel ahead of its first use."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastfcn.validation import as_float_dtype
from fastfcn_kernels import (
    activations,
    adaptive,
    drivers,
    gather,
    layers,
    lbfgs,
    losses,
    masks,
    matmul,
    optimisers,
    parts,
    passes,
    sparse,
    stages,
    training,
)
from fastfcn_kernels.compilation import Native, cache_root, natives, sources_hash

_MODULES = (
    gather,
    masks,
    matmul,
    activations,
    stages,
    layers,
    sparse,
    losses,
    optimisers,
    adaptive,
    lbfgs,
    passes,
    training,
    parts,
    drivers,
)
"""Where the kernels of training and prediction are."""

_ROOM = 16 << 20
"""Bytes that the folder must take: several times what all kernels need."""


class Step(NamedTuple):
    """The kernels of one module, for one precision."""

    name: str
    dtype: str
    compile: Callable[[], object]

    def run(self) -> "Outcome":
        """Compile or load them."""
        before, started = cache_size(), time.perf_counter()
        self.compile()
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
    """Return what to do to have every kernel compiled, in order."""
    if dtype is None:
        # The parallel regions are the same for both.
        return [*steps(np.float32)[:-1], *steps(np.float64)]
    kind = as_float_dtype(dtype)
    groups = {module.__name__.rpartition(".")[2]: list[Native]() for module in _MODULES}
    for kernel in natives:
        if kernel.module in groups:
            groups[kernel.module].append(kernel)
    return [
        *[Step(name, kind.name, _compiling(kernels, kind)) for name, kernels in groups.items()],
        Step("parallel regions", kind.name, drivers.compile_regions),
    ]


def _compiling(kernels: list[Native], dtype: np.dtype[Any]) -> Callable[[], object]:
    return lambda: [kernel.address(dtype) for kernel in kernels]


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
