"""Values that all parts share: what identifies a run and a sender, how attempts behave and how they end.

Knows columns and numbers. Must not know what is done with them.
"""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True)
class SenderFacts:
    """What a sender declares about itself."""

    session_id: str
    name: str
    mean_s: float = 0.0
    failure_rate: float = 0.0
    concurrency: int = 1
    slowdown: float = 1.0  # how many times as long its attempts may take at most, while a fault slows it down


@dataclass(frozen=True, slots=True)
class AttemptModel:
    """How long the attempts of a sender take, and how often they fail."""

    mean_s: float
    std_s: float  # before the cap
    distribution: str
    max_time_s: float | None = None  # cap on each time; None for no cap
    fail: float = 0.0  # probability that an attempt fails


def declared_speed(concurrency: int, mean_s: float) -> float:
    """Return how many messages per second a sender can send according to its declaration."""
    return concurrency / max(mean_s, MEAN_MIN_S)
