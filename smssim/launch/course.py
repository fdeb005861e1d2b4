"""Carries out the timetable of a run: kills, pauses, continues and starts the processes of its nodes.

Knows the clock, and the processes and settings of nodes. The decisions are in `timetable`. Must not know how events are
shown or reach the monitor.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from smssim.core.event import Event
from smssim.core.fault import MONITOR, PRODUCER
from smssim.launch.child import Record
from smssim.launch.limits import LAUNCH_LIMITS, LaunchLimits
from smssim.launch.members import Member, Members
from smssim.launch.timetable import Act, Step, Timetable, of_sender
from smssim.settings import RunSettings
from smssim.settings.faults import SERVERS


class Course:
    """What happens to the nodes of a run while it lasts. Its second 0 is when the first message was delivered."""

    def __init__(
        self,
        settings: RunSettings,
        members: Members,
        producer: Record,
        say: Callable[[Event], None],
        monitor_is_up: Callable[[bool], None],
        limits: LaunchLimits = LAUNCH_LIMITS,
    ) -> None:
        """Make the timetable. `producer`: its ready record.

        `say` gets each event. `monitor_is_up` gets False when the monitor is killed or paused, and True once it is
        back.
        """
        elapsed_s = producer.facts["elapsed_s"]  # None, unless the run resumes from a journal
        joins_s = (sender.joins_s for sender in settings.senders)
        keys = (member.key for member in members.senders)
        self.timetable = Timetable(settings.faults, dict(zip(keys, joins_s, strict=True)), elapsed_s or 0.0)
        self.moved = asyncio.Event()  # set when a step was taken
        self._faults = settings.faults
        self._members = members
        self._run_id = str(producer.facts["run_id"])
        self._say = say
        self._monitor_is_up = monitor_is_up
        self._limits = limits
        self._clock = asyncio.get_running_loop().time
        self._began_at = None if elapsed_s is None else producer.at - elapsed_s
        self._lag_s = 0.0  # by how much the producer's seconds of the run are behind, because of its restarts
        self._returning: list[asyncio.Task[None]] = []

    async def start_senders(self, producer: str, stop: asyncio.Event) -> None:
        """Start the senders that are there from the start, one by one, until the run is stopped."""
        for member in self._members.senders:
            member.change(producer=producer)
        for member in self._members.senders:
            if stop.is_set():
                break
            if member.key not in self.timetable.late:
                await self._start(member)
                await asyncio.sleep(0)  # lets others read when the first message is delivered

    async def follow(self) -> None:
        """Take each step when it is due, until there are no more. Assumes `start_senders`. Raises OSError."""
        if self._began_at is None:
            record = await self._members.producer.node.record("started")
            if record is None:
                return  # the producer ended before that
            self._began_at = record.at
        self.timetable.begin()
        self.moved.set()
        while self.timetable.next_s < float("inf"):
            await asyncio.sleep(self.timetable.next_s - self._now_s)
            while (step := self.timetable.due(self._now_s)) is not None:
                await self._take(step)

    async def stop(self, is_over: bool) -> None:
        """End all faults, because the run is over or is being stopped. Assumes that `follow` was cancelled.

        After a run that is over, that paused nodes continue is no event of it.
        """
        for step in self.timetable.stop(self._now_s):
            await self._take(step, silent=is_over and step.act is Act.RESUME)
        if self._returning:
            await asyncio.wait(self._returning, timeout=self._limits.left_over_s)

    @property
    def _now_s(self) -> float:
        return 0.0 if self._began_at is None else self._clock() - self._began_at

    async def _take(self, step: Step, silent: bool = False) -> None:
        member = self._members[step.node]
        now_s = self._now_s
        match step.act:
            case Act.START:
                await self._start(member)
            case Act.KILL:
                self._members.strike(member)
            case Act.PAUSE:
                member.node.signal(signal.SIGSTOP)
            case Act.RESUME:
                member.node.signal(signal.SIGCONT)
        if member.key == MONITOR and step.act in (Act.KILL, Act.PAUSE, Act.RESUME):
            self._monitor_is_up(step.act is Act.RESUME)
        if not silent:
            self._say(step.event(now_s, self._run_id, member.name, member.title))
        self.moved.set()

    async def _start(self, member: Member) -> None:
        """Start a node. If it was there before, wait until its address and its journal are free."""
        if member.processes:
            await asyncio.wait([member.node.ended])
        if member in self._members.senders:
            member.change(faults=of_sender(self._faults, member.key, self._lag_s))
        self._members.start(member)
        self.timetable.started(member.key)
        if member.key in SERVERS:
            self._returning.append(asyncio.create_task(self._await_return(member)))

    async def _await_return(self, member: Member) -> None:
        """Wait until a producer or a monitor that was started again is ready."""
        record = await member.node.record("ready")
        if record is None:
            return
        if member.key == MONITOR:
            self._monitor_is_up(True)
        elif member.key == PRODUCER:  # a sender that joins before this gets a shorter lag than it should
            self._lag_s = record.at - (self._began_at or record.at) - (record.facts["elapsed_s"] or 0.0)
