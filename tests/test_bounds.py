"""Limits on unknown clients: streams, watchers, runs and state are bounded, and their text is shown escaped."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import struct
import uuid
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from grpc import StatusCode, aio
from nodes_support import (
    BRIEF,
    SCENE_MAX_S,
    Fetching,
    RunningMonitor,
    Stage,
    a_sender,
    assert_exact,
    codes,
    hello,
    losing_after,
    open_calls,
    play,
    progress_of,
    report_status,
    serving,
    until,
)

from smssim.core import audience
from smssim.core.admission import Admission, CallBounds
from smssim.core.exchange import Report
from smssim.core.limits import LIMITS
from smssim.core.model import RunFacts, SenderFacts
from smssim.core.producer_events import Event
from smssim.core.progress import Figures
from smssim.core.snapshot import Snapshot
from smssim.core.stretches import STRETCH_SIZE
from smssim.core.tally import Tally
from smssim.errors import ExitCode, LaterError, PeerError, TooLargeError
from smssim.escaping import escape
from smssim.journal.sqlite import Journal
from smssim.net import watching, wire
from smssim.v1 import monitor_pb2, monitor_pb2_grpc, producer_pb2, producer_pb2_grpc, run_pb2

pytestmark = pytest.mark.usefixtures("quiet")

TOTAL: Final = 50
EVIL: Final = "\x1b[2J\x1b]0;owned\x07\r\nsender: all is well\u202e"
ESCAPES: Final = ("\x1b", "\x07", "\r", "\n", "\u202e")


# -- streams


FETCH: Final = "/smssim.v1.ProducerService/FetchMessage"
REPORT: Final = "/smssim.v1.MonitorService/ReportResult"
WATCH: Final = "/smssim.v1.MonitorService/WatchProgress"
CHECK: Final = "/grpc.health.v1.Health/Check"
HEALTH: Final = "/grpc.health.v1.Health/Watch"
REFLECTION: Final = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
METHODS: Final = (FETCH, REPORT, WATCH, CHECK, HEALTH, REFLECTION)

Call = aio.StreamStreamCall[bytes, bytes]


async def a_server_of(method: str, stage: Stage) -> str:
    """Start a node that serves this method, and return its address."""
    return (await stage.monitor() if "Monitor" in method else await stage.producer(TOTAL)).address


def opened(channel: aio.Channel, method: str) -> Call:
    """Open a call without a request; it works for methods of any type."""
    multi: aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
    return multi()


def test_a_call_without_a_request_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = open_calls(monkeypatch)

    async def scene() -> None:
        async with Stage(replace(BRIEF, hello_s=0.1)) as stage:
            for method in METHODS:
                silent = opened(stage.channel(await a_server_of(method, stage)), method)
                assert await silent.code() == StatusCode.UNAVAILABLE, method
                assert await silent.details() == "no request within 0.1 s", method
                await until(lambda: calls() == 0)

    play(scene())


def test_a_call_that_ends_without_a_request_is_closed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = open_calls(monkeypatch)

    async def scene() -> None:
        async with Stage() as stage:
            for method in METHODS:
                empty = opened(stage.channel(await a_server_of(method, stage)), method)
                await empty.done_writing()
                assert await empty.code() == StatusCode.INVALID_ARGUMENT, method
                await until(lambda: calls() == 0)

    play(scene())


def test_a_call_with_a_request_in_time_stays_open() -> None:
    async def scene() -> None:
        async with Stage(replace(BRIEF, hello_s=0.2)) as stage:
            channel = stage.channel((await stage.producer(TOTAL)).address)
            async with Fetching(channel) as stranger, Fetching(channel) as silent:
                await stranger.say(hello())
                await stranger.hear_of("offer")
                assert await silent.status() == StatusCode.UNAVAILABLE  # opened later and already timed out
                await stranger.say(producer_pb2.FetchMessageRequest(credit=1, idle_lanes=1))
                await stranger.hear_of("batch")

    play(scene())


def test_one_silent_call_too_many_closes_the_oldest_and_senders_still_join(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = open_calls(monkeypatch)

    async def scene() -> None:
        async with Stage(replace(BRIEF, silent_calls_max=5)) as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(TOTAL, monitor=monitor.address)
            channel = stage.channel(producer.address)
            silent = [opened(channel, method) for method in METHODS[:1] + METHODS[3:] for _ in range(5)]
            await until(lambda: sum(call.done() for call in silent) == 15)
            await until(lambda: calls() == 5)
            assert {await call.code() for call in silent if call.done()} == {StatusCode.UNAVAILABLE}
            assert await codes(stage.sender(producer.address), producer, monitor) == [0] * 3
            assert_exact(producer, monitor)

    play(scene())


def test_health_and_reflection_streams_are_bounded_and_block_neither_senders_nor_checks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = open_calls(monkeypatch)

    async def scene(method: str) -> None:
        async with Stage(replace(BRIEF, aside_calls_max=3)) as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(TOTAL, monitor=monitor.address)
            channel = stage.channel(producer.address)
            lasting = [opened(channel, method) for _ in range(3)]
            for call in lasting:
                await call.write(b"")
                assert isinstance(await call.read(), bytes)
            one_more = opened(channel, method)
            assert await one_more.code() == StatusCode.UNAVAILABLE
            assert await one_more.details() == "all 3 streams of other services are in use"
            assert calls() == 3
            check: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CHECK)
            assert await check(b"").code() == StatusCode.OK
            assert await codes(stage.sender(producer.address), producer, monitor) == [0] * 3
            assert_exact(producer, monitor)
            for call in lasting:
                call.cancel()

    for method in (HEALTH, REFLECTION):
        play(scene(method))


def test_the_total_number_of_calls_is_bounded() -> None:
    calls: Admission[str] = Admission(CallBounds(calls_max=3, silent_max=2, aside_max=1))
    assert calls.enter("a") is None
    assert calls.enter("b", aside=True) is None
    with pytest.raises(LaterError):
        calls.enter("c", aside=True)
    assert calls.enter("d") == "a"  # silent, so it must leave
    calls.requested("b")
    for name in ("e", "f"):  # `a` has not left yet
        with pytest.raises(LaterError):
            calls.enter(name)
    calls.leave("a")
    assert calls.enter("e") is None
    assert len(calls) == 3
    for name in ("a", "b", "c", "d", "e", "e"):
        calls.leave(name)
    assert len(calls) == 0
    assert calls.enter("g", aside=True) is None


def test_a_sender_waits_while_all_streams_are_taken_and_joins_when_one_is_free(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = open_calls(monkeypatch)
    few = replace(BRIEF, calls_max=3, silent_calls_max=3, aside_calls_max=3)

    async def scene() -> None:
        async with Stage(few) as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(TOTAL, monitor=monitor.address)
            channel = stage.channel(producer.address)
            async with contextlib.AsyncExitStack() as strangers:
                for _ in range(2):
                    await (await strangers.enter_async_context(Fetching(channel))).say(hello())
                await strangers.enter_async_context(Fetching(channel))  # silent
                await until(lambda: producer.open_streams() == 2 and calls() == 3)
                sender = stage.sender(producer.address)
                await until(lambda: "(all 3 streams are in use)" in caplog.text)
                assert producer.open_streams() == 2
            assert await codes(producer, monitor, sender) == [0] * 3
            assert_exact(producer, monitor)

    play(scene())


def test_the_number_of_calls_per_connection_is_bounded() -> None:
    """The server announces it in its first SETTINGS frame (RFC 9113, 6.5.2); a client delays further calls."""
    most = LIMITS.calls_per_connection_max + 1

    async def scene() -> None:
        async with Stage(replace(BRIEF, calls_per_connection_max=most)) as stage:
            host, _, port = (await stage.producer(TOTAL)).address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            head = await reader.readexactly(9)
            settings = dict(struct.iter_unpack(">HI", await reader.readexactly(int.from_bytes(head[:3]))))
            assert (head[3], settings[3]) == (4, most)  # a SETTINGS frame with MAX_CONCURRENT_STREAMS
            writer.close()

    play(scene())


def test_clients_that_come_and_go_trigger_no_distribution() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            producer = await stage.producer(TOTAL)
            channel = stage.channel(producer.address)
            async with Fetching(channel) as waiting:
                await waiting.say(hello(credit=TOTAL, idle_lanes=TOTAL))
                await until(lambda: producer.book()[2] == TOTAL)
                looks = 0

                def look(now: float) -> list[Event]:
                    nonlocal looks
                    looks += 1
                    return []

                producer.node.term.core._distribute = look  # type: ignore[method-assign]
                for _ in range(20):
                    async with Fetching(channel) as stranger:
                        await stranger.say(hello())
                        await stranger.hear_of("offer")
                await until(lambda: producer.open_streams() == 1)
                assert looks == 0

    play(scene())


def test_the_number_of_watchers_is_bounded() -> None:
    async def scene() -> None:
        async with Stage(replace(BRIEF, watchers_max=3)) as stage:
            monitor = await stage.monitor()
            stub = monitor_pb2_grpc.MonitorServiceStub(stage.channel(monitor.address))
            watches = [stub.WatchProgress(monitor_pb2.WatchProgressRequest()) for _ in range(3)]
            await until(lambda: len(monitor.node.audience.watchers) == 3)
            one_more = stub.WatchProgress(monitor_pb2.WatchProgressRequest())
            assert await one_more.code() == StatusCode.UNAVAILABLE
            for watch in watches:
                watch.cancel()
            await until(lambda: not monitor.node.audience.watchers)

    play(scene())


def test_all_watchers_together_get_at_most_about_500_responses_a_second() -> None:
    asked = (0.05, 1.0, 10.0)
    for asked_s, watchers, runs in itertools.product(asked, (1, 2, 50, LIMITS.watchers_max), (1, 10)):
        wait_s = audience.wait_s(asked_s, watchers, runs)
        assert wait_s >= asked_s
        assert watchers * runs / wait_s <= 500 * (1 + 1e-9)
        assert wait_s <= max(asked_s, LIMITS.watcher_wait_max_s)
    for asked_s in asked:
        assert audience.wait_s(asked_s, 20, 1) == asked_s  # a few watchers get the interval that they ask for
        assert audience.wait_s(asked_s, LIMITS.watchers_max, LIMITS.runs_max) == LIMITS.watcher_wait_max_s


def watch_of(stage: Stage, monitor: RunningMonitor) -> AsyncGenerator[monitor_pb2.Progress, None]:
    return progress_of(stage.channel(monitor.address), interval_s=0.05)


def test_a_response_is_built_once_for_all_watchers(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0
    make = watching.Shared.of

    def counted(snapshot: Snapshot, *, detailed: bool) -> watching.Shared:
        nonlocal made
        made += 1
        return make(snapshot, detailed=detailed)

    monkeypatch.setattr(watching.Shared, "of", counted)

    async def scene() -> None:
        async with Stage(replace(BRIEF, shared_s=1000.0)) as stage:
            monitor = await stage.monitor()
            channel = stage.channel(monitor.address)
            assert await report_status(channel, a_report(a_sender(), a_run())) == StatusCode.OK
            watches = [watch_of(stage, monitor) for _ in range(10)]
            for _ in range(3):
                for watch in watches:
                    await anext(watch)
            assert made == 1
            for watch in watches:
                await watch.aclose()

    play(scene())


def test_watchers_that_share_a_moment_each_get_their_own_recent_rate() -> None:
    run = RunFacts(str(uuid.uuid4()), 1, 1000, 1)
    tally, someone = Tally(run, 0.0), SenderFacts(str(uuid.uuid4()), "someone")
    befores: list[Figures | None] = [None, tally.figures(1.0)]
    tally.report(run, someone, report_of(0, 100, elapsed_s=2.0), 2.0)
    befores.append(tally.figures(3.0))
    tally.report(run, someone, report_of(100, 400, sequence=2, elapsed_s=4.0), 4.0)
    befores.append(tally.figures(5.0))  # no report since
    shared = watching.Shared.of(tally.snapshot(tally.figures(5.0), 5.0), detailed=False)
    for before, rate in zip(befores, (80.0, 80.0, 150.0, 0.0), strict=True):
        response = monitor_pb2.WatchProgressResponse.FromString(shared.response(before))
        expected = watching.snapshot_to_proto(tally.snapshot(tally.figures(5.0, before), 5.0))
        assert response == expected
        assert response.progress.recent_rate_per_s == rate


# -- bogus runs


def a_report(sender: run_pb2.Sender, run: run_pb2.Run, **fields: Any) -> Any:
    sequence = fields.pop("sequence", 1)
    return monitor_pb2.ReportResultRequest(run=run, sender=sender, sequence=sequence, **fields)


def a_run(total: int = 1000) -> run_pb2.Run:
    return run_pb2.Run(run_id=str(uuid.uuid4()), seed=1, total=total, max_attempts=1)


async def a_whole_run(stage: Stage, monitor: Any) -> None:
    producer = await stage.producer(TOTAL, monitor=monitor.address)
    sender = stage.sender(producer.address)
    assert await codes(producer, monitor, sender) == [0] * 3
    assert_exact(producer, monitor)


def test_a_run_without_counted_messages_makes_room_for_another_once_its_sender_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene() -> None:
        async with Stage(losing_after(0.5)) as stage:
            monitor = await stage.monitor()
            assert await report_status(stage.channel(monitor.address), a_report(a_sender(), a_run())) == StatusCode.OK
            await a_whole_run(stage, monitor)
            waited = "(this monitor follows another run, which has no outcomes yet)"
            assert waited in caplog.text
            assert "(no outcomes, no senders): waiting for another" in caplog.text

    play(scene())


def test_a_monitor_does_not_end_with_a_run_without_counted_messages() -> None:
    async def scene() -> None:
        async with Stage(losing_after(0.5)) as stage:
            monitor = await stage.monitor(give_up_s=0.1)
            channel, bogus = stage.channel(monitor.address), a_run()
            stub = monitor_pb2_grpc.MonitorServiceStub(channel)
            assert await report_status(channel, a_report(a_sender(), bogus)) == StatusCode.OK
            watch = stub.WatchProgress(monitor_pb2.WatchProgressRequest(run_id=bogus.run_id, interval_s=10))
            await anext(aiter(watch))
            await until(lambda: not monitor.node.runs.followed)
            assert await watch.code() == StatusCode.OK  # no watcher stays on a dropped run
            await a_whole_run(stage, monitor)

    play(scene())


def test_senders_lose_nothing_while_another_client_occupies_the_monitor_with_a_bogus_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The bogus run has another id, or the same id with another total."""

    async def scene(is_the_same: bool, journal: str | None) -> None:
        async with Stage(losing_after(0.5)) as stage:
            monitor = await stage.monitor(journal=journal)
            producer = await stage.producer(TOTAL, monitor=monitor.address)
            run = a_run(TOTAL + 1)
            if is_the_same:
                run.run_id = producer.run.run_id
            assert await report_status(stage.channel(monitor.address), a_report(a_sender(), run)) == StatusCode.OK
            sender = stage.sender(producer.address)
            assert await codes(producer, monitor, sender) == [0] * 3
            assert_exact(producer, monitor)
            assert "(this monitor follows another run, which has no outcomes yet)" in caplog.text
        if journal is not None:
            kept = Journal(journal, "monitor")
            kept.close()
            tally = Tally.restored(kept.pieces, 0.0)
            assert (tally.run, tally.ledger.final, len(tally.sessions)) == (producer.run, TOTAL, 1)

    for number, (is_the_same, journaled) in enumerate(itertools.product((False, True), (False, True))):
        caplog.clear()
        play(scene(is_the_same, str(tmp_path / f"{number}.journal") if journaled else None))


