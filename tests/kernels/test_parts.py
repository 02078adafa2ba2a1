"""The first weight part after part, and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.checks import mlp, shares
from fastfcn.parts import Parts, may_fall_into_parts
from fastfcn_kernels import parts
from fastfcn_kernels import table as t
from fastfcn_kernels.simd import ALIGNMENT, TILE_VECTORS, VECTOR_BYTES


def space_in_parts(features, units, count, dtype, slots):
    """A network's workspace with parts, and state of random numbers with as many slots."""
    plan = mlp([features, units, 3], dtype=dtype).plan()
    assert may_fall_into_parts(plan.stages, plan.dtype, 8, count)
    space = plan.workspace(8, True, count, input_gradient=False)
    for row in space.table:
        row[t.WEIGHT_STATE], row[t.BIAS_STATE] = row[t.WEIGHT], row[t.BIAS]
    state = np.random.default_rng(0).normal(size=slots * plan.values.size).astype(dtype)
    frame = space.frame
    frame.point(t.STATE, state)
    frame[t.STATE_SLOT], frame[t.STATE_SLOTS] = plan.values.size, slots
    return plan, space, state


@settings(max_examples=30, deadline=None)
@given(
    features=st.integers(1, 70),
    tiles=st.integers(1, 3),
    lacking=st.integers(0, 7),
    count=st.integers(2, 5),
    dtype=st.sampled_from([np.float32, np.float64]),
    slots=st.integers(0, 3),
)
def test_the_first_weight_lies_part_after_part_and_then_as_before(
    features, tiles, lacking, count, dtype, slots
):
    width = tiles * max(ALIGNMENT, TILE_VECTORS * VECTOR_BYTES) // np.dtype(dtype).itemsize
    plan, space, state = space_in_parts(features, count * width - lacking, count, dtype, slots)
    together = Parts(space, count)
    together.join(space.frame)
    before, state_before = plan.values.copy(), state.copy()
    ld = int(space.table[0, t.LD_WEIGHT])
    at = int(space.table[0, t.WEIGHT])

    def first(flat):
        return flat[at : at + features * ld]

    with shares(count):
        space.run(parts.divide, 0, 0, count)
        for flat, old in [(plan.values, before)] + [
            (part, part_before)
            for part, part_before in zip(
                np.split(state, slots) if slots else [],
                np.split(state_before, slots) if slots else [],
                strict=True,
            )
        ]:
            rows = first(old).reshape(features, ld)
            for thread in range(count):
                own = first(flat)[thread * features * width : (thread + 1) * features * width]
                expected = rows[:, thread * width : (thread + 1) * width]
                np.testing.assert_array_equal(own.reshape(features, width), expected)
        space.run(parts.unite, 0, 0, count)
    np.testing.assert_array_equal(plan.values, before)
    if ld == count * width:
        np.testing.assert_array_equal(state, state_before)


@pytest.mark.parametrize("features", [1, 2, 784])
def test_padding_between_rows_is_zero_again(features):
    plan, space, _ = space_in_parts(features, 512, 2, np.float32, 0)
    Parts(space, 2).join(space.frame)
    before = plan.values.copy()
    assert int(space.table[0, t.LD_WEIGHT]) > 512
    with shares(2):
        space.run(parts.divide, 0, 0, 2)
        space.run(parts.unite, 0, 0, 2)
    np.testing.assert_array_equal(plan.values, before)
