"""A scenario played by the real core: the nodes of tests/simulation in calm weather, struck only by its own faults.

Calm means that each thing takes the same time on its way, and that connections break only with their process. Knows how
to start, kill and pause nodes. Must not know what they decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from simulation.clock import Clock, Process
from simulation.disk import Disk
from simulation.network import Call, Network, Serve, Weather
from simulation.plan import Plan
from simulation.sender import Sender
from simulation.world import World

from smssim.core.fault import MONITOR, PRODUCER, Fault, FaultKind
from smssim.core.lanes import join
from smssim.core.limits import LIMITS, Limits
from smssim.core.model import Outcome
from smssim.core.progress import Milestones, Sums
from smssim.plan.scenario import PlannedSender, Scenario
from smssim.settings import SenderSettings

COMMIT_S: Final = 0.003  # what a commit of a journal takes, on average
PLAYED_MAX_S: Final = 1e4  # a run that takes longer doesn't end


@dataclass(frozen=True)
class Played:
    """What was recorded, in seconds since the first message was leased, as the monitor knows that moment."""

    reached_s: dict[int, float | None]  # by percent; None if it was never reached
    reached_reachable_s: dict[int, float | None]  # the same of the messages that can be reached
    complete_s: float | None  # None if some messages have no final outcome
    late_s: float  # how much later the monitor puts the start than it was; its first report may have been delayed
    sent: int
    failed: int
    unreachable: int  # of those that failed
    retried: int
    duplicates: int
    redelivered: int
    senders: tuple[Sums, ...]  # of the attempts that count, as in `Scenario.senders`
    finish_s: NDArray[np.float64]  # when each attempt that counts ended, ascending; empty if the producer was killed
    outcomes: NDArray[np.uint8]  # of these attempts; both have the shape (n,)
    events: int  # what it cost


def play(
    scenario: Scenario, seed: int, delay_s: float = 0.0003, start_s: float = 0.0, commit_s: float = COMMIT_S
) -> Played:
    """Play a scenario; at least one of its senders must be there from the start.

    `delay_s`: of the network, one way. `start_s`: from when a killed node is started again to when it takes part.
    `commit_s`: of the journal of a producer or a monitor that is killed. Raises AssertionError if the run never ends,
    or if a node breaks a rule that the books of the simulation know.
    """
    return CalmWorld(scenario, seed, delay_s, start_s, commit_s).play_scenario()


class _CalmPlan(Plan):
    """A plan with the limits of live nodes."""

    @property
    def limits(self) -> Limits:
        return LIMITS


def _plan(scenario: Scenario, seed: int, delay_s: float, commit_s: float) -> Plan:
    return _CalmPlan(
        seed=seed,
        total=scenario.total,
        max_attempts=scenario.max_attempts,
        retry_delay_s=scenario.retry_delay_s,
        rate_per_s=scenario.rate_per_s,
        lease_timeout_s=scenario.lease_timeout_s,
        give_up_s=scenario.give_up_s,
        producer_lingers=False,
        senders=tuple(_settings(planned, scenario) for planned in scenario.senders),
        equal=False,
        journals=any(_has_journal(scenario, kind) for kind in (PRODUCER, MONITOR)),
        monitor_lingers=False,
        interval_s=1.0,
        runs_max=LIMITS.runs_max,
        ended_kept_max=LIMITS.ended_kept_max,
        commit_s=commit_s,
        commit_slow=0.0,
        commit_every_s=LIMITS.commit_every_s,
        save_s=LIMITS.save_s,
        unsaved_max=LIMITS.unsaved_max,
        frame_rows_max=LIMITS.frame_rows_max,
        report_rows_max=LIMITS.report_rows_max,
        report_timeout_s=LIMITS.report_timeout_s,
        write_s=0.0,
        tick_s=LIMITS.tick_min_s,
        weather=Weather(delay_s=delay_s),
        faults={},
        faulty_s=0.0,
        check_every=1,
        unreachable=scenario.unreachable,
        segments=scenario.segments,
    )


def _settings(planned: PlannedSender, scenario: Scenario) -> SenderSettings:
    model = planned.model
    faults, limit = scenario.faults_of(planned.name), planned.limit
    settings = SenderSettings(
        mean_s=model.mean_s,
        std_s=model.std_s,
        distribution=model.distribution,
        max_time_s=model.max_time_s,
        fail=model.fail,
        concurrency=planned.concurrency,
        faults=tuple(fault for fault in faults if fault.kind in (FaultKind.SLOW, FaultKind.FAIL)),
        give_up_s=scenario.give_up_s,
        limit_per_s=None if limit is None else scenario.segments * limit.per_s,
        burst=1 if limit is None else scenario.segments * limit.burst,
    )
    assert settings.attempt_model == model
    return settings


def _has_journal(scenario: Scenario, kind: str) -> bool:
    return any(fault.kind is FaultKind.KILL for fault in scenario.faults_of(kind))


class _CalmNetwork(Network):
    """A network on which each thing takes the same time, and calls to a killed server fail at once."""

    def __init__(self, clock: Clock, weather: Weather) -> None:
        super().__init__(clock, weather)
        self._calls: dict[Process, Call] = {}  # the last one of each client

    def delay(self) -> float:
        return self.weather.delay_s

    def call(self, client: Process, serve: Serve, told: Callable[[Any], None], timeout_s: float) -> None:
        call = self._calls[client] = Call(told)
        super().call(client, serve, call.end, timeout_s)

    def break_calls(self) -> None:
        """Let all calls fail that are in progress."""
        for client, call in self._calls.items():
            self._clock.after(self.delay(), client, call.end)


class _PlannedSender(Sender):
    """A copy of a sender of the scenario."""

    def __init__(self, world: CalmWorld, number: int, of: int) -> None:
        self.of = of
        super().__init__(world, number, world.plan.senders[of])


class CalmWorld(World):
    """All nodes of a scenario."""

    def __init__(self, scenario: Scenario, seed: int, delay_s: float, start_s: float, commit_s: float) -> None:
        self.scenario = scenario
        super().__init__(_plan(scenario, seed, delay_s, commit_s))
        self._calm_network = self.network = _CalmNetwork(self.clock, self.plan.weather)
        self._start_s = start_s
        self._started_at = 0.0
        self._warm_s = 0.0  # from when a sender is started until messages are leased to it
        self._launches = 0  # of senders, still to come
        self._over_at = math.inf  # senders give up by then
        self.sender_of: dict[str, int] = {}  # by the name of each copy

    def _disk(self, kind: str) -> Disk | None:
        return (
            Disk(self.clock, self.plan.commit_s, 0.0, self.records[kind]) if _has_journal(self.scenario, kind) else None
        )

    def play_scenario(self) -> Played:
        """Play the scenario until nothing more can be recorded."""
        senders, clock = self.scenario.senders, self.clock
        assert any(planned.joins_s <= 0 for planned in senders), "no sender is there from the start"
        self.start("producer", 0)
        self.start("monitor", 0)
        assert self.producer is not None
        self._step_until(lambda: self.producer is not None and self.producer.listening)
        begun_at = clock.now
        for of, planned in enumerate(senders):
            if planned.joins_s <= 0:
                self._launch(of)
        self._step_until(lambda: self.producer is not None and self.producer.backlog.started_at is not None)
        self._started_at = clock.now
        self._warm_s = clock.now - begun_at
        for of, planned in enumerate(senders):
            if planned.joins_s > 0:
                self._launch_later(planned.joins_s, of)
        for fault in self.scenario.faults:
            clock.after(fault.at_s, None, partial(self._befall, fault))
        self._step_until(lambda: self._is_over)
        return self._played()

    def _step_until(self, holds: Callable[[], bool]) -> None:
        until = self.clock.now + PLAYED_MAX_S
        while not holds():
            if self.clock.now > until or not self.clock.step():
                raise AssertionError(f"the run does not end: {self.state()}")

    @property
    def _is_over(self) -> bool:
        monitor = self.monitor
        assert monitor is not None
        if self.clock.now > self._over_at:
            return True
        if monitor.alive and not _is_stuck(monitor):
            return monitor.ending is not None
        return not self._launches and not any(s.alive and not _is_stuck(s) for s in self.senders)

    # -- senders

    def _launch_later(self, wait_s: float, of: int) -> None:
        """Start a sender so that messages are leased to it after this time."""
        self._launches += 1
        self.clock.after(max(0.0, wait_s - self._warm_s), None, partial(self._launch_due, of))

    def _launch_due(self, of: int) -> None:
        self._launches -= 1
        self._launch(of)

    def _launch(self, of: int) -> None:
        for _ in range(self.scenario.senders[of].copies):
            self._joined += 1
            sender = _PlannedSender(self, self._joined, of)
            self.sender_of[sender.name] = of
            self.senders.append(sender)

    # -- faults

    def _befall(self, fault: Fault) -> None:
        """Let a fault strike the nodes that are there now. Attempts themselves know when they are slow or fail."""
        nodes = self._nodes_of(fault.target)
        if fault.kind is FaultKind.PAUSE:
            self._pause_all([node for node in nodes if not node.paused], fault)
        elif fault.kind is FaultKind.KILL and nodes:
            self._kill_all(nodes, fault)

    def _pause_all(self, nodes: list[Process], fault: Fault) -> None:
        for node in nodes:
            self.faults.pause(node, math.inf if fault.for_s is None else fault.for_s)
        if fault.target == PRODUCER and fault.for_s is None:
            self._over_at = self.clock.now + 2 * self.limits.keepalive_s + self.scenario.give_up_s

    def _kill_all(self, nodes: list[Process], fault: Fault) -> None:
        away_s = math.inf if fault.for_s is None else fault.for_s + self._start_s
        if fault.target in (PRODUCER, MONITOR):
            self._crash(nodes[0], fault.target, away_s)
            if fault.target == MONITOR:
                self._calm_network.break_calls()
            return
        for node in nodes:
            self.kill(node)
        if fault.for_s is not None:
            of = next(of for of, planned in enumerate(self.scenario.senders) if planned.name == fault.target)
            self._launch_later(away_s, of)

    def _crash(self, node: Process, kind: str, away_s: float) -> None:
        """Kill the producer or the monitor, and start it again after this time."""
        self.kill(node)
        disk = self.disks[kind]
        if disk is None:
            self.bare_crashes.add(kind)
        else:
            disk.crash()
        self.clock.after(away_s, None, partial(self.start, kind, 0))

    def _nodes_of(self, name: str) -> list[Process]:
        if name in (PRODUCER, MONITOR):
            return list(self.running(name))
        planned = self.scenario.senders
        return [s for s in self.senders if s.alive and planned[self.sender_of[s.name]].name == name]

    def lose_connections(self, process: Process) -> None:
        """Break the streams of a process. Everything that was sent before still arrives."""
        for stream in self.network.streams:
            if process in (stream.client, stream.server.host):
                for pipe in (stream.up, stream.down):
                    _, sent = pipe.on_the_way
                    pipe.stop(sent, max(self.network.delay(), pipe.empty_s))

    # -- what was recorded

    def _played(self) -> Played:
        assert self.producer is not None
        assert self.monitor is not None
        tally = self.monitor.runs.followed[self.producer.run.run_id].tally
        sums = tuple(Sums() for _ in self.scenario.senders)
        for session_id, session in tally.sessions.items():
            sums[self.sender_of[session_id]].add(session.sums)
        finish_s, outcomes = self._finished(self.producer.run.run_id)
        return Played(
            reached_s={percent: tally.milestones.reached_s.get(percent) for percent in Milestones.PERCENTS},
            reached_reachable_s={percent: tally.reached_reachable_s.get(percent) for percent in Milestones.PERCENTS},
            complete_s=tally.elapsed_s(self.clock.now) if tally.complete else None,
            late_s=0.0 if tally._started_at is None else tally._started_at - self._started_at,
            sent=tally.ledger.sent,
            failed=tally.ledger.failed,
            unreachable=0 if tally.recipients is None else tally.recipients.unreachable,
            retried=tally.ledger.retried,
            duplicates=tally.ledger.duplicates,
            redelivered=self.producer.backlog.redelivered,
            senders=sums,
            finish_s=finish_s,
            outcomes=outcomes,
            events=self.clock.events,
        )

    def _finished(self, run_id: str) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Return when the attempts ended that count, and their outcomes. Of a message's final outcomes, the first does.

        They follow from the latencies. Those lack the time that a batch was on its way, and the time that a killed
        producer was away.
        """
        assert self.monitor is not None
        book = (self.monitor.accounts.followed.get(run_id) or self.past.ended[run_id]).book
        parts = [report.finished for _, report in book.log if len(report.finished)]
        if not parts or _has_journal(self.scenario, PRODUCER):
            return np.empty(0), np.empty(0, np.uint8)
        done = join(parts)
        final = done.outcomes != Outcome.RETRY
        rows = np.arange(len(done.ids))
        final_row = np.full(self.scenario.total, len(rows))
        np.minimum.at(final_row, done.ids[final], rows[final])
        counts = np.where(final, final_row[done.ids] == rows, final_row[done.ids] > rows)
        finish_s = done.latencies_s[counts].astype(np.float64) + self.network.delay()
        if self.scenario.rate_per_s is not None:
            finish_s += done.ids[counts] / self.scenario.rate_per_s
        order = np.argsort(finish_s, kind="stable")
        return finish_s[order], done.outcomes[counts][order]


def _is_stuck(node: Process) -> bool:
    """Return whether a process is paused for good."""
    return node.paused and node.pauses.all[-1][1] == math.inf
