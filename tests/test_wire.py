"""Encoding and decoding: our messages arrive unchanged; invalid messages raise PeerError and nothing else."""

from __future__ import annotations

import math
import struct
import uuid
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from smssim.core.event import Event, Kind
from smssim.core.exchange import Answer, Delivery, Report, Request, RunEnd, Settlements
from smssim.core.fleet import ROWS_MAX, Others
from smssim.core.folding import FoldedFleet, FoldedRow
from smssim.core.lanes import Finished
from smssim.core.limits import (
    ATTEMPTS_MAX,
    CONCURRENCY_MAX,
    COUNT_MAX,
    EVENT_TEXT_BYTES_MAX,
    EVENTS_MAX,
    NAME_BYTES_MAX,
    SEED_MAX,
    WATCH_INTERVAL_MIN_S,
)
from smssim.core.message import Content, Writer
from smssim.core.model import Outcome, RunFacts
from smssim.core.progress import Figures
from smssim.core.queue import Batch
from smssim.core.snapshot import Snapshot
from smssim.core.tally import Tally
from smssim.errors import PeerError, VersionError
from smssim.net import watching, wire
from smssim.net.announcing import announcement_from_proto, event_from_proto
from smssim.settings import DISTRIBUTIONS, SenderSettings
from smssim.v1 import monitor_pb2, producer_pb2, run_pb2

RUN = RunFacts("2b7bd5f5-5a41-4fd4-93ea-5c1ff9a3f7b6", seed=7, total=1000, max_attempts=3)

# -- messages of our nodes

u64 = st.integers(0, 2**64 - 1)
counts = st.integers(0, COUNT_MAX)
lengths = st.integers(0, 8)
run_ids = st.uuids().map(str)
runs = st.builds(RunFacts, run_ids, st.integers(0, SEED_MAX), st.integers(1, COUNT_MAX), st.integers(1, ATTEMPTS_MAX))
ends = st.builds(RunEnd, st.booleans(), u64, u64)
times_s = st.floats(0, 2**39, width=32)
elapsed_s = st.floats(0, 1e12)


def columns(draw: st.DrawFn, count: int, elements: st.SearchStrategy[Any], kind: str) -> NDArray[Any]:
    return np.array(draw(st.lists(elements, min_size=count, max_size=count)), kind)


def ids(draw: st.DrawFn, run: RunFacts, count: int) -> NDArray[np.int64]:
    return columns(draw, count, st.integers(0, run.total - 1), "i8")


def outcomes(draw: st.DrawFn, count: int, *kinds: Outcome) -> NDArray[np.uint8]:
    return columns(draw, count, st.sampled_from(kinds), "u1")


def attempts(draw: st.DrawFn, run: RunFacts, count: int) -> NDArray[np.uint8]:
    return columns(draw, count, st.integers(1, run.max_attempts), "u1")


@st.composite
def requests(draw: st.DrawFn) -> tuple[RunFacts, Request]:
    run, count, back = draw(runs), draw(lengths), draw(lengths)
    settlements = Settlements(ids(draw, run, count), outcomes(draw, count, *Outcome), attempts(draw, run, count))
    return run, Request(
        credit=draw(u64),
        idle_lanes=draw(st.none() | u64),
        received=draw(u64),
        settlements=draw(st.sampled_from([settlements, None])),
        handed_back=ids(draw, run, back) if back else None,
        leaving=draw(st.booleans()),
        held=draw(st.none() | u64),
    )


@st.composite
def reports(draw: st.DrawFn) -> tuple[RunFacts, Report]:
    run, count = draw(runs), draw(lengths)
    goodbye = draw(st.booleans())
    finished = Finished(
        ids(draw, run, count),
        attempts(draw, run, count),
        outcomes(draw, count, *Outcome),
        columns(draw, count, times_s, "f4"),
        columns(draw, count, times_s, "f4"),
    )
    return run, Report(
        sequence=draw(st.integers(1, 2**63)),
        finished=finished,
        in_flight=draw(counts),
        held=draw(counts),
        elapsed_s=draw(st.none() | elapsed_s),
        goodbye=goodbye,
        end=draw(st.none() | ends) if goodbye else None,
    )


