"""Optimisers whose steps are divided by the size that gradients have had: Adam and its kin.

Step kernels as in :mod:`fastfcn_kernels.optimisers`. Everything constant within a step comes with
its hyperparameters. Loops read and write few arrays each: the compiler vectorises a loop only while
the checks that its arrays do not overlap stay few.
"""

import math

from numba import carray

from fastfcn_kernels.compilation import native
from fastfcn_kernels.elementary import like
from fastfcn_kernels.memory import advance
from fastfcn_kernels.optimisers import (
    HYPERPARAMETERS,
    LR,
    SMALLEST_NORMAL,
    WEIGHT_DECAY,
    unsubnormal,
)
from fastfcn_kernels.simd import stack_room

RATE, SHRINK, FIRST_BLEND, SECOND_KEEP, SECOND_BLEND, EPS = range(3, 9)
"""Adam: η √(1 - β₂ᵗ) / (1 - β₁ᵗ); what decoupled decay leaves of θ; 1 - β₁; β₂; 1 - β₂;
ε √(1 - β₂ᵗ)."""


@native("ppppnn")
def adam(hyper_at, theta_at, gradient_at, state_at, slot, size):
    """Adam: m ← m + (1 - β₁)(g - m); v ← β₂ v + (1 - β₂) g²; θ ← θ - η m̂ / (√v̂ + ε).

    With m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ), which the hyperparameters hold already.

    Parameters
    ----------
    hyper_at : pointer
        (HYPERPARAMETERS,): RATE and what follows it                      [in]
    theta_at, gradient_at : pointer
        (size,): parameters [in, out], gradients                          [in]
    state_at : pointer
        (size,): m; v one slot further on                                 [in, out]
    slot : int
        Elements from one slot to the next.
    size : int
        Parameters.

    References
    ----------
    Kingma and Ba, Adam: a method for stochastic optimization, 2015. Loshchilov and Hutter,
    Decoupled weight decay regularization, 2019.
    """
    hyper = carray(hyper_at, (HYPERPARAMETERS,))
    decay, smallest = hyper[WEIGHT_DECAY], hyper[SMALLEST_NORMAL]
    rate, shrink, eps = hyper[RATE], hyper[SHRINK], hyper[EPS]
    first_blend, keep, blend = hyper[FIRST_BLEND], hyper[SECOND_KEEP], hyper[SECOND_BLEND]
    theta, gradient = carray(theta_at, (size,)), carray(gradient_at, (size,))
    first, second = carray(state_at, (size,)), carray(advance(state_at, slot), (size,))
    for j in range(size):
        g = gradient[j] + decay * theta[j]
        m = unsubnormal(first[j] + first_blend * (g - first[j]), smallest)
        v = unsubnormal(keep * second[j] + blend * g * g, smallest)
        first[j] = m
        second[j] = v
        theta[j] = shrink * theta[j] - rate * m / (math.sqrt(v) + eps)


BLOCK = 1024
"""Parameters that one loop leaves in the first-level cache for the next."""


@native("ppppnn")
def amsgrad(hyper_at, theta_at, gradient_at, state_at, slot, size):
    """Adam with the largest v so far in place of v: w ← max(w, v); θ ← θ - η m̂ / (√ŵ + ε).

    Parameters as :func:`adam`, with w as a third slot.

    References
    ----------
    Reddi, Kale and Kumar, On the convergence of Adam and beyond, 2018.
    """
    hyper = carray(hyper_at, (HYPERPARAMETERS,))
    decay, smallest = hyper[WEIGHT_DECAY], hyper[SMALLEST_NORMAL]
    rate, shrink, eps = hyper[RATE], hyper[SHRINK], hyper[EPS]
    first_blend, keep, blend = hyper[FIRST_BLEND], hyper[SECOND_KEEP], hyper[SECOND_BLEND]
    for at in range(0, size, BLOCK):
        n = min(BLOCK, size - at)
        theta, gradient = (
            carray(advance(theta_at, at), (n,)),
            carray(advance(gradient_at, at), (n,)),
        )
        first = carray(advance(state_at, at), (n,))
        second = carray(advance(state_at, slot + at), (n,))
        largest = carray(advance(state_at, 2 * slot + at), (n,))
        for j in range(n):
            g = gradient[j] + decay * theta[j]
            first[j] = unsubnormal(first[j] + first_blend * (g - first[j]), smallest)
            second[j] = unsubnormal(keep * second[j] + blend * g * g, smallest)
        for j in range(n):
            v = second[j]
            w = largest[j] if largest[j] > v else v
            largest[j] = w
            theta[j] = shrink * theta[j] - rate * first[j] / (math.sqrt(w) + eps)


