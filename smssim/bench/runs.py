"""One run of smssim, or of the baseline, from its start to its end: its series, its times, what its nodes cost.

Knows what nodes print. Must not know which cases there are.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from smssim.bench.fleet import BenchError, Fleet, Line, Process
from smssim.bench.measure import Point, Reading
from smssim.settings import FREE_ADDRESS, MonitorSettings, ProducerSettings, SenderSettings

INTERVAL_S: Final = 0.25  # between two points of a series

_JOINED: Final = re.compile(r" producer: (\S+) joined\b")
_STARTED: Final = re.compile(r" producer: the run has started$")


@dataclass(frozen=True)
class Stage:
    """What one repetition of a case is given."""

    quick: bool
    seed: int
    fleet: Callable[[], Fleet]  # to be used in a `with`
    done: Callable[[float], None]  # told how much of a run is done, from 0 to 1


@dataclass
class Run:
    """A run of one monitor, one producer and some senders, each a process."""

    seed: int
    count: int
    senders: Sequence[SenderSettings]
    points: list[Point] = field(default_factory=list)
    final: dict[str, Any] = field(default_factory=dict)  # the last object of the monitor
    processes: list[Process] = field(default_factory=list)
    joined_at: dict[str, float] = field(default_factory=dict)  # when each sender came, on the monotonic clock
    started_at: float = 0.0

    def start(self, fleet: Fleet) -> None:
        """Starts the nodes; raises BenchError."""
        monitor = fleet.node("monitor", MonitorSettings(interval_s=INTERVAL_S, listen=FREE_ADDRESS, json=True))
        settings = ProducerSettings(
            seed=self.seed, count=self.count, listen=FREE_ADDRESS, monitor=fleet.address(monitor)
        )
        producer = fleet.node("producer", settings)
        self.processes = [monitor, producer]
        address = fleet.address(producer)
        for number, sender in enumerate(self.senders, 1):
            name = "sender" if len(self.senders) == 1 else f"sender-{number}"
            self.processes.append(fleet.node("sender", replace(sender, name=name, producer=address), name))

    def take(self, line: Line) -> None:
        """Notes what a node has written."""
        if line.process not in self.processes:
            return
        if not line.is_log:
            self.final = json.loads(line.text)
            self.points.append(Point.of(self.final, {process.name: process.cpu_s() for process in self.processes}))
        elif found := _JOINED.search(line.text):
            self.joined_at[found[1]] = line.at
        elif _STARTED.search(line.text):
            self.started_at = line.at

    def check(self) -> None:
        """Raises BenchError unless every message was counted. Assumes that the nodes have ended with 0."""
        final = self.final
        if not final.get("final") or final["sent"] + final["failed"] != self.count:
            raise BenchError(f"the run has not counted its {self.count:,} messages: {json.dumps(final)}")

    @property
    def elapsed_s(self) -> float:
        """From the first message handed out to the last one recorded."""
        return float(self.final["elapsed_s"])

    @property
    def rate_per_s(self) -> float:
        """Messages a second, over the whole run."""
        return float(self.final["rate_per_s"])

    @property
    def efficiency(self) -> float:
        """Share of the time in which a lane was at work: the durations of all attempts, over lanes and time."""
        lanes = sum(sender.concurrency * sender.copies for sender in self.senders)
        return self.points[-1].work_s / (lanes * self.elapsed_s)

    def joined_s(self) -> list[float]:
        """When each sender joined, in seconds of the run; below 0 for those that were there before it started."""
        names = [process.name for process in self.processes[2:]]
        return [self.joined_at[name] - self.started_at for name in names]

    @property
    def peak_bytes(self) -> int:
        """Peak memory of the node that needed most."""
        return max(process.usage.peak_bytes for process in self.processes if process.usage is not None)

    def costs(self) -> list[Reading]:
        """CPU time for each message, start-up not counted, and peak memory of each node."""
        readings = []
        order = sorted(self.processes, key=lambda process: process.name != "producer" and process.name != "sender")
        for process in order:
            assert process.usage is not None
            cpu_s = process.usage.cpu_s - self.points[0].cpu_s[process.name]
            readings.append(Reading(f"{process.name}: CPU a message", 1e9 * cpu_s / self.count, "ns"))
        for process in order:
            assert process.usage is not None
            readings.append(Reading(f"{process.name}: peak memory", process.usage.peak_bytes / 1e6, "MB"))
        return readings


def follow(stage: Stage, *runs: Run) -> None:
    """Runs these side by side to their ends; raises BenchError."""
    with stage.fleet() as fleet:
        for run in runs:
            run.start(fleet)
        for line in fleet.until_ended([process for run in runs for process in run.processes]):
            for run in runs:
                run.take(line)
            stage.done(min(_share_done(run) for run in runs))
    for run in runs:
        run.check()


def _share_done(run: Run) -> float:
    return run.points[-1].attempts / run.count if run.points else 0.0


def run_of(stage: Stage, count: int, sender: SenderSettings) -> Run:
    """A whole run with this one sender; raises BenchError."""
    run = Run(stage.seed, count, [sender])
    follow(stage, run)
    return run


# ---- The baseline


@dataclass(frozen=True)
class BaselineRun:
    """A run of the baseline."""

    count: int
    points: list[Point]
    generation_s: float  # before the sending

    @property
    def elapsed_s(self) -> float:
        """From the first message generated to the last one sent."""
        return self.generation_s + self.points[-1].elapsed_s

    @property
    def rate_per_s(self) -> float:
        """Messages a second, over the whole run."""
        return self.count / self.elapsed_s

    def with_generation(self, rate_per_s: float) -> float:
        """What a rate of sending alone comes to if generating the messages is counted, too."""
        return 1 / (1 / rate_per_s + self.generation_s / self.count)


def baseline_of(stage: Stage, senders: int, count: int, mean_s: float, fail: float, queue_max: int) -> BaselineRun:
    """A whole run of the baseline; raises BenchError."""
    numbers = (senders, count, mean_s, fail, queue_max)
    words = [sys.executable, "-m", "smssim.bench.baseline", *map(str, numbers)]
    points: list[Point] = []
    generation_s = 0.0
    with stage.fleet() as fleet:
        process = fleet.start("baseline", words)
        for line in fleet.until_ended([process]):
            if not line.is_log:
                figures = json.loads(line.text)
                generation_s = figures.pop("generation_s", 0.0)  # only in the last one
                points.append(Point(**figures))
            stage.done(points[-1].attempts / count if points else 0.0)
    if not points or points[-1].attempts != count:
        raise BenchError(f"the baseline has not sent its {count:,} messages")
    return BaselineRun(count, points, generation_s)
