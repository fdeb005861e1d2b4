"""Frames: small, complete, made quickly; and when there is a new version of what they leave out."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from view_support import RUN_ID, planned, row
from web_support import end_of, seen_at

from smssim.core.course import Course
from smssim.core.event import Event, Kind
from smssim.core.fleet import Fleet, SenderRow
from smssim.core.heat import LETTERS
from smssim.core.model import RunFacts
from smssim.core.progress import Latencies
from smssim.core.session import State
from smssim.core.snapshot import Detail, Snapshot
from smssim.core.stall import Cause, Stall
from smssim.outputs.document import About, number
from smssim.outputs.of_course import Seen
from smssim.web.frames import EVENTS_MAX, STALLS_MAX, Static, encoded, frame, message

BYTES_MAX: Final = {20: 2048, 1000: 24 * 1024}  # of a frame, by senders


def realistic(senders: int, elapsed_s: float = 500.0) -> Snapshot:
    """Return a run with figures of as many digits as real ones have."""
    random = np.random.default_rng(7)
    rows = tuple(
        replace(
            row(f"sender-{i}", State.SENDING, sent=int(random.integers(3000, 9999)), concurrency=4),
            failed=int(random.integers(60, 99)),
            avg_time_s=float(random.gamma(4.0, 0.1)),
            recent_rate_per_s=float(random.gamma(4.0, 2.0)),
        )
        for i in range(1, senders + 1)
    )
    latencies = Latencies()
    latencies.add(random.uniform(0.1, elapsed_s, 10**6).astype(np.float32))
    made = seen_at(elapsed_s * 1.0000123, sent=sum(one.sent for one in rows), failed=9000 * senders, total=10**8)
    return replace(
        made,
        fleet=Fleet(rows),
        detail=Detail(RunFacts(RUN_ID, 7, 10**8, 3), latencies.shape()),
        reached_s={50: 123.456789, 80: 234.567891},
        behind_s=0.0,
    )


def seen(*moments: Snapshot) -> Seen:
    course = Course()
    for moment in moments:
        course.note(moment)
    return Seen(moments[-1], course, About(title="bad-day"))


def of(*moments: Snapshot) -> dict[str, Any]:
    """Return a frame as a client reads it."""
    got: dict[str, Any] = json.loads(encoded(frame(seen(*moments), 17)))
    return got


def test_frames_are_small_even_if_figures_have_many_digits() -> None:
    for senders, most in BYTES_MAX.items():
        made = message("frame", frame(seen(realistic(senders, 499.0), realistic(senders)), 2**32 - 1))
        assert len(made) <= most, senders


def test_a_frame_of_a_thousand_senders_costs_far_less_than_the_document() -> None:
    """The processor time of the fastest of many: what other processes do does not count."""
    one = seen(realistic(1000, 499.0), realistic(1000))
    static = Static.of(one.snapshot)

    def make_frame() -> None:
        message("frame", frame(one, Static.of(one.snapshot, static).version))

    def make_document() -> None:
        encoded(one.document())

    assert fastest_s(make_frame) < fastest_s(make_document) / 2


def fastest_s(what: Callable[[], None]) -> float:
    times = []
    for _ in range(30):
        started = time.thread_time()
        what()
        times.append(time.thread_time() - started)
    return min(times)


def test_a_frame_has_what_changes_and_nothing_else() -> None:
    got = of(seen_at(1.0), seen_at(2.0))
    assert got.keys() >= {
        *("run_id", "version", "progress", "verdict", "stall", "stalls", "reached_s", "behind_s", "pace", "senders"),
        *("others", "heat", "latency", "spectrum", "events"),
    }
    assert not got.keys() & {"history", "plan", "title", "command", "goals", "gaps"}
    assert got["senders"].keys() == {"state", "sent", "failed", "avg_time_s", "recent_rate_per_s"}
    assert (got["run_id"], got["version"], got["progress"]["elapsed_s"]) == (RUN_ID, 17, 2)


def test_columns_of_senders_have_one_element_each_and_three_digits() -> None:
    got = of(realistic(50))
    rows = realistic(50).fleet.rows
    assert {len(column) for column in got["senders"].values()} == {50} == {len(got["heat"])}
    assert got["senders"]["sent"] == [one.sent for one in rows]
    assert got["senders"]["avg_time_s"] == [number(one.avg_time_s, 3) for one in rows]
    assert set(got["heat"]) <= set(LETTERS)


def test_an_unknown_time_and_numbers_that_json_lacks_are_null() -> None:
    strange = replace(row("a"), avg_time_s=None, recent_rate_per_s=math.inf)
    one = seen_at(1.0, latency_p50_s=math.inf, avg_time_s=math.nan, latency_p99_s=None)
    got = of(replace(one, fleet=Fleet((strange, row("b")))))
    assert (got["senders"]["avg_time_s"][0], got["senders"]["recent_rate_per_s"][0]) == (None, None)
    progress = got["progress"]
    assert (progress["latency_p50_s"], progress["avg_time_s"], progress["latency_p99_s"]) == (None, None, None)
    assert json.loads(encoded({"a": [math.inf, (math.nan, 1)]})) == {"a": [None, [None, 1]]}


def test_the_figures_of_the_last_frame_are_exactly_the_summary() -> None:
    assert of(seen_at(1.0), end_of())["progress"] == json.loads(json.dumps(end_of().as_dict()))


def test_of_many_stalls_and_events_a_frame_has_the_latest_and_how_many_events_there_are() -> None:
    stalls = [Stall(Cause.SILENT, 3.0, 1, 5) if second % 2 else None for second in range(20)]
    moments = [replace(seen_at(float(second)), stall=stall) for second, stall in enumerate(stalls)]
    events = tuple(Event(float(at), Kind.KILLED, f"{at} was killed", RUN_ID, str(at)) for at in range(30))
    got = of(*moments, replace(seen_at(30.0), events=events))
    assert len(got["stalls"]) == STALLS_MAX
    assert [stall["from_s"] for stall in got["stalls"]] == [12, 14, 16]  # each was noticed after 3 s
    assert got["events"]["count"] == 30
    assert [event["at_s"] for event in got["events"]["latest"]] == [25, 26, 27, 28, 29][-EVENTS_MAX:]


def test_an_event_has_one_line_whatever_the_names_contain() -> None:
    hostile = "a\n\ndata: {}\r\nevent: over\u2028</script>"
    made = message("frame", frame(seen(replace(seen_at(1.0), fleet=Fleet((row(hostile),)))), 1))
    assert made.isascii()
    assert made.count(b"\n") == 3
    assert made.count(b"\r") == 0


columns = st.lists(
    st.builds(
        SenderRow,
        name=st.text(max_size=5),
        mean_s=st.floats(0.001, 9),
        failure_rate=st.floats(0, 1),
        concurrency=st.integers(1, 9),
        state=st.sampled_from(State),
        sent=st.integers(0, 9),
        failed=st.integers(0, 9),
        attempts=st.integers(0, 9),
        avg_time_s=st.none() | st.floats(0, 9),
        rate_per_s=st.floats(0, 9),
        recent_rate_per_s=st.floats(0, 1e9),
        in_flight=st.integers(0, 9),
        held=st.integers(0, 9),
    ),
    max_size=4,
).map(tuple)


@given(columns, columns)
def test_the_version_changes_exactly_if_what_senders_declare_does(
    one: tuple[SenderRow, ...], other: tuple[SenderRow, ...]
) -> None:
    def declared(rows: tuple[SenderRow, ...]) -> list[tuple[Any, ...]]:
        return [(sender.name, sender.mean_s, sender.failure_rate, sender.concurrency) for sender in rows]

    def static(rows: tuple[SenderRow, ...], before: Static | None = None) -> Static:
        return Static.of(replace(seen_at(1.0), fleet=Fleet(rows)), before)

    is_same = declared(one) == declared(other)
    assert (static(one).version == static(other).version) == is_same
    assert (static(other, static(one)).version == static(one).version) == is_same


def test_the_version_is_the_same_after_a_restart_and_another_one_once_there_is_a_plan() -> None:
    assert Static.of(seen_at(1.0)).version == Static.of(seen_at(9.0, sent=9)).version
    assert Static.of(replace(seen_at(1.0), plan=planned())).version != Static.of(seen_at(1.0)).version


@pytest.mark.parametrize("senders", [0, 1, 20])
def test_a_frame_of_any_number_of_senders_is_plain_json(senders: int) -> None:
    assert len(of(seen_at(1.0, senders=senders))["senders"]["sent"]) == senders
