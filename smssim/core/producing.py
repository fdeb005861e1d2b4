"""A producer's decisions in one run: which messages to deliver when, when leases and the run end, what to save.

The shell calls a method when something happens (a sender joins, a request arrives, time passes) and carries out the
events that the method returns, in order. The shell of dask.distributed's worker state machine works the same way.
Knows one run and the time that it is given. Must not know gRPC, files, signals, or what a message contains.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Final

from smssim.core.backlog import Backlog
from smssim.core.commits import CUT_OFF
from smssim.core.exchange import Request, RunEnd
from smssim.core.leaseholder import longest_attempt_s
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import RunFacts, SenderFacts, StartLimit
from smssim.core.pieces import Changes, Pieces, put_under, within
from smssim.core.producer_events import (
    Announced,
    Close,
    Draining,
    Event,
    GaveUp,
    Joined,
    Leased,
    Left,
    NoSender,
    Save,
    Started,
    Write,
)
from smssim.core.producer_stream import ProducerStream, Response
from smssim.errors import ExitCode, LaterError

HANDED_OVER: Final = "this producer leaves the run to another one"


class _Phase(Enum):
    """The phase of a run."""

    RUNNING = "delivering and settling messages"
    ENDED = "saving the end, which no sender has received yet"
    FAREWELL = "sending the end to the senders"
    LEAVING = "saving that the senders have received it"
    HANDING_OVER = "saving the last changes, for the next owner of the run"
    LEFT = "finished"


_AWAIT_A_SAVE: Final = (_Phase.ENDED, _Phase.LEAVING, _Phase.HANDING_OVER)


class ProducerRun:
    """One run, as its producer sees it. Call `tick` at `wake_at`, or as soon after it as possible."""

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
        shared: bool = False,
        limits: Limits = LIMITS,
    ) -> None:
        """`linger`: whether senders can still join and receive the end until the producer is stopped.

        `journaled`: whether a `Save` writes anything, to a journal or an engine. If not, saves are only requested at
        the end, which waits for them all the same.

        `shared`: whether other producers stand by to continue the run. Then this one delivers nothing while it can't
        save, because another one may have taken over, and when it is stopped, it leaves the run to the others.
        """
        self.backlog = Backlog(
            run.total, run.max_attempts, retry_delay_s, lease_timeout_s, rate_per_s, give_up_s, limits
        )
        self.streams: dict[int, ProducerStream] = {}  # those that are not closed, by the number of their lease holder
        self.end: RunEnd | None = None  # of the run; may not be saved yet
        self.resumed = False
        self._announced: RunEnd | None = None  # the end, once it is saved
        self._segments = run.segments
        self._give_up_s = give_up_s
        self._linger = linger
        self._shared = shared
        self._limits = limits
        self._phase = _Phase.RUNNING
        self._stopped = False
        self._unwritten: Changes = {}
        self._end_announced = False  # before a restart, to all senders
        self._joined_at: float | None = None  # when the first sender joined
        self._alone_since = now  # when the last stream closed; only used while no stream is open
        self._noticed_at = now  # when the last reminder of that was returned
        self._saving: _Phase | None = None  # the phase in which the save in progress was requested
        self._save_every_s = limits.save_s if journaled else math.inf
        self._save_at = now + self._save_every_s
        self._saved_at = now  # when the last save was done
        self._sent_away = False  # whether senders were sent to other producers since then
        self._return_until = -math.inf  # how long they may take to return and receive the end
        self._check_at = now + limits.lease_check_s
        self._distribute_at = math.inf
        self._drain_until = math.inf
        self._farewell_until = math.inf

    # -- figures

    @property
    def left(self) -> bool:
        """Whether the run is finished, so that the producer can exit."""
        return self._phase is _Phase.LEFT

    def elapsed_s(self, now: float) -> float | None:
        """Return the second of the run; None if it has not started. Leaves out the time until a restart."""
        return None if self.backlog.started_at is None else self.backlog.elapsed_s(now)

    @property
    def exit_code(self) -> ExitCode:
        """The producer's exit code, once it has left."""
        return ExitCode.OK if self.end is not None and self.end.complete else ExitCode.INCOMPLETE

    @property
    def wake_at(self) -> float:
        """When to call `tick` next; infinity if only another event can change something."""
        if self._phase is _Phase.RUNNING:
            return min(self._check_at, self._distribute_at, self._save_at, self._drain_until)
        if self._phase is _Phase.FAREWELL:
            return self._farewell_until if self._farewell_until < math.inf else self._open_until
        if self._shared and self.streams and not self.left:
            return self._check_at
        return -math.inf if self.left else math.inf

    # -- what survives a crash

    def begin(self, run: bytes) -> None:
        """Start a new run; `run` is the piece that identifies it."""
        self._unwritten["run"] = run

    def restore(self, pieces: Pieces, now: float, away_s: float = 0.0) -> None:
        """Resume the run on record. Call it before anything else; raises DAMAGE.

        `away_s`: for how long nothing was saved, as far as that is known.
        """
        self.resumed = True
        self._end_announced = "told" in pieces  # written once all senders had left
        self.backlog.restore(within("backlog", pieces), now, away_s)

    def changes(self, now: float) -> Changes:
        """Return the changes since the last call. Assumes that what the last call returned is on disk by now."""
        if self.backlog.awaits_commit:  # until this call, which shows that the last commit is done
            self._distribute_at = now
        changes, self._unwritten = self._unwritten, {}
        return changes | put_under("backlog", self.backlog.changes(now))

    def saved(self, now: float) -> list[Event]:
        """Record that the changes of the last `Save` are on disk, and continue."""
        events: list[Event] = []
        phase, self._saving = self._saving, None
        self._saved_at = now
        was_alone, self._sent_away = self._sent_away, False
        if phase is _Phase.ENDED and self.end is not None:
            self._phase = _Phase.FAREWELL
            self._return_until = now + self._limits.resume_grace_s if was_alone else -math.inf
            self._announced = self.end
            events.append(Announced(self.end, lingers=self._linger and not self._stopped))
            events += map(Write, self.streams.values())
        elif phase is _Phase.HANDING_OVER:
            self._phase = _Phase.LEFT
        elif phase is _Phase.LEAVING:
            self._phase = _Phase.FAREWELL if self.streams else _Phase.LEFT  # a sender may have joined in the meantime
        self._save_at = now + self._save_every_s
        return events + self._proceed(now)

    # -- streams

    def join(
        self, sender: SenderFacts, distribution: str, std_s: float, now: float
    ) -> tuple[ProducerStream, list[Event]]:
        """Return a new stream for a sender, and the events. If its session has an open stream, close that one.

        Raises LaterError if another producer may have taken over the run.
        """
        if self._is_cut_off(now):
            raise LaterError(CUT_OFF)
        if self._phase is _Phase.HANDING_OVER:
            raise LaterError(HANDED_OVER)
        events: list[Event] = []
        before = self.backlog.holders.of(sender.session_id)
        if before is not None:
            events.append(self._close(self.streams[before.number], "the sender opened another stream", now))
        longest_s = sender.slowdown * longest_attempt_s(distribution, sender.mean_s, std_s, self._limits)
        limit = StartLimit.of(sender.limit_per_s, sender.burst, self._segments)
        holder = self.backlog.join(sender.session_id, sender.mean_s, sender.concurrency, now, longest_s, limit)
        stream = self.streams[holder.number] = ProducerStream(self.backlog, holder, self._limits, sender.name)
        if self._joined_at is None:
            self._joined_at = now
        events.append(Joined(sender) if self.end is None else Write(stream))
        return stream, events

    def apply(self, stream: ProducerStream, request: Request, now: float) -> list[Event]:
        """Apply a request. Raises PeerError, and applies nothing, if it breaks the protocol.

        Ignores requests on a stream that is lost, as after `Close`.
        """
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
        """Return what to write to a stream now, if anything."""
        if stream.ended:
            return None
        return stream.response(self._announced)

    def closed(self, stream: ProducerStream, now: float) -> list[Event]:
        """Record that a stream was closed, by either side. Its leased messages are queued again."""
        leased = stream.holder.leased
        self.backlog.lose(stream.holder)
        del self.streams[stream.holder.number]
        if not self.streams:
            self._alone_since = now
        events: list[Event] = []
        if self.end is None:
            events.append(Left(stream, leased))
            events += [NoSender()] * (not self.streams)
        if leased:
            self._distribute_at = now
        return events + self._proceed(now)

    # -- time

    def tick(self, now: float) -> list[Event]:
        """Do what is due now."""
        events: list[Event] = []
        if now >= self._check_at and (self._phase is _Phase.RUNNING or self._phase in _AWAIT_A_SAVE):
            events += self._check(now)
        if self.end is None and now >= self._distribute_at:
            events += self._distribute(now)
        return events + self._proceed(now)

    def stop(self, now: float) -> list[Event]:
        """End the run once all leased messages are settled, and leave once senders have received the end.

        Each of the two waits takes at most `Limits.farewell_s`.
        """
        events: list[Event] = []
        if self.end is None and not self._stopped:
            self._drain_until = now + self._limits.farewell_s
            if self.backlog.leased:
                events.append(Draining(self.backlog.leased, self._limits.farewell_s))
        self._stopped = True
        return events + self._proceed(now)

    # -- delivery

    def _lease(self, stream: ProducerStream, now: float) -> list[Event]:
        """Lease to a sender the messages that it may have now."""
        if self._stopped or self.end is not None or (self._shared and self._is_cut_off(now)):
            return []
        first = self.backlog.started_at is None
        batches = stream.lease(now)
        if not batches:
            return []
        events: list[Event] = [Leased(stream, batches), Write(stream)]
        return [Started(), *events] if first else events

    def _distribute(self, now: float) -> list[Event]:
        """Lease messages to all senders with credit, and schedule the next round for when more become ready."""
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
        """Expire overdue leases. Without senders, end the run if none are expected any more, or return a reminder."""
        self._forgive_pause(now - self._check_at, now)
        self._check_at = now + self._limits.lease_check_s
        events: list[Event] = []
        if self._is_cut_off(now):
            events += self.turn_away(CUT_OFF, now)
            self._sent_away, self._alone_since = True, now  # it has no senders because it does not want any
        if self._phase is not _Phase.RUNNING:
            return events
        events += [self._close(self.streams[holder.number], holder.expired, now) for holder in self.backlog.expire(now)]
        if self.streams:
            return events
        alone_s = now - self._alone_since
        if self._joined_at is not None and alone_s >= self._give_up_s:
            events.append(GaveUp(alone_s))
            self._end()
        elif self.resumed and self.backlog.complete and alone_s >= self._return_s:
            self._end()  # its senders are lost, or have received the end
        elif now - max(self._noticed_at, self._alone_since) >= self._limits.repeat_notice_s:
            self._noticed_at = now
            events.append(NoSender(alone_s))
        return events

    def _forgive_pause(self, late_s: float, now: float) -> None:
        """Extend all sender deadlines by the time that the producer itself was paused."""
        self.backlog.holders.forgive_pause(late_s, now)
        self._alone_since = min(now, self._alone_since + late_s)

    def _close(self, stream: ProducerStream, reason: str, now: float) -> Close:
        stream.ended = reason
        self.backlog.lose(stream.holder)
        self._distribute_at = now
        return Close(stream)

    def turn_away(self, reason: str, now: float) -> list[Event]:
        """Close all streams, so that the senders try other producers."""
        return [self._close(stream, reason, now) for stream in self.streams.values() if not stream.ended]

    def _is_cut_off(self, now: float) -> bool:
        """Return whether nothing was saved for so long that another producer may have taken over."""
        saves = self._phase is _Phase.RUNNING or self._phase in _AWAIT_A_SAVE
        return self._shared and saves and now - self._saved_at >= self._limits.cut_off_after_s

    @property
    def _return_s(self) -> float:
        """How long senders may take to return to a run that was complete before a restart."""
        return self._limits.resume_grace_s if self._end_announced else min(self._give_up_s, self._limits.farewell_s)

    # -- the end

    def _proceed(self, now: float) -> list[Event]:
        """Move to the next phase if this one is over, and request a save if one is due."""
        events: list[Event] = []
        if self._phase is _Phase.RUNNING and self._stopped and (not self.backlog.leased or now >= self._drain_until):
            self._end()
            events += self._send_away(now)
        elif self._phase is _Phase.FAREWELL and self._is_farewell_over(now):
            self._leave()
        is_due = now >= self._save_at if self._phase is _Phase.RUNNING else self._phase in _AWAIT_A_SAVE
        if not is_due or self._saving is not None:
            return events
        self._saving = self._phase
        self._save_at = math.inf
        return [*events, Save()]

    def _end(self) -> None:
        """End the run in its current state, or leave it to others. No sender receives the end before it is saved."""
        if self._shared and self._stopped and not self.backlog.complete:
            self._phase = _Phase.HANDING_OVER
        elif self.end is None:
            backlog = self.backlog
            self.end = RunEnd(backlog.complete, backlog.sent, backlog.failed, backlog.redelivered)
            self._phase = _Phase.ENDED

    def _send_away(self, now: float) -> list[Event]:
        """Close all streams if this producer hands its run over: it may take long until that is saved."""
        return self.turn_away(HANDED_OVER, now) if self._phase is _Phase.HANDING_OVER else []

    def _is_farewell_over(self, now: float) -> bool:
        """Return whether all senders have received the end and no more are expected, or the time is up."""
        if not self._stopped and now < self._open_until:
            return False
        self._farewell_until = min(self._farewell_until, now + self._limits.farewell_s)
        return not self.streams or now >= self._farewell_until

    @property
    def _open_until(self) -> float:
        """Until when more senders may join and receive the end, unless the producer is stopped."""
        if self._linger:
            return math.inf
        if self._joined_at is None:
            return -math.inf
        come_back = self.resumed and not self._end_announced
        grace_s = self._limits.resume_grace_s if come_back else self._limits.join_grace_s
        return max(self._joined_at + grace_s, self._return_until)

    def _leave(self) -> None:
        """End the farewell. If all senders have received the end of a complete run, save that before leaving."""
        assert self.end is not None
        if self.end.complete and self._joined_at is not None and not self.streams:
            self._unwritten["told"] = b""
            self._phase = _Phase.LEAVING
        else:
            self._phase = _Phase.LEFT
