"""A sender: around the core classes, what its shell does, in the same order."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from simulation.books import check
from simulation.clock import Process
from simulation.network import Stream
from smssim.core.exchange import Answer, Report
from smssim.core.fate import Fates
from smssim.core.model import RunFacts
from smssim.core.producer_stream import Response
from smssim.core.sending import SenderProtocol
from smssim.errors import PeerError
from smssim.settings import SenderSettings

if TYPE_CHECKING:
    from simulation.world import World


BACKOFF_MIN_S, BACKOFF_MAX_S = 0.1, 2.0
GIVE_UP_S = 60.0


class Reconnector:
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
        self._sending: SenderProtocol | None = None
        self._producer, self._monitor = Reconnector(world), Reconnector(world)
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
    def sending(self) -> SenderProtocol:
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
        settings = self.settings
        if self.run is not None and run.run_id != self.run.run_id:
            self._end_stream()
            self._give_up()
            return
        self._producer.found()
        if self._sending is None:
            self.run = run
            fates = Fates(run.seed, run.max_attempts, settings.attempt_model)
            self._sending = SenderProtocol(
                fates, settings.mean_s, settings.concurrency, self.clock.now, limits=self.world.limits
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
            accepted = self.world.plan.journals and not self.world.accounts.misled
            check(self.forged or not accepted, "refused: %s", answer)
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
