"""The end of a run: what is under way when no message is left to start, and the retries that follow from it.

Knows curves of what is left. Must not know how lanes came to where they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from smssim.core.fate import STRATA
from smssim.plan.theory.pool import Pool, crossing
from smssim.plan.theory.renewal import Floats, Left, split
from smssim.plan.theory.retries import NODES, RARE, UnderWay, generations, margin, retries


@dataclass(frozen=True, slots=True)
class Rules:
    """How messages are tried again: the mean failure rate of an attempt, the most attempts, the delay of a retry.

    `fail` is that of attempts at reachable messages; a share `unreachable` of all messages fails in its only attempt.
    """

    fail: float
    attempts: int
    lag_s: float
    unreachable: float = 0.0


@dataclass(frozen=True, slots=True)
class Part:
    """The lanes of a pool when no message is left to start.

    `before` and `after` differ if the pool starts many attempts at that very moment; `share` of them have a message.
    """

    pool: Pool
    before: Left
    after: Left
    share: float

    def left(self, x_s: Floats) -> Floats:
        """Return the expected attempts under way that end more than `x_s` later."""
        return self.pool.lanes * ((1 - self.share) * self.before(x_s) + self.share * self.after(x_s))


@dataclass(frozen=True, slots=True)
class Stop:
    """The moment at which no message is left to start."""

    at_s: float
    parts: tuple[Part, ...]
    waiting: float  # expected messages that wait for a retry
    shares: Floats  # of first, second, ... attempts among those under way at reachable messages
    reachable: float = 1.0  # share of the attempts under way that are at reachable messages


@dataclass(frozen=True, slots=True)
class Later:
    """Expected messages sent by retries, and failed for good, by these times; columns of shape (NODES,)."""

    at_s: Floats
    sent: Floats
    lost: Floats


class Ending:
    """What happens after a `Stop`. Times are in seconds since then."""

    def __init__(self, stop: Stop, rules: Rules, sent_total: float) -> None:
        """`sent_total`: expected messages sent in the end."""
        self._stop = stop
        self._rules = rules
        self._sent_total = sent_total
        zero = np.zeros(1)
        self.under_way = max(1.0, float(sum(part.left(zero)[0] for part in stop.parts)))
        there = [part.pool for part in stop.parts if part.pool.joins_s <= stop.at_s] or [
            part.pool for part in stop.parts
        ]
        self._speed = sum(pool.speed_per_s for pool in there)
        self._shares = [(pool.speed_per_s / self._speed, pool) for pool in there]  # of the attempts that start

    def _left(self, x_s: Floats, *, only_sent: bool = False) -> Floats:
        """Return the expected attempts under way at the stop that end (or are sent) more than `x_s` later.

        One of them has just started, because the stop is when the last message starts.
        """
        total: Floats = np.zeros(x_s.shape)
        for part in self._stop.parts:
            total += (self._sent(part.pool) if only_sent else 1.0) * (1 - 1 / self.under_way) * part.left(x_s)
        for share, pool in self._shares:
            total += (self._sent(pool) if only_sent else 1.0) * share * pool.law.survival(x_s)
        return total

    def _sent(self, pool: Pool) -> float:
        """Return which share of the attempts under way succeeds."""
        return self._stop.reachable * (1 - pool.fail)

    @cached_property
    def _horizon_s(self) -> tuple[float, float]:
        """When all but RARE of the attempts under way have ended, and the time that few of their retries exceed."""
        longest_s = max(part.pool.law.max_s for part in self._stop.parts)
        over_s = crossing(lambda x_s: -float(self._left(np.array([x_s]))[0]), -RARE, 0.0, longest_s)[1]
        retried = self.under_way * self._stop.reachable * self._rules.fail + self._stop.waiting
        rare = min(1.0, RARE / retried) if retried > 0 else 1.0
        last = max(0, int(STRATA * (1 - rare)) - 1)
        return over_s, max(float(pool.law.times_s[last]) for _, pool in self._shares)

    @cached_property
    def _later(self) -> Later | None:
        """What retries add; None if there are none to speak of."""
        rules, stop = self._rules, self._stop
        count = generations(self.under_way + stop.waiting / max(rules.fail, 1e-9), rules.fail, rules.attempts)
        if not count:
            return None
        over_s, time_s = self._horizon_s
        step_s = (over_s + count * (rules.lag_s + time_s)) / margin(count)
        at_s = np.linspace(0.0, (NODES - 1) * step_s, NODES)
        left = self._left(at_s)
        lost = (1 - stop.reachable) * (left[0] - left)
        failing = stop.reachable * left - self._left(at_s, only_sent=True)
        time = sum((share * split(pool.law.times_s, step_s, NODES) for share, pool in self._shares), np.zeros(NODES))
        # Messages that wait have failed at any moment of the last `lag_s`, or since the start if that is shorter.
        from_s = max(0.0, rules.lag_s - stop.at_s)
        width_s = max(rules.lag_s - from_s, step_s)
        retried = stop.waiting * np.diff(np.clip((at_s - from_s) / width_s, 0.0, 1.0), prepend=0.0)
        lag = split(np.array([rules.lag_s]), step_s, NODES)
        under_way = UnderWay(-np.diff(failing, prepend=failing[:1]), retried, stop.shares)
        found = retries(under_way, time, lag, rules.fail, rules.attempts)
        return Later(at_s, (1 - rules.fail) * np.cumsum(found.ended), lost + np.cumsum(found.lost))

    def sent_left(self, x_s: float) -> float:
        """Return how many messages are expected to be sent more than `x_s` later."""
        left = float(self._left(np.array([x_s]), only_sent=True)[0])
        later = self._later
        return left if later is None else left + float(later.sent[-1] - np.interp(x_s, later.at_s, later.sent))

    def open(self, x_s: float) -> float:
        """Return how many messages are expected to be without a final outcome `x_s` later."""
        x, zero, later = np.array([x_s]), np.zeros(1), self._later
        if later is None:
            return float(self._left(x)[0])
        sent_first = float(self._left(zero, only_sent=True)[0] - self._left(x, only_sent=True)[0])
        final = float(np.interp(x_s, later.at_s, later.sent + later.lost))
        return self.under_way + self._stop.waiting - sent_first - final

    def sent_s(self, count: int) -> float:
        """Return the median time at which `count` messages of the run have been sent.

        The median rank of the r-th last of J equal times is (r + 0.7) / (J + 0.4) from the end (Benard and
        Bos-Levenbach 1953).
        """
        rank = max(0.0, self._sent_total - count)
        return self._falls(self.sent_left, self.under_way * (rank + 0.7) / (self.under_way + 0.4))

    @cached_property
    def last_s(self) -> float:
        """The median time at which the last message has been sent or has failed for good."""
        return self.last_by(0.5)

    def spread_s(self, at_s: float) -> float:
        """Return about the standard deviation of the time `at_s` at which a number of messages has been sent.

        Only what comes from the attempts under way: the square root of those left, divided by the rate of ends.
        """
        left = self.sent_left(at_s)
        step_s = 1e-3 * max(part.pool.law.attempt_s for part in self._stop.parts)
        rate_per_s = (self.sent_left(max(0.0, at_s - step_s)) - self.sent_left(at_s + step_s)) / (2 * step_s)
        return (
            math.sqrt(max(0.0, left * (1 - left / (self.under_way + self._stop.waiting)))) / rate_per_s
            if rate_per_s > 0
            else 0.0
        )

    def last_by(self, probability: float) -> float:
        """Return the time by which all messages have a final outcome with this probability.

        With J attempts under way that end independently, all have ended with probability (1 - open / J)^J.
        """
        return self._falls(self.open, self.under_way * (1 - probability ** (1 / self.under_way)))

    def _falls(self, left: Callable[[float], float], target: float) -> float:
        """Return when a curve has fallen to the target."""
        end_s = max(part.pool.law.max_s for part in self._stop.parts)
        if self._later is not None:
            end_s = max(end_s, float(self._later.at_s[-1]))
        return crossing(lambda x_s: -left(x_s), -target, -1e-9, end_s)[1] if left(end_s) < target else end_s
