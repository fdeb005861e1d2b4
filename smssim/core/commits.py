"""When a journal is written, and for whom: who joins which commit, when the next one may begin, and who learns of it.

Knows what says the changes, those who wait, and the clock that it is given. Must not know journals, threads, or what a
waiter is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Generic, TypeVar

from smssim.core.limits import LIMITS, Limits
from smssim.core.pieces import Changes
from smssim.errors import NotSavedError

Waiter = TypeVar("Waiter")


class GroupCommits(Generic[Waiter]):
    """One commit at a time, for all who wait for one.

    Group commit (Gawlick and Kinkade, 1985): those who come while one commit is under way share the next one.
    """

    def __init__(self, changes: Callable[[], Changes], limits: Limits = LIMITS) -> None:
        """`changes`: says what is to be written as of now; called once in each commit, when it begins."""
        self._changes = changes
        self._limits = limits
        self._next: list[Waiter] = []  # for the commit that begins next
        self._served: list[Waiter] | None = None  # by the commit that is under way
        self._began_at = -math.inf  # the last commit
        self._free_at = -math.inf  # the next one may begin
        self._error: NotSavedError | None = None

    @property
    def under_way(self) -> bool:
        """Whether a commit has begun and is neither done nor failed."""
        return self._served is not None

    @property
    def begins_at(self) -> float:
        """When to begin a commit; infinite while nobody waits for one, or one is under way."""
        return self._free_at if self._next and not self.under_way else math.inf

    def join(self, waiter: Waiter) -> None:
        """Add one who waits until all that has changed up to now is on disk; raises NotSavedError after a failure."""
        if self._error is not None:
            raise self._error
        self._next.append(waiter)

    def begin(self, now: float) -> Changes:
        """Begin the commit that is due; returns what it writes. If that is empty, it is done without the disk."""
        assert self._next
        assert not self.under_way
        self._served, self._next = self._next, []
        self._began_at = now
        return self._changes()

    def done(self, now: float) -> list[Waiter]:
        """Note that the commit is on disk; returns those it was for."""
        assert self._served is not None
        waiters, self._served = self._served, None
        limits, took_s = self._limits, now - self._began_at
        shared_s = min(took_s / limits.commit_share_max, took_s + limits.commit_rest_max_s)
        self._free_at = self._began_at + max(limits.commit_every_s, shared_s)
        return waiters

    def failed(self, error: NotSavedError) -> list[Waiter]:
        """Note that the disk has refused the commit: there will be no other; returns all who wait for one."""
        assert self._served is not None
        waiters, self._served, self._next = self._served + self._next, None, []
        self._error = error
        return waiters
