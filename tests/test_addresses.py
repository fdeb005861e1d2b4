"""Peers with several addresses: live nodes find the one that serves, and go on elsewhere once it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any, Final

import grpc
import pytest
from grpc import aio
from nodes_support import BRIEF, Stage, assert_exact, codes, free_address, play, serving, until

from smssim.core.event import Event, Kind
from smssim.core.limits import LIMITS
from smssim.errors import ExitCode
from smssim.net import access, rpc
from smssim.net.announcing import announce
from smssim.net.reconnecting import STANDS_BY, Peer
from smssim.nodes import watch
from smssim.process.logs import node_log
from smssim.settings import WatchSettings
from smssim.v1 import monitor_pb2, monitor_pb2_grpc

pytestmark = pytest.mark.usefixtures("quiet")

STANDBY_SAYS: Final = STANDS_BY + "10.0.0.1:50052 owns run alert"
SOUND: Final = monitor_pb2.ReportResultResponse(wait_s=0.02).SerializeToString()
SOON: Final = replace(BRIEF, failover_keepalive_s=0.2)  # so that a loss that nobody announces is noticed soon


class Node(grpc.GenericRpcHandler):
    """A server that answers every call with this status, and keeps the requests; an empty reason means OK."""

    def __init__(self, reason: str = STANDBY_SAYS, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        self.requests: list[bytes] = []
        self._code, self._reason = code, reason

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return grpc.stream_stream_rpc_method_handler(self._answer)

    async def _answer(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        self.requests.append(await anext(aiter(requests)))
        if self._reason:
            await context.abort(self._code, self._reason)
        yield SOUND


@contextlib.asynccontextmanager
async def served(node: Node) -> AsyncIterator[str]:
    server = aio.server()
    server.add_generic_rpc_handlers((node,))
    async with serving(server) as address:
        yield address


@contextlib.contextmanager
def silent_address(backlog: int = 0) -> Iterator[str]:
    """Yield an address whose connections are never answered: not even accepted, unless `backlog` has room for them."""
    with socket.socket() as listening, contextlib.ExitStack() as waiting:
        listening.bind(("127.0.0.1", 0))
        listening.listen(backlog)
        for _ in range(0 if backlog else 3):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(listening.getsockname())
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the name of a peer, with its address, each time a call to it has failed."""
    failed: list[str] = []
    lost = Peer.loss

    async def loss(peer: Peer, error: aio.AioRpcError) -> Any:
        failed.append(peer.name)
        return await lost(peer, error)

    monkeypatch.setattr(Peer, "loss", loss)
    return failed


# -- senders


