"""From an estimator's parameters to an optimiser."""

from typing import Any

from fastfcn import optim
from fastfcn.nn.containers import Module

STOCHASTIC = ("sgd", "adam", "adamw", "rmsprop", "adagrad")


def make_optimizer(estimator: Any, net: Module, decay: float) -> Any:
    """Return the optimiser that ``estimator.solver`` names, over all of a network's parameters.

    Parameters
    ----------
    estimator : FCNClassifier or FCNRegressor
        Its hyperparameters.
    net : Module
        The network.
    decay : float
        λ of the L2 penalty λ/2 Σ W² in a step's loss; biases have none.
    """
    e, parameters = estimator, net.parameters()
    if e.solver == "sgd":
        nesterov = e.nesterovs_momentum and e.momentum > 0
        return optim.SGD(
            parameters,
            e.learning_rate_init,
            momentum=e.momentum,
            nesterov=nesterov,
            weight_decay=decay,
            decay_bias=False,
        )
    common = {"lr": e.learning_rate_init, "eps": e.epsilon, "decay_bias": False}
    betas = (e.beta_1, e.beta_2)
    if e.solver == "adam":
        return optim.Adam(parameters, betas=betas, weight_decay=decay, **common)
    if e.solver == "adamw":
        return optim.AdamW(parameters, betas=betas, weight_decay=e.alpha, **common)
    if e.solver == "rmsprop":
        return optim.RMSprop(parameters, alpha=e.beta_2, weight_decay=decay, **common)
    return optim.Adagrad(parameters, weight_decay=decay, **common)


def continued(old: Any, new: Any) -> Any:
    """Return ``new`` with the state of ``old``, where both are of a kind, and its own settings."""
    if type(old) is not type(new):
        return new
    state, own = old.state_dict(), new.state_dict()
    settings = {name: value for name, value in own.items() if name not in STATE}
    new.load_state_dict({**state, **settings})
    return new


STATE = ("velocity", "moments", "state", "steps", "step")
"""What a state dict holds beside settings."""
