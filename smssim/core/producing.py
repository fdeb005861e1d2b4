"""A producer's decisions in one run: who is handed what and when, when leases and the run end, what a journal keeps.

Its shell says what has happened (a sender has joined, a request has come, time has passed) and carries out the events
that each method returns, in their order, as the shell of dask.distributed's worker state machine does. Knows one run
and the clock that it is given. Must not know gRPC, files, signals, or what a message contains.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Final

from smssim.core.backlog import Backlog
from smssim.core.exchange import Request, RunEnd
from smssim.core.leaseholder import longest_attempt_s
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import RunFacts, SenderFacts
from smssim.core.pieces import Changes, Pieces, put_under, within
from smssim.core.producer_events import (
    Alone,
    Announced,
    Close,
    Draining,
    Event,
    GaveUp,
    Joined,
    Leased,
    Left,
    Save,
    Started,
    Write,
)
from smssim.core.producer_stream import ProducerStream, Response
from smssim.errors import ExitCode


class _Phase(Enum):
    """How far the run is."""

    RUNNING = "messages are handed out and settled"
    ENDED = "the end is to be saved, and nobody knows of it"
    FAREWELL = "senders take the end"
    LEAVING = "it is to be saved that they have taken it"
    LEFT = "all is done"


_AWAIT_A_SAVE: Final = (_Phase.ENDED, _Phase.LEAVING)


class ProducerRun:
    """One run, as its producer has it. `tick` is to be called at `wake_at`, or as soon after it as possible."""

    def __init__(
        self,
        run: RunFacts,
        now: float,
        *,
        retry_delay_s: float = 0.0,
        lease_timeout_s: float = 10.0,
        rate_per_s: float | None = None,
        give_up_s: float = 60.0,
        linger: bool = False,
        journaled: bool = True,
        limits: Limits = LIMITS,
    ) -> None:
        """`linger`: whether senders can get the end until the producer is stopped.

        `journaled`: whether a `Save` writes anything; if not, one is asked for at the end alone, which waits for it.
        """
        self.backlog = Backlog(
            run.total, run.max_attempts, retry_delay_s, lease_timeout_s, rate_per_s, give_up_s, limits
        )
        self.streams: dict[int, ProducerStream] = {}  # those that are not closed, by the number of their holder
        self.end: RunEnd | None = None  # of the run, which may not be saved yet
        self.resumed = False
        self._announced: RunEnd | None = None  # the end, once it is saved
        self._give_up_s = give_up_s
        self._linger = linger
        self._limits = limits
        self._phase = _Phase.RUNNING
        self._stopped = False
        self._unwritten: Changes = {}
        self._end_announced = False  # before a restart
        self._joined_at: float | None = None  # when the first sender came
        self._alone_since = now  # when the last stream closed; it counts only while there is none
        self._noticed_at = now  # when the last notice of that was given
        self._saving: _Phase | None = None  # the phase in which the save that is under way was asked for
        self._save_every_s = limits.save_s if journaled else math.inf
        self._save_at = now + self._save_every_s
        self._check_at = now + limits.lease_check_s
        self._distribute_at = math.inf
        self._drain_until = math.inf
        self._farewell_until = math.inf

    # -- figures

    @property
    def left(self) -> bool:
        """Whether the producer is to leave."""
        return self._phase is _Phase.LEFT

    @property
    def exit_code(self) -> ExitCode:
        """What the producer ends with, once it has left."""
        return ExitCode.OK if self.end is not None and self.end.complete else ExitCode.INCOMPLETE

    @property
    def wake_at(self) -> float:
        """When `tick` is to be called next; infinity if only another event can change something."""
        if self._phase is _Phase.RUNNING:
            return min(self._check_at, self._distribute_at, self._save_at, self._drain_until)
        if self._phase is _Phase.FAREWELL:
            return self._farewell_until if self._farewell_until < math.inf else self._open_until
        return -math.inf if self.left else math.inf

    # -- what survives a crash

    def begin(self, run: bytes) -> None:
        """The run is new; `run`: the piece that identifies it."""
        self._unwritten["run"] = run

    def restore(self, pieces: Pieces, now: float) -> None:
        """Goes on with the run of a journal, before all else; raises DAMAGE."""
        self.resumed = True
        self._end_announced = "told" in pieces  # and all senders had left
        self.backlog.restore(within("backlog", pieces), now)

    def changes(self, now: float) -> Changes:
        """What is to be written since the last call, all of which is written by now."""
        if self.backlog.awaits_commit:  # until now
            self._distribute_at = now
        changes, self._unwritten = self._unwritten, {}
        return changes | put_under("backlog", self.backlog.changes(now))

    def saved(self, now: float) -> list[Event]:
        """What had changed when `Save` was last asked for is on disk."""
        events: list[Event] = []
        phase, self._saving = self._saving, None
        if phase is _Phase.ENDED and self.end is not None:
            self._phase = _Phase.FAREWELL
            self._announced = self.end
            events.append(Announced(self.end, lingers=self._linger and not self._stopped))
            events += map(Write, self.streams.values())
        elif phase is _Phase.LEAVING:
            self._phase = _Phase.FAREWELL if self.streams else _Phase.LEFT  # a sender may have come meanwhile
        self._save_at = now + self._save_every_s
        return events + self._proceed(now)

    # -- streams

    def join(
        self, sender: SenderFacts, distribution: str, std_s: float, now: float
    ) -> tuple[ProducerStream, list[Event]]:
        """Returns the stream that a sender has opened. One that its session still had is closed."""
        events: list[Event] = []
        before = self.backlog.holders.of(sender.session_id)
        if before is not None:
            events.append(self._close(self.streams[before.number], "its sender has opened another stream", now))
        longest_s = longest_attempt_s(distribution, sender.mean_s, std_s, self._limits)
        holder = self.backlog.join(sender.session_id, sender.mean_s, sender.concurrency, now, longest_s)
        stream = self.streams[holder.number] = ProducerStream(self.backlog, holder, self._limits, sender.name)
        if self._joined_at is None:
            self._joined_at = now
        events.append(Joined(sender) if self.end is None else Write(stream))
        return stream, events

    def apply(self, stream: ProducerStream, request: Request, now: float) -> list[Event]:
        """Applies a request; raises PeerError and applies nothing of it. After `Close` none counts."""
        if stream.holder.lost:
            return []
        stream.apply(request, now)
        events = self._lease(stream, now)
        if self.backlog.complete:
            self._end()
        elif stream.concerns_others(now):
            self._distribute_at = now
        if stream.has_news:
            events.append(Write(stream))
        return events + self._proceed(now)

    def response(self, stream: ProducerStream) -> Response | None:
        """What to write to a stream now, if anything."""
        if stream.ended:
            return None
        return stream.response(self._announced)

    def closed(self, stream: ProducerStream, now: float) -> list[Event]:
        """A stream is closed, by whomever: what it held is queued again."""
        leased = stream.holder.leased
        self.backlog.lose(stream.holder)
        del self.streams[stream.holder.number]
        if not self.streams:
            self._alone_since = now
        events: list[Event] = []
        if self.end is None:
            events.append(Left(stream, leased))
            events += [Alone()] * (not self.streams)
        if leased:
            self._distribute_at = now
        return events + self._proceed(now)

    # -- time

    def tick(self, now: float) -> list[Event]:
        """Does what is due."""
        events: list[Event] = []
        if self.end is None and now >= self._check_at:
            events += self._check(now)
        if self.end is None and now >= self._distribute_at:
            events += self._distribute(now)
        return events + self._proceed(now)

    def stop(self, now: float) -> list[Event]:
        """Ends the run once what is with senders is settled, and then the farewell once they have taken the end."""
        events: list[Event] = []
        if self.end is None and not self._stopped:
            self._drain_until = now + self._limits.farewell_s
            if self.backlog.leased:
                events.append(Draining(self.backlog.leased, self._limits.farewell_s))
        self._stopped = True
        return events + self._proceed(now)

    # -- handing out

    def _lease(self, stream: ProducerStream, now: float) -> list[Event]:
        """Leases to a sender what it may have now."""
        if self._stopped or self.end is not None:
            return []
        first = self.backlog.started_at is None
        batches = stream.lease(now)
        if not batches:
            return []
        events: list[Event] = [Leased(stream, batches), Write(stream)]
        return [Started(), *events] if first else events

    def _distribute(self, now: float) -> list[Event]:
        """Leases to all who want more, and looks again when messages become ready by themselves."""
        events: list[Event] = []
        holders = self.backlog.holders
        for holder in holders.with_credit():
            events += self._lease(self.streams[holder.number], now)
        waits = holders.any_with_credit and not self._stopped
        due = self.backlog.wake_at(now) if waits else math.inf
        self._distribute_at = max(due, now + self._limits.release_s)
        return events

    # -- leases

    def _check(self, now: float) -> list[Event]:
        """Ends stale leases, and the run if all senders are gone for good. Says that none is there."""
        self._forgive_pause(now - self._check_at, now)
        self._check_at = now + self._limits.lease_check_s
        events: list[Event] = [
            self._close(self.streams[holder.number], holder.expired, now) for holder in self.backlog.expire(now)
        ]
        if self.streams:
            return events
        alone_s = now - self._alone_since
        if self._joined_at is not None and alone_s >= self._give_up_s:
            events.append(GaveUp(alone_s))
            self._end()
        elif self.resumed and self.backlog.complete and alone_s >= self._return_s:
            self._end()  # its senders are gone, or know the end
        elif now - max(self._noticed_at, self._alone_since) >= self._limits.repeat_notice_s:
            self._noticed_at = now
            events.append(Alone(alone_s))
        return events

    def _forgive_pause(self, late_s: float, now: float) -> None:
        """Extends all deadlines of senders by the time that the producer itself was paused."""
        self.backlog.holders.forgive_pause(late_s, now)
        self._alone_since = min(now, self._alone_since + late_s)

    def _close(self, stream: ProducerStream, reason: str, now: float) -> Close:
        stream.ended = reason
        self.backlog.lose(stream.holder)
        self._distribute_at = now
        return Close(stream)

    @property
    def _return_s(self) -> float:
        """How long senders may take to come back to a run that was complete before a restart."""
        return self._limits.resume_grace_s if self._end_announced else self._give_up_s

    # -- the end

    def _proceed(self, now: float) -> list[Event]:
        """Goes on to the next phase where this one is over, and asks for a save where one is due."""
        if self._phase is _Phase.RUNNING and self._stopped and (not self.backlog.leased or now >= self._drain_until):
            self._end()
        elif self._phase is _Phase.FAREWELL and self._is_farewell_over(now):
            self._leave()
        is_due = now >= self._save_at if self._phase is _Phase.RUNNING else self._phase in _AWAIT_A_SAVE
        if not is_due or self._saving is not None:
            return []
        self._saving = self._phase
        self._save_at = math.inf
        return [Save()]

    def _end(self) -> None:
        """Ends the run as it stands. Nobody learns of it before that is saved."""
        if self.end is None:
            backlog = self.backlog
            self.end = RunEnd(backlog.complete, backlog.sent, backlog.failed, backlog.redelivered)
            self._phase = _Phase.ENDED

    def _is_farewell_over(self, now: float) -> bool:
        """Whether all senders have taken the end and no more of them are waited for, or the time for that is up."""
        if not self._stopped and now < self._open_until:
            return False
        self._farewell_until = min(self._farewell_until, now + self._limits.farewell_s)
        return not self.streams or now >= self._farewell_until

    @property
    def _open_until(self) -> float:
        """Until when more senders may come and take the end, unless the producer is stopped."""
        if self._linger:
            return math.inf
        if self._joined_at is None:
            return -math.inf
        come_back = self.resumed and not self._end_announced
        return self._joined_at + (self._limits.resume_grace_s if come_back else self._limits.join_grace_s)

    def _leave(self) -> None:
        """Ends the farewell; a run whose end no sender waits for any more is saved as such."""
        assert self.end is not None
        if self.end.complete and self._joined_at is not None and not self.streams:
            self._unwritten["told"] = b""
            self._phase = _Phase.LEAVING
        else:
            self._phase = _Phase.LEFT
