"""The runs that a watcher follows: which are in progress, which the monitor dropped, and the watcher's exit code.

Knows snapshots as a monitor sends them. Must not know how they travel or how they are shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from smssim.core.event import Event
from smssim.core.snapshot import Snapshot
from smssim.errors import ExitCode, worst


@dataclass(slots=True)
class _Open:
    """A run whose end has not arrived."""

    is_counted: bool  # whether anything of it was counted
    since: set[str] = field(default_factory=set)  # ids of the runs whose snapshots arrived since this run's
    events: tuple[Event, ...] = ()  # that have arrived


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
