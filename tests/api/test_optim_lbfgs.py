"""L-BFGS, iteration by iteration: against the oracle, PyTorch and problems with known ends."""

import copy

import numpy as np
import pytest

import fastfcn as ff
import reference
import reference.lbfgs
from api.checks import DTYPES, same_bits, same_state, two_threads
from api.lbfgs_cases import EXACT, N, closure_of, data, fitted, flat, network, step_by_step
from fastfcn import losses, nn, objective, optim


def reference_objective(x, y, shapes, decay):
    """The oracle's loss and gradient by one vector."""

    def evaluate(theta):
        parts, first = [], 0
        for shape in shapes:
            size = int(np.prod(shape))
            parts.append(theta[first : first + size].reshape(shape))
            first += size
        layers = list(zip(parts[::2], parts[1::2], strict=True))
        output, inputs, zs = reference.network_forward(layers, ["Tanh", "Identity"], x)
        value, delta = reference.cross_entropy(output, y)
        grads, _ = reference.network_backward(layers, ["Tanh", "Identity"], inputs, zs, delta)
        flat = np.concatenate([g.ravel() for pair in grads for g in pair])
        return value + decay / 2 * (theta**2).sum(), flat + decay * theta

    return evaluate


SEARCHES = [
    {},
    {"lr": 0.05, "history_size": 3},  # searches that extrapolate
    {"lr": 30.0, "history_size": 30},  # and that close in
]


@pytest.mark.parametrize("hyper", SEARCHES, ids=str)
def test_fifty_iterations_are_the_oracles(hyper):
    x, y = data()
    net = network()
    function = reference_objective(x, y, [p.shape for p in net.parameters()], 0.01)
    expected = list(reference.lbfgs.minimise(function, flat(net), 50, **hyper))
    lbfgs = optim.LBFGS(net.parameters(), max_iter=1, weight_decay=0.01, **EXACT, **hyper)
    closure = closure_of(net, lbfgs)
    for i, theta in enumerate(expected):
        lbfgs.step(closure)
        # Rounding grows from one iteration to the next.
        bound = 1e-12 if i < 10 else 1e-6
        np.testing.assert_allclose(flat(net), theta, rtol=bound, atol=bound, err_msg=str(i))
    np.testing.assert_allclose(lbfgs.value, function(expected[-1])[0], rtol=1e-12)
    assert lbfgs.steps == lbfgs.pairs == 50


@pytest.mark.parametrize("hyper", SEARCHES, ids=str)
def test_fifty_iterations_are_pytorchs(requires_torch, hyper):
    torch = requires_torch
    x, y = map(torch.from_numpy, data())
    net = network()
    tensors = [torch.nn.Parameter(torch.from_numpy(p.copy())) for p in net.parameters()]
    w0, b0, w1, b1 = tensors
    theirs = torch.optim.LBFGS(
        tensors, max_iter=1, max_eval=99, line_search_fn="strong_wolfe", **EXACT,
        **{"history_size": 10, **hyper},
    )  # fmt: skip
    counted = 0

    def loss():
        nonlocal counted
        counted += 1
        theirs.zero_grad()
        output = torch.tanh(x @ w0 + b0) @ w1 + b1
        value = torch.nn.functional.cross_entropy(output, y)
        value = value + 0.005 * sum((p**2).sum() for p in tensors)
        value.backward()
        return value

    lbfgs = optim.LBFGS(net.parameters(), max_iter=1, weight_decay=0.01, **EXACT, **hyper)
    closure = closure_of(net, lbfgs)
    for i in range(50):
        counted = 0
        theirs.step(loss)
        lbfgs.step(closure)
        bound = 1e-12 if i < 10 else 1e-6
        for p, tensor in zip(net.parameters(), tensors, strict=True):
            np.testing.assert_allclose(
                p.copy(), tensor.detach().numpy(), rtol=bound, atol=bound, err_msg=str(i)
            )
        assert lbfgs.evaluations == counted


