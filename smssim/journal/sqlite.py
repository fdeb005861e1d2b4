"""A journal: the state of one node in one run, on disk.

An SQLite file with a table of named pieces. A commit is one transaction in write-ahead mode with an fsync (synchronous
FULL): once `commit` has returned, what it wrote survives SIGKILL and power loss; of a commit that did not return, all
or nothing is there. The newest commits are in the log, the file with `-wal` at the end of its name. An orderly close
moves them all into the main file and deletes the log; while a journal is open, its main file says so (`_IN_USE`), so
that one that has lost its log is noticed. Knows SQLite. Must not know what a piece means.
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

FORMAT: Final = 2  # of what the pieces contain, too; in the file's user_version
KINDS: Final = {"producer": 0x736D_7370, "monitor": 0x736D_736D}  # "smsp", "smsm": the file's application_id

_IN_USE: Final = 1 << 16  # set in user_version from the first commit to an orderly close: there is a log
_MODE: Final = 0o600  # session ids are in it; SQLite gives the log the mode of the main file
_PAGE_BYTES: Final = 8192  # with 4096, a piece of 1 KiB, as most are, does not fit into its row and takes a page more
_MAGIC: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 100  # see sqlite.org/fileformat2.html
_READ_ONLY: Final = ("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")


class Journal:
    """An open journal, locked for this process alone until it is closed."""

    def __init__(self, path: str, kind: str, limits: Limits = LIMITS) -> None:
        """Opens the journal of this kind of node, or makes it; raises JournalError and leaves the file as it was."""
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
        """Writes all of these or none, and returns when it is on disk; raises NotSavedError. Any thread may call it."""
        with self._using:
            if not self._in_place():  # a commit would go to a file that nobody finds again
                raise NotSavedError(f"journal {self.path}: somebody has removed it; nothing more is accepted")
            try:
                self._write(changes)
            except sqlite3.Error as error:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise NotSavedError(f"journal {self.path}: {_cause(error)}; nothing more is accepted") from error

    def _in_place(self) -> bool:
        """Whether the file is still where the next start looks for it."""
        try:
            return os.stat(self.path).st_ino == self._inode
        except OSError:
            return False

    def close(self) -> None:
        """Lets go of the file, after the commit that is under way; one file is left unless the disk is full."""
        with self._using:
            with contextlib.suppress(sqlite3.Error):  # then the log stays, and the mark with it: nothing is lost
                if self._is_marked:
                    self._db.execute(f"PRAGMA user_version = {FORMAT}")
                    self._is_marked = False
            with contextlib.suppress(sqlite3.Error):
                self._db.close()

    def _prepare(self, kind: str) -> None:
        execute = self._db.execute
        execute("PRAGMA locking_mode = EXCLUSIVE")
        execute("PRAGMA synchronous = FULL")
        execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a new file
        execute("BEGIN EXCLUSIVE")
        is_new = execute("PRAGMA schema_version").fetchone()[0] == 0
        if is_new:  # what makes it a journal is there at once, or nothing is
            execute(f"PRAGMA application_id = {KINDS[kind]}")
            execute(f"PRAGMA user_version = {FORMAT}")
            execute('CREATE TABLE pieces (name TEXT PRIMARY KEY, piece BLOB, "check" INTEGER) WITHOUT ROWID')
        execute("COMMIT")
        mode = execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise JournalError(f"journal {self.path}: this file system can't hold it (SQLite's mode is {mode})")

    def _mark(self) -> None:
        """Writes into the main file that there is a log from now on.

        The mark is committed to the log first, which is thereby on disk, and copied to the main file then: whenever
        a crash comes, a main file with the mark has a log beside it. SQLite keeps the log until an orderly close.
        """
        for path in (self.path, self.path + "-wal"):  # one that an earlier smssim or another umask has made
            with contextlib.suppress(OSError):
                os.chmod(path, os.stat(path).st_mode & _MODE)
        self._db.execute(f"PRAGMA user_version = {FORMAT | _IN_USE}")
        self._is_marked = True
        self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _read(self) -> dict[str, bytes]:
        """All pieces by name; raises JournalError if one of them is not as it was written."""
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
    """SQLite does not notice a bit that has changed in a value; this does."""
    return zlib.crc32(piece, zlib.crc32(name.encode()))


def _check_file(path: str, kind: str) -> None:
    """Raises JournalError unless this file may be a journal of this kind or become one; touches nothing."""
    if not Path(path).parent.is_dir():
        raise JournalError(f"journal {path}: there is no directory {Path(path).parent}")
    if Path(path).exists() and not Path(path).is_file():
        raise JournalError(f"journal {path}: it is not a file")
    header = b""
    try:
        with open(path, "rb") as file:
            header = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise JournalError(f"journal {path}: {error.strerror}") from error
    if Path(path).exists() and not os.access(path, os.W_OK):
        raise JournalError(f"journal {path}: it is read-only")
    if header:
        _check_header(path, kind, header)
    elif Path(path + "-wal").exists():
        raise JournalError(
            f"journal {path}: the file is missing or empty, and its log {path}-wal is there; put it back beside it, or "
            "delete the log to begin a new run"
        )


def _make(path: str) -> None:
    """Makes the file if it is not there, readable for this user alone; raises JournalError."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, _MODE))
    except OSError as error:
        raise JournalError(f"journal {path}: it can't be written ({error.strerror})") from error


