"""The optimiser of solver="lbfgs": SciPy's iterations on the network's loss."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize

import fastfcn as ff
import reference
from api.checks import mlp, same_state
from fastfcn import losses, nn, optim
from fastfcn.data import Intake
from fastfcn.epochs import Recipe
from fastfcn.estimators.scipy_lbfgs import OverVector, ScipyLBFGS
from fastfcn.objective import Objective

N = 130


def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 5, N)
    return rng.normal(size=(5, 17))[y] + rng.normal(size=(N, 17)), y


def network() -> nn.Sequential:
    return mlp([17, 12, 5], nn.Tanh, np.float64)


def fitted(epochs: int, callbacks: Any = (), **hyper: Any) -> tuple[Any, Any, Any]:
    net, (x, y) = network(), data()
    lbfgs = ScipyLBFGS(net.parameters(), **hyper)
    history = ff.fit(
        net, x, y, loss=losses.CrossEntropyLoss(), optimizer=lbfgs, epochs=epochs,
        callbacks=callbacks,
    )  # fmt: skip
    return net, lbfgs, history


def test_the_gradient_is_that_of_the_penalised_loss() -> None:
    """By central differences, with biases left out of the penalty and frozen parameters."""
    (x, y), net, loss = data(), network(), losses.CrossEntropyLoss()
    intake = Intake(net.plan(), loss, 1.0, 0.0, True)
    lbfgs = ScipyLBFGS(
        net[2].parameters(), weight_decay=26.0, decay_bias=False, decay_by_batch=True
    )
    recipe = Recipe(net, net.plan(), loss, lbfgs)
    evaluate = OverVector(lbfgs, Objective(recipe, intake.whole(x, y, None)))
    theta = evaluate.theta()
    assert theta.size == 12 * 5 + 5
    value, gradient = evaluate(theta)
    penalty = 26.0 / N / 2 * (net[2].weight ** 2).sum()
    assert_allclose(value, loss(net(x), y) + penalty, rtol=1e-13)
    for i in range(0, theta.size, 7):
        moved = theta.copy()
        moved[i] += 1e-5
        above = evaluate(moved)[0]
        moved[i] -= 2e-5
        assert_allclose(gradient[i], (above - evaluate(moved)[0]) / 2e-5, atol=1e-8)


def reference_objective(x: Any, y: Any, shapes: Any, decay: float) -> Any:
    """The oracle's loss and gradient by one vector."""

    def evaluate(theta: Any) -> tuple[float, Any]:
        ends = np.cumsum([np.prod(shape) for shape in shapes])[:-1]
        parts = [part.reshape(s) for part, s in zip(np.split(theta, ends), shapes, strict=True)]
        layers = list(zip(parts[::2], parts[1::2], strict=True))
        output, inputs, zs = reference.network_forward(layers, ["Tanh", "Identity"], x)
        value, delta = reference.cross_entropy(output, y)
        grads, _ = reference.network_backward(layers, ["Tanh", "Identity"], inputs, zs, delta)
        flat = np.concatenate([g.ravel() for pair in grads for g in pair])
        return value + decay / 2 * (theta**2).sum(), flat + decay * theta

    return evaluate


@pytest.mark.parametrize("iterations", [1, 5, 20])
def test_iterations_are_scipys_on_the_same_function(iterations: int) -> None:
    x, y = data()
    parameters = network().parameters()
    theirs = minimize(
        reference_objective(x, y, [p.shape for p in parameters], 0.01),
        np.concatenate([p.copy().ravel() for p in parameters]),
        method="L-BFGS-B",
        jac=True,
        options={"maxiter": iterations, "maxcor": 7},
    )
    net, lbfgs, history = fitted(iterations, history_size=7, weight_decay=0.01)
    theta = np.concatenate([p.copy().ravel() for p in net.parameters()])
    assert_allclose(theta, theirs.x, rtol=1e-6, atol=1e-8)
    assert_allclose(lbfgs.value, theirs.fun, rtol=1e-9)
    assert lbfgs.evaluations == theirs.nfev
    assert lbfgs.steps == len(history) == theirs.nit == iterations


def test_it_ends_where_the_minimum_is_and_says_so() -> None:
    _, lbfgs, history = fitted(1000, weight_decay=0.1)
    assert lbfgs.converged and len(history) < 1000
    assert history.stop_reason.startswith("converged: ")


def test_what_interrupts_it_leaves_the_last_iteration() -> None:
    class Interrupt:
        def on_epoch_begin(self, run: Any) -> None:
            if run.epoch == 4:
                raise KeyboardInterrupt

    class Keep:
        def on_epoch_end(self, run: Any) -> None:
            self.net, self.state = run.net, run.net.state_dict()

    keep = Keep()
    with pytest.raises(KeyboardInterrupt):
        fitted(9, callbacks=[keep, Interrupt()])
    assert same_state(keep.net.state_dict(), fitted(3)[0].state_dict())


def test_where_a_search_finds_nothing_it_says_so_without_a_word_of_overflow() -> None:
    net = nn.Sequential(nn.Linear(1, 1, init=nn.init.Zeros(), bias_init=nn.init.Zeros()))
    x = np.linspace(-1, 1, 20, dtype=np.float32).reshape(-1, 1)
    lbfgs = ScipyLBFGS(net.parameters())
    history = ff.fit(net, x, 1e30 * x, loss=losses.MSELoss(), optimizer=lbfgs, epochs=30)
    assert history.stop_reason == "minimiser stopped: ABNORMAL"
    assert np.isfinite(history.loss).all() and net[0].weight == 0.0


def test_it_has_no_rate_and_no_step_and_its_state_is_not_that_of_ours() -> None:
    lbfgs = ScipyLBFGS(network().parameters())
    with pytest.raises(TypeError, match=r"must be used by fastfcn\.fit"):
        lbfgs.step()
    with pytest.raises(ValueError, match="no lr"):
        lbfgs.lr = 0.1
    assert lbfgs.lr == 1.0
    ours = optim.LBFGS(network().parameters())
    with pytest.raises(ValueError, match="state must be a LBFGS's"):
        ours.load_state_dict(lbfgs.state_dict())
