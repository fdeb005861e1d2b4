"""How fast a run has been going, moment by moment, and how long it will still take at that.

Knows numbers of messages and times. Must not know how they are shown.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Final

from smssim.core.progress import rate

RATES_MAX: Final = 200  # of the history
OVER_S: Final = 5.0  # the time left is reckoned from the last stretch of so long ...
OVER_SHARE: Final = 0.2  # ... or this share of the run so far, if that is longer ...
OVER_MOMENTS: Final = 5  # ... or so many moments


class Pace:
    """Messages done, moment by moment."""

    def __init__(self) -> None:
        self.rates: deque[float] = deque(maxlen=RATES_MAX)  # between two moments, oldest first
        self._moments: deque[tuple[float, int]] = deque(maxlen=RATES_MAX + 1)  # seconds of the run, messages done

    def add(self, elapsed_s: float, done: int) -> None:
        """So many are done now; a moment at which no time has passed is none."""
        if self._moments:
            before_s, before = self._moments[-1]
            if elapsed_s <= before_s:
                return
            self.rates.append(rate(max(0, done - before), elapsed_s - before_s))
        self._moments.append((elapsed_s, done))

    def left_s(self, missing: int) -> float | None:
        """How long so many messages take at the rate of late: infinity if nothing moves, None if nobody knows yet."""
        if not missing:
            return 0.0
        if len(self._moments) < 2:
            return None
        now_s, done = self._moments[-1]
        over_s = max(OVER_S, OVER_SHARE * now_s)
        earlier = list(self._moments)[:-OVER_MOMENTS]
        then_s, before = next((m for m in reversed(earlier) if m[0] <= now_s - over_s), self._moments[0])
        speed = rate(done - before, now_s - then_s)
        return missing / speed if speed > 0 else inf
