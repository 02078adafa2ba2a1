"""SciPy's sparse data: the bits of the dense copy, without ever making one."""

import tracemalloc

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastfcn as ff
from fastfcn import losses, nn, optim

sparse = pytest.importorskip("scipy.sparse")

LOSS = losses.CrossEntropyLoss()
THREADS = sorted({1, min(2, numba.config.NUMBA_NUM_THREADS)})


def network(features, hidden=9, dtype=np.float32):
    rng = np.random.default_rng(0)
    return nn.Sequential(
        nn.Linear(features, hidden, dtype=dtype, rng=rng),
        nn.Tanh(),
        nn.Linear(hidden, 3, dtype=dtype, rng=rng),
    )


def problem(n=70, features=40, density=0.1, dtype=np.float32):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, features)) * (rng.random((n, features)) < density)
    return sparse.csr_array(x.astype(dtype)), rng.integers(0, 3, n)


def trained(x, y, dtype=np.float32, **options):
    net = network(x.shape[1], dtype=dtype)
    sgd = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    settings_ = {"batch_size": 16, "epochs": 2, "seed": 0} | options
    history = ff.fit(net, x, y, loss=LOSS, optimizer=sgd, **settings_)
    return net, sgd, history


def assert_same_training(a, b):
    (net, sgd, history), (net_b, sgd_b, history_b) = a, b
    for p, q in zip(net.parameters(), net_b.parameters(), strict=True):
        np.testing.assert_array_equal(p.data, q.data)
    np.testing.assert_array_equal(sgd.state, sgd_b.state)
    assert history.loss == history_b.loss
    assert history.accuracy == history_b.accuracy


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("density", [0.0, 0.02, 0.3, 1.0])
def test_sparse_and_dense_training_give_the_same_bits(density, threads, dtype):
    x, y = problem(density=density, dtype=dtype)
    dense = trained(x.toarray(), y, dtype, n_threads=1)
    assert_same_training(trained(x, y, dtype, n_threads=threads), dense)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 30),
    features=st.integers(1, 60),
    density=st.floats(0, 1),
    batch=st.integers(1, 30),
    threads=st.sampled_from(THREADS),
)
def test_any_shape_gives_the_bits_of_its_dense_copy(n, features, density, batch, threads):
    x, y = problem(n, features, density)
    options = {"batch_size": min(batch, n), "n_threads": threads}
    assert_same_training(trained(x, y, **options), trained(x.toarray(), y, **options))


@pytest.mark.parametrize("layout", ["csc", "coo", "lil", "bsr"])
def test_every_sparse_layout_is_taken(layout):
    x, y = problem()
    net = network(x.shape[1])
    np.testing.assert_array_equal(ff.predict(net, x.asformat(layout)), ff.predict(net, x))
    assert_same_training(trained(x.asformat(layout), y), trained(x, y))


def test_sparse_matrices_count_as_sparse_arrays():
    x, _ = problem()
    net = network(x.shape[1])
    np.testing.assert_array_equal(ff.predict(net, sparse.csr_matrix(x)), ff.predict(net, x))


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float64, np.bool_])
def test_every_type_of_value_is_taken(kind):
    x, _ = problem()
    counts = sparse.csr_array((np.abs(x.toarray()) * 9).astype(kind))
    net = network(x.shape[1])
    got = ff.predict(net, counts, scale=0.5)
    np.testing.assert_array_equal(got, ff.predict(net, counts.toarray(), scale=0.5))


def test_unsorted_and_repeated_entries_are_summed_and_the_caller_keeps_them():
    data = np.array([1.0, 2.0, 4.0, 8.0], np.float32)
    x = sparse.csr_array((data, np.array([3, 1, 3, 0]), np.array([0, 3, 4])), shape=(2, 5))
    before = x.indices.copy()
    net = network(5)
    np.testing.assert_array_equal(ff.predict(net, x), ff.predict(net, x.toarray()))
    np.testing.assert_array_equal(x.indices, before)


@pytest.mark.parametrize("rows", [1, 5, 97, 1000])
@pytest.mark.parametrize("threads", THREADS)
def test_predictions_are_those_of_dense_rows(rows, threads):
    x, _ = problem(rows)
    net = network(x.shape[1])
    expected = ff.predict(net, x.toarray(), n_threads=1)
    np.testing.assert_array_equal(ff.predict(net, x, n_threads=threads), expected)
    np.testing.assert_array_equal(ff.predict_proba(net, x), ff.predict_proba(net, x.toarray()))


def test_evaluate_and_validation_take_sparse_data():
    x, y = problem()
    net, _, history = trained(x, y, validation_data=(x, y))
    result = ff.evaluate(net, x, y, loss=LOSS)
    assert result == ff.evaluate(net, x.toarray(), y, loss=LOSS)
    assert history.val_loss[-1] == result.loss


def test_training_never_makes_the_data_dense():
    features, n = 20_000, 400
    rng = np.random.default_rng(0)
    rows, columns = np.repeat(np.arange(n), 10), rng.integers(0, features, 10 * n)
    x = sparse.csr_array((np.ones(10 * n, np.float32), (rows, columns)), shape=(n, features))
    y = rng.integers(0, 3, n)
    trained(x[:20], y[:20])  # compiles
    net = network(features, hidden=2)
    sgd = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    tracemalloc.start()
    ff.fit(net, x, y, loss=LOSS, optimizer=sgd, batch_size=200, n_threads=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200 * features * 4 / 4  # a quarter of one dense batch


def test_a_module_with_its_own_forward_takes_sparse_data():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            rng = np.random.default_rng(0)
            self.a, self.h = nn.Linear(40, 8, rng=rng), nn.ReLU()
            self.b = nn.Linear(8, 3, rng=rng)
            self.add_layers([self.a, self.h, self.b])

        def forward(self, x):
            return self.b(self.h(self.a(x)))

    x, _ = problem()
    net = Net()
    np.testing.assert_array_equal(ff.predict(net, x), ff.predict(net, x.toarray()))


def test_what_sparse_data_cannot_do_is_said():
    x, _ = problem()
    net = network(x.shape[1])
    with pytest.raises(ValueError, match="shift must be 0 for sparse x"):
        ff.predict(net, x, shift=1.0)
    with pytest.raises(ValueError, match=r"x must have shape \(n, 40\), got \(70, 39\)"):
        ff.predict(net, x[:, :39])
    with pytest.raises(TypeError, match=r"dense array here, got a sparse one.*x\.toarray\(\)"):
        net(x)
    with pytest.raises(TypeError, match="real numbers"):
        ff.predict(net, x.astype(np.complex64))
    first = nn.Sequential(nn.ReLU(), nn.Linear(40, 2))
    with pytest.raises(ValueError, match="first layer must be Linear for sparse x"):
        ff.predict(first, x)
    bad = x.copy()
    bad.data[3] = np.nan
    with pytest.raises(ValueError, match="x.data must be finite"):
        ff.predict(net, bad)
    assert np.isnan(ff.predict(net, bad, check_finite=False)).any()
