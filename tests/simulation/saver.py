"""Group commit on a simulated disk."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from simulation.clock import Process
from simulation.disk import Disk
from smssim.core.pieces import Changes

if TYPE_CHECKING:
    from simulation.world import World


class Saver:
    """Commits what `changes` says, one commit at a time, for all who wait for one."""

    def __init__(self, process: Process, disk: Disk | None, world: World, changes: Callable[[], Changes]) -> None:
        self._process, self._disk, self._world, self._changes = process, disk, world, changes
        self._waiting: list[Callable[[], None]] = []
        self._busy = False
        self._closed = False
        self.commits = False  # now

    def close(self) -> None:
        """Begins no commit any more; one that is under way goes on."""
        self._closed = True

    def save(self, done: Callable[[], None]) -> None:
        """Calls back when all that has changed up to now is on disk; at once without a disk."""
        if self._disk is None:
            done()
            return
        self._waiting.append(done)
        if not self._busy:
            self._busy = True
            self._world.clock.after(self._world.plan.gather_s, self._process, self._commit)

    def _commit(self) -> None:
        assert self._disk is not None
        if self._closed:
            return
        waiting, self._waiting = self._waiting, []
        changes = self._changes()
        if changes:
            self.commits = True
            self._disk.commit(self._process, changes, partial(self._committed, waiting))
        else:
            self._committed(waiting)

    def _committed(self, waiting: list[Callable[[], None]]) -> None:
        self.commits = False
        for done in waiting:
            done()
        self._busy = bool(self._waiting)
        if self._busy:
            self._world.clock.after(self._world.plan.gather_s, self._process, self._commit)
