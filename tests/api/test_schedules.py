import copy
import dataclasses
import pickle

import numpy as np
import pytest

import fastfcn as ff
from api.checks import mlp, same_bits, same_state
from api.optimiser_cases import make
from fastfcn import losses, optim, schedules
from fastfcn.training import batch_order

PER_EPOCH, EPOCHS = 5, 8
TOTAL = PER_EPOCH * EPOCHS
STEPS = np.arange(TOTAL)

EVERY = [
    schedules.StepLR(3, gamma=0.5),
    schedules.MultiStep([1, 4, 5], gamma=0.3),
    schedules.Exponential(0.9),
    schedules.Polynomial(),
    schedules.Polynomial(power=2.0, final=0.1),
    schedules.Cosine(),
    schedules.Cosine(final=0.2),
    schedules.InverseScaling(),
    schedules.OneCycle(),
    schedules.OneCycle(0.0, 10.0, 100.0, max_factor=3.0),
    schedules.WarmUp(steps=7),
    schedules.WarmUp(epochs=2, then=schedules.Cosine(), start=0.2),
]


def factors(schedule, steps=STEPS):
    return schedule.factors(steps, PER_EPOCH, TOTAL)


# ---- the functions -----------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", EVERY, ids=str)
def test_factors_depend_on_the_steps_number_alone(schedule):
    whole = factors(schedule)
    assert whole.shape == (TOTAL,) and whole.dtype == np.float64
    assert np.isfinite(whole).all() and (whole >= 0).all()
    for first, stop in ((0, 1), (3, 17), (39, 40)):
        assert same_bits(factors(schedule, STEPS[first:stop]), whole[first:stop])
    assert same_bits(factors(schedule, STEPS[::-1]), whole[::-1])


@pytest.mark.parametrize("schedule", EVERY, ids=str)
def test_steps_beyond_the_last_have_factors_too(schedule):
    """A loader may give more batches than it told."""
    beyond = factors(schedule, np.arange(TOTAL, TOTAL + 9))
    assert np.isfinite(beyond).all() and (beyond >= 0).all()


@pytest.mark.parametrize("schedule", EVERY, ids=str)
def test_schedules_compare_by_value_and_can_be_copied(schedule):
    for other in (copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule))):
        assert other == schedule and hash(other) == hash(schedule)
        assert same_bits(factors(other), factors(schedule))
    assert repr(schedule).startswith(type(schedule).__name__)
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.start = 1.0


PYTORCHS = [
    (schedules.StepLR(3, gamma=0.5), "StepLR", {"step_size": 3, "gamma": 0.5}, True),
    (schedules.StepLR(2), "StepLR", {"step_size": 2}, True),
    (
        schedules.MultiStep([1, 4, 5], gamma=0.3),
        "MultiStepLR",
        {"milestones": [1, 4, 5], "gamma": 0.3},
        True,
    ),
    (schedules.Exponential(0.9), "ExponentialLR", {"gamma": 0.9}, True),
    (schedules.Cosine(), "CosineAnnealingLR", {"T_max": TOTAL}, False),
    (schedules.Cosine(final=0.2), "CosineAnnealingLR", {"T_max": TOTAL, "eta_min": 0.2}, False),
    (
        schedules.Polynomial(power=2.0),
        "PolynomialLR",
        {"total_iters": TOTAL, "power": 2.0},
        False,
    ),
    (schedules.OneCycle(), "OneCycleLR", {"max_lr": 1.0, "total_steps": TOTAL}, False),
    (
        schedules.OneCycle(0.37, 10.0, 100.0, max_factor=3.0),
        "OneCycleLR",
        {
            "max_lr": 3.0,
            "total_steps": TOTAL,
            "pct_start": 0.37,
            "div_factor": 10.0,
            "final_div_factor": 100.0,
        },
        False,
    ),
    (
        schedules.OneCycle(0.0),
        "OneCycleLR",
        {"max_lr": 1.0, "total_steps": TOTAL, "pct_start": 0.0},
        False,
    ),
    (
        schedules.WarmUp(steps=7, start=0.25),
        "LinearLR",
        {"start_factor": 0.25, "total_iters": 7},
        False,
    ),
    (
        schedules.WarmUp(epochs=2, start=0.5),
        "LinearLR",
        {"start_factor": 0.5, "total_iters": 2 * PER_EPOCH},
        False,
    ),
]


