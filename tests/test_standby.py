"""When a standby takes a log: only time that it has really seen passing counts as silence of the owner."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smssim.core.limits import LIMITS
from smssim.core.log_record import Kind
from smssim.core.replicated_log import Tail
from smssim.core.standby import Move, Standby
from smssim.errors import ExitCode

TAIL = Tail(7, "a:1", 1, 3.0)
SILENT_S = LIMITS.takeover_after_s


def at(sequence: int, kind: Kind = Kind.CHANGES, code: int = 0) -> Tail:
    return Tail(sequence, "a:1", 1, float(sequence), kind, code, "12 of 12 messages settled")


def test_an_empty_log_is_taken_at_once() -> None:
    assert Standby("alert").saw(None, 0.0).move is Move.TAKE


def test_a_log_that_its_owner_has_left_is_taken_at_once() -> None:
    standby = Standby("alert")
    assert standby.saw(at(7), 0.0).move is Move.WAIT
    assert standby.saw(at(8, Kind.RELEASED), 0.5).move is Move.TAKE


def test_an_owner_that_appends_is_never_replaced() -> None:
    standby = Standby("alert")
    moves = {standby.saw(at(second), float(second)).move for second in range(100)}
    assert moves == {Move.WAIT}


def test_an_owner_is_replaced_after_the_time_of_silence_and_not_before() -> None:
    standby = Standby("alert")
    assert standby.saw(TAIL, 0.0).move is Move.WAIT
    assert standby.saw(TAIL, SILENT_S - 0.01).move is Move.WAIT
    assert standby.saw(TAIL, SILENT_S).move is Move.TAKE


@given(st.lists(st.tuples(st.floats(0.01, 3.0), st.booleans()), min_size=1, max_size=40))
def test_time_without_an_answer_is_no_silence(polls: list[tuple[float, bool]]) -> None:
    """Only the time between two successful looks in a row counts."""
    standby, now, seen_s, last_failed = Standby("alert"), 0.0, 0.0, False
    standby.saw(TAIL, now)
    for wait_s, answered in polls:
        now += wait_s
        if not answered:
            standby.missed()
            last_failed = True
            continue
        seen_s += 0.0 if last_failed else wait_s
        last_failed = False
        if abs(seen_s - SILENT_S) > 1e-6:
            assert standby.saw(TAIL, now).move is (Move.TAKE if seen_s >= SILENT_S else Move.WAIT)
        else:
            standby.saw(TAIL, now)


def test_a_standby_leaves_with_the_code_of_the_run_when_that_is_over() -> None:
    standby = Standby("alert")
    standby.saw(at(7), 0.0)
    step = standby.saw(at(8, Kind.ENDED, ExitCode.DISAGREE), 0.5)
    assert step.move is Move.LEAVE
    assert standby.ended is not None
    assert standby.ended.code == ExitCode.DISAGREE
    assert "12 of 12" in step.notice


def test_a_node_that_is_started_after_an_incomplete_end_continues_the_run() -> None:
    assert Standby("alert").saw(at(8, Kind.ENDED, ExitCode.INCOMPLETE), 0.0).move is Move.TAKE
    assert Standby("alert").saw(at(8, Kind.ENDED, ExitCode.OK), 0.0).move is Move.LEAVE


def test_a_node_that_stood_by_leaves_after_an_incomplete_end() -> None:
    standby = Standby("alert")
    standby.saw(at(7), 0.0)
    assert standby.saw(at(8, Kind.ENDED, ExitCode.INCOMPLETE), 0.5).move is Move.LEAVE


def test_a_standby_says_who_owns_the_run_once_and_then_rarely() -> None:
    standby = Standby("alert")
    notices = [standby.saw(at(second), float(second)).notice for second in range(61)]
    assert notices[0].startswith("Standing by: a:1 has owned run alert")
    assert [bool(notice) for notice in notices[1:]] == [False] * 59 + [True]
