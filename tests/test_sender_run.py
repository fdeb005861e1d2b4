"""A sender's decisions: which run it joins, how it reacts to lost peers, when it leaves and with which exit code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from smssim.core.conditions import Conditions
from smssim.core.exchange import Answer, Delivery, Report, RunEnd
from smssim.core.limits import LIMITS
from smssim.core.model import Ids
from smssim.core.reconnect import Kind, Loss, Reconnector, Retry
from smssim.core.sender_run import NO_RUN, SenderEnd, SenderLife, SenderRun
from smssim.core.sending import SenderProtocol
from smssim.errors import ExitCode, GoneError, PeerError, RefusedError
from smssim.nodes import sender as sender_node
from smssim.process import program
from smssim.settings import LogSettings, SenderSettings

AWAY = Loss(Kind.MAY_PASS, "connection refused")
REFUSED = Loss(Kind.REFUSED, "unknown run")
COMPLETE = RunEnd(complete=True, sent=2, failed=0)
EARLY = replace(COMPLETE, complete=False)
EMPTY = RunEnd(complete=True, sent=0, failed=0)
NONE = np.empty(0, np.int64)
ANSWER = Answer(accepted=0, duplicates=0, overruled_ids=NONE, overruled_outcomes=np.empty(0, np.uint8), wait_s=0.0)
GIVE_UP_S = 60.0


@dataclass
class Part:
    """A sender with two lanes and attempts of one second in run 1, and the time."""

    run: SenderRun
    now: float = 0.0

    @property
    def protocol(self) -> SenderProtocol:
        return self.run.protocol

    def report(self) -> Report:
        report = self.protocol.report(self.now)
        assert report is not None
        return report

    def answer(self, end: RunEnd | None = None) -> None:
        self.run.on_answer(replace(ANSWER, end=end), self.now)

    def receive(self, ids: Sequence[int]) -> None:
        assert self.protocol.request(self.now) is not None
        columns: Ids = np.array(ids, np.int64)
        self.run.on_response(self.now, 0, Delivery(columns, 1, np.zeros(len(ids), np.float32), self.now))

    def end(self, end: RunEnd) -> None:
        self.run.on_response(self.now, 0, end=end)

    def drain(self) -> tuple[int, int]:
        return self.run.drain(self.now)

    def lose_producer(self, loss: Loss = AWAY) -> None:
        """Lose the stream and every further one until no other is opened."""
        self.run.on_stream_lost(self.now)
        while (retry := self.run.on_producer_lost(loss, self.now)) is not None:
            self.now += retry.wait_s

    def fail_report(self, loss: Loss = AWAY) -> None:
        """Let a report fail until it is not sent again."""
        while (retry := self.run.on_report_failed(loss, self.now)) is not None:
            self.now += retry.wait_s

    def code(self) -> tuple[ExitCode, str]:
        end = self.run.end
        assert end is not None
        return end.exit_code, end.reason


def part(introduced: bool = True) -> Part:
    """Return a sender at time 0 with an open stream and, if `introduced`, with the monitor's first answer."""
    model = SenderSettings(mean_s=1.0, fail=0.0, distribution="fixed").attempt_model
    producer, monitor = (
        Reconnector(peer, GIVE_UP_S, lambda _, most: most, met=peer == "the producer")
        for peer in ("the producer", "the monitor")
    )
    some = Part(SenderRun("run 1", SenderProtocol(Conditions(1, 1, model), 1.0, 2, 0.0), producer, monitor, 0.0))
    if introduced:
        some.report()
        some.answer()
    return some


# -- which run it joins


def test_a_lingering_sender_that_is_offered_its_finished_run_again_waits_and_asks_later() -> None:
    life = SenderLife(linger=True)
    assert life.on_offer("run 1") is None
    assert life.on_end(SenderEnd(ExitCode.OK, "Run complete"))
    assert life.on_offer("run 1") == LIMITS.backoff_max_s
    assert life.on_offer("run 2") is None