@pytest.mark.filterwarnings("ignore")  # torch's own, of its order of calls
@pytest.mark.parametrize(("schedule", "name", "options", "by_epoch"), PYTORCHS, ids=str)
def test_what_pytorch_has_too_is_the_same(requires_torch, schedule, name, options, by_epoch):
    torch = requires_torch
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    if name == "OneCycleLR":
        options = {**options, "cycle_momentum": False}
    theirs = getattr(torch.optim.lr_scheduler, name)(optimizer, **options)
    expected = []
    for step in range(TOTAL):
        expected.append(optimizer.param_groups[0]["lr"])
        if step + 1 < TOTAL and (not by_epoch or (step + 1) % PER_EPOCH == 0):
            theirs.step()
    np.testing.assert_allclose(factors(schedule), expected, rtol=1e-12, atol=1e-15)


def test_what_follows_a_warm_up_counts_from_its_end():
    length = 2 * PER_EPOCH
    for then in EVERY:
        schedule = schedules.WarmUp(epochs=2, then=then, start=0.5)
        alone = then.factors(np.arange(TOTAL - length), PER_EPOCH, TOTAL - length)
        assert same_bits(factors(schedule)[length:], alone)
        np.testing.assert_allclose(
            factors(schedule)[:length], np.linspace(0.5, 1.0, length, endpoint=False)
        )


def test_a_warm_up_may_be_longer_than_the_training():
    schedule = schedules.WarmUp(steps=100, then=schedules.Cosine(), start=0.0)
    np.testing.assert_allclose(factors(schedule), STEPS / 100)


# ---- in fit ------------------------------------------------------------------------------------


def data(n=70):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, n)
    return (rng.normal(size=(5, 17))[y] + rng.normal(size=(n, 17))).astype(np.float32), y


def train(net, optimizer, schedule, epochs, **options):
    x, y = data()
    given = {"loss": losses.CrossEntropyLoss(), "batch_size": 16, "seed": 3, **options}
    return ff.fit(net, x, y, optimizer=optimizer, epochs=epochs, schedule=schedule, **given)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
@pytest.mark.parametrize("schedule", EVERY, ids=str)
def test_fit_gives_the_bits_of_steps_with_the_rate_set_by_hand(schedule, name):
    options = {"lr": 0.05, "weight_decay": 0.1}
    x, y = data()
    net, other, loss = mlp([17, 9, 5]), mlp([17, 9, 5]), losses.CrossEntropyLoss()
    history = train(net, make(name, net.parameters(), **options), schedule, EPOCHS)
    single, step = make(name, other.parameters(), **options), 0
    expected = factors(schedule)
    for epoch in range(1, EPOCHS + 1):
        order = batch_order(3, epoch, len(x))
        for first in range(0, len(x), 16):
            rows = order[first : first + 16]
            single.zero_grad()
            other.backward(loss.grad(other(x[rows]), y[rows]))
            single.lr = 0.05 * expected[step]
            single.step()
            step += 1
        assert history.lr[epoch - 1] == 0.05 * expected[step - 1]
    assert same_state(net.state_dict(), other.state_dict())


@pytest.mark.parametrize("schedule", EVERY, ids=str)
def test_a_run_resumed_is_the_run_in_one_go(schedule):
    class Stop:
        def on_epoch_end(self, run):
            if run.epoch == 2:
                run.stop("for now")

    begun = mlp([17, 9, 5])
    optimizer = optim.SGD(begun.parameters(), lr=0.05, momentum=0.9)
    train(begun, optimizer, schedule, 6, callbacks=[Stop()], shuffle=False)
    other = mlp([17, 9, 5], seed=1)
    other.load_state_dict(begun.state_dict())
    again = optim.SGD(other.parameters(), lr=0.01)
    again.load_state_dict(optimizer.state_dict())
    assert again.steps == 2 * PER_EPOCH
    train(other, again, schedule, 4, shuffle=False)

    whole = mlp([17, 9, 5])
    sgd = optim.SGD(whole.parameters(), lr=0.05, momentum=0.9)
    train(whole, sgd, schedule, 6, shuffle=False)
    assert same_state(other.state_dict(), whole.state_dict())


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_a_factor_of_0_leaves_the_parameters(name):
    net = mlp([17, 9, 5])
    before = net.state_dict()
    optimizer = make(name, net.parameters(), lr=0.1, weight_decay=0.1)
    train(net, optimizer, schedules.WarmUp(steps=3, start=0.0), 1, batch_size=70)
    assert same_state(net.state_dict(), before) and optimizer.steps == 1


def test_the_optimisers_own_rate_stays_and_may_change_beside_a_schedule():
    net = mlp([17, 9, 5])
    optimizer = optim.SGD(net.parameters(), lr=0.05)

    class Halve:
        def on_epoch_end(self, run):
            run.optimizer.lr /= 2

    history = train(net, optimizer, schedules.StepLR(2), 4, callbacks=[Halve()])
    np.testing.assert_allclose(history.lr, [0.05, 0.025, 0.00125, 0.000625], rtol=1e-12)
    assert optimizer.lr == 0.05 / 16


