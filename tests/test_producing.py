"""A producer's decisions: which sender gets which messages, when leases and the run end, and when it leaves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest

from smssim.core import producer_events as events
from smssim.core.exchange import Request, RunEnd, Settlements
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import Outcome, RunFacts, SenderFacts
from smssim.core.pieces import Pieces
from smssim.core.producer_stream import ProducerStream
from smssim.core.producing import ProducerRun
from smssim.errors import ExitCode

START: Final = 100.0
CHECK_S: Final = LIMITS.lease_check_s
GRACE_S, RETURN_S, FAREWELL_S = LIMITS.join_grace_s, LIMITS.resume_grace_s, LIMITS.farewell_s
NEVER: Final = 200.0  # seconds: far longer than anything takes


class Producer:
    """A producer's run and the time. A save takes no time unless the disk `hangs`."""

    def __init__(self, total: int, pieces: Pieces | None = None, limits: Limits = LIMITS, **settings: Any) -> None:
        self.now = START
        self.total = total
        self.hangs = False
        self.saves = 0  # that were requested and are not done
        self.pieces: dict[str, bytes] = {}  # on disk
        self.happened: list[events.Event] = []
        self.core = ProducerRun(RunFacts("run", 7, total, 1), START, limits=limits, **settings)
        if pieces is None:
            self.core.begin(b"the run")
        else:
            self.pieces |= pieces
            self.core.restore(pieces, START)

    def carry_out(self, happened: list[events.Event]) -> None:
        self.happened += happened
        self.saves += events.Save() in happened
        if self.saves and not self.hangs:
            self.save()

    def save(self) -> None:
        """Write the changes to disk and report that they are saved."""
        self.saves -= 1
        self.pieces |= {name: piece for name, piece in self.core.changes(self.now).items() if piece is not None}
        self.carry_out(self.core.saved(self.now))

    def go(self, time_s: float) -> None:
        """Let time pass; ticks come when they are due."""
        until = self.now + time_s
        while self.core.wake_at <= until and not self.core.left:
            self.now = max(self.now, self.core.wake_at)
            self.carry_out(self.core.tick(self.now))
        self.now = max(self.now, until)

    def pause(self, time_s: float) -> None:
        """Let time pass without a tick, then tick."""
        self.now += time_s
        self.carry_out(self.core.tick(self.now))

    def join(self, name: str = "a", credit: int = 0) -> ProducerStream:
        stream, happened = self.core.join(SenderFacts(name, name, 1.0, 0.0, 4), "fixed", 0.0, self.now)
        self.carry_out(happened)
        self.say(stream, Request(credit=credit, idle_lanes=credit))
        return stream

    def say(self, stream: ProducerStream, request: Request) -> None:
        self.carry_out(self.core.apply(stream, request, self.now))

    def settle(self, stream: ProducerStream, *ids: int) -> None:
        """Settle these messages as sent."""
        one = np.ones(len(ids), np.uint8)
        self.say(stream, Request(settlements=Settlements(np.array(ids), Outcome.SENT * one, one)))

    def close(self, stream: ProducerStream) -> None:
        self.carry_out(self.core.closed(stream, self.now))

    def stop(self) -> None:
        self.carry_out(self.core.stop(self.now))

    def some(self, kind: type[Any]) -> list[Any]:
        """Return the events of this kind so far."""
        return [event for event in self.happened if isinstance(event, kind)]

    def end_of(self, stream: ProducerStream) -> RunEnd | None:
        """Return the end of the run if it is written to this stream now."""
        said = None
        while (response := self.core.response(stream)) is not None:
            said = response
        return None if said is None else said.end

    def finish(self) -> None:
        """Let one sender join, settle everything and leave."""
        stream = self.join(credit=self.total)
        self.settle(stream, *range(self.total))
        self.close(stream)


def ended(total: int = 3, announced: bool = True) -> Pieces:
    """Return the pieces in the journal of a producer whose run is complete."""
    producer = Producer(total)
    producer.finish()
    producer.go(NEVER)
    assert producer.core.left
    return {name: piece for name, piece in producer.pieces.items() if announced or name != "told"}


