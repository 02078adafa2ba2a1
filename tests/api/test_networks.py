import copy
import pickle

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
)
from fastfcn import losses, nn, optim
from fastfcn.nn import Linear, ReLU


class Net(nn.Module):
    """The first reference's network, smaller."""

    def __init__(self, rng=None):
        super().__init__("FCN")
        self.fcn1 = nn.Linear(7 * 7, 32, rng=rng)
        self.fcn2 = nn.Linear(32, 17, rng=rng)
        self.fcn3 = nn.Linear(17, 10, rng=rng)
        self.relu1 = ReLU()
        self.relu2 = ReLU()
        self.add_layers([self.fcn1, self.relu1, self.fcn2, self.relu2, self.fcn3])

    def forward(self, x):
        x = self.fcn1(x)
        x = self.relu1(x)
        x = self.fcn2(x)
        x = self.relu2(x)
        x = self.fcn3(x)
        return x


def test_the_first_references_training_script_runs_almost_unchanged():
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 10
    inputs = (rng.normal(size=(10, 49))[labels] + 0.3 * rng.normal(size=(200, 49))).astype("f4")

    net = Net(rng)
    criterion = losses.CrossEntropyLoss()
    optimizer = optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    history = []
    for _ in range(10):
        for start in range(0, 200, 32):
            data, label = inputs[start : start + 32], labels[start : start + 32]
            optimizer.zero_grad()
            output = net(data)
            loss = criterion(output, label)
            net.backward(criterion.grad(output, label))
            optimizer.step()
            history.append(loss)
    assert history[0] > 1.5
    assert history[-1] < 0.1
    assert (net(inputs).argmax(axis=1) == labels).all()


def test_a_module_and_a_sequential_of_its_layers_give_the_same_bits():
    rng = np.random.default_rng(0)
    module, sequential = Net(rng), mlp([49, 32, 17, 10])
    sequential.load_state_dict(module.state_dict())
    x, delta = rng.normal(size=(13, 49)).astype("f4"), rng.normal(size=(13, 10)).astype("f4")
    assert same_bits(module(x), sequential(x))
    assert same_bits(module.backward(delta), sequential.backward(delta))
    for p, q in zip(module.parameters(), sequential.parameters(), strict=True):
        assert same_bits(p.grad, q.grad)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_forward_and_backward_equal_the_reference(name, dtype):
    rng = np.random.default_rng(0)
    net = mlp([17, 16, 15, 5], ACTIVATIONS[name], dtype)
    names = [name, name, "Identity"]
    layers = oracle_layers(net)
    eps = np.finfo(dtype).eps
    for n in (1, 5, 6, 7, 13):
        x, delta = rng.normal(size=(n, 17)).astype(dtype), rng.normal(size=(n, 5)).astype(dtype)
        net.zero_grad()
        output, inputs, zs = reference.network_forward(layers, names, x)
        np.testing.assert_allclose(net(x), output, rtol=64 * eps, atol=64 * eps)
        gradient = net.backward(delta)
        grads, exact = reference.network_backward(layers, names, inputs, zs, delta)
        np.testing.assert_allclose(gradient, exact, rtol=64 * eps, atol=64 * eps)
        for layer, (dw, db) in zip(linears(net), grads, strict=True):
            np.testing.assert_allclose(layer.weight_grad, dw, rtol=64 * eps, atol=128 * eps)
            np.testing.assert_allclose(layer.bias_grad, db, rtol=64 * eps, atol=128 * eps)


GRADIENT_LOSSES = {
    "CrossEntropyLoss": (
        losses.CrossEntropyLoss(weight=[0.5, 2.0, 1.0], label_smoothing=0.1),
        np.array([0, 2, 1, 1, -100, 0]),
    ),
    "MSELoss": (losses.MSELoss(), np.random.default_rng(1).normal(size=(6, 3))),
    "BCEWithLogitsLoss": (losses.BCEWithLogitsLoss(), np.random.default_rng(1).random((6, 3))),
}


