"""The document of a run is plain JSON, true to the run's figures, and bounded."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_course import at, course_of
from view_support import ended, figures, planned, row, snapshot

from smssim.core.course import Course
from smssim.core.event import Event, Kind
from smssim.core.fleet import Fleet
from smssim.core.session import State
from smssim.core.snapshot import Snapshot
from smssim.core.stall import Cause, Stall
from smssim.core.threshold import Threshold
from smssim.errors import ExitCode
from smssim.outputs.document import About, Size, document, number

PLAIN: Final = About()


def of(seen: Snapshot, about: About = PLAIN, course: Course | None = None, size: Size | None = None) -> dict[str, Any]:
    course = course_of(seen) if course is None else course
    made = document(seen, course, about, size or Size())
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    return made


def test_the_progress_of_an_ended_run_is_its_summary() -> None:
    assert of(ended())["progress"] == ended().as_dict()


def test_the_progress_of_a_run_in_progress_is_its_figures() -> None:
    assert of(snapshot())["progress"] == snapshot().figures.as_dict()


def test_columns_of_senders_have_one_element_for_each() -> None:
    senders = of(snapshot(senders=7))["senders"]
    assert senders.pop("groups") == []
    assert {len(column) for column in senders.values()} == {7}
    assert senders["state"] == "1111111"
    assert senders["mean_s"] == [0.02] * 7


def test_copies_of_one_sender_are_a_group() -> None:
    rows = (row("a-1"), row("a-2"), row("b-1"), row("c"), row("d-1", concurrency=9), row("d-2"), row("d-3"))
    senders = of(replace(snapshot(), fleet=Fleet(rows)))["senders"]
    assert senders["groups"] == ["a", "d"]
    assert senders["group"] == [0, 0, -1, -1, -1, 1, 1]


def test_columns_of_the_history_have_one_element_for_each_sample() -> None:
    course = course_of(*(at(float(second), sent=second) for second in range(5000)))
    for points in (1, 2, 100):
        made = of(at(5000.0), course=course, size=Size(points=points))["history"]
        assert {len(column) for column in made.values()} == {points}
        assert (made["elapsed_s"][-1], made["sent"][-1]) == (4999, 4999)
        assert sorted(set(made["elapsed_s"])) == made["elapsed_s"]


def test_a_document_of_a_long_run_with_many_senders_is_bounded() -> None:
    course, many = Course(), Fleet(tuple(row(f"sender-{i}") for i in range(1000)))
    for second in range(3000):
        course.history.add(figures(second, 0, 10**9, 1.0 + second))
    for second in range(600):
        course.heat.add(1.0 + second, many.rows)
    assert len(json.dumps(of(replace(at(3000.0), fleet=many), course=course))) < 500_000


def test_heat_rows_have_the_order_of_the_senders() -> None:
    course = course_of(at(1.0, a=State.LOST, b=State.WAITING), at(2.0, b=State.WAITING, a=State.LOST))
    made = of(at(2.0, b=State.WAITING, a=State.LOST), course=course)
    assert made["senders"]["name"] == ["b", "a"]
    assert made["heat"]["rows"] == ["ww", "xx"]


def test_announced_events_and_those_of_senders_are_in_order_of_time() -> None:
    course = course_of(at(1.0, a=State.SENDING), at(6.0, a=State.LOST))
    seen = replace(at(9.0), events=tuple(Event(at_s, Kind.KILLED, "killed", "", "a") for at_s in (5.0, 8.0)))
    assert [event["at_s"] for event in of(seen, course=course)["events"]] == [5.0, 6.0, 8.0]


def test_deadlines_among_the_goals_are_marked() -> None:
    about = About(goals=tuple(map(Threshold.parse, ("t95<1m", "failed<5%"))))
    assert of(snapshot(), about)["goals"] == [{"text": "t95<1m", "percent": 95, "at_s": 60}]


def test_the_plan_is_included() -> None:
    plan = of(replace(snapshot(), plan=planned()))["plan"]
    assert plan["sent"] == [0, 100, 900, 1000]
    assert plan["reached_s"]["50"] == {"low_s": 4.8, "median_s": 5, "high_s": 5.2}


@pytest.mark.parametrize(
    ("seen", "code", "text"),
    [
        (snapshot(elapsed_s=0.0, sent=0, failed=0), "starting", "Waiting for the first outcome"),
        (snapshot(), "running", "Running"),
        (
            snapshot(stall=Stall(Cause.NO_SENDER, 4.0, 0, 0)),
            "stalled",
            "Nothing finished for 4.0 s: no sender is report",
        ),
        (replace(snapshot(), behind_s=0.0), "on_course", "As planned"),
        (replace(snapshot(), behind_s=12.0), "late", "Behind the plan by 12.0 s"),
        (replace(snapshot(), behind_s=-3.0), "ahead", "Ahead of the plan by 3.0 s"),
        (ended(), "complete", "Complete after 20.0 s: the producer and the monitor agree"),
        (ended(exit_code=ExitCode.THRESHOLD), "missed", "Complete, but missed failed<5%"),
        (ended(exit_code=ExitCode.DISAGREE), "disagree", "The producer"),
        (ended(exit_code=ExitCode.INCOMPLETE), "incomplete", "The producer"),
    ],
)
def test_the_verdict_says_how_the_run_is_going_or_how_it_ended(seen: Snapshot, code: str, text: str) -> None:
    verdict = of(seen)["verdict"]
    assert verdict["code"] == code
    assert verdict["text"].startswith(text)


def test_the_verdict_says_how_long_a_run_will_take() -> None:
    course = course_of(*(at(float(second), sent=100_000 * second) for second in range(1, 6)))
    assert of(at(5.0, sent=500_000), course=course)["verdict"]["text"] == "Running: about 5.0 s left"


@given(st.floats(allow_nan=True, allow_infinity=True) | st.none())
def test_numbers_are_finite_and_short(one: float | None) -> None:
    short = number(one)
    text = json.dumps(short, allow_nan=False)
    if short is not None:
        assert one is not None
        assert short == pytest.approx(one, rel=1e-5)
        assert len(text) <= 20
