"""The course of a run: what a monitor keeps of it over time, saves, and sends to watchers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from view_support import RUN_ID, figures, row, snapshot

from smssim.core.course import Course, Span
from smssim.core.event import Event, Kind
from smssim.core.fleet import Fleet, Others
from smssim.core.history import BLOCK
from smssim.core.limits import EVENT_TEXT_BYTES_MAX, LIMITS
from smssim.core.pieces import Pieces
from smssim.core.session import State
from smssim.core.snapshot import Snapshot
from smssim.core.stall import Cause, Stall
from smssim.errors import PeerError
from smssim.net.courses import course_from_proto, course_to_proto

SENDING, WAITING, LOST, LEFT = State.SENDING, State.WAITING, State.LOST, State.LEFT
SILENT, BUSY = Stall(Cause.SILENT, 3.0, 1, 5), Stall(Cause.LANES_BUSY, 3.5, 1, 5, 60.0)


def at(elapsed_s: float, stall: Stall | None = None, sent: int = 0, **states: State) -> Snapshot:
    fleet = Fleet(tuple(row(name, state) for name, state in states.items()))
    return Snapshot(figures(sent, 0, 10**6, elapsed_s), fleet, stall)


def course_of(*moments: Snapshot) -> Course:
    course = Course()
    for moment in moments:
        course.note(moment)
    return course


def lost(names: list[str]) -> list[Snapshot]:
    """Return two moments between which these senders are lost."""
    return [
        replace(at(at_s), fleet=Fleet(tuple(row(name, state) for name in names)))
        for at_s, state in ((1.0, SENDING), (9.0, LOST))
    ]


def texts(course: Course) -> list[tuple[float, str]]:
    return [(event.at_s, event.text) for event in course.noticed]


# -- stalls


def test_a_stall_is_a_spell_from_the_last_outcome_until_the_next_one() -> None:
    course = course_of(at(1), at(5, SILENT), at(6, replace(SILENT, quiet_s=4.0)), at(7), at(8))
    (spell,) = course.spells
    assert spell.span == Span(2.0, 7.0)
    assert spell.stall.quiet_s == 4.0


def test_a_stall_with_another_cause_is_another_spell() -> None:
    course = course_of(at(5, SILENT), at(6, BUSY))
    assert [(spell.span, spell.stall.cause) for spell in course.spells] == [
        (Span(2.0, 6.0), Cause.SILENT),
        (Span(6.0, None), Cause.LANES_BUSY),
    ]


# -- senders


def test_losses_and_returns_are_noticed() -> None:
    course = course_of(
        at(1, a=SENDING, b=SENDING), at(9, a=LOST, b=SENDING), at(12, a=WAITING, b=SENDING), at(13, a=LEFT, b=SENDING)
    )
    assert texts(course) == [(9, "a was lost"), (12, "a is back"), (13, "a left")]
    assert [event.kind for event in course.noticed] == [Kind.LOST, Kind.BACK, Kind.LEFT]
    assert {(event.target, event.run_id) for event in course.noticed} == {("a", RUN_ID)}


def test_several_senders_are_one_event() -> None:
    names = [f"s{i}" for i in range(6)]
    assert texts(course_of(*lost(names))) == [(9, "6 senders were lost: s0, s1, s2 and 3 more")]


def test_the_text_of_an_event_fits_on_the_wire() -> None:
    names = ["\u00e9" * 30 + str(i) for i in range(6)]
    course = course_of(*lost(names))
    assert len(course.noticed[0].text.encode()) <= EVENT_TEXT_BYTES_MAX


def test_a_sender_that_joins_later_is_noticed_unless_its_start_was_announced() -> None:
    start = at(LIMITS.start_s - 0.1, a=SENDING)
    assert texts(course_of(start, at(5, a=SENDING, b=SENDING))) == [(5, "b joined")]
    announced = (Event(4.0, Kind.JOINED, "b was started", RUN_ID, "b"),)
    assert texts(course_of(start, replace(at(5, a=SENDING, b=SENDING), events=announced))) == []


def test_senders_without_a_row_of_their_own_are_not_noticed_when_they_get_one() -> None:
    with_others = replace(at(5, a=SENDING, b=SENDING), fleet=Fleet((row("a"), row("b")), Others(sending=5)))
    assert texts(course_of(at(1, a=SENDING), with_others)) == []


def test_nothing_is_noticed_once_every_message_has_a_final_outcome() -> None:
    done = replace(at(9, a=LEFT), figures=figures(10, 0, 10, 9.0))
    assert texts(course_of(at(1, a=SENDING), done)) == []


def test_all_lists_are_bounded() -> None:
    course = Course(replace(LIMITS, course_entries_max=5))
    for second in range(0, 100, 2):
        course.note(at(float(second) + 1, SILENT if second % 4 else BUSY, a=LOST if second % 4 else SENDING))
        course.interrupt()
        course.note(at(float(second) + 2))
    assert (len(course.spells), len(course.noticed)) == (5, 5)
    assert len(course.gaps) <= 5


# -- the pace


def test_moments_are_noted_often_in_a_short_run_and_rarely_with_many_senders() -> None:
    def wait_s(elapsed_s: float, senders: int) -> float:
        return Course().next_at(100.0, figures(elapsed_s=elapsed_s, senders_seen=senders)) - 100.0

    assert wait_s(0.0, 4) == pytest.approx(LIMITS.beat_min_s)
    assert wait_s(200.0, 4) == pytest.approx(0.5)
    assert wait_s(1e6, 4) == LIMITS.beat_max_s
    assert wait_s(0.0, 500) == pytest.approx(0.5)
    assert wait_s(1e6, 5_000) == pytest.approx(5.0)


# -- saved, and restored


def saved_of(course: Course, kept: dict[str, bytes] | None = None) -> dict[str, bytes]:
    kept = {} if kept is None else kept
    for name, piece in course.changes().items():
        if piece is None:
            del kept[name]
        else:
            kept[name] = piece
    return kept


def restored(pieces: Pieces) -> Course:
    course = Course()
    course.restore(pieces)
    return course


def same(one: Course, other: Course) -> bool:
    ours, theirs = one.history.samples(), other.history.samples()
    columns = [(getattr(ours, name), getattr(theirs, name)) for name in ours.__slots__]
    return all(np.array_equal(a, b, equal_nan=True) for a, b in columns) and (one.spells, one.gaps, one.noticed) == (
        *(other.spells, other.gaps, other.noticed),
    )


@settings(max_examples=25)
@given(st.lists(st.sampled_from([1, 7, BLOCK, 3 * BLOCK, LIMITS.history_samples_max]), max_size=4))
def test_a_course_is_restored_as_it_was_saved_whenever_it_was(moments: list[int]) -> None:
    course, kept = Course(), dict[str, bytes]()
    second = 0
    for number in moments:
        for _ in range(number):
            second += 1
            course.note(at(float(second), SILENT if second % 50 > 45 else None, sent=2 * second))
        saved_of(course, kept)
    assert same(restored(kept), course)


def test_what_has_not_changed_is_not_saved_again() -> None:
    course = course_of(*(at(float(second), sent=second) for second in range(10 * BLOCK)))
    assert len(course.changes()) == 10
    assert course.changes() == {}
    course.note(at(10_000.0))
    assert list(course.changes()) == ["history/block/10"]


def test_a_dropped_course_leaves_nothing_behind() -> None:
    course = course_of(*(at(float(second), SILENT) for second in range(3 * BLOCK)))
    kept = saved_of(course)
    assert kept.keys() == course.erased().keys()
    assert set(course.erased().values()) == {None}


def test_a_restored_course_shows_the_gap_in_which_nobody_watched() -> None:
    course = restored(saved_of(course_of(at(1), at(2))))
    course.note(at(20))
    assert course.gaps == [Span(2.0, 20.0)]
    course.note(at(21))
    assert len(course.gaps) == 1


def test_senders_that_are_there_after_a_restart_have_not_joined() -> None:
    course = restored(saved_of(course_of(at(1, a=SENDING), at(5, a=SENDING))))
    course.note(at(20, a=SENDING, b=SENDING))
    assert course.noticed == []
    course.note(at(21, a=LOST, b=SENDING))
    assert [event.text for event in course.noticed] == ["a was lost"]


def test_a_short_restart_is_no_gap() -> None:
    course = restored(saved_of(course_of(at(1), at(2))))
    course.note(at(2 + LIMITS.gap_min_s))
    assert course.gaps == []


# -- the wire

RICH: Final = course_of(
    at(1, a=SENDING, b=SENDING), at(5, SILENT, a=LOST, b=WAITING), at(9, a=SENDING, b=LEFT), at(12, BUSY, a=SENDING)
)
RICH.gaps.append(Span(6.0, 8.5))


def test_a_course_arrives_as_it_was_sent() -> None:
    arrived = course_from_proto(course_to_proto(RICH), RUN_ID)
    assert same(arrived, RICH)
    rows = [row("a"), row("b")]
    assert arrived.heat.table(rows, 10**6) == RICH.heat.table(rows, 10**6)
    for course in (arrived, RICH):
        course.note(at(15, a=LOST))
    assert arrived.history.samples().elapsed_s.tolist() == RICH.history.samples().elapsed_s.tolist()


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("history", {"step_s": float("nan")}),
        ("history", {"elapsed_s": [1.0, 2.0]}),
        ("history", {"elapsed_s": [4.0, 3.0, 2.0, 1.0]}),
        ("history", {"elapsed_s": [1.0, 2.0, 3.0, float("inf")]}),
        ("history", {"rate_max_per_s": [-1.0, 2.0, 3.0, 4.0]}),
        ("history", {"sent": [2**64 - 1, 2, 3, 4]}),
        ("heat", {"cells": b"\x01"}),
        ("heat", {"cells": b"\x0e" * 8}),
        ("heat", {"same_name": [1]}),
        ("heat", {"ends_s": [1.0, 1.0, 2.0, 3.0]}),
        ("heat", {"from_s": -1.0}),
        ("", {"gaps": [{"from_s": 2.0, "to_s": 1.0}]}),
        ("", {"gaps": [{"from_s": float("nan")}]}),
        ("", {"spells": [{"stall": {"cause": 77}}]}),
        ("", {"gaps": [{"from_s": 2.0}] * (LIMITS.course_entries_max + 1)}),
        ("", {"noticed": [{"text": ""}]}),
    ],
)
def test_a_course_that_is_not_sound_is_refused(where: str, change: dict[str, Any]) -> None:
    message = course_to_proto(RICH)
    part: Any = getattr(message, where) if where else message
    for name in change:
        part.ClearField(name)
    part.MergeFrom(type(part)(**change))
    with pytest.raises(PeerError):
        course_from_proto(message, RUN_ID)


def test_a_snapshot_of_the_helpers_can_be_noted() -> None:
    assert len(course_of(snapshot()).history) == 1
