"""A complete run on this machine: a monitor, a producer and senders as separate processes on free loopback ports.

Starts them, forwards their logs, and stops those that remain at the end. The decisions are in `ending`. Addresses come
from the ready records of the nodes. On a terminal, the monitor prints nothing and this process shows its figures, so
that one process writes both the view and the log.
"""

from __future__ import annotations

import asyncio
import importlib
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from smssim.errors import ExitCode, JournalError, SmssimError
from smssim.launch import ending
from smssim.launch.ending import Codes
from smssim.launch.limits import LAUNCH_LIMITS, LaunchLimits
from smssim.launch.node import Node, NodeSettings
from smssim.net import secrecy
from smssim.outputs.opening import check_outputs, ends_slowly
from smssim.process import program, signals, terminal, waiting
from smssim.process.logs import node_log
from smssim.process.ready import Facts
from smssim.settings import RunSettings, WatchSettings
from smssim.words import plural

STOPPING: Final = "Stopping; press Ctrl-C again to stop at once"


class _NotStartedError(Exception):
    """The run did not start, because `node` ended before it was ready. If `node` is None, the run was stopped."""

    def __init__(self, node: Node | None) -> None:
        self.node = node


class Cluster:
    """The nodes of one run."""

    def __init__(self, settings: RunSettings, limits: LaunchLimits = LAUNCH_LIMITS) -> None:
        self._settings = settings
        self._limits = limits
        self._log = node_log("run")
        self._nodes: list[Node] = []
        self._senders: list[Node] = []
        self._reported: set[Node] = set()  # the nodes whose end was logged
        self._has_view = terminal.is_screen() and not settings.monitor.json
        self._say_stopping: Callable[[], None] = lambda: None
        signals.around_suspension(lambda: self._signal_all(signal.SIGSTOP), lambda: self._signal_all(signal.SIGCONT))

    async def serve(self, stop: asyncio.Event) -> int:
        """Run from start to end and return the exit code. Leaves no process behind."""
        fleet = plural(len(self._settings.senders), "sender")
        self._log.info("Starting a monitor, a producer and %s", fleet)
        if not self._has_view:  # the view warns itself
            secrecy.warn(self._settings.monitor)
        try:
            try:
                monitor, monitor_facts, producer, facts = await self._start_servers(stop)
            except _NotStartedError as error:
                return await self._end_start(error.node)
            self._log.info(
                "Sending %s with %s, seed %s", plural(self._settings.producer.count, "message"), fleet, facts["seed"]
            )
            self._log.info("To watch from another terminal, run: smssim watch %s", monitor_facts["address"])
            self._start_senders(facts["address"], stop)
            viewing = asyncio.create_task(self._view(monitor_facts["address"]))
            try:
                return await self._supervise(monitor, producer, stop)
            finally:
                await asyncio.wait([viewing], timeout=self._limits.view_s)
                viewing.cancel()
                await asyncio.gather(viewing, return_exceptions=True)
        finally:
            self.kill()
            await asyncio.gather(*(node.ended for node in self._nodes))

    def kill(self) -> None:
        """Kill all processes that still run. May be called in any thread."""
        self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: signal.Signals) -> None:
        for node in self._nodes:
            node.signal(number)

    # -- the start

    async def _start_servers(self, stop: asyncio.Event) -> tuple[Node, Facts, Node, Facts]:
        """Start the monitor and the producer, and return each with its ready record. Raises _NotStartedError."""
        monitor_journal, producer_journal = self._journals()
        monitor = self._start("monitor", "monitor", replace(self._settings.monitor, journal=monitor_journal))
        if self._has_view:
            importlib.import_module("smssim.nodes.watch")  # while the monitor starts, because importing gRPC is slow
        monitor_facts = await self._ready(monitor, stop)
        settings = replace(self._settings.producer, monitor=monitor_facts["address"], journal=producer_journal)
        producer = self._start("producer", "producer", settings)
        return monitor, monitor_facts, producer, await self._ready(producer, stop)

    def _start_senders(self, producer: str, stop: asyncio.Event) -> None:
        """Start the senders one by one, until the run is stopped."""
        for number, settings in enumerate(self._settings.senders, 1):
            if stop.is_set():
                break
            name = settings.name or f"sender-{number}"
            self._senders.append(
                self._start("sender", f"sender {name}", replace(settings, name=name, producer=producer))
            )

    def _start(self, kind: str, name: str, settings: NodeSettings) -> Node:
        node = Node.start(kind, name, settings, silent=self._has_view, limits=self._limits)
        self._nodes.append(node)
        return node

    async def _ready(self, node: Node, stop: asyncio.Event) -> Facts:
        """Return a node's ready record. Raises _NotStartedError if it ends before that, or if the run is stopped."""
        waiting_for = asyncio.create_task(node.ready())
        await waiting.first_of(asyncio.wait([waiting_for]), stop.wait())
        if not waiting_for.done():
            waiting_for.cancel()
            raise _NotStartedError(None)
        facts = waiting_for.result()
        if facts is None:
            raise _NotStartedError(node)
        return facts

    def _journals(self) -> tuple[str | None, str | None]:
        """Return the paths of the monitor's and the producer's journal, if wanted. Raises JournalError."""
        if self._settings.journal is None:
            return None, None
        directory = Path(self._settings.journal)
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(f"--journal: can't create the directory {directory}: {error.strerror}") from error
        return str(directory / "monitor.journal"), str(directory / "producer.journal")

    async def _end_start(self, node: Node | None) -> int:
        """Stop the nodes after this one failed to start, or after the run was stopped. Return the exit code."""
        if node is None:
            self._log.info(STOPPING)
        else:
            node.report_end(self._log)
        await asyncio.gather(*(other.end(self._limits.left_over_s, self._log) for other in self._nodes))
        return ExitCode.INCOMPLETE if node is None else ending.exit_code_at_start(node.code)

    # -- the view

    async def _view(self, monitor: str) -> None:
        """Show the monitor's figures, if this process has the view."""
        if not self._has_view:
            return
        from smssim.nodes.watch import WatchClient  # imported late: it loads gRPC, and all nodes have started by now

        settings = WatchSettings(
            monitor=monitor,
            interval_s=self._settings.monitor.interval_s,
            token_file=self._settings.monitor.token_file,
            token=self._settings.monitor.token,
        )
        watcher = WatchClient(settings, self._log, met=True)
        self._say_stopping = watcher.say_stopping
        try:
            await watcher.serve(asyncio.Event())
        except SmssimError as error:
            self._log.error("%s", error)

    # -- the end

    async def _supervise(self, monitor: Node, producer: Node, stop: asyncio.Event) -> int:
        """Wait until the run ends for any reason, stop the remaining nodes, and return the exit code."""
        await self._until_over(monitor, producer, stop)
        codes, stopped = self._codes(monitor, producer), stop.is_set()
        if stopped:
            self._log.info(STOPPING)
            self._say_stopping()
        elif codes.has_failed:
            self._report([node for node in (monitor, producer) if ending.has_failed(node.code)])
        else:
            if codes.may_end_alone:
                await self._let_end(monitor)
            codes = self._codes(monitor, producer)
            if codes.lacks_senders:
                self._log.error("No sender is left")
        limit_s = ending.sender_s(codes, stopped, self._limits)
        await asyncio.gather(*(sender.end(limit_s, self._log) for sender in self._senders))
        await producer.end(limit_s, self._log)
        is_slow = ends_slowly(self._settings.monitor, self._log)
        await monitor.end(ending.monitor_s(is_slow, self._limits), self._log)
        shows_summary = not self._settings.monitor.json
        self._report([node for node in (producer, monitor) if ending.is_reported(node.code, shows_summary)])
        return ending.exit_code(self._codes(monitor, producer))

    async def _until_over(self, monitor: Node, producer: Node, stop: asyncio.Event) -> None:
        """Wait until the run is stopped or can't continue. Log the ends of senders as they occur."""
        stopped = asyncio.create_task(stop.wait())
        try:
            while not (stop.is_set() or self._codes(monitor, producer).is_over):
                ends = [node.ended for node in self._nodes if not node.ended.done()]
                await asyncio.wait([stopped, *ends], return_when=asyncio.FIRST_COMPLETED)
                self._report(self._senders)
        finally:
            stopped.cancel()

    async def _let_end(self, monitor: Node) -> None:
        """Wait until the remaining nodes end by themselves, as they do at the end of a run."""
        await asyncio.wait([monitor.ended], timeout=self._limits.left_over_s)
        await asyncio.wait([node.ended for node in self._nodes], timeout=self._limits.others_s)

    def _codes(self, monitor: Node, producer: Node) -> Codes:
        return Codes(monitor.code, producer.code, tuple(sender.code for sender in self._senders))

    def _report(self, nodes: list[Node]) -> None:
        """Log the failures among these nodes, each once."""
        for node in nodes:
            if node.code and node not in self._reported:
                self._reported.add(node)
                node.report_end(self._log)


def serve(settings: RunSettings) -> int:
    """Perform a complete run and return its exit code. Raises UsageError if an output can't be written."""
    clusters: list[Cluster] = []

    check_outputs(settings.monitor, node_log("run"), resumes=settings.journal is not None)

    async def main(stop: asyncio.Event) -> int:
        clusters.append(Cluster(settings))
        return await clusters[0].serve(stop)

    return program.run(main, settings.monitor, last_act=lambda: clusters[0].kill() if clusters else None)
