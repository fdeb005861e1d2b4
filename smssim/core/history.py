"""The history of a run: its course from the start until now, in bounded memory however long it takes.

Knows figures and times. Must not know how they are shown.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.limits import LIMITS, Limits
from smssim.core.progress import Figures, rate

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

_SAMPLE: Final = np.dtype(
    [(name, np.int64) for name in ("sent", "failed", "in_flight")]
    + [(name, np.float64) for name in ("elapsed_s", "rate_min_per_s", "rate_max_per_s")]
)


@dataclass(frozen=True, slots=True)
class Samples:
    """The course of a run: columns of shape (n,), oldest first.

    The first sample is the moment at which the history starts. Each other sample begins where the previous one ends.
    """

    elapsed_s: Floats  # at the end of the sample; ascending
    sent: Counts  # messages up to then
    failed: Counts  # messages up to then
    in_flight: Counts  # messages at that moment
    rate_per_s: Floats  # final outcomes per second, over the whole sample
    rate_min_per_s: Floats  # the lowest rate between two moments of the sample
    rate_max_per_s: Floats  # the highest


class History:
    """Samples of a run. When there are too many, neighbours are merged, so that the run stays covered evenly.

    A merged sample keeps the counts of the later one and the extremes of both.
    """

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._rows = np.zeros(limits.history_samples_max, _SAMPLE)
        self._count = 0  # rows in use
        self._step_s = 0.0  # one sample per step of this length; 0: one sample per moment
        # Elapsed seconds and final outcomes of the latest moments.
        self._recent: deque[tuple[float, int]] = deque(maxlen=limits.history_rates_max + 1)

    def __len__(self) -> int:
        return self._count

    def add(self, figures: Figures) -> None:
        """Add a moment, unless no time has passed since the last one."""
        elapsed_s, low = figures.elapsed_s, 0.0
        if self._recent:
            before_s, before = self._recent[-1]
            if elapsed_s <= before_s:
                return
            low = rate(max(0, figures.done - before), elapsed_s - before_s)
        high = low
        self._recent.append((elapsed_s, figures.done))
        if self._count == len(self._rows) and not self._is_in_last_step(elapsed_s):
            self._merge()
        if self._is_in_last_step(elapsed_s):
            last = self._rows[self._count - 1]
            low, high = min(low, last["rate_min_per_s"]), max(high, last["rate_max_per_s"])
        else:
            self._count += 1
        self._rows[self._count - 1] = (figures.sent, figures.failed, figures.in_flight, elapsed_s, low, high)

    def samples(self) -> Samples:
        """Return the course of the run so far."""
        rows = self._rows[: self._count].copy()
        done = rows["sent"] + rows["failed"]
        rates = np.zeros(len(rows))
        rates[1:] = np.maximum(0, np.diff(done)) / np.diff(rows["elapsed_s"])
        return Samples(rate_per_s=rates, **{name: rows[name] for name in _SAMPLE.names or ()})

    def recent_rates(self) -> list[float]:
        """Return the final outcomes per second between the latest moments, oldest first; a bounded number of rates."""
        moments = list(self._recent)
        return [rate(max(0, b - a), b_s - a_s) for (a_s, a), (b_s, b) in pairwise(moments)]

    def left_s(self, missing: int) -> float | None:
        """Return how long this many messages take at the recent rate: infinity if it is 0, None if unknown so far."""
        if not missing:
            return 0.0
        if len(self._recent) < 2:
            return None
        now_s, done = self._recent[-1]
        over_s = max(self._limits.left_rate_over_s, self._limits.left_rate_over_share * now_s)
        earlier = list(self._recent)[: -self._limits.left_rate_over_moments]
        then_s, before = next((m for m in reversed(earlier) if m[0] <= now_s - over_s), self._recent[0])
        speed = rate(done - before, now_s - then_s)
        return missing / speed if speed > 0 else inf

    def _is_in_last_step(self, elapsed_s: float) -> bool:
        """Return whether a moment is in the same step as the last sample. The start is alone in step 0."""
        if not (self._step_s and self._count):
            return False
        start_s, last_s = float(self._rows["elapsed_s"][0]), float(self._rows["elapsed_s"][self._count - 1])
        return ceil((elapsed_s - start_s) / self._step_s) == ceil((last_s - start_s) / self._step_s)

    def _merge(self) -> None:
        """Make the steps longer and merge the samples of each, so that about half of the samples are left."""
        passed_s = self._rows["elapsed_s"][: self._count] - self._rows["elapsed_s"][0]
        self._step_s = max(2 * self._step_s, float(passed_s[-1]) / (len(self._rows) // 2))
        steps = np.ceil(passed_s / self._step_s)
        first = np.flatnonzero(np.diff(steps, prepend=-1))  # the first row of each step
        last = np.append(first[1:], self._count) - 1
        merged = self._rows[last]
        merged["rate_min_per_s"] = np.minimum.reduceat(self._rows["rate_min_per_s"][: self._count], first)
        merged["rate_max_per_s"] = np.maximum.reduceat(self._rows["rate_max_per_s"][: self._count], first)
        self._count = len(merged)
        self._rows[: self._count] = merged
