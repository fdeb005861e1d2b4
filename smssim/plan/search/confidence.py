"""What a number of plays shows about a probability.

Knows the binomial distribution. Must not know plays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

_TINY: Final = 1e-300


def at_most(k: int, n: int, p: float) -> float:
    """Return the probability of at most `k` of `n` events, each with probability `p`: I_{1-p}(n - k, k + 1)."""
    if k < 0:
        return 0.0
    return 1.0 if k >= n else _beta_share(n - k, k + 1, 1 - p)


def clopper_pearson_low(met: int, played: int, confidence: float = 0.95) -> float:
    """Return a one-sided lower bound of the probability of an event that happened in `met` of `played` tries.

    Clopper and Pearson 1934, "The use of confidence or fiducial limits illustrated in the case of the binomial": the
    probability with which so many or more are met with 1 - `confidence`. Found by bisection.
    """
    if not met:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        more = 1 - at_most(met - 1, played, middle)
        low, high = (middle, high) if more < 1 - confidence else (low, middle)
    return low


@dataclass(frozen=True, slots=True)
class Look:
    """A number of plays after which it is decided whether a probability is high enough."""

    plays: int
    misses: int  # at most so many show that it is

    @classmethod
    def at(cls, plays: int, wanted: float, error: float) -> Look:
        """Return the look that errs with at most this probability if the probability is less than wanted."""
        misses = -1
        while at_most(misses + 1, plays, 1 - wanted) <= error:
            misses += 1
        return cls(plays, misses)


def _beta_share(a: float, b: float, x: float) -> float:
    """Return the regularized incomplete beta function I_x(a, b).

    The continued fraction of Abramowitz and Stegun 26.5.8, by the method of Lentz (Thompson and Barnett 1986).
    """
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_share(b, a, 1 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    c, d = 1.0, 1 / _apart(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 200 + 10 * math.isqrt(int(a + b))):
        before = value
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d, c = 1 / _apart(1 + term * d), _apart(1 + term / c)
            value *= c * d
        if abs(value / before - 1) < 1e-14:
            break
    return front * value / a


def _apart(number: float) -> float:
    """Return the number, or a tiny one instead of 0."""
    return number if abs(number) > _TINY else _TINY
