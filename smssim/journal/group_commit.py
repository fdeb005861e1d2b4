"""Writes a node's state to its journal: one commit at a time in a thread of its own, for all who wait for one.

Knows a journal and what says the changes. Must not know what they mean, nor which node it serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from smssim.core.limits import LIMITS, Limits
from smssim.core.pieces import DAMAGE, Changes
from smssim.errors import JournalError, NotSavedError
from smssim.journal.sqlite import Journal


class GroupCommit:
    """Commits what `changes` says whenever somebody wants it saved. Without a journal, all counts as saved at once.

    Group commit (Gawlick and Kinkade, 1985): what comes while one commit is under way goes into the next one, together.
    """

    def __init__(self, journal: Journal | None, changes: Callable[[], Changes], limits: Limits = LIMITS) -> None:
        self._limits = limits
        self._journal = journal
        self._changes = changes
        self._clock = asyncio.get_running_loop().time
        self._wanted = asyncio.Event()
        self._next: asyncio.Future[None] | None = None  # done with the commit that begins next
        self._thread = ThreadPoolExecutor(1, "journal")
        self._task = None if journal is None else asyncio.create_task(self._commit_on())

    async def saved(self) -> None:
        """Waits until all that has changed up to now is on disk; raises NotSavedError, then and ever after."""
        if self._task is None:
            return
        if self._task.done():
            self._task.result()
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            self._wanted.set()
        await asyncio.shield(self._next)  # others wait for it too

    async def broken(self) -> None:
        """Never returns; raises NotSavedError once the disk has refused a commit."""
        if self._task is not None:
            await asyncio.wait([self._task])
            self._task.result()
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Ends after the commit that is under way, and lets go of the journal."""
        if self._task is not None and self._journal is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            await asyncio.get_running_loop().run_in_executor(self._thread, self._journal.close)
        self._thread.shutdown(wait=False)

    async def _commit_on(self) -> None:
        """Commits again and again; raises NotSavedError."""
        assert self._journal is not None
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            began = self._clock()
            waiting, self._next = self._next, None
            assert waiting is not None
            changes = self._changes()
            try:
                if changes:
                    await asyncio.get_running_loop().run_in_executor(self._thread, self._journal.commit, changes)
            except NotSavedError as error:
                for refused in (waiting, self._next):
                    if refused is not None:
                        refused.set_exception(error)
                        refused.exception()  # not all of them are waited for
                raise
            waiting.set_result(None)
            took_s = self._clock() - began
            due_s = max(self._limits.commit_every_s, took_s / self._limits.commit_share_max)
            await asyncio.sleep(due_s - took_s)


@contextmanager
def restoring(journal: Journal | None) -> Iterator[None]:
    """Turns what `restore` raises for damaged pieces into a JournalError, and closes the journal for any error."""
    try:
        yield
    except DAMAGE as error:
        if journal is None:
            raise
        journal.close()
        raise JournalError(f"journal {journal.path}: it is damaged ({error}) and can't be used") from error
    except BaseException:
        if journal is not None:
            journal.close()
        raise
