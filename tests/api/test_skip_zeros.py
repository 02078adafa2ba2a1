"""Leaving out products with zeros of the input changes no bit of any result."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastfcn as ff
import reference
from api.checks import DTYPES, linears, mlp, same_bits, same_state, two_threads
from fastfcn import losses, nn, optim

# Runs that diverge, on purpose, say so.
pytestmark = pytest.mark.filterwarnings("ignore:the loss is:RuntimeWarning")

N = 300
THREADS = [1, pytest.param(2, marks=two_threads)]


def labels(n, seed=0):
    return np.random.default_rng(seed).integers(0, 5, n)


def one_hot(n, rng):
    """Four categorical columns."""
    columns = [rng.integers(0, k, n) for k in (40, 3, 25, 12)]
    return np.hstack([reference.one_hot(c, c.max() + 1) for c in columns]).astype(np.uint8)


def bag_of_words(n, rng):
    """Weights of words, few words often and most seldom."""
    counts = rng.poisson(3.0 / np.arange(1, 131), (n, 130))
    return counts * rng.uniform(0.5, 4.0, 130)


def empty_rows_and_columns(n, rng):
    x = rng.normal(size=(n, 71)) * (rng.random((n, 71)) < 0.5)
    x[rng.random(n) < 0.3] = 0.0
    x[:, rng.random(71) < 0.3] = 0.0
    return x


def negative_zeros(n, rng):
    x = empty_rows_and_columns(n, rng)
    return np.where((x == 0) & (rng.random(x.shape) < 0.5), -0.0, x)


DATA = {
    "one-hot": one_hot,
    "bag of words": bag_of_words,
    "empty rows and columns": empty_rows_and_columns,
    "negative zeros": negative_zeros,
    "dense": lambda n, rng: rng.normal(size=(n, 50)),
    "all zero": lambda n, rng: np.zeros((n, 45)),
    "one feature": lambda n, rng: rng.integers(0, 2, (n, 1)),
    "sparser towards the end": lambda n, rng: np.where(
        rng.random((n, 90)) < np.linspace(1, 0, 90) ** 3, rng.normal(size=(n, 90)), 0.0
    ),
}


def trained(x, y, skip_zeros, *, sizes=(33, 20, 5), dtype=np.float32, change=None, lr=0.05, **how):
    """What a fit leaves: the network, velocities, each epoch's loss and accuracy."""
    net = mlp([x.shape[1], *sizes], dtype=dtype)
    if change is not None:
        change(net)
    optimizer = optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=0.001)
    loss = losses.CrossEntropyLoss()
    how = {"batch_size": 64, "epochs": 2, "seed": 1, "n_threads": 1, **how}
    history = ff.fit(net, x, y, loss=loss, optimizer=optimizer, skip_zeros=skip_zeros, **how)
    velocity = optimizer.state_dict()["velocity"]
    return net, velocity, np.array([history.loss, history.accuracy])


def agree(one, other):
    """Whether two fits left the same bits."""
    nets, velocities, records = zip(one, other, strict=True)
    return (
        same_state(nets[0].state_dict(), nets[1].state_dict())
        and all(same_bits(a, b) for a, b in zip(*velocities, strict=True))
        and same_bits(*records)
    )


def plainly(n, rng, kind, dtype):
    x = DATA[kind](n, rng)
    return x if x.dtype == np.uint8 else x.astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_threads", THREADS)
@pytest.mark.parametrize("kind", DATA)
def test_a_fit_gives_the_same_bits(kind, n_threads, dtype):
    x = plainly(N, np.random.default_rng(0), kind, dtype)
    plain = trained(x, labels(N), False, dtype=dtype)
    assert agree(trained(x, labels(N), True, dtype=dtype, n_threads=n_threads), plain)


@pytest.mark.parametrize("n_threads", THREADS)
@pytest.mark.parametrize("batch_size", [1, 2, 5, 7, 13, 149, 299, 300])
def test_a_fit_gives_the_same_bits_at_any_batch_size(batch_size, n_threads):
    """With a last batch of 1, 2 and 6 rows among others, and batches long enough to be packed."""
    x = plainly(N, np.random.default_rng(0), "bag of words", np.float32)
    how = {"batch_size": batch_size, "epochs": 1}
    plain = trained(x, labels(N), False, **how)
    assert agree(trained(x, labels(N), True, n_threads=n_threads, **how), plain)


