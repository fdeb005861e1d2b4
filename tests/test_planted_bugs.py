"""Planted bugs: the simulation finds each of them, and finds none in the code as it is."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest import mock

import pytest
from simulation.bugs import BUGS, Bug
from simulation.engine_bugs import ENGINE_BUGS, LOG_BUGS
from simulation.hunt import BUG_SEEDS, hunt, hunt_log, plans_for
from simulation.plan import draw_plan
from simulation.world import SimulationError

from smssim.core.sending import SenderProtocol
from smssim.core.stretches import STRETCH_SIZE

ALL = BUGS | ENGINE_BUGS


@pytest.mark.parametrize(("bug", "faults"), ALL.items(), ids=[bug.__name__ for bug in ALL])
def test_the_simulation_finds_a_system_that(bug: Bug, faults: tuple[str, ...]) -> None:
    assert hunt(bug, *faults) is not None


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


def test_a_hunt_without_a_bug_finds_nothing() -> None:
    assert hunt(nullcontext, "producer killed", most=5) is None


def test_a_bug_that_no_longer_fits_the_code_does_not_count_as_found() -> None:
    def raising(*_: object) -> None:
        raise TypeError("no such argument")

    def does_not_fit() -> AbstractContextManager[Any]:
        return mock.patch.object(SenderProtocol, "stream_up", raising)

    with pytest.raises(SimulationError, match="no such argument"):
        hunt(does_not_fit)
