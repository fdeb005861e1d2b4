"""What a page says about a plan in sentences: ceilings, causes, faults.

Knows forecasts and words. Must not know layout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from smssim.core.fault import MONITOR, PRODUCER, Fault, FaultKind
from smssim.core.limits import ATTEMPTS_MAX
from smssim.core.progress import Milestones
from smssim.escaping import escape
from smssim.plan.bottleneck import Bottleneck, Cause
from smssim.plan.forecast import Forecast
from smssim.plan.scenario import Scenario, ceiling_of
from smssim.plan.theory.theory import Theory
from smssim.words import clock, count, listed, moment, money, out_of_reach, plural, setting_s

COSTS_MAX: Final = 6  # senders whose cost is listed
MACHINE_PER_S: Final = 3_000_000  # attempts per second that a run was measured to do on two cores; docs/benchmarks.md


def share(part: float) -> str:
    """Return a share as a percentage; only 1 is 100%, and only 0 is 0%."""
    if part in (0, 1):
        return f"{100 * part:.0f}%"
    if part < 0.0005:
        return "<0.1%"
    return ">99.9%" if part >= 0.9995 else f"{100 * part:.1f}%"


def precisely(part: float) -> str:
    """Return a share as a percentage, with more digits the closer it is to 1."""
    missing = 100 * (1 - part)
    if part in (0, 1) or missing < 1e-9:
        return share(round(part, 12))
    digits = min(9, max(1, 1 - math.floor(math.log10(missing) + 1e-9)))
    return f"{100 * part:.{digits}f}%"


def fault(one: Fault) -> str:
    """Return what a fault does, in the words of scenario files: "slow region, factor 3, for 4 s"."""
    name = escape(one.target)
    lasts = "" if one.for_s is None else f" for {setting_s(one.for_s)}"
    match one.kind:
        case FaultKind.SLOW:
            return f"slow {name}, factor {one.factor:.4g}{lasts and ','}{lasts}"
        case FaultKind.FAIL:
            return f"fail {name}, share {100 * one.share:.4g}%{lasts and ','}{lasts}"
        case _:
            return f"{one.kind} {name}{lasts}"


def marks(scenario: Scenario) -> list[tuple[float, str]]:
    """Return what happens when: faults, and senders that join late."""
    joins = [(one.joins_s, f"{escape(one.name)} joins") for one in scenario.senders if one.joins_s > 0]
    return sorted([*joins, *((one.at_s, fault(one)) for one in scenario.faults)])


def never(forecast: Forecast, percent: int, *, of_reachable: bool = False) -> str:
    """Return why a share of the messages, or of those that can be reached, is not sent in most seeds."""
    if forecast.complete_s.median is None and forecast.complete_s.share < 1:
        return "the run does not get that far"
    unreachable = forecast.scenario.unreachable
    if of_reachable:
        return "too many fail" if unreachable < 1 else "nobody can be reached"
    if percent in _beyond(unreachable, _unmet(forecast)):
        return f"at most {_most(unreachable)} can be reached"
    return f"{precisely(forecast.ceiling)} are sent on average"


def stuck(found: Bottleneck) -> str:
    """Return why a run never ends."""
    if found.fault is None:
        return "no sender is left"
    who = f"the {found.fault.target} stays away" if found.fault.target in (PRODUCER, MONITOR) else "no sender is left"
    return f"{who} after {fault(found.fault)}"


def failing(forecast: Forecast) -> float:
    """Return the share of attempts at reachable messages that fail, over all seeds."""
    attempts = sum(play.attempts - play.unreachable for play in forecast.plays)
    failed = sum(play.failed + play.retried - play.unreachable for play in forecast.plays)
    return failed / attempts if attempts else 0.0


def ceiling(forecast: Forecast) -> str:
    """Return how many messages can be sent at most, why, and what would help."""
    scenario = forecast.scenario
    if forecast.complete_s.median is None:
        return f"{precisely(forecast.ceiling)} on average: some messages are never finished"
    unreachable, fail = scenario.unreachable, failing(forecast) if scenario.fail is None else scenario.fail
    gone = f"{100 * unreachable:.6g}% of the messages can't be reached" if unreachable else ""
    failed = (
        f"{100 * fail:.3g}% of {'other ' * bool(gone)}attempts fail, {plural(scenario.max_attempts, 'attempt')} each"
    )
    causes = [gone] * bool(gone) + [failed] * bool(fail and unreachable < 1)
    if not causes:
        return ""
    missed = [percent for percent in Milestones.PERCENTS if forecast.reached_s[percent].median is None]
    needed = {percent: attempts_for(percent, fail, unreachable) for percent in missed}
    hints = [f"{percent}% needs {n}" for percent, n in needed.items() if n and n > scenario.max_attempts]
    text = f"{precisely(forecast.ceiling)} on average: {', '.join(causes)}" + (
        f" ({', '.join(hints)})" if hints else ""
    )
    out = beyond(unreachable, _unmet(forecast))
    return f"{text}. {out}" if out else text


def beyond(unreachable: float, unmet: Sequence[int] = Milestones.PERCENTS) -> str:
    """Return which percentages can't be reached: "95% and 99% can't be reached: at most 93.1%"; empty if all can.

    Of how many messages that is true is chance, so only those percentages count that no seed meets: `unmet`.
    """
    return out_of_reach(_beyond(unreachable, unmet), _most(unreachable))


def _unmet(forecast: Forecast) -> list[int]:
    return [percent for percent, spread in forecast.reached_s.items() if not spread.share]


def _beyond(unreachable: float, unmet: Sequence[int]) -> list[int]:
    return [percent for percent in unmet if percent > 100 * (1 - unreachable) + 1e-9]


def _most(unreachable: float) -> str:
    """Return the share of the messages that can be reached, never rounded to a percentage that can't be."""
    text, percent = precisely(1 - unreachable), 100 * (1 - unreachable)
    return f"{percent:.10g}%" if float(text.strip("<>%")) in _beyond(unreachable, Milestones.PERCENTS) else text


