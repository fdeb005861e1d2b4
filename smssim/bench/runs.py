"""Runs of smssim and of the baseline, from start to end: their points over time, and what their nodes cost.

Knows the figures and the ready records of nodes. Must not know which cases exist.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from smssim.bench.measure import Point, Reading
from smssim.bench.process_group import BenchError, ProcessGroup, cpu_s
from smssim.launch.child import Child, Line, Record
from smssim.settings import FREE_ADDRESS, MonitorSettings, ProducerSettings, SenderSettings

INTERVAL_S: Final = 0.25  # between two points of a series


@dataclass(frozen=True)
class Stage:
    """The environment that one repetition of a case runs in."""

    quick: bool
    seed: int
    group: Callable[[], ProcessGroup]  # creates a process group, for use in a `with` statement
    done: Callable[[float], None]  # receives progress: the share of a run that is done, from 0 to 1


@dataclass
class Run:
    """A run with one monitor, one producer and some senders, each in its own process."""

    seed: int
    count: int
    senders: Sequence[SenderSettings]
    points: list[Point] = field(default_factory=list)
    final: dict[str, Any] = field(default_factory=dict)  # the monitor's last JSON object
    children: list[Child] = field(default_factory=list)  # the monitor, the producer, the senders

    def start(self, group: ProcessGroup) -> None:
        """Start the nodes. Raises BenchError."""
        monitor = group.node("monitor", MonitorSettings(interval_s=INTERVAL_S, listen=FREE_ADDRESS, json=True))
        settings = ProducerSettings(
            seed=self.seed, count=self.count, listen=FREE_ADDRESS, monitor=group.address(monitor)
        )
        producer = group.node("producer", settings)
        self.children = [monitor, producer]
        address = group.address(producer)
        for number, sender in enumerate(self.senders, 1):
            name = "sender" if len(self.senders) == 1 else f"sender-{number}"
            self.children.append(group.node("sender", replace(sender, name=name, producer=address), name))

    def take(self, child: Child, line: Line) -> None:
        """Record a line of a node if it holds figures of this run."""
        if child in self.children and not line.is_log:
            self.final = json.loads(line.text)
            self.points.append(Point.of(self.final, {node.name: cpu_s(node) for node in self.children}))

    def check(self) -> None:
        """Raise BenchError unless every message was counted. Assumes that all nodes exited with code 0."""
        final = self.final
        if not final.get("final") or final["sent"] + final["failed"] != self.count:
            raise BenchError(f"the run did not count all of its {self.count:,} messages: {json.dumps(final)}")

    @property
    def elapsed_s(self) -> float:
        """The seconds from the first delivered message to the last recorded one."""
        return float(self.final["elapsed_s"])

    @property
    def rate_per_s(self) -> float:
        """Messages per second over the whole run."""
        return float(self.final["rate_per_s"])

    @property
    def efficiency(self) -> float:
        """The average share of time in which a lane was busy: the duration of all attempts / (lanes * time)."""
        lanes = sum(sender.concurrency * sender.copies for sender in self.senders)
        return self.points[-1].work_s / (lanes * self.elapsed_s)

    def joined_s(self) -> list[float]:
        """Return when each sender joined, in seconds since the start of the run; negative if it joined before.

        Raises BenchError.
        """
        _, producer, *senders = self.children
        started_at = _record(producer, "started").at
        return [_record(sender, "joined").at - started_at for sender in senders]

    @property
    def peak_bytes(self) -> int:
        """The peak memory of the node that used most, in bytes."""
        return max(node.usage.peak_bytes for node in self.children if node.usage is not None)

    def costs(self) -> list[Reading]:
        """Return the CPU time per message, excluding start-up, and the peak memory of each node."""
        readings = []
        order = sorted(self.children, key=lambda node: node.name != "producer" and node.name != "sender")
        for node in order:
            used_s = cpu_s(node) - self.points[0].cpu_s[node.name]
            readings.append(Reading(f"{node.name}: CPU per message", 1e9 * used_s / self.count, "ns"))
        for node in order:
            assert node.usage is not None
            readings.append(Reading(f"{node.name}: peak memory", node.usage.peak_bytes / 1e6, "MB"))
        return readings


def follow(stage: Stage, *runs: Run) -> None:
    """Execute these runs at the same time, and wait until all have ended. Raises BenchError."""
    with stage.group() as group:
        for run in runs:
            run.start(group)
        for child, line in group.until_ended([child for run in runs for child in run.children]):
            for run in runs:
                run.take(child, line)
            stage.done(min(_share_done(run) for run in runs))
    for run in runs:
        run.check()


def _share_done(run: Run) -> float:
    return run.points[-1].attempts / run.count if run.points else 0.0


def _record(node: Child, event: str) -> Record:
    record = node.record(event)
    if record is None:
        raise BenchError(f'{node.name} sent no "{event}" record')
    return record


def run_of(stage: Stage, count: int, sender: SenderSettings) -> Run:
    """Execute and return a run with this sender. Raises BenchError."""
    run = Run(stage.seed, count, [sender])
    follow(stage, run)
    return run


# ---- The baseline


@dataclass(frozen=True)
class BaselineRun:
    """A run of the baseline."""

    count: int
    points: list[Point]
    generation_s: float  # before sending began

    @property
    def elapsed_s(self) -> float:
        """The seconds from the first generated message to the last sent one."""
        return self.generation_s + self.points[-1].elapsed_s

    @property
    def rate_per_s(self) -> float:
        """Messages per second over the whole run."""
        return self.count / self.elapsed_s

    def with_generation(self, rate_per_s: float) -> float:
        """Return a rate of sending alone, reduced by the time that generating the messages took."""
        return 1 / (1 / rate_per_s + self.generation_s / self.count)


def baseline_of(stage: Stage, senders: int, count: int, mean_s: float, fail: float, queue_max: int) -> BaselineRun:
    """Execute and return a run of the baseline. Raises BenchError."""
    numbers = (senders, count, mean_s, fail, queue_max)
    words = [sys.executable, "-m", "smssim.bench.baseline", *map(str, numbers)]
    points: list[Point] = []
    generation_s = 0.0
    with stage.group() as group:
        for _, line in group.until_ended([group.start("baseline", words)]):
            if not line.is_log:
                figures = json.loads(line.text)
                generation_s = figures.pop("generation_s", 0.0)  # only in the last one
                points.append(Point(**figures))
            stage.done(points[-1].attempts / count if points else 0.0)
    if not points or points[-1].attempts != count:
        raise BenchError(f"the baseline did not send all of its {count:,} messages")
    return BaselineRun(count, points, generation_s)
