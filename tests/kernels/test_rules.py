"""Rules that every kernel keeps: padding, floating-point mode, bounds, threads, forks."""

import itertools
import multiprocessing
import os
import subprocess
import sys
import threading
from contextlib import nullcontext

import numba
import numpy as np
import pytest

import fastfcn as ff
from fastfcn import losses, nn, optim
from fastfcn.buffers import padded, spaced
from kernels.fp_mode import knows_the_register, subnormals_flushed


def problem(dtype=np.float32, seed=0, n=50):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, 9)).astype(dtype), rng.integers(0, 5, n)
    layers = [nn.Linear(9, 21, dtype=dtype, rng=rng), nn.Tanh()]
    net = nn.Sequential(*layers, nn.Linear(21, 5, dtype=dtype, rng=rng))
    return net, x, y


def train(net, x, y, **options):
    sgd = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    loss = losses.CrossEntropyLoss()
    ff.fit(net, x, y, loss=loss, optimizer=sgd, batch_size=16, seed=0, **options)
    return sgd


def padding_of(net, flat):
    """Everything in a flat buffer that belongs to no parameter."""
    mark = np.ones(flat.size, bool)
    for p in net.parameters():
        p.view(mark, p.offset)[...] = False
    return flat[mark]


@pytest.mark.filterwarnings("ignore:the loss is:RuntimeWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_padding_stays_zero_through_nan_and_infinity(dtype):
    net, x, y = problem(dtype)
    x[3, 2], x[20, 1] = np.nan, np.inf
    sgd = train(net, x, y, epochs=2, check_finite=False)
    out = net(x)
    net.backward(np.full_like(out, np.inf))
    buffer = net.parameters()[0].buffer
    assert np.isnan(net[0].weight).any()
    for flat in (buffer.values, buffer.grads, sgd.state):
        assert padding_of(net, flat).size
        assert (padding_of(net, flat) == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("widths", [(512, 130, 24), (1024, 40), (40, 1024, 512), (17, 512, 9)])
def test_padding_stays_zero_beside_layers_of_other_widths(widths, dtype):
    """Rows of 512 and 1024 are padded by more than a vector, and layers share their scratch."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 20)).astype(dtype), rng.integers(0, 5, 40)
    layers = []
    for n_in, n_out in itertools.pairwise((20, *widths, 5)):
        layers += [nn.Linear(n_in, n_out, dtype=dtype, rng=rng), nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    sgd = train(net, x, y, epochs=2)
    loss = losses.CrossEntropyLoss()
    net.backward(loss.grad(net(x), y))
    buffer = net.parameters()[0].buffer
    for flat in (buffer.values, buffer.grads, sgd.state):
        assert (padding_of(net, flat) == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("features", [1, 7, 15, 16, 17, 255, 256, 257, 500, 511, 512, 1000, 1024])
def test_rows_are_whole_cache_lines_and_not_at_strides_that_share_sets(features, dtype):
    for multiple in (1, 2, 3, 7):
        size = padded(multiple * features, np.dtype(dtype)) * np.dtype(dtype).itemsize
        needed = multiple * features * np.dtype(dtype).itemsize
        assert size % 64 == 0 and size % 2048 != 0
        assert needed <= size < needed + 2 * 64
        between = spaced(multiple * features, np.dtype(dtype)) * np.dtype(dtype).itemsize
        assert between % 64 == 0 and between % 512 != 0
        assert size <= between <= size + 64


@knows_the_register
def test_bits_do_not_depend_on_the_callers_floating_point_mode():
    results = []
    for mode in (nullcontext, subnormals_flushed):
        net, x, y = problem()
        x *= np.float32(1e-38)  # products far into the subnormals
        with mode():
            train(net, x, y, epochs=2, n_threads=1, check_finite=False)
            out = net(x)
            net.backward(out)
            flat = net.parameters()[0].buffer
            results.append([out.tobytes(), flat.values.tobytes(), flat.grads.tobytes()])
    assert results[0] == results[1]


@pytest.mark.parametrize("n_threads", [1, 2])
def test_subnormal_velocities_become_zero(n_threads):
    if n_threads > numba.config.NUMBA_NUM_THREADS:
        pytest.skip("one thread here")
    net, x, y = problem()
    sgd = optim.SGD(net.parameters(), lr=0.1, momentum=0.5)
    sgd.state[...] = 1e-30
    x[:, 4] = 0.0
    ff.fit(net, x, y, loss=losses.CrossEntropyLoss(), optimizer=sgd, epochs=20, n_threads=n_threads)
    velocity = sgd.state_dict()["velocity"][0]
    assert (velocity[4] == 0).all()
    assert (velocity[3] != 0).any()


def test_concurrent_calls_from_python_threads_give_the_bits_of_one():
    net, x, y = problem(n=400)
    train(net, x, y, epochs=3)
    expected = net.state_dict()
    results = []

    def work():
        other, x, y = problem(n=400)
        train(other, x, y, epochs=3)
        results.append(other.state_dict())

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 4
    for result in results:
        for name, values in expected.items():
            np.testing.assert_array_equal(result[name], values)


def _predict_in_child(net, x, queue):
    queue.put(ff.predict(net, x, n_threads=2))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_of_a_process_with_threads_computes():
    net, x, _ = problem(n=400)
    expected = ff.predict(net, x, n_threads=2)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_predict_in_child, args=(net, x, queue))
    child.start()
    got = queue.get(timeout=60)
    child.join(60)
    assert child.exitcode == 0
    np.testing.assert_array_equal(got, expected)


def test_the_users_thread_setting_is_given_back():
    before = numba.get_num_threads()
    net, x, y = problem()
    train(net, x, y, n_threads=before)
    assert numba.get_num_threads() == before


BOUNDS = """
import numba, numpy as np, fastfcn as ff
from fastfcn import losses, nn, optim
from fastfcn_kernels.compilation import helper, native
from numba import carray


@helper
def stray(x, n):
    carray(x, (n,))[n] = 1.0


@native("pn")
def strays(x, n):
    stray(x, n)


rng = np.random.default_rng(0)
kinds = [nn.ReLU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.GELU, nn.SiLU, nn.ELU, nn.Softplus]
for dtype in (np.float32, np.float64):
    sizes = [70, *[9] * len(kinds)]
    layers = [
        layer
        for n_in, n_out, kind in zip(sizes, sizes[1:], kinds)
        for layer in (nn.Linear(n_in, n_out, dtype=dtype), kind())
    ]
    net = nn.Sequential(*layers, nn.Softmax(), nn.Linear(9, 3, dtype=dtype))
    y = rng.integers(0, 3, 300)
    onehot = np.eye(3)[y]
    most = min(2, numba.config.NUMBA_NUM_THREADS)
    for density, batch, count in [(0.0, 8, None), (0.1, 64, most), (0.1, 300, 1), (1.0, 29, 1)]:
        x = rng.normal(size=(300, 70)) * (rng.random((300, 70)) < density)
        for loss, target in [
            (losses.CrossEntropyLoss(), y),
            (losses.CrossEntropyLoss(weight=[1, 2, 3], label_smoothing=0.1), onehot),
            (losses.NLLLoss(ignore_index=1), y),
            (losses.BCEWithLogitsLoss(), onehot),
            (losses.MSELoss(), onehot),
            (losses.HuberLoss(0.1), onehot),
            (losses.PoissonNLLLoss("batchmean"), onehot),
        ]:
            sgd = optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
            options = {"loss": loss, "optimizer": sgd, "batch_size": batch, "n_threads": count}
            ff.fit(net, x, target, **options)
            ff.fit(net, x, target, sample_weight=rng.random(300), **options)
        net.backward(loss.grad(net(x), target))
        sgd.step()
        lbfgs = optim.LBFGS(net.parameters(), history_size=2, weight_decay=1e-3)
        ff.fit(net, x, onehot, loss=losses.MSELoss(), optimizer=lbfgs, epochs=4)
        for n in (1, 5, 300):
            ff.predict(net, x[:n], n_threads=count)
print("within bounds", flush=True)
strays.function(np.dtype(np.float32))(np.zeros(99, np.float32).ctypes.data, 4)
"""


@pytest.mark.slow
def test_kernels_stay_within_bounds(tmp_path):
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "FASTFCN_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", BOUNDS], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "within bounds\n", done.stderr
    # A native kernel cannot raise: what goes wrong in it is printed, as for the one made to stray.
    assert done.stderr.count("IndexError") == 1, done.stderr
