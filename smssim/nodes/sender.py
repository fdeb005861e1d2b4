"""The sender: pulls messages from a producer, simulates sending, reports to a monitor, and settles.

Each copy is a sender of its own, with its own session and stream; they share the process and its connections. Moves
requests, batches and reports between gRPC and `SenderProtocol`, which decides. Must not know other nodes.
"""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from functools import partial
from typing import Any

import grpc
from grpc import aio

from smssim.core.exchange import Answer, Report
from smssim.core.fate import Fates
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import RunFacts
from smssim.core.sending import SenderProtocol
from smssim.errors import ExitCode, GoneError, SmssimError
from smssim.net import access, rpc, wire
from smssim.net.connecting import Channels, Stream, open_stream
from smssim.outputs import metrics
from smssim.outputs.terminal.each import EachMessage
from smssim.process import program, ready, waiting
from smssim.process.logs import Log, node_log
from smssim.settings import FREE_ADDRESS, SenderSettings
from smssim.v1 import monitor_pb2_grpc, producer_pb2
from smssim.words import count, plural


class Sender:
    """One sender: run after run if it lingers, else one."""

    def __init__(
        self,
        settings: SenderSettings,
        name: str,
        channels: Channels,
        stop: asyncio.Event,
        each: EachMessage | None = None,
        limits: Limits = LIMITS,
    ) -> None:
        """`each`: what shows each message, with --verbose; its own unless copies share one."""
        self._settings = settings
        self._limits = limits
        self._name = name
        self._channels = channels
        self._stop = stop
        self._log = node_log(name)
        self._each = each or EachMessage() if settings.verbose else None
        self._last_run_id = ""
        self.participation: SenderRun | None = None  # the last one

    async def serve(self) -> int:
        """The exit code."""
        while True:
            try:
                code = await self._one_run()
            except SmssimError as error:
                self._log.error("%s", error)
                code = error.exit_code
                if not isinstance(error, GoneError):
                    return code
            if not self._settings.linger or self._stop.is_set():
                return code

    async def _one_run(self) -> int:
        """Takes part in one run to its end."""
        finding = asyncio.create_task(self._find_run())
        try:
            await waiting.first_of(asyncio.wait([finding]), self._stop.wait())
            if not finding.done():
                self._log.info("stopped before a run was found")
                return ExitCode.OK
            participation, stream = finding.result()
        finally:
            finding.cancel()
        self.participation = participation
        ready.announce("joined", name=self._name, run_id=participation.run.run_id)
        code = await participation.take_part(stream, self._stop)
        self._last_run_id = participation.run.run_id
        return code

    async def _find_run(self) -> tuple[SenderRun, Stream]:
        """Waits for a producer with a run that is new to this sender."""
        address, channels = self._settings.producer, self._channels
        patience = rpc.Reconnector("producer", address, channels.access, self._settings.give_up_s, self._log)
        session_id = str(uuid.uuid4())
        sender = wire.sender_to_proto(session_id, self._name, self._settings)
        while True:
            try:
                stream, run, told = await open_stream(channels, address, sender)
            except aio.AioRpcError as error:
                await patience.lost(error)
                continue
            if run.run_id != self._last_run_id:
                patience.found()
                self._log.info("run %s: %s", run.run_id, plural(run.total, "message"))
                monitor = self._settings.monitor or told
                try:
                    return SenderRun(
                        self._settings, sender, run, monitor, channels, self._log, self._each, self._limits
                    ), stream
                except SmssimError:  # no address to report to
                    stream.cancel()
                    raise
            stream.cancel()
            await asyncio.sleep(rpc.BACKOFF_MAX_S)


