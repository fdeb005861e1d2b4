"""Scaled plays: each played message stands for several, so that a play of any size takes a fraction of a second.

Times stay the same, because the speed shrinks with the number of messages: first there are fewer lanes, and where that
is not possible, longer attempts. Chance has more weight in a scaled play; `forecast` takes that back. Knows lanes and
times. Must not know how a scenario is played.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np

from smssim.core.fate import time_table
from smssim.core.limits import MEAN_MIN_S
from smssim.core.model import AttemptModel, StartLimit, declared_speed
from smssim.plan.scenario import PlannedSender, Scenario, attempts_each

MESSAGES_MAX: Final = 1_000_000  # of a play that is scaled down
MESSAGES_MIN: Final = 10_000  # fewer are never scaled down
LANES_MIN: Final = 20  # of a sender in a scaled play, if it has as many
LANES_LIMITED_MIN: Final = 100  # of a sender with a limit, unless there is one for some whole copies
LIMITED_SHORT: Final = 0.8  # of what its lanes can send: a sender with a lower limit is played in columns


@dataclass(frozen=True, slots=True)
class Scale:
    """How many messages and lanes each played one stands for."""

    lanes: int = 1  # lanes that a played lane stands for
    each: int = 1  # messages that a played lane sends one after another as one

    @property
    def messages(self) -> int:
        """How many messages a played message stands for."""
        return self.lanes * self.each

    def lanes_of(self, lanes: int) -> int:
        """Return how many lanes are played for this many."""
        return max(1, round(lanes / self.lanes))

    def copies_of(self, copies: int) -> int:
        """Return how many equal senders are played for this many: each has as many lanes as before, if possible."""
        return max(1, round(copies / self.lanes))

    def limit_of(self, limit: StartLimit, copies: int) -> StartLimit:
        """Return the limit of each played copy, of a sender with this many copies: all together keep their pace."""
        each = self.copies_of(copies) * self.messages / copies  # messages that a token of a played copy stands for
        burst_s = limit.slack_s + limit.interval_s
        return StartLimit(limit.interval_s * each, max(0.0, burst_s - limit.interval_s * each))

    def model_of(self, model: AttemptModel, lanes: int) -> AttemptModel:
        """Return how the attempts of a played lane go, of a sender with this many lanes."""
        if self.messages == 1:
            return model
        rounding = self.lanes_of(lanes) * self.lanes / lanes  # so that the speed is exactly that of the lanes
        if self.each == 1:
            cap_s = None if model.max_time_s is None else rounding * model.max_time_s
            return replace(model, mean_s=rounding * model.mean_s, std_s=rounding * model.std_s, max_time_s=cap_s)
        mean_s, cv = moments(model)
        mean_s *= self.each * rounding
        return AttemptModel(mean_s, mean_s * cv / math.sqrt(self.each), "gamma", None, model.fail)


FULL: Final = Scale()


def messages_max(scenario: Scenario) -> int:
    """Return how many messages a play should have at most, so that it takes a few tenths of a second.

    Messages take longer to play on few lanes, with many attempts, and at a rate, above all with several senders or
    limits. They take longest where both lanes and limits decide when one starts. The numbers are measured.
    """
    lanes = sum(sender.lanes for sender in scenario.senders)
    fail = max((sender.model.fail for sender in scenario.senders), default=0.0)
    attempts = attempts_each(fail, scenario.max_attempts, scenario.unreachable)
    most = min(MESSAGES_MAX, max(MESSAGES_MAX // 10, 1000 * lanes))
    limited = [sender for sender in scenario.senders if sender.limit is not None]
    if limited:
        most = min(most, MESSAGES_MAX // (2 if all(map(_is_short_of_tokens, limited)) else 4))
    if scenario.rate_per_s is not None:
        most = MESSAGES_MAX // (4 if len(scenario.senders) == 1 and not limited else 20)
    many = max(1.0, attempts / 10)
    return round(max(MESSAGES_MIN, most / max(1.0, attempts / 2)) / many)


def scale_for(scenario: Scenario, messages_max: int) -> Scale:
    """Return the scale at which at most about this many messages are played; `FULL` if the scenario has no more."""
    times = max(1, -(-scenario.total // messages_max))
    fewest = min(map(_parts, scenario.senders), default=1)
    lanes = max(1, min(times, fewest))
    return Scale(lanes, -(-times // lanes))


def _parts(sender: PlannedSender) -> int:
    """Return how many lanes a played lane of a sender may stand for."""
    if sender.limit is None:
        return sender.lanes // LANES_MIN
    return max(sender.copies, sender.lanes // LANES_LIMITED_MIN)


def _is_short_of_tokens(sender: PlannedSender) -> bool:
    """Return whether a sender with a limit has surely more lanes than it needs."""
    return speed_per_s(sender) < LIMITED_SHORT * sender.lanes / moments(sender.model)[0]


def speed_per_s(sender: PlannedSender) -> float:
    """Return how many messages per second all copies of a sender can send: as many as their lanes, or their limits."""
    return sender.copies * declared_speed(sender.concurrency, moments(sender.model)[0], sender.limit)


@lru_cache(1000)
def moments(model: AttemptModel) -> tuple[float, float]:
    """Return the mean time of an attempt in seconds and its coefficient of variation; of capped times, if capped."""
    times_s = time_table(model.distribution, model.mean_s, model.std_s, model.max_time_s).astype(np.float64)
    mean_s = max(float(times_s.mean()), MEAN_MIN_S)
    return mean_s, float(times_s.std()) / mean_s
