"""How fast training and its kernels run here, to be held against :mod:`fastfcn.roofline`."""

import contextlib
import itertools
import time
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple

import numba
import numpy as np

from fastfcn.buffers import Array, aligned_zeros, padded
from fastfcn.losses import CrossEntropyLoss
from fastfcn.nn import Linear, ReLU, Sequential
from fastfcn.nn.init import Zeros
from fastfcn.optim import SGD
from fastfcn.roofline import Roof, times
from fastfcn.threads import check_threads, threads
from fastfcn.training import fit
from fastfcn_kernels.matmul import matmul
from fastfcn_kernels.roofline import products

BATCH = 128
"""Rows of a batch, in every measurement."""
SIZES = (784, 256, 128, 10)
"""Features of the network whose epoch is measured, of MNIST's, with ReLU between its layers."""
WIDTHS = (256, 1024, 4096)
"""Features in and out of the layers whose products are measured."""

_LOSS_ROWS = 1 << 16
_LOSS_FLOPS = 50
"""Operations an output of the cross-entropy in its formulas, most of them the exponential's."""


class KernelRate(NamedTuple):
    """How fast one kernel ran."""

    name: str
    size: str
    seconds: float
    """Median."""
    flops: float
    bytes: float
    """What has to move at least: every operand once, as if caches held it from then on."""

    @property
    def intensity(self) -> float:
        """FLOP a byte."""
        return self.flops / self.bytes

    def share(self, roof: Roof) -> float:
        """Return the part of the roof that it reached."""
        return self.flops / self.seconds / roof.at(self.intensity)


class Setting(NamedTuple):
    """How an epoch is trained."""

    threads: int
    skip_zeros: bool


def flops_per_sample(sizes: Sequence[int]) -> int:
    """Return the floating-point operations to train on a sample, matrix products only.

    2·in·out for each layer's output, for its weights' gradient and for the gradient it hands down,
    which the first layer need not.

    Parameters
    ----------
    sizes : sequence of int
        Features of the input and of each linear layer's output.

    Examples
    --------
    >>> flops_per_sample((784, 256, 128, 10))
    1007104
    """
    products = [n_in * n_out for n_in, n_out in itertools.pairwise(sizes)]
    return 6 * sum(products) - 2 * products[0]


def epochs(
    x: Array, y: Array, scale: float, thread_counts: Sequence[int], seconds: float
) -> dict[Setting, list[float]]:
    """Return the seconds of epochs of :data:`SIZES`, for each setting.

    Parameters
    ----------
    x, y, scale
        Images, labels and scale, as :func:`fastfcn.fit` takes them.
    thread_counts : sequence of int
        The numbers of threads; settings take turns, epoch by epoch.
    seconds : float
        How long to measure; three epochs each at least. A first one is not counted.
    """
    rng = np.random.default_rng(0)
    layers: list[Any] = []
    for n_in, n_out in itertools.pairwise(SIZES):
        layers += [Linear(n_in, n_out, rng=rng), ReLU()]
    net = Sequential(*layers[:-1])
    criterion = CrossEntropyLoss()
    optimizer = SGD(net.parameters(), lr=0.02, momentum=0.9)
    settings = [Setting(count, skip) for skip in (False, True) for count in thread_counts]
    taken: dict[Setting, list[float]] = {setting: [] for setting in settings}

    def epoch(setting: Setting) -> float:
        history = fit(
            net, x, y, loss=criterion, optimizer=optimizer, batch_size=BATCH, seed=0, scale=scale,
            n_threads=setting.threads, skip_zeros=setting.skip_zeros,
        )  # fmt: skip
        return history.seconds[0]

    epoch(settings[-1])
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken[settings[-1]]) < 3:
        for setting, own in taken.items():
            own.append(epoch(setting))
    return taken


