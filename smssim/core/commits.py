"""Group commit: which waiters a commit serves, when the next one may begin, and which waiters to notify at its end.

Knows the function that returns the changes, the waiters, and the time that it is given. Must not know journals,
threads, or what a waiter is.
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
    """One commit at a time; each serves all waiters that joined before it began.

    Group commit (Gawlick and Kinkade, 1985): waiters that join while a commit is in progress share the next one.
    """

    def __init__(self, changes: Callable[[], Changes], limits: Limits = LIMITS) -> None:
        """Call `changes` once per commit, when the commit begins, to get what to write."""
        self._changes = changes
        self._limits = limits
        self._next: list[Waiter] = []  # of the commit that begins next
        self._served: list[Waiter] | None = None  # of the commit in progress
        self._began_at = -math.inf  # when the last commit began
        self._free_at = -math.inf  # when the next one may begin
        self._error: NotSavedError | None = None

    @property
    def in_progress(self) -> bool:
        """Whether a commit is in progress: neither done nor failed."""
        return self._served is not None

    @property
    def begins_at(self) -> float:
        """When to begin a commit; infinity while there is no waiter, or while a commit is in progress."""
        return self._free_at if self._next and not self.in_progress else math.inf

    def join(self, waiter: Waiter) -> None:
        """Add a waiter for the next commit, which saves all changes up to now.

        Raises NotSavedError if a commit has failed.
        """
        if self._error is not None:
            raise self._error
        self._next.append(waiter)

    def begin(self, now: float) -> Changes:
        """Begin the commit that is due, and return its changes. If they are empty, nothing needs to be written."""
        assert self._next
        assert not self.in_progress
        self._served, self._next = self._next, []
        self._began_at = now
        return self._changes()

    def done(self, now: float) -> list[Waiter]:
        """Record that the commit is on disk, and return the waiters that it served."""
        assert self._served is not None
        waiters, self._served = self._served, None
        limits, took_s = self._limits, now - self._began_at
        shared_s = min(took_s / limits.commit_share_max, took_s + limits.commit_rest_max_s)
        self._free_at = self._began_at + max(limits.commit_every_s, shared_s)
        return waiters

    def failed(self, error: NotSavedError) -> list[Waiter]:
        """Record that the disk refused the commit, and return all waiters. No other commit follows."""
        assert self._served is not None
        waiters, self._served, self._next = self._served + self._next, None, []
        self._error = error
        return waiters
