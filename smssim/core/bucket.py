"""A token bucket: when the next messages may start, such as those of a sender with a limit.

It is the generic cell rate algorithm (GCRA) in its form of virtual scheduling (ITU-T I.371, annex A). There is no tick:
the times of starts follow from the times at which messages and lanes are there. Knows times only.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from smssim.core.model import StartLimit

Times = NDArray[np.float64]


def schedule(limit: StartLimit, full_at: float | Times, ready_at: Times) -> tuple[Times, Times]:
    """Return when each message may start, and when the bucket would be full again after each of these starts.

    `ready_at`: when message and lane are there, ascending along axis 0, shape (n,) or (n, buckets). `full_at`: when
    the bucket is full, shape () or (buckets,).

    With T = interval and s = slack, message j starts at max(r_j, F_j - s), and F_j+1 = max(r_j, F_j) + T. So
    F_j = j T + max(F_0, max over i < j of r_i - i T), which needs no loop.
    """
    steps_s = limit.interval_s * np.arange(len(ready_at), dtype=np.float64)
    if ready_at.ndim > 1:
        steps_s = steps_s[:, None]
    after = np.maximum(np.maximum.accumulate(ready_at - steps_s, axis=0), full_at) + steps_s
    before = np.concatenate([np.broadcast_to(full_at, ready_at[:1].shape), after[:-1] + limit.interval_s])
    return np.maximum(ready_at, before - limit.slack_s), after + limit.interval_s


class Bucket:
    """One token bucket. It is full at first."""

    def __init__(self, limit: StartLimit) -> None:
        self.limit = limit
        self.full_at = -math.inf

    def next_at(self, ready_at: float) -> float:
        """Return when the next message may start that is ready then."""
        return max(ready_at, self.full_at - self.limit.slack_s)

    def start(self, ready_at: float) -> float:
        """Take what one message needs that is ready then, and return when it may start; as `schedule`, for a loop."""
        start = self.next_at(ready_at)
        self.full_at = max(ready_at, self.full_at) + self.limit.interval_s
        return start

    def starts_by(self, at: float, ready_at: float) -> int:
        """Return how many messages that are ready at `ready_at` may start by `at`."""
        spare_s = at + self.limit.slack_s - max(self.full_at, ready_at)
        return max(0, 1 + math.floor(spare_s / self.limit.interval_s + 1e-9))
