"""The monitor: counts what senders report, shows the figures every interval, and shows how each run ended.

Moves reports and figures between gRPC, the journal, the outputs and `Runs`, which decides. Must not know other nodes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from grpc import aio

from smssim.core import threshold
from smssim.core.audience import Audience, Watcher
from smssim.core.digest import KEY_BYTES
from smssim.core.fleet import ROWS_MAX
from smssim.core.limits import LIMITS, Limits
from smssim.core.runs import Announced, Dropped, Ended, Missed, Moment, NoSender, Policy, Runs, Started
from smssim.journal.group_commit import GroupCommit, restoring
from smssim.journal.sqlite import Journal
from smssim.net import access, announcing, planning, rpc, watching, wire
from smssim.outputs import metrics
from smssim.outputs.opening import Outputs, open_outputs
from smssim.outputs.terminal.summary import value
from smssim.process import program, ready, waiting
from smssim.process.logs import node_log
from smssim.settings import MonitorSettings
from smssim.v1 import monitor_pb2, monitor_pb2_grpc
from smssim.words import count, plural

Context = aio.ServicerContext[Any, Any]


class Monitor(monitor_pb2_grpc.MonitorServiceServicer):
    """A monitor of one run, or of any number of runs if it lingers."""

    def __init__(self, settings: MonitorSettings, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self.address = ""
        self._settings = settings
        self._log = node_log("monitor")
        self._clock = asyncio.get_running_loop().time
        self._outputs = Outputs()  # replaced by `start`
        policy = Policy(
            interval_s=settings.interval_s,
            give_up_s=settings.give_up_s,
            thresholds=settings.threshold,
            linger=settings.linger,
            journaled=settings.journal is not None,
            rows_max=0 if settings.json else ROWS_MAX,
        )
        self.runs = Runs(policy, partial(os.urandom, KEY_BYTES), self._take_outcomes, limits)
        self._due = waiting.Wakeup()  # rung when a report causes events
        self.audience = Audience(self.runs.followed, settings.interval_s, limits)
        self._turns: dict[Watcher, waiting.Wakeup] = {}
        self._watcher_left = waiting.Wakeup()
        self._encoder = watching.Encoder()
        self.access = access.load(settings)
        self._journal = Journal(settings.journal, "monitor", limits) if settings.journal else None
        self._resumed = self._journal is not None and bool(self._journal.pieces)
        if self._journal is not None and self._resumed:
            self._resume(self._journal)
        self._saving = GroupCommit(self._journal, lambda: self.runs.changes(self._clock()), limits)
        self._server = rpc.server(self.access, limits)
        monitor_pb2_grpc.add_MonitorServiceServicer_to_server(self, self._server)

    async def start(self) -> None:
        """Listen, and open the outputs; raises UsageError."""
        try:
            self.address = await rpc.start(
                self._server, self.access, self._settings.listen, ["smssim.v1.MonitorService"], self._log, self._limits
            )
            self._outputs = await open_outputs(self._settings, self._log, self._resumed, self._limits)
        except BaseException:
            await self._server.stop(None)
            await self._saving.close()
            raise
        self._log.info("Listening on %s", self.address)
        ready.announce("ready", last=True, kind="monitor", address=self.address, resumed=self._resumed)
        for warning in threshold.warnings(self._settings.threshold):
            self._log.warning("%s", warning)

    async def serve(self, stop: asyncio.Event) -> int:
        """Follow the runs to their end, and return the exit code. Assumes `start`."""
        try:
            self._log.info("Waiting for a sender")
            self.runs.await_sender(self._clock())
            await waiting.first_of(stop.wait(), self._look_on(), self._saving.broken())
            self.runs.stop(self._clock())
            await self._carry_out()
            for followed in self.runs.followed.values():
                await self._outputs.list_messages(followed.tally.run, followed.tally.ledger)
            await self._saving.saved()
            await self._farewell()
        finally:
            await self._server.stop(grace=self._limits.server_grace_s)
            await self._saving.close()
            is_whole = await self._outputs.close()
        if not self.runs.any_ended:
            self._log.info("Stopped before a sender connected")
        return self.runs.exit_code(outputs_whole=is_whole)

    def metrics(self) -> list[metrics.Metric]:
        """Return the metrics at this moment."""
        return metrics.of_monitor([followed.tally for followed in self.runs.followed.values()], self._clock())

    async def _farewell(self) -> None:
        """Give watchers time to receive the last figures."""
        self.audience.close(self._clock())
        self._wake_watchers()
        while self.audience.is_reading(self._clock()):
            await self._watcher_left.wait(self.audience.closes_at)

    def _wake_watchers(self) -> None:
        for turn in self._turns.values():
            turn.ring()

    # -- the runs

    async def _look_on(self) -> None:
        """Check the runs whenever a check is due, until they are finished."""
        while not self.runs.finished:
            await self._due.wait(self.runs.wake_at)
            self.runs.look(self._clock())
            await self._carry_out()

    async def _carry_out(self) -> None:
        """Carry out the events of the runs."""
        while self.runs.events:
            match event := self.runs.events.popleft():
                case NoSender(for_s):
                    self._log.info("Still waiting for a sender after %.0f s", for_s)
                case Started(run):
                    self._log.info("Run %s: %s", run.run_id, plural(run.total, "message"))
                case Missed(name):
                    self._log.warning("Missed the first reports of sender %s: can't count the whole run", name)
                case Announced(announced):
                    self._outputs.event(announced)
                case Moment(snapshot):
                    self._outputs.moment(snapshot)
                case Dropped(run):
                    self._log.info("Dropped run %s (no outcomes, no senders): waiting for another", run.run_id)
                    self._outputs.dropped(run.run_id)
                    self._wake_watchers()
                    await self._saving.saved()
                case Ended():
                    self._show_end(event)
                    self._wake_watchers()

    def _show_end(self, ended: Ended) -> None:
        self._outputs.end(ended.snapshot)
        if self._settings.json and ended.snapshot.summary is not None:  # without --json, the summary shows both
            if ended.ending.exit_code:
                self._log.error("Run ended: %s", ended.ending.reason)
            for one in ended.snapshot.summary.thresholds:
                if not one.passed:
                    self._log.error("Threshold missed: %s %s", one.text, value(one, ended.run.total))

    def _take_outcomes(self, *outcomes: Any) -> None:
        """Write outcomes to the outputs, which `start` replaces; see `OnReport`."""
        self._outputs.outcomes(*outcomes)

    def _resume(self, journal: Journal) -> None:
        """Resume the run in the journal; raises JournalError."""
        with restoring(journal):
            tally = self.runs.resume(journal.pieces, self._clock())
        journal.pieces.clear()
        done, total = count(tally.ledger.final), plural(tally.run.total, "message")
        self._log.info("Resumed run %s: %s of %s counted", tally.run.run_id, done, total)

    # -- calls

    async def ReportResult(
        self, request: monitor_pb2.ReportResultRequest | None, context: Context
    ) -> monitor_pb2.ReportResultResponse:
        """See monitor.proto."""
        async with rpc.answering(context):
            request = rpc.decoded(request)
            run = wire.run_from_proto(request.run)
            sender = wire.sender_from_proto(request.sender)
            report = wire.report_from_proto(request, run)
            if len(report.finished):
                await self._outputs.ready()
            try:
                answer = self.runs.report(run, sender, report, self._clock())
            finally:
                if self.runs.events:
                    self._due.ring()
            self._log.debug(
                "Received report %d of sender %s (outcomes: %d, counted: %d)",
                *(report.sequence, sender.name, len(report.finished), answer.accepted),
            )
            await self._saving.saved()  # settled implies recorded: a crash can't undo what is acknowledged
        return wire.answer_to_proto(answer)

    async def AnnounceEvent(
        self, request: monitor_pb2.AnnounceEventRequest | None, context: Context
    ) -> monitor_pb2.AnnounceEventResponse:
        """See monitor.proto."""
        async with rpc.answering(context):
            self.runs.announce(announcing.announcement_from_proto(rpc.decoded(request)))
            self._due.ring()
            await self._saving.saved()
        return monitor_pb2.AnnounceEventResponse()

    async def AnnouncePlan(
        self, request: monitor_pb2.AnnouncePlanRequest | None, context: Context
    ) -> monitor_pb2.AnnouncePlanResponse:
        """See monitor.proto."""
        async with rpc.answering(context):
            self.runs.announce_plan(*planning.announcement_from_proto(rpc.decoded(request)))
            await self._saving.saved()
        return monitor_pb2.AnnouncePlanResponse()

    async def WatchProgress(
        self, request: monitor_pb2.WatchProgressRequest | None, context: Context
    ) -> AsyncIterator[Any]:  # encoded responses
        """See monitor.proto."""
        async with rpc.answering(context):
            watcher = self.audience.join(*watching.watch_from_proto(rpc.decoded(request)), self._clock())
        turn = self._turns[watcher] = waiting.Wakeup()
        try:
            await context.send_initial_metadata(())  # confirms the call: the first run may come much later
            while not watcher.finished:
                for followed in watcher.turn(self._clock()):
                    moment = self._encoder.shared(followed, self._clock())
                    yield moment.response(watcher.took(moment.snapshot.figures))
                await turn.wait(watcher.rest(self._clock()))
        finally:
            self.audience.leave(watcher)
            del self._turns[watcher]
            self._watcher_left.ring()


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
