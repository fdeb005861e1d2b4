"""What strangers may cost: streams, watchers, runs and state are bounded; what they write is shown as plain text."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from grpc import StatusCode, aio
from nodes_support import (
    SCENE_MAX_S,
    Fetching,
    RunningMonitor,
    Stage,
    a_sender,
    assert_exact,
    codes,
    hello,
    open_calls,
    play,
    progress_of,
    report_status,
    until,
)

from smssim.core import audience
from smssim.core import tally as tally_module
from smssim.core.admission import Admission, CallBounds
from smssim.core.exchange import Report
from smssim.core.limits import LIMITS
from smssim.core.model import RunFacts, SenderFacts
from smssim.core.producer_events import Event
from smssim.core.progress import Figures
from smssim.core.snapshot import Snapshot
from smssim.core.stretches import STRETCH_SIZE
from smssim.core.tally import Tally
from smssim.errors import ExitCode, LaterError, PeerError, RefusedError, TooLargeError
from smssim.escaping import escape
from smssim.journal.sqlite import Journal
from smssim.net import access, bounds, rpc, watching, wire
from smssim.nodes import monitor as monitor_node
from smssim.nodes import producer as producer_node
from smssim.process.logs import node_log
from smssim.v1 import monitor_pb2, monitor_pb2_grpc, producer_pb2, producer_pb2_grpc, run_pb2

pytestmark = pytest.mark.usefixtures("quiet")

TOTAL: Final = 50
EVIL: Final = "\x1b[2J\x1b]0;owned\x07\r\nsender: all is well\u202e"
ESCAPES: Final = ("\x1b", "\x07", "\r", "\n", "\u202e")


@pytest.fixture(autouse=True)
def _brief_farewell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer_node, "DOOR_OPEN_S", 0.1)


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
    """The address of a node that has this method."""
    return (await stage.monitor() if "Monitor" in method else await stage.producer(TOTAL)).address


def opened(channel: aio.Channel, method: str) -> Call:
    """A call that says nothing so far, whatever the method takes."""
    multi: aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(method)
    return multi()


@pytest.mark.parametrize("method", METHODS)
def test_a_call_without_a_request_is_closed_in_time(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setattr(bounds, "HELLO_S", 0.1)
    calls = open_calls(monkeypatch)

    async def scene() -> None:
        async with Stage() as stage:
            silent = opened(stage.channel(await a_server_of(method, stage)), method)
            assert await silent.code() == StatusCode.UNAVAILABLE
            assert await silent.details() == "no request within 0.1 s"
            await until(lambda: calls() == 0)

    play(scene())


@pytest.mark.parametrize("method", METHODS)
def test_a_call_that_ends_without_a_request_is_closed_at_once(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    calls = open_calls(monkeypatch)

    async def scene() -> None:
        async with Stage() as stage:
            empty = opened(stage.channel(await a_server_of(method, stage)), method)
            await empty.done_writing()
            assert await empty.code() == StatusCode.INVALID_ARGUMENT
            await until(lambda: calls() == 0)

    play(scene())


def test_a_call_that_says_something_in_time_may_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "HELLO_S", 0.2)

    async def scene() -> None:
        async with Stage() as stage:
            channel = stage.channel((await stage.producer(TOTAL)).address)
            async with Fetching(channel) as stranger, Fetching(channel) as silent:
                await stranger.say(hello())
                await stranger.hear_of("offer")
                assert await silent.status() == StatusCode.UNAVAILABLE  # its time, which began later, is up
                await stranger.say(producer_pb2.FetchMessageRequest(credit=1, idle_lanes=1))
                await stranger.hear_of("batch")

    play(scene())


def test_one_silent_call_too_many_ends_the_oldest_and_senders_come_in_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounds, "SILENT_MAX", 5)
    calls = open_calls(monkeypatch)

    async def scene() -> None:
        async with Stage() as stage:
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


@pytest.mark.parametrize("method", [HEALTH, REFLECTION])
def test_health_watches_and_reflection_are_bounded_and_keep_neither_senders_nor_checks_out(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(bounds, "ASIDE_MAX", 3)
    calls = open_calls(monkeypatch)

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(TOTAL, monitor=monitor.address)
            channel = stage.channel(producer.address)
            lasting = [opened(channel, method) for _ in range(3)]
            for call in lasting:
                await call.write(b"")
                assert isinstance(await call.read(), bytes)
            one_more = opened(channel, method)
            assert await one_more.code() == StatusCode.UNAVAILABLE
            assert await one_more.details() == "all 3 streams of other services are taken"
            assert calls() == 3
            check: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CHECK)
            assert await check(b"").code() == StatusCode.OK
            assert await codes(stage.sender(producer.address), producer, monitor) == [0] * 3
            assert_exact(producer, monitor)
            for call in lasting:
                call.cancel()

    play(scene())


def test_calls_are_bounded_in_all() -> None:
    calls: Admission[str] = Admission(CallBounds(calls_max=3, silent_max=2, aside_max=1))
    assert calls.enter("a") is None
    assert calls.enter("b", aside=True) is None
    with pytest.raises(LaterError):
        calls.enter("c", aside=True)
    assert calls.enter("d") == "a"  # it has said nothing, and has to leave
    calls.spoke("b")
    for name in ("e", "f"):  # it has not left so far
        with pytest.raises(LaterError):
            calls.enter(name)
    calls.leave("a")
    assert calls.enter("e") is None
    assert len(calls) == 3
    for name in ("a", "b", "c", "d", "e", "e"):
        calls.leave(name)
    assert len(calls) == 0
    assert calls.enter("g", aside=True) is None


def test_a_sender_waits_while_all_streams_are_taken_and_comes_in_when_one_is_free(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bounds, "STREAMS_MAX", 3)
    calls = open_calls(monkeypatch)

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(TOTAL, monitor=monitor.address)
            channel = stage.channel(producer.address)
            async with contextlib.AsyncExitStack() as strangers:
                for _ in range(2):
                    await (await strangers.enter_async_context(Fetching(channel))).say(hello())
                await strangers.enter_async_context(Fetching(channel))  # says nothing
                await until(lambda: producer.open_streams() == 2 and calls() == 3)
                sender = stage.sender(producer.address)
                await until(lambda: "(all 3 streams are taken)" in caplog.text)
                assert producer.open_streams() == 2
            assert await codes(producer, monitor, sender) == [0] * 3
            assert_exact(producer, monitor)

    play(scene())


def test_a_reason_that_grpc_lost_is_asked_for_again(caplog: pytest.LogCaptureFixture) -> None:
    def failure(code: StatusCode, details: str) -> aio.AioRpcError:
        return aio.AioRpcError(code, aio.Metadata(), aio.Metadata(), details)

    async def scene() -> None:
        patience = rpc.Reconnector("producer", "127.0.0.1:1", access.OPEN, 60.0, node_log("sender"))
        lost = failure(StatusCode.INTERNAL, "Internal error from Core")
        for _ in range(2):  # it may be lost again
            await patience.lost(lost)
        assert caplog.messages == []
        await patience.lost(failure(StatusCode.UNAVAILABLE, "all streams are taken"))
        assert caplog.messages == ["sender: waiting for the producer at 127.0.0.1:1 (all streams are taken)"]
        for _ in range(2):
            await patience.lost(lost)
        with pytest.raises(RefusedError):
            await patience.lost(failure(StatusCode.UNAUTHENTICATED, ""))

    play(scene())


def test_one_connection_has_a_bound_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, int] = dict(rpc._SERVER_OPTIONS)
    assert options["grpc.max_concurrent_streams"] == rpc.STREAMS_OF_ONE_MAX
    options["grpc.max_concurrent_streams"] = 2
    monkeypatch.setattr(rpc, "_SERVER_OPTIONS", tuple(options.items()))

    async def scene() -> None:
        async with Stage() as stage:
            producer = await stage.producer(TOTAL)
            greedy = stage.channel(producer.address)
            async with contextlib.AsyncExitStack() as strangers:
                for _ in range(2):
                    call = await strangers.enter_async_context(Fetching(greedy))
                    await call.say(hello())
                    await call.hear_of("offer")
                calls = [await strangers.enter_async_context(Fetching(greedy)) for _ in range(3)]
                late = [asyncio.create_task(call.say(hello())) for call in calls]
                async with Fetching(stage.channel(producer.address, fresh=True)) as other:
                    await other.say(hello())
                    await other.hear_of("offer")
                    assert producer.open_streams() == 3
                for task in late:
                    task.cancel()
                await asyncio.gather(*late, return_exceptions=True)

    play(scene())


def test_who_comes_and_goes_wakes_nobody_else() -> None:
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

                producer.node._core._distribute = look  # type: ignore[method-assign]
                for _ in range(20):
                    async with Fetching(channel) as stranger:
                        await stranger.say(hello())
                        await stranger.hear_of("offer")
                await until(lambda: producer.open_streams() == 1)
                assert looks == 0

    play(scene())


def test_watchers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_node, "WATCHERS_MAX", 3)

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            stub = monitor_pb2_grpc.MonitorServiceStub(stage.channel(monitor.address))
            watches = [stub.WatchProgress(monitor_pb2.WatchProgressRequest()) for _ in range(3)]
            await until(lambda: len(monitor.node._watchers) == 3)
            one_more = stub.WatchProgress(monitor_pb2.WatchProgressRequest())
            assert await one_more.code() == StatusCode.UNAVAILABLE
            for watch in watches:
                watch.cancel()
            await until(lambda: not monitor.node._watchers)

    play(scene())


@pytest.mark.parametrize("asked_s", [0.05, 1.0, 10.0])
def test_all_watchers_together_get_about_five_hundred_responses_a_second_at_most(asked_s: float) -> None:
    for watchers in (1, 2, 50, LIMITS.watchers_max):
        for runs in (1, 10):
            wait_s = audience.wait_s(asked_s, watchers, runs)
            assert wait_s >= asked_s
            assert watchers * runs / wait_s <= 500 * (1 + 1e-9)
            assert wait_s <= max(asked_s, LIMITS.watcher_wait_max_s)
    assert audience.wait_s(asked_s, 20, 1) == asked_s  # a few are told as often as they ask for
    assert audience.wait_s(asked_s, LIMITS.watchers_max, LIMITS.runs_max) == LIMITS.watcher_wait_max_s


def watch_of(stage: Stage, monitor: RunningMonitor) -> AsyncGenerator[monitor_pb2.Progress, None]:
    return progress_of(stage.channel(monitor.address), interval_s=0.05)


def test_a_watcher_waits_for_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: set[tuple[float, int, int]] = set()

    def wait_s(asked_s: float, watchers: int, runs: int) -> float:
        waits.add((asked_s, watchers, runs))
        return asked_s

    monkeypatch.setattr(monitor_node, "wait_s", wait_s)

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            channel = stage.channel(monitor.address)
            assert await report_status(channel, a_report(a_sender(), a_run())) == StatusCode.OK
            watches = [watch_of(stage, monitor) for _ in range(3)]
            for watch in watches:
                await anext(watch)
            await until(lambda: (0.05, 3, 1) in waits)
            for watch in watches:
                await watch.aclose()

    play(scene())


def test_what_watchers_get_is_made_once_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_node, "SHARED_S", 1000.0)
    made = 0
    make = watching.Shared.of

    def counted(snapshot: Snapshot, now: float) -> watching.Shared:
        nonlocal made
        made += 1
        return make(snapshot, now)

    monkeypatch.setattr(watching.Shared, "of", counted)

    async def scene() -> None:
        async with Stage() as stage:
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


def test_what_watchers_get_is_made_twenty_times_a_second_at_most_and_the_last_at_once() -> None:
    watch = monitor_node._Watch(Tally(RunFacts(str(uuid.uuid4()), 1, 10, 1), 0.0), LIMITS)
    shared = [watch.shared(ms / 1000) for ms in range(2000)]
    assert 20 <= len({id(one) for one in shared}) <= 40
    assert all(0 <= ms / 1000 - one.made_at < 0.05 for ms, one in enumerate(shared))
    last = watch.tally.figures(2.0, final=True)
    watch.final = watch.tally.snapshot(last, 2.0)
    assert watch.shared(1.9991).figures is last
    assert watch.shared(9.0) is watch.shared(2.0)


def test_watchers_that_share_a_moment_have_each_their_own_recent_rate() -> None:
    run = RunFacts(str(uuid.uuid4()), 1, 1000, 1)
    tally, someone = Tally(run, 0.0), SenderFacts(str(uuid.uuid4()), "someone")
    befores: list[Figures | None] = [None, tally.figures(1.0)]
    tally.report(run, someone, report_of(0, 100, elapsed_s=2.0), 2.0)
    befores.append(tally.figures(3.0))
    tally.report(run, someone, report_of(100, 400, sequence=2, elapsed_s=4.0), 4.0)
    befores.append(tally.figures(5.0))  # nothing came since
    shared = watching.Shared.of(tally.snapshot(tally.figures(5.0), 5.0), 5.0)
    for before, rate in zip(befores, (80.0, 80.0, 150.0, 0.0), strict=True):
        response = monitor_pb2.WatchProgressResponse.FromString(shared.response(before))
        expected = watching.snapshot_to_proto(tally.snapshot(tally.figures(5.0, before), 5.0))
        assert response == expected
        assert response.progress.recent_rate_per_s == rate


# -- runs that are none


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


def test_a_run_of_which_nothing_is_counted_makes_room_for_another_once_its_sender_is_gone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tally_module, "LOST_AFTER_S", 0.3)

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            assert await report_status(stage.channel(monitor.address), a_report(a_sender(), a_run())) == StatusCode.OK
            await a_whole_run(stage, monitor)
            waited = "(this monitor follows another run, of which nothing is counted yet)"
            assert waited in caplog.text
            assert "nothing was counted and nobody is left, waiting for another" in caplog.text

    play(scene())


def test_a_monitor_does_not_end_on_a_run_of_which_nothing_was_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally_module, "LOST_AFTER_S", 0.05)

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor(give_up_s=0.1)
            channel, bogus = stage.channel(monitor.address), a_run()
            stub = monitor_pb2_grpc.MonitorServiceStub(channel)
            assert await report_status(channel, a_report(a_sender(), bogus)) == StatusCode.OK
            watch = stub.WatchProgress(monitor_pb2.WatchProgressRequest(run_id=bogus.run_id, interval_s=10))
            await anext(aiter(watch))
            await until(lambda: not monitor.node._watches)
            assert await watch.code() == StatusCode.OK  # nobody is left watching what is no more
            monkeypatch.setattr(tally_module, "LOST_AFTER_S", 5.0)
            await a_whole_run(stage, monitor)

    play(scene())


@pytest.mark.parametrize("journaled", [False, True])
@pytest.mark.parametrize("other", ["another run", "the same run with another total"])
def test_senders_wait_for_a_monitor_that_a_stranger_has_told_of_another_run_and_lose_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, other: str, journaled: bool
) -> None:
    monkeypatch.setattr(tally_module, "LOST_AFTER_S", 0.3)
    journal = str(tmp_path / "monitor.journal") if journaled else None

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor(journal=journal)
            producer = await stage.producer(TOTAL, monitor=monitor.address)
            run = a_run(TOTAL + 1)
            if "same" in other:
                run.run_id = producer.run.run_id
            assert await report_status(stage.channel(monitor.address), a_report(a_sender(), run)) == StatusCode.OK
            sender = stage.sender(producer.address)
            assert await codes(producer, monitor, sender) == [0] * 3
            assert_exact(producer, monitor)
            assert "(this monitor follows another run, of which nothing is counted yet)" in caplog.text
        if journal is not None:
            kept = Journal(journal, "monitor")
            kept.close()
            tally = Tally.restored(kept.pieces, 0.0)
            assert (tally.run, tally.ledger.final, len(tally.sessions)) == (producer.run, TOTAL, 1)

    play(scene())


def test_a_journal_does_not_keep_a_run_of_which_nothing_was_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Unless it was there at the start: then that is the run which is waited for."""
    monkeypatch.setattr(tally_module, "LOST_AFTER_S", 0.05)
    journal = str(tmp_path / "monitor.journal")

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor(journal=journal, give_up_s=0.1)
            channel = stage.channel(monitor.address)
            assert await report_status(channel, a_report(a_sender(), a_run())) == StatusCode.OK
            await until(lambda: not monitor.node._watches)
            monitor.stop.set()
            assert await monitor.code() == ExitCode.INCOMPLETE
        kept = Journal(journal, "monitor")
        assert kept.pieces == {}
        kept.commit(Tally(RunFacts(str(uuid.uuid4()), 1, 5, 1), 0.0).changes(0.0))
        kept.close()
        async with Stage() as stage:
            monitor = await stage.monitor(journal=journal, give_up_s=0.1)
            assert await monitor.code() == ExitCode.INCOMPLETE

    play(scene())


