"""Files that a run leaves behind: the figures of every interval as CSV, the summary of each run as JSON.

Knows snapshots. A file that can't be written is refused before the run. If a write fails later, the error is logged
once, and nothing more is written to that file: it stays incomplete.
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
    """Raise UsageError unless the file can be written. Changes nothing on disk."""
    try_out(path, lambda: _open(flag, path, "a"))


def try_out(path: str, open_it: Callable[[], IO[Any]]) -> None:
    """Open a file and close it again; remove it if it did not exist before.

    Named pipes are skipped: closing one signals the end of the data to its reader.
    """
    if Path(path).is_fifo():
        return
    was_there = os.path.exists(path)
    open_it().close()
    if not was_there:
        os.unlink(os.path.realpath(path))


def empty(flag: str, path: str) -> None:
    """Empty the file, so that it holds no data from an earlier run. Raises UsageError if that fails."""
    if not Path(path).is_fifo():
        _open(flag, path, "w").close()


def _open(flag: str, path: str, mode: str) -> IO[str]:
    try:
        return Path(path).open(mode, encoding="utf-8", newline="")
    except (OSError, ValueError) as error:
        raise bad_file(flag, path, "a file that can be written", error) from error


class _File(Output):
    """A file that is written during the run. Opening it empties it, unless it continues the file of a resumed run."""

    def __init__(self, flag: str, path: str, log: Log, resumes: bool) -> None:
        self._flag = flag
        self._path = path
        self._log = log
        self._resumes = resumes
        self._is_whole = True
        self._file: IO[str] | None = None

    def check(self) -> None:
        """See Output."""
        check_writable(self._flag, self._path)

    def open(self) -> None:
        """See Output."""
        self._file = _open(self._flag, self._path, "a" if self._resumes else "w")

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
            self._log.error("%s: stopped writing to %s: %s", self._flag, self._path, error.strerror)
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # every write is flushed, so its error was logged there
                self._file.close()
            self._file = None


class CsvFile(_File):
    """A CSV file with a row for each moment of each run.

    Its columns are the fields of the JSON output; null is an empty cell. With `resumes`, new rows are appended, and the
    header is written only if the file has no rows.
    """

    def __init__(self, path: str, log: Log, resumes: bool = False, _limits: Limits = LIMITS) -> None:
        super().__init__("--csv", path, log, resumes)

    def open(self) -> None:
        """See Output."""
        has_rows = self._resumes and _cut_torn_row(self._path)
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
    """Cut off a last row that a crash left half-written. Return whether the file has rows after that."""
    try:
        with open(path, "rb+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _ROW_BYTES_MAX))
            torn = len(file.read().rpartition(b"\n")[2])
            file.truncate(size - torn)
            return size > torn
    except OSError:  # it does not exist, or can't seek
        return False


class SummaryFile(_File):
    """A file with a line for each run that has ended: a JSON object. Every start empties the file."""

    def __init__(self, path: str, log: Log, _resumes: bool = False, _limits: Limits = LIMITS) -> None:
        super().__init__("--summary-json", path, log, resumes=False)

    def end(self, snapshot: Snapshot, history: History) -> None:
        """See Output."""
        self._write(lambda file: file.write(json.dumps(snapshot.as_dict()) + "\n"))
