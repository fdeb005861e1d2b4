"""Lanes behind a token bucket compared with lanes and tokens that are counted message by message.

Times are multiples of 1/64 s, which floats hold exactly, so that results can be compared for equality.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, cycle
from typing import cast

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smssim.core import limited_lanes
from smssim.core.conditions import Conditions
from smssim.core.lanes import Finished, Work
from smssim.core.limited_lanes import LimitedLanes
from smssim.core.limits import LIMITS
from smssim.core.model import Attempts, Ids, StartLimit

UNITS = 64  # per second
Rows = dict[int, tuple[float, float]]  # by id: how long the attempt took, and when it ended


@dataclass(frozen=True)
class Load:
    """What to send, in units of time."""

    concurrency: int
    interval: int  # between two starts
    burst: int
    batches: list[tuple[int, list[int]]]  # the pause before each, and the times of its messages
    edges: list[int]  # when times change: twice as long from each
    ticks: list[int]  # between two advances, in turn

    @property
    def limit(self) -> StartLimit:
        return StartLimit(self.interval / UNITS, (self.burst - 1) * self.interval / UNITS)

    @property
    def times(self) -> list[int]:
        return list(chain.from_iterable(times for _, times in self.batches))


class Twice:
    """Stand-in for `Conditions`: attempts take twice as long from each edge."""

    def __init__(self, load: Load, factor: int = 1) -> None:
        self.load, self.factor = load, factor
        self.edges_s = [edge / UNITS for edge in load.edges]

    @property
    def usual(self) -> Twice:
        return self

    def fates_in(self, segment: int) -> Twice:
        return Twice(self.load, 2**segment) if segment else self

    def draw_mixed(self, ids: Ids, attempts: Attempts) -> tuple[np.ndarray, np.ndarray]:
        return (np.array(self.load.times)[ids] * self.factor / UNITS).astype(np.float32), np.ones(len(ids), np.uint8)


def work(ids: Sequence[int], times: Sequence[int]) -> Work:
    numbers = np.array(ids, np.int64)
    ones = np.ones(len(ids), np.uint8)
    return Work(numbers, ones, ones, (np.array(times) / UNITS).astype(np.float32), np.zeros(len(ids)))


def rows(finished: list[Finished]) -> Rows:
    found: Rows = {}
    for some in finished:
        for i, took, end in zip(some.ids.tolist(), some.durations_s.tolist(), some.latencies_s.tolist(), strict=True):
            assert i not in found
            found[i] = took * UNITS, end * UNITS
    return found


def counted(load: Load) -> Rows:
    """Return what becomes of each message if lanes and tokens are counted one message after the other."""
    free, now, number, found = [0] * load.concurrency, 0, 0, Rows()
    size = load.burst * load.interval
    filled, filled_at = size, 0  # a token takes `interval` to fill
    for pause, times in load.batches:
        now += pause
        for time in times:
            start = max(heapq.heappop(free), now, filled_at)
            filled, filled_at = min(size, filled + start - filled_at), start
            if filled < load.interval:
                start += load.interval - filled
                filled, filled_at = load.interval, start
            filled -= load.interval
            took = time * 2 ** bisect_right(load.edges, start)
            heapq.heappush(free, start + took)
            found[number] = took, start + took
            number += 1
    return found


def played(load: Load) -> Rows:
    lanes = LimitedLanes(load.concurrency, load.limit, replace(LIMITS, late_max_s=math.inf))
    lanes.change_with(cast(Conditions, Twice(load)), 0.0)
    ticks, now, number = cycle(load.ticks), 0, 0
    finished: list[Finished] = []

    def advance() -> None:
        nonlocal finished
        finished += lanes.advance(now / UNITS)
        assert lanes.busy + lanes.held == number - sum(map(len, finished))

    for pause, times in load.batches:
        until = now + pause
        while now < until:
            now = min(until, now + next(ticks))
            if now < until or lanes.changes:
                advance()
        lanes.put(work(range(number, number + len(times)), times), now / UNITS)
        number += len(times)
    while lanes.busy or lanes.held:
        now += next(ticks)
        advance()
    return rows(finished)


some_times = st.lists(st.one_of(st.integers(0, 8), st.integers(0, 200)), max_size=30)
loads = st.builds(
    Load,
    st.integers(1, 12),
    st.integers(1, 40),
    st.integers(1, 9),
    st.lists(st.tuples(st.integers(0, 100), some_times), max_size=6),
    st.lists(st.integers(1, 200), max_size=2, unique=True).map(sorted),
    st.lists(st.integers(1, 200), min_size=1, max_size=4),
)


@pytest.mark.parametrize("few", [0, limited_lanes.FEW])
@given(load=loads)
@example(load=Load(1, 4, 1, [(0, [0] * 20)], [], [200]))
@example(load=Load(2, 1, 9, [(0, [9, 1, 1, 1, 9, 1, 1])], [], [200]))
def test_each_message_starts_when_lane_and_token_are_there_however_often_lanes_advance(few: int, load: Load) -> None:
    """In rounds, and one by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limited_lanes, "FEW", few)
        assert played(load) == counted(load)


