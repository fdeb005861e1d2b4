"""Helpers for the tests of live nodes: nodes on free ports in this process, connections to cut, and raw clients.

Each test lives on one event loop, because grpc.aio's objects can't change theirs. `play` creates it and closes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any, Final, Self, TypeVar

import grpc
import pytest
from grpc import aio
from nats_cluster import free_ports

from smssim.core.limits import LIMITS, Limits
from smssim.core.progress import Figures
from smssim.core.snapshot import Snapshot
from smssim.net import access, rpc
from smssim.net.bounds import Bounds
from smssim.net.connecting import Channels
from smssim.nodes.monitor import Monitor
from smssim.nodes.producer import Producer
from smssim.nodes.sender import Sender
from smssim.settings import FREE_ADDRESS, MonitorSettings, ProducerSettings, SenderSettings
from smssim.v1 import monitor_pb2, monitor_pb2_grpc, producer_pb2, run_pb2

SCENE_MAX_S: Final = 30.0  # far more than any scene takes: a test that hangs fails and shows where
LOOK_S: Final = 0.005  # how often a condition is polled
FETCH: Final = "/smssim.v1.ProducerService/FetchMessage"
REPORT: Final = "/smssim.v1.MonitorService/ReportResult"

T = TypeVar("T")

BRIEF: Final = replace(LIMITS, join_grace_s=0.2)  # long enough for senders that start at the same time


def losing_after(lost_after_s: float, limits: Limits = BRIEF) -> Limits:
    """Return limits with which a sender is lost after this time; all that comes before is faster in proportion."""
    faster = lost_after_s / limits.lost_after_s
    names = ("tick_max_s", "heartbeat_s", "report_wait_max_s", "silent_after_s")
    return replace(limits, lost_after_s=lost_after_s, **{name: faster * getattr(limits, name) for name in names})


def play(scene: Coroutine[Any, Any, T], within_s: float = SCENE_MAX_S) -> T:
    """Run a scene on a loop of its own; fail if it takes too long or leaves a task behind."""

    async def alone() -> T:
        async with asyncio.timeout(within_s):
            result = await scene
            await until(lambda: running() == 1)
        return result

    return asyncio.run(alone())


def running() -> int:
    """Return how many tasks there are, without those of gRPC that wait for the status of a client's call.

    About one of ten thousand cancelled calls never gets its status; its task then waits until the loop ends.
    """
    names = (getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks())
    return sum(name != "_AioCall._handle_status_once_received" for name in names)


async def until(condition: Callable[..., object], *args: object) -> None:
    """Wait until the condition is true for these arguments, within the time limit of the scene."""
    while not condition(*args):  # noqa: ASYNC110 - the state of a node, which no event announces
        await asyncio.sleep(LOOK_S)


def free_address() -> str:
    """Return an address of this machine that is free, for a node that starts later.

    Its port is one that the system never assigns by itself, so that no other process gets it first.
    """
    return f"127.0.0.1:{free_ports(1)[0]}"


@contextlib.asynccontextmanager
async def serving(server: aio.Server, credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[str]:
    """Run any server of grpc.aio on a free port; yield its address."""
    port = server.add_secure_port(FREE_ADDRESS, credentials) if credentials else server.add_insecure_port(FREE_ADDRESS)
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def open_calls(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return a function that counts the open calls of all kinds, at all servers that are created from now on."""
    made: list[Bounds] = []

    def make(limits: Limits) -> Bounds:
        made.append(Bounds(limits))
        return made[-1]

    monkeypatch.setattr(rpc, "Bounds", make)
    return lambda: sum(len(one.admission) for one in made)


# -- nodes


class Running:
    """A node that serves, with the event that stops it and its exit code."""

    def __init__(self, serve: Callable[[asyncio.Event], Coroutine[Any, Any, int]], stop: asyncio.Event) -> None:
        self.stop = stop
        self.ended = asyncio.create_task(serve(stop))

    async def code(self) -> int:
        """Wait for the node to end; return its exit code."""
        return await asyncio.shield(self.ended)


class RunningProducer(Running):
    """A running producer, and its totals."""

    def __init__(self, node: Producer) -> None:
        super().__init__(node.serve, asyncio.Event())
        self.node = node
        self.address = node.address
        self.run = node.run
        self.backlog = node.term.core.backlog

    def book(self) -> tuple[int, int, int, int]:
        """Return the numbers of messages that are sent, failed, leased and waiting."""
        backlog = self.backlog
        return backlog.sent, backlog.failed, backlog.leased, backlog.waiting

    def open_streams(self) -> int:
        """Return the number of streams that have sent a hello and have not ended."""
        streams = self.node.term.core.streams
        assert len(streams) >= len(self.backlog.holders)
        return len(streams)


