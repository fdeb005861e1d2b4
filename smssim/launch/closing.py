"""The end of a run: waits for it, stops the remaining nodes, and logs which have failed.

Knows processes and the log. The decisions are in `ending`. Must not know what happened to nodes during the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from signal import SIGSTOP
from typing import Final

from smssim.launch import ending
from smssim.launch.announcer import Announcer
from smssim.launch.course import Course
from smssim.launch.ending import Code, Codes
from smssim.launch.limits import LaunchLimits
from smssim.launch.members import Member, Members
from smssim.launch.node import Node
from smssim.outputs.opening import ends_slowly
from smssim.process.logs import Log
from smssim.settings import MonitorSettings

STOPPING: Final = "Stopping; press Ctrl-C again to stop at once"


class Closing:
    """How one run ends."""

    def __init__(
        self,
        settings: MonitorSettings,
        members: Members,
        course: Course,
        announcer: Announcer,
        log: Log,
        limits: LaunchLimits,
    ) -> None:
        self._settings = settings
        self._members = members
        self._course = course
        self._timetable = course.timetable
        self._announcer = announcer
        self._log = log
        self._limits = limits
        self._reported: set[Node] = set()  # the processes whose end was logged

    async def until_over(self, stop: asyncio.Event) -> None:
        """Carry out the timetable until the run is stopped or can't continue. Log the ends of senders as they occur.

        Raises OSError if a process can't be started.
        """
        stopped, following = asyncio.create_task(stop.wait()), asyncio.create_task(self._course.follow())
        try:
            while not (stop.is_set() or self._codes().is_over):
                self._course.moved.clear()
                moved = asyncio.create_task(self._course.moved.wait())
                ends = [node.ended for node in self._members.processes if not node.ended.done()]
                steps = [following] if not following.done() else []
                await asyncio.wait([stopped, moved, *steps, *ends], return_when=asyncio.FIRST_COMPLETED)
                moved.cancel()
                if following.done():
                    following.result()
                self._note_ends()
        finally:
            stopped.cancel()
            following.cancel()
            await asyncio.gather(stopped, following, return_exceptions=True)

    async def close(self, stopped: bool) -> int:
        """End all faults and all nodes that remain, and return the exit code of the run."""
        codes, paused = self._codes(), set(self._timetable.paused)
        await self._course.stop(is_over=not stopped)
        monitor, producer = self._members.monitor, self._members.producer
        if not stopped:
            if codes.has_failed:
                self._report(member.node for member in (monitor, producer) if ending.has_failed(member.code))
            else:
                codes = await self._let_end(codes)
            for sender in self._members.senders:
                if sender.key in paused:  # it missed the end, and its messages went to others
                    self._members.strike(sender)
        limit_s = ending.sender_s(codes, stopped, self._limits)
        await asyncio.gather(*(self._end(sender, limit_s) for sender in self._members.senders))
        await self._end(producer, limit_s)
        await self._announcer.finish(self._limits.last_report_s, monitor.node.ended)
        is_slow = ends_slowly(self._settings, self._log)
        await self._end(monitor, ending.monitor_s(is_slow, self._limits))
        shows_summary = not self._settings.json
        self._report(one.node for one in (producer, monitor) if ending.is_reported(one.code, shows_summary))
        return ending.exit_code(self._codes())

    async def _let_end(self, codes: Codes) -> Codes:
        """Wait until the remaining nodes end by themselves, as they do at the end of a run; return the codes then."""
        if codes.may_end_alone:
            await asyncio.wait([self._members.monitor.node.ended], timeout=self._limits.left_over_s)
            await asyncio.wait([node.ended for node in self._members.processes], timeout=self._limits.others_s)
        codes = self._codes()
        if codes.lacks_senders:
            self._log.error("No sender is left")
        return codes

    async def _end(self, member: Member, within_s: float) -> None:
        if member.processes:
            await member.node.end(within_s, self._log)

    def _codes(self) -> Codes:
        monitor, producer = self._members.monitor, self._members.producer
        senders = [one for one in self._members.senders if one.processes or self._timetable.awaits(one.key)]
        return Codes(
            self._code(monitor),
            self._code(producer),
            tuple(map(self._code, senders)),
            self._timetable.returns(monitor.key),
        )

    def _code(self, member: Member) -> Code:
        """Return a node's exit code: None if it will be started again, and not None if it is paused for good."""
        if self._timetable.awaits(member.key):
            return None
        return -SIGSTOP if self._timetable.is_lost(member.key) and member.code is None else member.code

    def _note_ends(self) -> None:
        """Log the failures of senders, and keep faults away from nodes that have ended by themselves."""
        self._report(node for sender in self._members.senders for node in sender.processes)
        for member in self._members:
            if member.code is not None and not self._members.was_struck(member.node):
                self._timetable.ended(member.key)

    def _report(self, nodes: Iterable[Node]) -> None:
        """Log the failures among these processes, each once. That a fault has killed one is no failure."""
        for node in nodes:
            if node.code and node not in self._reported and not self._members.was_struck(node):
                self._reported.add(node)
                node.report_end(self._log)
