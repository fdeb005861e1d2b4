"""Copies of one sender in one row: which senders are copies, and what their row says."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from view_support import copies, row

from smssim.core.fleet import Fleet, Others, SenderRow
from smssim.core.folding import FoldedFleet, FoldedRow, fold, grouped, in_rows
from smssim.core.session import State
from smssim.settings.senders import copy_names


def folded(*rows: SenderRow) -> list[tuple[str, int]]:
    """Return the name and the number of copies of each row."""
    return [(one.name, one.copies) for one in fold(Fleet(rows)).rows]


# -- which senders are copies


@pytest.mark.parametrize("name", ["beta", "sender-2", "host-12345", "a-1", "-1"])
def test_copies_are_found_by_the_names_that_senders_give_them(name: str) -> None:
    for number in (2, 50, 2000):
        rows = [row(one) for one in copy_names(name, number)]
        assert folded(*reversed(rows)) == [(name, number)]
        (group,) = grouped(reversed(rows))
        assert (group.name, list(group.rows)) == (name, rows)


def test_a_sender_without_a_sibling_keeps_its_name() -> None:
    assert folded(row("beta-1"), row("gamma-2"), row("beta")) == [("beta", 1), ("beta-1", 1), ("gamma-2", 1)]


def test_senders_that_declare_different_facts_are_not_copies() -> None:
    one, other = row("beta-1"), row("beta-2")
    for differs in ({"mean_s": 1.0}, {"failure_rate": 0.5}, {"concurrency": 9}, {"limit_per_s": 3.0}, {"burst": 3}):
        assert folded(one, replace(other, **differs)) == [("beta-1", 1), ("beta-2", 1)]
    assert folded(one, other) == [("beta", 2)]


def test_only_a_number_as_copies_have_it_makes_a_copy() -> None:
    for first, second in (("b-01", "b-02"), ("b-12345", "b-12346"), ("b1", "b2"), ("b-", "b-x"), ("b-²", "b-³")):
        assert folded(row(first), row(second)) == [(first, 1), (second, 1)]


def test_one_sender_that_was_started_again_is_not_two_copies() -> None:
    assert folded(row("sender-1", State.LOST), row("sender-1")) == [("sender-1", 1), ("sender-1", 1)]


def test_rows_and_groups_are_in_the_natural_order_of_names() -> None:
    rows = (*copies("n10", 11), row("n2"), *copies("n1", 2), row("n9-1"))
    assert folded(*rows) == [("n1", 2), ("n2", 1), ("n9-1", 1), ("n10", 11)]
    groups = grouped(reversed(rows))
    assert [group.name for group in groups] == ["n1", "n2", "n9-1", "n10"]
    assert [one.name for one in groups[-1].rows] == [f"n10-{i}" for i in range(1, 12)]


# -- what their row says


def test_the_row_of_copies_has_their_sums_and_how_far_apart_they_are() -> None:
    rows = (
        SenderRow("b-1", 1.0, 0.1, 3, State.SENDING, 9, 1, 10, 0.5, 1.0, 2.0, 3, 1),
        SenderRow("b-2", 1.0, 0.1, 3, State.SENDING, 20, 0, 30, 1.5, 2.0, 3.0, 2, 0),
        SenderRow("b-3", 1.0, 0.1, 3, State.LOST, 0, 0, 0, None, 0.0, 0.0, 0, 0),
    )
    (one,) = fold(Fleet(rows)).rows
    assert one == FoldedRow(
        name="b",
        copies=3,
        mean_s=1.0,
        failure_rate=0.1,
        concurrency=3,
        together=Others(sending=2, lost=1, sent=29, failed=1, in_flight=5, recent_rate_per_s=5.0),
        attempts=40,
        avg_time_s=1.25,
        rate_per_s=3.0,
        sent_low=0,
        sent_high=20,
        avg_time_low_s=0.5,
        avg_time_high_s=1.5,
        declared_per_s=9.0,
    )
    assert (one.lanes, one.states, one.state) == (9, {State.SENDING: 2, State.LOST: 1}, State.LOST)


def test_copies_without_attempts_have_no_average() -> None:
    idle = [replace(one, sent=0, failed=0, attempts=0, avg_time_s=None) for one in copies("b", 3)]
    (one,) = fold(Fleet(tuple(idle))).rows
    assert (one.avg_time_s, one.avg_time_low_s, one.avg_time_high_s, one.attempts) == (None, None, None, 0)


def test_a_copy_that_was_started_again_is_one_copy_and_two_senders() -> None:
    before = [replace(one, state=State.LOST) for one in copies("b", 3)]
    (one,) = fold(Fleet((*before, *copies("b", 3)))).rows
    assert (one.copies, one.lanes, one.together.senders) == (3, 12, 6)
    assert one.states == {State.SENDING: 3, State.LOST: 3}
    assert (one.sent_low, one.sent_high) == (2 * 501, 2 * 503)  # of a copy, before and after


@pytest.mark.parametrize("is_folded_before", [False, True])
def test_the_fastest_keep_a_row_where_messages_have_several_segments(is_folded_before: bool) -> None:
    ten = SenderRow("lanes-1", 1.0, 0.1, 10, State.SENDING, 9, 1, 10, 1.0, 1.0, 2.0, 3, 1, None, 1, 10.0)
    limited = replace(ten, name="limit-1", concurrency=100, limit_per_s=15.0, declared_per_s=5.0)  # of three segments
    fleet = Fleet(tuple(replace(row, name=f"{row.name[:-1]}{i}") for row in (limited, ten) for i in (1, 2)))
    shown = fold(fleet).limited(1) if is_folded_before else fold(fleet, 1)
    assert [(row.name, row.copies) for row in shown.rows] == [("lanes", 2)]


# -- any senders

a_row = st.builds(
    SenderRow,
    name=st.builds(
        "{}{}".format, st.sampled_from(["a", "b", "b-1", "é"]), st.sampled_from(["", "-1", "-2", "-3", "-x"])
    ),
    mean_s=st.sampled_from([0.5, 1.0]),
    failure_rate=st.just(0.1),
    concurrency=st.sampled_from([1, 2]),
    state=st.sampled_from(State),
    sent=st.integers(0, 10**9),
    failed=st.integers(0, 10**9),
    attempts=st.integers(0, 10**9),
    avg_time_s=st.none() | st.floats(0, 1e4),
    rate_per_s=st.floats(0, 1e6),
    recent_rate_per_s=st.floats(0, 1e6),
    in_flight=st.integers(0, 10**6),
    held=st.just(0),
)
fleets = st.builds(
    Fleet,
    st.lists(a_row, max_size=30).map(tuple),
    st.just(Others()) | st.builds(Others, sending=st.integers(1, 9), sent=st.integers(0, 9)),
)


def total(senders: FoldedFleet) -> list[int]:
    everyone = [senders.others, *(one.together for one in senders.rows)]
    names = ("sending", "waiting", "lost", "left", "sent", "failed", "in_flight")
    return [sum(getattr(one, name) for one in everyone) for name in names]


@given(fleets, st.none() | st.integers(0, 8))
def test_the_sums_over_a_fold_are_the_sums_over_its_senders(fleet: Fleet, rows_max: int | None) -> None:
    everyone = fleet.others.plus(fleet.rows)
    senders = fold(fleet, rows_max)
    assert rows_max is None or len(senders.rows) <= rows_max
    for fewer in (senders, senders.limited(3), senders.limited(0)):
        assert total(fewer) == total(FoldedFleet((), everyone))
        rate_per_s = fewer.others.recent_rate_per_s + sum(one.together.recent_rate_per_s for one in fewer.rows)
        assert rate_per_s == pytest.approx(everyone.recent_rate_per_s)


@given(st.lists(a_row, max_size=30))
def test_every_sender_is_in_one_group_and_its_row_says_what_the_group_does(rows: list[SenderRow]) -> None:
    groups = grouped(rows)
    assert sorted(id(one) for group in groups for one in group.rows) == sorted(map(id, rows))
    by_group = fold(Fleet(tuple(rows))).rows
    assert [one.name for one in by_group] == [group.name for group in groups]
    assert sum(one.attempts for one in by_group) == sum(one.attempts for one in rows)
    assert sum(one.rate_per_s for one in by_group) == pytest.approx(sum(one.rate_per_s for one in rows))
    for one in by_group:
        assert one.sent_low <= one.together.sent / one.copies <= one.sent_high
        if one.avg_time_s is not None and one.avg_time_low_s is not None and one.avg_time_high_s is not None:
            slack_s = 1e-9 * one.avg_time_high_s
            assert one.avg_time_low_s - slack_s <= one.avg_time_s <= one.avg_time_high_s + slack_s


# -- more senders than rows


def test_nothing_is_folded_if_some_senders_are_unknown() -> None:
    known = Fleet(copies("b", 3), Others(sending=47))
    senders = fold(known)
    assert ([one.copies for one in senders.rows], senders.others.senders) == ([1, 1, 1], 47)


def test_copies_are_counted_before_rows_are_left_out() -> None:
    everyone = Fleet((*copies("beta", 500, State.LOST), row("slow", concurrency=1)))
    fleet, senders = in_rows(everyone, 100)
    assert (len(fleet.rows), fleet.others.senders) == (100, 401)
    assert senders is not None
    assert [(one.name, one.together.senders) for one in senders.rows] == [("beta", 500), ("slow", 1)]
    assert senders.rows[0].together.sent == sum(500 + i for i in range(1, 501))
    assert senders.others == Others()


def test_senders_that_all_have_a_row_are_not_folded_twice() -> None:
    everyone = Fleet(copies("beta", 100))
    fleet, senders = in_rows(everyone, 100)
    assert (len(fleet.rows), senders) == (100, None)
    assert fold(fleet).rows == fold(everyone).rows


def test_copies_with_a_lost_one_come_first_then_the_fastest_together_then_those_that_left() -> None:
    fast = [row(f"fast{i}", concurrency=30) for i in range(3)]
    left = [replace(one, state=State.LEFT) for one in copies("left", 50)]
    everyone = Fleet((*fast, *copies("bad", 2, State.LOST), *copies("many", 10), *left))
    for rows_max, names in ((1, {"bad"}), (2, {"bad", "many"}), (5, {"bad", "many", "fast0", "fast1", "fast2"})):
        for senders in (fold(everyone, rows_max), fold(everyone).limited(rows_max)):
            assert {one.name for one in senders.rows} == names
            assert senders.others.senders == 65 - sum(one.together.senders for one in senders.rows)


def test_an_average_over_copies_is_over_their_attempts() -> None:
    some = [replace(one, attempts=n, avg_time_s=float(n)) for n, one in enumerate(copies("b", 4), 1)]
    (one,) = fold(Fleet(tuple(some))).rows
    assert one.avg_time_s == pytest.approx(fmean([float(n) for n in (1, 2, 3, 4) for _ in range(n)]))
    assert math.isclose(one.avg_time_high_s or 0.0, 4.0)
