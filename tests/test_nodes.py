"""Whole runs of live nodes in one process: they connect, disconnect, reconnect, and count every message once."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import fields

import grpc
import numpy as np
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from nodes_support import (
    Running,
    RunningMonitor,
    RunningProducer,
    Stage,
    assert_exact,
    codes,
    encoded,
    free_address,
    losing_after,
    play,
    progress_of,
    until,
)

from smssim.core.exchange import RunEnd
from smssim.core.fate import Fates
from smssim.core.fault import Fault, FaultKind
from smssim.core.model import Outcome
from smssim.core.progress import Figures
from smssim.core.sending import SenderProtocol
from smssim.errors import ExitCode, UsageError, VersionError
from smssim.net import watching, wire
from smssim.nodes import sender as sender_node
from smssim.process import program
from smssim.settings import LogSettings, SenderSettings
from smssim.v1 import monitor_pb2

pytestmark = pytest.mark.usefixtures("quiet")


def done(monitor: RunningMonitor, producer: RunningProducer, at_least: int) -> Callable[[], bool]:
    """Return a condition that holds once the monitor has at least this many final outcomes of the run."""
    return lambda: (
        producer.run.run_id in monitor.node.runs.followed and monitor.figures(producer.run.run_id).done >= at_least
    )


# -- a run from start to end


def test_three_different_senders_send_every_message_once() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(3000, monitor=monitor.address)
            senders = [
                stage.sender(producer.address, "one", mean_s=0.001, fail=0.0, concurrency=2),
                stage.sender(
                    producer.address, "two", mean_s=0.002, fail=0.5, concurrency=4, distribution="exponential"
                ),
                stage.sender(producer.address, "three", mean_s=0.01, fail=1.0, concurrency=20, distribution="fixed"),
            ]
            assert await codes(producer, monitor, *senders) == [0] * 5
            figures = assert_exact(producer, monitor)
            assert figures.sent > 0
            assert figures.failed > 0
            assert (figures.retried, figures.duplicates, figures.senders_seen) == (0, 0, 3)
            assert figures.avg_time_s is not None
            assert 0.001 < figures.avg_time_s < 0.01

    play(scene())


def test_faults_of_a_sender_change_its_attempts() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(200, monitor=monitor.address)
            faults = (Fault(0.0, FaultKind.SLOW, "", factor=8.0), Fault(0.0, FaultKind.FAIL, "", share=1.0))
            sender = stage.sender(producer.address, distribution="fixed", fail=0.0, faults=faults, concurrency=8)
            assert await codes(producer, monitor, sender) == [0] * 3
            figures = assert_exact(producer, monitor)
            assert figures.failed == 200
            assert figures.avg_time_s == pytest.approx(0.016)

    play(scene())


@pytest.mark.parametrize("order", list(itertools.permutations(["producer", "monitor", "sender"])), ids="-".join)
def test_nodes_may_start_in_any_order(order: tuple[str, ...], caplog: pytest.LogCaptureFixture) -> None:
    producer_address, monitor_address = free_address(), free_address()

    async def scene() -> None:
        async with Stage() as stage:
            running: dict[str, Running] = {}
            waits = {"producer": "producer: Waiting for a sender", "monitor": "monitor: Waiting for a sender"}
            for node in order:
                if node == "producer":
                    running[node] = await stage.producer(20, listen=producer_address, monitor=monitor_address)
                elif node == "monitor":
                    running[node] = await stage.monitor(listen=monitor_address)
                else:
                    running[node] = stage.sender(producer_address)
                if "sender" in running:
                    missing = next((n for n in ("producer", "monitor") if n not in running), "")
                    waits["sender"] = f"sender: Waiting for {missing}" if missing else ""
                await until(lambda awaited: awaited in caplog.text, waits[node])
            assert await codes(*running.values()) == [0, 0, 0]
            producer, monitor = running["producer"], running["monitor"]
            assert isinstance(producer, RunningProducer)
            assert isinstance(monitor, RunningMonitor)
            assert_exact(producer, monitor)

    play(scene())


CASES: dict[str, tuple[int, int, dict[str, float]]] = {
    "no message": (0, 1, {}),
    "one message": (1, 1, {}),
    "more senders than messages": (3, 8, {}),
    "all fail": (200, 2, {"fail": 1.0}),
    "none fails": (200, 2, {"fail": 0.0}),
    "no time at all": (50_000, 2, {"mean_s": 0.0}),
    "a million lanes": (200_000, 1, {"mean_s": 0.05, "concurrency": 1_000_000}),
}


@pytest.mark.parametrize("case", CASES)
def test_edge_cases_run_like_any_other(case: str) -> None:
    count, senders, settings = CASES[case]

    async def scene() -> Figures:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(count, monitor=monitor.address)
            running = [stage.sender(producer.address, f"sender-{i}", **settings) for i in range(senders)]
            assert await codes(producer, monitor, *running) == [0] * (2 + senders)
            return assert_exact(producer, monitor)

    figures = play(scene())
    assert figures.senders_seen == senders
    assert figures.duplicates == 0
    if "fail" in settings:
        assert figures.failed == settings["fail"] * count
    if count == 0:
        assert (figures.avg_time_s, figures.latency_p50_s, figures.rate_per_s) == (None, None, 0.0)


def test_failed_messages_are_retried_until_the_attempts_are_used_up() -> None:
    count, attempts, fail = 500, 3, 0.5
    fates = Fates(7, attempts, SenderSettings(fail=fail).attempt_model)
    ids = np.arange(count, dtype=np.uint64)
    failed = [fates.draw(ids, attempt)[1] != Outcome.SENT for attempt in range(1, attempts + 1)]

    async def scene() -> Figures:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(count, monitor=monitor.address, max_attempts=attempts, retry_delay_s=0.05)
            senders = [stage.sender(producer.address, f"sender-{i}", fail=fail, concurrency=4) for i in range(2)]
            assert await codes(producer, monitor, *senders) == [0] * 4
            return assert_exact(producer, monitor)

    figures = play(scene())
    assert figures.failed == np.count_nonzero(failed[0] & failed[1] & failed[2])
    assert figures.retried == np.count_nonzero(failed[0]) + np.count_nonzero(failed[0] & failed[1])
    assert figures.duplicates == 0


def test_messages_are_released_no_faster_than_the_rate() -> None:
    async def scene() -> Figures:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(60, monitor=monitor.address, rate_per_s=200.0)
            sender = stage.sender(producer.address, mean_s=0.0, distribution="exponential", concurrency=10)
            assert await codes(producer, monitor, sender) == [0] * 3
            return assert_exact(producer, monitor)

    assert play(scene()).elapsed_s > 59 / 200 - 0.05


def test_runs_with_equal_settings_have_equal_counts() -> None:
    async def scene(concurrency: int) -> Figures:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(1000, monitor=monitor.address, seed=99, max_attempts=2)
            settings = {"mean_s": 0.002, "fail": 0.3, "concurrency": concurrency}
            senders = [stage.sender(producer.address, f"sender-{i}", **settings) for i in range(3)]
            assert await codes(producer, monitor, *senders) == [0] * 5
            return assert_exact(producer, monitor)

    first, second = play(scene(10)), play(scene(10))
    assert (first.sent, first.failed, first.retried) == (second.sent, second.failed, second.retried)
    assert first.run_id != second.run_id


def test_each_copy_is_a_separate_sender(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    mains: list[Callable[[asyncio.Event], Awaitable[int]]] = []

    def run(main: Callable[[asyncio.Event], Awaitable[int]], log: LogSettings) -> int:
        mains.append(main)
        return 0

    monkeypatch.setattr(program, "run", run)  # the real one starts an event loop and handles signals

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(500, monitor=monitor.address)
            sender_node.serve(SenderSettings(producer=producer.address, name="many", mean_s=0.01, copies=30))
            copies = asyncio.create_task(_exit_code(mains[0](asyncio.Event())))
            assert await codes(producer, monitor) == [0, 0]
            assert await copies == 0
            assert assert_exact(producer, monitor).senders_seen == 30

    play(scene())
    assert all(f"producer: Sender many-{i} joined" in caplog.text for i in range(1, 31))


async def _exit_code(code: Awaitable[int]) -> int:
    return await code


# -- senders that join and leave


def test_a_late_sender_takes_part(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(400, monitor=monitor.address)
            early = stage.sender(producer.address, "early", mean_s=0.01)
            await until(done(monitor, producer, 10))
            late = stage.sender(producer.address, "late", mean_s=0.001, verbose=True)
            assert await codes(producer, monitor, early, late) == [0] * 4
            assert assert_exact(producer, monitor).senders_seen == 2

    play(scene())
    assert "late: Message " in caplog.text


def test_a_drained_sender_hands_messages_back_and_the_others_finish() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(400, monitor=monitor.address)
            drained = stage.sender(producer.address, "drained", mean_s=0.005)
            other = stage.sender(producer.address, "other", mean_s=0.005)
            await until(done(monitor, producer, 40))
            drained.stop.set()
            assert await drained.code() == 0
            assert not monitor.figures(producer.run.run_id).complete
            assert await codes(producer, monitor, other) == [0] * 3
            assert assert_exact(producer, monitor).duplicates == 0

    play(scene())


def test_a_run_waits_for_the_next_sender_when_its_last_one_is_drained() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(200, monitor=monitor.address)
            first = stage.sender(producer.address, "first")
            await until(done(monitor, producer, 20))
            first.stop.set()
            assert await first.code() == 0
            await until(lambda: not producer.open_streams())
            sent, failed, leased, waiting = producer.book()
            assert (leased, waiting) == (0, 200 - sent - failed)
            second = stage.sender(producer.address, "second")
            assert await codes(producer, monitor, second) == [0] * 3
            assert assert_exact(producer, monitor).duplicates == 0

    play(scene())


def test_a_drained_sender_hands_back_messages_that_take_an_hour() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(10, monitor=monitor.address)
            slow = stage.sender(producer.address, "slow", mean_s=3600.0, std_s=1.0, concurrency=10)
            await until(lambda: producer.book() == (0, 0, 10, 0))
            slow.stop.set()
            assert await slow.code() == 0
            await until(lambda: producer.book() == (0, 0, 0, 10))
            quick = stage.sender(producer.address, "quick")
            assert await codes(producer, monitor, quick) == [0] * 3
            assert assert_exact(producer, monitor).duplicates == 0

    play(scene())


def test_more_messages_can_be_handed_back_than_fit_into_one_request() -> None:
    total = 600_000  # 4.8 MB of ids; gRPC accepts 4 MiB

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(total, monitor=monitor.address)
            large = stage.sender(producer.address, "large", mean_s=100.0, distribution="fixed", concurrency=total)
            await until(lambda: producer.book() == (0, 0, total, 0))
            await until(lambda: monitor.figures(producer.run.run_id).in_flight == total)
            large.stop.set()
            assert await large.code() == 0
            assert producer.book() == (0, 0, 0, total)

    play(scene())


@pytest.mark.parametrize("first", ["producer", "sender"])
def test_a_sender_that_is_stopped_before_it_connects_ends_at_once(first: str) -> None:
    async def scene() -> None:
        async with Stage() as stage:
            address = free_address()
            if first == "producer":
                address = (await stage.producer(5, monitor=free_address())).address
            sender = stage.sender(address)
            await asyncio.sleep(0)
            sender.stop.set()
            assert await sender.code() == 0

    play(scene())


# -- peers that are unreachable for a while


def test_a_sender_that_loses_its_connection_reconnects(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(1500, monitor=monitor.address)
            proxy = await stage.proxy(producer.address)
            cut_off = stage.sender(proxy.address, "cut-off", mean_s=0.01, concurrency=10)
            other = stage.sender(producer.address, "other", mean_s=0.05, concurrency=5)  # too slow to finish alone
            for cut in range(1, 4):
                await until(done(monitor, producer, 200 * cut))
                proxy.cut()
                await until(
                    lambda cut: len(re.findall("cut-off: Reconnected to producer .* after", caplog.text)) == cut, cut
                )
                assert proxy.connections > cut
            assert await codes(producer, monitor, cut_off, other) == [0] * 4
            assert_exact(producer, monitor)

    play(scene())


def test_a_run_survives_repeated_disconnections_of_its_only_sender() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(300, monitor=monitor.address, max_attempts=3)
            proxy = await stage.proxy(producer.address)
            sender = stage.sender(proxy.address, mean_s=0.01, fail=0.3, concurrency=10)
            for cut in range(1, 11):
                await until(lambda settled: producer.backlog.settled >= settled, 25 * cut)
                proxy.cut()
            assert await codes(producer, monitor, sender) == [0] * 3
            assert_exact(producer, monitor)

    play(scene())


def test_messages_of_a_hanging_sender_go_to_others() -> None:
    async def scene() -> Figures:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(300, monitor=monitor.address, lease_timeout_s=1.5)
            to_producer, to_monitor = await stage.proxy(producer.address), await stage.proxy(monitor.address)
            hanging = stage.sender(to_producer.address, "hanging", monitor=to_monitor.address, mean_s=0.01)
            await until(done(monitor, producer, 10))
            to_producer.stall()
            to_monitor.stall()
            other = stage.sender(producer.address, "other", mean_s=0.01)
            await until(lambda: producer.backlog.settled > 0 and len(producer.backlog.holders) == 1)
            to_monitor.flow()
            to_producer.flow()
            assert await codes(producer, monitor, hanging, other) == [0] * 4
            return assert_exact(producer, monitor)

    play(scene())


@pytest.mark.parametrize("away", ["cut", "stalled", "gone"])
def test_a_monitor_that_is_unreachable_for_a_while_misses_nothing(away: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            proxy = await stage.proxy(monitor.address)
            producer = await stage.producer(1000, monitor=proxy.address)
            senders = [stage.sender(producer.address, f"sender-{i}", concurrency=2) for i in range(2)]
            await until(done(monitor, producer, 100))
            if away == "cut":
                connections = proxy.connections
                proxy.cut()
                await until(lambda: proxy.connections > connections)
            elif away == "stalled":
                proxy.stall()
                await _settlements_dry_up(producer)
                proxy.flow()
            else:
                proxy.close_door()
                await until(lambda: all(f"sender-{i}: Lost monitor" in caplog.text for i in range(2)))
                await _settlements_dry_up(producer)
                proxy.open_door()
            assert await codes(producer, monitor, *senders) == [0] * 4
            assert assert_exact(producer, monitor).duplicates == 0

    play(scene())
    assert away != "gone" or "Reconnected to" in caplog.text


async def _settlements_dry_up(producer: RunningProducer) -> None:
    """Wait until every sender has sent another request while nothing was settled."""
    settled = -1
    while settled != producer.backlog.settled:
        settled = producer.backlog.settled
        for holder in producer.backlog.holders:
            await until(lambda holder, before: holder.last_request_at > before, holder, holder.last_request_at)
    assert settled < producer.run.total


# -- nodes that linger


def test_a_lingering_monitor_follows_two_runs_at_once_and_a_third_one_later() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor(linger=True)
            counts = (300, 500, 200)
            producers = [await stage.producer(count, monitor=monitor.address) for count in counts]
            senders = [
                stage.sender(p.address, mean_s=0.002, fail=f) for p, f in zip(producers[:2], (0, 1), strict=True)
            ]
            assert await codes(*producers[:2], *senders) == [0] * 4
            assert await codes(stage.sender(producers[2].address, fail=0.5), producers[2]) == [0, 0]
            await until(lambda: all(monitor.node.runs.followed[p.run.run_id].final for p in producers))
            assert not monitor.ended.done()
            first, second, third = (assert_exact(producer, monitor) for producer in producers)
            assert (first.sent, first.failed) == (300, 0)
            assert (second.sent, second.failed) == (0, 500)
            assert 0 < third.sent < 200
            assert {f.senders_seen for f in (first, second, third)} == {1}
            monitor.stop.set()
            assert await monitor.code() == 0

    play(scene())


def test_a_monitor_that_does_not_linger_refuses_a_second_run(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            first = await stage.producer(300, monitor=monitor.address)
            second = await stage.producer(10, monitor=monitor.address)
            sender = stage.sender(first.address)
            await until(done(monitor, first, 10))
            assert await stage.sender(second.address, "refused").code() == ExitCode.USAGE
            assert await codes(first, monitor, sender) == [0] * 3
            assert_exact(first, monitor)
            assert second.book() == (0, 0, 0, 10)

    play(scene())
    assert "refused: monitor" in caplog.text


def test_a_lingering_sender_serves_the_next_run() -> None:
    address = free_address()

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor(linger=True)
            sender = stage.sender(address, linger=True)
            for _ in range(2):
                producer = await stage.producer(50, listen=address, monitor=monitor.address)
                assert await producer.code() == 0
                await until(lambda run_id: monitor.node.runs.followed[run_id].final, producer.run.run_id)
                assert_exact(producer, monitor)
            sender.stop.set()
            monitor.stop.set()
            assert await codes(sender, monitor) == [0, 0]

    play(scene())


def test_a_late_sender_learns_from_a_lingering_producer_that_the_run_is_complete(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor(linger=True)
            producer = await stage.producer(50, monitor=monitor.address, linger=True)
            assert await stage.sender(producer.address, "early").code() == 0
            assert await stage.sender(producer.address, "late").code() == 0
            producer.stop.set()
            await until(lambda: monitor.node.runs.followed[producer.run.run_id].final)
            monitor.stop.set()
            assert await codes(producer, monitor) == [0, 0]
            assert_exact(producer, monitor)

    play(scene())
    assert "late: Run complete" in caplog.text


def test_a_late_sender_of_an_empty_run_gives_up_on_a_monitor_that_has_ended() -> None:
    """The give-up timeout applies although the sender never reached that monitor: it may never return."""

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(0, monitor=monitor.address, linger=True)
            early = stage.sender(producer.address, "early")
            assert await codes(early, monitor) == [0, 0]
            late = stage.sender(producer.address, "late", give_up_s=0.5)
            assert await late.code() == ExitCode.INCOMPLETE
            producer.stop.set()
            assert await producer.code() == 0

    play(scene())


# -- watchers, JSON lines, health checks and reflection


def test_watchers_see_the_run_and_its_last_figures_before_the_monitor_ends() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor(interval_s=1000.0)
            producer = await stage.producer(500, monitor=monitor.address)
            sender = stage.sender(producer.address)
            await until(done(monitor, producer, 1))
            channel, run_id = stage.channel(monitor.address), producer.run.run_id
            watchers = [
                asyncio.create_task(_watched(channel, *wanted)) for wanted in (("", 0.05), (run_id, 0.05), (run_id, 0))
            ]
            for watcher in watchers:
                seen = await watcher
                assert [p.final for p in seen] == [False] * (len(seen) - 1) + [True]
                dones = [p.sent + p.failed for p in seen]
                assert dones == sorted(dones)
                assert all(p.sent + p.failed + p.in_flight + p.waiting == p.total == 500 for p in seen)
                assert watching.snapshot_to_proto(monitor.last(run_id)).progress == seen[-1]
            assert len(watchers[0].result()) > 3
            assert len(watchers[2].result()) == 2
            assert await codes(producer, monitor, sender) == [0] * 3
            assert_exact(producer, monitor)

    play(scene())


async def _watched(channel: aio.Channel, run_id: str, interval_s: float) -> list[monitor_pb2.Progress]:
    return [progress async for progress in progress_of(channel, run_id, interval_s)]


def test_watching_an_unknown_run_is_refused() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            with pytest.raises(aio.AioRpcError) as caught:
                await _watched(stage.channel(monitor.address), "00000000-0000-4000-8000-000000000000", 0)
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert "unknown run" in (caught.value.details() or "")

    play(scene())


def test_json_lines_have_every_field_and_the_last_one_is_final(capfd: pytest.CaptureFixture[str]) -> None:
    async def scene() -> Figures:
        async with Stage() as stage:
            monitor = await stage.monitor(json=True)
            producer = await stage.producer(300, monitor=monitor.address)
            assert await codes(stage.sender(producer.address), producer, monitor) == [0] * 3
            return assert_exact(producer, monitor)

    figures = play(scene())
    captured = capfd.readouterr()
    assert captured.err == ""
    objects = [json.loads(line) for line in captured.out.splitlines()]
    names = [f.name for f in fields(Figures)]
    assert all(list(o) == names for o in objects[:-1])
    assert [o["final"] for o in objects] == [False] * (len(objects) - 1) + [True]
    assert objects[-1].pop("reached_reachable_s").keys() == {"50", "80", "95", "99"}
    assert objects[-1] == {**figures.as_dict(), "events": [], "plan_reached_s": None}
    assert len(objects) > 3


@pytest.mark.parametrize(("node", "service"), [("producer", "ProducerService"), ("monitor", "MonitorService")])
def test_servers_answer_health_checks_and_reflection(node: str, service: str) -> None:
    service = f"smssim.v1.{service}"

    async def scene() -> None:
        async with Stage() as stage:
            server = await stage.producer(1) if node == "producer" else await stage.monitor()
            channel = stage.channel(server.address)
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=encoded,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            for name in ("", service):
                answer = await check(health_pb2.HealthCheckRequest(service=name))
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            ask = channel.stream_stream(
                "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                request_serializer=encoded,
                response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
            )
            responses = ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
            listed = {s.name async for response in responses for s in response.list_services_response.service}
            assert {service, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"} == listed

    play(scene())


# -- runs that end early, and errors


def test_a_drained_producer_ends_the_run_early() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(2000, monitor=monitor.address)
            senders = [stage.sender(producer.address, f"sender-{i}", mean_s=0.01) for i in range(2)]
            await until(done(monitor, producer, 20))
            producer.stop.set()
            assert await codes(producer, monitor, *senders) == [ExitCode.INCOMPLETE] * 4
            figures = monitor.final(producer.run.run_id)
            assert producer.book() == (figures.sent, figures.failed, 0, figures.waiting)
            assert 20 <= figures.done < 2000
            assert not figures.complete

    play(scene())


def test_a_producer_or_monitor_that_is_stopped_before_a_sender_joins_ends_at_once() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            producer, monitor = await stage.producer(5), await stage.monitor()
            for node in (producer, monitor):
                node.stop.set()
            assert await codes(producer, monitor) == [ExitCode.INCOMPLETE] * 2

    play(scene())


def test_nodes_give_up_on_a_producer_that_is_lost() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor(give_up_s=0.3)
            producer = await stage.producer(2000, monitor=monitor.address, give_up_s=0.3)
            proxy = await stage.proxy(producer.address)
            sender = stage.sender(proxy.address, mean_s=0.01, give_up_s=0.3)
            await until(done(monitor, producer, 5))
            proxy.close_door()
            assert await codes(sender, producer, monitor) == [ExitCode.INCOMPLETE] * 3
            assert not monitor.final(producer.run.run_id).complete

    play(scene())


def test_nodes_give_up_on_a_monitor_that_is_lost() -> None:
    async def scene() -> None:
        async with Stage(losing_after(0.3)) as stage:
            monitor = await stage.monitor(give_up_s=0.3)
            proxy = await stage.proxy(monitor.address)
            producer = await stage.producer(2000, monitor=proxy.address, give_up_s=0.3)
            sender = stage.sender(producer.address, mean_s=0.01, give_up_s=0.3)
            await until(done(monitor, producer, 5))
            proxy.close_door()
            assert await codes(sender, producer, monitor) == [ExitCode.INCOMPLETE] * 3

    play(scene())


def test_a_sender_without_an_answer_to_its_goodbye_has_not_failed_a_complete_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The monitor has every outcome, but without a goodbye it has no totals to compare its count with."""

    async def scene() -> None:
        async with Stage(losing_after(0.3)) as stage:
            monitor = await stage.monitor(give_up_s=0.3)
            proxy = await stage.proxy(monitor.address)
            producer = await stage.producer(20, monitor=proxy.address)

            def ended(sending: SenderProtocol, end: RunEnd | None) -> None:
                end_of(sending, end)
                proxy.close_door()

            end_of = SenderProtocol.end
            monkeypatch.setattr(SenderProtocol, "end", ended)
            sender = stage.sender(producer.address, give_up_s=0.3)
            assert await codes(sender, producer, monitor) == [0, 0, ExitCode.INCOMPLETE]
            assert monitor.final(producer.run.run_id).complete
            assert "did not answer the goodbye; all outcomes are on record" in caplog.text
            summary = monitor.last(producer.run.run_id).summary
            assert summary is not None
            assert summary.reason == "every message is counted, but the producer's totals never arrived"

    play(scene())


