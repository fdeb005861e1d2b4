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
from smssim.core.model import cost_of
from smssim.core.progress import Milestones
from smssim.core.reach import Reachable
from smssim.plan.scale import FULL, Scale
from smssim.plan.scenario import PlannedSender, Scenario, attempts_each, ceiling_of
from smssim.plan.twin.course import Course
from smssim.plan.twin.member import Member
from smssim.plan.twin.twin import Twin

POINTS: Final = 500  # of the course of a play
MIDDLE: Final = 0.95  # share of the seeds between low and high
ENDS: Final = ((1 - MIDDLE) / 2, (1 + MIDDLE) / 2)  # the quantiles between which they lie
COUNTS: Final = ("sent", "failed", "retried", "attempts", "duplicates", "unreachable")
FIGURES: Final = (  # that goals may ask for
    *COUNTS,
    "failed_reachable",
    *(f"t{percent}{of}" for of in ("", "_reachable") for percent in Milestones.PERCENTS),
    "cost",
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
    cost: float


@dataclass(frozen=True, slots=True)
class Play:
    """What one seed found. Counts are for the whole total, times in seconds as the monitor records them."""

    sent: int
    failed: int
    retried: int
    duplicates: int
    unreachable: int  # of those that failed
    reachable: int  # messages that can be reached
    cost: float
    reached_s: dict[int, float | None]  # by percent of all messages; None if never sent
    reached_reachable_s: dict[int, float | None]  # the same of those that can be reached
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
        """Return the `FIGURES`, by name, and how many messages are reachable."""
        done, end_s = self.sent + self.failed, self.complete_s
        return {
            **{name: getattr(self, name) for name in COUNTS},
            "failed_reachable": self.failed - self.unreachable,
            **{f"t{percent}": time_s for percent, time_s in self.reached_s.items()},
            **{f"t{percent}_reachable": time_s for percent, time_s in self.reached_reachable_s.items()},
            "cost": self.cost,
            "total": total,
            "reachable": self.reachable,
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
    failed = scenario.total - sent if is_complete else round(each * course.failed)
    unreachable = min(failed, round(each * course.unreachable))
    reachable = _reachable(scenario, seed, scale, scenario.total - sent - failed, unreachable)
    shares = tuple(
        _share(scenario, sender, member, each) for sender, member in zip(scenario.senders, members, strict=True)
    )
    return Play(
        sent=sent,
        failed=failed,
        retried=round(each * course.retried),
        duplicates=round(each * course.duplicates),
        unreachable=unreachable,
        reachable=reachable,
        cost=sum(share.cost for share in shares),
        reached_s=_milestones(course, twin.total),
        reached_reachable_s=_milestones(course, round(reachable / each)),
        complete_s=course.last_s if is_complete else None,
        time_s=used_s / attempts if attempts else None,
        tail_s=course.tail_s,
        senders=shares,
        times_s=times_s,
        course=each * course.counts_at(times_s),
    )


def _milestones(course: Course, messages: int) -> dict[int, float | None]:
    """Return when percentages of so many messages are sent, by percent."""
    return {
        percent: course.reached_s(Milestones.needed(percent, messages)) if messages else None
        for percent in Milestones.PERCENTS
    }


def _reachable(scenario: Scenario, seed: int, scale: Scale, unfinished: int, unreachable: int) -> int:
    """Return how many messages of a play can be reached, of which so many have failed because they are unreachable."""
    if not unfinished:
        return scenario.total - unreachable
    if scale.messages == 1:
        return Reachable(seed, scenario.unreachable, scenario.total).count
    return scenario.total - unreachable - round(unfinished * scenario.unreachable)


def _share(scenario: Scenario, sender: PlannedSender, member: Member, each: float) -> SenderShare:
    """Return what a sender did; `each`: how many messages one of its play stands for."""
    attempts, sent = round(each * member.attempts), round(each * member.sent)
    return SenderShare(
        attempts,
        sent,
        round(each * member.failed),
        busy=member.used_s / member.lane_s if member.lane_s else 0.0,
        cost=cost_of(scenario.segments, sender.price, sender.price_failed, sent, attempts),
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
    of the counts are known, so that their spread needs no allowance for the mean of the plays. If all prices are equal
    too, the cost follows from the counts.
    """
    if scale.messages == 1 or len(plays) < 2:
        return list(plays)
    smaller = shrink(scale, len(plays))
    tails = np.array([one.tail_s for one in plays])
    late = np.zeros(len(plays))
    if np.isfinite(tails).all():
        late = (tails - tails.mean()) * (1 - smaller)
    reached, reached_reachable = (
        {
            percent: _shrunk([getattr(one, name)[percent] for one in plays], late, tails, smaller)
            for percent in Milestones.PERCENTS
        }
        for name in ("reached_s", "reached_reachable_s")
    )
    complete = _shrunk([one.complete_s for one in plays], late, tails, smaller)
    sent_mean = retried_mean = unsent_mean = None
    smaller_counts = smaller
    if scenario.fail is not None and all(one.complete_s is not None for one in plays):
        rules = scenario.fail, scenario.max_attempts, scenario.unreachable
        sent_mean = scenario.total * ceiling_of(*rules)
        retried_mean = scenario.total * (attempts_each(*rules) - 1)
        unsent_mean = scenario.total * (1 - scenario.unreachable) - sent_mean  # of the messages that can be reached
        smaller_counts = 1 / math.sqrt(scale.messages)
    sent = _drawn_in([one.sent for one in plays], smaller_counts, sent_mean)
    done = _drawn_in([one.sent + one.failed for one in plays], smaller)
    retried = _drawn_in([one.retried for one in plays], smaller_counts, retried_mean)
    unsent = _drawn_in([one.failed - one.unreachable for one in plays], smaller_counts, unsent_mean)
    failed = [all_done - some for all_done, some in zip(done, sent, strict=True)]
    unreachable = [max(0, failed[i] - unsent[i]) if scenario.unreachable else 0 for i in range(len(plays))]
    found = [
        replace(
            one,
            reached_s={percent: times[i] for percent, times in reached.items()},
            reached_reachable_s={percent: times[i] for percent, times in reached_reachable.items()},
            complete_s=complete[i],
            sent=sent[i],
            failed=failed[i],
            retried=retried[i],
            unreachable=unreachable[i],
            reachable=one.reachable + one.unreachable - unreachable[i],
        )
        for i, one in enumerate(plays)
    ]
    return [replace(one, cost=paid) for one, paid in zip(found, _costs(found, scenario, smaller), strict=True)]


def _costs(plays: Sequence[Play], scenario: Scenario, smaller: float) -> list[float]:
    """Return the costs of plays with less spread; they follow from the counts if all prices are equal."""
    prices = {(sender.price, sender.price_failed) for sender in scenario.senders}
    if len(prices) == 1:
        return [cost_of(scenario.segments, *next(iter(prices)), one.sent, one.attempts) for one in plays]
    mean = sum(one.cost for one in plays) / len(plays)
    return [mean + (one.cost - mean) * smaller for one in plays]


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
