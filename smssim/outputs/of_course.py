"""What outputs have in common that show the course of runs: a page, a report, a history.

Knows snapshots, courses and the clock of this machine. Must not know how anything is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from smssim.core.course import Course
from smssim.core.limits import LIMITS, Limits
from smssim.core.snapshot import Snapshot
from smssim.outputs.document import FULL, About, Size, document
from smssim.outputs.protocol import Output
from smssim.process.logs import Log
from smssim.settings import MonitorSettings, WatchSettings


@dataclass(slots=True)
class Seen:
    """A run as it was last noted."""

    snapshot: Snapshot
    course: Course
    about: About

    def document(self, size: Size = FULL) -> dict[str, Any]:
        """Return the document of the run."""
        return document(self.snapshot, self.course, self.about, size)


class CourseOutput(Output):
    """An output that shows the course of runs."""

    wants_course: ClassVar[bool] = True

    def __init__(self, settings: MonitorSettings | WatchSettings, log: Log, limits: Limits = LIMITS) -> None:
        self._log = log
        self._limits = limits
        self._about = About(
            title=settings.title,
            command=getattr(settings, "command", ""),
            goals=getattr(settings, "threshold", ()),
        )
        self.seen: dict[str, Seen] = {}  # by run id, in the order in which they were first seen

    def noted(self, snapshot: Snapshot, course: Course) -> None:
        """See Output."""
        run_id = snapshot.figures.run_id
        seen = self.seen.get(run_id)
        if seen is None:
            began = datetime.now(UTC) - timedelta(seconds=snapshot.figures.elapsed_s)
            self.seen[run_id] = Seen(snapshot, course, self._about_run(snapshot, began))
        else:
            seen.snapshot, seen.course = snapshot, course

    def dropped(self, run_id: str) -> None:
        """See Output."""
        self.seen.pop(run_id, None)

    def _about_run(self, snapshot: Snapshot, began: datetime) -> About:
        about, command = self._about, self._about.command
        if command and "--seed" not in command and snapshot.detail is not None:
            command = f"{command} --seed {snapshot.detail.run.seed}"
        return About(about.title, command, began.isoformat(timespec="seconds").replace("+00:00", "Z"), about.goals)
