"""Files that a run leaves behind: the figures of every interval as CSV, what came of each run as JSON.

Knows snapshots. A file that can't be written is refused before the run. One that fails later is given up: that is
logged once, and the file is not whole.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, Final

from smssim.core.history import History
from smssim.core.limits import LIMITS, Limits
from smssim.core.progress import Figures
from smssim.core.snapshot import Snapshot
from smssim.errors import bad_file
from smssim.outputs.protocol import Output
from smssim.process.logs import Log

_ROW_BYTES_MAX: Final = 4096


def check_writable(flag: str, path: str) -> None:
    """Raises UsageError unless the file can be written; leaves everything as it was."""
    try_out(path, lambda: _open(flag, path, "a"))


def try_out(path: str, open_it: Callable[[], IO[Any]]) -> None:
    """Opens a file and closes it again; one that was not there before is removed.

    A pipe is not tried: its reader would take the end of the trial for the end of all.
    """
    if Path(path).is_fifo():
        return
    was_there = os.path.exists(path)
    open_it().close()
    if not was_there:
        os.unlink(os.path.realpath(path))


def empty(flag: str, path: str) -> None:
    """Empties the file, so that nothing of an earlier run is taken for this one's; raises UsageError if that fails."""
    if not Path(path).is_fifo():
        _open(flag, path, "w").close()


def _open(flag: str, path: str, mode: str) -> IO[str]:
    try:
        return Path(path).open(mode, encoding="utf-8", newline="")
    except (OSError, ValueError) as error:
        raise bad_file(flag, path, "a file that can be written", error) from error


class _File(Output):
    """A file that is written as things happen. Each start empties it, but one that goes on keeps what it has."""

    def __init__(self, flag: str, path: str, log: Log, goes_on: bool) -> None:
        self._flag = flag
        self._path = path
        self._log = log
        self._goes_on = goes_on
        self._is_whole = True
        self._file: IO[str] | None = None

    def check(self) -> None:
        """See Output."""
        check_writable(self._flag, self._path)

    def open(self) -> None:
        """See Output."""
        self._file = _open(self._flag, self._path, "a" if self._goes_on else "w")

    async def close(self) -> bool:
        """See Output."""
        self._close()
        return self._is_whole

    def _write(self, write: Callable[[IO[str]], Any]) -> None:
        if self._file is None:
            return
        try:
            write(self._file)
            self._file.flush()
        except OSError as error:
            self._is_whole = False
            self._log.error("%s: %s: %s; nothing more is written there", self._flag, self._path, error.strerror)
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # logged before, because each write is flushed
                self._file.close()
            self._file = None


class CsvFile(_File):
    """A row for each moment of each run, below a header: the fields of the JSON output, nothing where that has null.

    A file that goes on gets more rows, and a header only if it has none.
    """

    def __init__(self, path: str, log: Log, goes_on: bool = False, _limits: Limits = LIMITS) -> None:
        super().__init__("--csv", path, log, goes_on)

    def open(self) -> None:
        """See Output."""
        has_rows = self._goes_on and _cut_torn_row(self._path)
        super().open()
        if not has_rows:
            self._write_row(Figures.__slots__)

    def moment(self, snapshot: Snapshot, history: History) -> None:
        """See Output."""
        cells = snapshot.figures.as_dict().values()
        self._write_row([json.dumps(cell) if isinstance(cell, bool) else cell for cell in cells])

    def end(self, snapshot: Snapshot, history: History) -> None:
        """See Output."""
        self.moment(snapshot, history)

    def _write_row(self, cells: Iterable[object]) -> None:
        self._write(lambda file: csv.writer(file, lineterminator="\n").writerow(cells))


def _cut_torn_row(path: str) -> bool:
    """Cuts off a row that a crash has left half-written; returns whether the file has rows then."""
    try:
        with open(path, "rb+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _ROW_BYTES_MAX))
            torn = len(file.read().rpartition(b"\n")[2])
            file.truncate(size - torn)
            return size > torn
    except OSError:  # it is not there, or not a file that has an end
        return False


class SummaryFile(_File):
    """An object on a line of its own for each run that has ended. It is new with each start."""

    def __init__(self, path: str, log: Log, _goes_on: bool = False, _limits: Limits = LIMITS) -> None:
        super().__init__("--summary-json", path, log, goes_on=False)

    def end(self, snapshot: Snapshot, history: History) -> None:
        """See Output."""
        self._write(lambda file: file.write(json.dumps(snapshot.as_dict()) + "\n"))
