"""From an estimator's parameters to an optimiser."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastfcn import optim
from fastfcn.buffers import Array
from fastfcn.nn.containers import Module

STOCHASTIC = ("sgd", "adam", "adamw", "rmsprop", "adagrad")


class EpsilonHatAdam(optim.Adam):
    """Adam with ε added to √v, not to √v̂: θ ← θ - η m √(1 - β₂ᵗ) / (1 - β₁ᵗ) / (√v + ε).

    scikit-learn's form, and the efficient one at the end of section 2 of Kingma and Ba 2015. It
    damps the first steps of parameters with tiny gradients. Parameters as
    :class:`fastfcn.optim.Adam`.
    """

    def _row(self, lr: Array, step: Array, decay: Array) -> Sequence[Any]:
        *others, _ = super()._row(lr, step, decay)
        return *others, self._normal(np.full(len(step), self.eps))


def make_optimizer(estimator: Any, net: Module) -> optim.Optimizer:
    """Return the optimiser that ``estimator.solver`` names, any but "lbfgs".

    Parameters
    ----------
    estimator : FCNClassifier or FCNRegressor
        Its hyperparameters.
    net : Module
        The network, whose parameters it is over.
    """
    e, parameters = estimator, net.parameters()
    if e.solver == "adamw":
        return optim.AdamW(
            parameters,
            lr=e.learning_rate_init,
            betas=(e.beta_1, e.beta_2),
            eps=e.epsilon,
            weight_decay=e.alpha,
            decay_bias=False,
        )
    common = {
        "lr": e.learning_rate_init,
        "weight_decay": e.alpha,
        "decay_bias": False,
        "decay_by_batch": True,
    }
    if e.solver == "sgd":
        nesterov = e.nesterovs_momentum and e.momentum > 0
        return optim.SGD(parameters, momentum=e.momentum, nesterov=nesterov, **common)
    common["eps"] = e.epsilon
    if e.solver == "adam":
        return EpsilonHatAdam(parameters, betas=(e.beta_1, e.beta_2), **common)
    if e.solver == "rmsprop":
        return optim.RMSprop(parameters, alpha=e.beta_2, **common)
    return optim.Adagrad(parameters, **common)


def renew_optimizer(e: Any, made: optim.Optimizer) -> None:
    """Give an estimator a new optimiser for another fit, with the state of the one it has."""
    e.optimizer_ = continued(e.optimizer_, made) if hasattr(e, "optimizer_") else made
    if e.solver == "sgd" and e.learning_rate == "invscaling" and e.t_:
        e.optimizer_.lr = e.learning_rate_init / (e.t_ + 1) ** e.power_t


def penalty_factor(e: Any, n: int, batch: int, weights: Any) -> float:
    """Return λ of the penalty λ/2 Σ W² in an epoch's loss: the mean of its steps'."""
    if e.solver == "adamw":
        return 0.0
    return float(e.alpha) * -(-n // batch) / float(n if weights is None else weights.sum())


def continued(old: optim.Optimizer, new: optim.Optimizer) -> optim.Optimizer:
    """Return ``new``, with its own settings, and the state of ``old`` where they are of a kind."""
    if type(old) is type(new):
        fresh = new.state_dict()
        settings = {name: fresh[name] for name in ("lr", *new.options) if name in fresh}
        new.load_state_dict({**old.state_dict(), **settings})
    return new
