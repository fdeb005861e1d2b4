"""Planted bugs: the simulation finds each of them, and finds none in the code as it is."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any
from unittest import mock

import pytest
from simulation.bugs import BUGS, Bug
from simulation.engine_bugs import ENGINE_BUGS, LOG_BUGS
from simulation.hunt import BUG_SEEDS, hunt, hunt_log, plans_for
from simulation.plan import Plan, draw_plan
from simulation.world import SimulationError

from smssim.core.sending import SenderProtocol
from smssim.core.stretches import STRETCH_SIZE

ALL = BUGS | ENGINE_BUGS

# How many plans come before the first one that shows a bug: they are played last. If a number is out of date, the test
# only takes longer: scripts/simulate.py --bugs counts them again.
SKIPPED = {
    "ignores_overruled_outcomes": 17,
    "loses_a_message_of_a_batch_in_its_lanes": 2,
    "decides_how_attempts_go_when_messages_arrive": 6,
    "retries_unreachable_messages": 16,
    "ignores_its_limit": 1,
    "fills_its_bucket_beyond_its_size": 1,
    "has_a_bucket_for_each_lane": 3,
    "counts_the_give_up_time_from_the_first_loss_ever": 4,
    "rejoins_the_run_that_it_has_finished": 36,
    "mistakes_another_run_for_its_own": 4,
    "keeps_the_leases_of_lost_streams": 8,
    "queues_the_messages_of_a_lost_stream_twice": 8,
    "does_not_save_retries": 10,
    "counts_the_give_up_time_from_the_start": 9,
    "forgives_its_own_pause_twice": 4,
    "drains_without_waiting": 4,
    "leaves_before_late_senders_have_come": 2,
    "records_a_repeated_report_again": 4,
    "mistakes_another_report_for_a_repeat": 9,
    "counts_a_duplicate_as_sent": 17,
    "counts_a_duplicate_twice": 17,
    "lets_the_last_outcome_stand": 17,
    "restores_a_failure_as_sent": 13,
    "drops_a_run_with_counted_outcomes": 1,
    "gives_a_run_up_too_early": 9,
    "forgives_a_short_pause": 13,
    "mistakes_its_own_pause_for_silence_of_senders": 6,
    "leaves_a_dropped_run_in_the_journal": 2,
    "refuses_late_reports_of_an_ended_run": 21,
    "warns_of_a_missed_report_again_and_again": 4,
    "keeps_the_last_figures_from_watchers": 1,
    "treats_a_dropped_run_as_continuing": 2,
    "exits_with_the_best_code_of_its_runs": 3,
    "appends_without_a_condition_while_nobody_else_seems_to_own_the_log": 2,
    "hands_its_run_over_before_it_is_saved": 2,
    "shows_no_sign_of_life_without_changes": 4,
    "refuses_a_report_without_proof_that_it_owns_the_run": 2,
}


@pytest.mark.parametrize(("bug", "faults"), ALL.items(), ids=[bug.__name__ for bug in ALL])
def test_the_simulation_finds_a_system_that(bug: Bug, faults: tuple[str, ...]) -> None:
    assert hunt(bug, *faults, skipped=SKIPPED.get(bug.__name__, 0)) is not None


@pytest.mark.parametrize(("bug", "loses"), LOG_BUGS.items(), ids=[bug.__name__ for bug in LOG_BUGS])
def test_the_play_of_a_log_finds_a_log_that(bug: Bug, loses: bool) -> None:
    assert hunt_log(bug, loses=loses) is not None


def test_a_hunt_plays_small_plans_with_hardly_any_faults_but_those_of_its_bug() -> None:
    small = next(plans_for("monitor killed"))
    assert set(small.faults) == {"monitor killed", "stream cut"}
    assert small.total < STRETCH_SIZE


def test_a_hunt_plays_all_plans_that_have_the_faults_of_its_bug() -> None:
    for faults in ((), ("monitor killed",), ("producer paused", "sender paused")):
        plans = [plan for plan in map(draw_plan, BUG_SEEDS) if plan.engine is None]
        drawn = [plan.seed for plan in plans if plan.faults.keys() >= set(faults)]
        assert sorted(plan.seed for plan in plans_for(*faults) if plan == draw_plan(plan.seed)) == drawn


def test_a_hunt_plays_the_skipped_plans_last(monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[Plan] = []
    monkeypatch.setattr("simulation.hunt.play", played.append)
    wanted = list(islice(plans_for("producer killed"), 5))
    assert hunt(nullcontext, "producer killed", most=5, skipped=3) is None
    assert played == wanted[3:] + wanted[:3]


def test_plans_are_skipped_only_for_bugs_that_exist() -> None:
    assert SKIPPED.keys() <= {bug.__name__ for bug in ALL}


def test_a_hunt_without_a_bug_finds_nothing() -> None:
    assert hunt(nullcontext, "producer killed", most=5) is None


def test_a_bug_that_no_longer_fits_the_code_does_not_count_as_found() -> None:
    def raising(*_: object) -> None:
        raise TypeError("no such argument")

    def does_not_fit() -> AbstractContextManager[Any]:
        return mock.patch.object(SenderProtocol, "stream_up", raising)

    with pytest.raises(SimulationError, match="no such argument"):
        hunt(does_not_fit)
