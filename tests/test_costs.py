"""Bounds on the cost of a message: frames, requests, reports, bytes and Python calls.

Costs are counted, not timed, so they don't depend on how busy the machine is. The first half drives the core and the
wire format under a simulated clock, where each count is the same every time. The second half runs the real nodes in
this process. A bound is at most 1.5 times what was measured when it was written; the bound on bytes leaves less room
than another column of four bytes takes.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count as counting
from types import FrameType
from typing import Any
from unittest import mock

import numpy as np
import pytest
from nodes_support import Stage, assert_exact, codes, play

from smssim.core import producer_events as events
from smssim.core.backlog import Backlog
from smssim.core.conditions import Conditions
from smssim.core.exchange import Request
from smssim.core.leaseholder import LeaseHolder
from smssim.core.message import Writer
from smssim.core.model import RunFacts, SenderFacts
from smssim.core.producer_stream import ProducerStream
from smssim.core.producing import ProducerRun
from smssim.core.queue import BATCH_ROWS_MAX
from smssim.core.sending import SenderProtocol
from smssim.core.stretches import Stretches
from smssim.core.tally import Tally
from smssim.net import wire
from smssim.settings import SenderSettings
from smssim.v1 import monitor_pb2, producer_pb2

DELAY_S = 0.0005  # from sending a request, response or report to its arrival
SATURATING = SenderSettings(mean_s=0.01, concurrency=50_000)
SMALL = SenderSettings(mean_s=0.5, concurrency=10)


@dataclass
class Client:
    """A sender and its stream to the producer."""

    sending: SenderProtocol
    proto: Any
    stream: ProducerStream
    wake: int = 0  # the number of its next wake-up, which replaces all earlier ones


@contextlib.contextmanager
def counted_calls(counts: Counter[str], within: str = "") -> Iterator[None]:
    """Count the calls of Python functions whose file name contains `within`."""

    def note(frame: FrameType, event: str, _: object) -> None:
        counts["calls"] += event == "call" and within in frame.f_code.co_filename

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)


class World:
    """A run of the core classes over the real wire format, without loss, on a simulated clock."""

    def __init__(self, total: int, settings: SenderSettings, copies: int = 1) -> None:
        self.now = 0.0
        self.counts: Counter[str] = Counter()
        self.run = RunFacts("00000000-0000-4000-8000-00000000abcd", 7, total, 1)
        self.producer = ProducerRun(self.run, 0.0)
        self._tick_at = math.inf
        self.backlog = self.producer.backlog
        self.writer = Writer(7, total)
        self.tally = Tally(self.run, 0.0)
        self.clients: list[Client] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = counting()
        conditions = Conditions(7, 1, settings.attempt_model)
        for number in range(copies):
            session_id = f"00000000-0000-4000-8000-{number:012d}"
            proto = wire.sender_to_proto(session_id, f"sender-{number}", settings)
            stream, _ = self.producer.join(wire.sender_from_proto(proto), settings.distribution, 0.0, 0.0)
            sending = SenderProtocol(conditions, settings.mean_s, settings.concurrency, 0.0)
            sending.stream_up(0.0)
            self.clients.append(Client(sending, proto, stream))
            self.after(number / copies, partial(self.work, self.clients[-1]))  # spread over a second
        self.carry_out([])

    def play(self, until_s: float = math.inf) -> None:
        """Play all events up to this time, or to the end."""
        while self._events and self._events[0][0] <= until_s:
            self.now, _, happen = heapq.heappop(self._events)
            happen()

    def cost(self, from_s: float = 0.0, to_s: float = math.inf) -> dict[str, float]:
        """Return the counts between these times, divided by the number of messages recorded between them."""
        self.play(from_s)
        self.counts.clear()
        before = self.tally.ledger.final
        with counted_calls(self.counts, "/smssim/"):
            self.play(to_s)
        recorded = self.tally.ledger.final - before
        return {what: count / recorded for what, count in self.counts.items()}

    def after(self, delay_s: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay_s, next(self._numbers), happen))

    def carry(self, kind: str, message: Any) -> None:
        """Count a message of the protocol that is sent."""
        self.counts[kind] += 1
        self.counts["bytes"] += message.ByteSize()

    # -- a sender, as in nodes/sender.py

    def work(self, client: Client) -> None:
        sending = client.sending
        sending.advance(self.now)
        while (request := sending.request(self.now)) is not None:
            message = wire.request_to_proto(request)
            self.carry("requests", message)
            self.after(DELAY_S, partial(self.apply, client, message))
        if (report := sending.report(self.now)) is not None:
            told = wire.report_to_proto(report, wire.run_to_proto(self.run), client.proto)
            self.carry("reports", told)
            self.after(DELAY_S, partial(self.record, client, told))
        client.wake += 1
        if not sending.done:
            self.after(sending.wake_at(self.now) - self.now, partial(self.awake, client, client.wake))

    def awake(self, client: Client, wake: int) -> None:
        if wake == client.wake:
            self.counts["wake-ups"] += 1
            self.work(client)

    def hear(self, client: Client, response: producer_pb2.FetchMessageResponse) -> None:
        delivery = wire.batch_from_proto(response.batch, self.run) if response.HasField("batch") else None
        end = wire.end_from_proto(response.end) if response.HasField("end") else None
        client.sending.on_response(self.now, response.settled, delivery, end)
        self.work(client)

    # -- the monitor

    def record(self, client: Client, message: monitor_pb2.ReportResultRequest) -> None:
        report = wire.report_from_proto(message, self.run)
        sender = message.sender
        answer = wire.answer_to_proto(
            self.tally.report(self.run, SenderFacts(sender.session_id, sender.name), report, self.now)
        )
        self.carry("answers", answer)
        self.after(DELAY_S, partial(self.acknowledge, client, answer))

    def acknowledge(self, client: Client, answer: monitor_pb2.ReportResultResponse) -> None:
        client.sending.acknowledge(wire.answer_from_proto(answer, self.run))
        self.work(client)

    # -- the producer

    def tick(self, due: float) -> None:
        if due == self._tick_at:
            self._tick_at = math.inf
            self.carry_out(self.producer.tick(self.now))

    def apply(self, client: Client, message: producer_pb2.FetchMessageRequest) -> None:
        self.carry_out(self.producer.apply(client.stream, wire.request_from_proto(message, self.run), self.now))

    def carry_out(self, happened: list[events.Event]) -> None:
        for event in happened:
            if isinstance(event, events.Write):
                self.write(self.clients[event.stream.holder.number])
            elif isinstance(event, events.Save):
                self.carry_out(self.producer.saved(self.now))
        due = max(self.now, self.producer.wake_at)
        if due < self._tick_at and not self.producer.left:
            self._tick_at = due
            self.after(due - self.now, partial(self.tick, due))

    def write(self, client: Client) -> None:
        while (said := self.producer.response(client.stream)) is not None:
            if said.batch is None:
                end = None if said.end is None else wire.end_to_proto(said.end)
                self.respond(client, producer_pb2.FetchMessageResponse(settled=said.settled, end=end))
                continue
            content = self.writer.content(said.batch.ids.view("u8"))
            queued_s = self.backlog.queued_s(said.batch.ids, self.now)
            data = wire.batch_to_bytes(said.batch, content, queued_s, self.now, said.settled)
            self.counts["frames"] += 1
            self.respond(client, producer_pb2.FetchMessageResponse.FromString(data))

    def respond(self, client: Client, response: producer_pb2.FetchMessageResponse) -> None:
        self.carry("responses", response)
        self.after(DELAY_S, partial(self.hear, client, response))


@pytest.fixture(scope="module")
def saturated() -> dict[str, float]:
    """Return the costs per message of one sender with 50,000 lanes of 10 ms.

    It sends two million messages, many times what it asks for ahead.
    """
    world = World(2_000_000, SATURATING)
    costs = world.cost()
    assert (world.tally.ledger.final, world.backlog.settled) == (2_000_000, 2_000_000)
    return costs


@pytest.fixture(scope="module")
def scattered() -> dict[str, float]:
    """Return the costs per message of 1,000 senders with 10 lanes of 0.5 s, over two seconds during their run."""
    world = World(200_000, SMALL, copies=1000)
    costs = world.cost(4.0, 6.0)
    assert world.tally.ledger.final > 80_000
    return costs


@pytest.mark.parametrize(
    ("what", "bound"),
    [("frames", 0.000_1), ("requests", 0.000_023), ("reports", 0.000_018), ("bytes", 106), ("calls", 0.0155)],
)
def test_the_cost_per_message_of_a_large_sender_is_within_its_bound(
    saturated: dict[str, float], what: str, bound: float
) -> None:
    assert 0 < saturated[what] <= bound


@pytest.mark.parametrize(
    ("what", "bound"),
    [("frames", 0.055), ("requests", 0.055), ("reports", 0.03), ("bytes", 102), ("calls", 14), ("wake-ups", 0.11)],
)
def test_the_cost_per_message_of_many_small_senders_is_within_its_bound(
    scattered: dict[str, float], what: str, bound: float
) -> None:
    assert 0 < scattered[what] <= bound


# -- waiting messages cost nothing

LOST: dict[str, int] = {"few": 5_000, "a million": 1_000_000}  # how many messages the lost sender held
HOW = ["in a row", "every other one", "half of them settled since", "handed back"]


def with_returned(count: int, how: str) -> Backlog:
    """Return a backlog in which `count` messages of a large sender wait to be delivered again, as in `how`."""
    backlog = Backlog(2 * count + 1_000_000)
    spread = 2 * count if how in ("every other one", "half of them settled since") else count
    large = holder_of(backlog, "large", spread)
    other = np.arange(1, spread, 2)
    final = np.ones(len(other), np.uint8)
    if how == "every other one":
        backlog.settle(other, final, final, 0.0)
    if how == "handed back":
        backlog.hand_back(large, np.arange(count), 0.0)
    backlog.lose(large)
    assert backlog.waiting == backlog.total - backlog.settled
    if how == "half of them settled since":
        backlog.settle(other, final, final, 0.0)
    return backlog


def holder_of(backlog: Backlog, name: str, count: int) -> LeaseHolder:
    """Add a sender and lease `count` messages to it."""
    holder = backlog.join(name, 1.0, count, 0.0)
    holder.ask(count, count, 0)
    backlog.grant(holder, 0.0)
    assert holder.leased == count
    return holder


@contextlib.contextmanager
def counted_work(counts: Counter[str]) -> Iterator[None]:
    """Count the messages whose state is looked up, the calls of smssim's functions and the peak of memory in bytes."""
    look_up = Stretches.open

    def noted(self: Stretches, ids: Any) -> Any:
        counts["looked up"] += len(ids)
        return look_up(self, ids)

    tracemalloc.start()
    try:
        with mock.patch.object(Stretches, "open", noted), counted_calls(counts, "/smssim/"):
            yield
        counts["bytes"] = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", LOST)