def kernel_rates(n_threads: int | None = None, seconds: float = 10.0) -> Iterator[KernelRate]:
    """Measure the kernels of a training step one by one, in float32.

    The three matrix products of square layers at batches of 128: the forward pass, the delta handed
    down, the weight's gradient; then the loss with its gradient and the update of the parameters,
    as :mod:`fastfcn.losses` and :mod:`fastfcn.optim` call them.

    Parameters
    ----------
    n_threads : int, optional
        Threads; by default as many as Numba is set to.
    seconds : float, default 10.0
        How long to measure, all together.

    Yields
    ------
    KernelRate
        One a kernel and size.
    """
    check_threads(n_threads)
    each = seconds / (3 * len(WIDTHS) + 2)
    for width in WIDTHS:
        yield from _products(width, n_threads, each)
    yield _loss(each)
    with _numba_threads(n_threads):
        yield _update(max(WIDTHS), each)


def _products(width: int, n_threads: int | None, seconds: float) -> Iterator[KernelRate]:
    """Measure the matrix products of one layer, ``width`` features in and out."""
    dtype = np.dtype(np.float32)
    matrices = {
        name: _ones(rows, width, dtype)
        for name, rows in [("x", BATCH), ("delta", BATCH), ("out", BATCH), ("zeros", 1)]
        + [("weight", width), ("transposed", width), ("gradient", width)]
    }
    at = {name: matrix.ctypes.data for name, matrix in matrices.items()}
    flops = 2.0 * BATCH * width * width
    moved = float(dtype.itemsize * (width * width + 2 * BATCH * width))
    ld = padded(width, dtype)
    along, across = (ld, 1), (1, ld)  # strides of the left operand
    for name, c, a, strides, b, m, depth in [
        ("forward", "out", "x", along, "weight", BATCH, width),
        ("delta", "out", "delta", along, "transposed", BATCH, width),
        ("weight gradient", "gradient", "x", across, "delta", width, BATCH),
    ]:
        operands = (at[c], at["zeros"], at[a], *strides, at[b])
        product = (matmul.address(dtype), *operands, ld, m, width, depth, dtype.itemsize)
        taken = _product_times(product, n_threads, seconds)
        yield KernelRate(name, f"{width} wide", median(taken), flops, moved)


def _product_times(product: tuple[int, ...], n_threads: int | None, seconds: float) -> list[float]:
    with threads(n_threads, np.inf) as count:
        return times(lambda rounds: products(*product, rounds, count), seconds)


def _loss(seconds: float) -> KernelRate:
    outputs = SIZES[-1]
    rng = np.random.default_rng(0)
    out = rng.standard_normal((_LOSS_ROWS, outputs), np.float32)
    labels = rng.integers(0, outputs, _LOSS_ROWS)
    criterion = CrossEntropyLoss()

    def run(rounds: int) -> None:
        for _ in range(rounds):
            criterion.grad(out, labels)

    taken = times(run, seconds)
    flops = float(_LOSS_FLOPS * out.size)
    return KernelRate(
        "loss", f"{_LOSS_ROWS:,} rows", median(taken), flops, 2.0 * out.nbytes + labels.nbytes
    )


def _update(width: int, seconds: float) -> KernelRate:
    layer = Linear(width, width, bias=False, init=Zeros())
    # Memory that was never written is one page of zeros over and over, and in cache.
    layer.weight_grad[...] = 1e-3
    optimizer = SGD(layer.parameters(), lr=1e-6, momentum=0.9)

    def run(rounds: int) -> None:
        for _ in range(rounds):
            optimizer.step()

    taken = times(run, seconds)
    # Six operations; reads of θ, g and v, writes of θ and v.
    size = width * width
    return KernelRate(
        "update", f"{size / 1e6:.1f} M params", median(taken), 6.0 * size, 5.0 * 4 * size
    )


@contextlib.contextmanager
def _numba_threads(n_threads: int | None) -> Iterator[None]:
    """Set the number of threads that calls without an ``n_threads`` of their own take."""
    before = numba.get_num_threads()
    numba.set_num_threads(before if n_threads is None else n_threads)
    try:
        yield
    finally:
        numba.set_num_threads(before)


def _ones(rows: int, width: int, dtype: np.dtype[Any]) -> Array:
    """Return a matrix of ones, aligned and padded as a network's are."""
    ld = padded(width, dtype)
    matrix = aligned_zeros(rows * ld, dtype).reshape(rows, ld)
    matrix[:, :width] = 1.0
    return matrix
