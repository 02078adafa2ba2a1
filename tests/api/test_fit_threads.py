"""Neither the number of threads nor a row's neighbours change a result."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

import fastfcn as ff
from api.checks import (
    ACTIVATIONS,
    DTYPES,
    mlp,
    same_bits,
    same_state,
    two_threads,
)
from api.fitting import SIZES, data, fitted
from fastfcn import epochs, losses, nn, optim
from fastfcn.pace import Way


@two_threads
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 7, 32, 65])
def test_one_and_two_threads_train_to_the_same_bits(batch_size, dtype):
    x, y = data(dtype)
    runs = [fitted(x, y, dtype=dtype, batch_size=batch_size, n_threads=n) for n in (1, 2)]
    assert same_state(runs[0][0].state_dict(), runs[1][0].state_dict())
    assert runs[0][1].loss == runs[1][1].loss
    assert runs[0][1].accuracy == runs[1][1].accuracy


@two_threads
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_and_two_threads_train_a_larger_network_to_the_same_bits(dtype):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (300, 200), np.uint8), rng.integers(0, 10, 300)
    runs = [
        fitted(x, y, net=mlp([200, 131, 67, 10], nn.GELU, dtype), scale=1 / 255, n_threads=n)
        for n in (1, 2, None)
    ]
    assert same_state(runs[0][0].state_dict(), runs[1][0].state_dict())
    assert same_state(runs[0][0].state_dict(), runs[2][0].state_dict())


@two_threads
def test_one_and_two_threads_predict_and_evaluate_to_the_same_bits():
    x, y = data(n=1000)
    net = mlp(SIZES)
    assert same_bits(ff.predict(net, x, n_threads=1), ff.predict(net, x, n_threads=2))
    loss = losses.CrossEntropyLoss()
    one, two = (ff.evaluate(net, x, y, loss=loss, n_threads=n) for n in (1, 2))
    assert one == two


@two_threads
def test_the_number_of_threads_is_restored():
    import numba

    before = numba.get_num_threads()
    x, y = data()
    fitted(x, y, n_threads=1)
    fitted(x, y, n_threads=2)
    assert numba.get_num_threads() == before


def pretended_seconds(monkeypatch, alone, together, epochs_):
    """Seconds that 100 steps an epoch would take, given those of a step."""
    now = 0.0

    def pretend(self, order, first, stop, way):
        nonlocal now
        now += -(-(stop - first) // 32) * (alone if way is Way.ALONE else together)

    monkeypatch.setattr(epochs.Trainer, "_train", pretend)
    monkeypatch.setattr(epochs, "time", SimpleNamespace(perf_counter=lambda: now))
    net = mlp([64, 256, 10])
    rng = np.random.default_rng(0)
    history = ff.fit(
        net, rng.random((3200, 64)), rng.integers(0, 10, 3200), loss=losses.CrossEntropyLoss(),
        optimizer=optim.SGD(net.parameters()), batch_size=32, epochs=epochs_,
    )  # fmt: skip
    return sum(history.seconds)


@two_threads
def test_threads_that_are_held_up_are_tried_for_a_few_steps_only(monkeypatch):
    # An epoch takes 1 ms on one thread, 1.6 s on several.
    assert pretended_seconds(monkeypatch, 1e-5, 1.6e-2, 4) < 0.3


@two_threads
def test_one_thread_is_tried_for_a_few_steps_only(monkeypatch):
    # An epoch takes 100 ms on one thread, 50 ms on several.
    assert pretended_seconds(monkeypatch, 1e-3, 5e-4, 1) < 0.055


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["ReLU", "GELU", "Softmax"])
def test_a_row_is_predicted_to_the_same_bits_alone_and_among_a_thousand(name, dtype):
    x, _ = data(dtype, n=1000)
    net = mlp(SIZES, ACTIVATIONS[name], dtype)
    whole = ff.predict(net, x)
    assert whole.shape == (1000, 5) and whole.dtype == dtype
    for i in (0, 1, 5, 6, 95, 96, 97, 500, 998, 999):
        assert same_bits(ff.predict(net, x[i : i + 1])[0], whole[i])
        assert same_bits(net(x[i : i + 1])[0], whole[i])
    for n in (2, 7, 95, 96, 97, 191, 193):
        assert same_bits(ff.predict(net, x[:n]), whole[:n])
    assert same_bits(net(x), whole)


def test_python_threads_may_predict_with_one_network_at_once():
    x, _ = data(n=3000)
    net = mlp([17, 130, 70, 5])
    parts = [x[:1500], x[1500:], -x[:1500], -x[1500:]]
    expected = [ff.predict(net, part) for part in parts]
    wrong = []

    def work(part, exact):
        for _ in range(60):
            if not same_bits(ff.predict(net, part), exact):
                wrong.append(1)

    workers = [
        threading.Thread(target=work, args=pair) for pair in zip(parts, expected, strict=True)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong, f"{len(wrong)} of 240 concurrent predictions differ"


def test_python_threads_may_fit_networks_of_their_own_at_once():
    x, y = data()
    expected = fitted(x, y, epochs=5)[0].state_dict()
    states = {}

    def work(i):
        states[i] = fitted(x, y, epochs=5)[0].state_dict()

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(states) == 4 and all(same_state(s, expected) for s in states.values())