ALPHA, ALPHA_BLEND, RMSPROP_EPS, MOMENTUM, CENTERED = range(3, 8)
"""RMSprop: α; 1 - α; ε; γ; 1 to divide by the deviation in place of the root mean square."""

STACK_BYTES = 8 * BLOCK
"""Room for a block in either precision."""


@native("ppppnn")
def rmsprop(hyper_at, theta_at, gradient_at, state_at, slot, size):
    """RMSprop: s ← α s + (1 - α) g²; u ← γ u + g / (√s + ε); θ ← θ - η u.

    Centred, s - ḡ² takes the place of s in the root, with ḡ ← ḡ + (1 - α)(g - ḡ).

    Parameters
    ----------
    hyper_at : pointer
        (HYPERPARAMETERS,): LR; ALPHA and what follows it                 [in]
    theta_at, gradient_at : pointer
        (size,): parameters [in, out], gradients                          [in]
    state_at : pointer
        (size,): s; u where γ is not 0; ḡ where centred: a slot each      [in, out]
    slot : int
        Elements from one slot to the next.
    size : int
        Parameters.

    References
    ----------
    Tieleman and Hinton, Lecture 6.5: rmsprop, 2012. Graves, Generating sequences with recurrent
    neural networks, 2013.
    """
    hyper = carray(hyper_at, (HYPERPARAMETERS,))
    lr, decay, smallest = hyper[LR], hyper[WEIGHT_DECAY], hyper[SMALLEST_NORMAL]
    alpha, blend, eps = hyper[ALPHA], hyper[ALPHA_BLEND], hyper[RMSPROP_EPS]
    momentum, none = hyper[MOMENTUM], like(lr, 0.0)
    moves, centered = momentum != none, hyper[CENTERED] != none
    velocity_slot, mean_slot = (slot if moves else 0), slot * (int(moves) + int(centered))
    decayed = carray(stack_room(theta_at, STACK_BYTES), (BLOCK,))
    step = carray(stack_room(theta_at, STACK_BYTES), (BLOCK,))
    for at in range(0, size, BLOCK):
        n = min(BLOCK, size - at)
        theta, gradient = (
            carray(advance(theta_at, at), (n,)),
            carray(advance(gradient_at, at), (n,)),
        )
        square = carray(advance(state_at, at), (n,))
        velocity = carray(advance(state_at, velocity_slot + at), (n,))
        mean = carray(advance(state_at, mean_slot + at), (n,))
        for j in range(n):
            g = gradient[j] + decay * theta[j]
            s = unsubnormal(alpha * square[j] + blend * g * g, smallest)
            square[j] = s
            decayed[j] = g
            step[j] = s
        if centered:
            for j in range(n):
                m = unsubnormal(mean[j] + blend * (decayed[j] - mean[j]), smallest)
                mean[j] = m
                variance = step[j] - m * m
                # Rounding may leave less than 0.
                step[j] = none if variance < none else variance
        for j in range(n):
            step[j] = decayed[j] / (math.sqrt(step[j]) + eps)
        if moves:
            for j in range(n):
                u = unsubnormal(momentum * velocity[j] + step[j], smallest)
                velocity[j] = u
                step[j] = u
        for j in range(n):
            theta[j] -= lr * step[j]


ADAGRAD_RATE, ADAGRAD_EPS = 3, 4
"""Adagrad: η / (1 + (t - 1) times the learning rate's decay); ε."""


@native("ppppnn")
def adagrad(hyper_at, theta_at, gradient_at, state_at, slot, size):
    """Adagrad: s ← s + g²; θ ← θ - ηₜ g / (√s + ε).

    Parameters
    ----------
    hyper_at : pointer
        (HYPERPARAMETERS,): ADAGRAD_RATE, ADAGRAD_EPS                     [in]
    theta_at, gradient_at, state_at : pointer
        (size,): parameters [in, out], gradients [in], s                  [in, out]
    slot : int
        Not read: there is one slot.
    size : int
        Parameters.

    References
    ----------
    Duchi, Hazan and Singer, Adaptive subgradient methods for online learning and stochastic
    optimization, 2011.
    """
    hyper = carray(hyper_at, (HYPERPARAMETERS,))
    decay, smallest = hyper[WEIGHT_DECAY], hyper[SMALLEST_NORMAL]
    rate, eps = hyper[ADAGRAD_RATE], hyper[ADAGRAD_EPS]
    theta, gradient = carray(theta_at, (size,)), carray(gradient_at, (size,))
    square = carray(state_at, (size,))
    for j in range(size):
        g = gradient[j] + decay * theta[j]
        s = unsubnormal(square[j] + g * g, smallest)
        square[j] = s
        theta[j] -= rate * g / (math.sqrt(s) + eps)
