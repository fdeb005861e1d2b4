"""The producer: around the core classes, what its shell does, in the same order."""

from __future__ import annotations

import math
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from simulation.books import ProducerBook, check
from simulation.clock import Process
from simulation.disk import Disk
from simulation.network import Stream
from simulation.saver import Saver
from smssim.core.backlog import Backlog
from smssim.core.exchange import Delivery, Request, RunEnd
from smssim.core.leaseholder import longest_attempt_s
from smssim.core.limits import Limits
from smssim.core.model import RunFacts
from smssim.core.pieces import Changes, pack, put_under, unpack, within
from smssim.core.producer_stream import ProducerStream

if TYPE_CHECKING:
    from simulation.world import World
from simulation.sender import Sender

GIVE_UP_S = 60.0
CHECK_S = 0.5
DOOR_OPEN_S = 1.0
RETURN_S = 4.0
FAREWELL_S = 10.0
MONITOR_AWAY_MAX_S = 25.0  # while faults strike and somewhat longer


class Served(ProducerStream):
    """A stream as the producer has it."""

    def __init__(self, backlog: Backlog, stream: Stream, holder: Any, limits: Limits) -> None:
        super().__init__(backlog, holder, limits)
        self.stream = stream
        self.writing = False


class Producer(Process):
    """One run, from the start or from what is on disk."""

    name = "producer"

    def __init__(self, world: World, disk: Disk | None) -> None:
        super().__init__()
        self.left = False
        self.world, self.clock, plan = world, world.clock, world.plan
        self.listening = False
        self.end: RunEnd | None = None
        self.served: dict[Stream, Served] = {}
        self._last_word: RunEnd | None = None  # the end, once it is on disk
        self._over_at = math.inf
        self._joined_at: float | None = None
        self._alone_since = self.clock.now
        self._awake_at = math.inf
        self._disk = disk
        self._saver = Saver(self, disk, world, self._changes)
        self._unwritten: Changes = {}
        self.backlog = Backlog(
            plan.total,
            plan.max_attempts,
            plan.retry_delay_s,
            plan.lease_timeout_s,
            plan.rate_per_s,
            MONITOR_AWAY_MAX_S,
            world.limits,
        )
        pieces = disk.pieces() if disk is not None else {}
        self._resumed, self._told = bool(pieces), "told" in pieces
        if disk is not None and pieces:
            self.run = RunFacts(**unpack(pieces["run"])[0])
            self.book = world.producer_books[self.run.run_id]
            self.backlog.restore(within("backlog", pieces), self.clock.now)
            self.book.restart(world.written[self.name][disk.commits])
            self.clock.strike("producer restored", self.name)
        else:
            self.run = RunFacts(f"run {len(world.producer_books) + 1}", plan.seed, plan.total, plan.max_attempts)
            self.book = world.producer_books[self.run.run_id] = ProducerBook(plan.total)
            self._unwritten = {"run": pack(asdict(self.run))}
        self._saver.save(self._listen)

    def _listen(self) -> None:
        self.listening = True
        self._looked_at = self.clock.now
        self._watch()
        self._save()

    # -- what survives a crash

    def _changes(self) -> Changes:
        assert self._disk is not None
        changes, self._unwritten = self._unwritten, {}
        changes |= put_under("backlog", self.backlog.changes(self.clock.now))
        self.world.written[self.name][self._disk.commits + 1] = len(self.book.log)
        return changes

    def _save(self) -> None:
        """Commits now and then."""
        if self._disk is not None:
            self.clock.after(self.world.plan.save_s, self, partial(self._saver.save, self._saved))

    def _saved(self) -> None:
        self._save()
        self.distribute()

    # -- streams

    def hear(self, stream: Stream, said: Any) -> None:
        """A request; the first one says hello."""
        if not self.listening:
            stream.close(stream.up)
        elif isinstance(said, Sender):
            self._join(stream, said)
        else:
            served = self.served.get(stream)
            if served is not None and not served.holder.lost:
                self._apply(served, said)

    def _join(self, stream: Stream, sender: Sender) -> None:
        settings = sender.settings
        known = {served.holder.number for served in self.served.values()}
        longest_s = longest_attempt_s(settings.distribution, settings.mean_s, settings.std_s or 0.0, self.world.limits)
        holder = self.backlog.join(sender.session_id, settings.mean_s, settings.concurrency, self.clock.now, longest_s)
        served = Served(self.backlog, stream, holder, self.world.limits)
        for other in [s for s in self.served.values() if s.holder.lost]:
            self._part(other.stream)
        self.clock.note(self.name, "%s joins as %s of %s", sender.name, holder.number, len(known))
        self.served[stream] = served
        self._joined_at = self._joined_at or self.clock.now
        stream.down.send(self.run)
        self._apply(served, Request())

    def _apply(self, served: Served, request: Request) -> None:
        now, backlog = self.clock.now, self.backlog
        number = served.holder.number
        if request.settlements is not None:
            self.book.settle(request.settlements, self.world.recorded(self.run.run_id))
        if request.handed_back is not None:
            handed_back = request.handed_back.tolist()
            self.book.hand_back(number, handed_back)
            if any(i in self.book.settled for i in handed_back):
                self.clock.strike("settled message handed back", self.name)
        served.apply(request, now)
        self._lease_to(served)
        if backlog.complete:
            self.over()
        elif served.concerns_others(now):
            self.distribute()
        self.write(served)

    def _lease_to(self, served: Served) -> None:
        if self.end is None:
            batches = served.lease(self.clock.now)
            self.book.grant(served.holder.number, batches)

    def distribute(self) -> None:
        """Gives to those who want more."""
        if not self.listening:
            return
        for holder in self.backlog.holders.with_credit():
            served = next(s for s in self.served.values() if s.holder is holder)
            self._lease_to(served)
            self.write(served)
        due = self.backlog.wake_at(self.clock.now) if self.backlog.holders.with_credit() else math.inf
        due = max(due, self.clock.now + self.world.plan.tick_s)
        if due < self._awake_at:
            self._awake_at = due
            self.clock.after(due - self.clock.now, self, partial(self._wake, due))

    def _wake(self, due: float) -> None:
        if due == self._awake_at:
            self._awake_at = math.inf
            self.distribute()

    def write(self, served: Served) -> None:
        """Writes what there is to write, one after another."""
        stream = served.stream
        while stream in self.served and not served.writing and (said := served.response(self._last_word)) is not None:
            if said.batch is not None:
                batch, now = said.batch, self.clock.now
                queued_s = self.backlog.queued_s(batch.ids, now)
                stream.down.send((said, Delivery(batch.ids, batch.attempt, queued_s, self.backlog.elapsed_s(now))))
            else:
                stream.down.send((said, None))
            if self.world.plan.write_s:
                served.writing = True
                self.clock.after(self.world.plan.write_s, self, partial(self._written, served))

    def _written(self, served: Served) -> None:
        served.writing = False
        self.write(served)

    def hang_up(self, stream: Stream) -> None:
        """The sender's side has ended the stream, or it broke."""
        if stream in self.served:
            self._part(stream)

    def _part(self, stream: Stream) -> None:
        served = self.served.pop(stream)
        if not served.holder.lost:
            self.backlog.lose(served.holder)
        self.book.lose(served.holder.number)
        stream.close(stream.up)
        if not self.served:
            self._alone_since = self.clock.now
        self.clock.after(0.0, self, self.distribute)

    # -- the run

    def _watch(self) -> None:
        self.backlog.holders.forgive_pause(max(0.0, self.clock.now - self._looked_at - CHECK_S), self.clock.now)
        self._looked_at = self.clock.now
        for holder in self.backlog.expire(self.clock.now):
            self.clock.strike("lease expired", self.name)
            check(holder.expired.startswith("no request"), "an honest sender's leases end: %s", holder.expired)
            self._part(next(s.stream for s in self.served.values() if s.holder is holder))
        alone_s = 0.0 if self.served else self.clock.now - self._alone_since
        gone = self._joined_at is not None and alone_s >= GIVE_UP_S
        told = self._resumed and self.backlog.complete and alone_s >= (RETURN_S if self._told else GIVE_UP_S)
        if gone or told:
            self.over()
        if self._last_word is not None:
            self._farewell()
        self.clock.after(CHECK_S, self, self._watch)

    def over(self) -> None:
        """Ends the run as it stands, and tells every sender when that is on disk."""
        if self.end is None:
            self.end = RunEnd(self.backlog.complete, self.backlog.sent, self.backlog.failed, self.backlog.redelivered)
            self.clock.note(self.name, "%s", self.end)
            self._saver.save(self._tell)

    def _tell(self) -> None:
        self._last_word = self.end
        self._over_at = self.clock.now
        for served in list(self.served.values()):
            self.write(served)

    def _farewell(self) -> None:
        """Leaves when the senders have heard the end, or after a while."""
        now = self.clock.now
        open_s = RETURN_S if self._resumed and not self._told else DOOR_OPEN_S
        closed = self._joined_at is None or now >= self._joined_at + open_s
        if self.listening and closed and (not self.served or now >= self._over_at + FAREWELL_S):
            self.listening = False
            if self.end is not None and self.end.complete and self._joined_at is not None and not self.served:
                self._unwritten["told"] = b""
            for stream in list(self.served):
                self.served.pop(stream)
                stream.close(stream.up)
            self._saver.save(self._leave)

    def _leave(self) -> None:
        self.clock.note(self.name, "leaves")
        self.alive = False
        self.left = True
        for stream in self.world.network.streams:  # some may have said hello too late
            if stream.server is self:
                stream.cut()