@st.composite
def answers(draw: st.DrawFn) -> tuple[RunFacts, Answer]:
    run, count = draw(runs), draw(lengths)
    overruled = outcomes(draw, count, Outcome.SENT, Outcome.FAILED)
    overruled_ids = ids(draw, run, count)
    return run, Answer(draw(u64), draw(u64), overruled_ids, overruled, draw(st.floats(0, 1e6)), draw(st.none() | ends))


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    count, attempt = draw(lengths), draw(st.integers(1, RUN.max_attempts))
    return Delivery(ids(draw, RUN, count), attempt, columns(draw, count, times_s, "f4"), draw(elapsed_s))


@st.composite
def figures(draw: st.DrawFn) -> Figures:
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "str": run_ids,
        "int": u64,
        "float": st.floats(0, allow_nan=False),
        "float | None": st.none() | st.floats(0, allow_nan=False),
        "bool": st.booleans(),
    }
    return Figures(**{field.name: draw(kinds[str(field.type)]) for field in fields(Figures)})


def same(one: Any, other: Any) -> bool:
    """Return whether both are equal in type and value, and in element type if they are arrays."""
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    if is_dataclass(one):
        return type(one) is type(other) and all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    return type(one) is type(other) and bool(one == other)


def sent(message: Any) -> Any:
    """Return the message as it arrives: encoded and decoded again."""
    return type(message).FromString(message.SerializeToString())


@given(runs)
def test_a_run_arrives_unchanged(run: RunFacts) -> None:
    assert same(wire.run_from_proto(sent(wire.run_to_proto(run))), run)


@given(requests())
def test_a_request_arrives_unchanged(case: tuple[RunFacts, Request]) -> None:
    run, request = case
    assert same(wire.request_from_proto(sent(wire.request_to_proto(request)), run), request)


@given(reports())
def test_a_report_arrives_unchanged(case: tuple[RunFacts, Report]) -> None:
    run, report = case
    message = wire.report_to_proto(report, wire.run_to_proto(run), run_pb2.Sender(name="me"))
    assert same(wire.report_from_proto(sent(message), run), report)
    assert same(wire.run_from_proto(message.run), run)
    assert message.sender.name == "me"


@given(answers())
def test_an_answer_arrives_unchanged(case: tuple[RunFacts, Answer]) -> None:
    run, answer = case
    assert same(wire.answer_from_proto(sent(wire.answer_to_proto(answer)), run), answer)


@given(ends)
def test_the_end_of_a_run_arrives_unchanged(end: RunEnd) -> None:
    assert same(wire.end_from_proto(sent(wire.end_to_proto(end))), end)


@given(figures())
def test_progress_has_the_names_and_values_of_the_figures(figures: Figures) -> None:
    progress = sent(watching.snapshot_to_proto(Snapshot(figures))).progress
    assert [field.name for field in progress.DESCRIPTOR.fields] == [field.name for field in fields(Figures)]
    for name, value in figures.as_dict().items():
        assert (getattr(progress, name) if value is not None else progress.HasField(name)) == (value or False)


events_seen = st.lists(
    st.builds(
        Event,
        st.floats(0, wire.ELAPSED_MAX_S),
        st.sampled_from([kind for kind in Kind if kind is not Kind.STOPPING]),
        st.sampled_from(["x", "\u00e9" * 100]),
        target=st.sampled_from(["", "city", "\u00e9" * 32]),
    ),
    max_size=3,
)


@given(figures(), events_seen)
def test_events_arrive_unchanged(figures: Figures, events: list[Event]) -> None:
    of_the_run = tuple(replace(event, run_id=figures.run_id) for event in events)
    message = sent(watching.snapshot_to_proto(Snapshot(figures, events=of_the_run)))
    assert tuple(event_from_proto(event, figures.run_id) for event in message.events) == of_the_run


FOLDED = FoldedFleet(
    (
        FoldedRow("a", 1, 0.5, 0.0, 3, Others(lost=1), 0, None, 0.0, 0, 0, None, None),
        FoldedRow(
            "b", 500, 1.0, 0.1, 1, Others(498, 1, 1, 0, 7, 2, 3, 1.5), 12, 1.01, 2.5, 0, 3, 0.9, 1.1, 7.5, 3, 4.5
        ),
    ),
    Others(sending=2, sent=9),
)


def test_folded_senders_arrive_unchanged() -> None:
    seen = Tally(RUN, 0.0).figures(0.0)
    for folded in (None, FoldedFleet(), FOLDED):
        message = sent(watching.snapshot_to_proto(Snapshot(seen, folded=folded)))
        assert message.HasField("folded") == (folded is not None)
        assert watching.snapshot_from_proto(message).folded == folded


