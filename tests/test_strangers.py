"""Misbehaving clients: a request that breaks the protocol is refused with the right status and changes nothing.

The clients send raw requests and use nothing of smssim except the .proto files.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest
from grpc import StatusCode, aio
from nodes_support import (
    BRIEF,
    Fetching,
    Stage,
    a_sender,
    assert_exact,
    codes,
    encoded,
    hello,
    play,
    report_status,
    running,
    until,
)

from smssim.core.progress import Figures
from smssim.errors import ExitCode
from smssim.v1 import monitor_pb2, monitor_pb2_grpc, producer_pb2, run_pb2

pytestmark = pytest.mark.usefixtures("quiet")

TOTAL: Final = 100
ATTEMPTS: Final = 3
TAKEN: Final = 5  # messages that a client has when it misbehaves

INVALID: Final = StatusCode.INVALID_ARGUMENT
EXHAUSTED: Final = StatusCode.RESOURCE_EXHAUSTED
PRECONDITION: Final = StatusCode.FAILED_PRECONDITION

GARBAGE: Final = b"\xff\xff\xff\xff"
FOUR_MIB: Final = 4 << 20
SENT, FAILED, RETRY = 1, 2, 3

Fetch = producer_pb2.FetchMessageRequest


def u64(*values: int) -> bytes:
    return np.array(values, "<u8").tobytes()


def u8(*values: int) -> bytes:
    return bytes(values)


def f32(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


def settle(ids: bytes, outcomes: bytes, attempts: bytes, **fields: Any) -> producer_pb2.FetchMessageRequest:
    settlements = producer_pb2.Settlements(message_ids=ids, outcomes=outcomes, attempts=attempts)
    return Fetch(settlements=settlements, **fields)


# -- at the producer

FIRST_REQUESTS: dict[str, tuple[StatusCode, Any]] = {
    "malformed bytes": (INVALID, GARBAGE),
    "a frame over 4 MiB": (EXHAUSTED, hello(handed_back_ids=bytes(FOUR_MIB))),
    "no hello": (INVALID, Fetch(credit=1)),
    "no version": (PRECONDITION, hello(protocol=0)),
    "another version": (PRECONDITION, hello(protocol=2)),
    "no sender": (INVALID, Fetch(hello=producer_pb2.Hello(protocol=1))),
    "no session": (INVALID, hello(a_sender(session_id=""))),
    "a session that is not a UUID": (INVALID, hello(a_sender(session_id="x" * 36))),
    "a UUID in another form": (INVALID, hello(a_sender(session_id=uuid.uuid4().hex))),
    "a session of 3 MiB": (INVALID, hello(a_sender(session_id="0" * (3 << 20)))),
    "a name of 65 bytes": (INVALID, hello(a_sender(name="\u00e9" * 32 + "x"))),
    "a mean below zero": (INVALID, hello(a_sender(mean_s=-1.0))),
    "a mean that is not a number": (INVALID, hello(a_sender(mean_s=math.nan))),
    "an infinite mean": (INVALID, hello(a_sender(mean_s=math.inf))),
    "a standard deviation that is not a number": (INVALID, hello(a_sender(std_s=math.nan))),
    "a failure rate of 7": (INVALID, hello(a_sender(failure_rate=7.0))),
    "no lanes": (INVALID, hello(a_sender(concurrency=0))),
    "more lanes than a sender can have": (INVALID, hello(a_sender(concurrency=2**64 - 1))),
    "huge credit": (EXHAUSTED, hello(credit=2**64 - 1)),
    "messages received before any was delivered": (INVALID, hello(received=1)),
    "settlements of unequal length": (INVALID, hello(settlements=producer_pb2.Settlements(message_ids=u64(1)))),
    "a settlement of a message never delivered": (
        INVALID,
        hello(settlements=producer_pb2.Settlements(message_ids=u64(TOTAL - 1), outcomes=u8(SENT), attempts=u8(1))),
    ),
}


def test_a_bad_first_request_is_refused_and_leaves_no_trace() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            producer = await stage.producer(TOTAL, max_attempts=ATTEMPTS)
            channel = stage.channel(producer.address)
            for case, (status, request) in FIRST_REQUESTS.items():
                async with Fetching(channel) as stranger:
                    await stranger.say(request)
                    assert await stranger.status() == status, case
                assert producer.open_streams() == 0, case
                assert producer.book() == (0, 0, 0, TOTAL), case

    play(scene())


def sound_settlement(taken: list[int], **fields: Any) -> producer_pb2.FetchMessageRequest:
    """Return a request that settles all messages taken, so that it shows if any part of it is applied."""
    sound = producer_pb2.Settlements(
        message_ids=u64(*taken), outcomes=u8(*[SENT] * len(taken)), attempts=u8(*[1] * len(taken))
    )
    return Fetch(settlements=sound, **fields)


Misdeed = Callable[[list[int]], Any]
MISDEEDS: dict[str, tuple[StatusCode, Misdeed]] = {
    "malformed bytes": (INVALID, lambda taken: GARBAGE),
    "a frame over 4 MiB": (EXHAUSTED, lambda taken: sound_settlement(taken, handed_back_ids=bytes(FOUR_MIB))),
    "a second hello": (INVALID, lambda taken: sound_settlement(taken, hello=hello().hello)),
    "huge credit": (EXHAUSTED, lambda taken: sound_settlement(taken, credit=2**64 - 1)),
    "more received than delivered": (INVALID, lambda taken: sound_settlement(taken, idle_lanes=1, received=TAKEN + 1)),
    "too few outcomes": (INVALID, lambda taken: settle(u64(*taken), u8(SENT), u8(*[1] * TAKEN))),
    "too many outcomes": (INVALID, lambda taken: settle(u64(*taken), u8(*[SENT] * 6), u8(*[1] * TAKEN))),
    "no attempts": (INVALID, lambda taken: settle(u64(*taken), u8(*[SENT] * TAKEN), b"")),
    "outcomes without ids": (INVALID, lambda taken: settle(b"", u8(SENT), u8(1))),
    "half an id": (INVALID, lambda taken: settle(u64(*taken)[:-4], u8(*[SENT] * TAKEN), u8(*[1] * TAKEN))),
    "an id equal to the total": (INVALID, lambda taken: settle(u64(taken[0], TOTAL), u8(SENT, SENT), u8(1, 1))),
    "the largest id": (INVALID, lambda taken: settle(u64(taken[0], 2**64 - 1), u8(SENT, SENT), u8(1, 1))),
    "an id never delivered": (INVALID, lambda taken: settle(u64(taken[0], TOTAL - 1), u8(SENT, SENT), u8(1, 1))),
    "outcome 0": (INVALID, lambda taken: settle(u64(*taken[:2]), u8(SENT, 0), u8(1, 1))),
    "outcome 9": (INVALID, lambda taken: settle(u64(*taken[:2]), u8(SENT, 9), u8(1, 1))),
    "attempt 0": (INVALID, lambda taken: settle(u64(*taken[:2]), u8(SENT, SENT), u8(1, 0))),
    "an attempt too high": (INVALID, lambda taken: settle(u64(*taken[:2]), u8(SENT, SENT), u8(1, ATTEMPTS + 1))),
    "a retry after the last attempt": (
        INVALID,
        lambda taken: settle(u64(*taken[:2]), u8(SENT, RETRY), u8(1, ATTEMPTS)),
    ),
    "half an id handed back": (INVALID, lambda taken: sound_settlement(taken, handed_back_ids=b"half")),
    "the total handed back as an id": (INVALID, lambda taken: sound_settlement(taken, handed_back_ids=u64(TOTAL))),
}


async def taking(stranger: Fetching, count: int = TAKEN) -> list[int]:
    """Send a hello, take this many messages, and return their ids."""
    await stranger.say(hello(), Fetch(credit=count, idle_lanes=count))
    await stranger.hear_of("offer")
    ids: list[int] = []
    while len(ids) < count:
        ids += np.frombuffer((await stranger.hear_of("batch")).batch.message_ids, "<u8").tolist()
    return ids


def test_a_bad_later_request_ends_the_stream_and_no_part_of_it_is_applied() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            producer = await stage.producer(TOTAL, max_attempts=ATTEMPTS)
            channel = stage.channel(producer.address)
            for case, (status, misdeed) in MISDEEDS.items():
                async with Fetching(channel) as stranger:
                    taken = await taking(stranger)
                    assert producer.book() == (0, 0, TAKEN, TOTAL - TAKEN), case
                    await stranger.say(misdeed(taken))
                    assert await stranger.status() == status, case
                await until(lambda: producer.open_streams() == 0)
                assert producer.book() == (0, 0, 0, TOTAL), case

    play(scene())


def test_the_limit_on_credit_applies_to_the_sum_of_all_requests() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            producer = await stage.producer(TOTAL)
            async with Fetching(stage.channel(producer.address)) as stranger:
                await stranger.say(hello(), *[Fetch(credit=400_000)] * 5)
                assert await stranger.status() == EXHAUSTED

    play(scene())


def test_a_client_cannot_hand_back_messages_that_another_client_has() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            producer = await stage.producer(TOTAL)
            channel = stage.channel(producer.address)
            async with Fetching(channel) as owner, Fetching(channel) as stranger:
                taken = await taking(owner)
                await taking(stranger, 1)
                await stranger.say(Fetch(handed_back_ids=u64(*taken)))
                assert (await stranger.hear()).settled == TAKEN
                assert producer.book() == (0, 0, TAKEN + 1, TOTAL - TAKEN - 1)

    play(scene())


def test_messages_of_a_stream_that_ends_are_queued_again() -> None:
    """It makes no difference whether the client cancels the call or closes it."""

    async def scene() -> None:
        async with Stage() as stage:
            producer = await stage.producer(TOTAL)
            channel = stage.channel(producer.address)
            for cancels in (True, False):
                async with Fetching(channel) as stranger:
                    await taking(stranger)
                    if cancels:
                        stranger.call.cancel()
                    else:
                        await stranger.call.done_writing()
                        assert await stranger.status() == StatusCode.OK
                await until(lambda: producer.open_streams() == 0)
                assert producer.book() == (0, 0, 0, TOTAL)

    play(scene())


def test_a_client_that_never_settles_loses_its_messages_after_a_while() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(TOTAL, monitor=monitor.address, lease_timeout_s=1.5)
            async with Fetching(stage.channel(producer.address)) as stranger:
                taken = await taking(stranger, TOTAL // 2)
                sender = stage.sender(producer.address)
                assert await stranger.status() == StatusCode.ABORTED
                assert producer.backlog.settled <= TOTAL - len(taken)
            assert await codes(producer, monitor, sender) == [0] * 3
            figures = assert_exact(producer, monitor)
            assert (figures.duplicates, figures.senders_seen) == (0, 1)

    play(scene())


def test_a_client_that_never_reads_does_not_delay_the_run() -> None:
    brief = replace(BRIEF, backoff_max_s=0.1, farewell_s=0.3)
    total = 200_000  # about 15 MB, far more than the connection buffers for its reader

    async def scene() -> None:
        async with Stage(brief) as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(total, monitor=monitor.address, lease_timeout_s=1.5)
            async with Fetching(stage.channel(producer.address)) as stranger:
                await stranger.say(hello(), Fetch(credit=total, idle_lanes=total))
                await until(lambda: producer.book()[2] == total)
                sender = stage.sender(producer.address, mean_s=0.0, concurrency=10)
                assert await codes(producer, monitor, sender) == [0] * 3
                assert assert_exact(producer, monitor).duplicates == 0

    play(scene())


def test_messages_of_clients_that_never_read_are_queued_again_when_they_leave() -> None:
    """They leave while the producer writes to them, which is no error of the producer."""
    total = 200_000

    async def scene() -> None:
        async with Stage() as stage:
            producer = await stage.producer(total)
            for _ in range(10):
                async with Fetching(stage.channel(producer.address)) as stranger:
                    await stranger.say(hello(), Fetch(credit=total, idle_lanes=total))
                    await until(lambda: producer.book()[2] == total)
                await until(lambda: producer.open_streams() == 0)
                assert producer.book() == (0, 0, 0, total)

    play(scene())


def test_a_session_that_opens_another_stream_loses_the_first_one() -> None:
    me = a_sender()

    async def scene() -> None:
        async with Stage() as stage:
            producer = await stage.producer(TOTAL)
            channel = stage.channel(producer.address)
            async with Fetching(channel) as first, Fetching(channel) as second:
                await first.say(hello(me), Fetch(credit=5, idle_lanes=5))
                await first.hear_of("batch")
                await second.say(hello(me))
                assert await first.status() == StatusCode.ABORTED
                await second.hear_of("offer")
                assert producer.book() == (0, 0, 0, TOTAL)
                await until(lambda: producer.open_streams() == 1)

    play(scene())


def test_streams_that_open_and_close_in_a_loop_leave_nothing_behind() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            producer = await stage.producer(TOTAL)
            channel = stage.channel(producer.address)
            async with Fetching(channel) as first:  # once it is answered, the server has all its tasks
                await taking(first)
            await until(lambda: producer.open_streams() == 0)
            tasks = running()
            for i in range(150):
                async with Fetching(channel) as stranger:
                    await stranger.say(*([], [hello()], [hello(), GARBAGE], [hello(credit=50, idle_lanes=50)])[i % 4])
                    if i % 3 == 0 and i % 4:
                        await stranger.hear()
            await until(lambda: producer.open_streams() == 0 and running() == tasks)
            assert producer.book() == (0, 0, 0, TOTAL)

    play(scene())


# -- at the monitor

RUN: Final = run_pb2.Run(run_id=str(uuid.uuid4()), seed=7, total=TOTAL, max_attempts=ATTEMPTS)


def run_but(**fields: Any) -> run_pb2.Run:
    run = run_pb2.Run()
    run.CopyFrom(RUN)
    for name, value in fields.items():
        setattr(run, name, value)
    return run


def report(sender: run_pb2.Sender, sequence: int = 1, **fields: Any) -> monitor_pb2.ReportResultRequest:
    """Return a report of two messages, valid except for these fields."""
    sound: dict[str, Any] = {
        "run": RUN,
        "message_ids": u64(10, 11),
        "outcomes": u8(SENT, FAILED),
        "attempts": u8(1, 3),
        "durations_s": f32(0.1, 0.2),
        "latencies_s": f32(0.3, 0.4),
        "in_flight": 3,
        "elapsed_s": 1.0,
    }
    return monitor_pb2.ReportResultRequest(sender=sender, sequence=sequence, **{**sound, **fields})


REAL: Final = a_sender(name="real")  # has reported once

REPORTS: dict[str, tuple[StatusCode, Any]] = {
    "malformed bytes": (INVALID, GARBAGE),
    "a frame over 4 MiB": (EXHAUSTED, report(a_sender(), message_ids=bytes(FOUR_MIB))),
    "an empty report": (INVALID, monitor_pb2.ReportResultRequest()),
    "no run": (INVALID, report(a_sender(), run=None)),
    "a run id that is not a UUID": (INVALID, report(a_sender(), run=run_but(run_id="the run"))),
    "another run": (INVALID, report(a_sender(), run=run_but(run_id=str(uuid.uuid4())))),
    "the run with another total": (INVALID, report(a_sender(), run=run_but(total=TOTAL + 1))),
    "the run with another seed": (INVALID, report(a_sender(), run=run_but(seed=8))),
    "the run with more attempts": (INVALID, report(a_sender(), run=run_but(max_attempts=4))),
    "a run of too many messages": (INVALID, report(a_sender(), run=run_but(total=2**64 - 1))),
    "a run without attempts": (INVALID, report(a_sender(), run=run_but(max_attempts=0))),
    "a run of 256 attempts": (INVALID, report(a_sender(), run=run_but(max_attempts=256))),
    "no sender": (INVALID, report(run_pb2.Sender())),
    "a session that is not a UUID": (INVALID, report(a_sender(session_id="x"))),
    "a name of 65 bytes": (INVALID, report(a_sender(name="x" * 65))),
    "a sender without lanes": (INVALID, report(a_sender(concurrency=0))),
    "sequence 0": (INVALID, report(a_sender(), 0)),
    "the largest sequence": (INVALID, report(a_sender(), 2**64 - 1)),
    "a gap in the sequence": (INVALID, report(REAL, 3)),
    "another report with the last sequence": (INVALID, report(REAL, 1)),
    "too few outcomes": (INVALID, report(a_sender(), outcomes=u8(SENT))),
    "too many outcomes": (INVALID, report(a_sender(), outcomes=u8(SENT, SENT, SENT))),
    "too few attempts": (INVALID, report(a_sender(), attempts=u8(1))),
    "no durations": (INVALID, report(a_sender(), durations_s=b"")),
    "too many latencies": (INVALID, report(a_sender(), latencies_s=f32(1, 2, 3))),
    "outcomes without ids": (INVALID, report(a_sender(), message_ids=b"")),
    "half an id": (INVALID, report(a_sender(), message_ids=u64(10, 11)[:-1])),
    "half a duration": (INVALID, report(a_sender(), durations_s=f32(0.1, 0.2)[:-1])),
    "an id equal to the total": (INVALID, report(a_sender(), message_ids=u64(10, TOTAL))),
    "the largest id": (INVALID, report(a_sender(), message_ids=u64(10, 2**64 - 1))),
    "outcome 0": (INVALID, report(a_sender(), outcomes=u8(SENT, 0))),
    "outcome 9": (INVALID, report(a_sender(), outcomes=u8(SENT, 9))),
    "attempt 0": (INVALID, report(a_sender(), attempts=u8(1, 0))),
    "an attempt too high": (INVALID, report(a_sender(), attempts=u8(1, ATTEMPTS + 1))),
    "more in flight than a run can have": (INVALID, report(a_sender(), in_flight=2**64 - 1)),
    "more held than a run can have": (INVALID, report(a_sender(), held=2**64 - 1)),
}
NO_TIMES: Final = (math.nan, -1.0, math.inf, -math.inf, 3e38)
for no_time in NO_TIMES:
    REPORTS |= {
        f"a duration of {no_time:g}": (INVALID, report(a_sender(), durations_s=f32(0.1, no_time))),
        f"a latency of {no_time:g}": (INVALID, report(a_sender(), latencies_s=f32(no_time, 0.1))),
        f"a run of {no_time:g} seconds": (INVALID, report(a_sender(), elapsed_s=no_time)),
    }


def apart_from_time(figures: Figures) -> dict[str, object]:
    return {k: v for k, v in figures.as_dict().items() if k not in ("elapsed_s", "rate_per_s", "recent_rate_per_s")}


def test_a_bad_report_is_refused_and_changes_no_figure() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            channel = stage.channel(monitor.address)
            real = report(REAL, message_ids=u64(1, 2))
            assert await report_status(channel, real) == StatusCode.OK
            before = apart_from_time(monitor.figures(RUN.run_id))
            for case, (status, request) in REPORTS.items():
                assert await report_status(channel, request) == status, case
                assert apart_from_time(monitor.figures(RUN.run_id)) == before, case
                assert list(monitor.node.runs.followed) == [RUN.run_id], case
            assert (before["sent"], before["failed"], before["senders_seen"], before["in_flight"]) == (1, 1, 1, 3)

    play(scene())


async def told(channel: aio.Channel, request: monitor_pb2.ReportResultRequest) -> tuple[int, int, list[int], list[int]]:
    """Send a report and return the answer: accepted, duplicates, overruled ids and overruled outcomes."""
    answer = await monitor_pb2_grpc.MonitorServiceStub(channel).ReportResult(request)
    overruled = np.frombuffer(answer.overruled_ids, "<u8").tolist()
    return answer.accepted, answer.duplicates, overruled, list(answer.overruled_outcomes)


def test_a_repeated_report_gets_the_same_answer_and_is_counted_once() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            channel, other = stage.channel(monitor.address), a_sender()
            assert await told(channel, report(REAL)) == (2, 0, [], [])
            overruled = report(other, outcomes=u8(FAILED, FAILED))
            for _ in range(3):
                assert await told(channel, overruled) == (0, 2, [10], [SENT])
            figures = monitor.figures(RUN.run_id)
            assert (figures.sent, figures.failed, figures.duplicates) == (1, 1, 2)

            assert await told(channel, report(other, 2, message_ids=u64(20, 21))) == (2, 0, [], [])
            assert await report_status(channel, overruled) == INVALID  # an old report, whose answer no sender waits for
            figures = monitor.figures(RUN.run_id)
            assert (figures.sent, figures.failed, figures.duplicates, figures.senders_seen) == (2, 2, 2, 2)

    play(scene())


def test_a_negative_zero_counts_as_zero() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            request = report(a_sender(), durations_s=f32(-0.0, -0.0), latencies_s=f32(-0.0, -0.0))
            assert await told(stage.channel(monitor.address), request) == (2, 0, [], [])
            figures = monitor.figures(RUN.run_id)
            assert (figures.avg_time_s, figures.latency_p99_s) == (0.0, 0.0)

    play(scene())


WATCHES: dict[str, Any] = {
    "malformed bytes": GARBAGE,
    "a run id that is not a UUID": monitor_pb2.WatchProgressRequest(run_id="the run"),
    "an unknown run": monitor_pb2.WatchProgressRequest(run_id=str(uuid.uuid4())),
    "an interval below zero": monitor_pb2.WatchProgressRequest(interval_s=-1.0),
    "an interval that is not a number": monitor_pb2.WatchProgressRequest(interval_s=math.nan),
    "an interval that is too short": monitor_pb2.WatchProgressRequest(interval_s=1e-9),
    "an infinite interval": monitor_pb2.WatchProgressRequest(interval_s=math.inf),
}


def test_a_bad_watch_is_refused() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            watch: aio.UnaryStreamMultiCallable[Any, bytes] = stage.channel(monitor.address).unary_stream(
                "/smssim.v1.MonitorService/WatchProgress", request_serializer=encoded
            )
            for case, request in WATCHES.items():
                with pytest.raises(aio.AioRpcError) as caught:
                    await anext(aiter(watch(request)))
                assert caught.value.code() == INVALID, case

    play(scene())


def test_watchers_that_come_and_go_leave_nothing_behind() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            channel = stage.channel(monitor.address)
            assert await report_status(channel, report(REAL)) == StatusCode.OK
            stub = monitor_pb2_grpc.MonitorServiceStub(channel)
            for i in range(60):
                watch = stub.WatchProgress(monitor_pb2.WatchProgressRequest(interval_s=0.05))
                if i % 2:
                    assert (await anext(aiter(watch))).progress.sent == 1
                watch.cancel()
            await until(lambda: not monitor.node.audience.watchers)

    play(scene())


def test_other_methods_also_survive_malformed_bytes() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            channel = stage.channel((await stage.producer(TOTAL)).address)
            for method, status in (
                ("/smssim.v1.ProducerService/Nothing", StatusCode.UNIMPLEMENTED),
                ("/grpc.health.v1.Health/Check", StatusCode.OK),
                ("/smssim.v1.MonitorService/X", StatusCode.UNIMPLEMENTED),
            ):
                ask: aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
                assert await ask(GARBAGE).code() == status, method

    play(scene())


# -- during a real run


def test_a_run_ends_with_exact_counts_whatever_other_clients_send_during_it() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(TOTAL, monitor=monitor.address, max_attempts=ATTEMPTS)
            to_producer, to_monitor = stage.channel(producer.address), stage.channel(monitor.address)
            async with Fetching(to_producer) as keeper:  # its messages keep the run from ending
                await taking(keeper)
                sender = stage.sender(producer.address, fail=0.3)
                await until(lambda: producer.run.run_id in monitor.node.runs.followed)
                for status, requests in _nonsense():
                    async with Fetching(to_producer) as stranger:
                        await stranger.say(*requests)
                        assert await stranger.status() == status
                for status, request in REPORTS.values():
                    assert await report_status(to_monitor, request) == status
                await until(lambda: producer.backlog.settled == TOTAL - TAKEN)
                assert not producer.ended.done()
            assert await codes(producer, monitor, sender) == [0] * 3
            figures = assert_exact(producer, monitor)
            assert (figures.duplicates, figures.senders_seen) == (0, 1)

    play(scene())


def test_a_forged_report_never_makes_a_sender_settle_what_is_not_recorded() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(TOTAL, monitor=monitor.address)
            victim = stage.sender(producer.address, mean_s=0.1, concurrency=4)
            await until(lambda: producer.backlog.settled)
            channel, watch = stage.channel(monitor.address), monitor.node.runs.followed[producer.run.run_id]
            (session,) = watch.tally.sessions.values()
            run = run_pb2.Run(run_id=producer.run.run_id, seed=7, total=TOTAL, max_attempts=1)
            me = a_sender(session_id=session.facts.session_id)
            status = INVALID
            while status != StatusCode.OK:  # use the session's next sequence before its own sender does
                forged = monitor_pb2.ReportResultRequest(run=run, sender=me, sequence=session.sequence + 1)
                status = await report_status(channel, forged)
            assert await victim.code() == ExitCode.USAGE
            assert 0 < producer.backlog.settled < TOTAL
            assert await codes(stage.sender(producer.address), producer, monitor) == [0] * 3
            assert_exact(producer, monitor)

    play(scene())


def _nonsense() -> Iterator[tuple[StatusCode, list[Any]]]:
    """Yield requests that a producer refuses at any time, each with the expected status."""
    for case, (status, request) in FIRST_REQUESTS.items():
        if "never delivered" not in case:
            yield status, [request]
    for case, (status, misdeed) in MISDEEDS.items():
        if "never delivered" not in case:
            yield status, [hello(), misdeed(list(range(TAKEN)))]


def test_a_client_written_only_from_the_protocol_can_take_part() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(TOTAL, monitor=monitor.address, min_length=3, max_length=9)
            me = a_sender(name="by hand")
            async with Fetching(stage.channel(producer.address)) as stream:
                await stream.say(hello(me))
                offer = (await stream.hear_of("offer")).offer
                assert (offer.run.total, offer.run.max_attempts, offer.monitor) == (TOTAL, 1, monitor.address)
                to_monitor = stage.channel(offer.monitor)
                await stream.say(Fetch(credit=TOTAL, idle_lanes=TOTAL))
                sequence = settled = 0
                async for batch in _batches(stream):
                    sequence += 1
                    count = _check_columns(batch)
                    sent, first = u8(*[SENT] * count), u8(*[1] * count)
                    answer = await told(
                        to_monitor,
                        report(
                            me,
                            sequence,
                            run=offer.run,
                            message_ids=batch.message_ids,
                            outcomes=sent,
                            attempts=first,
                            durations_s=f32(*[0.5] * count),
                            latencies_s=f32(*[0.75] * count),
                            in_flight=0,
                        ),
                    )
                    assert answer == (count, 0, [], [])
                    settled += count
                    await stream.say(settle(batch.message_ids, sent, first))
                    if settled == TOTAL:
                        break
                end = (await stream.hear_of("end")).end
                assert (end.complete, end.sent, end.failed) == (True, TOTAL, 0)
                await stream.call.done_writing()
                assert await stream.status() == StatusCode.OK
                goodbye = monitor_pb2.Goodbye(end=end)
                last = monitor_pb2.ReportResultRequest(
                    run=offer.run, sender=me, sequence=sequence + 1, elapsed_s=1.0, goodbye=goodbye
                )
                assert await report_status(to_monitor, last) == StatusCode.OK
            assert await codes(producer, monitor) == [0, 0]
            figures = assert_exact(producer, monitor)
            assert (figures.avg_time_s, figures.avg_sent_time_s) == (0.5, 0.5)
            assert figures.latency_p50_s == pytest.approx(0.75, rel=0.01)

    play(scene())


async def _batches(stream: Fetching) -> AsyncIterator[producer_pb2.Batch]:
    while True:
        yield (await stream.hear_of("batch")).batch


def _check_columns(batch: producer_pb2.Batch) -> int:
    """Check a batch against producer.proto, and return how many messages it has."""
    ids = np.frombuffer(batch.message_ids, "<u8")
    phones = [batch.phone_numbers[i : i + 12].decode() for i in range(0, len(batch.phone_numbers), 12)]
    assert len(phones) == len(batch.text_lengths) == len(np.frombuffer(batch.queued_s, "<f4")) == len(ids)
    assert all(re.fullmatch(r"\d{3}-\d{3}-\d{4}", phone) for phone in phones)
    assert sum(batch.text_lengths) == len(batch.texts)
    assert set(batch.text_lengths) <= set(range(3, 10))
    assert batch.texts.decode("ascii").isprintable()
    assert batch.attempt == 1
    return len(ids)