@pytest.mark.parametrize("criterion", GRADIENT_LOSSES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_of_a_whole_network_agree_with_finite_differences(name, criterion):
    net = mlp([4, 6, 5, 3], ACTIVATIONS[name], np.float64, seed=5)
    loss, y = GRADIENT_LOSSES[criterion]
    x = np.random.default_rng(6).normal(size=(6, 4))
    if name in ("ReLU", "LeakyReLU", "ELU"):
        _, _, zs = reference.network_forward(oracle_layers(net), [name, name, "Identity"], x)
        assert min(np.abs(z).min() for z in zs[:-1]) > 1e-3, "a kink within the stencil"
    output = net(x)
    dx = net.backward(loss.grad(output, y))

    def close(gradient, numeric):
        return np.abs(gradient - numeric).max() <= 1e-6 * np.abs(numeric).max()

    assert close(dx, reference.numerical_gradient(lambda v: loss(net(v), y), x, step=1e-4))
    for parameter in net.parameters():
        kept = parameter.data.copy()

        def value(candidate, parameter=parameter):
            parameter.data[...] = candidate
            return loss(net(x), y)

        numeric = reference.numerical_gradient(value, kept, step=1e-4)
        parameter.data[...] = kept
        assert close(parameter.grad, numeric), parameter


def test_finite_differences_agree_through_a_softmax_and_a_sigmoid_output():
    for last, loss, y in [
        (nn.Softmax, losses.MSELoss(), np.eye(3)[[0, 2, 1, 1, 0]]),
        (nn.Sigmoid, losses.BCELoss(), np.random.default_rng(1).random((5, 3))),
    ]:
        net = mlp([4, 6, 3], nn.Tanh, np.float64, seed=5, last=last)
        x = np.random.default_rng(6).normal(size=(5, 4))
        dx = net.backward(loss.grad(net(x), y))
        numeric = reference.numerical_gradient(lambda v: loss(net(v), y), x, step=1e-4)  # noqa: B023
        assert np.abs(dx - numeric).max() <= 1e-6 * np.abs(numeric).max()


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_may_stand_first_last_and_in_a_row(dtype):
    rng = np.random.default_rng(0)
    parts = [
        nn.Tanh(),
        nn.Linear(9, 17, dtype=dtype, rng=rng),
        nn.GELU(),
        nn.ELU(),
        nn.Softmax(),
        nn.Linear(17, 4, bias=False, dtype=dtype, rng=rng),
        nn.Sigmoid(),
        nn.Identity(),
        nn.Softplus(),
    ]
    net = nn.Sequential(*parts)
    x, delta = rng.normal(size=(7, 9)).astype(dtype), rng.normal(size=(7, 4)).astype(dtype)
    a, tape = x.astype(float), []
    for part in parts:
        tape.append(a)
        if isinstance(part, nn.Linear):
            a = reference.linear_forward(a, part.weight, part.bias)
        else:
            a = reference.activate(type(part).__name__, a)
    g = delta.astype(float)
    for part, inputs in zip(reversed(parts), reversed(tape), strict=True):
        if isinstance(part, nn.Linear):
            g = g @ part.weight.astype(float).T
        else:
            g = reference.activation_vjp(type(part).__name__, inputs, g)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(net(x), a, rtol=64 * eps, atol=64 * eps)
    np.testing.assert_allclose(net.backward(delta), g, rtol=64 * eps, atol=64 * eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_of_two_backward_passes_add_up(dtype):
    net = mlp([17, 16, 5], nn.Tanh, dtype)
    rng = np.random.default_rng(0)
    batches = [
        (rng.normal(size=(n, 17)).astype(dtype), rng.normal(size=(n, 5)).astype(dtype))
        for n in (7, 6)
    ]
    separate = []
    for x, delta in batches:
        net.zero_grad()
        net(x)
        net.backward(delta)
        separate.append([p.grad.copy() for p in net.parameters()])
    net.zero_grad()
    for x, delta in batches:
        net(x)
        net.backward(delta)
    eps = np.finfo(dtype).eps
    for p, first, second in zip(net.parameters(), *separate, strict=True):
        np.testing.assert_allclose(p.grad, first + second, rtol=16 * eps, atol=32 * eps)


def test_state_dict_round_trips_every_bit_under_its_layers_number():
    net = mlp([5, 4, 3])
    state = net.state_dict()
    assert list(state) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert state["0.weight"].shape == (5, 4) and state["0.weight"].flags.c_contiguous
    other = mlp([5, 4, 3], seed=1)
    assert not same_state(other.state_dict(), state)
    other.load_state_dict(state)
    assert same_state(other.state_dict(), state)
    x = np.ones((2, 5), np.float32)
    assert same_bits(net(x), other(x))


def test_state_dict_is_a_copy():
    net = mlp([5, 4, 3])
    state = net.state_dict()
    state["0.weight"][...] = 0
    assert net[0].weight.any()


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.pop("2.bias"),
        lambda s: s.update({"3.weight": np.zeros((3, 3))}),
        lambda s: s.update({"2.weight": np.zeros((3, 4))}),
        lambda s: s.update({"2.bias": np.array(["a", "b", "c"])}),
    ],
    ids=["missing", "unknown", "shape", "text"],
)
def test_a_state_dict_that_does_not_fit_changes_nothing(change):
    net = mlp([5, 4, 3])
    before = net.state_dict()
    state = mlp([5, 4, 3], seed=1).state_dict()
    change(state)
    with pytest.raises((ValueError, TypeError), match="state"):
        net.load_state_dict(state)
    assert same_state(net.state_dict(), before)