def test_folded_senders_that_can_not_be_shown_are_refused() -> None:
    seen, row = Tally(RUN, 0.0).figures(0.0), FOLDED.rows[0]
    for rows, says in (
        ((row,) * (ROWS_MAX + 1), "folded: got 101 rows; expected at most 100"),
        ((replace(row, together=Others()),), "together: got 0; expected 1 to inf"),
    ):
        message = watching.snapshot_to_proto(Snapshot(seen, folded=FoldedFleet(rows[:1])))
        message.folded.rows.extend([message.folded.rows[0]] * (len(rows) - 1))
        with pytest.raises(PeerError, match=says):
            watching.snapshot_from_proto(message)
    odd = FoldedFleet((replace(row, name="\x1b[2J"),))
    shown = watching.snapshot_from_proto(watching.snapshot_to_proto(Snapshot(seen, folded=odd))).folded
    assert shown is not None
    assert shown.rows[0].name.isprintable()


def carried(data: bytes) -> producer_pb2.Batch:
    """Decode a response and return its batch."""
    response = producer_pb2.FetchMessageResponse.FromString(data)
    assert response.settled == 7
    return response.batch


@given(deliveries())
def test_a_batch_arrives_unchanged(delivery: Delivery) -> None:
    content = Writer(RUN.seed, RUN.total).content(delivery.ids.view("u8"))
    leased = Batch(delivery.ids, delivery.attempt)
    batch = carried(wire.batch_to_bytes(leased, content, delivery.queued_s, delivery.elapsed_s, settled=7))
    assert same(wire.batch_from_proto(batch, RUN), delivery)
    assert Content(batch.phone_numbers, batch.text_lengths, batch.texts) == content


def test_phone_numbers_and_texts_are_read_from_a_batch_by_id() -> None:
    leased = Batch(np.array([5, 999, 0]), 1)
    content = Content(b"111-111-1111222-222-2222333-333-3333", bytes([2, 1, 3]), b"HIXABC")
    batch = carried(wire.batch_to_bytes(leased, content, np.zeros(3, np.float32), 0.0, settled=7))
    assert wire.texts_of(batch, 9) == {
        5: ("111-111-1111", "HI"),
        999: ("222-222-2222", "X"),
        0: ("333-333-3333", "ABC"),
    }


settings = st.builds(
    SenderSettings,
    mean_s=st.floats(1e-3, 1e6),
    distribution=st.sampled_from(DISTRIBUTIONS),
    fail=st.floats(0, 1),
    concurrency=st.integers(1, CONCURRENCY_MAX),
)


@given(settings, run_ids, st.text(st.characters(codec="utf-8"), max_size=16))
def test_the_hello_of_every_sender_is_valid(settings: SenderSettings, session_id: str, name: str) -> None:
    sender = sent(wire.sender_to_proto(session_id, name, settings))
    wire.check_hello(producer_pb2.Hello(protocol=wire.PROTOCOL, sender=sender))
    assert (sender.session_id, sender.name, sender.distribution) == (session_id, name, settings.distribution)
    assert (sender.mean_s, sender.std_s) == (settings.mean_s, settings.std_s)
    assert (sender.failure_rate, sender.concurrency) == (settings.fail, settings.concurrency)


# -- messages that any client might send

any_double = st.floats()
near = st.sampled_from([1, 2, 3, 999, 0, 1000, 2**63, 2**64 - 1])  # mostly valid
IDS = (0, 1, 5, 500, 998, 999, 1000, 2**63, 2**64 - 1)
SMALL = (1, 2, 3, 0, 4, 255)
TIMES = (0.0, -0.0, 1e-45, 0.5, 1e38, math.nan, -1.0, math.inf)


def column(draw: st.DrawFn, count: int, form: str, values: Sequence[float]) -> bytes:
    """Return a column of these numbers, or random bytes one time in five."""
    if draw(st.integers(0, 4)) == 4:
        return draw(st.binary(max_size=20))
    chosen = draw(st.lists(st.sampled_from(values), min_size=count, max_size=count))
    return struct.pack(f"<{count}{form}", *chosen)


