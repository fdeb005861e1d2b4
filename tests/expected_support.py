"""Runs on which forecasts are judged: drawn scenarios, played by the twin and looked at like a monitor does.

A play is looked at only at the moments at which a forecast is made; the history up to then follows from its course.
Knows the twin. Must not know how a forecast is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Final

import numpy as np
from view_support import RUN_ID

from smssim.core.expected import COMPLETE
from smssim.core.fault import Fault, FaultKind
from smssim.core.fleet import SenderRow
from smssim.core.history import History, Samples
from smssim.core.limits import LIMITS
from smssim.core.model import AttemptModel
from smssim.core.progress import Figures, Milestones, rate, recent_rate
from smssim.core.session import State
from smssim.core.spread import STD_MEANS_MAX, usual_std
from smssim.plan.scenario import PlannedSender, Scenario, attempts_each
from smssim.plan.twin.course import Course
from smssim.plan.twin.member import Member
from smssim.plan.twin.twin import Twin

SAMPLES_MAX: Final = 2048
DISTRIBUTIONS: Final = ("gamma", "gamma", "gamma", "lognormal", "exponential", "fixed", "uniform", "normal")
KINDS: Final = ("plain", "plain", "plain", "plain", "plain", "rate", "joins", "kill", "pause", "slow")
SHARES: Final = (0.25, 0.5, 0.75)  # of the time until a mark


@dataclass(frozen=True)
class Moment:
    """What a monitor knows of a run at a moment, and what became of the run."""

    scenario: Scenario
    kind: str
    asked: tuple[int, float]  # the mark, and the share of the time until it that has passed
    samples: Samples
    figures: Figures
    rows: tuple[SenderRow, ...]
    reached_s: Mapping[int, float | None]  # when each mark was reached in the end

    @property
    def true_s(self) -> dict[int, float | None]:
        """When each mark was reached that was not reached at this moment."""
        now_s = self.figures.elapsed_s
        return {mark: time_s for mark, time_s in self.reached_s.items() if time_s is None or time_s > now_s}

    @property
    def is_calm(self) -> bool:
        """Whether nothing that this moment doesn't show happens to senders later."""
        edges_s = [sender.joins_s for sender in self.scenario.senders]
        edges_s += [edge_s for fault in self.scenario.faults for edge_s in (fault.at_s, fault.until_s)]
        return not any(self.figures.elapsed_s < edge_s < math.inf for edge_s in edges_s)


# ---- Scenarios


def draw(seed: int, count_max: int, kinds: Sequence[str] = KINDS) -> tuple[str, Scenario]:
    """Return the kind and the scenario of a seed: 200 to `count_max` messages, in 20 s to 10 min."""
    random = Random(f"expected {seed}")
    kind = random.choice(kinds)
    time_s = 20.0 * 30 ** random.random()
    total = round(200 * (count_max / 200) ** random.random())
    attempts_max = random.randint(1, 5)
    names = "abcdefgh"[: random.randint(2 if kind not in ("plain", "rate") else 1, 8)]
    fail = random.choice([0.0, random.uniform(0, 0.4), random.uniform(0, 0.1)])
    per_lane = 3 * 60 ** random.random()
    speed = total * attempts_each(fail, attempts_max) / time_s / len(names)
    alike = random.random() < 0.5
    model = _model(random, time_s / per_lane, fail)

    def sender(name: str) -> PlannedSender:
        own, share = model, 1.0
        if not alike:
            mean_s = time_s / per_lane * 4 ** random.uniform(-1, 0.6)
            own = _model(random, mean_s, random.choice([fail, random.uniform(0, 2 * fail)]))
            share = 3 ** random.uniform(-1, 1)
        lanes = max(1, min(1000, round(share * speed * own.mean_s)))
        return PlannedSender(name, own, lanes)

    delay_s = random.choice([0.0, 0.0, random.uniform(0, 0.05) * time_s])
    scenario = Scenario(total, tuple(map(sender, names)), attempts_max, round(delay_s, 3))
    return kind, _changed(random, kind, scenario)


