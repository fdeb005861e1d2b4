"""The twin agrees with an ideal schedule, message by message, and with the real core under a virtual clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from statistics import mean, median
from typing import Final

import numpy as np
import pytest
from oracle.draw import KINDS
from simulation.books import fated
from twin_support import against_core, against_heap, core, core_times, few, played, played_promptly, times_of

from smssim.core.fate import Fates
from smssim.core.fault import Fault, FaultKind
from smssim.core.limits import LIMITS
from smssim.core.model import AttemptModel, StartLimit
from smssim.plan.scale import FULL, Scale, scale_for
from smssim.plan.scenario import PlannedSender, Scenario
from smssim.plan.twin.twin import Twin

USUAL: Final = AttemptModel(0.2, 0.06, "gamma", fail=0.05)
OFTEN: Final = replace(USUAL, fail=0.3)
FAST, SLOW = AttemptModel(0.1, 0.03, "gamma", fail=0.05), AttemptModel(0.4, 0.1, "lognormal", fail=0.05)
TWO = (PlannedSender("a", FAST, 20, copies=2), PlannedSender("b", SLOW, 60))
UNEVEN = (
    PlannedSender("a", AttemptModel(0.05, 0.015, "gamma", fail=0.1), 10),
    PlannedSender("b", AttemptModel(0.2, 0.1, "lognormal", fail=0.1), 40),
    PlannedSender("c", AttemptModel(1.0, 0.3, "gamma", fail=0.1), 50),
)
PER_S: Final = 250.0  # of fifty lanes


def _unlike(
    first_s: float, second_s: float, distribution: str, lanes: int, joins_s: float = 0.0, copies: int = 1
) -> tuple[PlannedSender, ...]:
    """Return two senders with these mean times, of which the second fails more often."""
    share = 0.0 if distribution == "fixed" else 0.3
    times = [AttemptModel(mean_s, share * mean_s, distribution) for mean_s in (first_s, second_s)]
    return (
        PlannedSender("a", replace(times[0], fail=0.05), lanes, copies),
        PlannedSender("b", replace(times[1], fail=0.4), lanes, copies, joins_s=joins_s),
    )


# If attempts end in waves, or seldom, a sender asks for messages before it settles.
EARLY: Final[dict[str, tuple[int, tuple[PlannedSender, ...]]]] = {
    "waves together": (4000, _unlike(0.5, 0.5, "fixed", 50)),
    "waves apart": (4000, _unlike(0.5, 0.5, "fixed", 50, joins_s=0.03)),
    "waves of unlike senders": (4000, _unlike(0.45, 0.6, "fixed", 50)),
    "the better one in no waves": (4000, (_unlike(0.5, 0.5, "gamma", 50)[0], _unlike(0.5, 0.5, "fixed", 50)[1])),
    "the worse one in no waves": (4000, (_unlike(0.5, 0.5, "fixed", 50)[0], _unlike(0.5, 0.5, "gamma", 50)[1])),
    "few lanes": (1500, _unlike(1.0, 1.0, "gamma", 3)),
    "few lanes of copies": (2000, _unlike(1.0, 1.0, "gamma", 2, copies=4)),
}


def alone(model: AttemptModel, lanes: int = 50, total: int = 4000, **others: object) -> Scenario:
    return replace(Scenario(total, (PlannedSender("a", model, lanes),)), **others)  # type: ignore[arg-type]


def at_rate(share: float, model: AttemptModel, attempts: int) -> Scenario:
    """Return a scenario in which messages are released at a share of what the lanes can send."""
    each = sum(model.fail**attempt for attempt in range(attempts))
    alike = (PlannedSender("a", model, 20), PlannedSender("b", model, 30))
    return Scenario(3000, alike, attempts, rate_per_s=share * PER_S / each)


def merged(scenario: Scenario) -> Scenario:
    """Return a scenario with one sender that has the lanes of all."""
    lanes = sum(sender.lanes for sender in scenario.senders)
    return replace(scenario, senders=(PlannedSender("a", scenario.senders[0].model, lanes),))


SOME: Final[dict[str, Scenario]] = {
    "equal lanes": alone(USUAL),
    "unlike senders": Scenario(6000, UNEVEN),
    "unlike senders with retries": Scenario(6000, UNEVEN, 3, retry_delay_s=0.1),
    "retries": alone(OFTEN, max_attempts=4),
    "delayed retries": alone(OFTEN, max_attempts=4, retry_delay_s=0.5),
    "unlike failures, delayed retries": Scenario(
        6000,
        (replace(TWO[0], model=replace(OFTEN, fail=0.5)), replace(TWO[1], model=replace(OFTEN, fail=0.05))),
        3,
        0.5,
    ),
    "exponential times": alone(AttemptModel(0.2, 0.2, "exponential"), total=6000),
    "unreachable messages": alone(OFTEN, max_attempts=4, unreachable=0.1),
    "unreachable messages, only one attempt": Scenario(6000, UNEVEN, unreachable=0.3),
    "unreachable messages, unlike failures": Scenario(
        6000,
        (replace(TWO[0], model=replace(OFTEN, fail=0.5)), replace(TWO[1], model=replace(OFTEN, fail=0.05))),
        *(3, 0.5),
        unreachable=0.2,
    ),
    "five a lane": alone(AttemptModel(0.2, 0.2, "exponential"), total=250),
    "uniform times": alone(AttemptModel(0.2, 0.1, "uniform")),
    "normal times": alone(AttemptModel(0.2, 0.15, "normal")),
    "fixed times": alone(AttemptModel(0.2, 0.0, "fixed")),
    "capped times": alone(AttemptModel(0.2, 0.2, "exponential", 0.3)),
    "one lane": alone(USUAL, 1, 300),
    "three lanes": alone(USUAL, 3, 600),
    "more lanes than messages": alone(USUAL, 3000, 1500),
    "more lanes than messages, with retries": alone(OFTEN, 3000, 1500, max_attempts=3),
    "a late sender": Scenario(6000, (TWO[0], replace(TWO[1], joins_s=3.0))),
    "a killed sender": Scenario(6000, TWO, 2, faults=(Fault(5.0, FaultKind.KILL, "b"),)),
    "a sender started again": Scenario(6000, TWO, 2, faults=(Fault(5.0, FaultKind.KILL, "b", 2.0),)),
    "a slow sender": Scenario(6000, TWO, 2, faults=(Fault(5.0, FaultKind.SLOW, "b", 3.0, factor=3.0),)),
    "a failing sender": Scenario(6000, TWO, 2, 0.1, faults=(Fault(5.0, FaultKind.FAIL, "b", 3.0, share=0.6),)),
}
TAILED: Final = {
    f"{name} with a spread of {means:g} means": alone(AttemptModel(0.2, 0.2 * means, name), lanes, 8000)
    for name in ("gamma", "lognormal")
    for means, lanes in ((2.4, 50), (4.0, 50), (10.0, 50), (10.0, 400))
}
RATED: Final = {
    f"a rate of {share:g}, {attempts} attempts": at_rate(share, model, attempts)
    for share in (0.5, 0.9, 1.0, 1.1)
    for model, attempts in ((replace(USUAL, fail=0.0), 1), (OFTEN, 3))
} | {
    f"a rate of {share:g} to one sender, {attempts} attempts": merged(at_rate(share, model, attempts))
    for share in (0.5, 0.9, 1.0)
    for model, attempts in ((replace(USUAL, fail=0.0), 1), (OFTEN, 3), (AttemptModel(0.2, 0.5, "lognormal", 1.0), 1))
}
RATED["a rate of 0.9 to one sender, unreachable messages"] = replace(merged(at_rate(0.9, OFTEN, 3)), unreachable=0.2)
RATED["a rate that one sender can't keep, first retries after the last release"] = alone(
    OFTEN, total=500, max_attempts=3, retry_delay_s=5.0, rate_per_s=1.1 * PER_S
)


def limited(
    per_s: float, burst: int = 1, lanes: int = 50, copies: int = 1, total: int = 2000, **others: object
) -> Scenario:
    """Return a scenario with one sender and its copies, each of which has a limit."""
    model = others.pop("model", USUAL)
    sender = PlannedSender("a", model, lanes, copies, limit=StartLimit.of(per_s, burst, 1))  # type: ignore[arg-type]
    return replace(Scenario(total, (sender,)), **others)  # type: ignore[arg-type]


def mixed(per_s: float, burst: int = 1, **others: object) -> Scenario:
    """Return a scenario with a fast sender whose copies have a limit, and a slow one without."""
    senders = (replace(TWO[0], limit=StartLimit.of(per_s, burst, 1)), TWO[1])
    return replace(Scenario(3000, senders), **others)  # type: ignore[arg-type]


LIMITED: Final[dict[str, Scenario]] = {
    "a limit far below the lanes": limited(50),
    "a limit a little below the lanes": limited(230),
    "a limit as fast as the lanes": limited(250),
    "a limit a little above the lanes": limited(280),
    "a limit far above the lanes": limited(2500),
    "a limit with a burst": limited(50, 200),
    "a burst of more than the lanes hold": limited(100, 500),
    "a limit as fast as the lanes, with a burst": limited(250, 20),
    "long tails below a limit": limited(150, 5, model=AttemptModel(0.2, 0.5, "lognormal")),
    "many copies with a limit": limited(3, 2, lanes=1, copies=40),
    "many copies with a limit far below the lanes": limited(2, 1, lanes=4, copies=40),
    "copies with a limit, and retries": limited(40, 3, 30, 4, model=OFTEN, max_attempts=4),
    "a toll-free number": limited(3, 1, lanes=2, total=300, model=AttemptModel(0.5, 0.15, "gamma")),
    "a limit and few messages": limited(20, 5, lanes=30, total=60),
    "one of two senders has a limit": mixed(30),
    "one of two senders has a limit that hardly matters": mixed(190, 10),
    "one of two senders has a limit, with retries": mixed(30, 25, max_attempts=3, retry_delay_s=0.1),
    "a sender with a limit is killed": mixed(60, max_attempts=2, faults=(Fault(5.0, FaultKind.KILL, "a", 4.0),)),
    "a sender with a limit and a burst is killed": mixed(
        60, 200, max_attempts=2, faults=(Fault(5.0, FaultKind.KILL, "a", 4.0),)
    ),
    "a sender with a limit joins late": Scenario(
        3000, (TWO[1], PlannedSender("a", FAST, 20, 2, 4.0, StartLimit.of(60, 100, 1)))
    ),
    "a limit below the rate": limited(80, lanes=60, total=1500, rate_per_s=100.0),
    "a limit above the rate": limited(120, lanes=60, total=1000, rate_per_s=100.0, max_attempts=2),
    "limits of copies at a rate": limited(30, 3, 20, 4, 1500, rate_per_s=100.0, model=OFTEN, max_attempts=3),
}
IDEAL: Final = SOME | TAILED | RATED | LIMITED


def is_alike(scenario: Scenario) -> bool:
    """Return whether it makes no difference for the counts which sender gets a message."""
    fails = {sender.model.fail for sender in scenario.senders}
    return len(fails) == 1 and not any(fault.kind is FaultKind.FAIL for fault in scenario.faults)


def as_ideal(name: str) -> Iterator[str]:
    """Compare with the ideal schedule."""
    return against_heap(IDEAL[name], counts=is_alike(IDEAL[name]))


def as_core(kind: str) -> Iterator[str]:
    """Compare with the real core."""
    return against_core(kind, few(kind))


@pytest.mark.parametrize("name", IDEAL)
def test_the_twin_ends_attempts_when_an_ideal_schedule_does(name: str) -> None:
    assert list(as_ideal(name)) == []


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", [name for name in IDEAL if is_alike(IDEAL[name])])
def test_senders_that_fail_alike_give_the_counts_that_the_seed_determines(name: str, seed: int) -> None:
    scenario = IDEAL[name]
    course = played(scenario, seed).course
    fates = Fates(seed, scenario.max_attempts, scenario.senders[0].model, scenario.unreachable)
    assert (course.sent, course.failed) == fated(fates, scenario.total, scenario.max_attempts)


@pytest.mark.parametrize("kind", KINDS)
def test_the_twin_records_what_the_core_records(kind: str) -> None:
    assert list(as_core(kind)) == []


def test_a_slow_sender_keeps_its_retries_while_lanes_of_a_fast_one_are_idle() -> None:
    fast, slow = AttemptModel(0.1, 0.03, "gamma", fail=0.3), AttemptModel(2.0, 0.6, "gamma", fail=0.3)
    scenario = Scenario(2500, (PlannedSender("a", fast, 20), PlannedSender("b", slow, 100)), 5)
    found_s = [times_of(played(scenario, seed))["t99"] for seed in range(8)]
    assert mean(found_s) == pytest.approx(core_times(scenario)["t99"], rel=0.05)


def test_sixteen_short_codes_send_a_million_messages_in_as_long_as_arithmetic_says() -> None:
    """16 x 100 a second: 950,000 of them start within 593.75 s, and an attempt takes 0.2 s. So does a scaled play."""
    model, limit = AttemptModel(0.2, 0.06, "gamma"), StartLimit.of(100.0, 1, 1)
    scenario = Scenario(1_000_000, (PlannedSender("code", model, 30, 16, limit=limit),))
    for scale in (FULL, scale_for(scenario, 100_000)):
        twin = Twin(scenario, 1, scale)
        course = twin.play()
        assert course.reached_s(950_000) == pytest.approx(593.75 + 0.2, rel=1e-3)
        assert course.last_s == pytest.approx(625.0, rel=2e-3)
        assert twin.members[0].used_s / twin.members[0].lane_s == pytest.approx(1600 * 0.2 / 480, rel=0.01)


def test_two_of_sixteen_short_codes_die_after_two_minutes() -> None:
    """By then, 192,000 have started; the other 14 start the rest of 950,000 at 1,400 a second."""
    model, limit = AttemptModel(0.2, 0.06, "gamma"), StartLimit.of(100.0, 1, 1)
    senders = (
        PlannedSender("code", model, 30, 14, limit=limit),
        PlannedSender("struck", model, 30, 2, limit=limit),
    )
    scenario = Scenario(1_000_000, senders, faults=(Fault(120.0, FaultKind.KILL, "struck"),))
    course = Twin(scenario, 1, scale_for(scenario, 250_000)).play()
    assert course.reached_s(950_000) == pytest.approx(120 + (950_000 - 192_000) / 1400, rel=2e-3)


@pytest.mark.parametrize("burst", [1, 40])
def test_a_pause_fills_a_bucket_up_to_its_size(burst: int) -> None:
    """4 s are lost but for the burst, and for the second by which a sender backdates what it starts after a pause."""
    calm = limited(20.0, burst, 100, total=400)
    paused = replace(calm, faults=(Fault(5.0, FaultKind.PAUSE, "a", 4.0),))
    ends_s = [mean(played(scenario, seed).course.last_s for seed in range(4)) for scenario in (calm, paused)]
    assert ends_s[1] - ends_s[0] == pytest.approx(4.0 - LIMITS.late_max_s - (burst - 1) / 20, abs=0.1)


@pytest.mark.parametrize(("lanes", "per_s"), [(2, 3.0), (60, 300.0)])
def test_a_scaled_play_is_as_fast_as_the_sender_where_lanes_and_limit_both_matter(lanes: int, per_s: float) -> None:
    model = AttemptModel(0.5, 0.2, "gamma") if lanes == 2 else AttemptModel(0.2, 0.2, "exponential")
    scenario = limited(per_s, 1, lanes, total=40_000, model=model)
    scale = Scale(1, 10) if lanes == 2 else Scale(3, 1)
    full, scaled = (median(Twin(scenario, seed, one).play().last_s for seed in range(3)) for one in (FULL, scale))
    assert scaled == pytest.approx(full, rel=0.006)
    assert full > 1.01 * scenario.total / per_s  # not just the limit


def test_lanes_are_busy_as_long_as_attempts_take_whatever_makes_them_wait() -> None:
    for name in (
        "a limit far below the lanes",
        "many copies with a limit",
        "a limit as fast as the lanes, with a burst",
    ):
        scenario = IDEAL[name]
        sender, twin = scenario.senders[0], played(scenario, 3)
        fates = Fates(3, scenario.max_attempts, sender.model)
        durations_s, _ = fates.draw(np.arange(scenario.total, dtype=np.uint64), 1)
        assert twin.members[0].used_s == pytest.approx(float(durations_s.sum()), rel=1e-6)


def test_reports_are_what_delays_a_record() -> None:
    late = [played(IDEAL["equal lanes"], seed).course.last_s for seed in range(5)]
    prompt = [played_promptly(IDEAL["equal lanes"], seed).course.last_s for seed in range(5)]
    assert all(0 < one - other < 0.02 for one, other in zip(late, prompt, strict=True))


@pytest.mark.parametrize("name", EARLY)
def test_retries_of_a_sender_that_asks_before_it_settles_go_to_the_next_one_that_asks(name: str) -> None:
    """About as many messages fail for good as in the core: 5 to 25, but 45 to 110 if each sender keeps its retries."""
    total, senders = EARLY[name]
    scenario = Scenario(total, senders, 3)
    plays = [played(scenario, seed).course.failed for seed in range(2)]
    most = 3 * (mean(plays) + core(scenario).failed + 4) ** 0.5
    assert abs(core(scenario).failed - mean(plays)) < most
