"""The directory of `--history`: a file with the document of each run, and an index of them.

The index is only a cache: it is made again from the files whenever it is missing, damaged or out of date. Several
processes may use a directory at the same time. Knows documents and files. Must stay cheap to import.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from smssim.errors import UsageError, bad_file
from smssim.escaping import quote
from smssim.outputs import atomic
from smssim.outputs.report.formats import COUNT, DATE, FLAG, LINE, REAL, RUN_DOCUMENT, RUN_ID
from smssim.outputs.report.inputs import FILE_BYTES_MAX, NAME_MAX, documents_in, value_in
from smssim.outputs.report.shapes import Fields, Maybe, WrongShapeError, shaped

EXPECTED: Final = "a directory that can be written, created if it does not exist"
INDEX: Final = "index.json"
INDEX_VERSION: Final = 1
LEFT_OVER_S: Final = 600.0  # a file that is still being written after this time never will be whole
_NAME: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z-([0-9A-Za-z][0-9A-Za-z_.-]{0,63})\.json")
_ROW: Final = Fields(
    {
        "run_id": RUN_ID,
        "began": Maybe(DATE),
        "title": LINE,
        "total": COUNT,
        "sent": COUNT,
        "failed": COUNT,
        "elapsed_s": REAL,
        "complete": FLAG,
        "verdict": RUN_DOCUMENT.known["verdict"],
    },
    {},
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file with a run."""

    name: str
    size: int
    changed_ns: int
    row: Mapping[str, Any] | None = None  # what a list shows of the run; None if the file is damaged
    damage: str = ""  # what is wrong with the file

    @property
    def run_id(self) -> str:
        """The id of the run, according to the name of the file."""
        found = _NAME.fullmatch(self.name)
        return found[1] if found else ""


