"""`GroupCommits` on a simulated disk or engine, in place of its shell."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulation.clock import Process
from simulation.driving import Driven, sleep
from simulation.records import Records, Writing
from smssim.core.commits import GroupCommits
from smssim.core.owned_log import Appended, OwnedLog
from smssim.core.pieces import Changes
from smssim.core.reconnect import Reconnector
from smssim.errors import FencedError, NotSavedError

if TYPE_CHECKING:
    from simulation.world import World

Recorded = Callable[[], None]  # tells the books how much of them is on record


@dataclass(frozen=True)
class Hold:
    """A log that a node has taken."""

    log: OwnedLog
    records: Records
    writing: Writing
    engine: Reconnector | None = None  # waits for the engine, if there is one


class Saver:
    """Commits what `changes` returns whenever a save is requested. Without a log, everything counts as saved."""

    def __init__(
        self,
        process: Process,
        hold: Hold | None,
        world: World,
        changes: Callable[[], Changes],
        contents: Callable[[], tuple[object, Recorded]],
        broken: Callable[[NotSavedError], None],
    ) -> None:
        """`contents` returns how much of its books a commit contains, and what to call once it is on record."""
        self._process, self._hold, self._clock, self._limits = process, hold, world.clock, world.limits
        self._contents = contents
        self._broken = broken
        engine = None if hold is None else hold.engine
        self._commits = GroupCommits[Callable[[], None]](changes, world.limits, engine)
        self._awake_at = math.inf
        self._committing: Driven[None] | None = None
        self._closed = False
        self._has_left = False
        if engine is not None:
            self._wake_when_due()

    @property
    def commits(self) -> bool:
        """Whether a commit is in progress."""
        return self._commits.in_progress and not self._has_left

    @property
    def busy(self) -> bool:
        """Whether a save was requested that is not done."""
        return self.commits or bool(self._commits._next)

    def close(self) -> None:
        """Begin no more commits; one that is in progress continues."""
        self._closed = True

    def save(self, done: Callable[[], None], *, proves: bool = False) -> None:
        """Call `done` when all changes up to now are on record. `proves`: see `GroupCommits.join`."""
        if self._hold is None:
            _, recorded = self._contents()
            recorded()
            done()
            return
        self._commits.join(done, proves=proves)
        self._wake_when_due()

    def leave(self, ended: tuple[int, str] | None, done: Callable[[], None]) -> None:
        """Record that the node leaves, if that takes no longer than `Limits.leave_s`; then call `done`."""
        self._closed = True
        if self._hold is None or self._hold.engine is None:
            done()
            return
        self._has_left = True
        if self._committing is not None:
            self._committing.cancel()
        leaving = Driven(self._leave(self._hold.log, ended), lambda _: self._left(done))
        self._clock.after(self._limits.leave_s, self._process, lambda: self._left(done, leaving))

    async def _leave(self, log: OwnedLog, ended: tuple[int, str] | None) -> None:
        try:
            await self._carry_out(log, lambda: log.leave(ended))
        except NotSavedError:
            self._clock.strike("owner leaves unheard", self._process.name)

    def _left(self, done: Callable[[], None], leaving: Driven[None] | None = None) -> None:
        if leaving is None:
            done()
        elif not leaving.is_over:
            leaving.cancel()
            self._clock.strike("owner leaves unheard", self._process.name)
            done()

    def _wake_when_due(self) -> None:
        if (due := max(self._commits.begins_at, self._clock.now)) < self._awake_at:
            self._awake_at = due
            self._clock.after(due - self._clock.now, self._process, lambda: self._wake(due))

    def _wake(self, due: float) -> None:
        if due != self._awake_at:
            return
        self._awake_at = math.inf
        if not self._closed:
            assert self._hold is not None
            self._committing = Driven(self._commit(self._hold))

    async def _commit(self, hold: Hold) -> None:
        log, writing = hold.log, hold.writing
        contents, recorded = self._contents()
        changes = self._commits.begin(self._clock.now)
        if changes:
            writing.commit = hold.records.begin(writing.commit, changes, contents, recorded)
        try:
            if self._commits.must_write(changes):
                await self._carry_out(log, lambda: log.append(changes))
                for done in self._commits.durable():
                    done()
                await self._carry_out(log, log.trim)
        except NotSavedError as error:
            self._commits.failed(error)
            self._broken(error)
            return
        for done in self._commits.done(self._clock.now):
            done()
        self._wake_when_due()

    async def _carry_out(self, log: OwnedLog, act: Callable[[], Awaitable[Appended]]) -> None:
        """Repeat this until its result is known. Raises FencedError or NotSavedError."""
        while (result := await act()) is Appended.UNKNOWN:
            self._clock.strike("result unknown", self._process.name)
            retry = self._commits.unclear(log.why, self._clock.now)
            await sleep(self._clock, self._process, retry.wait_s)
        if result is Appended.FENCED:
            raise FencedError(f"{log.name}: another node has taken over")
        self._commits.clear(self._clock.now)