def test_a_run_of_which_something_was_counted_keeps_its_monitor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally_module, "LOST_AFTER_S", 0.0)

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            channel, run = stage.channel(monitor.address), a_run()
            column = {"outcomes": b"\1", "attempts": b"\1", "durations_s": bytes(4), "latencies_s": bytes(4)}
            counted = a_report(a_sender(), run, message_ids=bytes(8), **column)
            assert await report_status(channel, counted) == StatusCode.OK
            assert await report_status(channel, a_report(a_sender(), a_run())) == StatusCode.INVALID_ARGUMENT
            assert list(monitor.node._watches) == [run.run_id]

    play(scene())


def test_runs_are_bounded_and_those_that_are_over_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_node, "RUNS_MAX", 3)
    monkeypatch.setattr(monitor_node, "OVER_MAX", 5)

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor(linger=True)
            channel = stage.channel(monitor.address)
            for _ in range(3):
                assert await report_status(channel, a_report(a_sender(), a_run())) == StatusCode.OK
            assert await report_status(channel, a_report(a_sender(), a_run())) == StatusCode.UNAVAILABLE
            monkeypatch.setattr(monitor_node, "RUNS_MAX", 100)
            goodbye = monitor_pb2.Goodbye(end=run_pb2.RunEnd(complete=True))
            for _ in range(20):
                empty = a_report(a_sender(), a_run(total=0), goodbye=goodbye)
                assert await report_status(channel, empty) == StatusCode.OK
            await until(lambda: len(monitor.node._watches) == 3 + LIMITS.ended_kept_max)
            assert len(monitor.node._over) == 5

    play(scene())