class Kept:
    """The runs in a directory."""

    def __init__(self, directory: str, named: str = "DIR") -> None:
        """`named`: what named the directory, for errors."""
        self.directory = Path(directory)
        self._named = named

    # -- reading

    def entries(self) -> list[Entry]:
        """Return all runs, the newest first. Raises UsageError if the directory can't be read."""
        known, entries = self._index(), []
        for file in self._files():
            entry = known.get(file.name)
            is_current = entry is not None and (entry.size, entry.changed_ns) == (file.size, file.changed_ns)
            entries.append(entry if entry is not None and is_current else self._read(file))
        if known != {entry.name: entry for entry in entries if entry.row is not None}:
            self._save_index(entries)
        return entries

    def find(self, run_id: str) -> dict[str, Any]:
        """Return the document of the run whose id begins like this.

        Raises LookupError if there is none or there are several, and UsageError if the file is damaged.
        """
        found = [entry for entry in self._files() if entry.run_id.lower().startswith(run_id.lower())] if run_id else []
        if not found:
            raise LookupError(f"no run in {quote(self.directory)} has an ID that begins with {quote(run_id)}")
        if len(found) > 1 and len({entry.run_id for entry in found}) > 1:
            some = ", ".join(entry.run_id for entry in found[:3])
            raise LookupError(f"{quote(run_id)} is the beginning of several IDs: {some}")
        return self._document(found[0])

    def _files(self) -> list[Entry]:
        """Return the files with runs, the newest first, without what they contain."""
        try:
            with os.scandir(self.directory) as there:
                names = [one for one in there if _NAME.fullmatch(one.name)]
        except (OSError, ValueError) as error:
            raise bad_file(
                self._named, str(self.directory), "a directory in which --history has kept runs", error
            ) from error
        found = []
        for one in names:
            with contextlib.suppress(OSError):  # it was removed in the meantime
                if one.is_file(follow_symlinks=False):
                    known = one.stat(follow_symlinks=False)
                    found.append(Entry(one.name, known.st_size, known.st_mtime_ns))
        return sorted(found, key=lambda entry: entry.name, reverse=True)

    def _document(self, entry: Entry) -> dict[str, Any]:
        """Return the document in a file. Raises UsageError."""
        found = documents_in(self._content(entry), str(self.directory / entry.name))
        if len(found) != 1 or found[0]["kind"] != "run":
            raise self._wrong(entry)
        self._check_id(entry, found[0]["progress"]["run_id"])
        return found[0]

    def _read(self, entry: Entry) -> Entry:
        """Return an entry with what a list shows, of which only that is checked: this takes a fifth of the time."""
        path = str(self.directory / entry.name)
        try:
            value = value_in(self._content(entry), path)
            row = shaped({**value, **value["progress"]}, _ROW)
            self._check_id(entry, row["run_id"])
        except UsageError as error:
            return replace(entry, damage=str(error).removeprefix("RUN: "))
        except (WrongShapeError, TypeError, KeyError) as error:
            return replace(entry, damage=str(self._wrong(entry, error)).removeprefix("RUN: "))
        return replace(entry, row=row)

    def _content(self, entry: Entry) -> bytes:
        """Return the content of a file. Raises UsageError."""
        path = self.directory / entry.name
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                return file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            raise UsageError(
                f"RUN: {quote(path, NAME_MAX)} can't be read ({(error.strerror or '').lower()})"
            ) from error

    def _check_id(self, entry: Entry, run_id: str) -> None:
        """Raise UsageError if a file has another run than its name says."""
        if run_id != entry.run_id:
            raise self._wrong(entry)

    def _wrong(self, entry: Entry, why: Exception | None = None) -> UsageError:
        reason = f" ({why})" if isinstance(why, WrongShapeError) else ""
        return UsageError(
            f"RUN: {quote(self.directory / entry.name, NAME_MAX)} is not the run that its name says{reason}"
        )

    # -- the index

    def _index(self) -> dict[str, Entry]:
        """Return the entries of the index, by name; none if it is missing or damaged."""
        try:
            saved = json.loads((self.directory / INDEX).read_bytes())
            if saved["version"] != INDEX_VERSION:
                return {}
            entries = [
                Entry(str(one["name"]), int(one["size"]), int(one["changed_ns"]), shaped(one["row"], _ROW))
                for one in saved["files"]
            ]
        except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
            return {}
        return {entry.name: entry for entry in entries if entry.run_id}

    def _save_index(self, entries: Iterable[Entry]) -> None:
        """Save the index, if the directory can be written."""
        files = [
            {"name": entry.name, "size": entry.size, "changed_ns": entry.changed_ns, "row": entry.row}
            for entry in entries
            if entry.row is not None
        ]
        content = json.dumps({"version": INDEX_VERSION, "files": files}, separators=(",", ":"))
        with contextlib.suppress(OSError):
            atomic.write(str(self.directory / INDEX), content.encode(), 0o600)

    # -- writing

    def check(self) -> None:
        """Raise UsageError unless runs can be kept here. Changes nothing on disk."""
        there = Path(os.path.realpath(self.directory))
        while not there.exists() and there != there.parent:
            there = there.parent
        try:
            if not there.is_dir():
                raise NotADirectoryError(20, os.strerror(20))
            atomic.check("--history", str(there / "run"))
        except (OSError, UsageError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            raise bad_file(
                "--history", str(self.directory), EXPECTED, cause if isinstance(cause, OSError) else OSError()
            ) from error

    def create(self) -> None:
        """Create the directory, if it does not exist; raises OSError."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def keep(self, document: Mapping[str, Any], runs_max: int, bytes_max: int) -> None:
        """Keep a run, in place of what was kept of it before, and remove the oldest runs; raises OSError."""
        run_id, began = document["progress"]["run_id"], document["began"]
        name = f"{began.replace('-', '').replace(':', '')}-{run_id}.json"
        content = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
        self.create()
        atomic.write(str(self.directory / name), content + b"\n", 0o600)
        self._remove(entry for entry in self._files() if entry.run_id == run_id and entry.name != name)
        self._remove(_beyond(self._files(), runs_max, bytes_max))
        self._remove_left_overs()
        self.entries()  # brings the index up to date

    def _remove(self, entries: Iterable[Entry]) -> None:
        for entry in list(entries):
            with contextlib.suppress(FileNotFoundError):  # another process has removed it
                (self.directory / entry.name).unlink()

    def _remove_left_overs(self) -> None:
        """Remove files that a process began to write and never finished."""
        for path in self.directory.glob(f".*{atomic.SUFFIX}"):
            with contextlib.suppress(OSError):
                if path.name.startswith((".2", f".{INDEX}")) and time.time() - path.stat().st_mtime > LEFT_OVER_S:
                    path.unlink()


def _beyond(newest_first: Iterable[Entry], runs_max: int, bytes_max: int) -> list[Entry]:
    """Return the runs that there is no room for. The newest one always stays."""
    beyond, size = [], 0
    for number, entry in enumerate(newest_first):
        size += entry.size
        if number and (number >= runs_max or size > bytes_max):
            beyond.append(entry)
    return beyond
