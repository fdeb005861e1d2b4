"""The sender's protocol settles only what the monitor has recorded, and survives the loss of either peer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from smssim.core.conditions import Conditions
from smssim.core.exchange import Answer, Delivery, Report, Request, RunEnd, Settlements
from smssim.core.lanes import Finished
from smssim.core.limits import LIMITS, NAME_BYTES_MAX
from smssim.core.model import Outcome
from smssim.core.sending import SenderProtocol
from smssim.errors import PeerError
from smssim.net import wire
from smssim.settings import SenderSettings
from smssim.v1 import run_pb2

SENT, FAILED, RETRY = Outcome.SENT, Outcome.FAILED, Outcome.RETRY
END = RunEnd(complete=True, sent=3, failed=1)


def sending(mean_s: float = 1.0, concurrency: int = 2, fail: float = 0.0, max_attempts: int = 1) -> SenderProtocol:
    """Return a sender whose attempts all take the mean time."""
    settings = SenderSettings(mean_s=mean_s, fail=fail, distribution="fixed", concurrency=concurrency)
    return SenderProtocol(
        Conditions(1, max_attempts, settings.attempt_model), settings.mean_s, settings.concurrency, now=0.0
    )


def answer(overruled: dict[int, Outcome] | None = None, wait_s: float = 0.0) -> Answer:
    overruled = overruled or {}
    ids, outcomes = np.array(list(overruled), np.int64), np.array(list(overruled.values()), np.uint8)
    return Answer(accepted=0, duplicates=0, overruled_ids=ids, overruled_outcomes=outcomes, wait_s=wait_s)


def introduced(mean_s: float = 1.0, concurrency: int = 2, fail: float = 0.0, max_attempts: int = 1) -> SenderProtocol:
    """Return a sender at time 0 with a stream, whose first report the monitor has answered."""
    some = sending(mean_s, concurrency, fail, max_attempts)
    some.stream_up(0.0)
    report(some, 0.0)
    some.acknowledge(answer())
    return some


def report(some: SenderProtocol, now: float) -> Report:
    got = some.report(now)
    assert got is not None
    return got


def request(some: SenderProtocol, now: float) -> Request:
    got = some.request(now)
    assert got is not None
    return got


def deliver(some: SenderProtocol, ids: Sequence[int], now: float, attempt: int = 1) -> None:
    """Deliver these messages, whether or not the sender has asked for them."""
    some._open_credit = max(some._open_credit, len(ids))
    some.advance(now)
    some.receive(Delivery(np.array(ids, np.int64), attempt, np.zeros(len(ids), np.float32), elapsed_s=now), now)


def drained(some: SenderProtocol, now: float) -> None:
    some.advance(now)
    some.drain(now)


def settled(some: SenderProtocol, now: float) -> list[tuple[int, int, int]]:
    """Return the id, outcome and attempt of everything that the sender settles now."""
    rows: list[tuple[int, int, int]] = []
    while (got := some.request(now)) is not None:
        if got.settlements is not None:
            columns: Settlements = got.settlements
            rows += zip(columns.ids.tolist(), columns.outcomes.tolist(), columns.attempts.tolist(), strict=True)
    return rows


# -- reporting and settling


def test_nothing_is_settled_before_its_report_is_acknowledged() -> None:
    some = introduced()
    deliver(some, [7, 8], 0.0)
    some.advance(1.0)
    assert settled(some, 1.0) == []
    assert report(some, 1.0).finished.ids.tolist() == [7, 8]
    assert settled(some, 1.0) == []
    some.acknowledge(answer())
    assert settled(some, 1.0) == [(7, SENT, 1), (8, SENT, 1)]
    assert settled(some, 1.0) == []


def test_with_infrequent_reports_settlements_wait_at_most_half_an_interval_for_a_request() -> None:
    some = introduced(concurrency=2)
    deliver(some, range(6), 0.0)
    some.advance(1.0)
    request(some, 1.0)
    report(some, 1.0)
    some.acknowledge(answer(wait_s=0.8))
    assert some.lanes.held == 2
    assert some.wake_at(1.1) <= 1.4
    assert settled(some, 1.35) == []
    assert [row[0] for row in settled(some, 1.4)] == [0, 1]


def test_only_one_report_is_unacknowledged_at_a_time() -> None:
    some = introduced()
    deliver(some, [1, 2, 3, 4], 0.0)
    some.advance(1.0)
    report(some, 1.0)
    some.advance(2.0)
    assert some.report(2.0) is None
    assert some.report(99.0) is None
    some.acknowledge(answer())
    assert report(some, 99.0).finished.ids.tolist() == [3, 4]


def test_reports_are_numbered_from_1() -> None:
    some = sending()
    sequences = []
    for now in range(3):
        sequences.append(report(some, float(now)).sequence)
        some.acknowledge(answer())
    assert sequences == [1, 2, 3]


def test_the_outcome_on_record_is_settled_even_if_it_overrules_the_reported_one() -> None:
    """The same holds if a message was attempted twice in one report and if the answer has another order."""
    some = introduced(concurrency=4, fail=1.0, max_attempts=2)
    deliver(some, [5, 9, 6, 5], 0.0)
    some.advance(1.0)
    assert report(some, 1.0).finished.outcomes.tolist() == [RETRY] * 4
    some.acknowledge(answer({9: FAILED, 5: SENT, 10**9: SENT}))
    assert settled(some, 1.0) == [(5, SENT, 1), (9, FAILED, 1), (6, RETRY, 1), (5, SENT, 1)]


def test_a_settlement_contains_the_attempt() -> None:
    some = introduced(fail=1.0, max_attempts=3)
    deliver(some, [1], 0.0, attempt=2)
    deliver(some, [2], 0.0, attempt=3)
    some.advance(1.0)
    report(some, 1.0)
    some.acknowledge(answer())
    assert settled(some, 1.0) == [(1, RETRY, 2), (2, FAILED, 3)]


def test_a_report_is_due_every_second_even_if_empty() -> None:
    some = introduced()
    assert some.report(0.9) is None
    assert report(some, LIMITS.heartbeat_s).finished.ids.tolist() == []


def test_the_monitor_sets_the_interval_between_reports_within_a_bound() -> None:
    some = introduced(mean_s=0.1, concurrency=1)
    deliver(some, range(1, 20), 0.0)
    some.advance(0.15)
    report(some, 0.15)
    some.acknowledge(answer(wait_s=0.5))
    some.advance(0.35)
    assert some.report(0.64) is None
    assert report(some, 0.65).finished.ids.tolist() == [2, 3]
    some.acknowledge(answer(wait_s=3600.0))
    assert some.report(2.6) is None
    assert some.report(0.65 + LIMITS.report_wait_max_s) is not None


def test_a_sender_without_messages_reports_after_a_quarter_of_the_interval() -> None:
    """Its report may be the last one of the run."""
    some = sending(mean_s=0.25, concurrency=1)
    some.stream_up(0.0)
    report(some, 0.0)
    some.acknowledge(answer(wait_s=2.0))
    deliver(some, [1], 0.0)
    assert some.wake_at(0.01) <= 0.26
    some.advance(0.25)
    assert some.report(0.49) is None
    assert some.wake_at(0.49) == 0.5
    assert report(some, 0.5).finished.ids.tolist() == [1]


def test_reports_are_bounded_and_a_full_one_does_not_wait() -> None:
    some = introduced(mean_s=0.0, concurrency=1)
    deliver(some, range(LIMITS.report_rows_max + 5), 0.0)
    some.advance(0.0)
    first = report(some, 0.0)
    assert first.finished.ids.tolist() == list(range(LIMITS.report_rows_max))
    assert first.in_flight == 5
    some.acknowledge(answer(wait_s=1.2))
    assert some.report(0.2) is None
    assert report(some, 0.3).finished.ids.tolist() == list(range(LIMITS.report_rows_max, LIMITS.report_rows_max + 5))


def test_a_report_contains_the_numbers_in_flight_and_held_and_the_age_of_the_run() -> None:
    some = introduced(concurrency=2)
    deliver(some, [1, 2, 3, 4, 5], 0.5)
    got = report(some, 1.25)
    assert (got.in_flight, got.held, got.elapsed_s) == (2, 3, 1.25)


def test_a_report_before_the_first_message_has_no_age_of_the_run() -> None:
    assert report(sending(), 0.0).elapsed_s is None


# -- asking


def test_a_sender_asks_for_no_messages_before_the_monitor_has_answered() -> None:
    """Otherwise its outcomes might not be counted."""
    some = sending()
    some.stream_up(0.0)
    report(some, 0.0)
    assert some.request(0.5) is None
    assert request(some, LIMITS.heartbeat_s).credit == 0
    some.acknowledge(answer())
    assert request(some, LIMITS.heartbeat_s).credit > 0


def test_a_sender_asks_for_its_lanes_and_for_some_time_ahead() -> None:
    some = introduced(mean_s=0.1, concurrency=5)
    first = request(some, 0.0)
    assert (first.credit, first.idle_lanes) == (5 + 50 * LIMITS.ahead_s, 5)
    assert some.request(0.0) is None


def test_a_request_reports_lanes_that_have_become_idle() -> None:
    some = introduced(concurrency=3)
    request(some, 0.0)
    deliver(some, [1, 2, 3], 0.0)
    some.advance(1.0)
    got = request(some, 1.0)
    assert (got.idle_lanes, got.received) == (3, 3)


def test_a_request_is_due_every_second_even_if_empty() -> None:
    some = introduced()
    request(some, 0.0)
    assert some.request(LIMITS.heartbeat_s - 0.01) is None
    assert request(some, LIMITS.heartbeat_s).settlements is None


def test_while_the_monitor_is_unreachable_a_sender_accepts_no_more_than_its_window() -> None:
    """The sender gets everything that it asks for at once, until it asks for nothing more."""
    some = introduced(mean_s=0.01, concurrency=2)
    taken = 0
    for tick in range(1000):
        now = tick * 0.01
        some.advance(now)
        some.report(now)
        while (got := some.request(now)) is not None:
            deliver(some, range(taken, taken + got.credit), now)
            taken += got.credit
    assert taken == some._window
    assert some._unreported.count + some._unsettled == taken
    while some._unreported.count or some._report is not None:
        some.acknowledge(answer())
        some.report(10.0)
    settled(some, 10.0)
    some.confirm(taken)
    assert request(some, 11.0).credit == 2 + some._ahead


def test_open_credit_counts_towards_what_a_sender_asks_for() -> None:
    some = introduced(mean_s=0.01, concurrency=2)
    assert sum(request(some, float(second)).credit for second in range(10)) == 2 + some._ahead


def test_a_batch_beyond_the_credit_is_refused_as_a_whole() -> None:
    some = introduced(mean_s=1.0, concurrency=2)
    asked = request(some, 0.0).credit
    few, many = (Delivery(np.arange(n), 1, np.zeros(n, np.float32), 0.0) for n in (asked - 1, 2))
    some.receive(few, 0.0)
    before = (some.lanes.busy, some.lanes.held, some._received, some._open_credit)
    with pytest.raises(PeerError, match="a batch of 2 messages exceeds the remaining credit of 1"):
        some.receive(many, 0.0)
    assert (
        before == (some.lanes.busy, some.lanes.held, some._received, some._open_credit) == (2, asked - 3, asked - 1, 1)
    )


def test_credit_ends_with_its_stream() -> None:
    some = introduced(mean_s=1.0, concurrency=2)
    assert request(some, 0.0).credit > 0
    some.stream_lost(1.0)
    some.stream_up(1.0)
    with pytest.raises(PeerError, match="exceeds the remaining credit of 0"):
        some.receive(Delivery(np.arange(1), 1, np.zeros(1, np.float32), 0.0), 1.0)


def test_confirmed_settlements_free_the_window() -> None:
    some = introduced(mean_s=0.5, concurrency=1)
    for turn in range(100):
        now = float(turn)
        some.advance(now)
        if some.report(now) is not None:
            some.acknowledge(answer())
        while (got := some.request(now)) is not None:
            deliver(some, range(got.credit), now)
            some.confirm(some._rows_written)
    assert some._unsettled + some._unreported.count + some.lanes.busy + some.lanes.held <= 2 + some._ahead


# -- without the producer


def test_a_lost_stream_drops_messages_that_have_not_started_and_keeps_the_others() -> None:
    some = introduced(concurrency=2)
    deliver(some, [1, 2, 3, 4], 0.0)
    some.stream_lost(0.0)
    assert (some.lanes.busy, some.lanes.held) == (2, 0)
    assert some.request(5.0) is None
    some.advance(5.0)
    assert report(some, 5.0).finished.ids.tolist() == [1, 2]
    some.acknowledge(answer())
    assert some.request(5.0) is None
    some.stream_up(6.0)
    assert settled(some, 6.0) == [(1, SENT, 1), (2, SENT, 1)]


def test_unconfirmed_settlements_are_resent_on_the_next_stream_in_the_same_order() -> None:
    some = introduced(concurrency=1)
    deliver(some, [1, 2, 3, 4], 0.0)
    for now in (1.0, 2.0, 3.0):
        some.advance(now)
        report(some, now)
        some.acknowledge(answer())
        settled(some, now)
    some.confirm(1)
    some.stream_lost(3.5)
    some.stream_up(3.5)
    assert settled(some, 3.5) == [(2, SENT, 1), (3, SENT, 1)]
    some.confirm(2)
    some.stream_lost(3.6)
    some.stream_up(3.6)
    assert settled(some, 3.6) == []


def test_settlements_that_are_confirmed_in_part_are_resent_as_a_whole() -> None:
    some = introduced(concurrency=2)
    deliver(some, [1, 2], 0.0)
    some.advance(1.0)
    report(some, 1.0)
    some.acknowledge(answer())
    settled(some, 1.0)
    some.confirm(1)
    some.stream_lost(1.0)
    some.stream_up(1.0)
    assert len(settled(some, 1.0)) == 2


def test_a_new_stream_starts_with_full_credit_and_the_idle_lanes() -> None:
    some = introduced(mean_s=0.1, concurrency=5)
    request(some, 0.0)
    some.stream_lost(0.5)
    some.stream_up(0.5)
    got = request(some, 0.5)
    assert (got.credit, got.idle_lanes, got.received) == (5 + 50, 5, 0)


# -- draining and the end


def test_a_draining_sender_hands_back_finishes_settles_and_leaves() -> None:
    some = introduced(concurrency=2)
    request(some, 0.0)
    deliver(some, [1, 2, 3, 4], 0.0)
    drained(some, 0.5)
    got = request(some, 0.5)
    assert got.leaving
    assert got.credit == 0
    assert got.handed_back is not None
    assert got.handed_back.tolist() == [3, 4]
    some.advance(1.0)
    last = report(some, 1.0)
    assert not last.goodbye
    some.acknowledge(answer())
    assert settled(some, 1.0) == [(1, SENT, 1), (2, SENT, 1)]
    some.confirm(2)
    assert some.report(1.1) is None
    some.confirm(4)
    goodbye = report(some, 1.1)
    assert (goodbye.goodbye, goodbye.end) == (True, None)
    assert not some.done
    some.acknowledge(answer())
    assert some.done
    assert some.report(99.0) is None


def test_a_sender_without_a_stream_accepts_the_end_from_the_monitor() -> None:
    some = introduced()
    deliver(some, [1, 2], 0.0)
    some.stream_lost(0.5)
    some.advance(1.0)
    report(some, 1.0)
    some.acknowledge(replace(answer(), end=END))
    assert some.ended
    goodbye = report(some, 1.0)
    assert (goodbye.goodbye, goodbye.end) == (True, END)
    some.acknowledge(replace(answer(), end=END))
    assert some.done


def test_a_sender_with_a_stream_waits_for_the_end_from_the_producer() -> None:
    """It still has settlements for the producer."""
    some = introduced()
    deliver(some, [1, 2], 0.0)
    some.advance(1.0)
    report(some, 1.0)
    some.acknowledge(replace(answer(), end=END))
    assert not some.ended
    assert len(settled(some, 1.0)) == 2


def test_only_the_goodbye_is_left_once_a_complete_run_has_ended_and_all_is_reported() -> None:
    some = introduced()
    deliver(some, [1, 2], 0.0)
    some.advance(1.0)
    some.end(END)
    assert not some.only_goodbye
    assert report(some, 1.0).goodbye
    assert not some.only_goodbye
    for end, only in ((END, True), (replace(END, complete=False), False), (None, False)):
        some = introduced()
        some.end(end)
        report(some, 1.0)
        assert some.only_goodbye == only
    stranger = sending()
    stranger.end(END)
    assert not stranger.only_goodbye


def test_leaving_is_announced_once_on_each_stream() -> None:
    some = introduced(concurrency=1)
    deliver(some, [1], 0.0)
    drained(some, 0.1)
    assert [request(some, now).leaving for now in (0.1, 1.2, 2.3)] == [True, False, False]
    some.stream_lost(3.0)
    some.stream_up(3.0)
    assert request(some, 3.0).leaving


def test_messages_that_arrive_during_a_drain_are_handed_back() -> None:
    some = introduced()
    drained(some, 0.0)
    request(some, 0.0)
    deliver(some, [5, 6], 0.1)
    assert some.report(0.1) is None
    got = request(some, 0.1)
    assert got.handed_back is not None
    assert got.handed_back.tolist() == [5, 6]
    assert some.report(0.2) is None
    some.confirm(2)
    assert report(some, 0.2).goodbye


@pytest.mark.parametrize(("now", "handed_back"), [(4.0, [2, 1]), (5.0, [2])])
def test_a_draining_sender_hands_back_messages_that_take_too_long(now: float, handed_back: list[int]) -> None:
    some = introduced(mean_s=LIMITS.drain_max_s + 5, concurrency=1)
    deliver(some, [1, 2], 0.0)
    drained(some, now)
    got = request(some, now).handed_back
    assert got is not None
    assert got.tolist() == handed_back


def test_a_sender_hands_back_in_bounded_requests_and_leaves_once_all_are_confirmed() -> None:
    count = 2 * LIMITS.handed_back_max + 5
    some = introduced(mean_s=10 * LIMITS.drain_max_s, concurrency=LIMITS.handed_back_max + 7)
    deliver(some, range(count), 0.0)
    drained(some, 0.5)
    parts = []
    while (got := some.request(0.5)) is not None:
        assert got.handed_back is not None
        assert some.report(0.5) is None
        parts.append(got.handed_back.tolist())
    assert [len(part) for part in parts] == [LIMITS.handed_back_max, LIMITS.handed_back_max, 5]
    assert sorted(parts[0] + parts[1] + parts[2]) == list(range(count))
    some.confirm(count - 5)
    assert some.report(0.5) is None
    some.confirm(count)
    assert report(some, 0.5).goodbye


def test_the_largest_request_report_and_answer_fit_into_a_grpc_message() -> None:
    rows, back = np.arange(LIMITS.report_rows_max), np.arange(LIMITS.handed_back_max)
    bytes_, floats = np.ones(len(rows), np.uint8), np.ones(len(rows), np.float32)
    largest = 2**63
    sender = wire.sender_to_proto("session", "n" * NAME_BYTES_MAX, SenderSettings())
    run = run_pb2.Run(run_id="r" * 36, seed=largest, total=largest, max_attempts=255)
    asked = Request(largest, largest, largest, Settlements(rows, bytes_, bytes_), back, True, largest)
    told = Report(largest, Finished(rows, bytes_, bytes_, floats, floats), largest, largest, 1e9, True, END)
    answered = Answer(largest, largest, rows, bytes_, 1.0)
    sizes = [
        wire.request_to_proto(asked).ByteSize(),
        wire.report_to_proto(told, run, sender).ByteSize(),
        wire.answer_to_proto(answered).ByteSize(),
    ]
    assert len(rows) < min(sizes)
    assert max(sizes) < 4 * 2**20


@pytest.mark.parametrize("drained_before", [True, False])
def test_messages_of_a_lost_stream_are_not_handed_back_on_the_next_one(drained_before: bool) -> None:
    """The producer has already queued them again."""
    some = introduced(mean_s=LIMITS.drain_max_s + 5, concurrency=1)
    deliver(some, [1, 2], 0.0)
    if drained_before:
        drained(some, 0.5)
        some.stream_lost(0.5)
    else:
        some.stream_lost(0.5)
        drained(some, 0.5)
    some.stream_up(0.6)
    got = request(some, 0.6)
    assert got.leaving
    assert got.handed_back is None


def test_a_draining_sender_without_a_stream_does_not_leave_before_it_has_settled() -> None:
    some = introduced(concurrency=1)
    deliver(some, [1], 0.0)
    drained(some, 0.5)
    some.stream_lost(0.5)
    some.advance(1.0)
    for now in (1.0, 2.0):
        assert not report(some, now).goodbye
        some.acknowledge(answer())
    some.stream_up(3.0)
    assert settled(some, 3.0) == [(1, SENT, 1)]
    some.confirm(1)
    assert report(some, 3.0).goodbye


def test_the_goodbye_after_the_end_of_a_run_contains_the_producers_totals() -> None:
    some = introduced(concurrency=1)
    deliver(some, [1, 2, 3], 0.0)
    some.advance(1.5)
    some.end(END)
    assert some.request(9.0) is None
    last = report(some, 1.5)
    assert last.finished.ids.tolist() == [1]
    assert (last.goodbye, last.end, last.in_flight, last.held) == (True, END, 0, 0)
    some.acknowledge(answer())
    assert some.done
    assert some.run_end == END


def test_at_the_end_the_goodbye_comes_with_the_last_outcomes() -> None:
    some = introduced(mean_s=0.0, concurrency=1)
    deliver(some, range(2 * LIMITS.report_rows_max + 1), 0.0)
    some.advance(0.0)
    some.end(END)
    reports = []
    while not some.done:
        reports.append(report(some, 0.0))
        some.acknowledge(answer(wait_s=1.0))
    assert [(got.goodbye, got.end, len(got.finished)) for got in reports] == [
        (False, None, LIMITS.report_rows_max),
        (False, None, LIMITS.report_rows_max),
        (True, END, 1),
    ]


def test_without_an_end_from_the_producer_the_goodbye_has_no_totals() -> None:
    some = introduced()
    some.end(None)
    last = report(some, 0.0)
    assert (last.goodbye, last.end) == (True, None)


def test_messages_that_arrive_after_the_end_are_not_sent() -> None:
    some = introduced()
    some.end(END)
    deliver(some, [1, 2], 0.0)
    assert (some.lanes.busy, some.lanes.held) == (0, 0)


# -- waking


def test_a_connected_sender_wakes_neither_in_the_past_nor_later_than_a_heartbeat() -> None:
    """Checked at each wake-up, over the whole life of a sender whose reports are answered late."""
    some = sending(mean_s=0.3, concurrency=2)
    some.stream_up(0.0)
    now, taken, looks = 0.0, 0, 0
    asked_at = 0.0
    while not some.done:
        some.advance(now)
        if some.report(now) is not None:
            asked_at = now
        if some._report is not None and now - asked_at > 0.7:
            some.acknowledge(answer(wait_s=0.1))
        while (got := some.request(now)) is not None:
            if credit := min(got.credit, 40 - taken):
                deliver(some, range(taken, taken + credit), now)
            taken += credit
            some.confirm(some._rows_written)
        due = some.wake_at(now)
        assert now < due <= now + LIMITS.heartbeat_s
        now, looks = due, looks + 1
        if taken == 40 and not (some.lanes.busy or some.draining):
            drained(some, now)
    assert taken == 40
    assert looks < now / 0.002 / 2  # it does not spin


def test_a_sender_wakes_when_a_message_is_done() -> None:
    some = introduced(mean_s=0.25, concurrency=1)
    request(some, 0.0)
    deliver(some, [1], 0.125)
    assert some.wake_at(0.2) == 0.375


def test_a_sender_that_awaits_a_stream_and_an_answer_is_woken_only_by_a_peer() -> None:
    some = sending()
    report(some, 0.0)
    assert some.wake_at(0.0) == math.inf
    some.acknowledge(answer())
    assert some.wake_at(0.0) == LIMITS.heartbeat_s


@pytest.mark.parametrize("mean_s", [0.0, 1e-9, 3600.0, 1e7])
def test_even_the_slowest_and_the_fastest_sender_ask_for_a_bounded_number_of_messages(mean_s: float) -> None:
    some = introduced(mean_s=mean_s, concurrency=1)
    assert 1 <= request(some, 0.0).credit <= 400_001


@pytest.mark.parametrize(
    ("what", "needless"),
    [
        ("nothing", False),
        ("drained", True),
        ("producer gone", True),
        ("run over", True),
        ("empty run over", False),  # there may be no other sender that reports the end
        ("drained, but met", False),
        ("run over, but met", False),
    ],
)
def test_a_sender_with_nothing_to_report_does_not_need_a_monitor_that_it_never_met(what: str, needless: bool) -> None:
    some = introduced() if "met" in what else sending()
    match what.partition(",")[0]:
        case "drained":
            drained(some, 1.0)
        case "producer gone":
            some.end(None)
        case "run over":
            some.end(END)
        case "empty run over":
            some.end(RunEnd(complete=True, sent=0, failed=0))
    assert some.needs_no_monitor is needless