def test_runs_that_never_were_make_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor_node, "RUNS_MAX", 3)

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor(linger=True)
            channel = stage.channel(monitor.address)
            for _ in range(3):
                assert await report_status(channel, a_report(a_sender(), a_run())) == StatusCode.OK
            assert await report_status(channel, a_report(a_sender(), a_run())) == StatusCode.UNAVAILABLE
            assert len(monitor.node._watches) == 3
            monkeypatch.setattr(tally_module, "LOST_AFTER_S", -1.0)  # nobody is there any more
            assert await report_status(channel, a_report(a_sender(), a_run())) == StatusCode.UNAVAILABLE
            await until(lambda: not monitor.node._runs)
            assert await report_status(channel, a_report(a_sender(), a_run())) == StatusCode.OK

    play(scene())


# -- state


def report_of(first: int, last: int, sequence: int = 1, elapsed_s: float = 1.0) -> Report:
    """Of messages that were sent, from the first up to the last."""
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


def test_outcomes_that_lie_too_far_apart_are_refused_and_nothing_of_them_is_kept() -> None:
    run = RunFacts(str(uuid.uuid4()), 1, 10**10, 1)
    tally, someone = Tally(run, 0.0), SenderFacts(str(uuid.uuid4()), "someone")
    with pytest.raises(TooLargeError):
        tally.report(run, someone, far_apart(100_000, run.total), 0.0)
    assert (tally.ledger.final, tally.sessions) == (0, {})
    assert tally.report(run, someone, far_apart(100, run.total), 0.0).accepted == 100  # its number is still free


