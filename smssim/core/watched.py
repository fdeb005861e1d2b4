"""The runs that a watcher follows: which of them go on, which the monitor has dropped, and how the watcher ends.

Knows snapshots, as they come from a monitor. Must not know how they travel or how they are shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from smssim.core.snapshot import Snapshot
from smssim.errors import ExitCode, worst


@dataclass(slots=True)
class _Open:
    """A run whose end was not seen."""

    is_counted: bool  # whether anything of it was counted
    since: set[str] = field(default_factory=set)  # ids of the runs of which something came after the last of this one


class WatchedRuns:
    """The runs of one monitor, seen from a watcher that may connect again and then gets the last figures once more."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0  # of the run that was seen last
        self._open: dict[str, _Open] = {}  # by id
        self._codes: dict[str, ExitCode] = {}  # of the runs that ended, by id
        self._dropped: list[str] = []  # ids, since `dropped`

    def see(self, snapshot: Snapshot) -> bool:
        """Take in a moment of a run; return whether it is new: not of a run whose end was seen."""
        figures = snapshot.figures
        run_id = figures.run_id
        if run_id in self._codes:
            return False
        self.elapsed_s = figures.elapsed_s
        if snapshot.summary is not None:
            self._open.pop(run_id, None)
            self._codes[run_id] = snapshot.summary.exit_code
        else:
            self._open[run_id] = _Open(is_counted=figures.attempts > 0)
            self._note_turn(run_id)
        return True

    def _note_turn(self, run_id: str) -> None:
        """In each turn the monitor sends one moment of every run that goes on: one that was left out was dropped."""
        for other_id, other in list(self._open.items()):
            if run_id in other.since and not other.is_counted:
                self._drop(other_id)
            elif other_id != run_id:
                other.since.add(run_id)

    def _drop(self, run_id: str) -> None:
        del self._open[run_id]
        self._dropped.append(run_id)

    def monitor_left(self) -> None:
        """Note that the monitor has ended in order: it has shown the end of each run that it had not dropped."""
        for run_id, run in list(self._open.items()):
            if not run.is_counted:
                self._drop(run_id)

    def dropped(self) -> list[str]:
        """Return the ids of the runs that were dropped since the last call."""
        dropped, self._dropped = self._dropped, []
        return dropped

    @property
    def are_over(self) -> bool:
        """Whether runs were seen to their end, and none goes on."""
        return bool(self._codes) and not self._open

    @property
    def any_goes_on(self) -> bool:
        """Whether there is a run whose end was not seen."""
        return bool(self._open)

    @property
    def exit_code(self) -> ExitCode:
        """What the watcher ends with: the worst code of the runs, INCOMPLETE where it has not seen them end."""
        return worst(self._codes.values()) if self.are_over else ExitCode.INCOMPLETE
