import copy
import pickle

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import minimize

import fastfcn as ff
import reference
from api.checks import DTYPES, mlp, same_bits, same_state, two_threads
from fastfcn import losses, nn, objective, optim, schedules
from fastfcn.data import Intake

SIZES = [17, 12, 5]
N = 130


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


# ---- loss and gradient -------------------------------------------------------------------------


def objective_of(net, x, y, loss, weights=None, n_threads=None, **hyper):
    intake = Intake(net.plan(), loss, 1.0, 0.0, True)
    made = objective.Objective(
        net,
        net.plan(),
        intake.whole(x, y, weights),
        loss,
        optim.LBFGS(net.parameters(), **hyper),
        n_threads,
        True,
    )
    return made, made.theta()


LOSSES = [
    (losses.CrossEntropyLoss(), "labels"),
    (losses.CrossEntropyLoss(reduction="sum"), "labels"),
    (losses.CrossEntropyLoss([0.5, 2, 1, 1, 3], ignore_index=2, label_smoothing=0.1), "labels"),
    (losses.MSELoss(), "one-hot"),
    (losses.MSELoss(reduction="batchmean"), "one-hot"),
    (losses.BCEWithLogitsLoss(), "one-hot"),
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
    evaluate, theta = objective_of(net, x, y, loss, weights)
    value, gradient = evaluate(theta)
    output = net(x)
    net.backward(loss.grad(output, y, weights))
    np.testing.assert_allclose(value, loss(output, y, weights), rtol=1e-13)
    expected = np.concatenate([p.grad.ravel() for p in net.parameters()])
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-13 * np.abs(expected).max())


def test_the_gradient_is_that_of_the_penalised_loss():
    """By central differences, with biases left out of the penalty and frozen parameters."""
    x, y = data()
    net = network()
    intake = Intake(net.plan(), losses.CrossEntropyLoss(), 1.0, 0.0, True)
    lbfgs = optim.LBFGS(
        net[2].parameters(), weight_decay=26.0, decay_bias=False, decay_by_batch=True
    )
    loss = losses.CrossEntropyLoss()
    evaluate = objective.Objective(
        net, net.plan(), intake.whole(x, y, None), loss, lbfgs, None, True
    )
    theta = evaluate.theta()
    assert theta.size == 12 * 5 + 5
    value, gradient = evaluate(theta)
    penalty = 26.0 / N / 2 * (net[2].weight ** 2).sum()
    np.testing.assert_allclose(value, loss(net(x), y) + penalty, rtol=1e-13)
    for i in range(0, theta.size, 7):
        moved = theta.copy()
        moved[i] += 1e-5
        above = evaluate(moved)[0]
        moved[i] -= 2e-5
        np.testing.assert_allclose(gradient[i], (above - evaluate(moved)[0]) / 2e-5, atol=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sparse_rows_and_bytes_have_the_gradient_of_dense_floats(dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (N, 17), np.uint8) * (rng.random((N, 17)) < 0.3).astype(np.uint8)
    y = rng.integers(0, 5, N)
    results = []
    for given in (x.astype(dtype), x, sparse.csr_array(x)):
        net = network(dtype)
        evaluate, theta = objective_of(net, given, y, losses.CrossEntropyLoss())
        results.append(evaluate(theta))
    assert len({value for value, _ in results}) == 1
    assert all(same_bits(gradient, results[0][1]) for _, gradient in results)


def test_memory_is_for_some_rows_and_not_for_all():
    x, y = np.zeros((5000, 17)), np.zeros(5000, int)
    evaluate, _ = objective_of(network(), x, y, losses.CrossEntropyLoss())
    assert evaluate._space.rows == objective.ROWS < 5000


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


@pytest.mark.parametrize("iterations", [1, 5, 20])
def test_iterations_are_scipys_on_the_same_function(iterations):
    x, y = data()
    net = network()
    shapes = [p.shape for p in net.parameters()]
    start = np.concatenate([p.copy().ravel() for p in net.parameters()])
    theirs = minimize(
        reference_objective(x, y, shapes, 0.01),
        start,
        method="L-BFGS-B",
        jac=True,
        options={"maxiter": iterations, "maxcor": 7},
    )
    hyper = {"history_size": 7, "weight_decay": 0.01}
    _, lbfgs, history = fitted(net=net, epochs=iterations, hyper=hyper)
    theta = np.concatenate([p.copy().ravel() for p in net.parameters()])
    np.testing.assert_allclose(theta, theirs.x, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(lbfgs.value, theirs.fun, rtol=1e-9)
    assert lbfgs.evaluations == theirs.nfev
    assert lbfgs.steps == len(history) == theirs.nit == iterations


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


def test_targets_of_no_scale_end_it_where_it_began_without_a_word_of_overflow():
    net = nn.Sequential(nn.Linear(1, 1, init=nn.init.Zeros(), bias_init=nn.init.Zeros()))
    x = np.linspace(-1, 1, 20, dtype=np.float32).reshape(-1, 1)
    lbfgs = optim.LBFGS(net.parameters())
    history = ff.fit(net, x, 1e30 * x, loss=losses.MSELoss(), optimizer=lbfgs, epochs=30)
    assert history.stop_reason == "minimiser stopped: ABNORMAL"
    assert np.isfinite(history.loss).all() and net[0].weight == 0.0


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))]
)
def test_copies_and_states_carry_settings_and_steps(duplicate):
    net, lbfgs, _ = fitted(hyper={"history_size": 3, "weight_decay": 0.1})
    _, copied = duplicate((net, lbfgs))
    assert repr(copied) == repr(lbfgs) and copied.steps == 8
    again = optim.LBFGS(network().parameters())
    again.load_state_dict(lbfgs.state_dict())
    assert again.history_size == 3 and again.steps == 8
    with pytest.raises(ValueError, match="state must be a LBFGS's"):
        again.load_state_dict(optim.SGD(network().parameters()).state_dict())


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


def test_it_has_no_rate_and_no_step():
    lbfgs = optim.LBFGS(network().parameters())
    with pytest.raises(TypeError, match="fit"):
        lbfgs.step()
    with pytest.raises(ValueError, match="no lr"):
        lbfgs.lr = 0.1
    assert lbfgs.lr == 1.0


@pytest.mark.parametrize(
    ("option", "value", "kind"),
    [
        ("history_size", 0, ValueError),
        ("history_size", 1.5, TypeError),
        ("max_fun", 0, ValueError),
        ("max_line_search", 0, ValueError),
        ("tolerance_grad", -1e-5, ValueError),
        ("tolerance_change", np.nan, ValueError),
        ("weight_decay", -1, ValueError),
    ],
)
def test_bad_options_are_refused(option, value, kind):
    with pytest.raises(kind, match=f"{option} must be"):
        optim.LBFGS(network().parameters(), **{option: value})
