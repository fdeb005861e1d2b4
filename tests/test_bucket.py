"""The token bucket: when messages may start."""

import math
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from smssim.core.bucket import Bucket, Times, schedule
from smssim.core.model import StartLimit

READY = st.lists(st.floats(0, 100), max_size=40).map(sorted)
LIMITS = st.builds(StartLimit.of, st.floats(0.01, 1000), st.integers(1, 20), st.integers(1, 5))


def starts_of(bucket: Bucket, ready: Times) -> Times:
    """Return when messages start at this bucket, and take their tokens."""
    starts, full_at = schedule(bucket.limit, bucket.full_at, ready)
    if len(ready):
        bucket.full_at = float(full_at[-1])
    return starts


def tokens(limit_per_s: float, burst: int, segments: int, ready: Sequence[float]) -> list[float]:
    """Return when messages start, by counting tokens: the same rule in other words."""
    size = max(burst, segments)
    filled, at, starts = float(size), -math.inf, []
    for since in ready:
        start = max(since, at)
        filled = min(size, filled + (start - at) * limit_per_s) if math.isfinite(at) else float(size)
        if filled < segments:
            start += (segments - filled) / limit_per_s
            filled = float(segments)
        filled, at = filled - segments, start
        starts.append(start)
    return starts


@given(st.floats(0.01, 1000), st.integers(1, 20), st.integers(1, 5), READY)
def test_messages_start_as_soon_as_the_tokens_are_there(
    limit_per_s: float, burst: int, segments: int, ready: list[float]
) -> None:
    limit = StartLimit.of(limit_per_s, burst, segments)
    assert limit is not None
    starts = starts_of(Bucket(limit), np.array(ready))
    np.testing.assert_allclose(starts, tokens(limit_per_s, burst, segments, ready), rtol=1e-9, atol=1e-9)


@given(LIMITS, READY, st.integers(0, 40))
def test_it_makes_no_difference_how_messages_are_divided_into_calls(
    limit: StartLimit, ready: list[float], cut: int
) -> None:
    whole, parts = Bucket(limit), Bucket(limit)
    first, second = np.array(ready[:cut]), np.array(ready[cut:])
    starts = [*starts_of(parts, first), *starts_of(parts, second)]
    np.testing.assert_allclose(starts, starts_of(whole, np.array(ready)), rtol=1e-9, atol=1e-9)


@given(LIMITS, READY)
def test_messages_that_are_started_one_by_one_start_when_a_schedule_says(limit: StartLimit, ready: list[float]) -> None:
    one_by_one, together = Bucket(limit), Bucket(limit)
    starts = [one_by_one.start(ready_at) for ready_at in ready]
    np.testing.assert_allclose(starts, starts_of(together, np.array(ready)), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(one_by_one.full_at, together.full_at)


@given(LIMITS, READY, READY)
def test_several_buckets_side_by_side_are_each_like_one_alone(
    limit: StartLimit, ready: list[float], other: list[float]
) -> None:
    rows = min(len(ready), len(other))
    side_by_side = np.array([ready[:rows], other[:rows]]).T.reshape(rows, 2)
    if not rows:
        return
    starts, _ = schedule(limit, np.array([-math.inf, 3.0]), side_by_side)
    second = Bucket(limit)
    second.full_at = 3.0
    np.testing.assert_array_equal(starts[:, 0], starts_of(Bucket(limit), side_by_side[:, 0]))
    np.testing.assert_array_equal(starts[:, 1], starts_of(second, side_by_side[:, 1]))


@given(LIMITS, READY, st.floats(0, 50))
def test_so_many_are_available_as_start_without_a_wait(limit: StartLimit, ready: list[float], later_s: float) -> None:
    bucket = Bucket(limit)
    starts_of(bucket, np.array(ready))
    now = (ready[-1] if ready else 0.0) + later_s
    available = bucket.starts_by(now, now)
    starts = starts_of(bucket, np.full(available + 1, now))
    assert (starts[:available] <= now + 1e-6).all()
    assert starts[-1] > now - 1e-6