def test_a_network_is_a_sequence_of_its_layers():
    net = mlp([5, 4, 3])
    assert len(net) == 3
    assert [type(layer).__name__ for layer in net] == ["Linear", "ReLU", "Linear"]
    assert net[0] is list(net)[0] and net[-1].out_features == 3
    with pytest.raises(IndexError):
        net[3]


def test_repr_shows_layers_shapes_and_parameter_counts():
    text = repr(nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10, bias=False)))
    for part in ("Sequential", "784", "256", "ReLU", "200,960", "2,560", "203,520", "bias=False"):
        assert part in text
    assert repr(Net()).startswith("FCN")


def test_a_layer_shared_by_two_places_is_rejected():
    shared, activation = nn.Linear(4, 4), nn.ReLU()
    with pytest.raises(ValueError, match="once"):
        nn.Sequential(shared, nn.ReLU(), shared)
    with pytest.raises(ValueError, match="once"):
        nn.Sequential(nn.Linear(4, 4), activation, nn.Linear(4, 4), activation)


def test_layers_that_do_not_chain_are_rejected():
    with pytest.raises(ValueError, match="in_features=5"):
        nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(6, 3))


def test_layers_of_two_dtypes_are_rejected():
    with pytest.raises(ValueError, match="dtype"):
        nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3, dtype=np.float64))


def test_something_that_is_not_a_layer_is_rejected():
    with pytest.raises(TypeError, match="layers must be"):
        nn.Sequential(nn.Linear(4, 5), np.tanh)


def test_a_rejected_network_leaves_its_layers_usable():
    a, b = nn.Linear(4, 5), nn.Linear(6, 3)
    before = a.state_dict()
    with pytest.raises(ValueError, match="in_features"):
        nn.Sequential(a, b)
    assert same_state(a.state_dict(), before)
    assert a(np.ones((1, 4))).shape == (1, 5)


def test_a_nested_network_trains_with_the_outer_one():
    inner = nn.Sequential(nn.Linear(4, 5), nn.Tanh())
    net = nn.Sequential(inner, nn.Linear(5, 3))
    assert len(net.parameters()) == 4
    optimizer = optim.SGD(net.parameters(), lr=0.5)
    before = inner[0].weight.copy()
    net(np.ones((2, 4)))
    net.backward(np.ones((2, 3)))
    optimizer.step()
    assert not same_bits(inner[0].weight, before)
    assert same_bits(inner[0].weight, net.state_dict()["0.weight"])


