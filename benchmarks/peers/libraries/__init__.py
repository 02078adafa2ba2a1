"""The peers: one module each, which imports its library only when it runs.

A module offers two functions over a :class:`~benchmarks.peers.problem.Problem`:

``train(problem, epochs, threads, lap)``
    Train from the problem's weights, and call ``lap(scores)`` after each epoch, where ``scores(x)``
    are the outputs of the network as it is then, an ndarray, for rows x, a float32 ndarray.
``predictor(problem, x, threads)``
    Return a function of no arguments that predicts the rows x with the problem's weights. x is
    converted to the library's own kind of array beforehand, and the result may be of that kind.

A peer is added by its module and its entry in :data:`PEERS`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, TypeAlias, cast

from benchmarks.peers.problem import Problem

Scores: TypeAlias = Callable[[Any], Any]
Lap: TypeAlias = Callable[[Scores], None]


class Library(Protocol):
    """What a peer's module offers."""

    def train(self, problem: Problem, epochs: int, threads: int, lap: Lap) -> None:
        """Train, calling ``lap`` after each epoch."""

    def predictor(self, problem: Problem, x: Any, threads: int) -> Callable[[], Any]:
        """Return a function that predicts x."""


@dataclass(frozen=True)
class Peer:
    """One entry of the comparison.

    Parameters
    ----------
    title : str
        As tables and figures call it.
    module : str
        Of this package.
    install : tuple of str
        What pip installs it from; its versions are reported.
    tasks : tuple of str
        What it takes part in.
    blas : bool
        Whether it computes by NumPy's BLAS, which then gets the threads that are compared.
    """

    title: str
    module: str
    install: tuple[str, ...]
    tasks: tuple[str, ...] = ("train", "predict-1", "predict-10000", "tiny")
    blas: bool = False

    def load(self) -> Library:
        """Import the peer's module."""
        return cast(Library, import_module(f"{__name__}.{self.module}"))


PEERS = {
    "fastfcn": Peer(
        "fastfcn",
        "fastfcn",
        ("fastfcn", "numba"),
        ("train", "predict-1", "predict-10000", "tiny", "curves"),
    ),
    "fastfcn-dense": Peer(
        "fastfcn, every product",
        "fastfcn_dense",
        ("fastfcn", "numba"),
        ("train",),
    ),
    "fastfcn-uint8": Peer(
        "fastfcn, uint8 images",
        "fastfcn_uint8",
        ("fastfcn", "numba"),
        ("train", "predict-1", "predict-10000"),
    ),
    "pytorch": Peer(
        "PyTorch, eager",
        "pytorch",
        ("torch",),
        ("train", "predict-1", "predict-10000", "tiny", "curves"),
    ),
    "pytorch-fastest": Peer("PyTorch, fastest step by hand", "pytorch_fastest", ("torch",)),
    "pytorch-compiled": Peer("PyTorch, compiled", "pytorch_compiled", ("torch",)),
    "jax": Peer("JAX, jitted", "jax", ("jax",)),
    "onnxruntime": Peer(
        "ONNX Runtime", "onnxruntime", ("onnxruntime", "onnx"), ("predict-1", "predict-10000")
    ),
    "numpy": Peer("NumPy with out=", "numpy", ("numpy",), blas=True),
    # Two classes are one output to scikit-learn, which is not the tiny network.
    "scikit-learn": Peer(
        "scikit-learn",
        "scikit_learn",
        ("scikit-learn",),
        ("train", "predict-1", "predict-10000"),
        blas=True,
    ),
}
"""Every peer, in the order in which a round begins."""

BASELINE = "fastfcn"
"""The peer that the others are multiples of: it takes the float32 rows that they take."""
