"""Which way of training a fit goes, as rates change under it."""

import pytest

from fastfcn.pace import SLICE_SECONDS, Pace, Way

ALL = (Way.ALONE, Way.ROWS, Way.PARTS)
STEP = 100
"""Samples of a step."""


def go(pace, rates, seconds):
    """Train for some seconds at given samples a second; return the seconds spent each way."""
    spent = dict.fromkeys(pace.ways, 0.0)
    while sum(spent.values()) < seconds:
        way = pace.way()
        samples = max(STEP, int(pace.samples()) or 4 * STEP)
        took = samples / rates[way]
        pace.record(way, samples, took)
        spent[way] += took
    return spent


@pytest.mark.parametrize("fastest", ALL)
def test_the_fastest_way_is_gone_nearly_always(fastest):
    rates = dict.fromkeys(ALL, 300_000.0) | {fastest: 500_000.0}
    spent = go(Pace(ALL), rates, 10.0)
    assert spent[fastest] > 0.96 * sum(spent.values())


def test_a_way_that_slows_down_is_left_for_the_one_that_is_faster_now():
    pace = Pace(ALL)
    near = {Way.ALONE: 380e3, Way.ROWS: 680e3, Way.PARTS: 650e3}
    far = {Way.ALONE: 380e3, Way.ROWS: 360e3, Way.PARTS: 500e3}
    go(pace, near, 3.0)
    assert pace.way() is Way.ROWS
    assert go(pace, far, 1.0)[Way.PARTS] > 0.7
    back = go(pace, near, 20.0)
    assert back[Way.ROWS] > 0.6 * 20, "found again though parts did not slow down"


def test_threads_that_are_held_up_are_left_at_once_and_come_back():
    pace = Pace(ALL)
    idle = {Way.ALONE: 380e3, Way.ROWS: 680e3, Way.PARTS: 650e3}
    busy = {Way.ALONE: 300e3, Way.ROWS: 20e3, Way.PARTS: 20e3}
    go(pace, idle, 2.0)
    held = go(pace, busy, 20.0)
    assert held[Way.ALONE] > 0.6 * sum(held.values())
    assert go(pace, idle, 20.0)[Way.ALONE] < 0.5 * 20


def test_one_thread_is_not_tried_again_while_several_are_fast():
    pace = Pace(ALL)
    rates = {Way.ALONE: 380e3, Way.ROWS: 680e3, Way.PARTS: 650e3}
    go(pace, rates, 1.0)
    assert go(pace, rates, 30.0)[Way.ALONE] == 0.0


def test_without_a_choice_every_slice_is_whole():
    pace = Pace([Way.ROWS])
    assert pace.samples() == 0.0
    pace.record(Way.ROWS, 1000, 0.01)
    assert pace.way() is Way.ROWS and pace.samples() == pytest.approx(1e5 * SLICE_SECONDS)
