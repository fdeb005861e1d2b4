"""The file of `--report`: a report of each run, written when the run ends.

Knows documents and files. Must not know what a report says.
"""

from __future__ import annotations

from smssim.core.limits import LIMITS, Limits
from smssim.errors import bad_file
from smssim.outputs import atomic
from smssim.outputs.at_end import AtEndOutput
from smssim.outputs.of_course import Seen
from smssim.outputs.report.page import report
from smssim.process.logs import Log
from smssim.settings import MonitorSettings, WatchSettings


class ReportFile(AtEndOutput):
    """The report of the latest run that has ended. A report of an earlier run is removed at the start."""

    flag = "--report"

    def __init__(self, settings: MonitorSettings | WatchSettings, log: Log, limits: Limits = LIMITS) -> None:
        super().__init__(settings, log, limits)
        self._path = str(getattr(settings, "report", ""))
        self._is_open = False

    def check(self) -> None:
        """See Output."""
        atomic.check(self.flag, self._path)

    def open(self) -> None:
        """See Output."""
        try:
            atomic.remove(self._path)
        except OSError as error:
            raise bad_file(self.flag, self._path, "a file that can be written", error) from error
        self._is_open = True

    async def close(self) -> bool:
        """See Output."""
        is_whole = await super().close()
        if self._is_open and not self._written:
            self._log.info("%s: no run has ended, so there is no report", self.flag)
        self._is_open = False
        return is_whole

    def write(self, seen: Seen) -> None:
        """See AtEndOutput."""
        atomic.write(self._path, report([seen.document()]))
        self._log.info("Report: %s", self._path)
