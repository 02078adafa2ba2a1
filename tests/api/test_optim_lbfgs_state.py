"""What L-BFGS keeps from fit to fit."""

import copy
import pickle

import numpy as np
import pytest

import fastfcn as ff
from api.checks import DTYPES, mlp, same_bits, same_state
from api.lbfgs_cases import EXACT, closure_of, data, fitted, network, step_by_step
from fastfcn import losses, optim


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
