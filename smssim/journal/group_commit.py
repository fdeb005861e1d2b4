"""Writes a node's state to its journal: carries out the commits of `GroupCommits` in a separate thread.

Knows a journal, and a function that returns changes. Must not know what they mean, or which node it serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from smssim.core.commits import GroupCommits
from smssim.core.limits import LIMITS, Limits
from smssim.core.pieces import DAMAGE, Changes
from smssim.errors import JournalError, NotSavedError
from smssim.journal.sqlite import Journal


class GroupCommit:
    """Commits the changes of a node whenever a task waits for them to be saved.

    Without a journal, everything counts as saved at once.
    """

    def __init__(self, journal: Journal | None, changes: Callable[[], Changes], limits: Limits = LIMITS) -> None:
        self._journal = journal
        self._commits = GroupCommits[asyncio.Future[None]](changes, limits)
        self._clock = asyncio.get_running_loop().time
        self._wanted = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "journal")
        self._task = None if journal is None else asyncio.create_task(self._commit_on())

    async def saved(self) -> None:
        """Wait until all changes up to now are on disk.

        Raises NotSavedError if a commit fails, and on every later call.
        """
        if self._task is None:
            return
        if self._task.done():
            self._task.result()
        waiter = asyncio.get_running_loop().create_future()
        self._commits.join(waiter)
        self._wanted.set()
        await waiter

    async def broken(self) -> None:
        """Wait until a commit fails, then raise its NotSavedError; never return."""
        if self._task is not None:
            await asyncio.wait([self._task])
            self._task.result()
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Finish the commit that is in progress, and close the journal."""
        if self._task is not None and self._journal is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            await asyncio.get_running_loop().run_in_executor(self._thread, self._journal.close)
        self._thread.shutdown(wait=False)

    async def _commit_on(self) -> None:
        """Commit whenever a task waits for it; raises NotSavedError."""
        assert self._journal is not None
        while True:
            await self._wanted.wait()
            if (wait_s := self._commits.begins_at - self._clock()) > 0:
                await asyncio.sleep(wait_s)
            self._wanted.clear()
            changes = self._commits.begin(self._clock())
            try:
                if changes:
                    await asyncio.get_running_loop().run_in_executor(self._thread, self._journal.commit, changes)
            except NotSavedError as error:
                for waiter in self._commits.failed(error):
                    if not waiter.done():  # otherwise the waiting task was cancelled
                        waiter.set_exception(error)
                raise
            for waiter in self._commits.done(self._clock()):
                if not waiter.done():
                    waiter.set_result(None)


@contextmanager
def restoring(journal: Journal | None) -> Iterator[None]:
    """Turn the errors of damaged pieces that the block raises into JournalError; close the journal on any error."""
    try:
        yield
    except DAMAGE as error:
        if journal is None:
            raise
        journal.close()
        raise JournalError(
            f"journal {journal.path}: the file is damaged ({error}): "
            f"delete it and {journal.path}-wal to begin a new run"
        ) from error
    except BaseException:
        if journal is not None:
            journal.close()
        raise