class SenderRun:
    """One sender in one run."""

    def __init__(
        self,
        settings: SenderSettings,
        sender: Any,
        run: RunFacts,
        monitor: str,
        channels: Channels,
        log: Log,
        each: EachMessage | None,
        limits: Limits,
    ) -> None:
        self.run = run
        self._limits = limits
        self._each = each
        self._name = str(sender.name)
        self._settings = settings
        self._sender = sender
        self._log = log
        self._clock = asyncio.get_running_loop().time
        fates = Fates(run.seed, run.max_attempts, settings.attempt_model)
        self._sending = SenderProtocol(fates, settings.mean_s, settings.concurrency, self._clock(), limits)
        self._channels = channels
        self._producer = rpc.Reconnector("producer", settings.producer, channels.access, settings.give_up_s, log)
        self._producer.met = True
        self._monitor = rpc.Reconnector("monitor", monitor, channels.access, settings.give_up_s, log)
        self._reports = monitor_pb2_grpc.MonitorServiceStub(channels.to(monitor))
        self._tick = waiting.Wakeup()  # rung when a peer has changed something
        self._requests = waiting.Wakeup()  # rung when a request may be due
        self._outbox = waiting.Wakeup()  # rung when a report may be due
        self._gone: GoneError | None = None

    @property
    def sending(self) -> SenderProtocol:
        """Its side of the protocol."""
        return self._sending

    @property
    def returns(self) -> int:
        """How often a peer was lost and came back."""
        return self._producer.returns + self._monitor.returns

    async def take_part(self, stream: Stream, stop: asyncio.Event) -> int:
        """To the end of the run, or until drained; the exit code. Raises SmssimError."""
        await waiting.first_of(
            self._follow_monitor(),
            waiting.forever(self._follow_producer(stream)),
            self._keep_time(),
            waiting.forever(self._drain_on(stop)),
        )
        if self._each is not None:
            self._each.say_left_out(self._log, self._clock(), at_last=True)
        if self._gone is not None:
            raise self._gone
        sending = self._sending
        if sending.over is not None:
            self._log.info("the run is complete" if sending.over.complete else "the producer ended the run early")
            return ExitCode.OK if sending.over.complete or sending.draining else ExitCode.INCOMPLETE
        self._log.info("drained")
        return ExitCode.OK

    async def _keep_time(self) -> None:
        """Moves the lanes on, and wakes whoever may have something to say then."""
        sending = self._sending
        while True:
            now = self._clock()
            self._advance(now)
            if sending.has_request(now):
                self._requests.ring()
            if sending.has_report(now):
                self._outbox.ring()
            await self._tick.wait(sending.wake_at(now))

    def _advance(self, now: float, at_once: bool = False) -> None:
        for finished in self._sending.advance(now, at_once):
            if self._each is not None:
                self._each.finished(self._name, finished, self._log, now)

    async def _drain_on(self, stop: asyncio.Event) -> None:
        await stop.wait()
        now = self._clock()
        self._advance(now, at_once=True)
        lanes = self._sending.lanes
        taken = lanes.busy + lanes.held
        self._sending.drain(now)
        for patience in (self._producer, self._monitor):
            patience.give_up_s = min(patience.give_up_s, self._limits.drain_max_s)
            patience.met = True
        busy = lanes.busy
        self._log.info("draining: %s to finish, %s given back", plural(busy, "message"), count(taken - busy))
        self._tick.ring()

    # -- the producer

    async def _follow_producer(self, stream: Stream) -> None:
        """Keeps a stream to the producer until the run is over or the producer gone for good."""
        try:
            while not self._sending.ended:
                try:
                    await self._use(stream)
                except aio.AioRpcError as error:
                    stream = await self._reopen(error)
        except GoneError as error:  # what is finished is still reported
            if self._sending.ended:  # the monitor has told the end
                return
            self._gone = error
            self._advance(self._clock(), at_once=True)
            self._sending.end(None)
            self._tick.ring()
        finally:
            stream.cancel()

    async def _reopen(self, error: aio.AioRpcError) -> Stream:
        """A new stream to the producer of this run; raises GoneError or RefusedError."""
        while True:
            await self._producer.lost(error)
            try:
                stream, run, _ = await open_stream(self._channels, self._settings.producer, self._sender)
            except aio.AioRpcError as again:
                error = again
                continue
            if run.run_id != self.run.run_id:
                stream.cancel()
                raise GoneError(f"{self._producer.peer} has another run now, {run.run_id}")
            self._producer.found()
            return stream

    async def _use(self, stream: Stream) -> None:
        """Talks on an open stream until it ends; raises AioRpcError."""
        sending = self._sending
        sending.stream_up(self._clock())
        self._tick.ring()
        try:
            with rpc.naming(self._producer.peer):
                await waiting.first_of(self._write(stream), self._read(stream))
            if sending.ended:
                await stream.done_writing()
        finally:
            self._advance(self._clock())
            sending.stream_lost()
            stream.cancel()

    async def _write(self, stream: Stream) -> None:
        while True:
            request = self._sending.request(self._clock())
            if request is None:
                await self._requests.wait(float("inf"))
                continue
            try:
                await stream.write(wire.request_to_proto(request))
            except (asyncio.InvalidStateError, aio.UsageError):
                await asyncio.Event().wait()  # the stream is over: reading says why

    async def _read(self, stream: Stream) -> None:
        """Takes in what the producer says until it has nothing more to say; raises AioRpcError or PeerError."""
        sending = self._sending
        while isinstance(read := await stream.read(), producer_pb2.FetchMessageResponse | None):
            response = rpc.decoded(read, "response")
            event = response.WhichOneof("event")
            now = self._clock()  # one for both, or a lane could start a message before it has arrived
            self._advance(now, at_once=event == "end")
            sending.confirm(response.settled)
            if event == "batch":
                delivery = wire.batch_from_proto(response.batch, self.run)
                self._log.debug("received messages: %d, attempt %d", len(delivery.ids), delivery.attempt)
                sending.receive(delivery, now)
                if self._each is not None:
                    self._each.arrived(self._name, delivery.ids, partial(wire.texts_of, response.batch), now)
            self._tick.ring()
            if event == "end":
                sending.end(wire.end_from_proto(response.end))
                self._monitor.bound()  # there may be no other sender for which one will come
                return
        if not sending.ended:
            raise aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, aio.Metadata(), aio.Metadata(), "the stream ended")

    # -- the monitor

    async def _follow_monitor(self) -> None:
        """Delivers reports until the last one is answered."""
        sending = self._sending
        while not sending.done:
            if sending.draining and sending.is_needless:
                return
            report = sending.report(self._clock())
            if report is None:
                await self._outbox.wait(float("inf"))
                continue
            answer = await self._deliver(report)
            if answer is None:
                return
            sending.acknowledge(answer)
            self._log.debug("report %d is on record, outcomes: %d", report.sequence, len(report.finished))
            self._tick.ring()

    async def _deliver(self, report: Report) -> Answer | None:
        """The monitor's answer to a report, repeated until there is one; raises GoneError, RefusedError or PeerError.

        None if this sender has nothing to tell it: it may never come, or be gone.
        """
        request = wire.report_to_proto(report, wire.run_to_proto(self.run), self._sender)
        while True:
            try:
                shown = self._channels.access.metadata
                answer = await self._reports.ReportResult(
                    request, timeout=self._limits.report_timeout_s, metadata=shown
                )
            except aio.AioRpcError as error:
                if self._sending.is_needless:
                    return None
                try:
                    await self._monitor.lost(error)
                except GoneError as gone:
                    if not self._sending.only_goodbye:
                        raise
                    self._log.warning("%s and did not answer the goodbye: all outcomes are on record", gone)
                    return None
            else:
                self._monitor.found()
                with rpc.naming(self._monitor.peer):
                    return wire.answer_from_proto(rpc.decoded(answer, "response"), self.run)


def serve(settings: SenderSettings) -> int:
    """Runs one sender, or as many as `copies` says; the worst of their exit codes."""

    async def main(stop: asyncio.Event) -> int:
        base = settings.name or f"{socket.gethostname()[:40]}-{os.getpid()}"
        names = [base] if settings.copies == 1 else [f"{base}-{i}" for i in range(1, settings.copies + 1)]
        channels = Channels(access.load(settings))
        each = EachMessage()
        senders = [Sender(settings, name, channels, stop, each) for name in names]

        def read() -> list[metrics.Metric]:
            parts = [sender.participation for sender in senders if sender.participation is not None]
            return metrics.of_senders([part.sending for part in parts], sum(part.returns for part in parts))

        try:
            async with metrics.exposed(settings.metrics_port, FREE_ADDRESS, read, node_log(base)):
                return max(await asyncio.gather(*(sender.serve() for sender in senders)))
        finally:
            await channels.close()

    return program.run(main, settings)
