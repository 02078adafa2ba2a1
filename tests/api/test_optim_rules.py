"""What holds for every optimiser: the formula, PyTorch's steps, the fused step, its state."""

import copy
import inspect
import pickle

import numpy as np
import pytest

import fastfcn as ff
import reference
from api.checks import DTYPES, mlp, same_bits, same_state, two_threads
from api.optimiser_cases import CASES, WITH_SGD, make
from fastfcn import losses, nn, optim
from fastfcn.training import batch_order

STEPS = 50
SIZES = [17, 33, 15, 5]
N = 70


def gradients(shapes, dtype, seed=0):
    """Gradients of 50 steps, of many sizes, some of them zero."""
    rng = np.random.default_rng(seed)
    sizes = [10.0 ** rng.uniform(-3, 1, shape) for shape in shapes]
    return [
        [(size * rng.normal(size=size.shape) * (rng.random(size.shape) < 0.8)) for size in sizes]
        for _ in range(STEPS)
    ]


def take_steps(parameters, optimizer, steps):
    for values in steps:
        for parameter, value in zip(parameters, values, strict=True):
            parameter.grad[...] = value
        optimizer.step()


def bound(dtype, options):
    """Rounding of 50 steps: of θ, which is about 1, and of the steps, whose factor may be large."""
    return (256 if options.get("centered") else 64) * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_fifty_steps_follow_the_formula(name, options, dtype):
    layer = nn.Linear(17, 15, dtype=dtype, rng=np.random.default_rng(0))
    parameters = layer.parameters()
    optimizer = make(name, parameters, **options)
    expected = [p.copy().astype(np.float64) for p in parameters]
    start = options.get("initial_accumulator_value", 0.0)
    states = [{slot: np.full(p.shape, start) for slot in optimizer.slots} for p in parameters]
    steps = gradients([p.shape for p in parameters], dtype)
    take_steps(parameters, optimizer, steps)
    for t, values in enumerate(steps, 1):
        for i, value in enumerate(values):
            expected[i], states[i] = reference.OPTIMISERS[name](
                expected[i], value.astype(dtype), states[i], t, **options
            )
    tolerance = bound(dtype, options)
    saved = optimizer.state_dict()
    for i, p in enumerate(parameters):
        np.testing.assert_allclose(p.copy(), expected[i], rtol=tolerance, atol=tolerance)
        for slot in optimizer.slots:
            np.testing.assert_allclose(
                saved[slot][i], states[i][slot], rtol=tolerance, atol=tolerance, err_msg=slot
            )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_fifty_steps_are_pytorchs(requires_torch, name, options, dtype):
    torch = requires_torch
    layer = nn.Linear(17, 15, dtype=dtype, rng=np.random.default_rng(0))
    parameters = layer.parameters()
    tensors = [torch.nn.Parameter(torch.from_numpy(p.copy())) for p in parameters]
    theirs = getattr(torch.optim, name)(tensors, **options)
    steps = gradients([p.shape for p in parameters], dtype)
    take_steps(parameters, make(name, parameters, **options), steps)
    for values in steps:
        for tensor, value in zip(tensors, values, strict=True):
            tensor.grad = torch.from_numpy(value.astype(dtype))
        theirs.step()
    tolerance = bound(dtype, options)
    for p, tensor in zip(parameters, tensors, strict=True):
        np.testing.assert_allclose(
            p.copy(), tensor.detach().numpy(), rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_defaults_are_pytorchs(requires_torch, name):
    ours = make(name, mlp([2, 2]).parameters(), **({"lr": 0.001} if name == "SGD" else {}))
    theirs = getattr(requires_torch.optim, name)([requires_torch.zeros(1, requires_grad=True)])
    for option in ours.options:
        if option not in ("decay_bias", "decay_by_batch"):
            assert getattr(ours, option) == theirs.defaults[option], option


# ---- in fit ------------------------------------------------------------------------------------


def data(dtype):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, N)
    return (rng.normal(size=(5, 17))[y] + rng.normal(size=(N, 17))).astype(dtype), y


def fitted(name, options, dtype=np.float32, **fit_options):
    x, y = data(dtype)
    net = mlp(SIZES, dtype=dtype)
    optimizer = make(name, net.parameters(), **options)
    given = {"batch_size": 16, "epochs": 2, "seed": 3, **fit_options}
    ff.fit(net, x, y, loss=losses.CrossEntropyLoss(), optimizer=optimizer, **given)
    return net, optimizer


