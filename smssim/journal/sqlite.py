"""A journal: the state of one node in one run, on disk.

An SQLite file with a table of named pieces. A commit is one transaction in write-ahead mode with an fsync (synchronous
FULL). Once `commit` has returned, what it wrote survives SIGKILL and power loss; a commit that did not return is there
completely or not at all. The newest commits are in the log, a file with the suffix `-wal`. An orderly close moves them
all into the main file and deletes the log. While a journal is open, its main file is marked (`_IN_USE`), so that the
next start detects a lost log. Knows SQLite. Must not know what a piece means.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import zlib
from pathlib import Path
from typing import Final

from smssim.core.limits import LIMITS, Limits
from smssim.core.pieces import Changes
from smssim.errors import JournalError, NotSavedError

FORMAT: Final = 2  # of the file and of the contents of pieces; stored in user_version
KINDS: Final = {"producer": 0x736D_7370, "monitor": 0x736D_736D}  # "smsp", "smsm": stored in application_id

_IN_USE: Final = 1 << 16  # set in user_version while a log exists: from the first commit to an orderly close
_MODE: Final = 0o600  # the file contains session ids; SQLite gives the log the mode of the main file
_PAGE_BYTES: Final = 8192  # with 4096, a typical piece of 1 KiB does not fit into its row and needs a further page
_MAGIC: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 100  # see sqlite.org/fileformat2.html
_READ_ONLY: Final = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")


class Journal:
    """An open journal, locked exclusively by this process until it is closed."""

    def __init__(self, path: str, kind: str, limits: Limits = LIMITS) -> None:
        """Open the journal of a node of this kind, or create it.

        Raises JournalError, and then leaves an existing file as it was.
        """
        self.path = path
        self._using = threading.Lock()
        self._is_marked = False
        _check_file(path, kind)
        _make(path)
        try:
            self._db = sqlite3.connect(
                path, timeout=limits.journal_in_use_wait_s, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise _refusal(path, error) from error
        try:
            self._prepare(kind)
            self._inode = os.stat(path).st_ino
            self.pieces = self._read()
            self._mark()
        except sqlite3.Error as error:
            self.close()
            raise _refusal(path, error) from error
        except BaseException:
            self.close()
            raise

    def commit(self, changes: Changes) -> None:
        """Write all of these changes or none, and return when they are on disk.

        Raises NotSavedError. Any thread may call it.
        """
        with self._using:
            if not self._in_place():  # a commit would go to a deleted file
                raise NotSavedError(f"journal {self.path}: the file was removed or replaced; nothing more can be saved")
            try:
                self._write(changes)
            except sqlite3.Error as error:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise NotSavedError(f"journal {self.path}: {_cause(error)}; fix this and restart to resume") from error

    def _in_place(self) -> bool:
        """Return whether the file is still where the next start looks for it."""
        try:
            return os.stat(self.path).st_ino == self._inode
        except OSError:
            return False

    def close(self) -> None:
        """Wait for a commit in progress, and release the file. Removes the log, unless the disk is full."""
        with self._using:
            with contextlib.suppress(sqlite3.Error):  # in this case the log and the mark stay: nothing is lost
                if self._is_marked:
                    self._db.execute(f"PRAGMA user_version = {FORMAT}")
                    self._is_marked = False
            with contextlib.suppress(sqlite3.Error):
                self._db.close()

    def _prepare(self, kind: str) -> None:
        execute = self._db.execute
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("PRAGMA synchronous = FULL")
        execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # has no effect on an existing file
        execute("BEGIN EXCLUSIVE")
        is_new = execute("PRAGMA schema_version").fetchone()[0] == 0
        if is_new:  # all that makes it a journal is written in one transaction
            execute(f"PRAGMA application_id = {KINDS[kind]}")
            execute(f"PRAGMA user_version = {FORMAT}")
            execute('CREATE TABLE pieces (name TEXT PRIMARY KEY, piece BLOB, "check" INTEGER) WITHOUT ROWID')
        execute("COMMIT")
        mode = execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise JournalError(f"journal {self.path}: the file system can't hold a journal (SQLite's mode is {mode})")

    def _mark(self) -> None:
        """Mark the main file: a log exists from now on.

        The mark is first committed to the log, which puts the log on disk, and then copied to the main file. Therefore
        a marked main file always has a log beside it, even after a crash. SQLite keeps the log until an orderly close.
        """
        for path in (self.path, self.path + "-wal"):  # existing files may have another mode
            with contextlib.suppress(OSError):
                os.chmod(path, os.stat(path).st_mode & _MODE)
        self._db.execute(f"PRAGMA user_version = {FORMAT | _IN_USE}")
        self._is_marked = True
        self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _read(self) -> dict[str, bytes]:
        """Return all pieces by name; raises JournalError if one of them is damaged."""
        pieces = {}
        for name, piece, check in self._db.execute("SELECT * FROM pieces"):
            if not isinstance(piece, bytes) or check != _check(name, piece):
                raise _damaged(self.path, f"the piece {name}")
            pieces[name] = piece
        return pieces

    def _write(self, changes: Changes) -> None:
        kept = [(name, piece, _check(name, piece)) for name, piece in changes.items() if piece is not None]
        gone = [(name,) for name, piece in changes.items() if piece is None]
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany("REPLACE INTO pieces VALUES (?, ?, ?)", kept)
        self._db.executemany("DELETE FROM pieces WHERE name = ?", gone)
        self._db.execute("COMMIT")


def _check(name: str, piece: bytes) -> int:
    """Return a checksum of a piece and its name. SQLite itself does not detect changed bits in a value."""
    return zlib.crc32(piece, zlib.crc32(name.encode()))


def _check_file(path: str, kind: str) -> None:
    """Raise JournalError unless this file may be a journal of this kind or become one; changes nothing."""
    if not Path(path).parent.is_dir():
        raise JournalError(f"journal {path}: the directory {Path(path).parent} does not exist")
    if Path(path).exists() and not Path(path).is_file():
        raise JournalError(f"journal {path}: not a regular file")
    header = b""
    try:
        with open(path, "rb") as file:
            header = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise JournalError(f"journal {path}: can't be read ({error.strerror})") from error
    if Path(path).exists() and not os.access(path, os.W_OK):
        raise JournalError(f"journal {path}: the file is read-only")
    if header:
        _check_header(path, kind, header)
    elif Path(path + "-wal").exists():
        raise JournalError(
            f"journal {path}: the file is missing or empty, but its log {path}-wal exists: restore the file, or delete "
            "the log to begin a new run"
        )


def _make(path: str) -> None:
    """Create the file if it does not exist, readable only by this user; raises JournalError."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, _MODE))
    except OSError as error:
        raise JournalError(f"journal {path}: can't be written ({error.strerror})") from error