class Encoder(nn.Module):
    """A network that calls another one."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(0)
        self.body = nn.Sequential(nn.Linear(4, 5, rng=rng), nn.Tanh(), nn.Dropout(0.5, seed=0))
        self.head = nn.Linear(5, 3, rng=rng)
        self.add_layers([self.body, self.head])

    def forward(self, x):
        return self.head(self.body(x))


def test_a_module_that_calls_a_network_trains_predicts_and_goes_back():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 4)).astype(np.float32), rng.integers(0, 3, 40)
    net, twin = Encoder(), nn.Sequential(*Encoder().layers)
    for trained in (net, twin):
        ff.fit(
            trained, x, y, loss=losses.CrossEntropyLoss(), seed=0, epochs=3,
            optimizer=optim.SGD(trained.parameters(), lr=0.1),
        )  # fmt: skip
    assert same_state(net.state_dict(), twin.state_dict())
    assert same_bits(net.eval()(x), ff.predict(net, x))
    for each in (net.train(), twin.train()):
        each(x)
        assert each.backward(np.ones((40, 3))).shape == x.shape
    assert same_bits(net.head.weight_grad, twin[-1].weight_grad)


def test_networks_of_the_same_layers_share_their_parameters():
    whole = mlp([4, 5, 3])
    part = nn.Sequential(whole[0], whole[1])
    x = np.ones((2, 4), np.float32)
    buffer = whole.plan().buffer
    part(x), whole(x), part[0](x)
    assert whole.plan().buffer is part.plan().buffer is buffer


def test_a_fit_whose_layers_go_to_another_network_says_so():
    class Thief:
        def on_epoch_begin(self, run):
            nn.Sequential(run.net[0], nn.Linear(5, 2))

    net, x = mlp([4, 5, 3]), np.ones((8, 4), np.float32)
    sgd = optim.SGD(net.parameters())
    with pytest.raises(RuntimeError, match="part of another network"):
        ff.fit(
            net, x, np.zeros(8, int), loss=losses.CrossEntropyLoss(), optimizer=sgd,
            batch_size=8, callbacks=[Thief()],
        )  # fmt: skip


def test_weights_written_through_a_layer_reach_the_network():
    first, second = nn.Linear(2, 2), nn.Linear(2, 1)
    net = nn.Sequential(first, second)
    first.weight = np.eye(2)
    first.bias[...] = [1, -1]
    second.weight[...] = [[1], [10]]
    second.bias = [0]
    assert net(np.array([[2, 3]], np.float32)).tolist() == [[23.0]]
    net.load_state_dict({k: np.zeros_like(v) for k, v in net.state_dict().items()})
    assert not first.weight.any()


def test_an_optimiser_made_before_its_network_still_trains_it():
    layers = [nn.Linear(3, 2, rng=np.random.default_rng(0)), nn.Linear(2, 2)]
    optimizer = optim.SGD([p for layer in layers for p in layer.parameters()], lr=0.1)
    net = nn.Sequential(*layers)
    before = net.state_dict()
    net(np.ones((2, 3)))
    net.backward(np.ones((2, 2)))
    optimizer.step()
    assert not same_bits(net.state_dict()["0.weight"], before["0.weight"])


def test_outputs_and_gradients_are_the_callers_own():
    net = mlp([4, 5, 3])
    x, delta = np.ones((2, 4), np.float32), np.ones((2, 3), np.float32)
    output = net(x)
    gradient = net.backward(delta)
    kept = output.copy(), gradient.copy()
    net(2 * x)
    net.backward(3 * delta)
    assert same_bits(output, kept[0]) and same_bits(gradient, kept[1])
    assert (x == 1).all() and (delta == 1).all()


def test_the_batch_may_change_its_size_between_calls():
    net = mlp([4, 5, 3])
    x = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    whole = net(x)
    for n in (1, 7, 20, 3, 13):
        assert same_bits(net(x[:n]), whole[:n])


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_are_independent_and_equal(clone):
    net = mlp([4, 5, 3])
    x = np.ones((2, 4), np.float32)
    output = net(x)
    other = clone(net)
    assert same_bits(other(x), output)
    optimizer = optim.SGD(other.parameters(), lr=0.5)
    other.backward(np.ones((2, 3), np.float32))
    optimizer.step()
    assert not same_bits(other(x), output)
    assert same_bits(net(x), output)


def test_gradients_have_memory_once_they_are_asked_for():
    net = mlp([4, 5, 3])
    optimizer = optim.SGD(net.parameters(), lr=0.5)
    net.zero_grad()
    optimizer.zero_grad()
    assert not net.plan().buffer.has_grads
    net[0].weight_grad[0, 0] = 2.0
    assert net.plan().buffer.has_grads and net[0].weight_grad[0, 0] == 2.0
    larger = nn.Sequential(net, nn.Linear(3, 2))
    larger.plan()
    assert net[0].weight_grad[0, 0] == 2.0, "gradients move with their parameters"


def test_a_pickle_from_when_every_buffer_had_gradients_loads():
    buffer = mlp([4, 5, 3]).plan().buffer
    state = {key: value for key, value in vars(buffer).items() if key != "_grads"}
    state["grads"] = np.full_like(buffer.values, 3.0)
    other = object.__new__(type(buffer))
    other.__setstate__(state)
    assert same_bits(other.values, buffer.values)
    assert (other.grads == 3.0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_in_one_row_stays_in_that_row(dtype):
    net = mlp([17, 16, 5], nn.ReLU, dtype)
    x = np.random.default_rng(0).normal(size=(13, 17)).astype(dtype)
    clean = net(x)
    x[6, 3] = np.nan
    got = net(x)
    assert np.isnan(got[6]).all()
    assert same_bits(np.delete(got, 6, axis=0), np.delete(clean, 6, axis=0))


def test_a_network_without_linear_layers_still_maps():
    net = nn.Sequential(nn.Tanh(), nn.Softmax())
    x = np.array([[0.5, -1.0, 2.0]])
    np.testing.assert_allclose(net(x), reference.softmax(np.tanh(x)), rtol=1e-14)


def test_a_module_without_forward_says_what_to_define():
    net = nn.Module()
    net.add_layers([Linear(2, 2)])
    with pytest.raises(NotImplementedError, match="forward"):
        net(np.ones((1, 2)))


@pytest.mark.parametrize("state", [None, "weights.safetensors"])
def test_a_state_that_is_none_says_how_to_read_one(state):
    with pytest.raises(TypeError, match=r"mapping of names to arrays.*load_weights\(path\)"):
        nn.Sequential(nn.Linear(2, 2)).load_state_dict(state)
