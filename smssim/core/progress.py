"""The numbers that people read: averages, rates, percentiles.

Adding is cheap; figures are computed when somebody looks. Knows outcomes and times. Must not know messages or senders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.model import Outcome, Outcomes
from smssim.core.pieces import Changes, Pieces, numbered, pack, put_under, unpack, within

_BUCKET_SHIFT: Final = 16
_BUCKETS: Final = 1 << (31 - _BUCKET_SHIFT)
_OCTAVE: Final = 128  # buckets: as many as lie between a value and its double
_FEW: Final = 2000  # below, adding one by one is cheaper than counting into an empty histogram


class Latencies:
    """A histogram whose buckets are as wide as 1/128 to 1/256 of their value, from 1e-38 to 1e38 seconds.

    The upper half of a float32 (exponent and 7 bits of the fraction) numbers its bucket, so no logarithm is taken; a
    percentile is off by 0.4% at most.
    """

    def __init__(self) -> None:
        self.count = 0
        self._histogram = np.zeros(_BUCKETS, np.int64)
        self._written = np.empty(0, np.int64)  # as of the last `changes`

    def add(self, latencies_s: NDArray[np.float32]) -> None:
        """Counts latencies of 0 or more, shape (n,)."""
        buckets = latencies_s.view(np.uint32) >> _BUCKET_SHIFT
        self.count += len(buckets)
        if len(buckets) < _FEW:
            np.add.at(self._histogram, buckets, 1)
        else:
            self._histogram += np.bincount(buckets, minlength=_BUCKETS)

    def percentile(self, percent: float) -> float | None:
        """The latency that `percent` percent do not exceed (nearest rank), in seconds; None before the first."""
        if not self.count:
            return None
        rank = max(1, int(np.ceil(self.count * percent / 100)))
        bucket = int(np.searchsorted(np.cumsum(self._histogram), rank))
        edges = (np.array([bucket, bucket + 1], np.uint32) << _BUCKET_SHIFT).view(np.float32)
        return 0.0 if bucket == 0 else float(edges.astype(np.float64).mean())

    def merge(self, other: Latencies) -> None:
        """Counts those of another histogram, too."""
        self.count += other.count
        self._histogram += other._histogram

    def up_to(self, bounds_s: Sequence[float]) -> list[int]:
        """How many do not exceed each of these bounds, within 0.4% of the bound."""
        cumulated = np.cumsum(self._histogram)
        buckets = np.array(bounds_s, np.float32).view(np.uint32) >> _BUCKET_SHIFT
        counts: list[int] = cumulated[buckets].tolist()
        return counts

    @property
    def total_s(self) -> float:
        """The sum of all, within 0.4%."""
        there = np.flatnonzero(self._histogram)
        edges = (np.array([there, there + 1]).astype(np.uint32) << _BUCKET_SHIFT).view(np.float32)
        return float((edges.astype(np.float64).mean(axis=0) * self._histogram[there]).sum())

    def changes(self) -> Changes:
        """What is to be written since the last call: a piece an octave."""
        if not len(self._written):
            self._written = np.zeros_like(self._histogram)
        changed = (self._histogram != self._written).reshape(-1, _OCTAVE).any(axis=1)
        self._written[:] = self._histogram
        octaves = self._histogram.reshape(-1, _OCTAVE)
        return {f"octave/{number}": pack(counts=octaves[number]) for number in np.flatnonzero(changed).tolist()}

    def restore(self, pieces: Pieces) -> None:
        """Takes in what was written, into a histogram that is new; raises DAMAGE."""
        octaves = self._histogram.reshape(-1, _OCTAVE)
        for number, piece in numbered("octave", pieces).items():
            octaves[number] = unpack(piece)[1]["counts"]
        self.count = int(self._histogram.sum())
        self._written = self._histogram.copy()


@dataclass(frozen=True, slots=True)
class Figures:
    """A run at one moment. The names are those of the JSON output."""

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
    recent_rate_per_s: float  # the same since the figures before
    latency_p50_s: float | None  # from queued to final outcome
    latency_p95_s: float | None
    latency_p99_s: float | None
    senders: int  # heard from now
    senders_seen: int
    complete: bool  # sent + failed == total
    final: bool  # the last figures of the run

    @property
    def done(self) -> int:
        """Messages that have a final outcome."""
        return self.sent + self.failed

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(slots=True)
class Sums:
    """Attempts that count, added up."""

    attempts: int = 0
    sent: int = 0
    failed: int = 0
    time_s: float = 0.0  # of all attempts
    sent_time_s: float = 0.0  # of the successful ones

    @classmethod
    def of(cls, outcomes: Outcomes, durations_s: NDArray[np.float32]) -> Sums:
        """Of columns of shape (n,)."""
        sent = outcomes == Outcome.SENT
        return cls(
            len(outcomes),
            int(np.count_nonzero(sent)),
            int(np.count_nonzero(outcomes == Outcome.FAILED)),
            float(durations_s.sum(dtype=np.float64)),
            float(durations_s.sum(dtype=np.float64, where=sent)),
        )

    def add(self, other: Sums) -> None:
        """Takes in more."""
        self.attempts += other.attempts
        self.sent += other.sent
        self.failed += other.failed
        self.time_s += other.time_s
        self.sent_time_s += other.sent_time_s

    @property
    def final(self) -> int:
        """Attempts that were a message's last."""
        return self.sent + self.failed

    @property
    def avg_time_s(self) -> float | None:
        """Mean time of an attempt; None before the first."""
        return self.time_s / self.attempts if self.attempts else None

    @property
    def avg_sent_time_s(self) -> float | None:
        """Mean time of a successful attempt; None before the first."""
        return self.sent_time_s / self.sent if self.sent else None


