"""Producer, sender and monitor: around the core classes, what the shells in `smssim/nodes` do, in the same order."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from simulation.books import MonitorBook, ProducerBook, check
from simulation.clock import Process
from simulation.disk import Disk
from simulation.network import Stream
from smssim.core.backlog import Backlog
from smssim.core.exchange import Answer, Delivery, Report, Request, RunEnd
from smssim.core.fate import Fates
from smssim.core.holder import longest_attempt_s
from smssim.core.saving import Changes, pack, put_under, unpack, within
from smssim.core.sending import NOTHING, Sending
from smssim.core.serving import Response, Serving
from smssim.core.session import SenderFacts
from smssim.core.tally import Ending, RunFacts, Tally
from smssim.errors import PeerError
from smssim.settings import SenderSettings

if TYPE_CHECKING:
    from simulation.world import World

BACKOFF_MIN_S, BACKOFF_MAX_S = 0.1, 2.0
GIVE_UP_S = 60.0
CHECK_S = 0.5
DOOR_OPEN_S = 1.0
RETURN_S = 2 * BACKOFF_MAX_S
FAREWELL_S = 10.0
MONITOR_AWAY_MAX_S = 25.0  # while faults strike and somewhat longer


class Saver:
    """Commits what `changes` says, one commit at a time, for all who wait for one."""

    def __init__(self, process: Process, disk: Disk | None, world: World, changes: Callable[[], Changes]) -> None:
        self._process, self._disk, self._world, self._changes = process, disk, world, changes
        self._waiting: list[Callable[[], None]] = []
        self._busy = False

    def save(self, done: Callable[[], None]) -> None:
        """Calls back when all that has changed up to now is on disk; at once without a disk."""
        if self._disk is None:
            done()
            return
        self._waiting.append(done)
        if not self._busy:
            self._busy = True
            self._world.clock.after(self._world.plan.gather_s, self._process, self._commit)

    def _commit(self) -> None:
        assert self._disk is not None
        waiting, self._waiting = self._waiting, []
        changes = self._changes()
        if changes:
            self._disk.commit(self._process, changes, partial(self._committed, waiting))
        else:
            self._committed(waiting)

    def _committed(self, waiting: list[Callable[[], None]]) -> None:
        for done in waiting:
            done()
        self._busy = bool(self._waiting)
        if self._busy:
            self._world.clock.after(self._world.plan.gather_s, self._process, self._commit)


# ---- The producer


class Served(Serving):
    """A stream as the producer has it."""

    def __init__(self, backlog: Backlog, stream: Stream, holder: Any, frame_rows_max: int) -> None:
        super().__init__(backlog, holder, frame_rows_max)
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
            plan.total, plan.max_attempts, plan.retry_delay_s, plan.lease_timeout_s, plan.rate_per_s, MONITOR_AWAY_MAX_S
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
                self._take_in(served, said)

    def _join(self, stream: Stream, sender: Sender) -> None:
        settings = sender.settings
        known = {served.holder.number for served in self.served.values()}
        longest_s = longest_attempt_s(settings.distribution, settings.mean_s, settings.std_s or 0.0)
        holder = self.backlog.join(sender.session_id, settings.mean_s, settings.concurrency, self.clock.now, longest_s)
        served = Served(self.backlog, stream, holder, self.world.plan.frame_rows_max)
        for other in [s for s in self.served.values() if s.holder.lost]:
            self._part(other.stream)
        self.clock.note(self.name, "%s joins as %s of %s", sender.name, holder.number, len(known))
        self.served[stream] = served
        self._joined_at = self._joined_at or self.clock.now
        stream.down.send(self.run)
        self._take_in(served, Request())

    def _take_in(self, served: Served, request: Request) -> None:
        now, backlog = self.clock.now, self.backlog
        number = served.holder.number
        if request.settlements is not None:
            self.book.settle(request.settlements, self.world.recorded(self.run.run_id))
        if request.handed_back is not None:
            handed_back = request.handed_back.tolist()
            self.book.hand_back(number, handed_back)
            if any(i in self.book.settled for i in handed_back):
                self.clock.strike("settled message handed back", self.name)
        served.take_in(request, now)
        self._give(served)
        if backlog.complete:
            self.over()
        elif served.concerns_others(now):
            self.distribute()
        self.write(served)

    def _give(self, served: Served) -> None:
        if self.end is None:
            lots = served.give(self.clock.now)
            self.book.grant(served.holder.number, lots)

    def distribute(self) -> None:
        """Gives to those who want more."""
        if not self.listening:
            return
        for holder in self.backlog.holders.hungry():
            served = next(s for s in self.served.values() if s.holder is holder)
            self._give(served)
            self.write(served)
        due = self.backlog.wake_at(self.clock.now) if self.backlog.holders.hungry() else math.inf
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
            if said.lot is not None:
                lot, now = said.lot, self.clock.now
                queued_s = self.backlog.queued_s(lot.ids, now)
                stream.down.send((said, Delivery(lot.ids, lot.attempt, queued_s, self.backlog.elapsed_s(now))))
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
        self.backlog.holders.excuse(max(0.0, self.clock.now - self._looked_at - CHECK_S), self.clock.now)
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


# ---- The monitor


class Monitor(Process):
    """Follows one run."""

    name = "monitor"

    def __init__(self, world: World, disk: Disk | None) -> None:
        super().__init__()
        self.world, self.clock = world, world.clock
        self.ending: Ending | None = None
        self._looked_at = self.clock.now
        self.tally: Tally | None = None
        self._disk = disk
        self._saver = Saver(self, disk, world, self._changes)
        pieces = disk.pieces() if disk is not None else {}
        if pieces:
            assert disk is not None
            self.tally = Tally.restored(pieces, self.clock.now)
            self.book.restart(world.written[self.name][disk.commits])
            self.clock.strike("monitor restored", self.name)
        self._watch()

    @property
    def book(self) -> MonitorBook:
        """Of the run that is followed."""
        assert self.tally is not None
        return self.world.monitor_books[self.tally.run.run_id]

    def _changes(self) -> Changes:
        assert self.tally is not None
        assert self._disk is not None
        self.world.written[self.name][self._disk.commits + 1] = len(self.book.log)
        return self.tally.changes(self.clock.now)

    def report(self, run: RunFacts, session_id: str, report: Report, answer: Callable[[Any], None]) -> None:
        """Records a report, and answers when that is on disk."""
        if self.tally is not None and self.tally.run.run_id != run.run_id:
            answer(PeerError("unknown run"))
            return
        if self.tally is None:
            self.world.monitor_books[run.run_id] = MonitorBook(run.total)
            self.tally = Tally(run, self.clock.now)
        try:
            said = self.tally.report(run, SenderFacts(session_id, session_id), report, self.clock.now)
        except PeerError as error:
            answer(error)
            return
        self.clock.note(self.name, "report %s of %s: %s", report.sequence, session_id, report.finished.ids)
        if not self.book.report(session_id, report, said):
            self.clock.strike("report known already", self.name)
        self._acknowledge(partial(answer, said))

    def take_forged(self, victim: Sender) -> None:
        """An empty report arrives in the name of a sender, and takes the number of that sender's next one."""
        session = None if self.tally is None else self.tally.sessions.get(victim.session_id)
        if session is not None and victim.run is not None:
            self.clock.strike("sender forged", victim.name)
            victim.forged = True
            self.report(victim.run, victim.session_id, Report(session.sequence + 1, NOTHING, 0, 0), lambda _: None)

    def _acknowledge(self, answer: Callable[[], None]) -> None:
        """Answers when all that was taken in is on disk. Without a disk it counts as being there."""
        self._saver.save(partial(self._saved, len(self.book.log), answer))

    def _saved(self, upto: int, answer: Callable[[], None]) -> None:
        self.book.committed(upto)
        answer()

    def _watch(self) -> None:
        late_s, self._looked_at = self.clock.now - self._looked_at - CHECK_S, self.clock.now
        if self.tally is not None:
            if late_s > 0:
                self.tally.excuse(late_s, self.clock.now)
            self.ending = self.tally.ending(self.clock.now, GIVE_UP_S)
        if self.ending is None:
            self.clock.after(CHECK_S, self, self._watch)
        else:
            self.clock.note(self.name, "%s: %s", self.ending.exit_code, self.ending.reason)


