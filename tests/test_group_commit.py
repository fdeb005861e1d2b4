"""One commit serves all waiters, no sooner than the limits allow, and a failing disk fails all of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Final, cast

import pytest
from nodes_support import play, until

from smssim.core.limits import LIMITS, Limits
from smssim.core.owned_log import Appended, OwnedLog
from smssim.core.pieces import Changes
from smssim.core.reconnect import Reconnector
from smssim.errors import FencedError, NotSavedError
from smssim.journal.group_commit import GroupCommit

AT_ONCE: Final = replace(LIMITS, commit_every_s=0.0, commit_share_max=1.0)


class Disk:
    """A log whose appends wait until `may` is set, fail with `error` if there is one, or have the next of `results`."""

    name = "log"
    why = "no answer"

    def __init__(self) -> None:
        self.commits: list[Changes] = []
        self.left: list[tuple[int, str] | None] = []
        self.may = asyncio.Event()
        self.may.set()
        self.error: NotSavedError | None = None
        self.results: list[Appended] = []

    async def append(self, changes: Changes) -> Appended:
        self.commits.append(changes)
        await self.may.wait()
        if self.error is not None:
            raise self.error
        return self.results.pop(0) if self.results else Appended.OK

    async def trim(self) -> Appended:
        return Appended.OK

    async def leave(self, ended: tuple[int, str] | None = None) -> Appended:
        self.left.append(ended)
        return Appended.OK

    async def close(self) -> None:
        """Do nothing: there is no file to close."""


class State:
    """A number, which is written as it is when a commit begins."""

    def __init__(self, disk: Disk, limits: Limits = AT_ONCE, engine: Reconnector | None = None) -> None:
        self.number = 0
        self.notices: list[str] = []
        self.saving = GroupCommit(cast(OwnedLog, disk), self._changes, limits, engine, self.notices.append)

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


def the_engine(give_up_s: float = 60.0) -> Reconnector:
    return Reconnector("engine", give_up_s, lambda low, high: low, replace(LIMITS, backoff_min_s=0.001), met=True)


def test_an_append_of_unknown_result_is_repeated_with_the_same_changes_before_any_other() -> None:
    async def scene() -> None:
        disk = Disk()
        disk.results = [Appended.UNKNOWN] * 3
        state = State(disk, AT_ONCE, the_engine())
        first = state.change()
        await until(lambda: len(disk.commits) > 1)
        await asyncio.gather(first, state.change())
        assert disk.commits == [{"number": b"1"}] * 4 + [{"number": b"2"}]
        assert state.notices[0] == "Lost engine: retrying"
        assert state.notices[1].startswith("Reconnected to engine after ")
        await state.saving.close()

    play(scene())


def test_a_fenced_off_owner_saves_nothing_more_and_fails_all_its_waiters() -> None:
    async def scene() -> None:
        disk = Disk()
        disk.results = [Appended.UNKNOWN, Appended.FENCED]
        state = State(disk, AT_ONCE, the_engine())
        for _ in range(2):
            with pytest.raises(FencedError, match=r"^log: another node has taken over$"):
                await state.change()
        await state.saving.leave()
        assert (len(disk.commits), disk.left) == (2, [])
        await state.saving.close()

    play(scene())


def test_without_an_answer_of_the_engine_a_node_gives_up_after_its_time() -> None:
    async def scene() -> None:
        disk = Disk()
        disk.results = [Appended.UNKNOWN] * 1000
        state = State(disk, AT_ONCE, the_engine(give_up_s=0.01))
        with pytest.raises(
            NotSavedError, match=r"^engine has been unreachable for 0 s \(no answer\); start this node again"
        ):
            await state.change()
        await state.saving.close()

    play(scene())


def test_an_owner_shows_that_it_is_alive_without_any_change() -> None:
    async def scene() -> None:
        disk = Disk()
        state = State(disk, replace(AT_ONCE, renew_s=0.001, append_every_s=0.0), the_engine())
        state._changes = dict  # type: ignore[method-assign]
        await until(lambda: len(disk.commits) > 3)
        await state.saving.leave((0, "complete"))
        assert disk.left == [(0, "complete")]
        await state.saving.close()

    play(scene())


def test_without_a_journal_everything_counts_as_saved() -> None:
    async def scene() -> None:
        saving = GroupCommit(None, dict)
        await saving.saved()
        await saving.close()

    play(scene())
