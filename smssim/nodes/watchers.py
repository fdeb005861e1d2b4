"""The watchers of a monitor: moves snapshots of its runs to them, at the pace that `Audience` decides.

Must not know how runs are followed, or how snapshots are shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from grpc import StatusCode, aio

from smssim.core.audience import Audience, Watcher
from smssim.core.followed import FollowedRun
from smssim.core.limits import LIMITS, Limits
from smssim.errors import LaterError
from smssim.net import rpc, watching
from smssim.process import waiting
from smssim.v1 import monitor_pb2

Context = aio.ServicerContext[Any, Any]


class Watchers:
    """The open calls of watchers."""

    def __init__(
        self,
        followed: Mapping[str, FollowedRun],
        interval_s: float,
        gone: Callable[[], str],
        limits: Limits = LIMITS,
        *,
        lingers: bool,
    ) -> None:
        """`gone` returns why watchers must try other monitors now; an empty string if they need not."""
        self.audience = Audience(followed, interval_s, limits, lingers=lingers)
        self._gone = gone
        self._clock = asyncio.get_running_loop().time
        self._turns: dict[Watcher, waiting.Wakeup] = {}
        self._left = waiting.Wakeup()  # rung when a watcher leaves
        self._encoder = watching.Encoder()

    def wake(self) -> None:
        """Let all watchers have their turns now."""
        for turn in self._turns.values():
            turn.ring()

    async def farewell(self) -> None:
        """Give watchers time to receive the last figures."""
        self.audience.close(self._clock())
        self.wake()
        while self.audience.is_reading(self._clock()):
            await self._left.wait(self.audience.closes_at)

    async def serve(
        self, request: monitor_pb2.WatchProgressRequest | None, context: Context
    ) -> AsyncGenerator[Any]:  # encoded responses
        """Serve a watcher; see WatchProgress in monitor.proto."""
        async with rpc.answering(context):
            if gone := self._gone():
                raise LaterError(gone)
            wanted, interval_s, detailed = watching.watch_from_proto(rpc.decoded(request))
            watcher = self.audience.join(wanted, interval_s, self._clock())
        turn = self._turns[watcher] = waiting.Wakeup()
        try:
            await context.send_initial_metadata(())  # confirms the call: the first run may come much later
            while not (watcher.finished or (gone := self._gone())):
                for followed in watcher.turn(self._clock()):
                    moment = self._encoder.shared(followed, self._clock(), detailed=detailed)
                    before = watcher.took(moment.snapshot.figures)
                    yield moment.response(before, followed.course if detailed and before is None else None)
                await turn.wait(watcher.rest(self._clock()))
            if gone:
                await context.abort(StatusCode.UNAVAILABLE, gone)
        finally:
            self.audience.leave(watcher)
            del self._turns[watcher]
            self._left.ring()
