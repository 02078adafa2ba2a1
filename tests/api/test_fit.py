import threading

import numpy as np
import pytest

import fastfcn as ff
import reference
from api.checks import (
    ACTIVATIONS,
    DTYPES,
    linears,
    mlp,
    oracle_layers,
    same_bits,
    same_state,
    two_threads,
)
from fastfcn import losses, nn, optim
from fastfcn.training import batch_order

SIZES = [17, 33, 15, 5]
N = 130


def data(dtype=np.float32, n=N, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 5, n)
    x = rng.normal(size=(5, 17))[y] + rng.normal(size=(n, 17))
    return x.astype(dtype), y


def images(n=N):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, 17), np.uint8), rng.integers(0, 5, n)


def sgd(net, **options):
    return optim.SGD(net.parameters(), **{"lr": 0.05, "momentum": 0.9, **options})


def fitted(x, y, *, net=None, loss=None, dtype=np.float32, hyper=None, **options):
    """A network trained for two epochs from fixed weights, and its history."""
    net = mlp(SIZES, dtype=dtype) if net is None else net
    defaults = {"batch_size": 32, "epochs": 2, "seed": 3}
    history = ff.fit(
        net,
        x,
        y,
        loss=loss or losses.CrossEntropyLoss(),
        optimizer=sgd(net, **(hyper or {})),
        **{**defaults, **options},
    )
    return net, history


def step_by_step(net, optimizer, loss, x, y, batch_size=32, epochs=2, seed=3, shuffle=True):
    """The same training, in Python; returns each epoch's (loss x rows) summed over its batches."""
    totals = []
    for epoch in range(1, epochs + 1):
        order = batch_order(seed, epoch, len(x)) if shuffle else np.arange(len(x))
        total = 0.0
        for start in range(0, len(x), batch_size):
            rows = order[start : start + batch_size]
            optimizer.zero_grad()
            output = net(x[rows])
            total += loss(output, y[rows]) * len(rows)
            net.backward(loss.grad(output, y[rows]))
            optimizer.step()
        totals.append(total)
    return totals