@pytest.mark.parametrize(
    "hyper", [{}, {"weight_decay": 0.1}, {"weight_decay": 0.1, "decay_bias": False}], ids=str
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_fit_gives_the_bits_of_single_steps_and_of_many_at_once(dtype, hyper):
    net, lbfgs, _ = fitted(dtype, epochs=12, hyper={**EXACT, "history_size": 5, **hyper})
    for at_once in (1, 4, 12):
        other, single = step_by_step(
            12, dtype, {**EXACT, "history_size": 5, **hyper}, at_once=at_once
        )
        assert same_state(net.state_dict(), other.state_dict())
        assert same_bits(lbfgs.state, single.state)
        assert (lbfgs.value, lbfgs.steps, lbfgs.pairs) == (single.value, 12, 12)


@pytest.mark.parametrize("decay_bias", [True, False])
def test_weight_decay_is_a_penalty_in_the_loss(decay_bias):
    hyper = {"weight_decay": 3.0, "decay_bias": decay_bias, "decay_by_batch": True}
    net, _, _ = fitted(epochs=6, hyper={**EXACT, **hyper})
    for samples in (N, 2 * N):  # twice as many, twice the decay
        other = network()
        scaled = {**hyper, "weight_decay": 3.0 * samples / N}
        lbfgs = optim.LBFGS(other.parameters(), max_iter=6, **EXACT, **scaled)
        first = lbfgs.step(closure_of(other, lbfgs), samples=samples)
        assert first == losses.CrossEntropyLoss()(network()(data()[0]), data()[1])
        assert same_state(net.state_dict(), other.state_dict())

    own = network()
    lbfgs = optim.LBFGS(own.parameters(), max_iter=6, **EXACT)
    closure = closure_of(own, lbfgs)

    def penalised():
        value = closure()
        for p in own.parameters():
            if decay_bias or p.name == "weight":
                value += 3.0 / N / 2 * (p.copy() ** 2).sum()
                p.grad[...] += 3.0 / N * p.copy()
        return value

    lbfgs.step(penalised)
    np.testing.assert_allclose(flat(own), flat(net), rtol=1e-11, atol=1e-12)


def test_parameters_may_lie_in_several_buffers_and_any_order():
    (x, y), loss = data(), losses.CrossEntropyLoss()
    net, alone = network(), network()
    together = optim.LBFGS(net.parameters(), max_iter=6, weight_decay=0.1, **EXACT)
    together.step(closure_of(net, together))
    first, tanh, last = map(copy.deepcopy, alone)  # a buffer each
    parameters = [*last.parameters(), *first.parameters()]
    apart = optim.LBFGS(parameters, max_iter=6, weight_decay=0.1, **EXACT)
    assert len({id(p.buffer) for p in parameters}) > 1

    def closure():
        apart.zero_grad()
        output = last(tanh(first(x)))
        first.backward(tanh.backward(last.backward(loss.grad(output, y))))
        return loss(output, y)

    apart.step(closure)
    for p, q in zip([*first.parameters(), *last.parameters()], net.parameters(), strict=True):
        np.testing.assert_allclose(p.copy(), q.copy(), rtol=1e-12, atol=1e-13)


def test_a_step_moves_the_given_parameters_only():
    net = network()
    before = net.state_dict()
    lbfgs = optim.LBFGS(net[2].parameters(), max_iter=3)
    lbfgs.step(closure_of(net, lbfgs))
    after = net.state_dict()
    for name in before:
        assert same_bits(before[name], after[name]) == name.startswith("0."), name


def test_a_step_that_shows_no_curvature_is_not_remembered():
    layer = nn.Linear(1, 1, bias=False, dtype=np.float64)
    layer.weight = [[0.1]]
    weight = layer.parameters()[0]

    def closure():  # concave there
        w = float(weight.copy().item())
        weight.grad[...] = 4 * w**3 - 2 * w
        return w**4 - w**2

    lbfgs = optim.LBFGS([weight], max_iter=1, max_line_search=1)
    lbfgs.step(closure)
    assert lbfgs.steps == 1 and lbfgs.pairs == 0 and not lbfgs.state.any()
    lbfgs = optim.LBFGS([weight], max_iter=20)
    lbfgs.step(closure)
    np.testing.assert_allclose(layer.weight, np.sqrt(0.5), rtol=1e-4)
    assert lbfgs.pairs > 0


def quadratic(net, lbfgs, matrix):
    """A closure of (w - 1)ᵀ A (w - 1) / 2."""
    weight = net.parameters()[0]

    def closure():
        away = weight.copy().ravel() - 1.0
        weight.grad[...] = (matrix @ away).reshape(weight.shape)
        return 0.5 * away @ matrix @ away

    return closure


def test_a_quadratic_is_solved_in_few_iterations():
    rng = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    matrix = rotation @ np.diag([1, 1, 1, 5, 5, 30.0]) @ rotation.T  # three different curvatures
    layer = nn.Linear(6, 1, bias=False, dtype=np.float64)
    lbfgs = optim.LBFGS(layer.parameters(), max_iter=30, tolerance_grad=1e-9, tolerance_change=0.0)
    lbfgs.step(quadratic(layer, lbfgs, matrix))
    np.testing.assert_allclose(layer.weight, 1.0, atol=1e-8)
    assert lbfgs.converged and lbfgs.steps < 20


def test_rosenbrocks_valley_is_followed_to_its_end():
    layer = nn.Linear(2, 1, bias=False, dtype=np.float64)
    layer.weight = [[-1.2], [1.0]]
    weight = layer.parameters()[0]

    def closure():
        a, b = weight.copy().ravel()
        weight.grad[...] = [[-400 * a * (b - a * a) - 2 * (1 - a)], [200 * (b - a * a)]]
        return 100 * (b - a * a) ** 2 + (1 - a) ** 2

    lbfgs = optim.LBFGS([weight], max_iter=100, tolerance_grad=1e-8, tolerance_change=0.0)
    assert lbfgs.step(closure) == pytest.approx(24.2)
    np.testing.assert_allclose(layer.weight, 1.0, atol=1e-7)
    assert lbfgs.converged and lbfgs.steps < 60


def test_least_squares_are_solved():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 2))
    net = nn.Sequential(nn.Linear(3, 2, dtype="float64"))
    lbfgs = optim.LBFGS(net.parameters(), tolerance_grad=1e-9, tolerance_change=0.0)
    history = ff.fit(net, x, y, loss=losses.MSELoss(), optimizer=lbfgs, epochs=200)
    solution = np.linalg.lstsq(np.hstack([x, np.ones((40, 1))]), y)[0]
    np.testing.assert_allclose(net[0].weight, solution[:3], atol=1e-7)
    np.testing.assert_allclose(net[0].bias, solution[3], atol=1e-7)
    assert lbfgs.converged and history.stop_reason.startswith("converged: ")
    assert len(history) < 200


