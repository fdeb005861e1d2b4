"""Lanes compared with a list schedule: none idles while a message is held, and the ticks change no time.

Times are small multiples of 1/64 s, which float32 holds exactly, so that results can be compared for equality.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from smssim.core.lanes import Finished, Lanes, Work, join, pick
from smssim.core.limits import LIMITS

UNIT = 1 / 64

Row = tuple[int, int, int, float, float]  # id, attempt, outcome, duration, end


def work(ids: Sequence[int], durations_s: Sequence[float], queued_at: float = 0.0) -> Work:
    """Return messages whose attempts and outcomes follow from their ids, to reveal columns that are mixed up."""
    numbers = np.array(ids, np.int64)
    return Work(
        numbers,
        (numbers % 200 + 1).astype(np.uint8),
        (numbers % 3 + 1).astype(np.uint8),
        np.array(durations_s, np.float32),
        np.full(len(ids), queued_at),
    )


def rows_of(finished: list[Finished], queued_at: float = 0.0) -> list[Row]:
    columns = join(finished) if finished else None
    if columns is None:
        return []
    return [
        (i, attempt, outcome, duration, latency + queued_at)
        for i, attempt, outcome, duration, latency in zip(
            columns.ids.tolist(),
            columns.attempts.tolist(),
            columns.outcomes.tolist(),
            columns.durations_s.tolist(),
            columns.latencies_s.tolist(),
            strict=True,
        )
    ]


def expected(i: int, duration: float, end: float) -> Row:
    return i, i % 200 + 1, i % 3 + 1, duration, end


def put(lanes: Lanes, some: Work, now: float) -> list[Finished]:
    finished = lanes.advance(now)
    lanes.put(some, now)
    return finished


def run(lanes: Lanes, ticks: Sequence[float], now: float = 0.0) -> list[Finished]:
    """Advance the lanes after each of these intervals in turn, over and over, until all messages are sent."""
    finished = []
    turn = 0
    while lanes.busy or lanes.held:
        now += ticks[turn % len(ticks)]
        turn += 1
        finished += lanes.advance(now)
        assert not (lanes.held and lanes.idle)
    return finished


def list_schedule(durations_s: Sequence[float], concurrency: int) -> list[float]:
    """Return when each message ends if each goes, in order, to the lane that is free first."""
    free = [0.0] * concurrency
    ends = []
    for duration in durations_s:
        ends.append(heapq.heappop(free) + duration)
        heapq.heappush(free, ends[-1])
    return ends


times = st.integers(0, 100).map(lambda n: n * UNIT)
ticks = st.lists(st.integers(1, 64).map(lambda n: n * UNIT), min_size=1, max_size=5)


@given(st.lists(st.tuples(times, st.lists(times, max_size=5)), max_size=6), ticks)
def test_one_lane_sends_messages_one_after_another_whatever_the_ticks(
    batches: list[tuple[float, list[float]]], ticks: list[float]
) -> None:
    """Each message starts once it has arrived and the one before it has ended, however late the tick comes."""
    lanes, finished, reference = Lanes(1), list[Finished](), list[Row]()
    now = free_at = 0.0
    for pause, durations in batches:
        until = now + pause
        while now < until:
            now = min(until, now + ticks[len(finished) % len(ticks)])
            finished += lanes.advance(now)
        lanes.put(work(range(len(reference), len(reference) + len(durations)), durations), now)
        for duration in durations:
            free_at = max(free_at, now) + duration
            reference.append(expected(len(reference), duration, free_at))
    finished += run(lanes, ticks, now)
    assert rows_of(finished) == reference


@dataclass
class Load:
    """Messages that are put at time 0, and the lanes and ticks to send them with."""

    durations_s: list[float]
    concurrency: int
    ticks: list[float]


loads = st.builds(Load, st.lists(times, min_size=1, max_size=60), st.integers(1, 7), ticks)


@given(loads)
@example(Load([0.0, 1.0, 0.0, 0.0], 2, [1.0]))
def test_several_lanes_send_each_message_once_and_unchanged(load: Load) -> None:
    lanes = Lanes(load.concurrency)
    lanes.put(work(range(len(load.durations_s)), load.durations_s), 0.0)
    rows = rows_of(run(lanes, load.ticks))
    reference = [expected(i, duration, 0.0)[:4] for i, duration in enumerate(load.durations_s)]
    assert sorted(row[:4] for row in rows) == reference


@given(loads)
def test_no_lane_sends_two_messages_at_once_or_idles_while_a_message_is_held(load: Load) -> None:
    """By the reported times, all lanes send at any time up to one tick before the last message starts.

    Within that last tick a lane may idle, because messages are given to lanes only at ticks.
    """
    lanes = Lanes(load.concurrency)
    lanes.put(work(range(len(load.durations_s)), load.durations_s), 0.0)
    rows = rows_of(run(lanes, load.ticks))
    changes = sorted(
        [(end - duration, 1) for *_, duration, end in rows if duration]
        + [(end, -1) for *_, duration, end in rows if duration]
    )
    last_start = max(end - duration for *_, duration, end in rows)
    sending, before = 0, 0.0
    for at, change in changes:
        assert sending <= load.concurrency
        if before < at <= last_start - max(load.ticks):
            assert sending == load.concurrency
        sending, before = sending + change, at
    assert sending == 0


@given(loads)
def test_several_lanes_end_about_when_a_list_schedule_does(load: Load) -> None:
    """Both ends are at least the mean load of a lane, and exceed it by at most the longest message and one tick."""
    lanes = Lanes(load.concurrency)
    lanes.put(work(range(len(load.durations_s)), load.durations_s), 0.0)
    end = max(row[4] for row in rows_of(run(lanes, load.ticks)))
    reference = max(list_schedule(load.durations_s, load.concurrency))
    assert abs(end - reference) <= max(load.durations_s) + max(load.ticks)


def test_throughput_is_concurrency_over_mean_at_any_tick() -> None:
    """10,000 messages of 1/64 s in 4 lanes take 2,500/64 s, even if a tick is as long as 64 messages."""
    for tick_s in (1 / 1024, 1 / 8, 1.0):
        lanes = Lanes(4)
        lanes.put(work(range(10_000), [UNIT] * 10_000), 0.0)
        assert max(row[4] for row in rows_of(run(lanes, [tick_s]))) == 2500 * UNIT, f"{tick_s} s a tick"


def test_a_message_that_arrives_at_an_idle_lane_starts_at_once() -> None:
    lanes = Lanes(2)
    put(lanes, work([1], [1.0]), 10.0)
    put(lanes, work([2], [1.0]), 10.5)
    assert lanes.next_done_at() == 11.0
    assert rows_of(lanes.advance(20.0)) == [expected(1, 1.0, 11.0), expected(2, 1.0, 11.5)]


def test_latency_counts_from_when_a_message_was_queued() -> None:
    lanes = Lanes(1)
    lanes.put(work([1, 2], [1.0, 2.0], queued_at=90.0), 100.0)
    assert join(run(lanes, [0.5], 100.0)).latencies_s.tolist() == [11.0, 13.0]


def test_messages_that_take_no_time_are_sent_at_the_next_tick() -> None:
    lanes = Lanes(3)
    lanes.put(work(range(1000), [0.0] * 1000), 5.0)
    rows = rows_of(lanes.advance(5.0))
    assert sorted(rows) == [expected(i, 0.0, 5.0) for i in range(1000)]
    assert (lanes.busy, lanes.held, lanes.next_done_at()) == (0, 0, math.inf)


def test_no_message_ends_before_its_time() -> None:
    lanes = Lanes(1)
    lanes.put(work([1], [1.0]), 0.0)
    assert lanes.advance(1 - UNIT) == []
    assert rows_of(lanes.advance(1.0)) == [expected(1, 1.0, 1.0)]


def test_after_a_long_stop_no_message_starts_further_back_than_the_bound() -> None:
    """Of ten messages of 0.25 s, the first ends while the process is stopped; four fit into the last second."""
    lanes = Lanes(1)
    lanes.put(work(range(10), [0.25] * 10), 0.0)
    rows = rows_of(lanes.advance(100.0))
    assert [row[4] for row in rows] == [0.25, *(100.0 - LIMITS.late_max_s + 0.25 * n for n in (1, 2, 3, 4))]
    assert lanes.held == 4


@given(loads, st.integers(0, 50))
def test_every_message_that_was_put_is_either_dropped_or_finished(load: Load, steps: int) -> None:
    lanes = Lanes(load.concurrency)
    count = len(load.durations_s)
    lanes.put(work(range(count), load.durations_s), 0.0)
    done = [row[0] for row in rows_of(lanes.advance(steps * UNIT))]
    assert count == len(done) + lanes.busy + lanes.held
    held, late = lanes.drop_held(), lanes.drop_busy(done_after=1.0)
    assert lanes.held == 0
    done += [row[0] for row in rows_of(lanes.advance(1.0))]
    assert (lanes.busy, lanes.idle, lanes.next_done_at()) == (0, load.concurrency, math.inf)
    assert sorted([*done, *held.tolist(), *late.tolist()]) == list(range(count))


def test_messages_that_end_in_time_are_not_dropped() -> None:
    lanes = Lanes(4)
    lanes.put(work([1, 2, 3, 4], [1.0, 2.0, 3.0, 4.0]), 0.0)
    assert lanes.drop_busy(done_after=2.0).tolist() == [3, 4]
    assert rows_of(lanes.advance(9.0)) == [expected(1, 1.0, 1.0), expected(2, 2.0, 2.0)]
    assert lanes.drop_busy().tolist() == []


def test_lanes_whose_messages_were_dropped_are_used_again() -> None:
    lanes = Lanes(3)
    lanes.put(work(range(5), [1.0] * 5), 0.0)
    assert lanes.drop_held().tolist() == [3, 4]
    assert lanes.drop_busy().tolist() == [0, 1, 2]
    lanes.put(work(range(10, 14), [1.0] * 4), 0.5)
    assert (lanes.busy, lanes.held) == (3, 1)
    assert sorted(row[0] for row in rows_of(run(lanes, [0.25], 0.5))) == [10, 11, 12, 13]


def test_a_million_lanes_send_each_message_once_and_on_time() -> None:
    count = 10**6
    lanes = Lanes(count)
    durations = np.random.default_rng(1).permutation(count) * 2.0**-20
    for start in range(0, count, count // 4):
        part = slice(start, start + count // 4)
        lanes.put(work(range(start, start + count // 4), list(durations[part])), 0.0)
    assert (lanes.busy, lanes.idle, lanes.held) == (count, 0, 0)
    early = lanes.advance(0.25)
    assert sum(map(len, early)) == 2**18 + 1
    late = lanes.advance(1.0)
    everything = join(early + late)
    assert np.array_equal(np.sort(everything.ids), np.arange(count))
    assert np.array_equal(everything.durations_s, durations[everything.ids].astype(np.float32))
    assert np.array_equal(everything.latencies_s, everything.durations_s)


def test_lanes_that_never_had_a_message_are_not_visited() -> None:
    """So ten million of them cost nothing. The test makes them look overdue, which must have no effect."""
    lanes = Lanes(1000)
    lanes._done_at[5:] = -1.0
    lanes.put(work(range(5), [1.0] * 5), 0.0)
    assert lanes.next_done_at() == 1.0
    assert sorted(row[0] for row in rows_of(lanes.advance(1.0))) == [0, 1, 2, 3, 4]


def test_picking_and_joining_keep_columns_together() -> None:
    whole = work(range(6), [0.5 * i for i in range(6)])
    parts = [
        pick(whole, slice(2)),
        pick(whole, np.array([False, False, True, True, False, True])),
        pick(whole, slice(4, 5)),
    ]
    assert [len(part) for part in parts] == [2, 3, 1]
    again = join(parts)
    assert again.ids.tolist() == [0, 1, 2, 3, 5, 4]
    assert again.attempts.tolist() == (again.ids % 200 + 1).tolist()
    assert again.durations_s.tolist() == (again.ids * 0.5).tolist()


def test_no_message_starts_before_it_arrives_even_without_a_tick_at_its_arrival() -> None:
    """Of two lanes with one message held, the lane that is free second gets a message that arrives after that."""
    lanes = Lanes(2)
    put(lanes, work([0, 1, 2], [1.0, 1.0, 1.0]), 0.0)
    lanes.put(work([3], [1.0]), 1.5)  # no lane is known to be idle
    finished = lanes.advance(1.75)
    assert len(join(finished)) == 2
    finished = lanes.advance(4.0)
    assert max(row[4] for row in rows_of(finished)) == 2.5
