import copy
import pickle

import numpy as np
import pytest
from scipy import sparse

import fastfcn as ff
import reference
import reference.lbfgs
from api.checks import DTYPES, mlp, same_bits, same_state, two_threads
from fastfcn import losses, nn, objective, optim, schedules
from fastfcn.data import Intake
from fastfcn.epochs import Recipe

SIZES = [17, 12, 5]
N = 130
EXACT = {"tolerance_grad": 0.0, "tolerance_change": 0.0}
"""No end but that of the iterations."""


def data(dtype=np.float64):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, N)
    return (rng.normal(size=(5, 17))[y] + rng.normal(size=(N, 17))).astype(dtype), y


def network(dtype=np.float64, seed=0):
    return mlp(SIZES, nn.Tanh, dtype, seed)


def fitted(dtype=np.float64, epochs=8, hyper=None, net=None, **options):
    x, y = data(dtype)
    net = network(dtype) if net is None else net
    lbfgs = optim.LBFGS(net.parameters(), **(hyper or {}))
    given = {"loss": losses.CrossEntropyLoss(), **options}
    history = ff.fit(net, x, y, optimizer=lbfgs, epochs=epochs, **given)
    return net, lbfgs, history


def closure_of(net, lbfgs, dtype=np.float64):
    """What a loop of one's own gives to ``step``."""
    (x, y), loss = data(dtype), losses.CrossEntropyLoss()

    def closure():
        lbfgs.zero_grad()
        output = net(x)
        net.backward(loss.grad(output, y))
        return loss(output, y)

    return closure


def flat(net):
    return np.concatenate([p.copy().ravel() for p in net.parameters()])


# ---- loss and gradient -------------------------------------------------------------------------


def objective_of(net, x, y, loss, weights=None, n_threads=None):
    intake = Intake(net.plan(), loss, 1.0, 0.0, True)
    recipe = Recipe(net, net.plan(), loss, optim.LBFGS(net.parameters()), n_threads)
    return objective.Objective(recipe, intake.whole(x, y, weights))


def evaluated(made, net):
    """Loss and gradient, as one vector."""
    value = made.evaluate()
    parts = [p.view(made.gradients(p.buffer), p.offset).ravel() for p in net.parameters()]
    return value, np.concatenate(parts)