def _check_header(path: str, kind: str, header: bytes) -> None:
    """Raises JournalError. Kind and format were written when the journal was made: no log beside it changes them."""
    if not header.startswith(_MAGIC):
        raise JournalError(f"journal {path}: the file is something else, not a journal of smssim")
    if len(header) < _HEADER_BYTES:
        raise _damaged(path, "its header is cut short")
    version, found = (int.from_bytes(header[at : at + 4], "big") for at in (60, 68))
    has_log, version = bool(version & _IN_USE), version & ~_IN_USE
    whose = next((name for name, number in KINDS.items() if number == found), None)
    if whose is None:
        raise JournalError(f"journal {path}: the file is a database of another program, not a journal of smssim")
    if whose != kind:
        raise JournalError(f"journal {path}: it is that of a {whose}; takes that of a {kind}, or a file to be made")
    if version > FORMAT:
        raise JournalError(f"journal {path}: it has format {version}, of a newer smssim; this one reads {FORMAT}")
    if version < FORMAT:
        raise JournalError(
            f"journal {path}: it has format {version}, of an older smssim; this one reads {FORMAT}: finish the run "
            "with that version, or delete the journal to begin a new one"
        )
    if has_log and not Path(path + "-wal").exists():
        raise JournalError(
            f"journal {path}: its log {path}-wal is missing; put it back beside it, or delete the journal to begin a "
            "new run"
        )


def _damaged(path: str, what: str) -> JournalError:
    return JournalError(f"journal {path}: it is damaged ({what}) and can't be used; the run can't be resumed from it")


def _refusal(path: str, error: sqlite3.Error) -> JournalError:
    """What an error of SQLite means for a journal that is being opened."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return JournalError(f"journal {path}: it is in use by another process")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or not name.startswith("SQLITE_"):
        return _damaged(path, str(error))
    if name.startswith(_READ_ONLY):
        return JournalError(f"journal {path}: it can't be written ({error})")
    if name == "SQLITE_ERROR":  # no such table, and the like
        return _damaged(path, str(error))
    return JournalError(f"journal {path}: {_cause(error)}")


def _cause(error: sqlite3.Error) -> str:
    """Why something can't be written, in plain words."""
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_FULL":
        return "the disk is full"
    return "can't be written, the disk may be full (disk I/O error)" if name.startswith("SQLITE_IOERR") else str(error)
