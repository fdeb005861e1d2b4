"""One run that a monitor follows: when its figures are shown and noted, what watchers get of it, and how it ends.

Knows the time that it is given. Must not know which runs are followed, or how anything is shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from smssim.core.course import Course
from smssim.core.ending import Ending
from smssim.core.fleet import DETAILED_ROWS_MAX, ROWS_MAX
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import RunFacts
from smssim.core.pieces import Changes, Pieces, put_under, within
from smssim.core.progress import Figures
from smssim.core.snapshot import Detail, Snapshot
from smssim.core.tally import Tally
from smssim.core.threshold import Threshold

_COURSE: Final = "course"  # its pieces begin with this name

# ---- What happens to it


@dataclass(frozen=True, slots=True)
class Missed:
    """The first reports of a sender never reached this monitor."""

    sender: str


@dataclass(frozen=True, slots=True)
class Moment:
    """The figures of a run are due."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Noted:
    """A moment was added to the course of a run: more often than moments are shown, for pages and reports."""

    snapshot: Snapshot  # detailed
    course: Course


@dataclass(frozen=True, slots=True)
class Ended:
    """A run ended; the snapshot holds its last figures and the summary."""

    run: RunFacts
    ending: Ending
    snapshot: Snapshot
    course: Course


# ---- The run


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the operator wants from a monitor."""

    interval_s: float  # between two moments that are shown
    give_up_s: float  # how long a run without senders continues while the producer's totals are missing
    thresholds: tuple[Threshold, ...] = ()
    linger: bool = False  # follow any number of runs, until stopped
    journaled: bool = False  # whether the state is kept, in a journal or on an engine; not together with `linger`
    rows_max: int = ROWS_MAX  # senders in a moment that is shown
    noted: bool = False  # whether somebody needs the event `Noted`


class FollowedRun:
    """A run in progress, or an ended one that is kept to answer late reports."""

    def __init__(
        self, tally: Tally, policy: Policy, now: float, limits: Limits = LIMITS, *, resumed: bool = False
    ) -> None:
        self.tally = tally
        self.course = Course(limits)
        self.resumed = resumed  # from what was on record
        self.final: Snapshot | None = None  # once the run has ended
        self._policy = policy
        self._limits = limits
        self._due = now  # when the next moment is due
        self._check_at = now  # when to check next whether the run has ended
        self._before: Figures | None = None  # of the last moment
        self._note_at = now  # when to add the next moment to the course
        self._noted: Figures | None = None  # of the last one that was added
        self._resumed_at = now if resumed else None  # until the time of the run is known again
        self.open_until = -math.inf  # it does not end before that, unless the monitor is stopped
        self._warned = 0  # how many senders of `tally.missed` had their `Missed` event
        self._shared: dict[bool, tuple[Snapshot, float]] = {}  # by whether it is detailed: a snapshot, and until when

    @property
    def wake_at(self) -> float:
        """When to check this run next; infinity once it has ended."""
        return math.inf if self.final is not None else min(self._due, self._check_at)

    def may_drop(self, now: float) -> bool:
        """Return whether this run can make room for another one.

        It can if nothing was counted and no sender is present, because it may never have been a real run. A run that
        was resumed can't, because the operator expects it to continue.
        """
        return self.final is None and not self.resumed and self.tally.idle(now)

    def stay_open(self, now: float) -> None:
        """Keep this run open for a while after its peers could not reach the monitor, so that they return to it."""
        self.open_until = now + self._limits.open_after_pause_s

    def snapshot(self, now: float, rows_max: int = ROWS_MAX) -> Snapshot:
        """Return the run at this moment, with the rate since the last moment shown; its last snapshot once it ended."""
        if self.final is not None:
            return self.final
        return self.tally.snapshot(self.tally.figures(now, self._before), now, rows_max)

    def shared(self, now: float, *, detailed: bool = False) -> Snapshot:
        """Return the snapshot for all watchers at about this moment: the same object for `Limits.shared_s`."""
        if self.final is not None:
            return self.final
        if now >= self._shared.get(detailed, (None, -math.inf))[1]:
            figures = self.tally.figures(now)
            made = self._detailed(figures, now) if detailed else self.tally.snapshot(figures, now)
            self._shared[detailed] = made, now + self._limits.shared_s
        return self._shared[detailed][0]

    def look(self, now: float) -> list[Missed | Moment | Noted]:
        """Return the warnings that are new since the last call, and the moments that are due."""
        events: list[Missed | Moment | Noted] = [Missed(name) for name in self.tally.missed[self._warned :]]
        self._warned = len(self.tally.missed)
        if now >= self._due:
            interval_s = self._policy.interval_s
            self._due += interval_s * max(1, (now - self._due) // interval_s)
            moment = self.snapshot(now, self._policy.rows_max)
            self._before = moment.figures
            events.append(Moment(moment))
        if now >= self._note_at and self._knows_the_time(now):
            noted = self.note(now)
            events += [noted] if self._policy.noted else []
        self._check_at = now + self._limits.end_check_s
        return events

    def _knows_the_time(self, now: float) -> bool:
        """Return whether the time of the run is known.

        Only reports say for how long a monitor was away that resumes the run. It waits for one, but not for ever.
        """
        since = self._resumed_at
        if since is not None:
            has_report = any(session.last_report_at > since for session in self.tally.sessions.values())
            if has_report or self.tally.complete or now - since > self._limits.lost_after_s:
                self._resumed_at = None
        return self._resumed_at is None

    def note(self, now: float) -> Noted:
        """Add this moment to the course of the run."""
        figures = self.tally.figures(now, self._noted)
        snapshot = self._detailed(figures, now)
        self.course.note(snapshot)
        self._noted, self._note_at = figures, self.course.next_at(now, figures)
        return Noted(snapshot, self.course)

    def end(self, ending: Ending, now: float) -> Ended:
        """End the run; its figures don't change any more."""
        figures = self.tally.figures(now, self._before, final=True)
        summary = self.tally.summary(figures, ending, self._policy.thresholds)
        self.final = replace(self._detailed(figures, now), summary=summary)
        self.course.note(self.final)
        self._shared.clear()
        return Ended(self.tally.run, ending, self.final, self.course)

    def _detailed(self, figures: Figures, now: float) -> Snapshot:
        detail = Detail(self.tally.run, self.tally.progress.latencies.shape())
        return replace(self.tally.snapshot(figures, now, DETAILED_ROWS_MAX), detail=detail)

    # -- saved and restored

    def changes(self, now: float) -> Changes:
        """Return the changes since the last call."""
        return self.tally.changes(now) | put_under(_COURSE, self.course.changes())

    def erased(self, now: float) -> Changes:
        """Return changes that delete all pieces of a run of which nothing is counted."""
        return self.tally.erased(now) | put_under(_COURSE, self.course.erased())

    @classmethod
    def restored(
        cls, pieces: Pieces, policy: Policy, now: float, limits: Limits = LIMITS, away_s: float = 0.0
    ) -> FollowedRun:
        """Return the run that was saved `away_s` ago; raises DAMAGE."""
        followed = cls(Tally.restored(pieces, now, limits, away_s), policy, now, limits, resumed=True)
        followed.course.restore(within(_COURSE, pieces))
        return followed