LOSSES = [
    (losses.CrossEntropyLoss(), "labels"),
    (losses.CrossEntropyLoss(reduction="sum"), "labels"),
    (losses.CrossEntropyLoss([0.5, 2, 1, 1, 3], ignore_index=2, label_smoothing=0.1), "labels"),
    (losses.MSELoss(), "one-hot"),
    (losses.MSELoss(reduction="batchmean"), "one-hot"),
    (losses.BCEWithLogitsLoss(), "one-hot"),
    (losses.PoissonNLLLoss(reduction="batchmean"), "one-hot"),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows", [16, 50, 1024])
@pytest.mark.parametrize(("loss", "kind"), LOSSES, ids=lambda v: getattr(v, "reduction", v))
def test_loss_and_gradient_are_those_of_one_batch_of_all_rows(
    monkeypatch, loss, kind, rows, weighted
):
    monkeypatch.setattr(objective, "ROWS", rows)
    x, y = data()
    y = y if kind == "labels" else reference.one_hot(y, 5)
    weights = np.random.default_rng(1).integers(0, 3, N) if weighted else None
    net = network()
    value, gradient = evaluated(objective_of(net, x, y, loss, weights), net)
    output = net(x)
    net.backward(loss.grad(output, y, weights))
    np.testing.assert_allclose(value, loss(output, y, weights), rtol=1e-13)
    expected = np.concatenate([p.grad.ravel() for p in net.parameters()])
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-13 * np.abs(expected).max())
    if rows >= N:  # one batch, as in a loop of one's own
        assert same_bits(gradient, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sparse_rows_and_bytes_have_the_gradient_of_dense_floats(dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (N, 17), np.uint8) * (rng.random((N, 17)) < 0.3).astype(np.uint8)
    y = rng.integers(0, 5, N)
    results = []
    for given in (x.astype(dtype), x, sparse.csr_array(x)):
        net = network(dtype)
        results.append(evaluated(objective_of(net, given, y, losses.CrossEntropyLoss()), net))
    assert len({value for value, _ in results}) == 1
    assert all(same_bits(gradient, results[0][1]) for _, gradient in results)


def test_memory_is_for_some_rows_and_not_for_all():
    x, y = np.zeros((5000, 17)), np.zeros(5000, int)
    made = objective_of(network(), x, y, losses.CrossEntropyLoss())
    assert made._space.rows == objective.ROWS < 5000


# ---- iterations --------------------------------------------------------------------------------


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


def step_by_step(iterations, dtype, hyper, at_once=1):
    net = network(dtype)
    lbfgs = optim.LBFGS(net.parameters(), max_iter=at_once, **hyper)
    closure = closure_of(net, lbfgs, dtype)
    for _ in range(0, iterations, at_once):
        lbfgs.step(closure)
    return net, lbfgs


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


# ---- how a fit goes on and ends ----------------------------------------------------------------


class Calls:
    def __init__(self, stop_at=None):
        self.begun, self.ended, self.losses, self.stop_at = 0, 0, [], stop_at

    def on_epoch_begin(self, run):
        self.begun += 1

    def on_batch_end(self, run):
        assert (run.batch, run.batches, run.seen) == (1, 1, N)

    def on_epoch_end(self, run):
        self.ended += 1
        self.losses.append(losses.CrossEntropyLoss()(run.net(data()[0]), data()[1]))
        if run.epoch == self.stop_at:
            run.stop("enough")


def test_every_iteration_is_an_epoch_to_callbacks_with_the_network_at_it():
    calls = Calls()
    _, _, history = fitted(callbacks=[calls])
    assert calls.begun == calls.ended == len(history) == 8
    np.testing.assert_allclose(calls.losses, history.loss, rtol=1e-12)


def test_a_callback_may_stop_it():
    calls = Calls(stop_at=3)
    net, lbfgs, history = fitted(callbacks=[calls])
    assert calls.begun == calls.ended == len(history) == 3
    assert history.stop_reason == "enough" and not lbfgs.converged
    straight, _, _ = fitted(epochs=3)
    assert same_state(net.state_dict(), straight.state_dict())


def test_one_that_is_interrupted_leaves_the_last_iteration():
    class Interrupt:
        def on_epoch_begin(self, run):
            if run.epoch == 4:
                raise KeyboardInterrupt

    net = network()
    with pytest.raises(KeyboardInterrupt):
        fitted(net=net, callbacks=[Interrupt()])
    straight, _, _ = fitted(epochs=3)
    assert same_state(net.state_dict(), straight.state_dict())


def test_it_ends_after_max_fun_evaluations():
    _, lbfgs, history = fitted(epochs=1000, hyper={"max_fun": 5, "tolerance_change": 0.0})
    assert 5 <= lbfgs.evaluations <= 5 + 20 and not lbfgs.converged
    assert history.stop_reason.startswith("minimiser stopped: ")


def test_at_a_minimum_there_is_one_epoch_in_which_nothing_moves():
    net = nn.Sequential(nn.Linear(2, 1, init=nn.init.Zeros(), bias_init=nn.init.Zeros()))
    lbfgs = optim.LBFGS(net.parameters())

    class Count:
        begun = ended = 0

        def on_epoch_begin(self, run):
            self.begun += 1

        def on_epoch_end(self, run):
            self.ended += 1

    count = Count()
    history = ff.fit(
        net,
        np.ones((4, 2)),
        np.zeros((4, 1)),
        loss=losses.MSELoss(),
        optimizer=lbfgs,
        epochs=9,
        callbacks=[count],
    )
    assert history.loss == [0.0] and lbfgs.converged and (count.begun, count.ended) == (1, 1)
    assert not net[0].weight.any()


def test_a_loss_that_is_not_a_number_ends_it_with_a_warning():
    net = network()
    net[0].weight[0, 0] = np.nan
    with pytest.warns(RuntimeWarning, match="epoch 1") as caught:
        _, lbfgs, history = fitted(net=net)
    assert np.isnan(history.loss[-1]) and len(history) == 1 and not lbfgs.converged
    assert caught[0].filename == __file__


def test_where_the_loss_is_infinite_the_search_comes_nearer():
    """log w for w > 0 and infinite elsewhere: the first step would go far beyond."""
    layer = nn.Linear(1, 1, bias=False, dtype=np.float64)
    layer.weight = [[2.0]]
    weight, tried = layer.parameters()[0], []

    def closure():
        w = float(weight.copy().item())
        tried.append(w)
        weight.grad[...] = 1.0 - 1.0 / w
        return w - np.log(w) if w > 0 else (np.nan if len(tried) % 2 else np.inf)

    lbfgs = optim.LBFGS([weight], lr=1000.0, tolerance_grad=1e-8, tolerance_change=0.0)
    lbfgs.step(closure)
    assert min(tried) < 0
    np.testing.assert_allclose(layer.weight, 1.0, atol=1e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_step_from_no_finite_loss_is_refused_and_changes_nothing(value):
    net, lbfgs = step_by_step(3, np.float64, {})
    before, state = net.state_dict(), lbfgs.state.copy()
    with pytest.raises(ValueError, match=f"must be finite to begin with, got a loss of {value}"):
        lbfgs.step(lambda: value)
    net[2].bias_grad[0] = np.nan
    with pytest.raises(ValueError, match="loss and gradients must be finite"):
        lbfgs.step(lambda: 1.0)
    assert same_state(net.state_dict(), before) and same_bits(lbfgs.state, state)


def test_gradients_that_belong_to_another_loss_end_it_where_it_began():
    net, lbfgs = step_by_step(3, np.float64, {})
    before = net.state_dict()

    def closure():  # uphill
        lbfgs.zero_grad()
        for p in net.parameters():
            p.grad[...] = -p.copy()
        return float((flat(net) ** 2).sum())

    lbfgs.step(closure)
    assert same_state(net.state_dict(), before)
    assert not lbfgs.converged and lbfgs.pairs == 0


def test_a_closure_that_raises_leaves_the_last_iteration():
    net, lbfgs = step_by_step(3, np.float64, EXACT)
    before = net.state_dict()
    closure, calls = closure_of(net, lbfgs), []

    def interrupted():
        calls.append(1)
        if len(calls) == 2:  # on the way of the line search
            assert not same_state(net.state_dict(), before)
            raise KeyboardInterrupt
        return closure()

    with pytest.raises(KeyboardInterrupt):
        lbfgs.step(interrupted)
    assert same_state(net.state_dict(), before)


def test_targets_of_no_scale_are_never_taken_for_reached():
    """Steps of a length that such a gradient could be for: rounding hides what they change."""
    net = nn.Sequential(nn.Linear(1, 1, init=nn.init.Zeros(), bias_init=nn.init.Zeros()))
    x = np.linspace(-1, 1, 20, dtype=np.float32).reshape(-1, 1)
    lbfgs = optim.LBFGS(net.parameters())
    history = ff.fit(net, x, 1e30 * x, loss=losses.MSELoss(), optimizer=lbfgs, epochs=30)
    assert np.isfinite(history.loss).all() and len(history) == 30
    assert not lbfgs.converged and history.stop_reason is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_where_rounding_hides_what_is_left_it_has_converged(dtype):
    hyper = {**EXACT, "weight_decay": 0.01}
    _, lbfgs, history = fitted(dtype, epochs=1000, hyper=hyper)
    assert lbfgs.converged and len(history) < 1000
    _, exact, _ = fitted(epochs=1000, hyper={**hyper, "tolerance_grad": 1e-8})
    assert exact.converged
    rounding = 1e-5 if dtype == np.float32 else 1e-11
    np.testing.assert_allclose(lbfgs.value, exact.value, rtol=rounding)


# ---- state -------------------------------------------------------------------------------------


def test_two_fits_of_six_iterations_are_one_of_twelve():
    net, lbfgs, history = fitted(epochs=6, hyper=EXACT)
    x, y = data()
    ff.fit(net, x, y, loss=losses.CrossEntropyLoss(), optimizer=lbfgs, epochs=12, history=history)
    other, straight, whole = fitted(epochs=12, hyper=EXACT)
    assert same_state(net.state_dict(), other.state_dict())
    assert same_bits(lbfgs.state, straight.state)
    assert history.loss == whole.loss and lbfgs.pairs == 12


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("steps", [2, 6])
def test_one_restored_from_its_state_goes_on_with_the_same_bits(steps, dtype):
    """From a memory that is not full, and from one that is."""
    hyper = {**EXACT, "history_size": 3, "weight_decay": 0.1}
    net, lbfgs = step_by_step(steps, dtype, hyper)
    resumed = network(dtype, seed=9)
    resumed.load_state_dict(net.state_dict())
    again = optim.LBFGS(resumed.parameters(), max_iter=1)  # with the defaults
    again.load_state_dict(lbfgs.state_dict())
    assert repr(again) == repr(lbfgs) and again.steps == again.pairs == steps
    for one, its in ((net, lbfgs), (resumed, again)):
        for _ in range(4):
            its.step(closure_of(one, its, dtype))
    assert same_state(net.state_dict(), resumed.state_dict())
    assert same_bits(lbfgs.state, again.state)
    forgetful = network(dtype)
    forgetful.load_state_dict(step_by_step(steps, dtype, hyper)[0].state_dict())
    anew = optim.LBFGS(forgetful.parameters(), max_iter=4, **hyper)
    anew.step(closure_of(forgetful, anew, dtype))
    assert not same_state(forgetful.state_dict(), resumed.state_dict())


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))]
)
def test_copies_go_on_alone_with_the_same_bits(duplicate):
    net, lbfgs = step_by_step(6, np.float32, {**EXACT, "history_size": 3})
    other, copied = duplicate((net, lbfgs))
    assert repr(copied) == repr(lbfgs) and copied.steps == 6
    before = net.state_dict()
    for _ in range(3):
        copied.step(closure_of(other, copied, np.float32))
    assert same_state(net.state_dict(), before)
    for _ in range(3):
        lbfgs.step(closure_of(net, lbfgs, np.float32))
    assert same_state(net.state_dict(), other.state_dict())
    assert not same_state(net.state_dict(), before)


