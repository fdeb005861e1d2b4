"""Waiting in asyncio: for the first of several, until a time or a wake-up, forever.

Knows asyncio. Must not know what is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


async def first_of(*awaitables: Awaitable[object], timeout_s: float | None = None) -> None:
    """Wait until one of these ends or the timeout expires, then cancel the others. Raises what that one raised."""
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
    """Await this, then wait forever. Raises what the awaitable raises."""
    await awaitable
    await asyncio.Event().wait()


class Wakeup:
    """An alarm for one waiter, which ends the wait at a set time or when it is rung."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake the waiter now; if there is none, its next wait returns at once."""
        self._event.set()

    async def wait(self, until: float) -> None:
        """Wait until the loop's clock reaches `until` or `ring` is called."""
        if not self._event.is_set():
            loop = asyncio.get_running_loop()
            timer = loop.call_at(until, self._event.set) if until < float("inf") else None
            try:
                await self._event.wait()
            finally:
                if timer is not None:
                    timer.cancel()
        self._event.clear()
