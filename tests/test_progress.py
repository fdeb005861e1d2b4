"""Averages, rates and percentiles compared with the same figures computed one value at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from smssim.core.model import Outcome
from smssim.core.progress import Latencies, Progress, rate

HALF_BUCKET = 1 / 256  # of the lower edge of a bucket

seconds = st.floats(2**-126, 2**126, width=32)


def f32(values: list[float]) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def nearest_rank(values: list[float], percent: int) -> float:
    return sorted(values)[max(1, math.ceil(len(values) * percent / 100)) - 1]


@given(st.lists(st.one_of(seconds, st.floats(2**-10, 10, width=32)), min_size=1), st.integers(0, 100))
def test_a_percentile_is_the_nearest_rank_within_half_a_bucket(values: list[float], percent: int) -> None:
    latencies = Latencies()
    latencies.add(f32(values))
    assert latencies.percentile(percent) == pytest.approx(nearest_rank(values, percent), rel=HALF_BUCKET)


@pytest.mark.parametrize("percent", [1, 50, 95, 99, 100])
def test_the_size_of_reports_does_not_change_percentiles(percent: int) -> None:
    """Reports of thousands are counted by another algorithm than small ones."""
    values = np.random.default_rng(3).lognormal(size=20_000).astype(np.float32)
    whole, parts = Latencies(), Latencies()
    whole.add(values)
    for part in np.split(values, 40):
        parts.add(part)
    assert whole.percentile(percent) == parts.percentile(percent)
    assert whole.percentile(percent) == pytest.approx(nearest_rank(values.tolist(), percent), rel=HALF_BUCKET)


def test_a_latency_of_zero_counts() -> None:
    latencies = Latencies()
    latencies.add(f32([0.0, 0.0, 1.0]))
    assert latencies.percentile(50) == 0.0
    assert latencies.percentile(100) == pytest.approx(1.0, rel=HALF_BUCKET)


def test_there_are_no_averages_or_percentiles_before_the_first_attempt() -> None:
    progress = Progress()
    progress.add(np.empty(0, np.uint8), f32([]), f32([]))
    assert progress.sums.avg_time_s is None
    assert progress.sums.avg_sent_time_s is None
    assert progress.latencies.percentile(50) is None


attempts = st.lists(st.tuples(st.sampled_from(list(Outcome)), st.floats(0, 1e4, width=32)), max_size=10)


@given(st.lists(attempts, max_size=5))
def test_one_average_is_over_all_attempts_and_one_over_the_successful_ones(
    reports: list[list[tuple[Outcome, float]]],
) -> None:
    progress = Progress()
    for rows in reports:
        times = f32([time for _, time in rows])
        progress.add(np.array([outcome for outcome, _ in rows], np.uint8), times, times)
    everything = [row for rows in reports for row in rows]
    every = [time for _, time in everything]
    sent = [time for outcome, time in everything if outcome is Outcome.SENT]
    assert progress.sums.avg_time_s == (pytest.approx(sum(every) / len(every)) if every else None)
    assert progress.sums.avg_sent_time_s == (pytest.approx(sum(sent) / len(sent)) if sent else None)
    assert progress.latencies.count == sum(outcome is not Outcome.RETRY for outcome, _ in everything)


def test_only_final_outcomes_have_a_latency() -> None:
    progress = Progress()
    outcomes = np.array([Outcome.RETRY, Outcome.SENT, Outcome.RETRY, Outcome.FAILED], np.uint8)
    progress.add(outcomes, f32([1, 1, 1, 1]), f32([900, 2, 900, 4]))
    assert progress.latencies.percentile(50) == pytest.approx(2, rel=HALF_BUCKET)
    assert progress.latencies.percentile(100) == pytest.approx(4, rel=HALF_BUCKET)


@pytest.mark.parametrize(("count", "time_s", "per_s"), [(10, 4.0, 2.5), (0, 1.0, 0.0), (10, 0.0, 0.0), (10, -1.0, 0.0)])
def test_a_rate_is_never_infinite(count: int, time_s: float, per_s: float) -> None:
    assert rate(count, time_s) == per_s
