"""The producer: holds the messages of one run, delivers them to senders and waits until all are settled.

Listens, and serves calls while it owns its run. Must not know the monitor or other nodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from smssim.core.limits import LIMITS, Limits
from smssim.core.model import RunFacts
from smssim.journal.run_piece import check_about
from smssim.net import access, rpc
from smssim.nodes.keeping import Keeping, Ownership
from smssim.nodes.producer_term import Context, Encoded, ProducerTerm, Requests
from smssim.nodes.terms import Terms
from smssim.outputs import metrics
from smssim.process import program, ready
from smssim.process.logs import node_log
from smssim.settings import ProducerSettings
from smssim.v1 import producer_pb2_grpc


class Producer(producer_pb2_grpc.ProducerServiceServicer):
    """A producer of one run."""

    def __init__(self, settings: ProducerSettings, limits: Limits = LIMITS) -> None:
        self.access = access.load(settings)
        self.address = ""
        self._settings = settings
        self._limits = limits
        self._log = node_log("producer")
        self._keeping = Keeping(settings, "producer", self._log, limits, self._check_about)
        self._terms: Terms[ProducerTerm] = Terms(self._keeping, self._new_term, self._log)
        self._server = rpc.server(self.access, limits)
        producer_pb2_grpc.add_ProducerServiceServicer_to_server(self, self._server)

    @property
    def term(self) -> ProducerTerm:
        """The current term; raises LaterError if another producer owns the run."""
        return self._terms.answering()

    @property
    def run(self) -> RunFacts:
        """The run that it owns."""
        return self.term.run

    async def start(self) -> None:
        """Own the run, unless other producers may, and listen; raises UsageError or NotSavedError."""
        services = ["smssim.v1.ProducerService"]
        try:
            await self._keeping.check()
            if not self._keeping.is_shared:
                await self._terms.begin("", asyncio.Event())
            self.address = await rpc.start(
                self._server, self.access, self._settings.listen, services, self._log, self._limits
            )
        except BaseException:
            await self._terms.close()
            raise
        self._log.info("Listening on %s", self.address)
        facts = {} if self._keeping.is_shared else self.term.start_facts
        ready.announce("ready", kind="producer", address=self.address, **facts)

    async def serve(self, stop: asyncio.Event) -> int:
        """Serve the run to its end, or stand by, and return the exit code. Assumes `start`. See `Terms.serve`."""
        try:
            return await self._terms.serve(self.address, stop)
        finally:
            await self._server.stop(grace=self._limits.server_grace_s)
            await self._terms.close()
            await self._keeping.close()

    def metrics(self) -> list[metrics.Metric]:
        """Return the metrics at this moment."""
        return self._terms.metrics()

    async def _new_term(self, own: Ownership) -> ProducerTerm:
        """Return a new term; raises UsageError, or the error of a damaged log."""
        return ProducerTerm(self._settings, own, self.access, self._log, self._limits)

    def _check_about(self, about: str) -> None:
        """Raise UsageError if this producer could not continue the run because of its flags."""
        check_about(about, f"run {self._settings.run_name}", self._settings)

    async def FetchMessage(self, requests: Requests, context: Context) -> AsyncIterator[Encoded]:
        """See producer.proto."""
        async with rpc.answering(context):
            term = self.term
        async with aclosing(term.fetch(requests, context)) as responses:
            async for response in responses:
                yield response


def serve(settings: ProducerSettings) -> int:
    """Run a producer to its end, and return its exit code; raises UsageError or NotSavedError."""

    async def main(stop: asyncio.Event) -> int:
        producer = Producer(settings)
        async with metrics.exposed(
            settings.metrics_port, settings.listen, producer.metrics, node_log("producer"), producer.access
        ):
            await producer.start()
            return await producer.serve(stop)

    return program.run(main, settings)
