"""The whole system under simulated faults: whatever strikes, the count is exact, and the simulation would notice.

Each simulation follows from one seed, which begins the message of any failure: `scripts/simulate.py --seed 17` plays
that one again and prints what happened last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache

import pytest
from simulation.plan import FAULTS, draw_plan
from simulation.world import Shown, simulate

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
    *("late sender", "sender lingers", "sender gives up", "another run followed", "run dropped", "watcher finished"),
)
RARE = ("producer gave up", "drained sender gives up", "sender in another run", "goodbye unanswered")  # and yet once

# Such a run need not be complete: it was stopped, or the monitor resumed one that never was.
CUT_SHORT = {"producer drains", "producer gave up", "monitor stopped", "monitor misled"}

Showing = Callable[[int], Shown]


@pytest.fixture(scope="module")
def shown() -> Showing:
    """How the simulation of a seed went; each is played once."""
    return cache(simulate)


@pytest.mark.parametrize("first", SEEDS[::SEEDS_TOGETHER])
def test_whatever_strikes_every_message_is_counted_once_in_both_books(shown: Showing, first: int) -> None:
    for seed in range(first, first + SEEDS_TOGETHER):
        shown(seed)


def test_every_fault_strikes(shown: Showing) -> None:
    struck: Counter[str] = Counter()
    for seed in SEEDS:
        struck.update(shown(seed).struck)
    faults = [fault for fault in FAULTS if not fault.endswith("paused")]
    assert {what: struck[what] for what in (*faults, *HAPPENINGS) if struck[what] < OFTEN} == {}
    assert {what for what in RARE if not struck[what]} == set()


def test_runs_of_every_size_are_played() -> None:
    totals = Counter(draw_plan(seed).total for seed in SEEDS)
    assert {0, 1} <= totals.keys()
    assert max(totals) > STRETCH_SIZE


def test_with_journals_runs_end_well_unless_nobody_was_left_to_tell_the_monitor(shown: Showing) -> None:
    runs = [shown(seed) for seed in SEEDS if draw_plan(seed).journals]
    codes = Counter(run.exit_code for run in runs if not run.struck.keys() & CUT_SHORT)
    assert set(codes) <= {ExitCode.OK, ExitCode.INCOMPLETE}
    assert codes[ExitCode.OK] >= 0.98 * codes.total()


def test_a_node_without_a_journal_that_crashes_costs_the_run(shown: Showing) -> None:
    codes = Counter(shown(seed).exit_code for seed in SEEDS if not draw_plan(seed).journals)
    assert codes[ExitCode.INCOMPLETE] >= OFTEN


def test_a_seed_replays_exactly(shown: Showing) -> None:
    for seed in (1, 2, 3):
        assert simulate(seed) == shown(seed), f"seed {seed}"
