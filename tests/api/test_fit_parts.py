"""Training in parts of the first hidden layer: the bits of training by rows; when it is done."""

import numpy as np
import pytest

import fastfcn as ff
from api.checks import DTYPES, mlp, same_bits, same_state, shares
from fastfcn import epochs, losses, nn, optim
from fastfcn.pace import Pace, Way
from fastfcn.parts import may_fall_into_parts
from fastfcn_kernels.simd import ALIGNMENT, TILE_VECTORS, VECTOR_BYTES

BATCH = 32
SAMPLES = 17 * BATCH + 5


def units(dtype, parts):
    """Units of the narrowest layer that falls into so many parts."""
    return parts * max(ALIGNMENT, TILE_VECTORS * VECTOR_BYTES) // np.dtype(dtype).itemsize


def sparse_images(features=43, classes=10):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (SAMPLES, features), np.uint8)
    return x * (rng.random(x.shape) < 0.3), rng.integers(0, classes, SAMPLES)


def trained(monkeypatch, way, make, count=2, loss=None, optimizer=optim.SGD, data=None, **options):
    """Train a new network one way only; return it and its optimiser."""
    offered = []

    def only(ways, batch):
        offered.extend(ways)
        return Pace([way] if way in ways else [Way.ROWS], batch)

    monkeypatch.setattr(epochs, "Pace", only)
    net = make()
    opt = optimizer(net.parameters(), lr=0.01)
    x, y = sparse_images() if data is None else data
    defaults = {"batch_size": BATCH, "epochs": 2, "seed": 1, "scale": 1 / 255}
    with shares(count):
        history = ff.fit(
            net, x, y, loss=loss or losses.CrossEntropyLoss(), optimizer=opt,
            **{**defaults, **options},
        )  # fmt: skip
    assert way in offered, "the case tests nothing"
    return net, opt, history


def check(monkeypatch, make, **options):
    """Compare both ways, to the bit."""
    rows, parts = (trained(monkeypatch, way, make, **options) for way in (Way.ROWS, Way.PARTS))
    assert same_state(rows[0].state_dict(), parts[0].state_dict())
    assert same_bits(rows[1].state, parts[1].state)
    assert rows[2].loss == parts[2].loss and rows[2].accuracy == parts[2].accuracy


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("skip_zeros", [True, False])
def test_parts_train_to_the_bits_of_rows(monkeypatch, dtype, count, skip_zeros):
    width = units(dtype, count)
    check(
        monkeypatch, lambda: mlp([43, width, 19, 10], dtype=dtype), count=count,
        skip_zeros=skip_zeros,
    )  # fmt: skip


@pytest.mark.parametrize("activation", [nn.GELU, nn.Tanh, nn.Softplus, nn.Identity])
def test_whatever_the_activation(monkeypatch, activation):
    check(monkeypatch, lambda: mlp([43, units(np.float32, 2), 19, 10], activation))


@pytest.mark.parametrize("optimizer", [optim.Adam, optim.RMSprop, optim.Adagrad])
def test_whatever_the_optimiser_keeps(monkeypatch, optimizer):
    check(monkeypatch, lambda: mlp([43, units(np.float32, 2), 10]), optimizer=optimizer)


def test_with_one_hidden_layer_and_a_loss_of_numbers(monkeypatch):
    x, _ = sparse_images()
    y = np.random.default_rng(1).normal(size=(len(x), 3)).astype(np.float32)
    make = lambda: mlp([43, units(np.float32, 2), 3], last=nn.Tanh)  # noqa: E731
    check(monkeypatch, make, loss=losses.MSELoss(), data=(x, y))


@pytest.mark.parametrize("features", [43, 64, 100])
def test_with_batches_that_begin_dense(monkeypatch, features):
    x, y = sparse_images(features)
    dense = np.arange(SAMPLES) % BATCH < 24
    x[dense] = np.random.default_rng(1).integers(1, 256, (dense.sum(), features), np.uint8)
    make = lambda: mlp([features, units(np.float32, 2), 10])  # noqa: E731
    check(monkeypatch, make, data=(x, y), shuffle=False)
    options = {"data": (x, y), "shuffle": False}
    skipping, whole = (
        trained(monkeypatch, Way.PARTS, make, skip_zeros=skip_zeros, **options)
        for skip_zeros in (True, False)
    )
    assert same_state(skipping[0].state_dict(), whole[0].state_dict())


def test_with_units_that_leave_padding(monkeypatch):
    check(monkeypatch, lambda: mlp([43, units(np.float32, 2) - 5, 19, 10]))


