"""Bad input: a clear exception before anything changes."""

from inspect import isfunction

import numpy as np
import pytest

import fastfcn as ff
from api.checks import mlp, same_bits, same_state
from fastfcn import losses, nn, optim

N = 20


class Case:
    """A fit that would work, to be spoilt in one way."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.net = mlp([6, 7, 3])
        self.x = rng.normal(size=(N, 6)).astype(np.float32)
        self.y = rng.integers(0, 3, N)
        self.loss = losses.CrossEntropyLoss()
        self.optimizer = optim.SGD(self.net.parameters(), lr=0.1, momentum=0.9)
        self.options = {"batch_size": 8, "epochs": 1, "seed": 0}

    def fit(self):
        return ff.fit(
            self.net, self.x, self.y, loss=self.loss, optimizer=self.optimizer, **self.options
        )


def change(**attributes):
    """Return a function that gives a case other attributes; functions get the case's own value."""

    def apply(case):
        for name, value in attributes.items():
            given = value(getattr(case, name)) if isfunction(value) else value
            setattr(case, name, given)

    return apply


def option(**options):
    return lambda case: case.options.update(options)


def spoilt(value):
    """Put one value into a float copy of x."""

    def apply(x):
        x = x.copy()
        x[4, 2] = value
        return x

    return change(x=apply)


def labels(*values):
    def apply(y):
        y = y.copy()
        y[: len(values)] = values
        return y

    return change(y=apply)


