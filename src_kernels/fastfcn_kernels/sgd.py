"""Stochastic gradient descent with momentum, over flat buffers."""

from numba import carray

from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import helper, native
from fastfcn_kernels.elementary import like
from fastfcn_kernels.memory import advance, reals
from fastfcn_kernels.simd import default_fp_mode, restore_fp_mode
from fastfcn_kernels.stages import share_of_rows

# The hyperparameters: one vector in the parameters' precision.
LR, MOMENTUM, WEIGHT_DECAY, NESTEROV, SMALLEST_NORMAL = range(5)
HYPERPARAMETERS = 5


@helper
def sgd_range(hyper, theta, gradient, velocity):
    """Momentum update: g ← g + λ θ; v ← γ v - η g; θ ← θ + v.

    Parameters
    ----------
    hyper : real (5,)
        η, γ, λ, 1 for Nesterov, the smallest normal number               [in]
    theta : real (n,)                                                     [in, out]
    gradient : real (n,)                                                  [in]
    velocity : real (n,)                                                  [in, out]

    Notes
    -----
    Nesterov's form is θ ← θ + γ v - η g with the new v. A velocity below the smallest normal number
    becomes zero: those of inputs that stay zero for long would decay into subnormals, which slow
    many CPUs down.

    References
    ----------
    000_0158dc28be9f1671, section 2.5.
    """
    lr, momentum, decay, smallest = (
        hyper[LR],
        hyper[MOMENTUM],
        hyper[WEIGHT_DECAY],
        hyper[SMALLEST_NORMAL],
    )
    zero = like(lr, 0.0)
    if hyper[NESTEROV] == zero:
        for j in range(theta.size):
            g = gradient[j] + decay * theta[j]
            v = momentum * velocity[j] - lr * g
            v = zero if abs(v) < smallest else v
            velocity[j] = v
            theta[j] += v
    else:
        for j in range(theta.size):
            g = gradient[j] + decay * theta[j]
            v = momentum * velocity[j] - lr * g
            v = zero if abs(v) < smallest else v
            velocity[j] = v
            theta[j] += momentum * v - lr * g


@native("fpnnnn")
def sgd_step(frame_at, work, thread, n_threads, first, count):
    """Momentum update of ``count`` parameters from their gradients; see :func:`sgd_range`.

    A range kernel: PARAMS, GRADS, VELOCITY and HYPER of the frame.
    """
    mode = default_fp_mode()
    frame = carray(frame_at, (t.FRAME_SIZE,))
    j0, j1 = share_of_rows(count, thread, n_threads)
    sgd_range(
        carray(reals(frame[t.HYPER], work), (HYPERPARAMETERS,)),
        carray(advance(reals(frame[t.PARAMS], work), first + j0), (j1 - j0,)),
        carray(advance(reals(frame[t.GRADS], work), first + j0), (j1 - j0,)),
        carray(advance(reals(frame[t.VELOCITY], work), first + j0), (j1 - j0,)),
    )
    restore_fp_mode(mode)
