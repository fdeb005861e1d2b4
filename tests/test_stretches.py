"""A table with a row for each message of the open stretches: rows are found, kept, given up and used again."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from smssim.core.stretches import STRETCH_SIZE, Ids, Stretches

TOTAL = 4 * STRETCH_SIZE + 7  # the last stretch is short
EDGES = [number * STRETCH_SIZE + offset for number in range(5) for offset in (0, 1, 6)] + [STRETCH_SIZE - 1]


def column(ids: list[int] | range) -> Ids:
    return np.array(ids, np.int64)


def stretch(number: int) -> Ids:
    return np.arange(number * STRETCH_SIZE, min(TOTAL, (number + 1) * STRETCH_SIZE))


def finish(table: Stretches, number: int) -> None:
    """Touches all of a stretch, counts it as done and gives it up."""
    ((closed, _),) = table.done(table.open(stretch(number)))
    assert closed == number
    table.close(number)


writes = st.tuples(st.sampled_from(EDGES), st.integers(1, 255))
finishes = st.integers(0, 4)


@given(st.lists(st.one_of(writes, finishes), max_size=30))
def test_a_table_holds_what_a_dict_would(steps: list[tuple[int, int] | int]) -> None:
    """A value for any id, zero at first, until its stretch is finished; then the row is -1 for good."""
    table = Stretches(TOTAL, value=np.uint8)
    values: dict[int, int] = {}
    finished: set[int] = set()
    for step in steps:
        if isinstance(step, tuple):
            number, value = step
            row = table.open(column([number]))
            if number // STRETCH_SIZE not in finished:
                table.column["value"][row] = value
                values[number] = value
        elif step not in finished:
            ((closed, rows),) = table.done(table.open(stretch(step)))
            kept = table.column["value"][rows][: len(stretch(step))].tolist()
            assert (closed, kept) == (step, [values.get(i, 0) for i in stretch(step).tolist()])
            table.close(closed)
            finished.add(step)
        rows_of = dict(zip(EDGES, table.open(column(EDGES)).tolist(), strict=True))
        assert {i for i, row in rows_of.items() if row == -1} == {i for i in EDGES if i // STRETCH_SIZE in finished}
        opened = [i for i in EDGES if rows_of[i] >= 0]
        assert table.column["value"][[rows_of[i] for i in opened]].tolist() == [values.get(i, 0) for i in opened]


@given(st.lists(st.integers(0, TOTAL - 1), max_size=50))
def test_rows_are_unique_and_lead_back_to_their_ids(ids: list[int]) -> None:
    table = Stretches(TOTAL)
    rows = table.open(column(ids))
    assert table.ids(rows).tolist() == ids
    assert len(set(rows.tolist())) == len(set(ids))


def test_a_row_stays_where_it_is_while_the_table_grows() -> None:
    table = Stretches(TOTAL, value=np.int32)
    first = table.open(column([5]))
    table.column["value"][first] = -7
    for number in (3, 1, 4, 2):
        table.open(stretch(number)[:1])
    assert table.open(column([5])) == first
    assert table.column["value"][first] == -7


def test_a_stretch_is_full_only_when_each_of_its_messages_is_done() -> None:
    table = Stretches(TOTAL)
    rows = table.open(stretch(4))
    assert table.done(rows[1:]) == []
    assert [number for number, _ in table.done(rows[:1])] == [4]


def test_one_call_may_finish_several_stretches() -> None:
    table = Stretches(2 * STRETCH_SIZE)
    done = table.done(table.open(np.arange(2 * STRETCH_SIZE)))
    assert sorted(number for number, _ in done) == [0, 1]


def test_memory_does_not_grow_when_stretches_are_finished_in_order() -> None:
    table = Stretches(1000 * STRETCH_SIZE, value=np.uint8)
    for number in range(100):
        rows = table.open(np.arange(number * STRETCH_SIZE, (number + 1) * STRETCH_SIZE))
        assert table.done(rows)
        table.close(number)
    assert table.rows_held == STRETCH_SIZE


def test_memory_follows_the_number_of_open_stretches() -> None:
    """Less than twice what is open, whichever stretches those are."""
    table = Stretches(10**10, value=np.uint8)
    table.open(np.arange(0, 10**10, 10**9))
    assert 10 * STRETCH_SIZE <= table.rows_held < 20 * STRETCH_SIZE


def test_a_row_that_is_used_again_starts_out_as_zero() -> None:
    table = Stretches(TOTAL, value=np.uint8)
    table.column["value"][table.open(stretch(0))] = 9
    finish(table, 0)
    assert not table.column["value"][table.open(stretch(1))].any()
    assert table.rows_held == STRETCH_SIZE


def test_no_messages_have_no_rows() -> None:
    assert Stretches(0).open(column([])).tolist() == []
    assert Stretches(0).done(column([])) == []


@given(st.lists(st.sampled_from(EDGES), max_size=20), st.data())
def test_the_first_of_each_row_is_found(ids: list[int], data: st.DataObject) -> None:
    table = Stretches(TOTAL, value=np.uint8)
    among = [data.draw(st.booleans()) for _ in ids]
    seen: set[int] = set()
    firsts = [i for i in range(len(ids)) if among[i] and ids[i] not in seen and not seen.add(ids[i])]  # type: ignore[func-returns-value]
    where = table.first_of_each(table.open(column(ids)), np.array(among, np.bool_))
    assert np.arange(len(ids))[where].tolist() == firsts