# ---- the same bits as the step-by-step loop ----------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 5, 6, 7, 32, 64, 65, N])
def test_fit_and_the_step_by_step_loop_give_the_same_bits(batch_size, dtype):
    x, y = data(dtype)
    net, history = fitted(x, y, dtype=dtype, batch_size=batch_size)
    other, loss = mlp(SIZES, dtype=dtype), losses.CrossEntropyLoss()
    totals = step_by_step(other, sgd(other), loss, x, y, batch_size)
    assert same_state(net.state_dict(), other.state_dict())
    np.testing.assert_allclose(history.loss, np.array(totals) / N, rtol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_fit_gives_the_loops_bits_for_every_activation(name):
    x, y = data()
    net, _ = fitted(x, y, net=mlp(SIZES, ACTIVATIONS[name]))
    other = mlp(SIZES, ACTIVATIONS[name])
    step_by_step(other, sgd(other), losses.CrossEntropyLoss(), x, y)
    assert same_state(net.state_dict(), other.state_dict())


FITTING = {
    "plain": (losses.CrossEntropyLoss(), "labels", {}),
    "sum": (losses.CrossEntropyLoss(reduction="sum"), "labels", {"lr": 0.001}),
    "weights": (losses.CrossEntropyLoss(weight=[0.5, 2, 1, 0, 3]), "labels", {}),
    "smoothing": (losses.CrossEntropyLoss(label_smoothing=0.1), "labels", {}),
    "ignored": (losses.CrossEntropyLoss(ignore_index=2), "labels", {}),
    "all options": (
        losses.CrossEntropyLoss([0.5, 2, 1, 1, 3], ignore_index=2, label_smoothing=0.1),
        "labels",
        {"nesterov": True, "weight_decay": 0.01},
    ),
    "one-hot": (losses.CrossEntropyLoss(), "one-hot", {}),
    "mse": (losses.MSELoss(), "one-hot", {"momentum": 0.0}),
    "bce with logits": (losses.BCEWithLogitsLoss(), "one-hot", {"weight_decay": 0.1}),
    "nll": (losses.NLLLoss(), "labels", {"lr": 1e-4}),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FITTING)
def test_fit_gives_the_loops_bits_for_every_loss_and_optimiser_option(name, dtype):
    loss, kind, hyper = FITTING[name]
    x, y = data(dtype)
    y = y if kind == "labels" else reference.one_hot(y, 5).astype(dtype)
    net, _ = fitted(x, y, loss=loss, hyper=hyper, dtype=dtype)
    other = mlp(SIZES, dtype=dtype)
    before = other.state_dict()
    step_by_step(other, sgd(other, **hyper), loss, x, y)
    assert same_state(net.state_dict(), other.state_dict())
    assert not same_state(net.state_dict(), before)


@pytest.mark.parametrize("last", [nn.Sigmoid, nn.Softmax])
def test_fit_gives_the_loops_bits_through_an_output_activation(last):
    x, y = data()
    target = reference.one_hot(y, 5).astype(np.float32)
    loss = losses.BCELoss()
    net, _ = fitted(x, target, net=mlp(SIZES, last=last), loss=loss)
    other = mlp(SIZES, last=last)
    step_by_step(other, sgd(other), loss, x, target)
    assert same_state(net.state_dict(), other.state_dict())


def test_fit_gives_the_loops_bits_without_bias_and_with_activations_in_a_row():
    def build():
        rng = np.random.default_rng(0)
        return nn.Sequential(
            nn.Tanh(),
            nn.Linear(17, 9, bias=False, rng=rng),
            nn.GELU(),
            nn.Softplus(),
            nn.Linear(9, 5, rng=rng),
            nn.Identity(),
        )

    x, y = data()
    net, _ = fitted(x, y, net=build())
    other = build()
    step_by_step(other, sgd(other), losses.CrossEntropyLoss(), x, y)
    assert same_state(net.state_dict(), other.state_dict())


class Own(nn.Module):
    def __init__(self):
        super().__init__("own")
        rng = np.random.default_rng(0)
        self.a, self.h = nn.Linear(17, 9, rng=rng), nn.ReLU()
        self.b = nn.Linear(9, 5, rng=rng)
        self.add_layers([self.a, self.h, self.b])

    def forward(self, x):
        return self.b(self.h(self.a(x)))


class Residual(Own):
    def forward(self, x):
        return self.b(self.h(self.a(x))) + 1


def test_fit_gives_the_loops_bits_for_a_module_with_its_own_forward():
    x, y = data()
    net, _ = fitted(x, y, net=Own())
    other = Own()
    step_by_step(other, sgd(other), losses.CrossEntropyLoss(), x, y)
    assert same_state(net.state_dict(), other.state_dict())


def test_fit_rejects_a_forward_that_is_not_its_layers_in_order():
    x, y = data()
    net = Residual()
    before = net.state_dict()
    with pytest.raises(ValueError, match="step by step"):
        fitted(x, y, net=net)
    assert same_state(net.state_dict(), before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_fit_follows_the_reference(dtype):
    x, y = data(dtype)
    hyper = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.001}
    start = mlp(SIZES, nn.Tanh, dtype)
    layers = oracle_layers(start)
    net, history = fitted(x, y, net=start, hyper=hyper)
    batches = [
        order[i : i + 32]
        for order in (batch_order(3, epoch, N) for epoch in (1, 2))
        for i in range(0, N, 32)
    ]
    names = ["Tanh", "Tanh", "Identity"]
    values, layers = reference.train(layers, names, x, y, batches, reference.cross_entropy, **hyper)
    eps = np.finfo(dtype).eps
    for layer, (w, b) in zip(linears(net), layers, strict=True):
        np.testing.assert_allclose(layer.weight, w, rtol=64 * eps, atol=64 * eps)
        np.testing.assert_allclose(layer.bias, b, rtol=64 * eps, atol=64 * eps)
    means = np.array(values).reshape(2, -1) @ [32, 32, 32, 32, 2] / N
    np.testing.assert_allclose(history.loss, means, rtol=64 * eps)


def test_two_fits_with_one_optimiser_are_one_longer_fit():
    x, y = data()
    net, _ = fitted(x, y, shuffle=False, epochs=4)
    other = mlp(SIZES)
    optimizer = sgd(other)
    for _ in range(2):
        ff.fit(
            other,
            x,
            y,
            loss=losses.CrossEntropyLoss(),
            optimizer=optimizer,
            batch_size=32,
            epochs=2,
            shuffle=False,
        )
    assert same_state(net.state_dict(), other.state_dict())


def test_steps_by_hand_after_a_fit_go_on_from_its_velocities():
    x, y = data()
    loss = losses.CrossEntropyLoss()
    nets = [mlp(SIZES), mlp(SIZES)]
    optimizers = [sgd(net) for net in nets]
    ff.fit(nets[0], x, y, loss=loss, optimizer=optimizers[0], batch_size=32, seed=3)
    step_by_step(nets[1], optimizers[1], loss, x, y, epochs=1)
    for net, optimizer in zip(nets, optimizers, strict=True):
        step_by_step(net, optimizer, loss, x, y, epochs=1, seed=4)
    assert same_state(nets[0].state_dict(), nets[1].state_dict())
    velocities = [o.state_dict()["velocity"] for o in optimizers]
    assert all(same_bits(a, b) for a, b in zip(*velocities, strict=True))


# ---- batch order -----------------------------------------------------------------------------


def test_batch_order_is_a_permutation_and_a_function_of_seed_and_epoch():
    order = batch_order(7, 2, 1000)
    assert sorted(order) == list(range(1000))
    assert same_bits(order, batch_order(7, 2, 1000))
    assert not np.array_equal(order, batch_order(7, 3, 1000))
    assert not np.array_equal(order, batch_order(8, 2, 1000))


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not():
    x, y = data()
    a, _ = fitted(x, y)
    np.random.default_rng().random(5)
    assert same_state(a.state_dict(), fitted(x, y)[0].state_dict())
    assert not same_state(a.state_dict(), fitted(x, y, seed=4)[0].state_dict())


def test_a_fit_without_a_seed_records_one_that_reproduces_it():
    x, y = data()
    net, history = fitted(x, y, seed=None)
    again, _ = fitted(x, y, seed=history.seed)
    assert same_state(net.state_dict(), again.state_dict())


def test_without_shuffling_batches_come_in_order():
    x, y = data()
    net, _ = fitted(x, y, shuffle=False)
    other = mlp(SIZES)
    step_by_step(other, sgd(other), losses.CrossEntropyLoss(), x, y, shuffle=False)
    assert same_state(net.state_dict(), other.state_dict())


# ---- threads and neighbours --------------------------------------------------------------------


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


# ---- input: kinds and layouts ------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_uint8_with_a_scale_equals_the_scaled_floats(dtype):
    x, y = images()
    scale = dtype(1 / 255)
    net, _ = fitted(x, y, dtype=dtype, scale=1 / 255)
    other, _ = fitted(x.astype(dtype) * scale, y, dtype=dtype)
    assert same_state(net.state_dict(), other.state_dict())
    assert same_bits(ff.predict(net, x, scale=1 / 255), ff.predict(other, x.astype(dtype) * scale))


@pytest.mark.parametrize(
    "kind", ["uint8", "float32", "float64", "int16", "int64", "float16", "bool"]
)
def test_scale_and_shift_apply_to_input_of_any_type(kind):
    x = (images()[0] % 2 if kind == "bool" else images()[0] % 128).astype(kind)
    net = mlp(SIZES, dtype=np.float64)
    expected = ff.predict(net, x.astype(np.float64) * 0.25 - 3)
    np.testing.assert_allclose(
        ff.predict(net, x, scale=0.25, shift=-3), expected, rtol=1e-13, atol=1e-13
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_input_of_the_other_precision_is_converted(dtype):
    x, y = data(np.float32)
    net, _ = fitted(x, y, dtype=dtype)
    other, _ = fitted(x.astype(np.float64), y, dtype=dtype)
    assert same_state(net.state_dict(), other.state_dict())


def layouts(x, tmp_path):
    n, features = x.shape
    wide = np.full((3 * n, 2 * features), 77, x.dtype)
    wide[1::3, ::2] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    np.save(tmp_path / "x.npy", x)
    record = np.zeros(n, np.dtype([("odd", "u1"), ("x", x.dtype, (features,))]))
    record["x"] = x
    return {
        "Fortran": np.asfortranarray(x),
        "every third row, every second column": wide[1::3, ::2],
        "reversed": x[::-1, ::-1].copy()[::-1, ::-1],
        "read-only": frozen,
        "memory-mapped": np.load(tmp_path / "x.npy", mmap_mode="r"),
        "unaligned": record["x"],
        "byte-swapped": x.astype(x.dtype.newbyteorder()),
        "nested lists": x.tolist(),
    }


@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
def test_any_layout_of_the_input_gives_the_same_bits(kind, tmp_path):
    x, y = images()
    x = x.astype(kind)
    net, history = fitted(x, y, scale=1 / 255)
    outputs = ff.predict(net, x, scale=1 / 255)
    for name, given in layouts(x, tmp_path).items():
        other, again = fitted(given, y, scale=1 / 255)
        assert same_state(net.state_dict(), other.state_dict()), name
        assert history.loss == again.loss, name
        assert same_bits(ff.predict(net, given, scale=1 / 255), outputs), name


def test_a_broadcast_row_is_read_as_it_lies():
    row = np.arange(17, dtype=np.float32)
    net = mlp(SIZES)
    many = ff.predict(net, np.broadcast_to(row, (1000, 17)))
    assert same_bits(many, np.repeat(ff.predict(net, row[None]), 1000, axis=0))


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint32", "int32", "uint64", ">i4"])
def test_labels_of_any_integer_type_give_the_same_bits(kind):
    x, y = data()
    net, _ = fitted(x, y)
    assert same_state(net.state_dict(), fitted(x, y.astype(kind))[0].state_dict())


def test_labels_may_be_read_only_strided_or_a_list():
    x, y = data()
    expected = fitted(x, y)[0].state_dict()
    frozen = y.copy()
    frozen.flags.writeable = False
    for labels in (frozen, np.repeat(y, 2)[::2], y.tolist(), y[::-1].copy()[::-1]):
        assert same_state(fitted(x, labels)[0].state_dict(), expected)


def test_the_data_are_left_as_they_were():
    x, y = data()
    kept = x.copy(), y.copy()
    net, _ = fitted(x, y, validation_data=(x, y))
    ff.predict(net, x)
    assert same_bits(x, kept[0]) and same_bits(y, kept[1])


def test_non_finite_input_passes_only_where_the_check_is_switched_off():
    x, y = data()
    x[3, 2] = np.nan
    net, history = fitted(x, y, check_finite=False, epochs=1)
    assert np.isnan(history.loss[0])
    assert all(np.isnan(layer.weight).all() for layer in linears(net)[-1:])
    clean = mlp(SIZES)
    got = ff.predict(clean, x, check_finite=False)
    assert np.isnan(got[3]).all() and np.isfinite(np.delete(got, 3, axis=0)).all()


# ---- losses' options, batches, freezing --------------------------------------------------------


def test_the_last_partial_batch_is_divided_by_its_own_size():
    x, y = data(np.float64, n=7)
    net = mlp([17, 5], dtype=np.float64)
    layers = oracle_layers(net)
    ff.fit(
        net,
        x,
        y,
        loss=losses.CrossEntropyLoss(),
        optimizer=optim.SGD(net.parameters(), lr=0.1),
        batch_size=5,
        shuffle=False,
    )
    batches = [np.arange(5), np.arange(5, 7)]
    _, layers = reference.train(
        layers, ["Identity"], x, y, batches, reference.cross_entropy, lr=0.1
    )
    np.testing.assert_allclose(net[0].weight, layers[0][0], rtol=1e-12, atol=1e-14)


def test_ignored_samples_do_not_train():
    x, y = data()
    changed = x.copy()
    y[::3] = -100
    changed[::3] = 1000 * np.random.default_rng(5).normal(size=changed[::3].shape)
    net, history = fitted(x, y)
    other, again = fitted(changed, y)
    assert same_state(net.state_dict(), other.state_dict())
    assert history.loss == again.loss and history.accuracy == again.accuracy


def test_a_batch_of_ignored_samples_alone_changes_nothing():
    x, y = data()
    net = mlp(SIZES)
    before = net.state_dict()
    fitted(x, np.full(N, -100), net=net)
    assert same_state(net.state_dict(), before)


def test_a_class_of_weight_zero_does_not_train():
    x, y = data()
    changed = x.copy()
    changed[y == 2] *= -3
    loss = losses.CrossEntropyLoss(weight=[1, 1, 0, 2, 1])
    a, b = (fitted(given, y, loss=loss)[0] for given in (x, changed))
    assert same_state(a.state_dict(), b.state_dict())


def test_parameters_the_optimiser_does_not_hold_stay_as_they_are():
    x, y = data()
    for frozen in (0, 2, 4):
        net = mlp(SIZES)
        before = net.state_dict()
        held = [p for i, la in enumerate(net) if i != frozen for p in la.parameters()]
        ff.fit(
            net,
            x,
            y,
            loss=losses.CrossEntropyLoss(),
            optimizer=optim.SGD(held, lr=0.1, momentum=0.9, weight_decay=0.01),
            batch_size=32,
            epochs=2,
        )
        for name, values in net.state_dict().items():
            assert same_bits(values, before[name]) == name.startswith(f"{frozen}."), name


@pytest.mark.parametrize("held", [slice(4, 5), slice(0, 1), slice(2, 5)])
def test_freezing_gives_the_loops_bits(held):
    x, y = data()
    nets = [mlp(SIZES), mlp(SIZES)]
    optimizers = [
        optim.SGD([p for la in list(net)[held] for p in la.parameters()], lr=0.1, momentum=0.9)
        for net in nets
    ]
    loss = losses.CrossEntropyLoss()
    ff.fit(nets[0], x, y, loss=loss, optimizer=optimizers[0], batch_size=32, epochs=2, seed=3)
    for net in nets[1:]:
        step_by_step(net, optimizers[1], loss, x, y)
    assert same_state(nets[0].state_dict(), nets[1].state_dict())


def test_a_bias_alone_may_be_trained():
    x, y = data()
    net = mlp(SIZES)
    before = net.state_dict()
    ff.fit(
        net,
        x,
        y,
        loss=losses.CrossEntropyLoss(),
        optimizer=optim.SGD([net[2].parameters()[1]], lr=0.1),
        batch_size=32,
    )
    changed = [k for k, v in net.state_dict().items() if not same_bits(v, before[k])]
    assert changed == ["2.bias"]


# ---- history, validation, callback, progress ---------------------------------------------------


def test_history_has_one_entry_an_epoch():
    x, y = data()
    _, history = fitted(x, y, epochs=3, validation_data=(x[:50], y[:50]))
    assert len(history) == 3 and history.epoch == [1, 2, 3] and history.seed == 3
    columns = history.as_dict()
    for name in (
        "epoch",
        "loss",
        "accuracy",
        "val_loss",
        "val_accuracy",
        "seconds",
        "samples_per_second",
    ):
        assert len(columns[name]) == 3 and columns[name] == getattr(history, name), name
    assert all(s > 0 for s in history.seconds)
    np.testing.assert_allclose(np.multiply(history.seconds, history.samples_per_second), N)
    assert isinstance(history.compile_seconds, float) and history.compile_seconds >= 0


def test_many_epochs_over_few_rows_stay_few_rows_at_a_time():
    """What a slice of an epoch holds is set by its time, and an epoch may be over long before."""
    x, y = data(n=4)
    _, history = fitted(x, y, batch_size=4, epochs=200)
    assert len(history) == 200


def test_validation_equals_evaluate_after_each_epoch_and_changes_nothing():
    x, y = data()
    held_out = data(seed=1)
    loss = losses.CrossEntropyLoss()
    seen = []
    net = mlp(SIZES)
    _, history = fitted(
        x,
        y,
        net=net,
        validation_data=held_out,
        callback=lambda epoch, h: seen.append(ff.evaluate(net, *held_out, loss=loss)),
    )
    assert history.val_loss == [e.loss for e in seen]
    assert history.val_accuracy == [e.accuracy for e in seen]
    assert same_state(net.state_dict(), fitted(x, y)[0].state_dict())


def test_without_validation_and_classes_the_entries_are_none():
    x, y = data()
    _, history = fitted(x, reference.one_hot(y, 5), loss=losses.MSELoss())
    assert history.accuracy == history.val_accuracy == history.val_loss == [None, None]


def test_running_accuracy_is_of_the_outputs_before_each_step():
    x, y = data()
    net, history = fitted(x, y, batch_size=N, epochs=3)
    other = mlp(SIZES)
    optimizer = sgd(other)
    for epoch in range(3):
        assert history.accuracy[epoch] == ff.accuracy(y, ff.predict(other, x))
        step_by_step(other, optimizer, losses.CrossEntropyLoss(), x, y, N, 1, shuffle=False)


def test_evaluate_is_the_loss_and_accuracy_of_the_predictions():
    x, y = data()
    net, _ = fitted(x, y)
    outputs = ff.predict(net, x)
    for loss in (losses.CrossEntropyLoss(), losses.CrossEntropyLoss(reduction="sum")):
        result = ff.evaluate(net, x, y, loss=loss)
        assert result.loss == pytest.approx(loss(outputs, y), rel=1e-12)
        assert result.accuracy == ff.accuracy(y, outputs)
        assert result == (result.loss, result.accuracy)
    regression = ff.evaluate(net, x, reference.one_hot(y, 5), loss=losses.MSELoss())
    assert regression.accuracy is None


def test_training_learns_separable_classes():
    x, y = data(n=600)
    net, history = fitted(x, y, epochs=20)
    assert history.loss[-1] < history.loss[0] / 4
    assert ff.evaluate(net, x, y, loss=losses.CrossEntropyLoss()).accuracy > 0.98


def test_a_callback_that_returns_true_stops_training():
    x, y = data()
    calls = []

    def stop_after_two(epoch, history):
        calls.append((epoch, len(history)))
        return epoch == 2

    net, history = fitted(x, y, epochs=5, callback=stop_after_two)
    assert calls == [(1, 1), (2, 2)] and len(history) == 2
    assert same_state(net.state_dict(), fitted(x, y, epochs=2)[0].state_dict())


def test_a_learning_rate_changed_in_a_callback_counts_from_the_next_epoch():
    x, y = data()
    loss = losses.CrossEntropyLoss()
    nets = [mlp(SIZES), mlp(SIZES)]
    optimizers = [sgd(net) for net in nets]

    def halve(epoch, history):
        optimizers[0].lr /= 2

    ff.fit(
        nets[0], x, y, loss=loss, optimizer=optimizers[0], batch_size=32, epochs=2,
        shuffle=False, callback=halve,
    )  # fmt: skip
    for _ in range(2):
        step_by_step(nets[1], optimizers[1], loss, x, y, epochs=1, shuffle=False)
        optimizers[1].lr /= 2
    assert same_state(nets[0].state_dict(), nets[1].state_dict())


def test_an_exception_in_a_callback_leaves_the_epochs_that_were_trained():
    x, y = data()
    net = mlp(SIZES)

    def fail(epoch, history):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fitted(x, y, net=net, callback=fail)
    assert same_state(net.state_dict(), fitted(x, y, epochs=1)[0].state_dict())


def test_progress_is_one_plain_line_an_epoch_where_there_is_no_terminal(capsys):
    x, y = data()
    fitted(x, y, epochs=3)
    assert capsys.readouterr() == ("", "")
    fitted(x, y, epochs=3, progress=True)
    out, err = capsys.readouterr()
    lines = [line for line in (out + err).splitlines() if "loss" in line]
    assert len(lines) == 3 and "\r" not in out + err


# ---- predict_proba -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_probabilities_are_the_softmax_of_the_outputs(dtype):
    x, _ = data(dtype)
    net = mlp(SIZES, dtype=dtype)
    p = ff.predict_proba(net, x)
    assert p.dtype == dtype
    np.testing.assert_allclose(
        p, reference.softmax(ff.predict(net, x)), rtol=32 * np.finfo(dtype).eps
    )
    assert same_bits(ff.predict_proba(net, x[7:8])[0], p[7])


@pytest.mark.parametrize("last", [nn.Softmax, nn.Sigmoid])
def test_outputs_that_are_probabilities_are_returned_as_they_are(last):
    x, _ = data()
    net = mlp(SIZES, last=last)
    assert same_bits(ff.predict_proba(net, x), ff.predict(net, x))
