"""L-BFGS: the work on its vectors.

Vectors are laid out as an optimiser's state is: ``size`` elements, with the padding, which stays
zero. The *memory* is that state: ``places`` steps s, and after them the changes y of the gradient
that came with each. Pair 0, 1, 2, ... lies in place pair mod ``places``: a new one takes the place
of the oldest.

Everything is computed in float64, sums in a fixed order, and rounded where it is kept. One thread
does it: evaluating the gradient costs far more than going through these vectors a few times.
"""

from numba import carray

from fastfcn_kernels.compilation import helper, native
from fastfcn_kernels.elementary import like
from fastfcn_kernels.memory import advance, float64s
from fastfcn_kernels.simd import default_fp_mode, restore_fp_mode, stack_room

BLOCK = 256
"""Partial sums: element j counts for number j mod BLOCK, so that the compiler can vectorise."""
BLOCK_BYTES = 8 * BLOCK

SLOPE, STEEPEST, LONGEST, TOTAL = range(4)
"""What :func:`measure` writes: Σ g d, the largest |g|, the largest |d|, Σ |g|."""


@helper
def _dot(a_at, b_at, size):
    """Return Σ a b, to about (size/BLOCK + BLOCK) roundings of float64 to Σ |a b|."""
    sums = carray(stack_room(float64s(0), BLOCK_BYTES), (BLOCK,))
    sums[:] = 0.0
    for at in range(0, size, BLOCK):
        n = min(BLOCK, size - at)
        a, b = carray(advance(a_at, at), (n,)), carray(advance(b_at, at), (n,))
        for j in range(n):
            sums[j] += like(1.0, a[j]) * like(1.0, b[j])
    return sums.sum()


@helper
def _add(d_at, factor, x_at, size):
    """d ← d + factor x."""
    d, x = carray(d_at, (size,)), carray(x_at, (size,))
    for j in range(size):
        d[j] = like(d[j], like(1.0, d[j]) + factor * like(1.0, x[j]))


@native("ppnnnpn")
def find_direction(gradient_at, memory_at, size, places, pairs, direction_at, numbers):
    """d = -H g, with the inverse Hessian H that the pairs in memory stand for.

    From the newest pair back, α ← Σ s d / Σ s y and d ← d - α y; then d ← γ d with the newest's
    γ = Σ s y / Σ y²; then forward again, d ← d + (α - Σ y d / Σ s y) s. Without pairs, d = -g.

    Parameters
    ----------
    gradient_at, memory_at : pointer
        (size,): g; the memory                                            [in]
    size, places : int
        Elements of a vector; pairs that there is room for.
    pairs : int
        Pairs remembered since the memory was empty; the last ``places`` of them are there.
    direction_at : pointer
        (size,): d                                                        [out]
    numbers : int
        Address of float64 (2·places,): Σ s y and α by place              [work]

    References
    ----------
    Nocedal and Wright, Numerical optimization, 2006, algorithm 7.4.
    """
    mode = default_fp_mode()
    curvatures = carray(float64s(numbers), (places,))
    alphas = carray(float64s(numbers + 8 * places), (places,))
    changes_at = advance(memory_at, places * size)
    gradient, direction = carray(gradient_at, (size,)), carray(direction_at, (size,))
    for j in range(size):
        direction[j] = -gradient[j]
    oldest = max(0, pairs - places)
    for pair in range(pairs - 1, oldest - 1, -1):
        place = pair % places
        s, y = advance(memory_at, place * size), advance(changes_at, place * size)
        curvatures[place] = _dot(s, y, size)
        alphas[place] = _dot(s, direction_at, size) / curvatures[place]
        _add(direction_at, -alphas[place], y, size)
    if pairs > oldest:
        newest = (pairs - 1) % places
        y = advance(changes_at, newest * size)
        scale = curvatures[newest] / _dot(y, y, size)
        for j in range(size):
            direction[j] = like(direction[j], scale * like(scale, direction[j]))
    for pair in range(oldest, pairs):
        place = pair % places
        s, y = advance(memory_at, place * size), advance(changes_at, place * size)
        _add(direction_at, alphas[place] - _dot(y, direction_at, size) / curvatures[place], s, size)
    restore_fp_mode(mode)


