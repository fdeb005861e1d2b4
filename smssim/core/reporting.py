"""Finished attempts that a sender has yet to report, and the settlements that follow from the monitor's answer.

Knows columns. Must not know when a report is due.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np

from smssim.core.exchange import Answer, Settlements
from smssim.core.lanes import Finished, join, pick

NOTHING: Final = Finished(
    *(np.empty(0, t) for t in (np.int64, np.uint8, np.uint8, np.float32, np.float32))  # type: ignore[arg-type]
)


class Unreported:
    """Finished attempts that wait for a report, oldest first."""

    def __init__(self) -> None:
        self.count = 0
        self._parts: deque[Finished] = deque()

    def add(self, finished: Finished) -> None:
        """Queue finished attempts."""
        self._parts.append(finished)
        self.count += len(finished.ids)

    def take(self, count_max: int) -> Finished:
        """Take the oldest attempts, at most `count_max`."""
        parts, count = [], 0
        while self._parts and count < count_max:
            some = self._parts.popleft()
            room = count_max - count
            if len(some.ids) > room:
                self._parts.appendleft(pick(some, slice(room, None)))
                some = pick(some, slice(room))
            parts.append(some)
            count += len(some.ids)
        self.count -= count
        return join(parts) if parts else NOTHING


def as_recorded(finished: Finished, answer: Answer) -> Settlements:
    """Return the settlements of the reported attempts, each with the outcome that the monitor has on record."""
    outcomes = finished.outcomes
    if len(answer.overruled_ids):
        order = np.argsort(answer.overruled_ids)
        ids = answer.overruled_ids[order]
        at = np.minimum(np.searchsorted(ids, finished.ids), len(ids) - 1)
        overruled = ids[at] == finished.ids
        outcomes = np.where(overruled, answer.overruled_outcomes[order][at], outcomes)
    return Settlements(finished.ids, outcomes, finished.attempts)
