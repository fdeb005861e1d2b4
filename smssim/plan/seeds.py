"""Plays of a scenario with different seeds: what each found, and how far chance carries them apart.

Knows plays. Must not know how a scenario is played, nor processes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from smssim.core.limits import SEED_MAX
from smssim.core.progress import Milestones
from smssim.plan.scale import FULL, Scale
from smssim.plan.scenario import Scenario, attempts_each, ceiling_of
from smssim.plan.twin.twin import Twin

POINTS: Final = 500  # of the course of a play
MIDDLE: Final = 0.95  # share of the seeds between low and high
ENDS: Final = ((1 - MIDDLE) / 2, (1 + MIDDLE) / 2)  # the quantiles between which they lie
COUNTS: Final = ("sent", "failed", "retried", "attempts", "duplicates")
FIGURES: Final = (  # that goals may ask for
    *COUNTS,
    *(f"t{percent}" for percent in Milestones.PERCENTS),
    *("total", "waiting", "in_flight", "elapsed_s", "avg_time_s", "rate_per_s"),
)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SenderShare:
    """What one sender did in a play, with all its copies."""

    attempts: int
    sent: int
    failed: int
    busy: float  # share of its lane time in use, until the end or until it was killed


@dataclass(frozen=True, slots=True)
class Play:
    """What one seed found. Counts are for the whole total, times in seconds as the monitor records them."""

    sent: int
    failed: int
    retried: int
    duplicates: int
    reached_s: dict[int, float | None]  # by percent of all messages; None if never sent
    complete_s: float | None  # None if some messages have no final outcome in the end
    time_s: float | None  # mean of an attempt; None without one
    tail_s: float  # from when on a scaled play was played in full; infinity if never
    senders: tuple[SenderShare, ...]
    times_s: Floats  # of the course; shape (n,)
    course: Floats  # messages sent and failed by then; shape (n, 2)

    @property
    def attempts(self) -> int:
        """Attempts that count."""
        return self.sent + self.failed + self.retried

    def figures(self, total: int) -> dict[str, float | None]:
        """Return the `FIGURES`, by name."""
        done, end_s = self.sent + self.failed, self.complete_s
        return {
            **{name: getattr(self, name) for name in COUNTS},
            **{f"t{percent}": time_s for percent, time_s in self.reached_s.items()},
            "total": total,
            "waiting": total - done,
            "in_flight": 0,
            "elapsed_s": end_s,
            "avg_time_s": self.time_s,
            "rate_per_s": done / end_s if end_s else None,
        }


def play(scenario: Scenario, seed: int, scale: Scale = FULL, start_s: float = 0.0) -> Play:
    """Play a scenario with one seed."""
    twin = Twin(scenario, seed, scale, start_s)
    course = twin.play()
    times_s = np.linspace(0.0, course.last_s, POINTS)
    members = twin.members
    attempts, used_s = sum(member.attempts for member in members), sum(member.used_s for member in members)
    each = scenario.total / twin.total if twin.total else 1.0  # a scaled play may leave out a few messages
    sent, is_complete = round(each * course.sent), twin.final >= twin.total
    return Play(
        sent=sent,
        failed=scenario.total - sent if is_complete else round(each * course.failed),
        retried=round(each * course.retried),
        duplicates=round(each * course.duplicates),
        reached_s={
            percent: course.reached_s(Milestones.needed(percent, twin.total)) if twin.total else None
            for percent in Milestones.PERCENTS
        },
        complete_s=course.last_s if is_complete else None,
        time_s=used_s / attempts if attempts else None,
        tail_s=course.tail_s,
        senders=tuple(
            SenderShare(
                round(each * member.attempts),
                round(each * member.sent),
                round(each * member.failed),
                member.used_s / member.lane_s if member.lane_s else 0.0,
            )
            for member in members
        ),
        times_s=times_s,
        course=each * course.counts_at(times_s),
    )


def seeds_from(first: int, number: int) -> list[int]:
    """Return so many consecutive seeds; after the largest one comes 0."""
    return [(first + i) % (SEED_MAX + 1) for i in range(number)]


def shrink(scale: Scale, plays: int) -> float:
    """Return how much smaller deviations from the mean of so many plays are than in these plays, if these are scaled.

    A played message that stands for n others makes deviations sqrt(n) times as large as they are. The mean of the plays
    is not exact either: from it, a run deviates as one draw from the mean of others.
    """
    return 1.0 if scale.messages == 1 else min(1.0, math.sqrt(1 / scale.messages + 1 / plays))


def unscaled(plays: Sequence[Play], scale: Scale, scenario: Scenario) -> list[Play]:
    """Return plays with the spread around their mean that they would have if every message were played: `shrink`.

    The end of a scaled play is played in full and keeps its own spread. If all attempts fail equally often, the means
    of the counts are known, so that their spread needs no allowance for the mean of the plays.
    """
    if scale.messages == 1 or len(plays) < 2:
        return list(plays)
    smaller = shrink(scale, len(plays))
    tails = np.array([one.tail_s for one in plays])
    late = np.zeros(len(plays))
    if np.isfinite(tails).all():
        late = (tails - tails.mean()) * (1 - smaller)
    reached = {
        percent: _shrunk([one.reached_s[percent] for one in plays], late, tails, smaller)
        for percent in plays[0].reached_s
    }
    complete = _shrunk([one.complete_s for one in plays], late, tails, smaller)
    sent_mean = retried_mean = None
    smaller_counts = smaller
    if scenario.fail is not None and all(one.complete_s is not None for one in plays):
        sent_mean = scenario.total * ceiling_of(scenario.fail, scenario.max_attempts)
        retried_mean = scenario.total * (attempts_each(scenario.fail, scenario.max_attempts) - 1)
        smaller_counts = 1 / math.sqrt(scale.messages)
    sent = _drawn_in([one.sent for one in plays], smaller_counts, sent_mean)
    done = _drawn_in([one.sent + one.failed for one in plays], smaller)
    retried = _drawn_in([one.retried for one in plays], smaller_counts, retried_mean)
    return [
        replace(
            one,
            reached_s={percent: times[i] for percent, times in reached.items()},
            complete_s=complete[i],
            sent=sent[i],
            failed=done[i] - sent[i],
            retried=retried[i],
        )
        for i, one in enumerate(plays)
    ]


def _shrunk(times: Sequence[float | None], late: Floats, tails: Floats, smaller: float) -> list[float | None]:
    """Return times with less spread: those of the scaled part around their mean, later ones by what is late there."""
    known = [time for time in times if time is not None]
    mean = sum(known) / len(known) if known else 0.0
    return [
        None if time is None else time - float(late[i]) if time > tails[i] else mean + (time - mean) * smaller
        for i, time in enumerate(times)
    ]


def _drawn_in(counts: Sequence[int], smaller: float, mean: float | None = None) -> list[int]:
    """Return counts with less spread around this mean, or around their own."""
    around = sum(counts) / len(counts) if mean is None else mean
    return [round(around + (one - around) * smaller) for one in counts]


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the seeds; None for values that most seeds never reach."""

    median: float | None
    low: float | None
    high: float | None
    share: float  # of the seeds that have the figure

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Spread:
        """Return the spread of a figure. A seed without it counts as one in which it is never reached."""
        known = sorted(math.inf if value is None else value for value in values)
        share = sum(value is not None for value in values) / len(values)
        low, median, high = (_quantile(known, q) for q in (ENDS[0], 0.5, ENDS[1]))
        return cls(median, low, high, share)

    def as_dict(self, with_share: bool = False) -> dict[str, float | None]:
        """Return the spread for JSON."""
        numbers = {"median": self.median, "low": self.low, "high": self.high}
        return {**numbers, "share": self.share} if with_share else numbers


def _quantile(ascending: Sequence[float], q: float) -> float | None:
    """Return a quantile by linear interpolation; None if it is never reached."""
    at = q * (len(ascending) - 1)
    low, high = ascending[math.floor(at)], ascending[math.ceil(at)]
    if math.isinf(high):
        return None if math.isinf(low) or at > math.floor(at) else low
    return low + (high - low) * (at - math.floor(at))
