"""Which way of training a fit goes, as rates change under it."""

import numpy as np
import pytest

from fastfcn.pace import SLICE_SECONDS, Pace, Way

ALL = (Way.ALONE, Way.ROWS, Way.PARTS)
STEP = 100
"""Samples of a step."""


def go(pace, rates, seconds, epoch=1 << 40, noise=lambda: 1.0):
    """Train for some seconds at given samples a second; return the seconds spent each way."""
    spent = dict.fromkeys(pace.ways, 0.0)
    left = epoch
    while sum(spent.values()) < seconds:
        way, samples = pace.choose(left)
        took = samples / rates[way] * noise()
        pace.record(way, samples, took)
        spent[way] += took
        left = left - samples or epoch
    return spent


@pytest.mark.parametrize("fastest", ALL)
def test_the_fastest_way_is_gone_nearly_always(fastest):
    rates = dict.fromkeys(ALL, 300_000.0) | {fastest: 500_000.0}
    spent = go(Pace(ALL, STEP), rates, 10.0)
    assert spent[fastest] > 0.96 * sum(spent.values())


def test_a_way_that_slows_down_is_left_for_the_one_that_is_faster_now():
    pace = Pace(ALL, STEP)
    near = {Way.ALONE: 380e3, Way.ROWS: 680e3, Way.PARTS: 650e3}
    far = {Way.ALONE: 380e3, Way.ROWS: 360e3, Way.PARTS: 500e3}
    assert go(pace, near, 3.0)[Way.ROWS] > 0.85 * 3.0
    assert go(pace, far, 1.0)[Way.PARTS] > 0.7
    back = go(pace, near, 20.0)
    assert back[Way.ROWS] > 0.6 * 20, "found again though parts did not slow down"


def test_threads_that_are_held_up_are_left_at_once_and_come_back():
    pace = Pace(ALL, STEP)
    idle = {Way.ALONE: 380e3, Way.ROWS: 680e3, Way.PARTS: 650e3}
    busy = {Way.ALONE: 300e3, Way.ROWS: 20e3, Way.PARTS: 20e3}
    go(pace, idle, 2.0)
    held = go(pace, busy, 20.0)
    assert held[Way.ALONE] > 0.6 * sum(held.values())
    assert go(pace, idle, 20.0)[Way.ALONE] < 0.5 * 20


def test_one_thread_is_not_tried_again_while_several_are_fast():
    pace = Pace(ALL, STEP)
    rates = {Way.ALONE: 380e3, Way.ROWS: 680e3, Way.PARTS: 650e3}
    go(pace, rates, 1.0)
    assert go(pace, rates, 30.0)[Way.ALONE] == 0.0


@pytest.mark.parametrize(("epoch", "most"), [(2_000, 0.12), (60_000, 0.06)])
def test_noise_does_not_lead_away_from_the_fastest_way(epoch, most):
    rng = np.random.default_rng(0)
    rates = {Way.ROWS: 600e3, Way.PARTS: 400e3}
    spent = go(
        Pace((Way.ROWS, Way.PARTS), STEP), rates, 60.0, epoch,
        lambda: max(0.3, 1.0 + 0.1 * rng.normal()),
    )  # fmt: skip
    assert spent[Way.PARTS] < most * sum(spent.values())


def test_a_hiccup_in_the_first_slice_of_several_threads_is_forgiven():
    pace = Pace(ALL, STEP)
    delays = iter([1.0, 1.0, 20.0])
    rates = {Way.ALONE: 380e3, Way.ROWS: 680e3, Way.PARTS: 650e3}
    assert go(pace, rates, 1.0, noise=lambda: next(delays, 1.0))[Way.ALONE] < 0.05


def test_slow_steps_go_by_rows_and_one_at_a_time():
    """Sixteen in parts would keep Ctrl-C and the progress bar waiting."""
    pace = Pace((Way.ROWS, Way.PARTS), STEP)
    spent = go(pace, dict.fromkeys(pace.ways, STEP / 0.05), 10.0)
    assert spent[Way.PARTS] == 0.0
    assert pace.choose(1 << 20) == (Way.ROWS, 2 * STEP)


def test_a_callback_after_each_batch_and_the_end_of_an_epoch_leave_no_room_for_parts():
    pace = Pace((Way.ROWS, Way.PARTS), STEP)
    rates = {Way.ROWS: 400e3, Way.PARTS: 600e3}
    go(pace, rates, 1.0)
    assert pace.choose(1 << 20)[0] is Way.PARTS
    assert pace.choose(15 * STEP) == (Way.ROWS, 15 * STEP)
    assert pace.choose(1 << 20, each_batch=True) == (Way.ROWS, STEP)
    assert pace.choose(STEP // 2, each_batch=True) == (Way.ROWS, STEP // 2)


def test_a_slice_grows_step_by_step():
    """So that threads held up after a short trial do not hold up Ctrl-C for long."""
    pace = Pace([Way.ROWS], STEP)
    sizes = []
    for _ in range(6):
        way, samples = pace.choose(1 << 40)
        pace.record(way, samples, samples / 600e3)
        sizes.append(samples)
    assert sizes[0] == pace.FIRST_STEPS * STEP
    assert all(
        after <= pace.GROWTH * before for before, after in zip(sizes, sizes[1:], strict=False)
    )
    assert sizes[-1] == pytest.approx(600e3 * SLICE_SECONDS, rel=0.01)
