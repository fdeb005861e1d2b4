"""Senders by time: what each of them did, in bounded memory, however many senders and moments there are."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from view_support import row

from smssim.core.fleet import SenderRow
from smssim.core.heat import LETTERS, LOST, SENDING, Heat, HeatState, cells, letters
from smssim.core.limits import LIMITS
from smssim.core.session import State

ALL: Final = 10**9
SMALL: Final = replace(LIMITS, heat_rows_max=3, heat_steps_max=8)

states = st.sampled_from(list(State))
moments = st.lists(st.tuples(st.floats(0.01, 10), st.lists(states, min_size=2, max_size=2)), min_size=1, max_size=60)


def at_share(share: float) -> SenderRow:
    """Return a sender that sends at this share of its declared rate."""
    sender = row("one")
    return replace(sender, recent_rate_per_s=share * sender.concurrency / sender.mean_s)


def test_a_cell_shows_the_state_and_the_tenth_of_the_declared_rate() -> None:
    shares = (0.0, 0.05, 0.1, 0.55, 0.99, 1.0, 7.0)
    assert letters([at_share(share) for share in shares]) == "0015999"
    others = [row("one", state) for state in (State.WAITING, State.LOST, State.LEFT)]
    assert letters(others) == "wxe"


def test_the_newest_step_is_that_of_the_senders_asked_for() -> None:
    heat, some, others = Heat(), (row("a"), row("b", State.LOST)), (row("c", State.LEFT),)
    assert heat.newest(some) == letters(some)
    heat.add(1.0, some)
    assert (heat.newest(some), heat.newest(others)) == (letters(some), "e")
    heat.add(1.0, others)  # at the same time: not added
    assert (heat.newest(some), heat.newest(others)) == (letters(some), "e")


def test_a_table_has_a_row_for_each_sender_in_the_given_order() -> None:
    heat = Heat()
    heat.add(1.0, [row("a", State.WAITING)])
    heat.add(2.0, [row("a"), row("b", State.LOST)])
    table = heat.table([row("b"), row("a"), row("never")], ALL)
    assert (table.from_s, table.times_s) == (1.0, (1.0, 2.0))
    assert table.rows == ("-x", f"w{letters([row('a')])}", "--")


def test_senders_of_one_name_have_rows_of_their_own() -> None:
    heat, both = Heat(), [row("a", State.LOST), row("a", State.WAITING)]
    heat.add(1.0, both)
    assert heat.table(both, ALL).rows == ("x", "w")


def test_a_moment_at_the_same_time_as_the_last_one_is_ignored() -> None:
    heat = Heat()
    heat.add(1.0, [row("a", State.WAITING)])
    heat.add(1.0, [row("a", State.LOST)])
    assert heat.table([row("a")], ALL).rows == ("w",)


@given(moments)
def test_merged_steps_are_bounded_cover_the_run_and_keep_the_most_important_state(
    steps: list[tuple[float, list[State]]],
) -> None:
    heat, whole = Heat(SMALL), Heat()
    elapsed_s, rows = 0.0, [row("a"), row("b")]
    for step_s, some in steps:
        elapsed_s += step_s
        rows = [row(name, state) for name, state in zip("ab", some, strict=True)]
        heat.add(elapsed_s, rows)
        whole.add(elapsed_s, rows)
    table, full = heat.table(rows, ALL), whole.table(rows, ALL)
    assert len(table.times_s) <= SMALL.heat_steps_max
    assert (table.times_s[-1], table.from_s) == (full.times_s[-1], full.from_s)
    assert list(table.times_s) == sorted(set(table.times_s))
    for merged, every in zip(table.rows, full.rows, strict=True):
        assert max(map(LETTERS.index, merged)) == max(map(LETTERS.index, every))
        before = 0
        for end_s, letter in zip(table.times_s, merged, strict=True):
            until = full.times_s.index(end_s) + 1
            assert LETTERS.index(letter) == max(map(LETTERS.index, every[before:until]))
            before = until


def test_a_small_table_has_fewer_steps_and_still_shows_a_loss() -> None:
    heat = Heat()
    for second in range(100):
        heat.add(float(second), [row("a", State.LOST if second == 41 else State.WAITING)])
    table = heat.table([row("a")], 10)
    assert table.rows == ("wwwwxwwwww",)
    assert table.times_s[-1] == 99.0


def test_senders_beyond_the_limit_are_left_out() -> None:
    heat, many = Heat(SMALL), [row(f"s{i}", State.WAITING) for i in range(5)]
    heat.add(1.0, many)
    assert heat.table(many, ALL).rows == ("w", "w", "w", "-", "-")


def test_memory_is_bounded_however_many_senders_and_moments_there_are() -> None:
    heat = Heat(SMALL)
    for second in range(100):
        heat.add(float(second), [row(f"s{second}-{i}") for i in range(20)])
    state = heat.state()
    assert state.cells.shape[0] <= SMALL.heat_rows_max
    assert state.cells.shape[1] <= SMALL.heat_steps_max


def test_a_state_that_is_loaded_continues_like_the_original() -> None:
    heat, other, both = Heat(SMALL), Heat(SMALL), [row("a"), row("b", State.LOST)]
    for second in range(21):
        heat.add(float(second), both)
    other.load(heat.state())
    for one in (heat, other):
        one.add(40.0, both)
    assert heat.table(both, ALL) == other.table(both, ALL)


@pytest.mark.parametrize(
    "wrong",
    [
        HeatState(0.0, 0.0, np.array([1.0]), [("a", 0), ("a", 0)], np.zeros((2, 1), np.uint8)),
        HeatState(0.0, 0.0, np.array([1.0]), [("a", 0)], np.full((1, 1), LOST + 1, np.uint8)),
        HeatState(0.0, 0.0, np.array([2.0, 1.0]), [("a", 0)], np.zeros((1, 2), np.uint8)),
        HeatState(0.0, 0.0, np.arange(9.0), [("a", 0)], np.zeros((1, 9), np.uint8)),
        HeatState(0.0, 0.0, np.array([1.0]), [(c, 0) for c in "abcd"], np.zeros((4, 1), np.uint8)),
    ],
    ids=["one sender twice", "unknown cell", "descending times", "too many steps", "too many senders"],
)
def test_a_state_that_is_not_sound_is_refused(wrong: HeatState) -> None:
    with pytest.raises(ValueError, match="expected"):
        Heat(SMALL).load(wrong)


def test_there_is_a_letter_for_each_cell() -> None:
    assert len(LETTERS) == LOST + 1
    assert cells([at_share(1.0)])[0] == SENDING + 9