def test_with_a_layer_whose_rows_are_padded_against_aliasing(monkeypatch):
    """Rows of 2048 bytes have a longer stride: what lies between them stays zero."""
    make = lambda: mlp([43, 512, 10])  # noqa: E731
    assert may_fall_into_parts(make().plan().stages, np.dtype(np.float32), BATCH, 2)
    check(monkeypatch, make)
    net = trained(monkeypatch, Way.PARTS, make)[0]
    weight = net[0].parameters()[0]
    flat = net.plan().values[weight.offset :][: 43 * 528].reshape(43, 528)
    assert not flat[:, 512:].any() and flat[:, :512].any()


def test_with_dropout_further_on_and_no_biases(monkeypatch):
    def make():
        rng = np.random.default_rng(0)
        width = units(np.float32, 2)
        return nn.Sequential(
            nn.Linear(43, width, bias=False, rng=rng), nn.ReLU(),
            nn.Linear(width, 21, bias=False, rng=rng), nn.ReLU(), nn.Dropout(0.3),
            nn.Linear(21, 10, rng=rng),
        )  # fmt: skip

    check(monkeypatch, make)


def test_with_a_weight_that_is_not_finite(monkeypatch):
    def make():
        net = mlp([43, units(np.float32, 2), 10])
        net[0].weight[3, 7] = np.inf
        return net

    with pytest.warns(RuntimeWarning, match="diverged"):
        rows, parts = (
            trained(monkeypatch, way, make, epochs=1)[0].state_dict()
            for way in (Way.ROWS, Way.PARTS)
        )
    assert rows.keys() == parts.keys()
    for name, values in rows.items():
        np.testing.assert_array_equal(values, parts[name], err_msg=name)


@pytest.mark.parametrize("frozen", [0, 1, 2, 3])
def test_with_a_parameter_that_is_not_trained(monkeypatch, frozen):
    def optimizer(parameters, lr):
        kept = [p for i, p in enumerate(parameters) if i != frozen]
        return optim.SGD(kept, lr=lr, momentum=0.9)

    make = lambda: mlp([43, units(np.float32, 2), 19, 10])  # noqa: E731
    check(monkeypatch, make, optimizer=optimizer)


def test_callbacks_see_the_weights_row_after_row(monkeypatch):
    seen = {Way.ROWS: [], Way.PARTS: []}
    for way, copies in seen.items():

        class Look:
            def on_progress(self, run, copies=copies):
                copies.append((run.net[0].weight.copy(), run.optimizer.state.copy()))

        trained(
            monkeypatch, way, lambda: mlp([43, units(np.float32, 2), 10]), callbacks=[Look()]
        )  # fmt: skip
    assert seen[Way.ROWS][-1][0].tobytes() == seen[Way.PARTS][-1][0].tobytes()
    assert seen[Way.ROWS][-1][1].tobytes() == seen[Way.PARTS][-1][1].tobytes()


@pytest.mark.parametrize(
    ("net", "rows", "count", "why"),
    [
        (lambda w: mlp([43, w, 10]), 32, 1, "one thread"),
        (lambda w: mlp([43, 10]), 32, 2, "no hidden layer"),
        (lambda w: mlp([43, w + 16, 10]), 32, 2, "parts that are not alike"),
        (lambda w: mlp([43, w, 10]), 32, 4, "parts narrower than a tile"),
        (lambda w: mlp([43, w, 10]), 1 << 20, 2, "an input too long to be gathered twice"),
        (lambda w: mlp([43, 1024, 10]), 32, 2, "rows at a stride that caches alias"),
        (lambda w: mlp([43, w, 10], nn.Softmax), 32, 2, "an activation of all units"),
        (lambda w: nn.Sequential(nn.ReLU(), *mlp([43, w, 10])), 32, 2, "an activation first"),
        (
            lambda w: nn.Sequential(nn.Linear(43, w), nn.Dropout(0.5), nn.Linear(w, 10)),
            32, 2, "a layer of another kind in between",
        ),
        (
            lambda w: nn.Sequential(*mlp([43, w, 10]), nn.BatchNorm1d(10)),
            32, 2, "a layer that looks at the whole batch",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fall_into_parts(net, rows, count, why):
    dtype, width = np.dtype(np.float32), units(np.float32, 2)
    assert may_fall_into_parts(mlp([43, width, 10]).plan().stages, dtype, 32, 2)
    assert not may_fall_into_parts(net(width).plan().stages, dtype, rows, count), why