class RunningMonitor(Running):
    """A running monitor, and its figures."""

    def __init__(self, node: Monitor) -> None:
        super().__init__(node.serve, asyncio.Event())
        self.node = node
        self.address = node.address

    def figures(self, run_id: str) -> Figures:
        """Return a run's figures at this moment, or its last ones if it has ended."""
        return self.node.runs.followed[run_id].snapshot(asyncio.get_running_loop().time()).figures

    def final(self, run_id: str) -> Figures:
        """Return the last figures of a run, which must have ended."""
        return self.last(run_id).figures

    def last(self, run_id: str) -> Snapshot:
        """Return the last snapshot of a run, which must have ended."""
        snapshot = self.node.runs.followed[run_id].final
        assert snapshot is not None
        return snapshot


class Stage:
    """Nodes in this process, each run as its command runs it. Leaving the stage ends those that still run."""

    def __init__(self, limits: Limits = BRIEF) -> None:
        self._limits = limits
        self._running: list[Running] = []
        self._channels: list[aio.Channel | Channels] = []
        self._proxies: list[Proxy] = []
        self._servers: list[aio.Server] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        for running in self._running:
            running.ended.cancel()
        await asyncio.gather(*(running.ended for running in self._running), return_exceptions=True)
        for server in self._servers:  # a node that has only just started does not serve yet
            await server.stop(None)
        for channel in self._channels:
            await channel.close()
        for proxy in self._proxies:
            await proxy.close()

    async def producer(self, count: int, **settings: Any) -> RunningProducer:
        """Start a producer of `count` messages; it listens on return."""
        node = Producer(
            ProducerSettings(**{"count": count, "seed": 7, "listen": FREE_ADDRESS, **settings}), self._limits
        )
        await node.start()
        self._servers.append(node._server)
        running = RunningProducer(node)
        self._running.append(running)
        return running

    async def monitor(self, **settings: Any) -> RunningMonitor:
        """Start a monitor; it listens on return."""
        node = Monitor(MonitorSettings(**{"interval_s": 0.05, "listen": FREE_ADDRESS, **settings}), self._limits)
        await node.start()
        self._servers.append(node._server)
        running = RunningMonitor(node)
        self._running.append(running)
        return running

    def sender(self, producer: str, name: str = "sender", **settings: Any) -> Running:
        """Start a sender with its own connections; it is fast unless the settings say otherwise."""
        made = SenderSettings(**{"mean_s": 0.002, "fail": 0.1, "producer": producer, **settings})
        channels, stop = Channels(access.load(made), self._limits), asyncio.Event()
        self._channels.append(channels)
        return self._keep(Running(lambda stop: Sender(made, name, channels, stop, limits=self._limits).serve(), stop))

    async def proxy(self, target: str) -> Proxy:
        """Start a proxy for this address, whose connections can be cut."""
        proxy = await Proxy.start(target)
        self._proxies.append(proxy)
        return proxy

    def channel(self, address: str, fresh: bool = False) -> aio.Channel:
        """Return a plain channel, such as any client may use; only fresh channels have a connection of their own."""
        channel = aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", int(fresh))])
        self._channels.append(channel)
        return channel

    def _keep(self, running: Running) -> Running:
        self._running.append(running)
        return running


def assert_exact(producer: RunningProducer, monitor: RunningMonitor) -> Figures:
    """Check that the run is complete and that all totals agree; return its last figures."""
    figures = monitor.final(producer.run.run_id)
    assert figures.sent + figures.failed == figures.total == producer.run.total
    assert producer.book() == (figures.sent, figures.failed, 0, 0)
    assert figures.attempts == figures.sent + figures.failed + figures.retried
    assert (figures.in_flight, figures.waiting, figures.complete, figures.final) == (0, 0, True, True)
    return figures


async def codes(*running: Running) -> list[int]:
    """Return the exit codes of nodes that end by themselves."""
    return [await one.code() for one in running]


# -- connections


