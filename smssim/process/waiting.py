"""Waiting in asyncio: for the first of several, for a time or a ring, for ever.

Knows asyncio. Must not know what is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


async def first_of(*awaitables: Awaitable[object], timeout_s: float | None = None) -> None:
    """Waits until one of these is over or the time is up; ends the others. Raises what it raised."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def forever(awaitable: Awaitable[object]) -> None:
    """Never returns, but raises what the awaitable raises."""
    await awaitable
    await asyncio.Event().wait()


class Wakeup:
    """Wakes its one waiter at a time, or earlier when it is rung."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wakes the waiter now, or spares it its next wait."""
        self._event.set()

    async def wait(self, until: float) -> None:
        """Waits until the loop's clock shows `until`, or until it is rung."""
        if not self._event.is_set():
            loop = asyncio.get_running_loop()
            timer = loop.call_at(until, self._event.set) if until < float("inf") else None
            try:
                await self._event.wait()
            finally:
                if timer is not None:
                    timer.cancel()
        self._event.clear()
