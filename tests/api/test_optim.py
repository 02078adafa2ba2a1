import numpy as np
import pytest

import reference
from api.checks import DTYPES, mlp, same_bits, same_state
from fastfcn import losses, nn, optim


@pytest.mark.parametrize("dtype", DTYPES)
def test_two_steps_worked_out_by_hand(dtype):
    layer = nn.Linear(2, 1, dtype=dtype)
    layer.weight = [[1.0], [-2.0]]
    layer.bias = [0.5]
    optimizer = optim.SGD(layer.parameters(), lr=0.25, momentum=0.5)
    x = np.array([[1.0, 2.0], [3.0, -4.0]], dtype)
    y = np.array([[0.5], [9.5]], dtype)
    loss = losses.MSELoss()

    # z = (1 - 4 + .5, 3 + 8 + .5) = (-2.5, 11.5); errors (-3, 2); loss (9 + 4)/2; δ = errors.
    z = layer(x)
    assert z.ravel().tolist() == [-2.5, 11.5]
    assert loss(z, y) == 6.5
    delta = loss.grad(z, y)
    assert delta.ravel().tolist() == [-3.0, 2.0]
    layer.backward(delta)
    # dW = (1·-3 + 3·2, 2·-3 - 4·2) = (3, -14); db = -1.
    assert layer.weight_grad.ravel().tolist() == [3.0, -14.0]
    assert layer.bias_grad.tolist() == [-1.0]
    optimizer.step()
    # v = -.25 (3, -14), .25; θ = (1 - .75, -2 + 3.5), .5 + .25.
    assert layer.weight.ravel().tolist() == [0.25, 1.5]
    assert layer.bias.tolist() == [0.75]
    # The same gradient again: v = .5 (-.75, 3.5) + (-.75, 3.5) = (-1.125, 5.25); .375 for the bias.
    optimizer.step()
    assert layer.weight.ravel().tolist() == [-0.875, 6.75]
    assert layer.bias.tolist() == [1.125]


