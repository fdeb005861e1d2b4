"""The history of a run is bounded, covers all of it, and yields the recent rate and the time left."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from view_support import figures

from smssim.core.history import History
from smssim.core.limits import LIMITS

Moments = list[tuple[float, int]]  # elapsed seconds, messages done


def run(*moments: tuple[float, int], samples_max: int = LIMITS.history_samples_max) -> History:
    history = History(replace(LIMITS, history_samples_max=samples_max))
    for elapsed_s, done in moments:
        history.add(figures(done // 2, done - done // 2, 10**9, elapsed_s, in_flight=done % 7))
    return history


def cumulated(steps: Moments) -> Moments:
    """Return the moments after each of these steps, given as seconds and messages done in them."""
    times, done = np.cumsum(np.array(steps), axis=0).T
    return [(float(time), int(count)) for time, count in zip(times, done, strict=True)]


steps = st.lists(st.tuples(st.floats(0.01, 100.0), st.integers(0, 1000)), min_size=1, max_size=300).map(cumulated)


# -- samples


def test_each_moment_is_a_sample_until_the_history_is_full() -> None:
    course = run((0, 0), (1, 10), (3, 50), (4, 50)).samples()
    assert course.elapsed_s.tolist() == [0, 1, 3, 4]
    assert (course.sent + course.failed).tolist() == [0, 10, 50, 50]
    assert course.in_flight.tolist() == [0, 10 % 7, 50 % 7, 50 % 7]
    for rates in (course.rate_per_s, course.rate_min_per_s, course.rate_max_per_s):
        assert rates.tolist() == [0, 10, 20, 0]


@given(steps, st.integers(4, 20))
@example([(float(i), i) for i in range(5000)], 600)
@example([(100_000 + float(i), i) for i in range(5000)], 600)  # resumed late
def test_the_samples_of_a_run_of_any_length_are_bounded_and_cover_all_of_it(moments: Moments, samples_max: int) -> None:
    history = run(*moments, samples_max=samples_max)
    course = history.samples()
    assert len(course.elapsed_s) == len(history) <= samples_max
    assert (course.elapsed_s[0], course.elapsed_s[-1]) == (moments[0][0], moments[-1][0])
    assert (np.diff(course.elapsed_s) > 0).all()
    known = dict(moments)
    assert [known[time] for time in course.elapsed_s.tolist()] == (course.sent + course.failed).tolist()


@given(steps, st.integers(4, 20))
def test_no_sample_covers_much_more_than_its_share_of_the_run(moments: Moments, samples_max: int) -> None:
    times = run(*moments, samples_max=samples_max).samples().elapsed_s
    longest_step = max(np.diff([time for time, _ in moments]), default=0.0)
    share = (times[-1] - times[0]) / (samples_max - 2)
    assert (np.diff(times) <= 2.001 * share + longest_step).all()


@given(steps, st.integers(4, 20))
def test_merging_keeps_counts_and_extremes(moments: Moments, samples_max: int) -> None:
    course, whole = run(*moments, samples_max=samples_max).samples(), run(*moments).samples()
    added = course.rate_per_s[1:] * np.diff(course.elapsed_s)
    assert added.sum() == pytest.approx(moments[-1][1] - moments[0][1])
    assert (course.rate_min_per_s <= course.rate_per_s * 1.000001).all()
    assert (course.rate_per_s <= course.rate_max_per_s * 1.000001).all()
    assert course.rate_max_per_s.max() == whole.rate_max_per_s.max()
    assert course.rate_min_per_s.min() == whole.rate_min_per_s.min()


def test_a_history_never_shrinks_below_half_of_its_maximum_size() -> None:
    history = History()
    for second in range(20 * LIMITS.history_samples_max):
        history.add(figures(second, 0, 10**9, float(second)))
        assert len(history) >= min(second + 1, LIMITS.history_samples_max // 2)


# -- the recent rate


def test_recent_rates_are_the_rates_between_neighbouring_moments() -> None:
    assert run((0, 0), (1, 10), (3, 50), (4, 50)).recent_rates() == [10, 20, 0]


def test_a_moment_at_the_same_time_as_the_last_one_is_ignored() -> None:
    history = run((0, 0), (0, 0), (1, 10), (1, 10), (2, 15))
    assert history.recent_rates() == [10, 5]
    assert len(history) == 3


def test_recent_rates_of_a_long_run_are_bounded_and_as_fine_as_its_moments() -> None:
    history = run(*((float(t), 7 * t) for t in range(3 * LIMITS.history_samples_max)))
    assert history.recent_rates() == [7.0] * LIMITS.history_rates_max


# -- the time left


def test_the_time_left_is_unknown_before_the_second_moment() -> None:
    for moments in ((), ((0, 0),), ((5, 70),)):
        assert run(*moments).left_s(10) is None


def test_the_time_left_is_infinite_before_anything_is_done() -> None:
    for moments in (((0, 0), (1, 0)), ((0, 0), (9, 0))):
        assert run(*moments).left_s(10) == inf


def test_the_time_left_follows_from_the_recent_rate() -> None:
    fast_then_slow = run(*((t, 1000 * t) for t in range(11)), *((t, 10_000 + 10 * (t - 10)) for t in range(11, 31)))
    assert fast_then_slow.left_s(100) == pytest.approx(10.0)


def test_a_short_pause_changes_the_time_left_only_a_little() -> None:
    paused = run(*((t, 100 * t) for t in range(20)), (20, 1900), (21, 1900))
    left_s = paused.left_s(300)
    assert left_s is not None
    assert 3 < left_s < 6


def test_the_time_left_is_zero_when_nothing_is_left() -> None:
    assert run().left_s(0) == 0.0
