"""From an estimator's parameters to an optimiser."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastfcn import optim
from fastfcn.buffers import Array
from fastfcn.estimators.lbfgs import make_lbfgs
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
    """Return the optimiser that ``estimator.solver`` names, over all of a network's parameters.

    Parameters
    ----------
    estimator : FCNClassifier or FCNRegressor
        Its hyperparameters.
    net : Module
        The network.
    """
    e, parameters = estimator, net.parameters()
    if e.solver == "lbfgs":
        return make_lbfgs(e, net)
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


def continued(old: optim.Optimizer, new: optim.Optimizer) -> optim.Optimizer:
    """Return ``new``, with its own settings, and the state of ``old`` where they are of a kind."""
    if type(old) is type(new):
        fresh = new.state_dict()
        settings = {name: fresh[name] for name in ("lr", *new.options) if name in fresh}
        new.load_state_dict({**old.state_dict(), **settings})
    return new