@pytest.mark.parametrize("n_threads", THREADS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_sparse_and_dense_batches_in_turn_give_the_same_bits(dtype, n_threads):
    """What was noted of a batch before must not be taken for a later one's."""
    rng = np.random.default_rng(0)
    batch, size = np.divmod(np.arange(N), 32)
    sparse = rng.normal(size=(N, 70)) * (rng.random((N, 70)) < 0.1)
    begins_dense = (batch % 3 == 1) | ((batch % 3 == 2) & (size % 16 < 8))
    x = np.where(begins_dense[:, None], rng.normal(size=(N, 70)), sparse).astype(dtype)
    how = {"batch_size": 32, "shuffle": False, "dtype": dtype, "n_threads": n_threads}
    assert agree(trained(x, labels(N), True, **how), trained(x, labels(N), False, **how))


@pytest.mark.parametrize("n_threads", [*THREADS, None])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_fit_on_mnist_gives_the_same_bits(mnist_data, dtype, n_threads):
    x, y = mnist_data.x_train[:2000].reshape(2000, -1), mnist_data.y_train[:2000]
    how = {"sizes": (256, 128, 10), "batch_size": 128, "scale": 1 / 255, "dtype": dtype}
    plain = trained(x, y, False, **how)
    assert agree(trained(x, y, True, **how | {"n_threads": n_threads}), plain)


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 90),
    features=st.integers(1, 200),
    density=st.floats(0, 1),
    batch_size=st.integers(1, 90),
    n_threads=st.sampled_from([1, 2]),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**31),
)
@two_threads
def test_a_fit_gives_the_same_bits_at_any_density(
    n, features, density, batch_size, n_threads, dtype, seed
):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, features)) * (rng.random((n, features)) < density)).astype(dtype)
    how = {"dtype": dtype, "batch_size": min(n, batch_size), "sizes": (17, 5)}
    plain = trained(x, labels(n), False, **how)
    assert agree(trained(x, labels(n), True, n_threads=n_threads, **how), plain)


@pytest.mark.parametrize("n_threads", THREADS)
def test_a_fit_gives_the_bits_of_the_step_by_step_loop_on_sparse_data(n_threads):
    x = plainly(N, np.random.default_rng(0), "empty rows and columns", np.float32)
    y = labels(N)
    net, velocity, _ = trained(x, y, True, n_threads=n_threads, shuffle=False)
    other = mlp([x.shape[1], 33, 20, 5])
    sgd = optim.SGD(other.parameters(), lr=0.05, momentum=0.9, weight_decay=0.001)
    loss = losses.CrossEntropyLoss()
    for start in [*range(0, N, 64)] * 2:
        rows = slice(start, start + 64)
        sgd.zero_grad()
        other.backward(loss.grad(other(x[rows]), y[rows]))
        sgd.step()
    assert same_state(net.state_dict(), other.state_dict())
    assert all(same_bits(a, b) for a, b in zip(velocity, sgd.state_dict()["velocity"], strict=True))


# ---- what is not finite --------------------------------------------------------------------------


def poisoned(column, value):
    def change(net):
        linears(net)[0].weight[column, 3] = value

    return change


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_threads", THREADS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 11, 44])
def test_a_weight_that_is_not_finite_counts_where_its_input_is_zero(
    column, value, n_threads, dtype
):
    x = plainly(N, np.random.default_rng(0), "empty rows and columns", dtype)
    x[:, column] = 0.0
    how = {"dtype": dtype, "change": poisoned(column, value), "epochs": 1}
    plain = trained(x, labels(N), False, **how)
    assert np.isnan(plain[2][0]).all(), "0·NaN and 0·inf are NaN"
    assert agree(trained(x, labels(N), True, n_threads=n_threads, **how), plain)


@pytest.mark.parametrize("n_threads", THREADS)
@pytest.mark.parametrize("held", [slice(1, None), slice(2, None)])
def test_frozen_weights_that_are_not_finite_count_too(held, n_threads):
    x = plainly(N, np.random.default_rng(0), "one-hot", np.float32)
    x[:, 5] = 0
    states = []
    for skip_zeros, count in ((True, n_threads), (False, 1)):
        net = mlp([x.shape[1], 33, 5])
        linears(net)[0].weight[5, 3] = np.nan
        sgd = optim.SGD(net.parameters()[held], lr=0.1)
        ff.fit(
            net, x, labels(N), loss=losses.CrossEntropyLoss(), optimizer=sgd, batch_size=64,
            seed=0, skip_zeros=skip_zeros, n_threads=count,
        )  # fmt: skip
        states.append(net.state_dict())
    assert same_state(*states)
    assert np.isnan(states[0]["2.weight"]).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_threads", THREADS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["one-hot", "empty rows and columns"])
def test_an_input_that_is_not_finite_reaches_what_it_reaches_without_skipping(
    kind, value, n_threads, dtype
):
    """Its row's delta reaches the weights of inputs that are zero too, in the last batch alone."""
    n = 256
    x = plainly(n, np.random.default_rng(0), kind, dtype).astype(dtype)
    x[200, 7] = value
    how = {"dtype": dtype, "check_finite": False, "shuffle": False, "epochs": 1}
    before = trained(x[:192], labels(192), True, **how)
    assert np.isfinite(before[0].parameters()[0].data).all()
    plain = trained(x, labels(n), False, **how)
    assert np.isnan(plain[0].parameters()[0].data).any(axis=1).all()
    assert agree(trained(x, labels(n), True, n_threads=n_threads, **how), plain)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_threads", THREADS)
