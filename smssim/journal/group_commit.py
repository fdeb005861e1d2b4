"""Saves a node's state in its log: carries out the commits that `GroupCommits` decides on.

Knows a log, and a function that returns changes. Must not know what they mean, or which node it serves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from smssim.core.commits import GroupCommits
from smssim.core.limits import LIMITS, Limits
from smssim.core.owned_log import Appended, OwnedLog
from smssim.core.pieces import Changes
from smssim.core.reconnect import Reconnector
from smssim.errors import FencedError, NotSavedError
from smssim.process.waiting import Wakeup


class GroupCommit:
    """Commits the changes of a node whenever a task waits for them to be saved.

    Without a log, everything counts as saved at once.
    """

    def __init__(
        self,
        log: OwnedLog | None,
        changes: Callable[[], Changes],
        limits: Limits = LIMITS,
        engine: Reconnector | None = None,
        say: Callable[[str], None] = lambda notice: None,
    ) -> None:
        """`engine` waits for the engine that keeps the log, if there is one; `say` logs its notices."""
        self._log = log
        self._limits = limits
        self._say = say
        self._commits = GroupCommits[asyncio.Future[None]](changes, limits, engine)
        self._clock = asyncio.get_running_loop().time
        self._wanted = Wakeup()
        self._task = None if log is None else asyncio.create_task(self._commit_on(log))

    async def saved(self, *, proves: bool = False) -> None:
        """Wait until all changes up to now are durable.

        `proves`: see `GroupCommits.join`. Raises NotSavedError if a commit fails, and on every later call.
        """
        if self._task is None:
            return
        if self._task.done() and not self._task.cancelled():
            self._task.result()
        waiter = asyncio.get_running_loop().create_future()
        self._commits.join(waiter, proves=proves)
        self._wanted.ring()
        await waiter

    @property
    def is_cut_off(self) -> bool:
        """Whether nothing could be saved for so long that another node may have taken over."""
        return self._commits.cut_off_s(self._clock()) >= self._limits.cut_off_after_s

    async def broken(self) -> None:
        """Wait until a commit fails, then raise its NotSavedError; never return."""
        if self._task is not None:
            await asyncio.wait([self._task])
            self._task.result()
        await asyncio.Event().wait()

    async def leave(self, ended: tuple[int, str] | None = None) -> bool:
        """Record that this node leaves the log, and return whether it did so within `Limits.leave_s`.

        See `OwnedLog.leave`. Nothing can be saved after that: those who wait for it get a NotSavedError.
        """
        log, task = self._log, self._task
        if log is None or task is None or task.done():
            return False
        await self._stop()
        self._fail(NotSavedError(f"{log.name}: this node has left it"))
        with suppress(NotSavedError, TimeoutError):
            async with asyncio.timeout(self._limits.leave_s):
                await self._carry_out(log, lambda: log.leave(ended))
                return True
        return False

    async def close(self) -> None:
        """Finish the commit that is in progress, and close the log."""
        await self._stop()
        if self._log is not None:
            await self._log.close()

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _commit_on(self, log: OwnedLog) -> None:
        """Commit whenever a task waits for it, or a sign of life is due; raises NotSavedError."""
        while True:
            while (due := self._commits.begins_at) > self._clock():
                await self._wanted.wait(due)
            changes = self._commits.begin(self._clock())
            try:
                if self._commits.must_write(changes):
                    await self._carry_out(log, lambda: log.append(changes))  # noqa: B023 - called only in this turn
                    _serve(self._commits.durable())
                    await self._carry_out(log, log.trim)
            except NotSavedError as error:
                self._fail(error)
                raise
            _serve(self._commits.done(self._clock()))

    def _fail(self, error: NotSavedError) -> None:
        """End the commits: all that wait for one, or will, get this error."""
        for waiter in self._commits.failed(error):
            if not waiter.done():  # otherwise the waiting task was cancelled
                waiter.set_exception(error)

    async def _carry_out(self, log: OwnedLog, act: Callable[[], Awaitable[Appended]]) -> None:
        """Repeat this until its result is known. Raises FencedError or NotSavedError."""
        while (result := await act()) is Appended.UNKNOWN:
            retry = self._commits.unclear(log.why, self._clock())
            if retry.notice:
                self._say(retry.notice)
            await asyncio.sleep(retry.wait_s)
        if result is Appended.FENCED:
            raise FencedError(f"{log.name}: another node has taken over")
        if notice := self._commits.clear(self._clock()):
            self._say(notice)


def _serve(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():  # otherwise the waiting task was cancelled
            waiter.set_result(None)
