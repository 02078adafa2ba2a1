"""Operands of matrix products, and the products called as the kernels call them."""

import numpy as np

from fastfcn_kernels import simd
from fastfcn_kernels.matmul import masked_matmul, matmul

DTYPES = [np.float32, np.float64]
ROWS = simd.TILE_ROWS
MARK = -7.0
"""What surrounds every output; a stray store would change it."""
EDGE = 16
"""Elements of it on either side."""


def lanes(dtype):
    return simd.VECTOR_BYTES // np.dtype(dtype).itemsize


def framed(m, n, dtype):
    """An output of NaN, up to a whole vector wide, within a frame of marks."""
    whole = -(-n // lanes(dtype)) * lanes(dtype)
    frame = np.full((m + 2, whole + 2 * EDGE), MARK, dtype)
    frame[1:-1, EDGE:-EDGE] = np.nan
    return frame


def inside(frame, n):
    """The output within a frame; that nothing round it was written is checked on the way."""
    assert (frame[[0, -1]] == MARK).all()
    assert (frame[:, :EDGE] == MARK).all() and (frame[:, -EDGE:] == MARK).all()
    return frame[1:-1, EDGE : EDGE + n]


def operands(m, k, n, dtype, seed=0):
    """Random a (m, k), b (k, n) with rows up to a whole vector wide, start (n,)."""
    rng = np.random.default_rng(seed)
    whole = -(-n // lanes(dtype)) * lanes(dtype)
    a, b = rng.normal(size=(m, k)).astype(dtype), np.zeros((k, whole), dtype)
    b[:, :n] = rng.normal(size=(k, n))
    start = np.zeros(whole, dtype)
    start[:n] = rng.normal(size=n)
    return a, b, start


def masks_of(a):
    """A bit for each element of a (m, k) that is not zero: int64 (m, ⌈k/64⌉)."""
    words = -(-a.shape[1] // 64)
    bits = np.zeros((len(a), 64 * words), bool)
    bits[:, : a.shape[1]] = a != 0
    return np.packbits(bits, axis=1, bitorder="little").view(np.int64)


def into(a, b, start, n, frame, transposed=False, masks=None, pairs=False):
    """Run c = start + a b into a frame: ``start`` is one row, or None to add to what is there.

    ``transposed`` hands over aᵀ and the masks' transpose; ``masks`` (m, words) says what of a to
    go through, ``pairs`` by two rows at a time.
    """
    m, depth = a.shape
    ldc = frame.shape[1]
    c = frame[1:, EDGE:].ctypes.data
    first = (c, ldc) if start is None else (start.ctypes.data, 0)
    given = np.ascontiguousarray(a.T) if transposed else a
    lda = given.strides[0] // given.itemsize
    left = (given.ctypes.data, *((1, lda) if transposed else (lda, 1)))
    right = (b.ctypes.data, b.strides[0] // b.itemsize, m, n, depth)
    if masks is None:
        matmul.function(frame.dtype)(c, ldc, *first, *left, *right)
        return
    words = np.ascontiguousarray(masks.T if transposed else masks)
    ldm = words.shape[1]
    by = (words.ctypes.data, *((1, ldm) if transposed else (ldm, 1)), int(pairs))
    dense = matmul.address(frame.dtype)
    masked_matmul.function(frame.dtype)(dense, c, ldc, *first, *left, *right, *by)


def product(a, b, start, n, **how):
    """Return start + a b, (m, n)."""
    frame = framed(len(a), n, a.dtype)
    into(a, b, start, n, frame, **how)
    return inside(frame, n)


def within_bound(got, a, b, start):
    """Whether a product's error is within 16 eps of the sum of its terms' sizes."""
    n = got.shape[1]
    a, b, start = (v.astype(np.float64) for v in (a, b[:, :n], start[:n]))
    exact, size = start + a @ b, abs(start) + abs(a) @ abs(b)
    return (abs(got - exact) <= 16 * np.finfo(got.dtype).eps * size).all()


def same_bits(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