@native("ppnn")
def measure(gradient_at, direction_at, size, numbers):
    """How steep a function is along a direction, and how long both vectors are.

    Parameters
    ----------
    gradient_at, direction_at : pointer
        (size,): g, d                                                     [in]
    size : int
        Elements.
    numbers : int
        Address of float64 (4,): SLOPE, STEEPEST, LONGEST, TOTAL          [out]

    Notes
    -----
    The slope is not finite where an element of g or d is not. The largest pass over NaN.
    """
    mode = default_fp_mode()
    found = carray(float64s(numbers), (4,))
    found[SLOPE] = _dot(gradient_at, direction_at, size)
    steepest = carray(stack_room(float64s(0), BLOCK_BYTES), (BLOCK,))
    longest = carray(stack_room(float64s(0), BLOCK_BYTES), (BLOCK,))
    total = carray(stack_room(float64s(0), BLOCK_BYTES), (BLOCK,))
    steepest[:], longest[:], total[:] = 0.0, 0.0, 0.0
    for at in range(0, size, BLOCK):
        n = min(BLOCK, size - at)
        gradient = carray(advance(gradient_at, at), (n,))
        direction = carray(advance(direction_at, at), (n,))
        for j in range(n):
            g = abs(like(1.0, gradient[j]))
            total[j] += g
            steepest[j] = g if g > steepest[j] else steepest[j]
        for j in range(n):
            d = abs(like(1.0, direction[j]))
            longest[j] = d if d > longest[j] else longest[j]
    found[STEEPEST], found[LONGEST], found[TOTAL] = steepest.max(), longest.max(), total.sum()
    restore_fp_mode(mode)


@native("pppdnn")
def penalise(theta_at, gradient_at, penalised_at, decay, size, numbers):
    """G = g + λ θ, the gradient with the penalty λ/2 Σ θ².

    Parameters
    ----------
    theta_at, gradient_at : pointer
        (size,): parameters, gradients                                    [in]
    penalised_at : pointer
        (size,): G                                                        [out]
    decay : float64
        λ; where it is 0, G are the bits of g.
    size : int
        Elements.
    numbers : int
        Address of float64 (1,): the penalty is added to it               [in, out]
    """
    mode = default_fp_mode()
    theta, gradient = carray(theta_at, (size,)), carray(gradient_at, (size,))
    penalised = carray(penalised_at, (size,))
    if decay == 0.0:
        for j in range(size):
            penalised[j] = gradient[j]
    else:
        for j in range(size):
            g = like(decay, gradient[j]) + decay * like(decay, theta[j])
            penalised[j] = like(penalised[j], g)
        carray(float64s(numbers), (1,))[0] += 0.5 * decay * _dot(theta_at, theta_at, size)
    restore_fp_mode(mode)


@native("pppdn")
def move(start_at, direction_at, theta_at, t, size):
    """θ = θ₀ + t d.

    Parameters
    ----------
    start_at, direction_at : pointer
        (size,): θ₀, d                                                    [in]
    theta_at : pointer
        (size,): θ                                                        [out]
    t : float64
        How far.
    size : int
        Elements.
    """
    mode = default_fp_mode()
    start, direction = carray(start_at, (size,)), carray(direction_at, (size,))
    theta = carray(theta_at, (size,))
    for j in range(size):
        theta[j] = like(theta[j], like(t, start[j]) + t * like(t, direction[j]))
    restore_fp_mode(mode)


@native("pppdn")
def make_pair(gradient_at, old_gradient_at, direction_at, t, size):
    """y = g - g₀ and s = t d: what a step of length t has taught.

    Parameters
    ----------
    gradient_at : pointer
        (size,): g                                                        [in]
    old_gradient_at, direction_at : pointer
        (size,): g₀ becomes y, d becomes s                                [in, out]
    t : float64
        How far along d the step went.
    size : int
        Elements.
    """
    mode = default_fp_mode()
    gradient, old = carray(gradient_at, (size,)), carray(old_gradient_at, (size,))
    direction = carray(direction_at, (size,))
    for j in range(size):
        old[j] = gradient[j] - old[j]
    for j in range(size):
        direction[j] = like(direction[j], t * like(t, direction[j]))
    restore_fp_mode(mode)


@native("ppnn")
def multiply(a_at, b_at, size, numbers):
    """Σ a b.

    Parameters
    ----------
    a_at, b_at : pointer
        (size,): a, b                                                     [in]
    size : int
        Elements.
    numbers : int
        Address of float64 (1,): the sum                                  [out]
    """
    mode = default_fp_mode()
    carray(float64s(numbers), (1,))[0] = _dot(a_at, b_at, size)
    restore_fp_mode(mode)
