"""Where a monitor writes what it counts: the terminal or stdout, and the files that its settings ask for.

Opens, writes and closes them. Must not know reports, or when something is to be written.
"""

from __future__ import annotations

import asyncio

from smssim.core.snapshot import Snapshot
from smssim.core.tally import Tally
from smssim.outputs import undelivered as unsent
from smssim.outputs.files import CsvFile, SummaryFile, check_writable, empty
from smssim.outputs.record import Recorder
from smssim.outputs.terminal.display import display
from smssim.process.logs import Log
from smssim.settings import MonitorSettings


class Outputs:
    """All outputs of one monitor."""

    def __init__(self, settings: MonitorSettings, log: Log) -> None:
        self.recorder: Recorder | None = None
        self._settings = settings
        self._log = log
        self._display = display(settings.json, settings.interval_s, settings.linger)
        self._files: list[CsvFile | SummaryFile] = []
        self._is_listed = True  # the messages that nobody received, where that list is wanted

    def open(self, goes_on: bool) -> None:
        """Opens the files, or none where one of them can't be; raises UsageError. `goes_on`: after a restart."""
        wanted, complain = self._settings, self._log.error
        for flag, path in (("--csv", wanted.csv), ("--summary-json", wanted.summary_json), ("--failed", wanted.failed)):
            check_writable(flag, path)
        if wanted.record is not None:
            self.recorder = Recorder(wanted.record, self._log, goes_on)
        if wanted.csv is not None:
            self._files.append(CsvFile(wanted.csv, complain, goes_on))
        if wanted.summary_json is not None:
            self._files.append(SummaryFile(wanted.summary_json, complain))
        empty("--failed", wanted.failed)

    def show(self, snapshot: Snapshot) -> None:
        """A moment of a run."""
        for place in (self._display, *self._files):
            place.show(snapshot)

    async def list_failed(self, tally: Tally) -> None:
        """Lists the messages that nobody received, if that is wanted."""
        path = self._settings.failed
        if path is None:
            return
        try:
            with open(path, "wb") as file:  # noqa: ASYNC230 - a local file, a stretch at a time
                for piece in unsent.pieces(tally.run, tally.ledger):
                    file.write(piece)
                    await asyncio.sleep(0)  # others are still to be answered
        except OSError as error:
            self._log.error("--failed: %s: %s; the list is not whole", path, error.strerror)
            self._is_listed = False

    def close_shown(self) -> None:
        """No figures will come any more."""
        for place in (self._display, *self._files):
            place.close()

    async def close(self) -> bool:
        """Nothing at all will come any more; whether all was written."""
        is_recorded = self.recorder is None or await self.recorder.close()
        return is_recorded and self._is_listed and all(file.is_whole for file in self._files)
