"""The producer's side of one stream: how a sender's requests change the backlog, and what to write to it when.

Knows one stream and the time that it is given. Must not know gRPC, other streams, or what a message contains.
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
    """What the producer sends to a sender: a batch, the end of the run, or only the count `settled`."""

    settled: int  # settlements and handed-back messages applied so far on this stream
    batch: Batch | None = None
    end: RunEnd | None = None  # only in the last response


class ProducerStream:
    """One sender's stream, from when it joins the backlog."""

    def __init__(self, backlog: Backlog, holder: LeaseHolder, limits: Limits = LIMITS, name: str = "") -> None:
        self.holder = holder
        self.name = name  # of the sender
        self.ended = ""  # the reason, if the producer ended it
        self._backlog = backlog
        self._limits = limits
        self._batches: deque[Batch] = deque()  # leased, but not yet written
        self._settled = 0
        self._settled_said = 0
        self._end_said = False
        self._readied_before = 0  # `backlog.readied` before the last request

    def apply(self, request: Request, now: float) -> None:
        """Apply a request. Raises PeerError, and applies nothing, if it breaks the protocol."""
        backlog, holder = self._backlog, self.holder
        self._readied_before = backlog.readied
        holder.last_request_at = now
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
        """Lease to the sender the messages that it may have now, and return them."""
        batches = self._backlog.grant(self.holder, now)
        self._batches += batches
        return batches

    def concerns_others(self, now: float) -> bool:
        """Return whether other senders may get messages because of the last request. Call it after `lease`.

        They may if the request made messages ready, or if this sender still has credit and more messages become ready
        with time.
        """
        became_ready = self._backlog.readied > self._readied_before
        return (became_ready and self._backlog.has_ready) or (
            self.holder.credit > 0 and self._backlog.wake_at(now) < math.inf
        )

    @property
    def has_news(self) -> bool:
        """Whether settlements or handed-back messages were applied that no response has confirmed yet."""
        return self._settled > self._settled_said

    def response(self, end: RunEnd | None) -> Response | None:
        """Return the next response: messages first, the end last. Return None if nothing is due.

        `end` is None until the run is over.
        """
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
        """Take the messages for one response, within the limits on their number and on the span of their ids."""
        batch = self._batches.popleft()
        rows = min(self._limits.frame_rows_max, int(batch.ids.searchsorted(batch.ids[0] + self._limits.frame_span_max)))
        if rows < len(batch.ids):
            self._batches.appendleft(Batch(batch.ids[rows:], batch.attempt))
        return Batch(batch.ids[:rows], batch.attempt)
