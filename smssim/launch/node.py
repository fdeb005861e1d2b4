"""A node as a child process that is followed on asyncio's loop: its ready record, its log, its end.

Knows command lines and the fields of a log line in JSON. Must not know what a log line says.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from smssim.launch.child import Child
from smssim.launch.limits import LAUNCH_LIMITS, LaunchLimits
from smssim.net import secrecy
from smssim.process import terminal, waiting
from smssim.process.logs import Log, node_log
from smssim.process.ready import Facts
from smssim.settings import MonitorSettings, ProducerSettings, SenderSettings, command_line

NodeSettings = ProducerSettings | SenderSettings | MonitorSettings


def command(name: str, settings: NodeSettings) -> list[str]:
    """The command line that starts this node with these settings."""
    return [sys.executable, "-m", "smssim", name, *command_line(settings)]


class Node:
    """A child process that is followed from its start to its end."""

    def __init__(self, child: Child, log_level: int, said: Sequence[str] = (), limits: LaunchLimits = LAUNCH_LIMITS):
        """Its log is passed on from this level on, but for messages that were `said` already."""
        self.name = child.name
        self._child = child
        self._log_level = log_level
        self._said = said
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[Facts] = self._loop.create_future()
        self._read_all = asyncio.Event()
        for descriptor in child.descriptors:
            self._loop.add_reader(descriptor, self._read, descriptor)
        self.ended = asyncio.create_task(self._follow())

    @classmethod
    def start(
        cls,
        kind: str,
        name: str,
        settings: NodeSettings,
        silent: bool = False,
        limits: LaunchLimits = LAUNCH_LIMITS,
    ) -> Node:
        """Start a node whose stdout is that of this process, or nothing.

        Its log comes as JSON, which says what is a warning; nothing below that is asked for unless it is to be shown.
        """
        level = "warning" if settings.log_level == "info" else settings.log_level
        child = Child(
            name,
            command(kind, replace(settings, log_level=level, log_format="json")),
            token=settings.token,
            stdout=subprocess.DEVNULL if silent else None,
            limits=limits,
        )
        return cls(child, logging.getLevelNamesMapping()[level.upper()], secrecy.warnings(settings), limits)

    @property
    def code(self) -> int | None:
        """Its exit code, negative if a signal ended it; None while it runs."""
        return self._child.code

    async def ready(self) -> Facts | None:
        """Return what its ready record says, once it is ready; None if it ended before."""
        await waiting.first_of(asyncio.wait([self._ready]), asyncio.wait([self.ended]))
        return self._ready.result() if self._ready.done() else None

    async def end(self, within_s: float, log: Log) -> None:
        """Ask it to end, and kill it if that takes too long."""
        self.signal(signal.SIGTERM)
        await asyncio.wait([self.ended], timeout=within_s)
        if not self.ended.done():
            log.warning("%s did not end within %g s and is killed", self.name, within_s)
            self.signal(signal.SIGKILL)
            await self.ended

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs. May be called in any thread."""
        self._child.signal(number)

    def report_end(self, log: Log) -> None:
        """Log how it ended; what went wrong is in its own log."""
        log.error("%s", self._child.ending())

    async def _follow(self) -> None:
        await self._read_all.wait()
        while not self._child.reap():  # noqa: ASYNC110 - not every system announces an exit, and it is about to come
            await asyncio.sleep(self._limits.reap_s)
        self._child.close()

    def _read(self, descriptor: int) -> None:
        for line in self._child.read(descriptor):
            self._pass_on(line.text.rstrip())
        record = self._child.record("ready")
        if record is not None and not self._ready.done():
            self._ready.set_result(record.facts)
        if descriptor not in self._child.descriptors:
            self._loop.remove_reader(descriptor)
        if not self._child.descriptors:
            self._read_all.set()

    def _pass_on(self, line: str) -> None:
        """Log a line of its log in the log of this process, if it is for people."""
        try:
            read: dict[str, Any] = json.loads(line)
            level, node, message = logging.getLevelNamesMapping()[read["level"].upper()], read["node"], read["message"]
        except (ValueError, LookupError, TypeError, AttributeError):  # not of its log: a refused flag, a stack trace
            terminal.write_beside_log(line)
            return
        if level >= self._log_level and message not in self._said:
            node_log(node).log(level, message)
