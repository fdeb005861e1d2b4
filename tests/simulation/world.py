"""One simulation from a seed: a run, the faults that strike it, and what must hold after each step and at the end."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from simulation.accounts import Account, Past
from simulation.books import ProducerBook, check, fated
from simulation.clock import Clock, Process
from simulation.disk import Disk
from simulation.engine import EngineLog
from simulation.faults import Faults
from simulation.host import Host
from simulation.monitor import Monitor
from simulation.network import Network
from simulation.plan import EnginePlan, Plan, draw_plan
from simulation.producer import Producer
from simulation.records import Records
from simulation.sender import Sender
from smssim.core.exchange import Report
from smssim.core.fate import Fates
from smssim.core.model import RunFacts
from smssim.core.replay import Replay
from smssim.errors import ExitCode, worst

KINDS = ("producer", "monitor")
CALM_MAX_S = 600.0  # after the last fault, a run ends within this time
EVENTS_MAX = 60_000
TIDY_EVERY_S = 1.0
TAKEOVER_MAX_S = 15.0
DEEP_EVERY = 64  # one of this many checks is deep


class SimulationError(AssertionError):
    """The failure of a seed, with its plan and the last events."""


@dataclass(frozen=True)
class Shown:
    """The result of a simulation that passed."""

    exit_code: ExitCode
    struck: dict[str, int]
    events: int
    simulated_s: float


class World:
    """All nodes, and the network, disks, engine and faults between them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.limits = plan.limits
        self.clock = Clock(plan.seed)
        self.network = Network(self.clock, plan.weather)
        self.producer_books: dict[str, ProducerBook] = {}
        self.past = Past()
        self.loses = plan.engine is not None and plan.engine.temper.loses  # whether acknowledged records may vanish
        self.records = {kind: Records(self.loses) for kind in KINDS}
        self.disks = {kind: self._disk(kind) for kind in KINDS}
        self.logs = {} if plan.engine is None else {kind: self._log(plan.engine, kind) for kind in KINDS}
        self.bare_crashes: set[str] = set()
        self.damaged: set[str] = set()  # kinds of nodes whose log is damaged
        self.owners: dict[str, Producer | Monitor] = {}  # by kind, the one that took its run last
        self.senders: list[Sender] = []
        self.faults = Faults(self)
        self._epoch = dict.fromkeys(KINDS, 0)  # how many times a run was taken
        self._hosts: dict[tuple[str, int], Host] = {}  # by kind and address
        self._starting = 0  # nodes
        self._ownerless_since: dict[str, float] = {}
        self._ids = itertools.count(1)
        self._joined = 0
        self._checks = 0
        self._late_came = False  # whether a late sender has joined a producer that lingers
        self._restarted_last = False  # whether the producer was restarted when everything was over

    def _disk(self, kind: str) -> Disk | None:
        plan = self.plan
        if not plan.journals or plan.engine is not None:
            return None
        return Disk(self.clock, plan.commit_s, plan.commit_slow, self.records[kind])

    def _log(self, engine: EnginePlan, kind: str) -> EngineLog:
        return EngineLog(self.clock, kind, engine.temper, self.records[kind])

    # -- for the nodes

    @property
    def producer(self) -> Producer | None:
        """The producer that took its run last."""
        owner = self.owners.get("producer")
        return owner if isinstance(owner, Producer) else None

    @property
    def monitor(self) -> Monitor | None:
        """The monitor that took its run last."""
        owner = self.owners.get("monitor")
        return owner if isinstance(owner, Monitor) else None

    def owns(self, host: Host, owner: Producer | Monitor) -> None:
        """Record that a node has taken its run."""
        before = self.owners.get(host.kind)
        if before is not None and self.logs and host.epoch > self._epoch[host.kind]:
            self._check_reason(before)
        self._epoch[host.kind] = max(host.epoch, self._epoch[host.kind])
        if before is None or not isinstance(before.host, Host) or host.epoch >= before.host.epoch:
            self.owners[host.kind] = owner
            if isinstance(owner, Producer):
                self.producer_books[owner.run.run_id] = owner.book

    def _check_reason(self, before: Producer | Monitor) -> None:
        """Check that an owner that is well and can save is not replaced."""
        now, pauses = self.clock.now, before.pauses.all
        well_since = max(self.faults.until, before.host.cut_until, *(ended for _, ended in pauses))
        is_there = before.alive and not (before.paused or before.left)
        well = is_there and now - well_since > TAKEOVER_MAX_S
        check(not well or self.loses, "%s is replaced although it is well", before.name)

    def lost_its_run(self, kind: str, owner: Producer | Monitor) -> None:
        """Record that a node was fenced off. If its own take has vanished, an earlier owner owns the run again."""
        if self.loses and self.owners[kind] is owner:
            for host in self.running(kind):
                if host.owner is not None:
                    self.owners[kind] = host.owner

    def new_id(self) -> str:
        """Return another id."""
        return f"id {next(self._ids)}"

    def addresses(self, kind: str) -> int:
        """Return at how many addresses there are nodes of this kind."""
        engine = self.plan.engine
        if engine is None:
            return 1
        return engine.producers if kind == "producer" else engine.monitors

    def at(self, kind: str, address: int) -> Host | None:
        """Return the process at this address."""
        return self._hosts.get((kind, address))

    def running(self, kind: str) -> Iterator[Host]:
        """Yield the processes of this kind that neither ended nor left."""
        for (which, _), host in self._hosts.items():
            if which == kind and host.alive and host.exit_code is None:
                yield host

    def recorded(self, run_id: str) -> dict[int, int] | None:
        """Return the final outcomes that the monitor has on record; None if these may be lost."""
        if "monitor" in self.bare_crashes or self.loses:
            return None
        last = self.records["monitor"].last
        if last is not None:
            kept = [account for account, _ in last.contents]
        else:
            kept = list(self.monitor.accounts.followed.values()) if self.monitor is not None else []
        kept += [self.past.ended[run_id]] if run_id in self.past.ended else []
        account = next((account for account in kept if account.run.run_id == run_id), None)
        return {} if account is None else account.book.durable.final

    def report(
        self,
        address: int,
        sent_to: Host | None,
        run: RunFacts,
        session_id: str,
        report: Report,
        answer: Callable[[Any], None],
    ) -> bool:
        """Deliver a report to the monitor at an address; return False if there is none that owns its run.

        A connection ends with its process. With journals, a report may still reach the next process, which is harder
        to get right.
        """
        host = self.at("monitor", address)
        if host is None or (not self.plan.journals and sent_to is not None and sent_to is not host):
            return False
        monitor = host.owner
        if not isinstance(monitor, Monitor) or not monitor.alive or not monitor.listening:
            return False
        if monitor.ending is not None:
            return False
        apply = partial(monitor.report, run, session_id, report, answer)
        if monitor.paused:
            monitor.miss(apply)
        else:
            apply()
        return True

    # -- starts and ends

    def _begin(self) -> None:
        """Start all nodes, in any order, and the faults."""
        starts: list[Callable[[], None]] = [partial(self.start, kind, 0) for kind in KINDS]
        starts += [partial(self.join, number) for number in range(len(self.plan.senders))]
        for kind in KINDS:
            starts += [partial(self.start, kind, address) for address in range(1, self.addresses(kind))]
        for start in starts:
            self.clock.after(self.clock.random.uniform(0.0, 1.0), None, start)
        self.faults.begin()

    def start(self, kind: str, address: int) -> None:
        """Start a process at an address."""
        host = self._hosts[kind, address] = Host(self, kind, address)
        host.start()

    def join(self, like: int | None = None) -> None:
        """Start a sender."""
        plan = self.plan
        settings = plan.senders[like] if like is not None else self.clock.random.choice(plan.senders)
        self._joined += 1
        self.senders.append(Sender(self, self._joined, settings))
        facts = (settings.mean_s, settings.distribution, settings.fail, settings.concurrency)
        self.clock.note(self.senders[-1].name, "starts: mean %s s, %s, fail %s, concurrency %s", *facts)

    def kill(self, process: Process) -> None:
        """Kill a process, as SIGKILL or a power failure does."""
        self.clock.strike(f"{process.name.split()[0]} killed", process.name)
        process.finish()
        process.pauses.missed.clear()
        self.lose_connections(process)

    def crash(self, host: Host) -> None:
        """Kill a producer or a monitor, and start it again after some time."""
        if not host.alive or (self.logs and self.faults.are_over):
            return
        self.kill(host)
        disk = self.disks[host.kind]
        if disk is not None:
            disk.crash()
        elif self.plan.engine is None:
            self.bare_crashes.add(host.kind)
        self.restart(host)

    def restart(self, host: Host) -> None:
        """Start a process again some time after it has ended."""
        self._starting += 1
        self.clock.after(self.clock.random.uniform(0.1, 4.0), None, partial(self._start_again, host))

    def _start_again(self, host: Host) -> None:
        self._starting -= 1
        if self.at(host.kind, host.address) is host:
            self.start(host.kind, host.address)

    def restart_producer(self) -> bool:
        """Restart a producer that has left, with the same journal; return whether there was one."""
        producer = self.producer
        if not self.plan.journals or producer is None or not producer.left or any(self.running("producer")):
            return False
        assert isinstance(producer.host, Host)
        self.clock.strike("producer restarts")
        self.start("producer", producer.host.address)
        return True

    def lose_connections(self, process: Process) -> None:
        """Break all streams of a process."""
        for stream in self.network.streams:
            if process in (stream.client, stream.server.host):
                stream.cut()

    def tidy_later(self) -> None:
        """Tidy after a moment, again and again."""
        self.clock.after(TIDY_EVERY_S, None, self._tidy)

    def _tidy(self) -> None:
        """Stop a producer that lingers, after one more sender has joined and left.

        If the monitor has left, senders are not waited for: those that linger join again and again, and can't report.
        """
        self.tidy_later()
        producer, monitor = self.producer, self.monitor
        monitor_left = monitor is not None and monitor.ending is not None
        busy = not monitor_left and any(s.alive and not s.waits_for_ever for s in self.senders)
        if producer is None or not producer.alive or producer.paused or not producer.conduct.lingers or busy:
            return
        if self._late_came:
            producer.stop()
        else:
            self._late_came = True
            self.clock.strike("late sender", producer.name)
            self.join()

    # -- what must hold

    def check(self) -> None:
        """Check what must hold after each step."""
        self._checks += 1
        for kind in KINDS:
            for host in self.running(kind):
                owner = host.owner
                if isinstance(owner, Producer):
                    owner.book.compare(owner.backlog, deep=self._checks % DEEP_EVERY == 0)
                    owner.conduct.look()
                elif owner is not None and not (owner.paused or owner.hands_over or owner.ending is not None):
                    owner.accounts.compare(owner.runs)
            if self.logs and not self.loses:
                self._check_takeover(kind)

    def _check_takeover(self, kind: str) -> None:
        """Check that a run whose owner has died has another one soon."""
        clock, log = self.clock, self.logs[kind]
        hosts = list(self.running(kind))
        ready = [host for host in hosts if not host.paused and clock.now > host.cut_until]
        is_owned = any(host.owner is not None for host in hosts)
        if is_owned or not ready or log.is_away or log.ended or not self.faults.are_over:
            self._ownerless_since[kind] = clock.now
        since = self._ownerless_since.get(kind, clock.now)
        check(clock.now - since < TAKEOVER_MAX_S, "no %s has taken the run for %s s", kind, clock.now - since)

    @property
    def over(self) -> bool:
        """Whether all nodes have ended. Senders without a producer and a producer without senders wait forever."""
        monitor, producer = self.monitor, self.producer
        if self.damaged and self.faults.are_over:
            return True
        if not self.faults.are_over or self._starting or monitor is None or producer is None:
            return False
        if monitor.busy or not (monitor.alive or monitor.ending is not None):
            return False
        if not all(self._is_quiet(kind) for kind in self.logs):
            return False
        idle = producer.left or (producer.alive and producer.waits_for_ever)
        return idle and not any(s.alive and not s.waits_for_ever for s in self.senders)

    def _is_quiet(self, kind: str) -> bool:
        """Whether nodes of this kind that are still there have nothing to do but to wait or to stand by."""
        hosts = list(self.running(kind))
        owner = self.owners[kind]
        others = [host for host in hosts if host.owner is not owner]
        if any(host.paused or host.owner is not None for host in others):
            return False
        if not hosts:
            return True
        return len(others) < len(hosts) and not owner.left and not self.logs[kind].ended

    def _goes_on(self) -> bool:
        """Restart the producer once when everything is over; return whether it was restarted.

        It then ends by itself or waits forever.
        """
        if self._restarted_last or "producer restarts" not in self.plan.faults:
            return False
        self._restarted_last = True
        return self.restart_producer()

    def check_end(self) -> ExitCode:
        """Check that the count is exact, or that the run is incomplete for a reason; return the exit code."""
        monitor, plan = self.monitor, self.plan
        if self.damaged:
            return ExitCode.INCOMPLETE
        assert monitor is not None
        self._check_storage(monitor)
        if not self.past.ended:  # the monitor still waits for its first sender
            nothing = bool(self.bare_crashes) or not any(book.settled for book in self.producer_books.values())
            check(nothing or self.loses, "messages are settled, but no report has reached the monitor")
            return ExitCode.INCOMPLETE
        if plan.monitor_lingers and monitor.ending is None:
            monitor.stop()
        codes = [self._check_run(account) for account in self.past.ended.values()]
        if plan.monitor_lingers and not self.bare_crashes & {"monitor"}:
            code = monitor.runs.exit_code
            check(code == worst(codes), "the monitor exits with %s, its runs with %s", code, codes)
        return worst(codes)

    def _check_storage(self, monitor: Monitor) -> None:
        """Check that a node that is started now finds what is on record."""
        for kind, disk in self.disks.items():
            if disk is not None:
                check(disk.pieces() == self.records[kind].pieces, "the disk of the %s has other pieces", kind)
        for kind, log in self.logs.items():
            replay = Replay()
            for stored in log.view(self.clock.now):
                replay.read(stored.entry)
            sound = not replay.broken and replay.pieces == self.records[kind].pieces
            check(sound or self.loses, "the log of the %s does not add up: %s", kind, replay.broken)
        last = self.records["monitor"].last
        if last is not None and not self.loses:
            monitor.accounts.compare_disk(last.pieces, last.contents)

    def _check_run(self, account: Account) -> ExitCode:
        """Check a run that has ended; return its exit code."""
        plan, book, ended = self.plan, account.book, account.ended
        assert ended is not None
        check(book.durable.final == book.now.final, "what the monitor has shown is not on record")
        code = ended.ending.exit_code
        if code != ExitCode.OK:
            excused = (code == ExitCode.INCOMPLETE and not account.knew_the_end) or self.loses
            check(excused or "monitor" in self.bare_crashes, "the run ends with %s: %s", code, ended.ending.reason)
            return code
        final, figures = book.now.final, ended.snapshot.figures
        check(final.keys() == set(range(plan.total)), "%s of %s messages have a final outcome", len(final), plan.total)
        ours, producer = self.producer_books[account.run.run_id], self.producer
        agree = all(final[i] == outcome for i, outcome in ours.settled.items())
        check(agree or self.loses, "the producer and the monitor disagree on a message")
        if producer is not None and ours is producer.book and producer.left and not self.loses:
            check(len(ours.settled) == plan.total, "the producer has ended with only %s settled", len(ours.settled))
        if plan.equal:
            fates = Fates(plan.seed, plan.max_attempts, plan.senders[0].attempt_model, plan.unreachable)
            wanted = fated(fates, plan.total, plan.max_attempts)
            check((figures.sent, figures.failed) == wanted, "sent, failed: %s; the seed determines %s", figures, wanted)
        return code

    def play(self) -> Shown:
        """Play the run to its end; raise an AssertionError if it has none."""
        clock, plan = self.clock, self.plan
        self._begin()
        until = self.faults.until + CALM_MAX_S
        while not self.over or self._goes_on():
            if clock.now > until or clock.events > EVENTS_MAX or not clock.step():
                raise AssertionError(f"the run does not end: {self.state()}")
            if clock.events % plan.check_every == 0:
                self.check()
        self.check()
        code = self.check_end()
        for account in self._accounts():
            counted = account.book.now
            clock.struck["duplicate"] += bool(counted.duplicates)
            clock.struck["overruled"] += bool(counted.overruled)
        return Shown(code, dict(clock.struck), clock.events, clock.now - 1000)

    def _accounts(self) -> list[Account]:
        """Return the accounts of all runs that are followed or ended."""
        followed = [] if self.monitor is None else self.monitor.accounts.followed.values()
        return list({id(account): account for account in (*followed, *self.past.ended.values())}.values())

    def state(self) -> str:
        """Describe where the messages are and which nodes are alive."""
        book = self.producer.book if self.producer is not None else None
        counts = "" if book is None else f"{len(book.settled)} settled, {len(book.waiting)} waiting, "
        held = {number: len(ids) for number, ids in book.leased.items()} if book is not None else {}
        alive = [s.name for s in self.senders if s.alive]
        hosts = [host.name for kind in KINDS for host in self.running(kind)]
        return f"{counts}leased {held}; alive: {alive + hosts}; ending {self.monitor and self.monitor.ending}"


def simulate(seed: int) -> Shown:
    """Play one seed; raise SimulationError with the seed, the plan and the last events if it fails."""
    return play(draw_plan(seed))


def play(plan: Plan) -> Shown:
    """Play one plan; raise SimulationError as `simulate` does."""
    world = World(plan)
    try:
        return world.play()
    except Exception as error:
        what = f"seed {plan.seed}: {type(error).__name__}: {error}"
        raise SimulationError(f"{what}\n{plan.described()}\n{world.clock.story()}") from error