def test_without_a_schedule_the_history_has_the_rate_itself():
    net = mlp([17, 9, 5])
    assert train(net, optim.SGD(net.parameters(), lr=0.05), None, 2).lr == [0.05, 0.05]


def test_anything_with_factors_is_a_schedule():
    class Alternating:
        def factors(self, steps, steps_per_epoch, total_steps):
            assert (steps_per_epoch, total_steps) == (5, 10)
            return np.where(steps % 2, 0.5, 1.0)

    net = mlp([17, 9, 5])
    history = train(net, optim.SGD(net.parameters(), lr=1.0), Alternating(), 2)
    assert history.lr == [1.0, 0.5]


def test_batches_of_a_loader_that_tells_their_number_follow_a_schedule():
    x, y = data()
    batches = [(x[i : i + 16], y[i : i + 16]) for i in range(0, 70, 16)]
    nets = [mlp([17, 9, 5]), mlp([17, 9, 5])]
    for net, given in zip(nets, ((batches,), (x, y)), strict=True):
        ff.fit(
            net,
            *given,
            loss=losses.CrossEntropyLoss(),
            optimizer=optim.SGD(net.parameters(), lr=0.1),
            batch_size=16,
            epochs=3,
            shuffle=False,
            schedule=schedules.Cosine(),
        )
    assert same_state(nets[0].state_dict(), nets[1].state_dict())


def test_a_schedule_needs_to_know_how_many_batches_there_are():
    x, y = data()
    net = mlp([17, 9, 5])
    with pytest.raises(ValueError, match="len()"):
        ff.fit(
            net,
            iter([(x, y)]),
            loss=losses.CrossEntropyLoss(),
            optimizer=optim.SGD(net.parameters(), lr=0.1),
            schedule=schedules.Cosine(),
        )


# ---- bad values --------------------------------------------------------------------------------


def test_what_is_no_schedule_is_refused():
    net = mlp([17, 9, 5])
    sgd = optim.SGD(net.parameters(), lr=0.1)
    for given in (0.5, "cosine", lambda epoch: 0.5):
        with pytest.raises(TypeError, match="schedule must be one of"):
            train(net, sgd, given, 1)
    with pytest.raises(TypeError, match=r"make one with Cosine\(\)"):
        train(net, sgd, schedules.Cosine, 1)


@pytest.mark.parametrize("values", [np.ones(1), -np.ones(5), np.full(5, np.nan)])
def test_factors_that_cannot_be_used_are_refused(values):
    class Wrong:
        def factors(self, steps, steps_per_epoch, total_steps):
            return values

    net = mlp([17, 9, 5])
    with pytest.raises(ValueError, match="factors of .* must"):
        train(net, optim.SGD(net.parameters(), lr=0.1), Wrong(), 2)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: schedules.StepLR(0), "step_size must be at least 1"),
        (lambda: schedules.StepLR(2.5), "step_size must be an int"),
        (lambda: schedules.StepLR(2, gamma=0), "gamma must be above 0"),
        (lambda: schedules.MultiStep([-1]), "milestones must be at least 0"),
        (lambda: schedules.MultiStep(3), "milestones must be a list"),
        (lambda: schedules.Exponential(-1), "gamma must be above 0"),
        (lambda: schedules.Polynomial(power=0), "power must be above 0"),
        (lambda: schedules.Polynomial(final=-1), "final must be at least 0"),
        (lambda: schedules.Cosine(final=np.nan), "final must be finite"),
        (lambda: schedules.InverseScaling("1"), "power must be a number"),
        (lambda: schedules.OneCycle(pct_start=1.5), r"pct_start must be in \[0, 1\]"),
        (lambda: schedules.OneCycle(div_factor=0), "div_factor must be above 0"),
        (lambda: schedules.WarmUp(), "steps or epochs"),
        (lambda: schedules.WarmUp(steps=1, epochs=1), "steps or epochs"),
        (lambda: schedules.WarmUp(steps=0), "steps must be at least 1"),
        (lambda: schedules.WarmUp(epochs=0), "epochs must be at least 1"),
        (lambda: schedules.WarmUp(steps=1, start=2.0), r"start must be in \[0, 1\]"),
        (lambda: schedules.WarmUp(steps=1, then=0.5), "then must be one of"),
    ],
)
def test_bad_options_are_refused(make, match):
    with pytest.raises((ValueError, TypeError), match=match):
        make()
