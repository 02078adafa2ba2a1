"""Flat, aligned memory: where parameters, their gradients and workspaces live."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastfcn_kernels.simd import ALIGNMENT

Array: TypeAlias = npt.NDArray[Any]

ALIASING_BYTES = 2048
"""Rows at a multiple of this stride share few sets of the caches, and push each other out."""
PANEL_ALIASING_BYTES = 512
"""The same where a panel of columns of a batch is gone through again and again."""


def padded(features: int, dtype: np.dtype[Any], aliasing: int = ALIASING_BYTES) -> int:
    """Return the elements a row of ``features`` takes, padded to the kernels' alignment."""
    size = -(-features * dtype.itemsize // ALIGNMENT) * ALIGNMENT
    if size % aliasing == 0:
        size += ALIGNMENT
    return size // dtype.itemsize


def spaced(features: int, dtype: np.dtype[Any]) -> int:
    """Return the elements from one sample's ``features`` to the next one's."""
    return padded(features, dtype, PANEL_ALIASING_BYTES)


def aligned_zeros(size: int, dtype: np.dtype[Any]) -> Array:
    """Return a flat array of zeros that begins at a multiple of the kernels' alignment."""
    memory = np.zeros(size * dtype.itemsize + ALIGNMENT, np.uint8)
    skip = -memory.ctypes.data % ALIGNMENT
    return memory[skip : skip + size * dtype.itemsize].view(dtype)


def aligned_copy(flat: Array) -> Array:
    """Return a writable copy of a flat array that begins as :func:`aligned_zeros` does."""
    copy = aligned_zeros(flat.size, flat.dtype)
    copy[...] = flat
    return copy


class Buffer:
    """Values of one or more parameters, laid end to end, and gradients once they are asked for.

    Attributes
    ----------
    values : ndarray
        Flat.
    moved : bool
        Whether a parameter has left for another buffer, which makes every plan over this one stale.
    shared : bool
        Whether a view of the values has been handed out: they may then change at any time.
    """

    def __init__(self, size: int, dtype: np.dtype[Any]) -> None:
        self.values = aligned_zeros(size, dtype)
        self._grads: Array | None = None
        self.moved = False
        self.shared = False
        self._finite: bool | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Bring unpickled arrays to memory of their own: joblib may map a file, read-only."""
        # Older pickles have "grads", made with the buffer.
        state = {"_grads": state.get("grads"), **state}
        state.pop("grads", None)
        self.__dict__.update(state)
        self.values = aligned_copy(self.values)
        if self._grads is not None:
            self._grads = aligned_copy(self._grads)

    @property
    def grads(self) -> Array:
        """Gradients, flat as the values are; made on first use, which a fit never comes to."""
        if self._grads is None:
            self._grads = aligned_zeros(self.values.size, self.values.dtype)
        return self._grads

    @property
    def has_grads(self) -> bool:
        """Whether gradients were ever asked for."""
        return self._grads is not None

    def changed(self) -> None:
        """Take note that the values are, or will be, others."""
        self._finite = None

    def known_finite(self) -> bool:
        """Tell whether all values are finite, as far as that is known without looking each time."""
        if self.shared:
            return False
        if self._finite is None:
            self._finite = bool(np.isfinite(self.values).all())
        return self._finite
