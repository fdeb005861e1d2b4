"""Lanes that are equal: how many, how long their attempts take, how often they fail, and when they join.

Of a sender whose limit decides when messages start, a copy with all its lanes counts as one lane.

Knows lanes and their laws. Must not know messages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from smssim.plan.theory.limited import LimitedLaw
from smssim.plan.theory.renewal import Law

_JOINS_MAX: Final = 16  # of the lanes of one law: more are put together, several neighbours at their mean


@dataclass(frozen=True, slots=True)
class Pool:
    """Equal lanes: how many, their law, the probability that an attempt fails, and when they join, in seconds."""

    lanes: float
    law: Law | LimitedLaw
    fail: float
    joins_s: float = 0.0

    @property
    def speed_per_s(self) -> float:
        """Attempts per second."""
        return self.lanes / self.law.mean_s


def merged(pools: Sequence[Pool]) -> list[Pool]:
    """Return the pools with equal ones put together, and with at most _JOINS_MAX join times of each law."""
    by_kind: dict[tuple[int, float], list[Pool]] = {}
    for pool in pools:
        by_kind.setdefault((id(pool.law), pool.fail), []).append(pool)
    found = []
    for same in by_kind.values():
        joins_s = np.array([pool.joins_s for pool in same])
        lanes = np.array([pool.lanes for pool in same], np.float64)
        distinct_s, which = np.unique(joins_s, return_inverse=True)
        group = which if len(distinct_s) <= _JOINS_MAX else which * _JOINS_MAX // len(distinct_s)
        counts, sums_s = np.bincount(group, lanes), np.bincount(group, lanes * joins_s)
        kind = same[0]
        found += [Pool(n, kind.law, kind.fail, s / n) for n, s in zip(counts.tolist(), sums_s.tolist(), strict=True)]
    return found


def crossing(rises: Callable[[float], float], target: float, low: float, high: float) -> tuple[float, float]:
    """Return the two ends of a tiny interval in which a rising function reaches the target, by bisection.

    Assumes that it is below the target at `low`. `high` is doubled (away from `low`) until the target is reached.
    """
    for _ in range(200):
        if rises(high) >= target:
            break
        low, high = high, high + 2 * max(high - low, 1e-9)
    for _ in range(100):
        middle = (low + high) / 2
        if high - low <= 1e-10 * abs(high) or middle in (low, high):
            break
        low, high = (middle, high) if rises(middle) < target else (low, middle)
    return low, high
