"""Scenarios drawn from a seed: small ones that take seconds of virtual time, of all kinds.

Knows scenarios. Must not know how they are played.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Final

from smssim.core.fault import MONITOR, PRODUCER, Fault, FaultKind
from smssim.core.model import AttemptModel, StartLimit
from smssim.core.spread import STD_MEANS_MAX, usual_std
from smssim.plan.scenario import PlannedSender, Scenario, attempts_each

LEASE_TIMEOUT_S: Final = 1.5
TIME_S: Final = (1.0, 3.5)  # of a scenario without faults, about
COPIES: Final = 40  # in a scenario with many
PER_LANE_MIN: Final = 3  # messages of a lane, about


def draw_scenario(seed: int, kinds: Sequence[str] = ()) -> Scenario:
    """Return the scenario of a seed. It is of one of these kinds, or of any of `KINDS`.

    At least one sender is there from the start, and at least one outlives all faults or is started again.
    """
    random = Random(f"scenario {seed}")
    kind = random.choice(kinds or KINDS)
    scenario = _plain(random)
    change = _CHANGES.get(kind)
    return scenario if change is None else change(random, scenario)


def expected_attempts(scenario: Scenario) -> float:
    """Return the mean number of attempts of a message, if each sender is given messages by its speed."""
    speed = sum(sender.declared_per_s for sender in scenario.senders)
    fail = sum(sender.declared_per_s * sender.model.fail for sender in scenario.senders) / speed
    return attempts_each(fail, scenario.max_attempts, scenario.unreachable)


def about_s(scenario: Scenario) -> float:
    """Return about how long a scenario takes without faults, caps, a rate or late senders."""
    speed = sum(sender.declared_per_s for sender in scenario.senders)
    return scenario.total * expected_attempts(scenario) / speed


# ---- Without faults


def _plain(random: Random) -> Scenario:
    """Return a scenario with one to four senders, which are alike or not, some with a few copies."""
    time_s = random.uniform(*TIME_S)
    names = "abcd"[: random.choices([1, 2, 3, 4], [3, 4, 2, 2])[0]]
    total = round(200 * 20 ** random.random())
    same = _model(random, time_s) if random.random() < 0.4 else None
    speed = total / time_s / len(names)

    def sender(name: str) -> PlannedSender:
        model = _model(random, time_s) if same is None else same
        copies = random.choice([1, 1, 1, 2, 3])
        return PlannedSender(name, model, max(1, round(speed / copies * model.mean_s)), copies)

    return Scenario(
        total,
        tuple(map(sender, names)),
        max_attempts=random.choice([1, 1, 2, 3, 4]),
        retry_delay_s=random.choice([0.0, 0.0, 0.0, 0.2, 1.0]),
        lease_timeout_s=LEASE_TIMEOUT_S,
    )


def _model(random: Random, time_s: float, spread_max: float = 0.8) -> AttemptModel:
    """Return how the attempts of a sender go of which each lane sends a few to many messages in this time."""
    mean_s = round(time_s / (PER_LANE_MIN * 15 ** random.random()), 4)
    distribution = random.choice(["gamma", "gamma", "lognormal", "exponential", "fixed", "uniform", "normal"])
    std_s = usual_std(distribution, mean_s)
    if distribution in STD_MEANS_MAX:
        std_s = round(random.uniform(0.1, min(spread_max, STD_MEANS_MAX[distribution])) * mean_s, 6)
    cap_s = round(random.uniform(0.5, 3.0) * mean_s, 4) if random.random() < 0.15 else None
    return AttemptModel(mean_s, std_s, distribution, cap_s, random.choice([0.0, 0.0, 0.02, 0.1, 0.3, 0.5]))


def _with_tails(random: Random, scenario: Scenario) -> Scenario:
    """Let some attempts take many times the mean."""

    def tailed(sender: PlannedSender) -> PlannedSender:
        distribution = random.choice(["gamma", "lognormal"])
        std_s = round(random.uniform(1.2, min(4.0, STD_MEANS_MAX[distribution])) * sender.model.mean_s, 6)
        return replace(sender, model=replace(sender.model, distribution=distribution, std_s=std_s))

    return replace(scenario, senders=tuple(map(tailed, scenario.senders)))


def _with_copies(random: Random, scenario: Scenario) -> Scenario:
    """Keep one sender and give it many copies with few lanes."""
    model, lanes, each = scenario.senders[0].model, random.randint(1, 4), random.randint(PER_LANE_MIN, 15)
    scale = random.uniform(0.5, 2.0) / (each * model.mean_s)  # of the times
    cap_s = None if model.max_time_s is None else scale * model.max_time_s
    model = replace(model, mean_s=scale * model.mean_s, std_s=scale * model.std_s, max_time_s=cap_s)
    return replace(scenario, total=COPIES * lanes * each, senders=(PlannedSender("a", model, lanes, COPIES),))


def _with_failures(random: Random, scenario: Scenario) -> Scenario:
    """Let every attempt of a sender fail."""
    at = random.randrange(len(scenario.senders))
    model = replace(scenario.senders[at].model, fail=1.0)
    return _with_sender(scenario, at, replace(scenario.senders[at], model=model))


def _with_rate(random: Random, scenario: Scenario) -> Scenario:
    """Release messages at a rate below or above what the senders can send."""
    share = random.choice([0.5, 0.9, 1.0, 1.1])
    rate_per_s = round(share * scenario.total / about_s(scenario), 3)
    return replace(scenario, total=math.ceil(share * scenario.total / 2), rate_per_s=rate_per_s)


def _with_joins(random: Random, scenario: Scenario) -> Scenario:
    """Let all senders but the first one join late."""
    scenario, time_s = _with_another(scenario), about_s(scenario)
    late = (replace(one, joins_s=round(random.uniform(0.1, 0.8) * time_s, 3)) for one in scenario.senders[1:])
    return replace(scenario, senders=(scenario.senders[0], *late))


def _with_limits(random: Random, scenario: Scenario) -> Scenario:
    """Give all senders, or some of them, limits from far below to far above what their lanes can send."""

    def limited(sender: PlannedSender) -> PlannedSender:
        per_s = sender.declared_per_s / sender.copies * random.choice([0.3, 0.7, 0.95, 1.0, 1.1, 3.0])
        burst = random.choice([1, 1, 3, sender.concurrency, 3 * sender.concurrency])
        return replace(sender, limit=StartLimit.of(per_s, burst, 1))

    senders = tuple(sender if random.random() < 0.3 else limited(sender) for sender in scenario.senders[1:])
    return replace(scenario, senders=(limited(scenario.senders[0]), *senders))


def _with_unreachable(random: Random, scenario: Scenario) -> Scenario:
    """Let nobody be able to deliver some of the messages."""
    return replace(scenario, unreachable=random.choice([0.01, 0.1, 0.3, 0.6]))


def _with_sender(scenario: Scenario, at: int, sender: PlannedSender) -> Scenario:
    return replace(scenario, senders=(*scenario.senders[:at], sender, *scenario.senders[at + 1 :]))


def _with_another(scenario: Scenario) -> Scenario:
    """Add a sender like the first one, if that is the only one."""
    first = scenario.senders[0]
    return scenario if len(scenario.senders) > 1 else replace(scenario, senders=(first, replace(first, name="b")))


# ---- With one fault


def _when_s(random: Random, scenario: Scenario) -> float:
    """Return an early, middle or late time."""
    return round(random.choice([0.1, 0.5, 0.9]) * random.uniform(0.8, 1.1) * about_s(scenario), 3)


def _some_s(random: Random, scenario: Scenario) -> float:
    return round(random.uniform(0.1, 0.5) * about_s(scenario), 3)


def _struck(random: Random, scenario: Scenario, fault: Fault) -> Scenario:
    """Add a fault of any sender."""
    return replace(scenario, faults=(replace(fault, target=random.choice(scenario.senders).name),))


def _with_kill(random: Random, scenario: Scenario) -> Scenario:
    scenario = _with_another(scenario)
    for_s = random.choice([None, _some_s(random, scenario)])
    return _struck(random, scenario, Fault(_when_s(random, scenario), FaultKind.KILL, "", for_s))


def _with_pause(random: Random, scenario: Scenario) -> Scenario:
    """Pause a sender for less or for more than the lease timeout."""
    for_s = round(random.choice([random.uniform(0.1, 0.8), random.uniform(1.3, 2.5)]) * scenario.lease_timeout_s, 3)
    return _struck(random, scenario, Fault(_when_s(random, scenario), FaultKind.PAUSE, "", for_s))


def _with_slow(random: Random, scenario: Scenario) -> Scenario:
    for_s = random.choice([None, _some_s(random, scenario)])
    factor = random.choice([2.0, 4.0, 10.0])
    return _struck(random, scenario, Fault(_when_s(random, scenario), FaultKind.SLOW, "", for_s, factor=factor))


def _with_fail(random: Random, scenario: Scenario) -> Scenario:
    for_s = random.choice([None, _some_s(random, scenario)])
    share = random.choice([0.0, 0.3, 0.6, 1.0])
    return _struck(random, scenario, Fault(_when_s(random, scenario), FaultKind.FAIL, "", for_s, share=share))


def _of(target: str, kind: FaultKind) -> Callable[[Random, Scenario], Scenario]:
    """Return a change that kills or pauses the producer or the monitor."""

    def change(random: Random, scenario: Scenario) -> Scenario:
        fault = Fault(_when_s(random, scenario), kind, target, round(random.uniform(0.3, 3.0), 3))
        return replace(scenario, faults=(fault,))

    return change


_CHANGES: Final[dict[str, Callable[[Random, Scenario], Scenario]]] = {
    "tails": _with_tails,
    "copies": _with_copies,
    "failures": _with_failures,
    "rate": _with_rate,
    "joins": _with_joins,
    "kill": _with_kill,
    "pause": _with_pause,
    "slow": _with_slow,
    "fail": _with_fail,
    "kill producer": _of(PRODUCER, FaultKind.KILL),
    "pause producer": _of(PRODUCER, FaultKind.PAUSE),
    "kill monitor": _of(MONITOR, FaultKind.KILL),
    "pause monitor": _of(MONITOR, FaultKind.PAUSE),
    "limits": _with_limits,
    "unreachable": _with_unreachable,
}
FAULT_FREE: Final = ("plain", "tails", "copies", "failures", "rate", "joins", "limits", "unreachable")
KINDS: Final = ("plain", *_CHANGES)