@pytest.mark.parametrize("dtype", DTYPES)
def test_history_tells_the_loss_and_accuracy_after_each_iteration(dtype):
    x, y = data(dtype)
    loss = losses.CrossEntropyLoss()
    net, _, history = fitted(dtype, validation_data=(x, y))
    assert history.epoch == list(range(1, 9))
    assert history.loss == sorted(history.loss, reverse=True)
    np.testing.assert_allclose(history.loss, history.val_loss, rtol=1e-6)
    assert history.accuracy == history.val_accuracy
    np.testing.assert_allclose(history.loss[-1], loss(net(x), y), rtol=1e-6)
    assert history.lr == [1.0] * 8
    assert all(seconds > 0 for seconds in history.seconds)


@two_threads
@pytest.mark.parametrize("dtype", DTYPES)
def test_two_threads_give_the_bits_of_one(monkeypatch, dtype):
    monkeypatch.setattr(objective, "ROWS", 50)
    one, first, a = fitted(dtype, n_threads=1)
    two, second, b = fitted(dtype, n_threads=2)
    assert same_state(one.state_dict(), two.state_dict())
    assert a.loss == b.loss and first.value == second.value


def test_batch_size_shuffle_and_seed_count_for_nothing():
    one, _, _ = fitted()
    other, _, _ = fitted(batch_size=10**6, shuffle=False, seed=7)
    assert same_state(one.state_dict(), other.state_dict())


def test_padding_stays_zero():
    net, _, _ = fitted()
    buffer = net.parameters()[0].buffer
    outside = np.ones(buffer.values.size, bool)
    for p in net.parameters():
        p.view(outside, p.offset)[...] = False
    assert outside.any() and not buffer.values[outside].any()


def test_only_the_given_parameters_move_and_gradients_of_the_network_stay():
    net = network()
    for p in net.parameters():
        p.grad[...] = 3.0
    before = net.state_dict()
    x, y = data()
    lbfgs = optim.LBFGS(net[2].parameters())
    ff.fit(net, x, y, loss=losses.CrossEntropyLoss(), optimizer=lbfgs, epochs=3)
    after = net.state_dict()
    for name in before:
        assert same_bits(before[name], after[name]) == name.startswith("0."), name
    assert all((p.grad == 3.0).all() for p in net.parameters())


def test_layer_normalisation_can_be_minimised():
    rng = np.random.default_rng(0)
    layers = [nn.Linear(17, 12, rng=rng), nn.LayerNorm(12), nn.Linear(12, 5, rng=rng)]
    _, _, history = fitted(np.float32, net=nn.Sequential(*layers))
    assert history.loss[-1] < 0.5 * history.loss[0]
