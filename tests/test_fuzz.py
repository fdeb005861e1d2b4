"""Anything at all, said to live servers: no internal error, no change of the count, nothing that stays behind.

The same examples each time. Each is a few requests to a producer and a monitor that serve throughout, with a real
message counted before; at the end they serve a whole run.
"""

from __future__ import annotations

import asyncio
import gc
import uuid
from collections.abc import Callable
from typing import Any, Final

import pytest
from grpc import StatusCode, aio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nodes_support import FETCH, REPORT, Fetching, Stage, a_sender, assert_exact, codes, encoded, hello, running, until

from smssim.core.limits import LIMITS
from smssim.v1 import monitor_pb2, producer_pb2, run_pb2

pytestmark = pytest.mark.usefixtures("quiet")

TOTAL: Final = 100
EXAMPLES: Final = 150  # of each test
WATCH: Final = "/smssim.v1.MonitorService/WatchProgress"
REFLECT: Final = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
CHECK: Final = "/grpc.health.v1.Health/Check"
METHODS: Final = (FETCH, REPORT, WATCH, REFLECT, CHECK, "/smssim.v1.Nothing/At")
BUG: Final = StatusCode.UNKNOWN  # as which an exception shows that nobody expected

_fuzz = settings(
    max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


# -- requests that are almost right

WORDS: Final = st.sampled_from([0, 1, 2, 5, TOTAL - 1, TOTAL, 2**16, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1])
SMALL: Final = st.sampled_from([0, 1, 2, 255, 256, 2**32 - 1])
REALS: Final = st.sampled_from([0.0, -0.0, 0.5, 1.0, -1.0, 1e-300, 1e38, 1e308, float("inf"), float("nan")])
TEXTS: Final = st.sampled_from(["", "x", "x" * 65, "\x1b[2J", "\u202e\u00e9", str(uuid.UUID(int=7)), "gamma"])
COLUMNS: Final = st.binary(max_size=48) | st.lists(WORDS, max_size=6).map(
    lambda words: b"".join(word.to_bytes(8, "little") for word in words)
)


def messages(kind: Any) -> st.SearchStrategy[Any]:
    """Messages of this kind with any of their fields set, each to something that breaks code."""

    def of(field: Any) -> st.SearchStrategy[Any]:
        if field.message_type is not None:
            return messages(field.message_type._concrete_class)
        texts = {field.TYPE_STRING: TEXTS, field.TYPE_BYTES: COLUMNS}
        others = {field.TYPE_DOUBLE: REALS, field.TYPE_UINT32: SMALL, field.TYPE_BOOL: st.booleans()}
        return {**texts, **others}.get(field.type, WORDS)

    optional = {field.name: of(field) for field in kind.DESCRIPTOR.fields}
    return st.fixed_dictionaries({}, optional=optional).map(lambda values: kind(**values))


def merged(sound: Any, odd: Any) -> Any:
    """A sound message, but for what the odd one says."""
    both = type(sound)()
    both.CopyFrom(sound)
    both.MergeFrom(odd)
    return both


@st.composite
def mutated(draw: Any, sound: Any) -> bytes:
    """The bytes of a sound message with a few of them changed, cut or repeated."""
    data = bytearray(sound.SerializeToString())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        way = draw(st.sampled_from(["flip", "cut", "repeat"]))
        if way == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif way == "cut":
            del data[at : at + draw(st.integers(1, 8))]
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 8))]
    return bytes(data)


STRANGER: Final = a_sender(session_id=str(uuid.UUID(int=3)))
RUN: Final = run_pb2.Run(run_id=str(uuid.UUID(int=9)), seed=7, total=TOTAL, max_attempts=1)
HELLO: Final = hello(STRANGER, credit=3, idle_lanes=3)
KEPT: Final = monitor_pb2.ReportResultRequest(  # what is on record before, and is to stay so
    run=RUN,
    sender=a_sender(session_id=str(uuid.UUID(int=1)), name="real"),
    sequence=1,
    message_ids=bytes(8),
    outcomes=b"\1",
    attempts=b"\1",
    durations_s=bytes(4),
    latencies_s=bytes(4),
    elapsed_s=0.5,
)

Fetch = producer_pb2.FetchMessageRequest
ANYTHING: Final = st.binary(max_size=200)
FETCHES: Final = st.lists(
    st.one_of(ANYTHING, messages(Fetch), mutated(HELLO), messages(Fetch).map(lambda odd: merged(HELLO, odd))),
    min_size=1,
    max_size=4,
)
LATER: Final = st.one_of(ANYTHING, messages(Fetch))
REPORTS: Final = st.one_of(ANYTHING, messages(monitor_pb2.ReportResultRequest), mutated(KEPT))


# -- a server for all examples of a test


