"""What limits a planned run: its lanes, limits of senders, the rate, a fault, or that no sender is left.

Knows forecasts. Must not know how the answer is worded.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from smssim.core.fault import MONITOR, PRODUCER, Fault, FaultKind
from smssim.plan.forecast import Forecast
from smssim.plan.scale import moments, speed_per_s
from smssim.plan.scenario import PlannedSender

RELEASED_SHARE: Final = 0.85  # of the time: if messages are released for so long, the rate limits the run
FAULTS_SHARE: Final = 1.15  # of the time without faults: if it takes longer, faults limit the run
SHORT_SHARE: Final = 0.97  # of what the lanes of a sender can send: a lower limit decides how fast it is
BUSY_SHARE: Final = 0.75  # of the lane time: if less is in use, lanes have waited for the last messages


class Cause(StrEnum):
    """What limits how soon all messages have their final outcome."""

    NOTHING = "nothing"  # there are no messages
    STUCK = "stuck"  # some messages never have a final outcome
    FAULTS = "faults"
    RATE = "rate"
    MESSAGE = "message"  # the time of an attempt: all messages start at once
    LIMIT = "limit"  # of senders: their lanes wait until they may start messages
    LAST = "last"  # the last messages of slow senders, while other lanes are idle
    LANES = "lanes"


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What limits a run."""

    cause: Cause
    busy: float = 0.0  # share of all lane time in use
    sender: str = ""  # with LAST: the one with the longest attempts
    fault: Fault | None = None  # with STUCK: the one after which nothing goes on
    limited: tuple[str, ...] = ()  # with LIMIT: the senders
    limit_per_s: float = 0.0  # with LIMIT: messages per second that these may start together


def bottleneck(forecast: Forecast) -> Bottleneck:
    """Return what limits the run that a forecast is about."""
    scenario, complete_s = forecast.scenario, forecast.complete_s.median
    if not scenario.total:
        return Bottleneck(Cause.NOTHING)
    busy = busy_share(forecast)
    if complete_s is None:
        return Bottleneck(Cause.STUCK, busy, fault=_fatal(forecast))
    calm_s = forecast.calm_complete_s
    if calm_s is not None and complete_s > FAULTS_SHARE * calm_s:
        return Bottleneck(Cause.FAULTS, busy)
    if scenario.rate_per_s is not None and scenario.total / scenario.rate_per_s > RELEASED_SHARE * complete_s:
        return Bottleneck(Cause.RATE, busy)
    if scenario.total <= sum(map(_at_once, scenario.senders)):
        return Bottleneck(Cause.MESSAGE, busy)
    if found := _limit(forecast, complete_s, busy):
        return found
    if busy < BUSY_SHARE and len(scenario.senders) > 1:
        used = [sender for sender, does in zip(scenario.senders, forecast.senders, strict=True) if does.attempts]
        slowest = max(used or scenario.senders, key=lambda sender: moments(sender.model)[0])
        return Bottleneck(Cause.LAST, busy, sender=slowest.name)
    return Bottleneck(Cause.LANES, busy)


def _at_once(sender: PlannedSender) -> int:
    """Return how many messages a sender can start at the start of a run."""
    if sender.joins_s > 0:
        return 0
    return sender.copies * min(sender.concurrency, sender.concurrency if sender.limit is None else sender.limit.burst)


def _limit(forecast: Forecast, complete_s: float, busy: float) -> Bottleneck | None:
    """Return the limits of senders as what limits a run, if more than half of its speed depends on them.

    If the senders together are much slower than they could be, the end of the run takes long for another reason.
    """
    senders, attempts = forecast.scenario.senders, forecast.count("attempts").median or 0.0
    speeds = [speed_per_s(sender) for sender in senders]
    limited = [
        (sender.name, speed)
        for sender, speed in zip(senders, speeds, strict=True)
        if sender.limit is not None and speed < SHORT_SHARE * sender.lanes / moments(sender.model)[0]
    ]
    limit_per_s = sum(speed for _, speed in limited)
    if limit_per_s <= sum(speeds) / 2 or attempts < BUSY_SHARE * sum(speeds) * complete_s:
        return None
    return Bottleneck(Cause.LIMIT, busy, limited=tuple(name for name, _ in limited), limit_per_s=limit_per_s)


def busy_share(forecast: Forecast) -> float:
    """Return the share of the time of all lanes that is in use."""
    lanes = [sender.lanes for sender in forecast.scenario.senders]
    used = sum(number * sender.busy for number, sender in zip(lanes, forecast.senders, strict=True))
    return used / sum(lanes) if lanes else 0.0


def _fatal(forecast: Forecast) -> Fault | None:
    """Return the fault after which a run does not go on: a server that stays away, or the last sender to leave."""
    stays = sorted((one for one in forecast.scenario.faults if one.for_s is None), key=lambda one: one.at_s)
    gone = [one for one in stays if one.kind in (FaultKind.KILL, FaultKind.PAUSE)]
    servers = [one for one in gone if one.target in (PRODUCER, MONITOR)]
    return servers[0] if servers else gone[-1] if gone else None
