"""What several test modules of the API share."""

import contextlib
from unittest import mock

import numba
import numpy as np
import pytest

from fastfcn import nn

DTYPES = [np.float32, np.float64]
BATCHES = [1, 5, 6, 7, 13]
WIDTHS = [1, 15, 16, 17, 63, 64, 65, 67]

ELEMENTWISE = {
    "ReLU": nn.ReLU,
    "LeakyReLU": nn.LeakyReLU,
    "Sigmoid": nn.Sigmoid,
    "Tanh": nn.Tanh,
    "GELU": nn.GELU,
    "SiLU": nn.SiLU,
    "ELU": nn.ELU,
    "Softplus": nn.Softplus,
    "Identity": nn.Identity,
}
ACTIVATIONS = {**ELEMENTWISE, "Softmax": nn.Softmax}

two_threads = pytest.mark.skipif(
    numba.config.NUMBA_NUM_THREADS < 2, reason="NUMBA_NUM_THREADS allows one thread"
)


@contextlib.contextmanager
def shares(count):
    """Cut all work into ``count`` shares, whatever its size and the machine."""

    @contextlib.contextmanager
    def threads(n_threads, work):
        before = numba.get_num_threads()
        numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
        try:
            yield count
        finally:
            numba.set_num_threads(before)

    with mock.patch("fastfcn.epochs.threads", threads), mock.patch("fastfcn.plan.threads", threads):
        yield


def same_bits(a, b) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def same_state(a, b) -> bool:
    """Whether two state dicts hold the same bits under the same names."""
    return a.keys() == b.keys() and all(same_bits(a[k], b[k]) for k in a)


def mlp(sizes, activation=nn.ReLU, dtype=np.float32, seed=0, last=None) -> nn.Sequential:
    """Linear layers of these sizes with an activation between them, from one seed."""
    rng = np.random.default_rng(seed)
    layers = []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(fan_in, fan_out, dtype=dtype, rng=rng), activation()]
    layers.pop()
    return nn.Sequential(*layers, *([] if last is None else [last()]))


def linears(net) -> list[nn.Linear]:
    return [layer for layer in net if isinstance(layer, nn.Linear)]


def oracle_layers(net):
    """The network's weights and biases, as float64 copies for the reference."""
    return [
        (
            layer.weight.astype(np.float64),
            None if layer.bias is None else layer.bias.astype(np.float64),
        )
        for layer in linears(net)
    ]
