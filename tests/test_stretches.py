"""The table of open stretches: a row per message, which is found, kept, given up and reused."""

from __future__ import annotations

import tracemalloc
from unittest import mock

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from smssim.core.model import Ids
from smssim.core.stretches import STRETCH_SIZE, Stretches

TOTAL = 4 * STRETCH_SIZE + 7  # the last stretch is short
EDGES = [number * STRETCH_SIZE + offset for number in range(5) for offset in (0, 1, 6)] + [STRETCH_SIZE - 1]


def column(ids: list[int] | range) -> Ids:
    return np.array(ids, np.int64)


def stretch(number: int) -> Ids:
    return np.arange(number * STRETCH_SIZE, min(TOTAL, (number + 1) * STRETCH_SIZE))


def finish(table: Stretches, number: int) -> None:
    """Open a stretch, mark all its messages as done and close it."""
    closed = table.done(table.open(stretch(number)))
    assert closed.tolist() == [number]
    table.close(closed)


writes = st.tuples(st.sampled_from(EDGES), st.integers(1, 255))
finishes = st.integers(0, 4)


@given(st.lists(st.one_of(writes, finishes), max_size=30))
def test_a_table_agrees_with_a_dict(steps: list[tuple[int, int] | int]) -> None:
    """Each id has a value, initially zero, until its stretch is finished; from then on its row is -1."""
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
            closed = table.done(table.open(stretch(step)))
            assert closed.tolist() == [step]
            (kept,) = table.blocks("value", closed)
            assert kept[: len(stretch(step))].tolist() == [values.get(i, 0) for i in stretch(step).tolist()]
            table.close(closed)
            finished.add(step)
        rows_of = dict(zip(EDGES, table.open(column(EDGES)).tolist(), strict=True))
        assert {i for i, row in rows_of.items() if row == -1} == {i for i in EDGES if i // STRETCH_SIZE in finished}
        opened = [i for i in EDGES if rows_of[i] >= 0]
        assert table.column["value"][[rows_of[i] for i in opened]].tolist() == [values.get(i, 0) for i in opened]


@given(st.lists(st.integers(0, TOTAL - 1), max_size=50))
def test_rows_are_unique_and_map_back_to_their_ids(ids: list[int]) -> None:
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
    assert table.done(rows[1:]).tolist() == []
    assert table.done(rows[:1]).tolist() == [4]


@given(st.lists(st.tuples(st.integers(0, TOTAL), st.integers(0, TOTAL)), max_size=5))
def test_opening_a_range_is_the_same_as_opening_its_ids(ranges: list[tuple[int, int]]) -> None:
    table, other = Stretches(TOTAL), Stretches(TOTAL)
    finish(table, 1)
    finish(other, 1)
    for first, end in ranges:
        table.open_range(first, max(first, end))
        other.open(np.arange(first, end))
        assert table.pending == other.pending
        assert (table.find(np.arange(TOTAL)) < STRETCH_SIZE).tolist() == (
            other.find(np.arange(TOTAL)) < STRETCH_SIZE
        ).tolist()


def test_one_call_may_finish_several_stretches() -> None:
    table = Stretches(2 * STRETCH_SIZE)
    done = table.done(table.open(np.arange(2 * STRETCH_SIZE)))
    assert sorted(done.tolist()) == [0, 1]


def test_a_few_rows_of_a_large_table_are_counted_in_the_same_way_as_many() -> None:
    """There is a faster algorithm for each case."""
    table = Stretches(100 * STRETCH_SIZE)
    rows = table.open(np.arange(100 * STRETCH_SIZE))
    assert table.done(rows[1:]).tolist() == list(range(1, 100))
    assert table.done(rows[:1]).tolist() == [0]
    assert table.pending == 0


def test_messages_of_stretches_that_were_never_opened_are_zero() -> None:
    """Finding them opens nothing."""
    table = Stretches(TOTAL, value=np.uint8)
    rows = table.open(stretch(1))
    table.column["value"][rows] = 9
    finish(table, 2)
    rows = table.find(column([0, STRETCH_SIZE, 2 * STRETCH_SIZE]))
    assert table.column["value"][rows[:2]].tolist() == [0, 9]
    assert rows[2] < 0
    assert table.unopened(np.arange(TOTAL)) == 3


def test_memory_does_not_grow_when_stretches_are_finished_in_order() -> None:
    table = Stretches(1000 * STRETCH_SIZE, value=np.uint8)
    for number in range(100):
        rows = table.open(np.arange(number * STRETCH_SIZE, (number + 1) * STRETCH_SIZE))
        table.close(table.done(rows))
    assert table.rows_held == STRETCH_SIZE


def test_memory_follows_the_number_of_open_stretches() -> None:
    """It is less than twice the open rows, whichever stretches are open."""
    table = Stretches(10**10, value=np.uint8)
    table.open(np.arange(0, 10**10, 10**9))
    assert 10 * STRETCH_SIZE <= table.rows_held < 20 * STRETCH_SIZE


def test_a_reused_row_starts_as_zero() -> None:
    table = Stretches(TOTAL, value=np.uint8)
    rows = table.open(stretch(0))
    table.column["value"][rows] = 9
    finish(table, 0)
    assert not table.column["value"][table.open(stretch(1))].any()
    assert table.rows_held == STRETCH_SIZE


def test_an_empty_column_has_no_rows() -> None:
    assert Stretches(0).open(column([])).tolist() == []
    assert Stretches(0).done(column([])).tolist() == []


@given(st.lists(st.sampled_from(EDGES), max_size=20), st.data())
def test_the_first_of_each_row_is_found(ids: list[int], data: st.DataObject) -> None:
    table = Stretches(TOTAL, value=np.uint8)
    among = [data.draw(st.booleans()) for _ in ids]
    seen: set[int] = set()
    firsts = [i for i in range(len(ids)) if among[i] and ids[i] not in seen and not seen.add(ids[i])]  # type: ignore[func-returns-value]
    where = table.first_of_each(table.open(column(ids)), np.array(among, np.bool_))
    assert np.arange(len(ids))[where].tolist() == firsts


@given(st.lists(st.integers(0, 39), max_size=40))
def test_the_first_of_each_row_is_found_even_if_rows_share_a_place_in_the_scratch(ids: list[int]) -> None:
    """They share places if the table is longer than the scratch."""
    with mock.patch("smssim.core.stretches._marks", np.empty(4, np.int32)):
        table = Stretches(TOTAL)
        where = table.first_of_each(table.open(column(ids)), np.ones(len(ids), np.bool_))
    assert np.arange(len(ids))[where].tolist() == sorted({i: at for at, i in reversed(list(enumerate(ids)))}.values())


def test_messages_that_are_far_apart_take_one_short_stretch_each() -> None:
    """A report of 72 KiB can name 4,096 of them, for which the table and its scratch take 16 MiB."""
    table = Stretches(10**9, value=np.uint8)
    ids = np.arange(4096) << 16
    tracemalloc.start()
    try:
        table.first_of_each(table.open(ids), np.ones(len(ids), np.bool_))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert table.rows_held == 4096 * STRETCH_SIZE
    assert peak < 18 << 20
