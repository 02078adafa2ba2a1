"""Activations and their derivatives: the registry.

Adding one takes its two formulas and an entry in :data:`REGISTRY`; the class that users see goes
into ``fastfcn/nn/activations.py``.

Formulas work on one element: ``forward(z, p)`` is h(z), ``derivative(z, a, p)`` is h'(z), where a
is h(z) and p the activation's parameter (slope, alpha; 0 where it has none). An entry with
``needs_z=False`` computes its derivative from a alone; its output then overwrites z, which saves
a buffer and its traffic.
"""

from typing import Any, NamedTuple

from numba import carray

from fastfcn_kernels.compilation import Native, helper
from fastfcn_kernels.elementary import (
    exp,
    expm1,
    like,
    normal_cdf,
    normal_density,
    sigmoid,
    softplus,
    tanh,
)

# Below this, x·sigmoid(x) and x·Φ(x) are zero in either precision; -inf·0 would be NaN.
_VANISHED = -1e4


@helper
def _identity(z, p):
    return z


@helper
def _identity_derivative(z, a, p):
    return like(a, 1.0)


@helper
def _relu(z, p):
    return like(z, 0.0) if z <= like(z, 0.0) else z


@helper
def _relu_derivative(z, a, p):
    return like(a, 1.0) if a > like(a, 0.0) else like(a, 0.0)


@helper
def _leaky_relu(z, p):
    return z * p if z <= like(z, 0.0) else z


@helper
def _leaky_relu_derivative(z, a, p):
    return like(z, 1.0) if z > like(z, 0.0) else p


@helper
def _sigmoid(z, p):
    return sigmoid(z)


@helper
def _sigmoid_derivative(z, a, p):
    return a * (like(a, 1.0) - a)


@helper
def _tanh(z, p):
    return tanh(z)


@helper
def _tanh_derivative(z, a, p):
    return (like(a, 1.0) - a) * (like(a, 1.0) + a)


@helper
def _gelu(z, p):
    x = like(z, _VANISHED) if z < like(z, _VANISHED) else z
    return x * normal_cdf(x)


@helper
def _gelu_derivative(z, a, p):
    x = like(z, _VANISHED) if z < like(z, _VANISHED) else z
    x = like(z, -_VANISHED) if x > like(z, -_VANISHED) else x
    return normal_cdf(x) + x * normal_density(x)


@helper
def _silu(z, p):
    x = like(z, _VANISHED) if z < like(z, _VANISHED) else z
    return x * sigmoid(x)


@helper
def _silu_derivative(z, a, p):
    x = like(z, _VANISHED) if z < like(z, _VANISHED) else z
    x = like(z, -_VANISHED) if x > like(z, -_VANISHED) else x
    s = sigmoid(x)
    return s * (like(z, 1.0) + x * sigmoid(-x))


@helper
def _elu(z, p):
    return z if z > like(z, 0.0) else p * expm1(z)


@helper
def _elu_derivative(z, a, p):
    return like(z, 1.0) if z > like(z, 0.0) else p * exp(z)


@helper
def _softplus(z, p):
    return softplus(z)


@helper
def _softplus_derivative(z, a, p):
    return sigmoid(z)


class Activation(NamedTuple):
    """One entry of the registry: two kernels, compiled when a network first uses them."""

    name: str
    activate: Native
    derive: Native
    needs_z: bool
    couples: bool = False
    """Whether each element of a depends on all of its row."""


def _elementwise(name: str, formula: Any, derivative: Any, needs_z: bool) -> Activation:
    """Make an entry from its formulas."""

    def activate(p, z, a, ld, n, rows):
        z_rows, a_rows = carray(z, (rows, ld)), carray(a, (rows, ld))
        for i in range(rows):
            z_row, a_row = z_rows[i], a_rows[i]
            # Worked on in place: where a is z, as it mostly is, a loop from one to the other would
            # fail the compiler's overlap check and run one element at a time. Copied only where it
            # must be: the copy is stored in parts narrower than what is loaded next, which waits.
            if a_rows.ctypes.data != z_rows.ctypes.data:
                for j in range(n):
                    a_row[j] = z_row[j]
            for j in range(n):
                a_row[j] = formula(a_row[j], p)

    def derive(p, z, a, delta, ld, n, rows):
        z_rows, a_rows = carray(z, (rows, ld)), carray(a, (rows, ld))
        delta_rows = carray(delta, (rows, ld))
        for i in range(rows):
            z_row, a_row, delta_row = z_rows[i], a_rows[i], delta_rows[i]
            for j in range(n):
                delta_row[j] *= derivative(z_row[j], a_row[j], p)

    return Activation(name, *_kernels(name, activate, derive), needs_z)


def _kernels(name: str, activate: Any, derive: Any) -> tuple[Native, Native]:
    """Make the two kernels of an activation.

    ``activate``, a = h(z): p, the activation's parameter; z, a, pointers to (rows, n) with row
    stride ld, where a may be z; ld, n, rows. ``derive``, δ ← δ ⊙ h'(z): p; z, a, δ; ld, n, rows.
    """
    activate.__name__ = activate.__qualname__ = f"activate_{name}"
    derive.__name__ = derive.__qualname__ = f"derive_{name}"
    return Native(activate, "rppnnn"), Native(derive, "rpppnnn")


def _softmax(p, z, a, ld, n, rows):
    z_rows, a_rows = carray(z, (rows, ld)), carray(a, (rows, ld))
    for i in range(rows):
        _softmax_row(z_rows[i], a_rows[i], n)


def _softmax_derive(p, z, a, delta, ld, n, rows):
    a_rows, delta_rows = carray(a, (rows, ld)), carray(delta, (rows, ld))
    for i in range(rows):
        _softmax_row_backward(a_rows[i], delta_rows[i], n)


@helper
def _softmax_row(z, a, n):
    """Softmax of one row, shifted by its own maximum."""
    largest = z[0]
    for j in range(1, n):
        largest = z[j] if z[j] > largest else largest
    for j in range(n):
        a[j] = exp(z[j] - largest)
    total = like(largest, 0.0)
    for j in range(n):
        total += a[j]
    for j in range(n):
        a[j] = a[j] / total


@helper
def _softmax_row_backward(a, delta, n):
    """Pull δ back through softmax: a ⊙ (δ - ⟨δ, a⟩), the whole Jacobian."""
    inner = like(a[0], 0.0)
    for j in range(n):
        inner += delta[j] * a[j]
    for j in range(n):
        delta[j] = a[j] * (delta[j] - inner)


REGISTRY = (
    _elementwise("identity", _identity, _identity_derivative, needs_z=False),
    _elementwise("relu", _relu, _relu_derivative, needs_z=False),
    _elementwise("leaky_relu", _leaky_relu, _leaky_relu_derivative, needs_z=True),
    _elementwise("sigmoid", _sigmoid, _sigmoid_derivative, needs_z=False),
    _elementwise("tanh", _tanh, _tanh_derivative, needs_z=False),
    _elementwise("gelu", _gelu, _gelu_derivative, needs_z=True),
    _elementwise("silu", _silu, _silu_derivative, needs_z=True),
    _elementwise("elu", _elu, _elu_derivative, needs_z=True),
    _elementwise("softplus", _softplus, _softplus_derivative, needs_z=True),
    Activation(
        "softmax", *_kernels("softmax", _softmax, _softmax_derive), needs_z=False, couples=True
    ),
)

CODES = {entry.name: code for code, entry in enumerate(REGISTRY)}
IDENTITY = CODES["identity"]
