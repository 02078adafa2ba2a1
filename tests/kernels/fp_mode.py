"""A caller that has set its thread's floating-point mode."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import numba
import pytest

from fastfcn_kernels.simd import restore_fp_mode

MODES = {
    "x86_64": (0x1F80, 0x9FC0),
    "AMD64": (0x1F80, 0x9FC0),
    "aarch64": (0, 1 << 24),
    "arm64": (0, 1 << 24),
}
"""By machine: the control register by default, and with subnormals flushed to zero."""

knows_the_register = pytest.mark.skipif(
    platform.machine() not in MODES, reason="no way to set this processor's floating-point mode"
)


@numba.njit
def _set(mode):
    restore_fp_mode(mode)


@contextmanager
def subnormals_flushed() -> Iterator[None]:
    """Take and give subnormal numbers as zero, as ``torch.set_flush_denormal`` does."""
    default, flush = MODES[platform.machine()]
    _set(flush)
    try:
        yield
    finally:
        _set(default)