def time_until(producer: Producer, condition: Callable[[], bool], within_s: float = NEVER) -> float:
    """Return after how many seconds the condition holds, to a hundredth of a second; infinity if it never does."""
    began = producer.now
    while not condition():
        if producer.now - began > within_s:
            return math.inf
        producer.go(0.01)
    return producer.now - began


# -- delivering


def test_the_first_messages_start_the_run_and_are_written() -> None:
    producer = Producer(10)
    stream = producer.join(credit=4)
    assert len(producer.some(events.Started)) == 1
    assert [len(batch.ids) for event in producer.some(events.Leased) for batch in event.batches] == [4]
    assert events.Write(stream) in producer.happened


def test_messages_of_a_lost_stream_go_at_once_to_senders_that_have_credit() -> None:
    producer = Producer(4)
    first, second = producer.join("a", credit=4), producer.join("b", credit=4)
    assert second.holder.leased == 0
    producer.close(first)
    assert producer.core.wake_at <= producer.now
    producer.go(0.0)
    assert second.holder.leased == 4


def test_messages_released_at_a_rate_are_delivered_on_time_and_close_ones_together() -> None:
    limits = replace(LIMITS, release_s=0.1)
    producer = Producer(100, rate_per_s=100.0, limits=limits)
    stream = producer.join(credit=100)
    sizes = []
    for _ in range(5):
        before = stream.holder.leased
        producer.go(0.1)
        sizes.append(stream.holder.leased - before)
    assert sum(sizes) == pytest.approx(50, abs=2)
    assert len(producer.some(events.Leased)) <= 8


def test_a_sender_that_leaves_without_messages_causes_no_new_distribution() -> None:
    producer = Producer(4)
    producer.join("a", credit=4)
    due = producer.core.wake_at
    producer.close(producer.join("b"))
    assert producer.core.wake_at == due > producer.now


def test_delivery_resumes_once_earlier_deliveries_are_saved() -> None:
    producer = Producer(100, limits=replace(LIMITS, unsaved_max=4))
    producer.core.changes(START)
    producer.hangs = True
    stream = producer.join(credit=100)
    producer.go(1.0)
    assert stream.holder.leased == 4
    producer.hangs = False
    producer.save()
    producer.go(LIMITS.save_s)
    assert stream.holder.leased == 8


# -- streams


def test_a_session_that_opens_a_second_stream_loses_the_first_with_a_reason() -> None:
    producer = Producer(4)
    first = producer.join("a", credit=4)
    second = producer.join("a", credit=4)
    assert first.ended == "the sender opened another stream"
    assert events.Close(first) in producer.happened
    assert (first.holder.lost, second.holder.leased) == (True, 4)


def test_a_closed_stream_is_not_written_to_and_its_requests_do_not_count() -> None:
    producer = Producer(4)
    first = producer.join("a", credit=4)
    producer.join("a")
    producer.settle(first, 0, 1)
    assert producer.core.response(first) is None
    assert producer.core.backlog.settled == 0


@pytest.mark.parametrize("timeout_s", [1.5, 10.0])
def test_a_silent_sender_loses_its_stream_after_the_lease_timeout(timeout_s: float) -> None:
    producer = Producer(4, lease_timeout_s=timeout_s)
    stream = producer.join(credit=4)
    lost_s = time_until(producer, lambda: stream.holder.lost)
    assert timeout_s < lost_s <= timeout_s + CHECK_S + 0.02
    assert stream.ended == f"no request for {timeout_s:g} s"


@pytest.mark.parametrize("pause_s", [0.3, 5.0, 100.0])
def test_a_pause_of_the_producer_does_not_count_as_silence_of_a_sender(pause_s: float) -> None:
    producer = Producer(4, lease_timeout_s=1.5)
    stream = producer.join(credit=4)
    producer.go(1.0)
    producer.pause(pause_s)
    assert not stream.holder.lost
    lost_s = time_until(producer, lambda: stream.holder.lost)
    assert 0.5 - CHECK_S <= lost_s <= 0.5 + 2 * CHECK_S + 0.02  # it was silent for a second before the pause


# -- no sender


