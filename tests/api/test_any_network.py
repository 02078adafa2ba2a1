"""Any stack of layers, trained any way, keeps the promises that all networks keep."""

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastfcn as ff
from api.checks import ACTIVATIONS, DTYPES, same_bits, same_state, shares
from fastfcn import losses, nn, optim
from fastfcn.training import batch_order

sparse = pytest.importorskip("scipy.sparse")

SHARES = [2, 5]
"""Shares that the work is cut into, beside 1; fewer threads than shares take several each."""
SMOOTH = ["Identity", "Sigmoid", "Tanh", "GELU", "SiLU", "Softplus", "Softmax"]
SIZES = [1, 2, 5, 6, 7, 16, 17, 33, 70, 512]
"""Rows of 512 are padded by more than a vector."""
OPTIMISERS = [
    (optim.SGD, {"momentum": 0.9, "nesterov": True}),
    (optim.SGD, {}),
    (optim.Adam, {"amsgrad": True}),
    (optim.AdamW, {}),
    (optim.RMSprop, {"momentum": 0.5, "centered": True}),
    (optim.Adagrad, {}),
]

fuzzed = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
pytestmark = pytest.mark.filterwarnings("ignore:the loss is:RuntimeWarning")


class Apart(nn.Module):
    """A network that calls its layers one by one."""

    def __init__(self, layers):
        super().__init__()
        self.add_layers(layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


@dataclass
class Recipe:
    """What a network, its data and its training are made from; the same every time."""

    layers: list
    features: int
    dtype: type
    rows: int
    batch_size: int
    optimiser: tuple
    clip_norm: float | None
    decay_bias: bool
    frozen: int
    density: float
    weighted: bool
    eps: float = 1e-5

    def net(self, kind=nn.Sequential, dropout=True):
        rng, width, layers = np.random.default_rng(0), self.features, []
        for name, given_ in self.layers:
            if name == "Linear":
                out, bias = given_
                layers.append(nn.Linear(width, out, bias, dtype=self.dtype, rng=rng))
                width = out
            elif name in ("BatchNorm1d", "LayerNorm"):
                layer = getattr(nn, name)(width, eps=self.eps, dtype=self.dtype)
                layer.weight = rng.uniform(0.5, 1.5, width)
                layer.bias = rng.normal(size=width)
                layers.append(layer)
            elif name == "Dropout":
                layers.append(nn.Dropout(given_ if dropout else 0.0, seed=0))
            elif name == "Flatten":
                layers.append(nn.Flatten())
            else:
                layers.append(ACTIVATIONS[name]())
        return kind(*layers) if kind is nn.Sequential else kind(layers)

    def data(self):
        rng = np.random.default_rng(1)
        x = rng.normal(size=(self.rows, self.features)).astype(self.dtype)
        x *= rng.random(x.shape) < self.density
        width = [given_[0] for name, given_ in self.layers if name == "Linear"][-1]
        weights = rng.integers(0, 3, self.rows) * 1.0 if self.weighted else None
        if weights is not None:
            weights[0] = 1.0
        return x, rng.normal(size=(self.rows, width)).astype(self.dtype), weights

    def optimizer(self, net):
        kind, options = self.optimiser
        kept = [p for i, p in enumerate(net.parameters()) if i % 5 != self.frozen]
        options = {"lr": 0.02, "weight_decay": 0.01, "decay_bias": self.decay_bias} | options
        return kind(kept or net.parameters(), **options)

    def takes_sparse(self):
        return next(name for name, _ in self.layers if name != "Flatten") == "Linear"


@st.composite
def recipes(draw, activations=tuple(ACTIVATIONS), **fixed):
    kinds = {
        "Linear": st.tuples(st.sampled_from(SIZES), st.booleans()),
        "BatchNorm1d": st.none(),
        "LayerNorm": st.none(),
        "Dropout": st.sampled_from([0.0, 0.3, 0.9]),
        "Flatten": st.none(),
        "activation": st.sampled_from(activations),
    }
    names = draw(st.lists(st.sampled_from(list(kinds)), max_size=8))
    names.insert(draw(st.integers(0, len(names))), "Linear")
    layers = [
        (given_, None) if name == "activation" else (name, given_)
        for name in names
        for given_ in [draw(kinds[name])]
    ]
    rows = draw(st.integers(1, 40))
    given_ = {
        "layers": layers,
        "features": draw(st.sampled_from(SIZES)),
        "dtype": draw(st.sampled_from(DTYPES)),
        "rows": rows,
        "batch_size": draw(st.integers(1, rows)),
        "optimiser": draw(st.sampled_from(OPTIMISERS)),
        "clip_norm": draw(st.sampled_from([None, 1e-3, 0.5])),
        "decay_bias": draw(st.booleans()),
        "frozen": draw(st.sampled_from([-1, 0, 1, 2, 3])),
        "density": draw(st.sampled_from([0.05, 0.3, 1.0])),
        "weighted": draw(st.booleans()),
    }
    return Recipe(**(given_ | fixed))


class EachBatch:
    def on_batch_end(self, run):
        pass


def trained(recipe, dropout=True, **options):
    """Fit for two epochs; return the network, the history and the optimiser."""
    net = recipe.net(dropout=dropout)
    x, y, weights = recipe.data()
    optimizer = recipe.optimizer(net)
    given_ = {"x": x, "y": y, "sample_weight": weights, "batch_size": recipe.batch_size}
    given_ |= {"clip_norm": recipe.clip_norm, "epochs": 2, "seed": 3, "n_threads": 1}
    mse = losses.MSELoss()
    history = ff.fit(net, loss=mse, optimizer=optimizer, **(given_ | options))
    assert not any(p.grad.any() for p in net.parameters())
    return net, history, optimizer


def same_run(one, other):
    """Whether two runs came to the same bits everywhere, and padding is zero in both."""
    assert same_bits(one[1].loss, other[1].loss)
    assert same_state(one[0].state_dict(), other[0].state_dict())
    assert same_bits(one[2].state, other[2].state)
    for net, _, optimizer in (one, other):
        assert not padding(net._stored().values(), net.plan().values).any()
        slots = optimizer.state.reshape(-1, optimizer.slot)
        for slot in slots:
            mark, at = np.ones(slot.size, bool), 0
            for p in optimizer.parameters:
                p.view(mark, at)[...] = False
                at += p.padded_size
            assert not slot[mark].any()
    return True


def padding(parameters, flat):
    """Everything in a flat buffer that belongs to no parameter."""
    mark = np.ones(flat.size, bool)
    for p in parameters:
        p.view(mark, p.offset)[...] = False
    return flat[mark]


def cut(parameters, norm, dtype):
    """Cut gradients to a norm, summed as the kernels do: row by row, in order, in float64."""
    squares = 0.0
    for p in parameters:
        values = np.atleast_2d(p.grad).astype(np.float64)
        rows = np.add.accumulate(values * values, axis=1)[:, -1]
        squares = np.add.accumulate(np.append(squares, rows))[-1]
    length = np.sqrt(squares)
    if length > dtype(norm):
        factor = dtype(np.float64(dtype(norm)) / length)
        for p in parameters:
            p.grad *= factor


def by_hand(recipe, kind):
    """The training of :func:`trained` as a loop, without dropout."""
    net = recipe.net(kind, dropout=False)
    x, y, weights = recipe.data()
    optimizer, mse = recipe.optimizer(net), losses.MSELoss()
    for epoch in (1, 2):
        order = batch_order(3, epoch, len(x))
        for first in range(0, len(x), recipe.batch_size):
            rows = order[first : first + recipe.batch_size]
            times = None if weights is None else weights[rows]
            net.zero_grad()
            net.backward(mse.grad(net(x[rows]), y[rows], times), input_gradient=first % 2 == 0)
            if recipe.clip_norm is not None:
                cut(optimizer.parameters, recipe.clip_norm, recipe.dtype)
            optimizer.step()
            assert not padding(net.parameters(), net.plan().buffer.grads).any()
    return net, optimizer


@fuzzed
@given(recipes())
def test_bits_depend_neither_on_threads_nor_on_how_an_epoch_is_cut(recipe):
    one = trained(recipe)
    for count in SHARES:
        with shares(count):
            assert same_run(one, trained(recipe))
    assert same_run(one, trained(recipe, callbacks=[EachBatch()]))
    assert same_run(one, trained(recipe, skip_zeros=False))
    if recipe.takes_sparse():
        x = sparse.csr_array(recipe.data()[0])
        for count in (1, *SHARES):
            with shares(count):
                assert same_run(one, trained(recipe, x=x))


@fuzzed
@given(recipes())
def test_fit_is_the_loop_by_hand_to_the_bit(recipe):
    net, _, optimizer = trained(recipe, dropout=False)
    for kind, count in [(nn.Sequential, 1), (nn.Sequential, 5), (Apart, 2)]:
        with shares(count):
            twin, twins = by_hand(recipe, kind)
        assert same_state(net.state_dict(), twin.state_dict())
        assert same_bits(optimizer.state, twins.state)


@fuzzed
@given(recipes(), st.sampled_from([1, 2, 5]))
def test_a_fit_that_goes_on_is_one_fit(recipe, count):
    with shares(count):
        one = trained(recipe)
    net, history, optimizer = trained(recipe, epochs=1)
    net, optimizer = pickle.loads(pickle.dumps((net, optimizer)))
    x, y, weights = recipe.data()
    ff.fit(
        net, x, y, loss=losses.MSELoss(), optimizer=optimizer, batch_size=recipe.batch_size,
        epochs=2, sample_weight=weights, clip_norm=recipe.clip_norm, history=history,
    )  # fmt: skip
    assert same_run(one, (net, history, optimizer))


@fuzzed
@given(recipes(), st.integers(1, 40))
def test_batches_that_come_one_by_one_train_to_the_same_bits(recipe, batch_size):
    one = trained(recipe, dropout=False, shuffle=False, batch_size=min(batch_size, recipe.rows))
    x, y, weights = recipe.data()
    cuts = range(batch_size, len(x), batch_size)
    columns = [np.split(v, cuts) for v in (x, y, weights) if v is not None]
    batches = list(zip(*columns, strict=True))
    for count in (1, *SHARES):
        with shares(count):
            other = trained(recipe, dropout=False, x=batches, y=None, sample_weight=None)
        np.testing.assert_allclose(other[1].loss, one[1].loss, rtol=1e-12)
        assert same_state(one[0].state_dict(), other[0].state_dict())
        assert same_bits(one[2].state, other[2].state)


@fuzzed
@given(recipes(SMOOTH, dtype=np.float64, eps=0.3), st.booleans(), st.integers(0, 2**31))
def test_gradients_are_finite_differences_along_any_direction(recipe, training, seed):
    net = recipe.net().train(training)
    x, y, weights = recipe.data()
    mse, rng = losses.MSELoss(), np.random.default_rng(seed)
    ways = [rng.normal(size=p.shape) for p in net.parameters()]
    way = rng.normal(size=x.shape)

    def value(h):
        other = recipe.net().train(training)  # with the same masks
        for p, by in zip(other.parameters(), ways, strict=True):
            p.data = p.copy() + h * by
        return mse(other(x + h * way), y, weights)

    step = 1e-5
    slope = (value(step) - value(-step)) / (2 * step)
    by_input = net.backward(mse.grad(net(x), y, weights))
    terms = [(p.grad * by).sum() for p, by in zip(net.parameters(), ways, strict=True)]
    terms.append((by_input * way).sum())
    assert abs(sum(terms) - slope) < 1e-6 * (1.0 + sum(map(abs, terms)))


@fuzzed
@given(recipes(), st.data())
def test_a_row_is_predicted_alone_as_among_others(recipe, data):
    net, _, _ = trained(recipe)
    x = recipe.data()[0]
    together = ff.predict(net, x)
    rows = data.draw(st.permutations(range(len(x))))[: data.draw(st.integers(1, len(x)))]
    for count in (1, *SHARES):
        with shares(count):
            assert same_bits(ff.predict(net, x[rows]), together[rows])
            assert same_bits(net.eval()(x[rows]), together[rows])
            many = ff.predict(net, np.tile(x, (30, 1)))
            assert same_bits(many, np.tile(together, (30, 1)))
            if recipe.takes_sparse():
                assert same_bits(ff.predict(net, sparse.csr_array(x[rows])), together[rows])
