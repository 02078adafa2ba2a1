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

from fastfcn_kernels.compilation import helper, native, variant
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
    """One entry of the registry."""

    name: str
    forward: Any
    derivative: Any
    needs_z: bool


REGISTRY = (
    Activation("identity", _identity, _identity_derivative, needs_z=False),
    Activation("relu", _relu, _relu_derivative, needs_z=False),
    Activation("leaky_relu", _leaky_relu, _leaky_relu_derivative, needs_z=True),
    Activation("sigmoid", _sigmoid, _sigmoid_derivative, needs_z=False),
    Activation("tanh", _tanh, _tanh_derivative, needs_z=False),
    Activation("gelu", _gelu, _gelu_derivative, needs_z=True),
    Activation("silu", _silu, _silu_derivative, needs_z=True),
    Activation("elu", _elu, _elu_derivative, needs_z=True),
    Activation("softplus", _softplus, _softplus_derivative, needs_z=True),
)

CODES = {entry.name: code for code, entry in enumerate(REGISTRY)}
IDENTITY = CODES["identity"]

# Softmax couples the elements of a row, so its formulas stand apart from the elementwise registry.
SOFTMAX = len(REGISTRY)
CODES["softmax"] = SOFTMAX


def needs_z(code: int) -> bool:
    """Tell whether the derivative of activation ``code`` reads z, which then must be kept."""
    return code != SOFTMAX and REGISTRY[code].needs_z


def _forward_loop(entry: Activation) -> Any:
    formula = entry.forward

    @variant(f"forward_loop_{entry.name}")
    def loop(p, z, a, n):
        # First copied, then worked on in place: where a is z, as it mostly is, a loop from one to
        # the other would fail the compiler's overlap check and run one element at a time.
        for j in range(n):
            a[j] = z[j]
        for j in range(n):
            a[j] = formula(a[j], p)

    return loop


def _derivative_loop(entry: Activation) -> Any:
    formula = entry.derivative

    @variant(f"derivative_loop_{entry.name}")
    def loop(p, z, a, delta, n):
        for j in range(n):
            delta[j] *= formula(z[j], a[j], p)

    return loop


def _forward_dispatch(code: int) -> Any:
    """Chain the registry's loops from ``code`` on, each compiled into its own straight loop."""
    if code == len(REGISTRY):
        return _softmax_row
    loop, rest = _forward_loop(REGISTRY[code]), _forward_dispatch(code + 1)

    @variant(f"forward_dispatch_{code}")
    def dispatch(wanted, p, z, a, n):
        if wanted == code:
            loop(p, z, a, n)
        else:
            rest(wanted, p, z, a, n)

    return dispatch


def _derivative_dispatch(code: int) -> Any:
    """Chain the registry's derivative loops from ``code`` on."""
    if code == len(REGISTRY):
        return _softmax_row_backward
    loop, rest = _derivative_loop(REGISTRY[code]), _derivative_dispatch(code + 1)

    @variant(f"derivative_dispatch_{code}")
    def dispatch(wanted, p, z, a, delta, n):
        if wanted == code:
            loop(p, z, a, delta, n)
        else:
            rest(wanted, p, z, a, delta, n)

    return dispatch


@helper
def _softmax_row(wanted, p, z, a, n):
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
def _softmax_row_backward(wanted, p, z, a, delta, n):
    """Pull δ back through softmax: a ⊙ (δ - ⟨δ, a⟩), the whole Jacobian."""
    inner = like(a[0], 0.0)
    for j in range(n):
        inner += delta[j] * a[j]
    for j in range(n):
        delta[j] = a[j] * (delta[j] - inner)


_activate_row = _forward_dispatch(0)
_derive_row = _derivative_dispatch(0)


@native("nrppnnn")
def activate(code, p, z, a, ld, n, rows):
    """Activation of rows: a = h(z).

    Parameters
    ----------
    code, p : int, real
        Activation and its parameter.
    z, a : pointer
        (rows, n), row stride ld; a may be z                              [in], [out]
    ld, n, rows : int
        Row stride, features, rows.
    """
    z_rows = carray(z, (rows, ld))
    a_rows = carray(a, (rows, ld))
    for i in range(rows):
        _activate_row(code, p, z_rows[i], a_rows[i], n)


@native("nrpppnnn")
def derive(code, p, z, a, delta, ld, n, rows):
    """Derivative of the activation, put on the delta: δ ← δ ⊙ h'(z).

    Parameters
    ----------
    code, p : int, real
        Activation and its parameter.
    z, a : pointer
        (rows, n), row stride ld                                          [in]
    delta : pointer
        (rows, n), row stride ld                                          [in, out]
    ld, n, rows : int
        Row stride, features, rows.
    """
    z_rows = carray(z, (rows, ld))
    a_rows = carray(a, (rows, ld))
    delta_rows = carray(delta, (rows, ld))
    for i in range(rows):
        _derive_row(code, p, z_rows[i], a_rows[i], delta_rows[i], n)
