"""How a fit by L-BFGS goes on and ends, and what it refuses."""

import numpy as np
import pytest

import fastfcn as ff
from api.checks import DTYPES, same_bits, same_state
from api.lbfgs_cases import EXACT, N, closure_of, data, fitted, flat, network, step_by_step
from fastfcn import losses, nn, optim, schedules


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
    assert caught[0].filename == fitted.__code__.co_filename, "where fit was called"


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
        ("history_size", 10**12, ValueError),
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
