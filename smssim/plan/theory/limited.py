"""A sender with a limit in formulas: where its limit decides when messages start, or its lanes do, and where both do.

With more lanes than it needs, messages start when its tokens come: as many as the bucket holds at once, and then one
after each interval. Each takes its time, whatever the others do (the queue D/G/infinity; Takacs 1962, "Introduction to
the Theory of Queues"). Knows one copy of a sender. Must not know other senders or how messages are tried again.
"""

from __future__ import annotations

import math
from enum import StrEnum
from functools import lru_cache
from typing import Final

import numpy as np

from smssim.core.model import StartLimit
from smssim.plan.theory.renewal import Floats, Law, Left

_BLOCKED_MAX: Final = 1e-3  # share of the tokens that find no idle lane: with fewer, the limit alone decides
_SLOWED_MAX: Final = 0.002  # share of an attempt's time that a lane waits for a token: below, lanes alone decide
_TERMS_MAX: Final = 2000  # tokens within the longest attempt: with more, the number of busy lanes is normal


class Short(StrEnum):
    """What a copy of a sender is short of while messages wait."""

    TOKENS = "tokens"
    LANES = "lanes"
    BOTH = "both"  # now this, now that: no formula holds


class LimitedLaw:
    """The starts of one copy that has lanes enough; per copy where `Law` is per lane. All times are in seconds."""

    cv2 = 0.0  # of the time between two starts
    attempts_law: Law

    def __init__(self, law: Law, limit: StartLimit, lanes: int) -> None:
        self.attempts_law = law
        self.times_s, self.max_s, self.attempt_s = law.times_s, law.max_s, law.attempt_s  # of its attempts
        self.survival = law.survival
        self.mean_s = limit.interval_s  # between two starts
        self.under_way = law.mean_s / limit.interval_s  # attempts, in the long run
        self._burst = limit.burst
        surplus_per_s = lanes / law.mean_s - limit.per_s
        # Until then, lanes may be what a burst waits for.
        self.catches_up_s = 0.0 if limit.burst <= 1 else limit.burst / surplus_per_s if surplus_per_s > 0 else math.inf

    def starts(self, t_s: Floats) -> Floats:
        """Return how many messages have started by then: the mean over where in an interval that is; 0 before 0."""
        return np.where(t_s >= 0, self._burst - 0.5 + np.maximum(t_s, 0.0) / self.mean_s, 0.0)

    def renewals(self, t_s: Floats) -> Floats:
        """Return the expected number of attempts finished by then: of the burst F(t), of the others their integral."""
        late_s = np.maximum(t_s, 0.0)
        integral_s = late_s - self.attempt_s * (1 - self.attempts_law.residual(late_s))
        ended: Floats = (self._burst - 0.5) * (1 - self.survival(late_s)) + integral_s / self.mean_s
        return np.where(t_s >= 0, ended, 0.0)

    def left(self, stop_s: float) -> Left:
        """Return what a copy that starts nothing after `stop_s` still has to finish, by the seconds since then."""
        if stop_s < 0:
            return np.zeros_like

        def left(x_s: Floats) -> Floats:
            since_s, residual = np.maximum(x_s, 0.0), self.attempts_law.residual
            steady = residual(since_s) - residual(since_s + stop_s)
            found: Floats = (self._burst - 0.5) * self.survival(since_s + stop_s) + self.under_way * steady
            return found

        return left


def short_of(law: Law, limit: StartLimit, lanes: int) -> Short:
    """Return what a copy with this many lanes is short of."""
    if limit.per_s * law.mean_s < lanes and _blocked(law, limit, lanes) < _BLOCKED_MAX:
        return Short.TOKENS
    load = lanes * limit.interval_s / law.mean_s  # of the tokens, by lanes that are always busy
    if load >= 1:
        return Short.BOTH
    # As in M/D/1; a bucket that holds b shortens the queue by exp(-2 (1 - load) b) or so.
    slowed = load**2 / (2 * lanes * (1 - load)) * math.exp(-2 * (1 - load) * (limit.burst - 1))
    return Short.LANES if slowed < _SLOWED_MAX else Short.BOTH


def _blocked(law: Law, limit: StartLimit, lanes: int) -> float:
    """Return the probability that a token finds all lanes busy if each one before it has started a message.

    That of i tokens ago is under way with the probability that an attempt takes longer than i intervals.
    """
    terms = math.ceil(law.max_s / limit.interval_s)
    if terms < lanes:
        return 0.0
    if terms > _TERMS_MAX:
        longer = law.survival(np.linspace(0.0, law.max_s, _TERMS_MAX))
        mean = limit.per_s * law.mean_s
        variance = terms * float((longer * (1 - longer)).mean())
        return 0.5 * math.erfc((lanes - 0.5 - mean) / math.sqrt(2 * max(variance, 1e-9)))
    busy = np.zeros(lanes + 1)  # probabilities of 0, 1, ... busy lanes; the last one: of all and more
    busy[0] = 1.0
    for longer_one in law.survival(limit.interval_s * np.linspace(1.0, terms, terms)).tolist():
        moved = longer_one * busy
        busy -= moved
        busy[1:] += moved[:-1]
        busy[-1] += moved[-1]
    return float(busy[-1])


@lru_cache(256)
def limited_law(law: Law, limit: StartLimit, lanes: int) -> LimitedLaw:
    """Return the law of one copy; equal copies share it."""
    return LimitedLaw(law, limit, lanes)
