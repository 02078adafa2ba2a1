"""Stochastic gradient descent with momentum, over flat buffers."""

from numba import prange

from fastfcn_kernels.compilation import helper, kernel
from fastfcn_kernels.elementary import like
from fastfcn_kernels.simd import default_fp_mode, restore_fp_mode
from fastfcn_kernels.stages import share_of_rows

# The hyperparameters: one vector in the parameters' precision.
LR, MOMENTUM, WEIGHT_DECAY, NESTEROV, SMALLEST_NORMAL = 0, 1, 2, 3, 4


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
    becomes zero: those of inputs that are always zero would decay into subnormals, which slow many
    CPUs down.

    References
    ----------
    000_0158dc28be9f1671, section 2.5.
    """
    lr, momentum, decay, smallest = hyper[LR], hyper[MOMENTUM], hyper[WEIGHT_DECAY], hyper[4]
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


@helper
def _share(hyper, theta, gradient, velocity, j0, j1):
    """Update elements j0:j1, in the default floating-point mode."""
    mode = default_fp_mode()
    sgd_range(hyper, theta[j0:j1], gradient[j0:j1], velocity[j0:j1])
    restore_fp_mode(mode)


@kernel(parallel=True)
def sgd_step(hyper, theta, gradient, velocity, n_threads):
    """Momentum update of a stretch of flat buffers; see :func:`sgd_range`."""
    n = theta.size
    if n_threads == 1:
        _share(hyper, theta, gradient, velocity, 0, n)
        return
    for thread in prange(n_threads):
        j0, j1 = share_of_rows(n, thread, n_threads)
        _share(hyper, theta, gradient, velocity, j0, j1)
