"""Closed forms against an exact simulation, against known figures, and where they have to refuse."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle.heap import Heap

from smssim.core.fate import time_table
from smssim.core.fault import Fault, FaultKind
from smssim.core.limits import LIMITS
from smssim.core.model import AttemptModel, Outcome, StartLimit
from smssim.core.pace import report_wait_s
from smssim.plan.scenario import PlannedSender, Scenario, ceiling_of
from smssim.plan.theory.pace import report_lag_s
from smssim.plan.theory.renewal import law_of
from smssim.plan.theory.theory import Theory, share_reaching
from smssim.plan.theory.waiting import Waiting, erlang_c, excess

PERCENTS = (50, 80, 95, 99)


def gamma(mean_s: float, fail: float = 0.0, spread: float = 0.3, cap_s: float | None = None) -> AttemptModel:
    return AttemptModel(mean_s, spread * mean_s, "gamma", cap_s, fail)


def exponential(mean_s: float, fail: float = 0.0) -> AttemptModel:
    return AttemptModel(mean_s, mean_s, "exponential", None, fail)


def fixed(mean_s: float, fail: float = 0.0) -> AttemptModel:
    return AttemptModel(mean_s, 0.0, "fixed", None, fail)


def scenario(
    total: int, *senders: tuple[int, AttemptModel] | tuple[int, AttemptModel, float], **rest: object
) -> Scenario:
    """Return a scenario with senders of these lanes, models and join times."""
    planned = [
        PlannedSender(f"s{i}", one[1], one[0], 1, one[2] if len(one) > 2 else 0.0) for i, one in enumerate(senders)
    ]
    return replace(Scenario(total, tuple(planned)), **rest)  # type: ignore[arg-type]


class Draws:
    """Values drawn in blocks."""

    def __init__(self, values: np.ndarray, random: np.random.Generator) -> None:
        self._values = values.astype(np.float64)
        self._random = random
        self._drawn: Iterator[float] = iter(())

    def next(self) -> float:
        for value in self._drawn:
            return value
        self._drawn = iter(self._random.choice(self._values, 4096).tolist())
        return next(self._drawn)


def simulate(what: Scenario, lag_s: float, seed: int) -> tuple[list[float], float]:
    """Return when messages are sent, ascending, and when the last one is final: list scheduling, message by message.

    The lane that is free first takes a retry that is ready, or else the next message that has been released, or else
    whichever comes first. It has nothing in common with the formulas but the tables of times.
    """
    random = np.random.default_rng(seed)
    times = [
        Draws(time_table(s.model.distribution, s.model.mean_s, s.model.std_s, s.model.max_time_s), random)
        for s in what.senders
    ]
    uniform = Draws(random.random(2**16), random)
    free = [(max(0.0, s.joins_s), uniform.next(), i) for i, s in enumerate(what.senders) for _ in range(s.lanes)]
    heapq.heapify(free)
    again: list[tuple[float, int, int]] = []
    order, fresh, sent, last_s, unfinished = count(), 0, [], 0.0, what.total
    while unfinished:
        now, _, lane = heapq.heappop(free)
        released_s = math.inf if fresh == what.total else fresh / what.rate_per_s if what.rate_per_s else 0.0
        ready_s = again[0][0] if again else math.inf
        if ready_s <= now or ready_s < released_s:
            _, _, attempt = heapq.heappop(again)
            start_s = max(now, ready_s)
        else:
            fresh, attempt, start_s = fresh + 1, 1, max(now, released_s)
        end_s = start_s + times[lane].next()
        heapq.heappush(free, (end_s, uniform.next(), lane))
        gone = attempt == 1 and what.unreachable > 0 and uniform.next() < what.unreachable
        if gone or uniform.next() < what.senders[lane].model.fail:
            if attempt < what.max_attempts and not gone:
                heapq.heappush(again, (end_s + lag_s + what.retry_delay_s, next(order), attempt + 1))
                continue
        else:
            sent.append(end_s)
        unfinished, last_s = unfinished - 1, max(last_s, end_s)
    return sorted(sent), last_s


LAG_S = 0.02

CASES = {
    "gamma": scenario(5_000, (50, gamma(0.5, 0.1))),
    "few a lane": scenario(2_500, (500, exponential(1.0, 0.1))),
    "waves": scenario(2_500, (500, fixed(1.0))),
    "uniform, a few waves": scenario(3_000, (500, AttemptModel(1.0, 0.1, "uniform", None, 0.05)), max_attempts=2),
    "retries": scenario(4_000, (100, gamma(0.5, 0.1)), max_attempts=3),
    "many retries": scenario(4_000, (100, gamma(0.5, 0.5)), max_attempts=8),
    "delayed retries": scenario(6_000, (100, gamma(0.5, 0.3)), max_attempts=4, retry_delay_s=2.0),
    "a cap": scenario(3_000, (50, replace(exponential(1.0, 0.1), max_time_s=1.5)), max_attempts=2),
    "heavy tails": scenario(10_000, (100, AttemptModel(1.0, 2.0, "lognormal", None, 0.1)), max_attempts=2),
    "unequal": scenario(20_000, *((10, gamma(m, 0.1)) for m in (0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.0))),
    "unequal failures": scenario(4_000, (20, gamma(0.5, 0.5)), (40, gamma(0.3, 0.05), 10.0), max_attempts=2),
    "joins": scenario(4_000, (20, gamma(1.0, 0.1)), *((5, gamma(1.0, 0.1), float(j)) for j in range(1, 30))),
    "unreachable": scenario(4_000, (100, gamma(0.5, 0.3)), max_attempts=4, unreachable=0.03),
    "many unreachable": scenario(4_000, (100, gamma(0.5, 0.5)), max_attempts=8, unreachable=0.15),
    "unreachable, few a lane": scenario(3_000, (600, exponential(1.0, 0.3)), max_attempts=3, unreachable=0.1),
    "unreachable, unequal failures": scenario(
        4_000, (20, gamma(0.5, 0.5)), (40, gamma(0.3, 0.05), 10.0), max_attempts=2, unreachable=0.1
    ),
    "unreachable at a rate": scenario(2_000, (20, gamma(0.5, 0.3)), rate_per_s=20.0, max_attempts=3, unreachable=0.1),
    "unreachable, a rate far beyond": scenario(
        6_000, (20, gamma(0.5, 0.2)), rate_per_s=400.0, max_attempts=3, unreachable=0.1
    ),
    "more lanes": scenario(2_000, (5_000, gamma(1.0, 0.1)), max_attempts=3),
    "a slow rate": scenario(2_000, (20, gamma(0.5, 0.1)), rate_per_s=20.0, max_attempts=3),
    "a rate near capacity": scenario(10_000, (20, gamma(0.5)), rate_per_s=39.6),
    "a rate at capacity": scenario(10_000, (20, gamma(0.5)), rate_per_s=40.0),
    "a rate just beyond": scenario(6_000, (20, exponential(0.5, 0.1)), rate_per_s=40.0, max_attempts=3),
    "a rate far beyond": scenario(6_000, (20, gamma(0.5)), rate_per_s=400.0),
}


@pytest.mark.parametrize("case", CASES)
def test_times_agree_with_an_exact_simulation(case: str) -> None:
    """Within 1% or 2.5 standard errors of the mean; the last message has its median within what chance allows."""
    what, theory = CASES[case], Theory(CASES[case], lag_s=LAG_S)
    assert theory.valid, theory.why
    runs = [simulate(what, LAG_S, seed) for seed in range(12)]
    compared = 0
    for percent in PERCENTS:
        needed = math.ceil(what.total * percent / 100)
        reached_s = theory.reached_s(percent)
        if reached_s is None:
            continue
        times = np.array([sent[needed - 1] for sent, _ in runs]) + LAG_S
        error = 2.5 * float(times.std()) / math.sqrt(len(times) - 1)
        assert abs(reached_s - times.mean()) <= max(0.01 * times.mean(), error), (percent, reached_s, times.mean())
        compared += 1
    assert compared >= 2
    if theory.complete_s is not None:
        earlier = sum(last_s + LAG_S <= theory.complete_s + 1e-6 for _, last_s in runs)
        assert 1 <= earlier <= 11 or abs(theory.complete_s / (runs[0][1] + LAG_S) - 1) < 0.01
    ceiling = float(np.mean([len(sent) for sent, _ in runs])) / what.total
    assert theory.ceiling == pytest.approx(ceiling, abs=0.01)
    low_s, high_s = theory.bounds_s or (0.0, 0.0)
    assert 0.99 * low_s <= np.mean([last_s for _, last_s in runs]) <= 1.01 * high_s


def test_the_spread_agrees_with_an_exact_simulation() -> None:
    for case in ("gamma", "retries", "unequal"):
        runs = [simulate(CASES[case], LAG_S, seed) for seed in range(25)]
        times = [sent[CASES[case].total // 2 - 1] for sent, _ in runs]
        assert Theory(CASES[case]).spread_s(50) == pytest.approx(np.std(times), rel=0.45)


def limited(
    total: int, lanes: int, model: AttemptModel, per_s: float, burst: int = 1, copies: int = 1, **rest: object
) -> Scenario:
    """Return a scenario with copies of a sender, each of which has a limit."""
    sender = PlannedSender("s0", model, lanes, copies, limit=StartLimit.of(per_s, burst, 1))
    return replace(Scenario(total, (sender,)), **rest)  # type: ignore[arg-type]


LIMITED = {
    "short codes": limited(4_000, 30, gamma(0.2, 0.1), 100, copies=4, max_attempts=2),
    "delayed retries": limited(4_000, 30, gamma(0.2, 0.3), 100, copies=4, max_attempts=4, retry_delay_s=0.5),
    "exponential times": limited(3_000, 60, exponential(0.2, 0.01), 150),
    "a burst": limited(3_000, 40, gamma(0.2, 0.04), 60, 20),
    "a burst of more than the lanes": limited(3_000, 40, gamma(0.2, 0.04), 60, 100),
    "a toll-free number": limited(600, 2, gamma(0.2), 3),
    "long attempts": limited(2_000, 300, gamma(2.0, 0.05), 100, max_attempts=2),
    "far above the lanes": limited(3_000, 50, gamma(0.2, 0.04), 2500),
    "above the lanes, with a burst": limited(6_000, 100, gamma(0.2, 0.04), 600, 20),
    "beside a sender without": replace(
        limited(3_000, 40, gamma(0.2, 0.1), 60, copies=2),
        senders=(
            PlannedSender("s0", gamma(0.2, 0.1), 40, 2, limit=StartLimit.of(60, 1, 1)),
            PlannedSender("s1", AttemptModel(0.5, 0.2, "lognormal", None, 0.1), 50, 1, 3.0),
        ),
        max_attempts=2,
    ),
}


@pytest.mark.parametrize("case", LIMITED)
def test_times_with_limits_agree_with_a_schedule_that_counts_tokens(case: str) -> None:
    what, theory = LIMITED[case], Theory(LIMITED[case], lag_s=LAG_S)
    assert theory.valid, theory.why
    runs = [Heap(what, seed, LAG_S).play() for seed in range(12)]
    for percent in PERCENTS:
        if (reached_s := theory.reached_s(percent)) is not None:
            times = np.array([run.reached_s(percent) for run in runs]) + LAG_S
            error = 2.5 * float(times.std()) / math.sqrt(len(times) - 1)
            assert abs(reached_s - times.mean()) <= max(0.004 * times.mean(), error), (percent, reached_s, times.mean())
    assert theory.reached_s(50) is not None
    ends_s = np.array([run.finish_s[-1] for run in runs]) + LAG_S
    assert theory.complete_s == pytest.approx(np.median(ends_s), abs=0.02 * ends_s.mean() + float(ends_s.std()))
    sent = np.mean([run.count(Outcome.SENT) for run in runs])
    assert theory.ceiling == pytest.approx(sent / what.total, abs=0.01)


def test_a_million_messages_take_sixteen_short_codes_ten_minutes() -> None:
    """The last of 950,000 starts at 950,000 / 1600 s, and takes 0.2 s."""
    theory = Theory(limited(1_000_000, 30, gamma(0.2), 100, copies=16), lag_s=0.0)
    assert theory.reached_s(95) == pytest.approx(950_000 / 1600 + 0.2, abs=0.02)


# ---- Known figures


def test_a_nation_takes_as_long_as_the_formula_says() -> None:
    """340 million messages, 50,000 lanes: m [q n / ((1 - f) L) + (1 - cv^2) / 2]."""
    theory = Theory(scenario(340_000_000, (50_000, gamma(0.01, 0.1))), lag_s=0.0)
    cv2 = law_of(gamma(0.01)).cv2
    assert theory.reached_s(50) == pytest.approx(0.01 * (170e6 / (0.9 * 50_000) + (1 - cv2) / 2), abs=1e-4)
    assert theory.reached_s(50) == pytest.approx(37.782, abs=1e-3)
    assert theory.reached_s(95) is None
    assert "90%" in theory.why_not(95)


def test_fixed_times_end_in_waves() -> None:
    """Five messages a lane, a tenth of which fail: half are sent in the third wave, not at 2.78 + 0.5 as in bulk."""
    assert Theory(scenario(50_000, (10_000, fixed(1.0, 0.1))), lag_s=0.0).reached_s(50) == pytest.approx(3.0, abs=0.005)


def test_the_end_counts_where_a_lane_has_five_messages() -> None:
    """The last lane starts at 4; then 0.9 (5 - e^-x) = 4."""
    theory = Theory(scenario(50_000, (10_000, exponential(1.0, 0.1))), lag_s=0.0)
    assert theory.reached_s(80) == pytest.approx(4 - math.log(5 - 4 / 0.9), abs=0.005)
    assert theory.reached_s(80) == pytest.approx(4.588, abs=0.005)


@pytest.mark.parametrize(
    ("lanes", "load", "allen_ms", "low_ms", "random_ms"),
    [(4, 0.90, 4.4, 1.9, 98), (100, 0.95, 0.23, 0.15, 5.1), (100, 0.99, 2.0, 1.8, 44)],
)
def test_waits_at_a_rate_are_those_of_published_formulas_and_a_simulation(
    lanes: int, load: float, allen_ms: float, low_ms: float, random_ms: float
) -> None:
    theory = Theory(scenario(10**6, (lanes, gamma(0.05)), rate_per_s=load * lanes / 0.05))
    waiting = theory.waiting
    assert waiting is not None
    assert waiting.load == pytest.approx(load, rel=1e-4)
    assert 1e3 * waiting.mean_s == pytest.approx(allen_ms, rel=0.03)
    assert 1e3 * waiting.low_s == pytest.approx(low_ms, rel=0.03)
    assert 1e3 * waiting.at_random_s == pytest.approx(random_ms, rel=0.03)
    assert waiting.heavy_s >= waiting.mean_s


def test_no_steady_state_at_capacity() -> None:
    assert Waiting.of(10.0, 10, 1.0, 0.1) is None
    assert Theory(scenario(1_000, (10, gamma(1.0)))).waiting is None


def test_erlang_c_of_one_lane_is_its_load() -> None:
    assert erlang_c(1, 0.7) == pytest.approx(0.7)
    assert erlang_c(2, 0.5) == pytest.approx(1 / 3)


def test_the_queue_grows_to_its_steady_state() -> None:
    """It is variance / (2 |drift|) below capacity, sqrt(2 variance t / pi) at capacity, drift t and that beyond it."""
    assert excess(-1.0, 1.0, 1e6) == pytest.approx(0.5)
    assert excess(0.0, 4.0, 9.0) == pytest.approx(6 * math.sqrt(2 / math.pi))
    assert excess(1e-9, 4.0, 9.0) == pytest.approx(excess(0.0, 4.0, 9.0), rel=1e-6)
    assert excess(1.0, 1.0, 100.0) == pytest.approx(100.5)


# ---- The renewal function


def test_renewals_equal_known_renewal_functions() -> None:
    t_s = np.array([0.0, 0.3, 1.0, 1.9, 7.5])
    assert law_of(exponential(1.0)).renewals(t_s) == pytest.approx(t_s, abs=0.01)
    assert law_of(fixed(1.0)).renewals(t_s) == pytest.approx(np.floor(t_s))
    uniform = law_of(AttemptModel(1.0, 1 / math.sqrt(3), "uniform"))  # from 0 to 2: e^(t / 2) - 1 for t < 2
    assert uniform.renewals(t_s[:4]) == pytest.approx(np.expm1(t_s[:4] / 2), abs=0.005)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["gamma", "lognormal", "normal", "uniform"]),
    st.sampled_from([0.003, 0.02, 0.1, 0.3, 0.5]),
    st.floats(0, 200),
)
def test_renewals_keep_to_the_bounds_of_lorden(distribution: str, spread: float, t: float) -> None:
    law = law_of(AttemptModel(2.0, 2.0 * spread, distribution))
    renewals = float(law.renewals(np.array([t]))[0])
    assert t / law.mean_s - 1 - 1e-6 <= renewals <= t / law.mean_s + law.cv2 + 0.01


def test_the_mean_is_that_of_the_table_after_the_cap() -> None:
    capped = law_of(replace(exponential(1.0), max_time_s=1.0))
    assert capped.mean_s == pytest.approx(1 - math.exp(-1), abs=1e-3)
    assert float(capped.residual(np.array([0.0]))[0]) == pytest.approx(1.0)
    assert float(capped.residual(np.array([1.0]))[0]) == 0.0


# ---- Shares


def test_the_ceiling_is_what_no_attempt_fails() -> None:
    assert ceiling_of(0.1, 3) == pytest.approx(0.999)
    assert Theory(scenario(10_000, (10, gamma(1.0, 0.1)), max_attempts=3)).ceiling == pytest.approx(0.999)
    one_attempt = Theory(scenario(10_000, (10, gamma(1.0, 0.3)), (10, gamma(0.5, 0.0))))
    assert one_attempt.ceiling == pytest.approx(0.9, abs=0.001)


def test_attempts_per_message_are_a_geometric_sum() -> None:
    theory = Theory(scenario(10_000, (10, gamma(1.0, 0.5)), max_attempts=3))
    assert theory.attempts_per_message == pytest.approx(1.75)


def test_the_chance_to_reach_a_share_is_binomial() -> None:
    assert share_reaching(1_000, 0.5, 500) == pytest.approx(0.51, abs=0.01)
    assert share_reaching(1_000, 1.0, 1_000) == 1.0
    assert share_reaching(1_000, 0.9, 990) < 1e-6
    assert Theory(scenario(1_000, (10, gamma(1.0, 0.05)))).share_reaching(95) == pytest.approx(0.53, abs=0.02)


# ---- Where no formula holds


def test_faults_are_for_the_twin() -> None:
    what = scenario(1_000, (10, gamma(1.0)))
    early = replace(what, faults=(Fault(5.0, FaultKind.KILL, "s0"),))
    assert "faults (kill s0 at 5 s)" in Theory(early).why
    assert Theory(early).fields()["reached_s"] == dict.fromkeys(("50", "80", "95", "99"))
    late = replace(what, faults=(Fault(500.0, FaultKind.KILL, "s0"),))
    assert Theory(late).fields() == Theory(what).fields()


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (scenario(1_000), "there is no sender"),
        (scenario(1_000, (10, fixed(0.0))), "mean 0"),
        (scenario(49, (10, gamma(1.0))), "fewer than 50 messages"),
        (scenario(50, (100, gamma(1.0)), (100, gamma(3.0))), "which of the unequal senders"),
        (scenario(1_000, (10, gamma(1.0, 0.1)), (10, gamma(1.0)), rate_per_s=5.0), "which of the unequal senders"),
        (scenario(1_000, (10, gamma(1.0)), (10, gamma(1.0), 9.0), rate_per_s=15.0), "senders join"),
        (limited(1_000, 10, gamma(0.2), 49), "the limit of s0 is close to what its lanes can send"),
        (limited(1_000, 10, gamma(0.2), 55), "the limit of s0 is close to what its lanes can send"),
        (limited(1_000, 50, gamma(0.2), 100, rate_per_s=50.0), "released at a rate, and s0 has a limit"),
        (limited(1_000, 50, gamma(0.2), 100, 900), "a full bucket of s0 lasts for much of the run"),
        (limited(200, 5, gamma(0.2), 1, copies=20), "they end in waves"),
    ],
)
def test_it_refuses_and_says_why(what: Scenario, why: str) -> None:
    theory = Theory(what)
    assert not theory.valid
    assert why in theory.why
    assert theory.reached_s(50) is None
    assert theory.complete_s is None
    assert theory.bounds_s is None


@pytest.mark.parametrize(
    ("what", "percent", "why"),
    [
        (scenario(1_000, (10, gamma(1.0, 0.1))), 95, "only 90% are sent in the end"),
        (scenario(1_000, (10, gamma(1.0, 0.05))), 95, "matter of chance"),
        (scenario(500, (50, fixed(1.0, 0.2)), max_attempts=5), 95, "round of attempts"),
        (scenario(60, (10, exponential(1.0))), 50, "differs too much"),
        (scenario(200, (10, exponential(1.0)), rate_per_s=9.9), 50, "close to what lanes can send"),
        (scenario(1_000, (1_000, gamma(0.5, 0.2)), max_attempts=4, retry_delay_s=9.0), 80, "round of attempts"),
        (scenario(0, (10, gamma(1.0))), 50, "no messages"),
    ],
)
def test_it_refuses_single_shares(what: Scenario, percent: int, why: str) -> None:
    theory = Theory(what)
    assert theory.valid
    assert why in theory.why_not(percent)
    assert theory.reached_s(percent) is None


def test_no_messages_only_failures_and_no_time_have_an_answer() -> None:
    assert Theory(scenario(0, (1, gamma(1.0)))).complete_s == 0.0
    failing = Theory(scenario(1_000, (10, gamma(1.0, 1.0)), max_attempts=2))
    assert failing.ceiling == 0.0
    assert failing.complete_s == pytest.approx(200, rel=0.01)
    instant = Theory(scenario(1_000, (10, fixed(0.0)), rate_per_s=10.0), lag_s=0.0)
    assert instant.reached_s(50) == pytest.approx(49.9, abs=1e-3)


# ---- Reports


def test_times_include_the_wait_for_a_report() -> None:
    bare, recorded = (Theory(CASES["gamma"], lag_s=lag_s) for lag_s in (0.0, None))
    assert recorded.reached_s(50) == pytest.approx((bare.reached_s(50) or 0) + report_lag_s(1))


def test_an_outcome_waits_for_half_the_time_between_two_reports() -> None:
    assert report_wait_s(1) == LIMITS.report_wait_min_s
    assert report_wait_s(50) == 50 * LIMITS.report_wait_per_sender_s
    assert report_lag_s(1) == pytest.approx(0.02 / 2 + 0.02 / 8 / 2)
    assert report_lag_s(10**6) == report_lag_s(1_000)  # a sender waits no longer than that
    assert report_lag_s(50, dry=True) < report_lag_s(50)


# ---- Properties

models = st.builds(
    lambda mean_s, spread, fail, cap: gamma(mean_s, fail, spread, cap and cap * mean_s),
    st.sampled_from([0.0, 1e-6, 0.01, 0.7, 30.0, 1e6]),
    st.sampled_from([0.0, 0.004, 0.05, 0.3, 1.0, 5.0]),
    st.sampled_from([0.0, 0.1, 0.5, 0.999, 1.0]),
    st.sampled_from([None, 1.2, 1e-9]),
)
scenarios = st.builds(
    Scenario,
    st.sampled_from([0, 1, 20, 999, 10**6, 10**10]),
    st.lists(
        st.builds(
            PlannedSender,
            st.just("s"),
            models,
            st.sampled_from([1, 7, 1_000, 10**6]),
            st.sampled_from([1, 2_000]),
            st.sampled_from([-1.0, 0.0, 3.0, 1e5]),
        ),
        max_size=3,
    ).map(tuple),
    st.sampled_from([1, 2, 5, 255]),
    st.sampled_from([0.0, 1.0, 3600.0]),
    st.sampled_from([None, 0.01, 30.0, 1e5, 1e12]),
)


@settings(max_examples=120, deadline=None)
@given(scenarios)
def test_any_scenario_has_an_answer_or_a_reason(what: Scenario) -> None:
    theory = Theory(what)
    assert 0 <= theory.ceiling <= 1
    times_s = [theory.reached_s(percent) for percent in PERCENTS]
    for percent, time_s in zip(PERCENTS, times_s, strict=True):
        assert (time_s is None) == bool(theory.why_not(percent))
    known_s = [time_s for time_s in (*times_s, theory.complete_s) if time_s is not None]
    spreads_s = [theory.spread_s(percent) or 0.0 for percent in PERCENTS] + [theory.complete_spread_s or 0.0]
    for number in (*known_s, *spreads_s, *(theory.bounds_s or ()), theory.attempts_per_message):
        assert math.isfinite(number)
        assert number >= 0
    assert all(a <= b * 1.001 + 1e-9 for a, b in pairwise(known_s))


@settings(max_examples=10, deadline=None)
@given(
    st.integers(20, 400),
    st.sampled_from([0.0, 0.1, 0.4]),
    st.sampled_from([1, 3]),
    st.sampled_from(["gamma", "uniform"]),
)
def test_more_lanes_are_no_slower(lanes: int, fail: float, attempts: int, distribution: str) -> None:
    """Kiefer and Wolfowitz 1955, "On the theory of queues with many servers": more servers, no longer waits."""
    model = AttemptModel(0.5, 0.15, distribution, None, fail)
    some, more = (Theory(scenario(20_000, (n, model), max_attempts=attempts)) for n in (lanes, lanes + 7))
    assert (more.reached_s(50) or 0) <= (some.reached_s(50) or math.inf)
    assert (more.complete_s or 0) <= (some.complete_s or math.inf)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([0.01, 3.0, 100.0]), st.sampled_from([0.0, 0.2]), st.sampled_from([None, 50.0, 90.0, 200.0]))
def test_times_scale_with_the_means(scale: float, fail: float, rate_per_s: float | None) -> None:
    base = scenario(6_000, (50, gamma(0.5, fail)), max_attempts=3, rate_per_s=rate_per_s, retry_delay_s=0.2)
    rate = rate_per_s and rate_per_s / scale
    scaled = scenario(6_000, (50, gamma(0.5 * scale, fail)), max_attempts=3, rate_per_s=rate, retry_delay_s=0.2 * scale)
    one, other = Theory(base, lag_s=0.01), Theory(scaled, lag_s=0.01 * scale)
    for percent in PERCENTS:
        time_s = one.reached_s(percent)
        assert other.reached_s(percent) == (None if time_s is None else pytest.approx(scale * time_s, rel=1e-4))


@settings(max_examples=10, deadline=None)
@given(st.integers(5, 200), st.sampled_from([0.0, 0.1]), st.sampled_from([None, 50.0, 1e4]))
def test_two_senders_equal_one_with_the_lanes_of_both(lanes: int, fail: float, rate_per_s: float | None) -> None:
    model = gamma(0.5, fail)
    two = Theory(scenario(5_000, (lanes, model), (lanes, model), rate_per_s=rate_per_s, max_attempts=2), lag_s=0.0)
    one = Theory(scenario(5_000, (2 * lanes, model), rate_per_s=rate_per_s, max_attempts=2), lag_s=0.0)
    for percent in PERCENTS:
        time_s = one.reached_s(percent)
        assert two.reached_s(percent) == (None if time_s is None else pytest.approx(time_s, rel=1e-6))
