"""How lanes run dry: the share of the messages in lanes that is still unsent some time after the last one was started.

Attempts are renewals (Cox 1962): of one that has been under way for long, the time left has the density (1 - F) / mean.
Times are taken to be gamma distributed, with the Wilson-Hilferty approximation. Knows numbers. Must not know runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CV_STEP: Final = 0.05  # coefficients of variation are rounded to multiples of this
CV_MIN: Final = 0.2
CV_MAX: Final = 2.0
RETRIES_MAX: Final = 8  # of one message while lanes run dry; more are counted as so many
POINTS: Final = 64  # of a curve
GROUPS: Final = 8  # of senders with similar means
_MEANS: Final = 16.0  # length of a table
_FIRST: Final = 0.02  # time of the second point, in the shortest mean
_STEPS: Final = np.linspace(0.0, 1.0, POINTS - 1)
_UNITS: Final = np.linspace(0.0, _MEANS, 401)


def shares_of_retries(fail: float, max_attempts: int) -> Floats:
    """Return the shares of the messages in lanes that are sent after this attempt, and after 1, 2, ... further ones.

    Their sum is the share that is sent in the end. Attempts fail with probability `fail`. In the long run, the message
    in a lane is at attempt a with a probability in proportion to fail^(a - 1).
    """
    if fail >= 1.0:
        return np.zeros(1)
    further = np.arange(max_attempts)
    shares: Floats = fail**further * (1 - fail) * (1 - fail ** (max_attempts - further)) / (1 - fail**max_attempts)
    return np.append(shares[:RETRIES_MAX], shares[RETRIES_MAX:].sum()) if len(shares) > RETRIES_MAX else shares


def drained(spreads: Sequence[float], retries: Floats, in_flight: Floats, mean_s: Floats) -> tuple[Floats, Floats]:
    """Return times in seconds, shape (POINTS,), and for each spread the share that is still unsent then.

    The shares descend from 1; shape (spreads, POINTS). `spreads`: coefficients of variation of the times of attempts.
    `retries`: see `shares_of_retries`. `in_flight` and `mean_s`: messages in the lanes of each sender, and its mean
    time; shape (senders,).
    """
    weights = retries / retries.sum() if retries.sum() > 0 else np.ones(1)
    flying, means = _grouped(in_flight, mean_s)
    weights_of_means = flying / flying.sum()
    first_s, last_s = _FIRST * float(means.min()), _MEANS * float(means.max())
    times_s = np.append(0.0, first_s * (last_s / first_s) ** _STEPS)
    units = times_s[:, None] / means
    left = [np.interp(units, _UNITS, weights @ _tails_of(cv)[: len(weights)], right=0.0) for cv in spreads]
    return times_s, np.minimum.accumulate(np.stack(left) @ weights_of_means, axis=1)


def _grouped(in_flight: Floats, mean_s: Floats) -> tuple[Floats, Floats]:
    """Return the sums of the messages and the means of at most `GROUPS` groups of senders that have messages."""
    there = in_flight > 0
    if not there.any():  # all senders wait
        return np.ones(1), np.array([mean_s.max()])
    flying, means = in_flight[there], mean_s[there]
    if len(flying) <= GROUPS:
        return flying, means
    order = np.argsort(means)
    first = np.linspace(0, len(order), GROUPS, endpoint=False).astype(np.int64)
    sums = np.add.reduceat(flying[order], first)
    return sums, np.add.reduceat((flying * means)[order], first) / sums


def _tails_of(cv: float) -> Floats:
    return _tails(min(CV_MAX, max(CV_MIN, round(cv / CV_STEP) * CV_STEP)))


@lru_cache(round((CV_MAX - CV_MIN) / CV_STEP) + 1)
def _tails(cv: float) -> Floats:
    """Return the probabilities that an attempt under way, and that with 1, 2, ... further ones, takes longer.

    Shape (RETRIES_MAX + 1, times); the times are `_UNITS`, in means.
    """
    shape = cv**-2
    deviates = (np.cbrt(_UNITS) - (1 - 1 / (9 * shape))) * 3 * math.sqrt(shape)
    longer = np.array([0.5 * math.erfc(z / math.sqrt(2)) for z in deviates.tolist()])
    longer[0] = 1.0
    left = np.cumsum(longer[::-1])[::-1] - longer / 2
    whole, mass = -np.diff(longer, append=0.0), -np.diff(left / left[0], append=0.0)
    tails = []
    for _ in range(RETRIES_MAX + 1):
        tails.append(np.cumsum(mass[::-1])[::-1])
        mass = np.convolve(mass, whole)[: len(_UNITS)]
    return np.stack(tails)