def test_the_state_of_another_is_refused_and_changes_nothing():
    net, lbfgs = step_by_step(3, np.float64, {})
    state = lbfgs.state.copy()
    with pytest.raises(ValueError, match="state must be a LBFGS's"):
        lbfgs.load_state_dict(optim.SGD(network().parameters()).state_dict())
    with pytest.raises(ValueError, match="must have shapes"):
        lbfgs.load_state_dict(optim.LBFGS(mlp([2, 3]).parameters()).state_dict())
    assert same_bits(lbfgs.state, state) and lbfgs.steps == 3


def test_a_memory_of_another_size_needs_another_optimiser():
    net, lbfgs = step_by_step(3, np.float64, {})
    lbfgs.history_size = 4
    with pytest.raises(RuntimeError, match="make a new one"):
        lbfgs.step(closure_of(net, lbfgs))


class Once:
    """Does something to the optimiser after the second epoch."""

    def __init__(self, change):
        self.change = change

    def on_epoch_end(self, run):
        if run.epoch == 2:
            self.change(run.optimizer)


def test_a_memory_that_a_callback_makes_larger_is_refused_with_what_was_reached():
    net = network()
    lbfgs = optim.LBFGS(net.parameters(), history_size=2, **EXACT)
    x, y = data()
    once = Once(lambda optimizer: setattr(optimizer, "history_size", 50))
    options = {"loss": losses.CrossEntropyLoss(), "optimizer": lbfgs, "callbacks": [once]}
    with pytest.raises(RuntimeError, match="make a new one"):
        ff.fit(net, x, y, epochs=10, **options)
    other, _, _ = fitted(epochs=2, hyper={"history_size": 2, **EXACT})
    assert same_state(net.state_dict(), other.state_dict())


