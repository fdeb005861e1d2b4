"""The oracles of a plan agree with the seed, with each other, and with what is certain about a scenario."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from oracle.core_engine import Played, play
from oracle.draw import FAULT_FREE, KINDS, draw_scenario
from oracle.heap import Heap
from simulation.books import fated

from smssim.bench.measure import schedule_s
from smssim.core.fate import Fates
from smssim.core.fault import MONITOR, PRODUCER, Fault, FaultKind
from smssim.core.limits import LIMITS
from smssim.core.model import AttemptModel, Outcome
from smssim.core.progress import Milestones
from smssim.plan.scenario import PlannedSender, Scenario

DELAY_S = 0.0003
FAST = AttemptModel(0.01, 0.003, "gamma", fail=0.05)
SLOW = AttemptModel(0.025, 0.005, "lognormal", fail=0.05)
TAILED = AttemptModel(0.025, 0.06, "lognormal")
TWO = (PlannedSender("a", FAST, 5, copies=2), PlannedSender("b", SLOW, 25))  # a thousand messages a second each
LEASE_S = 1.5
GONE = FaultKind.KILL, FaultKind.PAUSE


def wait_s(scenario: Scenario) -> float:
    """Return the time between two reports of a sender."""
    copies = sum(sender.copies for sender in scenario.senders)
    return max(LIMITS.report_wait_min_s, LIMITS.report_wait_per_sender_s * copies)


def alike(scenario: Scenario) -> Scenario:
    """Return the scenario with senders whose attempts go alike."""
    model = scenario.senders[0].model
    return replace(scenario, senders=tuple(replace(sender, model=model) for sender in scenario.senders))


def check_sums(scenario: Scenario, played: Played) -> None:
    """Check what holds for every run that ends complete."""
    assert played.sent + played.failed == scenario.total
    assert sum(sender.sent for sender in played.senders) == played.sent
    assert sum(sender.failed for sender in played.senders) == played.failed
    assert sum(sender.attempts for sender in played.senders) == scenario.total + played.retried
    reached = [at_s for at_s in played.reached_s.values() if at_s is not None]
    needed = [-(-scenario.total * percent // 100) for percent in Milestones.PERCENTS]
    assert len(reached) == sum(played.sent >= count for count in needed)
    assert played.complete_s is not None
    assert reached == sorted(reached)
    assert all(0 < at_s <= played.complete_s for at_s in reached)


@pytest.mark.parametrize("seed", range(len(KINDS)))
def test_a_drawn_scenario_ends_complete_in_the_core_and_its_sums_agree(seed: int) -> None:
    scenario = draw_scenario(seed, [KINDS[seed]])
    played = play(scenario, seed)
    check_sums(scenario, played)
    if "monitor" not in KINDS[seed]:
        assert 0 < played.late_s < 3 * DELAY_S
    if len(played.outcomes):
        counts = [int(np.count_nonzero(played.outcomes == outcome)) for outcome in Outcome]
        assert counts == [played.sent, played.failed, played.retried]


@pytest.mark.parametrize("seed", range(4))
def test_senders_that_are_alike_give_the_counts_that_the_seed_determines(seed: int) -> None:
    scenario = alike(draw_scenario(seed, ["plain", "joins", "kill", "kill producer"]))
    fates = Fates(seed, scenario.max_attempts, scenario.senders[0].model)
    played = play(scenario, seed)
    assert (played.sent, played.failed) == fated(fates, scenario.total, scenario.max_attempts)


@pytest.mark.parametrize("seed", range(20))
def test_the_heap_gives_the_counts_that_the_seed_determines(seed: int) -> None:
    scenario = alike(draw_scenario(seed, [*FAULT_FREE, "kill", "slow"]))
    schedule = Heap(scenario, seed).play()
    fates = Fates(seed, scenario.max_attempts, scenario.senders[0].model, scenario.unreachable)
    counts = schedule.count(Outcome.SENT), schedule.count(Outcome.FAILED)
    assert counts == fated(fates, scenario.total, scenario.max_attempts)
    assert list(schedule.finish_s) == sorted(schedule.finish_s)


def test_without_retries_the_heap_is_the_list_schedule_of_the_bench() -> None:
    scenario = Scenario(5000, (PlannedSender("a", SLOW, 20), PlannedSender("b", SLOW, 10, copies=3, joins_s=2.0)))
    durations_s, _ = Fates(3, 1, SLOW).draw(np.arange(5000, dtype=np.uint64), 1)
    expected_s = schedule_s(durations_s[None], [(0.0, 0)] * 20 + [(2.0, 0)] * 30)
    assert Heap(scenario, 3).play().finish_s[-1] == expected_s


MANY_A_LANE = {
    "alike": Scenario(6000, (PlannedSender("a", FAST, 5, copies=4),)),
    "retries": Scenario(6000, TWO, max_attempts=3),
    "retry delay": Scenario(6000, TWO, max_attempts=3, retry_delay_s=0.5),
    "tails": Scenario(3000, (PlannedSender("a", TAILED, 25),)),
    "rate": Scenario(3000, TWO, rate_per_s=1000.0),
    "rate above the capacity": Scenario(6000, TWO, rate_per_s=2200.0),
    "late": Scenario(6000, (TWO[0], replace(TWO[1], joins_s=1.0))),
    "killed": Scenario(6000, TWO, max_attempts=2, faults=(Fault(1.0, FaultKind.KILL, "b"),)),
    "slow": Scenario(6000, TWO, max_attempts=2, faults=(Fault(0.5, FaultKind.SLOW, "a", 1.0, factor=3.0),)),
    "failing": Scenario(6000, TWO, max_attempts=2, faults=(Fault(0.5, FaultKind.FAIL, "b", 1.0, share=0.5),)),
    "started again": Scenario(6000, TWO, max_attempts=2, faults=(Fault(1.0, FaultKind.KILL, "b", 0.5),)),
}


@pytest.mark.parametrize("name", MANY_A_LANE)
def test_with_many_messages_a_lane_the_core_is_as_fast_as_the_ideal(name: str) -> None:
    scenario = MANY_A_LANE[name]
    played = play(scenario, 7, DELAY_S)
    ideal = Heap(scenario, 7, lag_s=wait_s(scenario) / 2).play()
    for percent, recorded_s in played.reached_s.items():
        ideal_s = ideal.reached_s(percent)
        assert (recorded_s is None) == (ideal_s is None)
        if recorded_s is not None and ideal_s is not None:
            assert 0.99 * ideal_s < recorded_s < 1.01 * ideal_s + wait_s(scenario) + 4 * DELAY_S


# ---- Faults


def struck(fault: Fault, total: int = 4000) -> Scenario:
    return Scenario(total, TWO, max_attempts=2, lease_timeout_s=LEASE_S, faults=(fault,))


def half_s(played: Played) -> float:
    """Return when half was recorded, since the run really started."""
    at_s = played.reached_s[50]
    assert at_s is not None
    return at_s + played.late_s


@pytest.mark.parametrize("kind", GONE)
@pytest.mark.parametrize("target", ["a", "b", PRODUCER])  # the journal of a monitor that is killed takes time
def test_a_fault_after_the_end_changes_nothing(kind: FaultKind, target: str) -> None:
    struck_late, calm = play(struck(Fault(50.0, kind, target), 600), 1), play(Scenario(600, TWO, 2), 1)
    assert (struck_late.reached_s, struck_late.senders) == (calm.reached_s, calm.senders)


def test_a_killed_sender_gives_back_its_messages_at_once() -> None:
    played = play(struck(Fault(1.0, FaultKind.KILL, "b")), 1)
    check_sums(struck(Fault(1.0, FaultKind.KILL, "b")), played)
    assert played.redelivered >= TWO[1].lanes
    assert played.duplicates == 0


def test_a_short_pause_costs_less_than_the_pause_and_a_long_one_loses_leases() -> None:
    calm = play(Scenario(4000, TWO, 2, lease_timeout_s=LEASE_S), 1)
    short = play(struck(Fault(0.5, FaultKind.PAUSE, "b", 0.8)), 1)
    long = play(struck(Fault(0.5, FaultKind.PAUSE, "b", 2.2)), 1)
    assert short.redelivered == short.duplicates == 0
    assert long.redelivered >= TWO[1].lanes
    assert 0 < long.duplicates <= long.redelivered  # what its lanes had begun ends when it goes on
    assert half_s(calm) < half_s(short) < half_s(calm) + 0.8


@pytest.mark.parametrize("target", [PRODUCER, MONITOR])
@pytest.mark.parametrize("kind", GONE)
def test_the_run_outlives_a_loss_of_the_producer_and_of_the_monitor(kind: FaultKind, target: str) -> None:
    scenario = struck(Fault(0.5, kind, target, 1.0))
    played = play(scenario, 1)
    check_sums(scenario, played)
    calm_s = half_s(play(replace(scenario, faults=()), 1))
    if target == PRODUCER:
        assert half_s(played) > calm_s
    else:  # senders go on while the monitor is away, within their windows
        assert calm_s <= half_s(played) < calm_s + 1.0


@pytest.mark.parametrize("target", ["a", "b", PRODUCER, MONITOR])
@pytest.mark.parametrize("kind", GONE)
def test_a_loss_for_good_ends_the_run(kind: FaultKind, target: str) -> None:
    played = play(struck(Fault(0.5, kind, target), 2500), 1)
    assert (played.complete_s is not None) == (target in ("a", "b"))
    assert played.sent + played.failed == 2500 or played.complete_s is None


def test_the_heap_refuses_the_faults_that_it_does_not_know() -> None:
    for fault in (Fault(1.0, FaultKind.PAUSE, "a", 1.0), Fault(1.0, FaultKind.KILL, PRODUCER, 1.0)):
        with pytest.raises(ValueError, match="expected a sender"):
            Heap(struck(fault), 1)


def test_an_ideal_sender_that_is_slow_for_a_while_loses_that_time() -> None:
    sender = PlannedSender("a", AttemptModel(0.1, 0.0, "fixed"), 10)
    slow = Fault(1.0, FaultKind.SLOW, "a", 1.0, factor=4.0)
    schedule = Heap(Scenario(300, (sender,), faults=(slow,)), 1).play()
    assert schedule.finish_s[-1] == pytest.approx(3.0 + 0.9)  # three attempts of 0.4 s instead of twelve; ends at 2.2 s


def test_an_ideal_sender_that_fails_for_a_while_retries_what_failed() -> None:
    sender = PlannedSender("a", AttemptModel(0.1, 0.0, "fixed"), 10)
    fail = Fault(1.0, FaultKind.FAIL, "a", 0.95, share=1.0)
    schedule = Heap(Scenario(300, (sender,), max_attempts=20, faults=(fail,)), 1).play()
    assert (schedule.count(Outcome.SENT), schedule.count(Outcome.RETRY)) == (300, 100)


def test_drawn_scenarios_are_of_the_kinds_that_are_asked_for() -> None:
    assert draw_scenario(5) == draw_scenario(5)
    assert {fault.kind for seed in range(20) for fault in draw_scenario(seed, ["kill"]).faults} == {FaultKind.KILL}
    assert not any(draw_scenario(seed, FAULT_FREE).faults for seed in range(50))
    assert len({draw_scenario(seed) for seed in range(300)}) == 300
