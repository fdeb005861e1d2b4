"""One monitor while it owns its run: moves reports and figures between gRPC, the log, the outputs and `Runs`.

Must not know how a run is taken, or other nodes.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import Any

from smssim.core.commits import CUT_OFF
from smssim.core.digest import KEY_BYTES
from smssim.core.event import takeover
from smssim.core.fleet import ROWS_MAX
from smssim.core.followed import Ended, Moment, Noted, Policy
from smssim.core.limits import LIMITS, Limits
from smssim.core.runs import Announced, Dropped, Runs
from smssim.errors import ExitCode, LaterError, PeerError
from smssim.journal.group_commit import GroupCommit
from smssim.net import announcing, planning, rpc, wire
from smssim.nodes import monitor_log
from smssim.nodes.keeping import Ownership
from smssim.nodes.watchers import Watchers
from smssim.outputs import metrics
from smssim.outputs.opening import Outputs, wants_course
from smssim.process import waiting
from smssim.process.logs import Log
from smssim.settings import MonitorSettings
from smssim.v1 import monitor_pb2


class MonitorTerm:
    """A monitor of one run, or of any number if it lingers, until these end or another monitor takes over."""

    def __init__(
        self, settings: MonitorSettings, own: Ownership, outputs: Outputs, log: Log, limits: Limits = LIMITS
    ) -> None:
        """Continue the run on record, if there is one. Raises the error of a damaged log."""
        self._limits = limits
        self._settings = settings
        self._log = log
        self._clock = asyncio.get_running_loop().time
        self.outputs = outputs
        self.resumed = own.resumes
        policy = Policy(
            interval_s=settings.interval_s,
            give_up_s=settings.give_up_s,
            thresholds=settings.threshold,
            linger=settings.linger,
            journaled=own.log is not None,
            rows_max=0 if settings.json else ROWS_MAX,
            noted=wants_course(settings),
        )
        self.runs = Runs(policy, partial(os.urandom, KEY_BYTES), self._take_outcomes, limits)
        self._due = waiting.Wakeup()  # rung when a report causes events
        self.watchers = Watchers(
            self.runs.followed, settings.interval_s, lambda: self._gone, limits, lingers=settings.linger
        )
        self._abandoned = ""  # why this monitor answers no more
        self._left = False  # whether another one may continue the run
        self._shared = own.engine is not None
        if own.resumes:
            self._resume(own)
        self.saving = GroupCommit(own.log, lambda: self.runs.changes(self._clock()), limits, own.engine, log.info)

    async def begin(self) -> None:
        """Save a takeover, if there was one. See `Term`."""
        if self.runs.followed:
            await self.saving.saved()

    async def serve(self, stop: asyncio.Event) -> int:
        """Follow the runs to their end. See `Term`."""
        self._log.info("Waiting for a sender")
        self.runs.await_sender(self._clock())
        await waiting.first_of(stop.wait(), self._look_on(), self.saving.broken())
        if self._shared and not self.runs.finished:
            self._left = True
            await self.saving.saved()
            return ExitCode.INCOMPLETE
        self.runs.stop(self._clock())
        await self._carry_out()
        for followed in self.runs.followed.values():
            await self.outputs.list_messages(followed.tally.run, followed.tally.ledger)
        await self.saving.saved()
        await self.watchers.farewell()
        if not self.runs.any_ended:
            self._log.info("Stopped before a sender connected")
        return self.runs.exit_code

    @property
    def ended(self) -> tuple[int, str] | None:
        """How the run ended. See `Term`."""
        ends = [run.final.summary for run in self.runs.followed.values() if run.final is not None]
        if self._left or not ends or ends[0] is None:
            return None
        missed = ", but a threshold was missed" if ends[0].exit_code == ExitCode.THRESHOLD else ""
        return ends[0].exit_code, ends[0].reason + missed

    def abandon(self, reason: str) -> None:
        """End the streams of all watchers, and show the runs no more. See `Term`."""
        self._abandoned = reason
        for run_id in self.runs.followed:
            self.outputs.dropped(run_id)
        self.watchers.wake()

    def metrics(self) -> list[metrics.Metric]:
        """Return the metrics at this moment."""
        return metrics.of_monitor([followed.tally for followed in self.runs.followed.values()], self._clock())

    # -- the runs

    async def _look_on(self) -> None:
        """Check the runs whenever a check is due, until they are finished."""
        while not self.runs.finished:
            await self._due.wait(self.runs.wake_at)
            if self.saving.is_cut_off:  # then the next look is late, which counts as a pause of this monitor
                await asyncio.sleep(self._limits.end_check_s)
                continue
            self.runs.look(self._clock())
            await self._carry_out()

    async def _carry_out(self) -> None:
        """Carry out the events of the runs."""
        while self.runs.events:
            match event := self.runs.events.popleft():
                case Announced(announced):
                    self.outputs.event(announced)
                case Moment(snapshot):
                    self.outputs.moment(snapshot)
                case Noted(snapshot, course):
                    self.outputs.noted(snapshot, course)
                case Ended(snapshot=snapshot, course=course):
                    if self._shared:
                        await self.saving.saved()  # another monitor might have taken over, and show another end
                    self.outputs.end(snapshot, course)
                    if self._settings.json:
                        monitor_log.log_end(self._log, event)
                    self.watchers.wake()
                case Dropped(run):
                    monitor_log.log_event(self._log, event)
                    self.outputs.dropped(run.run_id)
                    self.watchers.wake()
                    await self.saving.saved()
                case _:
                    monitor_log.log_event(self._log, event)

    def _take_outcomes(self, *outcomes: Any) -> None:
        """Write outcomes to the outputs; see `OnReport`."""
        self.outputs.outcomes(*outcomes)

    def _resume(self, own: Ownership) -> None:
        """Resume the run on record; raises the error of a damaged log."""
        now, previous, away_s = self._clock(), own.taken.previous, own.taken.away_s
        with own.restoring():
            tally = self.runs.resume(own.taken.pieces, now, away_s)
        monitor_log.log_resumed(self._log, tally)
        if previous and not tally.complete:
            self.runs.announce(takeover("monitor", previous, away_s, tally.elapsed_s(now), tally.run.run_id))

    # -- calls

    async def report(self, request: monitor_pb2.ReportResultRequest | None) -> monitor_pb2.ReportResultResponse:
        """Record a report; see ReportResult in monitor.proto. Raises PeerError or NotSavedError."""
        request = rpc.decoded(request)
        run = wire.run_from_proto(request.run)
        sender = wire.sender_from_proto(request.sender)
        report = wire.report_from_proto(request, run)
        if len(report.finished):
            await self.outputs.ready()
        self._check_owner()
        try:
            answer = self.runs.report(run, sender, report, self._clock())
        except PeerError as error:
            if self._shared and not isinstance(error, LaterError):
                await self._saved(proves=True)  # another monitor that has taken over might accept the report
            raise
        finally:
            if self.runs.events:
                self._due.ring()
        self._log.debug(
            "Received report %d of sender %s (outcomes: %d, counted: %d)",
            *(report.sequence, sender.name, len(report.finished), answer.accepted),
        )
        await self._saved()  # settled implies recorded: a crash can't undo what is acknowledged
        return wire.answer_to_proto(answer)

    def _check_owner(self) -> None:
        """Raise LaterError if this monitor no longer owns the run: then it must not write outcomes to its outputs."""
        if self._left or self._abandoned:
            raise LaterError(self._abandoned or "it leaves the run to another monitor")

    async def _saved(self, *, proves: bool = False) -> None:
        """Wait until all changes are saved. Raises NotSavedError, or LaterError if another monitor may have taken over.

        A sender then repeats its report, to this monitor or another one.
        """
        if not self._shared:
            await self.saving.saved()
            return
        try:
            async with asyncio.timeout(self._limits.cut_off_after_s):
                await self.saving.saved(proves=proves)
        except TimeoutError:
            raise LaterError(CUT_OFF) from None

    @property
    def _gone(self) -> str:
        """Why watchers must try other monitors; empty if they need not."""
        return self._abandoned or (CUT_OFF if self.saving.is_cut_off else "")

    async def announce(self, request: monitor_pb2.AnnounceEventRequest | None) -> monitor_pb2.AnnounceEventResponse:
        """Record an event; see AnnounceEvent in monitor.proto. Raises PeerError or NotSavedError."""
        self._check_owner()
        self.runs.announce(announcing.announcement_from_proto(rpc.decoded(request)))
        self._due.ring()
        await self._saved()
        return monitor_pb2.AnnounceEventResponse()

    async def announce_plan(self, request: monitor_pb2.AnnouncePlanRequest | None) -> monitor_pb2.AnnouncePlanResponse:
        """Record a plan; see AnnouncePlan in monitor.proto. Raises PeerError or NotSavedError."""
        self._check_owner()
        self.runs.announce_plan(*planning.announcement_from_proto(rpc.decoded(request)))
        await self._saved()
        return monitor_pb2.AnnouncePlanResponse()
