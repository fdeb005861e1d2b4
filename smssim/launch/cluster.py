"""A whole run on this machine: a monitor, a producer and senders as separate processes on free loopback ports.

Starts them, passes the monitor's output on, ends those that are left over. Knows nodes by their command lines only.
On a terminal the monitor is silent and this process watches it, so that the view and the log share one pen.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from smssim.errors import ExitCode, JournalError, SmssimError, worst
from smssim.net import secrecy
from smssim.outputs.opening import check_outputs
from smssim.process import program, signals, terminal, waiting
from smssim.process.logs import Log, node_log
from smssim.settings import (
    TOKEN_VARIABLE,
    MonitorSettings,
    ProducerSettings,
    RunSettings,
    SenderSettings,
    WatchSettings,
    flag_of,
    flagged,
)
from smssim.words import plural

LEFT_OVER_S: Final = 5.0  # how long a node may outlive what it was there for ...
OVER_S: Final = 2.0  # ... and the others, their monitor
LAST_WORD_S: Final = 3.0  # how long the last figures may take to be shown
LAST_REPORT_S: Final = 1.0  # how long senders may take to report when the run can't be completed any more
FILES_S: Final = 600.0  # how long a monitor may take to write what is wanted of it
DRAIN_S: Final = 20.0  # how long senders may take to finish what they have

_TOLD: Final = re.compile(r"(listening on|seed) (\S+)$")
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_prctl: Final = getattr(ctypes.CDLL(None), "prctl", None)  # looked up here: little is safe in a child before it runs

NodeSettings = ProducerSettings | SenderSettings | MonitorSettings


def command(name: str, settings: NodeSettings) -> list[str]:
    """The command line that starts this node with these settings."""
    words = [sys.executable, "-m", "smssim", name]
    for setting in flagged(settings):
        value = getattr(settings, setting.name)
        if value is True:
            words.append(flag_of(setting.name))
        elif isinstance(value, tuple):
            words += [f"{flag_of(setting.name)}={one}" for one in value]
        elif value is not None and value is not False and value != "":
            words.append(f"{flag_of(setting.name)}={value}")
    return words


def end_with_parent() -> None:
    """In a child before it runs, on Linux: the kernel is to kill it when this process dies, even of a SIGKILL."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class _Node:
    """A process that was started."""

    def __init__(self, name: str, child: asyncio.subprocess.Process, log_level: int, said: Sequence[str] = ()) -> None:
        self.name = name
        self._child = child
        self._log_level = log_level  # from which on its log is passed on ...
        self._said = said  # ... but for what each node would repeat
        loop = asyncio.get_running_loop()
        self._facts: dict[str, asyncio.Future[str]] = {what: loop.create_future() for what in ("listening on", "seed")}
        self.ended = asyncio.create_task(self._follow())

    @classmethod
    async def start(cls, kind: str, name: str, settings: NodeSettings, silent: bool = False) -> _Node:
        """Starts a node in a session of its own: Ctrl-C in the terminal reaches this process alone, which then ends it.

        Its log comes as JSON, which tells what is a warning; from info on, for that says where it listens.
        """
        all_of_it = settings.log_level == "debug"
        settings = replace(settings, log_level="debug" if all_of_it else "info", log_format="json")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SMSSIM_")}
        if settings.token:
            environment[TOKEN_VARIABLE] = settings.token
        child = await asyncio.create_subprocess_exec(
            *command(kind, settings),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL if silent else None,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
        return cls(name, child, logging.DEBUG if all_of_it else logging.WARNING, secrecy.warnings(settings))

    @property
    def code(self) -> int | None:
        """Its exit code, negative if a signal ended it; None while it runs."""
        return self._child.returncode

    @property
    def failed(self) -> bool:
        """Whether something ended it that is no way for a run to end."""
        return self.code not in (None, ExitCode.OK, ExitCode.INCOMPLETE, ExitCode.DISAGREE, ExitCode.THRESHOLD)

    async def address(self) -> str | None:
        """Where it listens, once it does; None if it ended before."""
        return await self._told("listening on")

    async def seed(self) -> str | None:
        """The seed of the run, once it has told; None if it ended before."""
        return await self._told("seed")

    async def _told(self, what: str) -> str | None:
        fact = self._facts[what]
        await waiting.first_of(asyncio.wait([fact]), asyncio.wait([self.ended]))
        return fact.result() if fact.done() else None

    async def end(self, within_s: float, log: Log) -> None:
        """Asks it to end, and kills it if that takes too long."""
        self.signal(signal.SIGTERM)
        await asyncio.wait([self.ended], timeout=within_s)
        if not self.ended.done():
            log.warning("%s did not end within %g s and is killed", self.name, within_s)
            self.signal(signal.SIGKILL)
            await self.ended

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if it still runs.

        Not by asyncio's `send_signal`: that may take the exit code away from the thread that waits for it, which then
        reports 255 instead.
        """
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child.pid, number)

    def tell_end(self, log: Log) -> None:
        """Says how it ended; what went wrong, its own log has said."""
        code = self.code or 0
        if code < 0:
            log.error("%s was ended by %s", self.name, signal.Signals(-code).name)
        else:
            log.error("%s ended with exit code %d", self.name, code)

    async def _follow(self) -> None:
        assert self._child.stderr is not None
        async for raw in self._child.stderr:
            self._hear(raw.decode(errors="replace").rstrip())
        await self._child.wait()

    def _hear(self, line: str) -> None:
        """Takes what a line of its log tells, and passes it on if it is for people."""
        try:
            said = json.loads(line)
            level, node, message = logging.getLevelNamesMapping()[said["level"].upper()], said["node"], said["message"]
        except (ValueError, LookupError, TypeError, AttributeError):  # not of its log: a refused flag, a stack trace
            terminal.write_beside_log(line)
            return
        if level >= self._log_level and message not in self._said:
            node_log(node).log(level, message)
        found = _TOLD.search(message)
        if found and not self._facts[found[1]].done():
            self._facts[found[1]].set_result(found[2])


class Cluster:
    """The nodes of one run."""

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings
        self._log = node_log("run")
        self._nodes: list[_Node] = []
        self._senders: list[_Node] = []
        self._told: set[_Node] = set()  # whose end was spoken of
        self._watches = terminal.is_screen() and not settings.monitor.json
        self._say_stopping: Callable[[], None] = lambda: None
        signals.around_suspension(lambda: self._signal_all(signal.SIGSTOP), lambda: self._signal_all(signal.SIGCONT))

    async def serve(self, stop: asyncio.Event) -> int:
        """The run, from start to end; its exit code. Leaves no process behind."""
        fleet = plural(len(self._settings.senders), "sender")
        self._log.info("starting a monitor, a producer and %s", fleet)
        if not self._watches:  # otherwise the watcher does
            secrecy.warn(self._settings.monitor)
        try:
            monitor_journal, producer_journal = self._journals()
            monitor_settings = replace(self._settings.monitor, journal=monitor_journal)
            monitor = await self._start("monitor", "the monitor", monitor_settings)
            if self._watches:
                importlib.import_module("smssim.nodes.watch")  # while the monitor starts, for gRPC takes its time
            monitor_address = await monitor.address()
            if monitor_address is None:
                return await self._failed(monitor)
            producer_settings = replace(self._settings.producer, monitor=monitor_address, journal=producer_journal)
            producer = await self._start("producer", "the producer", producer_settings)
            producer_address, seed = await producer.address(), await producer.seed()
            if producer_address is None or seed is None:
                return await self._failed(producer)
            self._log.info("%s, seed %s, %s", plural(producer_settings.count, "message"), seed, fleet)
            self._log.info("watch it from another terminal: smssim watch %s", monitor_address)
            for number, settings in enumerate(self._settings.senders, 1):
                if stop.is_set():
                    break
                name = settings.name or f"sender-{number}"
                named = replace(settings, name=name, producer=producer_address)
                self._senders.append(await self._start("sender", name, named))
            watching = asyncio.create_task(self._watch(monitor_address))
            try:
                return await self._supervise(monitor, producer, stop)
            finally:
                await asyncio.wait([watching], timeout=LAST_WORD_S)
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
        finally:
            self.kill()
            await asyncio.gather(*(node.ended for node in self._nodes))

    async def _watch(self, monitor_address: str) -> None:
        """Shows what the monitor counts, if that is for this process to show."""
        if not self._watches:
            return
        from smssim.nodes.watch import Watcher  # gRPC, late: all nodes are started by now

        settings = WatchSettings(
            monitor=monitor_address,
            interval_s=self._settings.monitor.interval_s,
            token_file=self._settings.monitor.token_file,
            token=self._settings.monitor.token,
        )
        watcher = Watcher(settings, self._log, met=True)
        self._say_stopping = watcher.say_stopping
        try:
            await watcher.serve(asyncio.Event())
        except SmssimError as error:
            self._log.error("%s", error)

    def _journals(self) -> tuple[str | None, str | None]:
        """The journals of the monitor and the producer, if they are wanted; raises JournalError."""
        if self._settings.journal is None:
            return None, None
        directory = Path(self._settings.journal)
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(f"--journal: {directory} is no directory and can't be made: {error.strerror}") from error
        return str(directory / "monitor.journal"), str(directory / "producer.journal")

    def kill(self) -> None:
        """Ends every process that is left, at once."""
        self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: signal.Signals) -> None:
        for node in self._nodes:
            node.signal(number)

    async def _start(self, kind: str, name: str, settings: NodeSettings) -> _Node:
        node = await _Node.start(kind, name, settings, silent=self._watches)
        self._nodes.append(node)
        return node

    async def _failed(self, node: _Node) -> int:
        """Ends what was started beside this node, which did not start; the exit code."""
        node.tell_end(self._log)
        await asyncio.gather(*(other.end(LEFT_OVER_S, self._log) for other in self._nodes))
        return node.code if node.code and node.code > 0 else ExitCode.INTERNAL

    async def _supervise(self, monitor: _Node, producer: _Node, stop: asyncio.Event) -> int:
        """Waits for the end of the run, whatever ends it, and ends what is left; the exit code."""
        await self._follow(monitor, producer, stop)
        drain_s = DRAIN_S
        if stop.is_set():
            self._log.info("stopping; once more to stop at once")
            self._say_stopping()
        elif monitor.failed or producer.failed:
            self._tell([node for node in (monitor, producer) if node.failed])
            drain_s = LAST_REPORT_S
        else:
            await self._wind_up(monitor)
            if monitor.code in (ExitCode.INCOMPLETE, ExitCode.DISAGREE):  # nobody can report to it any more
                drain_s = LAST_REPORT_S
            if producer.code is None and not any(sender.code is None for sender in self._senders):
                self._log.error("no sender is left")
        await asyncio.gather(*(sender.end(drain_s, self._log) for sender in self._senders))
        await producer.end(drain_s, self._log)
        written = self._settings.monitor.record or self._settings.monitor.failed
        await monitor.end(FILES_S if written else LEFT_OVER_S, self._log)
        told = [ExitCode.INCOMPLETE]  # in its log
        if not self._settings.monitor.json:
            told.append(ExitCode.THRESHOLD)  # by the summary
        self._tell([node for node in (producer, monitor) if node.code not in told])
        return self._code([producer.code, monitor.code])

    async def _wind_up(self, monitor: _Node) -> None:
        """Lets what is left end by itself, as it does at the end of a run; not if every sender has failed."""
        if all(sender.code for sender in self._senders):
            return
        await asyncio.wait([monitor.ended], timeout=LEFT_OVER_S)
        await asyncio.wait([node.ended for node in self._nodes], timeout=OVER_S)

    async def _follow(self, monitor: _Node, producer: _Node, stop: asyncio.Event) -> None:
        """Waits until the run is stopped, or without a producer, a monitor or any sender."""
        stopped = asyncio.create_task(stop.wait())
        try:
            while not (stopped.done() or producer.ended.done() or monitor.ended.done()):
                running = [sender.ended for sender in self._senders if not sender.ended.done()]
                if not running:
                    break
                waiting = [stopped, producer.ended, monitor.ended, *running]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                self._tell(self._senders)
        finally:
            stopped.cancel()

    def _tell(self, nodes: list[_Node]) -> None:
        """Says how these ended, if badly and not yet said."""
        for node in nodes:
            if node.code and node not in self._told:
                self._told.add(node)
                node.tell_end(self._log)

    def _code(self, codes: list[int | None]) -> int:
        """The exit code of the run: the worst of the monitor's and the producer's."""
        if any(code is None or code < 0 for code in codes):
            return ExitCode.INTERNAL
        return worst(code for code in codes if code is not None)


def serve(settings: RunSettings) -> int:
    """Runs a whole run to its end; its exit code."""
    clusters: list[Cluster] = []

    check_outputs(settings.monitor, node_log("run"), goes_on=settings.journal is not None)

    async def main(stop: asyncio.Event) -> int:
        clusters.append(Cluster(settings))
        return await clusters[0].serve(stop)

    return program.run(main, settings.monitor, last_act=lambda: clusters[0].kill() if clusters else None)
