"""The course of a played scenario: how many messages were sent and failed by when, as the monitor would record it.

Knows times and counts. Must not know messages, lanes or senders.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.model import Outcome

FAILED, RETRY = int(Outcome.FAILED), int(Outcome.RETRY)  # members of an enum take longer to compare
FEW: Final = 2000  # outcomes: with more, adding all bins costs less than looking for the first one
BINS: Final = 20_000  # of equal length; when time outruns them, neighbours are merged

Times = NDArray[np.float64]
Outcomes = NDArray[np.uint8]


class Course:
    """Messages by the time of their final outcome. Times are in seconds since the first message was delivered."""

    def __init__(self, expected_s: float) -> None:
        """Start an empty course.

        `expected_s`: about how long it takes, above 0; more costs precision, less costs time.
        """
        self._width_s = 1.5 * expected_s / BINS
        self._counts = np.zeros((2, BINS), np.int64)  # final outcomes, and failures among them, by bin
        self.retried = 0
        self.unreachable = 0  # of those that failed
        self.duplicates = 0
        self.last_s = 0.0  # when the last final outcome is recorded
        self.tail_s = math.inf  # from when on a scaled play was played in full

    @property
    def sent(self) -> int:
        """Messages sent."""
        return int(self._counts[0].sum()) - self.failed

    @property
    def failed(self) -> int:
        """Messages that failed finally."""
        return int(self._counts[1].sum())

    def add(self, times_s: Times, outcomes: Outcomes, weight: int = 1) -> int:
        """Add outcomes, and return how many are final; columns of shape (n,). Each counts `weight` times."""
        final = outcomes != RETRY
        count = int(np.count_nonzero(final))
        self.retried += weight * (len(outcomes) - count)
        if not count:
            return 0
        if count < len(outcomes):
            times_s, outcomes = times_s[final], outcomes[final]
        last_s = float(times_s.max())
        self.last_s = max(self.last_s, last_s)
        while last_s >= BINS * self._width_s:
            self._merge()
        at = (times_s * (1 / self._width_s)).astype(np.int64)
        first = int(at.min()) if count < FEW else 0
        at -= first
        counts = np.bincount(at)
        self._counts[0, first : first + len(counts)] += weight * counts
        failed = np.bincount(at[outcomes == FAILED])
        self._counts[1, first : first + len(failed)] += weight * failed
        return count

    def reached_s(self, count: int) -> float | None:
        """Return when this many messages are sent; None if that is never the case."""
        sent = np.cumsum(self._counts[0] - self._counts[1])
        if count <= 0:
            return 0.0
        if sent[-1] < count:
            return None
        at = int(np.searchsorted(sent, count))
        before = int(sent[at - 1]) if at else 0
        return min(self.last_s, (at + (count - before) / (int(sent[at]) - before)) * self._width_s)

    def counts_at(self, times_s: Times) -> NDArray[np.float64]:
        """Return how many messages are sent and failed by each time: shape (n, 2)."""
        edges = np.arange(BINS + 1) * self._width_s
        sums = np.cumsum(self._counts, axis=1)
        final, failed = (np.interp(times_s, edges, np.append(0, sums[kind])) for kind in (0, 1))
        return np.stack([final - failed, failed], axis=1)

    def _merge(self) -> None:
        """Make the bins twice as long."""
        self._counts[:, : BINS // 2] = self._counts.reshape(2, -1, 2).sum(axis=2)
        self._counts[:, BINS // 2 :] = 0
        self._width_s *= 2
