"""The faults that strike a simulation: when, which node, and what they do to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from simulation.clock import Process
from simulation.engine import LATE_MAX_S, Temper
from simulation.host import Host
from simulation.monitor import Monitor
from simulation.network import Weather
from simulation.plan import ENGINE_FAULTS, LOSSES
from simulation.producer import Producer
from simulation.sender import Sender
from smssim.core.model import RunFacts
from smssim.errors import ExitCode

if TYPE_CHECKING:
    from simulation.world import World

FAULT_EVERY_S = 0.05
PAUSE_MIN_S, PAUSE_MAX_S = 0.05, 100.0
LONG_PAUSE_S = 12.0  # after a shorter pause of a monitor or a sender, no leases may expire because nothing is settled
SENDERS_MAX = 12
OWNERS_FIRST = 0.7  # chance that a fault strikes the owner of a run, if other nodes stand by


class Faults:
    """Lets the faults of a plan strike, each at its rate, until it is calm."""

    def __init__(self, world: World) -> None:
        self.are_over = False
        self.was_long_paused = False  # whether any node was
        self.until = world.clock.now + world.plan.faulty_s
        self._world, self._clock, self._plan = world, world.clock, world.plan

    def begin(self) -> None:
        """Let faults strike from now on."""
        self._clock.after(FAULT_EVERY_S, None, self._go_on)
        self._clock.after(self._clock.random.uniform(0.0, 4.0), None, self._watch)

    def _go_on(self) -> None:
        if self._clock.now >= self.until:
            self._calm()
            return
        for fault, per_s in self._plan.faults.items():
            if self._clock.luck(per_s * FAULT_EVERY_S):
                self._strike(fault)
        self._clock.after(FAULT_EVERY_S, None, self._go_on)

    def _calm(self) -> None:
        """End the faults, and add a sender."""
        self._clock.note("fate", "no more faults")
        self.are_over = True
        self._world.network.weather = Weather(delay_s=self._plan.weather.delay_s)
        for log in self._world.logs.values():
            log.temper = Temper(delay_s=log.temper.delay_s, loses=log.temper.loses)
        self._world.join()
        self._world.tidy_later()

    def _watch(self) -> None:
        """Add a watcher every few seconds while faults strike."""
        if self.are_over:
            return
        monitor = self._world.monitor
        if monitor is not None and monitor.alive and not monitor.paused and not monitor.audience.closing:
            monitor.watch()
        self._clock.after(self._clock.random.uniform(0.0, 8.0), None, self._watch)

    # -- which node

    def _strike(self, fault: str) -> None:
        what, _, how = fault.rpartition(" ")
        if fault in ENGINE_FAULTS or fault in LOSSES:
            self._strike_engine(fault)
        elif how == "joins" and len(self._world.senders) < SENDERS_MAX:
            self._clock.strike(fault)
            self._world.join()
        elif how == "cut" and self._world.network.streams:
            self._clock.strike(fault)
            self._clock.random.choice(self._world.network.streams).cut()
        elif how == "away":
            self._unplug(what)
        elif how == "restarts":
            self._world.restart_producer()
        elif (node := self._node(what)) is not None:
            self._afflict(node, how)

    def _node(self, kind: str) -> Sender | Host | None:
        """Return a node of this kind that is alive, if there is one."""
        if kind in self._world.records:
            return self._pick(self._world.running(kind))
        alive = [sender for sender in self._world.senders if sender.alive]
        return self._clock.random.choice(alive) if alive else None

    def _pick(self, hosts: Iterable[Host]) -> Host | None:
        """Return one of these nodes, rather one that owns its run."""
        hosts = list(hosts)
        owners = [host for host in hosts if host.owner is not None]
        if len(hosts) > 1 and owners and self._clock.luck(OWNERS_FIRST):
            hosts = owners
        if len(hosts) > 1:
            return self._clock.random.choice(hosts)
        return hosts[0] if hosts else None

    def _afflict(self, node: Sender | Host, how: str) -> None:
        """Pause, drain, stop, mislead, impersonate or kill a node that is alive."""
        clock = self._clock
        if how == "paused" and not node.paused:
            self.pause(node, PAUSE_MIN_S * (PAUSE_MAX_S / PAUSE_MIN_S) ** clock.random.random())
        elif how in ("drains", "stopped", "misled") and not node.paused:
            self._trouble(node, how)
        elif isinstance(node, Sender):
            self._trouble_sender(node, how)
        elif how == "killed":
            self._kill(node)

    # -- what happens to it

    def _unplug(self, kind: str) -> None:
        """Make all nodes of a kind unreachable for some time."""
        network = self._world.network
        self._clock.strike(f"{kind} away")
        network.away.add(kind)
        if kind == "producer":
            for stream in network.streams:
                stream.cut()
        away_s = self._clock.random.choice([0.5, 3.0, 8.0])
        self._clock.after(away_s, None, partial(network.away.discard, kind))

    def _kill(self, host: Host) -> None:
        """Kill a producer or a monitor, now or in the middle of its next commit."""
        disk, writing = self._world.disks[host.kind], host.writing
        crash = partial(self._world.crash, host)
        if disk is not None and self._clock.luck(0.5):
            disk.cut_power_in_next_commit(crash)
        elif writing is not None and host.owner is not None and self._clock.luck(0.7):
            writing.crash, writing.crash_in = crash, self._clock.random.choice(("changes", "state"))
        else:
            crash()

    def pause(self, node: Process, time_s: float) -> None:
        """Pause a node for some time. Its peers close their connections to it when it does not answer their pings."""
        self._clock.pause(node, time_s)
        self.was_long_paused |= time_s > LONG_PAUSE_S
        lost_after_s = 2 * self._world.limits.keepalive_s
        if time_s > lost_after_s:
            self._clock.after(lost_after_s, None, partial(self._world.lose_connections, node))

    def _trouble_sender(self, sender: Sender, how: str) -> None:
        world = self._world
        if how == "astray":  # as if the producer had restarted on another port
            self._clock.strike("sender astray", sender.name)
            world.network.astray.append(sender)
            for stream in world.network.streams:
                if stream.client is sender:
                    stream.cut()
        elif how == "forged":
            if world.monitor is not None and world.monitor.alive and world.monitor.ending is None:
                world.monitor.take_forged(sender)
        elif how == "killed":
            world.kill(sender)
            self._clock.after(self._clock.random.uniform(0.0, 3.0), None, world.join)

    def _trouble(self, node: Sender | Host, how: str) -> None:
        """Stop a node, as SIGTERM does, or report to a monitor a run that does not exist or has another total."""
        if isinstance(node, Sender):
            self._clock.strike("sender drains", node.name)
            node.drain()
        elif how == "misled":
            if isinstance(node.owner, Monitor) and not node.owner.stopping:
                self._mislead(node.owner)
        else:
            self._stop(node)

    def _mislead(self, monitor: Monitor) -> None:
        plan = self._plan
        run = RunFacts(f"no run {self._clock.events}", plan.seed, plan.total, plan.max_attempts, plan.unreachable)
        if self._world.producer is not None and self._clock.luck(0.3):
            run = replace(run, run_id=self._world.producer.run.run_id, total=run.total + 1)
        monitor.take_strange(run)

    def _stop(self, host: Host) -> None:
        """Stop a node that owns its run. A monitor is started again, and a producer if no other one is there."""
        owner = host.owner
        if owner is None:
            self._clock.strike("standby stopped", host.name)
            host.exit(ExitCode.INCOMPLETE)
            self._world.restart(host)
        elif isinstance(owner, Producer) and owner.listening:
            self._clock.strike("producer drains", host.name)
            owner.stop()
            if self._plan.engine is not None:
                self._start_after(host)
        elif isinstance(owner, Monitor) and not owner.stopping:
            self._clock.strike("monitor stopped", host.name)
            owner.stop()
            if not self._plan.journals:
                self._world.bare_crashes.add("monitor")
            self._start_after(host)

    def _start_after(self, host: Host) -> None:
        """Start a node some time after this one has left, unless this one was killed first."""
        if self._world.at(host.kind, host.address) is not host:
            return
        if host.exit_code is not None and not (host.owner is not None and host.owner.saver.commits):
            self._world.start(host.kind, host.address)
        elif host.alive:
            self._clock.after(self._clock.random.uniform(1.0, 4.0), None, partial(self._start_after, host))

    # -- with an engine

    def _strike_engine(self, fault: str) -> None:
        world, clock = self._world, self._clock
        kind = clock.random.choice(("producer", "monitor"))
        log, host = world.logs[kind], self._pick(world.running(kind))
        if fault == "entries lost":
            log.lose(clock.random.choice((1, 1, 2, 5)))
        elif fault == "engine away":
            clock.strike(fault)
            log.away_until = clock.now + clock.random.choice((1.0, 6.0, 15.0))
        elif host is None or host.paused:
            return
        elif fault == "node cut off":
            clock.strike(fault, host.name)
            host.cut_until = clock.now + clock.random.choice((1.0, 6.0, 2 * LATE_MAX_S))
        elif fault == "node relieved":
            clock.strike(fault, host.name)
            self._stop(host)
        elif fault == "node lost" and len(list(world.running(kind))) > 1:
            clock.strike(fault, host.name)
            world.kill(host)