@st.composite
def any_requests(draw: st.DrawFn) -> producer_pb2.FetchMessageRequest:
    count = draw(st.integers(0, 3))
    settlements = producer_pb2.Settlements(
        message_ids=column(draw, count, "Q", IDS),
        outcomes=column(draw, count, "B", SMALL),
        attempts=column(draw, count, "B", SMALL),
    )
    return producer_pb2.FetchMessageRequest(
        credit=draw(near),
        idle_lanes=draw(st.none() | near),
        received=draw(near),
        held=draw(st.none() | near),
        settlements=draw(st.sampled_from([settlements, None])),
        handed_back_ids=column(draw, draw(st.integers(0, 2)), "Q", IDS),
    )


@st.composite
def any_reports(draw: st.DrawFn) -> monitor_pb2.ReportResultRequest:
    count = draw(st.integers(0, 2))
    return monitor_pb2.ReportResultRequest(
        sequence=draw(near),
        message_ids=column(draw, count, "Q", IDS),
        outcomes=column(draw, count, "B", SMALL),
        attempts=column(draw, count, "B", SMALL),
        durations_s=column(draw, count, "f", TIMES),
        latencies_s=column(draw, count, "f", TIMES),
        in_flight=draw(near),
        held=draw(near),
        elapsed_s=draw(st.none() | any_double),
    )


@st.composite
def any_batches(draw: st.DrawFn) -> producer_pb2.Batch:
    count = draw(st.integers(0, 3))
    return producer_pb2.Batch(
        message_ids=column(draw, count, "Q", IDS),
        phone_numbers=draw(st.sampled_from([b"555-123-4567" * count, b"\xff" * 12 * count, b"555"])),
        text_lengths=bytes([2] * count),
        texts=draw(st.sampled_from([b"HI" * count, b"\xff" * 2 * count, b"HI"])),
        queued_s=column(draw, count, "f", TIMES[:4] + TIMES[5:]),
        attempt=draw(st.integers(0, 4)),
        elapsed_s=draw(any_double),
    )


@st.composite
def any_answers(draw: st.DrawFn) -> monitor_pb2.ReportResultResponse:
    count = draw(st.integers(0, 3))
    return monitor_pb2.ReportResultResponse(
        overruled_ids=column(draw, count, "Q", IDS),
        overruled_outcomes=column(draw, count, "B", SMALL),
        wait_s=draw(any_double),
    )


def assert_columns(count: int, *columns: NDArray[Any]) -> None:
    assert {len(column) for column in columns} == {count}


@given(any_requests())
def test_any_request_is_valid_or_refused(message: producer_pb2.FetchMessageRequest) -> None:
    try:
        request = wire.request_from_proto(message, RUN)
    except PeerError:
        return
    if request.handed_back is not None:
        assert all(0 <= number < RUN.total for number in request.handed_back.tolist())
    if request.settlements is not None:
        done = request.settlements
        assert_columns(len(done.ids), done.outcomes, done.attempts)
        assert all(0 <= number < RUN.total for number in done.ids.tolist())
        assert set(done.outcomes.tolist()) <= set(Outcome)
        assert set(done.attempts.tolist()) <= {1, 2, 3}


@given(any_reports())
def test_any_report_is_valid_or_refused(message: monitor_pb2.ReportResultRequest) -> None:
    try:
        report = wire.report_from_proto(message, RUN)
    except PeerError:
        return
    finished = report.finished
    assert report.sequence >= 1
    assert report.elapsed_s is None or 0 <= report.elapsed_s < math.inf
    assert_columns(len(finished), finished.attempts, finished.outcomes, finished.durations_s, finished.latencies_s)
    assert all(0 <= number < RUN.total for number in finished.ids.tolist())
    assert set(finished.outcomes.tolist()) <= set(Outcome)
    assert set(finished.attempts.tolist()) <= {1, 2, 3}
    for times in (finished.durations_s, finished.latencies_s):
        assert all(0 <= time_s < math.inf and math.copysign(1, time_s) == 1 for time_s in times.tolist())


@given(any_batches())
def test_any_batch_is_valid_or_refused(message: producer_pb2.Batch) -> None:
    try:
        delivery = wire.batch_from_proto(message, RUN)
    except PeerError:
        return
    assert_columns(len(delivery.ids), delivery.queued_s)
    assert all(0 <= number < RUN.total for number in delivery.ids.tolist())
    assert 1 <= delivery.attempt <= 3
    assert 0 <= delivery.elapsed_s < math.inf
    assert all(0 <= time_s < math.inf for time_s in delivery.queued_s.tolist())
    assert wire.texts_of(message, len(delivery.ids)).keys() == set(delivery.ids.tolist())