@pytest.mark.parametrize("epochs", [1, 2, 3, 6])
@pytest.mark.parametrize("kind", ["one-hot", "empty rows and columns"])
def test_weights_that_overflow_while_training_do_so_alike(kind, epochs, n_threads, dtype):
    x = plainly(N, np.random.default_rng(0), kind, dtype)
    lr = 1e6 if dtype == np.float32 else 1e45
    how = {"dtype": dtype, "lr": lr, "epochs": epochs}
    plain = trained(x, labels(N), False, **how)
    if epochs == 6:
        assert not np.isfinite(plain[0].parameters()[0].data).all()
    assert agree(trained(x, labels(N), True, n_threads=n_threads, **how), plain)


# ---- predictions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [None, np.nan, np.inf])
@pytest.mark.parametrize("kind", ["one-hot", "bag of words", "empty rows and columns"])
@two_threads
def test_a_row_is_predicted_to_the_same_bits_in_any_batch(kind, value, dtype):
    x = plainly(1000, np.random.default_rng(0), kind, dtype)
    x[:, 9] = 0
    net = mlp([x.shape[1], 33, 5], dtype=dtype)
    if value is not None:
        linears(net)[0].weight[9, 3] = value
    whole = ff.predict(net, x, n_threads=1)
    assert np.isnan(whole).all() == (value is not None)
    assert same_bits(ff.predict(net, x, n_threads=2), whole)
    assert same_bits(net(x), whole)
    for n in (1, 2, 7, 23, 24, 25, 96, 97, 500):
        assert same_bits(ff.predict(net, x[:n]), whole[:n])
        assert same_bits(net(x[:n]), whole[:n])
    for i in (3, 499, 999):
        assert same_bits(ff.predict(net, x[i : i + 1])[0], whole[i])
        assert same_bits(net(x[i : i + 1])[0], whole[i])


def test_an_infinite_weight_makes_nan_of_zero_inputs_and_infinity_of_others():
    net = nn.Sequential(nn.Linear(50, 4))
    net[0].weight[7, 2] = np.inf
    x = np.zeros((200, 50), np.float32)
    x[::3, 7] = 1.0
    out = ff.predict(net, x)
    assert np.isposinf(out[::3, 2]).all()
    others = np.arange(200) % 3 != 0
    assert np.isnan(out[others, 2]).all()
    assert np.isfinite(out[:, [0, 1, 3]]).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_bias_of_minus_zero_gives_plus_zero_in_any_batch(dtype):
    layer = nn.Linear(30, 20, dtype=dtype)
    layer.bias[...] = -0.0
    x = np.zeros((100, 30), dtype)
    for n in (1, 5, 100):
        out = layer(x[:n])
        assert (out == 0.0).all() and not np.signbit(out).any()


def view(net):
    linears(net)[0].weight[9, 3] = np.nan


def setter(net):
    weight = linears(net)[0].weight.copy()
    weight[9, 3] = np.nan
    linears(net)[0].weight = weight


def parameter(net):
    net.parameters()[0].data[9, 3] = np.nan


def state(net):
    values = net.state_dict()
    values["0.weight"][9, 3] = np.nan
    net.load_state_dict(values)


def step(net):
    net.parameters()[0].grad[9, 3] = np.nan
    optim.SGD(net.parameters(), lr=0.1).step()


def training(net):
    x = np.zeros((64, net[0].in_features), net[0].dtype)
    x[:, 9] = np.nan
    sgd = optim.SGD(net.parameters(), lr=1.0)
    loss = losses.CrossEntropyLoss()
    ff.fit(net, x, labels(64), loss=loss, optimizer=sgd, check_finite=False, batch_size=32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("change", [view, setter, parameter, state, step, training])
@pytest.mark.parametrize("rows", [1, 10, 100, 1000])
def test_predictions_follow_weights_that_cease_to_be_finite(rows, change, dtype):
    """Whether weights are finite is remembered between predictions."""
    x = plainly(rows, np.random.default_rng(0), "one-hot", dtype)
    x[:, 9] = 0
    net = mlp([x.shape[1], 33, 5], dtype=dtype)
    before = ff.predict(net, x)
    assert np.isfinite(before).all()
    kept = net.state_dict()
    change(net)
    assert np.isnan(ff.predict(net, x)).all()
    net.load_state_dict(kept)
    assert same_bits(ff.predict(net, x), before)


def test_predictions_follow_a_view_that_was_taken_long_before():
    x = np.zeros((10, 40), np.float32)
    net = mlp([40, 33, 5])
    first, last = (ff.predict(net, x), linears(net)[0].weight), linears(net)[1].bias
    assert np.isfinite(first[0]).all()
    first[1][20, 0] = np.inf
    assert np.isnan(ff.predict(net, x)).all()
    first[1][20, 0] = 0.0
    last[...] = 1.0
    assert same_bits(ff.predict(net, x), net(x))


def test_predictions_follow_layers_into_another_network():
    x = np.zeros((10, 40), np.float32)
    net = mlp([40, 33, 5])
    ff.predict(net, x)
    longer = nn.Sequential(*net, nn.ReLU(), nn.Linear(5, 2))
    ff.predict(longer, x)
    linears(longer)[0].weight[20, 0] = np.nan
    assert np.isnan(ff.predict(net, x)).all()
    assert np.isnan(ff.predict(longer, x)).all()
