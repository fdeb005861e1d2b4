"""The cases: what is run, what is read off it, and what it is to reach.

`CASES` has them in the order in which they run. A case measures one repetition at a time.
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
BASELINE_CHOICES: Final = ((1000, 1000), (2000, 1000), (2000, 0), (3000, 0))  # tasks, and bound of the queue
UNEQUAL_MEANS_S: Final = (0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.0)
UNEQUAL_LANES: Final = 10  # of each: 1003 messages a second together
THOUSAND_RAMP_S: Final = 5.0  # to work off what a thousand streams cost that open at once
THOUSAND_AHEAD_S: Final = 3.0  # what they hold is reported up to this late
SETTLE_S: Final = 2.0  # until an idle node has started and found its peer


@dataclass(frozen=True)
class Case:
    """What is run and how it is measured."""

    name: str  # as in --case
    what: str  # is run, with the size in braces
    how: str  # it is measured
    size: int  # messages or seconds
    quick_size: int
    measure_size: Callable[[Stage, int], list[Reading]]
    quick: bool = True  # runs with --quick even if it is not named

    def title(self, quick: bool) -> str:
        """What is run, in words."""
        return self.what.format(f"{self._size(quick):,}")

    def measure(self, stage: Stage) -> list[Reading]:
        """One repetition; raises BenchError or TooShortError. The targets are those of the full size."""
        readings = self.measure_size(stage, self._size(stage.quick))
        return [replace(reading, target=None) for reading in readings] if stage.quick else readings

    def _size(self, quick: bool) -> int:
        return self.quick_size if quick else self.size


# ---- More lanes than messages can be brought to: what limits is smssim itself


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
    """Messages a second of the baseline at its best, at the same mean."""
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


# ---- Lanes that can all be kept busy: none of them should wait


def _lanes(
    stage: Stage, count: int, *, lanes: int, target: Target | None = None, baseline_share: float = 0.0
) -> list[Reading]:
    """`baseline_share`: how many messages the baseline gets to send with as many tasks, as a share of `count`."""
    run = run_of(stage, count, SenderSettings(mean_s=1.0, concurrency=lanes))
    part = steady(run.points, lanes, 1.0)
    readings = [Reading("share of lanes / mean", part.busy_lanes / lanes, "share", target)]
    if baseline_share:
        theirs = baseline_of(stage, lanes, int(count * baseline_share), 1.0, FAIL, queue_max=0)
        readings.append(Reading("baseline: the same share", steady_rate(theirs, lanes, 1.0) / lanes, "share"))
    return [
        *readings,
        Reading("throughput there", part.rate_per_s, "per s"),
        Reading("length of that part", part.time_s, "s"),
        *run.costs(),
    ]


def steady_rate(run: BaselineRun, lanes: int, mean_s: float) -> float:
    """Messages a second of the baseline in its steady part, the time to generate as many counted as well."""
    return run.with_generation(steady(run.points, lanes, mean_s).rate_per_s)


def one_lane(stage: Stage, time_s: int) -> list[Reading]:
    """One repetition of the case of this name; raises BenchError or TooShortError."""
    means = (0.05, 0.5)
    fast, slow = (Run(stage.seed, round(time_s / mean_s), [SenderSettings(mean_s=mean_s)]) for mean_s in means)
    follow(stage, fast, slow)
    return [
        Reading("50 ms: share of 1 / mean", fast.efficiency, "share", Target(0.98)),
        Reading("500 ms: share of 1 / mean", slow.efficiency, "share", Target(0.995)),
    ]


# ---- Many senders


def unequal(stage: Stage, count: int, *, means_s: Sequence[float] = UNEQUAL_MEANS_S) -> list[Reading]:
    """One repetition of the case of this name; raises BenchError."""
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
        Reading("length of that part", part.time_s, "s"),
        *run.costs(),
    ]


# ---- Nothing to do


def idle(stage: Stage, time_s: int, *, settle_s: float = SETTLE_S) -> list[Reading]:
    """One repetition of the case of this name; raises BenchError."""
    with stage.group() as group, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and never listens
        nowhere = f"127.0.0.1:{nobody.getsockname()[1]}"
        group.node("monitor", MonitorSettings(listen=FREE_ADDRESS), "monitor, waiting")
        group.node("producer", ProducerSettings(seed=0, listen=FREE_ADDRESS), "producer, waiting")
        group.node("sender", SenderSettings(producer=nowhere), "sender, waiting for a producer")
        monitor = group.node("monitor", MonitorSettings(listen=FREE_ADDRESS), "monitor, of an idle run")
        released = ProducerSettings(
            seed=0, count=2, listen=FREE_ADDRESS, monitor=group.address(monitor), rate_per_s=1e-6
        )  # one message, for now
        producer = group.node("producer", released, "producer, of an idle run")
        sender = SenderSettings(mean_s=0.0, producer=group.address(producer))
        group.node("sender", sender, "sender, connected, nothing to do")
        group.run_for(settle_s)
        before = [cpu_s(node) for node in group.children]
        passed_s = group.run_for(time_s)
        return [
            Reading(node.name, (cpu_s(node) - used_s) / passed_s, "cores", Target(0.01, at_least=False))
            for node, used_s in zip(group.children, before, strict=True)
        ]


# ---- All

_STEADY: Final = (
    "in the steady part: from 3 mean times after the last sender came to where fewer messages wait than there are lanes"
)
_CASES: Final = (
    Case(
        "saturation",
        "{} messages, 50,000 lanes of 10 ms, a tenth fail",
        "over the whole run; the baseline at its best of several numbers of tasks",
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
        "one lane of 50 ms and, in a run of its own beside it, one of 500 ms, for about {} s",
        "the durations of all attempts together, over the time of the whole run",
        size=15,
        quick_size=4,
        measure_size=one_lane,
    ),
    Case(
        "unequal",
        "{} messages, eight senders of 10 lanes of 0.02 to 2 s",
        "time to completion, against a greedy list schedule of the same attempts with each lane from when it joined",
        size=20_000,
        quick_size=5_000,
        measure_size=unequal,
    ),
    Case(
        "thousand",
        "{} messages, a thousand senders of 10 lanes of 0.5 s",
        f"from {THOUSAND_RAMP_S:g} s after the last sender came to where {THOUSAND_AHEAD_S:g} s of work are left, "
        "much of it with senders; 1% is left to luck",
        size=600_000,
        quick_size=250_000,
        measure_size=_thousand,
        quick=False,
    ),
    Case(
        "us",
        "{} messages, everyone in the US, 50,000 lanes of 10 ms",
        "over the whole run",
        size=EVERYONE,
        quick_size=EVERYONE,
        measure_size=_everyone,
        quick=False,
    ),
    Case(
        "idle",
        "nodes that have nothing to do, for {} s",
        "CPU time of each process, start-up excluded",
        size=20,
        quick_size=5,
        measure_size=idle,
    ),
)
CASES: Final = {case.name: case for case in _CASES}
