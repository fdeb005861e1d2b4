"""Answers that take long to make, such as the state of a thousand senders: each is made once for all who ask.

Knows when something was made, and of what. Must not know what it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from smssim.core.limits import LIMITS, Limits
from smssim.web.assets import Content


@dataclass(frozen=True, slots=True)
class _Made:
    of: object
    at: float
    making: asyncio.Task[Content]


class Shared:
    """The latest answers, a bounded number of them."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.made = 0
        self._limits = limits
        self._clock = asyncio.get_running_loop().time
        self._latest: dict[str, _Made] = {}  # by key, in the order in which they were made

    async def get(
        self, key: str, of: object, make: Callable[[], Coroutine[Any, Any, Content]], *, is_last: bool = False
    ) -> Content:
        """Return the answer with this key: one made of `of`, or unless `is_last`, one that is at most a second old."""
        made, now = self._latest.get(key), self._clock()
        is_fresh = made is not None and now < made.at + self._limits.page_shared_s and not is_last
        if made is None or not (made.of is of or is_fresh):
            self.made += 1
            made = _Made(of, now, asyncio.create_task(make()))
            self._latest.pop(key, None)
            self._latest[key] = made
            while len(self._latest) > self._limits.page_made_max:
                del self._latest[next(iter(self._latest))]
        try:
            return await asyncio.shield(made.making)
        except BaseException:
            if made.making.done() and self._latest.get(key) is made:
                del self._latest[key]
            raise

    async def close(self) -> None:
        """Stop making answers."""
        making = [made.making for made in self._latest.values()]
        for one in making:
            one.cancel()
        await asyncio.gather(*making, return_exceptions=True)