def costs(forecast: Forecast) -> str:
    """Return what each of several senders costs, the dearest first."""
    senders = sorted(forecast.senders, key=lambda sender: -sender.cost)
    each = [f"{escape(sender.name)} {money(sender.cost)}" for sender in senders[:COSTS_MAX]]
    more = [f"{plural(len(senders) - COSTS_MAX, 'other')}"] if len(senders) > COSTS_MAX else []
    return ", ".join(each + more) if len(senders) > 1 else ""


def attempts_for(percent: int, fail: float, unreachable: float = 0.0) -> int | None:
    """Return with how many attempts more than this percentage is sent; None if with no number that is allowed."""
    allowed = range(1, ATTEMPTS_MAX + 1)
    return next((n for n in allowed if 100 * ceiling_of(fail, n, unreachable) > percent + 1e-9), None)


def limit(forecast: Forecast, found: Bottleneck) -> str:
    """Return what limits how soon the run is over."""
    scenario = forecast.scenario
    lanes = plural(sum(sender.lanes for sender in scenario.senders), "lane")
    used = f"{share(found.busy)} of the time of {lanes} is in use"
    match found.cause:
        case Cause.NOTHING:
            return "nothing: there are no messages"
        case Cause.STUCK:
            return f"a run that never ends: {stuck(found)}"
        case Cause.FAULTS:
            calm = forecast.calm_complete_s
            return f"faults: without them, all is done after {moment(calm or 0.0)} instead of " + moment(
                forecast.complete_s.median or 0.0
            )
        case Cause.RATE:
            released_s = scenario.total / (scenario.rate_per_s or 1.0)
            return f"the rate: the last message is released after {clock(released_s)}; {used}"
        case Cause.MESSAGE:
            return "the time of a single message: there is a lane for each"
        case Cause.LIMIT:
            several = len(found.limited) > 1
            whose = f"the {'limits' if several else 'limit'} of {listed([*map(escape, found.limited)])}"
            exact = f"{found.limit_per_s:,.4g}" if found.limit_per_s < 1000 else count(round(found.limit_per_s))
            helps = f"more copies or {'higher limits' if several else 'a higher limit'} would make it faster"
            return f"{whose}: {exact} messages per second; {helps}; {used}"
        case Cause.LAST:
            return f"the last messages of {escape(found.sender)}, which others wait for; {used}"
        case _:
            of = f" of {escape(scenario.senders[0].name)}" if len(scenario.senders) == 1 else ""
            return f"lanes: {share(found.busy)} of the time of {lanes}{of} is in use; more lanes would make it faster"


def theory(one: Theory) -> str:
    """Return what formulas say besides times: the wait for a lane at a rate, or else bounds of the end."""
    if not one.valid:
        return ""
    if one.waiting is not None:
        load, wait = precisely(one.waiting.load), moment(one.waiting.mean_s)
        return f"at a load of {load}, a message waits {wait} for a lane on average"
    if one.bounds_s is None:
        return ""
    low, high = map(moment, one.bounds_s)
    return f"all is done between {low} and {high} on average, whatever the order of the messages"


def machine(forecast: Forecast) -> str:
    """Return a warning if a run here could not keep up with the plan; else nothing."""
    attempts, complete_s = forecast.count("attempts").median, forecast.complete_s.median
    per_s = attempts / complete_s if attempts and complete_s else 0.0
    if per_s <= MACHINE_PER_S:
        return ""
    return (
        f"{count(round(per_s))} attempts per second: more than the {count(MACHINE_PER_S)} per second "
        "that one machine was measured to do. The plan does not model CPU time"
    )