class World:
    """A loop of its own, a producer and a monitor that have counted one message, and a stranger's way to both."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.stage = Stage()
        self.do(self._open())

    def do(self, scene: Any) -> Any:
        async def within() -> Any:
            async with asyncio.timeout(20):
                return await scene

        return self.runner.run(within())

    async def _open(self) -> None:
        self.monitor = await self.stage.monitor(linger=True)
        self.producer = await self.stage.producer(TOTAL, monitor=self.monitor.address)
        self.to_producer = self.stage.channel(self.producer.address)
        self.to_monitor = self.stage.channel(self.monitor.address)
        assert await self.status(self.to_monitor, REPORT, encoded(KEPT)) == StatusCode.OK

    async def status(self, channel: aio.Channel, method: str, *requests: Any) -> StatusCode:
        """How these requests are answered, as a stream that then ends; all answers are taken in, within reason."""
        call: Any = channel.stream_stream(method, request_serializer=encoded)()
        try:
            for request in requests:
                await call.write(request)
            await call.done_writing()
            for _ in range(50):
                if await call.read() is aio.EOF:
                    break
            else:
                return StatusCode.OK  # it goes on
            return StatusCode(await call.code())
        except asyncio.InvalidStateError:
            return StatusCode(await call.code())
        except aio.AioRpcError as error:
            return error.code()
        finally:
            call.cancel()

    def counted(self) -> tuple[int, ...]:
        """All that strangers must not change."""
        return (*self.ledger(), *self.producer.book())

    def ledger(self) -> tuple[int, ...]:
        """Sent, failed, retried and duplicates of the run that was there before."""
        ledger = self.monitor.node.runs.followed[RUN.run_id].tally.ledger
        return ledger.sent, ledger.failed, ledger.retried, ledger.duplicates

    def state(self) -> tuple[int, ...]:
        """How much there is of what could grow."""
        node, backlog = self.producer.node, self.producer.backlog
        sessions = len(self.monitor.node.runs.followed[RUN.run_id].tally.sessions)
        streams = (len(node._streams), len(backlog.holders), len(backlog.holders._with_credit))
        return (*streams, sessions, len(self.monitor.node.audience.watchers))

    async def close(self) -> None:
        """A whole run after all that: the servers are as good as new."""
        sender = self.stage.sender(self.producer.address)
        assert await codes(self.producer, sender) == [0, 0]
        await until(lambda: self.monitor.node.runs.followed[self.producer.run.run_id].final)
        assert_exact(self.producer, self.monitor)
        await self.stage.__aexit__()
        await until(lambda: running() == 1)


@pytest.fixture
def world(caplog: pytest.LogCaptureFixture) -> Any:
    made = World()
    with made.runner:
        yield made
        made.do(made.close())
    assert all(message.isprintable() for message in caplog.messages)


def unharmed(world: World, attack: Callable[[Any], Any]) -> Callable[[Any], None]:
    """Holds that this attack, whatever it is given, changes neither the count nor the state."""
    counted, state = world.counted(), world.state()

    async def scene(given: Any) -> None:
        await attack(given)
        await until(lambda: world.state() == state)
        assert world.counted() == counted

    return lambda given: world.do(scene(given))


def test_the_producer_stands_whatever_it_is_told(world: World) -> None:
    seen: set[StatusCode] = set()

    async def tell(requests: list[Any]) -> None:
        status = await world.status(world.to_producer, FETCH, *requests)
        assert status != BUG
        seen.add(status)

    attack = unharmed(world, tell)
    _fuzz(given(FETCHES)(attack))()
    assert {StatusCode.OK, StatusCode.INVALID_ARGUMENT} <= seen


def test_a_stream_that_was_welcome_stands_whatever_comes_next(world: World) -> None:
    seen: set[str] = set()

    async def tell(request: Any) -> None:
        async with Fetching(world.to_producer) as stranger:
            await stranger.say(HELLO)
            await stranger.hear_of("offer")
            settlements = getattr(request, "settlements", None)
            if settlements is None or not settlements.message_ids:  # a settlement may be true
                await stranger.say(request)
                seen.add(type(request).__name__)

    _fuzz(given(LATER)(unharmed(world, tell)))()
    assert len(seen) == 2


def test_the_monitor_stands_whatever_it_is_told(world: World) -> None:
    seen: set[StatusCode] = set()

    async def tell(request: Any) -> None:
        status = await world.status(world.to_monitor, REPORT, request)
        assert status != BUG
        seen.add(status)

    _fuzz(given(REPORTS)(lambda request: world.do(tell(request))))()
    assert {StatusCode.OK, StatusCode.INVALID_ARGUMENT} <= seen  # some are true reports, which count
    assert sum(world.ledger()[:2]) <= TOTAL
    assert world.ledger()[0] >= 1
    assert len(world.monitor.node.runs.followed) <= LIMITS.runs_max


def test_every_method_stands_any_bytes(world: World) -> None:
    seen: set[StatusCode] = set()

    async def tell(told: tuple[str, bytes]) -> None:
        for channel in (world.to_producer, world.to_monitor):
            status = await world.status(channel, *told)
            assert status != BUG
            seen.add(status)

    _fuzz(given(st.tuples(st.sampled_from(METHODS), ANYTHING))(unharmed(world, tell)))()
    assert {StatusCode.OK, StatusCode.INVALID_ARGUMENT, StatusCode.UNIMPLEMENTED} <= seen


def test_nothing_of_strangers_stays_in_memory(world: World) -> None:
    def objects() -> int:
        gc.collect()
        ours = ("smssim", "grpc", "asyncio", "_asyncio")
        return sum(str(type(one).__module__).startswith(ours) for one in gc.get_objects())

    async def loop(times: int) -> None:
        for _ in range(times):
            await world.status(world.to_producer, FETCH, HELLO, b"\xff", HELLO)
            await world.status(world.to_producer, FETCH, HELLO)
            await world.status(world.to_monitor, WATCH, b"\xff")

    async def scene() -> None:
        await loop(20)
        before = objects()
        await loop(200)
        await until(lambda: objects() < before + 50)  # one for each round would be more

    world.do(scene())
