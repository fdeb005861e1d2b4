"""The sender: pulls messages from a producer, simulates sending, reports to a monitor, and settles.

Each copy is a sender of its own, with its own session and stream. Copies share the process and its connections. Finds a
producer and takes part in its run, as the core decides. Must not know the messages of the protocol, or other nodes.
"""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from dataclasses import replace

from grpc import aio

from smssim.core.limits import LIMITS, Limits
from smssim.core.sender_run import NO_RUN, SenderEnd, SenderLife, SenderRun
from smssim.errors import SmssimError, worst
from smssim.net import access, wire
from smssim.net.connecting import Channels, Stream, open_stream
from smssim.net.reconnecting import Peer
from smssim.nodes.run_client import RunClient
from smssim.outputs import metrics
from smssim.outputs.terminal.each import EachMessage
from smssim.process import program, ready, waiting
from smssim.process.logs import node_log
from smssim.settings import FREE_ADDRESS, SenderSettings, copy_names
from smssim.words import plural


class Sender:
    """A sender that takes part in one run, or in one run after another if it lingers."""

    def __init__(
        self,
        settings: SenderSettings,
        name: str,
        channels: Channels,
        stop: asyncio.Event,
        each: EachMessage | None = None,
        limits: Limits = LIMITS,
    ) -> None:
        """`each`: shows each message, with --verbose; by default, the sender has its own."""
        self._settings = settings
        self._limits = limits
        self._name = name
        self._channels = channels
        self._stop = stop
        self._log = node_log(name)
        self._each = each or EachMessage(limits) if settings.verbose else None
        self._life = SenderLife(settings.linger, limits)
        self.run: SenderRun | None = None  # the current one, or the last

    async def serve(self) -> int:
        """Take part in runs, and return the exit code."""
        while True:
            try:
                end = await self._one_run()
            except SmssimError as error:
                end = SenderEnd.of(error)
            if end.warning:
                self._log.warning("%s", end.warning)
            (self._log.info if end.error is None else self._log.error)("%s", end.reason)
            if self._stop.is_set():
                self._life.stop()
            if not self._life.on_end(end):
                return end.exit_code

    async def _one_run(self) -> SenderEnd:
        """Find a run and take part in it to its end; raises SmssimError."""
        finding = asyncio.create_task(self._find_run())
        try:
            await waiting.first_of(asyncio.wait([finding]), self._stop.wait())
            if not finding.done():
                return NO_RUN
            client, stream = finding.result()
        finally:
            finding.cancel()
        self.run = client.run
        ready.announce("joined", name=self._name, run_id=client.run.run_id)
        return await client.take_part(stream, self._stop)

    async def _find_run(self) -> tuple[RunClient, Stream]:
        """Wait for a producer with a run that is new to this sender; raises SmssimError."""
        settings, channels = self._settings, self._channels
        producer = Peer("producer", settings.producer, channels.access, settings.give_up_s, self._log, self._limits)
        sender = wire.sender_to_proto(str(uuid.uuid4()), self._name, settings)
        while True:
            try:
                stream, offer = await open_stream(channels, producer, sender, self._limits)
            except aio.AioRpcError as error:
                await producer.lost(error)
                continue
            wait_s = self._life.on_offer(offer.run.run_id)
            if wait_s is None:
                break
            stream.cancel()
            await asyncio.sleep(wait_s)
        producer.found()
        self._log.info("Joined run %s: %s", offer.run.run_id, plural(offer.run.total, "message"))
        offer = replace(offer, monitor=settings.monitor or offer.monitor)
        try:
            client = RunClient(settings, sender, offer, producer, channels, self._log, self._each, self._limits)
        except SmssimError:  # an address of the monitor is not usable
            stream.cancel()
            raise
        return client, stream


def serve(settings: SenderSettings) -> int:
    """Run as many senders as `copies` says, and return the worst of their exit codes; raises UsageError."""

    async def main(stop: asyncio.Event) -> int:
        base = settings.name or f"{socket.gethostname()[:40]}-{os.getpid()}"
        names = copy_names(base, settings.copies)
        channels = Channels(access.load(settings))
        each = EachMessage()
        senders = [Sender(settings, name, channels, stop, each) for name in names]

        def read() -> list[metrics.Metric]:
            runs = [sender.run for sender in senders if sender.run is not None]
            return metrics.of_senders([run.protocol for run in runs], sum(run.returns for run in runs))

        try:
            async with metrics.exposed(settings.metrics_port, FREE_ADDRESS, read, node_log(base)):
                return worst(await asyncio.gather(*(sender.serve() for sender in senders)))
        finally:
            await channels.close()

    return program.run(main, settings)
