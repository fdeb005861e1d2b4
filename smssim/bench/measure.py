"""What is computed from what was seen: steady parts, list schedules, medians.

Pure: knows numbers only. Must not know processes or how figures are shown.
"""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.fate import Fates
from smssim.errors import SmssimError
from smssim.settings import SenderSettings

RAMP_MEANS: Final = 3.0  # so many mean times after the last sender came ...
RAMP_MIN_S: Final = 0.5  # ... and at least so long, the steady part begins
STEADY_POINTS_MIN: Final = 3


@dataclass(frozen=True, slots=True)
class Point:
    """A run at one moment: a line of the monitor's --json, and the CPU seconds used by each node until then."""

    elapsed_s: float
    attempts: int
    work_s: float  # the durations of those attempts together
    waiting: int
    senders: int = 1
    cpu_s: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, figures: dict[str, Any], cpu_s: dict[str, float]) -> Point:
        """From an object of the monitor's --json."""
        work_s = figures["attempts"] * (figures["avg_time_s"] or 0.0)
        return cls(figures["elapsed_s"], figures["attempts"], work_s, figures["waiting"], figures["senders"], cpu_s)


class TooShortError(SmssimError):
    """A run has no steady part."""


@dataclass(frozen=True, slots=True)
class Steady:
    """The steady part of a run, from its first to its last point."""

    first: Point
    last: Point

    @property
    def time_s(self) -> float:
        """How long it is."""
        return self.last.elapsed_s - self.first.elapsed_s

    @property
    def rate_per_s(self) -> float:
        """Attempts a second."""
        return (self.last.attempts - self.first.attempts) / self.time_s

    @property
    def busy_lanes(self) -> float:
        """How many lanes were at work on average: durations of the attempts that ended, over the time."""
        return (self.last.work_s - self.first.work_s) / self.time_s

    def cores(self, *nodes: str) -> float:
        """How much of a core these nodes took together."""
        return sum(self.last.cpu_s[node] - self.first.cpu_s[node] for node in nodes) / self.time_s


def steady(
    points: Sequence[Point], lanes: int, mean_s: float, ramp_min_s: float = RAMP_MIN_S, ahead_s: float = 0.0
) -> Steady:
    """The part of a run in which every lane can be at work all the time; raises TooShortError.

    It begins RAMP_MEANS mean times (at least `ramp_min_s`) after the last sender was first heard: lanes that started
    together finish in waves, which have died down by then. It ends with the last point at which at least as many
    messages wait as there are lanes, and as all lanes send in `ahead_s`: from there on some lane might find nothing to
    do, for messages may wait with one sender while another has none.
    """
    most = max((point.senders for point in points), default=0)
    joined_s = next((point.elapsed_s for point in points if point.senders == most), 0.0)
    begin_s = joined_s + max(ramp_min_s, RAMP_MEANS * mean_s)
    waiting_min = lanes * (1 + ahead_s / mean_s)
    inside = [point for point in points if point.elapsed_s >= begin_s and point.waiting >= waiting_min]
    if len(inside) < STEADY_POINTS_MIN:
        raise TooShortError(
            f"no steady part: {len(inside)} of {len(points)} points are after {begin_s:.1f} s with "
            f"{waiting_min:,.0f} messages waiting"
        )
    return Steady(inside[0], inside[-1])


def schedule_s(durations_s: NDArray[np.float32], lanes_free_at: Sequence[tuple[float, int]]) -> float:
    """When a greedy list schedule ends: each message, in order, goes to the lane that is free first.

    `durations_s` has shape (kinds, n): how long each message takes in a lane of each kind. `lanes_free_at` has, for
    each lane, from when on it is there (in seconds) and its kind. Graham (1969), "Bounds on multiprocessing timing
    anomalies".
    """
    free = list(lanes_free_at)
    heapq.heapify(free)
    end_s = 0.0
    for column in durations_s.T.tolist():
        at, kind = free[0]
        done_at = at + column[kind]
        heapq.heapreplace(free, (done_at, kind))
        end_s = max(end_s, done_at)
    return end_s


def best_s(seed: int, count: int, senders: Sequence[SenderSettings], joined_at: Sequence[float]) -> float:
    """The time to completion of the greedy list schedule of the very attempts that a run of these senders makes.

    Sender i has all its lanes from `joined_at[i]` on, in seconds of the run, and 0 at the earliest; each message is
    tried once.
    """
    ids = np.arange(count, dtype=np.uint64)
    durations_s = np.stack([Fates(seed, 1, sender.attempt_model).draw(ids, 1)[0] for sender in senders])
    lanes = [
        (max(0.0, at), kind)
        for kind, (sender, at) in enumerate(zip(senders, joined_at, strict=True))
        for _ in range(sender.concurrency)
    ]
    return schedule_s(durations_s, lanes)


# ---- Repetitions


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure is to reach."""

    value: float
    at_least: bool = True  # else at most

    def reached(self, value: float) -> bool:
        """Whether this figure will do."""
        return value >= self.value if self.at_least else value <= self.value


@dataclass(frozen=True, slots=True)
class Reading:
    """One figure of one repetition."""

    name: str
    value: float
    unit: str  # a key of table.UNITS
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over all repetitions."""

    name: str
    unit: str
    values: tuple[float, ...]
    target: Target | None = None

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the target; None without one."""
        return None if self.target is None else self.target.reached(self.median)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        target = None
        if self.target is not None:
            target = {"at_least" if self.target.at_least else "at_most": self.target.value}
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "values": list(self.values),
            "target": target,
            "reached": self.reached,
        }


def spreads(repetitions: Sequence[Sequence[Reading]]) -> list[Spread]:
    """The figures of all repetitions, which have the same names in the same order."""
    return [
        Spread(same[0].name, same[0].unit, tuple(reading.value for reading in same), same[0].target)
        for same in zip(*repetitions, strict=True)
    ]
