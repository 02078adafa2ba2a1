"""Initialisers: where training begins.

An initialiser is called as ``init(rng, shape, fan_in, fan_out)`` and returns a float64 array of
that shape. A layer passes ``fan_in = in_features`` and ``fan_out = out_features`` for its weight
and for its bias. Any callable of this form serves.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Float64Array: TypeAlias = npt.NDArray[np.float64]
Initialiser: TypeAlias = Callable[[np.random.Generator, tuple[int, ...], int, int], Float64Array]


@dataclass(frozen=True)
class KaimingUniform:
    """Uniform on ±√(6 / ((1 + a²) fan_in)): He et al. 2015, equation 14, for a uniform variable.

    Parameters
    ----------
    a : float, default 0.0
        Negative slope of the activation that follows: 0 for ReLU. ``a=√5`` gives ±1/√fan_in, the
        default of :class:`~fastfcn.nn.Linear` and of PyTorch's.

    Examples
    --------
    >>> import numpy as np
    >>> w = KaimingUniform()(np.random.default_rng(0), (600, 20), 600, 20)
    >>> bool(abs(w).max() <= 0.1)
    True
    """

    a: float = 0.0

    def __call__(
        self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
    ) -> Float64Array:
        bound = math.sqrt(6.0 / ((1.0 + self.a**2) * fan_in))
        return rng.uniform(-bound, bound, shape)


@dataclass(frozen=True)
class KaimingNormal:
    """Normal with standard deviation √(2 / ((1 + a²) fan_in)): He et al. 2015, equation 14.

    Parameters
    ----------
    a : float, default 0.0
        Negative slope of the activation that follows: 0 for ReLU.
    """

    a: float = 0.0

    def __call__(
        self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
    ) -> Float64Array:
        return rng.normal(0.0, math.sqrt(2.0 / ((1.0 + self.a**2) * fan_in)), shape)


@dataclass(frozen=True)
class XavierUniform:
    """Uniform on ±gain √(6 / (fan_in + fan_out)): Glorot and Bengio 2010, equation 16.

    Parameters
    ----------
    gain : float, default 1.0
        Factor for the activation that follows: 5/3 for tanh.
    """

    gain: float = 1.0

    def __call__(
        self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
    ) -> Float64Array:
        bound = self.gain * math.sqrt(6.0 / (fan_in + fan_out))
        return rng.uniform(-bound, bound, shape)


@dataclass(frozen=True)
class XavierNormal:
    """Normal with standard deviation gain √(2 / (fan_in + fan_out)): Glorot and Bengio 2010.

    Parameters
    ----------
    gain : float, default 1.0
        Factor for the activation that follows: 5/3 for tanh.
    """

    gain: float = 1.0

    def __call__(
        self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
    ) -> Float64Array:
        return rng.normal(0.0, self.gain * math.sqrt(2.0 / (fan_in + fan_out)), shape)


@dataclass(frozen=True)
class Constant:
    """The same value everywhere.

    Parameters
    ----------
    value : float
        The value.
    """

    value: float

    def __call__(
        self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
    ) -> Float64Array:
        return np.full(shape, self.value)


@dataclass(frozen=True)
class Zeros:
    """Zeros, the usual start of a bias."""

    def __call__(
        self, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
    ) -> Float64Array:
        return np.zeros(shape)