FIT = {
    "x of three dimensions": (change(x=lambda x: x.reshape(N, 2, 3)), ValueError, "flatten"),
    "x of one dimension": (change(x=lambda x: x[0]), ValueError, "x must have shape"),
    "a scalar x": (change(x=3.0), ValueError, "x must have shape"),
    "too few features": (change(x=lambda x: x[:, :5]), ValueError, r"x must have shape \(n, 6\)"),
    "too many features": (change(x=lambda x: np.hstack([x, x])), ValueError, r"\(n, 6\)"),
    "empty data": (
        change(x=lambda x: x[:0], y=lambda y: y[:0]),
        ValueError,
        "x must have at least one row",
    ),
    "more rows than labels": (change(y=lambda y: y[:-1]), ValueError, "length"),
    "more labels than rows": (change(x=lambda x: x[:-1]), ValueError, "length"),
    "a scalar y": (change(y=1), ValueError, "length"),
    "a label too large": (labels(0, 3), ValueError, "between 0 and 2"),
    "a negative label": (labels(-1), ValueError, "between 0 and 2"),
    "labels from 1": (change(y=lambda y: y + 1), ValueError, "between 0 and 2"),
    "a huge unsigned label": (
        change(y=lambda y: np.where(np.arange(N) == 3, 2**64 - 1, y.astype(np.uint64))),
        ValueError,
        "between 0 and 2",
    ),
    "float labels": (change(y=lambda y: y.astype(float)), TypeError, r"integer.*astype\(int\)"),
    "boolean labels": (change(y=lambda y: y > 0), TypeError, "integer"),
    "text labels": (change(y=lambda y: y.astype(str)), TypeError, "integer.*LabelEncoder"),
    "object labels": (change(y=lambda y: y.astype(object)), TypeError, "integer"),
    "labels as a column": (change(y=lambda y: y[:, None]), ValueError, r"target.*y.ravel\(\)"),
    "NaN in x": (spoilt(np.nan), ValueError, r"x must be finite.*\(4, 2\)"),
    "infinity in x": (spoilt(np.inf), ValueError, r"x must be finite.*\(4, 2\)"),
    "minus infinity in x": (spoilt(-np.inf), ValueError, r"x must be finite.*\(4, 2\)"),
    "object x": (change(x=lambda x: x.astype(object)), TypeError, "x must be real"),
    "complex x": (change(x=lambda x: x.astype(complex)), TypeError, "x must be real"),
    "text x": (change(x=lambda x: x.astype(str)), TypeError, "x must be real"),
    "dates as x": (
        change(x=lambda x: x.astype(int).astype("datetime64[s]")),
        TypeError,
        "x must be real",
    ),
    "a masked x": (change(x=lambda x: np.ma.masked_less(x, 0)), TypeError, "masked"),
    "batch_size 0": (option(batch_size=0), ValueError, "batch_size must be"),
    "batch_size below 0": (option(batch_size=-8), ValueError, "batch_size must be"),
    "batch_size beyond n": (
        option(batch_size=N + 1),
        ValueError,
        "batch_size must be.*pass batch_size=20",
    ),
    "batch_size 2.5": (option(batch_size=2.5), TypeError, "batch_size must be"),
    "batch_size as text": (option(batch_size="8"), TypeError, "batch_size must be"),
    "batch_size True": (option(batch_size=True), TypeError, "batch_size must be"),
    "no epochs": (option(epochs=0), ValueError, "epochs must be"),
    "epochs 1.5": (option(epochs=1.5), TypeError, "epochs must be"),
    "a negative seed": (option(seed=-1), ValueError, "seed must be"),
    "a float seed": (option(seed=0.5), TypeError, "seed must be"),
    "progress as text": (option(progress="bar"), TypeError, "progress must be.*callbacks"),
    "progress 1": (option(progress=1), TypeError, "progress must be True or False, got 1"),
    "skip_zeros as text": (option(skip_zeros="no"), TypeError, "skip_zeros must be True or"),
    "check_finite None": (option(check_finite=None), TypeError, "check_finite must be True or"),
    "scale NaN": (option(scale=np.nan), ValueError, "scale must be"),
    "shift infinite": (option(shift=np.inf), ValueError, "shift must be"),
    "scale as text": (option(scale="1"), TypeError, "scale must be"),
    "no threads": (option(n_threads=0), ValueError, "n_threads must be"),
    "too many threads": (option(n_threads=10_000), ValueError, "n_threads must be"),
    "threads 1.5": (option(n_threads=1.5), TypeError, "n_threads must be"),
    "a loss's class": (
        change(loss=lambda loss: type(loss)),
        TypeError,
        r"loss must be.*make one with CrossEntropyLoss\(\)",
    ),
    "a loss's name": (change(loss="cross_entropy"), TypeError, "loss must be"),
    "a loss without reduction": (
        change(loss=losses.CrossEntropyLoss(reduction="none")),
        ValueError,
        "reduction must be",
    ),
    "class weights of another number": (
        change(loss=losses.CrossEntropyLoss(weight=[1.0, 2.0])),
        ValueError,
        "weight must",
    ),
    "a regression's loss with labels": (change(loss=losses.MSELoss()), ValueError, "target"),
    "targets of another width": (
        change(loss=losses.MSELoss(), y=np.zeros((N, 2))),
        ValueError,
        "target must have shape",
    ),
    "NaN in targets": (
        change(loss=losses.MSELoss(), y=np.full((N, 3), np.nan)),
        ValueError,
        "target must be finite",
    ),
    "rows that are no probabilities": (
        change(y=np.ones((N, 3))),
        ValueError,
        "probabilities",
    ),
    "BCE targets beyond 1": (
        change(loss=losses.BCEWithLogitsLoss(), y=np.full((N, 3), 1.5)),
        ValueError,
        "between 0 and 1",
    ),
    "probabilities' loss for logits": (
        change(loss=losses.BCELoss(), y=np.zeros((N, 3))),
        ValueError,
        "BCEWithLogitsLoss",
    ),
    "an optimiser's class": (
        change(optimizer=optim.SGD),
        TypeError,
        r"optimizer must be.*make one with SGD\(net.parameters\(\)\)",
    ),
    "another network's optimiser": (
        change(optimizer=lambda o: optim.SGD(mlp([6, 7, 3]).parameters(), lr=0.1)),
        ValueError,
        "optimizer must hold",
    ),
    "a network's class": (change(net=nn.Sequential), TypeError, "net must be"),
    "a layer for a network": (change(net=lambda n: n[0]), TypeError, "net must be"),
    "a network without Linear": (
        change(net=nn.Sequential(nn.ReLU())),
        ValueError,
        "at least one Linear",
    ),
    "an empty network": (change(net=nn.Sequential()), ValueError, "at least one Linear"),
    "validation of other features": (
        option(validation_data=(np.zeros((5, 4)), np.zeros(5, int))),
        ValueError,
        "validation",
    ),
    "validation of another length": (
        option(validation_data=(np.zeros((5, 6)), np.zeros(4, int))),
        ValueError,
        "validation",
    ),
    "a validation label too large": (
        option(validation_data=(np.zeros((5, 6)), np.full(5, 3))),
        ValueError,
        "between 0 and 2",
    ),
    "NaN in validation": (
        option(validation_data=(np.full((5, 6), np.nan), np.zeros(5, int))),
        ValueError,
        "validation",
    ),
    "empty validation": (
        option(validation_data=(np.zeros((0, 6)), np.zeros(0, int))),
        ValueError,
        "validation",
    ),
    "validation that is no pair": (
        option(validation_data=np.zeros((5, 6))),
        (ValueError, TypeError),
        "validation_data",
    ),
}


@pytest.mark.parametrize("name", FIT)
def test_fit_refuses_and_changes_nothing(name):
    spoil, error, match = FIT[name]
    case = Case()
    case.fit()
    net, optimizer = case.net, case.optimizer
    net(case.x)
    net.backward(case.loss.grad(net(case.x), case.y))
    weights, state = net.state_dict(), optimizer.state_dict()
    grads = [p.grad.copy() for p in net.parameters()]
    spoil(case)
    with pytest.raises(error, match=match):
        case.fit()
    assert same_state(net.state_dict(), weights)
    after = optimizer.state_dict()
    assert {k: v for k, v in after.items() if k != "velocity"} == {
        k: v for k, v in state.items() if k != "velocity"
    }
    for a, b in zip(after["velocity"], state["velocity"], strict=True):
        assert same_bits(a, b)
    for p, grad in zip(net.parameters(), grads, strict=True):
        assert same_bits(p.grad, grad)


