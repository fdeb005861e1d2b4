"""The whole system under simulated faults: whatever strikes, the count is exact, and the simulation would notice.

Each simulation follows from one seed, which names its test and begins the message of any failure:
`scripts/simulate.py --seed 17` plays that one again and tells its story.
"""

from __future__ import annotations

from collections import Counter, deque
from functools import cache

import pytest
from simulation.bugs import BUGS, Bug
from simulation.plan import FAULTS, draw_plan
from simulation.world import SimulationError, simulate

from smssim.core.stretches import STRETCH_SIZE
from smssim.errors import ExitCode

SEEDS = range(200)
BUG_SEEDS = range(1000)  # until one finds the bug: some show in one of a hundred only
OFTEN = 5  # over all seeds

# What is meant to happen, beside the faults that a plan names.
HAPPENINGS = (
    *("node paused", "delayed", "request lost", "answer lost", "request repeated", "frames lost in a stream"),
    *("commit slow", "commit lost", "commit torn", "commit unacknowledged", "producer restored", "monitor restored"),
    *("lease expired", "report known already", "end learned from the monitor", "duplicate", "overruled"),
    *("another run followed", "run dropped", "watcher finished"),
)

shown = cache(simulate)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_strikes_every_message_is_counted_once_in_both_books(seed: int) -> None:
    shown(seed)


def test_every_fault_strikes() -> None:
    struck: Counter[str] = Counter()
    for seed in SEEDS:
        struck.update(shown(seed).struck)
    faults = [fault for fault in FAULTS if not fault.endswith("paused")]
    assert {what: struck[what] for what in (*faults, *HAPPENINGS) if struck[what] < OFTEN} == {}


def test_runs_of_every_size_are_played() -> None:
    totals = Counter(draw_plan(seed).total for seed in SEEDS)
    assert {0, 1} <= totals.keys()
    assert max(totals) > STRETCH_SIZE


def test_with_journals_runs_end_well_unless_nobody_was_left_to_tell_the_monitor() -> None:
    codes = Counter(shown(seed).exit_code for seed in SEEDS if draw_plan(seed).journals)
    assert set(codes) <= {ExitCode.OK, ExitCode.INCOMPLETE}
    assert codes[ExitCode.OK] >= 0.98 * codes.total()


def test_a_node_without_a_journal_that_crashes_costs_the_run() -> None:
    codes = Counter(shown(seed).exit_code for seed in SEEDS if not draw_plan(seed).journals)
    assert codes[ExitCode.INCOMPLETE] >= OFTEN


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_seed_replays_exactly(seed: int) -> None:
    assert simulate(seed) == shown(seed)


@pytest.mark.parametrize(("bug", "fault"), BUGS.items(), ids=[bug.__name__ for bug in BUGS])
def test_the_simulation_finds_a_system_that(bug: Bug, fault: str) -> None:
    likely = (seed for seed in BUG_SEEDS if not fault or fault in draw_plan(seed).faults)
    with bug(), pytest.raises(SimulationError, match=r"^seed \d+: AssertionError: "):
        deque(map(simulate, likely), maxlen=0)