def test_a_journal_does_not_keep_a_run_without_counted_messages(tmp_path: Path) -> None:
    """Unless it was in the journal at the start: then it is the run that the operator waits for."""
    journal, brief = str(tmp_path / "monitor.journal"), losing_after(0.05)

    async def scene() -> None:
        async with Stage(brief) as stage:
            monitor = await stage.monitor(journal=journal, give_up_s=0.1)
            channel = stage.channel(monitor.address)
            assert await report_status(channel, a_report(a_sender(), a_run())) == StatusCode.OK
            await until(lambda: not monitor.node.runs.followed)
            monitor.stop.set()
            assert await monitor.code() == ExitCode.INCOMPLETE
        kept = Journal(journal, "monitor")
        assert kept.pieces == {}
        kept.commit(Tally(RunFacts(str(uuid.uuid4()), 1, 5, 1), 0.0).changes(0.0))
        kept.close()
        async with Stage(brief) as stage:
            monitor = await stage.monitor(journal=journal, give_up_s=0.1)
            assert await monitor.code() == ExitCode.INCOMPLETE

    play(scene())


def test_a_run_with_counted_messages_keeps_its_monitor() -> None:
    async def scene() -> None:
        async with Stage(losing_after(0.05)) as stage:
            monitor = await stage.monitor()
            channel, run = stage.channel(monitor.address), a_run()
            column = {"outcomes": b"\1", "attempts": b"\1", "durations_s": bytes(4), "latencies_s": bytes(4)}
            counted = a_report(a_sender(), run, message_ids=bytes(8), **column)
            assert await report_status(channel, counted) == StatusCode.OK
            tally = monitor.node.runs.followed[run.run_id].tally
            await until(lambda: not tally.present(asyncio.get_running_loop().time()))
            assert await report_status(channel, a_report(a_sender(), a_run())) == StatusCode.INVALID_ARGUMENT
            assert list(monitor.node.runs.followed) == [run.run_id]

    play(scene())