OPTIONS = [
    {"lr": 0.1},
    {"lr": 0.02, "momentum": 0.9},
    {"lr": 0.02, "momentum": 0.9, "nesterov": True},
    {"lr": 0.05, "weight_decay": 0.01},
    {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.01},
    {"lr": 0.02, "momentum": 0.5, "nesterov": True, "weight_decay": 0.01},
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_steps_follow_the_reference(options, dtype):
    rng = np.random.default_rng(0)
    layer = nn.Linear(17, 15, dtype=dtype, rng=rng)
    optimizer = optim.SGD(layer.parameters(), **options)
    expected = [p.data.astype(np.float64) for p in layer.parameters()]
    velocities = [np.zeros_like(e) for e in expected]
    for _ in range(6):
        for i, p in enumerate(layer.parameters()):
            p.grad[...] = rng.normal(size=p.shape)
            expected[i], velocities[i] = reference.sgd(
                expected[i], p.grad, velocities[i], **options
            )
        optimizer.step()
    eps = np.finfo(dtype).eps
    for p, e, v, got in zip(
        layer.parameters(), expected, velocities, optimizer.state_dict()["velocity"], strict=True
    ):
        np.testing.assert_allclose(p.data, e, rtol=16 * eps, atol=32 * eps)
        np.testing.assert_allclose(got, v, rtol=16 * eps, atol=32 * eps)


def test_zero_grad_sets_gradients_to_zero_and_nothing_else():
    net = mlp([4, 5, 3])
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    before = net.state_dict()
    net(np.ones((2, 4), np.float32))
    net.backward(np.ones((2, 3), np.float32))
    assert any(p.grad.any() for p in net.parameters())
    optimizer.zero_grad()
    assert not any(p.grad.any() for p in net.parameters())
    assert same_state(net.state_dict(), before)


def test_the_learning_rate_may_change_between_steps():
    layer = nn.Linear(1, 1, bias=False, dtype=np.float64)
    layer.weight = [[1.0]]
    layer.weight_grad[...] = 1.0
    optimizer = optim.SGD(layer.parameters(), lr=0.5)
    optimizer.step()
    optimizer.lr = 0.25
    assert optimizer.lr == 0.25
    optimizer.step()
    assert layer.weight[0, 0] == 0.25


def test_only_the_given_parameters_move():
    net = mlp([4, 5, 3])
    before = net.state_dict()
    optimizer = optim.SGD(net[2].parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for p in net.parameters():
        p.grad[...] = 1.0
    optimizer.step()
    after = net.state_dict()
    for name in before:
        assert same_bits(before[name], after[name]) == name.startswith("0."), name


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_velocity_never_decays_into_subnormals(dtype):
    layer = nn.Linear(3, 2, dtype=dtype)
    optimizer = optim.SGD(layer.parameters(), lr=1.0, momentum=0.5)
    smallest = np.finfo(dtype).smallest_normal
    layer.weight_grad[...] = 4 * smallest
    optimizer.step()
    layer.weight_grad[...] = 0.0
    seen = []
    for _ in range(5):
        seen.append(abs(optimizer.state_dict()["velocity"][0][0, 0]))
        optimizer.step()
    assert seen == [4 * smallest, 2 * smallest, smallest, 0.0, 0.0]


def test_nan_gradients_reach_the_parameters():
    layer = nn.Linear(2, 2)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    layer.weight_grad[0, 1] = np.nan
    optimizer.step()
    assert np.isnan(layer.weight).tolist() == [[False, True], [False, False]]
    assert np.isfinite(layer.bias).all()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_an_optimiser_restored_from_its_state_goes_on_with_the_same_bits(options):
    def advance(net, optimizer, steps):
        for i in range(steps):
            for p in net.parameters():
                p.grad[...] = np.cos(np.arange(p.grad.size) + i).reshape(p.shape)
            optimizer.step()

    straight = mlp([4, 5, 3])
    optimizer = optim.SGD(straight.parameters(), **options)
    advance(straight, optimizer, 3)
    weights, state = straight.state_dict(), optimizer.state_dict()
    advance(straight, optimizer, 2)

    resumed = mlp([4, 5, 3], seed=9)
    resumed.load_state_dict(weights)
    again = optim.SGD(resumed.parameters(), lr=1.0)
    again.load_state_dict(state)
    assert again.lr == options["lr"]
    advance(resumed, again, 2)
    assert same_state(resumed.state_dict(), straight.state_dict())


def test_a_state_that_does_not_fit_changes_nothing():
    optimizer = optim.SGD(mlp([4, 5, 3]).parameters(), lr=0.1)
    other = optim.SGD(mlp([4, 6, 3]).parameters(), lr=0.7, momentum=0.5)
    with pytest.raises(ValueError, match="velocity"):
        optimizer.load_state_dict(other.state_dict())
    assert optimizer.lr == 0.1 and optimizer.momentum == 0.0


@pytest.mark.parametrize("lr", [0, 0.0, -1e-3, np.nan, np.inf])
def test_a_learning_rate_that_is_not_positive_is_rejected(lr):
    net = mlp([2, 2])
    with pytest.raises(ValueError, match="lr must be"):
        optim.SGD(net.parameters(), lr=lr)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="lr must be"):
        optimizer.lr = lr
    assert optimizer.lr == 0.1


@pytest.mark.parametrize("momentum", [-0.1, 1.0, 1.5, np.nan, np.inf])
def test_a_momentum_outside_0_to_1_is_rejected(momentum):
    with pytest.raises(ValueError, match="momentum must be"):
        optim.SGD(mlp([2, 2]).parameters(), momentum=momentum)


@pytest.mark.parametrize("decay", [-0.1, np.nan])
def test_a_negative_weight_decay_is_rejected(decay):
    with pytest.raises(ValueError, match="weight_decay must be"):
        optim.SGD(mlp([2, 2]).parameters(), weight_decay=decay)


@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay"])
def test_hyperparameters_that_are_not_numbers_are_rejected(name):
    for value in ("0.1", None, [0.1, 0.2]):
        with pytest.raises(TypeError, match=f"{name} must be"):
            optim.SGD(mlp([2, 2]).parameters(), **{name: value})


def test_parameters_must_be_parameters_given_once():
    net = mlp([2, 2])
    with pytest.raises(ValueError, match="parameters must"):
        optim.SGD([])
    with pytest.raises(TypeError, match="parameters must"):
        optim.SGD([np.zeros(3)])
    with pytest.raises(ValueError, match="parameters must"):
        optim.SGD(net.parameters() * 2)


def test_an_option_that_wants_more_state_is_refused_later():
    for optimizer, name, value in [
        (optim.RMSprop, "momentum", 0.9),
        (optim.RMSprop, "centered", True),
        (optim.Adam, "amsgrad", True),
    ]:
        given = optimizer(nn.Linear(3, 2).parameters())
        setattr(given, name, value)
        with pytest.raises(RuntimeError, match="make a new one"):
            given.step()
