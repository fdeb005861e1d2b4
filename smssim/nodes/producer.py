"""The producer: holds the messages of one run, hands them out and waits until all are settled.

Moves requests and batches between gRPC and the `Backlog`, which decides. Must not know the monitor or other nodes.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import uuid
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from typing import Any, Final

from grpc import StatusCode, aio

from smssim.core.backlog import Backlog
from smssim.core.exchange import Request, RunEnd
from smssim.core.leaseholder import LeaseHolder, longest_attempt_s
from smssim.core.limits import LIMITS, Limits
from smssim.core.message import Writer
from smssim.core.model import RunFacts
from smssim.core.pieces import Changes, put_under, within
from smssim.core.producer_stream import ProducerStream
from smssim.core.queue import Batch
from smssim.errors import ExitCode, PeerError
from smssim.escaping import escape
from smssim.journal.group_commit import GroupCommit, restoring, run_from, run_piece
from smssim.journal.sqlite import Journal
from smssim.net import access, rpc, wire
from smssim.outputs import metrics
from smssim.process import program, ready, waiting
from smssim.process.logs import node_log
from smssim.settings import ProducerSettings
from smssim.v1 import producer_pb2, producer_pb2_grpc
from smssim.words import count, plural

SEED_BITS: Final = 32  # of a seed that is not given: short enough to type again

Requests = AsyncIterator[producer_pb2.FetchMessageRequest | None]
Response = Any  # a FetchMessageResponse, or the bytes of one
Context = aio.ServicerContext[Any, Any]


class _Stream(ProducerStream):
    """An open stream."""

    def __init__(self, backlog: Backlog, holder: LeaseHolder, limits: Limits) -> None:
        super().__init__(backlog, holder, limits)
        self.wake = asyncio.Event()  # set when there may be something to write
        self.closed = False  # by the sender
        self.fault: PeerError | None = None


class Producer(producer_pb2_grpc.ProducerServiceServicer):
    """One run."""

    def __init__(self, settings: ProducerSettings, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self.access = access.load(settings)
        self._journal = Journal(settings.journal, "producer") if settings.journal else None
        self._resumed = self._journal is not None and bool(self._journal.pieces)
        if self._journal is not None and self._resumed:
            with restoring(self._journal):
                run_id, settings = run_from(self._journal, settings)
        else:
            run_id, settings = str(uuid.uuid4()), _with_seed(settings)
        assert settings.seed is not None
        self.run = RunFacts(run_id, settings.seed, settings.count, settings.max_attempts)
        self.address = ""
        self._settings = settings
        self._log = node_log("producer")
        self._clock = asyncio.get_running_loop().time
        self._backlog = Backlog(
            settings.count,
            settings.max_attempts,
            settings.retry_delay_s,
            settings.lease_timeout_s,
            settings.rate_per_s,
            settings.give_up_s,
            limits,
        )
        with restoring(self._journal):
            self._restore()
        self._saving = GroupCommit(self._journal, self._changes)
        self._writer = Writer(settings.seed, settings.count, settings.min_length, settings.max_length)
        self._streams: dict[int, _Stream] = {}  # by the number of their holder
        self._end: RunEnd | None = None
        self._last_word: RunEnd | None = None  # the end, once it is on disk
        self._ended = asyncio.Event()
        self._draining = False
        self._joined_at: float | None = None  # when the first sender came
        self._alone_since = self._clock()  # since when there is no sender, if there is none
        self._more = waiting.Wakeup()  # rung when messages became ready again
        self._changed = waiting.Wakeup()  # rung when a stream has ended or something was settled
        self._server = rpc.server(self.access)
        producer_pb2_grpc.add_ProducerServiceServicer_to_server(self, self._server)

    async def start(self) -> None:
        """Listens; raises UsageError or NotSavedError."""
        services = ["smssim.v1.ProducerService"]
        try:
            await self._saving.saved()  # nobody hears of a run that a crash could take back
            self.address = await rpc.start(self._server, self.access, self._settings.listen, services, self._log)
        except BaseException:
            await self._saving.close()
            raise
        self._log.info("listening on %s", self.address)
        ready.announce("ready", kind="producer", address=self.address, resumed=self._resumed, **asdict(self.run))
        self._log.info("run %s: %s, seed %d", self.run.run_id, plural(self.run.total, "message"), self.run.seed)
        if self._resumed:
            book = self._backlog
            said = (count(book.settled), count(book.sent), count(book.failed), count(book.waiting))
            self._log.info("resumed: %s settled, %s sent and %s failed; %s to go", *said)
        self._log.info("waiting for a sender")

    async def serve(self, stop: asyncio.Event) -> int:
        """Serves the run to its end, after `start`; the exit code."""
        try:
            running = self._distribute(), self._watch(), self._drain_on(stop), self._save(), self._ended.wait()
            await waiting.first_of(*running, self._saving.broken())
            end = self._over()
            await self._saving.saved()
            settled, total = count(end.sent + end.failed), plural(self.run.total, "message")
            self._log.info("%s of %s settled: %s sent, %s failed", settled, total, count(end.sent), count(end.failed))
            self._last_word = end
            for stream in self._streams.values():
                stream.wake.set()
            await self._farewell(stop)
            if end.complete and self._joined_at is not None and not self._streams:
                self._unwritten["told"] = b""
                await self._saving.saved()
        finally:
            await self._server.stop(grace=0.5)
            await self._saving.close()
        return ExitCode.OK if end.complete else ExitCode.INCOMPLETE

    def metrics(self) -> list[metrics.Metric]:
        """Of this moment."""
        return metrics.of_producer(self._backlog, len(self._streams))

    # -- the run

    async def _distribute(self) -> None:
        """Gives to those who want more whenever messages become ready."""
        while True:
            now = self._clock()
            due = self._backlog.wake_at(now) if self._backlog.holders.with_credit() else math.inf
            await self._more.wait(max(due, now + self._limits.release_s))
            for holder in self._backlog.holders.with_credit():
                self._lease_to(self._streams[holder.number])

    async def _watch(self) -> None:
        """Ends stale leases, and the run if all senders are gone for good. Says that none is there."""
        said_at = looked_at = self._clock()
        while True:
            now = self._clock()
            self._backlog.holders.forgive_pause(max(0.0, now - looked_at - self._limits.lease_check_s), now)
            looked_at = now
            for holder in self._backlog.expire(now):
                stream = self._streams[holder.number]
                stream.fault = PeerError(holder.expired)
                stream.wake.set()
                self._more.ring()
            alone_s = 0.0 if self._streams else now - self._alone_since
            patience_s = self._limits.resume_grace_s if self._told else self._settings.give_up_s
            if self._resumed and self._backlog.complete and alone_s >= patience_s:
                self._over()  # nobody comes to be told
            if self._joined_at is not None and not self._streams and alone_s >= self._settings.give_up_s:
                self._log.error("no sender for %.0f s, giving up", alone_s)
                self._over()
            if now - max(said_at, self._alone_since) >= self._limits.repeat_notice_s and not self._streams:
                said_at = now
                self._log.info("still waiting for a sender, for %.0f s", alone_s)
            await asyncio.sleep(self._limits.lease_check_s)

    async def _drain_on(self, stop: asyncio.Event) -> None:
        """When stopped: hands out nothing more and waits a bounded time for what is with senders."""
        await stop.wait()
        self._draining = True
        if self._backlog.leased:
            leased = plural(self._backlog.leased, "message")
            self._log.info("draining: %s with senders, to be settled within %g s", leased, self._limits.farewell_s)
        until = self._clock() + self._limits.farewell_s
        while self._backlog.leased and self._clock() < until:
            await self._changed.wait(until)
        self._over()

    def _over(self) -> RunEnd:
        """Ends the run as it stands."""
        if self._end is None:
            backlog = self._backlog
            self._end = RunEnd(backlog.complete, backlog.sent, backlog.failed, backlog.redelivered)
            self._ended.set()
        return self._end

    async def _farewell(self, stop: asyncio.Event) -> None:
        """Waits until the senders have heard the end; with --linger, until stopped."""
        if self._settings.linger:
            self._log.info("staying up for late senders, until stopped")
            await stop.wait()
        if self._joined_at is not None:
            open_s = (
                self._joined_at
                + (self._limits.resume_grace_s if self._resumed and not self._told else self._limits.join_grace_s)
                - self._clock()
            )
            await waiting.first_of(stop.wait(), timeout_s=max(0.0, open_s))
        until = self._clock() + self._limits.farewell_s
        while self._streams and self._clock() < until:
            await self._changed.wait(until)

    # -- what survives a crash

    def _restore(self) -> None:
        """Goes on with what the journal has, if it has something; raises DAMAGE."""
        self._unwritten: Changes = {}
        self._told = False  # whether the senders had been told the end before a restart
        if self._journal is None:
            return
        if self._resumed:
            self._told = "told" in self._journal.pieces
            self._backlog.restore(within("backlog", self._journal.pieces), self._clock())
        else:
            self._unwritten["run"] = run_piece(self.run.run_id, self._settings)
        self._journal.pieces.clear()

    def _changes(self) -> Changes:
        changes, self._unwritten = self._unwritten, {}
        return changes | put_under("backlog", self._backlog.changes(self._clock()))

    async def _save(self) -> None:
        """Commits now and then; nobody waits for it, for what is lost is only delivered again."""
        while True:
            await asyncio.sleep(self._limits.save_s)
            await self._saving.saved()
            if self._backlog.stalled:
                self._more.ring()

    # -- handing out

    def _lease_to(self, stream: _Stream) -> None:
        """Queues for a sender what it may have now."""
        if self._draining or self._end is not None:
            return
        first = self._backlog.started_at is None
        batches = stream.lease(self._clock())
        if batches:
            if first:
                self._log.info("the run has started")
                ready.announce("started", last=True)
            for batch in batches:
                self._log.debug(
                    "handing out messages: %d, from %d on, attempt %d", len(batch.ids), batch.ids[0], batch.attempt
                )
            stream.wake.set()

    # -- one stream

    async def FetchMessage(self, requests: Requests, context: Context) -> AsyncIterator[Response]:
        """See producer.proto."""
        async with rpc.answering(context):
            stream, name = await self._join(requests)
        reader = asyncio.create_task(self._read(requests, stream))
        try:
            offer = producer_pb2.RunOffer(run=wire.run_to_proto(self.run), monitor=self._settings.monitor)
            yield producer_pb2.FetchMessageResponse(offer=offer)
            async for response in self._responses(stream):
                yield response
            if stream.fault is not None:
                self._log.info("%s: %s", name, stream.fault)
            async with rpc.answering(context):
                if reader.done():
                    reader.result()
            if stream.fault is not None:
                await context.abort(StatusCode.ABORTED, str(stream.fault))
        finally:
            self._part(stream, name)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _join(self, requests: Requests) -> tuple[_Stream, str]:
        """The stream of a sender that has introduced itself, and the sender's name; raises PeerError."""
        hello = rpc.decoded(await anext(aiter(requests)))
        if not hello.HasField("hello"):
            raise PeerError("the first request of a stream says hello")
        wire.check_hello(hello.hello)
        sender = hello.hello.sender
        request = wire.request_from_proto(hello, self.run)
        now = self._clock()
        before = self._backlog.holders.of(sender.session_id)
        longest_s = longest_attempt_s(sender.distribution, sender.mean_s, sender.std_s, self._limits)
        holder = self._backlog.join(sender.session_id, sender.mean_s, sender.concurrency, now, longest_s)
        stream = _Stream(self._backlog, holder, self._limits)
        if before is not None:
            other = self._streams[before.number]
            other.fault = PeerError("its sender has opened another stream")
            other.wake.set()
        self._streams[stream.holder.number] = stream
        self._joined_at = self._joined_at or now
        name = escape(sender.name)
        if self._end is None:
            self._log.info("%s joined: %s at a time, %g s each", name, count(sender.concurrency), sender.mean_s)
        try:
            self._apply(stream, request)
        except PeerError:
            self._part(stream, name)
            raise
        return stream, name

    def _part(self, stream: _Stream, name: str) -> None:
        """The stream is over: what it held goes to others."""
        leased = stream.holder.leased
        self._backlog.lose(stream.holder)
        self._streams.pop(stream.holder.number, None)
        if not self._streams:
            self._alone_since = self._clock()
        if self._end is None:
            again = f", with {plural(leased, 'message')} to hand out again" if leased else ""
            self._log.info("%s left%s", name, again)
            if not self._streams:
                self._log.info("waiting for a sender")
        if leased:
            self._more.ring()
        self._changed.ring()

    async def _read(self, requests: Requests, stream: _Stream) -> None:
        """Takes in the requests of a stream; raises PeerError."""
        try:
            async for message in requests:
                if stream.holder.lost:
                    return
                request = rpc.decoded(message)
                if request.HasField("hello"):
                    raise PeerError("only the first request of a stream says hello")
                self._apply(stream, wire.request_from_proto(request, self.run))
        finally:
            stream.closed = True
            stream.wake.set()

    def _apply(self, stream: _Stream, request: Request) -> None:
        """Applies a request; raises PeerError and applies nothing of it."""
        now, backlog = self._clock(), self._backlog
        stream.apply(request, now)
        self._lease_to(stream)
        if backlog.complete:
            self._over()
        elif stream.concerns_others(now):
            self._more.ring()
        if stream.has_news:
            stream.wake.set()
            self._changed.ring()

    async def _responses(self, stream: _Stream) -> AsyncIterator[Response]:
        """What to write to a stream, until it ends."""
        while not stream.closed and stream.fault is None:
            response = stream.response(self._last_word)
            if response is None:
                stream.wake.clear()
                await stream.wake.wait()
            elif response.batch is not None:
                yield self._batch(response.batch, response.settled)
            elif response.end is not None:
                end = wire.end_to_proto(response.end)
                yield producer_pb2.FetchMessageResponse(end=end, settled=response.settled)
            else:
                yield producer_pb2.FetchMessageResponse(settled=response.settled)

    def _batch(self, batch: Batch, settled: int) -> bytes:
        now, backlog = self._clock(), self._backlog
        content = self._writer.content(batch.ids.view("u8"))
        return wire.batch_to_bytes(batch, content, backlog.queued_s(batch.ids, now), backlog.elapsed_s(now), settled)


def _with_seed(settings: ProducerSettings) -> ProducerSettings:
    """The settings, with a random seed if none is given."""
    return settings if settings.seed is not None else replace(settings, seed=secrets.randbits(SEED_BITS))


def serve(settings: ProducerSettings) -> int:
    """Runs a producer to its end; its exit code. Raises UsageError."""

    async def main(stop: asyncio.Event) -> int:
        producer = Producer(settings)
        async with metrics.exposed(
            settings.metrics_port, settings.listen, producer.metrics, node_log("producer"), producer.access
        ):
            await producer.start()
            return await producer.serve(stop)

    return program.run(main, settings)
