"""Goals that are deadlines: so many messages by then. About how many lanes, or how short a time, that takes.

Knows goals and the speed of senders. Must not know how a scenario is played.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from smssim.core.fault import Fault, FaultKind
from smssim.core.model import StartLimit
from smssim.core.progress import Milestones
from smssim.core.threshold import REACHED, REACHED_REACHABLE, Threshold
from smssim.plan.scale import moments
from smssim.plan.scenario import PlannedSender, Scenario, ceiling_of, sent_each
from smssim.plan.search.steps import Steps
from smssim.plan.theory.pace import report_lag_s

DEVIATIONS: Final = 2.0  # by which most runs are later than the mean
MILESTONES: Final = (*REACHED, *REACHED_REACHABLE)
_TIMES: Final = ("elapsed_s", *MILESTONES)


def percent_of(milestone: str) -> int:
    """Return the percentage that one of `MILESTONES` is about."""
    return int(milestone[1:3])


@dataclass(frozen=True, slots=True)
class Deadline:
    """What a goal asks for, in messages and seconds."""

    count: int  # messages
    time_s: float
    is_sent: bool  # whether they have to be sent; otherwise, it is enough that each has its final outcome

    @classmethod
    def of(cls, goal: Threshold, total: int, reachable: int) -> Deadline | None:
        """Return the deadline that a goal sets, of all messages and of those that can be reached; None if none."""
        bound = float(goal.bound)
        if goal.name == "rate_per_s" and goal.sign in (">", ">=", "==") and bound > 0:
            return cls(total, total / bound, False)
        if goal.name not in _TIMES or goal.sign not in ("<", "<=", "=="):
            return None
        if goal.name not in MILESTONES:
            return cls(total, bound, False)
        whole = reachable if goal.name in REACHED_REACHABLE else total
        return cls(Milestones.needed(percent_of(goal.name), whole), bound, True)


def lateness(goal: Threshold, value: float | None) -> float | None:
    """Return a figure in multiples of what a deadline allows, so that 1 just meets it; None if it is no deadline."""
    if Deadline.of(goal, 1, 1) is None:
        return None
    if value is None:
        return math.inf
    bound = float(goal.bound)
    ends = (bound, value) if goal.name == "rate_per_s" else (value, bound)
    return ends[0] / ends[1] if ends[1] > 0 else math.inf


def wants_less(goal: Threshold) -> bool:
    """Return whether faster senders make this goal harder to meet."""
    signs = ("<", "<=") if goal.name == "rate_per_s" else (">", ">=")
    return goal.name in ("rate_per_s", *_TIMES) and goal.sign in signs


def first_guess(scenario: Scenario, steps: Steps, deadlines: Iterable[Deadline]) -> int:
    """Return about which step meets all deadlines: the first one if there are none."""
    return max((_guess(scenario, steps, deadline) for deadline in deadlines), default=steps.first)


def _guess(scenario: Scenario, steps: Steps, deadline: Deadline) -> int:
    """Return about which step meets a deadline in most runs.

    While lanes are busy, c of them with mean m have made c (t / m - (1 - cv^2) / 2) attempts by t (Cox 1962, "Renewal
    theory"), of which 1 - f are sent, in whatever order. The time differs between runs by about
    sqrt((cv^2 + f / (1 - f)) / attempts) of itself, where f is the share of all attempts that fail.
    """
    one = steps.scenario(scenario, steps.last)
    sought = next(sender for sender in one.senders if sender.name == steps.sought.name)
    fail = min(sender.model.fail for sender in one.senders)
    rules = scenario.max_attempts, scenario.unreachable
    count = deadline.count if deadline.is_sent else deadline.count * ceiling_of(fail, *rules)
    success = sent_each(fail, *rules)
    chance = (moments(sought.model)[1] ** 2 + (1 - success) / max(1e-9, success)) / max(1.0, count)
    time_s = deadline.time_s / (1 + DEVIATIONS * math.sqrt(chance)) - report_lag_s(sum(s.copies for s in one.senders))
    others = sum(sent_by(scenario, sender, time_s) for sender in one.senders if sender is not sought)
    needed = count - others
    if needed <= 0:
        return steps.first
    if not steps.is_mean:
        limit, last = sought.limit, steps.value(steps.last)
        if steps.sought.key == "concurrency":  # whatever the limit: more lanes can't be better than this guess
            limit = None
        elif steps.sought.key == "limit":
            limit, last = StartLimit.of(1.0, 1, scenario.segments), 1.0
        each = sent_by(scenario, replace(sought, limit=limit), time_s) / last
        return steps.step(needed / each) if each > 0 else steps.last
    lanes = sought.lanes * sent_each(sought.model.fail, *rules)
    before = (1 - moments(sought.model)[1] ** 2) / 2
    up_s = _up_s(scenario.faults_of(sought.name), sought.joins_s, time_s)
    return steps.step(up_s / (needed / lanes + before)) if lanes and up_s > 0 else steps.last


def sent_by(scenario: Scenario, sender: PlannedSender, time_s: float) -> float:
    """Return about how many messages a sender, with all its copies, has sent by a time."""
    return attempts_by(scenario, sender, time_s) * sent_each(
        sender.model.fail, scenario.max_attempts, scenario.unreachable
    )


def attempts_by(scenario: Scenario, sender: PlannedSender, time_s: float) -> float:
    """Return about how many attempts a sender, with all its copies, has made by a time; fewer if a fault fails some."""
    mean_s, cv = moments(sender.model)
    up_s = _up_s(scenario.faults_of(sender.name), sender.joins_s, time_s)
    attempts = sender.lanes * max(0.0, up_s / mean_s - (1 - cv * cv) / 2)
    if sender.limit is not None:
        limited = sender.limit.burst + max(0.0, up_s - mean_s) * sender.limit.per_s
        attempts = min(attempts, sender.copies * limited)
    return attempts


def _up_s(faults: Iterable[Fault], joins_s: float, time_s: float) -> float:
    """Return about how long a sender works until a time, at its usual speed. Faults are assumed not to overlap."""
    up_s = time_s - max(0.0, joins_s)
    for fault in faults:
        lasts_s = max(0.0, min(fault.until_s, time_s) - fault.at_s)
        kept = {FaultKind.SLOW: 1 / fault.factor, FaultKind.FAIL: 1 - fault.share}.get(fault.kind, 0.0)
        up_s -= lasts_s * (1 - kept)
    return max(0.0, up_s)