@pytest.mark.parametrize("decay_bias", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "options"), WITH_SGD, ids=str)
def test_fit_gives_the_bits_of_single_steps(name, options, dtype, decay_bias):
    options = {**options, "decay_bias": decay_bias}
    x, y = data(dtype)
    net, optimizer = fitted(name, options, dtype)
    other, loss = mlp(SIZES, dtype=dtype), losses.CrossEntropyLoss()
    single = make(name, other.parameters(), **options)
    for epoch in (1, 2):
        order = batch_order(3, epoch, N)
        for first in range(0, N, 16):
            rows = order[first : first + 16]
            single.zero_grad()
            other.backward(loss.grad(other(x[rows]), y[rows]))
            single.step()
    assert same_state(net.state_dict(), other.state_dict())
    assert same_bits(optimizer.state, single.state)
    assert optimizer.steps == single.steps == 10


@two_threads
@pytest.mark.parametrize(("name", "options"), WITH_SGD, ids=str)
def test_two_threads_give_the_bits_of_one(name, options):
    one, first = fitted(name, options, n_threads=1)
    two, second = fitted(name, options, n_threads=2)
    assert same_state(one.state_dict(), two.state_dict())
    assert same_bits(first.state, second.state)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "options"), WITH_SGD, ids=str)
def test_padding_stays_zero(name, options, dtype):
    net, optimizer = fitted(name, options, dtype)
    outside = np.ones(optimizer.slot, bool)
    for p in net.parameters():
        p.view(outside, p.offset)[...] = False
    assert outside.any()
    buffer = net.parameters()[0].buffer
    for flat in (buffer.values, *optimizer.state.reshape(-1, optimizer.slot)):
        assert not flat[outside].any()


@pytest.mark.parametrize(("name", "options"), WITH_SGD, ids=str)
def test_a_rate_scheduled_ahead_is_a_rate_changed_between_steps(name, options):
    """Rows of hyperparameters made ahead for many steps are those made step by step."""
    optimizer = make(name, mlp([3, 2]).parameters(), **options)
    factors = np.array([1.0, 0.5, 0.25])
    ahead = optimizer.hyperparameters(factors)
    lr = optimizer.lr
    for t, factor in enumerate(factors):
        optimizer.lr = lr * factor
        assert same_bits(optimizer.hyperparameters()[0], ahead[t])
        optimizer.steps += 1


# ---- state -------------------------------------------------------------------------------------


def cosines(net, optimizer, steps):
    for i in range(steps):
        for p in net.parameters():
            p.grad[...] = np.cos(np.arange(p.size) + i).reshape(p.shape)
        optimizer.step()


@pytest.mark.parametrize(("name", "options"), WITH_SGD, ids=str)
def test_one_restored_from_its_state_goes_on_with_the_same_bits(name, options):
    net = mlp([4, 5, 3])
    optimizer = make(name, net.parameters(), **options)
    cosines(net, optimizer, 3)
    weights, state = net.state_dict(), optimizer.state_dict()
    cosines(net, optimizer, 2)

    resumed = mlp([4, 5, 3], seed=9)
    resumed.load_state_dict(weights)
    again = make(name, resumed.parameters())  # with the defaults
    again.load_state_dict(state)
    assert again.state_dict().keys() == state.keys()
    assert repr(again) == repr(optimizer)
    cosines(resumed, again, 2)
    assert same_state(resumed.state_dict(), net.state_dict())


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))]
)
@pytest.mark.parametrize(("name", "options"), WITH_SGD, ids=str)
def test_a_copy_goes_on_alone_with_the_same_bits(name, options, duplicate):
    net = mlp([4, 5, 3])
    optimizer = make(name, net.parameters(), **options)
    cosines(net, optimizer, 3)
    before = net.state_dict()
    other, copied = duplicate((net, optimizer))
    cosines(other, copied, 2)
    assert same_state(net.state_dict(), before)
    cosines(net, optimizer, 2)
    assert same_state(net.state_dict(), other.state_dict())
    assert not same_state(net.state_dict(), before)


