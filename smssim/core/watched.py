"""The runs that a watcher follows: which are in progress, which the monitor dropped, and the watcher's exit code.

Knows snapshots as a monitor sends them. Must not know how they travel or how they are shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Final

from smssim.core.course import Course
from smssim.core.event import Event
from smssim.core.limits import LIMITS, Limits
from smssim.core.progress import Figures, recent_rate
from smssim.core.snapshot import Snapshot
from smssim.errors import ExitCode, worst

EARLY: Final = 0.1  # share of the interval by which a moment may be early: responses never arrive at even intervals


@dataclass(slots=True)
class _Open:
    """A run whose end has not arrived."""

    is_counted: bool  # whether anything of it was counted
    since: set[str] = field(default_factory=set)  # ids of the runs whose snapshots arrived since this run's
    events: tuple[Event, ...] = ()  # that have arrived


class WatchedCourse:
    """The course of a run as a watcher knows it, and which moments of it are shown, fewer than arrive."""

    def __init__(self, interval_s: float, limits: Limits = LIMITS) -> None:
        self.course = Course(limits)
        self._interval_s = interval_s
        self._due = -math.inf  # when the next moment is shown
        self._shown: Figures | None = None  # of the last one

    def see(self, snapshot: Snapshot, course: Course | None) -> None:
        """Add a moment; `course`: that of the monitor until now, if it has sent it."""
        if course is not None:
            self.course = course
        self.course.note(snapshot)

    def to_show(self, snapshot: Snapshot, now: float) -> Snapshot | None:
        """Return the moment as it is shown now, with the rate since the last one that was shown; None if it is not."""
        if now < self._due:
            return None
        self._due = now + self._interval_s * (1 - EARLY)
        figures, before = snapshot.figures, self._shown
        self._shown = figures
        rate_per_s = recent_rate(figures.done, figures.elapsed_s, before)
        return replace(snapshot, figures=replace(figures, recent_rate_per_s=rate_per_s))


class WatchedRuns:
    """The runs of one monitor, for a watcher that may reconnect and then gets the last figures again."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0  # of the run of the last snapshot
        self._open: dict[str, _Open] = {}  # by id
        self._codes: dict[str, ExitCode] = {}  # of the runs that ended, by id
        self._dropped: list[str] = []  # ids, since `dropped`
        self._new_events: list[Event] = []  # since `new_events`

    def see(self, snapshot: Snapshot) -> bool:
        """Record a snapshot, and return whether it is new. It is not if the end of its run has already arrived."""
        figures = snapshot.figures
        run_id = figures.run_id
        if run_id in self._codes:
            return False
        self.elapsed_s = figures.elapsed_s
        known = self._open[run_id].events if run_id in self._open else ()
        self._new_events += [event for event in snapshot.events if event not in known]
        if snapshot.summary is not None:
            self._open.pop(run_id, None)
            self._codes[run_id] = snapshot.summary.exit_code
        else:
            self._open[run_id] = _Open(is_counted=figures.attempts > 0, events=snapshot.events)
            self._note_turn(run_id)
        return True

    def _note_turn(self, run_id: str) -> None:
        """Drop runs that the monitor has dropped: in each turn it sends one snapshot of every run in progress."""
        for other_id, other in list(self._open.items()):
            if run_id in other.since and not other.is_counted:
                self._drop(other_id)
            elif other_id != run_id:
                other.since.add(run_id)

    def _drop(self, run_id: str) -> None:
        del self._open[run_id]
        self._dropped.append(run_id)

    def monitor_left(self) -> None:
        """Record that the monitor ended normally: it has sent the end of each run that it had not dropped."""
        for run_id, run in list(self._open.items()):
            if not run.is_counted:
                self._drop(run_id)

    def dropped(self) -> list[str]:
        """Return the ids of the runs that were dropped since the last call."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def new_events(self) -> list[Event]:
        """Return the events that have arrived since the last call."""
        new, self._new_events = self._new_events, []
        return new

    @property
    def are_over(self) -> bool:
        """Whether at least one run has ended, and none is in progress."""
        return bool(self._codes) and not self._open

    @property
    def any_in_progress(self) -> bool:
        """Whether there is a run whose end has not arrived."""
        return bool(self._open)

    @property
    def exit_code(self) -> ExitCode:
        """The watcher's exit code: the worst code of the runs if they `are_over`, otherwise INCOMPLETE."""
        return worst(self._codes.values()) if self.are_over else ExitCode.INCOMPLETE
