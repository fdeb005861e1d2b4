"""The output of `--history`: keeps the document of each run that has ended.

Knows documents. Must not know how they are kept.
"""

from __future__ import annotations

from typing import Final

from smssim.core.limits import LIMITS, Limits
from smssim.errors import bad_file
from smssim.outputs.at_end import AtEndOutput
from smssim.outputs.kept.directory import EXPECTED, Kept
from smssim.outputs.of_course import Seen
from smssim.process.logs import Log
from smssim.settings import MonitorSettings, WatchSettings

MEGABYTE: Final = 1_000_000


class Keeper(AtEndOutput):
    """Keeps each run in the directory of `--history`, and removes the oldest ones."""

    flag = "--history"

    def __init__(self, settings: MonitorSettings | WatchSettings, log: Log, limits: Limits = LIMITS) -> None:
        super().__init__(settings, log, limits)
        self._directory = str(getattr(settings, "history", ""))
        self._runs_max: int = getattr(settings, "history_runs", 1)
        self._bytes_max: int = getattr(settings, "history_size", 1) * MEGABYTE
        self._kept = Kept(self._directory)

    def check(self) -> None:
        """See Output."""
        self._kept.check()

    def open(self) -> None:
        """See Output."""
        try:
            self._kept.create()
        except OSError as error:
            raise bad_file(self.flag, self._directory, EXPECTED, error) from error

    def write(self, seen: Seen) -> None:
        """See AtEndOutput."""
        self._kept.keep(seen.document(), self._runs_max, self._bytes_max)
