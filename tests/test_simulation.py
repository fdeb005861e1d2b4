"""The whole system under simulated faults: whatever strikes, the count is exact, and the simulation would notice.

Each simulation follows from one seed, which begins the message of any failure: `scripts/simulate.py --seed 17` plays
that one again and prints what happened last.
"""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from functools import cache

import pytest
from simulation.bugs import BUGS, Bug
from simulation.hunt import BUG_SEEDS, hunt, plans_for
from simulation.plan import FAULTS, draw_plan
from simulation.world import simulate

from smssim.core.stretches import STRETCH_SIZE
from smssim.errors import ExitCode

SEEDS = range(200)
SEEDS_TOGETHER = 10  # in one test
OFTEN = 5  # over all seeds

# What is meant to happen, beside the faults that a plan names.
HAPPENINGS = (
    *("node paused", "delayed", "request lost", "answer lost", "request repeated", "frames lost in a stream"),
    *("commit slow", "commit lost", "commit torn", "commit unacknowledged", "producer restored", "monitor restored"),
    *("lease expired", "report known already", "end learned from the monitor", "duplicate", "overruled"),
    *("producer gave up", "late sender"),
    *("sender lingers", "sender gives up", "goodbye unanswered"),
    *("another run followed", "run dropped", "watcher finished"),
)

CUT_SHORT = {"producer drains", "producer gave up"}  # such a run need not be complete

shown = cache(simulate)
plan_of = cache(draw_plan)
all_seeds = pytest.mark.xdist_group("simulation")  # one worker plays each seed once


@all_seeds
@pytest.mark.parametrize("first", SEEDS[::SEEDS_TOGETHER])
def test_whatever_strikes_every_message_is_counted_once_in_both_books(first: int) -> None:
    for seed in range(first, first + SEEDS_TOGETHER):
        shown(seed)


@all_seeds
def test_every_fault_strikes() -> None:
    struck: Counter[str] = Counter()
    for seed in SEEDS:
        struck.update(shown(seed).struck)
    faults = [fault for fault in FAULTS if not fault.endswith("paused")]
    assert {what: struck[what] for what in (*faults, *HAPPENINGS) if struck[what] < OFTEN} == {}


def test_runs_of_every_size_are_played() -> None:
    totals = Counter(plan_of(seed).total for seed in SEEDS)
    assert {0, 1} <= totals.keys()
    assert max(totals) > STRETCH_SIZE


@all_seeds
def test_with_journals_runs_end_well_unless_nobody_was_left_to_tell_the_monitor() -> None:
    runs = [shown(seed) for seed in SEEDS if plan_of(seed).journals]
    codes = Counter(run.exit_code for run in runs if not run.struck.keys() & CUT_SHORT)
    assert set(codes) <= {ExitCode.OK, ExitCode.INCOMPLETE}
    assert codes[ExitCode.OK] >= 0.98 * codes.total()


@all_seeds
def test_a_node_without_a_journal_that_crashes_costs_the_run() -> None:
    codes = Counter(shown(seed).exit_code for seed in SEEDS if not plan_of(seed).journals)
    assert codes[ExitCode.INCOMPLETE] >= OFTEN


@all_seeds
def test_a_seed_replays_exactly() -> None:
    for seed in (1, 2, 3):
        assert simulate(seed) == shown(seed), f"seed {seed}"


# -- planted bugs


@pytest.mark.parametrize(("bug", "fault"), BUGS.items(), ids=[bug.__name__ for bug in BUGS])
def test_the_simulation_finds_a_system_that(bug: Bug, fault: str) -> None:
    assert hunt(bug, fault) is not None


def test_a_hunt_for_a_bug_begins_in_small_worlds_that_only_its_fault_strikes() -> None:
    small = next(plans_for("monitor killed"))
    assert set(small.faults) == {"monitor killed", "stream cut"}
    assert small.journals
    assert small.total < STRETCH_SIZE


def test_a_hunt_for_a_bug_goes_on_in_all_worlds_that_its_fault_strikes() -> None:
    for fault in ("", "monitor killed"):
        plain = [plan_of(seed) for seed in BUG_SEEDS if not fault or fault in plan_of(seed).faults]
        assert list(plans_for(fault))[-len(plain) :] == plain


def test_a_hunt_finds_nothing_where_no_bug_is() -> None:
    assert hunt(nullcontext, "producer killed", most=5) is None