def test_a_sender_finds_the_producer_and_the_monitor_behind_addresses_that_do_not_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody listens at one, one drops packets, one never answers, a standby is at one, and another service at one."""
    failed = counted(monkeypatch)
    at: dict[str, str] = {}

    async def scene() -> None:
        with silent_address() as drops, silent_address(backlog=9) as hangs:
            elsewhere = Node("no such method", grpc.StatusCode.UNIMPLEMENTED)
            async with Stage() as stage, served(Node()) as standby, served(elsewhere) as foreign:
                others = [free_address(), drops, hangs, standby, foreign]
                monitor = await stage.monitor()
                producer = await stage.producer(50, monitor=",".join([*others, monitor.address]))
                sender = stage.sender(",".join([*others, producer.address]))
                assert await codes(producer, monitor, sender) == [0] * 3
                assert_exact(producer, monitor)
                at.update(producer=producer.address, monitor=monitor.address, foreign=foreign)
                for peer in ("producer", "monitor"):  # on a busy machine, connecting may take two rounds
                    calls = [name for name in failed if name.startswith(peer)]
                    assert calls[: len(others)] == [f"{peer} {one}" for one in others]
                    assert len(calls) <= 2 * len(others) + 1

    play(scene())
    said = [line.removeprefix("sender: ") for line in caplog.messages if line.startswith("sender: ")]
    assert f"Connected to producer {at['producer']}" in said
    assert f"Connected to monitor {at['monitor']}" in said
    assert sum("Can't use" in line and "a different service listens there" in line for line in said) == 2


def test_a_report_that_one_monitor_refuses_for_now_is_repeated_at_the_next_one_as_it_is() -> None:
    async def scene() -> None:
        standby, owner = Node(), Node("")
        async with Stage() as stage, served(standby) as first, served(owner) as second:
            producer = await stage.producer(20, monitor=f"{first},{second}")
            assert await codes(producer, stage.sender(producer.address)) == [0, 0]
            assert standby.requests == owner.requests[:1]
            reports = [monitor_pb2.ReportResultRequest.FromString(each) for each in owner.requests]
            assert [each.sequence for each in reports] == list(range(1, len(reports) + 1))

    play(scene())


def test_a_sender_that_loses_one_address_goes_on_at_the_next(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The addresses are doors to the same nodes, which close one after the other."""
    failed = counted(monkeypatch)
    lines: list[str] = []

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            to_monitor = [await stage.proxy(monitor.address) for _ in range(2)]
            producer = await stage.producer(400, monitor=",".join(door.address for door in to_monitor))
            to_producer = [await stage.proxy(producer.address) for _ in range(2)]
            sender = stage.sender(",".join(door.address for door in to_producer), mean_s=0.01, concurrency=2)
            await until(lambda: producer.backlog.sent >= 10)
            for first, second in (to_producer, to_monitor):
                sent = producer.backlog.sent
                first.close_door()
                await until(lambda: second.connections >= 1 and producer.backlog.sent >= sent + 50)  # noqa: B023
            assert await codes(producer, monitor, sender) == [0] * 3
            assert_exact(producer, monitor)
            for kind, (first, second) in (("producer", to_producer), ("monitor", to_monitor)):
                tries = [failed.count(f"{kind} {door.address}") for door in (first, second)]
                assert tries in ([1, 0], [2, 1]), tries  # on a busy machine, connecting may take two rounds
                lines.append(f"Lost {kind} {first.address}: trying {second.address}")
                lines.append(f"Reconnected to {kind} {second.address} after ")

    play(scene())
    for line in lines:
        assert sum(line in message for message in caplog.messages) == 1, line


def test_a_sender_notices_a_machine_that_vanishes_and_goes_on_at_the_next_address() -> None:
    async def scene() -> None:
        async with Stage(SOON) as stage:
            monitor = await stage.monitor()
            to_monitor = [await stage.proxy(monitor.address) for _ in range(2)]
            producer = await stage.producer(400, monitor=",".join(door.address for door in to_monitor))
            to_producer = [await stage.proxy(producer.address) for _ in range(2)]
            sender = stage.sender(",".join(door.address for door in to_producer), mean_s=0.01)
            await until(lambda: producer.backlog.sent >= 10)
            to_producer[0].stall()
            to_monitor[0].stall()
            assert await codes(producer, monitor, sender) == [0] * 3
            assert_exact(producer, monitor)

    play(scene())


def test_while_only_standbys_answer_a_sender_waits_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> str:
        async with Stage() as stage, served(Node()) as first, served(Node()) as second:
            sender = stage.sender(f"{first},{second}")
            line = f"sender: Waiting for producer {first} or {second} ({STANDBY_SAYS})"
            await until(lambda: line in caplog.messages)
            sender.stop.set()
            assert await sender.code() == ExitCode.OK
            return line

    line = play(scene())
    assert caplog.messages.count(line) == 1