def test_it_gives_up_once_the_last_sender_has_been_gone_for_the_give_up_timeout() -> None:
    producer = Producer(4, give_up_s=5.0)
    stream = producer.join(credit=4)
    for _ in range(20):
        producer.go(1.0)
        producer.say(stream, Request())
    producer.close(stream)
    gone_s = time_until(producer, lambda: bool(producer.some(events.GaveUp)))
    assert 5.0 <= gone_s <= 5.0 + CHECK_S + 0.02
    producer.go(NEVER)
    assert (producer.core.left, producer.core.exit_code) == (True, ExitCode.INCOMPLETE)


def test_it_waits_without_limit_for_the_first_sender() -> None:
    producer = Producer(4, give_up_s=5.0)
    producer.go(NEVER)
    assert producer.core.end is None


def test_a_pause_of_the_producer_does_not_count_as_absence_of_senders() -> None:
    producer = Producer(4, give_up_s=5.0)
    producer.close(producer.join())
    producer.pause(100.0)
    assert not producer.some(events.GaveUp)
    assert time_until(producer, lambda: bool(producer.some(events.GaveUp))) >= 5.0 - 2 * CHECK_S


def test_it_repeats_the_notice_that_it_has_no_sender_only_while_it_has_none() -> None:
    producer = Producer(4, give_up_s=NEVER)
    producer.go(3.5 * LIMITS.repeat_notice_s)
    assert [event.for_s for event in producer.some(events.NoSender)] == pytest.approx([10, 20, 30], abs=1)
    stream = producer.join()
    producer.happened.clear()
    producer.go(9.0)
    assert not producer.some(events.NoSender)
    producer.close(stream)
    assert producer.some(events.NoSender) == [events.NoSender()]
    producer.go(1.5 * LIMITS.repeat_notice_s)
    assert len(producer.some(events.NoSender)) == 2


# -- the end


def test_the_end_is_announced_only_once_it_is_saved() -> None:
    producer = Producer(2)
    producer.hangs = True
    stream = producer.join(credit=2)
    producer.settle(stream, 0, 1)
    producer.go(1.0)
    assert (producer.core.end, producer.end_of(stream)) == (RunEnd(True, 2, 0), None)
    producer.save()
    assert events.Announced(RunEnd(True, 2, 0), lingers=False) in producer.happened
    assert producer.end_of(stream) == RunEnd(True, 2, 0)


def test_an_end_during_a_save_requests_another_save() -> None:
    producer = Producer(2)
    producer.hangs = True
    stream = producer.join(credit=2)
    producer.go(LIMITS.save_s)
    assert producer.saves == 1
    producer.settle(stream, 0, 1)
    assert producer.saves == 1
    producer.save()
    assert (producer.saves, producer.some(events.Announced)) == (1, [])
    producer.save()
    assert len(producer.some(events.Announced)) == 1


@pytest.mark.parametrize("late_s", [0.0, 0.9])
def test_a_sender_that_joins_soon_after_the_first_one_gets_the_end_of_an_empty_run(late_s: float) -> None:
    producer = Producer(0)
    producer.close(producer.join("a"))
    producer.go(late_s)
    assert not producer.core.left
    late = producer.join("b")
    assert events.Write(late) in producer.happened
    assert producer.end_of(late) == RunEnd(True, 0, 0)


def test_it_leaves_after_the_grace_once_senders_have_closed_their_streams() -> None:
    producer = Producer(0)
    stream = producer.join()
    producer.go(GRACE_S + 1.0)
    assert not producer.core.left
    producer.close(stream)
    assert (producer.core.left, producer.core.exit_code) == (True, ExitCode.OK)


def test_it_does_not_wait_forever_for_senders_to_close_their_streams() -> None:
    producer = Producer(0)
    producer.join()
    left_s = time_until(producer, lambda: producer.core.left)
    assert left_s == pytest.approx(GRACE_S + FAREWELL_S, abs=0.02)


def test_a_sender_that_joins_during_the_last_save_still_gets_the_end() -> None:
    producer = Producer(0)
    producer.close(producer.join("a"))
    producer.hangs = True
    producer.go(GRACE_S)
    assert producer.saves == 1
    late = producer.join("b")
    producer.save()
    assert (producer.core.left, producer.end_of(late)) == (False, RunEnd(True, 0, 0))
    producer.hangs = False
    producer.close(late)
    assert producer.core.left


