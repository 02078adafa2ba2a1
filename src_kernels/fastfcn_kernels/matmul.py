"""Matrix products by register tiles."""

from numba import carray

from fastfcn_kernels.compilation import call, helper, native
from fastfcn_kernels.masks import WORD, pays, words_of
from fastfcn_kernels.memory import advance
from fastfcn_kernels.scans import count_ones
from fastfcn_kernels.simd import (
    MASKED_TILE_ROWS,
    MASKED_VECTORS,
    PAIR_VECTORS,
    TILE_ROWS,
    TILE_VECTORS,
    WIDE_VECTORS,
    lanes,
)
from fastfcn_kernels.tile import listed_tile, masked_tile, tile

DEPTH_BLOCK = 1024
"""Steps of k after which long sums are left to the next pass: a panel of b that tall stays in the
second-level cache together with the one that comes next, where half as much again would not."""
BLOCK_ELEMENTS = 262_144
"""Elements of a that a pass works on at once: its rows stay in the second-level cache as well."""

MASKED_ROWS = 128
"""Rows that go through a word of their masks at once: they, too, stay in the second-level cache."""


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


@helper
def _is_dense(masks, rsm, csm, m, depth, w):
    """Tell whether word w of the masks of m rows has too many bits to go through them."""
    count = 0
    for i in range(m):
        count += count_ones(carray(advance(masks, i * rsm + w * csm), (1,))[0])
    return not pays(count, m * min(WORD, depth - w * WORD))


@native("npnpnpnnpnnnnfnnn")
def masked_matmul(
    matmul_at, c, ldc, start, lds, a, rsa, csa, b, ldb, m, n, depth, masks, rsm, csm, pairs
):
    """Matrix product that leaves products with zero out: c = start + a b.

    Parameters
    ----------
    matmul_at : int
        Address of :func:`matmul`, for what is dense.
    masks, rsm, csm : pointer to int64, int, int
        (m, ⌈depth/64⌉), word w of row i at i·rsm + w·csm: a bit for each element of a row of a
        that is not zero                                                  [in]
    pairs : int
        1: rows of a that follow each other are alike, and better taken two at a time.

    Others as :func:`matmul`.

    Notes
    -----
    The bits of :func:`matmul` where b is finite; 0·inf and 0·NaN are left out where it is not, so
    callers make sure.

    A row at a time, eight vectors wide, leaves most out, but loads one vector of b for each
    multiply-add, which only the first-level cache can serve. So 64 rows of b are gone through at
    a time, 32 KB of them on AVX-512, by all rows of a; sums go to c in between. Words with few
    zeros are left to :func:`matmul`.
    """
    width, words = lanes(c), words_of(depth)
    total = (n + width - 1) // width
    for i0 in range(0, m, MASKED_ROWS):
        rows = min(MASKED_ROWS, m - i0)
        w = 0
        while w < words:
            row_masks = advance(masks, i0 * rsm)
            sparse_from = w
            while sparse_from < words and _is_dense(row_masks, rsm, csm, rows, depth, sparse_from):
                sparse_from += 1
            if sparse_from > w:
                k, c_rows = w * WORD, advance(c, i0 * ldc)
                call(
                    matmul_at,
                    (
                        c_rows, ldc, advance(start, i0 * lds) if w == 0 else c_rows,
                        lds if w == 0 else ldc, advance(a, i0 * rsa + k * csa), rsa, csa,
                        advance(b, k * ldb), ldb, rows, n, min(depth, sparse_from * WORD) - k,
                    ),
                )  # fmt: skip
            w = sparse_from
            while w < words and not _is_dense(row_masks, rsm, csm, rows, depth, w):
                w += 1
            v = 0
            while v < total and w > sparse_from:
                vectors = _masked_width(m, pairs, total - v)
                for word in range(sparse_from, w):
                    _masked_panel(
                        vectors, advance(c, i0 * ldc + v * width), ldc,
                        advance(start, i0 * lds + v * width), lds,
                        advance(a, i0 * rsa + word * WORD * csa), rsa, csa,
                        advance(b, word * WORD * ldb + v * width), ldb, rows,
                        advance(row_masks, word * csm), rsm, pairs, word == 0,
                    )  # fmt: skip
                v += vectors


@helper
def _masked_width(m, pairs, vectors):
    """Return how many of the vectors left the next panel with a mask has; they are much alike."""
    if m == 1 and vectors >= WIDE_VECTORS[-1]:  # no other row needs what is near
        return WIDE_VECTORS[-1]
    most = PAIR_VECTORS if pairs != 0 else MASKED_VECTORS
    panels = (vectors + most - 1) // most
    return (vectors + panels - 1) // panels


@helper
def _masked_panel(vectors, c, ldc, start, lds, a, rsa, csa, b, ldb, m, masks, rsm, pairs, first):
    """Go through one word of the masks of all rows, for a panel of b's columns."""
    most = max(MASKED_TILE_ROWS[vectors], 1 + pairs) if m > 1 else 1
    i = 0
    while i < m:
        rows = most if i + most <= m else 1
        mask = 0
        for r in range(i, i + rows):
            mask |= carray(advance(masks, r * rsm), (1,))[0]
        if first or mask != 0:
            to = advance(c, i * ldc)
            masked_tile(
                rows, vectors, to, ldc, advance(start, i * lds) if first else to,
                lds if first else ldc, advance(a, i * rsa), rsa, csa, b, ldb, mask,
            )  # fmt: skip
        i += rows


@native("ppppnnl")
def listed_row(c, start, a, b, ldb, n, listed):
    """One row of a product, by a list of what is not zero: c = start + Σ a[s] b[listed[1 + s]].

    Parameters
    ----------
    c, start : pointer
        (n,), written and read up to a whole vector [out]; what the sums begin with  [in]
    a : pointer
        The numbers that are not zero                                     [in]
    b, ldb : pointer, int
        Rows of n, row stride ldb; read up to a whole vector              [in]
    n : int
        Columns.
    listed : pointer to int32
        How many numbers, then the row of b of each, ascending, and one more that is read and not
        used                                                              [in]

    Notes
    -----
    The bits of :func:`matmul` where b is finite.
    """
    width = lanes(c)
    total = (n + width - 1) // width
    count = carray(listed, (1,))[0]
    v = 0
    while v < total:
        vectors, j = panel_width(1, total - v), v * width
        listed_tile(
            vectors, advance(c, j), advance(start, j), a, advance(b, j), ldb, count,
            advance(listed, 1),
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
