"""The numbers that people read: averages, rates, percentiles.

Adding is cheap; figures are computed on demand. Knows outcomes and times. Must not know messages or senders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.model import Outcome, Outcomes
from smssim.core.pieces import Changes, Pieces, numbered, pack, put_under, unpack, within
from smssim.core.threshold import PERCENTS

_BUCKET_SHIFT: Final = 16
_BUCKETS: Final = 1 << (31 - _BUCKET_SHIFT)
_OCTAVE: Final = 128  # buckets between a value and its double
SPECTRUM: Final = (  # percentiles that show the tail of a distribution
    *(0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 75.0, 80.0, 85.0, 90.0, 92.5, 95.0, 97.0, 98.0, 99.0, 99.5),
    *(99.75, 99.9, 99.95, 99.99, 100.0),
)
BARS_MAX: Final = 46  # of a histogram that is shown
_FEW: Final = 2000  # below this, adding one by one is cheaper than counting into an empty histogram


@dataclass(frozen=True, slots=True)
class LatencyShape:
    """The distribution of latencies, as it is shown. Times are in seconds."""

    bounds_s: tuple[float, ...]  # between bars, ascending; empty if no latency is above 0
    counts: tuple[int, ...]  # up to the first bound, between two bounds, and above the last: one more than bounds
    spectrum: tuple[tuple[float, float | None], ...]  # percents with their percentiles; None if there are no latencies


class Latencies:
    """A histogram from 1e-38 to 1e38 seconds, whose buckets are 1/256 to 1/128 of their value wide.

    The upper half of a float32 (exponent and 7 bits of the fraction) is the number of its bucket, so no logarithm is
    needed. A percentile is off by 0.4% at most.
    """

    def __init__(self) -> None:
        self.count = 0
        self._histogram = np.zeros(_BUCKETS, np.int64)
        self._written = np.empty(0, np.int64)  # at the last `changes`

    def add(self, latencies_s: NDArray[np.float32]) -> None:
        """Count latencies of 0 or more seconds, shape (n,)."""
        buckets = latencies_s.view(np.uint32) >> _BUCKET_SHIFT
        self.count += len(buckets)
        if len(buckets) < _FEW:
            np.add.at(self._histogram, buckets, 1)
        else:
            self._histogram += np.bincount(buckets, minlength=_BUCKETS)

    def percentile(self, percent: float) -> float | None:
        """Return the latency, in seconds, that `percent` percent do not exceed (nearest rank); None if empty."""
        return self.percentiles((percent,))[0]

    def percentiles(self, percents: Sequence[float]) -> list[float | None]:
        """Return several percentiles; see `percentile`."""
        if not self.count:
            return [None] * len(percents)
        ranks = np.maximum(1, np.ceil(self.count * np.array(percents) / 100))
        buckets = np.searchsorted(np.cumsum(self._histogram), ranks)
        middles_s = np.where(buckets == 0, 0.0, _seconds(np.array([buckets, buckets + 1])).mean(axis=0))
        return list(middles_s.tolist())

    def shape(self, bars_max: int = BARS_MAX) -> LatencyShape:
        """Return the histogram with at most `bars_max` bars, each as wide on a logarithmic scale."""
        spectrum = tuple(zip(SPECTRUM, self.percentiles(SPECTRUM), strict=True))
        there = np.flatnonzero(self._histogram[1:]) + 1  # bucket 0 is a latency of 0, which has no logarithm
        zeros = int(self._histogram[0])
        if not len(there):
            return LatencyShape((), (zeros,), spectrum)
        low, high = int(there[0]), int(there[-1])
        wide = 1
        while high // wide - low // wide >= bars_max:
            wide *= 2
        first, bars = low // wide, high // wide - low // wide + 1
        bounds_s = _seconds(wide * np.arange(first, first + bars + 1))
        padded = np.zeros(bars * wide, np.int64)
        padded[low - first * wide : high + 1 - first * wide] = self._histogram[low : high + 1]
        counts = padded.reshape(bars, wide).sum(axis=1)
        return LatencyShape(tuple(bounds_s.tolist()), (zeros, *counts.tolist(), 0), spectrum)

    def merge(self, other: Latencies) -> None:
        """Add the counts of another histogram."""
        self.count += other.count
        self._histogram += other._histogram

    def up_to(self, bounds_s: Sequence[float]) -> list[int]:
        """Return how many latencies do not exceed each of these bounds, within 0.4% of the bound."""
        cumulated = np.cumsum(self._histogram)
        buckets = np.array(bounds_s, np.float32).view(np.uint32) >> _BUCKET_SHIFT
        counts: list[int] = cumulated[buckets].tolist()
        return counts

    @property
    def total_s(self) -> float:
        """The sum of all latencies, within 0.4%."""
        there = np.flatnonzero(self._histogram)
        edges = _seconds(np.array([there, there + 1]))
        return float((edges.mean(axis=0) * self._histogram[there]).sum())

    def changes(self) -> Changes:
        """Return the changes since the last call: one piece per changed octave."""
        if not len(self._written):
            self._written = np.zeros_like(self._histogram)
        changed = (self._histogram != self._written).reshape(-1, _OCTAVE).any(axis=1)
        self._written[:] = self._histogram
        octaves = self._histogram.reshape(-1, _OCTAVE)
        return {f"octave/{number}": pack(counts=octaves[number]) for number in np.flatnonzero(changed).tolist()}

    def restore(self, pieces: Pieces) -> None:
        """Restore saved state into a new histogram; raises DAMAGE."""
        octaves = self._histogram.reshape(-1, _OCTAVE)
        for number, piece in numbered("octave", pieces).items():
            octaves[number] = unpack(piece)[1]["counts"]
        self.count = int(self._histogram.sum())
        self._written = self._histogram.copy()


@dataclass(frozen=True, slots=True)
class Figures:
    """A run at one moment. The field names are those of the JSON output."""

    run_id: str
    total: int
    elapsed_s: float  # since the run started
    sent: int
    failed: int
    retried: int
    attempts: int  # sent + failed + retried
    duplicates: int
    in_flight: int
    waiting: int  # total - sent - failed - in_flight
    avg_time_s: float | None  # of an attempt
    avg_sent_time_s: float | None  # of a successful attempt
    rate_per_s: float  # (sent + failed) / elapsed_s
    recent_rate_per_s: float  # the same since the previous figures
    latency_p50_s: float | None  # from queued to final outcome
    latency_p95_s: float | None
    latency_p99_s: float | None
    senders: int  # whose reports still arrive
    senders_seen: int
    complete: bool  # sent + failed == total
    final: bool  # the last figures of the run
    unreachable: int = 0  # of the failed messages: those that nobody can deliver
    cost: float = 0.0  # of all attempts, at the prices of the senders

    @property
    def done(self) -> int:
        """Messages with a final outcome."""
        return self.sent + self.failed

    @property
    def failed_reachable(self) -> int:
        """Messages that failed although they can be reached."""
        return self.failed - self.unreachable

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return asdict(self)


@dataclass(slots=True)
class Sums:
    """Sums over the attempts that count."""

    attempts: int = 0
    sent: int = 0
    failed: int = 0
    time_s: float = 0.0  # of all attempts
    sent_time_s: float = 0.0  # of the successful ones

    @classmethod
    def of(cls, outcomes: Outcomes, durations_s: NDArray[np.float32]) -> Sums:
        """Return the sums of columns of shape (n,)."""
        sent = outcomes == Outcome.SENT
        return cls(
            len(outcomes),
            int(np.count_nonzero(sent)),
            int(np.count_nonzero(outcomes == Outcome.FAILED)),
            float(durations_s.sum(dtype=np.float64)),
            float(durations_s.sum(dtype=np.float64, where=sent)),
        )

    def add(self, other: Sums) -> None:
        """Add other sums."""
        self.attempts += other.attempts
        self.sent += other.sent
        self.failed += other.failed
        self.time_s += other.time_s
        self.sent_time_s += other.sent_time_s

    @property
    def final(self) -> int:
        """Attempts that ended with a final outcome."""
        return self.sent + self.failed

    @property
    def avg_time_s(self) -> float | None:
        """Mean time of an attempt; None if there was none."""
        return self.time_s / self.attempts if self.attempts else None

    @property
    def avg_sent_time_s(self) -> float | None:
        """Mean time of a successful attempt; None if there was none."""
        return self.sent_time_s / self.sent if self.sent else None


class Progress:
    """Times of the attempts that count."""

    def __init__(self) -> None:
        self.latencies = Latencies()
        self.sums = Sums()

    def add(self, outcomes: Outcomes, durations_s: NDArray[np.float32], latencies_s: NDArray[np.float32]) -> Sums:
        """Add attempts that count, columns of shape (n,), and return their sums."""
        sums = Sums.of(outcomes, durations_s)
        self.sums.add(sums)
        self.latencies.add(latencies_s if sums.final == len(outcomes) else latencies_s[outcomes != Outcome.RETRY])
        return sums

    def changes(self) -> Changes:
        """Return the changes since the last call."""
        return {
            "sums": pack(asdict(self.sums)),
            **put_under("latency", self.latencies.changes()),
        }

    def restore(self, pieces: Pieces) -> None:
        """Restore saved state into a new progress; raises DAMAGE."""
        self.sums = Sums(**unpack(pieces["sums"])[0])
        self.latencies.restore(within("latency", pieces))


class Milestones:
    """When 50, 80, 95 and 99 percent of all messages were sent, as precisely as the pace of reports allows."""

    PERCENTS: Final = PERCENTS

    def __init__(self, total: int) -> None:
        self.reached_s: dict[int, float] = {}
        self._needed = [(percent, self.needed(percent, total)) for percent in self.PERCENTS] if total else []

    @staticmethod
    def needed(percent: int, total: int) -> int:
        """Return how many of all messages have to be sent, rounded up."""
        return -(-total * percent // 100)

    def note(self, sent: int, elapsed_s: float) -> None:
        """Record the milestones that are reached with `sent` messages."""
        while self._needed and sent >= self._needed[0][1]:
            self.reached_s[self._needed.pop(0)[0]] = elapsed_s

    def delay(self, time_s: float) -> None:
        """Add this time to each milestone, because the run started so much earlier."""
        self.reached_s = {percent: reached_s + time_s for percent, reached_s in self.reached_s.items()}

    def restore(self, times_s: Sequence[float]) -> None:
        """Restore saved times into new milestones."""
        for time_s in times_s:
            self.reached_s[self._needed.pop(0)[0]] = time_s


def _seconds(buckets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the lower edges of buckets, in seconds."""
    return (buckets.astype(np.uint32) << _BUCKET_SHIFT).view(np.float32).astype(np.float64)


def recent_rate(done: int, elapsed_s: float, before: Figures | None) -> float:
    """Return the final outcomes per second since the figures `before`, or since the start of the run if None."""
    return rate(done, elapsed_s) if before is None else rate(done - before.done, elapsed_s - before.elapsed_s)


def rate(count: int, time_s: float) -> float:
    """Return the messages per second; 0 if no time has passed."""
    return count / time_s if time_s > 0 else 0.0
