"""Announces the events of a run to its monitor, one after the other, also if the monitor is away for some time.

Knows the monitor's address. Must not know why an event happens. Loads gRPC when it begins to serve.
"""

from __future__ import annotations

import asyncio

from smssim.core.event import Event
from smssim.process.logs import Log
from smssim.settings import WatchSettings


class Announcer:
    """The events that the monitor has yet to record."""

    def __init__(self, settings: WatchSettings, log: Log) -> None:
        """Hold no events yet. `settings`: how to reach the monitor."""
        self._settings = settings
        self._log = log
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._monitor_is_up = asyncio.Event()
        self._monitor_is_up.set()

    def add(self, event: Event) -> None:
        """Announce an event, after those that were added before."""
        self._events.put_nowait(event)

    def monitor_is_up(self, is_up: bool) -> None:
        """Begin or stop to keep the events, without a limit on the time, because the monitor was killed or paused."""
        if is_up:
            self._monitor_is_up.set()
        else:
            self._monitor_is_up.clear()

    async def serve(self) -> None:
        """Announce events until this is cancelled. Raises UsageError if the token can't be used."""
        from smssim.net import access  # imported late: they load gRPC
        from smssim.net.announcing import announce

        its_access = access.load(self._settings, warns=False)
        while True:
            event = await self._events.get()
            await self._monitor_is_up.wait()
            await announce(self._settings.monitor, its_access, event, self._log, self._settings.give_up_s)
            self._events.task_done()

    async def finish(self, within_s: float, ended: asyncio.Task[None]) -> None:
        """Wait until all events are on record, for at most this time, or until the monitor has ended."""
        recorded = asyncio.create_task(self._events.join())
        await asyncio.wait([recorded, ended], timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        recorded.cancel()
