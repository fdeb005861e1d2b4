"""A whole run of the core classes over the real wire format, without loss, on a simulated clock."""

from __future__ import annotations

import contextlib
import heapq
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count as counting
from types import FrameType
from typing import Any

from smssim.core import producer_events as events
from smssim.core.conditions import Conditions
from smssim.core.message import Writer
from smssim.core.model import RunFacts, SenderFacts, StartLimit
from smssim.core.producer_stream import ProducerStream
from smssim.core.producing import ProducerRun
from smssim.core.sending import SenderProtocol
from smssim.core.tally import Tally
from smssim.net import wire
from smssim.settings import SenderSettings
from smssim.v1 import monitor_pb2, producer_pb2

DELAY_S = 0.0005  # from sending a request, response or report to its arrival


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

    def __init__(self, total: int, *settings: SenderSettings, copies: int = 1) -> None:
        """Start a run with senders that have these settings, and this many copies of each."""
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
        conditions = {some: Conditions(7, 1, some.attempt_model) for some in settings}
        for number, some in enumerate(settings * copies):
            session_id = f"00000000-0000-4000-8000-{number:012d}"
            proto = wire.sender_to_proto(session_id, f"sender-{number}", some)
            stream, _ = self.producer.join(wire.sender_from_proto(proto), some.distribution, 0.0, 0.0)
            limit = StartLimit.of(some.limit_per_s, some.burst, self.run.segments)
            sending = SenderProtocol(conditions[some], some.mean_s, some.concurrency, 0.0, limit=limit)
            sending.stream_up(0.0)
            self.clients.append(Client(sending, proto, stream))
            self.after(number / (len(settings) * copies), partial(self.work, self.clients[-1]))  # spread over a second
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