@pytest.mark.parametrize("how", HOW)
def test_the_cost_of_a_grant_depends_on_its_size_and_not_on_how_many_messages_await_redelivery(
    how: str, size: str
) -> None:
    backlog = with_returned(LOST[size], how)
    small = [backlog.join(f"small-{i}", 0.1, 10, 0.0) for i in range(100)]
    costs, granted = Counter[str](), 0
    with counted_work(costs):
        for holder in small:
            holder.ask(20, 10, 0)
            granted += sum(len(batch.ids) for batch in backlog.grant(holder, 0.0))
    assert granted == 20 * len(small)
    assert costs["looked up"] <= 5 * granted
    assert costs["calls"] <= 45 * len(small)
    assert costs["bytes"] <= 10 * BATCH_ROWS_MAX


@pytest.mark.parametrize("size", LOST)
def test_the_cost_of_a_request_does_not_depend_on_how_many_messages_await_redelivery(size: str) -> None:
    backlog = with_returned(LOST[size], "in a row")
    holder = backlog.join("small", 0.1, 10, 0.0)
    serving = ProducerStream(backlog, holder)
    costs = Counter[str]()
    with counted_work(costs):
        serving.apply(Request(), 0.0)
        assert serving.lease(0.0) == []
        assert not serving.concerns_others(0.0)
        assert serving.response(None) is None
    assert costs["looked up"] == 0
    assert costs["calls"] <= 30
    assert costs["bytes"] <= 5_000


