"""How long messages wait that are released at a rate below what the lanes can send.

Pure formulas for D/G/c: equal gaps between releases (ca^2 = 0), general times, c equal lanes. Knows numbers only. Must
not know scenarios.

Sources: Erlang 1917 (the C formula). Allen 1978, "Probability, Statistics, and Queueing Theory" (the Allen-Cunneen
approximation). Kraemer and Langenbach-Belz 1976, "Approximate formulae for the delay in the queueing system GI/G/1",
8th International Teletraffic Congress. Koellerstroem 1974, "Heavy traffic theory for queues with several servers I",
J. Appl. Prob. 11: with c lanes, the wait becomes exponential. Abate and Whitt 1987, "Transient behavior of regulated
Brownian motion I", Adv. Appl. Prob. 19: how the queue grows from an empty start.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

_ERLANG_MAX: Final = 200_000  # lanes up to which the recursion is run; a larger system hardly ever queues


@dataclass(frozen=True, slots=True)
class Waiting:
    """The mean wait of an attempt for a lane in the steady state, in seconds, by several formulas."""

    load: float  # share of lane time in use, 0 up to but not including 1
    mean_s: float  # Allen-Cunneen with ca^2 = 0
    low_s: float  # the same with the correction of Kraemer and Langenbach-Belz, for equal gaps too low with many lanes
    heavy_s: float  # its limit for a load close to 1
    at_random_s: float  # Erlang C: what it would be if messages came at random and times were exponential

    @classmethod
    def of(cls, rate_per_s: float, lanes: float, mean_s: float, cv2: float) -> Waiting | None:
        """Return the waits for attempts that come at this rate; None if there is no steady state."""
        load = rate_per_s * mean_s / lanes
        if not 0 < load < 1:
            return None
        at_random_s = erlang_c(math.ceil(lanes), load) * mean_s / (lanes * (1 - load))
        mean_s_ = at_random_s * cv2 / 2
        low_s = mean_s_ * math.exp(-2 * (1 - load) / (3 * load * cv2)) if cv2 else 0.0
        return cls(load, mean_s_, low_s, cv2 * mean_s / (2 * lanes * (1 - load)), at_random_s)


def erlang_c(lanes: int, load: float) -> float:
    """Return the probability that a message waits in M/M/c, by Erlang's B formula; `load` is 0 to 1."""
    if load >= 1:
        return 1.0
    if lanes > _ERLANG_MAX:
        return 0.0 if (1 - load) * math.sqrt(lanes) > 6 else 1.0
    blocked = 1.0
    for lane in range(1, lanes + 1):
        blocked = lanes * load * blocked / (lane + lanes * load * blocked)
    return blocked / (1 - load * (1 - blocked))


def excess(drift_per_s: float, variance_per_s: float, t_s: float) -> float:
    """Return the mean of a reflected Brownian motion at this time, which starts at 0.

    It is the expected maximum up to then of a Brownian motion with this drift and variance: the number of messages
    that wait when releases exceed what the lanes can send by `drift_per_s`, which may be negative.
    """
    if t_s <= 0 or variance_per_s <= 0:
        return max(0.0, drift_per_s * t_s)
    deviation = math.sqrt(variance_per_s * t_s)
    d = drift_per_s * t_s / deviation
    density = math.exp(-d * d / 2) / math.sqrt(2 * math.pi)
    if abs(d) < 1e-4:
        return 2 * deviation * density + drift_per_s * t_s / 2
    below = 0.5 * math.erfc(-d / math.sqrt(2))
    mean = deviation * (math.erf(d / math.sqrt(2)) / (2 * d) + d * below + density)
    return max(mean, 0.0, drift_per_s * t_s)
