"""The range kernels over workspaces full of NaN, against the float64 oracle."""

import numba
import numpy as np
import pytest

import reference
from fastfcn import losses, nn, optim
from fastfcn.frame import source
from fastfcn_kernels import passes, simd, training
from fastfcn_kernels import table as t

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
    ((21, 512, 39), ["Tanh", "Identity"]),
]


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
        self.space = self.plan.workspace(batch, True, copies)
        self.space.frame.point(t.GRADS, self.plan.buffer.grads)
        zeros = int(self.space.frame[t.ZEROS])
        widest = int(self.space.table[:, [t.LD, t.LD_IN]].max())
        self.space.buffer[:zeros] = np.nan
        self.space.buffer[zeros + widest :] = np.nan
        # Padding that nothing writes and that stays zero.
        first = self.space.matrix(0, t.INPUT, t.LD_IN, batch)
        first[:, sizes[0] :] = 0.0
        last = self.space.matrix(-1, t.DELTA, t.LD, batch)
        last[:, sizes[-1] :] = 0.0
        last[:, : sizes[-1]] = self.delta
        for row in self.space.table[self.space.table[:, t.KIND] == t.LINEAR]:
            at, ld = row[t.TRANSPOSE], row[t.LD_TRANSPOSE]
            transposed = self.space.buffer[at : at + row[t.OUT] * ld].reshape(-1, ld)
            transposed[:, row[t.IN] :] = 0.0
        self.layers = [
            (
                layer.weight.astype(np.float64),
                None if layer.bias is None else layer.bias.astype(np.float64),
            )
            for layer in self.net.linears
        ]

    def run(self, kernel, threads, first=0):
        """Run a range kernel in ``threads`` shares."""
        with_threads(threads, self.space.run, kernel, first, self.batch, threads)

    def forward(self, threads):
        self.space.frame.read(source(self.x, self.dtype))
        self.run(passes.forward, threads)

    def backward(self, threads):
        for kernel in (passes.prepare, passes.deltas):
            self.run(kernel, threads, first=1)
        self.run(passes.accumulate, threads)

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
        case = Case(sizes, activations, batch, dtype, copies=threads)
        case.forward(threads)
        assert case.close(case.output(), exact)
        case.plan.buffer.grads[:] = 0.0
        case.backward(threads)
        for layer, (dw, db) in zip(case.net.linears, grads, strict=True):
            assert case.close(layer.weight_grad, dw)
            assert db is None or case.close(layer.bias_grad, db)
        got = case.space.matrix(0, t.INPUT_DELTA, t.LD_IN, batch)[:, : sizes[0]]
        assert case.close(got, input_gradient)


def train(case, threads):
    """Run one training step in a shuffled order; return each row's loss."""
    frame, table, batch = case.space.frame, case.space.table, case.batch
    table[:, t.WEIGHT_STATE], table[:, t.BIAS_STATE] = table[:, t.WEIGHT], table[:, t.BIAS]
    values, hits = np.full(batch, np.nan), np.zeros(batch, np.bool_)
    sgd = optim.SGD(case.net.parameters(), lr=0.5, momentum=0.9, weight_decay=0.01)
    loss = losses.CrossEntropyLoss()
    loss.fill(frame, loss.targets(case.labels, batch, case.delta.shape[1], case.dtype))
    frame.read(source(case.x, case.dtype))
    frame.phases([training.learn, training.update])
    last = table[-1]
    frame.point(t.OUTPUT, case.space.buffer[last[t.A] :])
    frame.point(t.OUTPUT_DELTA, case.space.buffer[last[t.DELTA] :])
    frame[t.N_OUTPUT], frame[t.LD_OUTPUT] = int(last[t.OUT]), int(last[t.LD])
    frame.point(t.VALUES, values)
    frame.point(t.HITS, hits)
    frame.point(t.STATE, np.zeros_like(case.plan.values))
    frame.link(t.STEP, sgd.kernel)
    frame.point(t.HYPER, sgd.hyperparameters())
    frame.point(t.ORDER, np.random.default_rng(1).permutation(batch))
    case.run(passes.prepare, threads)
    with_threads(threads, frame.train, case.space.address, 0, batch, batch, threads)
    return values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize(("sizes", "activations"), [n for n in NETWORKS if n[0][-1] > 1])
def test_a_fused_training_step_agrees_with_the_oracle(sizes, activations, threads, dtype):
    batch = 2 * ROWS + 1
    case = Case(sizes, activations, batch, dtype, copies=threads)
    values = train(case, threads)
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
