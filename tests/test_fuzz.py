"""Arbitrary requests to live servers: no internal error, no change of the count, and nothing left in memory.

The examples are the same each time. Each consists of a few requests to a producer and a monitor that keep serving and
have counted one real message before. At the end they serve a whole run.
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
from view_support import planned

from smssim.core.limits import LIMITS
from smssim.net.planning import plan_from_proto, plan_to_proto
from smssim.v1 import monitor_pb2, producer_pb2, run_pb2

pytestmark = pytest.mark.usefixtures("quiet")

TOTAL: Final = 100
EXAMPLES: Final = 150  # of each test
WATCH: Final = "/smssim.v1.MonitorService/WatchProgress"
REFLECT: Final = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
CHECK: Final = "/grpc.health.v1.Health/Check"
ANNOUNCE: Final = "/smssim.v1.MonitorService/AnnounceEvent"
PLAN: Final = "/smssim.v1.MonitorService/AnnouncePlan"
METHODS: Final = (FETCH, REPORT, WATCH, ANNOUNCE, PLAN, REFLECT, CHECK, "/smssim.v1.Nothing/At")
BUG: Final = StatusCode.UNKNOWN  # the status of an unexpected exception

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
    """Return messages of this kind with any of their fields set to values that may break code."""

    def of(field: Any) -> st.SearchStrategy[Any]:
        if field.message_type is not None:
            return messages(field.message_type._concrete_class)
        texts = {field.TYPE_STRING: TEXTS, field.TYPE_BYTES: COLUMNS}
        others = {field.TYPE_DOUBLE: REALS, field.TYPE_UINT32: SMALL, field.TYPE_BOOL: st.booleans()}
        others[field.TYPE_ENUM] = st.integers(0, 20)
        return {**texts, **others}.get(field.type, WORDS)

    optional = {
        field.name: st.lists(of(field), max_size=5) if field.is_repeated else of(field)
        for field in kind.DESCRIPTOR.fields
    }
    return st.fixed_dictionaries({}, optional=optional).map(lambda values: kind(**values))


def merged(sound: Any, odd: Any) -> Any:
    """Return a valid message, with the fields of an odd one in place of its own."""
    both = type(sound)()
    both.CopyFrom(sound)
    both.MergeFrom(odd)
    return both


@st.composite
def mutated(draw: Any, sound: Any) -> bytes:
    """Return the bytes of a valid message with a few of them changed, cut or repeated."""
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
KEPT: Final = monitor_pb2.ReportResultRequest(  # recorded before, and must stay so
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
KILLED: Final = monitor_pb2.AnnounceEventRequest(
    run_id=RUN.run_id,
    event=monitor_pb2.Event(at_s=1.5, kind=monitor_pb2.EVENT_KIND_KILLED, target="city", text="city killed"),
)
EVENTS: Final = st.one_of(ANYTHING, messages(monitor_pb2.AnnounceEventRequest), mutated(KILLED))
PLANNED: Final = monitor_pb2.AnnouncePlanRequest(run_id=RUN.run_id, plan=plan_to_proto(planned()))
PLANS: Final = st.one_of(ANYTHING, messages(monitor_pb2.AnnouncePlanRequest), mutated(PLANNED))
REPORTS: Final = st.one_of(ANYTHING, messages(monitor_pb2.ReportResultRequest), mutated(KEPT))


# -- one pair of servers for all examples of a test


class World:
    """A producer and a monitor on their own loop, with one message counted, and channels of an unknown client."""

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
        """Send requests on a stream and end it; return the status. Reads all answers, up to a limit."""
        call: Any = channel.stream_stream(method, request_serializer=encoded)()
        try:
            for request in requests:
                await call.write(request)
            await call.done_writing()
            for _ in range(50):
                if await call.read() is aio.EOF:
                    break
            else:
                return StatusCode.OK  # there are still more answers
            return StatusCode(await call.code())
        except asyncio.InvalidStateError:
            return StatusCode(await call.code())
        except aio.AioRpcError as error:
            return error.code()
        finally:
            call.cancel()

    def counted(self) -> tuple[int, ...]:
        """Return everything that unknown clients must not change."""
        return (*self.ledger(), *self.producer.book())

    def ledger(self) -> tuple[int, ...]:
        """Return sent, failed, retried and duplicates of the run that was recorded before."""
        ledger = self.monitor.node.runs.followed[RUN.run_id].tally.ledger
        return ledger.sent, ledger.failed, ledger.retried, ledger.duplicates

    def state(self) -> tuple[int, ...]:
        """Return the sizes of everything that may grow."""
        node, backlog = self.producer.node, self.producer.backlog
        sessions = len(self.monitor.node.runs.followed[RUN.run_id].tally.sessions)
        streams = (len(node.term.core.streams), len(backlog.holders), len(backlog.holders._with_credit))
        return (*streams, sessions, len(self.monitor.node.audience.watchers))

    async def close(self) -> None:
        """Complete a whole run, which shows that the servers still work, and end them."""
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
    """Return the attack with a check that it changes neither the count nor the state."""
    counted, state = world.counted(), world.state()

    async def scene(given: Any) -> None:
        await attack(given)
        await until(lambda: world.state() == state)
        assert world.counted() == counted

    return lambda given: world.do(scene(given))


def test_the_producer_survives_arbitrary_requests(world: World) -> None:
    seen: set[StatusCode] = set()

    async def tell(requests: list[Any]) -> None:
        status = await world.status(world.to_producer, FETCH, *requests)
        assert status != BUG
        seen.add(status)

    attack = unharmed(world, tell)
    _fuzz(given(FETCHES)(attack))()
    assert {StatusCode.OK, StatusCode.INVALID_ARGUMENT} <= seen


def test_the_producer_survives_arbitrary_requests_after_a_valid_hello(world: World) -> None:
    seen: set[str] = set()

    async def tell(request: Any) -> None:
        async with Fetching(world.to_producer) as stranger:
            await stranger.say(HELLO)
            await stranger.hear_of("offer")
            settlements = getattr(request, "settlements", None)
            if settlements is None or not settlements.message_ids:  # a settlement may be valid
                await stranger.say(request)
                seen.add(type(request).__name__)

    _fuzz(given(LATER)(unharmed(world, tell)))()
    assert len(seen) == 2


def test_the_monitor_survives_arbitrary_reports(world: World) -> None:
    seen: set[StatusCode] = set()

    async def tell(request: Any) -> None:
        status = await world.status(world.to_monitor, REPORT, request)
        assert status != BUG
        seen.add(status)

    _fuzz(given(REPORTS)(lambda request: world.do(tell(request))))()
    assert {StatusCode.OK, StatusCode.INVALID_ARGUMENT} <= seen  # some reports are valid and count
    assert sum(world.ledger()[:2]) <= TOTAL
    assert world.ledger()[0] >= 1
    assert len(world.monitor.node.runs.followed) <= LIMITS.runs_max


def test_the_monitor_survives_arbitrary_events(world: World) -> None:
    seen: set[StatusCode] = set()

    async def tell(request: Any) -> None:
        status = await world.status(world.to_monitor, ANNOUNCE, request)
        assert status != BUG
        seen.add(status)

    _fuzz(given(EVENTS)(unharmed(world, tell)))()
    assert {StatusCode.OK, StatusCode.INVALID_ARGUMENT, StatusCode.UNAVAILABLE} <= seen
    for event in world.monitor.node.runs.followed[RUN.run_id].tally.events.all:
        assert event.text.isprintable()


def test_the_monitor_survives_arbitrary_plans(world: World) -> None:
    seen: set[StatusCode] = set()

    async def tell(request: Any) -> None:
        status = await world.status(world.to_monitor, PLAN, request)
        assert status != BUG
        seen.add(status)

    _fuzz(given(PLANS)(unharmed(world, tell)))()
    assert {StatusCode.OK, StatusCode.INVALID_ARGUMENT, StatusCode.UNAVAILABLE} <= seen
    plan = world.monitor.node.runs.followed[RUN.run_id].tally.plan.course
    assert plan is not None
    assert plan_from_proto(plan_to_proto(plan)) == plan


def test_every_method_survives_arbitrary_bytes(world: World) -> None:
    seen: set[StatusCode] = set()

    async def tell(told: tuple[str, bytes]) -> None:
        for channel in (world.to_producer, world.to_monitor):
            status = await world.status(channel, *told)
            assert status != BUG
            seen.add(status)

    _fuzz(given(st.tuples(st.sampled_from(METHODS), ANYTHING))(unharmed(world, tell)))()
    assert {StatusCode.OK, StatusCode.INVALID_ARGUMENT, StatusCode.UNIMPLEMENTED} <= seen


def test_requests_of_unknown_clients_leave_nothing_in_memory(world: World) -> None:
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
        await until(lambda: objects() < before + 50)  # one object per round is more

    world.do(scene())
