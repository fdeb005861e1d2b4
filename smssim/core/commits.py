"""Group commit: which waiters a commit serves, when the next one may begin, and which waiters to notify at its end.

Knows the function that returns the changes, the waiters, and the time that it is given. Must not know logs, threads, or
what a waiter is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from smssim.core.limits import LIMITS, Limits
from smssim.core.pieces import Changes
from smssim.core.reconnect import Kind, Loss, Reconnector, Retry
from smssim.errors import GoneError, NotSavedError

CUT_OFF: Final = "it can't save its state; another node may have taken over"  # what a node says while that is so

Waiter = TypeVar("Waiter")


class GroupCommits(Generic[Waiter]):
    """One commit at a time; each serves all waiters that joined before it began.

    Group commit (Gawlick and Kinkade, 1985): waiters that join while a commit is in progress share the next one.
    """

    def __init__(
        self, changes: Callable[[], Changes], limits: Limits = LIMITS, engine: Reconnector | None = None
    ) -> None:
        """Call `changes` once per commit, when the commit begins, to get what to write.

        `engine`: waits for the engine that keeps the log, if there is one. The owner then has to commit regularly, even
        without changes, to show that it is alive.
        """
        self._changes = changes
        self._limits = limits
        self._engine = engine
        self._next: list[Waiter] = []  # of the commit that begins next
        self._proves_next = self._proves = False  # whether that one, and the last one, must be written in any case
        self._served: list[Waiter] | None = None  # of the commit in progress
        self._began_at = -math.inf  # when the last commit began
        self._free_at = -math.inf  # when the next one may begin
        self._written_at = -math.inf  # when the last commit began that was written
        self._unclear_at: float | None = None  # when the commit in progress began, if its result is unknown
        self._error: NotSavedError | None = None

    @property
    def in_progress(self) -> bool:
        """Whether a commit is in progress: neither done nor failed."""
        return self._served is not None

    @property
    def begins_at(self) -> float:
        """When to begin a commit; infinity while none is wanted, or while one is in progress."""
        if self.in_progress:
            return math.inf
        renew_at = math.inf if self._engine is None else self._written_at + self._limits.renew_s
        return self._free_at if self._next else max(self._free_at, renew_at)

    def cut_off_s(self, now: float) -> float:
        """Return for how long nothing could be saved; 0 if the last commit succeeded."""
        return 0.0 if self._unclear_at is None else now - self._unclear_at

    def join(self, waiter: Waiter, *, proves: bool = False) -> None:
        """Add a waiter for the next commit, which saves all changes up to now.

        `proves`: whether it must also show that this node still owns its log, even if there are no changes. Raises
        NotSavedError if a commit has failed.
        """
        if self._error is not None:
            raise self._error
        self._next.append(waiter)
        self._proves_next |= proves

    def begin(self, now: float) -> Changes:
        """Begin the commit that is due, and return its changes. See `must_write`."""
        assert not self.in_progress
        self._served, self._next = self._next, []
        self._proves, self._proves_next = self._proves_next, False
        self._began_at = now
        return self._changes()

    def must_write(self, changes: Changes) -> bool:
        """Return whether the commit that has begun must be written; without changes, it is only a sign of life."""
        due = self._engine is not None and (self._proves or self._began_at >= self._written_at + self._limits.renew_s)
        return bool(changes) or due

    def unclear(self, why: str, now: float) -> Retry:
        """Return the wait before the commit in progress is tried again, because its result is unknown.

        Raises NotSavedError if the engine has been away for too long.
        """
        assert self._engine is not None
        self._unclear_at = self._began_at if self._unclear_at is None else self._unclear_at
        try:
            return self._engine.retry(Loss(Kind.MAY_PASS, why), now)
        except GoneError as error:
            raise NotSavedError(f"{error}; start this node again to continue the run") from error

    def clear(self, now: float) -> str:
        """Record that the result of a try is known, and return a notice for the log; empty if that is no news."""
        self._unclear_at = None
        return "" if self._engine is None else self._engine.found(now)

    def durable(self) -> list[Waiter]:
        """Record that the changes of the commit are durable, and return the waiters that it serves.

        The commit is still in progress: the log may have to be shortened, for which nobody has to wait.
        """
        assert self._served is not None
        waiters, self._served = self._served, []
        self._written_at = self._began_at
        return waiters

    def done(self, now: float) -> list[Waiter]:
        """Record that the commit is durable and over, and return the waiters that it served, unless `durable` has."""
        assert self._served is not None
        waiters, self._served = self._served, None
        limits, took_s = self._limits, now - self._began_at
        shared_s = min(took_s / limits.commit_share_max, took_s + limits.commit_rest_max_s)
        every_s = limits.commit_every_s if self._engine is None else limits.append_every_s
        self._free_at = self._began_at + max(every_s, shared_s)
        return waiters

    def failed(self, error: NotSavedError) -> list[Waiter]:
        """Record that the commit failed for good, and return all waiters. No other commit follows."""
        waiters, self._served, self._next = (self._served or []) + self._next, None, []
        self._error = error
        return waiters