def test_a_producer_that_lingers_leaves_when_it_is_stopped() -> None:
    producer = Producer(0, linger=True)
    producer.close(producer.join("a"))
    producer.go(NEVER)
    assert producer.some(events.Announced) == [events.Announced(RunEnd(True, 0, 0), lingers=True)]
    assert not producer.core.left
    late = producer.join("b")
    assert producer.end_of(late) == RunEnd(True, 0, 0)
    producer.stop()
    assert not producer.core.left
    producer.close(late)
    assert producer.core.left


# -- draining


def test_a_draining_producer_delivers_nothing_more_and_ends_when_all_leases_are_settled() -> None:
    producer = Producer(10)
    stream, other = producer.join("a", credit=4), producer.join("b")
    producer.stop()
    assert producer.some(events.Draining) == [events.Draining(4, FAREWELL_S)]
    producer.say(other, Request(credit=4, idle_lanes=4))
    producer.go(1.0)
    assert other.holder.leased == 0
    producer.settle(stream, 0, 1, 2, 3)
    assert producer.core.end == RunEnd(False, 4, 0)
    for each in (stream, other):
        producer.close(each)
    assert (producer.core.left, producer.core.exit_code) == (True, ExitCode.INCOMPLETE)


def test_a_drain_is_bounded() -> None:
    producer = Producer(10)
    stream = producer.join(credit=4)

    def heartbeat() -> bool:
        producer.say(stream, Request())
        return producer.core.end is not None

    producer.stop()
    assert time_until(producer, heartbeat) == pytest.approx(FAREWELL_S, abs=0.02)


def test_a_drain_with_nothing_to_settle_ends_at_once() -> None:
    producer = Producer(10)
    producer.join()
    producer.stop()
    assert producer.core.end == RunEnd(False, 0, 0)
    assert not producer.some(events.Draining)


def test_a_producer_that_is_stopped_before_any_sender_joins_leaves_at_once() -> None:
    producer = Producer(10)
    producer.stop()
    assert (producer.core.left, producer.core.exit_code) == (True, ExitCode.INCOMPLETE)


# -- the journal


def test_the_first_save_of_a_new_run_identifies_it() -> None:
    assert Producer(3).core.changes(START)["run"] == b"the run"


def test_the_journal_records_that_the_end_was_announced_once_all_senders_have_left() -> None:
    producer = Producer(1)
    stream = producer.join(credit=1)
    producer.settle(stream, 0)
    assert "told" not in producer.pieces
    producer.close(stream)
    producer.go(GRACE_S)
    assert (producer.core.left, producer.pieces["told"]) == (True, b"")


def test_the_journal_does_not_record_an_end_that_a_sender_may_have_missed() -> None:
    producer = Producer(1)
    producer.settle(producer.join(credit=1), 0)
    producer.go(NEVER)
    assert producer.core.left
    assert "told" not in producer.pieces


@pytest.mark.parametrize(("announced", "wait_s"), [(False, LIMITS.farewell_s), (True, RETURN_S)])
def test_a_complete_run_that_no_sender_returns_to_ends_by_itself(announced: bool, wait_s: float) -> None:
    producer = Producer(3, ended(announced=announced), give_up_s=20.0)
    left_s = time_until(producer, lambda: producer.core.left)
    assert wait_s <= left_s <= wait_s + CHECK_S + 0.02
    assert (producer.core.resumed, producer.core.exit_code) == (True, ExitCode.OK)


@pytest.mark.parametrize(("announced", "wait_s"), [(False, RETURN_S), (True, GRACE_S)])
def test_senders_have_longer_to_return_to_a_run_whose_end_was_not_announced(announced: bool, wait_s: float) -> None:
    producer = Producer(3, ended(announced=announced))
    stream = producer.join()
    assert producer.end_of(stream) == RunEnd(True, 3, 0)
    producer.close(stream)
    assert time_until(producer, lambda: producer.core.left) == pytest.approx(wait_s, abs=0.02)


def test_an_incomplete_run_continues_after_a_restart() -> None:
    before = Producer(3)
    stream = before.join(credit=3)
    before.settle(stream, 1)
    before.go(LIMITS.save_s)
    after = Producer(3, before.pieces)
    after.settle(after.join(credit=3), 0, 2)
    assert after.core.end == RunEnd(True, 3, 0, redelivered=2)