class Progress:
    """Times of the attempts that count."""

    def __init__(self) -> None:
        self.latencies = Latencies()
        self.sums = Sums()

    def add(self, outcomes: Outcomes, durations_s: NDArray[np.float32], latencies_s: NDArray[np.float32]) -> Sums:
        """Takes in attempts that count, columns of shape (n,); what they add up to."""
        sums = Sums.of(outcomes, durations_s)
        self.sums.add(sums)
        self.latencies.add(latencies_s if sums.final == len(outcomes) else latencies_s[outcomes != Outcome.RETRY])
        return sums

    def changes(self) -> Changes:
        """What is to be written since the last call."""
        return {
            "sums": pack(asdict(self.sums)),
            **put_under("latency", self.latencies.changes()),
        }

    def restore(self, pieces: Pieces) -> None:
        """Takes in what was written, into a progress that is new; raises DAMAGE."""
        self.sums = Sums(**unpack(pieces["sums"])[0])
        self.latencies.restore(within("latency", pieces))


class Milestones:
    """When 50, 80, 95 and 99 percent of all messages were sent, as exact as reports are fine."""

    PERCENTS: Final = (50, 80, 95, 99)

    def __init__(self, total: int) -> None:
        self.reached_s: dict[int, float] = {}
        self._needed = [(percent, -(-total * percent // 100)) for percent in self.PERCENTS] if total else []

    def note(self, sent: int, elapsed_s: float) -> None:
        """So many are sent by now."""
        while self._needed and sent >= self._needed[0][1]:
            self.reached_s[self._needed.pop(0)[0]] = elapsed_s

    def restore(self, times_s: Sequence[float]) -> None:
        """Takes in the times that were written, into milestones that are new."""
        for time_s in times_s:
            self.reached_s[self._needed.pop(0)[0]] = time_s


def recent_rate(done: int, elapsed_s: float, before: Figures | None) -> float:
    """Final outcomes a second since the figures before, or since the start of the run."""
    return rate(done, elapsed_s) if before is None else rate(done - before.done, elapsed_s - before.elapsed_s)


def rate(count: int, time_s: float) -> float:
    """Messages a second; 0 where no time has passed."""
    return count / time_s if time_s > 0 else 0.0
