"""The case agreement of the bench: forecasts of scenarios, written to a file before anything runs, and then live runs.

Knows plans, and runs of `smssim run` by their command line and summary. Must not know how results are shown.

When each sender joins is not a matter of the plan but of the machine, which starts the processes of a run one after
another. So senders are started some times beforehand, and the times at which they join are an input of the plan.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from smssim.bench.agreement_cases import AgreementCase
from smssim.bench.comparison import LAST, Comparison, FigureForecast, LiveRun, Value, compare
from smssim.bench.process_group import BenchError, ProcessGroup
from smssim.bench.runs import Stage
from smssim.core.fault import FaultKind
from smssim.errors import UsageError, bad_value
from smssim.plan.forecast import Forecast
from smssim.plan.scale import FULL
from smssim.plan.scenario import PlannedSender, Scenario
from smssim.plan.seeds import Play, Spread, play
from smssim.plan.theory.theory import Theory
from smssim.settings import FREE_ADDRESS, RunSettings, sender_names

SEEDS: Final = 200  # of a plan: with fewer, the middle 95% of them holds less than 94% of further ones
QUICK_SEEDS: Final = 40
REPEAT: Final = 5  # live runs of each case
STARTS: Final = 10  # of the senders, to see when they join: each seed of the plan takes the next of them
QUICK_STARTS: Final = 3
COPIES_GROUPS: Final = 20  # groups of copies of a sender, each of which joins at its own time in the plan
FORECASTS: Final = "forecasts.jsonl"  # in the folder
PERCENTS: Final = (50, 80, 95, 99)
COUNTS: Final = ("sent", "failed", "retried", "unreachable")

Joins = tuple[tuple[float, ...], ...]  # of each sender: when each copy joins, in seconds since the first message


@dataclass(frozen=True)
class Prepared:
    """A case with its forecast."""

    case: AgreementCase
    file: Path  # of the scenario
    scenario: Scenario
    starts: tuple[Joins, ...]  # in ascending order of the messages that they cost
    forecasts: tuple[FigureForecast, ...]
    why: str  # why there is no theory; empty if there is one

    @property
    def middle(self) -> Joins:
        """The start in the middle."""
        return self.starts[len(self.starts) // 2]

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "scenario": self.case.name,
            "file": self.file.read_text(encoding="utf-8"),
            "seeds": len(self.forecasts[0].values),
            "joins_s": [[round(statistics.fmean(copies), 3) for copies in joins_s] for joins_s in self.starts],
            "why_no_theory": self.why or None,
            "figures": [one.as_dict() for one in self.forecasts],
        }


@dataclass(frozen=True)
class Result:
    """What the runs of a case found, or why they failed."""

    prepared: Prepared
    compared: tuple[Comparison, ...] = ()
    cpu_share: float | None = None  # the largest of all runs: of all cores
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        figures = [one.as_dict() for one in self.compared]
        return self.prepared.as_dict() | {"figures": figures, "cpu_share": self.cpu_share, "error": self.error}


@dataclass(frozen=True)
class Agreement:
    """The whole comparison. `joined` and `live` start processes; tests replace them."""

    folder: Path
    quick: bool
    repeat: int  # live runs of each case, with the seeds 1, 2, 3 and so on
    seeds: int  # of the plan, at least `repeat`
    joined: Callable[[RunSettings], Joins]
    live: Callable[[Path, int], LiveRun]
    begin: Callable[[str], None]  # receives what begins now, in words
    poll: Callable[[], None] = lambda: None  # called many times per second; may raise to stop

    def results(self, cases: Sequence[AgreementCase]) -> Iterator[Result]:
        """Write the forecasts of all cases, then run each and yield what it found. Raises SmssimError."""
        prepared = self._prepare(cases)
        for number, one in enumerate(prepared, 1):
            runs = []
            try:
                for seed in range(1, self.repeat + 1):
                    self.begin(f"{number}/{len(prepared)} {one.case.name}, run {seed} of {self.repeat}")
                    runs.append(self.live(one.file, seed))
            except BenchError as error:
                yield Result(one, error=str(error))
            else:
                hindsight = [figures_of(play(as_joined(one, run), run.seed)) for run in runs]
                compared = compare(one.forecasts, runs, hindsight)
                yield Result(one, tuple(compared), max(run.cpu_share for run in runs))

    def _prepare(self, cases: Sequence[AgreementCase]) -> list[Prepared]:
        """Return the cases with their forecasts, which are in a file by then."""
        written = self.folder / FORECASTS
        if written.exists():
            raise bad_value("--forecasts", self.folder, f"a directory without {FORECASTS}, which holds other forecasts")
        starts: dict[object, tuple[Joins, ...]] = {}  # cases with the same senders share the starts
        prepared = []
        for case in cases:
            path = self.folder / f"{case.name}.yaml"
            path.write_text(case.scenario(self.quick), encoding="utf-8")
            settings = RunSettings.from_flags({"scenario": str(path)}, None)
            if case.senders not in starts:
                self.begin(f"starting the senders of {case.name}")
                seen = [self.joined(settings) for _ in range(QUICK_STARTS if self.quick else STARTS)]
                starts[case.senders] = in_order(seen, [sender.per_s / sender.copies for sender in case.senders])
            self.begin(f"planning {case.name}")
            prepared.append(self._planned(case, path, settings.planned(), starts[case.senders]))
        _write(written, [one.as_dict() for one in prepared])
        return prepared

    def _planned(self, case: AgreementCase, file: Path, scenario: Scenario, starts: tuple[Joins, ...]) -> Prepared:
        scenarios = [with_joins(scenario, joins_s) for joins_s in starts]
        plays = []
        for seed in range(1, self.seeds + 1):
            plays.append(play(scenarios[seed % len(scenarios)], seed))
            self.poll()
        middle = scenarios[len(scenarios) // 2]
        theory = Theory(middle) if Theory(middle).valid else Theory(scenario)
        found = forecasts(Forecast(middle, plays, FULL), theory, self.repeat)
        return Prepared(case, file, scenario, starts, found, theory.why)


# ---- Forecasts


def forecasts(plan: Forecast, theory: Theory, runs: int) -> tuple[FigureForecast, ...]:
    """Return the forecasts of all figures, for a comparison with this many live runs."""
    scenario = plan.scenario
    played = [figures_of(one) for one in plan.plays]
    in_theory = {f"t{percent}": theory.reached_s(percent) for percent in PERCENTS} | {LAST: theory.complete_s}
    if theory.valid:
        sent = scenario.total * theory.ceiling
        retried = scenario.total * (theory.attempts_per_message - 1)
        in_theory |= {"sent": sent, "failed": scenario.total - sent, "retried": retried}
    if scenario.unreachable:
        in_theory |= {f"t{percent}_reachable": theory.reached_reachable_s(percent) for percent in PERCENTS}
        in_theory["unreachable"] = scenario.total - scenario.reachable
    found = []
    for name in played[0]:
        values = [figures[name] for figures in played]
        is_exact = name in COUNTS and scenario.fail is not None  # then it makes no difference which sender gets what
        spread = Spread.of(values)
        of_reach = name == "unreachable" or name.endswith("_reachable")
        if scenario.unreachable if of_reach else name != "retried" or scenario.max_attempts > 1:
            interval = spread.low, spread.median, spread.high
            found.append(FigureForecast.of(name, values, interval, runs, theory=in_theory.get(name), is_exact=is_exact))
    return tuple(found)


def figures_of(one: Play) -> dict[str, Value]:
    """Return the figures of a play, by the names of forecasts."""
    times = {f"t{percent}": one.reached_s[percent] for percent in PERCENTS}
    times |= {f"t{percent}_reachable": one.reached_reachable_s[percent] for percent in PERCENTS}
    return times | {LAST: one.complete_s} | {name: getattr(one, name) for name in COUNTS}


# ---- When senders join


def in_order(starts: Sequence[Joins], speeds_per_s: Sequence[float]) -> tuple[Joins, ...]:
    """Return several starts in the order of how many messages they cost; speeds are those of one copy."""

    def lost(start: Joins) -> float:
        return sum(per_s * sum(joins_s) for per_s, joins_s in zip(speeds_per_s, start, strict=True))

    return tuple(sorted(starts, key=lost))


def with_joins(scenario: Scenario, joins_s: Joins) -> Scenario:
    """Return the scenario with senders that join at these times; many copies in groups that join together."""
    senders: list[PlannedSender] = []
    for sender, copies_s in zip(scenario.senders, joins_s, strict=True):
        ascending = sorted(copies_s)
        groups = min(COPIES_GROUPS, len(ascending))
        for number in range(groups):
            group = ascending[number * len(ascending) // groups : (number + 1) * len(ascending) // groups]
            joined_s = max(0.0, statistics.fmean(group))
            senders.append(replace(sender, copies=len(group), joins_s=joined_s))
    return replace(scenario, senders=tuple(senders))


def as_joined(prepared: Prepared, run: LiveRun) -> Scenario:
    """Return the scenario of a case with senders that join when they did in this run, if that is known."""
    joins_s = prepared.middle if run.joined_s is None else tuple((at_s,) for at_s in run.joined_s)
    return with_joins(prepared.scenario, joins_s)


def joined_in(summary: dict[str, Any], scenario: Scenario) -> tuple[float, ...] | None:
    """Return when each sender of a finished run joined, in seconds since the first one; None if that is not known.

    The summary gives a sender's messages, and their rate from when it joined to its last report, which is at the end
    of the run or when it was killed.
    """
    if any(sender.copies > 1 for sender in scenario.senders):
        return None  # a summary may not have a row for each copy
    there_s = {row["name"]: (row["sent"] + row["failed"]) / row["rate_per_s"] for row in summary["sender_rows"]}
    end_s = max(there_s.values())
    killed_s = {one.target: one.at_s for one in scenario.faults if one.kind is FaultKind.KILL}
    names = [sender.name for sender in scenario.senders]
    return tuple(max(0.0, min(end_s, killed_s.get(name, end_s)) - there_s[name]) for name in names)


def joined(group: ProcessGroup, settings: RunSettings) -> Joins:
    """Start the nodes of a run as `smssim run` does, until all senders have messages, and return when that is.

    Raises BenchError.
    """
    monitor = group.node("monitor", replace(settings.monitor, listen=FREE_ADDRESS, json=True))
    producer = group.node(
        "producer", replace(settings.producer, seed=0, listen=FREE_ADDRESS, monitor=group.address(monitor))
    )
    address = group.address(producer)
    senders = [
        group.node("sender", replace(sender, name=name, producer=address), name)
        for name, sender in zip(sender_names(settings.senders), settings.senders, strict=True)
    ]

    def joins(sender: int) -> list[float]:
        return [record.at for record in senders[sender].records if record.event == "received"]

    copies = [sender.copies for sender in settings.senders]
    while any(len(joins(number)) < many for number, many in enumerate(copies)):
        if monitor.has_ended:
            raise BenchError("the run was over before all senders had messages")
        list(group.lines())
    first = min(min(joins(number)) for number in range(len(copies)))  # some milliseconds after the delivery
    return tuple(tuple(at - first for at in joins(number)) for number in range(len(copies)))


# ---- Live runs


def live(stage: Stage, scenario: Path) -> LiveRun:
    """Run a scenario, with the seed of the stage, with `smssim run` and return what it found. Raises BenchError."""
    summary = scenario.with_name(f"{scenario.stem}-{stage.seed}.json")
    words = [sys.executable, "-m", "smssim", "run", str(scenario), f"--seed={stage.seed}"]
    words += [f"--summary-json={summary}", "--no-plan", "--json", "--interval=1", "--log-level=warning"]
    with stage.group() as group:
        run = group.start("run", words)
        for _, line in group.until_ended([run]):
            if not line.is_log:
                figures = json.loads(line.text)
                stage.done((figures["sent"] + figures["failed"]) / figures["total"])
    found = json.loads(summary.read_text(encoding="utf-8"))
    if found["sent"] + found["failed"] != found["total"]:
        raise BenchError(f"the run did not count all of its {found['total']:,} messages")
    assert run.usage is not None
    cores = len(os.sched_getaffinity(0))
    settings = RunSettings.from_flags({"scenario": str(scenario)}, None)
    return live_run(stage.seed, found, settings.planned(), run.usage.cpu_s / (cores * found["elapsed_s"]))


def live_run(seed: int, summary: dict[str, Any], scenario: Scenario, cpu_share: float) -> LiveRun:
    """Return what the summary of a run says, by the names of forecasts."""
    times = {f"t{percent}": summary["reached_s"][str(percent)] for percent in PERCENTS}
    times |= {f"t{percent}_reachable": summary["reached_reachable_s"][str(percent)] for percent in PERCENTS}
    counts = {name: summary[name] for name in COUNTS}
    return LiveRun(seed, times | {LAST: summary["elapsed_s"]} | counts, joined_in(summary, scenario), cpu_share)


def _write(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Write a file of JSON lines, which is on the disk when this returns. Raises UsageError."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(line)}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageError(
            f"--forecasts: can't write {path}: {error.strerror}; expected a new file in a directory that can be written"
        ) from error