def limited(concurrency: int, interval: int, burst: int = 1) -> LimitedLanes:
    return LimitedLanes(concurrency, Load(concurrency, interval, burst, [], [], []).limit)


def ends(finished: list[Finished]) -> list[float]:
    return sorted(end for _, end in rows(finished).values())


def test_a_message_that_finds_a_lane_and_a_token_starts_at_once_and_others_wait_outside_the_lanes() -> None:
    lanes = limited(concurrency=10, interval=32, burst=2)
    lanes.put(work(range(5), [8] * 5), 1.0)
    assert (lanes.busy, lanes.held) == (2, 3)
    assert lanes.next_done_at() == 1.0 + 8 / UNITS
    assert ends(lanes.advance(1.25)) == [UNITS + 8] * 2
    assert (lanes.busy, lanes.held, lanes.next_done_at()) == (0, 3, 1.5)
    assert lanes.drop_held().tolist() == [2, 3, 4]
    assert lanes.advance(9.0) == []


def test_messages_that_take_no_time_end_at_the_next_tick() -> None:
    lanes = limited(concurrency=3, interval=1, burst=5)
    lanes.put(work(range(5), [0] * 5), 1.0)
    assert (lanes.busy, lanes.held) == (3, 2)
    assert ends(lanes.advance(1.0)) == [UNITS] * 5


def test_after_a_long_stop_no_message_starts_further_back_than_the_bound_and_tokens_fill_the_bucket_only() -> None:
    lanes = limited(concurrency=1000, interval=16, burst=3)
    lanes.put(work(range(100), [1] * 100), 0.0)
    lanes.advance(0.0)
    back = (100.0 - LIMITS.late_max_s) * UNITS
    late = [back, back, *(back + 16 * n for n in range(5))]
    assert ends(lanes.advance(100.0)) == [1.0] * 3 + [start + 1 for start in late[:-1]]


def test_lanes_that_could_start_a_message_soon_are_those_for_which_there_are_tokens() -> None:
    lanes = limited(concurrency=8, interval=32, burst=3)
    assert (lanes.startable(0.0, 0.0), lanes.startable(0.0, 1.0), lanes.startable(0.0, 9.0)) == (3, 5, 8)
    lanes.put(work(range(4), [640] * 4), 0.0)
    assert (lanes.startable(0.0, 0.0), lanes.startable(0.0, 1.0), lanes.startable(0.0, 9.0)) == (0, 2, 5)
    assert (lanes.vacant(0.0, 0.0), lanes.vacant(0.0, 1.0), lanes.vacant(0.0, 9.0)) == (0, 1, 4)


def test_with_nothing_to_send_lanes_ask_to_be_looked_at_shortly_before_a_token_is_there() -> None:
    lanes = limited(concurrency=8, interval=32)
    lanes.put(work([0], [1]), 0.0)
    assert ends(lanes.advance(0.25)) == [1.0]
    assert lanes.next_done_at() == 0.5 - LIMITS.token_ahead_s
    lanes.advance(0.49)
    assert lanes.next_done_at() == math.inf
