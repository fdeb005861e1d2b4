"""A node as a child process that is followed on an asyncio loop: its ready record, its log, its end.

Knows command lines and the fields of a JSON log line. Must not know the messages in them.
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

from smssim.launch.child import Child, Record
from smssim.launch.limits import LAUNCH_LIMITS, LaunchLimits
from smssim.net import secrecy
from smssim.process import terminal, waiting
from smssim.process.logs import Log, node_log
from smssim.process.ready import Facts
from smssim.settings import MonitorSettings, ProducerSettings, SenderSettings, command_line

NodeSettings = ProducerSettings | SenderSettings | MonitorSettings


def command(name: str, settings: NodeSettings) -> list[str]:
    """Return the command line that starts a node with these settings."""
    return [sys.executable, "-m", "smssim", name, *command_line(settings)]


def variables(settings: NodeSettings) -> dict[str, str]:
    """Return the environment variables for the settings of a node that have no flag, except its token."""
    given = {name: getattr(settings, setting) for setting, name in settings.variables.items()}
    return {name: value for name, value in given.items() if value}


class Node:
    """A child process that is followed from its start to its end."""

    def __init__(self, child: Child, log_level: int, said: Sequence[str] = (), limits: LaunchLimits = LAUNCH_LIMITS):
        """Forward log lines of at least this level, except messages that were `said` already."""
        self.name = child.name
        self._child = child
        self._log_level = log_level
        self._said = said
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._awaited: dict[str, asyncio.Future[Record]] = {}  # records that are waited for, by their event
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
        """Start a node whose stdout is inherited or, if `silent`, discarded.

        Its log is JSON, so that the level of each line is known. At the level "info" it logs only warnings and errors.
        """
        level = "warning" if settings.log_level == "info" else settings.log_level
        child = Child(
            name,
            command(kind, replace(settings, log_level=level, log_format="json")),
            token=settings.token,
            variables=variables(settings),
            stdout=subprocess.DEVNULL if silent else None,
            limits=limits,
        )
        return cls(child, logging.getLevelNamesMapping()[level.upper()], secrecy.warnings(settings), limits)

    @property
    def code(self) -> int | None:
        """The exit code, negative if a signal ended it; None while it runs."""
        return self._child.code

    async def record(self, event: str) -> Record | None:
        """Wait for the first record of this event and return it; None if the node ends before."""
        if event not in self._awaited:
            self._awaited[event] = self._loop.create_future()
            self._note_records()
        await waiting.first_of(asyncio.wait([self._awaited[event]]), asyncio.wait([self.ended]))
        return self._child.record(event)

    async def ready(self) -> Facts | None:
        """Wait until it is ready and return the facts of its ready record; None if it ends before."""
        record = await self.record("ready")
        return None if record is None else record.facts

    async def end(self, within_s: float, log: Log) -> None:
        """Terminate it, and kill it if it takes longer than `within_s`."""
        self.signal(signal.SIGTERM)
        await asyncio.wait([self.ended], timeout=within_s)
        if not self.ended.done():
            log.warning("Killing %s: it did not exit within %g s", self.name, within_s)
            self.signal(signal.SIGKILL)
            await self.ended

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal if it still runs. May be called in any thread."""
        self._child.signal(number)

    def report_end(self, log: Log) -> None:
        """Log how it ended. The reason is in its own log."""
        ending = self._child.ending()
        log.error("%s", ending[:1].upper() + ending[1:])

    async def _follow(self) -> None:
        await self._read_all.wait()
        while not self._child.reap():  # noqa: ASYNC110 - no event exists on all systems, and it ends soon
            await asyncio.sleep(self._limits.reap_s)
        self._child.close()

    def _read(self, descriptor: int) -> None:
        for line in self._child.read(descriptor):
            self._pass_on(line.text.rstrip())
        self._note_records()
        if descriptor not in self._child.descriptors:
            self._loop.remove_reader(descriptor)
        if not self._child.descriptors:
            self._read_all.set()

    def _note_records(self) -> None:
        for event, awaited in self._awaited.items():
            record = self._child.record(event)
            if record is not None and not awaited.done():
                awaited.set_result(record)

    def _pass_on(self, line: str) -> None:
        """Log a line of its log in the log of this process, unless it is below the level or was `said` already."""
        try:
            read: dict[str, Any] = json.loads(line)
            level, node, message = logging.getLevelNamesMapping()[read["level"].upper()], read["node"], read["message"]
        except (ValueError, LookupError, TypeError, AttributeError):  # not a log line: a usage error, a stack trace
            terminal.write_beside_log(line)
            return
        if level >= self._log_level and message not in self._said:
            node_log(node).log(level, message)