def test_a_callback_may_load_the_state_of_a_larger_memory():
    """As one that goes back to an earlier state does, whatever its options were."""
    other, source = step_by_step(6, np.float64, {**EXACT, "history_size": 200})
    state = source.state_dict()
    once = Once(lambda optimizer: optimizer.load_state_dict(state))
    net, lbfgs, _ = fitted(epochs=5, hyper={"history_size": 2, **EXACT}, callbacks=[once])
    assert lbfgs.history_size == 200 and lbfgs.pairs == 9
    twin, _, _ = fitted(epochs=2, hyper={"history_size": 2, **EXACT})
    goes_on = optim.LBFGS(twin.parameters())
    goes_on.load_state_dict({**state, "max_iter": 3})
    goes_on.step(closure_of(twin, goes_on))
    assert same_state(net.state_dict(), twin.state_dict())


def test_parameters_that_a_callback_moves_are_where_the_next_iteration_begins():
    class Halve:
        def on_epoch_end(self, run):
            if run.epoch == 2:
                for p in run.net.parameters():
                    p.data = 0.5 * p.copy()

    net, _, _ = fitted(epochs=4, hyper=EXACT, callbacks=[Halve()])
    other, lbfgs = step_by_step(2, np.float64, EXACT)
    for p in other.parameters():
        p.data = 0.5 * p.copy()
    for _ in range(2):
        lbfgs.step(closure_of(other, lbfgs))
    assert same_state(net.state_dict(), other.state_dict())


