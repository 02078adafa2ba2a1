"""Steps of the optimisers."""

import numpy as np

from reference.arrays import f64


def sgd(theta, grad, velocity, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
    """g' = g + λ θ; v ← γ v - η g'; θ ← θ + v (Nesterov: θ ← θ + γ v - η g'). Return θ, v."""
    theta = f64(theta)
    g = f64(grad) + weight_decay * theta
    v = momentum * f64(velocity) - lr * g
    return theta + (momentum * v - lr * g if nesterov else v), v


def adam(
    theta,
    grad,
    state,
    t,
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    amsgrad=False,
    decoupled=False,
):
    """Step t = 1, 2, ... of Adam; decoupled, of AdamW. Return θ and the new averages, by name."""
    theta, g = f64(theta), f64(grad)
    if decoupled:
        theta = theta - lr * weight_decay * theta
    else:
        g = g + weight_decay * theta
    m = betas[0] * state["exp_avg"] + (1.0 - betas[0]) * g
    v = betas[1] * state["exp_avg_sq"] + (1.0 - betas[1]) * g**2
    new = {"exp_avg": m, "exp_avg_sq": v}
    if amsgrad:
        v = new["max_exp_avg_sq"] = np.maximum(state["max_exp_avg_sq"], v)
    m_hat, v_hat = m / (1.0 - betas[0] ** t), v / (1.0 - betas[1] ** t)
    return theta - lr * m_hat / (np.sqrt(v_hat) + eps), new


def adamw(theta, grad, state, t, weight_decay=0.01, **hyperparameters):
    return adam(theta, grad, state, t, weight_decay=weight_decay, decoupled=True, **hyperparameters)


def rmsprop(
    theta,
    grad,
    state,
    t,
    lr=0.01,
    alpha=0.99,
    eps=1e-8,
    weight_decay=0.0,
    momentum=0.0,
    centered=False,
):
    """One step of RMSprop. Return θ and the new averages, by name."""
    theta = f64(theta)
    g = f64(grad) + weight_decay * theta
    s = alpha * state["square_avg"] + (1.0 - alpha) * g**2
    new, variance = {"square_avg": s}, s
    if centered:
        new["grad_avg"] = alpha * state["grad_avg"] + (1.0 - alpha) * g
        variance = s - new["grad_avg"] ** 2
    u = g / (np.sqrt(variance) + eps)
    if momentum:
        u = new["momentum_buffer"] = momentum * state["momentum_buffer"] + u
    return theta - lr * u, new


def adagrad(
    theta,
    grad,
    state,
    t,
    lr=0.01,
    lr_decay=0.0,
    weight_decay=0.0,
    initial_accumulator_value=0.0,
    eps=1e-10,
):
    """Step t = 1, 2, ... of Adagrad, from ``state["sum"]``. Return θ and the new sum, by name."""
    theta = f64(theta)
    g = f64(grad) + weight_decay * theta
    s = state["sum"] + g**2
    return theta - lr / (1.0 + (t - 1) * lr_decay) * g / (np.sqrt(s) + eps), {"sum": s}


OPTIMISERS = {"Adam": adam, "AdamW": adamw, "RMSprop": rmsprop, "Adagrad": adagrad}