def test_a_sender_that_has_lost_the_producer_learns_the_end_from_the_monitor() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(2000, monitor=monitor.address)
            proxy = await stage.proxy(producer.address)
            astray = stage.sender(proxy.address, mean_s=0.01)
            await until(done(monitor, producer, 5))
            proxy.close_door()
            other = stage.sender(producer.address, concurrency=50)
            assert await codes(other, producer, astray, monitor) == [0] * 4
            assert_exact(producer, monitor)

    play(scene())


def test_a_sender_gives_up_if_its_producer_returns_with_another_run() -> None:
    address = free_address()

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor(linger=True)
            crashed = await stage.producer(2000, listen=address, monitor=monitor.address)
            sender = stage.sender(address, mean_s=0.01)
            await until(done(monitor, crashed, 5))
            await crashed.node._server.stop(None)
            crashed.ended.cancel()
            await stage.producer(10, listen=address, monitor=monitor.address)
            assert await sender.code() == ExitCode.INCOMPLETE

    play(scene())


def test_a_sender_of_another_version_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: object) -> None:
        raise VersionError("this producer speaks version 2")

    monkeypatch.setattr(wire, "check_hello", refuse)

    async def scene() -> None:
        async with Stage() as stage:
            producer = await stage.producer(5)
            assert await stage.sender(producer.address, "old").code() == ExitCode.USAGE

    play(scene())
    assert "refused: this producer speaks version 2" in caplog.text


def test_a_port_in_use_is_a_usage_error() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            address = (await stage.monitor()).address
            with pytest.raises(UsageError, match=rf"--listen: got {address}; expected an address of this machine"):
                await stage.producer(5, listen=address)

    play(scene())


def test_a_monitor_that_cannot_show_a_run_ends_with_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object) -> None:
        raise OSError("no space left on device")

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            monkeypatch.setattr(monitor.node.term.outputs, "moment", no_space)
            producer = await stage.producer(2000, monitor=monitor.address)
            stage.sender(producer.address)
            with pytest.raises(OSError, match="no space left"):
                await monitor.code()

    play(scene())


# -- the default seed


def test_a_default_seed_is_32_random_bits() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            seeds = {(await stage.producer(1, seed=None)).run.seed for _ in range(5)}
            assert len(seeds) > 1
            assert all(0 <= seed < 2**32 for seed in seeds)

    play(scene())
