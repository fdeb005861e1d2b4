"""The monitor: counts what senders report, shows the figures every interval, and shows how each run ended.

Listens, and serves calls while it owns its run. Must not know other nodes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from smssim.core import threshold
from smssim.core.audience import Audience
from smssim.core.limits import LIMITS, Limits
from smssim.core.runs import Runs
from smssim.errors import ExitCode, bad, worst
from smssim.net import access, rpc
from smssim.nodes.keeping import Keeping, Ownership
from smssim.nodes.monitor_term import MonitorTerm
from smssim.nodes.terms import Terms
from smssim.nodes.watchers import Context
from smssim.outputs import metrics
from smssim.outputs.opening import Outputs, check_outputs, open_outputs
from smssim.process import program, ready
from smssim.process.logs import node_log
from smssim.settings import MonitorSettings
from smssim.v1 import monitor_pb2, monitor_pb2_grpc


class Monitor(monitor_pb2_grpc.MonitorServiceServicer):
    """A monitor of one run, or of any number of runs if it lingers."""

    def __init__(self, settings: MonitorSettings, limits: Limits = LIMITS) -> None:
        self.access = access.load(settings)
        self.address = ""
        self._settings = settings
        self._limits = limits
        self._log = node_log("monitor")
        self._outputs: Outputs | None = None  # opened once
        self._keeping = Keeping(settings, "monitor", self._log, limits, self._check_about)
        self._terms: Terms[MonitorTerm] = Terms(self._keeping, self._new_term, self._log)
        self._server = rpc.server(self.access, limits)
        monitor_pb2_grpc.add_MonitorServiceServicer_to_server(self, self._server)

    @property
    def term(self) -> MonitorTerm:
        """The current term; raises LaterError if another monitor owns the run."""
        return self._terms.answering()

    @property
    def runs(self) -> Runs:
        """The runs that it follows."""
        return self.term.runs

    @property
    def audience(self) -> Audience:
        """The watchers of these runs."""
        return self.term.watchers.audience

    async def start(self) -> None:
        """Own the run, unless other monitors may, listen, and open the outputs; raises UsageError."""
        services = ["smssim.v1.MonitorService"]
        try:
            await self._keeping.check()
            if not self._keeping.is_shared:
                await self._terms.begin("", asyncio.Event())
            self.address = await rpc.start(
                self._server, self.access, self._settings.listen, services, self._log, self._limits
            )
            if self._keeping.is_shared:
                check_outputs(self._settings, self._log, resumes=True)  # it may have owned the run before
            else:
                self.term.outputs = await self._open_outputs(self.term.resumed)
        except BaseException:
            await self._server.stop(None)
            await self._terms.close()
            raise
        self._log.info("Listening on %s", self.address)
        facts = {} if self._keeping.is_shared else {"resumed": self.term.resumed}
        ready.announce("ready", last=True, kind="monitor", address=self.address, **facts)
        for warning in threshold.warnings(self._settings.threshold):
            self._log.warning("%s", warning)

    async def serve(self, stop: asyncio.Event) -> int:
        """Follow the runs to their end, or stand by, and return the exit code. Assumes `start`. See `Terms.serve`."""
        is_whole = True
        try:
            code = await self._terms.serve(self.address, stop)
        finally:
            await self._server.stop(grace=self._limits.server_grace_s)
            await self._terms.close()
            await self._keeping.close()
            if self._outputs is not None:
                is_whole = await self._outputs.close()
        return code if is_whole else worst((code, ExitCode.INCOMPLETE))

    def metrics(self) -> list[metrics.Metric]:
        """Return the metrics at this moment."""
        return self._terms.metrics()

    async def _new_term(self, own: Ownership) -> MonitorTerm:
        """Return a new term; raises UsageError, or the error of a damaged log."""
        if self._keeping.is_shared and self._outputs is None:
            await self._open_outputs(own.resumes)
        if own.log is not None:
            own.log.about = self._about
        return MonitorTerm(self._settings, own, self._outputs or Outputs(), self._log, self._limits)

    @property
    def _about(self) -> str:
        """The thresholds, which decide the exit code: all monitors of a run must have the same."""
        return " ".join(sorted(one.text for one in self._settings.threshold)) or "none"

    def _check_about(self, about: str) -> None:
        """Raise UsageError if this monitor would judge the run by other thresholds than its owner."""
        if about != self._about:
            raise bad("--threshold", self._about, f"{about}, as the owner of run {self._settings.run_name} has")

    async def _open_outputs(self, resumes: bool) -> Outputs:
        self._outputs = await open_outputs(self._settings, self._log, resumes, self._limits, self.access)
        return self._outputs

    # -- calls

    async def ReportResult(
        self, request: monitor_pb2.ReportResultRequest | None, context: Context
    ) -> monitor_pb2.ReportResultResponse:
        """See monitor.proto."""
        async with rpc.answering(context):
            return await self.term.report(request)

    async def AnnounceEvent(
        self, request: monitor_pb2.AnnounceEventRequest | None, context: Context
    ) -> monitor_pb2.AnnounceEventResponse:
        """See monitor.proto."""
        async with rpc.answering(context):
            return await self.term.announce(request)

    async def AnnouncePlan(
        self, request: monitor_pb2.AnnouncePlanRequest | None, context: Context
    ) -> monitor_pb2.AnnouncePlanResponse:
        """See monitor.proto."""
        async with rpc.answering(context):
            return await self.term.announce_plan(request)

    async def WatchProgress(
        self, request: monitor_pb2.WatchProgressRequest | None, context: Context
    ) -> AsyncIterator[Any]:  # encoded responses
        """See monitor.proto."""
        async with rpc.answering(context):
            term = self.term
        async with aclosing(term.watchers.serve(request, context)) as responses:
            async for response in responses:
                yield response


def serve(settings: MonitorSettings) -> int:
    """Run a monitor to its end, and return its exit code; raises UsageError or NotSavedError."""

    async def main(stop: asyncio.Event) -> int:
        monitor = Monitor(settings)
        async with metrics.exposed(
            settings.metrics_port, settings.listen, monitor.metrics, node_log("monitor"), monitor.access
        ):
            await monitor.start()
            return await monitor.serve(stop)

    return program.run(main, settings)