# -- state


def report_of(first: int, last: int, sequence: int = 1, elapsed_s: float = 1.0) -> Report:
    """Return a report that messages from `first` up to, but not including, `last` were sent."""
    count = last - first
    ids, ones, times = np.arange(first, last, dtype="<i8").tobytes(), b"\1" * count, bytes(4 * count)
    message = monitor_pb2.ReportResultRequest(
        sequence=sequence,
        message_ids=ids,
        outcomes=ones,
        attempts=ones,
        durations_s=times,
        latencies_s=times,
        elapsed_s=elapsed_s,
    )
    return wire.report_from_proto(message, RunFacts("", 1, last, 1))


def far_apart(stretches: int, total: int) -> Report:
    ids = (np.arange(stretches, dtype="<i8") * STRETCH_SIZE).tobytes()
    ones, times = b"\1" * stretches, bytes(4 * stretches)
    message = monitor_pb2.ReportResultRequest(
        sequence=1, message_ids=ids, outcomes=ones, attempts=ones, durations_s=times, latencies_s=times
    )
    return wire.report_from_proto(message, RunFacts("", 1, total, 1))


def test_outcomes_that_lie_too_far_apart_are_refused_and_leave_no_trace() -> None:
    run = RunFacts(str(uuid.uuid4()), 1, 10**10, 1)
    tally, someone = Tally(run, 0.0), SenderFacts(str(uuid.uuid4()), "someone")
    with pytest.raises(TooLargeError):
        tally.report(run, someone, far_apart(100_000, run.total), 0.0)
    assert (tally.ledger.final, tally.sessions) == (0, {})
    assert tally.report(run, someone, far_apart(100, run.total), 0.0).accepted == 100  # its sequence is still free


