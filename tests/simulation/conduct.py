"""When a producer may do what, judged from outside: by its book, and by a clock that stops while it is paused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulation.books import check
from smssim.core import producer_events as events
from smssim.core.commits import CUT_OFF
from smssim.core.exchange import RunEnd
from smssim.core.model import Outcome
from smssim.core.pieces import Pieces
from smssim.core.producer_stream import ProducerStream
from smssim.core.producing import HANDED_OVER
from smssim.errors import ExitCode

if TYPE_CHECKING:
    from simulation.producer import Producer
    from simulation.world import World

NEAR_S = 1e-6
COMMITS_MAX_S = 12.0  # two slow commits and the interval between them


@dataclass(frozen=True)
class _Since:
    """A moment in the life of a producer."""

    now: float
    awake_s: float  # the time without its pauses
    pauses: int


class Conduct:
    """What one process of a producer has done so far, and what it must have done by now."""

    def __init__(self, producer: Producer, world: World, pieces: Pieces) -> None:
        self._producer, self._world, self._limits = producer, world, world.limits
        self._resumed, self._was_announced = bool(pieces), "told" in pieces
        self._heard: dict[int, _Since] = {}  # the last request of each open stream, by its number
        self._sessions: dict[str, int] = {}  # the open stream of each session, unless it is being closed
        self._saved = self._now()
        self._joined: _Since | None = None
        self._alone: _Since | None = self._now()
        self._stopped: _Since | None = None
        self._ended: _Since | None = None
        self._announced: _Since | None = None
        self._settled_at_end = 0  # rows of the book's log
        self._gave_up = False

    def _now(self) -> _Since:
        producer, now = self._producer, self._world.clock.now
        return _Since(now, now - producer.pauses.sum_s, producer.pauses.over)

    def _awake_s(self, since: _Since) -> float:
        """Return how long the producer has been awake since then."""
        return self._now().awake_s - since.awake_s

    def _check_passed(self, since: _Since, wanted_s: float, claim: str) -> None:
        """Check that the producer was awake for at least this time.

        Of each pause, the producer may fail to notice as much as the interval between two of its checks.
        """
        overlooked_s = (self._now().pauses - since.pauses) * self._limits.lease_check_s
        awake_s = self._awake_s(since)
        check(awake_s >= wanted_s - overlooked_s - NEAR_S, claim + ": after %.3f s instead of %s s", awake_s, wanted_s)

    def _check_within(self, since: _Since, most_s: float, claim: str) -> None:
        awake_s = self._awake_s(since)
        check(awake_s <= most_s + NEAR_S, claim + ": %.3f s have passed, at most %s s are allowed", awake_s, most_s)

    def listens(self) -> None:
        """Note that senders can connect from now on."""
        self._alone = self._now()

    def saved(self) -> None:
        """Record that a save is done."""
        self._saved = self._now()

    def ticks(self) -> None:
        """Note whether the producer can't save, so that it has no senders because it sends them away."""
        cut_off = self._world.clock.now - self._saved.now >= self._limits.cut_off_after_s
        if cut_off and self._alone is not None and self._world.plan.engine is not None:
            self._alone = self._now()

    # -- streams

    def opened(self, stream: ProducerStream) -> None:
        """Record an opened stream; check that its session has no other one."""
        session = stream.holder.session_id
        check(session not in self._sessions, "%s has opened a stream while its other one is open", session)
        self._sessions[session] = stream.holder.number
        self._joined = self._joined or self._now()
        self._alone = None
        self.heard(stream)

    def heard(self, stream: ProducerStream) -> None:
        """Record a request on this stream."""
        self._heard[stream.holder.number] = self._now()

    def closed(self, stream: ProducerStream) -> None:
        """Record that the stream is closed."""
        self._heard.pop(stream.holder.number, None)
        self._forget(stream)
        if not self._producer.served:
            self._alone = self._now()

    def _forget(self, stream: ProducerStream) -> None:
        if self._sessions.get(stream.holder.session_id) == stream.holder.number:
            del self._sessions[stream.holder.session_id]

    def _closes(self, stream: ProducerStream) -> None:
        """Check that the producer has a reason to close this stream."""
        heard = self._heard.pop(stream.holder.number)
        self._forget(stream)
        if stream.ended == "the sender opened another stream":
            return
        if self._world.plan.engine is not None and stream.ended in (CUT_OFF, HANDED_OVER):
            self._world.clock.strike("senders sent to other producers", self._producer.name)
            return
        self._world.clock.strike("lease expired", self._producer.name)
        if stream.ended.startswith("no request"):
            self._check_passed(heard, self._world.plan.lease_timeout_s, "a lease expires early")
        else:
            check(self._world.faults.was_long_paused, "a well-behaved sender's leases expire: %s", stream.ended)

    # -- the end

    def happens(self, event: events.Event) -> None:
        """Check an event of the producer."""
        match event:
            case events.Close(stream):
                self._closes(stream)
            case events.Leased():
                check(self._stopped is None and self._ended is None, "messages are leased after a stop or the end")
            case events.GaveUp():
                self._gives_up()
            case events.Announced(end):
                self._announced = self._now()
                self.tells(end)

    def stopped(self) -> None:
        """Record the arrival of SIGTERM."""
        self._stopped = self._stopped or self._now()

    def _gives_up(self) -> None:
        self._gave_up = True
        self._world.clock.strike("producer gave up", self._producer.name)
        check(self._joined is not None, "the producer gives up before any sender joined")
        check(self._alone is not None, "the producer gives up while a stream is open")
        if self._alone is not None:
            late_s = 0.0 if self._world.plan.engine is None else self._limits.lease_check_s
            self._check_passed(self._alone, self._world.plan.give_up_s - late_s, "the producer gives up early")

    def ends(self, end: RunEnd) -> None:
        """Check that the run ends for a reason and with the figures of the book."""
        if self._ended is not None:
            return
        self._ended = self._now()
        book = self._producer.book
        self._settled_at_end = len(book.log)
        outcomes = list(book.settled.values())
        wanted = (len(outcomes) == book.total, outcomes.count(Outcome.SENT), outcomes.count(Outcome.FAILED))
        check((end.complete, end.sent, end.failed) == wanted, "the end has %s, the book has %s", end, wanted)
        if end.complete or self._gave_up:
            return
        check(self._stopped is not None, "the run ends without a reason")
        if self._stopped is not None and any(book.leased.values()):
            drained_s = self._ended.now - self._stopped.now
            check(drained_s >= self._limits.farewell_s - NEAR_S, "a drain ends after only %s s", drained_s)

    def tells(self, end: RunEnd) -> None:
        """Check that the end is on record before it is sent to anyone."""
        if self._producer.saves and not self._world.loses:
            durable = self._producer.book.durable_upto
            check(self._ended is not None and durable >= self._settled_at_end, "%s is sent before it is on record", end)

    @property
    def _grace_s(self) -> float:
        comes_back = self._resumed and not self._was_announced
        return self._limits.resume_grace_s if comes_back else self._limits.join_grace_s

    def left(self) -> None:
        """Check the exit code, and that senders had enough time to receive the end."""
        producer, now, plan = self._producer, self._world.clock.now, self._world.plan
        settled = len(producer.book.settled) == plan.total
        check(producer.core.exit_code == (ExitCode.OK if settled else ExitCode.INCOMPLETE), "the exit code is wrong")
        if self._world.plan.engine is not None and self._stopped is not None and not settled:
            durable = producer.book.durable_upto
            check(
                durable == len(producer.book.log) or self._world.loses, "a run is handed over with unsaved settlements"
            )
            return
        check(self._announced is not None, "the producer leaves without a farewell")
        if self._announced is None:
            return
        if self._stopped is None:
            check(not plan.producer_lingers, "the producer leaves although it lingers")
            check(self._joined is None or now >= self._joined.now + self._grace_s - NEAR_S, "the producer leaves early")
        if producer.served:
            check(
                now >= self._announced.now + self._limits.farewell_s - NEAR_S,
                "the producer leaves open streams before the farewell is over",
            )
        elif settled and self._joined is not None and producer.saves:
            told = "told" in self._world.records["producer"].pieces
            check(told or self._world.loses, "the announcement of the end is not on record")

    # -- what is due

    @property
    def lingers(self) -> bool:
        """Whether the producer stays until it is stopped."""
        return self._announced is not None and self._world.plan.producer_lingers and self._stopped is None

    @property
    def waits_for_senders(self) -> bool:
        """Whether the run can't end by itself: it has open streams, or no sender has joined."""
        return self._ended is None and (bool(self._heard) or (self._joined is None and not self._can_end_alone))

    @property
    def _can_end_alone(self) -> bool:
        return self._resumed and len(self._producer.book.settled) == self._world.plan.total

    @property
    def _hands_over(self) -> bool:
        """Whether it only has to save before it leaves the run to another producer."""
        if self._world.plan.engine is None or self._stopped is None:
            return False
        drained_s = self._world.clock.now - self._stopped.now
        return drained_s >= self._limits.farewell_s or not any(self._producer.book.leased.values())

    def look(self) -> None:
        """Check that everything due has happened."""
        if not self._producer.listening or self._producer.paused:
            return
        if self._ended is None:
            self._look_while_running()
        elif self._announced is not None and (self._stopped is not None or not self._world.plan.producer_lingers):
            since = max(self._announced, self._stopped or self._announced, key=lambda moment: moment.now)
            most_s = self._limits.resume_grace_s + self._limits.farewell_s + COMMITS_MAX_S
            self._check_within(since, most_s, "the farewell is not over")

    def _look_while_running(self) -> None:
        limits, plan, late_s = self._limits, self._world.plan, self._limits.lease_check_s
        if self._hands_over:
            check(self._producer.saver.busy, "a drain is not over, and nothing is being saved")
            return
        for heard in self._heard.values():
            self._check_within(heard, plan.lease_timeout_s + late_s, "the leases of a silent sender have not expired")
        patience_s = math.inf
        if self._joined is not None:
            patience_s = plan.give_up_s
        elif self._can_end_alone:
            patience_s = limits.resume_grace_s if self._was_announced else min(plan.give_up_s, limits.farewell_s)
        if self._alone is not None:
            self._check_within(self._alone, patience_s + late_s, "the producer still waits for lost senders")
        if self._stopped is not None:
            self._check_within(self._stopped, limits.farewell_s, "a drain is not over")
            check(any(self._producer.book.leased.values()), "a drain continues with nothing left to settle")
