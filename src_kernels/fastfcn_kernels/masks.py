"""Zero-skipping: a bit for each element of the input, set where it is not zero.

Adding a product with zero changes no sum (but a zero's sign, and the register tile gives every zero
sum one sign), so a product need only go through the bits that are set. Pixels, one-hot columns and
word counts are mostly zeros: of MNIST's pixels, 81%.

A *mask* is an int64 of 64 elements, the first in the lowest bit. Masks of rows are made where a
batch is gathered; those of features, by samples, are the same bits transposed.
"""

from numba import carray

from fastfcn_kernels import table as t
from fastfcn_kernels.compilation import helper, native
from fastfcn_kernels.memory import advance, int64s
from fastfcn_kernels.scans import GROUP, count_ones, nonzero_bits, transpose_bits

WORD = 64
"""Elements of a mask."""

DENSE_COST = 128
"""Cost of a feature that goes through all samples."""
MASK_COST = 10
"""Samples that would take as long as a mask itself: sums are loaded and stored, and no processor
foresees how many bits it has."""


@helper
def words_of(n):
    """Return the masks of ``n`` elements."""
    return (n + WORD - 1) // WORD


@helper
def pays(count, elements):
    """Tell whether going through ``count`` bits of so many elements beats the whole product.

    Eight vectors of a row take 4.5 cycles a bit, in a tile of six rows 4 an element; but sums are
    loaded and stored for each mask. Random zeros were seen to pay up to 0.5 to 0.6.
    """
    return 2 * count < elements


@helper
def are_dense(count, elements):
    """Tell whether ``count`` of so many elements are too many to look for more zeros."""
    return 16 * count >= 15 * elements


@helper
def mask_row(x, n, masks):
    """Make the masks of n elements; return how many are not zero.

    Elements are read up to a whole group, and what is read beyond n does not count.
    """
    words, whole = carray(masks, (words_of(n),)), n // WORD
    count = 0
    for w in range(whole):
        words[w] = nonzero_bits(advance(x, w * WORD), WORD)
        count += count_ones(words[w])
    left = n - whole * WORD
    if left > 0:
        word = 0
        for shift in range(0, left, GROUP):
            word |= nonzero_bits(advance(x, whole * WORD + shift), GROUP) << shift
        words[whole] = word & (1 << left) - 1
        count += count_ones(words[whole])
    return count


@helper
def mask_whole_row(n, masks):
    """Make the masks of n elements that all count."""
    words, whole = carray(masks, (words_of(n),)), n // WORD
    words[:whole] = -1
    if whole < words_of(n):
        words[whole] = (1 << n - whole * WORD) - 1


@helper
def masks_of_features(frame, thread, batch):
    """Return a thread's masks of features, and what lies between a feature's words.

    Word w of feature k lies at k + w·(the number returned).
    """
    stride = words_of(carray(int64s(frame[t.STAGES]), (t.COLUMNS,))[t.IN]) * WORD
    return advance(int64s(frame[t.FEATURE_MASKS]), thread * stride * words_of(batch)), stride


@native("fpnnnnl")
def mask_features(frame_at, work, thread, batch, k0, k1, costs_at):
    """Make the masks of the features k0:k1, by samples.

    Parameters
    ----------
    frame_at : pointer to int64
        MASKS of all samples [in]; the thread's FEATURE_MASKS             [out]
    work : pointer
        Not read.
    thread, batch : int
        Whose masks; samples.
    k0, k1 : int
        Features, from a whole group on.
    costs_at : pointer to int32
        (groups,): what a feature of each group costs, of DENSE_COST      [out]
    """
    frame = carray(frame_at, (t.FRAME_SIZE,))
    n = carray(int64s(frame[t.STAGES]), (t.COLUMNS,))[t.IN]
    words, blocks = words_of(n), words_of(batch)
    rows = carray(int64s(frame[t.MASKS]), (batch, words))
    masks, stride = masks_of_features(frame, thread, batch)
    costs = carray(costs_at, ((k1 + GROUP - 1) // GROUP,))
    for w in range(k0 // WORD, words_of(k1)):
        for block in range(blocks):
            square = advance(masks, block * stride + w * WORD)
            bits = carray(square, (WORD,))
            samples = min(WORD, batch - block * WORD)
            for i in range(samples):
                bits[i] = rows[block * WORD + i, w]
            bits[samples:] = 0
            transpose_bits(square)
    by_feature = carray(masks, (blocks, stride))
    for k in range(k0, k1, GROUP):
        features, samples = min(GROUP, n - k), 0
        for block in range(blocks):
            # Pairs go through what either needs; an empty mask is passed over.
            for j in range(k, k + features, 2):
                count = count_ones(by_feature[block, j] | by_feature[block, j + 1])
                samples += 2 * (count + MASK_COST if count > 0 else 1)
        costs[k // GROUP] = min(DENSE_COST, samples * DENSE_COST // (features * batch))
