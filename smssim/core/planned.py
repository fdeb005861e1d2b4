"""The plan of a run, as the run's monitor has it, and how far the run is from it.

Decides whether a run is ahead of its plan or behind it by more than chance explains. Knows figures and times. Must not
know how a plan is made, how it travels or how it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from smssim.core.pieces import Changes, Pieces, pack, unpack
from smssim.core.progress import Figures, Milestones

POINTS_MAX: Final = 101  # of a course
EARLY_SHARE: Final = 0.02  # of the messages that are sent in the end: before that, nothing is said about the pace
MODEL_ERROR: Final = 0.01  # of the time: what the model of a run leaves out
SLOW_SHARE: Final = 0.05  # of the mean pace of a plan: below, senders or servers are away
# A run is off its plan if it lies beyond twice the range of 95%: about four standard deviations, because it is looked
# at many times. Once it is off, half of that and half of the slack bring it back, so that the verdict does not flicker.
WIDE: Final = 2.0
EASE: Final = 0.5


@dataclass(frozen=True, slots=True)
class PlannedTime:
    """When something happens according to the plan, in seconds of the run. None: never."""

    low_s: float | None = None  # with a probability of 95%, it happens between `low_s` and `high_s`
    median_s: float | None = None
    high_s: float | None = None


@dataclass(frozen=True, slots=True)
class PlannedCourse:
    """What the plan expects of a run. Columns of one point of time each: 2 to `POINTS_MAX`, of equal length.

    The first point is 0 s. Times ascend, and counts never descend.
    """

    times_s: tuple[float, ...]
    sent: tuple[int, ...]  # messages sent by then: the median
    sent_low: tuple[int, ...]  # with a probability of 95%, it is from `sent_low` to `sent_high`
    sent_high: tuple[int, ...]
    reached_s: Mapping[int, PlannedTime]  # when 50, 80, 95 and 99 percent of all messages are sent, by percent
    complete_s: PlannedTime  # when every message has its final outcome
    slack_s: float  # the deviation that other causes than chance explain: when processes start, how often they report
    seeds: int  # that were played

    def median_s(self, percent: int) -> float | None:
        """Return when this share of all messages is sent, at the median; None if never."""
        planned = self.reached_s.get(percent)
        return None if planned is None else planned.median_s

    def as_reached_s(self) -> dict[str, float | None]:
        """Return when each of the usual shares is reached, for JSON: the medians."""
        return {str(percent): self.median_s(percent) for percent in Milestones.PERCENTS}

    def behind_s(self, figures: Figures, reached_s: Mapping[int, float], was_off: bool = False) -> float | None:
        """Return how many seconds a run is behind, if chance does not explain it; negative if it is ahead.

        Returns 0 if it is as planned, and None if it is too early to say. `reached_s`: when the run reached shares of
        all messages, by percent. `was_off`: whether it was ahead or behind before.
        """
        at_s, sent, ease = figures.elapsed_s, figures.sent, EASE if was_off else 1.0
        if max(sent, np.interp(at_s, self.times_s, self.sent)) < EARLY_SHARE * self.sent[-1]:
            return None
        slack_s = ease * (self.slack_s + MODEL_ERROR * at_s)
        if figures.complete:
            return self._behind_at_the_end_s(at_s, reached_s, slack_s, ease)
        late_s = _off_s(at_s, self.complete_s, slack_s, ease)
        if late_s > 0:
            return late_s
        if sent < self._bound(at_s - slack_s, self.sent_low, ease):
            return max(0.0, self._sending_s(self._at_s(sent, "right"), at_s))
        if sent > self._bound(at_s + slack_s, self.sent_high, ease):
            return min(0.0, self._sending_s(self._at_s(sent, "left"), at_s))
        return 0.0

    def _sending_s(self, since_s: float, until_s: float) -> float:
        """Return the time between two times, without that in which the plan sends hardly anything before its end."""
        times_s, sent = np.array(self.times_s), np.array(self.sent)
        took_s = np.diff(times_s)
        slow = np.diff(sent) < SLOW_SHARE * sent[-1] / times_s[-1] * took_s
        so_far_s = np.append(0.0, np.cumsum(np.where(slow, 0.0, took_s)))
        since, until = np.interp([since_s, until_s], times_s, so_far_s)
        return float(until - since + max(0.0, until_s - times_s[-1])) or until_s - since_s

    def _bound(self, at_s: float, counts: tuple[int, ...], ease: float) -> float:
        """Return the count at this time at which a run is off its plan."""
        median, bound = (float(np.interp(at_s, self.times_s, some)) for some in (self.sent, counts))
        return median + ease * WIDE * (bound - median)

    def _at_s(self, sent: int, side: str) -> float:
        """Return when the median is this count: the last such time for "right", the first for "left"."""
        i = int(np.searchsorted(self.sent, sent, side))  # type: ignore[call-overload]
        if i in (0, len(self.sent)):
            return self.times_s[min(i, len(self.sent) - 1)]
        before, after = self.sent[i - 1], self.sent[i]
        return self.times_s[i - 1] + (sent - before) / (after - before) * (self.times_s[i] - self.times_s[i - 1])

    def _behind_at_the_end_s(self, at_s: float, reached_s: Mapping[int, float], slack_s: float, ease: float) -> float:
        """Return how far a complete run is behind: at its last milestone or, if that is as planned, at its end.

        Chance decides when the very last messages are sent, so that the end alone says little about the pace.
        """
        percent = max(reached_s, default=0)
        planned = self.reached_s.get(percent)
        at_milestone_s = _off_s(reached_s[percent], planned, slack_s, ease) if planned is not None else 0.0
        return at_milestone_s or _off_s(at_s, self.complete_s, slack_s, ease)


def _off_s(at_s: float, planned: PlannedTime, slack_s: float, ease: float) -> float:
    """Return how much later something happens than planned, negative if earlier; 0 if as planned or never planned."""
    median_s, low_s, high_s = planned.median_s, planned.low_s, planned.high_s
    if median_s is None or low_s is None:
        return 0.0
    if high_s is not None and at_s > median_s + ease * WIDE * (high_s - median_s) + slack_s:
        return at_s - median_s
    if at_s < median_s - ease * WIDE * (median_s - low_s) - slack_s:
        return at_s - median_s
    return 0.0


class Plan:
    """The plan of one run, if there is one: it is set once, and then the run is compared with it."""

    PIECE: Final = "course"  # the name of the piece that holds it

    def __init__(self) -> None:
        self.course: PlannedCourse | None = None
        self._is_off = False  # whether the run was ahead or behind when it was compared last
        self._changed = False  # since `changes`

    def set(self, course: PlannedCourse) -> None:
        """Set the plan, unless there is one: the first one stands."""
        if self.course is None:
            self.course, self._changed = course, True

    def behind_s(self, figures: Figures, reached_s: Mapping[int, float]) -> float | None:
        """Return how far the run is behind now, see `PlannedCourse.behind_s`; None also without a plan.

        Remembers whether the run is off its plan.
        """
        if self.course is None:
            return None
        behind_s = self.course.behind_s(figures, reached_s, self._is_off)
        self._is_off = bool(behind_s)
        return behind_s

    def changes(self) -> Changes:
        """Return the changes since the last call."""
        changed, self._changed = self._changed, False
        return {self.PIECE: pack(asdict(self.course))} if changed and self.course is not None else {}

    def restore(self, pieces: Pieces) -> None:
        """Restore the saved plan, if any; raises DAMAGE."""
        if self.PIECE in pieces:
            self.course = _course_of(unpack(pieces[self.PIECE])[0])


def _course_of(saved: Mapping[str, Any]) -> PlannedCourse:
    """Return a course from the facts of its piece, in which tuples are lists and keys are text; raises DAMAGE."""
    reached = {int(percent): PlannedTime(**one) for percent, one in saved["reached_s"].items()}
    columns = {name: tuple(saved[name]) for name in ("times_s", "sent", "sent_low", "sent_high")}
    return PlannedCourse(**{**saved, **columns, "reached_s": reached, "complete_s": PlannedTime(**saved["complete_s"])})
