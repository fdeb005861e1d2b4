"""The figures computed from measurements: steady parts, list schedules, medians.

Pure: knows only numbers. Must not know processes or how figures are shown.
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

RAMP_MEANS: Final = 3.0  # mean times from when the last sender joined to the start of the steady part
RAMP_MIN_S: Final = 0.5  # the minimum of that time
STEADY_POINTS_MIN: Final = 3


@dataclass(frozen=True, slots=True)
class Point:
    """A run at one moment: a line of the monitor's --json output, and the CPU seconds that each node has used."""

    elapsed_s: float
    attempts: int
    work_s: float  # total duration of these attempts
    waiting: int
    senders: int = 1
    cpu_s: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, figures: dict[str, Any], cpu_s: dict[str, float]) -> Point:
        """Return the point for an object of the monitor's --json output."""
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
        """The length in seconds."""
        return self.last.elapsed_s - self.first.elapsed_s

    @property
    def rate_per_s(self) -> float:
        """Attempts per second."""
        return (self.last.attempts - self.first.attempts) / self.time_s

    @property
    def busy_lanes(self) -> float:
        """The average number of busy lanes: the total duration of the attempts that ended, divided by the length."""
        return (self.last.work_s - self.first.work_s) / self.time_s

    def cores(self, *nodes: str) -> float:
        """Return the total CPU use of these nodes, in cores."""
        return sum(self.last.cpu_s[node] - self.first.cpu_s[node] for node in nodes) / self.time_s


def steady(
    points: Sequence[Point], lanes: int, mean_s: float, ramp_min_s: float = RAMP_MIN_S, ahead_s: float = 0.0
) -> Steady:
    """Return the part of a run in which every lane can be busy all the time. Raises TooShortError.

    It begins RAMP_MEANS mean times, and at least `ramp_min_s`, after the first report of the last sender. Lanes that
    start together finish in waves, which have died down by then. It ends with the last point at which enough messages
    wait: one per lane, plus as many as all lanes send in `ahead_s`. After that point, a lane may find nothing to do,
    because messages may wait at one sender while another has none.
    """
    most = max((point.senders for point in points), default=0)
    joined_s = next((point.elapsed_s for point in points if point.senders == most), 0.0)
    begin_s = joined_s + max(ramp_min_s, RAMP_MEANS * mean_s)
    waiting_min = lanes * (1 + ahead_s / mean_s)
    inside = [point for point in points if point.elapsed_s >= begin_s and point.waiting >= waiting_min]
    if len(inside) < STEADY_POINTS_MIN:
        raise TooShortError(
            f"no steady part: {len(inside)} of {len(points)} points are after {begin_s:.1f} s with at least "
            f"{waiting_min:,.0f} messages waiting; expected {STEADY_POINTS_MIN} or more"
        )
    return Steady(inside[0], inside[-1])


def schedule_s(durations_s: NDArray[np.float32], lanes_free_at: Sequence[tuple[float, int]]) -> float:
    """Return when a greedy list schedule ends, in seconds: each message, in order, goes to the first free lane.

    `durations_s`, shape (kinds, n): the time that each message takes on a lane of each kind. `lanes_free_at`: for each
    lane, the second from which it is available, and its kind. Source: Graham (1969), "Bounds on multiprocessing timing
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
    """Return the time to completion of the greedy list schedule of the attempts that a run of these senders makes.

    All lanes of sender i are available from `joined_at[i]`, in seconds since the start of the run, but not before 0.
    Assumes one attempt per message.
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
    """The target of a figure."""

    value: float
    at_least: bool = True  # if false, `value` is an upper bound

    def reached(self, value: float) -> bool:
        """Return whether this value reaches the target."""
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
        """The median of the values."""
        return statistics.median(self.values)

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the target; None if there is no target."""
        return None if self.target is None else self.target.reached(self.median)

    def as_dict(self) -> dict[str, Any]:
        """Return the spread as a JSON object."""
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
    """Return the spread of each figure. Assumes that all repetitions have the same figures in the same order."""
    return [
        Spread(same[0].name, same[0].unit, tuple(reading.value for reading in same), same[0].target)
        for same in zip(*repetitions, strict=True)
    ]