@pytest.mark.parametrize(("name", "options"), WITH_SGD, ids=str)
def test_the_state_of_another_optimiser_is_refused_and_changes_nothing(name, options):
    optimizer = make(name, mlp([4, 5, 3]).parameters(), **options)
    before, shown = optimizer.state.copy(), repr(optimizer)
    other = optim.Adagrad if name != "Adagrad" else optim.Adam
    with pytest.raises(ValueError, match=f"state must be a {name}'s"):
        optimizer.load_state_dict(other(mlp([4, 5, 3]).parameters()).state_dict())
    with pytest.raises(ValueError, match="must have shapes"):
        optimizer.load_state_dict(make(name, mlp([4, 6, 3]).parameters(), **options).state_dict())
    assert same_bits(optimizer.state, before) and repr(optimizer) == shown


@pytest.mark.parametrize(("name", "options"), WITH_SGD, ids=str)
def test_nan_gradients_reach_their_parameters_and_no_others(name, options):
    layer = nn.Linear(3, 21)
    optimizer = make(name, layer.parameters(), **options)
    layer.weight_grad[...] = 1.0
    layer.weight_grad[1, 17] = np.nan
    optimizer.step()
    assert np.argwhere(np.isnan(layer.weight)).tolist() == [[1, 17]]
    assert np.isfinite(layer.bias).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "options"), WITH_SGD, ids=str)
def test_state_never_holds_subnormal_numbers(name, options, dtype):
    layer = nn.Linear(3, 2, dtype=dtype)
    optimizer = make(name, layer.parameters(), **{**options, "weight_decay": 0.0})
    tiny = np.finfo(dtype).smallest_normal
    layer.weight_grad[...] = [[4 * tiny, 4 * np.sqrt(tiny)]] * 3
    for _ in range(60):
        optimizer.step()
        layer.weight_grad[...] = 0.0
        state = np.abs(optimizer.state)
        assert ((state == 0) | (state >= tiny)).all()


# ---- bad values --------------------------------------------------------------------------------

NAMES = ["Adam", "AdamW", "RMSprop", "Adagrad"]
POSITIVE = ["lr", "eps"]
NOT_NEGATIVE = ["weight_decay"]


@pytest.mark.parametrize("name", NAMES)
def test_numbers_that_must_be_above_0_are_refused_elsewhere(name):
    parameters = mlp([2, 2]).parameters()
    for option in POSITIVE:
        for value in (0, -1e-3, np.nan, np.inf):
            with pytest.raises(ValueError, match=f"{option} must be"):
                make(name, parameters, **{option: value})
    for option in NOT_NEGATIVE:
        for value in (-1e-3, np.nan, np.inf):
            with pytest.raises(ValueError, match=f"{option} must be"):
                make(name, parameters, **{option: value})
    for option in (*POSITIVE, *NOT_NEGATIVE):
        for value in ("0.1", None, [0.1, 0.2], True):
            with pytest.raises(TypeError, match=f"{option} must be"):
                make(name, parameters, **{option: value})


@pytest.mark.parametrize("name", ["SGD", "LBFGS", *NAMES])
def test_flags_are_true_or_false_and_nothing_else(name):
    given = inspect.signature(getattr(optim, name)).parameters.values()
    flags = [parameter.name for parameter in given if isinstance(parameter.default, bool)]
    assert {"decay_bias", "decay_by_batch"} <= set(flags)
    for option in flags:
        for value in ("no", 1, None):
            with pytest.raises(TypeError, match=f"{option} must be True or False, got"):
                getattr(optim, name)(mlp([2, 2]).parameters(), **{option: value})


@pytest.mark.parametrize("name", ["SGD", "LBFGS", *NAMES])
@pytest.mark.parametrize(
    ("samples", "error"), [(None, TypeError), ("8", TypeError), (-1, ValueError)]
)
def test_a_step_over_no_number_of_samples_is_refused(name, samples, error):
    net = mlp([2, 2])
    optimizer = getattr(optim, name)(net.parameters())
    first = [lambda: 0.0] if name == "LBFGS" else []
    with pytest.raises(error, match="samples must be"):
        optimizer.step(*first, samples)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_an_eps_too_small_for_the_precision_still_divides_by_more_than_0(name, dtype):
    layer = nn.Linear(3, 2, dtype=dtype)
    before = layer.weight.copy()
    optimizer = make(name, layer.parameters(), eps=1e-320, weight_decay=0.0)
    optimizer.step()
    assert same_bits(layer.weight, before)
