"""A sender: the core classes, which decide, on a simulated network and clock."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from simulation.books import check
from simulation.clock import Process
from simulation.network import Stream
from simulation.sender_book import PeerBook, SenderBook
from smssim.core.conditions import Conditions
from smssim.core.exchange import Answer, Report
from smssim.core.model import RunFacts, StartLimit
from smssim.core.reconnect import Kind, Loss, Reconnector, Retry
from smssim.core.sender_run import NO_RUN, SenderEnd, SenderLife, SenderRun
from smssim.core.sending import SenderProtocol
from smssim.errors import ExitCode, GoneError, LaterError, PeerError
from smssim.settings import SenderSettings

if TYPE_CHECKING:
    from simulation.world import World

UNEXPLAINED = 0.2  # chance that a loss comes without its reason


class Sender(Process):
    """A sender in one run, or in one run after another if it lingers."""

    def __init__(self, world: World, number: int, settings: SenderSettings) -> None:
        super().__init__()
        self.world, self.clock, self.settings, self.limits = world, world.clock, settings, world.limits
        self.name = f"sender {number}"
        self.session_id = ""
        self.run: RunFacts | None = None
        self.end: SenderEnd | None = None  # of its last run
        self.forged = False  # a forged report was sent in its name
        self.stream: Stream | None = None
        self._life = SenderLife(settings.linger, self.limits)
        self._joined_runs: set[str] = set()
        self._done_runs: set[str] = set()  # those that it stayed in to their end
        self._sessions = 0
        self._search()

    @property
    def waits_for_ever(self) -> bool:
        """Whether it waits for something that never comes: another run, or a monitor that has already left."""
        producer, monitor = self.world.producer, self.world.monitor
        if self._part is None:
            if self in self.world.network.astray:
                return True
            return producer is not None and (producer.left or producer.run.run_id in self._done_runs)
        protocol = self._part.protocol
        return not (protocol.introduced or protocol.ended) and monitor is not None and monitor.ending is not None

    @property
    def part(self) -> SenderRun:
        """The sender's part in its run, which it must have found."""
        assert self._part is not None
        return self._part

    def drain(self) -> None:
        """Drain, as after SIGTERM."""
        self._life.stop()
        if self._part is None:
            self._leave(NO_RUN)
            return
        for peer in (self._producer_book, self._monitor_book):
            peer.bound(self.clock.now, self.limits.drain_max_s)
        self._book.draining = True
        self.part.drain(self.clock.now)
        self.work()

    # -- from run to run

    def _search(self) -> None:
        self._sessions += 1
        self.session_id = self.name if self._sessions == 1 else f"{self.name}, run {self._sessions}"
        self.run, self.forged = None, False
        self._part: SenderRun | None = None
        self._under_way: Report | None = None
        self._writing = False
        self._awake_at = math.inf
        self._book = SenderBook(self.session_id)
        self._producer, self._monitor = self._reconnector("producer"), self._reconnector("monitor")
        self._producer_book = self._peer_book("producer")
        self._monitor_book = self._peer_book("monitor")
        self._connect()

    def _reconnector(self, peer: str) -> Reconnector:
        addresses = [str(address) for address in range(self.world.addresses(peer))]
        uniform = self.clock.random.uniform
        return Reconnector(f"the {peer}", self.settings.give_up_s, uniform, self.limits, addresses=addresses)

    def _peer_book(self, peer: str) -> PeerBook:
        addresses = self.world.addresses(peer)
        return PeerBook(f"{self.session_id}, the {peer}", self.settings.give_up_s, self.limits, addresses)

    def _leave(self, end: SenderEnd) -> None:
        """Leave the run, or end without one."""
        self.clock.note(self.name, "leaves with exit code %s: %s", end.exit_code, end.warning or end.reason)
        self.end = end
        if self.run is not None:
            self._check_end(end, self.run)
        self._close_stream()
        if self._life.on_end(end):
            self.clock.strike("sender lingers", self.name)
            self._search()
        else:
            self.finish()

    def _check_end(self, end: SenderEnd, run: RunFacts) -> None:
        if isinstance(end.error, GoneError):
            self.clock.strike("sender gives up" if not self._book.draining else "drained sender gives up", self.name)
        if end.warning:
            self.clock.strike("goodbye unanswered", self.name)
        if end.error is None:
            self._book.leave()
            self._done_runs.add(run.run_id)
        if end.exit_code == ExitCode.OK and not self._book.draining:
            settled = len(self.world.producer_books[run.run_id].settled)
            done = settled == run.total or self.world.loses
            check(done, "%s leaves with 0 when only %s are settled", self.name, settled)

    def _later(self, delay_s: float, happen: Callable[[], None]) -> None:
        """Schedule something that happens only if the sender is then still in the same run or search."""
        self.clock.after(delay_s, self, partial(self._if_same, self.session_id, happen))

    def _if_same(self, session_id: str, happen: Callable[..., None], *args: object) -> None:
        if session_id == self.session_id:
            happen(*args)

    # -- the producer

    def _connect(self) -> None:
        host = self.world.at("producer", int(self._producer.address))
        self.stream = None if host is None else self.world.network.open(self, host.owner)
        self._offered = False  # on this stream
        if self.stream is None:
            self._lost_producer()
        else:
            self.stream.up.send(copy.copy(self))  # as it is now

    def _lost_producer(self) -> None:
        loss, now = self._loss(), self.clock.now
        if self._part is None:
            step = self._producer.lost(loss, now)
            check(isinstance(step, Retry), "%s gives up a producer that it never connected to", self.name)
            retry = step if isinstance(step, Retry) else None
        else:
            ended = self._part.protocol.ended
            retry = self._part.on_producer_lost(loss, now)
            if retry is None and not ended:
                self._producer_book.given_up(now)
        if retry is not None:
            self._producer_book.waits(retry.wait_s, now, loss.kind is Kind.MAY_PASS)
            self._later(retry.wait_s, self._connect)
        self.work()

    def _loss(self) -> Loss:
        return Loss(Kind.UNEXPLAINED if self.clock.luck(UNEXPLAINED) else Kind.MAY_PASS, "no answer")

    def hear(self, stream: Stream, said: Any) -> None:
        """Receive a response of the producer; the first one is the run."""
        if stream is not self.stream:
            return
        if isinstance(said, RunFacts):
            self._on_offer(said)
        else:
            response, delivery = said
            if delivery is not None:
                self._book.receive(delivery, self.clock.now)
            if response.end is not None:
                self._monitor_book.bound(self.clock.now)
            self.part.on_response(self.clock.now, response.settled, delivery, response.end)
            if response.end is not None:
                self._close_stream()
        self.work()

    def _on_offer(self, run: RunFacts) -> None:
        now = self.clock.now
        if self._part is not None:
            self._offered = self._part.on_offer(run.run_id, now) is not None
            if self._offered:
                self._producer_book.answered()
            else:
                self._close_stream()
            return
        wait_s = self._life.on_offer(run.run_id)
        if wait_s is not None:
            self._close_stream()
            self._later(wait_s, self._connect)
            return
        check(run.run_id not in self._done_runs, "%s joins %s again", self.name, run.run_id)
        if self._joined_runs - {run.run_id}:
            self.clock.strike("sender in another run", self.name)
        self._joined_runs.add(run.run_id)
        self._offered = True
        self._producer.found(now)
        self._producer_book.answered()
        self.run = run
        self._book.join(run, self.settings)
        protocol = self._protocol(run)
        protocol.on_finished = lambda finished, _: self._book.finish(finished)
        self._monitor = self._reconnector("monitor")
        self._part = SenderRun(run.run_id, protocol, self._producer, self._monitor, now, self.limits)

    def _protocol(self, run: RunFacts) -> SenderProtocol:
        settings = self.settings
        model = settings.attempt_model
        conditions = Conditions(run.seed, run.max_attempts, model, settings.faults, run.unreachable)
        limit = StartLimit.of(settings.limit_per_s, settings.burst, run.segments)
        return SenderProtocol(conditions, settings.mean_s, settings.concurrency, self.clock.now, self.limits, limit)

    def _close_stream(self) -> None:
        if self.stream is not None:
            self.stream.close(self.stream.down)
            self.stream = None
            if self._offered and self._part is not None:
                self._part.on_stream_lost(self.clock.now)
                self._book.lose_stream()

    def hang_up(self, stream: Stream) -> None:
        """Close a stream that has broken or that the producer has ended."""
        if stream is self.stream:
            self._close_stream()
            self._lost_producer()

    # -- what is due

    def work(self) -> None:
        """Advance the lanes, and send the requests and the report that are due."""
        if self._part is None or not self.alive:
            return
        if (end := self._part.end) is not None:
            self._leave(end)
            return
        now, protocol = self.clock.now, self._part.protocol
        protocol.advance(now)
        while self.stream is not None and not self._writing and (request := protocol.request(now)) is not None:
            self._book.request(request)
            self.stream.up.send(request)
            if self.world.plan.write_s:
                self._writing = True
                self._later(self.world.plan.write_s, self._written)
        if self._under_way is None and (report := protocol.report(now)) is not None:
            self._book.report(report)
            self._under_way = report
            self._deliver()
        due = protocol.wake_at(now)
        if due < self._awake_at:
            self._awake_at = due
            self._later(due - now, partial(self._wake, due))

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
        address = int(self._monitor.address)
        host = self.world.at("monitor", address)
        serve = partial(self.world.report, address, host, run, self.session_id, report)
        answered = partial(self._if_same, self.session_id, self._answered)
        self.world.network.call(self, serve, answered, self.limits.report_timeout_s)

    def _failed(self, loss: Loss) -> None:
        now, needless = self.clock.now, self.part.protocol.needs_no_monitor
        retry = self.part.on_report_failed(loss, now)
        if retry is not None:
            self._monitor_book.waits(retry.wait_s, now, loss.kind is Kind.MAY_PASS)
            self._later(retry.wait_s, self._deliver)
        elif loss.kind is not Kind.REFUSED and not needless:
            self._monitor_book.given_up(now)
        self.work()

    def _answered(self, answer: Answer | PeerError | None) -> None:
        if answer is None:
            self._failed(self._loss())
            return
        if isinstance(answer, PeerError):
            accepted = self.world.plan.journals and not self.world.past.misled and not self.world.loses
            check(self.forged or not accepted, "a report is refused: %s", answer)
            later = isinstance(answer, LaterError)
            self._failed(Loss(Kind.MAY_PASS if later else Kind.REFUSED, str(answer)))
            return
        self._monitor_book.answered()
        ended = self.part.protocol.ended
        self.part.on_answer(answer, self.clock.now)
        if self.part.protocol.ended and not ended:
            self.clock.strike("end learned from the monitor", self.name)
        self.clock.note(self.name, "report %s is acknowledged", self._under_way and self._under_way.sequence)
        self._under_way = None
        self.work()
