"""The runs that a watcher follows: which of them go on, what of them is new, and how the watcher ends.

Knows snapshots, as they come from a monitor. Must not know how they travel or how they are shown.
"""

from __future__ import annotations

from smssim.core.snapshot import Snapshot
from smssim.errors import ExitCode, worst


class WatchedRuns:
    """The runs of one monitor, seen from a watcher that may connect again and then gets the last figures once more."""

    def __init__(self) -> None:
        self.elapsed_s = 0.0  # of the run that was seen last
        self._going_on: set[str] = set()  # ids
        self._codes: dict[str, ExitCode] = {}  # of the runs that ended, by id

    def see(self, snapshot: Snapshot) -> bool:
        """Take in a moment of a run; return whether it is new: not of a run whose end was seen."""
        run_id = snapshot.figures.run_id
        if run_id in self._codes:
            return False
        self.elapsed_s = snapshot.figures.elapsed_s
        self._going_on.add(run_id)
        if snapshot.summary is not None:
            self._going_on.discard(run_id)
            self._codes[run_id] = snapshot.summary.exit_code
        return True

    @property
    def are_over(self) -> bool:
        """Whether runs were seen, and all of them to their end."""
        return bool(self._codes) and not self._going_on

    @property
    def any_goes_on(self) -> bool:
        """Whether there is a run whose end was not seen."""
        return bool(self._going_on)

    @property
    def exit_code(self) -> ExitCode:
        """What the watcher ends with: the worst code of the runs, INCOMPLETE where it has not seen them end."""
        return worst(self._codes.values()) if self.are_over else ExitCode.INCOMPLETE
