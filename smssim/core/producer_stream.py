"""The producer's protocol on one stream: what a sender's requests do to the backlog, and what is written to it when.

Knows one stream from the producer's side, and the clock that it is given. Must not know gRPC, the other streams, or
what a message contains.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from smssim.core.backlog import Backlog
from smssim.core.exchange import Request, RunEnd
from smssim.core.leaseholder import LeaseHolder
from smssim.core.limits import LIMITS, Limits
from smssim.core.queue import Batch


@dataclass(frozen=True, slots=True)
class Response:
    """What the producer tells a sender; only what was taken in, if there is neither batch nor end."""

    settled: int  # settlements and messages handed back that were taken in on this stream
    batch: Batch | None = None
    end: RunEnd | None = None  # the last word


class ProducerStream:
    """One sender's stream, from when it has joined the backlog."""

    def __init__(self, backlog: Backlog, holder: LeaseHolder, limits: Limits = LIMITS, name: str = "") -> None:
        self.holder = holder
        self.name = name  # of the sender
        self.ended = ""  # why, if the producer has ended it
        self._backlog = backlog
        self._limits = limits
        self._batches: deque[Batch] = deque()  # leased, and to be written
        self._settled = 0
        self._settled_said = 0
        self._end_said = False
        self._readied_before = 0  # of the backlog, as of the last request

    def apply(self, request: Request, now: float) -> None:
        """Applies a request; raises PeerError and applies nothing of it."""
        backlog, holder = self._backlog, self.holder
        self._readied_before = backlog.readied
        holder.heard_at = now
        holder.check_ask(request.credit, request.received)
        if request.settlements is not None:
            done = request.settlements
            backlog.settle(done.ids, done.outcomes, done.attempts, now)
            self._settled += len(done.ids)
        if request.handed_back is not None:
            backlog.hand_back(holder, request.handed_back, now)
            self._settled += len(request.handed_back)
        if request.leaving:
            backlog.holders.leave(holder)
        holder.ask(request.credit, request.idle_lanes, request.received, request.held)

    def lease(self, now: float) -> list[Batch]:
        """Leases to the sender what it may have now; what that is."""
        batches = self._backlog.grant(self.holder, now)
        self._batches += batches
        return batches

    def concerns_others(self, now: float) -> bool:
        """Whether others may be given messages because of the last request, now that this sender was given its own.

        Either it has made messages ready, or it leaves this sender waiting for some that become ready by themselves.
        """
        became_ready = self._backlog.readied > self._readied_before
        return (became_ready and self._backlog.has_ready) or (
            self.holder.credit > 0 and self._backlog.wake_at(now) < math.inf
        )

    @property
    def has_news(self) -> bool:
        """Whether something was taken in that the sender was not told of."""
        return self._settled > self._settled_said

    def response(self, end: RunEnd | None) -> Response | None:
        """What to write now, if anything; `end` once the run is over. Messages go first, the end is the last."""
        if self._end_said:
            return None
        if self._batches:
            said = Response(self._settled, batch=self._frame())
        elif end is not None:
            self._end_said = True
            said = Response(self._settled, end=end)
        elif self.has_news:
            said = Response(self._settled)
        else:
            return None
        self._settled_said = self._settled
        return said

    def _frame(self) -> Batch:
        """Takes what goes into one response: not too many messages, and not from too far apart."""
        batch = self._batches.popleft()
        rows = min(self._limits.frame_rows_max, int(batch.ids.searchsorted(batch.ids[0] + self._limits.frame_span_max)))
        if rows < len(batch.ids):
            self._batches.appendleft(Batch(batch.ids[rows:], batch.attempt))
        return Batch(batch.ids[:rows], batch.attempt)
