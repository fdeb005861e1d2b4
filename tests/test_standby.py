"""When a standby takes a log, and what it says: by the ends of the log that it sees, and by what it can't see."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smssim.core.limits import LIMITS
from smssim.core.log_record import Kind
from smssim.core.replicated_log import Tail
from smssim.core.standby import Move, Standby
from smssim.errors import ExitCode

AFTER_S = LIMITS.takeover_after_s


def tail(sequence: int, owned_s: float = 0.0, epoch: int = 1, kind: Kind = Kind.CHANGES, code: int = 0) -> Tail:
    return Tail(sequence, "alpha", epoch, owned_s, kind, code=code, reason="all is well")


def watch(standby: Standby, *seen: Tail, every_s: float = 0.5, begin: float = 100.0) -> list[Move]:
    """Show these ends of the log to the standby, one per look, and return its moves."""
    return [standby.saw(one, begin + number * every_s).move for number, one in enumerate(seen)]


def test_a_new_log_is_taken_at_once() -> None:
    step = Standby("flood").saw(None, 1.0)
    assert (step.move, step.notice) == (Move.TAKE, "Taking run flood: it is new")


def test_a_log_that_its_owner_has_left_is_taken_at_once() -> None:
    step = Standby("flood").saw(tail(7, kind=Kind.RELEASED), 1.0)
    assert (step.move, step.notice) == (Move.TAKE, "Taking over run flood: alpha has left it")


def test_a_log_that_grows_is_never_taken() -> None:
    assert set(watch(Standby("flood"), *map(tail, range(1, 50)))) == {Move.WAIT}


def test_a_log_that_does_not_grow_is_taken_after_a_time() -> None:
    standby, looks = Standby("flood"), round(AFTER_S / 0.5) + 1
    moves = watch(standby, *[tail(7)] * looks)
    assert moves == [Move.WAIT] * (looks - 1) + [Move.TAKE]


def test_the_time_begins_again_with_each_record() -> None:
    standby = Standby("flood")
    standby.saw(tail(1), 0.0)
    assert standby.saw(tail(1), AFTER_S - 0.1).move is Move.WAIT
    assert standby.saw(tail(2), AFTER_S).move is Move.WAIT
    assert standby.saw(tail(2), 2 * AFTER_S - 0.1).move is Move.WAIT
    assert standby.saw(tail(2), 2 * AFTER_S + 0.1).move is Move.TAKE


def test_time_in_which_the_log_could_not_be_read_is_no_silence_of_the_owner() -> None:
    standby = Standby("flood")
    standby.saw(tail(1), 0.0)
    standby.missed()
    assert standby.saw(tail(1), 60.0).move is Move.WAIT
    assert standby.saw(tail(1), 60.0 + AFTER_S - 0.1).move is Move.WAIT
    assert standby.saw(tail(1), 60.0 + AFTER_S + 0.1).move is Move.TAKE


@pytest.mark.parametrize("code", [ExitCode.OK, ExitCode.DISAGREE, ExitCode.THRESHOLD])
def test_a_run_that_is_over_for_good_is_left_with_its_code_even_by_a_new_node(code: ExitCode) -> None:
    standby = Standby("flood")
    step = standby.saw(tail(9, kind=Kind.ENDED, code=code), 1.0)
    assert (step.move, step.notice) == (Move.LEAVE, "Run flood is over: all is well")
    assert standby.ended is not None
    assert standby.ended.code == code


def test_an_incomplete_run_is_continued_by_a_new_node_and_left_by_one_that_stood_by() -> None:
    ended = tail(9, kind=Kind.ENDED, code=ExitCode.INCOMPLETE)
    assert watch(Standby("flood"), ended) == [Move.TAKE]
    assert watch(Standby("flood"), tail(8), ended) == [Move.WAIT, Move.LEAVE]


def test_a_standby_says_who_owns_the_run_at_first_at_changes_and_now_and_then() -> None:
    standby, said = Standby("flood"), []
    for second in range(round(2 * LIMITS.repeat_standby_s)):
        owner = tail(second, owned_s=10.0 + second, epoch=1 if second < 5 else 2)
        said += [(second, notice)] if (notice := standby.saw(owner, float(second)).notice) else []
    assert said == [
        (0, "Standing by: alpha has owned run flood for 10 s"),
        (5, "Standing by: alpha has owned run flood for 15 s"),
        (65, "Standing by: alpha has owned run flood for 75 s"),
    ]


def test_a_standby_that_did_not_get_the_run_says_again_that_it_stands_by() -> None:
    standby = Standby("flood")
    standby.saw(tail(1), 0.0)
    assert standby.saw(tail(1), AFTER_S + 1).move is Move.TAKE
    standby.beaten()
    assert standby.saw(tail(2), AFTER_S + 2).notice == "Standing by: alpha has owned run flood for 0 s"


def test_the_gap_begins_when_the_last_record_was_written_although_it_was_first_seen_later() -> None:
    """The owner wrote a last record 2 s after the one before, and died; nobody could read it for 10 s."""
    standby = Standby("flood")
    standby.saw(tail(1, owned_s=50.0), 100.0)
    standby.missed()
    standby.saw(tail(2, owned_s=52.0), 112.0)
    assert standby.away_s(116.0) == pytest.approx(14.0)


def test_the_gap_of_a_log_that_was_never_seen_before_begins_when_it_is_seen() -> None:
    standby = Standby("flood")
    assert standby.away_s(1.0) == 0.0
    standby.saw(tail(1, owned_s=50.0), 100.0)
    assert standby.away_s(103.0) == pytest.approx(3.0)


@given(st.lists(st.tuples(st.floats(0.01, 3.0), st.booleans()), min_size=1, max_size=40))
def test_only_time_between_two_looks_in_a_row_that_succeed_is_silence(looks: list[tuple[float, bool]]) -> None:
    standby, now, silent_s, missed = Standby("flood"), 0.0, 0.0, False
    standby.saw(tail(1), now)
    for wait_s, answered in looks:
        now += wait_s
        if not answered:
            standby.missed()
        else:
            silent_s += 0.0 if missed else wait_s
            move = standby.saw(tail(1), now).move
            if abs(silent_s - AFTER_S) > 1e-6:  # rounding
                assert move is (Move.TAKE if silent_s > AFTER_S else Move.WAIT)
        missed = not answered
