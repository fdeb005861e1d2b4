"""The producer: `ProducerRun` on a simulated network, disk and clock, checked by the books."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from simulation.books import ProducerBook
from simulation.clock import Process
from simulation.conduct import Conduct
from simulation.network import Stream
from simulation.saver import Hold, Recorded, Saver
from simulation.sender import Sender
from smssim.core import producer_events as events
from smssim.core.backlog import Backlog
from smssim.core.exchange import Delivery, Request
from smssim.core.model import RunFacts, SenderFacts
from smssim.core.owned_log import Taken
from smssim.core.pieces import Changes, pack, unpack
from smssim.core.producer_stream import ProducerStream
from smssim.core.producing import ProducerRun
from smssim.errors import LaterError, PeerError

if TYPE_CHECKING:
    from simulation.host import Host
    from simulation.world import World


class Producer(Process):
    """What a producer does while it owns its run, from what is on record on."""

    def __init__(self, world: World, host: Host, hold: Hold | None, taken: Taken) -> None:
        super().__init__(host)
        self.name = host.name
        self.left = False
        self.listening = False
        self.world, self.clock, plan = world, world.clock, world.plan
        self.served: dict[Stream, ProducerStream] = {}
        self._ways: dict[int, Stream] = {}  # the same streams, by the number of the lease holder
        self._writing: set[int] = set()
        self._tick_at = math.inf
        self._host = host
        pieces = taken.pieces
        if pieces:
            self.run = RunFacts(**unpack(pieces["run"])[0])
        else:
            run_id = f"run {len(world.producer_books) + 1}"
            self.run = RunFacts(
                run_id, plan.seed, plan.total, plan.max_attempts, plan.unreachable, segments=plan.segments
            )
        self.saves = hold is not None
        self.core = ProducerRun(
            self.run,
            self.clock.now,
            retry_delay_s=plan.retry_delay_s,
            lease_timeout_s=plan.lease_timeout_s,
            rate_per_s=plan.rate_per_s,
            give_up_s=plan.give_up_s,
            linger=plan.producer_lingers,
            journaled=self.saves,
            shared=world.plan.engine is not None,
            limits=world.limits,
        )
        if hold is not None and hold.writing.commit is not None:
            before, kept = hold.writing.commit.contents
            self.book: ProducerBook = before.fork(kept)
            self.core.restore(pieces, self.clock.now, taken.away_s)
            self.clock.strike("producer restored", self.name)
        else:
            self.book = ProducerBook(plan.total)
            self.core.begin(pack(asdict(self.run)))
        self.conduct = Conduct(self, world, pieces)
        self.saver = Saver(self, hold, world, self._changes, self._contents, host.broken)
        self.saver.save(self._listen)

    @property
    def backlog(self) -> Backlog:
        """The backlog that the books are compared with."""
        return self.core.backlog

    @property
    def waits_for_ever(self) -> bool:
        """Whether nothing can end its run: no sender has joined, or only senders that wait forever themselves."""
        return self.listening and self.conduct.waits_for_senders and all(s.client.waits_for_ever for s in self.served)

    def stop(self) -> None:
        """Stop the producer, as SIGTERM does."""
        self.conduct.stopped()
        self._carry_out(self.core.stop(self.clock.now))

    # -- the disk and the clock

    def _listen(self) -> None:
        self.listening = True
        self.conduct.listens()
        self._carry_out([])

    def _changes(self) -> Changes:
        return self.core.changes(self.clock.now)

    def _contents(self) -> tuple[tuple[ProducerBook, int], Recorded]:
        kept = len(self.book.log)
        return (self.book, kept), partial(self.book.committed, kept)

    def _saved(self) -> None:
        self.conduct.saved()
        self._carry_out(self.core.saved(self.clock.now))

    def _tick(self, due: float) -> None:
        if due == self._tick_at:
            self._tick_at = math.inf
            self.conduct.ticks()
            self._carry_out(self.core.tick(self.clock.now))

    def _carry_out(self, happened: Sequence[events.Event]) -> None:
        for event in happened:
            self.conduct.happens(event)
            match event:
                case events.Write(stream):
                    self._write(stream)
                case events.Close(stream):
                    self._close(stream)
                case events.Save():
                    self.saver.save(self._saved)
                case events.Leased(stream, batches):
                    self.book.grant(stream.holder.number, batches)
        if self.core.end is not None:
            self.conduct.ends(self.core.end)
        if self.core.left and not self.left:
            self._leave()
        if self.left:
            return
        if (due := max(self.core.wake_at, self.clock.now)) < self._tick_at:
            self._tick_at = due
            self.clock.after(due - self.clock.now, self, partial(self._tick, due))

    # -- streams

    def hear(self, way: Stream, said: Any) -> None:
        """Receive a request; the first one of a stream is the sender itself."""
        if isinstance(said, Sender):
            self._join(way, said)
        elif way in self.served:
            self._apply(self.served[way], said)

    def _join(self, way: Stream, sender: Sender) -> None:
        settings = sender.settings
        facts = SenderFacts(
            *(sender.session_id, sender.name, settings.mean_s, settings.fail, settings.concurrency),
            limit_per_s=settings.limit_per_s,
            burst=settings.burst,
        )
        now = self.clock.now
        try:
            stream, happened = self.core.join(facts, settings.distribution, settings.std_s or 0.0, now)
        except LaterError:
            way.close(way.up)
            return
        self.clock.note(self.name, "%s joins as %s", sender.name, stream.holder.number)
        self.served[way], self._ways[stream.holder.number] = stream, way
        way.down.send(self.run)
        self._carry_out(happened)
        self.conduct.opened(stream)
        self._apply(stream, Request())

    def _apply(self, stream: ProducerStream, request: Request) -> None:
        number, counts = stream.holder.number, not stream.holder.lost
        try:
            happened = self.core.apply(stream, request, self.clock.now)
        except PeerError as error:
            self.saver.save(partial(self._refuse, error), proves=True)
            return
        if counts:
            self.conduct.heard(stream)
            if request.settlements is not None:
                self.book.settle(request.settlements, self.world.recorded(self.run.run_id))
            if request.handed_back is not None:
                handed_back = request.handed_back.tolist()
                self.book.hand_back(number, handed_back)
                if any(i in self.book.settled for i in handed_back):
                    self.clock.strike("settled message handed back", self.name)
        self._carry_out(happened)

    def _refuse(self, error: PeerError) -> None:
        """Fail: all senders keep to the protocol, and this producer owns the run, unless its records have vanished."""
        if not self.world.loses:
            raise error

    def _write(self, stream: ProducerStream) -> None:
        """Write everything there is to write, one thing after another."""
        number, now = stream.holder.number, self.clock.now
        while number in self._ways and number not in self._writing and (said := self.core.response(stream)) is not None:
            delivery = None
            if said.batch is not None:
                ids, attempt = said.batch.ids, said.batch.attempt
                delivery = Delivery(ids, attempt, self.backlog.queued_s(ids, now), self.backlog.elapsed_s(now))
            if said.end is not None:
                self.conduct.tells(said.end)
            self._ways[number].down.send((said, delivery))
            if self.world.plan.write_s:
                self._writing.add(number)
                self.clock.after(self.world.plan.write_s, self, partial(self._written, stream))

    def _written(self, stream: ProducerStream) -> None:
        self._writing.discard(stream.holder.number)
        self._write(stream)

    def _close(self, stream: ProducerStream) -> None:
        """End a stream; it is closed when the write in progress is over."""
        way = self._ways[stream.holder.number]
        self.book.lose(stream.holder.number)
        way.close(way.up)
        self.clock.after(self.world.plan.write_s, self, partial(self.hang_up, way))

    def hang_up(self, way: Stream) -> None:
        """Close a stream that ended on either side or broke."""
        if way not in self.served:
            return
        stream = self.served.pop(way)
        del self._ways[stream.holder.number]
        self.book.lose(stream.holder.number)
        way.close(way.up)
        self.conduct.closed(stream)
        self._carry_out(self.core.closed(stream, self.clock.now))

    def _leave(self) -> None:
        code = self.core.exit_code
        self.clock.note(self.name, "exits with %s", int(code))
        self.conduct.left()
        self.left = True
        self.drop()
        ended = None if self.core.end is None else (int(code), "the run is over")
        self.saver.leave(ended, partial(self._host.exit, code))

    def drop(self) -> None:
        """Break all streams."""
        self.listening = False
        for way in self.world.network.streams:
            if way.server is self:
                way.cut()