def test_all_runs_of_a_lingering_monitor_share_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smssim.core.ledger.MEMORY_MAX", 250 * STRETCH_SIZE)

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
        async with Stage() as stage:
            monitor = await stage.monitor(linger=True)
            channel, runs = stage.channel(monitor.address), [a_run(10**7) for _ in range(3)]
            statuses = [await report_status(channel, apart(run, 0)) for run in runs]
            assert statuses == [StatusCode.OK, StatusCode.OK, StatusCode.UNAVAILABLE]
            assert await report_status(channel, apart(runs[0], 100)) == StatusCode.UNAVAILABLE
            assert await report_status(channel, apart(runs[0], 0)) == StatusCode.OK

    play(scene())


def test_a_senders_texts_are_bounded() -> None:
    for field in ("name", "distribution"):
        with pytest.raises(PeerError, match=f"^{field}: takes at most 64 bytes$"):
            wire.check_sender(a_sender(**{field: "x" * 65}))


# -- what strangers write


@pytest.mark.parametrize("control", ESCAPES)
def test_no_control_character_is_printed(control: str) -> None:
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
            (tally,) = (watch.tally for watch in monitor.node._watches.values())
            assert tally.missed == [escape(EVIL)]
            assert [session.facts.name for session in tally.sessions.values()] == [escape(EVIL)]
            assert "owned" in caplog.text
            assert all(message.isprintable() for message in caplog.messages)

    play(scene())


