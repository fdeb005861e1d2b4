"""Fates under faults: those of the second at which an attempt starts, and nothing else."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from smssim.core.conditions import Conditions
from smssim.core.fate import Fates
from smssim.core.fault import Fault, FaultKind, model_at, slowdown_max
from smssim.core.lanes import Finished, Lanes, Work, join
from smssim.core.model import AttemptModel, Outcome

MODEL = AttemptModel(0.25, 0.0, "fixed", fail=0.25)  # times that float32 holds exactly
RANDOM = AttemptModel(0.25, 0.1, "gamma", fail=0.25)
SEED, ATTEMPTS = 7, 3
EIGHTH = 1 / 8


def slow(at_s: float, for_s: float | None, factor: float) -> Fault:
    return Fault(at_s, FaultKind.SLOW, "", for_s, factor=factor)


def fail(at_s: float, for_s: float | None, share: float) -> Fault:
    return Fault(at_s, FaultKind.FAIL, "", for_s, share=share)


def at(some: Conditions, start_s: float) -> Fates:
    """Return the fates of the attempts that start at this second of the run."""
    return some.fates_in(bisect_right(some.edges_s, start_s))


def conditions(*faults: Fault, model: AttemptModel = MODEL) -> Conditions:
    return Conditions(SEED, ATTEMPTS, model, faults)


eighths = st.integers(0, 40).map(lambda n: n * EIGHTH)
lasting = st.none() | st.integers(1, 16).map(lambda n: n * EIGHTH)
some_faults = st.lists(
    st.builds(slow, eighths, lasting, st.sampled_from([2.0, 4.0]))
    | st.builds(fail, eighths, lasting, st.sampled_from([0.0, 0.5, 1.0])),
    max_size=4,
)


def test_without_faults_and_outside_of_them_fates_are_the_usual_ones() -> None:
    for some in (conditions(), conditions(slow(1.0, 1.0, 4.0)), conditions(Fault(1.0, FaultKind.KILL, "city"))):
        assert at(some, 0.5) is some.usual
        assert at(some, 2.0) is some.usual
    assert conditions(Fault(1.0, FaultKind.KILL, "city")).edges_s == ()
    same = conditions(slow(1.0, 1.0, 1.0))
    assert at(same, 1.0) is same.usual


def test_a_fault_begins_with_its_second_and_is_over_at_its_end() -> None:
    some = conditions(slow(1.0, 1.0, 4.0))
    ids = np.arange(5, dtype=np.uint64)
    for start_s, time_s in ((0.999, 0.25), (1.0, 1.0), (1.999, 1.0), (2.0, 0.25)):
        assert set(at(some, start_s).draw(ids, 1)[0].tolist()) == {time_s}, start_s


@given(some_faults, eighths)
def test_the_fates_of_a_second_are_those_of_the_model_of_that_second(faults: list[Fault], start_s: float) -> None:
    ids = np.arange(50, dtype=np.uint64)
    found = at(conditions(*faults, model=RANDOM), start_s).draw(ids, 2)
    expected = Fates(SEED, ATTEMPTS, model_at(RANDOM, faults, start_s)).draw(ids, 2)
    assert [column.tolist() for column in found] == [column.tolist() for column in expected]


def test_the_largest_slowdown_is_that_of_all_slow_faults_at_the_same_time() -> None:
    assert slowdown_max([]) == slowdown_max([fail(0.0, None, 1.0)]) == slowdown_max([slow(0.0, None, 0.5)]) == 1.0
    assert slowdown_max([slow(0.0, 2.0, 3.0), slow(1.0, 2.0, 4.0), slow(2.0, None, 5.0)]) == 20.0


# ---- In lanes


def put(lanes: Lanes, some: Conditions, ids: range, now: float) -> None:
    """Put messages with different attempts, and their usual fates."""
    numbers = np.array(ids, np.int64)
    attempts = (numbers % ATTEMPTS + 1).astype(np.uint8)
    durations_s, outcomes = some.usual.draw_mixed(numbers, attempts)
    lanes.put(Work(numbers, attempts, outcomes, durations_s, np.zeros(len(numbers))), now)


def history(
    some: Conditions, concurrency: int, messages: int, ticks: list[float], run_at: float = 0.0
) -> list[tuple[int, int, int, float, float]]:
    """Send messages that arrive in two batches; return id, attempt, outcome, start and time of each, by start."""
    lanes, now, turn = Lanes(concurrency), run_at, 0
    finished: list[Finished] = []
    lanes.change_with(some, run_at)
    put(lanes, some, range(messages // 2), now)
    later = range(messages // 2, messages)
    while lanes.busy or lanes.held or later:
        if later and now >= run_at + 1.0:
            put(lanes, some, later, now)
            later = range(0)
        now += ticks[turn % len(ticks)]
        turn += 1
        if later:
            now = min(now, run_at + 1.0)
        finished += lanes.advance(now)
    done = join(finished)
    starts_s = done.latencies_s.astype(np.float64) - done.durations_s - run_at
    columns = (done.ids, done.attempts, done.outcomes, starts_s, done.durations_s)
    return sorted(zip(*(column.tolist() for column in columns), strict=True), key=lambda row: (row[3], row[0]))


ticks = st.lists(st.integers(1, 8).map(lambda n: n * EIGHTH), min_size=1, max_size=5)


@given(some_faults, st.integers(1, 5), st.integers(1, 40), ticks)
def test_each_attempt_has_the_fate_of_the_second_in_which_it_starts(
    faults: list[Fault], concurrency: int, messages: int, ticks: list[float]
) -> None:
    some = conditions(*faults)
    rows = history(some, concurrency, messages, ticks)
    assert sorted(row[0] for row in rows) == list(range(messages))
    for number, attempt, outcome, start_s, time_s in rows:
        (expected_s,), (expected,) = at(some, start_s).draw(np.array([number], np.uint64), attempt)
        assert (time_s, outcome) == (expected_s, expected), (number, start_s)


@given(some_faults, st.integers(2, 40), ticks, ticks, st.sampled_from([0.0, 1000.0]))
def test_how_often_lanes_are_advanced_changes_nothing(
    faults: list[Fault], messages: int, ticks: list[float], others: list[float], run_at: float
) -> None:
    """With one lane, the order of messages is given, so each of them has the same start, time and outcome."""
    some = conditions(*faults)
    assert history(some, 1, messages, ticks, run_at) == history(some, 1, messages, others)


def test_a_fast_lane_sends_many_messages_in_one_advance_across_the_edges_of_faults() -> None:
    """Messages that don't start before an edge go back to the queue with their usual fates."""
    model = replace(MODEL, mean_s=2.0**-10, fail=0.0)
    some = conditions(slow(0.25, 0.25, 4.0), fail(0.5, 0.25, 1.0), model=model)
    lanes = Lanes(1)
    lanes.change_with(some, 0.0)
    put(lanes, some, range(2000), 0.0)
    done = join(lanes.advance(1.0))
    assert len(done) == 1024 - 256 + 64
    assert np.count_nonzero(done.durations_s == 2.0**-8) == 64
    assert np.count_nonzero(done.outcomes != Outcome.SENT) == 256


def test_attempts_that_take_no_time_fail_while_a_fault_lasts() -> None:
    some = conditions(fail(1.0, 1.0, 1.0), model=replace(MODEL, mean_s=0.0, fail=0.0))
    lanes = Lanes(2)
    lanes.change_with(some, 0.0)
    for now, ids in ((0.5, range(1000)), (1.0, range(1000, 2000)), (2.0, range(2000, 3000))):
        assert lanes.advance(now) == []
        put(lanes, some, ids, now)
        done = join(lanes.advance(now))
        assert done.ids.tolist() == list(ids)
        assert set((done.outcomes != Outcome.SENT).tolist()) == {now == 1.0}


def test_a_paused_sender_gives_attempts_the_fate_of_when_they_start_after_the_pause() -> None:
    """Starts are backdated by at most a second, so faults during a longer pause hardly affect attempts."""
    some = conditions(slow(1.0, 2.0, 4.0))
    lanes = Lanes(1)
    lanes.change_with(some, 0.0)
    put(lanes, some, range(10), 0.0)
    lanes.advance(0.5)
    done = join(lanes.advance(10.0))
    assert set(done.durations_s.tolist()) == {0.25}
