"""What stands in the way of a goal whatever the number of lanes: failures, a rate, a limit, an attempt's time, a fault.

Knows goals and the best that senders could do with a lane for each message. Must not know how a scenario is played.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.fate import time_table
from smssim.core.fault import MONITOR, Fault, FaultKind
from smssim.core.limits import ATTEMPTS_MAX
from smssim.core.progress import Milestones
from smssim.core.threshold import FAILED_REACHABLE, REACHED_REACHABLE, Threshold
from smssim.plan.forecast import SURE
from smssim.plan.scale import moments
from smssim.plan.scenario import PlannedSender, Scenario, ceiling_of
from smssim.plan.search.answer import percent
from smssim.plan.search.confidence import at_most
from smssim.plan.search.deadlines import MILESTONES, Deadline, percent_of

_HOPELESS: Final = 0.05  # a bound of a probability that is below this leaves no doubt
_ROUNDING_S: Final = 1e-6
_DEVIATIONS: Final = 4.0  # by which more messages than expected may be sent
_AWAY: Final = (FaultKind.KILL, FaultKind.PAUSE)


def obstacle(scenario: Scenario, goals: Iterable[Threshold]) -> str | None:
    """Return why a goal can't be met by any number of lanes, as a clause; None if nothing is known to stand in the way.

    Assumes goals for `FIGURES`. The scenario has the shortest times that are possible.
    """
    for goal in goals:
        if why := _failures(scenario, goal) or _attempts(scenario, goal) or _late(scenario, goal):
            return why
    return None


# ---- Counts


def _fail(scenario: Scenario) -> float:
    """Return how often an attempt fails at least."""
    shares = [sender.model.fail for sender in scenario.senders]
    return min([*shares, *(fault.share for fault in scenario.faults if fault.kind is FaultKind.FAIL)], default=1.0)


_OF_REACHABLE: Final = (*REACHED_REACHABLE, FAILED_REACHABLE)


def _failed_max(goal: Threshold, total: int) -> int | None:
    """Return how many of the messages that a goal is about may fail; None if the goal doesn't say."""
    bound = goal.bound * total / 100 if goal.is_share else goal.bound
    if goal.name in MILESTONES and goal.sign in ("<", "<=", "=="):
        return total - Milestones.needed(percent_of(goal.name), total)
    if goal.name in ("failed", FAILED_REACHABLE, "unreachable") and goal.sign in ("<", "<=", "=="):
        return math.ceil(bound) - 1 if goal.sign == "<" else math.floor(bound)
    if goal.name == "sent" and goal.sign in (">", ">=", "=="):
        return total - (math.floor(bound) + 1 if goal.sign == ">" else math.ceil(bound))
    return None


def _failures(scenario: Scenario, goal: Threshold) -> str | None:
    """Return why too many messages fail; None if they don't. A reachable message fails if all K attempts do: f^K."""
    fail, attempts = _fail(scenario), scenario.max_attempts
    unreachable = 0.0 if goal.name in _OF_REACHABLE else scenario.unreachable
    total = scenario.reachable if goal.name in _OF_REACHABLE else scenario.total
    if goal.name in MILESTONES and not total:
        which = " that can be reached" if scenario.total else ""
        return f"there are no messages{which}, so {goal} is not met"
    most = _failed_max(goal, total)
    if most is None:
        return None
    if most < 0:
        return f"no run can meet {goal}"
    if why := _gone(goal, total, most, unreachable):
        return why

    def chance(attempts: int) -> float:
        return at_most(most, total, 1 - ceiling_of(fail, attempts, unreachable))

    if goal.name == "unreachable" or chance(attempts) >= SURE:
        return None
    enough = next((k for k in range(attempts + 1, ATTEMPTS_MAX + 1) if chance(k) >= SURE), None)
    tries = "their only attempt" if attempts == 1 else f"all {attempts} attempts"
    remedy = "" if enough is None else f"; {enough} attempts would be needed"
    gone = f"{_percent(unreachable)} of the messages can't be reached, and " if unreachable else ""
    others = "the others" if gone else "the messages"
    failed = f"{gone}{_percent(fail**attempts)} of {others} fail in {tries}"
    return f"{failed}, so {goal} is met with a probability of {percent(chance(attempts))}{remedy}"


