"""What is due when during a run: kills, pauses, starts and the events of all faults, decided from the time alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from smssim.core.event import Event, Kind
from smssim.core.fault import MONITOR, PRODUCER, Fault, FaultKind
from smssim.launch.timetable import Act, Timetable, of_sender

KILL, PAUSE, SLOW, FAIL = FaultKind
INF = float("inf")
JOINS = {"city": 0.0, "region": 0.0, "spare": 8.0}

Said = tuple[float, Act, str]


def table(*faults: Fault, from_s: float = 0.0) -> Timetable:
    """Return the timetable of a run that has begun."""
    made = Timetable(faults, JOINS, from_s)
    made.begin()
    return made


def taken(made: Timetable, until_s: float = 1000.0) -> list[Said]:
    """Take all steps that are due until this time, each as soon as it is; return them."""
    steps = []
    while (now_s := made.next_s) <= until_s:
        step = made.due(now_s)
        assert step is not None
        steps.append((step.at_s, step.act, step.node))
        if step.act is Act.START:
            made.started(step.node)
    return steps


def without_spare(steps: Sequence[Said]) -> list[Said]:
    return [step for step in steps if step[2] != "spare"]


def texts(*faults: Fault, from_s: float = 0.0) -> list[str]:
    """Return the events of a run with these faults, each taken a little late."""
    made = table(*faults, from_s=from_s)
    said = []
    while made.next_s < INF:
        step = made.due(made.next_s)
        assert step is not None
        title = f"the {step.node}" if step.node in (PRODUCER, MONITOR) else f"sender {step.node}"
        event = step.event(step.at_s + 0.0123, "A", step.node, title)
        said.append(f"{event.at_s:g} {event.kind}: {event.text}")
    return said


def test_nothing_is_due_in_a_run_without_faults_and_late_senders() -> None:
    made = Timetable((), {"city": 0.0})
    made.begin()
    assert (made.next_s, made.due(1e9), made.late) == (INF, None, frozenset())


def test_a_step_is_due_at_its_second_and_not_before() -> None:
    made = table(Fault(5.0, KILL, "city"))
    assert made.next_s == 5.0
    assert made.due(4.999) is None
    step = made.due(5.0)
    assert step is not None
    assert (step.act, step.node) == (Act.KILL, "city")
    assert made.due(7.999) is None
    assert made.next_s == 8.0


def test_each_fault_begins_and_ends() -> None:
    made = table(
        Fault(1.0, KILL, "city", 2.0),
        Fault(2.0, PAUSE, "region", 2.0),
        Fault(6.0, KILL, PRODUCER, 1.0),
        Fault(6.5, PAUSE, MONITOR, 1.0),
    )
    assert taken(made) == [
        (1.0, Act.KILL, "city"),
        (2.0, Act.PAUSE, "region"),
        (3.0, Act.START, "city"),
        (4.0, Act.RESUME, "region"),
        (6.0, Act.KILL, PRODUCER),
        (6.5, Act.PAUSE, MONITOR),
        (7.0, Act.START, PRODUCER),
        (7.5, Act.RESUME, MONITOR),
        (8.0, Act.START, "spare"),
    ]


def test_each_event_has_its_time_and_a_line_of_text() -> None:
    """What a sender simulates itself happens exactly on time; the rest when the step was taken."""
    assert texts(
        Fault(1.0, KILL, "city", 2.0),
        Fault(4.0, PAUSE, MONITOR, 1.0),
        Fault(6.0, SLOW, "region", 1.5, factor=2.5),
        Fault(6.0, FAIL, "city", share=0.125),
    ) == [
        "1.012 killed: Killed sender city",
        "3.012 restarted: Started sender city again",
        "4.012 paused: Paused the monitor",
        "5.012 resumed: Resumed the monitor",
        "6 slowed: Slowed sender region by a factor of 2.5",
        "6 failing: Sender city fails 12.5% of its attempts",
        "7.5 recovered: Sender region is no longer slowed by a factor of 2.5",
        "8.012 joined: Started sender spare",
    ]
    assert "3 recovered: Sender city no longer fails 50% of its attempts" in texts(
        Fault(1.0, FAIL, "city", 2.0, 1, 0.5)
    )


def test_an_event_names_its_run_and_its_node() -> None:
    step = table(Fault(1.0, KILL, "city")).due(1.0)
    assert step is not None
    assert step.event(1.5, "A", "the name", "sender city") == Event(
        1.5, Kind.KILLED, "Killed sender city", "A", "the name"
    )


def test_a_name_with_braces_appears_as_it_is() -> None:
    step = Timetable([Fault(1.0, KILL, "{}")], {"{}": 0.0}).due(1.0)
    assert step is not None
    assert step.event(1.0, "A", "{}", "sender {}").text == "Killed sender {}"


def test_at_the_same_second_faults_end_before_others_begin_and_those_of_a_kind_are_in_the_order_of_the_file() -> None:
    made = table(
        Fault(8.0, SLOW, "region", factor=2),
        Fault(8.0, PAUSE, "region"),
        Fault(8.0, KILL, "city", 1.0),
        Fault(8.0, KILL, "spare", 1.0),
        Fault(6.0, PAUSE, "city", 2.0),
        Fault(6.0, SLOW, "region", 2.0, factor=2),
    )
    assert taken(made, 8.0)[2:] == [
        (8.0, Act.START, "spare"),
        (8.0, Act.RESUME, "city"),
        (8.0, Act.RECOVER, "region"),
        (8.0, Act.KILL, "city"),
        (8.0, Act.KILL, "spare"),
        (8.0, Act.PAUSE, "region"),
        (8.0, Act.DISTURB, "region"),
    ]


def test_a_sender_that_is_killed_at_the_second_of_its_return_is_expected_again() -> None:
    made = table(Fault(1.0, KILL, "city", 1.0), Fault(2.0, KILL, "city", 1.0))
    assert without_spare(taken(made, 2.0)) == [
        *((1.0, Act.KILL, "city"), (2.0, Act.START, "city"), (2.0, Act.KILL, "city")),
    ]
    assert made.awaits("city")
    assert without_spare(taken(made)) == [(3.0, Act.START, "city")]
    assert not made.awaits("city")


def test_steps_that_are_overdue_are_due_at_once_and_in_order() -> None:
    made = table(Fault(1.0, KILL, "city", 1.0), Fault(3.0, PAUSE, "region", 1.0))
    acts = []
    while (step := made.due(100.0)) is not None:
        acts.append(step.act)
    assert acts == [Act.KILL, Act.START, Act.PAUSE, Act.RESUME, Act.START]


# -- which nodes are expected


def test_a_killed_node_is_expected_until_it_is_started_unless_the_kill_is_for_good() -> None:
    made = table(Fault(1.0, KILL, "city", 2.0), Fault(1.0, KILL, "region"))
    assert not made.awaits("city")
    made.due(1.0)
    made.due(1.0)
    assert (made.awaits("city"), made.returns("city")) == (True, True)
    assert (made.awaits("region"), made.returns("region")) == (False, False)
    made.due(3.0)
    assert made.awaits("city"), "its process is not there yet"
    made.started("city")
    assert not made.awaits("city")


def test_a_late_sender_is_expected_from_the_start_of_the_run() -> None:
    made = Timetable((), JOINS)
    assert made.late == {"spare"}
    assert not made.awaits("spare"), "the run may never start"
    made.begin()
    assert made.awaits("spare")
    assert taken(made) == [(8.0, Act.START, "spare")]
    assert not made.awaits("spare")


def test_a_paused_node_returns_unless_the_pause_is_for_good() -> None:
    made = table(Fault(1.0, PAUSE, "city", 2.0), Fault(1.0, PAUSE, "region"))
    taken(made, 1.0)
    assert made.paused == {"city", "region"}
    assert (made.returns("city"), made.is_lost("city")) == (True, False)
    assert (made.returns("region"), made.is_lost("region")) == (False, True)
    assert not made.awaits("city"), "it runs"
    taken(made)
    assert made.paused == {"region"}


def test_nothing_strikes_a_node_that_has_ended_by_itself_and_it_does_not_come_back() -> None:
    made = table(Fault(5.0, KILL, "city", 1.0), Fault(5.0, SLOW, "city", factor=2), Fault(5.0, PAUSE, "region", 1.0))
    made.ended("city")
    made.ended("spare")
    assert [step.node for step in filter(None, [made.due(5.0), made.due(5.0)])] == ["region"]
    made.ended("region")
    assert (made.next_s, made.paused) == (INF, set())
    assert not any(map(made.awaits, JOINS))


# -- the faults that a sender simulates itself


def test_such_a_fault_strikes_a_late_sender_when_it_starts() -> None:
    slow = Fault(2.0, SLOW, "spare", 10.0, factor=2)
    assert taken(table(slow)) == [(8.0, Act.START, "spare"), (8.0, Act.DISTURB, "spare"), (12.0, Act.RECOVER, "spare")]
    assert taken(table(Fault(2.0, SLOW, "spare", 6.0, factor=2))) == [(8.0, Act.START, "spare")]


@pytest.mark.parametrize(
    ("at_s", "for_s", "strikes_s", "over_s"),
    [
        (1.0, 3.0, 1.0, 4.0),
        (4.0, 2.0, 4.0, 7.0),  # over while the sender is away
        (6.0, 3.0, 7.0, 9.0),  # begins while it is away
        (5.5, 1.0, None, None),  # begins and is over while it is away
        (6.0, None, 7.0, None),
        (7.0, 1.0, 7.0, 8.0),
    ],
)
def test_such_a_fault_strikes_a_killed_sender_when_it_is_back(
    at_s: float, for_s: float | None, strikes_s: float | None, over_s: float | None
) -> None:
    """It is killed from 5 to 7."""
    steps = taken(table(Fault(5.0, KILL, "city", 2.0), Fault(at_s, FAIL, "city", for_s, share=0.5)))
    times = {act: time_s for time_s, act, node in steps if node == "city"}
    assert (times.get(Act.DISTURB), times.get(Act.RECOVER)) == (strikes_s, over_s)


def test_such_a_fault_is_not_over_for_a_sender_that_was_killed_for_good() -> None:
    steps = taken(table(Fault(5.0, KILL, "city"), Fault(4.0, FAIL, "city", 2.0, share=0.5)))
    assert without_spare(steps) == [(4.0, Act.DISTURB, "city"), (5.0, Act.KILL, "city")]


def test_a_sender_gets_its_own_faults_and_no_signals() -> None:
    slow, fail = Fault(2.0, SLOW, "city", 3.0, factor=2), Fault(4.0, FAIL, "city", share=0.5)
    faults = (Fault(1.0, KILL, "city", 1.0), slow, Fault(1.0, SLOW, "region", factor=9), fail)
    assert of_sender(faults, "city") == (slow, fail)
    assert of_sender(faults, "spare") == ()


def test_a_sender_gets_its_faults_earlier_if_the_seconds_of_the_producer_lag_behind() -> None:
    faults = [Fault(at_s, SLOW, "city", for_s, factor=2) for at_s, for_s in ((0.5, 1.0), (2.0, 3.0), (8.0, 1.0))]
    got = of_sender([*faults, Fault(1.0, FAIL, "city", share=0.5)], "city", 3.0)
    assert [(one.at_s, one.for_s) for one in got] == [(0.0, 2.0), (5.0, 1.0), (0.0, None)]


# -- the end of the run, and a run that resumes


def test_at_the_end_paused_nodes_continue_and_killed_servers_are_started() -> None:
    made = table(
        Fault(1.0, KILL, MONITOR, 50.0),
        Fault(1.0, KILL, PRODUCER, 50.0),
        Fault(1.0, KILL, "city", 50.0),
        Fault(1.0, PAUSE, "region", 50.0),
    )
    taken(made, 1.0)
    steps = made.stop(6.0)
    assert [(step.at_s, step.act, step.node) for step in steps] == [
        (6.0, Act.START, PRODUCER),
        (6.0, Act.START, MONITOR),
        (6.0, Act.RESUME, "region"),
    ]
    assert (made.next_s, made.paused) == (INF, set())
    assert [key for key in (PRODUCER, MONITOR, *JOINS) if made.awaits(key)] == [PRODUCER, MONITOR]
    for step in steps[:2]:
        made.started(step.node)
    assert made.stop(7.0) == []


def test_at_the_end_nothing_is_due_that_did_not_strike() -> None:
    made = table(Fault(5.0, KILL, PRODUCER, 1.0), Fault(5.0, PAUSE, "city"))
    assert made.stop(4.0) == []
    assert made.due(1000.0) is None


def test_a_run_that_resumes_skips_the_faults_that_struck_before() -> None:
    faults = (
        Fault(1.0, KILL, "city"),
        Fault(2.0, KILL, PRODUCER, 10.0),
        Fault(2.0, PAUSE, "region", 10.0),
        Fault(9.0, KILL, "region"),
    )
    made = table(*faults, from_s=8.0)
    assert made.late == set(), "it is there from the start now"
    assert taken(made) == [(9.0, Act.KILL, "region")]
    slow = [Fault(1.0, SLOW, "city", 2.0, factor=2), Fault(2.0, SLOW, "city", 10.0, factor=3)]
    assert texts(*slow, from_s=8.0) == ["12 recovered: Sender city is no longer slowed by a factor of 3"]