class Proxy:
    """A proxy that passes bytes between clients and one server, and can stop doing so."""

    def __init__(self, target: str) -> None:
        self.address = ""
        self.connections = 0  # all so far, to the server or reset by a closed door
        self.delay_s = 0.0  # of each block of up to 64 KiB, both ways
        self.delayed = 0  # blocks delayed so far
        self._host, _, self._port = target.rpartition(":")
        self._asking, self._answering = asyncio.Event(), asyncio.Event()  # whether bytes pass, in each direction
        self.flow()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusing = False
        self._server: asyncio.Server | None = None

    @classmethod
    async def start(cls, target: str) -> Proxy:
        """Start a proxy that listens on a free port."""
        proxy = cls(target)
        proxy._server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        proxy.address = f"127.0.0.1:{proxy._server.sockets[0].getsockname()[1]}"
        return proxy

    def cut(self) -> None:
        """Reset every connection; new ones are served."""
        for writer in self._writers:
            writer.transport.abort()

    def close_door(self) -> None:
        """Reset every connection, and each new one."""
        self._refusing = True
        self.cut()

    def open_door(self) -> None:
        """Serve new connections again."""
        self._refusing = False

    def stall(self) -> None:
        """Hold back all bytes, both ways."""
        self._asking.clear()
        self._answering.clear()

    def stall_answers(self) -> None:
        """Hold back all bytes from the server."""
        self._answering.clear()

    def flow(self) -> None:
        """Pass on the bytes that were held back, and all that follow."""
        self._asking.set()
        self._answering.set()

    async def close(self) -> None:
        """Close the proxy and all its connections."""
        assert self._server is not None
        self._server.close()
        self.close_door()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            self.connections += 1
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection(self._host, int(self._port))
        except ConnectionError:  # the server has not started or has ended
            writer.transport.abort()
            return
        except asyncio.CancelledError:  # the scene is over
            writer.transport.abort()
            raise
        self.connections += 1
        if self._refusing:  # the door was closed during the wait
            writer.transport.abort()
            back.transport.abort()
            return
        self._writers |= {writer, back}
        for source, sink, flowing in ((reader, back, self._asking), (there, writer, self._answering)):
            task = asyncio.create_task(self._pump(source, sink, flowing))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, flowing: asyncio.Event) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                await flowing.wait()
                if self.delay_s:
                    self.delayed += 1
                    await asyncio.sleep(self.delay_s)
                sink.write(data)
                await sink.drain()
        self._writers.discard(sink)
        sink.transport.abort()


# -- raw clients


def a_sender(**fields: Any) -> run_pb2.Sender:
    """Return a valid sender, except for these fields."""
    sound = {
        "session_id": str(uuid.uuid4()),
        "name": "stranger",
        "mean_s": 0.1,
        "std_s": 0.03,
        "distribution": "gamma",
        "failure_rate": 0.1,
        "concurrency": 4,
    }
    return run_pb2.Sender(**{**sound, **fields})


def hello(sender: run_pb2.Sender | None = None, protocol: int = 1, **fields: Any) -> producer_pb2.FetchMessageRequest:
    """Return the first request of a stream."""
    greeting = producer_pb2.Hello(protocol=protocol, sender=sender or a_sender())
    return producer_pb2.FetchMessageRequest(hello=greeting, **fields)


def encoded(message: Any) -> bytes:
    """Return a message as bytes; bytes are returned as they are."""
    data: bytes = message if isinstance(message, bytes) else message.SerializeToString()
    return data


class Fetching:
    """A raw stream to a producer."""

    def __init__(self, channel: aio.Channel) -> None:
        fetch = channel.stream_stream(
            FETCH, request_serializer=encoded, response_deserializer=producer_pb2.FetchMessageResponse.FromString
        )
        self.call: aio.StreamStreamCall[Any, Any] = fetch()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.call.cancel()

    async def say(self, *requests: Any) -> None:
        """Write messages or raw bytes; those after the end of the stream are lost."""
        for request in requests:
            with contextlib.suppress(asyncio.InvalidStateError, aio.AioRpcError):
                await self.call.write(request)

    async def hear(self) -> producer_pb2.FetchMessageResponse:
        """Return the next response."""
        response = await self.call.read()
        assert isinstance(response, producer_pb2.FetchMessageResponse), await self.call.code()
        return response

    async def hear_of(self, field: str) -> producer_pb2.FetchMessageResponse:
        """Return the next response with this event: `offer`, `batch` or `end`."""
        while (response := await self.hear()).WhichOneof("event") != field:
            pass
        return response

    async def status(self) -> grpc.StatusCode:
        """Return the status that the stream ends with, ignoring all responses before."""
        try:
            while await self.call.read() is not aio.EOF:
                pass
        except aio.AioRpcError as error:
            return error.code()
        return await self.call.code()


async def report_status(channel: aio.Channel, request: Any) -> grpc.StatusCode:
    """Return the status of a monitor's answer to a message or raw bytes."""
    report = channel.unary_unary(
        REPORT, request_serializer=encoded, response_deserializer=monitor_pb2.ReportResultResponse.FromString
    )
    try:
        await report(request, timeout=SCENE_MAX_S)
    except aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def progress_of(
    channel: aio.Channel, run_id: str = "", interval_s: float = 0.05
) -> AsyncGenerator[monitor_pb2.Progress, None]:
    """Yield the progress that a watcher receives."""
    stub = monitor_pb2_grpc.MonitorServiceStub(channel)
    watch = stub.WatchProgress(monitor_pb2.WatchProgressRequest(run_id=run_id, interval_s=interval_s))
    try:
        async for response in watch:
            yield response.progress
    finally:
        watch.cancel()
