"""A complete run on this machine: a monitor, a producer and senders as separate processes on free loopback ports.

Starts them and forwards their logs. What happens to them is in `course`, and how a run ends in `closing`. Addresses
come from the ready records of the nodes. On a terminal, the monitor prints nothing and this process shows its figures,
so that one process writes both the view and the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

from smssim.core.event import Event
from smssim.errors import ExitCode, SmssimError
from smssim.launch import ending
from smssim.launch.announcer import Announcer
from smssim.launch.beside import plan_beside
from smssim.launch.child import Record
from smssim.launch.closing import STOPPING, Closing
from smssim.launch.course import Course
from smssim.launch.journals import Journals
from smssim.launch.limits import LAUNCH_LIMITS, VIEW_LIMITS, LaunchLimits
from smssim.launch.members import Member, Members
from smssim.launch.node import Node
from smssim.net import secrecy
from smssim.outputs.opening import check_outputs
from smssim.outputs.text_lines import log_text
from smssim.process import program, signals, terminal, waiting
from smssim.process.logs import node_log
from smssim.settings import RunSettings, WatchSettings
from smssim.words import plural


class _NotStartedError(Exception):
    """The run did not start, because `node` ended before it was ready. If `node` is None, the run was stopped."""

    def __init__(self, node: Node | None) -> None:
        self.node = node


class Cluster:
    """The nodes of one run."""

    def __init__(self, settings: RunSettings, limits: LaunchLimits = LAUNCH_LIMITS) -> None:
        """Raise JournalError if the directory of the journals can't be created."""
        self._settings = settings
        self._limits = limits
        self._log = node_log("run")
        self._has_view = terminal.is_screen() and not settings.monitor.json
        self._has_events = bool(settings.faults) or any(sender.joins_s for sender in settings.senders)
        self._journals = Journals(settings.journal, settings.needs_journals)
        self._members = Members(settings, silent=self._has_view, limits=limits)
        self._paused: set[str] = set()  # the keys of the nodes that a fault has paused
        self._say_stopping: Callable[[], None] = lambda: None
        signals.around_suspension(
            lambda: self._members.signal(signal.SIGSTOP), lambda: self._members.signal(signal.SIGCONT, self._paused)
        )

    async def serve(self, stop: asyncio.Event) -> int:
        """Run from start to end and return the exit code. Leaves no process and no temporary file behind."""
        fleet = plural(len(self._settings.senders), "sender")
        self._log.info("Starting a monitor, a producer and %s", fleet)
        if not self._has_view:  # the view warns itself
            secrecy.warn(self._settings.monitor)
        try:
            try:
                monitor, producer = await self._start_servers(stop)
            except _NotStartedError as error:
                return await self._end_start(error.node)
            total, seed = plural(self._settings.producer.count, "message"), producer.facts["seed"]
            self._log.info("Sending %s with %s, seed %s", total, fleet, seed)
            if self._settings.producer.text is not None:
                log_text(self._log, self._settings.producer.text)
            self._log.info("To watch from another terminal, run: smssim watch %s", monitor)
            return await self._run(self._watching(monitor), producer, stop)
        finally:
            self._members.signal(signal.SIGKILL)
            await asyncio.gather(*(node.ended for node in self._members.processes))
            self._journals.remove()

    def kill(self) -> None:
        """Kill all processes that still run, because this one ends at once. May be called in any thread."""
        self._members.signal(signal.SIGSTOP)  # so that they neither write nor end while their journals are removed
        self._journals.remove()
        self._members.signal(signal.SIGKILL)

    # -- the start

    async def _start_servers(self, stop: asyncio.Event) -> tuple[str, Record]:
        """Start the monitor and the producer; return the monitor's address and the producer's ready record.

        If they are started again, they listen on the same addresses. Raises _NotStartedError.
        """
        monitor, producer = self._members.monitor, self._members.producer
        monitor.change(journal=self._journals.of("monitor"))
        self._members.start(monitor)
        if self._has_view:  # while the monitor starts, because importing gRPC is slow
            importlib.import_module("smssim.nodes.watch")
        if self._has_events:
            importlib.import_module("smssim.net.announcing")
        address = (await self._record(monitor, "ready", stop)).facts["address"]
        producer.change(monitor=address, journal=self._journals.of("producer"))
        self._members.start(producer)
        record = await self._record(producer, "ready", stop)
        monitor.change(listen=address)
        if self._settings.monitor.metrics_port is not None:
            metrics = await self._record(monitor, "metrics", stop)
            monitor.change(metrics_port=urlsplit(metrics.facts["url"]).port)
        if self._settings.monitor.web is not None:
            page = await self._record(monitor, "web", stop)
            monitor.change(web=urlsplit(page.facts["url"]).port)
            self._log.info("%s", page.facts["says"])
        producer.change(listen=record.facts["address"])
        return address, record

    async def _record(self, member: Member, event: str, stop: asyncio.Event) -> Record:
        """Wait for a record of a node. Raises _NotStartedError if it ends before that, or if the run is stopped."""
        waiting_for = asyncio.create_task(member.node.record(event))
        await waiting.first_of(asyncio.wait([waiting_for]), stop.wait())
        if not waiting_for.done():
            waiting_for.cancel()
            raise _NotStartedError(None)
        record = waiting_for.result()
        if record is None:
            raise _NotStartedError(member.node)
        return record

    async def _end_start(self, node: Node | None) -> int:
        """Stop the nodes after this one failed to start, or after the run was stopped. Return the exit code."""
        if node is None:
            self._log.info(STOPPING)
        else:
            node.report_end(self._log)
        await asyncio.gather(*(other.end(self._limits.left_over_s, self._log) for other in self._members.processes))
        return ExitCode.INCOMPLETE if node is None else ending.exit_code_at_start(node.code)

    # -- the run

    async def _run(self, watching: WatchSettings, producer: Record, stop: asyncio.Event) -> int:
        """Start the senders, show and announce what happens, and return the exit code at the end of the run."""
        announcer = Announcer(watching, self._log)

        def say(event: Event) -> None:
            if not self._has_view:  # the view shows it
                self._log.info("%s", event.text)
            announcer.add(event)

        course = Course(self._settings, self._members, producer, say, announcer.monitor_is_up, self._limits)
        self._paused = course.timetable.paused
        await course.start_senders(producer.facts["address"], stop)
        closing = Closing(self._settings.monitor, self._members, course, announcer, self._log, self._limits)
        planning = plan_beside(self._settings, producer.facts, watching.monitor, self._log)
        async with (
            self._beside(self._view(watching), self._limits.view_s),
            self._beside(self._announce(announcer)),
            self._beside(planning),
        ):
            await closing.until_over(stop)
            if stop.is_set():
                self._log.info(STOPPING)
                self._say_stopping()
            return await closing.close(stopped=stop.is_set())

    @contextlib.asynccontextmanager
    async def _beside(self, what: Coroutine[Any, Any, None], longer_s: float = 0.0) -> AsyncIterator[None]:
        """Do this during the block, and for at most `longer_s` after it.

        Logs a SmssimError at once. Raises any other exception after the block.
        """

        async def logged() -> None:
            try:
                await what
            except SmssimError as error:
                self._log.error("%s", error)

        doing = asyncio.create_task(logged())
        try:
            yield
        finally:
            await asyncio.wait([doing], timeout=longer_s)
            doing.cancel()
            await asyncio.wait([doing])
            if not doing.cancelled():
                doing.result()

    def _watching(self, monitor: str) -> WatchSettings:
        """Return the settings of this process as a client of the monitor."""
        its = self._settings.monitor
        return WatchSettings(
            monitor=monitor,
            interval_s=its.interval_s,
            token_file=its.token_file,
            token=its.token,
            give_up_s=max(its.give_up_s, WatchSettings.give_up_s),
        )

    async def _view(self, watching: WatchSettings) -> None:
        """Show the monitor's figures, if this process has the view."""
        if not self._has_view:
            return
        from smssim.nodes.watch import WatchClient  # imported late: it loads gRPC, and all nodes have started by now

        watcher = WatchClient(watching, self._log, met=True, limits=VIEW_LIMITS)
        self._say_stopping = watcher.say_stopping
        await watcher.serve(asyncio.Event())

    async def _announce(self, announcer: Announcer) -> None:
        """Announce the events to the monitor, if there can be any."""
        if self._has_events:
            await announcer.serve()


def serve(settings: RunSettings) -> int:
    """Perform a complete run and return its exit code. Raises UsageError if an output can't be written."""
    clusters: list[Cluster] = []

    check_outputs(settings.monitor, node_log("run"), resumes=settings.journal is not None)

    async def main(stop: asyncio.Event) -> int:
        clusters.append(Cluster(settings))
        return await clusters[0].serve(stop)

    return program.run(main, settings.monitor, last_act=lambda: clusters[0].kill() if clusters else None)
