"""The time that is left, and the history of the rate."""

from __future__ import annotations

from math import inf

import pytest

from smssim.core.pace import RATES_MAX, Pace


def run(*moments: tuple[float, int]) -> Pace:
    pace = Pace()
    for elapsed_s, done in moments:
        pace.add(elapsed_s, done)
    return pace


def test_the_history_is_the_rate_between_two_moments() -> None:
    assert list(run((0, 0), (1, 10), (3, 50), (4, 50)).rates) == [10, 20, 0]


def test_a_moment_at_which_no_time_has_passed_is_none() -> None:
    assert list(run((0, 0), (0, 0), (1, 10), (1, 10), (2, 15)).rates) == [10, 5]


@pytest.mark.parametrize("moments", [(), ((0, 0),), ((5, 70),)])
def test_one_moment_tells_no_time(moments: tuple[tuple[float, int], ...]) -> None:
    assert run(*moments).left_s(10) is None


@pytest.mark.parametrize("moments", [((0, 0), (1, 0)), ((0, 0), (9, 0))])
def test_before_anything_is_done_no_end_is_in_sight(moments: tuple[tuple[float, int], ...]) -> None:
    assert run(*moments).left_s(10) == inf


def test_what_is_left_takes_as_long_as_it_takes_of_late() -> None:
    fast_then_slow = run(*((t, 1000 * t) for t in range(11)), *((t, 10_000 + 10 * (t - 10)) for t in range(11, 31)))
    assert fast_then_slow.left_s(100) == pytest.approx(10.0)


def test_a_short_pause_is_not_taken_for_the_end() -> None:
    paused = run(*((t, 100 * t) for t in range(20)), (20, 1900), (21, 1900))
    left_s = paused.left_s(300)
    assert left_s is not None
    assert 3 < left_s < 6


def test_nothing_left_takes_no_time() -> None:
    assert run().left_s(0) == 0.0


def test_the_history_is_bounded() -> None:
    assert len(run(*((float(t), t) for t in range(3 * RATES_MAX))).rates) == RATES_MAX