def _model(random: Random, mean_s: float, fail: float) -> AttemptModel:
    distribution = random.choice(DISTRIBUTIONS)
    mean_s = round(max(0.005, mean_s), 4)
    std_s = usual_std(distribution, mean_s)
    if distribution in STD_MEANS_MAX and random.random() < 0.5:
        std_s = round(random.uniform(0.1, min(1.0, STD_MEANS_MAX[distribution])) * mean_s, 6)
    return AttemptModel(mean_s, std_s, distribution, None, round(fail, 4))


def _changed(random: Random, kind: str, scenario: Scenario) -> Scenario:
    """Let something happen in a scenario, according to its kind."""
    about_s = _about_s(scenario)
    at_s = round(random.uniform(0.05, 0.8) * about_s, 3)
    for_s = random.choice([None, round(random.uniform(0.05, 0.4) * about_s, 3)])
    target = random.choice(scenario.senders).name
    faults: tuple[Fault, ...] = ()
    if kind == "rate":
        return replace(scenario, rate_per_s=round(random.uniform(0.3, 1.1) * scenario.total / about_s, 3))
    if kind == "joins":
        late = scenario.senders[len(scenario.senders) // 2 :]
        joining = tuple(replace(one, joins_s=round(random.uniform(0.05, 0.5) * about_s, 3)) for one in late)
        return replace(scenario, senders=scenario.senders[: -len(late)] + joining)
    if kind == "kill":
        faults = (Fault(at_s, FaultKind.KILL, target, for_s),)
    if kind == "pause":
        faults = (Fault(at_s, FaultKind.PAUSE, target, for_s or round(random.uniform(1, 15), 3)),)
    if kind == "slow":
        faults = (Fault(at_s, FaultKind.SLOW, target, for_s, factor=random.choice([2.0, 4.0])),)
    return replace(scenario, faults=faults)


def _about_s(scenario: Scenario) -> float:
    speed = sum(sender.declared_per_s for sender in scenario.senders)
    fail = sum(sender.declared_per_s * sender.model.fail for sender in scenario.senders) / speed
    return scenario.total * attempts_each(fail, scenario.max_attempts) / speed


# ---- Plays


@dataclass(frozen=True)
class _Run:
    """One play, and at which pace its monitor records moments."""

    scenario: Scenario
    kind: str
    course: Course
    seen: Mapping[float, Sequence[_Look]]
    reached_s: Mapping[int, float | None]
    begun_s: float
    pace_s: float


def moments(
    seed: int, count_max: int, asked: Sequence[tuple[int, float]], kinds: Sequence[str] = KINDS
) -> list[Moment]:
    """Return the moments of the run of a seed: `asked` are marks, each with a share of the time until it.

    The run is played twice: to find out when the moments are, and to look at them. Marks that are never reached are
    left out.
    """
    kind, scenario = draw(seed, count_max, kinds)
    first = Twin(scenario, seed)
    first_s = _reached_s(first, first.play())
    times_s = {(mark, share): share * time for mark, share in asked if (time := first_s[mark]) is not None}
    twin, random = _Watched(scenario, seed, times_s.values()), Random(f"pace {seed}")
    course = twin.play()
    pace_s = random.choice([1.0, course.last_s / random.uniform(100, 400)])
    begun_s = random.uniform(0.02, 1.0) * pace_s
    run = _Run(scenario, kind, course, twin.seen, _reached_s(twin, course), begun_s, pace_s)
    return [_moment_of(run, one, now_s) for one, now_s in times_s.items() if now_s in twin.seen]


def _reached_s(twin: Twin, course: Course) -> dict[int, float | None]:
    total = twin.scenario.total
    times = {percent: course.reached_s(Milestones.needed(percent, total)) for percent in Milestones.PERCENTS}
    return {**times, COMPLETE: course.last_s if twin.final >= twin.total else None}


@dataclass(frozen=True)
class _Look:
    """One sender at one moment."""

    at_s: float
    joined_s: float | None  # None: it is not there
    is_paused: bool
    sent: int
    failed: int
    attempts: int
    done_s: float  # the time of its attempts that have ended
    in_flight: int
    held: int


class _Watched(Twin):
    """A twin whose senders are looked at, at given times."""

    def __init__(self, scenario: Scenario, seed: int, times_s: Iterable[float]) -> None:
        super().__init__(scenario, seed)
        self.seen: dict[float, list[_Look]] = {}
        for at_s in times_s:
            self.at(at_s, partial(self._look, at_s))

    def _look(self, at_s: float) -> None:
        self.seen[at_s] = [_look(member, at_s) for member in self.members]


def _look(member: Member, now: float) -> _Look:
    pool, counts = member.pool, (member.sent, member.failed, member.attempts)
    if pool is None:
        return _Look(now, None, False, *counts, member.used_s, 0, 0)
    lane_s = pool.lanes * max(0.0, now - pool.joined_s)
    idle_s = pool.idle_s + float(np.maximum(0.0, now - pool.free_s)[pool.outcomes == 0].sum())
    busy = np.flatnonzero((pool.outcomes > 0) & (pool.free_s > now))
    durations_s, _ = pool.draw(pool.ids[busy], pool.tags[busy])
    ages_s = np.maximum(0.0, now - (pool.free_s[busy] - durations_s))
    done_s = max(0.0, member.used_s + lane_s - idle_s - float(ages_s.sum()))
    held = 0 if member.held is None else member.held.count
    return _Look(now, pool.joined_s, member.is_paused, *counts, done_s, len(busy), held)


def _row(sender: PlannedSender, look: _Look) -> SenderRow:
    is_lost = look.joined_s is None or look.is_paused
    per_s = rate(look.sent + look.failed, look.at_s - (look.joined_s or 0.0))
    return SenderRow(
        name=sender.name,
        mean_s=sender.model.mean_s,
        failure_rate=sender.model.fail,
        concurrency=sender.concurrency,
        state=State.LOST if is_lost else State.SENDING if look.in_flight else State.WAITING,
        sent=look.sent,
        failed=look.failed,
        attempts=look.attempts,
        avg_time_s=look.done_s / look.attempts if look.attempts else None,
        rate_per_s=per_s,
        recent_rate_per_s=0.0 if is_lost else per_s,
        in_flight=0 if is_lost else look.in_flight,
        held=0 if is_lost else look.held,
    )


def _moment_of(run: _Run, asked: tuple[int, float], now_s: float) -> Moment:
    """Return what a monitor knows at this moment."""
    scenario, looks = run.scenario, run.seen[now_s]
    there = [i for i, look in enumerate(looks) if look.attempts or look.joined_s is not None]
    rows = tuple(_row(scenario.senders[i], looks[i]) for i in there)
    times_s = np.append(np.arange(run.begun_s, now_s - 1e-6 * now_s, run.pace_s), now_s)
    counts = run.course.counts_at(times_s).astype(np.int64)
    history = History(replace(LIMITS, history_samples_max=SAMPLES_MAX))
    in_flight = sum(row.in_flight for row in rows)
    attempts = sum(look.attempts for look in looks)
    figures = None
    for time_s, (sent, failed) in zip(times_s.tolist(), counts.tolist(), strict=True):
        flying = min(in_flight, scenario.total - sent - failed)
        figures = _figures(scenario.total, time_s, sent, failed, flying, figures)
        history.add(figures)
    assert figures is not None
    retried = max(0, attempts - figures.done)
    done_s = sum(look.done_s for look in looks)
    figures = replace(
        figures,
        retried=retried,
        attempts=figures.done + retried,
        avg_time_s=done_s / attempts if attempts else None,
        senders=sum(row.state in (State.SENDING, State.WAITING) for row in rows),
        senders_seen=len(rows),
    )
    return Moment(scenario, run.kind, asked, history.samples(), figures, rows, run.reached_s)


def _figures(total: int, now_s: float, sent: int, failed: int, in_flight: int, before: Figures | None) -> Figures:
    done = sent + failed
    return Figures(
        run_id=RUN_ID,
        total=total,
        elapsed_s=now_s,
        sent=sent,
        failed=failed,
        retried=0,
        attempts=done,
        duplicates=0,
        in_flight=in_flight,
        waiting=total - done - in_flight,
        avg_time_s=None,
        avg_sent_time_s=None,
        rate_per_s=rate(done, now_s),
        recent_rate_per_s=recent_rate(done, now_s, before),
        latency_p50_s=None,
        latency_p95_s=None,
        latency_p99_s=None,
        senders=0,
        senders_seen=0,
        complete=done == total,
        final=False,
    )
