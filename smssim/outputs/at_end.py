"""What outputs have in common that write something about each run when it ends.

Knows documents and threads. Must not know what is written.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ClassVar

from smssim.core.history import History
from smssim.core.limits import LIMITS, Limits
from smssim.core.snapshot import Snapshot
from smssim.outputs.of_course import CourseOutput, Seen
from smssim.process.logs import Log
from smssim.settings import MonitorSettings, WatchSettings


class AtEndOutput(CourseOutput):
    """An output that writes when a run ends, in a thread of its own, so that other runs go on meanwhile."""

    flag: ClassVar[str]
    ends_slowly = True

    def __init__(self, settings: MonitorSettings | WatchSettings, log: Log, limits: Limits = LIMITS) -> None:
        super().__init__(settings, log, limits)
        self._thread = ThreadPoolExecutor(1, self.flag)
        self._written: list[Future[bool]] = []  # whether each run was written

    def write(self, seen: Seen) -> None:
        """Write an ended run, whose course does not change any more; raises OSError. Runs in the thread."""
        raise NotImplementedError

    def end(self, snapshot: Snapshot, history: History) -> None:
        """See Output."""
        seen = self.seen.pop(snapshot.figures.run_id, None)
        if seen is not None:
            self._written.append(self._thread.submit(self._write, seen))

    async def close(self) -> bool:
        """See Output."""
        are_whole = [await asyncio.wrap_future(written) for written in self._written]
        self._thread.shutdown()
        return all(are_whole)

    def _write(self, seen: Seen) -> bool:
        try:
            self.write(seen)
        except OSError as error:
            run_id = seen.snapshot.figures.run_id
            self._log.error("%s: run %s was not written: %s", self.flag, run_id, error.strerror or error)
            return False
        return True
