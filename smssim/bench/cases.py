"""The cases of the bench: what each one runs, which figures it measures, and their targets.

`CASES` holds them in the order in which they run. A case measures one repetition at a time.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from smssim.bench.measure import Reading, Target, best_s, steady
from smssim.bench.process_group import cpu_s
from smssim.bench.runs import BaselineRun, Run, Stage, baseline_of, follow, run_of
from smssim.settings import FREE_ADDRESS, MonitorSettings, ProducerSettings, SenderSettings

FAIL: Final = 0.1
EVERYONE: Final = 340_000_000  # people in the US
SATURATING: Final = SenderSettings(mean_s=0.01, fail=FAIL, concurrency=50_000)
BASELINE_CHOICES: Final = ((1000, 1000), (2000, 1000), (2000, 0), (3000, 0))  # number of tasks, bound of the queue
UNEQUAL_MEANS_S: Final = (0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.0)
UNEQUAL_LANES: Final = 10  # of each sender; 1003 messages per second in total
THOUSAND_RAMP_S: Final = 5.0  # until the cost of opening a thousand streams at once is worked off
THOUSAND_AHEAD_S: Final = 3.0  # maximum delay until messages held by senders are reported
SETTLE_S: Final = 2.0  # until idle nodes have started and found their peers


@dataclass(frozen=True)
class Case:
    """What is run, and how it is measured."""

    name: str  # as in --case
    what: str  # what is run, with {} for the size
    how: str  # how it is measured
    size: int  # messages or seconds
    quick_size: int
    measure_size: Callable[[Stage, int], list[Reading]]
    quick: bool = True  # runs with --quick even if it is not named

    def title(self, quick: bool) -> str:
        """Return what is run, as text."""
        return self.what.format(f"{self._size(quick):,}")

    def measure(self, stage: Stage) -> list[Reading]:
        """Measure one repetition. Targets apply only to the full size. Raises BenchError or TooShortError."""
        readings = self.measure_size(stage, self._size(stage.quick))
        return [replace(reading, target=None) for reading in readings] if stage.quick else readings

    def _size(self, quick: bool) -> int:
        return self.quick_size if quick else self.size


# ---- More lanes than smssim can supply with messages: smssim itself is the limit


def _saturation(stage: Stage, count: int) -> list[Reading]:
    best = _best_baseline(stage)
    run = run_of(stage, count, SATURATING)
    return [
        Reading("throughput", run.rate_per_s, "per s", Target(3_000_000)),
        Reading("times the baseline", run.rate_per_s / best, "times", Target(60)),
        Reading("baseline", best, "per s"),
        *run.costs(),
    ]


def _best_baseline(stage: Stage) -> float:
    """Return the baseline's best rate at the same mean, in messages per second."""
    choices = BASELINE_CHOICES[::2] if stage.quick else BASELINE_CHOICES
    count = 60_000 if stage.quick else 200_000
    runs = [baseline_of(stage, tasks, count, SATURATING.mean_s, FAIL, queue_max) for tasks, queue_max in choices]
    return max(run.rate_per_s for run in runs)


def _everyone(stage: Stage, count: int) -> list[Reading]:
    run = run_of(stage, count, SATURATING)
    return [
        Reading("time", run.elapsed_s, "s", Target(120, at_least=False)),
        Reading("peak memory of any node", run.peak_bytes / 1e6, "MB", Target(250, at_least=False)),
        Reading("throughput", run.rate_per_s, "per s"),
        *run.costs(),
    ]


# ---- Lanes that can all be kept busy: no lane should wait


def _lanes(
    stage: Stage, count: int, *, lanes: int, target: Target | None = None, baseline_share: float = 0.0
) -> list[Reading]:
    """Measure how well smssim keeps the lanes busy.

    `baseline_share`: messages that the baseline sends with the same number of tasks, as a share of `count`; 0 skips it.
    """
    run = run_of(stage, count, SenderSettings(mean_s=1.0, concurrency=lanes))
    part = steady(run.points, lanes, 1.0)
    readings = [Reading("share of lanes / mean", part.busy_lanes / lanes, "share", target)]
    if baseline_share:
        theirs = baseline_of(stage, lanes, int(count * baseline_share), 1.0, FAIL, queue_max=0)
        readings.append(Reading("baseline: share of lanes / mean", steady_rate(theirs, lanes, 1.0) / lanes, "share"))
    return [
        *readings,
        Reading("steady part: throughput", part.rate_per_s, "per s"),
        Reading("steady part: length", part.time_s, "s"),
        *run.costs(),
    ]


def steady_rate(run: BaselineRun, lanes: int, mean_s: float) -> float:
    """Return the baseline's messages per second in its steady part, including the time to generate them."""
    return run.with_generation(steady(run.points, lanes, mean_s).rate_per_s)


def one_lane(stage: Stage, time_s: int) -> list[Reading]:
    """Measure one repetition of the case one-lane. Raises BenchError."""
    means = (0.05, 0.5)
    fast, slow = (Run(stage.seed, round(time_s / mean_s), [SenderSettings(mean_s=mean_s)]) for mean_s in means)
    follow(stage, fast, slow)
    return [
        Reading("50 ms: share of 1 / mean", fast.efficiency, "share", Target(0.98)),
        Reading("500 ms: share of 1 / mean", slow.efficiency, "share", Target(0.995)),
    ]


# ---- Many senders


