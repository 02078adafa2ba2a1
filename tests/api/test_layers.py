"""Dropout, normalisations and flattening, alone and in networks."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastfcn as ff
import reference
from api.checks import DTYPES, WIDTHS, same_bits, same_state, shares, two_threads
from fastfcn import losses, nn, optim

NORMALISATIONS = [(nn.BatchNorm1d, reference.batch_norm), (nn.LayerNorm, reference.layer_norm)]
TOLERANCE = {np.float32: 3e-5, np.float64: 1e-12}


def normalisation(kind, features, dtype, rng):
    layer = kind(features, dtype=dtype)
    layer.weight = rng.normal(size=features)
    layer.bias = rng.normal(size=features)
    return layer


def network(dtype=np.float32, *, dropout=0.0, seed=0):
    """Every kind of layer, a normalisation first and one right before the end."""
    rng = np.random.default_rng(seed)
    layers = [
        nn.BatchNorm1d(9, dtype=dtype),
        nn.Linear(9, 17, dtype=dtype, rng=rng),
        nn.BatchNorm1d(17, dtype=dtype),
        nn.ReLU(),
        nn.Dropout(dropout, seed=1),
        nn.Linear(17, 20, dtype=dtype, rng=rng),
        nn.LayerNorm(20, dtype=dtype),
        nn.Tanh(),
        nn.Linear(20, 4, dtype=dtype, rng=rng),
        nn.BatchNorm1d(4, dtype=dtype),
    ]
    return nn.Sequential(*layers)


def problem(n=50, dtype=np.float32):
    rng = np.random.default_rng(3)
    x = rng.normal(1.0, 2.0, size=(n, 9)).astype(dtype)
    return x, (x[:, 0] > 1.0) + 2 * (x[:, 1] > 1.0)


def fitted(net, x, y, **options):
    sgd = optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    options = {"batch_size": 16, "epochs": 3, "seed": 0} | options
    return ff.fit(net, x, y, loss=losses.CrossEntropyLoss(), optimizer=sgd, **options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("features", WIDTHS)
@pytest.mark.parametrize(("kind", "oracle"), NORMALISATIONS)
def test_a_normalisation_is_the_formula(kind, oracle, features, dtype):
    rng = np.random.default_rng(0)
    layer = normalisation(kind, features, dtype, rng)
    x = rng.normal(3.0, 2.0, size=(13, features)).astype(dtype)
    np.testing.assert_allclose(
        layer(x), oracle(x, layer.weight, layer.bias), atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype]
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("features", [1, 7, 33])
@pytest.mark.parametrize(("kind", "oracle"), NORMALISATIONS)
def test_a_normalisations_gradients_match_finite_differences(kind, oracle, features, dtype):
    rng = np.random.default_rng(0)
    layer = normalisation(kind, features, dtype, rng)
    x, delta = (rng.normal(size=(6, features)).astype(dtype) for _ in range(2))
    layer(x)
    got = layer.backward(delta)
    scale, shift = layer.weight.copy(), layer.bias.copy()

    def total(x, scale, shift):
        return (reference.f64(delta) * oracle(x, scale, shift)).sum()

    by_x = reference.numerical_gradient(lambda v: total(v, scale, shift), x)
    by_scale = reference.numerical_gradient(lambda v: total(x, v, shift), scale)
    by_shift = reference.numerical_gradient(lambda v: total(x, scale, v), shift)
    tolerance = {"atol": max(1e-6, 10 * TOLERANCE[dtype]), "rtol": 1e-3}
    np.testing.assert_allclose(got, by_x, **tolerance)
    np.testing.assert_allclose(layer.weight_grad, by_scale, **tolerance)
    np.testing.assert_allclose(layer.bias_grad, by_shift, **tolerance)


def test_a_networks_gradients_match_finite_differences():
    net = network(np.float64)
    x, y = problem(12, np.float64)
    loss = losses.CrossEntropyLoss()
    got = net.backward(loss.grad(net(x), y))
    by_input = reference.numerical_gradient(lambda v: loss(net(v), y), x)
    np.testing.assert_allclose(got, by_input, atol=1e-7)
    for name, parameter in net.named_parameters().items():
        values = parameter.copy()

        def value(v, parameter=parameter):
            parameter.data = v
            return loss(net(x), y)

        expected = reference.numerical_gradient(value, values)
        parameter.data = values
        np.testing.assert_allclose(parameter.grad, expected, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_running_statistics_are_pytorchs(requires_torch, dtype):
    torch = requires_torch
    rng = np.random.default_rng(0)
    layer = nn.BatchNorm1d(5, momentum=0.3, dtype=dtype)
    twin = torch.nn.BatchNorm1d(5, momentum=0.3, dtype=getattr(torch, np.dtype(dtype).name))
    for n in (8, 3, 17):
        x = rng.normal(2.0, 3.0, size=(n, 5)).astype(dtype)
        layer(x)
        twin(torch.from_numpy(x))
    close = {"rtol": 1e-5 if dtype == np.float32 else 1e-12}
    np.testing.assert_allclose(layer.running_mean, twin.running_mean.numpy(), **close)
    np.testing.assert_allclose(layer.running_var, twin.running_var.numpy(), **close)
    layer.eval(), twin.eval()
    np.testing.assert_allclose(layer(x), twin(torch.from_numpy(x)).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_fit_gives_the_bits_of_the_step_by_step_loop(dtype):
    x, y = problem(50, dtype)
    net, twin = network(dtype), network(dtype)
    fitted(net, x, y, shuffle=False, epochs=2)
    sgd = optim.SGD(twin.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    loss = losses.CrossEntropyLoss()
    for _ in range(2):
        for first in range(0, 50, 16):
            rows = slice(first, first + 16)
            sgd.zero_grad()
            twin.backward(loss.grad(twin(x[rows]), y[rows]))
            sgd.step()
    assert same_state(net.state_dict(), twin.state_dict())


@two_threads
@pytest.mark.parametrize("clip_norm", [None, 0.2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_the_number_of_threads(dtype, clip_norm):
    x, y = problem(dtype=dtype)
    states = []
    for n_threads in (1, 2):
        net = network(dtype, dropout=0.3)
        fitted(net, x, y, n_threads=n_threads, clip_norm=clip_norm)
        states.append(net.state_dict())
    assert same_state(*states)


def test_training_learns_and_leaves_the_mode_alone():
    x, y = problem()
    net = network(dropout=0.3).eval()
    history = fitted(net, x, y, epochs=30)
    assert history.loss[-1] < 0.7 * history.loss[0]
    assert not net.training and not any(layer.training for layer in net)


def test_predict_row_is_independent_of_batch_and_drops_nothing():
    x, y = problem()
    net = network(dropout=0.5)
    fitted(net, x, y)
    together = ff.predict(net, x)
    assert same_bits(together, ff.predict(net, x))
    for i in (0, 7, 49):
        assert same_bits(together[i : i + 1], ff.predict(net, x[i : i + 1]))
    assert same_bits(together, net.eval()(x))


def test_state_dict_holds_the_running_statistics():
    x, y = problem()
    net, twin = network(), network(seed=1)
    fitted(net, x, y)
    state = net.state_dict()
    assert {"2.running_mean", "2.running_var", "2.weight", "2.bias"} <= state.keys()
    assert len(net.parameters()) == 3 * 2 + 4 * 2
    twin.load_state_dict(state)
    assert same_bits(ff.predict(net, x), ff.predict(twin, x))
    for copied in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert same_bits(ff.predict(net, x), ff.predict(copied, x))


def test_what_is_not_given_to_the_optimiser_stays():
    x, y = problem()
    net = network()
    before = net.state_dict()
    sgd = optim.SGD(net[1].parameters(), lr=0.05)
    ff.fit(net, x, y, loss=losses.CrossEntropyLoss(), optimizer=sgd, batch_size=16, seed=0)
    after = net.state_dict()
    changed = {name for name in after if not same_bits(before[name], after[name])}
    running = {f"{i}.{name}" for i in (0, 2, 9) for name in ("running_mean", "running_var")}
    assert changed == {"1.weight", "1.bias"} | running


@settings(deadline=None, max_examples=30)
@given(
    p=st.floats(0.0, 0.95),
    rows=st.integers(1, 40),
    features=st.integers(1, 70),
    dtype=st.sampled_from(DTYPES),
)
def test_dropout_zeroes_or_scales(p, rows, features, dtype):
    layer = nn.Dropout(p, seed=0)
    x = np.random.default_rng(0).normal(size=(rows, features)).astype(dtype)
    out, delta = layer(x), np.ones_like(x)
    kept = out != 0
    scale = dtype(1) / (dtype(1) - dtype(p))
    np.testing.assert_allclose(out[kept], (x * scale)[kept], rtol=1e-6)
    assert same_bits(layer.backward(delta) != 0, kept)
    assert same_bits(layer.eval()(x), x)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_masks_have_the_right_share_and_no_correlations(p):
    n, features = 4000, 64
    layer, ones = nn.Dropout(p, seed=5), np.ones((n, features), np.float64)
    first, second = (layer(ones) != 0 for _ in range(2))
    deviation = np.sqrt(p * (1 - p))
    pairs = {
        "neighbouring features": (first[:, 1:], first[:, :-1]),
        "features half a row apart": (first[:, 32:], first[:, :32]),
        "neighbouring rows": (first[1:], first[:-1]),
        "passes": (first, second),
    }
    assert abs(first.mean() - (1 - p)) < 5 * deviation / np.sqrt(first.size)
    for name, (a, b) in pairs.items():
        correlation = ((a - (1 - p)) * (b - (1 - p))).mean() / deviation**2
        assert abs(correlation) < 5 / np.sqrt(a.size), name
    # Each feature and each row on its own too.
    assert abs(first.mean(axis=0) - (1 - p)).max() < 5 * deviation / np.sqrt(n)
    assert abs(first.mean(axis=1) - (1 - p)).max() < 6 * deviation / np.sqrt(features)


def test_masks_differ_between_layers_and_epochs_and_repeat_with_the_seed():
    x, y = problem(64)
    results = {}
    for name, seed, epochs in [("a", 0, 1), ("again", 0, 1), ("other", 1, 1)]:
        net = network(dropout=0.5)
        fitted(net, x, y, seed=seed, epochs=epochs, shuffle=False)
        results[name] = net.state_dict()
    assert same_state(results["a"], results["again"])
    assert not same_state(results["a"], results["other"])
    drops = nn.Sequential(nn.Linear(64, 64), nn.Dropout(0.5), nn.Dropout(0.5))
    drops[0].weight, drops[0].bias = np.zeros((64, 64)), np.ones(64)
    both = drops(np.zeros((200, 64), np.float32)) != 0
    assert abs(both.mean() - 0.25) < 0.03, "two masks, each half, are independent"


def test_dropout_does_not_depend_on_the_batch_size():
    """The mask belongs to the row of the epoch: one step of 32 rows drops what two of 16 do."""
    x, _ = problem(32)
    y = np.zeros((32, 9), np.float32)
    seen = []
    for batch_size in (16, 32):
        # A gradient reaches the bias of the dropout's input only through what was kept.
        net = nn.Sequential(nn.Linear(9, 9, init=nn.init.Zeros()), nn.Dropout(0.5))
        net[0].bias = np.ones(9)
        sgd = optim.SGD(net[0].parameters()[1:], lr=1e-6)
        mse = losses.MSELoss(reduction="sum")
        history = ff.fit(
            net, x, y, loss=mse, optimizer=sgd, batch_size=batch_size, shuffle=False, seed=0
        )
        seen.append(history.loss[0])
    assert seen[0] == pytest.approx(seen[1], rel=1e-3) and 0 < seen[0] < 4 * 32 * 9


def test_flatten_takes_images():
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 5)).astype(np.uint8)
    y = np.arange(20) % 3
    net = nn.Sequential(nn.Flatten(), nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 3))
    fitted(net, images, y, batch_size=5, scale=1 / 255)
    flat = ff.predict(net, images.reshape(20, -1), scale=1 / 255)
    assert same_bits(ff.predict(net, images, scale=1 / 255), flat)
    x = images / np.float32(255)
    assert net(x).shape == (20, 3)
    layer = nn.Flatten()
    assert net.plan().stages == nn.Sequential(*net.layers[1:]).plan().stages  # it costs nothing
    assert layer.backward(layer(x)).shape == x.shape
    assert net.backward(net(x)).shape == x.shape


def test_backward_uses_the_statistics_of_the_last_forward_pass_with_fewer_threads():
    def network():
        rng = np.random.default_rng(1)
        return nn.Sequential(
            nn.Linear(128, 256, rng=rng),
            nn.BatchNorm1d(256),
            nn.ReLU(),
            nn.Linear(256, 10, rng=rng),
        )

    rng = np.random.default_rng(0)
    x, delta = rng.normal(size=(64, 128)), rng.normal(size=(64, 10))
    gradients = []
    for counts in [(2, 1, 2), (1, 1, 1)]:
        net = network()
        for count, batch in zip(counts, (3 * x + 1, x), strict=False):
            with shares(count):
                net(batch)
        with shares(counts[-1]):
            gradients.append(net.backward(delta))
    assert same_bits(*gradients)


def test_layers_may_be_in_different_modes():
    x, _ = problem()
    net = network(dropout=0.5)
    frozen, free = net[2], net[9]
    frozen.eval()
    before = net.state_dict()
    out = net(x)
    after = net.state_dict()
    assert same_bits(before["2.running_mean"], after["2.running_mean"])
    assert not same_bits(before["9.running_mean"], after["9.running_mean"])
    assert net.backward(np.ones_like(out)).shape == x.shape and free.bias_grad.any()
    twin = network(dropout=0.5)
    twin.load_state_dict(before)
    twin(x)
    twin.backward(np.ones_like(out))
    assert not same_bits(net[1].weight_grad, twin[1].weight_grad)


def test_a_changed_eps_counts_from_the_next_pass():
    x, _ = problem()
    net = network()
    before = net(x)
    net[6].eps = 10.0
    assert not same_bits(net(x), before)


def test_a_batch_of_one_row_leaves_the_running_variance_alone():
    layer = nn.BatchNorm1d(2)
    assert layer([[3.0, 4.0]]).tolist() == [[0.0, 0.0]]
    assert layer.running_var.tolist() == [1.0, 1.0]
    assert layer.running_mean.tolist() == pytest.approx([0.3, 0.4])


def test_a_gradients_norm_is_cut():
    x, y = problem(16)
    moved = []
    for clip_norm in (None, 1e9, 0.01):
        net = network()
        before = np.concatenate([p.copy().ravel() for p in net.parameters()])
        net.zero_grad()
        sgd = optim.SGD(net.parameters(), lr=1.0)
        loss = losses.CrossEntropyLoss()
        ff.fit(net, x, y, loss=loss, optimizer=sgd, batch_size=16, clip_norm=clip_norm, seed=0)
        after = np.concatenate([p.copy().ravel() for p in net.parameters()])
        moved.append(after - before)
        assert not any(p.grad.any() for p in net.parameters()), "the user's gradients are not ours"
    free, wide, cut = moved
    assert same_bits(free, wide)
    assert np.linalg.norm(cut) == pytest.approx(0.01, rel=1e-3)
    np.testing.assert_allclose(cut / np.linalg.norm(cut), free / np.linalg.norm(free), atol=1e-5)


@pytest.mark.parametrize("clip_norm", [0.0, -1.0, float("nan"), "1"])
def test_a_norm_to_cut_to_must_be_above_zero(clip_norm):
    x, y = problem()
    with pytest.raises((ValueError, TypeError), match="clip_norm"):
        fitted(network(), x, y, clip_norm=clip_norm)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Dropout(1.0), r"p must be in \[0, 1\)"),
        (lambda: nn.Dropout("half"), "p must be a number"),
        (lambda: nn.BatchNorm1d(0), "features must be at least 1"),
        (lambda: nn.BatchNorm1d(3, momentum=2.0), r"momentum must be in \[0, 1\]"),
        (lambda: nn.LayerNorm(3, eps=0.0), "eps must be above 0"),
        (lambda: nn.BatchNorm1d(3, eps=1e-50), "eps must be above 0 in float32"),
        (lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(5)), "in_features=4"),
        (lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4, dtype=np.float64)), "one dtype"),
        (lambda: nn.Flatten()(np.zeros(3)), "two dimensions"),
        (lambda: nn.LayerNorm(3).backward(np.zeros((1, 3))), "forward pass"),
    ],
)
def test_bad_values_are_refused(make, message):
    with pytest.raises((ValueError, TypeError, RuntimeError), match=message):
        make()
