"""One sender in one run: moves requests, batches and reports between gRPC and the core, which decides.

Knows the calls to a producer and a monitor. Must not know which run comes next, or other senders.
"""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import Any

import grpc
from grpc import aio

from smssim.core.conditions import Conditions
from smssim.core.exchange import Report, RunOffer
from smssim.core.limits import Limits
from smssim.core.model import StartLimit
from smssim.core.sender_run import SenderEnd, SenderRun
from smssim.core.sending import SenderProtocol
from smssim.net import grpc_quirks, rpc, wire
from smssim.net.connecting import Channels, Stream, open_stream
from smssim.net.reconnecting import Peer
from smssim.outputs.terminal.each import EachMessage
from smssim.process import ready, waiting
from smssim.process.logs import Log
from smssim.settings import SenderSettings
from smssim.v1 import monitor_pb2_grpc, producer_pb2
from smssim.words import count, plural


class RunClient:
    """The connections of one sender in one run: its stream to the producer, and its reports to the monitor."""

    def __init__(
        self,
        settings: SenderSettings,
        sender: Any,
        offer: RunOffer,
        producer: Peer,
        channels: Channels,
        log: Log,
        each: EachMessage | None,
        limits: Limits,
    ) -> None:
        """Connect to the monitor; raises UsageError if the token may not be sent there.

        `sender`: a `run_pb2.Sender`.
        """
        self._settings = settings
        self._sender = sender
        self._facts = facts = offer.run
        self._text = offer.text
        self._producer = producer
        self._monitor = Peer("monitor", offer.monitor, channels.access, settings.give_up_s, log, limits)
        self._reports = monitor_pb2_grpc.MonitorServiceStub(channels.to(self._monitor))
        self._channels = channels
        self._log = log
        self._each = each
        self._has_received = False  # whether it was ever given a message
        self._limits = limits
        self._clock = asyncio.get_running_loop().time
        self._tick = waiting.Wakeup()  # rung when something has changed
        self._requests = waiting.Wakeup()  # rung when a request may be due
        self._outbox = waiting.Wakeup()  # rung when a report may be due
        conditions = Conditions(
            facts.seed, facts.max_attempts, settings.attempt_model, settings.faults, facts.unreachable
        )
        now, limit = self._clock(), StartLimit.of(settings.limit_per_s, settings.burst, facts.segments)
        self._protocol = SenderProtocol(conditions, settings.mean_s, settings.concurrency, now, limits, limit)
        if each is not None:
            name = str(sender.name)
            self._protocol.on_finished = lambda some, now: each.finished(name, some, log, now)
        peers = producer.reconnector, self._monitor.reconnector
        self.run = SenderRun(facts.run_id, self._protocol, *peers, now, limits)

    async def take_part(self, stream: Stream, stop: asyncio.Event) -> SenderEnd:
        """Take part in the run to its end, or until drained; raises SmssimError."""
        await waiting.first_of(
            self._keep_time(),
            waiting.forever(self._follow_producer(stream)),
            waiting.forever(self._follow_monitor()),
            waiting.forever(self._drain_on(stop)),
        )
        if self._each is not None:
            self._each.log_left_out(self._log, self._clock(), at_last=True)
        end = self.run.end
        assert end is not None
        return end

    async def _keep_time(self) -> None:
        """Advance the lanes until the run has ended, and wake the tasks that send requests and reports."""
        protocol = self._protocol
        while self.run.end is None:
            now = self._clock()
            protocol.advance(now)
            if protocol.has_request(now):
                self._requests.ring()
            if protocol.has_report(now):
                self._outbox.ring()
            await self._tick.wait(protocol.wake_at(now))

    async def _drain_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        to_finish, handed_back = self.run.drain(self._clock())
        self._log.info("Draining: %s to finish, %s handed back", plural(to_finish, "message"), count(handed_back))
        self._tick.ring()

    # -- the producer

    async def _follow_producer(self, stream: Stream | None) -> None:
        """Keep a stream to the producer open for as long as one is needed; raises PeerError."""
        while stream is not None:
            try:
                await self._use(stream)
                stream = None
            except aio.AioRpcError as error:
                stream = await self._reopen(error)
        self._tick.ring()

    async def _reopen(self, error: aio.AioRpcError) -> Stream | None:
        """Return a new stream to the producer of this run; None if none is needed any more."""
        while True:
            retry = self.run.on_producer_lost(await self._producer.loss(error), self._clock())
            if retry is None:
                return None
            await self._producer.wait(retry)
            try:
                stream, offer = await open_stream(self._channels, self._producer, self._sender, self._limits)
            except aio.AioRpcError as again:
                error = again
                continue
            notice = self.run.on_offer(offer.run.run_id, self._clock())
            if notice is None:
                stream.cancel()
                return None
            self._text = offer.text
            self._producer.log_notice(notice)
            return stream

    async def _use(self, stream: Stream) -> None:
        """Write and read an open stream until it ends; raises AioRpcError or PeerError."""
        self._tick.ring()
        try:
            with rpc.naming(self._producer.name):
                await waiting.first_of(self._write(stream), self._read(stream))
            await stream.done_writing()
        finally:
            self.run.on_stream_lost(self._clock())
            stream.cancel()

    async def _write(self, stream: Stream) -> None:
        while True:
            request = self._protocol.request(self._clock())
            if request is None:
                await self._requests.wait(math.inf)
                continue
            try:
                await stream.write(wire.request_to_proto(request))
            except grpc_quirks.WRITE_AFTER_END:
                await asyncio.Event().wait()  # the stream has ended: reading raises the reason

    async def _read(self, stream: Stream) -> None:
        """Read until the run has ended; raises AioRpcError if the stream ends before that, or PeerError."""
        while isinstance(read := await stream.read(), producer_pb2.FetchMessageResponse | None):
            response = rpc.decoded(read, "response")
            event, now = response.WhichOneof("event"), self._clock()
            batch, has_texts = response.batch, not self._text
            delivery = wire.batch_from_proto(batch, self._facts, has_texts) if event == "batch" else None
            end = wire.end_from_proto(response.end) if event == "end" else None
            self.run.on_response(now, response.settled, delivery, end)
            if delivery is not None:
                if not self._has_received:
                    self._has_received = True
                    ready.announce("received", name=str(self._sender.name))
                self._log.debug("Received a batch (messages: %d, attempt: %d)", len(delivery.ids), delivery.attempt)
                if self._each is not None:
                    name, texts = str(self._sender.name), partial(wire.texts_of, batch, text=self._text)
                    self._each.arrived(name, delivery.ids, texts, now)
            self._tick.ring()
            if end is not None:
                return
        if not self._protocol.ended:
            raise aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, aio.Metadata(), aio.Metadata(), "the stream ended")

    # -- the monitor

    async def _follow_monitor(self) -> None:
        """Send reports as they become due; raises PeerError."""
        while True:
            report = self._protocol.report(self._clock())
            if report is None:
                await self._outbox.wait(math.inf)
            else:
                await self._deliver(report)
                self._tick.ring()

    async def _deliver(self, report: Report) -> None:
        """Send a report until it is answered or no longer needed; raises PeerError."""
        request = wire.report_to_proto(report, wire.run_to_proto(self._facts), self._sender)
        while True:
            shown = self._channels.access.metadata
            try:
                answer = await self._reports.ReportResult(
                    request, timeout=self._limits.report_timeout_s, metadata=shown
                )
            except aio.AioRpcError as error:
                retry = self.run.on_report_failed(await self._monitor.loss(error), self._clock())
                if retry is None:
                    return
                await self._monitor.wait(retry)
                self._reports = monitor_pb2_grpc.MonitorServiceStub(self._channels.to(self._monitor))
                continue
            with rpc.naming(self._monitor.name):
                taken = wire.answer_from_proto(rpc.decoded(answer, "response"), self._facts)
            self._monitor.log_notice(self.run.on_answer(taken, self._clock()))
            self._log.debug("Report %d recorded (outcomes: %d)", report.sequence, len(report.finished))
            return
