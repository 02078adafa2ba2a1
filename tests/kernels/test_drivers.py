"""The parallel kernels over workspaces full of NaN, against the float64 oracle."""

import numba
import numpy as np
import pytest

import reference
from fastfcn import nn
from fastfcn.plan import Workspace, source
from fastfcn_kernels import drivers, simd
from fastfcn_kernels import table as t
from fastfcn_kernels.losses import CROSS_ENTROPY

DTYPES = [np.float32, np.float64]
ROWS = simd.TILE_ROWS
THREADS = [1, 2, 5]
"""Shares that the work is cut into; fewer threads than shares take several each."""
NETWORKS = [
    ((1, 1), ["Identity"]),
    ((7, 17, 3), ["ReLU", "Identity"]),
    ((16, 15, 64, 5), ["Sigmoid", "Tanh", "Softmax"]),
    ((65, 33, 1), ["GELU", "Softplus"]),
    ((3, 67, 66, 2), ["SiLU", "ELU", "LeakyReLU"]),
]
LOSS = np.array([CROSS_ENTROPY, -100, 1], np.int64)


class Case:
    """A network, a batch, and a workspace in which only what the kernels rely on is not NaN."""

    def __init__(self, sizes, activations, batch, dtype, copies=1):
        rng = np.random.default_rng(0)
        layers = []
        for n_in, n_out, name in zip(sizes[:-1], sizes[1:], activations, strict=True):
            linear = nn.Linear(n_in, n_out, bias=name != "Tanh", dtype=dtype, rng=rng)
            layers += [linear, getattr(nn, name)()]
        self.net = nn.Sequential(*layers)
        self.activations, self.dtype, self.batch = activations, np.dtype(dtype), batch
        self.plan = self.net.plan()
        self.x = rng.normal(size=(batch, sizes[0])).astype(dtype)
        self.labels = rng.integers(0, sizes[-1], batch)
        self.delta = rng.normal(size=(batch, sizes[-1])).astype(dtype)
        self.space = Workspace(self.plan.stages, self.dtype, batch, backward=True, copies=copies)
        zeros = int(self.space.frame[t.ZEROS])
        widest = int(self.space.table[:, [t.LD, t.LD_IN]].max())
        last = self.space.matrix(-1, t.DELTA, t.LD, batch)
        self.space.buffer[:zeros] = np.nan
        self.space.buffer[zeros + widest :] = np.nan
        last[:, sizes[-1] :] = 0.0
        last[:, : sizes[-1]] = self.delta
        self.layers = [
            (
                layer.weight.astype(np.float64),
                None if layer.bias is None else layer.bias.astype(np.float64),
            )
            for layer in self.net.linears
        ]

    def common(self):
        space = self.space
        return space.table, space.alphas, space.frame, self.plan.values

    def forward(self, threads):
        data = source(self.x, self.dtype)
        with_threads(
            threads,
            drivers.forward,
            *self.common(),
            self.space.buffer,
            data.location,
            data.affine,
            self.batch,
            threads,
        )

    def output(self):
        return self.space.matrix(-1, t.A, t.LD, self.batch)[:, : self.delta.shape[1]]

    def close(self, got, exact):
        """Whether results agree to rounding, at the scale of the whole array."""
        tolerance = 300 * np.finfo(self.dtype).eps * max(1.0, abs(exact).max())
        return np.allclose(got, exact, rtol=0, atol=tolerance)


def with_threads(count, kernel, *arguments):
    before = numba.get_num_threads()
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    try:
        kernel(*arguments)
    finally:
        numba.set_num_threads(before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch", [1, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS + 1])
@pytest.mark.parametrize(("sizes", "activations"), NETWORKS)
def test_forward_and_backward_agree_with_the_oracle(sizes, activations, batch, dtype):
    case = Case(sizes, activations, batch, dtype)
    exact, inputs, zs = reference.network_forward(case.layers, activations, case.x)
    grads, input_gradient = reference.network_backward(
        case.layers, activations, inputs, zs, case.delta
    )
    for threads in THREADS:
        case = Case(sizes, activations, batch, dtype)
        case.forward(threads)
        assert case.close(case.output(), exact)
        case.plan.grads[:] = 0.0
        with_threads(
            threads,
            drivers.backward,
            *case.common(),
            case.space.buffer,
            case.plan.grads,
            batch,
            True,
            threads,
        )
        for layer, (dw, db) in zip(case.net.linears, grads, strict=True):
            assert case.close(layer.weight_grad, dw)
            assert db is None or case.close(layer.bias_grad, db)
        got = case.space.matrix(0, t.INPUT_DELTA, t.LD_IN, batch)[:, : sizes[0]]
        assert case.close(got, input_gradient)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize(("sizes", "activations"), [n for n in NETWORKS if n[0][-1] > 1])
def test_a_fused_training_step_agrees_with_the_oracle(sizes, activations, threads, dtype):
    batch = 2 * ROWS + 1
    case = Case(sizes, activations, batch, dtype, copies=threads)
    velocity = np.zeros_like(case.plan.values)
    for row in case.space.table:
        row[t.WEIGHT_VELOCITY], row[t.BIAS_VELOCITY] = row[t.WEIGHT], row[t.BIAS]
    hyper = np.array([0.5, 0.9, 0.01, 0, np.finfo(dtype).smallest_normal], dtype)
    data = source(case.x, case.dtype)
    values, hits = np.full(batch, np.nan), np.zeros(batch, np.bool_)
    order = np.random.default_rng(1).permutation(batch)
    with_threads(
        threads,
        drivers.train,
        *case.common(),
        velocity,
        hyper,
        case.space.buffer,
        data.location,
        data.affine,
        order,
        LOSS,
        0.0,
        np.zeros(0),
        case.labels,
        np.zeros((1, 1), dtype),
        batch,
        0,
        batch,
        values,
        hits,
        threads,
    )
    value, layers, _ = reference.training_step(
        case.layers,
        activations,
        [(np.zeros_like(w), None if b is None else np.zeros_like(b)) for w, b in case.layers],
        case.x,
        case.labels,
        reference.cross_entropy,
        lr=0.5,
        momentum=0.9,
        weight_decay=float(np.asarray(0.01, dtype)),
    )
    assert case.close(values.mean(), np.asarray(value))
    for layer, (w, b) in zip(case.net.linears, layers, strict=True):
        assert case.close(layer.weight, w)
        assert b is None or case.close(layer.bias, b)
