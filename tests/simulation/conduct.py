"""When a producer may do what, judged from outside: by its book, and a clock that stands still while it is paused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulation.books import check
from smssim.core import producer_events as events
from smssim.core.exchange import RunEnd
from smssim.core.model import Outcome
from smssim.core.pieces import Pieces
from smssim.core.producer_stream import ProducerStream
from smssim.errors import ExitCode

if TYPE_CHECKING:
    from simulation.producer import Producer
    from simulation.world import World

NEAR_S = 1e-6
COMMITS_MAX_S = 12.0  # two slow commits and the rest between them


@dataclass(frozen=True)
class _Since:
    """A moment in the life of a producer."""

    now: float
    awake_s: float  # that it was not paused for, until then
    pauses: int


class Conduct:
    """What one process of a producer has done so far, and must have done by now."""

    def __init__(self, producer: Producer, world: World, pieces: Pieces) -> None:
        self._producer, self._world, self._limits = producer, world, world.limits
        self._resumed, self._was_announced = bool(pieces), "told" in pieces
        self._heard: dict[int, _Since] = {}  # by the number of each open stream
        self._sessions: dict[str, int] = {}  # which of them each session has, unless it is being closed
        self._joined: _Since | None = None
        self._alone: _Since | None = self._now()
        self._stopped: _Since | None = None
        self._ended: _Since | None = None
        self._announced: _Since | None = None
        self._settled_at_end = 0  # rows of the book
        self._gave_up = False

    def _now(self) -> _Since:
        producer, now = self._producer, self._world.clock.now
        return _Since(now, now - producer.paused_s, producer.pauses_over)

    def _awake_s(self, since: _Since) -> float:
        """How long the producer has been awake since then."""
        return self._now().awake_s - since.awake_s

    def _check_passed(self, since: _Since, wanted_s: float, claim: str) -> None:
        """So long the producer was awake; of each pause it may have overlooked what is between two of its checks."""
        overlooked_s = (self._now().pauses - since.pauses) * self._limits.lease_check_s
        awake_s = self._awake_s(since)
        check(awake_s >= wanted_s - overlooked_s - NEAR_S, claim + ": after %.3f s of %s", awake_s, wanted_s)

    def _check_within(self, since: _Since, most_s: float, claim: str) -> None:
        awake_s = self._awake_s(since)
        check(awake_s <= most_s + NEAR_S, claim + ": %.3f s of %s have passed", awake_s, most_s)

    def listens(self) -> None:
        """From now on senders can come."""
        self._alone = self._now()

    # -- streams

    def opened(self, stream: ProducerStream) -> None:
        """A session has one open stream, the last one."""
        session = stream.holder.session_id
        check(session not in self._sessions, "%s has opened a stream, and another one goes on", session)
        self._sessions[session] = stream.holder.number
        self._joined = self._joined or self._now()
        self._alone = None
        self.heard(stream)

    def heard(self, stream: ProducerStream) -> None:
        """A request of this stream has come."""
        self._heard[stream.holder.number] = self._now()

    def closed(self, stream: ProducerStream) -> None:
        """The stream is closed."""
        self._heard.pop(stream.holder.number, None)
        self._forget(stream)
        if not self._producer.served:
            self._alone = self._now()

    def _forget(self, stream: ProducerStream) -> None:
        if self._sessions.get(stream.holder.session_id) == stream.holder.number:
            del self._sessions[stream.holder.session_id]

    def _closes(self, stream: ProducerStream) -> None:
        """It has a reason."""
        heard = self._heard.pop(stream.holder.number)
        self._forget(stream)
        if stream.ended == "the sender opened another stream":
            return
        self._world.clock.strike("lease expired", self._producer.name)
        if stream.ended.startswith("no request"):
            self._check_passed(heard, self._world.plan.lease_timeout_s, "a lease ends early")
        else:
            check(self._world.was_long_paused, "an honest sender's leases end: %s", stream.ended)

    # -- the end

    def happens(self, event: events.Event) -> None:
        """Judges what the producer does."""
        match event:
            case events.Close(stream):
                self._closes(stream)
            case events.Leased():
                check(self._stopped is None and self._ended is None, "messages are handed out after the end")
            case events.GaveUp():
                self._gives_up()
            case events.Announced(end):
                self._announced = self._now()
                self.tells(end)

    def stopped(self) -> None:
        """SIGTERM has come."""
        self._stopped = self._stopped or self._now()

    def _gives_up(self) -> None:
        self._gave_up = True
        self._world.clock.strike("producer gave up", self._producer.name)
        check(self._joined is not None, "it gives up senders that never came")
        check(self._alone is not None, "it gives up with a stream open")
        if self._alone is not None:
            self._check_passed(self._alone, self._world.plan.give_up_s, "it gives up early")

    def ends(self, end: RunEnd) -> None:
        """The run ends for a reason, and with the figures of the book."""
        if self._ended is not None:
            return
        self._ended = self._now()
        book = self._producer.book
        self._settled_at_end = len(book.log)
        outcomes = list(book.settled.values())
        wanted = (len(outcomes) == book.total, outcomes.count(Outcome.SENT), outcomes.count(Outcome.FAILED))
        check((end.complete, end.sent, end.failed) == wanted, "the end says %s, the book %s", end, wanted)
        if end.complete or self._gave_up:
            return
        check(self._stopped is not None, "the run ends, and nothing has ended it")
        if self._stopped is not None and any(book.leased.values()):
            drained_s = self._ended.now - self._stopped.now
            check(drained_s >= self._limits.farewell_s - NEAR_S, "a drain ends after %s s", drained_s)

    def tells(self, end: RunEnd) -> None:
        """Nobody learns the end before it is on disk."""
        disk = self._world.disks[self._producer.name]
        if disk is not None:
            written = self._world.written[self._producer.name].get(disk.commits, 0)
            check(self._ended is not None and written >= self._settled_at_end, "%s is told before it is on disk", end)

    @property
    def _grace_s(self) -> float:
        comes_back = self._resumed and not self._was_announced
        return self._limits.resume_grace_s if comes_back else self._limits.join_grace_s

    def left(self) -> None:
        """Those who may still want to hear the end had their time."""
        producer, now, plan = self._producer, self._world.clock.now, self._world.plan
        settled = len(producer.book.settled) == plan.total
        check(producer.core.exit_code == (ExitCode.OK if settled else ExitCode.INCOMPLETE), "the exit code is wrong")
        check(self._announced is not None, "it leaves without a farewell")
        if self._announced is None:
            return
        if self._stopped is None:
            check(not plan.producer_lingers, "it leaves though it is to linger")
            check(self._joined is None or now >= self._joined.now + self._grace_s - NEAR_S, "it leaves early")
        if producer.served:
            check(now >= self._announced.now + self._limits.farewell_s - NEAR_S, "it leaves streams open")
        elif settled and self._joined is not None and (disk := self._world.disks[producer.name]) is not None:
            check("told" in disk.pieces(), "that the end was announced is not on disk")

    # -- what must have happened by now

    @property
    def lingers(self) -> bool:
        """Whether it stays until it is stopped."""
        return self._announced is not None and self._world.plan.producer_lingers and self._stopped is None

    @property
    def waits_for_senders(self) -> bool:
        """Whether it goes on for as long as nobody comes, or nobody settles anything."""
        return self._ended is None and (bool(self._heard) or (self._joined is None and not self._can_end_alone))

    @property
    def _can_end_alone(self) -> bool:
        return self._resumed and len(self._producer.book.settled) == self._world.plan.total

    def look(self) -> None:
        """Whatever is due has happened."""
        if not self._producer.listening or self._producer.paused:
            return
        if self._ended is None:
            self._look_while_running()
        elif self._announced is not None and (self._stopped is not None or not self._world.plan.producer_lingers):
            since = max(self._announced, self._stopped or self._announced, key=lambda moment: moment.now)
            most_s = self._limits.resume_grace_s + self._limits.farewell_s + COMMITS_MAX_S
            self._check_within(since, most_s, "the farewell has no end")

    def _look_while_running(self) -> None:
        limits, plan, late_s = self._limits, self._world.plan, self._limits.lease_check_s
        for heard in self._heard.values():
            self._check_within(heard, plan.lease_timeout_s + late_s, "leases of a silent sender go on")
        patience_s = math.inf
        if self._joined is not None:
            patience_s = plan.give_up_s
        elif self._can_end_alone:
            patience_s = limits.resume_grace_s if self._was_announced else plan.give_up_s
        if self._alone is not None:
            self._check_within(self._alone, patience_s + late_s, "it waits for senders that are gone")
        if self._stopped is not None:
            self._check_within(self._stopped, limits.farewell_s, "a drain has no end")
            check(any(self._producer.book.leased.values()), "a drain goes on with nothing to settle")