@given(any_answers())
def test_any_answer_is_valid_or_refused(message: monitor_pb2.ReportResultResponse) -> None:
    try:
        answer = wire.answer_from_proto(message, RUN)
    except PeerError:
        return
    assert_columns(len(answer.overruled_ids), answer.overruled_outcomes)
    assert all(0 <= number < RUN.total for number in answer.overruled_ids.tolist())
    assert set(answer.overruled_outcomes.tolist()) <= {Outcome.SENT, Outcome.FAILED}
    assert 0 <= answer.wait_s < math.inf


@given(
    st.builds(
        run_pb2.Run, run_id=run_ids | st.text(max_size=36), seed=near, total=near, max_attempts=st.integers(0, 300)
    )
)
def test_any_run_is_valid_or_refused(message: run_pb2.Run) -> None:
    try:
        run = wire.run_from_proto(message)
    except PeerError:
        return
    assert str(uuid.UUID(run.run_id)) == run.run_id
    assert (run.seed <= SEED_MAX, run.total <= COUNT_MAX, 1 <= run.max_attempts <= ATTEMPTS_MAX) == (True, True, True)


@given(st.just("") | run_ids | st.text(max_size=36), st.floats(0, 1) | any_double)
def test_any_watch_is_valid_or_refused(run_id: str, interval_s: float) -> None:
    try:
        wanted, interval, _ = watching.watch_from_proto(
            monitor_pb2.WatchProgressRequest(run_id=run_id, interval_s=interval_s)
        )
    except PeerError:
        return
    assert wanted == "" or str(uuid.UUID(wanted)) == wanted
    assert interval == 0 or WATCH_INTERVAL_MIN_S <= interval < math.inf


@given(
    st.builds(
        monitor_pb2.Event,
        at_s=st.floats(0, 10) | any_double,
        kind=st.integers(0, 10),
        target=st.text(max_size=70),
        text=st.text(max_size=210),
    ),
    run_ids | st.text(max_size=36),
)
def test_any_event_is_valid_or_refused(message: monitor_pb2.Event, run_id: str) -> None:
    try:
        event = announcement_from_proto(monitor_pb2.AnnounceEventRequest(run_id=run_id, event=message))
    except PeerError:
        return
    assert str(uuid.UUID(event.run_id)) == event.run_id
    assert (math.isfinite(event.at_s), event.at_s >= 0, event.kind is not Kind.STOPPING) == (True, True, True)
    assert (event.text.isprintable(), event.target.isprintable(), event.text != "") == (True, True, True)
    assert len(event.text.encode()) <= EVENT_TEXT_BYTES_MAX
    assert len(event.target.encode()) <= NAME_BYTES_MAX


def test_a_response_with_too_many_events_is_refused() -> None:
    seen = Tally(RUN, 0.0).figures(0.0)
    event = Event(1.0, Kind.KILLED, "killed", seen.run_id)
    message = watching.snapshot_to_proto(Snapshot(seen, events=(event,) * (EVENTS_MAX + 1)))
    with pytest.raises(PeerError, match="events: got 501; expected at most 500"):
        watching.snapshot_from_proto(message)
    del message.events[0]
    assert len(watching.snapshot_from_proto(message).events) == EVENTS_MAX


def test_another_version_of_the_protocol_is_refused_as_such() -> None:
    for protocol in (0, wire.PROTOCOL + 1, 2**32 - 1):
        with pytest.raises(VersionError, match=f"version {protocol}; this producer supports version {wire.PROTOCOL}$"):
            wire.check_hello(producer_pb2.Hello(protocol=protocol))


def test_settings_of_limits_that_are_not_used_take_no_bytes() -> None:
    sender = wire.sender_to_proto(str(uuid.uuid4()), "one", SenderSettings())
    run = wire.run_to_proto(RUN)
    assert not {field.name for field, _ in sender.ListFields()} & {"limit_per_s", "burst", "price", "price_failed"}
    assert not {field.name for field, _ in run.ListFields()} & {"unreachable", "segments"}
    limited = wire.sender_from_proto(
        wire.sender_to_proto(sender.session_id, "one", SenderSettings(limit_per_s=5, burst=3))
    )
    assert (limited.limit_per_s, limited.burst) == (5, 3)
