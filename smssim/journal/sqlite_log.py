"""A journal as the log of a node. Its owner is the process that has locked the file.

Knows a journal and a thread. Must not know what is saved, or when.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from smssim.core.limits import LIMITS, Limits
from smssim.core.owned_log import Appended, Taken
from smssim.core.pieces import Changes
from smssim.errors import JournalError
from smssim.journal.sqlite import Journal


class SqliteLog:
    """An `OwnedLog` in an SQLite file, written to by a thread of its own."""

    def __init__(self, path: str, kind: str, limits: Limits = LIMITS) -> None:
        """Open the journal of a node of this kind, or create it; raises JournalError."""
        self.name = f"journal {path}"
        self.why = ""
        self.about = ""  # which nobody reads
        self._path = path
        self._journal = Journal(path, kind, limits)
        self._thread = ThreadPoolExecutor(1, "journal")

    async def take(self) -> Taken:
        """Return what is on record. See `OwnedLog`."""
        pieces, self._journal.pieces = self._journal.pieces, {}
        return Taken(pieces)

    async def append(self, changes: Changes) -> Appended:
        """Commit these changes; raises NotSavedError. See `OwnedLog`."""
        if changes:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._journal.commit, changes)
        return Appended.OK

    async def trim(self) -> Appended:
        """Do nothing: a journal holds state, not history."""
        return Appended.OK

    async def leave(self, ended: tuple[int, str] | None = None) -> Appended:
        """Do nothing: no other node waits for the journal."""
        return Appended.OK

    async def close(self) -> None:
        """Wait for a commit in progress, and release the file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._journal.close)
        self._thread.shutdown(wait=False)

    def damaged(self, error: Exception) -> JournalError:
        """Return the error that says that the state on record can't be restored."""
        return JournalError(
            f"{self.name}: the file is damaged ({error}): delete it and {self._path}-wal to begin a new run"
        )
