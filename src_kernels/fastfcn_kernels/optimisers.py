"""Optimisers: one update formula each, over flat buffers.

A *step kernel* takes hyperparameters, parameters, their gradients and the optimiser's state, and
updates ``size`` of them. The fused training step calls it by its address for a few rows of a
gradient at a time; :func:`step_all` for an optimiser's own ``step()``.

State is one or more *slots*, each laid out as the parameters are, ``slot`` elements apart. State
below the smallest normal number becomes zero: that of inputs that stay zero for long would decay
into subnormals, which slow many CPUs down.

What does not change within a step is computed by the API in float64: powers of β, a schedule's
learning rate. A row of hyperparameters is made for each step.
"""

from numba import carray

from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import call, helper, native
from fastfcn_kernels.elementary import like
from fastfcn_kernels.memory import advance, reals
from fastfcn_kernels.shares import share_of_rows
from fastfcn_kernels.simd import default_fp_mode, restore_fp_mode

HYPERPARAMETERS = 10
"""Numbers in a row of hyperparameters. A step has two rows: for weights, for other parameters."""

LR, WEIGHT_DECAY, SMALLEST_NORMAL = range(3)
"""Places in the row that every optimiser has; its own follow."""

MOMENTUM, NESTEROV = 3, 4
"""SGD: γ; 1 for Nesterov's form."""


@helper
def hyperparameters_of(frame, work, first, others):
    """Return a pointer to the row of hyperparameters for a step.

    Parameters
    ----------
    frame : int64
        HYPER, FIRST_STEP, BATCH                                          [in]
    first : int
        The batch's first row in the epoch.
    others : int
        0 for weights, 1 for other parameters.
    """
    step = first // frame[t.BATCH] - frame[t.FIRST_STEP]
    return advance(reals(frame[t.HYPER], work), (2 * step + others) * HYPERPARAMETERS)


@helper
def unsubnormal(value, smallest):
    """Return 0 for a number below the smallest normal one."""
    return like(value, 0.0) if abs(value) < smallest else value


@native("ppppnn")
def sgd(hyper_at, theta_at, gradient_at, state_at, slot, size):
    """Momentum update: g ← g + λ θ; v ← γ v - η g; θ ← θ + v.

    Parameters
    ----------
    hyper_at : pointer
        (HYPERPARAMETERS,): η, λ, smallest normal number, γ, 1 for Nesterov  [in]
    theta_at, gradient_at, state_at : pointer
        (size,): parameters [in, out], gradients [in], velocities         [in, out]
    slot : int
        Not read: there is one slot.
    size : int
        Parameters.

    Notes
    -----
    Nesterov's form is θ ← θ + γ v - η g with the new v.

    References
    ----------
    000_0158dc28be9f1671, section 2.5.
    """
    hyper = carray(hyper_at, (HYPERPARAMETERS,))
    lr, decay, smallest = hyper[LR], hyper[WEIGHT_DECAY], hyper[SMALLEST_NORMAL]
    momentum = hyper[MOMENTUM]
    theta, gradient = carray(theta_at, (size,)), carray(gradient_at, (size,))
    velocity = carray(state_at, (size,))
    if hyper[NESTEROV] == like(lr, 0.0):
        for j in range(size):
            g = gradient[j] + decay * theta[j]
            v = unsubnormal(momentum * velocity[j] - lr * g, smallest)
            velocity[j] = v
            theta[j] += v
    else:
        for j in range(size):
            g = gradient[j] + decay * theta[j]
            v = unsubnormal(momentum * velocity[j] - lr * g, smallest)
            velocity[j] = v
            theta[j] += momentum * v - lr * g


@native("fpnnnnn")
def step_all(frame_at, work, thread, n_threads, first, count, phase):
    """One update of ``count`` parameters from their gradients: an optimiser's ``step()``.

    A range kernel: PARAMS, GRADS, STATE, STATE_SLOT, STEP and HYPER of the frame.

    Parameters
    ----------
    first, phase : int
        Not read.
    """
    mode = default_fp_mode()
    frame = carray(frame_at, (t.FRAME_SIZE,))
    j0, j1 = share_of_rows(count, thread, n_threads)
    call(
        frame[t.STEP],
        (
            reals(frame[t.HYPER], work),
            advance(reals(frame[t.PARAMS], work), j0),
            advance(reals(frame[t.GRADS], work), j0),
            advance(reals(frame[t.STATE], work), j0),
            frame[t.STATE_SLOT],
            j1 - j0,
        ),
    )
    restore_fp_mode(mode)