def unequal(stage: Stage, count: int, *, means_s: Sequence[float] = UNEQUAL_MEANS_S) -> list[Reading]:
    """Measure one repetition of the case unequal. Raises BenchError."""
    senders = [SenderSettings(mean_s=mean_s, concurrency=UNEQUAL_LANES) for mean_s in means_s]
    run = Run(stage.seed, count, senders)
    follow(stage, run)
    best = best_s(run.seed, run.count, senders, run.joined_s())
    return [
        Reading("time to completion", run.elapsed_s, "s"),
        Reading("greedy list schedule", best, "s"),
        Reading("beyond the schedule", run.elapsed_s / best - 1, "share", Target(0.02, at_least=False)),
    ]


def _thousand(stage: Stage, count: int) -> list[Reading]:
    sender = SenderSettings(mean_s=0.5, concurrency=10, copies=1000)
    run = run_of(stage, count, sender)
    part = steady(run.points, sender.concurrency * sender.copies, sender.mean_s, THOUSAND_RAMP_S, THOUSAND_AHEAD_S)
    return [
        Reading("throughput held", part.rate_per_s, "per s", Target(0.99 * 20_000)),
        Reading("producer and monitor", part.cores("producer", "monitor"), "cores", Target(1.0, at_least=False)),
        Reading("sender process", part.cores("sender"), "cores"),
        Reading("steady part: length", part.time_s, "s"),
        *run.costs(),
    ]


# ---- Nothing to do


def idle(stage: Stage, time_s: int, *, settle_s: float = SETTLE_S) -> list[Reading]:
    """Measure one repetition of the case idle. Raises BenchError."""
    with stage.group() as group, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # a port on which nothing listens
        nowhere = f"127.0.0.1:{unused.getsockname()[1]}"
        group.node("monitor", MonitorSettings(listen=FREE_ADDRESS), "monitor, waiting")
        group.node("producer", ProducerSettings(seed=0, listen=FREE_ADDRESS), "producer, waiting")
        group.node("sender", SenderSettings(producer=nowhere), "sender, waiting for a producer")
        monitor = group.node("monitor", MonitorSettings(listen=FREE_ADDRESS), "monitor, in an idle run")
        released = ProducerSettings(
            seed=0, count=2, listen=FREE_ADDRESS, monitor=group.address(monitor), rate_per_s=1e-6
        )  # releases one message during the measurement
        producer = group.node("producer", released, "producer, in an idle run")
        sender = SenderSettings(mean_s=0.0, producer=group.address(producer))
        group.node("sender", sender, "sender, connected, nothing to do")
        group.run_for(settle_s)
        before = [cpu_s(node) for node in group.children]
        passed_s = group.run_for(time_s)
        return [
            Reading(node.name, (cpu_s(node) - used_s) / passed_s, "cores", Target(0.01, at_least=False))
            for node, used_s in zip(group.children, before, strict=True)
        ]


# ---- The cases

_STEADY: Final = (
    "in the steady part: from 3 mean times after the last sender joined until fewer messages wait than there are lanes"
)
_CASES: Final = (
    Case(
        "saturation",
        "{} messages, 50,000 lanes of 10 ms, 10% fail",
        "over the whole run; the baseline with the best of several numbers of tasks",
        size=40_000_000,
        quick_size=5_000_000,
        measure_size=_saturation,
    ),
    Case(
        "lanes-50k",
        "{} messages, 50,000 lanes of 1 s",
        _STEADY,
        size=600_000,
        quick_size=300_000,
        measure_size=partial(_lanes, lanes=50_000, baseline_share=0.75),
    ),
    Case(
        "lanes-1m",
        "{} messages, a million lanes of 1 s",
        _STEADY,
        size=20_000_000,
        quick_size=8_000_000,
        measure_size=partial(_lanes, lanes=1_000_000, target=Target(0.97)),
    ),
    Case(
        "lanes-2m",
        "{} messages, two million lanes of 1 s",
        _STEADY,
        size=32_000_000,
        quick_size=15_000_000,
        measure_size=partial(_lanes, lanes=2_000_000, target=Target(0.90)),
        quick=False,
    ),
    Case(
        "one-lane",
        "one lane of 50 ms and, in a separate run at the same time, one of 500 ms, for about {} s",
        "the total duration of all attempts, divided by the time of the whole run",
        size=15,
        quick_size=4,
        measure_size=one_lane,
    ),
    Case(
        "unequal",
        "{} messages, eight senders of 10 lanes of 0.02 to 2 s",
        "time to completion, compared with a greedy list schedule of the same attempts; a lane starts when it joined",
        size=20_000,
        quick_size=5_000,
        measure_size=unequal,
    ),
    Case(
        "thousand",
        "{} messages, a thousand senders of 10 lanes of 0.5 s",
        f"from {THOUSAND_RAMP_S:g} s after the last sender joined until {THOUSAND_AHEAD_S:g} s of work remain, "
        "much of it at senders; the target allows 1% for chance",
        size=600_000,
        quick_size=250_000,
        measure_size=_thousand,
        quick=False,
    ),
    Case(
        "us",
        "{} messages (everyone in the US), 50,000 lanes of 10 ms",
        "over the whole run",
        size=EVERYONE,
        quick_size=EVERYONE,
        measure_size=_everyone,
        quick=False,
    ),
    Case(
        "idle",
        "nodes with nothing to do, for {} s",
        "CPU time of each process, excluding start-up",
        size=20,
        quick_size=5,
        measure_size=idle,
    ),
)
CASES: Final = {case.name: case for case in _CASES}
