"""The outline of a plan: what a monitor needs to compare a live run with the plays of its scenario.

A few plays have to suffice, so ranges allow for how little a few plays tell about the spread. Knows plays. Must not
know where the outline goes, or who compares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from smssim.core.limits import LIMITS, Limits
from smssim.core.pace import sender_wait_s
from smssim.core.planned import POINTS_MAX, PlannedCourse, PlannedTime
from smssim.core.progress import Milestones
from smssim.plan.scale import Scale, moments, scale_for
from smssim.plan.scenario import START_S, Scenario
from smssim.plan.seeds import Floats, Play, Spread, unscaled
from smssim.plan.twin.twin import TAIL

MESSAGES_MAX: Final = 20_000  # of a play, besides a tail that is played in full: then it takes 5 to 200 ms
IN_FULL_MAX: Final = 1_000_000  # messages of such a tail: 0.3 s
_Z: Final = 1.959964  # the 97.5% quantile of the normal distribution
_FINE: Final = 1000  # points at which the mean course is looked at


def outline_scale(scenario: Scenario) -> Scale:
    """Return the scale at which a play takes a small part of a second, however many messages and lanes there are."""
    scale = scale_for(scenario, MESSAGES_MAX)
    lanes = sum(sender.lanes for sender in scenario.senders)
    if scale.each == 1 and scale.lanes > 1 and min(scenario.total, TAIL * lanes) > IN_FULL_MAX:
        return Scale(-(-scale.lanes // 2), 2)  # such a play has no tail that is played in full
    return scale


def outline(scenario: Scenario, plays: Sequence[Play], scale: Scale, limits: Limits = LIMITS) -> PlannedCourse:
    """Return the outline of a scenario, from at least two plays at this scale."""
    times_s = _points(plays)
    sent = np.array([np.interp(times_s, one.times_s, one.course[:, 0]) for one in plays])
    sent = sent.mean(axis=0) + (sent - sent.mean(axis=0)) / math.sqrt(scale.messages)  # as in `unscaled`
    median, either_way = np.median(sent, axis=0), _range(len(plays)) * sent.std(axis=0, ddof=1)
    low = np.minimum.accumulate(np.maximum(0, median - either_way)[::-1])[::-1]
    high = np.maximum.accumulate(np.minimum(scenario.total, median + either_way))
    found = unscaled(plays, scale, scenario)
    return PlannedCourse(
        times_s=tuple(times_s.tolist()),
        sent=_counts(np.round(median)),
        sent_low=_counts(np.floor(low)),
        sent_high=_counts(np.ceil(high)),
        reached_s={percent: _time([one.reached_s[percent] for one in found]) for percent in Milestones.PERCENTS},
        complete_s=_time([one.complete_s for one in found]),
        slack_s=_slack_s(scenario, scale, limits),
        seeds=len(plays),
    )


def _slack_s(scenario: Scenario, scale: Scale, limits: Limits) -> float:
    """Return how much a live run may deviate for reasons that have nothing to do with chance.

    Processes start, senders report at intervals, and in a play whose messages stand for several that are sent one after
    another, all of them end together: after the time of several attempts, or when a limit lets several start.
    """
    report_s = sender_wait_s(sum(sender.copies for sender in scenario.senders), limits)
    each_s = (
        max(moments(sender.model)[0], sender.limit.interval_s if sender.limit else 0.0) for sender in scenario.senders
    )
    together_s = (scale.each - 1) * max(each_s, default=0.0)
    return START_S + report_s + together_s


def _points(plays: Sequence[Play]) -> Floats:
    """Return points of time from 0 to the end of all plays: half of them even in time, half even in messages sent."""
    end_s = max(START_S, *(float(one.times_s[-1]) for one in plays))
    fine_s = np.linspace(0.0, end_s, _FINE)
    sent = np.mean([np.interp(fine_s, one.times_s, one.course[:, 0]) for one in plays], axis=0)
    half = POINTS_MAX // 2
    even = np.interp(np.linspace(0.0, sent[-1], half), sent, fine_s)
    points: Floats = np.unique(np.concatenate([np.linspace(0.0, end_s, half), even]))
    return points


def _counts(column: Floats) -> tuple[int, ...]:
    return tuple(column.astype(np.int64).tolist())


def _time(times_s: Sequence[float | None]) -> PlannedTime:
    """Return the range of 95% of a time, from its values in plays."""
    known = [time_s for time_s in times_s if time_s is not None]
    if len(known) < len(times_s):
        spread = Spread.of(times_s)
        return PlannedTime(spread.low, spread.median, spread.high)
    median_s, either_way_s = float(np.median(known)), _range(len(known)) * float(np.std(known, ddof=1))
    return PlannedTime(max(0.0, median_s - either_way_s), median_s, median_s + either_way_s)


def _range(plays: int) -> float:
    """Return half the range in which one more play lies with a probability of 95%, in standard deviations.

    It is that of Student's t distribution, whose quantile is by Abramowitz and Stegun (1964), 26.7.5: within 3%.
    """
    free, z = plays - 1, _Z
    quantile = (
        z
        + (z**3 + z) / (4 * free)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * free**3)
    )
    return quantile * math.sqrt(1 + 1 / plays)
