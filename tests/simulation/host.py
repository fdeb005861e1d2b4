"""A process of a producer or a monitor: it takes the state of its run, and then does its work until it loses it.

With an engine it may stand by first, and again whenever another process has fenced it off.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from simulation.books import check
from simulation.clock import Process
from simulation.disk import DiskLog
from simulation.driving import Driven, sleep
from simulation.engine import SimStore
from simulation.monitor import Monitor
from simulation.producer import Producer
from simulation.records import Writing
from simulation.saver import Hold
from smssim.core.log_store import UnclearError
from smssim.core.owned_log import Taken
from smssim.core.reconnect import Kind, Loss, Reconnector
from smssim.core.replicated_log import ReplicatedLog
from smssim.core.standby import Move, Standby, Step
from smssim.errors import DamagedLogError, ExitCode, FencedError, GoneError, NotSavedError

if TYPE_CHECKING:
    from simulation.world import World

Owner = Producer | Monitor


class Host(Process):
    """A process of one kind, at one address."""

    def __init__(self, world: World, kind: str, address: int) -> None:
        super().__init__()
        self.kind, self.address = kind, address
        self.name = kind if world.addresses(kind) == 1 else f"{kind} {address}"
        self.owner: Owner | None = None  # what it does while it owns the run
        self.exit_code: ExitCode | None = None  # once it has left
        self.writing: Writing | None = None  # in the engine
        self.epoch = 0  # how many times the log had been taken when it took it last
        self._world, self._clock = world, world.clock
        limits = replace(world.limits, backoff_max_s=world.limits.append_retry_max_s)
        give_up_s = 0.0 if world.plan.engine is None else world.plan.engine.give_up_s
        self._engine = Reconnector("the engine", give_up_s, self._clock.random.uniform, limits)

    def start(self) -> None:
        """Begin to run. Without an engine, it owns its run at once."""
        self._clock.note(self.name, "starts")
        if self._world.plan.engine is not None:
            self._stand_by()
            return
        disk = self._world.disks[self.kind]
        if disk is None:
            self._own(None, Taken({}))
        else:
            writing = Writing()
            log = DiskLog(disk, self, writing)
            hold = Hold(log, disk.records, writing)
            Driven(log.take(), lambda taken: self._own(hold, taken))

    def _own(self, hold: Hold | None, taken: Taken) -> None:
        if hold is not None:
            expected = {} if hold.writing.commit is None else hold.writing.commit.pieces
            check(taken.pieces == expected, "what %s takes is not what is on record", self.name)
        taken = replace(taken, pieces=dict(taken.pieces))
        self.owner = (Producer if self.kind == "producer" else Monitor)(self._world, self, hold, taken)
        self._world.owns(self, self.owner)

    # -- with an engine

    def _stand_by(self) -> None:
        Driven(self._poll())

    async def _poll(self) -> None:
        """Look at the end of the log again and again, and take it when it is time."""
        world, clock, limits = self._world, self._clock, self._world.limits
        engine, writing = world.logs[self.kind], Writing()
        self.writing = writing
        store = SimStore(engine, self, clock, writing)
        log = ReplicatedLog(store, f"log of the {self.kind}", self.name, world.new_id, lambda: clock.now, limits)
        standby = Standby("this run", self.name, limits)
        try:
            while (step := await self._look(log, standby)).move is not Move.LEAVE:
                if step.move is Move.TAKE and (taken := await self._take(log)) is not None:
                    taken = replace(taken, away_s=standby.away_s(clock.now))
                    self._takes(Hold(log, engine.records, writing, self._engine), taken)
                    return
                if step.move is Move.TAKE:
                    standby.beaten()
                await sleep(clock, self, limits.poll_s)
        except GoneError as error:
            self._give_up(error)
            return
        except DamagedLogError as error:
            check(world.loses, "the log is damaged: %s", error)
            clock.strike("log damaged", self.name)
            world.damaged.add(self.kind)
            self.exit(ExitCode.INCOMPLETE)
            return
        assert standby.ended is not None
        check(engine.ever_ended or world.loses, "%s leaves, but the run is not over", self.name)
        clock.strike("standby leaves", self.name)
        self.exit(ExitCode(standby.ended.code))

    async def _look(self, log: ReplicatedLog, standby: Standby) -> Step:
        while True:
            try:
                step = standby.saw(await log.tail(), self._clock.now)
            except UnclearError as error:
                standby.missed()
                await self._wait(error)
            else:
                self._engine.found(self._clock.now)
                return step

    async def _take(self, log: ReplicatedLog) -> Taken | None:
        while True:
            try:
                taken = await log.take()
            except UnclearError as error:
                await self._wait(error)
            else:
                self._engine.found(self._clock.now)
                return taken

    async def _wait(self, error: UnclearError) -> None:
        """Wait before the engine is called again; raises GoneError."""
        retry = self._engine.retry(Loss(Kind.MAY_PASS, str(error)), self._clock.now)
        await sleep(self._clock, self, retry.wait_s)

    def _takes(self, hold: Hold, taken: Taken) -> None:
        """Become the owner; the books begin with what is really on record."""
        world = self._world
        if taken.previous:
            self._clock.strike("taken over", self.name)
        self.epoch, hold.writing.commit = world.logs[self.kind].base(hold.writing, taken.pieces)
        self._own(hold, taken)

    def broken(self, error: NotSavedError) -> None:
        """Stop owning the run, because nothing more can be saved."""
        owner = self.owner
        assert owner is not None
        owner.drop()
        owner.finish()
        self.owner = None
        self._world.lost_its_run(self.kind, owner)
        if isinstance(error, FencedError):
            self._clock.strike("owner fenced off", self.name)
            self._stand_by()
        else:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._clock.strike("engine given up", self.name)
        self._clock.note(self.name, "%s", error)
        self.exit(ExitCode.INCOMPLETE)
        self._world.restart(self)

    def exit(self, code: ExitCode) -> None:
        """Leave with this exit code."""
        self.exit_code = code
        if self.kind == "producer" or self._world.plan.engine is not None:
            self.finish()
