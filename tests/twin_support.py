"""How the tests of the twin compare it: with an ideal schedule and with the real core, play by play.

A check yields what it finds wrong, as sentences: nothing means that the twin passes. So a planted bug is found as soon
as a check yields something. Knows the twin and the oracles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from statistics import mean, median, stdev
from typing import Final

from oracle.core_engine import Played
from oracle.core_engine import play as play_core
from oracle.draw import COPIES, KINDS, draw_scenario
from oracle.heap import Heap, Schedule

from smssim.core.limits import LIMITS
from smssim.core.model import Outcome
from smssim.core.pace import report_wait_s
from smssim.core.progress import Milestones
from smssim.plan.scenario import Scenario
from smssim.plan.twin.course import BINS, Course
from smssim.plan.twin.member import HOP_S
from smssim.plan.twin.twin import Twin

Play = Callable[[Scenario, int], Twin]  # plays a scenario with a seed, and returns the twin that has played

# Reports as often as makes no difference, and no rounds of the producer: then the monitor's times are the times at
# which attempts end, but for a millisecond.
PROMPT: Final = replace(LIMITS, report_wait_min_s=0.001, report_wait_per_sender_s=0.0, release_s=0.0)
LAG_S: Final = 0.001  # of a record then
AGAIN_S: Final = LAG_S + 3 * HOP_S  # from the end of a failed attempt to its retry, without the retry delay

HEAP_SEEDS: Final = range(12)
CORE_SEEDS: Final = range(8)  # of the twin, for one play of the core with the first of them
EACH: Final = 14  # drawn scenarios of a kind ...
FEWER: Final = {"limits": 8, "unreachable": 6}  # ... except of those that many ideal schedules are for, too


def played(scenario: Scenario, seed: int) -> Twin:
    """Play the twin."""
    twin = Twin(scenario, seed)
    twin.play()
    return twin


def played_promptly(scenario: Scenario, seed: int) -> Twin:
    """Play the twin without delays of reports."""
    twin = Twin(scenario, seed, limits=PROMPT)
    twin.play()
    return twin


def needed(scenario: Scenario, percent: int) -> int:
    """Return how many messages this share is."""
    return max(1, -(-scenario.total * percent // 100))


def times_of(twin: Twin) -> dict[str, float]:
    """Return when the twin's milestones were recorded, of all messages and of those that can be reached, and the end.

    Those that never were are missing.
    """
    course, scenario = twin.course, twin.scenario
    times = {f"t{percent}": course.reached_s(needed(scenario, percent)) for percent in Milestones.PERCENTS}
    if twin.final >= twin.total:
        times["last"] = course.last_s
    if scenario.unreachable and twin.final >= twin.total:  # then all unreachable messages have failed
        most = scenario.total - course.unreachable
        for percent in Milestones.PERCENTS:
            times[f"t{percent}_reachable"] = course.reached_s(Milestones.needed(percent, most))
    return {name: time for name, time in times.items() if time is not None}


def counts_of(course: Course) -> tuple[int, int, int]:
    """Return sent, failed and retried."""
    return course.sent, course.failed, course.retried


# ---- With an ideal schedule


def against_heap(
    scenario: Scenario,
    play: Play = played_promptly,
    seeds: Iterable[int] = HEAP_SEEDS,
    tolerance: float = 0.003,
    counts: bool = True,
) -> Iterator[str]:
    """Yield how the twin deviates from the ideal schedule, in the counts of each seed and in the mean over seeds.

    A milestone may deviate by `tolerance` or, if that is more, by three standard errors of the mean difference. The
    last message is one of few and has only the latter. `counts`: whether the counts of each seed must be the same; if
    not, their means must be.
    """
    pairs, failed = [], []
    for seed in seeds:
        schedule, twin = Heap(scenario, seed, lag_s=AGAIN_S).play(), play(scenario, seed)
        theirs = tuple(schedule.count(outcome) for outcome in (Outcome.SENT, Outcome.FAILED, Outcome.RETRY))
        if counts and counts_of(twin.course) != theirs:
            yield f"seed {seed}: counts {counts_of(twin.course)}, ideal {theirs}"
        pairs.append((ideal_times(schedule), times_of(twin)))
        failed.append(twin.course.failed - schedule.count(Outcome.FAILED))
    if abs(mean(failed)) > 1 + 4 * stdev(failed) / math.sqrt(len(failed)):
        yield f"failed {mean(failed):+.1f}, standard deviation {stdev(failed):.1f}"
    for name in pairs[0][0]:
        if not all(name in ideal for ideal, _ in pairs):
            continue
        if not all(name in times for _, times in pairs):
            yield f"{name} does not always come"
            continue
        ideal_s = mean(ideal[name] for ideal, _ in pairs)
        late_s = [times[name] - LAG_S - ideal[name] for ideal, times in pairs]
        error_s = stdev(late_s) / math.sqrt(len(late_s))
        least_s = 0.002 + 3 / BINS * mean(ideal["last"] for ideal, _ in pairs)  # the lag, and the bins of a course
        allowed_s = least_s + max(3 * error_s, 0.0 if name == "last" else tolerance * ideal_s)
        said = f"{name} {mean(late_s):+.4f} s of {ideal_s:.3f} s, standard error {error_s:.4f} s"
        print(said)
        if abs(mean(late_s)) > allowed_s:
            yield f"{said}, allowed {allowed_s:.4f} s"


def ideal_times(schedule: Schedule) -> dict[str, float]:
    """Return the milestones of an ideal schedule, and its end."""
    times = {f"t{percent}": schedule.reached_s(percent) for percent in Milestones.PERCENTS}
    times["last"] = float(schedule.finish_s[-1])
    return {name: time for name, time in times.items() if time is not None}


# ---- With the real core

# Deviations that a right play may have from the mean of others: a share of the mean, and so many standard deviations.
# The spread is that of eight plays, so it may be less than half of the true one: then six of it are three of the true
# one.
NEAR: Final = 0.01
SPREADS: Final = 6.0

# More than that where the twin plays something only roughly: how soon senders run dry while the monitor is away, and
# what is delivered to whom after a pause.
ROUGH: Final = {"kill monitor": 0.02, "pause monitor": 0.04, "pause": 0.015}

# Drawn scenarios that the twin plays wrongly, by kind and seed. In those with attempts that all take the same time, a
# few messages more or less in a queue ahead move a milestone by one wave of messages, or by the time that a peer is
# away.
GAPS: Final = {
    ("pause", 40),
    ("pause producer", 27),
    ("kill monitor", 10),
    ("pause monitor", 10),
    ("pause monitor", 12),
}

# Between which bounds the mean of the middle deviations of a kind is, the core being later if it is positive. The twin
# puts the last messages of many senders too late, because they wait less for a report than others, and it is rough
# about peers that are away.
BIAS_USUAL: Final = (-0.007, 0.005)
BIAS: Final = {
    "copies": (-0.015, 0.003),
    "pause": (-0.010, 0.005),
    "failures": (-0.010, 0.010),  # few milestones come
    "kill producer": (-0.035, 0.010),
    "kill monitor": (-0.015, 0.035),
}


def few(kind: str) -> list[Scenario]:
    """Return the first drawn scenarios of a kind with one to three senders or `COPIES`, except `GAPS`."""
    drawn = (draw_scenario(seed, [kind]) for seed in range(1000) if (kind, seed) not in GAPS)
    few = (one for one in drawn if sum(sender.copies for sender in one.senders) in (1, 2, 3, COPIES))
    return [next(few) for _ in range(FEWER.get(kind, EACH))]


@lru_cache(len(KINDS) * EACH)
def core(scenario: Scenario) -> Played:
    """Play the real core with the first of `CORE_SEEDS`."""
    return play_core(scenario, CORE_SEEDS[0])


def core_times(scenario: Scenario) -> dict[str, float]:
    """Return the milestones that the real core recorded, from the real start, and the end."""
    real = core(scenario)
    times: dict[str, float | None] = {f"t{percent}": time for percent, time in real.reached_s.items()}
    if scenario.unreachable:
        times |= {f"t{percent}_reachable": time for percent, time in real.reached_reachable_s.items()}
    times["last"] = real.complete_s
    return {name: time + real.late_s for name, time in times.items() if time is not None}


def against_core(kind: str, scenarios: Sequence[Scenario], play: Play = played) -> Iterator[str]:
    """Yield how the twin deviates from the core in scenarios of a kind, and at the end in all of them together.

    A time may be off by a share of the mean, by so many spreads, by one wait for a report and, if a sender's attempts
    all take the same time, by one of them: then its messages end in waves, and a milestone may lie in the next one.
    """
    deviations: list[float] = []  # relative, with one seed
    for scenario in scenarios:
        misses = []
        twins = [play(scenario, seed) for seed in CORE_SEEDS]
        plays = [times_of(twin) for twin in twins]
        slack_s = report_wait_s(sum(sender.copies for sender in scenario.senders)) + _wave_s(scenario)
        failed, most = [twin.course.failed for twin in twins], 0.1 * core(scenario).failed
        if abs(mean(failed) - core(scenario).failed) > 2 + most + SPREADS * stdev(failed):
            misses.append(f"{kind}: failed {mean(failed):.1f}, core {core(scenario).failed}: {scenario}")
        if twins[0].course.unreachable != core(scenario).unreachable:
            unreachable = twins[0].course.unreachable
            misses.append(f"{kind}: unreachable {unreachable}, core {core(scenario).unreachable}: {scenario}")
        for name, time in core_times(scenario).items():
            theirs = [one[name] for one in plays if name in one]
            if not theirs and not _is_close(scenario, name, twins):
                misses.append(f"{kind}: {name} never comes, core {time:.3f} s: {scenario}")
            if len(theirs) < len(plays):
                continue
            most_s = slack_s + (NEAR + ROUGH.get(kind, 0.0)) * mean(theirs) + SPREADS * stdev(theirs)
            deviations.append((time - theirs[0]) / mean(theirs))
            if abs(time - mean(theirs)) > most_s:
                said = f"{name} {mean(theirs):.3f} s, core {time:.3f} s, allowed {most_s:.3f} s"
                misses.append(f"{kind}: {said}: {scenario}")
        misses += [
            f"{kind}: {name} comes, but not in the core: {scenario}"
            for name in plays[0]
            if name not in core_times(scenario) and all(name in one for one in plays)
            if not _is_close(scenario, name, twins)
        ]
        yield from misses
    yield from biased(kind, deviations)


def _is_close(scenario: Scenario, name: str, twins: Sequence[Twin]) -> bool:
    """Return whether it is a matter of luck if a milestone is reached: about as many messages are sent."""
    if name == "last":
        return False
    sent = [twin.course.sent for twin in twins]
    percent = int(name.removesuffix("_reachable")[1:])
    most = scenario.reachable if name.endswith("_reachable") else scenario.total
    return abs(mean(sent) - most * percent / 100) < 1 + 3 * stdev(sent)


def bias(deviations: Sequence[float]) -> float:
    """Return the mean of the middle 80% of deviations."""
    cut = len(deviations) // 10
    return mean(sorted(deviations)[cut : len(deviations) - cut])


def biased(kind: str, deviations: Sequence[float]) -> list[str]:
    """Return what is wrong with the deviations of a kind together."""
    found, (low, high) = bias(deviations), BIAS.get(kind, BIAS_USUAL)
    said = f"{kind}: mean {found:+.2%}, median {median(deviations):+.2%} of {len(deviations)} deviations"
    print(said)
    return [] if low <= found <= high else [f"{said}, allowed {low:.2%} to {high:.2%}"]


def _wave_s(scenario: Scenario) -> float:
    """Return the longest time of attempts that all take the same time."""
    slower = max([1.0, *(fault.factor for fault in scenario.faults)])
    fixed = [sender.model.mean_s for sender in scenario.senders if sender.model.distribution == "fixed"]
    return slower * max(fixed, default=0.0)
