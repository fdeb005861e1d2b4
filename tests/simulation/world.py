"""One simulation from a seed: a run, the faults that strike it, and what must hold after each step and at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from simulation.accounts import Account, Accounts
from simulation.books import ProducerBook, check, fated
from simulation.clock import Clock, Process
from simulation.disk import Disk
from simulation.monitor import Monitor
from simulation.network import Network, Weather
from simulation.plan import Plan, draw_plan
from simulation.producer import Producer
from simulation.sender import Sender
from smssim.core.exchange import Report
from smssim.core.fate import Fates
from smssim.core.model import RunFacts
from smssim.errors import ExitCode, worst

CALM_MAX_S = 600.0  # after the last fault, a run ends within this time
EVENTS_MAX = 60_000
FAULT_EVERY_S = 0.05
TIDY_EVERY_S = 1.0
PAUSE_MIN_S, PAUSE_MAX_S = 0.05, 100.0
LONG_PAUSE_S = 12.0  # after a shorter pause of a monitor or a sender, no leases may expire because nothing is settled
DEEP_EVERY = 64  # one of this many checks is deep
SENDERS_MAX = 12


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
    """All nodes, and the network, disks and faults between them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.limits = plan.limits
        self.clock = Clock(plan.seed)
        self.network = Network(self.clock, plan.weather)
        self.producer_books: dict[str, ProducerBook] = {}
        self.accounts = Accounts(self)
        self.written: dict[str, dict[int, int]] = {"producer": {}}  # by commit: how much of the book it contains
        self.disks = {kind: self._disk(kind) for kind in ("producer", "monitor")}
        self.bare_crashes: set[str] = set()
        self.producer: Producer | None = None
        self.monitor: Monitor | None = None
        self.senders: list[Sender] = []
        self._joined = 0
        self._checks = 0
        self._is_calm = False
        self._late_came = False  # whether a late sender has joined a producer that lingers
        self.was_long_paused = False  # whether any node was
        self._restarted_last = False  # whether the producer was restarted when everything was over
        self._faulty_until = self.clock.now + plan.faulty_s

    def _disk(self, kind: str) -> Disk | None:
        return Disk(self.clock, self.plan.commit_s, self.plan.commit_slow) if self.plan.journals else None

    # -- for the nodes

    def recorded(self, run_id: str) -> dict[int, int] | None:
        """Return the final outcomes that the monitor has on disk; None if it has no disk and has crashed."""
        if "monitor" in self.bare_crashes:
            return None
        return self.accounts.recorded(run_id)

    def report(
        self, sent_to: Monitor | None, run: RunFacts, session_id: str, report: Report, answer: Callable[[Any], None]
    ) -> bool:
        """Deliver a report to the monitor; return False if there is none.

        A connection ends with its process. With journals, a report may still reach the next process, which is harder
        to get right.
        """
        monitor = self.monitor
        if not self.plan.journals and sent_to is not None and sent_to is not monitor:
            return False
        if monitor is None or not monitor.alive or monitor.ending is not None:
            return False
        apply = partial(monitor.report, run, session_id, report, answer)
        if monitor.paused:
            monitor.missed.append(apply)
        else:
            apply()
        return True

    # -- starts and crashes

    def _begin(self) -> None:
        """Start all nodes, in any order, and the faults."""
        starts: list[Callable[[], None]] = [partial(self._start, "producer"), partial(self._start, "monitor")]
        starts += [partial(self._join, number) for number in range(len(self.plan.senders))]
        for start in starts:
            self.clock.after(self.clock.random.uniform(0.0, 1.0), None, start)
        self.clock.after(FAULT_EVERY_S, None, self._faults)
        self.clock.after(self.clock.random.uniform(0.0, 4.0), None, self._watch)

    def _start(self, kind: str) -> None:
        if kind == "producer":
            self.producer = Producer(self, self.disks[kind])
        else:
            self.monitor = Monitor(self, self.disks[kind])
        self.clock.note(kind, "starts")

    def _join(self, like: int | None = None) -> None:
        plan = self.plan
        settings = plan.senders[like] if like is not None else self.clock.random.choice(plan.senders)
        self._joined += 1
        self.senders.append(Sender(self, self._joined, settings))
        facts = (settings.mean_s, settings.distribution, settings.fail, settings.concurrency)
        self.clock.note(self.senders[-1].name, "starts: mean %s s, %s, fail %s, concurrency %s", *facts)

    def _kill(self, process: Process) -> None:
        """Kill a process, as SIGKILL or a power failure does."""
        self.clock.strike(f"{process.name.split()[0]} killed", process.name)
        process.alive = False
        process.missed.clear()
        self._lose_connections(process)

    def _crash(self, kind: str, away_s: float | None = None) -> None:
        """Kill the producer or the monitor that is running now, and start it again after some time, or after this."""
        process = self._node(kind)
        assert process is not None
        self._kill(process)
        disk = self.disks[kind]
        if disk is None:
            self.bare_crashes.add(kind)
        else:
            before = disk.commits
            disk.crash()
            if disk.commits > before and kind == "monitor":  # on disk but not acknowledged
                self.accounts.committed(disk.commits)
        wait_s = self.clock.random.uniform(0.1, 4.0) if away_s is None else away_s
        self.clock.after(wait_s, None, partial(self._start, kind))

    # -- faults

    def _faults(self) -> None:
        """Let the faults of this seed strike, each at its rate."""
        if self.clock.now >= self._faulty_until:
            self._calm()
            return
        for fault, per_s in self.plan.faults.items():
            if self.clock.luck(per_s * FAULT_EVERY_S):
                self._strike(fault)
        self.clock.after(FAULT_EVERY_S, None, self._faults)

    def _strike(self, fault: str) -> None:
        what, _, how = fault.rpartition(" ")
        if how == "joins" and len(self.senders) < SENDERS_MAX:
            self.clock.strike(fault)
            self._join()
        elif how == "cut" and self.network.streams:
            self.clock.strike(fault)
            self.clock.random.choice(self.network.streams).cut()
        elif how == "away":
            self._unplug(what)
        elif how == "restarts":
            self._restart_producer()
        elif (node := self._node(what)) is not None:
            self._afflict(node, how)

    def _unplug(self, kind: str) -> None:
        """Make a node unreachable for some time."""
        self.clock.strike(f"{kind} away")
        self.network.away.add(kind)
        if kind == "producer":
            for stream in self.network.streams:
                stream.cut()
        away_s = self.clock.random.choice([0.5, 3.0, 8.0])
        self.clock.after(away_s, None, partial(self.network.away.discard, kind))

    def _restart_producer(self) -> bool:
        """Restart a producer that has left, with the same journal; return whether there was one."""
        restarts = self.plan.journals and self.producer is not None and self.producer.left
        if restarts:
            self.clock.strike("producer restarts")
            self._start("producer")
        return restarts

    def _lead_astray(self, sender: Sender) -> None:
        """Make a sender lose the producer for good, as if the producer had restarted on another port."""
        self.clock.strike("sender astray", sender.name)
        self.network.astray.append(sender)
        for stream in self.network.streams:
            if stream.client is sender:
                stream.cut()

    def _afflict(self, node: Process, how: str) -> None:
        """Pause, drain, stop, mislead, impersonate or kill a node that is alive."""
        clock = self.clock
        if how == "paused" and not node.paused:
            self._pause(node, PAUSE_MIN_S * (PAUSE_MAX_S / PAUSE_MIN_S) ** clock.random.random())
        elif how == "astray" and isinstance(node, Sender):
            self._lead_astray(node)
        elif how == "forged" and isinstance(node, Sender):
            if self.monitor is not None and self.monitor.alive and self.monitor.ending is None:
                self.monitor.take_forged(node)
        elif how == "drains" and not node.paused:
            self._drain(node)
        elif isinstance(node, Monitor) and how in ("stopped", "misled"):
            self._trouble(node, how)
        elif how == "killed" and isinstance(node, Sender):
            self._kill(node)
            clock.after(clock.random.uniform(0.0, 3.0), None, self._join)
        elif how == "killed":
            disk, crash = self.disks[node.name], partial(self._crash, node.name)
            if disk is not None and clock.luck(0.5):
                disk.cut_power_in_next_commit(crash)
            else:
                crash()

    def _drain(self, node: Process) -> None:
        """Send SIGTERM to a sender or a producer."""
        if isinstance(node, Sender):
            self.clock.strike("sender drains", node.name)
            node.drain()
        elif isinstance(node, Producer) and node.listening:
            self.clock.strike("producer drains", node.name)
            node.stop()

    def _pause(self, node: Process, time_s: float) -> None:
        """Pause a node for some time. Its peers close their connections to it when it does not answer their pings."""
        self.clock.pause(node, time_s)
        self.was_long_paused |= time_s > LONG_PAUSE_S
        lost_after_s = 2 * self.limits.keepalive_s
        if time_s > lost_after_s:
            self.clock.after(lost_after_s, None, partial(self._lose_connections, node))

    def _lose_connections(self, node: Process) -> None:
        for stream in self.network.streams:
            if node in (stream.client, stream.server):
                stream.cut()

    def _trouble(self, monitor: Monitor, how: str) -> None:
        """Stop and restart the monitor, or report a run that does not exist or has another total."""
        if monitor.paused or monitor.stopping:
            return
        if how == "stopped":
            self.clock.strike("monitor stopped", monitor.name)
            monitor.stop()
            if not self.plan.journals:
                self.bare_crashes.add("monitor")
            self._start_after(monitor)
            return
        run = RunFacts(f"no run {self.clock.events}", self.plan.seed, self.plan.total, self.plan.max_attempts)
        if self.producer is not None and self.clock.luck(0.3):
            run = replace(run, run_id=self.producer.run.run_id, total=run.total + 1)
        monitor.take_strange(run)

    def _start_after(self, monitor: Monitor) -> None:
        """Start a monitor some time after this one has left, unless this one was killed first."""
        if monitor.ending is not None and not monitor.saver.commits:
            self._start("monitor")
        elif monitor.alive:
            self.clock.after(self.clock.random.uniform(1.0, 4.0), None, partial(self._start_after, monitor))

    def _watch(self) -> None:
        """Add a watcher every few seconds while faults strike."""
        if self._is_calm:
            return
        monitor = self.monitor
        if monitor is not None and monitor.alive and not monitor.paused and not monitor.audience.closing:
            monitor.watch()
        self.clock.after(self.clock.random.uniform(0.0, 8.0), None, self._watch)

    def _node(self, kind: str) -> Process | None:
        """Return a node of this kind that is alive, if there is one."""
        if kind == "producer":
            return self.producer if self.producer is not None and self.producer.alive else None
        if kind == "monitor":
            return self.monitor if self.monitor and self.monitor.alive and self.monitor.ending is None else None
        alive = [sender for sender in self.senders if sender.alive]
        return self.clock.random.choice(alive) if alive else None

    def _calm(self) -> None:
        """End the faults, and add a sender."""
        self.clock.note("fate", "no more faults")
        self._is_calm = True
        self.network.weather = Weather(delay_s=self.plan.weather.delay_s)
        self._join()
        self.clock.after(TIDY_EVERY_S, None, self._tidy)

    def _tidy(self) -> None:
        """Stop a producer that lingers, after one more sender has joined and left.

        If the monitor has left, senders are not waited for: those that linger join again and again, and can't report.
        """
        self.clock.after(TIDY_EVERY_S, None, self._tidy)
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
            self._join()

    # -- what must hold

    def check(self) -> None:
        """Check what must hold after each step."""
        self._checks += 1
        producer, monitor = self.producer, self.monitor
        if producer is not None and producer.alive:
            producer.book.compare(producer.backlog, deep=self._checks % DEEP_EVERY == 0)
            producer.conduct.look()
        if monitor is not None and monitor.alive and not monitor.paused and monitor.ending is None:
            self.accounts.compare(monitor.runs)

    @property
    def over(self) -> bool:
        """Whether all nodes have ended. Senders without a producer and a producer without senders wait forever."""
        monitor, producer = self.monitor, self.producer
        if not self._is_calm or monitor is None or not monitor.alive or producer is None:
            return False
        if monitor.busy:
            return False
        idle = producer.left or (producer.alive and producer.waits_for_ever)
        return idle and not any(s.alive and not s.waits_for_ever for s in self.senders)

    def _goes_on(self) -> bool:
        """Restart the producer once when everything is over; return whether it was restarted.

        It then ends by itself or waits forever.
        """
        if self._restarted_last or "producer restarts" not in self.plan.faults:
            return False
        self._restarted_last = True
        return self._restart_producer()

    def check_end(self) -> ExitCode:
        """Check that the count is exact, or that the run is incomplete for a reason; return the exit code."""
        monitor, plan = self.monitor, self.plan
        assert monitor is not None
        disk = self.disks["monitor"]
        if disk is not None:
            self.accounts.compare_disk(disk)
        if not self.accounts.ended:  # the monitor still waits for its first sender
            nothing = bool(self.bare_crashes) or not any(book.settled for book in self.producer_books.values())
            check(nothing, "messages are settled, but no report has reached the monitor")
            return ExitCode.INCOMPLETE
        if plan.monitor_lingers and monitor.ending is None:
            monitor.stop()
        codes = [self._check_run(account) for account in self.accounts.ended.values()]
        if plan.monitor_lingers and not self.bare_crashes & {"monitor"}:
            code = monitor.runs.exit_code
            check(code == worst(codes), "the monitor exits with %s, its runs with %s", code, codes)
        return worst(codes)

    def _check_run(self, account: Account) -> ExitCode:
        """Check a run that has ended; return its exit code."""
        plan, book, ended = self.plan, account.book, account.ended
        assert ended is not None
        check(book.durable.final == book.now.final, "what the monitor has shown is not on disk")
        code = ended.ending.exit_code
        if code != ExitCode.OK:
            excused = code == ExitCode.INCOMPLETE and not account.knew_the_end
            check(excused or "monitor" in self.bare_crashes, "the run ends with %s: %s", code, ended.ending.reason)
            return code
        final, figures = book.now.final, ended.snapshot.figures
        check(final.keys() == set(range(plan.total)), "%s of %s messages have a final outcome", len(final), plan.total)
        ours, producer = self.producer_books[account.run.run_id], self.producer
        check(
            all(final[i] == outcome for i, outcome in ours.settled.items()),
            "the producer and the monitor disagree on a message",
        )
        if producer is not None and ours is producer.book and producer.left:
            check(len(ours.settled) == plan.total, "the producer has ended with only %s settled", len(ours.settled))
        if plan.equal:
            fates = Fates(plan.seed, plan.max_attempts, plan.senders[0].attempt_model)
            wanted = fated(fates, plan.total, plan.max_attempts)
            check((figures.sent, figures.failed) == wanted, "sent, failed: %s; the seed determines %s", figures, wanted)
        return code

    def play(self) -> Shown:
        """Play the run to its end; raise an AssertionError if it has none."""
        clock, plan = self.clock, self.plan
        self._begin()
        until = self._faulty_until + CALM_MAX_S
        while not self.over or self._goes_on():
            if clock.now > until or clock.events > EVENTS_MAX or not clock.step():
                raise AssertionError(f"the run does not end: {self.state()}")
            if clock.events % plan.check_every == 0:
                self.check()
        self.check()
        code = self.check_end()
        for account in self.accounts.all:
            counted = account.book.now
            clock.struck["duplicate"] += bool(counted.duplicates)
            clock.struck["overruled"] += bool(counted.overruled)
        return Shown(code, dict(clock.struck), clock.events, clock.now - 1000)

    def state(self) -> str:
        """Describe where the messages are and which nodes are alive."""
        book = self.producer.book if self.producer is not None else None
        counts = "" if book is None else f"{len(book.settled)} settled, {len(book.waiting)} waiting, "
        held = {number: len(ids) for number, ids in book.leased.items()} if book is not None else {}
        alive = [s.name for s in self.senders if s.alive]
        return f"{counts}leased {held}; alive: {alive}; ending {self.monitor and self.monitor.ending}"


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
