"""One commit serves all waiters, no sooner than the limits allow, and a failing disk fails all of them."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any, Final, cast

import pytest
from nodes_support import play, until

from smssim.core.limits import LIMITS, Limits
from smssim.core.pieces import Changes
from smssim.errors import NotSavedError
from smssim.journal.group_commit import GroupCommit
from smssim.journal.sqlite import Journal

AT_ONCE: Final = replace(LIMITS, commit_every_s=0.0, commit_share_max=1.0)


class Disk:
    """A journal whose commits wait until `may` is set, and fail with `error` if there is one."""

    def __init__(self) -> None:
        self.commits: list[Changes] = []
        self.may = threading.Event()
        self.may.set()
        self.error: NotSavedError | None = None

    def commit(self, changes: Changes) -> None:
        self.commits.append(changes)
        self.may.wait()
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Do nothing: there is no file to close."""


class State:
    """A number, which is written as it is when a commit begins."""

    def __init__(self, disk: Disk, limits: Limits = AT_ONCE) -> None:
        self.number = 0
        self.saving = GroupCommit(cast(Journal, disk), self._changes, limits)

    def _changes(self) -> Changes:
        return {"number": b"%d" % self.number}

    def change(self) -> asyncio.Task[Any]:
        """Change the number and return a task that waits until the change is saved."""
        self.number += 1
        return asyncio.create_task(self.saving.saved())


def test_all_changes_made_during_a_commit_go_into_the_next_one_together() -> None:
    async def scene() -> None:
        disk = Disk()
        state = State(disk)
        disk.may.clear()
        first = state.change()
        await until(lambda: disk.commits)
        others = [state.change() for _ in range(20)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in (first, *others))
        disk.may.set()
        await asyncio.gather(first, *others)
        assert disk.commits == [{"number": b"1"}, {"number": b"21"}]
        await state.saving.close()

    play(scene())


def test_the_next_commit_waits_until_it_is_due() -> None:
    async def scene(limits: Limits) -> tuple[bool, int]:
        disk = Disk()
        state = State(disk, limits)
        await state.change()
        second = state.change()
        came, _ = await asyncio.wait([second], timeout=0.05 if limits.commit_every_s else None)
        await state.saving.close()
        second.cancel()
        return bool(came), len(disk.commits)

    assert play(scene(AT_ONCE)) == (True, 2)
    assert play(scene(replace(LIMITS, commit_every_s=1000.0))) == (False, 1)


def test_a_failed_commit_fails_all_current_and_future_waiters() -> None:
    async def scene() -> None:
        disk = Disk()
        state = State(disk)
        disk.error = NotSavedError("the disk is full")
        disk.may.clear()
        waiting = [state.change()]
        await until(lambda: disk.commits)
        waiting.append(state.change())
        await asyncio.sleep(0)
        disk.may.set()
        for task in waiting:
            with pytest.raises(NotSavedError, match=r"^the disk is full$"):
                await task
        with pytest.raises(NotSavedError):
            await state.change()
        with pytest.raises(NotSavedError):
            await state.saving.broken()
        assert len(disk.commits) == 1
        await state.saving.close()

    play(scene())


def test_without_a_journal_everything_counts_as_saved() -> None:
    async def scene() -> None:
        saving = GroupCommit(None, dict)
        await saving.saved()
        await saving.close()

    play(scene())
