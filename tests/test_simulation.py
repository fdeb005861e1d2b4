"""The whole system under simulated faults: the count stays exact, and every kind of fault does occur.

Each simulation follows from one seed. The message of a failure begins with the seed; `scripts/simulate.py --seed 17`
plays that one again and prints the last events.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache

import pytest
from simulation.plan import ENGINE_FAULTS, FAULTS, draw_plan
from simulation.world import Shown, simulate

from smssim.core.stretches import STRETCH_SIZE
from smssim.errors import ExitCode

SEEDS = range(220)
SEEDS_TOGETHER = 10  # in one test
OFTEN = 5  # times, in all seeds together
RARE_SEEDS = (292,)  # in which what is rarest happens

# What must happen in addition to the faults that a plan names.
HAPPENINGS = (
    *("node paused", "delayed", "request lost", "answer lost", "request repeated", "frames lost in a stream"),
    *("commit slow", "commit lost", "commit torn", "commit unacknowledged", "producer restored", "monitor restored"),
    *("lease expired", "report known already", "end learned from the monitor", "duplicate", "overruled"),
    *("taken over", "owner fenced off", "standby leaves", "standby stopped", "engine given up", "checkpoint"),
    *("log purged", "commit in parts", "result unknown", "append unanswered", "append lost", "append late"),
    *("read out of date", "engine slow", "senders sent to other producers", "entries vanished"),
    *("late sender", "sender lingers", "sender gives up", "another run followed", "run dropped", "watcher finished"),
)

# What must happen at least once.
RARE = (
    "commit incomplete",
    "owner leaves unheard",
    "producer gave up",
    "drained sender gives up",
    "sender in another run",
    "goodbye unanswered",
)

# A run with one of these need not be complete: it was stopped, or the monitor resumed a run that does not exist.
CUT_SHORT = {"producer drains", "producer gave up", "monitor stopped", "monitor misled"}

Showing = Callable[[int], Shown]


@pytest.fixture(scope="module")
def shown() -> Showing:
    """Return a function that plays a seed and returns the result; it plays each seed only once."""
    return cache(simulate)


@pytest.mark.parametrize("first", SEEDS[::SEEDS_TOGETHER])
def test_every_message_is_counted_once_by_producer_and_monitor_under_all_faults(shown: Showing, first: int) -> None:
    for seed in range(first, first + SEEDS_TOGETHER):
        shown(seed)


def test_every_kind_of_fault_strikes(shown: Showing) -> None:
    struck: Counter[str] = Counter()
    for seed in (*SEEDS, *RARE_SEEDS):
        struck.update(shown(seed).struck)
    faults = [fault for fault in (*FAULTS, *ENGINE_FAULTS) if not fault.endswith("paused")]
    assert {what: struck[what] for what in (*faults, *HAPPENINGS) if struck[what] < OFTEN} == {}
    assert {what for what in RARE if not struck[what]} == set()


def test_runs_of_every_size_are_played() -> None:
    totals = Counter(draw_plan(seed).total for seed in SEEDS)
    assert {0, 1} <= totals.keys()
    assert max(totals) > STRETCH_SIZE


def test_with_journals_runs_end_with_0_unless_no_sender_was_left_to_report_the_end(shown: Showing) -> None:
    runs = [shown(seed) for seed in SEEDS if draw_plan(seed).journals]
    codes = Counter(run.exit_code for run in runs if not run.struck.keys() & CUT_SHORT)
    assert set(codes) <= {ExitCode.OK, ExitCode.INCOMPLETE}
    assert codes[ExitCode.OK] >= 0.98 * codes.total()


def test_without_journals_a_crash_can_make_a_run_incomplete(shown: Showing) -> None:
    codes = Counter(shown(seed).exit_code for seed in SEEDS if not draw_plan(seed).journals)
    assert codes[ExitCode.INCOMPLETE] >= OFTEN


def test_a_seed_replays_exactly(shown: Showing) -> None:
    for seed in (1, 2, 3):
        assert simulate(seed) == shown(seed), f"seed {seed}"
