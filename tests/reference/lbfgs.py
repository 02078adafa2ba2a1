"""The oracle of L-BFGS, in float64 NumPy: the inverse Hessian as a dense matrix.

Imports numpy (and math) only and shares no code with the package it judges. Nocedal and Wright,
Numerical optimization, 2006: equation 7.16 for the matrix, algorithms 3.5 and 3.6 with equation
3.59 for the line search. The first step, how far a search may extrapolate, and how near to an end
of its bracket it may try, are PyTorch's.
"""

import math

import numpy as np


def inverse_hessian(pairs, n):
    """H of the pairs (s, y), oldest first: H ← (I - ρ s yᵀ) H (I - ρ y sᵀ) + ρ s sᵀ from γ I.

    Multiplied out, with ρ = 1 / sᵀy and h = H y: H - ρ (s hᵀ + h sᵀ) + ρ (1 + ρ yᵀh) s sᵀ.
    """
    s, y = pairs[-1]
    matrix = (s @ y) / (y @ y) * np.eye(n)
    for s, y in pairs:
        rho, h = 1.0 / (s @ y), matrix @ y
        mixed = np.outer(s, h)
        matrix += rho * (1.0 + rho * (y @ h)) * np.outer(s, s) - rho * (mixed + mixed.T)
    return matrix


def cubic_minimum(t0, f0, s0, t1, f1, s1, low, high):
    """Where the cubic with these values and slopes is lowest, between two bounds."""
    d1 = s0 + s1 - 3 * (f0 - f1) / (t0 - t1)
    under = d1**2 - s0 * s1
    if not (math.isfinite(under) and under >= 0):
        return (low + high) / 2
    d2 = math.sqrt(under) * (1 if t1 > t0 else -1)
    return min(max(t1 - (t1 - t0) * (s1 + d2 - d1) / (s1 - s0 + 2 * d2), low), high)


def search(phi, f0, s0, t, width, most, c1=1e-4, c2=0.9):
    """Return t with the strong Wolfe conditions, or the lowest; phi(t) is (value, slope)."""
    tried = [(0.0, f0, s0)]
    bracket = None
    while bracket is None:
        f, s = phi(t)
        before = tried[-1]
        tried.append((t, f, s))
        if f > f0 + c1 * t * s0 or (len(tried) > 2 and f >= before[1]):
            bracket = [before, tried[-1]]
        elif abs(s) <= c2 * abs(s0):
            return t
        elif s >= 0 or len(tried) > most:
            bracket = [before, tried[-1]]
        else:
            t = cubic_minimum(*before, t, f, s, t + 0.01 * (t - before[0]), 10 * t)
    bracket.sort(key=lambda point: point[1])  # the lowest first
    was_near = False
    while len(tried) <= most and abs(bracket[0][0] - bracket[1][0]) * width >= 1e-9:
        low, high = sorted(point[0] for point in bracket)
        t = cubic_minimum(*bracket[0], *bracket[1], low, high)
        tenth = (high - low) / 10
        is_near = t - low < tenth or high - t < tenth
        if is_near and (was_near or t in (low, high)):
            t, is_near = (high - tenth if high - t < t - low else low + tenth), False
        was_near = is_near
        f, s = phi(t)
        tried.append((t, f, s))
        if f > f0 + c1 * t * s0 or f >= bracket[0][1]:
            bracket = sorted([bracket[0], tried[-1]], key=lambda point: point[1])
        elif abs(s) <= c2 * abs(s0):
            return t
        else:
            other = bracket[0] if s * (bracket[1][0] - bracket[0][0]) >= 0 else bracket[1]
            bracket = [tried[-1], other]
    return bracket[0][0]


def minimise(function, theta, iterations, history_size=10, lr=1.0, most=25):
    """Yield θ after each iteration of L-BFGS; ``function`` returns value and gradient."""
    pairs = []
    value, gradient = function(theta)
    for _ in range(iterations):
        if pairs:
            direction = -inverse_hessian(pairs, len(theta)) @ gradient
            first = lr
        else:
            direction, first = -gradient, lr * min(1.0, 1.0 / np.abs(gradient).sum())

        def phi(t, start=theta, along=direction):
            f, g = function(start + t * along)
            return f, g @ along

        t = search(phi, value, gradient @ direction, first, np.abs(direction).max(), most)
        theta = theta + t * direction
        value, new = function(theta)
        pairs = [*pairs, (t * direction, new - gradient)][-history_size:]
        gradient = new
        yield theta
