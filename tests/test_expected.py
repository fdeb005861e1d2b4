"""The forecast during a run: its bands hold the true time as often as they claim, and it copes with any run."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from itertools import count
from types import FrameType
from typing import Any, Final

import numpy as np
import pytest
from expected_support import KINDS, Moment, moments
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from view_support import figures

from smssim.core.expected import COMPLETE, MOMENTS_MIN, UNKNOWN, Expected, expected
from smssim.core.fleet import Others, SenderRow
from smssim.core.history import Samples
from smssim.core.progress import Figures, Milestones
from smssim.core.session import State

RUNS: Final = 200
FIRST: Final = 700_000  # a seed that the calibration has not seen
COUNT_MAX: Final = 1500
HALF_WAY: Final = (95, 0.5)
COVERAGE: Final = (0.72, 0.88)
CALLS_MAX: Final = 1000


@pytest.fixture(scope="module")
def half_way() -> tuple[Moment, ...]:
    """Return moments of runs at half of the time until 95% are sent, after which nothing happens to senders."""
    found: list[Moment] = []
    for seed in count(FIRST):
        found += [moment for moment in moments(seed, COUNT_MAX, [HALF_WAY]) if is_usual(moment)]
        if len(found) >= RUNS:
            return tuple(found[:RUNS])
    raise AssertionError


def is_usual(moment: Moment) -> bool:
    return moment.is_calm and len(moment.samples.elapsed_s) >= MOMENTS_MIN


def forecast(moment: Moment) -> dict[int, Expected]:
    found = expected(moment.samples, moment.figures, moment.rows, Others(), moment.scenario.max_attempts)
    assert found is not None
    return dict(found)


def samples_of(
    times_s: NDArray[np.float64], sent: NDArray[np.int64], failed: NDArray[np.int64], in_flight: NDArray[np.int64]
) -> Samples:
    """Return the course of a run of which only these columns matter."""
    counts, times = np.zeros_like(sent), np.zeros(len(sent))
    return Samples(times_s, sent, failed, in_flight, counts, counts, counts, *[times] * 7)


def course(
    sent: list[int], failed: list[int] | None = None, total: int = 1000, in_flight: int = 4
) -> tuple[Samples, Figures]:
    """Return a run with these counts at moments a second apart, and its figures at the last one."""
    failed = failed or [0] * len(sent)
    times_s = np.arange(1.0, len(sent) + 1)
    flying = np.full(len(sent), in_flight)
    samples = samples_of(times_s, np.array(sent), np.array(failed), flying)
    done = sent[-1] + failed[-1]
    last = figures(
        sent[-1], failed[-1], total, float(times_s[-1]), in_flight=min(in_flight, total - done), attempts=done
    )
    return samples, last


def sender(sent: int = 500, failed: int = 0, state: State = State.SENDING, **more: Any) -> SenderRow:
    row = SenderRow("a", 0.4, 0.0, 4, state, sent, failed, sent + failed, 0.4, 10.0, 10.0, 4, 0)
    return replace(row, **more)


def check(found: Any, now_s: float, marks: int | None = None) -> None:
    """Assert that bands are finite, in order, and not over."""
    assert found is not None
    assert marks is None or len(found) == marks
    for band in found.values():
        times_s = [time for time in (band.low_s, band.median_s, band.high_s) if time is not None]
        assert all(math.isfinite(time) and time >= now_s for time in times_s), band
        assert times_s == sorted(times_s)
        assert band.high_s is None or band.median_s is not None
        assert band.median_s is None or band.low_s is not None


# -- how often it is right


def test_half_way_about_80_percent_of_the_bands_hold_the_true_time_of_95_percent(half_way: tuple[Moment, ...]) -> None:
    inside = [holds(forecast(moment)[95], moment.reached_s[95]) for moment in half_way]
    assert len(inside) == RUNS
    assert COVERAGE[0] <= sum(inside) / RUNS <= COVERAGE[1]


def holds(band: Expected, true_s: float | None) -> bool:
    assert true_s is not None
    low_s, high_s = (math.inf if time is None else time for time in (band.low_s, band.high_s))
    return low_s <= true_s <= high_s


def test_the_runs_are_of_all_kinds(half_way: tuple[Moment, ...]) -> None:
    assert {moment.kind for moment in half_way} == set(KINDS)


def test_bands_are_narrow(half_way: tuple[Moment, ...]) -> None:
    widths = [(band.high_s - band.low_s) / band.median_s for moment in half_way if (band := known(moment)) is not None]
    assert len(widths) > 0.9 * RUNS
    assert np.median(widths) < 0.15


def known(moment: Moment) -> Any:
    band = forecast(moment)[95]
    return None if band.high_s is None else band


def test_bands_miss_on_both_sides(half_way: tuple[Moment, ...]) -> None:
    pairs = [(forecast(moment)[95], moment.reached_s[95]) for moment in half_way]
    early = sum(band.low_s is None or true_s < band.low_s for band, true_s in pairs if true_s is not None)
    late = sum(band.high_s is not None and true_s > band.high_s for band, true_s in pairs if true_s is not None)
    assert min(early, late) > 0.03 * RUNS
    assert max(early, late) < 0.2 * RUNS


def test_marks_that_are_never_reached_are_not_promised(half_way: tuple[Moment, ...]) -> None:
    never = [(m, mark) for m in half_way for mark in (99,) if m.reached_s[mark] is None]
    promised = [mark for moment, mark in never if forecast(moment)[mark].high_s is not None]
    assert len(never) > 20
    assert len(promised) < 0.1 * len(never)


# -- what it says


def test_there_is_none_before_20_moments() -> None:
    sent = [10 * i for i in range(1, MOMENTS_MIN + 1)]
    samples, last = course(sent[:-1])
    assert expected(samples, last, [sender(190)], Others()) is None
    samples, last = course(sent)
    assert expected(samples, last, [sender(200)], Others()) is not None


def test_a_steady_run_goes_on_steadily() -> None:
    samples, last = course([10 * i for i in range(1, 51)])
    found = expected(samples, last, [sender()], Others(), 1)
    assert found is not None
    assert found[80].median_s == pytest.approx(80, rel=0.02)
    assert found[95].median_s == pytest.approx(95, rel=0.02)
    assert found[COMPLETE].median_s == pytest.approx(100, rel=0.02)


def test_only_marks_ahead_are_forecast() -> None:
    samples, last = course([17 * i for i in range(1, 51)])  # 85%
    found = expected(samples, last, [sender(850)], Others())
    assert found is not None
    assert list(found) == [95, 99, COMPLETE]


def test_the_rate_is_that_since_the_last_change() -> None:
    fast_then_slow = [30 * i for i in range(1, 21)] + [600 + 5 * i for i in range(1, 31)]
    samples, last = course(fast_then_slow)
    slow = sender(750, in_flight=2, concurrency=2)
    found = expected(samples, last, [slow], Others(), 1)
    assert found is not None
    assert found[95].median_s == pytest.approx(50 + 200 / 5, rel=0.05)


def test_a_lost_sender_is_expected_to_send_no_more() -> None:
    samples, last = course([20 * i for i in range(1, 31)], in_flight=4)
    both = [sender(300), replace(sender(300), name="b")]
    one = [sender(300), replace(sender(300, state=State.LOST), name="b", in_flight=0)]
    medians = [(expected(samples, last, rows, Others(), 1) or {})[95].median_s for rows in (both, one)]
    assert None not in medians
    assert medians[1] > 30 + 1.5 * (medians[0] - 30)  # type: ignore[operator]


def test_a_mark_above_the_share_that_is_sent_is_never_reached() -> None:
    sent, failed = [8 * i for i in range(1, 51)], [2 * i for i in range(1, 51)]
    samples, last = course(sent, failed)
    found = expected(samples, last, [sender(400, 100, failure_rate=0.2)], Others(), 1)
    assert found is not None
    assert (found[95], found[99]) == (UNKNOWN, UNKNOWN)
    assert found[COMPLETE].median_s == pytest.approx(100, rel=0.03)


@pytest.mark.parametrize("known", [0.33, None])
@pytest.mark.parametrize("max_attempts", [1, 3])
def test_unreachable_messages_fail_as_often_from_now_on(max_attempts: int, known: float | None) -> None:
    """With several attempts too, although other messages that fail finally do so late."""
    samples, last = course([67 * i for i in range(1, 51)], [33 * i for i in range(1, 51)], total=10_000, in_flight=40)
    last = replace(last, unreachable=last.failed)
    some = sender(3350, 1650, rate_per_s=100.0, in_flight=40, concurrency=40)
    found = expected(samples, last, [some], Others(), max_attempts, known)
    assert found is not None
    assert (found[80], found[95], found[99]) == (UNKNOWN, UNKNOWN, UNKNOWN)
    assert found[50].median_s == pytest.approx(5000 / 67, rel=0.02)
    assert found[COMPLETE].median_s == pytest.approx(100, rel=0.02)


def test_a_mark_near_that_share_has_no_upper_bound() -> None:
    sent, failed = [95 * i for i in range(1, 51)], [5 * i for i in range(1, 51)]
    samples, last = course(sent, failed, total=10_000)
    found = expected(samples, last, [sender(4750, 250, failure_rate=0.05, rate_per_s=100.0)], Others(), 1)
    assert found is not None
    assert found[95].high_s is None
    assert found[80].high_s is not None


def test_senders_without_a_row_count_too() -> None:
    samples, last = course([10 * i for i in range(1, 51)])
    found = expected(samples, last, [], Others(sending=1, sent=500, in_flight=4, recent_rate_per_s=10.0))
    assert found is not None
    assert found[95].median_s == pytest.approx(95, rel=0.02)


def test_more_noise_makes_a_wider_band() -> None:
    calm, last = course([10 * i for i in range(1, 51)])
    random = np.random.default_rng(7)
    noisy = replace(calm, sent=np.append(np.sort(random.integers(0, 500, 49)), 500))
    bands = [(expected(some, last, [sender()], Others(), 1) or {})[95] for some in (calm, noisy)]
    widths = [band.high_s - band.low_s for band in bands if band.high_s is not None and band.low_s is not None]
    assert widths[1] > 1.2 * widths[0]


# -- runs in which hardly anything happens


def test_a_complete_or_an_empty_run_has_nothing_ahead() -> None:
    for total in (0, 500):
        samples, last = course([min(total, 20 * i) for i in range(1, 31)], total=total)
        assert expected(samples, last, [sender()], Others()) == {}


@pytest.mark.parametrize(
    ("sent", "failed", "total"),
    [
        ([0] * 30, [0] * 30, 1),  # one message, which is under way
        ([0] * 30, [0] * 30, 1000),  # nothing so far
        ([0] * 30, list(range(30)), 1000),  # all fail
        ([1] * 30, [0] * 30, 1000),  # stalled after the first one
        ([500] * 30, [0] * 30, 1000),
        ([999] * 30, [0] * 30, 1000),  # one is left
        (list(range(30)), list(range(30)), 10**9),
    ],
)
@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("max_attempts", [None, 1, 3, 255])
def test_a_run_that_hardly_moves_raises_nothing(
    sent: list[int], failed: list[int], total: int, state: State, max_attempts: int | None
) -> None:
    samples, last = course(sent, failed, total)
    for rows in ([], [sender(sent[-1], failed[-1], state)], [sender(0, 0, state, in_flight=0, avg_time_s=None)]):
        check(expected(samples, last, rows, Others(), max_attempts), last.elapsed_s)


def test_if_all_attempts_fail_the_end_is_known_and_marks_are_never_reached() -> None:
    samples, last = course([0] * 50, [10 * i for i in range(1, 51)])
    found = expected(samples, last, [sender(0, 500, failure_rate=1.0)], Others(), 1)
    assert found is not None
    assert [found[percent] for percent in Milestones.PERCENTS] == [UNKNOWN] * 4
    assert found[COMPLETE].median_s == pytest.approx(100, rel=0.03)


def test_without_senders_all_is_unknown() -> None:
    samples, last = course([10 * i for i in range(1, 51)])
    found = expected(samples, last, [sender(state=State.LOST), sender(state=State.LEFT)], Others(lost=3))
    assert found is not None
    assert set(found.values()) == {UNKNOWN}


# -- any run

rows = st.builds(
    SenderRow,
    name=st.just("a"),
    mean_s=st.floats(0, 1e6),
    failure_rate=st.floats(0, 1),
    concurrency=st.integers(1, 10**6),
    state=st.sampled_from(State),
    sent=st.integers(0, 10**9),
    failed=st.integers(0, 10**9),
    attempts=st.integers(0, 10**10),
    avg_time_s=st.none() | st.floats(0, 1e6),
    rate_per_s=st.floats(0, 1e9),
    recent_rate_per_s=st.floats(0, 1e9),
    in_flight=st.integers(0, 10**9),
    held=st.integers(0, 10**9),
)
steps = st.tuples(st.floats(1e-6, 1e4), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))


@given(
    st.lists(steps, min_size=MOMENTS_MIN, max_size=60),
    st.integers(0, 10**9),
    st.lists(rows, max_size=12),
    st.builds(Others, sending=st.integers(0, 5), lost=st.integers(0, 5), in_flight=st.integers(0, 10**6)),
    st.none() | st.integers(1, 255),
)
def test_of_any_run_all_times_are_finite_in_order_and_ahead(
    moves: list[tuple[float, int, int, int]],
    left: int,
    senders: list[SenderRow],
    others: Others,
    max_attempts: int | None,
) -> None:
    times_s, sent, failed, _ = (np.cumsum(column) for column in zip(*moves, strict=True))
    flying = np.array([move[3] for move in moves])
    samples = samples_of(times_s, sent, failed, flying)
    done = int(sent[-1] + failed[-1])
    last = figures(
        int(sent[-1]), int(failed[-1]), done + left, float(times_s[-1]), in_flight=min(left, int(flying[-1]))
    )
    check(expected(samples, last, senders, others, max_attempts), last.elapsed_s)


# -- what it costs


def test_the_cost_does_not_grow_with_the_history_or_the_senders() -> None:
    def calls(moments: int, senders: int) -> int:
        samples, last = course([10 * i for i in range(1, moments + 1)], total=20 * moments)
        some = [sender(10 * moments // senders, mean_s=0.1 + 0.01 * i) for i in range(senders)]
        expected(samples, last, some, Others(), 3)  # makes the tables that are kept
        number = 0

        def note(frame: FrameType, event: str, arg: object) -> None:
            nonlocal number
            number += event == "call"

        before = sys.getprofile()
        sys.setprofile(note)
        try:
            expected(samples, last, some, Others(), 3)
        finally:
            sys.setprofile(before)
        return number

    assert 0 < calls(MOMENTS_MIN, 1) < CALLS_MAX
    assert 0 < calls(2048, 1000) < CALLS_MAX