def test_a_lingering_sender_rejoins_a_run_that_it_gave_up() -> None:
    life = SenderLife(linger=True)
    life.on_offer("run 1")
    assert life.on_end(SenderEnd.of(GoneError("the producer has been unreachable for 60 s")))
    assert life.on_offer("run 1") is None


def test_only_a_lingering_sender_that_is_not_stopped_or_refused_looks_for_another_run() -> None:
    fine = SenderEnd(ExitCode.OK, "Drained")
    assert not SenderLife(linger=False).on_end(fine)
    for error in (RefusedError("wrong token"), PeerError("garbage")):
        assert not SenderLife(linger=True).on_end(SenderEnd.of(error))
    stopped = SenderLife(linger=True)
    stopped.stop()
    assert not stopped.on_end(fine)
    assert not stopped.on_end(NO_RUN)


# -- the producer


def test_a_producer_that_returns_with_the_same_run_is_used_again() -> None:
    some = part()
    some.run.on_stream_lost(1.0)
    assert isinstance(some.run.on_producer_lost(AWAY, 1.0), Retry)
    assert not some.protocol.connected
    assert some.run.on_offer("run 1", 3.0) == "Reconnected to the producer after 2.0 s"
    assert some.protocol.connected
    assert some.run.returns == 1


def test_a_sender_that_gives_up_its_producer_reports_finished_attempts_and_exits_with_3() -> None:
    some = part()
    some.receive([7, 8])
    some.lose_producer()
    assert some.now == GIVE_UP_S
    assert some.run.end is None
    last = some.report()
    assert (last.finished.ids.tolist(), last.goodbye, last.end) == ([7, 8], True, None)
    some.answer()
    assert some.code() == (ExitCode.INCOMPLETE, "the producer has been unreachable for 60 s (connection refused)")


def test_a_producer_that_returns_with_another_run_is_given_up() -> None:
    some = part()
    some.run.on_stream_lost(0.0)
    assert some.run.on_offer("run 2", 1.0) is None
    assert not some.protocol.connected
    assert some.report().goodbye
    some.answer()
    assert some.code() == (ExitCode.INCOMPLETE, "the producer now has another run, run 2")


def test_a_refusal_of_the_producer_ends_the_run_at_once() -> None:
    some = part()
    some.receive([7, 8])
    some.lose_producer(REFUSED)
    assert some.code() == (ExitCode.USAGE, "the producer refused: unknown run")


def test_a_sender_that_got_the_end_from_the_monitor_stops_calling_the_producer() -> None:
    some = part()
    some.run.on_stream_lost(0.0)
    some.now = LIMITS.heartbeat_s
    some.report()
    some.answer(COMPLETE)
    for loss in (AWAY, REFUSED):
        assert some.run.on_producer_lost(loss, some.now) is None
    assert some.run.on_offer("run 2", some.now) is None
    assert some.report().end == COMPLETE
    some.answer()
    assert some.code() == (ExitCode.OK, "Run complete")


def test_messages_beyond_the_credit_are_refused() -> None:
    with pytest.raises(PeerError, match="exceeds the remaining credit of 0"):
        part(introduced=False).run.on_response(0.0, 0, Delivery(np.arange(1), 1, np.zeros(1, np.float32), 0.0))


def test_a_sender_exits_with_3_if_the_producer_ends_early_unless_it_is_draining() -> None:
    for draining, code in ((False, ExitCode.INCOMPLETE), (True, ExitCode.OK)):
        some = part()
        some.receive([7])
        if draining:
            some.drain()
        some.end(EARLY)
        some.report()
        some.answer()
        assert some.code() == (code, "The producer ended the run early")


# -- the monitor


def test_waiting_for_a_monitor_that_was_never_met_has_no_limit_until_the_run_ends() -> None:
    some = part(introduced=False)
    some.report()
    for _ in range(100):
        assert some.run.on_report_failed(AWAY, some.now) is not None
        some.now += GIVE_UP_S
    some.end(EMPTY)
    began = some.now
    some.fail_report()
    assert some.now == began + GIVE_UP_S
    assert some.code() == (ExitCode.INCOMPLETE, "the monitor has been unreachable for 60 s (connection refused)")


