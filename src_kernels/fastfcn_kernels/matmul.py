"""Matrix products by register tiles."""

from numba import carray

from fastfcn_kernels.compilation import call, helper, native
from fastfcn_kernels.lists import DENSE
from fastfcn_kernels.memory import advance
from fastfcn_kernels.simd import TILE_ROWS, TILE_VECTORS, WIDE_VECTORS, lanes
from fastfcn_kernels.tile import listed_tile, tile

DEPTH_BLOCK = 1024
"""Steps of k after which long sums are left to the next pass: a panel of b that tall stays in the
second-level cache together with the one that comes next, where half as much again would not."""
BLOCK_ELEMENTS = 262_144
"""Elements of a that a pass works on at once: its rows stay in the second-level cache as well."""


@helper
def panel_width(m, vectors):
    """Return how many of the vectors left the next panel of columns has."""
    if m == 1:
        for wide in WIDE_VECTORS[::-1]:
            if vectors >= wide:
                return wide
    return min(TILE_VECTORS, vectors)


@helper
def _tile_height(rows):
    """Return how many of the rows left the next tile has; the last two share what there is.

    A tile of one or two rows would wait for its vectors of b, each of which serves so few.
    """
    if TILE_ROWS < rows < 2 * TILE_ROWS:
        return (rows + 1) // 2
    return min(TILE_ROWS, rows)


@native("pnpnpnnpnnnn")
def matmul(c, ldc, start, lds, a, rsa, csa, b, ldb, m, n, depth):
    """Matrix product: c = start + a b.

    Parameters
    ----------
    c, ldc : pointer, int
        (m, n), row stride ldc; written up to a whole vector              [out]
    start, lds : pointer, int
        What the sums begin with, row stride lds; 0 repeats one row. The bias, a row of zeros, or c
        itself to accumulate.                                             [in]
    a, rsa, csa : pointer, int, int
        (m, depth), element (i, k) at i·rsa + k·csa: a transpose is two swapped strides  [in]
    b, ldb : pointer, int
        (depth, n), row stride ldb; read up to a whole vector             [in]
    m, n, depth : int
        Sizes.

    Notes
    -----
    2·m·n·depth flops. One chain of fused multiply-adds an element in ascending k, so no bit depends
    on how m, n and depth are cut. Columns are the outer loop: a panel of b (depth x 4 vectors)
    comes from the second-level cache once for each tile of six rows, on AVX-512 at a third of that
    cache's bandwidth. Sums too long for that are cut over depth. The rows of a large b lie on pages
    of their own, across which no processor looks ahead: a tile asks for what comes next, a line a
    step. Undefined for sizes that do not fit and for c overlapping a or b: callers validate.
    """
    width = lanes(c)
    total = (n + width - 1) // width
    step = DEPTH_BLOCK if 2 * depth > 3 * DEPTH_BLOCK else max(depth, 1)
    large = depth * ldb > BLOCK_ELEMENTS
    block = max(4, BLOCK_ELEMENTS // step // TILE_ROWS) * TILE_ROWS
    for i0 in range(0, m, block):
        i1 = min(m, i0 + block)
        for k in range(0, max(depth, 1), step):
            v = 0
            while v < total:
                vectors = panel_width(m, total - v)
                j = v * width
                b_panel = advance(b, k * ldb + j)
                # What a large product reads next: lines of b, and of a's columns in the next k.
                b_lines, a_lines = TILE_VECTORS if large else 0, 0
                b_next = advance(b_panel, vectors * width)
                a_next = advance(a, i0 + (k + step) * csa)
                if v + vectors >= total:
                    b_next = advance(b, (k + step) * ldb)
                    if k + step >= depth:
                        b_lines = 0
                    elif large and rsa == 1:
                        a_lines = (i1 - i0 + width - 1) // width
                i, line = i0, 0
                while i < i1:
                    rows = _tile_height(i1 - i)
                    c_tile = advance(c, i * ldc + j)
                    of_b = line < b_lines
                    tile(
                        rows,
                        vectors,
                        c_tile,
                        ldc,
                        advance(start, i * lds + j) if k == 0 else c_tile,
                        lds if k == 0 else ldc,
                        advance(a, i * rsa + k * csa),
                        rsa,
                        csa,
                        b_panel,
                        ldb,
                        min(step, depth - k),
                        1 if line < b_lines + a_lines else 0,
                        advance(b_next, line * width)
                        if of_b
                        else advance(a_next, (line - b_lines) * width),
                        ldb if of_b else csa,
                    )
                    i += rows
                    line += 1
                v += vectors


@native("npnpnpnnnpnnnnlnn")
def listed_matmul(
    matmul_at, c, ldc, start, lds, a, rsa, csa, stride, b, ldb, m, n, depth, lists, ldl, tile_rows
):
    """Matrix product that leaves products with zero out: c = start + a b.

    Parameters
    ----------
    matmul_at : int
        Address of :func:`matmul`, for tiles without a list.
    stride : int
        Element (i, k) of a, at place s of its tile's list, lies at i·rsa + k·csa + s·stride.
    lists, ldl : pointer to int32, int
        (⌈m/tile_rows⌉, ldl): for each tile of rows how many k follow, then those k, ascending;
        DENSE in place of their number for all                            [in]
    tile_rows : int
        Rows that share a list, at most TILE_ROWS.

    Others as :func:`matmul`.

    Notes
    -----
    The bits of :func:`matmul` where b is finite; 0·inf and 0·NaN are left out where it is not, so
    callers make sure.
    """
    width = lanes(c)
    total = (n + width - 1) // width
    v = 0
    while v < total:
        vectors = panel_width(m, total - v)
        j = v * width
        for i in range(0, m, tile_rows):
            rows = min(tile_rows, m - i)
            listed = advance(lists, i // tile_rows * ldl)
            count = carray(listed, (1,))[0]
            c_tile, start_tile = advance(c, i * ldc + j), advance(start, i * lds + j)
            a_tile, b_panel = advance(a, i * rsa), advance(b, j)
            if count == DENSE:
                call(
                    matmul_at,
                    (
                        c_tile, ldc, start_tile, lds, a_tile, rsa, csa, b_panel, ldb,
                        rows, vectors * width, depth,
                    ),
                )  # fmt: skip
            else:
                listed_tile(
                    rows, vectors, c_tile, ldc, start_tile, lds, a_tile, rsa, csa,
                    b_panel, ldb, count, advance(listed, 1), stride,
                )  # fmt: skip
        v += vectors


@helper
def clear_padding(matrix, ld, n, rows):
    """Zero the columns from n to the end of each row.

    inf·0 has made NaN of padding that must stay zero, or a narrower matrix lay there before.
    """
    if n < ld:
        view = carray(matrix, (rows, ld))
        for i in range(rows):
            for j in range(n, ld):
                view[i, j] = 0.0