# ---- what does not go together -----------------------------------------------------------------


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.BatchNorm1d(12)])
def test_layers_whose_loss_is_no_function_of_the_parameters_are_refused(layer):
    net = nn.Sequential(nn.Linear(17, 12), layer, nn.Linear(12, 5))
    before = net.state_dict()
    with pytest.raises(ValueError, match=f"no {type(layer).__name__} for LBFGS"):
        fitted(np.float32, net=net)
    assert same_state(net.state_dict(), before)


@pytest.mark.parametrize("option", [{"clip_norm": 1.0}, {"schedule": schedules.Cosine()}])
def test_options_of_single_steps_are_refused(option):
    with pytest.raises(ValueError, match="must be None for LBFGS"):
        fitted(**option)


def test_batches_one_by_one_are_refused():
    net = network()
    lbfgs = optim.LBFGS(net.parameters())
    with pytest.raises(TypeError, match="x must be an array for LBFGS"):
        ff.fit(net, [data()], loss=losses.CrossEntropyLoss(), optimizer=lbfgs)


def test_a_step_needs_a_closure_that_returns_the_loss():
    lbfgs = optim.LBFGS(network().parameters())
    for nothing in (None, 32):
        with pytest.raises(TypeError, match=f"closure must be a function .* got {nothing}; or"):
            lbfgs.step(nothing)
    with pytest.raises(TypeError, match="closure must return the loss, a number, got None"):
        lbfgs.step(lambda: None)


@pytest.mark.parametrize(
    ("option", "value", "kind"),
    [
        ("history_size", 0, ValueError),
        ("history_size", 1.5, TypeError),
        ("max_fun", 0, ValueError),
        ("max_iter", 0, ValueError),
        ("lr", 0.0, ValueError),
        ("max_line_search", 0, ValueError),
        ("tolerance_grad", -1e-5, ValueError),
        ("tolerance_change", np.nan, ValueError),
        ("weight_decay", -1, ValueError),
    ],
)
def test_bad_options_are_refused(option, value, kind):
    with pytest.raises(kind, match=f"{option} must be"):
        optim.LBFGS(network().parameters(), **{option: value})