def test_a_sender_with_nothing_to_report_leaves_when_its_report_fails() -> None:
    some = part(introduced=False)
    some.report()
    some.end(COMPLETE)
    for loss in (AWAY, REFUSED):
        assert some.run.on_report_failed(loss, 0.0) is None
    assert some.code() == (ExitCode.OK, "Run complete")


def test_a_sender_that_gives_up_its_monitor_exits_with_3() -> None:
    some = part()
    some.receive([7, 8])
    some.now = 1.0
    some.protocol.advance(1.0)
    some.report()
    some.fail_report()
    assert some.code() == (ExitCode.INCOMPLETE, "the monitor has been unreachable for 60 s (connection refused)")


def test_an_unanswered_goodbye_of_a_complete_run_is_only_a_warning() -> None:
    some = part()
    some.end(COMPLETE)
    assert some.report().goodbye
    some.fail_report()
    assert some.code() == (ExitCode.OK, "Run complete")
    assert some.run.end is not None
    assert some.run.end.warning == (
        "the monitor has been unreachable for 60 s (connection refused) and did not answer the goodbye; "
        "all outcomes are on record"
    )


def test_a_monitor_that_refuses_a_report_ends_the_run_at_once() -> None:
    some = part(introduced=False)
    some.report()
    some.fail_report(REFUSED)
    assert some.code() == (ExitCode.USAGE, "the monitor refused: unknown run")


# -- draining


def test_a_drained_sender_finishes_settles_says_goodbye_and_exits_with_0() -> None:
    some = part()
    some.receive([7, 8, 9])
    assert some.drain() == (2, 1)
    request = some.protocol.request(0.0)
    assert request is not None
    assert request.handed_back is not None
    assert request.handed_back.tolist() == [9]
    some.now = 1.0
    some.protocol.advance(1.0)
    some.report()
    some.answer()
    assert some.protocol.request(1.0) is not None
    assert some.run.end is None
    some.run.on_response(1.0, settled=3)
    assert some.report().goodbye
    some.answer()
    assert some.code() == (ExitCode.OK, "Drained")


def test_a_draining_sender_waits_for_a_lost_peer_no_longer_than_a_drain_may_take() -> None:
    for lose in (Part.lose_producer, Part.fail_report):
        some = part()
        some.receive([7, 8])
        some.drain()
        some.now = 1.0
        some.protocol.advance(1.0)
        some.report()
        lose(some)
        assert some.now == 1.0 + LIMITS.drain_max_s
        if lose is Part.lose_producer:
            assert some.run.end is None
            some.answer()
            some.report()
            some.answer()
        assert some.code()[0] == ExitCode.INCOMPLETE


def test_a_sender_drained_before_it_met_the_monitor_leaves_unless_a_report_is_in_flight() -> None:
    some = part(introduced=False)
    some.drain()
    assert some.code() == (ExitCode.OK, "Drained")
    some = part(introduced=False)
    some.report()
    some.drain()
    assert some.run.end is None
    some.answer()
    assert some.run.end is None
    assert some.protocol.request(0.0) is not None  # which announces that it is leaving
    assert some.report().goodbye


# -- copies


def test_copies_exit_with_the_worst_of_their_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rule of `errors.worst`, a usage error outranks an incomplete run."""
    mains: list[Callable[[asyncio.Event], Awaitable[int]]] = []

    def run(main: Callable[[asyncio.Event], Awaitable[int]], log: LogSettings) -> int:
        mains.append(main)
        return 0

    async def code_of(self: sender_node.Sender) -> int:
        return left.pop()

    async def ended() -> int:
        return await mains[-1](asyncio.Event())

    monkeypatch.setattr(program, "run", run)
    monkeypatch.setattr(sender_node.Sender, "serve", code_of)
    for codes, worst in (((2, 3), 2), ((3, 2), 2), ((0, 3), 3), ((0, 0), 0)):
        left = list(codes)
        sender_node.serve(SenderSettings(copies=len(codes)))
        assert asyncio.run(ended()) == worst
        assert left == []