def test_a_wrong_token_at_one_of_several_addresses_ends_a_sender(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        locked = Node("missing or wrong token", grpc.StatusCode.UNAUTHENTICATED)
        async with Stage() as stage, served(Node()) as standby, served(locked) as address:
            assert await stage.sender(f"{standby},{address}").code() == ExitCode.USAGE
            assert f"sender: producer {address} refused: missing or wrong token" in caplog.messages[-1]

    play(scene())


def test_a_sender_that_must_not_send_its_token_to_one_of_several_addresses_connects_to_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scene() -> None:
        async with Stage() as stage:
            producer = await stage.producer(20, token="a-shared-token")
            for peers in (
                {"producer": f"{producer.address},10.0.0.1:50051"},
                {"producer": producer.address, "monitor": "127.0.0.1:1,10.0.0.1:50052"},
            ):
                assert await stage.sender(**peers, token="a-shared-token").code() == ExitCode.USAGE
                said = [line for line in caplog.messages if line.startswith("sender: ")][-1]
                assert said.startswith("sender: --tls-ca or --insecure is required to send the token to 10.0.0.1:5005")

    play(scene())


# -- watchers and announcements


def test_a_watcher_follows_the_run_to_the_next_monitor_and_ends_when_that_is_done(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def scene() -> str:
        async with Stage() as stage, served(Node()) as standby:
            monitor = await stage.monitor()
            doors = [await stage.proxy(monitor.address) for _ in range(2)]
            addresses = ",".join([standby, *(door.address for door in doors)])
            settings = WatchSettings(monitor=addresses, interval_s=0.05, json=True)
            watching = asyncio.create_task(
                watch.WatchClient(settings, node_log("watch"), limits=BRIEF).serve(asyncio.Event())
            )
            producer = await stage.producer(300, monitor=monitor.address)
            sender = stage.sender(producer.address, mean_s=0.01)
            await until(lambda: doors[0].connections == 1 and producer.backlog.sent >= 50)
            doors[0].close_door()
            assert [await watching, *await codes(producer, monitor, sender)] == [0] * 4
            return producer.run.run_id

    run_id = play(scene())
    last = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (last["run_id"], last["complete"]) == (run_id, True)


def test_an_event_is_announced_to_the_monitor_that_accepts_it(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        standby = Node()
        async with Stage() as stage, served(standby) as first:
            monitor = await stage.monitor()
            producer = await stage.producer(300, monitor=monitor.address)
            sender = stage.sender(producer.address, mean_s=0.005)
            event = Event(0.5, Kind.KILLED, "city killed", producer.run.run_id, "city")
            addresses = f"{free_address()},{first},{monitor.address}"
            assert await announce(addresses, access.OPEN, event, node_log("run"), 20.0)
            assert len(standby.requests) >= 1
            assert await codes(producer, monitor, sender) == [0] * 3
            assert monitor.last(producer.run.run_id).events == (event,)

    play(scene())


# -- connections


def test_the_pings_of_a_channel_with_other_addresses_never_close_its_connection() -> None:
    """If a server permitted fewer of them, it would close the connection after the third."""

    limits = replace(BRIEF, failover_keepalive_s=0.1)

    async def scene() -> None:
        async with Stage(limits) as stage:
            door = await stage.proxy((await stage.monitor()).address)
            door.delay_s = 0.001  # so that it counts the blocks
            channel = rpc.channel(door.address, access.OPEN, limits, is_one_of_several=True)
            async with channel:
                call = monitor_pb2_grpc.MonitorServiceStub(channel).WatchProgress(monitor_pb2.WatchProgressRequest())
                await call.initial_metadata()
                blocks = door.delayed
                await until(lambda: door.delayed >= blocks + 10)  # nothing but pings and their answers
                assert door.connections == 1
                assert not call.done()
                call.cancel()

    play(scene())


def test_a_server_permits_pings_twice_as_often_as_any_channel_sends_them() -> None:
    for limits in (LIMITS, replace(LIMITS, keepalive_s=1.0)):
        permitted_ms = dict(rpc._server_options(limits))["grpc.http2.min_ping_interval_without_data_ms"]
        for one in (False, True):
            sent_ms = dict(rpc._channel_options(limits, is_one_of_several=one))["grpc.keepalive_time_ms"]
            assert sent_ms >= 2 * permitted_ms