def test_all_runs_of_a_lingering_monitor_share_one_memory_bound() -> None:
    room = 250 * STRETCH_SIZE
    few = replace(BRIEF, pending_bytes_max=room, pending_max=room - 1, leased_max=room // 4)

    def apart(run: run_pb2.Run, first: int) -> Any:
        ids = (np.arange(first, first + 100, dtype="<i8") * STRETCH_SIZE).tobytes()
        columns = {
            "outcomes": b"\1" * 100,
            "attempts": b"\1" * 100,
            "durations_s": bytes(400),
            "latencies_s": bytes(400),
        }
        return a_report(a_sender(), run, message_ids=ids, **columns)

    async def scene() -> None:
        async with Stage(few) as stage:
            monitor = await stage.monitor(linger=True)
            channel, runs = stage.channel(monitor.address), [a_run(10**7) for _ in range(3)]
            statuses = [await report_status(channel, apart(run, 0)) for run in runs]
            assert statuses == [StatusCode.OK, StatusCode.OK, StatusCode.UNAVAILABLE]
            assert await report_status(channel, apart(runs[0], 100)) == StatusCode.UNAVAILABLE
            assert await report_status(channel, apart(runs[0], 0)) == StatusCode.OK

    play(scene())


def test_the_length_of_a_senders_texts_is_bounded() -> None:
    for field in ("name", "distribution"):
        with pytest.raises(PeerError, match=f"^{field}: expected at most 64 bytes$"):
            wire.check_sender(a_sender(**{field: "x" * 65}))


# -- text from unknown clients


def test_escaped_text_has_no_control_characters() -> None:
    for control in ESCAPES:
        assert escape(f"a{control}b").isprintable()
    assert escape("Bob & Ann") == "Bob & Ann"
    assert len(escape("x" * 1000)) == 300


def test_a_name_is_shown_without_control_characters(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with Stage() as stage:
            producer, monitor = await stage.producer(TOTAL), await stage.monitor()
            evil = a_sender(name=EVIL)
            async with Fetching(stage.channel(producer.address)) as stranger:
                await stranger.say(hello(evil, credit=3, idle_lanes=3))
                await stranger.hear_of("batch")
            await until(lambda: producer.open_streams() == 0)
            late = a_report(evil, a_run(), sequence=7)
            assert await report_status(stage.channel(monitor.address), late) == StatusCode.OK
            (tally,) = (watch.tally for watch in monitor.node.runs.followed.values())
            assert tally.missed == [escape(EVIL)]
            assert [session.facts.name for session in tally.sessions.values()] == [escape(EVIL)]
            assert "owned" in caplog.text
            assert all(message.isprintable() for message in caplog.messages)

    play(scene())


class EvilProducer(producer_pb2_grpc.ProducerServiceServicer):
    """A producer that refuses with an escape sequence, or first offers a monitor whose name has one."""

    def __init__(self, offers: bool) -> None:
        self._offers = offers

    async def FetchMessage(self, requests: Any, context: aio.ServicerContext[Any, Any]) -> Any:
        if self._offers:
            yield producer_pb2.FetchMessageResponse(offer=producer_pb2.RunOffer(run=a_run(), monitor=f"{EVIL}:1"))
        await context.abort(StatusCode.FAILED_PRECONDITION, EVIL)


def test_text_from_a_producer_is_shown_without_control_characters(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(offers: bool) -> None:
        async with Stage() as stage:
            server = aio.server()
            producer_pb2_grpc.add_ProducerServiceServicer_to_server(EvilProducer(offers), server)
            async with serving(server) as address:
                assert await stage.sender(address).code() != 0
            assert "owned" in caplog.text
            assert all(message.isprintable() for message in caplog.messages)

    for offers in (False, True):
        caplog.clear()
        # Not `play`: gRPC sometimes keeps a task if both sides end a call at the same moment.
        asyncio.run(asyncio.wait_for(scene(offers), SCENE_MAX_S))