def _check_header(path: str, kind: str, header: bytes) -> None:
    """Raise JournalError unless this is the header of a usable journal of this kind.

    Kind and format were written to the main file when the journal was created: its log can't change them.
    """
    if not header.startswith(_MAGIC):
        raise JournalError(f"journal {path}: not a journal of smssim: choose another file")
    if len(header) < _HEADER_BYTES:
        raise _damaged(path, "its header is truncated")
    version, found = (int.from_bytes(header[at : at + 4], "big") for at in (60, 68))
    has_log, version = bool(version & _IN_USE), version & ~_IN_USE
    whose = next((name for name, number in KINDS.items() if number == found), None)
    if whose is None:
        raise JournalError(f"journal {path}: a database of another program: choose another file")
    if whose != kind:
        raise JournalError(f"journal {path}: got the journal of a {whose}; expected that of a {kind}, or a new file")
    if version > FORMAT:
        raise JournalError(f"journal {path}: format {version} needs a newer smssim; this version reads format {FORMAT}")
    if version < FORMAT:
        raise JournalError(
            f"journal {path}: format {version} needs an older smssim; this version reads format {FORMAT}: finish the "
            f"run with the older version, or delete it and {path}-wal to begin a new run"
        )
    if has_log and not Path(path + "-wal").exists():
        raise JournalError(
            f"journal {path}: its log {path}-wal is missing: restore the log, or delete the journal to begin a new run"
        )


def _damaged(path: str, what: str) -> JournalError:
    return JournalError(f"journal {path}: the file is damaged ({what}): delete it and {path}-wal to begin a new run")


def _refusal(path: str, error: sqlite3.Error) -> JournalError:
    """Return the JournalError for an error of SQLite while a journal is opened."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return JournalError(f"journal {path}: in use by another process: stop that process, or choose another file")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or not name.startswith("SQLITE_"):
        return _damaged(path, str(error))
    if name.startswith(_READ_ONLY):
        return JournalError(f"journal {path}: can't be written ({error}): check the path and its permissions")
    if name == "SQLITE_ERROR":  # such as a missing table
        return _damaged(path, str(error))
    return JournalError(f"journal {path}: {_cause(error)}")


def _cause(error: sqlite3.Error) -> str:
    """Return why a write failed, in plain words."""
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_FULL":
        return "the disk is full"
    return "can't be written: the disk may be full (disk I/O error)" if name.startswith("SQLITE_IOERR") else str(error)
