"""The twin agrees with an ideal schedule, message by message, and with the real core under a virtual clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest
from oracle.draw import KINDS
from simulation.books import fated
from twin_support import against_core, against_heap, few, played, played_promptly

from smssim.core.fate import Fates
from smssim.core.fault import Fault, FaultKind
from smssim.core.model import AttemptModel
from smssim.plan.scenario import PlannedSender, Scenario

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
IDEAL: Final = SOME | TAILED | RATED


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
    fates = Fates(seed, scenario.max_attempts, scenario.senders[0].model)
    assert (course.sent, course.failed) == fated(fates, scenario.total, scenario.max_attempts)


@pytest.mark.parametrize("kind", KINDS)
def test_the_twin_records_what_the_core_records(kind: str) -> None:
    assert list(as_core(kind)) == []


def test_reports_are_what_delays_a_record() -> None:
    late = [played(IDEAL["equal lanes"], seed).course.last_s for seed in range(5)]
    prompt = [played_promptly(IDEAL["equal lanes"], seed).course.last_s for seed in range(5)]
    assert all(0 < one - other < 0.02 for one, other in zip(late, prompt, strict=True))
