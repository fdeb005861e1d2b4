"""`GroupCommits` on a simulated disk, in place of its shell."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from simulation.clock import Process
from simulation.disk import Disk
from smssim.core.commits import GroupCommits
from smssim.core.pieces import Changes

if TYPE_CHECKING:
    from simulation.world import World


class Saver:
    """Commits what `changes` returns whenever a save is requested. Without a disk, everything counts as saved."""

    def __init__(self, process: Process, disk: Disk | None, world: World, changes: Callable[[], Changes]) -> None:
        self._process, self._disk, self._clock = process, disk, world.clock
        self._commits = GroupCommits[Callable[[], None]](changes, world.limits)
        self._awake_at = math.inf
        self._closed = False

    @property
    def commits(self) -> bool:
        """Whether a commit is in progress."""
        return self._commits.in_progress

    def close(self) -> None:
        """Begin no more commits; one that is in progress continues."""
        self._closed = True

    def save(self, done: Callable[[], None]) -> None:
        """Call `done` when all changes up to now are on disk."""
        if self._disk is None:
            done()
            return
        self._commits.join(done)
        self._wake_when_due()

    def _wake_when_due(self) -> None:
        if (due := max(self._commits.begins_at, self._clock.now)) < self._awake_at:
            self._awake_at = due
            self._clock.after(due - self._clock.now, self._process, self._commit)

    def _commit(self) -> None:
        assert self._disk is not None
        self._awake_at = math.inf
        if self._closed:
            return
        if changes := self._commits.begin(self._clock.now):
            self._disk.commit(self._process, changes, self._committed)
        else:
            self._committed()

    def _committed(self) -> None:
        for done in self._commits.done(self._clock.now):
            done()
        self._wake_when_due()
