"""From an estimator's parameters to an optimiser."""

from typing import Any

from fastfcn import optim
from fastfcn.nn.containers import Module

STOCHASTIC = ("sgd", "adam", "adamw", "rmsprop", "adagrad")


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
        return optim.Adam(parameters, betas=(e.beta_1, e.beta_2), **common)
    if e.solver == "rmsprop":
        return optim.RMSprop(parameters, alpha=e.beta_2, **common)
    return optim.Adagrad(parameters, **common)


def continued(old: optim.Optimizer, new: optim.Optimizer) -> optim.Optimizer:
    """Return ``new``, with its own settings, and the state of ``old`` where they are of a kind."""
    if type(old) is type(new):
        settings = {name: getattr(new, name) for name in ("lr", *new.options)}
        new.load_state_dict({**old.state_dict(), **settings})
    return new