# ---- A sender


class Patience:
    """Waiting for one peer."""

    def __init__(self, world: World) -> None:
        self.met = False
        self._world = world
        self._away_since: float | None = None
        self._backoff_s = BACKOFF_MIN_S

    def found(self) -> None:
        """The peer has answered."""
        self.met = True
        self._away_since = None
        self._backoff_s = BACKOFF_MIN_S

    def lost(self) -> float | None:
        """How long to wait before the next try; None if the peer is gone for good."""
        now = self._world.clock.now
        self._away_since = now if self._away_since is None else self._away_since
        if self.met and now - self._away_since >= GIVE_UP_S:
            return None
        wait_s = self._backoff_s * self._world.clock.random.uniform(0.5, 1.0)
        self._backoff_s = min(2 * self._backoff_s, BACKOFF_MAX_S)
        return wait_s


class Sender(Process):
    """One sender in one run."""

    def __init__(self, world: World, number: int, settings: SenderSettings) -> None:
        super().__init__()
        self.world, self.clock, self.settings = world, world.clock, settings
        self.name = f"sender {number}"
        self.session_id = self.name
        self.run: RunFacts | None = None
        self.left = ""  # why
        self.gone = False  # the producer
        self.forged = False  # somebody has reported in its name
        self.stream: Stream | None = None
        self._sending: Sending | None = None
        self._producer, self._monitor = Patience(world), Patience(world)
        self._under_way: Report | None = None
        self._writing = False
        self._awake_at = math.inf
        self._connect()

    @property
    def waits_for_ever(self) -> bool:
        """Whether it has not met a peer that will never come: the monitor, if that has ended with another run."""
        producer, monitor = self.world.producer, self.world.monitor
        if self.run is None:
            return producer is not None and producer.left
        return not self.sending.introduced and monitor is not None and monitor.ending is not None

    @property
    def sending(self) -> Sending:
        """The protocol, once a run is found."""
        assert self._sending is not None
        return self._sending

    def drain(self) -> None:
        """SIGTERM."""
        if self._sending is None:
            self.leave("stopped before a run was found")
            return
        self.sending.advance(self.clock.now, at_once=True)
        self.sending.drain(self.clock.now)
        self._producer.met = self._monitor.met = True
        self.work()

    def leave(self, why: str) -> None:
        """Ends the process in order."""
        self.left = why
        self.alive = False
        self.clock.note(self.name, "leaves: %s", why)
        if self.stream is not None:
            self.stream.close(self.stream.down)
            self.stream = None

    # -- the producer

    def _connect(self) -> None:
        if self._sending is not None and self.sending.ended:
            return
        self.stream = self.world.network.open(self, self.world.producer)
        if self.stream is None:
            self._lost_producer()
        else:
            self.stream.up.send(self)

    def _lost_producer(self) -> None:
        if self._sending is not None and self.sending.ended:
            return
        wait_s = self._producer.lost()
        if wait_s is not None:
            self.clock.after(wait_s, self, self._connect)
        else:
            self._give_up()

    def _give_up(self) -> None:
        """The producer is gone for good: what is finished is still reported."""
        self.gone = True
        self.sending.advance(self.clock.now, at_once=True)
        self.sending.end(None)
        self.work()

    def hear(self, stream: Stream, said: Any) -> None:
        """What the producer says: first the run."""
        if stream is not self.stream:
            return
        now = self.clock.now
        if isinstance(said, RunFacts):
            self._met(said)
            return
        response: Response = said[0]
        self.sending.advance(now, at_once=response.end is not None)
        self.sending.confirm(response.settled)
        if said[1] is not None:
            self.sending.receive(said[1], now)
        if response.end is not None:
            self.sending.end(response.end)
            self._end_stream()
        self.work()

    def _met(self, run: RunFacts) -> None:
        plan, settings = self.world.plan, self.settings
        if self.run is not None and run.run_id != self.run.run_id:
            self._end_stream()
            self._give_up()
            return
        self._producer.found()
        if self._sending is None:
            self.run = run
            fates = Fates(run.seed, run.max_attempts, settings)
            self._sending = Sending(
                fates, settings.mean_s, settings.concurrency, self.clock.now, report_rows_max=plan.report_rows_max
            )
        self.sending.stream_up(self.clock.now)
        self.work()

    def _end_stream(self) -> None:
        assert self.stream is not None
        self.stream.close(self.stream.down)
        self.stream = None
        self._stream_lost()

    def _stream_lost(self) -> None:
        if self._sending is not None:
            self.sending.advance(self.clock.now)
            self.sending.stream_lost()

    def hang_up(self, stream: Stream) -> None:
        """The stream has broken, or the producer has ended it."""
        if stream is self.stream:
            stream.close(stream.down)
            self.stream = None
            self._stream_lost()
            self._lost_producer()

    # -- whatever is due

    def work(self) -> None:
        """Moves the lanes on, and says what there is to say."""
        if self._sending is None or not self.alive:
            return
        now, sending = self.clock.now, self.sending
        sending.advance(now)
        while self.stream is not None and not self._writing and (request := sending.request(now)) is not None:
            self.stream.up.send(request)
            if self.world.plan.write_s:
                self._writing = True
                self.clock.after(self.world.plan.write_s, self, self._written)
        if self._under_way is None:
            if sending.draining and sending.is_needless:
                self.leave("drained before it met the monitor")
                return
            self._under_way = sending.report(now)
            if self._under_way is not None:
                self._deliver()
        due = max(sending.wake_at(now), now + self.world.plan.tick_s)
        if due < self._awake_at:
            self._awake_at = due
            self.clock.after(due - now, self, partial(self._wake, due))

    def _wake(self, due: float) -> None:
        if due == self._awake_at:
            self._awake_at = math.inf
            self.work()

    def _written(self) -> None:
        self._writing = False
        self.work()

    # -- the monitor

    def _deliver(self) -> None:
        report, run = self._under_way, self.run
        assert report is not None
        assert run is not None
        serve = partial(self.world.report, self.world.monitor, run, self.session_id, report)
        self.world.network.call(self, serve, self._told, self.world.plan.report_timeout_s)

    def _unanswered(self) -> None:
        if self.sending.is_needless:
            self.leave("nothing to tell the monitor")
            return
        wait_s = self._monitor.lost()
        if wait_s is None:
            self.leave("the monitor is gone")
        else:
            self.clock.after(wait_s, self, self._deliver)

    def _told(self, answer: Answer | PeerError | None) -> None:
        if answer is None:
            self._unanswered()
            return
        if isinstance(answer, PeerError):
            check(self.forged or not self.world.plan.journals, "refused: %s", answer)
            self.leave("refused by the monitor")
            return
        self._monitor.found()
        ended = self.sending.ended
        self.sending.acknowledge(answer)
        if self.sending.ended and not ended:
            self.clock.strike("end learned from the monitor", self.name)
        self.clock.note(self.name, "report %s is acknowledged", self._under_way and self._under_way.sequence)
        self._under_way = None
        if self.sending.done:
            self.leave("the producer is gone" if self.gone else "done")
            return
        self.work()
