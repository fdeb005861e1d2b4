"""One producer while it owns its run: moves requests and batches between gRPC, the log and `ProducerRun`.

Must not know how a run is taken, or other nodes, apart from the addresses of the monitor.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import asdict
from typing import Any

from grpc import StatusCode, aio

from smssim.core import producer_events as events
from smssim.core.event import takeover
from smssim.core.exchange import Request, RunOffer
from smssim.core.limits import LIMITS, Limits
from smssim.core.message import Writer
from smssim.core.pieces import Changes
from smssim.core.producer_stream import ProducerStream, Response
from smssim.core.producing import ProducerRun
from smssim.errors import PeerError
from smssim.journal.group_commit import GroupCommit
from smssim.journal.run_piece import about_run, new_run, run_facts, run_from, run_piece
from smssim.net import rpc, wire
from smssim.net.access import Access
from smssim.net.announcing import announce
from smssim.nodes import producer_log
from smssim.nodes.keeping import Ownership
from smssim.outputs import metrics
from smssim.process import ready, waiting
from smssim.process.logs import Log
from smssim.settings import ProducerSettings
from smssim.v1 import producer_pb2
from smssim.words import count, plural

Requests = AsyncIterator[producer_pb2.FetchMessageRequest | None]
Encoded = Any  # a FetchMessageResponse, or the bytes of one
Context = aio.ServicerContext[Any, Any]


class ProducerTerm:
    """A producer of one run, from when it takes the run to the end, or until another one takes over."""

    def __init__(
        self, settings: ProducerSettings, own: Ownership, its_access: Access, log: Log, limits: Limits = LIMITS
    ) -> None:
        """Continue the run on record, or begin one. Raises UsageError or the error of a damaged log."""
        if own.resumes and own.log is not None:
            with own.restoring():
                run_id, settings = run_from(own.taken.pieces, own.log.name, settings)
        else:
            run_id, settings = new_run(settings)
        assert settings.seed is not None
        if own.log is not None:
            own.log.about = about_run(settings)
        self.run = run_facts(run_id, settings)
        self._settings = settings
        self._access = its_access
        self._taken = own.taken
        self._limits = limits
        self._log = log
        self._clock = asyncio.get_running_loop().time
        self.core = ProducerRun(
            self.run,
            self._clock(),
            retry_delay_s=settings.retry_delay_s,
            lease_timeout_s=settings.lease_timeout_s,
            rate_per_s=settings.rate_per_s,
            give_up_s=settings.give_up_s,
            linger=settings.linger,
            journaled=own.log is not None,
            shared=own.engine is not None,
            limits=limits,
        )
        self._backlog = self.core.backlog
        if own.resumes:
            with own.restoring():
                self.core.restore(own.taken.pieces, self._clock(), own.taken.away_s)
        elif own.log is not None:
            self.core.begin(run_piece(run_id, settings))
        self.saving = GroupCommit(own.log, self._changes, limits, own.engine, log.info)
        lengths = settings.min_length, settings.max_length
        self._writer = Writer(settings.seed, settings.count, *lengths, has_texts=settings.text is None)
        self._writable: dict[int, asyncio.Event] = {}  # one for each open stream, by the number of its lease holder
        self._tick_at = -math.inf  # when the next tick is scheduled
        self._is_abandoned = False
        self._early_tick = waiting.Wakeup()
        self._save_wanted = waiting.Wakeup()

    async def begin(self) -> None:
        """Save a new run: a crash must not undo a run that is known to others. See `Term`."""
        await self.saving.saved()

    async def serve(self, stop: asyncio.Event) -> int:
        """Serve the run to its end, and stay until its takeover is on record if there was one. See `Term`."""
        producer_log.log_start(self._log, self.core, self.run, self._settings.text)
        announced = asyncio.create_task(self._announce_takeover())
        try:
            await waiting.first_of(self._tick(), self._stop_on(stop), self._save(), self.saving.broken())
            await waiting.first_of(announced, stop.wait(), timeout_s=self._limits.open_after_pause_s)
        finally:
            announced.cancel()
        return self.core.exit_code

    @property
    def ended(self) -> tuple[int, str] | None:
        """How the run ended. See `Term`."""
        end = self.core.end
        if end is None:
            return None
        return self.core.exit_code, f"{count(end.sent + end.failed)} of {plural(self.run.total, 'message')} settled"

    def abandon(self, reason: str) -> None:
        """Close all streams. See `Term`."""
        self._is_abandoned = True
        self._carry_out(self.core.turn_away(reason, self._clock()))

    @property
    def start_facts(self) -> dict[str, Any]:
        """What the ready record of the node says about the run."""
        return {"resumed": self.core.resumed, "elapsed_s": self.core.elapsed_s(self._clock()), **asdict(self.run)}

    def metrics(self) -> list[metrics.Metric]:
        """Return the metrics at this moment."""
        return metrics.of_producer(self._backlog, len(self.core.streams))

    # -- inputs and events of the core

    async def _announce_takeover(self) -> None:
        """Let the monitor record that this producer has taken over, if it has."""
        at_s, previous, settings = self.core.elapsed_s(self._clock()), self._taken.previous, self._settings
        if previous and at_s is not None and not self._backlog.complete:
            event = takeover("producer", previous, self._taken.away_s, at_s, self.run.run_id)
            await announce(settings.monitor, self._access, event, self._log, settings.give_up_s, self._limits)

    async def _tick(self) -> None:
        while not self.core.left:
            self._tick_at = self.core.wake_at
            await self._early_tick.wait(self._tick_at)
            self._carry_out(self.core.tick(self._clock()))

    async def _stop_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._carry_out(self.core.stop(self._clock()))
        await asyncio.Event().wait()

    async def _save(self) -> None:
        while True:
            await self._save_wanted.wait(math.inf)
            await self.saving.saved()
            self._carry_out(self.core.saved(self._clock()))

    def _changes(self) -> Changes:
        return self.core.changes(self._clock())

    def _carry_out(self, happened: Sequence[events.Event]) -> None:
        for event in happened:
            if isinstance(event, events.Write | events.Close):
                self._writable[event.stream.holder.number].set()
            elif isinstance(event, events.Save):
                self._save_wanted.ring()
            elif isinstance(event, events.Started):
                ready.announce("started", last=True)
            if not (self._is_abandoned or isinstance(event, events.Write | events.Save)):  # which are frequent
                producer_log.log_event(self._log, event, self.run.total)
        if self.core.wake_at < self._tick_at:
            self._early_tick.ring()

    # -- one stream

    async def fetch(self, requests: Requests, context: Context) -> AsyncGenerator[Encoded]:
        """Serve one stream; see FetchMessage in producer.proto."""
        async with rpc.answering(context):
            stream = await self._join(requests)
        writable = self._writable[stream.holder.number]
        reading = asyncio.create_task(self._read(requests, stream))
        reading.add_done_callback(lambda _: writable.set())
        try:
            offer = wire.offer_to_proto(RunOffer(self.run, self._settings.monitor, self._settings.text or ""))
            yield producer_pb2.FetchMessageResponse(offer=offer)
            while not (reading.done() or stream.ended):
                if (response := self.core.response(stream)) is not None:
                    yield self._encoded(response)
                else:
                    writable.clear()
                    await writable.wait()
            async with rpc.answering(context):
                if reading.done():
                    reading.result()
            if stream.ended:
                await context.abort(StatusCode.ABORTED, stream.ended)
        finally:
            self._closed(stream)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _join(self, requests: Requests) -> ProducerStream:
        """Return the stream of a sender that has introduced itself; raises PeerError."""
        hello = rpc.decoded(await anext(aiter(requests)))
        if not hello.HasField("hello"):
            raise PeerError("the first request of a stream must contain hello")
        wire.check_hello(hello.hello)
        sender = hello.hello.sender
        request = wire.request_from_proto(hello, self.run)
        facts = wire.sender_from_proto(sender)
        stream, happened = self.core.join(facts, sender.distribution, sender.std_s, self._clock())
        self._writable[stream.holder.number] = asyncio.Event()
        self._carry_out(happened)
        try:
            await self._apply(stream, request)
        except BaseException:
            self._closed(stream)
            raise
        return stream

    def _closed(self, stream: ProducerStream) -> None:
        del self._writable[stream.holder.number]
        self._carry_out(self.core.closed(stream, self._clock()))

    async def _read(self, requests: Requests, stream: ProducerStream) -> None:
        """Apply the requests of a stream until it ends; raises PeerError."""
        async for message in requests:
            request = rpc.decoded(message)
            if request.HasField("hello"):
                raise PeerError("only the first request of a stream may contain hello")
            await self._apply(stream, wire.request_from_proto(request, self.run))

    async def _apply(self, stream: ProducerStream, request: Request) -> None:
        """Apply a request. Raises PeerError, and then applies nothing of it; raises NotSavedError."""
        try:
            self._carry_out(self.core.apply(stream, request, self._clock()))
        except PeerError:
            await self.saving.saved(proves=True)  # another producer that has taken over might accept it
            raise

    def _encoded(self, response: Response) -> Encoded:
        """Return a response as gRPC sends it: a message, or bytes."""
        batch, settled = response.batch, response.settled
        if batch is not None:
            now, backlog = self._clock(), self._backlog
            content = self._writer.content(batch.ids.view("u8"))
            return wire.batch_to_bytes(
                batch, content, backlog.queued_s(batch.ids, now), backlog.elapsed_s(now), settled
            )
        end = None if response.end is None else wire.end_to_proto(response.end)
        return producer_pb2.FetchMessageResponse(end=end, settled=settled)