def fail_max(scenario: Scenario, goal: Threshold) -> float:
    """Return how often attempts may fail at most, so that a goal is surely met; 1 if it doesn't say."""
    is_of_reachable = goal.name in _OF_REACHABLE
    total = scenario.reachable if is_of_reachable else scenario.total
    most = _failed_max(goal, total)
    if most is None or goal.name == "unreachable":
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        sent = ceiling_of(middle, scenario.max_attempts, 0.0 if is_of_reachable else scenario.unreachable)
        low, high = (middle, high) if at_most(most, total, 1 - sent) >= SURE else (low, middle)
    return high if high == 1 else low


def _gone(goal: Threshold, total: int, most: int, unreachable: float) -> str | None:
    """Return why too many messages are unreachable, if at most so many may fail; None if they aren't."""
    chance = at_most(most, total, unreachable)
    if chance >= SURE:
        return None
    if goal.name in MILESTONES and chance < _HOPELESS:
        return f"{percent_of(goal.name)}% can't be reached: at most {100 * (1 - unreachable):.10g}% of the messages"
    gone = f"{_percent(unreachable)} of the messages can't be reached"
    return f"{gone}, so {goal} is met with a probability of {percent(chance)}"


def _attempts(scenario: Scenario, goal: Threshold) -> str | None:
    """Return why more attempts are needed than a goal allows; None if they aren't.

    Of a reachable message, attempt k + 1 takes place with f^k. The normal approximation; exact enough to see what is
    hopeless.
    """
    total, fail = scenario.total, _fail(scenario)
    if goal.name not in ("attempts", "retried") or goal.sign not in ("<", "<=", "=="):
        return None
    most = float(goal.bound * total / 100 if goal.is_share else goal.bound)
    takes_place = [fail**k * (1 - scenario.unreachable if k else 1.0) for k in range(scenario.max_attempts)]
    mean = sum(takes_place)
    square = sum((2 * k + 1) * share for k, share in enumerate(takes_place))
    usual = total * (mean - (goal.name == "retried"))
    deviation = math.sqrt(total * max(0.0, square - mean * mean))
    if usual - 3 * deviation <= most + 1:
        return None
    return f"about {usual:,.0f} {goal.name.replace('retried', 'retries')} are needed, whatever the senders' speed"


# ---- Times


def _late(scenario: Scenario, goal: Threshold) -> str | None:
    """Return why a deadline can't be met; None if it is not known to be too early."""
    deadline = Deadline.of(goal, scenario.total, scenario.reachable)
    if deadline is None or not scenario.senders or not deadline.count:
        return None
    if deadline.time_s < _earliest_s(scenario):
        return f"{goal} is earlier than a single attempt takes, which is at least {_earliest_s(scenario):.3g} s"
    if _is_hopeless(scenario, deadline, False, False):
        mean_s = min(moments(sender.model)[0] for sender in scenario.senders)
        return f"an attempt takes {mean_s:.3g} s on average, and some messages need several: too long for {goal}"
    if _is_hopeless(scenario, deadline, True, False):
        assert scenario.rate_per_s is not None
        last_s = (deadline.count - 1) / scenario.rate_per_s
        whose = "message" if deadline.count == 1 else f"first {deadline.count:,} messages"
        released = f"{scenario.rate_per_s:g} messages a second are released, the {whose} within {last_s:.3g} s"
        return f"{released}: too late for {goal}"
    if why := _limited(scenario, goal, deadline):
        return why
    if _is_hopeless(scenario, deadline, True, True):
        return f"{_culprit(scenario, deadline.time_s)} stands in the way of {goal}"
    return None