@pytest.mark.parametrize(
    ("last", "loss", "suggestion"),
    [
        (nn.Softmax, losses.CrossEntropyLoss(), "leave that layer out"),
        (nn.Sigmoid, losses.CrossEntropyLoss(), "leave that layer out"),
        (nn.Sigmoid, losses.BCEWithLogitsLoss(), "leave that layer out"),
        (nn.Softmax, losses.NLLLoss(), "CrossEntropyLoss"),
    ],
)
def test_a_loss_that_does_not_fit_the_last_layer_is_refused(last, loss, suggestion):
    case = Case()
    case.net = mlp([6, 7, 3], last=last)
    case.optimizer = optim.SGD(case.net.parameters(), lr=0.1)
    case.loss = loss
    before = case.net.state_dict()
    with pytest.raises(ValueError, match=suggestion):
        case.fit()
    assert same_state(case.net.state_dict(), before)


def test_classes_for_a_single_output_are_refused():
    case = Case()
    case.net = mlp([6, 7, 1])
    case.optimizer = optim.SGD(case.net.parameters(), lr=0.1)
    case.y = np.zeros(N, int)
    with pytest.raises(ValueError, match="BCEWithLogitsLoss"):
        case.fit()


READ = {
    "predict": lambda net, x: ff.predict(net, x),
    "predict_proba": lambda net, x: ff.predict_proba(net, x),
    "evaluate": lambda net, x: ff.evaluate(
        net, x, np.zeros(len(x), int), loss=losses.CrossEntropyLoss()
    ),
}


@pytest.mark.parametrize(
    ("layers", "match"),
    [
        ([nn.Linear(4, 3), nn.ReLU], r"the class ReLU; make one with ReLU\(\)"),
        ([[nn.Linear(4, 3), nn.ReLU()]], r"a list; pass them one by one, Sequential\(\*layers\)"),
        ([nn.Linear(4, 3), np.tanh], "got <ufunc 'tanh'>"),
    ],
    ids=["a class", "a list", "a function"],
)
def test_sequential_says_what_is_no_layer(layers, match):
    with pytest.raises(TypeError, match="layers must be.*" + match):
        nn.Sequential(*layers)


def test_an_optimiser_without_parameters_says_where_they_come_from():
    class Forgetful(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 1)

    with pytest.raises(ValueError, match=r"at least one.*add_layers\(\[...\]\)"):
        optim.Adam(Forgetful().parameters())


@pytest.mark.parametrize("call", READ)
@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        (np.zeros((4, 5)), ValueError, r"x must have shape \(n, 6\)"),
        (np.zeros(6), ValueError, "reshape"),
        (np.zeros((4, 2, 3)), ValueError, "flatten"),
        (np.zeros((0, 6)), ValueError, "at least one row"),
        (np.full((4, 6), np.nan), ValueError, "finite"),
        (np.full((4, 6), np.inf), ValueError, "finite"),
        (np.zeros((4, 6), object), TypeError, "real"),
        (np.zeros((4, 6), complex), TypeError, "real"),
    ],
)
def test_predictions_refuse_what_fit_refuses(call, x, error, match):
    with pytest.raises(error, match=match):
        READ[call](mlp([6, 7, 3]), x)


@pytest.mark.parametrize("call", READ)
def test_predictions_refuse_a_network_without_linear(call):
    with pytest.raises(ValueError, match="at least one Linear"):
        READ[call](nn.Sequential(nn.ReLU()), np.zeros((4, 6)))


def test_evaluate_refuses_labels_that_do_not_fit():
    net, loss = mlp([6, 7, 3]), losses.CrossEntropyLoss()
    with pytest.raises(ValueError, match="between 0 and 2"):
        ff.evaluate(net, np.zeros((2, 6)), [0, 3], loss=loss)
    with pytest.raises(ValueError, match="length"):
        ff.evaluate(net, np.zeros((2, 6)), [0], loss=loss)


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (np.zeros((4, 5)), ValueError),
        (np.zeros(6), ValueError),
        (np.zeros((4, 6), object), TypeError),
        (np.zeros((4, 6), complex), TypeError),
    ],
)
def test_a_forward_pass_refuses_input_that_does_not_fit(x, error):
    net = mlp([6, 7, 3])
    for forward in (net, net[0]):
        with pytest.raises(error, match="x must"):
            forward(x)


def test_float_data_that_overflow_the_networks_precision_are_refused():
    """1e300 is finite in float64 and infinite in a float32 network."""
    case = Case()
    case.x = case.x.astype(np.float64)
    case.x[4, 2] = 1e300
    before = case.net.state_dict()
    with pytest.raises(ValueError, match="x must be finite"):
        case.fit()
    assert same_state(case.net.state_dict(), before)
