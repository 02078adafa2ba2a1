"""Matrix products by register tiles, and views into flat buffers."""

from fastfcn_kernels.compilation import helper, native
from fastfcn_kernels.simd import TILE_ROWS, TILE_VECTORS, advance, lanes, tile


@helper
def matrix(buffer, offset, rows, ld):
    """Return a (rows, ld) view of a flat buffer from ``offset`` on."""
    return buffer[offset : offset + rows * ld].reshape((rows, ld))


@native("pnpnpnnpnnnn")
def matmul(c, ldc, start, lds, a, rsa, csa, b, ldb, m, n, depth):
    """Matrix product: c = start + a b.

    Parameters
    ----------
    c, ldc : pointer, int
        (m, n), row stride ldc                                            [out]
    start, lds : pointer, int
        What the sums begin with, row stride lds; 0 repeats one row. The bias, a row of zeros, or c
        itself to accumulate.                                             [in]
    a, rsa, csa : pointer, int, int
        (m, depth), element (i, k) at i·rsa + k·csa: a transpose is two swapped strides  [in]
    b, ldb : pointer, int
        (depth, n), row stride ldb                                        [in]
    m, n, depth : int
        Sizes; n is a multiple of the vector, which padding provides.

    Notes
    -----
    2·m·n·depth flops. One chain of fused multiply-adds an element in ascending k, so no bit depends
    on how m and n are cut. Columns are the outer loop: a panel of b (depth x 4 vectors) comes from
    the second-level cache once for each tile of six rows, at a third of that cache's bandwidth.
    Undefined for sizes that do not fit and for c overlapping a or b: callers validate.
    """
    width = lanes(c)
    for j in range(0, n, TILE_VECTORS * width):
        vectors = min(TILE_VECTORS, (n - j) // width)
        for i in range(0, m, TILE_ROWS):
            rows = min(TILE_ROWS, m - i)
            tile(
                rows,
                vectors,
                advance(c, i * ldc + j),
                ldc,
                advance(start, i * lds + j),
                lds,
                advance(a, i * rsa),
                rsa,
                csa,
                advance(b, j),
                ldb,
                depth,
            )


@helper
def clear_padding(rows_of, n, i0, i1):
    """Zero the columns from n on: inf·0 has made NaN of padding that must stay zero."""
    for i in range(i0, i1):
        row = rows_of[i]
        for j in range(n, row.size):
            row[j] = 0.0