def _limited(scenario: Scenario, goal: Threshold, deadline: Deadline) -> str | None:
    """Return why the limits of senders let too few messages start in time; None if they don't, or not all have one.

    Messages that are sent by then started at least the shortest time of an attempt before. Each takes a token for each
    attempt: some more are started than are sent.
    """
    most, per_s = 0.0, 0.0
    for sender in scenario.senders:
        if sender.limit is None:
            return None
        up_s = deadline.time_s - float(_times(sender).min()) - max(0.0, sender.joins_s)
        starts = math.floor(up_s * sender.limit.per_s + _ROUNDING_S) + sender.limit.burst if up_s >= 0 else 0
        most += sender.copies * starts
        per_s += sender.copies * sender.limit.per_s
    sent = most if not deadline.is_sent else most * (1 - _fail(scenario))
    if sent + _DEVIATIONS * math.sqrt(most * _fail(scenario)) >= deadline.count:
        return None
    names = [sender.name for sender in scenario.senders]
    whose = f"the limit of {names[0]} is" if len(names) == 1 else f"the limits of {', '.join(names)} are"
    rate = f"{per_s:,.4g} messages per second"
    return f"{whose} {rate}, so at most {most:,.0f} are started in time, too few for {goal}"


def _earliest_s(scenario: Scenario) -> float:
    return min(float(_times(sender).min()) for sender in scenario.senders)


def _times(sender: PlannedSender) -> NDArray[np.float32]:
    model = sender.model
    return time_table(model.distribution, model.mean_s, model.std_s, model.max_time_s)


def _is_hopeless(scenario: Scenario, deadline: Deadline, with_rate: bool, with_faults: bool) -> bool:
    """Return whether a deadline can't be met even if each message, once released, has a lane of the best sender.

    A message that is sent by then had a first attempt that was short enough, and no more attempts than fit in.
    """
    rate_per_s, total = (scenario.rate_per_s if with_rate else None), scenario.total
    share = expected = all_by_s = 0.0
    for sender in scenario.senders:
        times_s = _times(sender).astype(np.float64) - _ROUNDING_S
        until_s = _last_up_s(scenario, sender, deadline.time_s) if with_faults else deadline.time_s
        after_s = until_s - times_s  # a message that is sent by then was released by this time
        fits = after_s >= max(0.0, sender.joins_s)
        released = np.full(len(times_s), float(total))
        if rate_per_s is not None:
            released = np.minimum(total, np.floor(np.maximum(0.0, after_s) * rate_per_s) + 1)
        share, all_by_s = max(share, float(fits.mean())), max(all_by_s, until_s - float(times_s.min()))
        expected = max(expected, float(np.where(fits, released, 0).mean()))
    if not deadline.is_sent:
        released_s = 0.0 if rate_per_s is None else (total - 1) / rate_per_s
        return share**total < _HOPELESS or released_s > all_by_s
    each_s = _earliest_s(scenario)
    tries = int((deadline.time_s + scenario.retry_delay_s + _ROUNDING_S) / max(1e-9, each_s + scenario.retry_delay_s))
    sent = ceiling_of(_fail(scenario), min(scenario.max_attempts, max(1, tries)), scenario.unreachable)
    return 1 - at_most(deadline.count - 1, total, min(1.0, expected / total) * sent) < _HOPELESS


def _last_up_s(scenario: Scenario, sender: PlannedSender, time_s: float) -> float:
    """Return until when a sender can report what is recorded by this time: before it, or the monitor, was away."""
    faults = [*scenario.faults_of(sender.name), *scenario.faults_of(MONITOR)]
    for fault in sorted((one for one in faults if one.kind in _AWAY), key=lambda one: -one.at_s):
        if fault.at_s < time_s < fault.until_s:
            time_s = fault.at_s
    return time_s


def _culprit(scenario: Scenario, time_s: float) -> str:
    """Return the fault that is under way at this time, in words."""

    def said(fault: Fault) -> str:
        lasts = "" if fault.for_s is None else f" for {fault.for_s:g} s"
        return f"{fault.kind} {fault.target} at {fault.at_s:g} s{lasts}"

    away = [one for one in scenario.faults if one.kind in _AWAY and one.at_s < time_s < one.until_s]
    away.sort(key=lambda one: (one.target != MONITOR, one.at_s))
    return f"a fault ({said(away[0])})" if away else "a fault"


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"
