"""Values that all parts share: what identifies a run and a sender, how attempts behave and how they end.

Knows columns and numbers. Must not know what is done with them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from smssim.core.limits import MEAN_MIN_S

Ids = NDArray[np.int64]  # of messages
Attempts = NDArray[np.uint8]  # numbers of attempts, counted from 1
Outcomes = NDArray[np.uint8]  # of `Outcome`


class Outcome(IntEnum):
    """How an attempt ended; the numbers are those of the protocol."""

    SENT = 1  # final
    FAILED = 2  # final: no attempts left
    RETRY = 3  # failed, attempts left


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What identifies a run."""

    run_id: str
    seed: int
    total: int
    max_attempts: int
    unreachable: float = 0.0  # share of the messages that no sender can deliver; see `reach`
    segments: int = 1  # of each message: parts of an SMS, in which limits and prices count


@dataclass(frozen=True, slots=True)
class SenderFacts:
    """What a sender declares about itself."""

    session_id: str
    name: str
    mean_s: float = 0.0
    failure_rate: float = 0.0
    concurrency: int = 1
    slowdown: float = 1.0  # how many times as long its attempts may take at most, while a fault slows it down
    limit_per_s: float | None = None  # segments per second that it may start; None for no limit
    burst: int = 1  # segments that it may start at once after a pause, if it has a limit
    price: float = 0.0  # of each segment of a message that was sent
    price_failed: float = 0.0  # of each segment of an attempt that failed


@dataclass(frozen=True, slots=True)
class AttemptModel:
    """How long the attempts of a sender take, and how often they fail."""

    mean_s: float
    std_s: float  # before the cap
    distribution: str
    max_time_s: float | None = None  # cap on each time; None for no cap
    fail: float = 0.0  # probability that an attempt fails


@dataclass(frozen=True, slots=True)
class StartLimit:
    """How fast a sender may start messages: the parameters of a token bucket (`bucket`), in messages."""

    interval_s: float  # between two starts, once the bucket is empty
    slack_s: float  # for how long a full bucket lasts at that pace, beyond one message

    @classmethod
    def of(cls, limit_per_s: float | None, burst: int, segments: int) -> StartLimit | None:
        """Return what a limit in segments means for messages of this many segments; None without a limit.

        The bucket holds at least one message: otherwise, no message could ever start.
        """
        if limit_per_s is None:
            return None
        return cls(segments / limit_per_s, (max(burst, segments) - segments) / limit_per_s)

    @property
    def per_s(self) -> float:
        """Messages per second, in the long run."""
        return 1 / self.interval_s

    @property
    def burst(self) -> int:
        """Messages that may start at once after a pause."""
        return 1 + math.floor(self.slack_s / self.interval_s + 1e-9)


def cost_of(segments: int, price: float, price_failed: float, sent: int, attempts: int) -> float:
    """Return the cost of attempts of which so many were sent, at messages of this many segments."""
    return segments * (price * sent + price_failed * (attempts - sent))


def declared_speed(concurrency: int, mean_s: float, limit: StartLimit | None = None) -> float:
    """Return how many messages per second a sender can send according to its declaration."""
    per_s = concurrency / max(mean_s, MEAN_MIN_S)
    return per_s if limit is None else min(per_s, limit.per_s)
