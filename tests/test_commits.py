"""Group commits: who waits for which commit, when the next one may begin, and what happens after a failed one."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from smssim.core.commits import GroupCommits
from smssim.core.limits import LIMITS
from smssim.core.pieces import Changes
from smssim.errors import NotSavedError

PACE = replace(LIMITS, commit_every_s=1.0, commit_share_max=0.25, commit_rest_max_s=9.0)


class State:
    """A number and its commits."""

    def __init__(self) -> None:
        self.number = 0
        self.commits = GroupCommits[str](self._changes, PACE)

    def _changes(self) -> Changes:
        return {"number": b"%d" % self.number} if self.number else {}

    def change(self, waiter: str) -> None:
        """Change the number, for a waiter that waits until the change is saved."""
        self.number += 1
        self.commits.join(waiter)


def test_no_commit_is_due_without_a_waiter() -> None:
    state = State()
    assert state.commits.begins_at == math.inf
    state.change("a")
    state.commits.begin(5.0)
    state.commits.done(5.1)
    assert state.commits.begins_at == math.inf


def test_the_first_commit_may_begin_at_once() -> None:
    state = State()
    state.change("a")
    assert state.commits.begins_at == -math.inf


def test_a_commit_holds_all_changes_up_to_its_beginning_for_all_who_joined_before_it() -> None:
    state = State()
    for waiter in "abc":
        state.change(waiter)
    assert state.commits.begin(0.0) == {"number": b"3"}
    assert state.commits.done(0.1) == ["a", "b", "c"]


def test_a_waiter_that_joins_during_a_commit_waits_for_the_next_one() -> None:
    state = State()
    state.change("a")
    assert state.commits.begin(0.0) == {"number": b"1"}
    state.change("b")
    assert state.commits.in_progress
    assert state.commits.begins_at == math.inf
    assert state.commits.done(0.1) == ["a"]
    assert not state.commits.in_progress
    assert state.commits.begin(1.0) == {"number": b"2"}
    assert state.commits.done(1.1) == ["b"]


@pytest.mark.parametrize(
    ("took_s", "after_s"),
    [(0.0, 1.0), (0.125, 1.0), (0.25, 1.0), (0.5, 2.0), (3.0, 12.0), (4.0, 13.0), (100.0, 109.0)],
)
def test_the_time_from_one_commit_to_the_next_follows_from_how_long_the_first_took(
    took_s: float, after_s: float
) -> None:
    state = State()
    state.change("a")
    state.commits.begin(10.0)
    state.commits.done(10.0 + took_s)
    state.change("b")
    assert state.commits.begins_at == 10.0 + after_s


def test_the_pace_depends_on_the_last_commit_alone() -> None:
    state = State()
    for began, took_s in ((0.0, 3.0), (12.0, 0.1)):
        state.change("a")
        state.commits.begin(began)
        state.commits.done(began + took_s)
    state.change("a")
    assert state.commits.begins_at == 13.0


def test_a_commit_without_changes_serves_its_waiters_and_counts_for_the_pace() -> None:
    state = State()
    state.commits.join("a")
    assert state.commits.begin(10.0) == {}
    assert state.commits.done(10.0) == ["a"]
    state.commits.join("b")
    assert state.commits.begins_at == 11.0


def test_a_failed_commit_is_the_last_one_and_fails_all_waiters() -> None:
    state, error = State(), NotSavedError("the disk is full")
    state.change("a")
    state.commits.begin(0.0)
    state.change("b")
    assert state.commits.failed(error) == ["a", "b"]
    assert not state.commits.in_progress
    for _ in range(2):
        with pytest.raises(NotSavedError, match=r"^the disk is full$"):
            state.change("c")
    assert state.commits.begins_at == math.inf