class EvilProducer(producer_pb2_grpc.ProducerServiceServicer):
    """Refuses with an escape sequence, or names a monitor with one."""

    def __init__(self, offers: bool) -> None:
        self._offers = offers

    async def FetchMessage(self, requests: Any, context: aio.ServicerContext[Any, Any]) -> Any:
        if self._offers:
            yield producer_pb2.FetchMessageResponse(offer=producer_pb2.RunOffer(run=a_run(), monitor=f"{EVIL}:1"))
        await context.abort(StatusCode.FAILED_PRECONDITION, EVIL)


@pytest.mark.parametrize("offers", [False, True])
def test_what_a_producer_writes_is_shown_without_control_characters(
    caplog: pytest.LogCaptureFixture, offers: bool
) -> None:
    async def scene() -> None:
        async with Stage() as stage:
            server = aio.server()
            producer_pb2_grpc.add_ProducerServiceServicer_to_server(EvilProducer(offers), server)
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            try:
                assert await stage.sender(f"127.0.0.1:{port}").code() != 0
            finally:
                await server.stop(None)
            assert "owned" in caplog.text
            assert all(message.isprintable() for message in caplog.messages)

    # Not `play`: gRPC at times keeps a task of a call that both sides end at the same moment.
    asyncio.run(asyncio.wait_for(scene(), SCENE_MAX_S))