@pytest.mark.parametrize("size", LOST)
def test_the_cost_of_losing_a_small_sender_does_not_depend_on_what_a_large_one_holds(size: str) -> None:
    backlog = Backlog(10_000_000)
    holder_of(backlog, "large", LOST[size])
    small = [holder_of(backlog, f"small-{i}", 20) for i in range(100)]
    costs = Counter[str]()
    with counted_work(costs):
        for holder in small:
            backlog.lose(holder)
            backlog.readied  # noqa: B018 - queues its messages again
    assert backlog.leased == LOST[size]
    assert costs["calls"] <= 50 * len(small)
    assert costs["bytes"] <= 2 * BATCH_ROWS_MAX


def test_the_live_nodes_and_grpc_make_far_fewer_python_calls_than_there_are_messages() -> None:
    total, counts = 300_000, Counter[str]()

    async def scene() -> None:
        async with Stage() as stage:
            monitor = await stage.monitor()
            producer = await stage.producer(total, monitor=monitor.address)
            sender = stage.sender(producer.address, mean_s=SATURATING.mean_s, concurrency=SATURATING.concurrency)
            with counted_calls(counts):
                await codes(producer, monitor, sender)
            assert_exact(producer, monitor)

    play(scene())
    assert 0 < counts["calls"] <= 0.2 * total
