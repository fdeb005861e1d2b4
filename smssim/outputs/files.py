"""Files that a run leaves behind: the figures of every interval as CSV, what came of each run as JSON.

Knows snapshots. A file that can't be written is said before the run; one that fails later is given up, said once, and
not whole.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

from smssim.core.progress import Figures
from smssim.core.snapshot import Snapshot
from smssim.errors import bad_file

Complain = Callable[[str], None]

_ROW_BYTES_MAX: Final = 4096


def check_writable(flag: str, path: str | None) -> None:
    """Raises UsageError unless the file can be written; leaves what is in it.

    A pipe is left alone: its reader would take the end of a look for the end of all.
    """
    if path is not None and not Path(path).is_fifo():
        _open(flag, path, "a").close()


def empty(flag: str, path: str | None) -> None:
    """Empties the file, so that nothing of an earlier run is taken for this one's; raises UsageError if that fails."""
    if path is not None and not Path(path).is_fifo():
        _open(flag, path, "w").close()


def _open(flag: str, path: str, mode: str) -> IO[str]:
    try:
        return Path(path).open(mode, encoding="utf-8", newline="")
    except (OSError, ValueError) as error:
        raise bad_file(flag, path, "a file that can be written", error) from error


class _File:
    """A file that is written as things happen; raises UsageError if it can't be opened.

    It is new with each start, unless it goes on: then what it has stays.
    """

    def __init__(self, flag: str, path: str, complain: Complain, goes_on: bool = False) -> None:
        self.is_whole = True
        self._flag = flag
        self._path = path
        self._complain = complain
        self._file: IO[str] | None = _open(flag, path, "a" if goes_on else "w")

    def _write(self, write: Callable[[IO[str]], Any]) -> None:
        if self._file is None:
            return
        try:
            write(self._file)
            self._file.flush()
        except OSError as error:
            self.is_whole = False
            self._complain(f"{self._flag}: {self._path}: {error.strerror}; nothing more is written there")
            self.close()

    def close(self) -> None:
        """Nothing more will come."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # said before, for each write is flushed
                self._file.close()
            self._file = None


class CsvFile(_File):
    """A row for each moment of each run, below a header: the fields of the JSON output, nothing where that has null."""

    def __init__(self, path: str, complain: Complain, goes_on: bool = False) -> None:
        """`goes_on`: rows are added to those that are there, as after a restart."""
        is_new = not (goes_on and _cut_torn_row(path))
        super().__init__("--csv", path, complain, goes_on)
        if is_new:
            self._write(lambda file: csv.writer(file, lineterminator="\n").writerow(Figures.__slots__))

    def show(self, snapshot: Snapshot) -> None:
        """A moment of a run."""
        cells = [json.dumps(cell) if isinstance(cell, bool) else cell for cell in snapshot.figures.as_dict().values()]
        self._write(lambda file: csv.writer(file, lineterminator="\n").writerow(cells))


def _cut_torn_row(path: str) -> bool:
    """Cuts off a row that a crash has left half-written; whether the file has rows then."""
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
    """An object on a line of its own for each run that is over."""

    def __init__(self, path: str, complain: Complain) -> None:
        super().__init__("--summary-json", path, complain)

    def show(self, snapshot: Snapshot) -> None:
        """A moment of a run."""
        if snapshot.summary is not None:
            self._write(lambda file: file.write(json.dumps(snapshot.as_dict()) + "\n"))
