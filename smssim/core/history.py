"""The history of a run: its figures from the start until now, in bounded memory however long it takes.

Knows figures and times. Must not know how they are shown.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.limits import LIMITS, Limits
from smssim.core.pieces import Changes, Pieces, numbered, pack, unpack
from smssim.core.progress import Figures, rate
from smssim.core.steps import Indices, Steps, even, last_of

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

COUNTS: Final = ("sent", "failed", "in_flight", "retried", "duplicates", "senders")
TIMES: Final = ("avg_time_s", "latency_p50_s", "latency_p95_s", "latency_p99_s")
EXTREMES: Final = ("rate_min_per_s", "rate_max_per_s")
_SAMPLE: Final = np.dtype(
    [(name, np.int64) for name in COUNTS] + [(name, np.float64) for name in (*TIMES, *EXTREMES, "elapsed_s")]
)
BLOCK: Final = 64  # samples in a piece


@dataclass(frozen=True, slots=True)
class Samples:
    """The course of a run: columns of shape (n,), oldest first.

    The first sample is the moment at which the history starts. Each other sample begins where the previous one ends.
    Times that are unknown are NaN.
    """

    elapsed_s: Floats  # at the end of the sample; ascending
    sent: Counts  # messages up to then
    failed: Counts  # messages up to then
    in_flight: Counts  # messages at that moment
    retried: Counts  # attempts up to then
    duplicates: Counts  # up to then
    senders: Counts  # whose reports arrived at that moment
    avg_time_s: Floats  # of the attempts up to then
    latency_p50_s: Floats  # of the messages up to then
    latency_p95_s: Floats
    latency_p99_s: Floats
    rate_per_s: Floats  # final outcomes per second, over the whole sample
    rate_min_per_s: Floats  # the lowest rate between two moments of the sample
    rate_max_per_s: Floats  # the highest


class History:
    """Samples of a run. When there are too many, neighbours are merged, so that the run stays covered evenly.

    A merged sample keeps the figures of the later one and the extremes of both.
    """

    def __init__(self, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._steps = Steps(limits.history_samples_max)
        self._rows = np.zeros(limits.history_samples_max, _SAMPLE)
        # Elapsed seconds and final outcomes of the latest moments.
        self._recent: deque[tuple[float, int]] = deque(maxlen=limits.history_rates_max + 1)
        self._changed_from = 0  # the first sample that has changed since `changes`
        self._blocks = 0  # pieces that were written

    def __len__(self) -> int:
        return self._steps.count

    @property
    def last_s(self) -> float | None:
        """When the last sample ends; None if there is none."""
        return self._steps.last_s if self._steps.count else None

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
        first = self._steps.merge_before(elapsed_s)
        if first is not None:
            self._merge(first)
        if not self._steps.add(elapsed_s):
            last = self._rows[self._steps.count - 1]
            low, high = min(low, last["rate_min_per_s"]), max(high, last["rate_max_per_s"])
        counts = [getattr(figures, name) for name in COUNTS]
        times = [np.nan if time is None else time for time in (getattr(figures, name) for name in TIMES)]
        self._rows[self._steps.count - 1] = (*counts, *times, low, high, elapsed_s)
        self._changed_from = min(self._changed_from, self._steps.count - 1)

    def samples(self, most: int | None = None) -> Samples:
        """Return the course of the run so far, with neighbours merged if there are more than `most` samples."""
        rows = self._rows[: self._steps.count].copy()
        if most is not None and len(rows) > most:
            rows = _merged(rows, even(len(rows), most))
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

    def _merge(self, first: Indices) -> None:
        """Merge the samples of each new step; `first`: see `Steps.merge_before`."""
        self._rows[: len(first)] = _merged(self._rows, first)
        self._changed_from = 0

    # -- saved and restored

    def changes(self) -> Changes:
        """Return the changes since the last call: the blocks of samples that have changed."""
        count, changed_from = self._steps.count, self._changed_from
        if changed_from >= count:
            return {}
        self._changed_from = count
        blocks, before = -(-count // BLOCK), self._blocks
        self._blocks = blocks
        changes: Changes = {f"block/{number}": None for number in range(blocks, before)}
        for number in range(changed_from // BLOCK, blocks):
            rows = self._rows[number * BLOCK : min(count, (number + 1) * BLOCK)]
            names = _SAMPLE.names or ()
            changes[f"block/{number}"] = pack(
                {"step_s": self._steps.length_s}, **{name: np.ascontiguousarray(rows[name]) for name in names}
            )
        return changes

    def erased(self) -> Changes:
        """Return changes that delete everything that was saved."""
        return dict.fromkeys(f"block/{number}" for number in range(self._blocks))

    def restore(self, pieces: Pieces) -> None:
        """Restore saved samples into a new history; raises DAMAGE."""
        blocks = [unpack(piece) for piece in numbered("block", pieces).values()]
        if not blocks:
            return
        columns = {name: np.concatenate([block[1][name] for block in blocks]) for name in _SAMPLE.names or ()}
        self.load(columns, float(blocks[-1][0]["step_s"]))
        self._changed_from, self._blocks = self._steps.count, len(blocks)

    @property
    def step_s(self) -> float:
        """The length of a step; 0 if there is one sample per moment."""
        return self._steps.length_s

    def load(self, columns: dict[str, NDArray[np.generic]], step_s: float) -> None:
        """Fill a new history with samples, columns of shape (n,) named like those of `Samples`; raises ValueError."""
        self._steps.restore(np.asarray(columns["elapsed_s"], np.float64), step_s)
        for name in _SAMPLE.names or ():
            self._rows[name][: self._steps.count] = columns[name]
        self._recent.clear()
        for row in self._rows[: self._steps.count][-(self._limits.history_rates_max + 1) :]:
            self._recent.append((float(row["elapsed_s"]), int(row["sent"] + row["failed"])))


def _merged(rows: NDArray[np.void], first: Indices) -> NDArray[np.void]:
    """Return samples merged with their neighbours; `first`: the first of those that become each new one."""
    merged = rows[last_of(first, len(rows))]
    merged["rate_min_per_s"] = np.minimum.reduceat(rows["rate_min_per_s"], first)
    merged["rate_max_per_s"] = np.maximum.reduceat(rows["rate_max_per_s"], first)
    return merged
