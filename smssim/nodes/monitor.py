"""The monitor: counts what senders report, shows it every interval, and says how it ended.

Moves reports and figures between gRPC, the `Tally` of each run, which decides, and the view. Must not know other nodes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from grpc import aio

from smssim.core import threshold
from smssim.core.audience import wait_s
from smssim.core.digest import KEY_BYTES
from smssim.core.fleet import ROWS_MAX
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import RunFacts
from smssim.core.pieces import Changes
from smssim.core.progress import Figures
from smssim.core.snapshot import Snapshot
from smssim.core.tally import Ending, Tally
from smssim.errors import ExitCode, LaterError, PeerError, worst
from smssim.journal.group_commit import GroupCommit, restoring
from smssim.journal.sqlite import Journal
from smssim.net import access, rpc, watching, wire
from smssim.outputs import metrics
from smssim.outputs.opening import Outputs, open_outputs
from smssim.outputs.terminal.summary import value
from smssim.process import program, waiting
from smssim.process.logs import node_log
from smssim.settings import MonitorSettings
from smssim.v1 import monitor_pb2, monitor_pb2_grpc
from smssim.words import count, plural

Context = aio.ServicerContext[Any, Any]


class _Watch:
    """One run that is followed."""

    def __init__(self, tally: Tally, limits: Limits, resumed: bool = False) -> None:
        self._limits = limits
        self.tally = tally
        self.resumed = resumed  # from a journal
        self.final: Snapshot | None = None  # once the run is over
        self._shared: watching.Shared | None = None  # the latest that watchers got

    def snapshot(self, now: float, before: Snapshot | None = None, rows_max: int = ROWS_MAX) -> Snapshot:
        """Of this moment, or the last one; the recent rate is since the one before."""
        if self.final is not None:
            return self.final
        return self.tally.snapshot(self.tally.figures(now, None if before is None else before.figures), now, rows_max)

    def shared(self, now: float) -> watching.Shared:
        """What a watcher gets at this moment; made once for all that ask at about the same time."""
        shared = self._shared
        if shared is None or (
            now >= shared.made_at + self._limits.shared_s if self.final is None else not shared.figures.final
        ):
            shared = self._shared = watching.Shared.of(self.snapshot(now), now)
        return shared


class Monitor(monitor_pb2_grpc.MonitorServiceServicer):
    """One run, or any number if it lingers."""

    def __init__(self, settings: MonitorSettings, limits: Limits = LIMITS) -> None:
        self._limits = limits
        self.address = ""
        self._settings = settings
        self._log = node_log("monitor")
        self._clock = asyncio.get_running_loop().time
        self._watches: dict[str, _Watch] = {}
        self._erased: Changes = {}  # of runs that were dropped, for the journal
        self._over: dict[str, None] = {}  # ids of runs that are no longer kept, oldest first
        self._found = asyncio.Event()
        self._codes: set[int] = set()  # of the runs that are over
        self._runs: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # with what ended one of them
        self._stop = asyncio.Event()
        self._finished = asyncio.Event()
        self._watchers: set[waiting.Wakeup] = set()
        self._watcher_left = waiting.Wakeup()
        self._closing = False
        self._outputs = Outputs()  # until it starts
        self.access = access.load(settings)
        self._journal = Journal(settings.journal, "monitor") if settings.journal else None
        self._resumed = self._journal is not None and bool(self._journal.pieces)
        if self._journal is not None and self._resumed:
            self._resume(self._journal)
        self._saving = GroupCommit(self._journal, self._changes)
        self._server = rpc.server(self.access)
        monitor_pb2_grpc.add_MonitorServiceServicer_to_server(self, self._server)

    async def start(self) -> None:
        """Listens, and opens what is to be recorded; raises UsageError."""
        services = ["smssim.v1.MonitorService"]
        try:
            self.address = await rpc.start(self._server, self.access, self._settings.listen, services, self._log)
            self._outputs = await open_outputs(self._settings, self._log, self._resumed, self._limits)
        except BaseException:
            await self._server.stop(None)
            await self._saving.close()
            raise
        self._log.info("listening on %s", self.address)
        for warning in threshold.warnings(self._settings.threshold):
            self._log.warning("%s", warning)
        for watch in self._watches.values():
            self._start_following(watch)

    async def serve(self, stop: asyncio.Event) -> int:
        """Follows the runs to their end, after `start`; the worst of their exit codes."""
        try:
            saying = asyncio.create_task(self._say_waiting())
            try:
                await waiting.first_of(stop.wait(), self._finished.wait(), self._failed, self._saving.broken())
            finally:
                saying.cancel()
            self._stop.set()
            await asyncio.gather(*self._runs)
            await self._saving.saved()
            await self._farewell()
        finally:
            for run in self._runs:
                run.cancel()
            await self._server.stop(grace=0.5)
            if not await self._outputs.close():
                self._codes.add(ExitCode.INCOMPLETE)
            await self._saving.close()
        if not self._codes:
            self._log.info("stopped before a sender came")
            return ExitCode.OK if self._settings.linger else ExitCode.INCOMPLETE
        return worst(self._codes)

    def metrics(self) -> list[metrics.Metric]:
        """Of this moment."""
        return metrics.of_monitor([watch.tally for watch in self._watches.values()], self._clock())

    async def _say_waiting(self) -> None:
        waited_s = 0.0
        self._log.info("waiting for a sender")
        while not self._found.is_set():
            await asyncio.sleep(self._limits.repeat_notice_s)
            waited_s += self._limits.repeat_notice_s
            if not self._found.is_set():
                self._log.info("still waiting for a sender, for %.0f s", waited_s)

    async def _farewell(self) -> None:
        """Gives watchers time to take the last figures."""
        self._closing = True
        self._wake_watchers()
        until = self._clock() + self._limits.last_figures_s
        while self._watchers and self._clock() < until:
            await self._watcher_left.wait(until)

    def _wake_watchers(self) -> None:
        for alarm in self._watchers:
            alarm.ring()

    # -- one run

    def _watch(self, run: RunFacts) -> _Watch:
        """The run's watch, a new one if it is heard of for the first time; raises PeerError."""
        watch = self._watches.get(run.run_id)
        if watch is not None and watch.tally.run == run:
            return watch
        if watch is not None:  # one of them is wrong: that of which something is counted is right
            self._make_room(watch, f"run {run.run_id} is known here with other settings")
        if run.run_id in self._over:
            raise PeerError(f"run {run.run_id} is over")
        if self._watches and not self._settings.linger:
            watch = next(iter(self._watches.values()))
            self._make_room(watch, f"this monitor follows one run, {watch.tally.run.run_id}, and no other")
        if len(self._runs) >= self._limits.runs_max:
            for other in [other for other in self._watches.values() if self._may_drop(other)]:
                self._drop(other)  # there is room as soon as its task has ended
            raise LaterError(f"this monitor follows {self._limits.runs_max:,} runs already")
        watch = self._watches[run.run_id] = _Watch(
            Tally(run, self._clock(), os.urandom(KEY_BYTES), self._limits), self._limits
        )
        self._start_following(watch)
        return watch

    def _start_following(self, watch: _Watch) -> None:
        self._found.set()
        task = asyncio.create_task(self._follow(watch))
        self._runs.add(task)
        task.add_done_callback(self._run_over)

    def _make_room(self, watch: _Watch, refusal: str) -> None:
        """Lets another run take the place of this one, if it may never have been one; raises PeerError if not."""
        if self._may_drop(watch):
            self._drop(watch)
        elif watch.final is None and not watch.tally.counted:
            raise LaterError("this monitor follows another run, of which nothing is counted yet")
        else:
            raise PeerError(refusal)

    def _may_drop(self, watch: _Watch) -> bool:
        """One that was in the journal at the start is one that was waited for: it stays."""
        return not watch.resumed and watch.final is None and watch.tally.idle(self._clock())

    def _drop(self, watch: _Watch) -> None:
        self._log.info("run %s: nothing was counted and nobody is left, waiting for another", watch.tally.run.run_id)
        del self._watches[watch.tally.run.run_id]
        if self._journal is not None:
            self._erased |= watch.tally.erased(self._clock())
        self._wake_watchers()

    def _run_over(self, run: asyncio.Task[None]) -> None:
        self._runs.discard(run)
        error = None if run.cancelled() else run.exception()
        if error is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def _follow(self, watch: _Watch) -> None:
        """Shows a run until its end."""
        tally, interval_s = watch.tally, self._settings.interval_s
        self._log.info("run %s: %s", tally.run.run_id, plural(tally.run.total, "message"))
        rows_max = 0 if self._settings.json else ROWS_MAX
        before = watch.snapshot(self._clock(), rows_max=rows_max)
        self._outputs.moment(before)
        looked_at = self._clock()
        due = looked_at + interval_s
        missed = 0
        while (ending := tally.ending(looked_at, self._settings.give_up_s)) is None:
            await waiting.first_of(
                self._stop.wait(), timeout_s=min(self._limits.end_check_s, max(0.0, due - self._clock()))
            )
            late_s = self._clock() - looked_at - self._limits.end_check_s
            looked_at = self._clock()
            if late_s > self._limits.paused_s:
                tally.forgive_pause(late_s, looked_at)
            if self._stop.is_set():
                ending = tally.interrupted()
                break
            if watch not in self._watches.values():  # dropped
                return
            for name in tally.missed[missed:]:
                missed += 1
                self._log.warning("missed the first reports of %s: the run can't be counted to its end here", name)
            if self._clock() >= due:
                due += interval_s * max(1, (self._clock() - due) // interval_s)
                before = watch.snapshot(self._clock(), before, rows_max)
                self._outputs.moment(before)
        if self._may_drop(watch) and not self._stop.is_set():
            self._drop(watch)
            await self._saving.saved()
        else:
            self._end(watch, ending, before)
            await self._outputs.list_messages(tally.run, tally.ledger)

    def _end(self, watch: _Watch, ending: Ending, before: Snapshot) -> None:
        now, tally = self._clock(), watch.tally
        figures = tally.figures(now, before.figures, final=True)
        summary = tally.summary(figures, ending, self._settings.threshold)
        watch.final = replace(tally.snapshot(figures, now), summary=summary)
        self._outputs.end(watch.final)
        if self._settings.json:  # otherwise it is in the summary
            missed = [one for one in summary.thresholds if not one.passed]
            told = [f"threshold missed: {one.text} {value(one, figures.total)}" for one in missed]
            for line in [ending.reason] * bool(ending.exit_code) + told:
                self._log.error("%s", line)
        self._wake_watchers()
        self._codes.add(summary.exit_code)
        if not self._settings.linger:
            self._finished.set()
        ended = [run_id for run_id, other in self._watches.items() if other.final is not None]
        for run_id in ended[: -self._limits.ended_kept_max]:
            del self._watches[run_id]
            self._over[run_id] = None
            if len(self._over) > self._limits.ended_ids_max:
                del self._over[next(iter(self._over))]

    # -- what survives a crash

    def _resume(self, journal: Journal) -> None:
        """Goes on with the run in the journal; raises JournalError."""
        with restoring(journal):
            tally = Tally.restored(journal.pieces, self._clock(), self._limits)
        journal.pieces.clear()
        self._watches[tally.run.run_id] = _Watch(tally, self._limits, resumed=True)
        done, total = count(tally.ledger.final), plural(tally.run.total, "message")
        self._log.info("resumed run %s: %s of %s counted", tally.run.run_id, done, total)

    def _changes(self) -> Changes:
        """With a journal there is one run, and perhaps one that was dropped."""
        erased, self._erased = self._erased, {}
        watch = next(iter(self._watches.values()), None)
        return erased if watch is None else erased | watch.tally.changes(self._clock())

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
            tally = self._watch(run).tally
            tally.on_report = self._outputs.on_report
            others = sum(watch.tally.ledger.memory for watch in self._watches.values() if watch.tally is not tally)
            answer = tally.report(run, sender, report, self._clock(), others)
            self._log.debug(
                "report %d of %s, outcomes: %d, of which count: %d",
                *(report.sequence, sender.name, len(report.finished), answer.accepted),
            )
            await self._saving.saved()  # settled implies recorded: nothing is acknowledged that a crash could take back
        return wire.answer_to_proto(answer)

    async def WatchProgress(
        self, request: monitor_pb2.WatchProgressRequest | None, context: Context
    ) -> AsyncIterator[Any]:  # of the bytes of responses
        """See monitor.proto."""
        async with rpc.answering(context):
            wanted, interval_s = watching.watch_from_proto(rpc.decoded(request))
            if wanted and wanted not in self._watches:
                raise PeerError(f"unknown run {wanted!r}")
            if len(self._watchers) >= self._limits.watchers_max:
                raise LaterError(f"{self._limits.watchers_max:,} watch already")
        alarm = waiting.Wakeup()
        self._watchers.add(alarm)
        shown = {run_id for run_id, watch in self._watches.items() if watch.final is not None and run_id != wanted}
        before: dict[str, Figures] = {}
        due = self._clock()
        try:
            await context.send_initial_metadata(())  # the first run may be long in coming: a watcher is let in already
            while wanted not in shown:
                closing = self._closing  # as of now: while a response is written, the last figures may come about
                is_due = closing or self._clock() >= due
                shown.intersection_update(self._watches)
                before = {run_id: figures for run_id, figures in before.items() if run_id in self._watches}
                for run_id, watch in list(self._watches.items()):
                    if run_id in shown or wanted not in ("", run_id) or not (is_due or watch.final):
                        continue
                    shared = watch.shared(self._clock())
                    if watch.final is not None:
                        shown.add(run_id)
                    yield shared.response(before.get(run_id))
                    before[run_id] = shared.figures
                if closing or (wanted and wanted not in self._watches):
                    return
                if is_due:
                    asked_s = interval_s or self._settings.interval_s
                    due = self._clock() + wait_s(asked_s, len(self._watchers), len(before), self._limits)
                await alarm.wait(due)
        finally:
            self._watchers.discard(alarm)
            self._watcher_left.ring()


def serve(settings: MonitorSettings) -> int:
    """Runs a monitor to its end; its exit code. Raises UsageError."""

    async def main(stop: asyncio.Event) -> int:
        monitor = Monitor(settings)
        async with metrics.exposed(
            settings.metrics_port, settings.listen, monitor.metrics, node_log("monitor"), monitor.access
        ):
            await monitor.start()
            return await monitor.serve(stop)

    return program.run(main, settings)
